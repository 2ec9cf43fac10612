"""verify, tune and depth: engines, settings and networks compared."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import click

from resnet_pipe.cli.options import FiniteRange, check_engines, set_option
from resnet_pipe.cli.terminal import on_signals, say, show
from resnet_pipe.errors import ExitCode


def _engines(_context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    check_engines(value)
    return value


def _device(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if value.endswith(":all"):
        raise click.BadParameter("engines are compared on one device, such as cuda:0")
    return value


@click.command(short_help="Compare the engines with float32.")
@click.argument("model")
@click.option(
    "--images",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Directory of real images. Default, with a job: the job's own input.",
)
@click.option(
    "--engine", "engines", multiple=True, metavar="NAME", callback=_engines, help="Repeatable. Default: all."
)
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    type=click.Choice(["fp32", "fp16", "bf16", "int8"]),
    help="Repeatable. Default: all that each engine supports.",
)
@click.option(
    "--device", default="auto", show_default=True, callback=_device, help="As in a job: auto, cpu, cuda:1 ..."
)
@click.option(
    "--count", type=click.IntRange(1, 4096), default=64, show_default=True, help="Number of images."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
def verify(
    model: str,
    images: Path | None,
    engines: tuple[str, ...],
    precisions: tuple[str, ...],
    device: str,
    count: int,
    as_json: bool,
) -> NoReturn:
    """Compare the results of each engine for MODEL with float32 torch, or with float32 ONNX Runtime.

    MODEL is a name such as resnet50 or hf:microsoft/resnet-50, an .onnx file, or a job file with model and
    preprocessing. ONNX Runtime is the reference only if torch is not installed.

    Exits with 1 if an engine crashes or an image's cosine similarity is below the precision's threshold, with
    2 if an engine that was named is not installed or cannot run the model.
    """
    from resnet_pipe.study.verification import verify as verify_model
    from resnet_pipe.study.verifier import Wishes

    result = verify_model(model, images, count, Wishes(engines, precisions, device), say)
    show(json.dumps(result.to_json(), indent=1) if as_json else result.table())
    for problem in result.problems:
        say(f"error: {problem}")
    sys.exit(result.exit_code)


@click.command(short_help="Find the fastest settings for this machine.")
@click.argument("job", type=click.Path(path_type=Path))
@set_option("infer.model=resnet50")
@click.option(
    "--seconds",
    type=FiniteRange(min=1),
    default=120,
    show_default=True,
    help="Time limit. More time means more settings, larger samples and more certainty.",
)
@click.option(
    "--allow",
    "allowed",
    multiple=True,
    type=click.Choice(["engine", "precision"]),
    help="Also choose among the installed engines, or among the precisions (which changes the results a"
    " little). Repeatable.",
)
@click.option("--write", is_flag=True, help="Write the chosen setting into JOB; nothing else in it changes.")
@click.option("--quiet", is_flag=True, help="Do not show progress.")
@click.option("--json", "as_json", is_flag=True, help="Print all measurements as JSON instead of the table.")
def tune(
    job: Path,
    overrides: tuple[str, ...],
    seconds: float,
    allowed: tuple[str, ...],
    write: bool,
    quiet: bool,
    as_json: bool,
) -> NoReturn:
    """Find the fastest batch size, streams, threads and workers of JOB on this machine.

    Each setting is tried on a sample of the job's own input, in a temporary directory: its output is not
    touched. The job stays as it is unless another setting is repeatedly at least 3 % faster.
    Ctrl-C ends the search and prints what it has found.
    """
    from resnet_pipe.cli.display import TrialDisplay
    from resnet_pipe.job import document, revision
    from resnet_pipe.job import job as jobs
    from resnet_pipe.run import preparation
    from resnet_pipe.study import tuning

    loaded = jobs.load(job, overrides, "--set")
    if write:
        revision.check_writable(job)
    resolved = preparation.resolved(loaded, False, (lambda _text: None) if quiet else say)
    options = tuning.TuneOptions(seconds, "engine" in allowed, "precision" in allowed)
    with on_signals() as stop, closing(TrialDisplay(seconds, quiet)) as display:
        tuned = tuning.tune(resolved.job, loaded.job, options, stop, display.tick, display.trial)
    show(json.dumps(tuned.to_json(), indent=1) if as_json else tuned.summary())
    if tuned.changes and not as_json:
        show("\n" + revision.sections(document.read(job), tuned.changes))
    if tuned.changes and write:
        revision.revise(job, tuned.changes)
        say(f"wrote this to {job}")
    elif tuned.changes and not as_json:
        say(f"paste this into {job}, or use --write")
    sys.exit(tuned.exit_code)


def _numbers(_context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...]:
    if value is None:
        return ()
    try:
        numbers = tuple(int(part) for part in value.split(","))
    except ValueError:
        numbers = (0,)
    if any(number < 1 for number in numbers):
        raise click.BadParameter(
            "expected comma-separated whole numbers from 1, such as 1,2,4", param=parameter
        )
    return numbers


@click.command(short_help="Measure how depth affects speed.")
@click.argument("job", type=click.Path(path_type=Path), required=False)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one value of the job.")
@click.option(
    "--depths", callback=_numbers, default="18,34,50,101,152", show_default=True, help="Depths to measure."
)
@click.option(
    "--engine",
    "engines",
    multiple=True,
    metavar="NAME",
    callback=_engines,
    help="Engine to measure; repeatable. Default: the job's.",
)
@click.option(
    "--repeats", type=click.IntRange(1), default=3, show_default=True, help="Runs of each depth, interleaved."
)
@click.option("--batch-sizes", callback=_numbers, metavar="N,N,...", help="Also measure these batch sizes.")
@click.option(
    "--items",
    type=click.IntRange(1),
    help="Images per run. Default: 256, or 16 of networks that find objects, which take seconds for each.",
)
@click.option(
    "--weights",
    default="auto",
    show_default=True,
    help="Weights for networks not converted yet; random is fine.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Output directory. Default: the job's."
)
@click.option(
    "--compare",
    nargs=2,
    type=click.Path(path_type=Path),
    metavar="A.json B.json",
    help="Compare two studies instead of measuring.",
)
def depth(
    job: Path | None,
    overrides: tuple[str, ...],
    depths: tuple[int, ...],
    engines: tuple[str, ...],
    repeats: int,
    batch_sizes: tuple[int, ...],
    items: int | None,
    weights: str,
    out: Path | None,
    compare: tuple[Path, Path] | None,
) -> NoReturn:
    """Measure how depth affects speed: run the sources of JOB through ResNet-18 to 152.

    For a job that asks for boxes, these are in Faster R-CNNs, whose parts are told apart.

    Writes depth.json, depth.csv, depth.html and depth.png. Exits with 3 if a depth failed.
    """
    from resnet_pipe.study import figures, findings

    if compare is not None:
        show(findings.compare(*map(figures.read, compare)))
        sys.exit(ExitCode.DONE)
    if job is None:
        raise click.UsageError("give a job, or --compare A.json B.json")
    from resnet_pipe.job import self_feeding
    from resnet_pipe.report import depth_report, depth_table
    from resnet_pipe.study import depth as depth_study
    from resnet_pipe.study.family import FAMILIES, kind_for

    loaded = depth_study.load(job, overrides)  # before the networks are converted, which takes minutes
    folder = out or loaded.output
    if not isinstance(folder, Path):
        raise click.UsageError(
            f"the results are in a bucket, {folder}; name a directory for the study: --out"
        )
    self_feeding.check_file(loaded, folder / "depth.png")
    kind = kind_for(loaded.fields)
    networks = depth_study.prepare(kind, depths, weights, say)
    options = depth_study.DepthOptions(engines, repeats, batch_sizes, items or FAMILIES[kind].items)
    with on_signals() as stop:
        study, code = depth_study.study(loaded, networks, options, stop, say)
    show(depth_table.table(study))
    depth_report.write(study, folder, show)
    sys.exit(code)
