"""From decoded frames to RGB: the colours that the video means, upright, whatever the pixel format."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream
from numpy.typing import NDArray

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.video.picture import Converter
from tests.reader.reading import read
from tests.videos import SAMPLES, Recipe, display_matrix, make, named, picture, x264

WEIGHTS = {
    "bt709": (1, 0.2126, 0.0722),
    "unsaid": (2, 0.299, 0.114),
    "fcc": (4, 0.30, 0.11),
    "bt470bg": (5, 0.299, 0.114),
    "smpte170m": (6, 0.299, 0.114),
    "smpte240m": (7, 0.212, 0.087),
    "bt2020": (9, 0.2627, 0.0593),
}
"""Number and weights of red and blue of the matrices of ITU-T H.273, table 4."""


def convert(frame: av.VideoFrame, min_side: int | None = None) -> NDArray[np.uint8]:
    return Converter(min_side, 10**7).rgb(frame)


def plain(format_: str, values: tuple[int, int, int], size: tuple[int, int]) -> av.VideoFrame:
    """Return a frame of one colour, given as samples of the format."""
    frame = av.VideoFrame(*size, format_)
    depth = np.uint16 if frame.format.components[0].bits > 8 else np.uint8
    for plane, value in zip(frame.planes, values, strict=False):
        plane.update(np.full(plane.buffer_size // depth().itemsize, value, depth).tobytes())
    return frame


def expected(y: float, cb: float, cr: float, red: float, blue: float, full: bool) -> NDArray[np.float64]:
    """Return R, G, B of samples of 8 bits, by the equations of ITU-T H.273, section 8.3."""
    luma = y / 255 if full else (y - 16) / 219
    scale = 255 if full else 224
    r = luma + 2 * (1 - red) * (cr - 128) / scale
    b = luma + 2 * (1 - blue) * (cb - 128) / scale
    g = (luma - red * r - blue * b) / (1 - red - blue)
    rgb: NDArray[np.float64] = np.clip(255 * np.array([r, g, b]), 0, 255)
    return rgb


@pytest.mark.parametrize("size", [(64, 48), (33, 31), (1, 1), (2, 3)])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", WEIGHTS)
@pytest.mark.parametrize("format_", ["yuv420p", "yuv444p", "yuv422p10le", "yuv420p10le", "yuva420p"])
def test_colours_are_those_of_the_matrix_and_the_range_that_the_video_names(
    format_: str, matrix: str, full: bool, size: tuple[int, int]
) -> None:
    number, red, blue = WEIGHTS[matrix]
    for samples in ((81, 90, 240), (145, 54, 34), (41, 240, 110), (180, 128, 128), (100, 100, 150)):
        bits = 2 if "10" in format_ else 0
        y, cb, cr = (sample << bits for sample in samples)
        frame = plain(format_, (y, cb, cr), size)
        frame.colorspace = number
        frame.color_range = ColorRange.JPEG if full else ColorRange.MPEG
        pixels = convert(frame)
        assert pixels.shape == (size[1], size[0], 3)
        assert np.abs(pixels - expected(*samples, red, blue, full)).max() <= 3.5


@pytest.mark.parametrize(
    ("format_", "range_", "full"),
    [
        ("yuv420p", ColorRange.UNSPECIFIED, False),
        ("yuvj420p", ColorRange.UNSPECIFIED, True),
        ("gray", ColorRange.UNSPECIFIED, True),
        ("gray", ColorRange.JPEG, True),
        ("gray", ColorRange.MPEG, False),
        ("gray10le", ColorRange.MPEG, False),
    ],
)
def test_the_range_is_limited_unless_the_format_or_the_video_says_full(
    format_: str, range_: ColorRange, full: bool
) -> None:
    for luma in (16, 60, 128, 235):
        value = luma << 2 if "10" in format_ else luma
        frame = plain(format_, (value, 128, 128), (32, 32))
        frame.color_range = range_
        grey = expected(luma, 128, 128, 0.299, 0.114, full)
        assert np.abs(convert(frame) - grey).max() <= 1


@pytest.mark.parametrize("format_", ["rgb24", "bgr0", "rgba", "gbrp", "rgb48le"])
def test_frames_of_rgb_stay_as_they_are(format_: str) -> None:
    original = picture(77)
    frame = av.VideoFrame.from_ndarray(original, "rgb24").reformat(format=format_, dst_color_range="JPEG")
    assert np.abs(convert(frame).astype(int) - original).max() <= 1


def test_colours_that_cannot_be_converted_are_a_failure() -> None:
    frame = plain("yuv444p", (81, 90, 240), (8, 8))
    frame.colorspace = 8  # YCgCo
    with pytest.raises(SourceError, match="matrix 8"):
        convert(frame)


@pytest.mark.parametrize(("name", "red", "blue"), [("bt709", 0.2126, 0.0722), ("smpte170m", 0.299, 0.114)])
def test_the_tags_of_a_file_decide_its_colours(name: str, red: float, blue: float, tmp_path: Path) -> None:
    path = tmp_path / "tagged.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=x264(f"colormatrix={name}"))
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.colorspace = WEIGHTS[name][0]
        container.mux(stream.encode(plain("yuv420p", (81, 90, 240), (64, 64))))
        container.mux(stream.encode(None))
    (row,) = read(path).rows
    assert np.abs(row.frame - expected(81, 90, 240, red, blue, full=False)).max() <= 4


TURNS = {
    (1, 0, 0, 1): lambda upright: upright,
    (0, 1, -1, 0): lambda upright: np.rot90(upright, 1),
    (-1, 0, 0, -1): lambda upright: np.rot90(upright, 2),
    (0, -1, 1, 0): lambda upright: np.rot90(upright, 3),
    (-1, 0, 0, 1): lambda upright: upright[:, ::-1],
    (1, 0, 0, -1): lambda upright: upright[::-1],
    (0, 1, 1, 0): lambda upright: upright.transpose(1, 0, 2),
    (0, -1, -1, 0): lambda upright: np.rot90(upright, 2).transpose(1, 0, 2),
}
"""For each display matrix (a, b, c, d), how a camera that writes it has stored a picture.

The matrix puts the stored pixel (x, y) at (a x + c y, b x + d y): `0 1 -1 0` turns by 90 degrees clockwise.
"""


@pytest.mark.parametrize("matrix", TURNS, ids=str)
def test_the_picture_is_turned_upright(matrix: tuple[int, int, int, int], tmp_path: Path) -> None:
    path = tmp_path / "turned.mp4"
    stored = np.ascontiguousarray(TURNS[matrix](picture(9)))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=x264())
        assert isinstance(stream, VideoStream)
        stream.height, stream.width, stream.pix_fmt = *stored.shape[:2], "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(stored, "rgb24")))
        container.mux(stream.encode(None))
    path.write_bytes(display_matrix(*matrix)(path.read_bytes()))
    for backend in ("pyav", "opencv"):
        if backend == "opencv" and matrix[0] * matrix[3] - matrix[1] * matrix[2] < 0:
            continue  # it ignores mirroring
        (row,) = read(path, backend=backend).rows
        assert row.frame.shape == (120, 160, 3)
        assert row.number == 9
        assert np.abs(row.frame.astype(int) - picture(9)).mean() < 6


def test_an_angle_that_no_camera_writes_counts_as_the_nearest_right_one(tmp_path: Path) -> None:
    path = make(tmp_path, named(SAMPLES["h264.mp4"], "slanted.mp4", frames=1))
    upright = read(path).rows[0].frame
    data = path.read_bytes()
    start = data.index(b"tkhd") + 44
    for angle, turns in ((10, 0), (80, 3), (100, 3), (170, 2), (-10, 0), (-80, 1)):
        cos, sin = (round(65536 * f(np.radians(angle))) for f in (np.cos, np.sin))
        matrix = np.array([cos, sin, 0, -sin, cos, 0, 0, 0, 1 << 30], ">i4").tobytes()
        path.write_bytes(data[:start] + matrix + data[start + 36 :])
        assert np.array_equal(read(path).rows[0].frame, np.rot90(upright, turns))


def test_large_frames_may_be_made_smaller_to_what_is_needed_of_them(tmp_path: Path) -> None:
    path = make(tmp_path, Recipe("large.mp4", "libx264", x264(), frames=3, size=(642, 480)))
    for min_side, size in ((None, (480, 642)), (241, (480, 642)), (240, (240, 321)), (100, (100, 134))):
        reading = read(path, min_side)
        assert [row.frame.shape[:2] for row in reading.rows] == [size] * 3
        assert reading.numbers == [0, 1, 2]
        small = av.VideoFrame.from_ndarray(picture(1, 642, 480), "rgb24").reformat(
            size[1], size[0], "rgb24", interpolation="AREA"
        )
        difference = reading.rows[1].frame.astype(int) - small.to_ndarray().astype(int)
        assert np.abs(difference).mean() < 5
        assert abs(difference.mean()) < 1.5


def test_details_too_fine_for_the_smaller_size_are_averaged() -> None:
    board = np.indices((400, 400)).sum(axis=0) % 2 * 255
    frame = av.VideoFrame.from_ndarray(np.repeat(board[..., np.newaxis], 3, axis=2).astype(np.uint8), "rgb24")
    small = convert(frame, 160)
    assert small.shape == (160, 160, 3)
    assert np.abs(small.astype(int) - 128).max() < 40


def test_a_turned_frame_keeps_its_shorter_side(tmp_path: Path) -> None:
    turned = display_matrix(0, 1, -1, 0)
    path = make(tmp_path, Recipe("turned.mp4", "libx264", x264(), frames=1, size=(640, 480), finish=turned))
    assert read(path, 120).rows[0].frame.shape == (160, 120, 3)


def test_frames_of_more_pixels_than_allowed_are_refused() -> None:
    with pytest.raises(SourceError, match="8 x 8 pixels"):
        Converter(None, 63).rgb(plain("yuv420p", (81, 90, 240), (8, 8)))
