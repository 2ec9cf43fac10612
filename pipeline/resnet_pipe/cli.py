"""The commands: parse, call, print, exit. No logic, and no heavy import before a command needs it."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from resnet_pipe import __version__
from resnet_pipe.errors import ExitCode, ResnetPipeError, UsageError
from resnet_pipe.terminal import prepare_streams, say, show

if TYPE_CHECKING:
    from resnet_pipe.plan import Part, Rules
    from resnet_pipe.resolve import Resolved


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="resnet-pipe")
def commands() -> None:
    """Batch inference for ResNets.

    Convert a network once, then run it over any number of images, unattended; and know where the time went.

    \b
    resnet-pipe convert resnet50          make models/resnet50.onnx
    resnet-pipe run jobs/folder.yaml      process what is new
    resnet-pipe tune jobs/folder.yaml     find what makes it faster on this machine

    Exit codes: 0 all done or nothing new, 1 failed, 2 wrong usage, job or environment, 3 finished but some
    sources failed, 11 another run holds the output, 130/143 stopped by a signal.
    """  # noqa: D301 - click wants the control character


def _part(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Part | None:
    if value is None:
        return None
    from resnet_pipe.plan import Part

    index, slash, count = value.partition("/")
    if not slash or not index.isdecimal() or not count.isdecimal() or not 1 <= int(index) <= int(count):
        raise click.BadParameter("expected I/N with I from 1 to N, such as 1/4")
    return Part(int(index), int(count))


@commands.command()
@click.argument("job", type=click.Path(path_type=Path))
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override one value of the job, such as infer.batch_size=32. Repeatable; the value is YAML.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be done, and stop.")
@click.option(
    "--retry-failed", is_flag=True, help="Process failed sources again although they have not changed."
)
@click.option("--prune", is_flag=True, help="Remove the rows of sources that have disappeared.")
@click.option("--fresh", is_flag=True, help="Drop what the output directory holds, and process everything.")
@click.option(
    "--shard",
    "part",
    callback=_part,
    metavar="I/N",
    help="Process only part I of N; the parts may run at the same time, on several machines.",
)
@click.option("--quiet", is_flag=True, help="Print errors and warnings only, for cron.")
@click.option("--json", "as_json", is_flag=True, help="Print run.json at the end instead of the table.")
def run(
    job: Path,
    overrides: tuple[str, ...],
    dry_run: bool,
    retry_failed: bool,
    prune: bool,
    fresh: bool,
    part: Part | None,
    quiet: bool,
    as_json: bool,
) -> NoReturn:
    """Run the job file JOB: read what is new, infer, write, and report.

    Exits with 0, 3 (some sources failed), 1, 2, 11 or 130/143; see `resnet-pipe --help`.
    """
    from resnet_pipe import job as jobs
    from resnet_pipe.plan import Rules
    from resnet_pipe.resolve import resolve
    from resnet_pipe.run import local, record

    checked, doc = jobs.load(job, overrides)
    choice = None
    if checked.infer.engine == "auto":
        from resnet_pipe.study.choice import choose

        checked, choice = choose(checked, doc, fresh, _silent if quiet else say)
    resolved = resolve(checked, doc, choice)
    rules = Rules(retry_failed, prune, part)
    if dry_run:
        _print_plan(resolved, rules, fresh)
        sys.exit(ExitCode.DONE)
    outcome = local.run(resolved, local.RunOptions(rules, fresh, quiet))
    if as_json:
        show(json.dumps(outcome.to_json(), indent=1))
    elif not quiet:
        show(record.summary(outcome))
    elif outcome.failed or outcome.partial:
        say(record.warning(outcome))
    sys.exit(outcome.exit_code)


def _silent(_text: str) -> None:
    """Say nothing."""


def _print_plan(resolved: Resolved, rules: Rules, fresh: bool) -> None:
    from resnet_pipe.run import output

    plan = output.inspect(resolved, rules, fresh)
    infer = resolved.job.infer
    show(f"sources  {plan.planned} to process, {plan.skipped} already done, {plan.disappeared} disappeared")
    show(f"chunks   {plan.chunk_count}")
    show(f"model    {resolved.model.path}; {resolved.metadata['weights']}")
    engine = f"{infer.engine}, device {infer.device}, {resolved.precision}"
    show(f"engine   {engine}, batches of {resolved.batch_size}")
    show(f"output   {resolved.job.output}")


@commands.command()
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--open", "opens", is_flag=True, help="Open it in the browser.")
def report(output: Path, opens: bool) -> None:
    """Make the report of the last run into OUTPUT again, and print its path."""
    from resnet_pipe.report import run_report
    from resnet_pipe.run.folder import newest_run_folder

    path = run_report.write(newest_run_folder(output), output)
    show(str(path))
    if opens:
        click.launch(str(path))


@commands.command()
@click.argument("job", type=click.Path(path_type=Path))
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override one value of the job, such as infer.model=resnet50. Repeatable; the value is YAML.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=1),
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
@click.option("--quiet", is_flag=True, help="No progress.")
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
    touched. The job stays as it is unless another setting is at least 3 % faster again and again.
    Ctrl-C ends the search and prints what it has found.
    """
    from resnet_pipe import document, revision
    from resnet_pipe import job as jobs
    from resnet_pipe.resolve import resolve
    from resnet_pipe.study import tuning

    resolved = resolve(*jobs.load(job, overrides))
    if write:
        revision.check_writable(job)
    options = tuning.TuneOptions(seconds, "engine" in allowed, "precision" in allowed, quiet)
    tuned = tuning.tune(resolved.job, options)
    show(json.dumps(tuned.to_json(), indent=1) if as_json else tuned.summary())
    if tuned.changes and not as_json:
        show("\n" + revision.sections(document.read(job), tuned.changes))
    if tuned.changes and write:
        revision.revise(job, tuned.changes)
        say(f"wrote it into {job}")
    elif tuned.changes and not as_json:
        say(f"to be pasted into {job}, or written there with --write")
    sys.exit(tuned.exit_code)


def _numbers(_context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in value.split(",")) if value else ()
    except ValueError:
        numbers = (0,)
    if any(number < 1 for number in numbers):
        raise click.BadParameter(
            "expected whole numbers from 1, apart by commas, such as 1,2,4", param=parameter
        )
    return numbers


@commands.command()
@click.argument("job", type=click.Path(path_type=Path), required=False)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one value of the job.")
@click.option(
    "--depths", callback=_numbers, default="18,34,50,101,152", show_default=True, help="Which ResNets."
)
@click.option("--engine", "engines", multiple=True, help="Engine to measure; repeatable. Default: the job's.")
@click.option(
    "--repeats", type=click.IntRange(1), default=3, show_default=True, help="Runs of each, in turns."
)
@click.option("--batch-sizes", callback=_numbers, metavar="N,N,...", help="Also measure these batch sizes.")
@click.option("--items", type=click.IntRange(1), default=256, show_default=True, help="Images in each run.")
@click.option(
    "--weights", default="auto", show_default=True, help="For networks not yet converted; random is fine."
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Directory. Default: the job's output."
)
@click.option(
    "--compare",
    nargs=2,
    type=click.Path(path_type=Path),
    metavar="A.json B.json",
    help="Instead of measuring, put two studies side by side.",
)
def depth(
    job: Path | None,
    overrides: tuple[str, ...],
    depths: tuple[int, ...],
    engines: tuple[str, ...],
    repeats: int,
    batch_sizes: tuple[int, ...],
    items: int,
    weights: str,
    out: Path | None,
    compare: tuple[Path, Path] | None,
) -> NoReturn:
    """Measure how depth changes speed: the sources of JOB through ResNet-18 to 152.

    Writes depth.json, depth.csv, depth.html and depth.png. Exits with 3 if a depth failed.
    """
    from resnet_pipe.study import comparison

    if compare is not None:
        show(comparison.compare(*map(comparison.read, compare)))
        sys.exit(ExitCode.DONE)
    if job is None:
        raise click.UsageError("give a job, or --compare A.json B.json")
    from resnet_pipe import document
    from resnet_pipe import job as jobs
    from resnet_pipe.report import depth_report
    from resnet_pipe.study import depth as depth_study

    document.read(job)  # before the networks are converted, which takes minutes
    networks = depth_study.prepare(depths, weights, say)
    loaded, _ = jobs.load(job, (*overrides, networks.override))
    options = depth_study.DepthOptions(engines, repeats, batch_sizes, items)
    result = depth_study.study(loaded, networks, options, say)
    show(depth_report.table(result.study))
    depth_report.write(result.study, out or loaded.output, show)
    sys.exit(result.exit_code)


@commands.command()
@click.argument("recipe")
@click.option(
    "--weights",
    metavar="NAME|FILE",
    help="imagenet, random, auto, or a checkpoint file (a state dict). Default: the recipe's.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Directory for the .onnx and its sidecar."
)
@click.option(
    "--quantize",
    is_flag=True,
    help="Make an int8 model of it as well, such as resnet50-int8.onnx, for openvino and onnxruntime.",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    metavar="IMAGES",
    help="Directory with images like those the network will see, some hundred, for --quantize.",
)
def convert(
    recipe: str, weights: str | None, out: Path | None, quantize: bool, calibration: Path | None
) -> None:
    """Convert RECIPE, a recipe file or a bare name such as resnet50, to ONNX for cv2.dnn.

    The result is compared with the source network on photographs; if they differ, no file is left. An int8
    model is compared with the float32 one, on images that it was not calibrated with.
    """
    from resnet_pipe.convert.conversion import convert as convert_recipe
    from resnet_pipe.convert.quantize import convert_int8

    if quantize != (calibration is not None):
        raise UsageError(
            "--quantize and --calibration belong together: the images give the ranges of the int8 values",
            f"resnet-pipe convert {recipe} --quantize --calibration IMAGES",
        )
    if calibration is None:
        result = convert_recipe(recipe, weights=weights, out=out, say=show)
    else:
        result = convert_int8(recipe, calibration, weights=weights, out=out, say=show)
    done = "wrote" if result.changed else "nothing has changed:"
    show(f"{done} {result.path}, {result.sidecar.weights.describe()}")


def _engines(_context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    from resnet_pipe.infer.engine import ENGINES

    for name in value:
        if name not in ENGINES:
            raise click.BadParameter(f"no engine {name!r}; there are: {', '.join(ENGINES)}")
    return value


@commands.command()
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
    help="Repeatable. Default: all that an engine has.",
)
@click.option("--device", default="auto", show_default=True, help="As in a job: auto, cpu, cuda, cuda:1 ...")
@click.option("--count", type=click.IntRange(1, 4096), default=64, show_default=True, help="How many images.")
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
    """Compare what each engine gives for MODEL with float32 torch, or float32 ONNX Runtime without torch.

    MODEL is a bare name such as resnet50, an .onnx file, or a job file: its model, with its preprocessing.

    Exits with 1 if an engine crashes or an image's cosine similarity is below the precision's threshold, with
    2 if an engine asked for by name is not installed or cannot run the model.
    """
    from resnet_pipe.study.verification import verify as verify_model
    from resnet_pipe.study.verifier import Wishes

    result = verify_model(model, images, count, Wishes(engines, precisions, device), say)
    show(json.dumps(result.to_json(), indent=1) if as_json else result.table())
    for problem in result.problems:
        say(f"error: {problem}")
    sys.exit(result.exit_code)


@commands.command()
def models() -> None:
    """List the ResNets: parameters, multiply-accumulates, size, and which are converted."""
    from resnet_pipe.convert import catalogue

    show(f"{'model':<15}{'params':>9}{'GMACs':>8}{'weights':>10}  converted")
    for entry in catalogue.entries():
        show(
            f"{entry.name:<15}{entry.params / 1e6:>7.1f} M{entry.macs / 1e9:>8.2f}"
            f"{entry.weight_bytes / 1e6:>7.0f} MB  {entry.status}"
        )


@commands.command()
def schema() -> None:
    """Print the JSON Schema of job files, for completion and checking in editors."""
    from resnet_pipe.job import json_schema

    show(json.dumps(json_schema(), indent=2))


def main() -> NoReturn:
    """Run the command line: the one place where errors become messages and exit codes."""
    prepare_streams()
    try:
        code = commands.main(standalone_mode=False)
        sys.exit(code or ExitCode.DONE)
    except ResnetPipeError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)
    except click.ClickException as error:
        text = io.StringIO()
        error.show(file=text)
        say(text.getvalue().rstrip("\n"))
        sys.exit(ExitCode.USAGE)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(ExitCode.SIGINT)
