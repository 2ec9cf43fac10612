"""The engine mlx: what it says about devices is so, and one thread of its own does the work."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from resnet_pipe.errors import DeviceError, EngineError, MissingExtraError
from resnet_pipe.infer.engine import devices, load
from tests import networks
from tests.infer.requests import photos, request


@pytest.fixture
def mx() -> ModuleType:
    module: ModuleType = pytest.importorskip("mlx.core")
    return module


@pytest.fixture
def residual(tmp_path: Path) -> Path:
    return networks.write_residual(tmp_path / "residual.onnx")


@pytest.fixture
def pretended_gpu(mx: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An MLX that takes the CPU for Apple's GPU, so that what is done for a GPU can be tried anywhere.

    It does not compile: for the CPU, that takes seconds.
    """
    if mx.metal.is_available():
        yield
        return
    monkeypatch.setattr(mx.metal, "is_available", lambda: True)
    monkeypatch.setattr(mx, "gpu", mx.cpu)
    mx.disable_compile()
    yield
    mx.enable_compile()


def test_a_missing_mlx_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlx.core", None)
    with pytest.raises(MissingExtraError, match=r"resnet-pipe\[mlx\]"):
        devices("mlx")


def test_where_there_is_no_apple_gpu_mps_is_refused_and_auto_says_why(
    mx: ModuleType, residual: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mx.metal, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="Apple's GPU") as caught:
        load("mlx", request(residual, device="mps"))
    assert caught.value.remedy
    assert "Apple's GPU" in load("mlx", request(residual, device="auto")).describe().note


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("fp16", 1e-2), ("bf16", 5e-2)])
def test_a_gpu_gives_what_the_cpu_gives_whatever_the_batch(
    residual: Path, pretended_gpu: None, precision: str, tolerance: float
) -> None:
    expected = load("mlx", request(residual)).infer(photos())
    engine = load("mlx", request(residual, device="mps", precision=precision))
    info = engine.describe()
    assert (info.device, info.precision, info.threads) == ("mps", precision, 0)
    for count in (4, 1, 3):
        for name, values in engine.infer(photos()[:count]).items():
            assert values.dtype == np.float32
            if precision != "fp32":
                assert not np.array_equal(values, expected[name][:count]), "this was float32"
            np.testing.assert_allclose(values, expected[name][:count], rtol=tolerance, atol=tolerance)


@pytest.mark.slow
def test_what_is_compiled_for_a_gpu_gives_the_same(
    mx: ModuleType, residual: Path, pretended_gpu: None
) -> None:
    if mx.gpu == mx.cpu and shutil.which("g++") is None:
        pytest.skip("MLX compiles for the CPU with g++")
    mx.enable_compile()
    expected = load("mlx", request(residual)).infer(photos())
    engine = load("mlx", request(residual, device="mps"))
    for count in (4, 1, 3):
        for name, values in engine.infer(photos()[:count]).items():
            np.testing.assert_allclose(values, expected[name][:count], rtol=1e-4, atol=1e-5)


def test_a_gpu_is_given_batches_of_the_smaller_size_after_shrinking(
    mx: ModuleType, residual: Path, pretended_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load("mlx", request(residual, device="mps"))
    sizes = []
    evaluate = mx.eval

    def counting(outputs: dict[str, Any]) -> None:
        sizes.append(len(outputs["logits"]))
        evaluate(outputs)

    monkeypatch.setattr(mx, "eval", counting)
    engine.infer(photos()[:1])
    engine.shrink(2)
    engine.infer(photos()[:1])
    assert sizes == [4, 2]


def test_what_mlx_raises_during_a_pass_is_an_engine_error(
    mx: ModuleType, residual: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load("mlx", request(residual))
    expected = engine.infer(photos())
    for error in (
        RuntimeError("[METAL] Command buffer execution failed:\nInsufficient Memory"),
        MemoryError(),
    ):
        with monkeypatch.context() as patch:

            def fail(*_: object, error: Exception = error) -> None:
                raise error

            patch.setattr(mx, "eval", fail)
            with pytest.raises(EngineError, match="batch of 4"):
                engine.infer(photos())
    for name, values in engine.infer(photos()).items():
        assert np.array_equal(values, expected[name])


def test_engines_in_one_process_do_not_disturb_each_other(mx: ModuleType, residual: Path) -> None:
    engines = [load("mlx", request(residual)) for _ in range(2)]
    expected = engines[0].infer(photos())
    with ThreadPoolExecutor(4) as threads:
        for found in threads.map(lambda index: engines[index % 2].infer(photos()), range(20)):
            assert all(np.array_equal(found[name], values) for name, values in expected.items())
