"""depth: what the depth of a network costs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

import click

from resnet_pipe.cli.terminal import say, show
from resnet_pipe.errors import ExitCode


def _numbers(_context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in value.split(",")) if value else ()
    except ValueError:
        numbers = (0,)
    if any(number < 1 for number in numbers):
        raise click.BadParameter(
            "expected comma-separated whole numbers from 1, such as 1,2,4", param=parameter
        )
    return numbers


@click.command()
@click.argument("job", type=click.Path(path_type=Path), required=False)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one value of the job.")
@click.option(
    "--depths", callback=_numbers, default="18,34,50,101,152", show_default=True, help="Depths to measure."
)
@click.option("--engine", "engines", multiple=True, help="Engine to measure; repeatable. Default: the job's.")
@click.option(
    "--repeats", type=click.IntRange(1), default=3, show_default=True, help="Runs of each depth, interleaved."
)
@click.option("--batch-sizes", callback=_numbers, metavar="N,N,...", help="Also measure these batch sizes.")
@click.option("--items", type=click.IntRange(1), default=256, show_default=True, help="Images per run.")
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
    items: int,
    weights: str,
    out: Path | None,
    compare: tuple[Path, Path] | None,
) -> NoReturn:
    """Measure how depth affects speed: run the sources of JOB through ResNet-18 to 152.

    Writes depth.json, depth.csv, depth.html and depth.png. Exits with 3 if a depth failed.
    """
    from resnet_pipe.study import figures, findings

    if compare is not None:
        show(findings.compare(*map(figures.read, compare)))
        sys.exit(ExitCode.DONE)
    if job is None:
        raise click.UsageError("give a job, or --compare A.json B.json")
    from resnet_pipe.cli.signals import on_signals
    from resnet_pipe.job import document, self_feeding
    from resnet_pipe.job import job as jobs
    from resnet_pipe.report import depth_report
    from resnet_pipe.study import depth as depth_study

    document.read(job)  # before the networks are converted, which takes minutes
    networks = depth_study.prepare(depths, weights, say)
    loaded, _ = jobs.load(job, (*overrides, networks.override))
    folder = out or loaded.output
    self_feeding.check_file(loaded, folder / "depth.png")
    options = depth_study.DepthOptions(engines, repeats, batch_sizes, items)
    with on_signals() as stop:
        study, code = depth_study.study(loaded, networks, options, stop, say)
    show(depth_report.table(study))
    depth_report.write(study, folder, show)
    sys.exit(code)
