"""The doctor tries every engine, and what goes wrong with one is a line about this one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

from resnet_pipe.doctor import forward, small_network
from resnet_pipe.doctor.examination import Finding
from resnet_pipe.infer import engine as engines
from resnet_pipe.infer.engine import ENGINES, EngineRequest, load
from resnet_pipe.machine import processor
from tests.study.engines import Install

Examine = Callable[..., dict[str, Finding]]


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    show_gpus(monkeypatch, 0)


def show_gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(forward, "visible_gpus", lambda: count)


@pytest.fixture
def examine(install: Install, monkeypatch: pytest.MonkeyPatch) -> Examine:
    """Check with faked engines, and return the findings by what they begin with: engine and precision."""

    def run(**fakes: str) -> dict[str, Finding]:
        install(**fakes)
        described = {
            name: replace(
                engines.description(name), library="frobnicate" if fakes.get(name) == "missing" else "cv2"
            )
            for name in ENGINES
        }
        monkeypatch.setattr(engines, "description", described.__getitem__)
        findings = list(forward.check())
        assert {finding.check for finding in findings} == {"engines"}
        assert all(bool(finding.remedy) == (finding.level != "OK") for finding in findings)
        assert all("\n" not in finding.text for finding in findings)
        return {finding.text.partition(":")[0]: finding for finding in findings}

    return run


def test_a_crash_a_wrong_result_and_a_missing_library_each_cost_one_line(examine: Examine) -> None:
    found = examine(opencv="honest", openvino="wrong", onnxruntime="crashing", torch="honest", mlx="missing")
    texts = [finding.text for finding in found.values()]
    assert [finding.level for finding in found.values()] == ["OK", "FAIL", "FAIL", "OK", "OK", "OK"]
    assert "the reference for the others" in texts[0]
    assert "wrong results: cosine 0." in texts[1]
    assert "must be 0.99999 at least" in texts[1]
    assert texts[2] == "onnxruntime, cpu, fp32: crashed: its process was killed by SIGSEGV"
    assert "cosine 1.0000000" in texts[3]
    assert "short batches cost nothing extra" in texts[3]
    assert texts[4] == "not installed: mlx; to add them: pip install 'resnet-pipe[mlx]'"
    assert texts[5] == "no GPU here: only the CPU was tested"
    assert "pip install --force-reinstall onnxruntime" in found["onnxruntime, cpu, fp32"].remedy


def test_an_engine_that_hangs_is_given_up(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "PATIENCE_S", 3.0)
    hanging, _ = examine(torch="hanging").values()
    assert hanging.level == "FAIL"
    assert hanging.text.startswith("torch")
    assert hanging.text.endswith(": given up: not ready within 3 s")


def test_the_reference_is_what_most_engines_agree_on_and_each_precision_has_its_own_threshold(
    examine: Examine,
) -> None:
    """The first engine gives no numbers, the second is exact enough for bf16 alone."""
    fakes = {"opencv": "infinite", "openvino": "coarse", "onnxruntime": "honest", "torch": "honest"}
    nan, bf16, fp32, reference, same = list(examine(**fakes).values())[:5]
    assert [one.level for one in (nan, bf16, fp32, reference, same)] == ["FAIL", "OK", "FAIL", "OK", "OK"]
    assert "it returns NaN or infinite values" in nan.text
    assert "bf16: cosine 0.999" in bf16.text
    assert "fp32: wrong results: cosine 0.999" in fp32.text
    assert "onnxruntime" in reference.text
    assert "the reference for the others" in reference.text


def test_what_keeps_an_engine_from_working_is_told_with_what_to_do(examine: Examine) -> None:
    """One crashes in one of its precisions, one lacks a library of its own, one an operator, one memory."""
    fakes = {"openvino": "half_crashing", "onnxruntime": "broken", "torch": "unable", "mlx": "starved"}
    _, bf16, fp32, broken, unable, starved = list(examine(opencv="honest", **fakes).values())[:6]
    assert bf16.text == "openvino, cpu, bf16: crashed: its process was killed by SIGSEGV"
    assert (fp32.level, "fp32: cosine 1.0000000" in fp32.text) == ("OK", True)
    reason = "libfrobnicate.so.1: cannot open shared object file"
    assert broken.text == f"onnxruntime: cv2 is installed, but cannot be imported: {reason}"
    assert unable.text.startswith("torch, cpu, fp32: cannot run: ")
    assert [one.level for one in (bf16, broken, unable, starved)] == ["FAIL"] * 4
    assert starved.remedy.startswith("give it more memory")
    assert [one.remedy for one in (bf16, broken, unable)] == [
        "pip install --force-reinstall openvino; or use another infer.engine",
        "pip install --force-reinstall onnxruntime; or use another infer.engine",
        "use another network",
    ]


def test_a_short_batch_that_costs_a_rebuild_is_a_warning(examine: Examine) -> None:
    finding = next(iter(examine(opencv="rebuilding").values()))
    assert finding.level == "WARN"
    cost_ms = int(finding.text.rpartition("a short batch rebuilds the network: ")[2].removesuffix(" ms"))
    assert cost_ms >= 100


def test_what_a_gpu_is_not_used_for_is_a_warning_with_the_reason(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    if cv2.cuda.getCudaEnabledDeviceCount():
        pytest.skip("this cv2 has CUDA")
    show_gpus(monkeypatch, 2)
    install()
    ENGINES["opencv"] = "resnet_pipe.infer.opencv"
    found = list(forward.check())
    names = [finding.text.partition(":")[0] for finding in found[1:]]
    assert names == ["opencv, cuda"] * 3, "the first GPU in both precisions, the second in one"
    assert [finding.level for finding in found] == ["OK", "WARN", "WARN", "WARN"]
    without = "this OpenCV has no CUDA"
    assert found[1].text == f"opencv, cuda:0, fp32: cannot run: {without}"
    assert "a cv2 with CUDA" in found[1].remedy
    assert found[3].text.startswith("opencv, cuda:1, fp32: ")


def test_without_cv2_the_line_says_so(examine: Examine) -> None:
    finding = examine(opencv="missing", torch="honest")["opencv"]
    assert (finding.level, finding.remedy) == ("FAIL", "pip install opencv-python-headless")


def test_without_a_place_for_temporary_files_there_is_a_line(
    examine: Examine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    finding = examine(opencv="honest")[
        "the engines cannot be tested, because no temporary file can be written"
    ]
    assert finding.level == "FAIL"
    assert "TMPDIR" in finding.remedy


def test_every_engine_that_is_installed_computes_the_network_right() -> None:
    """The real engines, with all the precisions they have on this CPU."""
    found = list(forward.check())
    tried = [finding for finding in found if finding.text.split()[0].strip(",") in ENGINES]
    for finding in found:
        refused = (
            finding.text.startswith("openvino, cpu, int8 with 8-bit weights: cannot run: ")
            and processor.saturates()
        )
        assert finding.level == ("WARN" if refused else "OK"), finding
    installed = {name for name in ENGINES if find_spec(engines.description(name).library)}
    expected = {(name, precision) for name in installed for precision in engines.devices(name)["cpu"]}
    expected |= {
        (name, f"int8 with {bits}-bit weights") for name, one in expected for bits in (7, 8) if one == "int8"
    }
    expected -= {(name, "int8") for name in installed}
    names = {line.text.partition(":")[0] for line in tried}
    assert {(name.split()[0].strip(","), name.split(", ")[2]) for name in names} == expected


def test_the_images_differ_enough_for_a_mistaken_one_to_be_seen(tmp_path: Path) -> None:
    """Features of different images must not agree as well as those of the same image have to."""
    network = small_network.write(tmp_path / "network.onnx")
    request = EngineRequest(
        network,
        small_network.PREPROCESSING.network_input,
        small_network.OUTPUTS,
        small_network.BATCH,
        "cpu",
        "fp32",
        1,
    )
    for values in load("opencv", request).infer(small_network.images()).values():
        unit = values / np.linalg.norm(values, axis=1, keepdims=True)
        similarity = unit @ unit.T
        np.fill_diagonal(similarity, 0)
        assert similarity.max() < 0.99
