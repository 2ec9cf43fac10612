"""Batch inference for ResNets: images become features or boxes, unattended, and every stage is timed.

    import resnet_pipe

    job = resnet_pipe.load_job("jobs/folder.yaml", {"infer.batch_size": 16})
    outcome = resnet_pipe.run(job)
    table = resnet_pipe.read("out/folder").to_table()

Nothing here prints, exits or installs signal handlers. All functions may be called from a notebook, from any
thread, and again and again. What goes wrong is a `resnet_pipe.errors.ResnetPipeError`, which says what to do.
Ctrl-C raises KeyboardInterrupt, as everywhere in Python: what is committed stays, and the same call goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

# These have the names of two functions below. Whoever imports them first binds the name: so it is done here.
import resnet_pipe.convert
import resnet_pipe.run  # noqa: F401

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset

    from resnet_pipe.convert.conversion import Conversion
    from resnet_pipe.job.job import LoadedJob
    from resnet_pipe.job.resolve import Resolved
    from resnet_pipe.run.observe.events import Event, Listener
    from resnet_pipe.run.observe.outcome import Outcome
    from resnet_pipe.run.plan import Plan, Rules
    from resnet_pipe.run.prepared import Fresh
    from resnet_pipe.study.verification import Verification

__version__ = "0.1.0"
__all__ = ["convert", "load_job", "plan", "read", "run", "verify"]


def load_job(
    job: str | PathLike[str] | Mapping[str, Any], overrides: Mapping[str, object] | None = None
) -> LoadedJob:
    """Read and check a job.

    Args:
        job: a job file, or the same as a mapping. Relative paths start from the file's directory, or from the
            current directory.
        overrides: values that replace those of the job, by dotted key: `{"infer.batch_size": 16}`. Relative
            paths start where the job's do.

    Raises:
        DocumentError: with every problem found, each with its place.
    """
    from resnet_pipe.job import job as jobs

    return jobs.load_any(job, overrides or {})


def plan(job: LoadedJob, *, retry_failed: bool = False, prune: bool = False, fresh: bool = False) -> Plan:
    """Return what `run` would do now, without changing anything.

    Args:
        job: from `load_job`.
        retry_failed: process failed and partial sources again even if they have not changed.
        prune: remove the rows of sources that have disappeared.
        fresh: process everything again.

    Raises:
        UsageError: the job and its model do not fit, or the output directory was made with other settings.
        RunError: there is no input, or the ledger cannot be read.
    """
    from resnet_pipe.report import notification
    from resnet_pipe.run import preparation

    rules, replaced = _options(retry_failed, prune, fresh)
    resolved = _resolved(job, fresh)
    notification.prove(job.job.run.notify)
    return preparation.inspect(resolved, rules, replaced)


def run(
    job: LoadedJob,
    on_event: Callable[[Event], None] | None = None,
    *,
    retry_failed: bool = False,
    prune: bool = False,
    fresh: bool = False,
) -> Outcome:
    """Process what is new, as `resnet-pipe run` does.

    Args:
        job: from `load_job`.
        on_event: is told what happens: `event.name` and `event.fields` are those of log.jsonl; `progress`
            comes several times a second. It is called from several threads, and told no more once it raises.
        retry_failed: process failed and partial sources again even if they have not changed.
        prune: remove the rows of sources that have disappeared.
        fresh: process everything again; existing results stay until the new ones are complete.

    Returns:
        What happened: `exit_code` is 0, 3 if sources failed, or 4 if the window ended; `counts`, `effort`,
        and `to_json()`, the contents of run.json.

    Raises:
        UsageError: the job, the model or the environment is wrong; nothing was changed.
        LockedError: another run holds the output directory.
        ResnetPipeError: the run could not finish; what was committed stays.
    """
    from resnet_pipe.process.descriptors import occupy_standard_ones
    from resnet_pipe.run import notice
    from resnet_pipe.run import run as runs
    from resnet_pipe.run.stop import Stop

    began_at = time.time()
    rules, replaced = _options(retry_failed, prune, fresh)

    def execute(listener: Listener) -> Outcome:
        return runs.run(_resolved(job, fresh), rules, replaced, Stop(), began_at, listener)

    occupy_standard_ones()
    return notice.with_notice(job.job, None, on_event, execute)


def convert(
    network: str,
    *,
    weights: str | None = None,
    size: Literal["train", "test"] = "train",
    preprocess: Mapping[str, Any] | None = None,
    name: str | None = None,
    out: str | PathLike[str] | None = None,
    calibration: str | PathLike[str] | None = None,
    labels: Sequence[str] | None = None,
    say: Callable[[str], None] | None = None,
) -> Conversion:
    """Convert a network to ONNX, with its sidecar. Needs the extra `convert`, and for a hub `hub`.

    Args:
        network: a bare name such as `resnet50` or `fasterrcnn_resnet50_fpn`, a recipe file,
            `hf:OWNER/NAME[@REVISION]`, `timm:NAME`, a directory as transformers or timm save it, or an .onnx
            file.
        weights: of a recipe: imagenet, random, auto, or a checkpoint file; of a detector of torchvision coco,
            random, auto, or a checkpoint file; None for its own.
        size: of timm's networks: of the images they were trained with, or evaluated with.
        preprocess: how images are prepared, with the keys of a job's section, if no file says it.
        name: of the model; None for that of what is converted.
        out: directory for the files; None for `models/`.
        calibration: a directory of images: also make an int8 model, which is returned.
        labels: of the classes of a detector of torchvision whose weights are a checkpoint file, with or
            without the background as the first.
        say: told what is being done.

    Raises:
        UsageError: the network, the weights or the environment is wrong, or the result differs from the
            original. No file is left.
    """
    from pathlib import Path

    from resnet_pipe.convert import conversion, quantize
    from resnet_pipe.convert.sources.directory import Ask
    from resnet_pipe.job.document import Document
    from resnet_pipe.preprocess.preprocessing import Preprocessing
    from resnet_pipe.process.descriptors import occupy_standard_ones

    occupy_standard_ones()
    target, tell = Path(out) if out is not None else None, say or _ignore
    told = Document(Path("preprocess"), dict(preprocess), {}) if preprocess is not None else None
    named = tuple(labels) if labels is not None else None
    ask = Ask(network, size, told.validate(Preprocessing, {}) if told else None, labels=named)
    if calibration is None:
        return conversion.convert(network, weights=weights, ask=ask, name=name, out=target, say=tell)
    return quantize.convert_int8(
        network, Path(calibration), weights=weights, ask=ask, name=name, out=target, say=tell
    )


def verify(
    model: str,
    *,
    images: str | PathLike[str] | None = None,
    count: int = 64,
    engines: tuple[str, ...] = (),
    precisions: tuple[str, ...] = (),
    device: str = "auto",
    say: Callable[[str], None] | None = None,
) -> Verification:
    """Compare the results of each engine with the float32 network.

    Args:
        model: a bare name, an .onnx file, or a job file with model and preprocessing.
        images: a directory; None for the input of a job, where `model` is one.
        count: of images.
        engines: names; empty for all.
        precisions: such as `bf16`; empty for all that each engine supports.
        device: as in a job.
        say: told what is being done.

    Raises:
        UsageError: the model or the images cannot be used.
    """
    from pathlib import Path

    from resnet_pipe.process.descriptors import occupy_standard_ones
    from resnet_pipe.study.verification import verify as verify_model
    from resnet_pipe.study.verifier import Wishes

    occupy_standard_ones()
    wishes = Wishes(tuple(engines), tuple(precisions), device)
    return verify_model(model, Path(images) if images is not None else None, count, wishes, say or _ignore)


def read(out: str | PathLike[str]) -> Dataset:
    """Open the rows of an output directory: those of committed shards, and no others.

    Args:
        out: `writer.path` of a job that has run: a directory, or an address in a bucket.

    Returns:
        A dataset, nothing of which has been read yet: `to_table()`, `to_batches()`, filters and columns are
        pyarrow's.

    Raises:
        UsageError: there are no shards that pyarrow can read.
    """
    from resnet_pipe.ledger import dataset
    from resnet_pipe.store.store import output_of

    return dataset.open_rows(output_of(out))


def _options(retry_failed: bool, prune: bool, fresh: bool) -> tuple[Rules, Fresh]:
    from resnet_pipe.run.plan import Rules
    from resnet_pipe.run.prepared import Fresh

    return Rules(retry_failed, prune), Fresh.AT_THE_END if fresh else Fresh.NO


def _resolved(job: LoadedJob, fresh: bool) -> Resolved:
    from resnet_pipe.process.descriptors import occupy_standard_ones
    from resnet_pipe.run.preparation import resolved

    occupy_standard_ones()
    return resolved(job, fresh, _ignore)


def _ignore(_text: str) -> None:
    """Say nothing."""
