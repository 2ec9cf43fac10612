"""Damaged, cut off, lying and hostile video files: the honest frames before the damage, then a failure."""

from __future__ import annotations

import os
import random
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.opened import DiskFile
from resnet_pipe.reader.video import cv2_capture, pyav
from resnet_pipe.reader.video.demux import Video
from tests.photographs import encode, photograph
from tests.reader.reading import Reading, read, reader_of
from tests.videos import FRAMES, SAMPLES, Recipe, cut_off, make, named, number_of, x264

BACKENDS = ("pyav", "opencv")
CLASSES = {
    "unknown_format",
    "truncated",
    "damaged",
    "no_video",
    "no_frames",
    "unsupported",
    "no_times",
    "too_large",
}

TELLS = ["h264-first-moov.mp4", "h264-fragments.mp4", "h264-open.mkv", "vp9.webm"]
TELLS += ["mpeg4.avi", "mjpeg.avi", "h264.ts"]
"""Videos that can be read without their ends, and in which these are missed."""


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Where a test puts its file."""
    return tmp_path / "video.bin"


def overwrite(video: Path, sample: Path, position: int, block: bytes) -> Path:
    data = bytearray(sample.read_bytes())
    data[position : position + len(block)] = block
    video.write_bytes(data)
    return video


def packets(path: Path) -> list[tuple[int, int]]:
    """Return where each packet is in the file, and its length."""
    with av.open(str(path)) as container:
        return [(packet.pos or 0, packet.size) for packet in container.demux(video=0) if packet.size]


def is_beginning_of(part: Reading, whole: Reading) -> bool:
    """Tell whether a part has the first rows of the whole, with its very pixels."""
    return all(
        ours[:3] == theirs[:3] and np.array_equal(ours.frame, theirs.frame)
        for ours, theirs in zip(part.rows, whole.rows, strict=False)
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", TELLS)
def test_a_video_that_is_cut_off_gives_the_frames_before_the_cut_and_then_fails(
    name: str, backend: str, videos: Path, video: Path
) -> None:
    whole = read(videos / name, backend=backend)
    kept = []
    for part in (0.3, 0.55, 0.8):
        cut = read(cut_off(videos / name, video, part), backend=backend)
        assert cut.error in ("truncated", "damaged")
        if backend == "opencv":
            del cut.rows[-1:]  # it patches up what is half there
        assert is_beginning_of(cut, whole)
        assert f"frames decoded: {cut.counts.decoded}" in str(cut.failure)
        kept.append(len(cut.rows))
    assert kept == sorted(kept)
    assert kept[-1] > FRAMES / 2


NEVER_TELL = ["h264.flv", "h264.ts", "late.ts", "mpeg2.ts", "mpeg2.mpg"]
"""Videos that are whole wherever one frame ends, as far as anyone can know."""


@pytest.mark.parametrize("backend", ["pyav", "opencv"])
def test_a_video_that_is_cut_off_before_its_first_wanted_frame_is_truncated(
    backend: str, videos: Path, video: Path
) -> None:
    cut_off(videos / "irregular.mkv", video, 0.6)
    found = read(video, backend=backend, start=1.5)
    assert found.rows == []
    assert found.failure is not None
    assert found.failure.error == "truncated"


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_cut_anywhere_fails_or_lacks_little(name: str, videos: Path, video: Path) -> None:
    whole = read(videos / name)
    size = (videos / name).stat().st_size
    for bytes_kept in (1, 7, 40, 500, size // 3, size // 2, size - size // 10, size - 1):
        cut = read(cut_off(videos / name, video, bytes_kept))
        assert cut.error is None or cut.error in CLASSES
        assert is_beginning_of(cut, whole)
        assert cut.error or len(cut.rows) >= len(whole.rows) - 1 or name in NEVER_TELL


@pytest.mark.parametrize("name", ["h264.mp4", "hevc.mp4", "av1.mp4", "mpeg4.mp4", "prores.mov"])
def test_an_mp4_whose_table_of_contents_was_never_written_is_truncated(
    name: str, videos: Path, video: Path
) -> None:
    data = (videos / name).read_bytes()
    for backend in BACKENDS:
        cut = read(cut_off(videos / name, video, data.rindex(b"moov") - 4), backend=backend)
        assert cut.error == "truncated"
        assert cut.rows == []
        assert str(cut.failure).endswith("frames decoded: 0')")


CHECKED = ["h264.mp4", "h264-open.mkv", "av1.mp4", "mpeg4.mp4", "mpeg4.avi", "mjpeg.mov", "prores.mov"]
"""Codecs in which damage shows; FFmpeg's decoders of HEVC, VP8 and VP9 have little to find it by."""


@pytest.mark.parametrize("name", CHECKED)
def test_damage_in_the_middle_ends_the_video_there(name: str, videos: Path, video: Path) -> None:
    whole = read(videos / name)
    places = packets(videos / name)
    chance = random.Random(name)
    for number in (14, 20, 27):
        position, length = places[number]
        block = chance.randbytes(length * 3 // 4)
        damaged = read(overwrite(video, videos / name, position + length // 4, block))
        assert damaged.error == "damaged"
        assert is_beginning_of(damaged, whole)
        assert number - 6 <= len(damaged.rows) <= number + 4
        assert f"frames decoded: {damaged.counts.decoded}" in str(damaged.failure)


@pytest.mark.parametrize("name", CHECKED)
def test_damage_that_sampling_skips_does_no_harm(name: str, videos: Path, video: Path) -> None:
    if not SAMPLES[name].splits:
        pytest.skip("this one is always decoded from the beginning")
    position, length = packets(videos / name)[20]
    overwrite(video, videos / name, position + length // 4, random.Random(1).randbytes(length // 2))
    sampled = read(video, count=2)
    assert sampled.error is None
    assert sampled.numbers == [10, 30]


@pytest.mark.parametrize("name", ["mpeg4.mp4", "mpeg4.avi"])
def test_a_frame_is_not_given_out_before_what_it_was_predicted_from_is_known_to_be_whole(
    name: str, videos: Path, video: Path
) -> None:
    """B-frames come out before the later frame that they refer to; damage of that one is damage of theirs."""
    whole = read(videos / name)
    places = packets(videos / name)
    position, length = places[4]  # a P-frame: frames 4 and 5 lie between it and the one before, and follow it
    damaged = read(overwrite(video, videos / name, position + length // 2, bytes(length // 3)))
    assert damaged.error == "damaged"
    assert damaged.indices == [0, 1, 2, 3]
    assert is_beginning_of(damaged, whole)


@pytest.mark.parametrize("name", ["h264.mp4", "h264-open.mp4", "hevc.mp4", "av1.mp4"])
def test_frames_that_the_decoder_held_back_before_the_damage_are_given(
    name: str, videos: Path, video: Path
) -> None:
    with av.open(str(videos / name)) as container:
        pts = [packet.pts or 0 for packet in container.demux(video=0) if packet.size]
    places = packets(videos / name)
    for number in (9, 17, 22, 30):
        damaged = read(overwrite(video, videos / name, places[number][0], b"\x7f\xff\xff\xff\xff\xff"))
        assert damaged.error == "damaged"
        before = set(pts[:number])
        expected = next(count for count, each in enumerate(sorted(pts)) if each not in before)
        assert damaged.indices == list(range(expected))


def test_frames_after_one_that_opencv_leaves_out_are_not_taken_for_others(videos: Path) -> None:
    for name in ("h264.mp4", "irregular.mkv", "late.ts"):
        with closing(DiskFile(videos / name)) as file, Video(file, 10**6) as opened:
            index = pyav.index(opened)
            between = int(index.pts[7] + index.pts[8]) // 2
            richer = replace(index, pts=np.insert(index.pts, 8, between), key=np.insert(index.key, 8, False))
            given = cv2_capture.decode(opened, richer, np.arange(FRAMES + 1))
            assert [number_of(frame) for _, frame in islice(given, 8)] == list(range(8))
            with pytest.raises(SourceError, match="skips a frame"):
                next(given)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["h264.mp4", "hevc.mkv", "vp9.webm", "mpeg4.avi", "h264.ts", "mjpeg.mov"])
def test_flipped_bits_never_raise_anything_but_a_failure(
    name: str, backend: str, videos: Path, video: Path
) -> None:
    chance = random.Random(name)
    data = (videos / name).read_bytes()
    times = {row.pts_s for row in read(videos / name).rows}
    strange = 0
    for index in range(40):
        damaged = bytearray(data)
        for _ in range(chance.choice((1, 1, 4, 30))):
            place = chance.randrange(min(len(data), 600) if index % 3 == 0 else len(data))
            damaged[place] ^= 1 << chance.randrange(8)
        video.write_bytes(damaged)
        reading = read(video, backend=backend, max_pixels=100_000)
        assert reading.error is None or reading.error in CLASSES
        assert reading.indices == list(range(len(reading.rows)))
        assert reading.times == sorted(reading.times)
        strange += not times.issuperset(reading.times)
    assert strange <= 10  # a bit of a time can be flipped, too


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_page_saved_under_a_video_name_is_of_unknown_format(backend: str, video: Path) -> None:
    for content in (
        b"<!DOCTYPE html><title>404</title>" * 20,
        b"?",
        bytes(1000),
        encode(photograph(), "PNG"),
    ):
        video.write_bytes(content)
        assert read(video, backend=backend).error == "unknown_format"


@pytest.mark.parametrize("backend", BACKENDS)
def test_files_that_would_open_others_are_refused(backend: str, videos: Path, tmp_path: Path) -> None:
    other = videos / "h264.ts"
    playlists = {
        "hls.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{other}\n#EXT-X-ENDLIST\n",
        "hls.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{other}\n#EXT-X-ENDLIST\n",
        "concat.mp4": f"ffconcat version 1.0\nfile '{other}'\n",
        "dash.mp4": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"></MPD>',
        "remote.mp4": "#EXTM3U\n#EXTINF:2,\nhttp://localhost:9/a.ts\n#EXT-X-ENDLIST\n",
    }
    for name, text in playlists.items():
        (tmp_path / name).write_text(text)
        assert read(tmp_path / name, backend=backend).error == "unknown_format"
    (tmp_path / "frame%02d.png").write_bytes(encode(photograph(), "PNG"))
    (tmp_path / "frame01.png").write_bytes(encode(photograph(), "PNG"))
    assert read(tmp_path / "frame%02d.png", backend=backend).error == "unknown_format"


@pytest.mark.parametrize("backend", BACKENDS)
def test_pipes_directories_and_devices_are_not_waited_for(backend: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.mp4")
    (tmp_path / "directory.mp4").mkdir()
    (tmp_path / "device.mp4").symlink_to("/dev/zero")
    (tmp_path / "link.mp4").symlink_to("nowhere")
    (tmp_path / "empty.mp4").touch()
    reader = reader_of(tmp_path, backend=backend)
    errors = {}
    for name in ("fifo", "directory", "device", "link", "empty", "absent"):
        with pytest.raises(SourceError) as caught:
            next(reader.read(f"{name}.mp4", None))
        errors[name] = caught.value.error
    assert errors == {
        "fifo": "not_a_file",
        "directory": "not_a_file",
        "device": "not_a_file",
        "link": "missing",
        "empty": "empty",
        "absent": "missing",
    }


def test_a_file_with_nothing_but_sound_has_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    for backend in BACKENDS:
        assert read(path, backend=backend).error == "no_video"


def test_a_picture_attached_to_sound_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "cover.mp4"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=8000)
        cover = container.add_stream("mjpeg", rate=1)
        assert isinstance(cover, av.VideoStream)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
        samples.sample_rate = 8000
        container.mux(cover.encode(av.VideoFrame(64, 64, "yuvj420p")))
        container.mux(sound.encode(samples))
        container.mux(sound.encode(None))
    assert read(path).error == "no_video"


def test_a_video_stream_without_frames_is_a_failure(tmp_path: Path) -> None:
    for name in ("none.mp4", "none.mkv"):
        path = make(tmp_path, Recipe(name, "libx264", x264(), frames=0))
        for backend in BACKENDS:
            assert read(path, backend=backend).error in ("no_frames", "no_video")


def test_an_encrypted_video_is_a_failure(tmp_path: Path) -> None:
    key = "00112233445566778899aabbccddeeff"
    locked = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": key, "encryption_kid": key}
    path = make(tmp_path, named(SAMPLES["h264.mp4"], "locked.mp4", muxer=locked))
    for backend in BACKENDS:
        assert read(path, backend=backend).error == "encrypted"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_video_of_too_many_pixels_is_refused_before_it_is_decoded(backend: str, videos: Path) -> None:
    reading = read(videos / "h264.mp4", backend=backend, max_pixels=160 * 120 - 1)
    assert reading.error == "too_large"
    assert reading.rows == []
    assert "160 x 120" in str(reading.failure)
    assert read(videos / "h264.mp4", backend=backend, max_pixels=160 * 120).error is None


def test_opencv_refuses_what_it_would_give_out_wrong(videos: Path, tmp_path: Path) -> None:
    assert read(videos / "interlaced.mp4", backend="opencv").error == "unsupported"
    odd = tmp_path / os.fsdecode(b"\xff.mp4")
    odd.write_bytes((videos / "h264.mp4").read_bytes())
    reader = reader_of(tmp_path, backend="opencv")
    (source,) = reader.list_sources()
    with pytest.raises(SourceError, match="not UTF-8"):
        next(reader.read(source.key, None))
    assert next(reader_of(tmp_path).read(source.key, None)).frame_index == 0
