"""The video reader: its section of the job, and the odd but whole files that it reads as they are meant."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream
from pydantic import ValidationError

from resnet_pipe.reader.video.sampling import Sampling
from resnet_pipe.reader.video.section import VideoSection
from tests.reader.reading import read, reader_of, section, splitting
from tests.videos import (
    FRAMES,
    MPEG4,
    SAMPLES,
    VP9,
    Recipe,
    frame_of,
    frame_times,
    make,
    named,
    picture,
    x264,
)


@pytest.mark.parametrize(
    "wrong",
    [
        {"path": []},
        {"every": 0},
        {"fps": 0},
        {"fps": float("inf")},
        {"count": 0},
        {"start": -1},
        {"end": 0},
        {"max_frames": 0},
        {"backend": "gstreamer"},
        {"partial": "maybe"},
        {"max_pixels": 0},
        {"timeout_s": 0},
        {"accept_truncated": True},
    ],
    ids=str,
)
def test_values_out_of_range_and_unknown_keys_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        VideoSection.model_validate({"kind": "video", "path": str(tmp_path), **wrong})


def test_two_ways_of_sampling_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="every and fps cannot be combined: keep one of them"):
        section(tmp_path, every=2, fps=1)
    with pytest.raises(ValidationError, match="count and keyframes cannot be combined"):
        section(tmp_path, count=2, keyframes=True)
    assert section(tmp_path, count=2, keyframes=False).count == 2
    with pytest.raises(ValidationError, match=r"start \(3\) must be before end \(2.5\)"):
        section(tmp_path, start=3, end=2.5)


def test_numbers_mean_what_is_written_not_their_binary_neighbours(tmp_path: Path) -> None:
    sampling = section(tmp_path, fps=29.97, start=0.1, end=1e3).sampling
    assert sampling == Sampling(fps=Fraction(2997, 100), start=Fraction(1, 10), end=Fraction(1000))


def test_the_schema_describes_every_key_in_terms_that_editors_know() -> None:
    schema = VideoSection.model_json_schema()
    assert all(value.get("description") for value in schema["properties"].values())
    assert [kind["type"] for kind in schema["properties"]["path"]["anyOf"]] == ["string", "array"]


def test_a_section_survives_being_written_and_read_again(tmp_path: Path) -> None:
    first = section(tmp_path, fps=23.976, start=0.5, partial="drop")
    again = VideoSection.model_validate(first.model_dump(mode="json"), context={"base": Path("/nowhere")})
    assert again == first
    assert again.make_reader() == first.make_reader()
    assert again.drops_partial
    assert not section(tmp_path).drops_partial


def test_checking_a_job_and_listing_its_videos_load_no_decoder(tmp_path: Path) -> None:
    check = (
        "import sys; from resnet_pipe.reader.video.section import *;"
        f"s = VideoSection(kind='video', path='{tmp_path}');"
        "list(s.make_reader().list_sources()); print({'cv2', 'av', 'PIL'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_video_files_are_listed_by_their_extensions(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.MKV", "c.jpg", "d.txt", "e.m3u8", "sub/f.webm", ".g.mp4", "h.mov"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    reader = reader_of(tmp_path)
    assert [source.key for source in reader.list_sources()] == ["a.mp4", "b.MKV", "h.mov", "sub/f.webm"]


def test_the_number_of_items_to_expect_follows_the_sampling(tmp_path: Path) -> None:
    def expect(**keys: Any) -> int:  # noqa: ANN401 - as in a job
        return reader_of(tmp_path, **keys).expected_items

    assert expect() > expect(every=10) > expect(every=1000) == 1
    assert expect(count=7) == expect(max_frames=7) == 7
    assert expect(fps=2, start=5, end=9) == 8
    assert 1 <= expect(keyframes=True) < 20


def test_the_first_frame_has_the_time_that_the_container_says(videos: Path) -> None:
    assert read(videos / "late.mp4").times[0] == 2
    assert read(videos / "late.ts").times[0] == pytest.approx(frame_times(videos / "late.ts")[0])
    assert read(videos / "late.mp4", end=0.1).indices == [0, 1, 2]


def test_frames_that_an_edit_list_cuts_away_are_not_part_of_the_video(tmp_path: Path) -> None:
    for name, first in (("cut-in-group.mp4", -7), ("cut-at-group.mp4", -12), ("cut-late.mp4", -20)):
        recipe = named(SAMPLES["h264.mp4"], name, pts=range(first, first + FRAMES))
        path = make(tmp_path, recipe)
        assert len(frame_times(path)) == FRAMES + first
        for backend in ("pyav", "opencv"):
            whole = read(path, backend=backend)
            assert whole.failure is None
            assert whole.numbers == list(range(-first, FRAMES))
            assert whole.indices == list(range(FRAMES + first))
            assert whole.times == pytest.approx([n / 25 for n in range(FRAMES + first)])
        assert read(path, every=9).numbers == list(range(-first, FRAMES, 9))
        reader, source = splitting(path, span_s=0.15)
        parts = [item for span in reader.spans(source) for item in reader.read(source.key, None, span)]
        assert [item.frame_index for item in parts] == whole.indices


@pytest.mark.parametrize(
    ("codec", "bit", "hidden"),
    [
        ("libvpx", 0x10, [5, 12, 13, 30]),
        ("libvpx-vp9", 0x02, [12, 24]),
    ],  # of VP9, only key frames can be hidden so
)
def test_frames_that_are_coded_but_never_shown_are_not_counted(
    codec: str, bit: int, hidden: list[int], tmp_path: Path
) -> None:
    """Encoders make frames only to predict others from. A bit hides them; in VP9, of key frames alone."""
    path = tmp_path / "hiding.nut"  # Matroska would put them into packets with others
    options = VP9 | {"error-resilient": "1", "b": "2M"}
    with (
        av.open(str(make(tmp_path, Recipe("showing.webm", codec, options)))) as source,
        rewriting(source, path) as write,
    ):
        for number, packet in enumerate(source.demux(video=0)):
            data = bytearray(packet)
            if number in hidden:
                data[0] ^= bit
            write(packet, bytes(data))
    times = frame_times(path)
    assert len(times) == FRAMES - len(hidden)
    shown = [number for number in range(FRAMES) if number not in hidden]
    for backend in ("pyav", "opencv"):
        reading = read(path, backend=backend)
        assert reading.failure is None
        assert reading.numbers == shown
        assert reading.times == pytest.approx(times)
    assert read(path, every=3).numbers == shown[::3]


def test_frames_may_change_their_size_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "growing.ts"
    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=25, options=x264())
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        target.start_encoding()
        number = 0
        for width, height in ((160, 120), (240, 176), (96, 64)):
            encoder = av.CodecContext.create("libx264", "w")
            encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
            encoder.time_base, encoder.options = Fraction(1, 25), x264()
            frames = [frame_of(picture(number + n, width, height), "yuv420p") for n in range(10)]
            for n, frame in enumerate([*frames, None]):
                if frame is not None:
                    frame.pts, frame.time_base = number + n, Fraction(1, 25)
                for packet in encoder.encode(frame):
                    packet.stream, packet.time_base = stream, Fraction(1, 25)
                    target.mux(packet)
            number += 10
    for backend in ("pyav", "opencv"):
        reading = read(path, backend=backend)
        assert reading.numbers == list(range(30)) or backend == "opencv"
        if backend == "pyav":
            shapes = [row.frame.shape[:2] for row in reading.rows]
            assert shapes == [(120, 160)] * 10 + [(176, 240)] * 10 + [(64, 96)] * 10
    assert read(path, max_pixels=160 * 120).error == "too_large"


def test_packets_that_say_that_nothing_is_new_are_no_frames(tmp_path: Path) -> None:
    """A picture of MPEG-4 that is "not coded" (ISO/IEC 14496-2, section 6.3.5) is a packet, but no frame."""
    path = tmp_path / "still.mkv"
    with (
        av.open(str(make(tmp_path, Recipe("moving.mp4", "mpeg4", MPEG4 | {"bf": "0"})))) as source,
        rewriting(source, path) as write,
    ):
        for number, packet in enumerate(source.demux(video=0)):
            write(packet, not_coded(bytes(packet)) if number in (5, 6, 30) else bytes(packet))
    times = frame_times(path)
    assert len(times) == FRAMES - 3
    reading = read(path)
    assert reading.failure is None
    assert reading.indices == list(range(FRAMES - 3))
    assert reading.times == pytest.approx(times)


@contextmanager
def rewriting(source: InputContainer, path: Path) -> Iterator[Callable[[Packet[VideoStream], bytes], None]]:
    """Give a function that writes packets into another file, with other contents."""
    with av.open(str(path), "w") as target:
        copy = target.add_stream_from_template(source.streams.video[0])

        def write(packet: Packet[VideoStream], data: bytes) -> None:
            if data:
                changed = av.Packet(data)
                changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
                changed.is_keyframe, changed.stream = packet.is_keyframe, copy
                target.mux(changed)

        yield write


def not_coded(picture_: bytes) -> bytes:
    """Return an MPEG-4 picture of the same time as another, with its bit `vop_coded` 0, and nothing else."""
    assert picture_[:4] == b"\0\0\1\xb6"
    bits = "".join(f"{byte:08b}" for byte in picture_[4:12])
    end = bits.index("0", 2) + 1  # the type, and the seconds that have passed
    end += 1 + 5 + 1  # marker, 25 ticks a second need five bits, marker
    bits = bits[:end] + "0"
    bits += "0" + "1" * (-(len(bits) + 1) % 8) if len(bits) % 8 else "01111111"
    return picture_[:4] + bytes(int(bits[n : n + 8], 2) for n in range(0, len(bits), 8))


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe("a.nut", "libx264", x264()),
        Recipe("a.ivf", "libvpx-vp9", VP9),
        Recipe("a.mxf", "mpeg2video", {"g": "12", "bf": "2"}),
        Recipe("h264.mxf", "libx264", x264(), opencv="its times are not in order", splits=False),
        Recipe("a.asf", "wmv2", {"g": "12"}, splits=False),
        Recipe("a.m2ts", "libx264", x264()),
    ],
    ids=lambda recipe: recipe.name,
)
def test_other_containers_are_read_and_split_as_well(recipe: Recipe, tmp_path: Path) -> None:
    path = make(tmp_path, recipe)
    for backend in ("pyav",) if recipe.opencv else ("pyav", "opencv"):
        assert read(path, backend=backend).numbers == list(range(FRAMES))
    reader, source = splitting(path)
    spans = reader.spans(source)
    assert len(spans) == (3 if recipe.splits else 0)
    parts = [item for span in spans for item in reader.read(source.key, None, span)]
    assert [item.frame_index for item in parts] == list(range(FRAMES) if recipe.splits else [])


@pytest.mark.parametrize("backend", ["pyav", "opencv"])
def test_a_reader_that_is_busy_between_two_items_shows_that_it_is_alive(videos: Path, backend: str) -> None:
    beats = 0

    def alive() -> None:
        nonlocal beats
        beats += 1

    for name in ("h264.mp4", "mpeg4.avi"):
        items = reader_of(videos, backend=backend, start=1.4).read(name, None, None, None, alive)
        next(items)
        assert beats > FRAMES  # all packets for the index, then those that come before the start
        beats = 0
    reader, source = splitting(videos / "h264.mp4")
    reader.spans(source, alive)
    assert beats >= FRAMES


def test_a_file_name_is_only_a_name(videos: Path, tmp_path: Path) -> None:
    data = (videos / "h264.mp4").read_bytes()
    for name in (
        "concat:a|b.mp4",
        "a b?c#d.mp4",
        "frame%03d.mp4",
        "-.mp4",
        "[x]*.mp4",
        "ünïcode.mp4",
        "back\\slash.mp4",
    ):
        (tmp_path / f"{name}.mp4").write_bytes(data)
    for backend in ("pyav", "opencv"):
        reader = reader_of(tmp_path, backend=backend, max_frames=1)
        for source in reader.list_sources():
            assert [item.frame_index for item in reader.read(source.key, None)] == [0]


def test_sound_beside_the_video_makes_no_difference(videos: Path, tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(videos / "h264.mp4")) as source, av.open(str(path), "w") as target:
        sound = target.add_stream("aac", rate=8000)
        copy = target.add_stream_from_template(source.streams.video[0])
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), "fltp", "mono")
        samples.sample_rate = 8000
        target.mux(sound.encode(samples))
        target.mux(sound.encode(None))
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = copy
                target.mux(packet)
    for backend in ("pyav", "opencv"):
        reading = read(path, backend=backend)
        assert reading.failure is None
        assert reading.numbers == list(range(FRAMES))


def test_a_frame_that_has_been_given_out_takes_no_more_memory(tmp_path: Path) -> None:
    path = make(tmp_path, SAMPLES["h264.mp4"])
    reader = reader_of(path)
    gc.collect()
    gc.disable()  # what is left to it would pile up: 1.4 MB a frame at 720p
    try:
        given = sum(1 for _ in reader.read(path.name, None))
        left = sum(type(each) is av.VideoFrame for each in gc.get_objects())
    finally:
        gc.enable()
    assert (given, left) == (FRAMES, 0)
