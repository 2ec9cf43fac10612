"""A YOLO that was exported with dynamic axes runs in every engine, with batches of any size."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest

from resnet_pipe.convert import simplify
from resnet_pipe.infer import engine
from resnet_pipe.model.model import read_sidecar
from tests.convert.detection.executed import ENGINES
from tests.convert.dynamic import write_dynamic_yolo
from tests.made_once import made_once
from tests.networks import YOLO_CROP, write_yolo
from tests.run.jobs import Cli


@pytest.fixture
def theirs(tmp_path_factory: pytest.TempPathFactory, cli: Cli) -> Path:
    """A folder with `theirs.onnx` and `models/theirs.onnx`, which was made of it. Do not change it."""

    def make(folder: Path) -> Path:
        path = write_dynamic_yolo(folder / "theirs.onnx")
        cli("convert", path, "--out", folder / "models").expect(0)
        return folder

    return made_once(tmp_path_factory, "dynamic-yolo", make)


@pytest.mark.parametrize("library", [name for name in ENGINES if name != "onnxruntime"])
def test_batches_of_any_size_give_what_the_file_gives(theirs: Path, library: str) -> None:
    images = np.random.default_rng(0).random((4, 3, YOLO_CROP, YOLO_CROP), np.float32)
    expected = ENGINES["onnxruntime"](onnx.load(theirs / "theirs.onnx"))(images)["output0"]
    run = ENGINES[library](onnx.load(theirs / "models" / "theirs.onnx"))
    for count in (1, 2, 4):
        np.testing.assert_allclose(run(images[:count])["output0"], expected[:count], rtol=1e-5, atol=1e-4)


def test_nothing_computes_a_shape_any_more(theirs: Path) -> None:
    converted = onnx.load(theirs / "models" / "theirs.onnx")
    operators = {node.op_type for node in converted.graph.node}
    assert operators.isdisjoint({"Shape", "Gather", "Range", "Expand", "ConstantOfShape", "Div", "Cast"})
    assert {"Reshape", "Resize", "Slice"} <= operators
    (image,), (boxes,) = converted.graph.input, converted.graph.output
    assert [axis.dim_value for axis in image.type.tensor_type.shape.dim] == [0, 3, YOLO_CROP, YOLO_CROP]
    assert [axis.dim_value for axis in boxes.type.tensor_type.shape.dim] == [0, 9, 84]


@pytest.mark.usefixtures("every_engine")
def test_every_engine_gives_what_the_file_gives(tmp_path: Path, cli: Cli) -> None:
    path = write_dynamic_yolo(tmp_path / "theirs.onnx")
    cli("convert", path, "--out", tmp_path / "models").expect(0)
    proved = read_sidecar(tmp_path / "models" / "theirs.json").proved
    assert set(proved) == {name for name in engine.ENGINES if find_spec(engine.description(name).library)}


STAYS = {
    "a number that depends on the batch": """
        pooled = GlobalAveragePool(input)
        number = Cast<to = 1>(count)
        more = Mul(pooled, number)
        y = Flatten(more)
    """,
    "a target that a branch takes": """
        pooled = GlobalAveragePool(input)
        target = Concat<axis = 0>(count, rest)
        largest = ReduceMax<keepdims = 0>(input)
        some = Greater(largest, none)
        y = If (some) <
            then_branch = yes () => (float[a, b] one) { one = Reshape(pooled, target) },
            else_branch = no () => (float[c, d] other) { other = Flatten(pooled) }
        >
    """,
}


@pytest.mark.parametrize(("body", "most"), [*zip(STAYS.values(), (3, 1), strict=True)], ids=STAYS)
def test_what_cannot_be_written_down_stays(body: str, most: float) -> None:
    proto = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        network (float[N, 3, 8, 8] input) => (float[N, 3] y)
        <int64[1] zero = {{0}}, int64[1] rest = {{-1}}, float none = {{0}}>
        {{
            shape = Shape(input)
            count = Gather<axis = 0>(shape, zero)
            {body}
        }}
    """)
    made = simplify.simplified(proto)
    assert "Shape" in {node.op_type for node in made.graph.node}
    images = np.ones((3, 3, 8, 8), np.float32)
    assert np.array_equal(ENGINES["onnxruntime"](made)(images)["y"], np.full((3, 3), most))


@pytest.mark.parametrize(("said", "size"), [("64", (64, 64)), ("(64, 96)", (64, 96))])
def test_the_size_is_the_one_that_the_metadata_says(
    tmp_path: Path, cli: Cli, said: str, size: tuple[int, int]
) -> None:
    path = write_dynamic_yolo(tmp_path / "theirs.onnx", imgsz=said)
    cli("convert", path, "--out", tmp_path / "models").expect(0)
    assert read_sidecar(tmp_path / "models" / "theirs.json").preprocessing.size == size


def test_a_size_that_nobody_says_is_640_and_that_is_said(tmp_path: Path, cli: Cli) -> None:
    path = write_dynamic_yolo(tmp_path / "theirs.onnx", imgsz=None)
    said = cli("convert", path, "--out", tmp_path / "models").expect(0).stdout
    assert "assumed images of 640 x 640, as the file does not say it" in said
    assert read_sidecar(tmp_path / "models" / "theirs.json").preprocessing.size == (640, 640)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("[70, 64]", "'imgsz' is [70, 64], and no multiple of its stride, 32"),
        ("50", "'imgsz' is 50, and no multiple of its stride, 32"),
        ("[64]", "'imgsz' is [64], and not [height, width] in pixels, up to 8192"),
        ("[64, 0]", "'imgsz' is [64, 0], and not [height, width]"),
        ("[64, 99999]", "'imgsz' is [64, 99999], and not [height, width]"),
        ("64.0", "'imgsz' is 64.0, and not [height, width]"),
        ("True", "'imgsz' is True, and not [height, width]"),
        ("{64: 64}", "'imgsz' is {64: 64}, and not [height, width]"),
        ("large", "its metadata 'imgsz' is no list of values"),
    ],
)
def test_a_size_that_no_image_can_have_is_refused(tmp_path: Path, cli: Cli, said: str, text: str) -> None:
    path = write_dynamic_yolo(tmp_path / "theirs.onnx", imgsz=said)
    assert text in cli("convert", path, "--out", tmp_path / "models").expect(2).stderr
    assert not (tmp_path / "models").exists()


LETTERBOX = "fit: pad, pad_value: 114, interpolation: linear, mean: [0, 0, 0], std: [1, 1, 1]"


def test_a_preprocessing_of_ones_own_says_the_size_whatever_the_metadata_says(
    tmp_path: Path, cli: Cli
) -> None:
    path = write_dynamic_yolo(tmp_path / "theirs.onnx", imgsz="large")
    options = ("--out", tmp_path / "models", "--preprocess", f"{{crop: 96, {LETTERBOX}}}")
    cli("convert", path, *options).expect(0)
    (image,) = onnx.load(tmp_path / "models" / "theirs.onnx").graph.input
    assert [axis.dim_value for axis in image.type.tensor_type.shape.dim] == [0, 3, 96, 96]


def test_images_of_many_sizes_and_of_another_size_are_refused(tmp_path: Path, cli: Cli) -> None:
    out = ("--out", tmp_path / "models", "--preprocess")
    varying = "{fit: shortest, resize: 64, longest: 96, mean: [0, 0, 0], std: [1, 1, 1]}"
    path = write_dynamic_yolo(tmp_path / "theirs.onnx")
    assert "a YOLO takes images of one size" in cli("convert", path, *out, varying).expect(2).stderr
    path = write_yolo(tmp_path / "fixed.onnx")
    said = cli("convert", path, *out, f"{{crop: 96, {LETTERBOX}}}").expect(2).stderr
    assert "its input is 64 x 64, and images would be 96 x 96" in said
