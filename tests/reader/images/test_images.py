"""The image reader: its section of the job, and the files it refuses to wait for or to guess at."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.file import announce
from resnet_pipe.reader.images.section import ImagesSection
from resnet_pipe.reader.source import Item
from tests.photographs import encode, photograph, pixels


def section(base: Path, path: object = ".", **rest: object) -> ImagesSection:
    return ImagesSection.model_validate({"kind": "images", "path": path, **rest}, context={"base": base})


def read(folder: Path, key: str) -> Item:
    (item,) = section(folder).make_reader().read(key, None)
    return item


def failure(folder: Path, key: str) -> str:
    with pytest.raises(SourceError) as caught:
        read(folder, key)
    assert caught.value.stage == "reader"
    assert caught.value.message
    return caught.value.error


def test_paths_are_relative_to_the_job_file_and_become_absolute(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "a.png").touch()
    base = tmp_path / "jobs"
    assert section(base, "..").path == [tmp_path]
    assert section(base, ["../a.png", "../*.jpg", str(base)]).path == [
        tmp_path / "a.png",
        tmp_path / "*.jpg",
        base,
    ]


def test_each_path_that_does_not_exist_is_reported_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(ValidationError) as caught:
        section(tmp_path, [".", "b", "", 3, "c/*.jpg"])
    assert [(error["loc"], error["msg"]) for error in caught.value.errors()] == [
        (("path", 1), f"Value error, no such file or directory: {tmp_path}/b"),
        (("path", 2), "Value error, must be a path"),
        (("path", 3), "Value error, must be a path"),
        (("path", 4), f"Value error, no such file or directory: {tmp_path}/c"),
    ]


@pytest.mark.parametrize(
    "wrong",
    [{"path": []}, {"max_pixels": 0}, {"timeout_s": 0}, {"timeout_s": float("inf")}, {"recursiv": True}],
)
def test_values_out_of_range_and_unknown_keys_are_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        section(tmp_path, **wrong)


def test_the_schema_describes_every_key_in_terms_that_editors_know() -> None:
    schema = ImagesSection.model_json_schema()
    assert all(value.get("description") for value in schema["properties"].values())
    assert [kind["type"] for kind in schema["properties"]["path"]["anyOf"]] == ["string", "array"]
    assert "prefixItems" not in str(schema)


def test_a_section_survives_being_written_and_read_again(tmp_path: Path) -> None:
    first = section(tmp_path, ["."], max_pixels=5)
    again = ImagesSection.model_validate(first.model_dump(mode="json"), context={"base": Path("/nowhere")})
    assert again == first


def test_checking_a_job_loads_no_decoder() -> None:
    check = (
        "import sys, resnet_pipe.reader.images.reader, resnet_pipe.reader.images.section;"
        "print({'cv2', 'PIL', 'simplejpeg'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_reader_pickled_to_a_worker_reads_the_same_pixels(photo_folder: Path) -> None:
    reader = section(photo_folder).make_reader()
    copy = pickle.loads(pickle.dumps(reader))  # noqa: S301
    listed = [source.key for source in copy.list_sources()]
    assert listed == [
        "astronaut.jpg",
        "chelsea.jpg",
        "coffee.jpg",
        "more/rocket.jpg",
        "motorcycle_left.jpg",
        "retina.jpg",
    ]
    for key in listed:
        (ours,), (theirs,) = reader.read(key, None), copy.read(key, None)
        assert ours.frame.dtype == np.uint8
        assert ours.frame.flags.c_contiguous
        assert np.array_equal(ours.frame, theirs.frame)
        assert (ours.frame_index, ours.pts_s) == (None, None)


def test_the_content_decides_what_a_file_is_not_its_name(tmp_path: Path) -> None:
    (tmp_path / "really.jpg").write_bytes(encode(photograph(), "PNG"))
    assert np.array_equal(read(tmp_path, "really.jpg").frame, pixels(photograph()))


def test_an_absent_file_is_missing_and_a_broken_link_says_so(tmp_path: Path) -> None:
    (tmp_path / "link.jpg").symlink_to("nowhere")
    assert failure(tmp_path, "absent.jpg") == "missing"
    assert failure(tmp_path, "link.jpg") == "missing"
    with pytest.raises(SourceError, match="a broken link"):
        read(tmp_path, "link.jpg")


def test_a_link_to_itself_is_not_a_file(tmp_path: Path) -> None:
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    assert failure(tmp_path, "loop.jpg") == "not_a_file"


def test_pipes_directories_sockets_and_devices_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.jpg")
    (tmp_path / "directory.jpg").mkdir()
    (tmp_path / "device.jpg").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "socket.jpg"))
        for key in ("fifo.jpg", "directory.jpg", "device.jpg", "socket.jpg"):
            assert failure(tmp_path, key) == "not_a_file"


def test_a_file_without_permission_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:  # root may open everything, so chmod would not do
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    assert failure(tmp_path, "a.jpg") == "unreadable"


def test_a_file_without_bytes_is_empty(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    assert failure(tmp_path, "a.jpg") == "empty"


def test_reading_leaves_no_file_open(tmp_path: Path) -> None:
    (tmp_path / "good.jpg").write_bytes(encode(photograph(), "JPEG"))
    (tmp_path / "bad.jpg").write_bytes(b"?" * 100)
    os.mkfifo(tmp_path / "fifo.jpg")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(3):
        read(tmp_path, "good.jpg")
        failure(tmp_path, "bad.jpg")
        failure(tmp_path, "fifo.jpg")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_announcing_a_file_changes_nothing_but_the_time_at_which_it_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.jpg")
    (tmp_path / "directory.jpg").mkdir()
    (tmp_path / "device.jpg").symlink_to("/dev/zero")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "link.jpg").symlink_to("nowhere")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "whole.png").write_bytes(encode(photograph(), "PNG"))
    expected = {"fifo": "not_a_file", "directory": "not_a_file", "device": "not_a_file"}
    expected |= {"loop": "not_a_file", "link": "missing", "empty": "empty", "absent": "missing"}
    before = descriptors()
    for _ in range(2):
        for name in expected:
            announce(tmp_path / f"{name}.jpg")
            announce(tmp_path / f"{name}.jpg")
        announce(tmp_path / "whole.png")
        assert np.array_equal(read(tmp_path, "whole.png").frame, pixels(photograph()))
        assert {name: failure(tmp_path, f"{name}.jpg") for name in expected} == expected
    assert descriptors() == before


def test_few_of_many_files_that_are_announced_are_open_at_the_same_time(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(300)]
    for name in names:
        (tmp_path / name).write_bytes(encode(photograph().resize((3, 2)), "PNG"))
    before = descriptors()
    for _ in range(2):
        for name in names:
            announce(tmp_path / name)
        for name in names:
            assert descriptors() <= before + 64 + 8  # other threads of the tests open some, too
            read(tmp_path, name)
    assert descriptors() == before


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
