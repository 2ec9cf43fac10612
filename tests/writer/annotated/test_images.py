"""Annotated pictures: the images and frames that the network saw, with their labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from resnet_pipe.store.names import key_of
from resnet_pipe.writer.writer import Written
from tests.photographs import encode, photograph
from tests.reader.reading import read
from tests.videos import FRAMES, SAMPLES, cut_off, make
from tests.writer.annotated.drawing import CAT, COFFEE, LABELS, Best, draw, rows, target, with_panel

Picture = NDArray[np.uint8]


def load(path: Path) -> Picture:
    with path.open("rb") as file, Image.open(file) as image:
        assert (image.format, image.mode) == ("JPEG", "RGB")
        assert not image.getexif()
        return np.asarray(image)


def is_near(ours: Picture, source: Picture, best: Best) -> bool:
    """Tell whether a picture is its source with these labels, and not with others."""
    right, wrong = (with_panel(source, each).astype(int) for each in (best, (best[0][::-1], best[1])))
    at_text = (right != wrong).any(axis=2)
    differences = [np.abs(ours - each)[at_text].mean() for each in (right, wrong)]
    return bool(np.abs(ours - right).mean() < 5 and differences[0] < differences[1] / 2)


def test_each_image_becomes_a_jpeg_of_its_name_with_its_labels_on_it(tmp_path: Path) -> None:
    small = photograph("chelsea.png").resize((450, 300))
    (tmp_path / "day 1").mkdir()
    (tmp_path / "a.png").write_bytes(encode(small, "PNG"))
    (tmp_path / "day 1/ä.webp").write_bytes(encode(small, "WEBP", lossless=True))
    out = tmp_path / "out"
    written = draw(
        target(out, tmp_path, "images"), rows("a.png", [None]), rows("day 1/ä.webp", [None], COFFEE)
    )
    assert written == Written(
        files={"a.png": (Path("images/a.png.jpg"),), "day 1/ä.webp": (Path("images/day 1/ä.webp.jpg"),)}
    )
    assert is_near(load(out / "images/a.png.jpg"), np.asarray(small), CAT)
    assert is_near(load(out / "images/day 1/ä.webp.jpg"), np.asarray(small), COFFEE)


def test_an_image_is_upright_and_as_large_as_it_is(tmp_path: Path) -> None:
    turned = photograph("coffee.png").resize((301, 201))
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "a.jpg").write_bytes(encode(turned, "JPEG", exif=exif, quality=95))
    draw(target(tmp_path / "out", tmp_path, "images"), rows("a.jpg", [None]))
    upright = np.asarray(turned.transpose(Image.Transpose.ROTATE_270))
    assert is_near(load(tmp_path / "out/images/a.jpg.jpg"), upright, CAT)


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK"])
def test_pixels_of_other_kinds_become_colours(tmp_path: Path, mode: str) -> None:
    image = photograph("coffee.png").resize((300, 200)).convert(mode)
    (tmp_path / "a.tif").write_bytes(encode(image, "TIFF"))
    assert draw(target(tmp_path / "out", tmp_path, "images"), rows("a.tif", [None])).failures == {}
    assert is_near(load(tmp_path / "out/images/a.tif.jpg"), np.asarray(image.convert("RGB")), CAT)


def test_of_a_video_there_are_the_frames_that_the_network_saw(tmp_path: Path) -> None:
    make(tmp_path, SAMPLES["h264.mp4"])
    frames = [0, 13, 26, 39]
    best = [CAT, COFFEE, CAT, COFFEE]
    written = draw(target(tmp_path / "out", tmp_path, "images"), rows("h264.mp4", frames, best))
    names = [f"images/h264.mp4/{frame:08d}.jpg" for frame in frames]
    assert [str(path) for path in written.files["h264.mp4"]] == names
    source = read(tmp_path / "h264.mp4").rows
    for name, frame, each in zip(names, frames, best, strict=True):
        assert is_near(load(tmp_path / "out" / name), source[frame].frame, each)
    assert len(list((tmp_path / "out/images/h264.mp4").iterdir())) == 4


def test_of_a_damaged_video_there_are_the_frames_before_the_damage(tmp_path: Path) -> None:
    make(tmp_path, SAMPLES["h264-open.mkv"])
    cut_off(tmp_path / "h264-open.mkv", tmp_path / "cut.mkv", 0.6)
    whole = len(read(tmp_path / "cut.mkv").rows)
    written = draw(target(tmp_path / "out", tmp_path, "images"), rows("cut.mkv", range(FRAMES)))
    assert len(written.files["cut.mkv"]) == whole < FRAMES
    assert written.failures["cut.mkv"].stage == "writer"
    assert written.failures["cut.mkv"].error == "truncated"


def test_a_video_that_has_become_shorter_is_a_failure(tmp_path: Path) -> None:
    make(tmp_path, SAMPLES["two.webm"])
    written = draw(target(tmp_path / "out", tmp_path, "images"), rows("two.webm", [0, 1, 2]))
    assert len(written.files["two.webm"]) == 2
    assert "has changed since" in written.failures["two.webm"].message


@pytest.mark.parametrize(
    ("data", "error"),
    [(b"", "empty"), (b"no image", "unknown_format"), (None, "missing")],
)
def test_an_image_that_cannot_be_read_again_is_a_failure(
    tmp_path: Path, data: bytes | None, error: str
) -> None:
    if data is not None:
        (tmp_path / "a.png").write_bytes(data)
    (tmp_path / "b.png").write_bytes(encode(photograph().resize((64, 48)), "PNG"))
    made = target(tmp_path / "out", tmp_path, "images")
    written = draw(made, rows("a.png", [None]), rows("b.png", [None]))
    assert {key: (each.stage, each.error) for key, each in written.failures.items()} == {
        "a.png": ("writer", error)
    }
    assert [str(path) for path in written.files["b.png"]] == ["images/b.png.jpg"]
    assert written.files["a.png"] == ()


def test_an_image_that_ends_too_early_is_drawn_as_far_as_it_goes(tmp_path: Path) -> None:
    whole = photograph().resize((300, 400))
    data = encode(whole, "JPEG", quality=95)
    (tmp_path / "a.jpg").write_bytes(data[: len(data) // 2])
    assert draw(target(tmp_path / "out", tmp_path, "images"), rows("a.jpg", [None])).failures == {}
    drawn = load(tmp_path / "out/images/a.jpg.jpg").astype(int)
    differences = np.abs(drawn - np.asarray(whole)).mean(axis=(1, 2))
    assert differences[100:150].max() < 8
    assert differences[300:].min() > 20


def test_an_image_too_long_for_a_jpeg_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode(Image.new("L", (65_501, 1)), "PNG"))
    written = draw(target(tmp_path / "out", tmp_path, "images"), rows("a.png", [None]))
    assert written.failures["a.png"].error == "too_large"
    assert "65501 x 1" in written.failures["a.png"].message


@pytest.mark.parametrize("label", ["\x1b[2J\x00\r\n", "🐱", "שלום", "x" * 200, "\ud800"])
def test_any_label_can_be_drawn(tmp_path: Path, label: str) -> None:
    (tmp_path / "a.png").write_bytes(encode(photograph().resize((300, 200)), "PNG"))
    labels = (label, *LABELS)
    made = target(tmp_path / "out", tmp_path, "images", labels)
    assert draw(made, rows("a.png", [None])).failures == {}
    source = np.asarray(photograph().resize((300, 200)))
    drawn = with_panel(source, CAT, labels)
    assert np.abs(load(tmp_path / "out/images/a.png.jpg").astype(int) - drawn).mean() < 5


def test_a_source_may_be_called_anything(tmp_path: Path) -> None:
    names = [
        "back\\slash.png",
        "new\nline.png",
        "\udcff.png",
        "x" * 251 + ".png",
        "a.png.jpg/b.png",
        "a.png",
        "-.png",
    ]
    data = encode(photograph().resize((64, 48)), "PNG")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    made = target(tmp_path / "out", tmp_path, "images")
    written = draw(made, *(rows(key_of(name), [None]) for name in names))
    assert written.failures == {}
    paths = {path for paths in written.files.values() for path in paths}
    assert len(paths) == len(names)
    assert all((tmp_path / "out" / path).is_file() for path in paths)


def test_a_higher_quality_makes_a_larger_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode(photograph().resize((300, 200)), "PNG"))
    sizes = []
    for quality in (30, 95):
        draw(target(tmp_path / "out", tmp_path, "images", quality=quality), rows("a.png", [None]))
        sizes.append((tmp_path / "out/images/a.png.jpg").stat().st_size)
    assert sizes[1] > 2 * sizes[0]


def test_pictures_are_not_merged(tmp_path: Path) -> None:
    made = target(tmp_path / "out", tmp_path, "images")
    made.section.merge(made.target, [(tmp_path, ())])
    assert list((tmp_path / "out").iterdir()) == []
