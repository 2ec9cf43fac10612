"""The report of a run, through the command line and in a browser."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from resnet_pipe.errors import ExitCode
from resnet_pipe.report import charts, run_report
from resnet_pipe.store.disk import Disk
from tests import networks
from tests.report.browser import Outline, needs_chromium, show
from tests.run.commands import command
from tests.run.jobs import JobFolder
from tests.sidecars import make_finder

HOSTILE = "<img src=x onerror=alert(1)>.jpg"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> JobFolder:
    """A run over five images, one of them damaged, one with a hostile name. Do not change it."""
    folder = tmp_path_factory.mktemp("report")
    network = networks.write_tiny(tmp_path_factory.mktemp("network") / "tiny.onnx")
    job = JobFolder(folder, network)
    job.add("a.jpg", "b.jpg", "c.jpg", HOSTILE)
    job.add_bad("<b>broken.jpg")
    said = job.run("--set", "run.report=true").expect(ExitCode.SOME_FAILED).stdout
    assert f"report: {job.last_run() / 'report.html'}" in said
    return job


def test_the_report_tells_what_happened_and_shows_hostile_names_as_text(finished: JobFolder) -> None:
    page = Outline((finished.last_run() / "report.html").read_text())
    assert HOSTILE in page.text
    assert "<b>broken.jpg" in page.text
    assert "exit code 3: finished, but some sources failed" in page.text
    assert "The bottleneck is " in page.text
    assert "name: nightly" in page.text
    assert "class " in page.text, "labels of the sample results"
    assert page.elements.count("script") == 0
    assert page.handlers == []
    assert all(address.startswith("data:") for address in page.addresses)
    samples = [address for address in page.addresses if address.startswith("data:image/jpeg")]
    assert len(samples) == 4


@needs_chromium
@pytest.mark.parametrize("dark", [False, True])
def test_a_browser_shows_the_report_without_complaint(
    finished: JobFolder, tmp_path: Path, dark: bool
) -> None:
    page = show(finished.last_run() / "report.html", tmp_path, dark)
    assert page.console == []
    assert page.picture[0, 0].mean() < 60 if dark else page.picture[0, 0].mean() > 240
    assert any(page.shows(color, 500) for color in charts.STAGE_COLORS.values())


def test_the_report_is_made_again_on_demand(finished: JobFolder) -> None:
    path = finished.last_run() / "report.html"
    before = path.read_text()
    path.unlink()
    assert command("report", str(finished.out)).expect(ExitCode.DONE).stdout == f"{path}\n"
    assert path.read_text() == before


def test_a_run_with_nothing_to_do_has_a_report_too(finished: JobFolder) -> None:
    finished.run("--set", "run.report=true", "--set", "writer.path=empty").expect(ExitCode.SOME_FAILED)
    finished.run("--set", "run.report=true", "--set", "writer.path=empty").expect(ExitCode.DONE)
    runs = sorted((finished.folder / "empty" / "_resnet_pipe" / "runs").iterdir())
    page = Outline((runs[-1] / "report.html").read_text())
    assert "Nothing went through the network." in page.text
    assert "<b>broken.jpg" in page.text, "a failure that stands"


def test_the_parts_of_a_network_that_finds_objects_are_told_apart(tmp_path: Path) -> None:
    finder = make_finder(tmp_path / "finder")
    finder.write(kind="jsonl", fields="[boxes]", preprocess="{}")
    finder.add("a.jpg")
    finder.run("--set", "run.report=true").expect(ExitCode.DONE)
    run = json.loads((finder.last_run() / "run.json").read_text())
    assert list(run["infer_parts_s"]) == ["queue", "network", "boxes"]
    text = Outline((finder.last_run() / "report.html").read_text()).text
    busy = r"\s+[0-9.]+ s\s.*"
    assert re.search(rf"infer.*queue{busy}network{busy}boxes{busy}writer", text, re.DOTALL)
    assert f"{run['infer_parts_s']['network']:.2f} s" in text


def test_what_is_no_output_directory_is_refused(tmp_path: Path) -> None:
    said = command("report", str(tmp_path)).expect(ExitCode.USAGE).stderr
    assert "is not a run's output directory" in said
    assert "writer.path" in said


def test_a_run_without_the_libraries_works_and_says_how_to_get_a_report(
    finished: JobFolder, tmp_path: Path
) -> None:
    absent = "import sys\nsys.modules['jinja2'] = None\n"
    said = finished.run(
        "--set", "run.report=true", "--set", f"writer.path={tmp_path}/out", faults=absent
    ).expect(ExitCode.SOME_FAILED)
    assert "pip install 'resnet-pipe[report]'" in said.stdout


@pytest.mark.parametrize(
    ("length", "batch", "axis"), [(5, 10, "seconds"), (300, 250, "minutes"), (18_000, 1000, "hours")]
)
def test_the_throughput_is_that_of_a_while_whatever_the_length_of_a_run(
    finished: JobFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: float, batch: int, axis: str
) -> None:
    """Batches come in pairs, 1 ms apart, after a tenth of the run; half-way, it goes on at half the speed."""
    drawn = {}

    def keep(draw: charts.Draw, text: str, height: float) -> charts.Picture:
        drawn[text] = charts.figure({"": draw}, charts.LIGHT, 7, height).axes[0]
        return charts.Picture("", "", text)

    monkeypatch.setattr(charts, "picture", keep)
    pairs = [0.1 + 0.4 * part / 40 for part in range(1, 41)] + [
        0.5 + 0.5 * part / 25 for part in range(1, 26)
    ]
    seconds = [moment for pair in pairs for moment in (pair * length - 0.001, pair * length)]
    items = [batch * count for count in range(1, len(seconds) + 1)]
    average = items[-1] / length
    run = json.loads((finished.last_run() / "run.json").read_text())
    figures = {"run_seconds": length, "first_batch_s": 0.1 * length, "items_per_second": average}
    (tmp_path / "run.json").write_text(json.dumps({**run, "stages": {}, "items": 0, **figures}))
    by_turns = [2 * (count // 2 % 2) for count in range(len(items))]
    waiting = {"waiting_for_engine": [1] * len(items), "waiting_for_writer": by_turns}
    history = {"timeline": {"seconds": seconds, "items": items, **waiting}, "slowest": [], "samples": []}
    (tmp_path / "history.json").write_text(json.dumps(history))
    run_report.write(tmp_path, Disk(tmp_path))

    axes = drawn["images per second over the run"]
    x, rates = map(np.asarray, axes.lines[0].get_data())
    fast, slow = 80 / 0.4 / 130 * average, 50 / 0.5 / 130 * average
    assert x[0] == 0
    assert x[-1] == axes.get_xlim()[1] == length / {"seconds": 1, "minutes": 60, "hours": 3600}[axis]
    assert axes.get_xlabel() == f"{axis} since the engine was ready"
    share = x / x[-1]
    assert rates[0] == 0
    assert rates[(share > 0.17) & (share < 0.43)] == pytest.approx(fast, rel=0.3)
    assert rates[(share > 0.57) & (share < 0.95)] == pytest.approx(slow, rel=0.3)
    assert rates.max() < 1.3 * fast
    queues = drawn["Batches waiting, over the run"]
    assert max(np.asarray(line.get_ydata()).max() for line in queues.lines) < 2, (
        "of 0 and 2 by turns, the mean"
    )


def test_the_time_line_begins_when_the_engine_is_ready(finished: JobFolder) -> None:
    history = json.loads((finished.last_run() / "history.json").read_text())
    assert history["timeline"]["seconds"][0] < finished.summary()["run_seconds"]
    assert history["timeline"]["seconds"][-1] <= finished.summary()["run_seconds"]


def test_slow_sources_and_the_time_line_are_remembered(finished: JobFolder) -> None:
    history = json.loads((finished.last_run() / "history.json").read_text())
    assert {source["source"] for source in history["slowest"]} == {
        "a.jpg", "b.jpg", "c.jpg", HOSTILE, "<b>broken.jpg",
    }  # fmt: skip
    seconds = [source["seconds"] for source in history["slowest"]]
    assert seconds == sorted(seconds, reverse=True)
    timeline = history["timeline"]
    assert len({len(values) for values in timeline.values()}) == 1
    assert timeline["seconds"] == sorted(timeline["seconds"])
    assert max(timeline["items"], default=0) <= 4
