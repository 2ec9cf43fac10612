"""What every engine promises, asked of every engine in the registry."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from resnet_pipe.errors import DeviceError, ExitCode, MissingExtraError, ModelError
from resnet_pipe.infer.engine import ENGINES, Engine, EngineRequest, batch_size, description, devices, load
from resnet_pipe.machine import processor
from tests import networks, odd_networks
from tests.infer.requests import photos, preprocessing, request
from tests.run.jobs import Cli, JobFolder

pytestmark = pytest.mark.cv2

Load = Callable[[EngineRequest], Engine]
Outputs = dict[str, NDArray[np.float32]]


@pytest.fixture(params=ENGINES)
def engine_name(request: pytest.FixtureRequest) -> str:
    """The name of an engine whose library is installed."""
    name: str = request.param
    try:
        importlib.import_module(ENGINES[name])
    except (ImportError, MissingExtraError) as error:
        pytest.skip(str(error))
    return name


@pytest.fixture
def load_engine(engine_name: str) -> Load:
    """Load a network into an engine."""

    def load_it(wanted: EngineRequest) -> Engine:
        try:
            return load(engine_name, wanted)
        except MissingExtraError as error:
            pytest.skip(str(error))

    return load_it


@pytest.fixture(scope="module")
def residual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a ResNet is made of, in a small network. Do not change it."""
    return networks.write_residual(tmp_path_factory.mktemp("network") / "residual.onnx")


def assert_close(found: Outputs, expected: Outputs, rows: slice = slice(None)) -> None:
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values[rows], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_describes_itself(name: str) -> None:
    about = description(name)
    wanted = metadata.requires("resnet-pipe") or []
    installed_by = [line for line in wanted if line.startswith(about.distributions[0])]
    assert len(set(about.distributions)) == len(about.distributions)
    if about.extra:
        assert any(re.search(rf"extra == ['\"]{about.extra}['\"]", line) for line in installed_by)
    else:
        assert installed_by
    assert 128 << 20 < about.run_bytes < 8 << 30
    assert about.int8 or not about.saturates


def test_an_engine_has_the_devices_and_precisions_that_it_says(engine_name: str) -> None:
    try:
        had = devices(engine_name)
    except MissingExtraError as error:
        pytest.skip(str(error))
    about = description(engine_name)
    assert set(about.compiles_for) <= had.keys() <= {"cpu", "cuda", "tensorrt", "mps"}
    assert about.int8 or not any("int8" in precisions for precisions in had.values())
    assert all(precisions for precisions in had.values())
    for device in (*had, "auto"):
        assert 1 <= batch_size(engine_name, device) <= 256


def test_asking_engines_for_their_descriptions_loads_no_library() -> None:
    libraries = {description(name).library for name in ENGINES} | {"onnx"}
    check = (
        "import sys; from resnet_pipe.infer.engine import ENGINES, description;"
        f"list(map(description, ENGINES)); print({libraries} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_outputs_are_float32_with_a_row_for_each_item_in_the_order_asked_for(
    load_engine: Load, residual: Path
) -> None:
    for outputs in (("logits", "features"), ("features", "logits"), ("features",), ("logits",)):
        found = load_engine(request(residual, outputs)).infer(photos())
        assert tuple(found) == outputs
        widths = {"logits": networks.CLASSES, "features": 16}
        for name, values in found.items():
            assert values.dtype == np.float32
            assert values.shape == (4, widths[name])
            assert len({row.tobytes() for row in values}) == 4, "different photographs, different rows"


def test_a_row_does_not_depend_on_the_batch_it_is_in(load_engine: Load, residual: Path) -> None:
    engine = load_engine(request(residual))
    whole = engine.infer(photos())
    for count in (1, 3, 2):
        short = engine.infer(photos()[:count])
        assert all(len(values) == count for values in short.values())
        assert_close(short, whole, slice(count))
    assert_close(engine.infer(photos()[::-1]), whole, slice(None, None, -1))
    assert_close(engine.infer(photos()), whole)


def test_a_network_made_for_one_batch_size_takes_short_batches(load_engine: Load, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["pool"]),
        helper.make_node("Reshape", ["pool", "shape"], ["features"]),
        helper.make_node("Gemm", ["features", "weight", "bias"], ["logits"], transB=1),
    ]
    weights = {"shape": np.array([4, -1]), **networks.classifier(3)}
    network = networks.write(
        tmp_path / "four.onnx", nodes, {"logits": networks.CLASSES, "features": 3}, weights, batch=4
    )
    engine = load_engine(request(network))
    whole = engine.infer(photos())
    assert_close(engine.infer(photos()[:3]), whole, slice(3))
    assert_close(engine.infer(photos()), whole)


def test_as_many_threads_as_it_has_streams_may_use_an_engine_at_once(
    load_engine: Load, residual: Path
) -> None:
    engine = load_engine(request(residual))
    batches = [photos(6)[start : start + size] for start in range(5) for size in (1, 2, 4)]
    expected = [engine.infer(batch) for batch in batches]
    with ThreadPoolExecutor(engine.streams) as threads:
        for _ in range(5):
            for found, values in zip(threads.map(engine.infer, batches), expected, strict=True):
                assert_close(found, values)


def test_the_caller_owns_what_it_gets_and_what_it_gave(load_engine: Load, residual: Path) -> None:
    engine = load_engine(request(residual))
    batch = photos()
    first = engine.infer(batch)
    kept = {name: values.copy() for name, values in first.items()}
    batch[:] = 0  # the slot of the next batch
    engine.infer(batch)
    assert all(np.array_equal(first[name], values) for name, values in kept.items())
    for values in first.values():
        values[:] = np.nan
    assert_close(engine.infer(photos()), kept)


def test_a_smaller_batch_gives_the_same_rows_after_shrinking(load_engine: Load, residual: Path) -> None:
    engine = load_engine(request(residual))
    whole = engine.infer(photos())
    for size in (3, 1):
        engine.shrink(size)
        assert_close(engine.infer(photos()[:size]), whole, slice(size))
    assert_close(engine.infer(photos()[3:]), whole, slice(3, None))


def test_loading_again_gives_the_same_bits(load_engine: Load, residual: Path) -> None:
    one, other = (load_engine(request(residual)).infer(photos()) for _ in range(2))
    assert all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("size", [(16, 16), (32, 8), (8, 32)])
@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_the_network_sees_every_grey_level_as_torchvision_normalises_it(
    load_engine: Load, tmp_path: Path, color: Literal["rgb", "bgr"], size: tuple[int, int]
) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, *size, 1)
    batch = np.concatenate([levels, levels[:, ::-1], levels[:, :, ::-1]], axis=3)
    network = networks.write_pixels(tmp_path / "pixels.onnx", size)
    wanted = request(network, batch_size=1, preprocess=preprocessing(size, color))
    seen = load_engine(wanted).infer(batch)["features"].reshape(3, *size)
    # torchvision's ToTensor and Normalize, in float32; mean and std are in the order of the network.
    channels = batch[0].transpose(2, 0, 1)[:: 1 if color == "rgb" else -1]
    mean, std = (np.array(v, np.float32).reshape(3, 1, 1) for v in (networks.MEAN, networks.STD))
    expected = (channels.astype(np.float32) / np.float32(255) - mean) / std
    np.testing.assert_allclose(seen, expected, rtol=1e-6, atol=1e-6)


def test_outputs_that_are_not_wanted_do_not_matter(load_engine: Load, tmp_path: Path) -> None:
    network = odd_networks.write_with_others(tmp_path / "others.onnx")
    wanted = replace(request(network, ("pool", "logits")), extract=True)
    found = load_engine(wanted).infer(photos())
    assert tuple(found) == ("pool", "logits")
    plain = networks.write_tiny(tmp_path / "plain.onnx")
    expected = load_engine(request(plain)).infer(photos())
    assert_close(found, {"pool": expected["features"], "logits": expected["logits"]})


@pytest.mark.parametrize("ending", ["Sigmoid", "LogSoftmax", "Softmax"])
def test_what_a_network_ends_in_is_computed(load_engine: Load, tmp_path: Path, ending: str) -> None:
    nodes = [*odd_networks.HEAD, helper.make_node(ending, ["logits"], ["out"])]
    outputs = [odd_networks.tensor(name, odd_networks.ROW) for name in ("out", "logits")]
    network = odd_networks.write(tmp_path / "ends.onnx", nodes, outputs)
    found = load_engine(request(network, ("logits", "out"))).infer(photos())
    logits = found["logits"].astype(np.float64)
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = {"Sigmoid": 1 / (1 + np.exp(-logits)), "LogSoftmax": np.log(softmax), "Softmax": softmax}
    np.testing.assert_allclose(found["out"], expected[ending], rtol=1e-4, atol=1e-5)


def test_one_value_for_each_image_is_a_row_too(load_engine: Load, tmp_path: Path) -> None:
    nodes = [
        *odd_networks.HEAD[:2],
        helper.make_node("MatMul", ["flat", "one"], ["column"]),
        helper.make_node("Squeeze", ["column", "axis"], ["out"]),
    ]
    weights = {"one": np.ones((3, 1), np.float32), "axis": np.array([1])}
    outputs = [odd_networks.tensor("out", ["N"]), odd_networks.tensor("flat", ["N", 3])]
    network = odd_networks.write(tmp_path / "one.onnx", nodes, outputs, weights)
    found = load_engine(request(network, ("out", "flat"))).infer(photos())
    np.testing.assert_allclose(found["out"], found["flat"].sum(axis=1, keepdims=True), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_rows_are_float32_whatever_the_network_computes_in(
    load_engine: Load, tmp_path: Path, kind: int
) -> None:
    nodes = [*odd_networks.HEAD, helper.make_node("Cast", ["logits"], ["out"], to=kind)]
    outputs = [odd_networks.tensor("out", ["N", 10], kind), odd_networks.tensor("logits", ["N", 10])]
    network = odd_networks.write(tmp_path / "cast.onnx", nodes, outputs)
    found = load_engine(request(network, ("logits", "out"))).infer(photos())
    assert found["out"].dtype == np.float32
    np.testing.assert_allclose(found["out"], found["logits"], rtol=2e-3, atol=2e-3)


def test_a_network_with_an_input_of_half_precision_is_given_one(load_engine: Load, tmp_path: Path) -> None:
    half = TensorProto.FLOAT16
    nodes = [helper.make_node("Cast", ["input"], ["whole"], to=TensorProto.FLOAT)]
    nodes += [helper.make_node("GlobalAveragePool", ["whole"], ["pool"]), *odd_networks.HEAD[1:]]
    image = odd_networks.tensor("input", ["N", 3, 32, 32], half)
    outputs = [odd_networks.tensor("logits", ["N", 10])]
    network = odd_networks.write(tmp_path / "half.onnx", nodes, outputs, image=image)
    found = load_engine(request(network, ("logits",))).infer(photos())
    plain = networks.write_tiny(tmp_path / "plain.onnx")
    expected = load_engine(request(plain, ("logits",))).infer(photos())
    np.testing.assert_allclose(found["logits"], expected["logits"], rtol=1e-2, atol=1e-2)


def test_an_output_of_another_width_than_expected_is_a_model_error(load_engine: Load, residual: Path) -> None:
    with pytest.raises(ModelError, match=r"'features' has 16 values per image; the file says 17"):
        load_engine(replace(request(residual), widths=(networks.CLASSES, 17)))


def _no_network(path: Path) -> Path:
    path.write_bytes(b"this is not a network")
    return path


def _cut_short(path: Path) -> Path:
    data = networks.write_residual(path).read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def _unknown_operator(path: Path) -> Path:
    nodes = [helper.make_node("Frobnicate", ["input"], ["a"]), helper.make_node("Flatten", ["a"], ["logits"])]
    return networks.write(path, nodes, {"logits": 3 * 32 * 32}, {})


def _one_row_whatever_the_batch(path: Path) -> Path:
    nodes = [
        helper.make_node("Reshape", ["input", "shape"], ["a"]),
        helper.make_node("Softmax", ["a"], ["logits"]),
    ]
    return networks.write(path, nodes, {"logits": 3 * 32 * 32}, {"shape": np.array([1, -1])}, batch=1)


@pytest.mark.parametrize("write", [_no_network, _cut_short, _unknown_operator, _one_row_whatever_the_batch])
def test_a_network_that_cannot_run_is_a_model_error_that_names_the_file(
    load_engine: Load, tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    network = write(tmp_path / "broken.onnx")
    with pytest.raises(ModelError, match=r"broken\.onnx"):
        load_engine(request(network, ("logits",)))


def test_an_output_that_the_network_lacks_is_a_model_error_that_names_those_it_has(
    load_engine: Load, residual: Path
) -> None:
    with pytest.raises(ModelError, match=r"'embedding'; its outputs: \w+, \w+$"):
        load_engine(request(residual, ("logits", "embedding")))


def test_a_device_that_is_not_there_is_an_error_with_reason_and_remedy(
    load_engine: Load, residual: Path
) -> None:
    with pytest.raises(DeviceError) as caught:
        load_engine(request(residual, device="cuda:99"))
    assert caught.value.problem
    assert caught.value.remedy


def test_half_precision_on_the_cpu_is_refused(load_engine: Load, residual: Path) -> None:
    with pytest.raises(DeviceError, match="fp16") as caught:
        load_engine(request(residual, precision="fp16"))
    assert caught.value.remedy


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_a_precision_that_the_processor_lacks_is_refused_while_the_job_is_checked(
    engine_name: str, residual: Path, device: str, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu avx avx2\n")
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("resnet_pipe.infer.engine.visible_gpus", lambda: 0)
    monkeypatch.setattr(sys, "platform", "linux")
    job = JobFolder(tmp_path, residual)
    job.add("one.jpg")
    for precision in ("bf16", "fp16"):
        settings = [f"infer.{key}" for key in (f"engine={engine_name}", f"device={device}")]
        settings.append(f"infer.precision={precision}")
        arguments = [part for setting in settings for part in ("--set", setting)]
        said = cli("run", job.file, *arguments).expect(ExitCode.USAGE).stderr
        if "which is not installed" in said:
            pytest.skip(said)
        assert f"infer.precision: engine {engine_name} does not support {precision}" in said
        assert "; it supports: fp32" in said
    assert not job.out.exists()


def test_an_engine_says_what_it_runs_on(load_engine: Load, residual: Path, engine_name: str) -> None:
    engine = load_engine(request(residual))
    info = engine.describe()
    assert info.streams == engine.streams
    assert (info.name, info.device, info.precision) == (engine_name, "cpu", "fp32")
    assert 1 <= info.threads <= 2
    assert info.version[0].isdecimal()
    assert info.proof
    assert info.note == ""


def test_auto_takes_a_device_that_works_and_says_which(
    load_engine: Load, residual: Path, engine_name: str
) -> None:
    engine = load_engine(request(residual, device="auto"))
    info = engine.describe()
    assert info.device == "cpu" or info.device.startswith(("cuda:0", "mps"))
    on_cpu_for_want_of_another = info.device == "cpu" and set(devices(engine_name)) != {"cpu"}
    assert ("using the CPU" in info.note) == on_cpu_for_want_of_another
    assert_close(engine.infer(photos()), load_engine(request(residual)).infer(photos()))
