"""Images of many shapes, each as large as its own shape makes it, through a network that takes any size."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper
from PIL import Image, ImageOps

from resnet_pipe.infer import engine as engines
from resnet_pipe.infer import opencv
from resnet_pipe.infer.batches import Normalizer
from resnet_pipe.infer.engine import EngineRequest
from resnet_pipe.job import job as jobs
from resnet_pipe.job.resolve import resolve
from resnet_pipe.preprocess.geometry import Mode
from resnet_pipe.preprocess.preprocessing import Preprocessing
from resnet_pipe.reader.video.section import VideoSection
from resnet_pipe.run.chunk import ChunkFiles
from tests.networks import ANY, MEAN, STD, Crop, classifier, write, write_residual
from tests.photographs import encode, photograph
from tests.run.faults import shorten_spans
from tests.run.jobs import Cli, JobFolder, VideoFolder
from tests.videos import Recipe, make, x264

TOLD = "fit: shortest, resize: 64, longest: 100, multiple: 16, interpolation: linear"
PREPROCESS = f"{{{TOLD}, mean: {MEAN}, std: {STD}}}"
KEYS: dict[str, Any] = {
    "fit": "shortest", "resize": 64, "longest": 100, "multiple": 16, "interpolation": "linear",
    "mean": MEAN, "std": STD,
}  # fmt: skip
ENGINES = ("opencv", "onnxruntime", "openvino", "torch", "mlx")
PICTURES = {
    "a.png": (61, 40), "b.jpg": (300, 200), "c.jpg": (301, 201), "d.png": (30, 90), "e.png": (33, 33),
    "f.png": (1, 300), "g.png": (300, 1), "h.jpg": (200, 300), "i.jpg": (199, 301), "j.jpg": (640, 427),
    "k.png": (64, 64), "l.png": (100, 64),
}  # fmt: skip
"""Name to width and height."""
TURNED = "m.jpg"
"""A picture that EXIF turns by a quarter."""


def fill(folder: Path) -> None:
    """Put the pictures into a folder."""
    for number, (name, size) in enumerate(PICTURES.items()):
        image = photograph().rotate(31 * number).resize(size)
        (folder / name).write_bytes(encode(image, "JPEG" if name.endswith("jpg") else "PNG"))
    exif = Image.Exif()
    exif[0x0112] = 6
    (folder / TURNED).write_bytes(encode(photograph().resize((300, 200)), "JPEG", exif=exif))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_residual(tmp_path_factory.mktemp("network") / "any.onnx", ANY)


@pytest.fixture
def job(tmp_path: Path, network: Path) -> JobFolder:
    made = JobFolder(tmp_path, network)
    fill(made.images)
    return made


def rows(job: JobFolder) -> dict[str, NDArray[np.float32]]:
    """Return features and logits of each picture."""
    return {row["path"]: np.array(row["features"] + row["logits"], np.float32) for row in job.rows()}


def one_at_a_time(network: Path, folder: Path, mode: Mode) -> dict[str, NDArray[np.float32]]:
    """Return what torch gives for each picture alone, prepared in this process."""
    preprocessing = Preprocessing(**KEYS)
    geometry = preprocessing.geometry(mode)
    request = EngineRequest(
        network, preprocessing.network_input_in(mode), ("features", "logits"), 1, "cpu", "fp32", 1
    )
    engine, found = engines.load("torch", request), {}
    for path in sorted(folder.iterdir()):
        with Image.open(path) as image:
            frame = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        size = geometry.size_of(frame.shape[1], frame.shape[0])
        batch = np.zeros((1, *size, 3), np.float32 if geometry.floats else np.uint8)
        geometry.apply(frame, batch[0])
        outputs = engine.infer(batch)
        found[path.name] = np.concatenate([outputs["features"][0], outputs["logits"][0]])
    return found


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_gives_what_torch_gives_one_at_a_time(job: JobFolder, network: Path, name: str) -> None:
    pytest.importorskip({"opencv": "cv2", "mlx": "mlx.core"}.get(name, name))
    pytest.importorskip("torch")
    expected = one_at_a_time(network, job.images, "exact")
    found = {}
    for number, (workers, size, chunk) in enumerate([(1, 1, 100), (2, 4, 100), (3, 3, 5)]):
        job.write(
            preprocess=PREPROCESS,
            infer=f"engine: {name}",
            workers=workers,
            batch_size=size,
            chunk_items=chunk,
        )
        job.run("--set", f"writer.path={job.folder}/out{number}").expect(0)
        job.out = job.folder / f"out{number}"
        found[number] = rows(job)
        assert found[number].keys() == expected.keys()
    for key, values in expected.items():
        assert np.allclose(found[0][key], values, rtol=1e-4, atol=1e-4), key
        for other in (1, 2):
            assert np.array_equal(found[0][key], found[other][key]), (key, other)


def test_a_batch_ends_where_the_next_picture_has_another_size(job: JobFolder) -> None:
    for path in job.images.iterdir():
        path.unlink()
    for number in range(12):
        wide = number < 6
        (job.images / f"{number:02}.png").write_bytes(
            encode(photograph().resize((90, 60) if wide else (60, 90)), "PNG")
        )
    job.write(preprocess=PREPROCESS, batch_size=4, chunk_items=100)
    job.run("--set", "run.trace=true").expect(0)
    (trace,) = job.out.glob("_resnet_pipe/runs/*/trace.json*")
    events = json.loads(trace.read_text())["traceEvents"]
    assert len([event for event in events if (event["name"], event["ph"]) == ("batch", "s")]) == 4
    assert len(job.rows()) == 12


def test_results_do_not_depend_on_the_order_of_pictures(
    job: JobFolder, tmp_path: Path, network: Path
) -> None:
    job.write(preprocess=PREPROCESS, batch_size=3, chunk_items=100)
    job.run().expect(0)
    (tmp_path / "other").mkdir()
    other = JobFolder(tmp_path / "other", network)
    for path in job.images.iterdir():
        (
            other.images / f"{'zyxwvutsrqponmlkjihgfedcba'[ord(path.name[0]) - ord('a')]}{path.suffix}"
        ).write_bytes(path.read_bytes())
    other.write(preprocess=PREPROCESS, batch_size=4, chunk_items=100)
    other.run().expect(0)
    one, two = (sorted(values.tobytes() for values in rows(each).values()) for each in (job, other))
    assert one == two


def test_what_is_done_stays_done_with_canary_and_report(job: JobFolder, network: Path) -> None:
    kept = {path.name: path.read_bytes() for path in job.images.iterdir()}
    job.write(preprocess=PREPROCESS, batch_size=4, chunk_items=4, canary=4)
    job.run().expect(0)
    whole = rows(job)
    part = job.folder / "part"
    for name in list(kept)[::2]:
        (job.images / name).unlink()
    job.run("--set", f"writer.path={part}", "--set", "run.report=true").expect(0)
    for name in list(kept)[::2]:
        (job.images / name).write_bytes(kept[name])
    job.run("--set", f"writer.path={part}").expect(0)
    job.out = part
    found = rows(job)
    assert found.keys() == whole.keys()
    assert all(np.array_equal(found[name], whole[name]) for name in whole)
    job.run("--set", f"writer.path={part}", "--set", "preprocess.longest=101").expect(2)


def test_a_damaged_picture_costs_only_itself(job: JobFolder) -> None:
    data = (job.images / "b.jpg").read_bytes()
    (job.images / "bb.jpg").write_bytes(data[: len(data) // 2])
    (job.images / "0.png").write_bytes(b"")
    job.write(preprocess=PREPROCESS, batch_size=4, chunk_items=100)
    job.run().expect(3)
    assert rows(job).keys() == {*PICTURES, TURNED}


def test_fast_mode_is_close(job: JobFolder, network: Path) -> None:
    pytest.importorskip("torch")
    (job.images / "n.jpg").write_bytes(encode(photograph("retina.jpg").resize((1401, 1203)), "JPEG"))
    job.write(preprocess=PREPROCESS[:-1] + ", mode: fast}", batch_size=4, chunk_items=100)
    job.run().expect(0)
    expected = one_at_a_time(network, job.images, "exact")
    found = rows(job)
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        cosine = values @ found[key] / np.linalg.norm(values) / np.linalg.norm(found[key])
        assert cosine > 0.99, key


@pytest.fixture
def film(tmp_path: Path, network: Path) -> VideoFolder:
    """A job over videos of several sizes, one of them long."""
    made = VideoFolder(tmp_path, network)
    for name, size, frames in ("a.mp4", (160, 120), 9), ("b.mp4", (120, 160), 30), ("c.mp4", (160, 120), 5):
        recipe = Recipe(name, "libx264", x264(), size=size, frames=frames, time_base=Fraction(1, 25))
        make(made.videos, recipe)
    made.describe(workers=2)
    text = made.file.read_text()
    start = text.index("preprocess: ")
    stop = text.index("\n", start)
    made.file.write_text(f"{text[:start]}preprocess: {PREPROCESS}{text[stop:]}")
    return made


@pytest.mark.parametrize("spans", [False, True])
def test_frames_of_videos_of_several_sizes(
    film: VideoFolder, network: Path, spans: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if spans:
        shorten_spans(monkeypatch)
    film.run().expect(0)
    found = film.rows()
    assert [sum(row["path"] == name for row in found) for name in ("a.mp4", "b.mp4", "c.mp4")] == [9, 30, 5]
    section = VideoSection.model_validate({"kind": "video", "path": str(film.videos)})
    reader, preprocessing = section.make_reader(), Preprocessing(**KEYS)
    geometry = preprocessing.geometry()
    normalizer = Normalizer(preprocessing.network_input, 1)
    net = cv2.dnn.readNetFromONNX(str(network))
    rows = iter(found)
    for source in reader.list_sources():
        for item in reader.read(source.key, None):
            out = np.zeros((1, *geometry.size_of(*item.displayed), 3), np.float32)
            geometry.apply(item.frame, out[0])
            net.setInput(normalizer.fill(out))
            row = next(rows)
            assert (row["path"], row["frame_index"]) == (source.key, item.frame_index)
            np.testing.assert_allclose(row["features"], net.forward("features")[0], rtol=1e-4, atol=1e-5)


def said(job: JobFolder, infer: str = "", fields: str = "[features]") -> str:
    """Return what the command says about a job that it refuses."""
    job.write(preprocess=PREPROCESS, infer=infer, fields=fields)
    result = job.run().expect(2)
    assert not job.out.exists() or not list(job.out.glob("part-*"))
    return " ".join(result.stderr.split())


@pytest.mark.parametrize(("size", "found"), [(32, "32 x 32"), (("H", 48), "any x 48")])
def test_a_network_of_a_fixed_size_is_refused(tmp_path: Path, size: Crop, found: str) -> None:
    job = JobFolder(tmp_path, write_residual(tmp_path / "fixed.onnx", size))
    fill(job.images)
    text = said(job)
    assert f"preprocess.fit: shortest makes images of many sizes, but the network's input is {found}" in text
    assert "export it with a dynamic height and width, or write fit: pad" in text


@pytest.mark.parametrize("name", ENGINES)
def test_a_network_that_only_says_that_it_takes_any_size_is_refused_when_it_is_loaded(
    tmp_path: Path, name: str
) -> None:
    """Its classifier wants as many values as one size gives: that of the largest pictures here."""
    pytest.importorskip({"opencv": "cv2", "mlx": "mlx.core"}.get(name, name))
    width = 3 * 64 * 112
    nodes = [
        helper.make_node("Flatten", ["input"], ["features"], axis=1),
        helper.make_node("Gemm", ["features", "weight", "bias"], ["logits"], transB=1),
    ]
    path = write(tmp_path / "liar.onnx", nodes, {"logits": 10}, classifier(width), crop=ANY)
    job = JobFolder(tmp_path, path)
    fill(job.images)
    text = said(job, infer=f"engine: {name}", fields="[logits]")
    assert "cannot be given images of many sizes" in text or "cannot run" in text


def test_a_network_whose_rows_have_another_width_for_another_size_is_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["rows"], axes=[1, 2], keepdims=0),
    ]
    path = write(tmp_path / "wide.onnx", nodes, {"rows": 0}, {}, crop=ANY)
    model = onnx.load(path)
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "W"
    onnx.save(model, path)
    job = JobFolder(tmp_path, path)
    fill(job.images)
    text = said(job, infer="engine: onnxruntime, features: rows", fields="[features]")
    assert "cannot be given images of many sizes: with 32 x 112, output 'rows' has shape" in text


def test_verify_compares_engines_on_pictures_of_all_sizes(cli: Cli, job: JobFolder) -> None:
    job.write(preprocess=PREPROCESS)
    result = cli("verify", job.file, "--json", "--count", "9", "--device", "cpu").expect(0)
    found = json.loads(result.stdout)
    assert found["images"]["used"] == 9
    passed = {one["engine"] for one in found["engines"] if one["status"] == "pass"}
    assert passed >= {"opencv", "onnxruntime"}
    assert all(one["cosine_min"] > 0.9999 for one in found["engines"] if one["precision"] == "fp32")


def test_an_engine_is_chosen_for_them_too(job: JobFolder) -> None:
    job.write(preprocess=PREPROCESS)
    job.file.write_text(job.file.read_text().replace("model: tiny.onnx,", "model: tiny.onnx, engine: auto,"))
    result = job.run("--set", "infer.engine=auto").expect(0)
    assert "engine auto chose" in result.stderr + result.stdout
    assert len(job.rows()) == len(PICTURES) + 1


def test_an_engine_that_takes_one_size_only_is_refused_with_those_that_can(
    job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opencv, "DESCRIPTION", replace(opencv.DESCRIPTION, any_size=False))
    text = said(job, infer="engine: opencv")
    assert "infer.engine: opencv takes images of one size only, and fit: shortest makes many" in text
    assert "write openvino or onnxruntime or torch or mlx" in text


@pytest.mark.parametrize("mode", ["exact", "fast"])
@pytest.mark.parametrize("keys", [KEYS, {"fit": "pad", "crop": 48}, {"resize": 48, "crop": 40}], ids=str)
def test_rows_say_where_the_picture_lies_and_how_large_it_is_displayed(
    job: JobFolder, keys: dict[str, Any], mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of JPEGs that were decoded to a half, and of one that is turned."""
    seen: dict[str, object] = {}

    def append(files: ChunkFiles, places: Any, outputs: Any) -> None:  # noqa: ANN401
        seen.update((row.key, row.placement) for row in places)
        kept(files, places, outputs)

    kept = ChunkFiles.append
    monkeypatch.setattr(ChunkFiles, "append", append)
    whole = {**keys, "mean": MEAN, "std": STD}
    job.write(preprocess=json.dumps({**whole, "mode": mode}), batch_size=4, chunk_items=100)
    job.run().expect(0)
    geometry = Preprocessing(**whole).geometry(mode)
    sizes = {**PICTURES, TURNED: (200, 300)}
    assert seen == {name: geometry.placement(*size) for name, size in sizes.items()}


def test_the_fingerprint_names_the_keys_of_this_fit_only_where_it_is_used(job: JobFolder) -> None:
    job.write(preprocess=PREPROCESS)
    found = resolve(*jobs.load(job.file)).fingerprint.settings
    told = {key: value for key, value in found.items() if key.startswith("preprocess.")}
    assert told == {f"preprocess.{key}": value for key, value in KEYS.items()}
    job.write(preprocess=PREPROCESS.replace("multiple: 16", "multiple: 1"))
    assert "preprocess.multiple" not in resolve(*jobs.load(job.file)).fingerprint.settings
    job.write()
    found = resolve(*jobs.load(job.file)).fingerprint.settings
    assert {key for key in found if key.startswith("preprocess.")} == {
        f"preprocess.{key}" for key in ("resize", "crop", "mean", "std")
    }


def test_the_study_of_depth_whose_networks_take_one_size_refuses_them(job: JobFolder, cli: Cli) -> None:
    job.write(preprocess=PREPROCESS)
    said = cli("depth", job.file).expect(2).stderr
    assert "take images of one size, and fit: shortest makes many" in said
