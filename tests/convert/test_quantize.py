"""An int8 model is made of photographs, measured on others, and never left behind half done or wrong."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from resnet_pipe.convert import calibration, catalogue, quantize
from resnet_pipe.convert.conversion import Conversion
from resnet_pipe.convert.quantize import Bits, convert_int8
from resnet_pipe.errors import DocumentError, ExitCode, MissingExtraError, ModelError, UsageError
from resnet_pipe.infer.engine import EngineRequest, load
from resnet_pipe.job import job as jobs
from resnet_pipe.job.resolve import resolve
from resnet_pipe.model import model as models
from resnet_pipe.model.model import open_model, read_sidecar
from resnet_pipe.model.network import inspect
from resnet_pipe.store.digest import file_sha256
from tests.networks import preprocess_yaml, write_residual
from tests.photographs import NAMES, encode, photograph
from tests.run.commands import Result
from tests.run.jobs import Cli

pytest.importorskip("onnxruntime", reason="needs the extra `onnxruntime`")

COUNT = 20


def add_photographs(folder: Path, count: int) -> None:
    """Write different parts of the photographs as JPEGs."""
    folder.mkdir(exist_ok=True)
    for index in range(count):
        image = photograph(NAMES[index % len(NAMES)])
        left, top = (index * 37) % (image.width // 3), (index * 23) % (image.height // 3)
        part = image.crop((left, top, left + image.width // 2, top + image.height // 2))
        (folder / f"{index:02}.jpg").write_bytes(encode(part, "JPEG", quality=90))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many photographs as it takes, and one damaged file. Do not change the folder."""
    folder = tmp_path_factory.mktemp("calibration")
    add_photographs(folder, COUNT)
    (folder / "99\x1b[2J.jpg").write_bytes((folder / "00.jpg").read_bytes()[:2000])
    return folder


def start(resnet18: Conversion, out: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the command, with the float32 model already there."""
    out.mkdir(exist_ok=True)
    for path in (resnet18.path, resnet18.path.with_suffix(".json")):
        if not (out / path.name).exists():
            shutil.copy2(path, out)
    command = [sys.executable, "-m", "resnet_pipe", "convert", "resnet18", "--weights", "random"]
    return subprocess.Popen(
        [*command, "--out", str(out), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Tests in the background of a shell are started with SIGINT ignored, and children inherit that.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def run(resnet18: Conversion, out: Path, *arguments: str) -> Result:
    process = start(resnet18, out, *arguments)
    stdout, stderr = process.communicate(timeout=120)
    return Result(process.returncode, stdout, stderr)


@pytest.fixture(scope="module")
def made(resnet18: Conversion, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The int8 model that the command makes, and what it said. Do not change the files."""
    out = tmp_path_factory.mktemp("models")
    result = run(resnet18, out, "--quantize", "--calibration", str(photos)).expect(0)
    return out / "resnet18-int8.onnx", result


def int8_files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if "int8" in path.name}


def test_the_command_says_what_it_did_and_what_int8_changed(made: tuple[Path, Result]) -> None:
    path, result = made
    skipped, calibrating, figures, wrote, preprocess, _ = result.stdout.splitlines()
    assert skipped.startswith(r"skipped 1 images that cannot be read, such as 99\x1b[2J.jpg: ")
    assert calibrating == "calibrating with 16 images ..."
    assert figures.startswith("7-bit weights: cosine similarity with float32 0.99")
    assert "top-1 agreement" in figures
    assert figures.endswith("on 4 other images")
    assert wrote.startswith(f"wrote {path}, random weights")
    assert preprocess.startswith("preprocess: {resize: 256, crop: 224, ")
    assert result.stderr == ""


def test_the_model_is_quantised_from_the_first_convolution_to_the_classifier(
    made: tuple[Path, Result], resnet18: Conversion
) -> None:
    graph = onnx.load(made[0]).graph
    inputs = {name: node.op_type for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm", "Add", "MaxPool", "GlobalAveragePool"):
            activations = node.input[:2] if node.op_type == "Add" else node.input[:1]
            assert {inputs[name] for name in activations} == {"DequantizeLinear"}, node.name
    weights = {tensor.name: tensor for tensor in graph.initializer}
    first = next(tensor for name, tensor in weights.items() if tensor.dims == [64, 3, 7, 7])
    assert first.data_type == onnx.TensorProto.INT8
    assert made[0].stat().st_size < 0.3 * resnet18.path.stat().st_size
    before, after = inspect(resnet18.path), inspect(made[0])
    assert after.quantized
    assert not before.quantized
    assert not after.full_range
    assert after.outputs == before.outputs


def test_the_sidecar_has_the_figures_and_all_that_the_float32_model_has(
    made: tuple[Path, Result], resnet18: Conversion
) -> None:
    model = open_model(made[0])
    sidecar, source = model.sidecar, resnet18.sidecar
    assert sidecar is not None
    assert sidecar.name == "resnet18-int8"
    assert (sidecar.preprocessing, sidecar.classes) == (source.preprocessing, source.classes)
    assert sidecar.file_bytes == made[0].stat().st_size
    assert {"onnxruntime", "onnx", "torch"} <= set(sidecar.versions)
    figures = sidecar.quantization
    assert figures is not None
    assert figures.source_sha256 == source.onnx_sha256
    assert (figures.calibrated, figures.held_out, figures.skipped) == (16, 4, 1)
    assert figures.weight_bits == 7
    assert 0.99 <= figures.cosine_min <= figures.cosine_mean < 1
    assert 0 < figures.max_relative_error < 0.5
    assert 0 <= (figures.top1 or 0) <= 1
    assert 0.5 < (figures.top5 or 0) <= 1


def test_a_sidecar_from_before_there_was_int8_can_be_read(resnet18: Conversion, tmp_path: Path) -> None:
    old = json.loads(resnet18.path.with_suffix(".json").read_text())
    assert old.pop("quantization") is None
    (tmp_path / "old.json").write_text(json.dumps(old))
    assert read_sidecar(tmp_path / "old.json") == resnet18.sidecar


def test_a_sidecar_that_does_not_say_how_many_bits_weights_have_means_8(
    made: tuple[Path, Result], tmp_path: Path
) -> None:
    old = json.loads(made[0].with_suffix(".json").read_text())
    assert old["quantization"].pop("weight_bits") == 7
    (tmp_path / "old.json").write_text(json.dumps(old))
    figures = read_sidecar(tmp_path / "old.json").quantization
    assert figures is not None
    assert figures.weight_bits == 8


def test_the_list_of_models_has_it_behind_the_one_it_was_made_from(
    made: tuple[Path, Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "models_dir", lambda: made[0].parent)
    first, second, third, *_ = catalogue.entries()
    assert [entry.name for entry in (first, second, third)] == ["resnet18", "resnet18-int8", "resnet34"]
    assert 3.9 < (first.file_bytes or 0) / (second.file_bytes or 1) < 4
    assert (first.weights, (second.weights or "")[:9]) == ("random", "int8 0.99")
    assert first.params == second.params == 11_689_512


def test_a_job_takes_it_by_its_bare_name_and_opencv_says_who_can_run_it(
    made: tuple[Path, Result], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "models_dir", lambda: made[0].parent)
    file = tmp_path / "job.yaml"
    file.write_text(
        "name: int8\n"
        f"reader: {{kind: images, path: '{photos}'}}\n"
        "infer: {model: resnet18-int8, engine: onnxruntime}\n"
        f"writer: {{kind: parquet, path: '{tmp_path}/out'}}\n"
    )
    assert resolve(*jobs.load(file)).precision == "int8"
    with pytest.raises(DocumentError, match="opencv cannot run an int8 model; these can: openvino, onnxr"):
        resolve(*jobs.load(file, ["infer.engine=opencv"]))


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_engines_that_run_int8_give_nearly_what_float32_gives(
    engine: str, made: tuple[Path, Result], resnet18: Conversion, photos: Path
) -> None:
    pytest.importorskip(engine)
    pytest.importorskip(f"resnet_pipe.infer.{engine}")
    preprocessing = resnet18.sidecar.preprocessing
    images = calibration.CalibrationFiles.choose(photos).read(preprocessing).held_out
    logits = [
        load(
            engine, EngineRequest(path, preprocessing.network_input, ("logits",), 4, "cpu", precision, 2)
        ).infer(images)
        for path, precision in ((resnet18.path, "fp32"), (made[0], "int8"))
    ]
    expected, found = (outputs["logits"] for outputs in logits)
    assert not np.array_equal(expected, found)
    cosine = (expected * found).sum(1) / np.linalg.norm(expected, axis=1) / np.linalg.norm(found, axis=1)
    assert cosine.min() > 0.99


def test_openvino_computes_every_convolution_in_int8(made: tuple[Path, Result]) -> None:
    openvino = pytest.importorskip("openvino")
    compiled = openvino.Core().compile_model(str(made[0]), "CPU")
    layers = [operation.get_rt_info() for operation in compiled.get_runtime_model().get_ops()]
    kernels = [(layer["layerType"].astype(str), layer["primitiveType"].astype(str)) for layer in layers]
    heavy = [kernel for layer, kernel in kernels if layer in ("Convolution", "FullyConnected", "Pooling")]
    assert len(heavy) == 20 + 1 + 1
    assert all(kernel.endswith(("I8", "U8")) for kernel in heavy), heavy
    others = Counter(layer for layer, kernel in kernels if not kernel.startswith("unknown"))
    assert others["Eltwise"] <= 2, "the additions are done by the convolutions before them"


def test_the_same_images_again_change_nothing_and_other_images_do(
    made: tuple[Path, Result], resnet18: Conversion, photos: Path, tmp_path: Path
) -> None:
    for path in made[0].parent.iterdir():
        shutil.copy2(path, tmp_path)
    before = {path: path.stat().st_ino for path in tmp_path.iterdir()}
    again = convert_int8("resnet18", photos, weights="random", out=tmp_path)
    assert not again.changed
    assert again.sidecar == read_sidecar(made[0].with_suffix(".json"))
    assert {path: path.stat().st_ino for path in tmp_path.iterdir()} == before
    files = calibration.CalibrationFiles.choose(photos)
    shutil.copytree(photos, tmp_path / "others")
    others = calibration.CalibrationFiles.choose(tmp_path / "others")
    assert others.digest() == files.digest(), "the same images in another place are the same images"
    (tmp_path / "others" / "03.jpg").write_bytes((photos / "04.jpg").read_bytes())
    assert calibration.CalibrationFiles.choose(tmp_path / "others").digest() != files.digest()


def test_where_weights_of_7_bits_are_not_close_enough_they_have_8(
    resnet18: Conversion, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (resnet18.path, resnet18.path.with_suffix(".json")):
        shutil.copy2(path, tmp_path)
    quantise = quantize._quantize

    def lost_with_7(
        source: Conversion, images: NDArray[np.uint8], target: Path, bits: Bits, say: Callable[[str], None]
    ) -> None:
        if bits == 7:
            _negate(source.path, target)
        else:
            quantise(source, images, target, bits, say)

    monkeypatch.setattr(quantize, "_quantize", lost_with_7)
    said: list[str] = []
    made = convert_int8("resnet18", photos, weights="random", out=tmp_path, say=said.append)
    assert [line[:13] for line in said if "-bit weights" in line] == ["7-bit weights", "8-bit weights"]
    figures = read_sidecar(made.path.with_suffix(".json")).quantization
    assert figures is not None
    assert figures.weight_bits == 8
    assert figures.cosine_min > 0.99
    assert inspect(made.path).full_range


def test_a_result_that_is_too_far_off_is_never_kept(
    resnet18: Conversion, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (resnet18.path, resnet18.path.with_suffix(".json")):
        shutil.copy2(path, tmp_path)
    # As a quantiser that has lost its way: the float32 model of a network whose features are negated.
    monkeypatch.setattr(
        quantize, "_quantize", lambda source, _images, target, *_: _negate(source.path, target)
    )
    with pytest.raises(
        ModelError, match=r"cosine similarity .* `features` .* is -[01]\.\d+, and must be 0\.99 "
    ) as caught:
        convert_int8("resnet18", photos, weights="random", out=tmp_path)
    assert "no file was written" in str(caught.value.remedy)
    assert int8_files(tmp_path) == set()


def _negate(source: Path, target: Path) -> None:
    model = onnx.load(source)
    (last,) = (node for node in model.graph.node if "features" in node.output)
    last.output[0] = "positive"
    for node in model.graph.node:
        node.input[:] = ["positive" if name == "features" else name for name in node.input]
    model.graph.node.append(onnx.helper.make_node("Neg", ["positive"], ["features"]))
    onnx.save(model, target)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_half_way_it_leaves_no_model(
    number: signal.Signals, resnet18: Conversion, photos: Path, tmp_path: Path
) -> None:
    process = start(resnet18, tmp_path, "--quantize", "--calibration", str(photos))
    assert process.stdout is not None
    assert process.stdout.readline().startswith("skipped")
    assert process.stdout.readline().startswith("calibrating")
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == (ExitCode.SIGINT if number == signal.SIGINT else -number)
    assert "Traceback" not in stderr
    left = {name for name in int8_files(tmp_path) if not name.startswith(".")}
    assert left == set()
    assert file_sha256(tmp_path / "resnet18.onnx") == resnet18.sidecar.onnx_sha256


def test_an_int8_model_from_elsewhere_is_never_replaced(
    resnet18: Conversion, photos: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "resnet18-int8.onnx"
    theirs.write_bytes(b"the only copy")
    result = run(resnet18, tmp_path, "--quantize", "--calibration", str(photos)).expect(2)
    assert f"{theirs} is there already" in result.stderr
    assert int8_files(tmp_path) == {theirs.name}
    assert theirs.read_bytes() == b"the only copy"


def residual(path: Path, names: tuple[str, ...], batch: int | None = None) -> Path:
    """Write a small network with some of its outputs, perhaps for a fixed number of images."""
    model = onnx.load(write_residual(path))
    kept = [value for value in model.graph.output if value.name in names]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    for value in (*model.graph.input, *model.graph.output) if batch else ():
        value.type.tensor_type.shape.dim[0].dim_value = batch
    onnx.save(model, path)
    return path


def quantised(cli: Cli, path: Path, photos: Path) -> Result:
    given = ("--preprocess", preprocess_yaml(), "--quantize", "--calibration", photos)
    return cli("convert", path, "--out", path.parent / "models", *given)


@pytest.mark.parametrize("batch", [None, 1])
def test_a_network_that_gives_features_alone_is_quantised(
    photos: Path, tmp_path: Path, cli: Cli, batch: int | None
) -> None:
    path = residual(tmp_path / "mine.onnx", ("features",), batch)
    said = quantised(cli, path, photos).expect(0).stdout
    assert "largest relative error" in said
    assert "top-1" not in said
    figures = read_sidecar(tmp_path / "models" / "mine-int8.json").quantization
    assert figures is not None
    assert (figures.top1, figures.top5) == (None, None)
    assert "top-1" not in cli("models", "show", tmp_path / "models" / "mine-int8.onnx").expect(0).stdout


def test_a_network_of_a_fixed_batch_is_refused_before_it_is_converted(
    photos: Path, tmp_path: Path, cli: Cli
) -> None:
    path = residual(tmp_path / "mine.onnx", ("features", "logits"), 4)
    said = quantised(cli, path, photos).expect(2).stderr
    assert "takes exactly 4 images at a time" in said
    assert "export it with a dynamic batch size" in said
    assert not (tmp_path / "models").exists()


def test_flags_that_belong_together_are_asked_for_together(
    resnet18: Conversion, photos: Path, tmp_path: Path
) -> None:
    for arguments in (["--quantize"], ["--calibration", str(photos)]):
        said = run(resnet18, tmp_path, *arguments).expect(ExitCode.USAGE).stderr
        assert "resnet-pipe convert resnet18 --quantize --calibration IMAGES" in said
    assert int8_files(tmp_path) == set()


def test_a_directory_that_cannot_calibrate_is_refused_with_how_many_images_it_takes(tmp_path: Path) -> None:
    def refusal(folder: Path) -> UsageError:
        with pytest.raises(UsageError) as caught:
            convert_int8("resnet18", folder, weights="random", out=tmp_path / "models")
        assert "a few hundred images" in str(caught.value.remedy)
        return caught.value

    assert "is not a directory" in refusal(tmp_path / "missing").problem
    (tmp_path / "empty").mkdir()
    assert "has 0 image files; calibrating needs at least 20" in refusal(tmp_path / "empty").problem
    add_photographs(tmp_path / "few", COUNT - 1)
    (tmp_path / "few" / "notes.txt").touch()
    assert "has 19 image files; calibrating needs at least 20" in refusal(tmp_path / "few").problem
    assert not (tmp_path / "models").exists(), "nothing was converted"


def test_images_that_cannot_be_read_do_not_count(resnet18: Conversion, tmp_path: Path) -> None:
    add_photographs(tmp_path, COUNT)
    (tmp_path / "07.jpg").write_bytes(b"this is not an image")
    files = calibration.CalibrationFiles.choose(tmp_path)
    with pytest.raises(UsageError, match=r"only 19 of 20 images .* at least 20; 07\.jpg: "):
        files.read(resnet18.sidecar.preprocessing)


def test_of_many_images_some_are_taken_from_everywhere_and_a_fifth_is_held_out(
    resnet18: Conversion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "MOST", 25)
    add_photographs(tmp_path, 50)
    files = calibration.CalibrationFiles.choose(tmp_path)
    assert [source.key for source in files.sources] == [f"{index:02}.jpg" for index in range(0, 50, 2)]
    images = files.read(resnet18.sidecar.preprocessing)
    assert (len(images.calibration), len(images.held_out)) == (20, 5)
    seen = {image.tobytes() for image in images.calibration}
    assert not any(image.tobytes() in seen for image in images.held_out)


def test_without_onnx_runtime_the_extra_is_named_before_anything_is_done(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", version)
    with pytest.raises(MissingExtraError, match="Quantising a model needs onnxruntime") as caught:
        convert_int8("resnet18", photos, weights="random", out=tmp_path)
    assert caught.value.remedy == "pip install 'resnet-pipe[onnxruntime]'"
    assert list(tmp_path.iterdir()) == []
