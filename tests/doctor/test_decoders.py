"""The doctor decodes a sample of each kind of file, and says which kinds cannot be read."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import av
import pytest
from av.codec.codec import UnknownCodecError

from resnet_pipe.doctor import decoders
from resnet_pipe.doctor.examination import Finding
from resnet_pipe.reader.images.format import EXTENSIONS
from resnet_pipe.reader.video.reader import EXTENSIONS as VIDEO_EXTENSIONS
from tests.run.faults import DECODER


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """A copy of the samples, to be changed."""
    return Path(shutil.copytree(decoders.SAMPLES, tmp_path / "samples"))


def put_before(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have the processes that are started take their sitecustomize from a folder."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))


def by_level(findings: list[Finding]) -> dict[str, list[Finding]]:
    assert all(finding.check == "decoders" for finding in findings)
    assert all(bool(finding.remedy) == (finding.level != "OK") for finding in findings)
    return {level: [one for one in findings if one.level == level] for level in ("OK", "WARN", "FAIL")}


def test_everything_can_be_read_here() -> None:
    found = by_level(list(decoders.check()))
    assert not found["WARN"] + found["FAIL"]
    pictures, films, written = (finding.text for finding in found["OK"])
    assert pictures.startswith("can read images: JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, HEIC (simplejpeg ")
    assert films.startswith("can read videos: H.264, HEVC, VP8, VP9, AV1, MPEG-4, MPEG-2, Motion JPEG (")
    assert "AV1: libdav1d" in films
    assert written == "can write annotated videos: H.264 (libx264)"


def test_there_is_a_sample_of_each_kind_of_image_that_readers_take() -> None:
    same = {"jpe": "jpg", "jpeg": "jpg", "jfif": "jpg", "mpo": "jpg", "dib": "bmp", "tiff": "tif"}
    same |= {"heif": "heic", "hif": "heic"}
    extensions = {name.removeprefix(".") for name in EXTENSIONS}
    assert {f"sample.{same.get(name, name)}" for name in extensions} <= {
        path.name for path in decoders.SAMPLES.iterdir()
    }
    assert all(
        path.suffix in EXTENSIONS | VIDEO_EXTENSIONS and path.stat().st_size < 4096
        for path in decoders.SAMPLES.iterdir()
    )


NO_AVIF = """
import sys
if "resnet_pipe.run.workers.worker_process" in sys.orig_argv:
    from PIL import AvifImagePlugin, Image
    AvifImagePlugin.SUPPORTED = False
"""
"""Pillow was built without libavif."""


def test_a_pillow_without_avif_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_AVIF)
    put_before(monkeypatch, tmp_path)
    found = by_level(list(decoders.check()))
    (warning,) = found["WARN"]
    assert warning.text.startswith("cannot read AVIF images: ")
    assert "pillow" in warning.remedy
    assert "AVIF" not in found["OK"][0].text


def test_without_the_extra_heic_is_no_fault_and_how_to_have_it_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoders, "find_spec", lambda _name: None)
    found = by_level(list(decoders.check()))
    assert not found["WARN"] + found["FAIL"]
    assert found["OK"][0].text == "cannot read HEIC; to add it: pip install 'resnet-pipe[heif]'"
    assert "HEIC" not in found["OK"][1].text


def test_what_cannot_be_decoded_is_a_warning_about_its_own_kind(samples: Path) -> None:
    (samples / "sample.png").write_bytes((samples / "sample.png").read_bytes()[:40])
    (samples / "vp9.webm").unlink()
    (samples / "av1.mp4").write_bytes(b"no video at all")
    found = by_level(list(decoders.check(samples)))
    assert [finding.text.partition(":")[0] for finding in found["WARN"]] == [
        "cannot read PNG images",
        "cannot read AV1 videos",
        "cannot read VP9 videos",
    ]


def test_a_decoder_that_crashes_takes_nothing_else_down(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "faults").mkdir()
    (tmp_path / "faults" / "sitecustomize.py").write_text(DECODER)
    put_before(monkeypatch, tmp_path / "faults")
    data = (samples / "sample.jpg").read_bytes()
    (samples / "sample.jpg").write_bytes(data[:2] + b"\xff\xfe\0\x0asegfault" + data[2:])
    (warning,) = by_level(list(decoders.check(samples)))["WARN"]
    assert warning.text == "cannot read JPEG images: its worker process was killed by SIGSEGV"


def test_other_colours_than_the_samples_are_a_warning(samples: Path) -> None:
    from PIL import Image

    Image.new("RGB", (32, 32), (50, 100, 200)).save(samples / "sample.bmp")
    (warning,) = by_level(list(decoders.check(samples)))["WARN"]
    assert warning.text.endswith("its pixels come out as RGB [50, 100, 200], not [200, 100, 50]")


def test_workers_that_do_not_start_are_a_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif 'resnet_pipe.run.workers.worker_process' in sys.orig_argv: os._exit(7)"
    )
    put_before(monkeypatch, tmp_path)
    found = by_level(list(decoders.check()))
    assert [finding.text.partition(":")[0] for finding in found["FAIL"]] == [
        "cannot read any images",
        "cannot read any videos",
    ]
    assert "exited with status 7" in found["FAIL"][0].text


def test_without_x264_no_videos_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def codec(name: str, mode: str) -> None:
        raise UnknownCodecError(name)

    monkeypatch.setattr(av.codec, "Codec", codec)
    (warning,) = by_level(list(decoders.check()))["WARN"]
    assert "no libx264" in warning.text
