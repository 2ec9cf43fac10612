"""ONNX files that others have exported are adopted: cleaned, described, and compared with themselves."""

from __future__ import annotations

import errno
import io
import json
import os
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from resnet_pipe.convert import check
from resnet_pipe.convert.original import normalized
from resnet_pipe.convert.photographs import photographs
from resnet_pipe.infer.engine import ENGINES, description
from resnet_pipe.model.model import Sidecar, read_sidecar
from resnet_pipe.store import atomic
from tests.convert.elsewhere import PROCESSOR, steady
from tests.run.commands import Result
from tests.run.jobs import Cli

PREPROCESS = "{resize: 72, crop: 64, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}"
CUDA = {"Conv", "Relu", "Add", "MaxPool", "GlobalAveragePool", "Flatten", "Gemm"}
"""The operators that cv2.dnn executes with CUDA and that a ResNet needs."""


@pytest.fixture(scope="module")
def exported() -> bytes:
    """A ResNet of four blocks as the old exporter writes it: batch norms, `pixel_values`, `logits`."""
    from torchvision.models.resnet import Bottleneck, ResNet

    torch.manual_seed(0)
    network = steady(ResNet(Bottleneck, [1, 1, 1, 1], num_classes=7))
    return export(network)


def export(network: torch.nn.Module) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is old
        torch.onnx.export(
            network,
            (torch.zeros(1, 3, 64, 64),),
            file,  # type: ignore[arg-type]
            dynamo=False,
            do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE,
            input_names=["pixel_values"],
            output_names=["logits"],
            dynamic_axes={"pixel_values": {0: "batch"}, "logits": {0: "batch"}},
            opset_version=13,
        )
    return file.getvalue()


def adopt(cli: Cli, file: Path, *options: str) -> Result:
    return cli("convert", file, "--out", file.parent / "models", "--preprocess", PREPROCESS, *options)


def outputs(path: Path, sidecar: Sidecar) -> dict[str, NDArray[np.float32]]:
    """Return what ONNX Runtime gives for photographs."""
    images = normalized(photographs(sidecar.preprocessing), sidecar.preprocessing.network_input)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    found = session.run(None, {given.name: images.astype(np.float16 if "16" in given.type else np.float32)})
    return {output.name: values for output, values in zip(session.get_outputs(), found, strict=True)}


def write(path: Path, model: bytes | ModelProto) -> Path:
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    return path


def test_a_file_is_adopted_with_features_that_it_did_not_give(
    exported: bytes, tmp_path: Path, cli: Cli
) -> None:
    assert "BatchNormalization" in {node.op_type for node in onnx.load_from_string(exported).graph.node}
    file = write(tmp_path / "theirs.onnx", exported)
    adopt(cli, file).expect(0)
    ours = tmp_path / "models" / "theirs.onnx"
    sidecar = read_sidecar(ours.with_suffix(".json"))
    graph = onnx.load(ours).graph
    assert {node.op_type for node in graph.node} == CUDA
    assert [value.name for value in (*graph.input, *graph.output)] == ["input", "logits", "features"]
    assert (sidecar.source, sidecar.features, sidecar.classes) == (
        "onnx",
        2048,
        [f"class {index}" for index in range(7)],
    )
    assert any("labels" in one for one in sidecar.assumed)
    assert file.read_bytes() == exported
    found, expected = outputs(ours, sidecar), outputs(file, sidecar)
    np.testing.assert_allclose(found["logits"], expected["logits"], rtol=1e-3, atol=1e-4)
    assert found["features"].shape == (10, 2048)


def half(model: ModelProto) -> ModelProto:
    """Return a network in half precision."""
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    return model


def test_half_precision_becomes_float32(exported: bytes, tmp_path: Path, cli: Cli) -> None:
    file = write(tmp_path / "half.onnx", half(onnx.load_from_string(exported)))
    adopt(cli, file).expect(0)
    model = onnx.load(tmp_path / "models" / "half.onnx")
    assert {tensor.data_type for tensor in model.graph.initializer} == {TensorProto.FLOAT}


def test_weights_beside_the_file_are_taken_in(exported: bytes, tmp_path: Path, cli: Cli) -> None:
    onnx.save(
        onnx.load_from_string(exported),
        tmp_path / "split.onnx",
        save_as_external_data=True,
        location="split.bin",
        size_threshold=0,
    )
    adopt(cli, tmp_path / "split.onnx").expect(0)
    sidecar = read_sidecar(tmp_path / "models" / "split.json")
    assert "split.bin" in sidecar.files
    assert [path.name for path in sorted((tmp_path / "models").iterdir())] == ["split.json", "split.onnx"]


def ending_in(model: ModelProto, *operators: str) -> ModelProto:
    """Return a network whose output goes through operators first."""
    graph = model.graph
    last = graph.output[0].name
    for operator in operators:
        graph.node.append(helper.make_node(operator, [last], [f"{last}_{operator}"]))
        last = f"{last}_{operator}"
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(last, TensorProto.FLOAT, ["batch", 7]))
    return model


def test_a_network_that_ends_in_a_softmax_keeps_it(exported: bytes, tmp_path: Path, cli: Cli) -> None:
    file = write(tmp_path / "soft.onnx", ending_in(onnx.load_from_string(exported), "Identity", "Softmax"))
    adopt(cli, file).expect(0)
    sidecar = read_sidecar(tmp_path / "models" / "soft.json")
    found = outputs(tmp_path / "models" / "soft.onnx", sidecar)
    np.testing.assert_allclose(found["logits"].sum(axis=1), 1, rtol=1e-4)
    assert sidecar.features == 2048


def test_a_network_without_a_classifier_gives_features(exported: bytes, tmp_path: Path, cli: Cli) -> None:
    model = onnx.load_from_string(exported)
    flat = next(node for node in model.graph.node if node.op_type == "Flatten").output[0]
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(flat, TensorProto.FLOAT, ["batch", 2048]))
    adopt(cli, write(tmp_path / "features.onnx", model)).expect(0)
    sidecar = read_sidecar(tmp_path / "models" / "features.json")
    assert (sidecar.features, sidecar.classes) == (2048, [])


def test_the_squeeze_of_an_se_network_is_a_global_pool(tmp_path: Path, cli: Cli) -> None:
    import timm

    torch.manual_seed(0)
    network = steady(timm.create_model("test_resnet", pretrained=False, num_classes=7, exportable=True))

    class Squeezed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            features = self.network.forward_features(image)
            gate = torch.sigmoid(features.mean((2, 3), keepdim=True))
            found: torch.Tensor = self.network.forward_head(features * gate)
            return found

    adopt(cli, write(tmp_path / "se.onnx", export(Squeezed().eval()))).expect(0)
    operators = [node.op_type for node in onnx.load(tmp_path / "models" / "se.onnx").graph.node]
    assert "ReduceMean" not in operators
    assert operators.count("GlobalAveragePool") == 2


def test_what_lies_beside_it_says_how_images_are_prepared(exported: bytes, tmp_path: Path, cli: Cli) -> None:
    file = write(tmp_path / "theirs.onnx", exported)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PROCESSOR | {"size": 64}))
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {str(n): f"no {n}" for n in range(7)}}))
    cli("convert", file, "--out", tmp_path / "models").expect(0)
    sidecar = read_sidecar(tmp_path / "models" / "theirs.json")
    assert (sidecar.preprocessing.resize, sidecar.preprocessing.crop) == (73, 64)
    assert sidecar.classes == [f"no {n}" for n in range(7)]
    assert set(sidecar.files) == {"preprocessor_config.json", "config.json"}


STEPS: list[dict[str, Any]] = [
    {"type": "convert_rgb"},
    {"type": "resize", "size": 70, "interpolation": "bicubic", "max_size": None, "antialias": True},
    {"type": "center_crop", "size": [64, 64]},
    {"type": "maybe_to_tensor"},
    {"type": "normalize", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
]


def test_a_list_of_steps_beside_it_is_followed(exported: bytes, tmp_path: Path, cli: Cli) -> None:
    file = write(tmp_path / "theirs.onnx", exported)
    (tmp_path / "preprocess.json").write_text(json.dumps({"test": STEPS, "val": STEPS}))
    cli("convert", file, "--out", tmp_path / "models").expect(0)
    found = read_sidecar(tmp_path / "models" / "theirs.json").preprocessing
    assert (found.resize, found.crop, found.interpolation) == (70, 64, "bicubic")


def test_nothing_beside_it_is_an_error_that_says_what_to_do(
    exported: bytes, tmp_path: Path, cli: Cli
) -> None:
    result = cli("convert", write(tmp_path / "theirs.onnx", exported), "--out", tmp_path / "models").expect(2)
    assert "--preprocess" in result.stderr
    assert not list((tmp_path / "models").iterdir())


def test_images_of_another_size_than_a_fixed_input_are_an_error_with_the_crop_that_fits(
    exported: bytes, tmp_path: Path, cli: Cli
) -> None:
    file = write(tmp_path / "theirs.onnx", exported)
    said = adopt(cli, file, "--preprocess", PREPROCESS.replace("64", "32")).expect(2).stderr
    assert "its input is 64 x 64, and images would be 32 x 32" in said
    assert "crop: 64, mean" in said


def test_labels_that_only_a_tag_suggests_are_noted_as_assumed(tmp_path: Path, cli: Cli) -> None:
    from torchvision.models.resnet import BasicBlock, ResNet

    torch.manual_seed(0)
    file = write(tmp_path / "own.onnx", export(steady(ResNet(BasicBlock, [1, 1, 1, 1], num_classes=1000))))
    told = {"num_classes": 1000, "pretrained_cfg": {"tag": "a1_in1k", "input_size": [3, 64, 64]}}
    file.with_name("config.json").write_text(json.dumps(told))
    adopt(cli, file)
    sidecar = read_sidecar(tmp_path / "models" / "own.json")
    assert sidecar.classes[1] == "goldfish"
    assert any("a1_in1k" in one for one in sidecar.assumed)


def test_a_file_is_never_replaced_by_its_clean_copy(exported: bytes, tmp_path: Path, cli: Cli) -> None:
    file = write(tmp_path / "theirs.onnx", exported)
    result = cli("convert", file, "--out", tmp_path, "--preprocess", PREPROCESS).expect(2)
    assert "--name" in result.stderr
    assert file.read_bytes() == exported
    cli("convert", file, "--out", tmp_path, "--preprocess", PREPROCESS, "--name", "ours").expect(0)
    assert read_sidecar(tmp_path / "ours.json").name == "ours"


def test_converting_it_again_does_nothing(exported: bytes, tmp_path: Path, cli: Cli) -> None:
    file = write(tmp_path / "theirs.onnx", exported)
    adopt(cli, file).expect(0)
    assert "unchanged" in adopt(cli, file).expect(0).stdout
    assert "wrote" in cli(
        "convert", file, "--out", tmp_path / "models", "--preprocess", PREPROCESS.replace("72", "80")
    ).expect(0).stdout  # fmt: skip


def test_another_file_of_the_same_name_does_not_replace_a_model(
    exported: bytes, tmp_path: Path, cli: Cli
) -> None:
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
    one = write(tmp_path / "one" / "model.onnx", exported)
    two = write(tmp_path / "two" / "model.onnx", ending_in(onnx.load_from_string(exported), "Softmax"))
    options = ("--out", tmp_path / "models", "--preprocess", PREPROCESS)
    cli("convert", one, *options).expect(0)
    before = (tmp_path / "models" / "model.onnx").read_bytes()
    assert "is another network" in cli("convert", two, *options).expect(2).stderr
    assert (tmp_path / "models" / "model.onnx").read_bytes() == before
    cli("convert", one, "--out", tmp_path / "models", "--preprocess", PREPROCESS.replace("72", "80")).expect(
        0
    )


def test_a_file_of_the_user_in_the_place_of_the_sidecar_is_kept(
    exported: bytes, tmp_path: Path, cli: Cli
) -> None:
    file = write(tmp_path / "theirs.onnx", exported)
    (tmp_path / "mine.json").write_text("{}")
    result = cli("convert", file, "--out", tmp_path, "--preprocess", PREPROCESS, "--name", "mine").expect(2)
    assert "mine.json is there already" in result.stderr
    assert (tmp_path / "mine.json").read_text() == "{}"


@pytest.mark.parametrize("name", ["../escaped", "sub/name", "", ".hidden", "x" * 300])
def test_the_name_of_a_model_is_no_path(exported: bytes, tmp_path: Path, cli: Cli, name: str) -> None:
    file = write(tmp_path / "theirs.onnx", exported)
    result = cli("convert", file, "--out", tmp_path / "models", "--preprocess", PREPROCESS, "--name", name)
    assert "is not the name of a model" in result.expect(2).stderr


def test_what_a_killed_conversion_has_left_is_repaired_and_nothing_stays(
    exported: bytes, tmp_path: Path, cli: Cli
) -> None:
    file = write(tmp_path / "theirs.onnx", exported)
    adopt(cli, file).expect(0)
    ours = tmp_path / "models" / "theirs.onnx"
    before = ours.read_bytes()
    ours.unlink()  # the sidecar goes first
    (tmp_path / "models" / ".theirs.onnx.tmp").write_bytes(before[:100])
    adopt(cli, file).expect(0)
    assert ours.read_bytes() == before
    assert sorted(path.name for path in ours.parent.iterdir()) == ["theirs.json", "theirs.onnx"]


def test_a_sidecar_that_cannot_be_written_leaves_nothing(
    exported: bytes, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic, "write_bytes", full)
    assert "No space left" in adopt(cli, write(tmp_path / "theirs.onnx", exported)).expect(2).stderr
    assert not list((tmp_path / "models").iterdir())


def test_weights_may_be_inputs_as_well_as_in_old_files(exported: bytes, tmp_path: Path, cli: Cli) -> None:
    model = onnx.load_from_string(exported)
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        )
    adopt(cli, write(tmp_path / "old.onnx", model)).expect(0)


@pytest.mark.parametrize(
    "steps",
    [
        [STEPS[2], STEPS[1], STEPS[4]],  # cropped, then resized
        [{**STEPS[1], "antialias": False}, *STEPS[2:]],
        [{**STEPS[1], "max_size": 100}, *STEPS[2:]],
        [{**STEPS[1], "padding": 4}, *STEPS[2:]],
        ["resize", *STEPS[2:]],
        [{"type": "pad_to_size", "size": [64, 64]}, *STEPS[1:]],
    ],
)
def test_steps_that_cannot_be_done_here_are_refused(
    exported: bytes, tmp_path: Path, cli: Cli, steps: list[object]
) -> None:
    file = write(tmp_path / "theirs.onnx", exported)
    (tmp_path / "preprocess.json").write_text(json.dumps({"val": steps}))
    assert "the step" in cli("convert", file, "--out", tmp_path / "models").expect(2).stderr


def test_a_pipe_is_no_network(tmp_path: Path, cli: Cli) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    assert (
        "is not a file" in cli("convert", tmp_path / "pipe.onnx", "--preprocess", PREPROCESS).expect(2).stderr
    )


@pytest.mark.usefixtures("every_engine")
def test_it_is_compared_in_every_installed_engine(exported: bytes, tmp_path: Path, cli: Cli) -> None:
    adopt(cli, write(tmp_path / "theirs.onnx", exported)).expect(0)
    proved = read_sidecar(tmp_path / "models" / "theirs.json").proved
    assert set(proved) == {name for name in ENGINES if find_spec(description(name).library)}
    assert all(0 <= difference <= check.TOLERANCE for difference in proved.values())


@pytest.mark.usefixtures("every_engine")
def test_an_engine_that_gives_something_else_is_not_claimed(
    exported: bytes, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs_of = check._outputs

    def wrong(name: str, *others: Any) -> dict[str, NDArray[np.float32]]:  # noqa: ANN401
        found = outputs_of(name, *others)
        return {output: values * 1.01 for output, values in found.items()} if name == "opencv" else found

    monkeypatch.setattr(check, "ENGINES", {name: ENGINES[name] for name in ("opencv", "onnxruntime")})
    monkeypatch.setattr(check, "_outputs", wrong)
    result = adopt(cli, write(tmp_path / "theirs.onnx", exported)).expect(0)
    assert "do not use this model with opencv: its results differ by" in result.stdout
    assert set(read_sidecar(tmp_path / "models" / "theirs.json").proved) == {"onnxruntime"}
