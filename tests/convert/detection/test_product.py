"""torchvision's detectors, converted and run by jobs, find in photographs what torchvision finds."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import resnet_pipe
from resnet_pipe.errors import ExitCode
from resnet_pipe.job.syntax import parse
from resnet_pipe.model.detection import BACKGROUND
from resnet_pipe.model.model import read_sidecar
from resnet_pipe.store.digest import file_sha256
from resnet_pipe.study import family, figures, verifier
from tests.convert.detection.agreement import agreement, together
from tests.convert.detection.calibrated import CLASSES, SMALL, detector, images, tensor
from tests.convert.detection.executed import Floats
from tests.made_once import made_once
from tests.run import commands
from tests.run.jobs import Cli, JobFolder

KINDS = {
    "faster_rcnn": "fasterrcnn_resnet18_fpn",
    "retinanet": "retinanet_resnet50_fpn",
    "fcos": "fcos_resnet50_fpn",
}
"""What the weights are of -> what a user calls it: all have a ResNet-18, which is read from the weights."""
PREPROCESS = (
    f"{{fit: shortest, resize: {SMALL['min_size']}, longest: {SMALL['max_size']}, multiple: 32,"
    " interpolation: linear,"
    " mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}"
)
PARTS = ("queue", "network", "proposals", "roi_align", "box_head", "boxes")
LABELS = [f"thing {index}" for index in range(1, CLASSES)]


class Known(NamedTuple):
    """A folder with a checkpoint and its model `tuned.onnx`; and what torchvision finds, float32 (n, 6).

    The features are the means of the last stage of its backbone, (512,), of each image alone.
    """

    folder: Path
    expected: list[Floats]
    features: list[Floats]


def shapes() -> list[NDArray[np.uint8]]:
    """Return photographs of five shapes."""
    wide, _, tall, *others = images()
    strip = wide[: wide.shape[0] // 3]
    return [wide, strip, np.ascontiguousarray(tall.transpose(1, 0, 2)), *others[:2]]


@pytest.fixture
def known(tmp_path_factory: pytest.TempPathFactory, cli: Cli) -> Callable[[str], Known]:
    """Return a detector of a kind, with ResNet-18, which is made and converted once."""

    def make(folder: Path, kind: str) -> Known:
        model: Any = detector(kind, **SMALL)
        torch.save({"model": model.state_dict(), "epoch": 3}, folder / "tuned.pt")
        with torch.inference_mode():
            found = [model([tensor(image)])[0] for image in shapes()]
            batches = [model.transform([tensor(image)])[0].tensors for image in shapes()]
            last = [[*model.backbone.body(batch).values()][-1] for batch in batches]
        (folder / "names.txt").write_text("\n".join([*LABELS, ""]), encoding="utf-8-sig")
        if kind == "faster_rcnn":
            cli(
                *("convert", KINDS[kind], "--weights", folder / "tuned.pt"),
                *("--labels", folder / "names.txt"),
                *("--preprocess", PREPROCESS, "--name", "tuned", "--out", folder),
            ).expect(0)
        else:
            resnet_pipe.convert(
                KINDS[kind],
                weights=str(folder / "tuned.pt"),
                preprocess=parse(PREPROCESS),
                labels=["Background", *LABELS],
                name="tuned",
                out=folder,
            )
        columns = [(one["boxes"].numpy(), one["scores"].numpy(), one["labels"].numpy()) for one in found]
        boxes = [np.column_stack(one).astype(np.float32) for one in columns]
        return Known(folder, boxes, [stage.mean((0, 2, 3)).numpy() for stage in last])

    return lambda kind: made_once(tmp_path_factory, f"product-{kind}", lambda folder: make(folder, kind))


@pytest.fixture
def job(tmp_path: Path, network: Path) -> JobFolder:
    """A job for boxes over the photographs, of a model that is still to be converted."""
    job = JobFolder(tmp_path, network)
    for index, image in enumerate(shapes()):
        Image.fromarray(image).save(job.images / f"{index}.png")
    job.file.write_text(
        "name: boxes\nreader: {kind: images, path: images}\ninfer: {model: tuned.onnx, device: cpu}\n"
        "writer: {kind: parquet, path: out, fields: [boxes]}\nrun: {report: false, canary: 0}\n"
    )
    return job


def use(job: JobFolder, known: Known) -> None:
    for path in known.folder.glob("tuned.[oj]*"):
        (job.folder / path.name).hardlink_to(path)


def found_in(rows: list[dict[str, Any]]) -> list[Floats]:
    """Return the detections of each row, float32 (n, 6)."""
    names = ("x1", "y1", "x2", "y2", "score", "label")
    return [
        np.array([[box[name] for name in names] for box in row["detections"]], np.float32).reshape(-1, 6)
        for row in rows
    ]


@pytest.mark.parametrize(
    ("kind", "engine"),
    [
        ("faster_rcnn", "opencv"),
        ("faster_rcnn", "onnxruntime"),
        ("retinanet", "opencv"),
        *(
            pytest.param(kind, engine, marks=pytest.mark.slow)
            for kind, engine in (
                ("faster_rcnn", "openvino"),
                ("faster_rcnn", "torch"),
                ("retinanet", "onnxruntime"),
                ("retinanet", "openvino"),
                ("fcos", "opencv"),
                ("fcos", "onnxruntime"),
                ("fcos", "openvino"),
                ("fcos", "torch"),
            )
        ),
    ],
)
def test_a_job_finds_what_torchvision_finds(
    kind: str, engine: str, job: JobFolder, known: Callable[[str], Known]
) -> None:
    if engine != "opencv":
        pytest.importorskip(engine)
    use(job, known(kind))
    sidecar = json.loads((job.folder / "tuned.json").read_text(encoding="utf-8"))
    assert sidecar["classes"] == [BACKGROUND, *LABELS]
    job.run("--set", f"infer.engine={engine}").expect(0)
    rows = job.rows()
    assert [(row["height"], row["width"]) for row in rows] == [image.shape[:2] for image in shapes()]
    assert {box["name"] for row in rows for box in row["detections"]} <= {BACKGROUND, *LABELS}
    pairs = zip(known(kind).expected, found_in(rows), strict=True)
    found = together([agreement(expected, boxes) for expected, boxes in pairs])
    assert found.total > 100
    assert found.matched >= 0.99 * found.total
    assert found.box < 0.5 * max(max(image.shape) for image in shapes()) / SMALL["max_size"]
    assert found.score < 0.005


@pytest.mark.parametrize(
    ("kind", "engine", "fields"),
    [
        ("faster_rcnn", "opencv", "[boxes, features]"),
        ("faster_rcnn", "torch", "[features]"),
        ("retinanet", "onnxruntime", "[boxes, features]"),
        ("retinanet", "openvino", "[boxes, features]"),
        *(
            pytest.param(kind, engine, fields, marks=pytest.mark.slow)
            for kind, engine, fields in (
                ("faster_rcnn", "torch", "[boxes, features]"),
                ("faster_rcnn", "mlx", "[features]"),
                ("faster_rcnn", "mlx", "[boxes, features]"),
                ("fcos", "opencv", "[boxes, features]"),
                ("fcos", "torch", "[features]"),
            )
        ),
    ],
)
def test_features_are_those_of_torchvisions_own_backbone(
    kind: str,
    engine: str,
    fields: str,
    job: JobFolder,
    known: Callable[[str], Known],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip({"opencv": "cv2", "mlx": "mlx.core"}.get(engine, engine))
    if engine == "mlx":
        monkeypatch.setattr(commands, "PATIENCE_S", 600)  # on a CPU, it takes minutes
    use(job, known(kind))
    job.run(*("--set", f"infer.engine={engine}", "--set", f"writer.fields={fields}")).expect(0)
    for row, expected in zip(job.rows(), known(kind).features, strict=True):
        assert ("detections" in row) == ("boxes" in fields)
        features = np.array(row["features"])
        np.testing.assert_allclose(features, expected, rtol=0, atol=0.01 * np.abs(expected).max())
        assert features @ expected > 0.9999 * np.linalg.norm(features) * np.linalg.norm(expected)


def test_a_model_without_features_is_converted_again(
    job: JobFolder, known: Callable[[str], Known], cli: Cli
) -> None:
    """As one that was converted before detectors had any: it still finds its boxes."""
    use(job, known("retinanet"))
    path = job.folder / "tuned.onnx"
    model, sidecar = onnx.load(path), json.loads(path.with_suffix(".json").read_text())
    assert sidecar["features"] == 512
    before = {**sidecar, "features": None}
    model.graph.output.remove(next(one for one in model.graph.output if one.name == "features"))
    path.unlink()
    onnx.save(model, path)
    path.with_suffix(".json").unlink()
    before["onnx_sha256"] = file_sha256(path)
    path.with_suffix(".json").write_text(json.dumps(before))
    job.run().expect(0)
    assert sum(map(len, found_in(job.rows()))) > 100
    for fields in ("[boxes, features]", "[features]"):
        said = job.run("--set", f"writer.fields={fields}", "--fresh").expect(2).stderr
        assert "tuned gives no features: convert it again, or choose other fields" in said
    weights, names = (known("retinanet").folder / name for name in ("tuned.pt", "names.txt"))
    cli(
        *("convert", KINDS["retinanet"], "--weights", weights, "--labels", names),
        *("--preprocess", PREPROCESS, "--name", "tuned", "--out", job.folder),
    ).expect(0)
    assert json.loads(path.with_suffix(".json").read_text())["features"] == 512


def test_results_do_not_depend_on_batches_workers_or_neighbours(
    job: JobFolder, known: Callable[[str], Known]
) -> None:
    use(job, known("faster_rcnn"))
    fields = "--set", "writer.fields=[boxes, features]"
    job.run(*fields, "--set", "infer.batch_size=1", "--set", "run.workers=1").expect(0)
    alone = job.rows()
    for index, image in enumerate(shapes()):  # each has a neighbour of its own size now
        Image.fromarray(image).save(job.images / f"{index} again.png")
    job.run(*fields, "--set", "infer.batch_size=3", "--set", "run.workers=2", "--fresh").expect(0)
    rows = {row["path"]: row for row in job.rows()}
    for row in alone:
        for other in (rows[row["path"]], rows[row["path"].replace(".png", " again.png")]):
            assert other["detections"] == row["detections"]
            assert other["features"] == pytest.approx(row["features"], rel=1e-4, abs=1e-5)


def test_verify_and_the_canary_compare_boxes_of_two_networks_and_many_sizes(
    job: JobFolder, known: Callable[[str], Known], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(verifier, "SECONDS", 0.1)
    use(job, known("faster_rcnn"))
    result = cli("verify", job.file, "--count", 3, "--engine", "opencv", "--json").expect(0)
    (verdict,) = json.loads(result.stdout)["engines"]
    assert verdict["status"] == "pass"
    assert verdict["matched"] > 0.98
    job.run("--set", "run.canary=2").expect(0)
    assert job.summary()["canary"]["matched"] > 0.98


def test_all_outputs_of_a_faster_rcnn_are_shown_as_used_and_a_plan_names_the_first_and_the_last(
    job: JobFolder, known: Callable[[str], Known], cli: Cli
) -> None:
    use(job, known("faster_rcnn"))
    shown = cli("models", "show", job.folder / "tuned.onnx", "--json").expect(0).stdout
    held = {output["name"]: output["held"] for output in json.loads(shown)["outputs"]}
    assert held["features"] == "features"
    assert {what for name, what in held.items() if name != "features"} == {"boxes (faster_rcnn)"}
    assert "from 14 outputs, features_p2 to deltas_p6 (faster_rcnn)" in job.run("--dry-run").expect(0).stdout


def test_only_the_boxes_that_a_job_asks_for_are_there(job: JobFolder, known: Callable[[str], Known]) -> None:
    use(job, known("faster_rcnn"))
    job.run().expect(0)
    names = {box["name"] for row in job.rows() for box in row["detections"] if box["score"] > 0.6}
    some = sorted(names)[:2]
    settings = (f"infer.classes={some}", "infer.score=0.4", "infer.max_detections=7")
    job.run("--fresh", *(word for setting in settings for word in ("--set", setting))).expect(0)
    found = [row["detections"] for row in job.rows()]
    assert {box["name"] for boxes in found for box in boxes} <= set(some)
    assert sum(map(len, found)) > 5
    assert all(box["score"] > 0.4 for boxes in found for box in boxes)
    assert max(map(len, found)) <= 7
    assert found == [sorted(boxes, key=lambda box: -box["score"]) for boxes in found]


def test_a_study_of_depth_tells_the_parts_and_the_memory_of_faster_rcnns(
    job: JobFolder, known: Callable[[str], Known], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = job.folder / "models"
    models.mkdir()
    monkeypatch.setattr(family, "models_dir", lambda: models)
    for depth, suffix in product((18, 34), (".onnx", ".json")):  # as small as the first one
        (models / f"fasterrcnn_resnet{depth}_fpn{suffix}").hardlink_to(
            known("faster_rcnn").folder / f"tuned{suffix}"
        )
    done = cli("depth", job.file, "--depths", "18,34", "--items", 4, "--repeats", 1).expect(0)
    assert "2/2 Faster R-CNN with a ResNet-34, opencv: " in done.stderr
    table = done.stdout.splitlines()
    assert sum(line.startswith("Faster R-CNN with a ResNet-18 opencv ") for line in table) == 2
    assert "GFLOP/s" not in done.stdout
    (titles,) = [line.split() for line in table if " roi_align " in line]
    assert titles == ["model", "engine", *PARTS]
    study = figures.read(job.out / "depth.json")
    assert (study.family, study.items, study.repeats) == ("faster_rcnn", 4, 1)
    for entry in study.entries:
        assert list(entry.parts) == list(PARTS)
        assert min(entry.parts[part] for part in PARTS[1:]) > 0
        assert sum(entry.parts.values()) == pytest.approx(entry.stages["infer"].busy_ms, rel=0.2)
        assert entry.peak_rss_mb > 100
        assert entry.network.gmacs_at == (160, 224)
        assert entry.gflops is None
    rows = list(csv.DictReader((job.out / "depth.csv").read_text().splitlines()))
    assert float(rows[0]["parts.box_head"]) == study.entries[0].parts["box_head"]
    page = (job.out / "depth.html").read_text()
    assert "Faster R-CNN with a ResNet-34" in page
    assert "roi_align" in page
    assert "ResNet-18 uses the machine best" not in page


def test_the_box_head_of_a_thousand_proposals_is_among_what_an_image_costs(
    known: Callable[[str], Known],
) -> None:
    sidecar = read_sidecar(known("faster_rcnn").folder / "tuned.json")
    head = 256 * 7 * 7 * 1024 + 1024 * 1024 + 1024 * 5 * CLASSES
    assert sidecar.macs > 1000 * head
    pixels = 160 * 224
    assert (sidecar.macs - 1000 * head) / pixels == pytest.approx(146_729_146_624 / (800 * 1344), rel=0.02)


@pytest.mark.parametrize(
    ("name", "weights", "said"),
    [
        (
            "fasterrcnn_resnet50_fpn",
            "tuned.pt",
            "is of a Faster R-CNN with a ResNet-18, and fasterrcnn_resnet50_fpn has a ResNet-50\n"
            "  what to do: resnet-pipe convert fasterrcnn_resnet18_fpn --weights ",
        ),
        (
            "fasterrcnn_resnet50_fpn_v2",
            "tuned.pt",
            "is of a Faster R-CNN with a ResNet-18, and fasterrcnn_resnet50_fpn_v2 has a ResNet-50\n"
            "  what to do: resnet-pipe convert fasterrcnn_resnet18_fpn --weights ",
        ),
        (
            "fcos_resnet50_fpn",
            "tuned.pt",
            "is of a Faster R-CNN, and fcos_resnet50_fpn is an FCOS\n"
            "  what to do: resnet-pipe convert fasterrcnn_resnet18_fpn --weights ",
        ),
        (
            "fasterrcnn_resnet34_fpn",
            "coco",
            "torchvision publishes no weights of fasterrcnn_resnet34_fpn; of Faster R-CNNs, only with a"
            " ResNet-50\n  what to do: resnet-pipe convert fasterrcnn_resnet50_fpn",
        ),
    ],
)
def test_weights_of_another_network_are_refused_by_name(
    name: str, weights: str, said: str, known: Callable[[str], Known], cli: Cli, tmp_path: Path
) -> None:
    given = known("faster_rcnn").folder / weights
    refused = cli(
        "convert", name, "--weights", given if given.exists() else weights, "--out", tmp_path / "models"
    )
    assert said in refused.expect(ExitCode.USAGE).stderr
    assert not (tmp_path / "models").exists()


@pytest.mark.slow
@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_random_weights_give_the_same_in_an_engine_at_every_depth(
    depth: int, tmp_path: Path, cli: Cli
) -> None:
    name = f"fasterrcnn_resnet{depth}_fpn"
    said = cli("convert", name, "--weights", "random", "--out", tmp_path).expect(0).stdout
    assert "as in torch " in said
    sidecar = read_sidecar(tmp_path / f"{name}.json")
    assert (sidecar.architecture, sidecar.weights.kind) == (name, "random")


@pytest.mark.slow
def test_what_is_assumed_of_frozen_batch_norms_is_said(tmp_path: Path, cli: Cli) -> None:
    state = detector("retinanet", **SMALL).state_dict()
    torch.save({name: one for name, one in state.items() if "num_batches" not in name}, tmp_path / "tuned.pt")
    said = cli(
        *(
            "convert",
            "retinanet_resnet50_fpn",
            "--weights",
            tmp_path / "tuned.pt",
            "--out",
            tmp_path / "models",
        ),
        *("--preprocess", PREPROCESS),
    ).expect(0)
    assert "NOTE: assumed that 0 was added to the variances of its frozen batch norms" in said.stdout


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("writer.fields=[top_k]",), "tuned finds objects, and gives no top_k: write fields: [boxes]"),
        (("writer.fields=[boxes, logits]",), "tuned finds objects, and gives no logits: write fields: "),
        (("infer.classes=[thing 1, unicorn]",), "no class is called unicorn; the model has 12: "),
    ],
)
def test_what_a_detector_does_not_have_is_refused(
    settings: tuple[str, ...], said: str, job: JobFolder, known: Callable[[str], Known]
) -> None:
    use(job, known("retinanet"))
    result = job.run(*(word for setting in settings for word in ("--set", setting))).expect(2)
    assert said in result.stderr
    assert not job.out.exists()
