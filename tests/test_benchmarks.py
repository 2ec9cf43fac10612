"""What the benchmarks make of their figures: ratios and verdicts, a chart, programs that fail."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest
from benchmarks import chart, measure, targets

SVG = "{http://www.w3.org/2000/svg}"


def test_a_target_is_measured_against_the_best_of_the_others() -> None:
    rates = {"openvino bf16": [169.0], "script openvino": [120.0], "script openvino_async": [130.0]}
    first = targets.judge(rates, "openvino bf16")[0]
    assert first.measured == pytest.approx(1.3)
    assert first.verdict == "met"
    assert targets.judge(rates | {"script openvino_async": [131.0]}, "openvino bf16")[0].verdict == "missed"


def test_programs_are_compared_within_each_round_for_a_machine_may_slow_down() -> None:
    judged = targets.judge({"torch fp32": [20.0, 10.0, 8.0], "script torch": [10.0, 5.0, 16.0]}, "")
    assert [target.measured for target in judged if target.measured] == [2.0]


def test_a_target_whose_program_was_left_out_is_neither_met_nor_missed() -> None:
    judged = targets.judge({"torch fp32": [20.0], "script torch": [16.0]}, "openvino fp32")
    assert [(target.ours, target.verdict) for target in judged if target.measured] == [("torch fp32", "met")]
    assert {target.verdict for target in judged if not target.measured} == {"not measured"}
    assert "torch fp32 / script torch" in targets.table({"torch fp32": 20.0}, judged)


def test_a_program_that_fails_is_left_out_with_its_reason_and_the_others_go_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails() -> measure.Measurement:
        raise measure.ProgramError("no such library")

    rates = iter([10.0, 30.0, 20.0])
    programs = {"bad": fails, "good": lambda: measure.Measurement(next(rates))}
    sitting = measure.alternate(programs, repeats=3)
    assert sitting.failed == {"bad": "no such library"}
    assert sitting.median == {"good": 20.0}
    assert capsys.readouterr().out.count("bad: LEFT OUT: no such library") == 1


def depths(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - of a row
    rows = [
        {"engine": engine, "precision": "fp32", "model": model, "rate": rate, "limit": 1.25 * rate}
        for engine, rate in (("opencv", 20.0), ("openvino", 80.0))
        for model in ("resnet101", "resnet18")
    ]
    rows[0] |= changes
    machine = {
        "processor": "A & B",
        "cores": 2,
        "flags": ["avx2"],
        "python": "3.11",
        "versions": {"openvino": "2026.4"},
    }
    return {"machine": machine, "results": rows}


def test_the_bars_of_the_chart_are_as_long_as_the_rates_and_the_limit_stands_beyond_them() -> None:
    drawing = ET.fromstring(chart.draw_depths(depths()))  # noqa: S314 - our own
    bars = [float(bar.attrib["width"]) for bar in drawing.iter(f"{SVG}rect")]
    assert bars == pytest.approx([bars[0], 4 * bars[0], bars[0], 4 * bars[0]], abs=0.2)
    limits = [path.attrib["d"] for path in drawing.iter(f"{SVG}path") if path.attrib["class"] == "limit"][1:]
    ends = [float(limit[1:].split()[0]) - chart.LEFT for limit in limits]
    assert ends == pytest.approx([1.25 * bar for bar in bars], abs=0.2)
    assert max(ends) + chart.LEFT <= chart.WIDTH - chart.RIGHT + 0.1


def test_the_chart_goes_from_shallow_to_deep_and_says_all_figures_and_the_machine() -> None:
    drawing = ET.fromstring(chart.draw_depths(depths(rate=7.0)))  # noqa: S314 - our own
    texts = [text.text for text in drawing.iter(f"{SVG}text")]
    assert texts.index("resnet18") < texts.index("resnet101")
    assert {"opencv fp32", "openvino fp32", "7.0", "20.0", "80.0", "images/s", "openvino 2026.4"} <= set(
        texts
    )
    assert "A & B, 2 cores (avx2); Python 3.11" in texts


def test_the_chart_of_programs_groups_each_engine_with_its_scripts() -> None:
    rates = {"torch fp32": 30.0, "script torch": 20.0, "openvino fp32": 40.0, "limit of openvino fp32": 50.0}
    drawing = ET.fromstring(chart.draw_programs({"machine": depths()["machine"], "median": rates}))  # noqa: S314
    bars = [(bar.attrib["class"], float(bar.attrib["width"])) for bar in drawing.iter(f"{SVG}rect")]
    assert [kind for kind, _ in bars] == ["openvino", "torch", "script"]
    assert [width / bars[0][1] for _, width in bars] == pytest.approx([1, 0.75, 0.5], abs=0.001)
    assert (
        sum(path.attrib["class"] == "limit" for path in drawing.iter(f"{SVG}path")) == 2
    )  # with the legend's


@pytest.mark.parametrize(("most", "step"), [(4.5, 1), (45.0, 10), (536.0, 100), (79.0, 10), (2100.0, 500)])
def test_the_axis_has_between_four_and_ten_round_ticks(most: float, step: int) -> None:
    assert chart.tick_step(most) == step
