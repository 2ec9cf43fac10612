"""Annotated videos: every frame of the source at its time, with the last labels that are known."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from resnet_pipe.store.names import key_of
from resnet_pipe.writer.writer import Written
from tests.reader.reading import Reading, read
from tests.videos import FRAMES, SAMPLES, Recipe, cut_off, display_matrix, frame_of, make, picture, x264
from tests.writer.annotated.drawing import CAT, COFFEE, Best, draw, rows, target, with_panel

FIRST, SECOND = 10, 25
"""The frames that the network saw."""
BELOW = 90
"""The first row of a small video that is below the panel."""

NAMES = [
    "h264.mp4",
    "h264.avi",
    "irregular.mp4",
    "irregular.mkv",
    "ntsc.mp4",
    "late.mp4",
    "late.ts",
    "vp9.webm",
]
NAMES += ["hevc-10-bit.mp4", "mjpeg.mov", "prores.mov", "interlaced.mp4", "odd.mp4", "odd.webm"]
RECIPES = {name: SAMPLES[name] for name in NAMES}
RECIPES |= {
    recipe.name: recipe
    for recipe in (
        Recipe("rotated.mp4", "libx264", x264(), finish=display_matrix(0, 1, -1, 0)),
        Recipe("portrait.mp4", "libx264", x264(), size=(120, 160)),
        Recipe("slow.mkv", "ffv1", pixels="bgr0", time_base=Fraction(1, 3)),
        Recipe("ntsc.avi", "mjpeg", pixels="yuvj420p", time_base=Fraction(1001, 30000)),
        Recipe("rgb.mp4", "libx264rgb", x264(), pixels="rgb24"),
    )
}


@dataclass(frozen=True)
class Drawn:
    """Videos, and what has become of them."""

    sources: Path
    out: Path
    written: Written

    def source(self, name: str) -> Reading:
        return read(self.sources / name)

    def video(self, name: str) -> Reading:
        return read(self.path(name))

    def path(self, name: str) -> Path:
        (path,) = self.written.files[key_of(name)]
        return self.out / path


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    """Videos of all kinds, of which the network saw two frames each. Do not change it."""
    sources, out = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("out")
    for recipe in RECIPES.values():
        make(sources, recipe)
    parts = [rows(name, [FIRST, SECOND], [CAT, COFFEE]) for name in sorted(RECIPES)]
    return Drawn(sources, out, draw(target(out, sources, "video"), *parts))


def distance(ours: NDArray[np.uint8], theirs: NDArray[np.uint8]) -> float:
    """Return the mean difference of two pictures, of which the first may be larger by a row and a column."""
    height, width = theirs.shape[:2]
    return float(np.abs(ours[:height, :width].astype(int) - theirs).mean())


def nearest(ours: NDArray[np.uint8], source: NDArray[np.uint8]) -> Best | None:
    """Return the labels with which a picture is nearest to its source, and check that it is near."""
    choices = [(source, None), (with_panel(source, CAT), CAT), (with_panel(source, COFFEE), COFFEE)]
    ranked = sorted((distance(ours, choice), number) for number, (choice, _) in enumerate(choices))
    assert ranked[0][0] < 8
    assert ranked[0][0] < 0.8 * ranked[1][0]
    return choices[ranked[0][1]][1]


@pytest.fixture(scope="module", params=RECIPES)
def pair(drawn: Drawn, request: pytest.FixtureRequest) -> tuple[Reading, Reading]:
    """A source, and its annotated video."""
    return drawn.source(request.param), drawn.video(request.param)


def test_every_frame_is_there_at_its_very_time(pair: tuple[Reading, Reading]) -> None:
    source, video = pair
    assert video.failure is None
    assert video.times == source.times
    assert video.indices == source.indices == list(range(FRAMES))
    assert video.counts.seconds == pytest.approx(source.counts.seconds, abs=0.001)


def test_the_last_labels_stay_until_the_next_and_before_the_first_there_are_none(
    pair: tuple[Reading, Reading],
) -> None:
    source, video = pair
    shown = [nearest(ours.frame, theirs.frame) for ours, theirs in zip(video.rows, source.rows, strict=True)]
    assert shown == [None] * FIRST + [CAT] * (SECOND - FIRST) + [COFFEE] * (FRAMES - SECOND)


def test_none_of_them_has_failed(drawn: Drawn) -> None:
    assert drawn.written.failures == {}
    assert {key: [str(path) for path in paths] for key, paths in drawn.written.files.items()} == {
        name: [f"video/{name}.mp4"] for name in RECIPES
    }
    assert sorted(path.name for path in drawn.out.rglob("*")) == sorted(
        ["video", *(f"{n}.mp4" for n in RECIPES)]
    )


@pytest.mark.parametrize("name", ["h264.mp4", "odd.webm", "hevc-10-bit.mp4"])
def test_a_video_plays_everywhere_and_before_it_is_loaded(drawn: Drawn, name: str) -> None:
    path = drawn.path(name)
    data = path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")
    with av.open(str(path)) as container:
        (stream,) = container.streams
        assert isinstance(stream, VideoStream)
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert stream.width % 2 == stream.height % 2 == 0


def test_a_video_of_rgb_gets_a_matrix_and_says_which(drawn: Drawn) -> None:
    with av.open(str(drawn.path("rgb.mp4"))) as container:
        assert next(container.decode(video=0)).colorspace == 6


def test_odd_sides_are_made_even_by_repeating_the_last_row_and_column(drawn: Drawn) -> None:
    for row in drawn.video("odd.webm").rows:
        assert row.frame.shape == (122, 162, 3)
        last = row.frame[-2:].astype(int), row.frame[:, -2:].astype(int)
        assert np.abs(last[0][0] - last[0][1]).mean() < 4
        assert np.abs(last[1][:, 0] - last[1][:, 1]).mean() < 4


def test_a_turned_video_is_upright(drawn: Drawn) -> None:
    assert drawn.video("rotated.mp4").rows[0].frame.shape == (160, 120, 3)
    with av.open(str(drawn.path("rotated.mp4"))) as container:
        assert next(container.decode(video=0)).rotation == 0


@pytest.fixture
def one(tmp_path: Path) -> Callable[..., Drawn]:
    """Draw labels on one video, from the first of some frames on."""

    def annotate(name: str, frames: Sequence[int] = (0,), **keys: Any) -> Drawn:  # noqa: ANN401 - of the section
        written = draw(target(tmp_path / "out", tmp_path, "video", **keys), rows(key_of(name), frames))
        return Drawn(tmp_path, tmp_path / "out", written)

    return annotate


def shown(path: Path) -> list[tuple[Fraction, Fraction]]:
    """Return when each frame of a video is shown, and for how long, in seconds."""
    with av.open(str(path)) as container:
        return [
            (frame.pts * frame.time_base, frame.duration * frame.time_base)
            for frame in container.decode(video=0)
            if frame.pts is not None and frame.time_base is not None
        ]


def test_every_frame_is_shown_as_long_as_in_the_source_the_last_one_too(
    tmp_path: Path, one: Callable[..., Drawn]
) -> None:
    def setup(stream: VideoStream) -> None:
        stream.codec_context.max_b_frames = 0

    pts = [0, 40, 100, 1000, 1001, 1050, 1900, 1910, 1960, 2500]
    make(tmp_path, Recipe("a.mp4", "libx264", pts=pts, time_base=Fraction(1, 1000), setup=setup))
    source = shown(tmp_path / "a.mp4")
    assert len(source) == len(pts)
    assert source[-1][1] > 0
    assert shown(one("a.mp4").path("a.mp4")) == source


def test_units_of_time_of_any_length_are_kept(drawn: Drawn) -> None:
    assert shown(drawn.path("ntsc.avi")) == shown(drawn.sources / "ntsc.avi")


def test_frames_at_the_same_time_are_moved_apart(tmp_path: Path, one: Callable[..., Drawn]) -> None:
    mux_pictures(tmp_path / "a.mkv", [(0, (160, 120)), (40, (160, 120)), (40, (160, 120)), (80, (160, 120))])
    made = one("a.mkv")
    assert made.source("a.mkv").times == [0, 0.04, 0.04, 0.08]
    assert made.video("a.mkv").times == [0, 0.04, 0.041, 0.08]


@pytest.mark.parametrize(("turn", "aspect"), [(None, Fraction(4, 3)), ((0, 1, -1, 0), Fraction(3, 4))])
def test_pixels_that_are_not_square_remain_so(
    tmp_path: Path, one: Callable[..., Drawn], turn: tuple[int, int, int, int] | None, aspect: Fraction
) -> None:
    def setup(stream: VideoStream) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)

    finish = display_matrix(*turn) if turn else None
    make(tmp_path, Recipe("a.mp4", "libx264", x264(), setup=setup, finish=finish, frames=2))
    with av.open(str(one("a.mp4").path("a.mp4"))) as container:
        assert container.streams.video[0].sample_aspect_ratio == aspect


@pytest.mark.parametrize("code", [1, 2, 5, 6, 9])
def test_colours_and_what_the_file_says_of_them_stay(
    tmp_path: Path, one: Callable[..., Drawn], code: int
) -> None:
    def setup(stream: VideoStream) -> None:
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc = code, 9, 16
        context.color_range = 1

    make(tmp_path, Recipe("a.mp4", "libx264", x264(), setup=setup, frames=3))
    made = one("a.mp4", crf=10)
    for ours, theirs in zip(made.video("a.mp4").rows, made.source("a.mp4").rows, strict=True):
        assert np.abs((ours.frame.astype(int) - theirs.frame)[BELOW:].mean(axis=(0, 1))).max() < 2
    with av.open(str(made.path("a.mp4"))) as container:
        frame = next(container.decode(video=0))
        said = frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range
        assert said == (code, 9, 16, 1)


def mux_pictures(path: Path, pictures: Sequence[tuple[int, tuple[int, int]]]) -> None:
    """Make a video of JPEGs: time (milliseconds), width and height of each."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25, width=160, height=120, pix_fmt="yuvj420p")
        for number, (time, (width, height)) in enumerate(pictures):
            context = av.CodecContext.create("mjpeg", "w")
            assert isinstance(context, VideoCodecContext)
            context.width, context.height, context.pix_fmt = width, height, "yuvj420p"
            context.time_base = Fraction(1, 25)
            for packet in [
                *context.encode(frame_of(picture(number, width, height), "yuvj420p")),
                *context.encode(None),
            ]:
                packet.pts = packet.dts = time
                packet.time_base, packet.stream = Fraction(1, 1000), stream
                container.mux(packet)


def test_frames_of_other_sizes_are_scaled_to_that_of_the_first(
    tmp_path: Path, one: Callable[..., Drawn]
) -> None:
    sizes = [(160, 120), (320, 240), (121, 91), (160, 120)]
    mux_pictures(tmp_path / "a.mkv", [(40 * number, size) for number, size in enumerate(sizes)])
    made = one("a.mkv", frames=[3])
    assert made.written.failures == {}
    assert [row.frame.shape[1::-1] for row in made.source("a.mkv").rows] == sizes
    for ours, theirs in zip(made.video("a.mkv").rows, made.source("a.mkv").rows, strict=True):
        assert ours.frame.shape == (120, 160, 3)
        scaled = np.asarray(Image.fromarray(theirs.frame).resize((160, 120)))
        assert nearest(ours.frame, scaled) == (CAT if ours.frame_index == 3 else None)


def test_of_a_damaged_video_the_frames_before_the_damage_are_drawn(
    tmp_path: Path, one: Callable[..., Drawn]
) -> None:
    make(tmp_path, SAMPLES["h264-open.mkv"])
    cut_off(tmp_path / "h264-open.mkv", tmp_path / "cut.mkv", 0.6)
    made = one("cut.mkv")
    failure = made.written.failures["cut.mkv"]
    assert (failure.stage, failure.error) == ("writer", "truncated")
    assert made.video("cut.mkv").times == made.source("cut.mkv").times
    assert 5 < len(made.video("cut.mkv").rows) < FRAMES


def test_labels_that_change_with_every_frame_are_each_on_theirs(tmp_path: Path) -> None:
    make(tmp_path, SAMPLES["h264.mp4"])
    best = [CAT if number % 2 else COFFEE for number in range(FRAMES)]
    parts = [
        rows("h264.mp4", range(start, start + 8), best[start : start + 8]) for start in range(0, FRAMES, 8)
    ]
    written = draw(target(tmp_path / "out", tmp_path, "video"), *parts)
    made = Drawn(tmp_path, tmp_path / "out", written)
    pairs = zip(made.video("h264.mp4").rows, made.source("h264.mp4").rows, strict=True)
    assert [nearest(ours.frame, theirs.frame) for ours, theirs in pairs] == best


def test_one_batch_may_hold_the_rows_of_several_videos(tmp_path: Path) -> None:
    for name in ("one.mp4", "two.webm"):
        make(tmp_path, SAMPLES[name])
    first, second = rows("one.mp4", [0]), rows("two.webm", [0, 1], [COFFEE, CAT])
    together = rows("x", [0, 0, 1], [CAT, COFFEE, CAT])
    together.path[:] = first.path + second.path
    written = draw(target(tmp_path / "out", tmp_path, "video"), together)
    made = Drawn(tmp_path, tmp_path / "out", written)
    shown = [
        nearest(ours.frame, theirs.frame)
        for name in ("one.mp4", "two.webm")
        for ours, theirs in zip(made.video(name).rows, made.source(name).rows, strict=True)
    ]
    assert shown == [CAT, COFFEE, CAT]


@pytest.mark.parametrize(
    "name",
    [
        "day 1/ä ☃.mp4",
        "%d.mp4",
        "-i.mp4",
        "a:b?c=d#e.mp4",
        "new\nline.mp4",
        "back\\slash.mp4",
        "x" * 251 + ".mp4",
    ],
)
def test_a_video_may_be_called_anything(tmp_path: Path, one: Callable[..., Drawn], name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    make(tmp_path, SAMPLES["one.mp4"]).rename(tmp_path / name)
    made = one(name)
    assert made.written.failures == {}
    assert len(made.video(name).rows) == 1


def test_a_video_may_have_a_name_that_is_no_text(tmp_path: Path, one: Callable[..., Drawn]) -> None:
    name = "\udcff\udcfe.mp4"
    make(tmp_path, SAMPLES["one.mp4"]).rename(tmp_path / name)
    assert len(one(name).video(name).rows) == 1


def test_an_image_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff")
    written = draw(target(tmp_path / "out", tmp_path, "video"), rows("a.jpg", [None]))
    assert written.failures["a.jpg"].error == "unknown_format"
    assert written.files["a.jpg"] == ()


def test_a_video_that_h264_cannot_hold_is_a_failure(tmp_path: Path, one: Callable[..., Drawn]) -> None:
    make(tmp_path, Recipe("a.mkv", "ffv1", pixels="bgr0", size=(17000, 16), frames=2))
    made = one("a.mkv")
    assert made.written.failures["a.mkv"].error == "unsupported"
    assert "17000 x 16 pixels" in made.written.failures["a.mkv"].message
    assert made.written.files["a.mkv"] == ()


def test_a_lower_crf_makes_a_larger_file(tmp_path: Path, one: Callable[..., Drawn]) -> None:
    make(tmp_path, SAMPLES["h264.mp4"])
    sizes = [one("h264.mp4", crf=crf).path("h264.mp4").stat().st_size for crf in (15, 35)]
    assert sizes[0] > 2 * sizes[1]


def test_a_chunk_without_rows_has_no_videos(tmp_path: Path) -> None:
    assert draw(target(tmp_path / "out", tmp_path, "video")) == Written()
    assert list((tmp_path / "out").iterdir()) == []


def test_videos_are_not_merged(tmp_path: Path) -> None:
    made = target(tmp_path / "out", tmp_path, "video")
    made.section.merge(made.target, [(tmp_path, ())])
    assert list((tmp_path / "out").iterdir()) == []


def test_the_units_of_time_are_those_of_the_source(drawn: Drawn) -> None:
    for name in ("ntsc.mp4", "late.ts", "irregular.mkv"):
        data = drawn.path(name).read_bytes()
        scale = struct.unpack(">I", data[(at := data.index(b"mvhd") + 16) : at + 4])[0]
        with av.open(str(drawn.sources / name)) as container:
            base = container.streams.video[0].time_base
        assert base is not None
        assert scale == base.denominator
