"""DETR and RT-DETR as transformers has saved them: a job finds the boxes that transformers finds."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from resnet_pipe.errors import UnsupportedError
from resnet_pipe.infer import opencv
from resnet_pipe.infer.engine import EngineRequest
from resnet_pipe.model.model import Sidecar, read_sidecar
from resnet_pipe.run.engines.remote_engine import RemoteEngine
from tests.photographs import encode
from tests.run.commands import Result, command
from tests.run.jobs import Cli, JobFolder

detectors = pytest.importorskip("tests.convert.detectors", reason="needs transformers")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

ENGINES = ("opencv", "onnxruntime", "openvino")
SAVED: dict[str, Callable[[Path], Any]] = {
    "detr": lambda directory: detectors.detr(directory),
    "rt_detr": lambda directory: detectors.rt_detr(directory),
    "rt_detr_v2": lambda directory: detectors.rt_detr(directory, v2=True),
}


class Made:
    """A directory of transformers, and the model that was made of it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.saved = SAVED[name](folder / name)
        self.models = folder / "models"
        self.result = command("convert", str(self.saved.directory), "--out", str(self.models)).expect(0)
        self.model = self.models / f"{name}.onnx"
        self.sidecar: Sidecar = read_sidecar(self.models / f"{name}.json")


@pytest.fixture(scope="module", params=list(SAVED))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Each network, converted as users do it: compared in every engine."""
    return Made(request.param, tmp_path_factory.mktemp(request.param))


def rows_of(made: Made, folder: Path, engine: str, *settings: str) -> dict[str, dict[str, Any]]:
    """Return the row of each photograph that a job has made."""
    folder.mkdir()
    job = JobFolder(folder, made.model)
    for name, image in detectors.photographs().items():
        (job.images / name).write_bytes(encode(image, "PNG"))
    job.file.write_text(
        "name: found\nreader: {kind: images, path: images}\n"
        f"infer: {{model: {made.model}, engine: {engine}, device: cpu, batch_size: 2, score: 0.3}}\n"
        "writer: {kind: parquet, path: out, fields: [boxes]}\nrun: {workers: 1, report: false, canary: 0}\n"
    )
    job.run(*(f"--set={one}" for one in settings)).expect(0)
    return {row["path"]: row for row in job.rows()}


def found(made: Made, folder: Path, engine: str, *settings: str) -> dict[str, NDArray[np.float32]]:
    """Return what a job finds in each photograph: x1, y1, x2, y2, score, label."""
    rows = rows_of(made, folder, engine, *settings)
    columns = ("x1", "y1", "x2", "y2", "score", "label")
    for name, image in detectors.photographs().items():
        assert (rows[name]["width"], rows[name]["height"]) == image.size
        assert all(one["name"] == detectors.NAMES[one["label"]] for one in rows[name]["detections"])
    return {
        name: np.array(
            [[one[column] for column in columns] for one in row["detections"]], np.float32
        ).reshape(-1, 6)
        for name, row in rows.items()
    }


def overlap(one: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the IoU of a box with others."""
    low, high = np.maximum(one[:2], others[:, :2]), np.minimum(one[2:4], others[:, 2:4])
    inner = np.prod(np.clip(high - low, 0, None), axis=1)
    areas = [np.prod(some[..., 2:4] - some[..., :2], axis=-1) for some in (one, others)]
    values: NDArray[np.float32] = inner / np.maximum(areas[0] + areas[1] - inner, 1e-6)
    return values


def agreement(
    found: Mapping[str, NDArray[np.float32]], expected: Mapping[str, NDArray[np.float32]]
) -> tuple[float, float, float]:
    """Return the share of expected boxes that were found, and the largest differences of those."""
    matched, count, corner, score = 0, 0, 0.0, 0.0
    for name, wanted in expected.items():
        left = found[name].copy()
        count += len(wanted)
        for one in wanted[np.argsort(-wanted[:, 4])]:
            close = np.abs(left[:, :4] - one[:4]).max(axis=1) < 0.25  # of 2 pixels, 0.1 are a large share
            near = np.where(left[:, 5] == one[5], np.where(close, 1, overlap(one, left)), 0)
            near -= np.abs(left[:, 4] - one[4])  # of boxes in the same place, the one with this score
            if len(left) and near.max() > 0.9:
                best = left[near.argmax()]
                corner, score = (
                    max(corner, float(np.abs(best[:4] - one[:4]).max())),
                    max(score, float(abs(best[4] - one[4]))),
                )
                left = np.delete(left, near.argmax(), axis=0)
                matched += 1
    return matched / count, corner, score


def expected_of(made: Made) -> dict[str, NDArray[np.float32]]:
    """Return what transformers finds, one image at a time, cut off at the edges as results are."""
    wanted = {}
    for name, image in detectors.photographs().items():
        boxes = made.saved.boxes(image, 0.3)
        boxes[:, :4] = np.clip(boxes[:, :4], 0, np.tile(image.size, 2))
        wanted[name] = boxes
    return wanted


@pytest.mark.parametrize("engine", ENGINES)
def test_a_job_finds_what_transformers_finds(made: Made, tmp_path: Path, engine: str) -> None:
    pytest.importorskip({"opencv": "cv2"}.get(engine, engine))
    expected, got = expected_of(made), found(made, tmp_path / "job", engine)
    assert sum(map(len, expected.values())) >= 60, "there is something to find"
    share, corner, score = agreement(got, expected)
    assert share >= 0.99
    assert corner <= 0.5
    assert score <= 0.005
    assert abs(sum(map(len, got.values())) - sum(map(len, expected.values()))) <= 1
    assert all((np.diff(boxes[:, 4]) <= 0).all() for boxes in got.values())


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("fields", ["[boxes, features]", "[features]"])
def test_features_are_those_of_its_backbone(made: Made, tmp_path: Path, engine: str, fields: str) -> None:
    pytest.importorskip({"opencv": "cv2"}.get(engine, engine))
    if fields == "[features]" and engine != "opencv":
        pytest.skip("the same network, of which less is executed")
    asked = [f"writer.fields={fields}", *([] if "boxes" in fields else ["infer.score=null"])]
    rows = rows_of(made, tmp_path / "job", engine, *asked)
    assert made.sidecar.features == detectors.BACKBONE["hidden_sizes"][-1]
    for name, image in detectors.photographs().items():
        expected, features = made.saved.features(image), np.array(rows[name]["features"])
        assert features.shape == (made.sidecar.features,)
        np.testing.assert_allclose(features, expected, rtol=0, atol=0.01 * np.abs(expected).max())
        assert features @ expected > 0.99999 * np.linalg.norm(features) * np.linalg.norm(expected)


def test_the_size_of_a_batch_changes_nothing(made: Made, tmp_path: Path) -> None:
    one, four = (found(made, tmp_path / str(size), "opencv", f"infer.batch_size={size}") for size in (1, 4))
    assert agreement(one, four) == pytest.approx((1.0, 0, 0), abs=2e-3)


def test_its_sidecar_has_what_transformers_says(made: Made) -> None:
    name, sidecar, saved = made.model.stem, made.sidecar, made.saved
    assert sidecar.detection is not None
    assert sidecar.detection.kind == name.removesuffix("_v2")
    kept = sidecar.detection.score, sidecar.detection.nms, sidecar.detection.max_detections
    assert kept == (0.5, 1.0, saved.network.config.num_queries)
    assert sidecar.classes == detectors.NAMES
    prepared = sidecar.preprocessing
    if name == "detr":
        assert (prepared.fit, prepared.resize, prepared.longest) == ("shortest", 200, 333)
        assert (prepared.rounding, prepared.mean) == ("down", detectors.DETR_PROCESSOR["image_mean"])
    else:
        assert (prepared.fit, prepared.crop, prepared.mean) == ("squash", 320, [0.0] * 3)
        assert prepared.std == [1.0] * 3
    assert set(ENGINES) <= set(sidecar.proved), made.result.stdout
    assert sidecar.params == sum(one.numel() for one in saved.network.parameters())
    assert sidecar.compared_with.startswith("transformers ")
    assert set(sidecar.files) == {"config.json", "preprocessor_config.json"}
    shown = command("models", "show", str(made.model)).expect(0).stdout
    count = saved.network.config.num_queries
    assert re.search(rf"boxes: +{sidecar.detection.kind}; score above 0.5, .* at most {count} an item", shown)
    assert re.search(rf"output: +features \(N, {sidecar.features}\): features", shown)
    assert re.search(r"output: +pred_boxes \(.*\): boxes \(", shown)


def test_opencv_on_cuda_cannot_and_names_what_can(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    """OpenCV's engine for CUDA is another one, which reads no such network; that needs no GPU to be seen."""
    monkeypatch.setattr(opencv, "_select_cuda", lambda _cv2, device: f"{device}:0 (architecture 0.0)")
    request = EngineRequest(
        model=made.model,
        preprocessing=made.sidecar.preprocessing.network_input,
        outputs=("logits", "pred_boxes"),
        batch_size=2,
        device="cuda",
        precision="fp32",
        threads=1,
        rows=False,
    )
    with pytest.raises(UnsupportedError, match=r"cannot run .*onnx on cuda") as caught:
        opencv.load(request)
    assert caught.value.exit_code == 2
    assert "infer.device: cpu" in str(caught.value.remedy)


def test_a_job_that_asks_for_cuda_is_told_what_can_run_it(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine with a GPU, where the engine's process answers this."""

    def wait(_self: RemoteEngine, _look: object) -> None:
        raise UnsupportedError("cv2.dnn cannot run it on cuda:0", "infer.device: cpu")

    pytest.importorskip("openvino")
    monkeypatch.setattr(RemoteEngine, "wait_until_ready", wait)
    if made.model.stem != "detr":
        pytest.skip("one is enough")
    job = JobFolder(tmp_path, made.model)
    job.add("a.jpg")
    job.file.write_text(
        "name: found\nreader: {kind: images, path: images}\n"
        f"infer: {{model: {made.model}, device: cuda, batch_size: 1}}\n"
        "writer: {kind: parquet, path: out, fields: [boxes]}\nrun: {workers: 1, report: false, canary: 0}\n"
    )
    said = job.run().expect(2).stderr
    assert "cv2.dnn cannot run it on cuda:0" in said
    assert re.search(r"what to do: .*openvino.* can run it: infer.engine: \w+; or infer.device: cpu", said)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DETR that is not converted."""
    directory: Path = detectors.detr(tmp_path_factory.mktemp("saved") / "net").directory
    return directory


def changed(original: Path, target: Path, file: str = "config.json", **values: object) -> Path:
    """Copy a directory with other values in one of its files."""
    shutil.copytree(original, target)
    told = json.loads((target / file).read_text())
    (target / file).write_text(json.dumps({**told, **values}))
    return target


def refused(cli: Cli, directory: Path, *options: str) -> str:
    result: Result = cli("convert", directory, "--out", directory.parent / "models", *options).expect(2)
    assert "what to do" in result.stderr
    return re.sub(r"\s+", " ", result.stderr)


REFUSED: dict[str, dict[str, object]] = {
    "architectures: ['DetrForSegmentation'] is not a network that gives boxes alone": {
        "architectures": ["DetrForSegmentation"]
    },
    "backbone: 'someone/resnet' names a network elsewhere": {"backbone": "someone/resnet"},
    "backbone: 'hf-hub:timm/resnet18' names a network elsewhere": {
        "backbone_config": {"model_type": "timm_backbone", "backbone": "hf-hub:timm/resnet18"}
    },
    "describes other sizes than those of the weights called class_labels_classifier": {
        "id2label": {"0": "cat", "1": "dog"}
    },
    "has no weights called model.decoder.layers.2.": {"decoder_layers": 3},
    "backbone_config: expected names and values": {"backbone_config": [1]},
    "transformers itself cannot load it": {"backbone_config": {"model_type": "none such"}},
    "model_type: 'conditional_detr' is not a network that can be converted": {
        "model_type": "conditional_detr"
    },
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_it_is_not_is_refused_by_name(saved: Path, tmp_path: Path, cli: Cli, text: str) -> None:
    assert text in refused(cli, changed(saved, tmp_path / "net", "config.json", **REFUSED[text]))


BADLY_PREPARED: dict[str, dict[str, object]] = {
    "pad_size: {'height': 5, 'width': 5} is not": {"pad_size": {"height": 5, "width": 5}},
    "size: {'shortest_edge': 800} is not": {"size": {"shortest_edge": 800}},
    "size: {'max_height': 5, 'max_width': 5} is not": {"size": {"max_height": 5, "max_width": 5}},
    "longest: 100 is smaller than resize, 200": {"size": {"shortest_edge": 200, "longest_edge": 100}},
    "do_resize: False is not": {"do_resize": False},
    "resample: 9 is not": {"resample": 9},
    "image_processor_type: 'ViTImageProcessor' is not": {"image_processor_type": "ViTImageProcessor"},
}


@pytest.mark.parametrize("text", BADLY_PREPARED)
def test_images_that_are_prepared_otherwise_are_refused(
    saved: Path, tmp_path: Path, cli: Cli, text: str
) -> None:
    directory = changed(saved, tmp_path / "net", "preprocessor_config.json", **BADLY_PREPARED[text])
    assert text in refused(cli, directory)


def test_images_of_many_sizes_are_refused_for_a_network_of_one(tmp_path: Path, cli: Cli, made: Made) -> None:
    if made.model.stem == "detr":
        pytest.skip("it takes any size")
    keys = "{fit: shortest, resize: 64, longest: 99, mean: [0, 0, 0], std: [1, 1, 1]}"
    text = refused(cli, shutil.copytree(made.saved.directory, tmp_path / "net"), "--preprocess", keys)
    assert "a network of kind rt_detr takes images of one size" in text


def test_without_transformers_the_extra_is_named(
    saved: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    assert "pip install 'resnet-pipe[detect]'" in refused(cli, saved)


def test_old_files_mean_the_same(saved: Path, tmp_path: Path, cli: Cli) -> None:
    """As facebook/detr-resnet-50 came first: weights of torch, the size as a number, a feature extractor."""
    from safetensors.torch import load_file
    from torch import save

    directory = changed(
        saved,
        tmp_path / "net",
        "preprocessor_config.json",
        image_processor_type=None,
        feature_extractor_type="DetrFeatureExtractor",
        size=200,
        max_size=333,
    )
    save(load_file(directory / "model.safetensors"), directory / "pytorch_model.bin")
    (directory / "model.safetensors").unlink()
    cli("convert", directory, "--out", tmp_path / "models").expect(0)
    sidecar = read_sidecar(tmp_path / "models" / "net.json")
    assert sidecar.weights.name == "pytorch_model.bin"
    assert (sidecar.preprocessing.resize, sidecar.preprocessing.longest) == (200, 333)


def test_a_backbone_of_timm_is_made_and_not_fetched(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("timm")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    backbone = {"use_timm_backbone": True, "backbone": "resnet18", "backbone_config": None}
    directory = detectors.detr(tmp_path / "net", **backbone).directory
    told = json.loads((directory / "config.json").read_text())
    del told["backbone_config"]
    old = {**told, **backbone, "use_pretrained_backbone": True}
    (directory / "config.json").write_text(json.dumps(old))
    cli("convert", directory, "--out", tmp_path / "models").expect(0)
