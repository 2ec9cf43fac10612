"""Normalisation inside the graph, as GPUs get it: executed here on the CPU, by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper

from resnet_pipe.infer import extract
from resnet_pipe.infer.batches import Normalizer
from resnet_pipe.infer.engine import load
from tests import networks
from tests.infer.requests import Batch, photos, preprocessing, request

onnxruntime = pytest.importorskip("onnxruntime")


def execute(network: bytes, batch: Batch, output: str) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    result: NDArray[np.float32] = session.run([output], {extract.PIXELS: batch})[0]
    return result


@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_the_graph_normalises_every_grey_level_as_the_cpu_does(
    tmp_path: Path, color: Literal["rgb", "bgr"]
) -> None:
    crop = 16
    levels = np.arange(crop * crop, dtype=np.uint8).reshape(1, crop, crop, 1)
    batch = np.concatenate([levels, levels[:, ::-1], levels[:, :, ::-1]], axis=3)
    network = networks.write_pixels(tmp_path / "pixels.onnx", crop)
    expected = Normalizer(preprocessing(crop, color), 1)
    expected.fill(batch)
    found = execute(extract.normalizing(network, preprocessing(crop, color), half=False), batch, "features")
    np.testing.assert_allclose(found.reshape(expected.output.shape), expected.output, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("batch", ["N", 4])
def test_it_takes_the_batch_sizes_that_the_network_takes(tmp_path: Path, batch: int | str) -> None:
    nodes = [helper.make_node("Flatten", ["input"], ["logits"])]
    network = networks.write(tmp_path / "flat.onnx", nodes, {"logits": 3 * 32 * 32}, {}, batch=batch)
    session = onnxruntime.InferenceSession(extract.normalizing(network, preprocessing(), half=False))
    (image,) = session.get_inputs()
    assert (image.name, image.type, image.shape) == (extract.PIXELS, "tensor(uint8)", [batch, 32, 32, 3])


def test_in_half_precision_it_is_near_and_gives_float32(tmp_path: Path) -> None:
    residual = networks.write_residual(tmp_path / "residual.onnx")
    expected = load("onnxruntime", request(residual)).infer(photos())["logits"]
    found = execute(extract.normalizing(residual, preprocessing(), half=True), photos(), "logits")
    assert found.dtype == np.float32
    assert not np.array_equal(found, expected)
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-2)
