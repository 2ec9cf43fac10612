"""The pages of a depth study."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from PIL import Image

from resnet_pipe.report import charts, depth_report, depth_table
from resnet_pipe.study.figures import Failed, Latency, Point, Study
from tests.report.browser import Outline, needs_chromium, show
from tests.study.hand_made import entry, finder, study

HOSTILE = "<script>document.title='!'</script>\"'&$\\frac{1}{0}$"


@pytest.fixture(scope="module")
def two_engines() -> Study:
    """A study of two engines, one job with a hostile name, one failure."""
    points = tuple(
        Point(
            depth=18, engine="opencv", batch_size=size, images_per_s=40.0,
            latency=Latency(p50=25.0 * size, p95=1, p99=1),
        )
        for size in (1, 2, 4, 8)
    )  # fmt: skip
    made = study(
        entry(18, 40.0, 41.0, "reader"),
        entry(50, 20.0, 96.0),
        entry(18, 300.0, 5.0, engine="openvino"),
        entry(50, 190.0, 9.0, engine="openvino"),
        points=points,
    )
    failed = Failed(depth=152, engine="opencv", batch_size=None, reason=HOSTILE)
    return made.model_copy(update={"job": HOSTILE, "failed": [failed]})


@needs_chromium
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_shows_its_charts_without_complaint(two_engines: Study, tmp_path: Path, dark: bool) -> None:
    path = tmp_path / "depth.html"
    path.write_text(depth_report.to_html(two_engines), encoding="utf-8")
    page = show(path, tmp_path, dark)
    assert page.console == []
    assert page.picture[0, 0].mean() < 60 if dark else page.picture[0, 0].mean() > 240
    # Bars of the network (a big share of every chart of stages) and of both engines' memory.
    assert page.shows(charts.STAGE_COLORS["infer"], 10_000)
    assert page.shows(charts.COLORS[0], 10_000)


@needs_chromium
def test_what_a_page_may_not_do_would_be_noticed(two_engines: Study, tmp_path: Path) -> None:
    path = tmp_path / "bad.html"
    html = depth_report.to_html(two_engines)
    path.write_text(html.replace("</body>", "<script>1</script><img src='http://localhost:9/x'></body>"))
    assert len(show(path, tmp_path).console) == 2


def test_the_page_needs_nothing_from_elsewhere_and_shows_names_as_text(two_engines: Study) -> None:
    page = Outline(depth_report.to_html(two_engines))
    assert page.addresses
    assert all(address.startswith("data:") for address in page.addresses)
    assert "script" not in page.elements
    assert page.handlers == []
    assert HOSTILE in page.text
    assert page.elements.count("source") == 5  # stages of two engines, throughput, latency, memory
    assert page.elements.count("img") == 5


def test_the_table_and_the_csv_have_every_entry(two_engines: Study) -> None:
    table = depth_table.table(two_engines).splitlines()
    assert table[1].split()[:3] == ["ResNet-18", "opencv", "40.0"]
    assert table[5] == f"{'ResNet-152':<11}{'opencv':<13}failed: {HOSTILE}"
    rows = list(csv.DictReader(io.StringIO(depth_report.to_csv(two_engines))))
    assert [row["network.depth"] for row in rows] == ["18", "50", "18", "50"]
    assert rows[0]["stages.infer.busy_ms"] == "41.0"
    assert depth_report.to_csv(study()) == ""


def test_a_size_is_a_cell_that_people_read() -> None:
    (row,) = csv.DictReader(io.StringIO(depth_report.to_csv(study(finder(18, 1.0, network=700.0)))))
    assert row["network.gmacs_at"] == "800 x 1344"


def test_the_slide_is_a_picture_in_16_to_9(two_engines: Study) -> None:
    picture = Image.open(io.BytesIO(depth_report.to_png(two_engines)))
    assert picture.width / picture.height == pytest.approx(16 / 9, abs=0.01)
    assert picture.width >= 1900
