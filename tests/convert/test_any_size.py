"""Networks that take images of any size are adopted; what cannot be made of them is refused in words."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from resnet_pipe.convert.graph import multiply_accumulates
from resnet_pipe.model.model import read_sidecar
from tests.networks import ANY, MEAN, STD, write_residual
from tests.photographs import encode, photograph
from tests.run.jobs import Cli

PREPROCESS = f"{{fit: shortest, resize: 32, longest: 64, multiple: 16, mean: {MEAN}, std: {STD}}}"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many photographs as an int8 model is calibrated with at least."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(20):
        (folder / f"{number}.png").write_bytes(encode(photograph().resize((40, 30)), "PNG"))
    return folder


def test_a_network_of_any_size_is_adopted_with_its_fit_and_int8_of_it_is_refused(
    cli: Cli, tmp_path: Path, images: Path
) -> None:
    path = write_residual(tmp_path / "net.onnx", ANY)
    options = ("--out", tmp_path / "models", "--preprocess", PREPROCESS)
    cli("convert", path, *options).expect(0)
    sidecar = read_sidecar(tmp_path / "models" / "net.json")
    assert (sidecar.preprocessing.fit, sidecar.preprocessing.size) == ("shortest", (32, 64))
    assert "opencv" in sidecar.proved
    fixed = onnx.load(write_residual(tmp_path / "fixed.onnx", 32))
    assert sidecar.macs > multiply_accumulates(fixed, (32, 32)) > 0
    (pixels,) = onnx.load(tmp_path / "models" / "net.onnx").graph.input
    assert [axis.dim_value for axis in pixels.type.tensor_type.shape.dim] == [0, 3, 0, 0]
    result = cli("convert", path, *options, "--quantize", "--calibration", images).expect(2)
    assert "for which there is no int8 yet" in result.stderr


def test_a_network_of_one_size_is_not_adopted_for_images_of_many(cli: Cli, tmp_path: Path) -> None:
    path = write_residual(tmp_path / "net.onnx", 32)
    result = cli("convert", path, "--out", tmp_path / "models", "--preprocess", PREPROCESS).expect(2)
    assert "its input is" in result.stderr
    path = write_residual(tmp_path / "half.onnx", ("H", 64))
    result = cli("convert", path, "--out", tmp_path / "models", "--preprocess", PREPROCESS).expect(2)
    assert "its input is any x 64, and fit: shortest makes images of many sizes" in result.stderr
