"""A few items of a batch, what an engine gave for them in it, and how well that agrees with a reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from resnet_pipe.errors import RunError
from resnet_pipe.head.detectors.detector import Placements
from resnet_pipe.infer.engine import ENGINES, EngineInfo
from resnet_pipe.job.resolve import Resolved
from resnet_pipe.ledger.record import Canary
from resnet_pipe.preprocess.network_input import Pixels
from resnet_pipe.run.workers.messages import Outputs
from resnet_pipe.study.agreement import THRESHOLDS, Agreement
from resnet_pipe.study.box_agreement import BoxAgreement
from resnet_pipe.study.joint_agreement import JointAgreement
from resnet_pipe.study.subject import Reference, Subject


class Finding(NamedTuple):
    """How well a sample agrees with the reference; and what is wrong, in words, or None."""

    figures: Canary
    wrong: str | None


@dataclass(frozen=True)
class Sample:
    """Items of a batch of `rows`, shape (n, H, W, 3), and what the engine gave for them in it.

    They are copies, spread over the batch: some graphs come out wrong from the second item of a batch on.
    Placements say where the images lie in the items, of a network that finds objects; of others, nothing.
    """

    rows: int
    items: Pixels
    outputs: Outputs
    placements: Placements

    def compared(self, resolved: Resolved, subject: Subject, reference: Reference) -> Finding:
        """Compare what a reference gives for the items with what the engine of a job gave.

        Raises:
            RunError: there is nothing to compare, as neither finds an object, and there are no features.
        """
        ran = reference.info
        by = f"{ran.name} {ran.version} {ran.precision} {ran.device}"
        by = f"{by}, {reference.what}" if reference.what else by
        count = len(self.items)
        agreement = subject.agreement(self.outputs, reference)
        rows, boxes = _parts(agreement)
        if boxes is not None and boxes.boxes == 0 and boxes.matched == 1:
            boxes = None  # neither finds an object
        if rows is None and boxes is None:
            raise RunError("no objects are found in these items")
        figures = Canary(
            items=count,
            reference=by,
            cosine_min=rows.cosine_min if rows else None,
            top1=rows.top1 if rows else None,
            matched=boxes.matched if boxes else None,
        )
        problem = agreement.problem(resolved.precision, by, _least(resolved))
        return Finding(figures, problem and f"for {count} items of a batch of {self.rows}, {problem}")


def _parts(
    agreement: Agreement | BoxAgreement | JointAgreement,
) -> tuple[Agreement | None, BoxAgreement | None]:
    """Return how well rows of numbers agree, and boxes; None for what is not compared."""
    if isinstance(agreement, JointAgreement):
        return agreement.features, agreement.boxes
    return (agreement, None) if isinstance(agreement, Agreement) else (None, agreement)


def sample_of(batch: Pixels, outputs: Outputs, placements: Placements | None, count: int) -> Sample | None:
    """Return a sample of a batch; None if all rows are failures, because they are not finite."""
    finite = np.flatnonzero(np.all([np.isfinite(values).all(axis=1) for values in outputs.values()], axis=0))
    if not len(finite):
        return None
    places = np.linspace(0, len(finite) - 1, min(count, len(finite))).round().astype(np.int64)
    rows = finite[places]
    where = np.zeros((len(rows), 4), np.int32) if placements is None else placements[rows]
    return Sample(len(batch), batch[rows], {name: values[rows] for name, values in outputs.items()}, where)


def references(resolved: Resolved, info: EngineInfo) -> tuple[str, ...]:
    """Return the engines that may give the reference, another library than the device's first.

    Raises:
        RunError: there is none.
    """
    itself = resolved.job.infer.engine == "onnxruntime" and info.device == "cpu"
    names = [name for name in (("opencv",) if itself else ("onnxruntime", "opencv")) if name in ENGINES]
    size = resolved.network.batch_size or 1
    if size > 1 and "opencv" in names:  # which is to be trusted with one item at a time only
        names.remove("opencv")
    if not names:
        raise RunError(f"the network takes exactly {size} images at a time")
    return tuple(names)


def _least(resolved: Resolved) -> float | None:
    """Return the cosine similarity that each item must reach, if that is not the threshold of `verify`.

    An int8 model may be twice as far off as on the worst of the images that its conversion measured, which
    were others.
    """
    sidecar = resolved.model.sidecar
    if sidecar is None or sidecar.quantization is None:
        return None
    return min(THRESHOLDS["int8"], 1 - 2 * (1 - sidecar.quantization.cosine_min))
