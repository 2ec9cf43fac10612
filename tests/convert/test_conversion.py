"""Converting a recipe gives an ONNX file that is the source network, and a sidecar that describes it."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from resnet_pipe.convert import check
from resnet_pipe.convert.conversion import Conversion, convert
from resnet_pipe.convert.original import normalized
from resnet_pipe.convert.photographs import photographs
from resnet_pipe.convert.recipe import ARCHITECTURES
from resnet_pipe.errors import DocumentError, ModelError, UsageError
from resnet_pipe.model.model import open_model, read_sidecar
from resnet_pipe.store.digest import file_sha256
from tests.networks import write_tiny


def given(result: Conversion) -> NDArray[np.float32]:
    """Return photographs as the network's input."""
    preprocessing = result.sidecar.preprocessing
    return normalized(photographs(preprocessing), preprocessing.network_input)


def outputs(path: Path, batch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    net = cv2.dnn.readNetFromONNX(str(path))
    names = list(net.getUnconnectedOutLayersNames())
    net.setInput(batch)
    return {name: np.array(value) for name, value in zip(names, net.forward(names), strict=True)}


def files_in(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_the_graph_has_one_input_and_two_outputs_with_a_dynamic_batch(resnet18: Conversion) -> None:
    graph = onnx.load(resnet18.path).graph
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert shapes == {"input": ["N", 3, 224, 224], "logits": ["N", 1000], "features": ["N", 512]}
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_the_graph_is_clean(resnet18: Conversion) -> None:
    model = onnx.load(resnet18.path, load_external_data=False)
    operators = Counter(node.op_type for node in model.graph.node)
    assert operators == {
        "Conv": 20, "Relu": 17, "Add": 8, "MaxPool": 1, "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1
    }  # fmt: skip
    used = {name for node in model.graph.node for name in node.input}
    produced = {name for node in model.graph.node for name in node.output}
    assert {tensor.name for tensor in model.graph.initializer} <= used
    assert produced <= used | {value.name for value in model.graph.output}
    assert not model.metadata_props
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    assert files_in(resnet18.path.parent) == {"resnet18.onnx", "resnet18.json"}
    onnx.checker.check_model(model, full_check=True)


def test_cv2_gives_the_same_for_any_batch_size(resnet18: Conversion) -> None:
    batch = given(resnet18)
    whole = outputs(resnet18.path, batch)
    for count in (1, 3):
        for name, values in outputs(resnet18.path, batch[:count]).items():
            np.testing.assert_allclose(values, whole[name][:count], rtol=1e-3, atol=1e-4)


def test_the_logits_of_random_weights_are_finite_and_vary_between_images(resnet18: Conversion) -> None:
    logits = outputs(resnet18.path, given(resnet18))["logits"]
    assert np.isfinite(logits).all()
    assert logits.std(axis=0).mean() > 0.1 * logits.std()


def test_the_sidecar_says_what_the_file_is(resnet18: Conversion) -> None:
    sidecar = read_sidecar(resnet18.path.with_suffix(".json"))
    assert sidecar == resnet18.sidecar
    assert sidecar.onnx_sha256 == file_sha256(resnet18.path)
    assert sidecar.file_bytes == resnet18.path.stat().st_size
    assert (sidecar.depth, sidecar.features, len(sidecar.classes)) == (18, 512, 1000)
    assert sidecar.weights.kind == sidecar.weights.requested == "random"
    assert sidecar.preprocessing.resize == 256
    assert 0 < sidecar.max_relative_difference <= check.TOLERANCE
    assert set(sidecar.versions) == {"torch", "torchvision", "onnx", "onnxscript"}
    assert open_model(resnet18.path).sidecar == sidecar


def test_parameters_and_macs_agree_with_the_graph(resnet18: Conversion) -> None:
    from torchvision.models import resnet18 as network

    assert resnet18.sidecar.params == sum(parameter.numel() for parameter in network().parameters())
    graph = onnx.shape_inference.infer_shapes(onnx.load(resnet18.path)).graph
    weights = {tensor.name: tensor.dims for tensor in graph.initializer}
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.output)
    }
    macs = 0
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm"):
            area = int(np.prod(shapes[node.output[0]][2:], dtype=int))
            macs += int(np.prod(weights[node.input[1]])) * area
    assert resnet18.sidecar.macs == macs


def test_converting_with_nothing_changed_does_nothing(resnet18: Conversion, tmp_path: Path) -> None:
    for path in resnet18.path.parent.iterdir():
        shutil.copy2(path, tmp_path)
    before = {path: path.stat() for path in tmp_path.iterdir()}
    again = convert("resnet18", weights="random", out=tmp_path)
    assert not again.changed
    assert {path: path.stat().st_ino for path in tmp_path.iterdir()} == {
        path: stat.st_ino for path, stat in before.items()
    }


@pytest.mark.parametrize("damage", ["onnx", "json", "no json"])
def test_a_damaged_file_is_converted_again_to_the_same_bytes(
    resnet18: Conversion, tmp_path: Path, request: pytest.FixtureRequest, damage: str
) -> None:
    if damage == "onnx":  # once, the exporter as well must give the same bytes
        request.getfixturevalue("own_export")
    for path in resnet18.path.parent.iterdir():
        shutil.copy2(path, tmp_path)
    if damage == "no json":
        (tmp_path / "resnet18.json").unlink()
    else:
        file = tmp_path / f"resnet18.{damage}"
        file.write_bytes(file.read_bytes()[:-7])
    again = convert("resnet18", weights="random", out=tmp_path)
    assert again.changed
    assert open_model(again.path).sha256 == resnet18.sidecar.onnx_sha256


@pytest.mark.parametrize("sidecar", [None, "{}"])
def test_a_file_of_the_user_that_has_the_name_of_a_recipe_is_kept(
    tmp_path: Path, sidecar: str | None
) -> None:
    theirs = write_tiny(tmp_path / "resnet18.onnx")
    before = theirs.read_bytes()
    if sidecar is not None:
        theirs.with_suffix(".json").write_text(sidecar)
    with pytest.raises(UsageError, match="was not made by this program") as caught:
        convert("resnet18", weights="random", out=tmp_path)
    assert "--name" in str(caught.value.remedy)
    assert theirs.read_bytes() == before


def test_a_file_that_is_not_the_network_is_never_kept(
    resnet18: Conversion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "TOLERANCE", 1e-12)
    with pytest.raises(ModelError, match="no engine gives what the original gives"):
        convert("resnet18", weights="random", out=tmp_path)
    assert files_in(tmp_path) == set()


def test_a_failed_conversion_leaves_the_old_files(
    resnet18: Conversion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in resnet18.path.parent.iterdir():
        shutil.copy2(path, tmp_path)
    with pytest.raises(ModelError):
        convert("resnet18", weights="nowhere.pt", out=tmp_path)
    assert open_model(tmp_path / "resnet18.onnx").sidecar == resnet18.sidecar


def test_a_directory_that_cannot_be_made_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="Not a directory") as caught:
        convert("resnet18", weights="random", out=tmp_path / "file" / "models")
    assert "--out" in str(caught.value.remedy)


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="resnet19") as caught:
        convert("resnet19", out=tmp_path)
    assert "resnet18, resnet34, resnet50, resnet101, resnet152" in str(caught.value)


def test_a_wrong_recipe_names_every_problem_and_its_place(tmp_path: Path) -> None:
    recipe = tmp_path / "net.yaml"
    recipe.write_text("source: torchvision\narchitecture: resnet19\nwieghts: random\n")
    with pytest.raises(DocumentError) as caught:
        convert(str(recipe), out=tmp_path)
    text = str(caught.value)
    assert "net.yaml:2:1: architecture" in text
    assert "net.yaml:3:1: unknown key 'wieghts'; did you mean 'weights'?" in text
    assert "preprocess is missing" in text


@pytest.mark.slow
@pytest.mark.parametrize("depth", ARCHITECTURES.values())
def test_every_depth_converts(depth: int, tmp_path: Path) -> None:
    result = convert(f"resnet{depth}", weights="random", out=tmp_path)
    batch = given(result)
    logits = outputs(result.path, batch)["logits"]
    assert np.isfinite(logits).all()
    assert logits.std(axis=0).mean() > 0.1 * logits.std()
    assert result.sidecar.features == (512 if depth < 50 else 2048)
