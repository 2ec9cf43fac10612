"""Jobs whose network takes no square: how an image is fitted to it, and what is said where that cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from resnet_pipe.errors import DocumentError
from resnet_pipe.job import job as jobs
from resnet_pipe.job.resolve import Resolved, resolve
from resnet_pipe.store.digest import file_sha256
from tests.networks import write_pixels
from tests.photographs import encode, photograph
from tests.run.jobs import SIDECAR, JobFolder

SIZE = (24, 12)
"""Height and width of the network's input."""
RAW = "mean: [0, 0, 0], std: [1, 1, 1]"
PICTURES = {"wide.png": (61, 40), "tall.png": (30, 90), "square.png": (33, 33)}
"""Name to width and height."""


@pytest.fixture
def job(tmp_path: Path) -> JobFolder:
    """A job whose network gives its input back, and takes 24 x 12."""
    return JobFolder(tmp_path, write_pixels(tmp_path / "pixels.onnx", SIZE))


def cropped(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return the middle, of the network's size, of an image resized to a width and a height."""
    resized = image.resize(size, Image.Resampling.BILINEAR)
    left, top = (round((side - kept) / 2) for side, kept in zip(size, SIZE[::-1], strict=True))
    return resized.crop((left, top, left + SIZE[1], top + SIZE[0]))


def shorter_24(image: Image.Image) -> Image.Image:
    width, height = image.size
    return cropped(
        image, (24, int(24 * height / width)) if width <= height else (int(24 * width / height), 24)
    )


def letterbox(image: Image.Image) -> Image.Image:
    scale = min(SIZE[0] / image.height, SIZE[1] / image.width)
    inner = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    canvas = Image.new("RGB", SIZE[::-1], (1, 2, 3))
    canvas.paste(inner, ((SIZE[1] - inner.width) // 2, (SIZE[0] - inner.height) // 2))
    return canvas


WAYS = {
    "resize: 24, crop: [24, 12]": shorter_24,
    "resize: [30, 14], crop: [24, 12]": lambda image: cropped(image, (14, 30)),
    "fit: squash": lambda image: cropped(image, SIZE[::-1]),
    "fit: pad, pad_value: [1, 2, 3]": letterbox,
}


@pytest.mark.parametrize("keys", WAYS)
def test_a_network_that_takes_no_square_sees_what_pillow_makes(job: JobFolder, keys: str) -> None:
    for name, size in PICTURES.items():
        (job.images / name).write_bytes(encode(photograph().resize(size), "PNG"))
    job.write(preprocess=f"{{{keys}, {RAW}}}", fields="[features]")
    job.run("--set", "run.report=true").expect(0)
    rows = {row["path"]: row["features"] for row in job.rows()}
    for name, size in PICTURES.items():
        expected: NDArray[Any] = np.asarray(WAYS[keys](photograph().resize(size)))
        seen = 255 * np.reshape(rows[name], (3, *SIZE)).transpose(1, 2, 0)
        assert np.abs(seen - expected).max() <= 1.001, name


def resolved(job: JobFolder, keys: str) -> Resolved:
    job.write(preprocess=f"{{{keys}}}", fields="[features]")
    return resolve(*jobs.load(job.file))


def said(job: JobFolder, keys: str) -> str:
    with pytest.raises(DocumentError) as caught:
        resolved(job, keys)
    return str(caught.value)


REFUSED = {
    "resize: 256, crop: 224": "crop: 224, but the network's input is 24 x 12; write crop: [24, 12]",
    "resize: 20, crop: [24, 12]": "crop: [24, 12] is larger than resize, 20, the size of a resized square"
    " image; write resize: 24, or a smaller crop",
    "resize: [24, 11]": "crop: [24, 12] is larger than resize, [24, 11]; write resize: [24, 12]",
    "resize: 24, fit: pad": "resize: with fit: pad the image is resized to crop; remove resize",
    "fit: squash, pad_value: 114": "pad_value: only fit: pad has margins, and fit is squash",
    "crop: [24, 12]": "tiny.onnx has no sidecar, so the job must set: resize",
    "resize: [24], crop: 24x12": "crop: expected pixels, or [height, width]; each from 1 to 8192",
    "fit: pad, pad_value: 256": "pad_value: expected a grey level, or [red, green, blue]",
    "fit: stretch": "fit: input should be 'crop', 'squash', 'pad' or 'shortest'",
}


@pytest.mark.parametrize("keys", REFUSED)
def test_what_does_not_go_together_is_said_with_what_to_write(job: JobFolder, keys: str) -> None:
    assert REFUSED[keys] in said(job, f"{keys}, {RAW}")


def test_the_size_of_the_input_is_the_networks_where_a_job_leaves_it_out(job: JobFolder) -> None:
    assert resolved(job, f"resize: 256, {RAW}").geometry.size == SIZE


def test_equal_sizes_and_colours_have_one_fingerprint_however_they_are_written(tmp_path: Path) -> None:
    job = JobFolder(tmp_path, write_pixels(tmp_path / "pixels.onnx", 16))
    one = resolved(job, f"resize: 16, crop: 16, {RAW}")
    assert one.fingerprint.settings["preprocess.crop"] == 16
    assert not {"preprocess.fit", "preprocess.pad_value"} & one.fingerprint.settings.keys()
    told = {"resize", "crop", "interpolation", "mean", "std", "color", "mode"}
    assert json.loads(one.metadata["preprocessing"]).keys() == told, "what was told before there was a fit"
    assert resolved(job, f"resize: 16, crop: [16, 16], fit: crop, {RAW}").digest == one.digest
    assert resolved(job, f"resize: [16, 16], crop: 16, {RAW}").digest != one.digest
    padded = resolved(job, f"fit: pad, pad_value: 7, {RAW}")
    assert resolved(job, f"fit: pad, pad_value: [7, 7, 7], crop: 16, {RAW}").digest == padded.digest
    assert padded.fingerprint.settings["preprocess.fit"] == "pad"
    assert "resize" not in padded.metadata["preprocessing"]


def test_a_job_may_take_another_fit_than_its_models_sidecar(job: JobFolder) -> None:
    model = job.folder / "tiny.onnx"
    preprocessing = {"crop": SIZE, "fit": "pad", "pad_value": 114, "mean": [0.5] * 3, "std": [1] * 3}
    about = {"onnx_sha256": file_sha256(model), "preprocessing": preprocessing}
    model.with_suffix(".json").write_text(json.dumps(SIDECAR | about))
    assert resolved(job, "mode: fast").geometry.pad_value == 114
    squashed = resolved(job, "fit: squash").preprocessing
    assert (squashed.fit, squashed.pad_value, squashed.mean) == ("squash", 0, [0.5] * 3)
    assert resolved(job, "fit: crop, resize: [24, 12]").geometry.resize == (24, 12)
    assert "preprocess.resize: required for fit: crop" in said(job, "fit: crop")
    assert "preprocess.resize: with fit: pad the image is resized to crop" in said(job, "resize: 24")
