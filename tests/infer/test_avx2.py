"""What engines promise holds on a processor with AVX2 and nothing newer.

oneDNN, in torch and in OpenVINO, can be held to that on a newer one, and this file does it. OpenVINO's own
code and ONNX Runtime cannot, so this proves less than such a processor itself does with all other tests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from resnet_pipe.machine import processor

ROOT = Path(__file__).parents[2]
HELD = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}

pytestmark = pytest.mark.skipif("avx2" not in processor.features(), reason="needs a processor with AVX2")


def held(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Execute a module of Python's in a process that is held to AVX2."""
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **HELD}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_the_contract_of_engines_holds(engine: str) -> None:
    pytest.importorskip("torch" if engine == "torch" else f"resnet_pipe.infer.{engine}")
    contract = str(Path(__file__).with_name("test_contract.py"))
    done = held("pytest", "-x", "-q", "-p", "no:cacheprovider", contract, "-k", f"[{engine}")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_doctor_tells_which_engine_computes_int8_models_of_8_bits_wrong() -> None:
    """Wrong where it is held to AVX2, refused where there is nothing else: the doctor's network saturates."""
    for engine in ("openvino", "onnxruntime"):
        pytest.importorskip(engine if engine != "openvino" else "resnet_pipe.infer.openvino")
    findings = json.loads(held("resnet_pipe", "doctor", "engines", "--json").stdout)["findings"]
    found = {
        (finding["text"].split()[0].strip(","), bits): finding
        for finding in findings
        for bits in (7, 8)
        if f"int8 with {bits}-bit weights: " in finding["text"]
    }
    levels = {key: finding["level"] for key, finding in found.items()}
    wrong = levels.pop(("openvino", 8))
    assert wrong == ("WARN" if processor.saturates() else "FAIL")
    assert "resnet-pipe convert --quantize" in found["openvino", 8]["remedy"]
    assert levels == {("openvino", 7): "OK", ("onnxruntime", 7): "OK", ("onnxruntime", 8): "OK"}
