"""Images in tar files are those of a folder, whatever has made the archive, and whatever is wrong with it."""

from __future__ import annotations

import gzip
import os
import random
import resource
import shutil
import struct
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.archives.drive import MAX_BYTES
from resnet_pipe.reader.archives.section import ArchiveSection
from resnet_pipe.reader.files import Files
from resnet_pipe.reader.listing import PassedOver
from resnet_pipe.store.names import path_of
from tests.archives import Member, compressed, tar_of

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
needs_zstd = pytest.mark.skipif(shutil.which("zstd") is None, reason="zstd, the program, is missing")
NAMES = ("x.tar", "x.tar.gz", "x.tar.zst")


def files_of(path: Path, **keys: Any) -> Files:  # noqa: ANN401 - as in a job
    section = ArchiveSection.model_validate({"kind": "archive", "path": str(path), **keys})
    return section.make_reader().files


def found(files: Files) -> dict[str, bytes | str]:
    """Return the bytes of each source, or the class of its failure, in the order of the listing."""
    result: dict[str, bytes | str] = {}
    for source in files.list_sources():
        assert source.key not in result
        try:
            data = files.read(source.key, lambda: None)
        except SourceError as error:
            result[source.key] = error.error
        else:
            assert len(data) == source.size
            result[source.key] = data
    assert list(result) == sorted(result)
    return result


def versions(files: Files) -> dict[str, int]:
    return {source.key: source.version for source in files.list_sources()}


def some(count: int = 20, size: int = 3000) -> list[Member]:
    """Return members with bytes that nothing can compress, in the order of their names."""
    rng = random.Random(7)
    return [(f"pictures/{number:06d}.jpg", rng.randbytes(size + number)) for number in range(count)]


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(compressed(data, name))
    return path


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("made", FORMATS)
def test_members_are_sources_whatever_their_names_and_the_format(
    tmp_path: Path, made: str, name: str
) -> None:
    long = "d" * 90 + "/" + "e" * 90 + "/" + "f" * 80 + ".jpg" if made != "ustar" else "d" * 99 + "/f.jpg"
    names = ["a.jpg", "sub/ä b.PNG", "line\nfeed.webp", "back\\slash.jpg", os.fsdecode(b"\xff\xfe.jpg"), long]
    put(tmp_path, name, tar_of(((one, one.encode(errors="ignore") + b"!") for one in names), FORMATS[made]))
    read = found(files_of(tmp_path))
    assert len(read) == len(names)
    for one in names:
        (key,) = (key for key in read if path_of(Path(), key) == Path(name, one))
        assert read[key] == one.encode(errors="ignore") + b"!"


@pytest.mark.parametrize("options", ["--format=gnu", "--format=pax", "--format=ustar", "--format=v7"])
@pytest.mark.parametrize("compress", ["", "-z", pytest.param("--zstd", marks=needs_zstd)])
def test_what_tar_itself_has_made(tmp_path: Path, options: str, compress: str) -> None:
    loose = tmp_path / "loose"
    for name, data in some():
        put(loose, name, data)
    (loose / "pictures" / "folder.jpg").mkdir()
    (loose / "pictures" / "link.jpg").symlink_to("000001.jpg")
    (loose / "pictures" / "zero.jpg").touch()
    (loose / "pictures" / "hard.jpg").hardlink_to(loose / "pictures" / "000001.jpg")
    if "v7" not in options:
        os.mkfifo(loose / "pictures" / "pipe.jpg")
    for name in ("._000001.jpg", ".hidden/x.jpg", "notes.txt", "more.txt", "x.json"):
        put(loose, f"pictures/{name}", b"none")
    archive = tmp_path / "packed" / "x.tar"
    archive.parent.mkdir()
    subprocess.run(["tar", options, *compress.split(), "-C", loose, "-cf", archive, "."], check=True)
    passed_over = PassedOver()
    list(files_of(archive.parent).list_sources(passed_over))
    assert passed_over.to_json() == {".txt": 2, ".json": 1}
    expected: dict[str, bytes | str] = {f"x.tar/{name}": data for name, data in some()}
    expected |= {"x.tar/pictures/zero.jpg": "empty", "x.tar/pictures/hard.jpg": some()[1][1]}
    assert found(files_of(archive.parent)) == expected


def test_names_that_lead_out_of_the_archive_lose_what_leads_out(tmp_path: Path) -> None:
    names = ["/etc/a.jpg", "../../b.jpg", "x/../../c.jpg", "./d.jpg", "e//f.jpg", "..", "/", "g\0h.jpg", "."]
    put(tmp_path, "x.tar", tar_of((name, name.encode()) for name in names))
    assert found(files_of(tmp_path)) == {
        "x.tar/b.jpg": b"../../b.jpg",
        "x.tar/d.jpg": b"./d.jpg",
        "x.tar/e/f.jpg": b"e//f.jpg",
        "x.tar/etc/a.jpg": b"/etc/a.jpg",
        "x.tar/x/c.jpg": b"x/../../c.jpg",
    }


def test_a_name_that_is_repeated_has_a_number(tmp_path: Path) -> None:
    names = ["a.jpg", "a.jpg", "./a.jpg", "a.jpg#2", "a.txt", "a.txt", "b.jpg"]
    put(tmp_path, "x.tar", tar_of((name, f"{number} {name}".encode()) for number, name in enumerate(names)))
    assert found(files_of(tmp_path)) == {
        "x.tar/a.jpg": b"0 a.jpg",
        "x.tar/a.jpg#2": b"1 a.jpg",
        "x.tar/a.jpg#2#2": b"3 a.jpg#2",
        "x.tar/a.jpg#3": b"2 ./a.jpg",
        "x.tar/b.jpg": b"6 b.jpg",
    }


def test_sources_of_several_archives_are_in_one_order(tmp_path: Path) -> None:
    names = ["a.tar", "a.tar.gz", "a.tar-b.tar", "sub/a.tar", "sub.tar", "b/c.tgz", "b.tar.zst"]
    for name in names:
        put(tmp_path, name, tar_of([("y.jpg", b"y" + name.encode()), ("x.jpg", b"x" + name.encode())]))
    put(tmp_path, "other.zip", b"")
    put(tmp_path, "x.gz", b"")
    read = found(files_of(tmp_path))
    assert read == {f"{name}/{one}.jpg": f"{one}{name}".encode() for name in names for one in "xy"}
    assert len(found(files_of(tmp_path, recursive=False))) == 10
    assert list(found(files_of(tmp_path / "sub*" / "*.tar"))) == ["sub/a.tar/x.jpg", "sub/a.tar/y.jpg"]


@pytest.mark.parametrize("options", ["--format=gnu", "--format=pax", "--sparse-version=0.1"])
def test_a_file_with_holes_is_a_failure_of_its_own(tmp_path: Path, options: str) -> None:
    loose = put(tmp_path, "loose/holes.jpg", b"begin").parent
    with (loose / "holes.jpg").open("r+b") as file:
        for hole in range(1, 40):
            file.seek(hole << 20)
            file.write(b"data")
    put(loose, "whole.jpg", b"whole")
    archive = tmp_path / "x.tar"
    pax = ["--format=pax"] if "sparse" in options else []
    subprocess.run(["tar", *pax, options, "-S", "-C", loose, "-cf", archive, "."], check=True)
    assert found(files_of(archive)) == {"x.tar/holes.jpg": "unsupported", "x.tar/whole.jpg": b"whole"}


@pytest.mark.parametrize("name", NAMES)
def test_of_an_archive_that_ends_too_early_what_is_whole_is_read(tmp_path: Path, name: str) -> None:
    data = compressed(tar_of(some()), name)
    for cut in sorted(
        {*range(1, len(data) - 1100, len(data) // 40), 100, 512, 513, 1024, len(data) - 12_000}
    ):
        (tmp_path / name).write_bytes(data[:cut])
        read = found(files_of(tmp_path))
        failed = read.pop(name, None)
        assert failed in ("truncated", "unknown_format" if cut < 512 or name != "x.tar" else "truncated") or (
            failed is None and name == "x.tar"  # it ends between two members, and looks whole
        )
        whole = {f"{name}/{one}": content for one, content in some()}
        assert read.items() <= whole.items()
        if name == "x.tar":
            assert len(read) == sum(f in data[:cut] for _, f in some())


def test_what_is_damaged_ends_what_is_read_and_is_one_failure(tmp_path: Path) -> None:
    data = bytearray(tar_of(some()))
    at = data.index(b"pictures/000007.jpg")
    data[at : at + 4] = b"tic-"
    put(tmp_path, "x.tar", bytes(data))
    read = found(files_of(tmp_path))
    assert read.pop("x.tar") == "damaged"
    assert read == {f"x.tar/{name}": content for name, content in some()[:7]}


@pytest.mark.parametrize("name", ["x.tar.gz", pytest.param("x.tar.zst", marks=needs_zstd)])
def test_a_wrong_checksum_of_what_is_compressed_is_a_failure(tmp_path: Path, name: str) -> None:
    loose = put(tmp_path, "loose.tar", tar_of(some()))
    tool = ["gzip", "-c"] if name.endswith("gz") else ["zstd", "-qc"]
    data = bytearray(subprocess.run([*tool, loose], check=True, capture_output=True).stdout)
    data[-1 if name.endswith("zst") else -5] ^= 1
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / name).write_bytes(data)
    assert found(files_of(tmp_path / "packed"))[name] == "damaged"


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"no tar, but text\n" * 100, "unknown_format"),
        (b"short", "unknown_format"),
        (gzip.compress(b"no tar, but text\n" * 100, mtime=0), "unknown_format"),
        (b"\x1f\x8b but no gzip", "damaged"),
        (b"\x28\xb5\x2f\xfd but no Zstandard", "damaged"),
        (b"\x1f\x8b", "truncated"),
        (b"", "empty"),
        (tar_of([]), None),
        (gzip.compress(tar_of([]), mtime=0), None),
    ],
)
def test_what_is_no_archive_is_one_failure_and_an_empty_one_is_none(
    tmp_path: Path, content: bytes, error: str | None
) -> None:
    (tmp_path / "x.tar").write_bytes(content)
    put(tmp_path, "y.tar", tar_of(some(1)))
    read = found(files_of(tmp_path))
    assert read.pop("x.tar", None) == error
    assert list(read) == ["y.tar/pictures/000000.jpg"]


def header(size: int, kind: bytes = b"0", name: bytes = b"x.jpg") -> bytes:
    """Return a header as no program would write it."""
    block = bytearray(tar_of([("x.jpg", b"")])[:512])
    block[:100] = name.ljust(100, b"\0")
    block[124:136] = b"\x80" + size.to_bytes(11, "big", signed=True)
    if size < 0:
        block[124:136] = b"\xff" + size.to_bytes(11, "big", signed=True)
    block[156:157] = kind
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "hostile",
    [
        header(-512),
        header(-1024),
        header(1 << 60),
        header(1 << 62, b"x"),
        header(100 << 20, b"x") + b"9999999 path=x\n" * 1000,
        header(100 << 20, b"L") + b"a" * (2 << 20),
        header(3 << 20, b"L") + b"a" * (3 << 20),
        header(512, b"L") + b"a/" * 256 + header(512, b"L") + b"a/" * 256,
        header(0, b"L") * 1500,
        b"\xff" * 512,
    ],
)
def test_a_hostile_header_ends_what_is_read_in_little_memory(
    tmp_path: Path, name: str, hostile: bytes
) -> None:
    before = tar_of([("a.jpg", b"a" * 512)])[:1024]
    put(tmp_path, name, before + hostile)
    limit = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (resident() + (512 << 20), limit[1]))
    try:
        read = found(files_of(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)
    assert read.pop(name) in ("truncated", "damaged")
    assert read == {f"{name}/a.jpg": b"a" * 512}


def resident() -> int:
    """Return the bytes of address space of this process."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def test_a_name_without_an_end_is_damage(tmp_path: Path) -> None:
    put(tmp_path, "x.tar", tar_of([("a.jpg", b"a"), ("b/" * 3000 + "c.jpg", b"c"), ("d.jpg", b"d")]))
    assert found(files_of(tmp_path)) == {"x.tar": "damaged", "x.tar/a.jpg": b"a"}


def test_a_picture_that_would_fill_the_memory_is_not_read(tmp_path: Path) -> None:
    """A few bytes of gzip become as many as the header says, and no more."""
    size = MAX_BYTES + 1
    data = gzip.compress(header(size))
    zeros = gzip.compress(bytes(1 << 24), 9)
    (tmp_path / "x.tar.gz").write_bytes(data + zeros * (size // (1 << 24) + 1) + gzip.compress(bytes(1024)))
    limit = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (resident() + (512 << 20), limit[1]))
    try:
        assert found(files_of(tmp_path)) == {"x.tar.gz/x.jpg": "too_large"}
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)


@pytest.mark.parametrize("name", NAMES)
def test_sources_change_with_their_archive(tmp_path: Path, name: str) -> None:
    members = some(5)
    (tmp_path / "grown.jpg").write_bytes(b"grown")
    path = put(tmp_path, name, tar_of(members))
    files = files_of(tmp_path)
    first = versions(files)
    assert len(set(first.values())) == 5, "the order counts"
    assert versions(files) == first
    assert found(files)[f"{name}/{members[0][0]}"] == members[0][1]
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert not set(versions(files).values()) & set(first.values())
    if name == "x.tar":
        subprocess.run(["tar", "-C", tmp_path, "-rf", path, "grown.jpg"], check=True)
        grown = found(files)
        assert grown.pop("x.tar/grown.jpg") == b"grown"
        assert grown == {f"x.tar/{one}": content for one, content in members}
    again = [*members[1:], ("z.jpg", b"more"), (members[0][0], b"another one")]
    put(tmp_path, name, tar_of(again))
    assert found(files) == {f"{name}/{one}": content for one, content in sorted(again)}


@pytest.mark.parametrize("name", ["x.tar.gz", "x.tar.zst"])
def test_a_stream_is_read_in_any_order(tmp_path: Path, name: str) -> None:
    members = some(60, 100_000)
    rng = random.Random(3)
    rng.shuffle(members)
    put(tmp_path, name, tar_of(members))
    files, expected = files_of(tmp_path), {f"{name}/{one}": content for one, content in members}
    assert found(files) == expected
    keys = list(expected)
    for start in range(0, len(keys), 8):
        for key in keys[start : start + 16]:
            files.announce(key)
        for key in keys[start : start + 8]:
            assert files.read(key, lambda: None) == expected[key]
    for key in rng.choices(keys, k=30):
        assert files.read(key, lambda: None) == expected[key]


@pytest.mark.parametrize("name", NAMES)
def test_parts_that_were_compressed_one_by_one_are_one_archive(tmp_path: Path, name: str) -> None:
    data = tar_of(some())
    parts = [compressed(data[start : start + 7777], name) for start in range(0, len(data), 7777)]
    if name.endswith("zst"):
        parts.insert(0, b"\x50\x2a\x4d\x18" + struct.pack("<I", 5) + b"hello")
    (tmp_path / name).write_bytes(b"".join(parts))
    assert found(files_of(tmp_path)) == {f"{name}/{one}": content for one, content in some()}


def index_files(cache: Path) -> Sequence[Path]:
    return sorted((cache / "resnet-pipe" / "archives").glob("*.index"))


def test_an_index_is_kept_and_does_no_harm_if_it_is_not_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    put(tmp_path / "in", "x.tar", tar_of(some()))
    expected = {f"x.tar/{name}": content for name, content in some()}
    assert found(files_of(tmp_path / "in")) == expected
    (index,) = index_files(cache)
    assert index.stat().st_mode & 0o77 == 0 or index.parent.stat().st_mode & 0o77 == 0
    data = index.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("resnet_pipe.reader.archives.container.scan", None)
        assert found(files_of(tmp_path / "in")) == expected, "nothing is looked for again"
    for broken in (b"", data[:-1], data[:40], data + b"x", bytes(len(data)), b"[" + data[1:]):
        index.write_bytes(broken)
        assert found(files_of(tmp_path / "in")) == expected
        assert index.read_bytes() == data, "it was made again"
    put(tmp_path / "in", "x.tar", tar_of(reversed(some())))
    os.utime(tmp_path / "in" / "x.tar", ns=(0, 0))
    assert found(files_of(tmp_path / "in")) == expected
    assert len(index_files(cache)) == 1


def test_old_indexes_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    for name in ("a.tar", "b.tar"):
        put(tmp_path, name, tar_of(some(1)))
        found(files_of(tmp_path / name))
    for index in index_files(cache):
        os.utime(index, (0, 0))
    found(files_of(tmp_path / "b.tar"))
    put(tmp_path, "c.tar", tar_of(some(1)))
    found(files_of(tmp_path / "c.tar"))
    assert len(index_files(cache)) == 2, "that of a.tar has gone"


def test_without_a_cache_everything_is_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "no-folder", b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "no-folder"))
    put(tmp_path, "x.tar", tar_of(some()))
    assert found(files_of(tmp_path)) == {f"x.tar/{name}": content for name, content in some()}


def test_whatever_is_changed_in_an_archive_is_at_most_a_problem(tmp_path: Path) -> None:
    """Bytes of headers, with checksums that fit all the same: nothing hangs, or raises what is none."""
    rng = random.Random(11)
    long = "d" * 120 + "/e.jpg"
    made = [tar_of([("a.jpg", b"a" * 700), (long, b"e"), ("f.jpg", b"f" * 2000)], kind) for kind in (1, 2)]
    for _ in range(300):
        data = bytearray(rng.choice(made))
        for _ in range(rng.randint(1, 4)):
            at = 512 * rng.randrange(len(data) // 512) + rng.choice([124, 130, 156, 257, 345, 386, 482])
            change = rng.choice(
                [b"\x80" + bytes(8), b"\xff" * 12, b"777777777", b"-1", b"S", b"L", b"x", b"\0"]
            )
            data[at : at + len(change)] = change
        for block in range(0, len(data) - 511, 512):
            if data[block + 257 : block + 262] == b"ustar":
                data[block + 148 : block + 156] = b" " * 8
                data[block + 148 : block + 156] = f"{sum(data[block : block + 512]):06o}\0 ".encode()
        name = rng.choice(NAMES)
        (tmp_path / name).write_bytes(compressed(bytes(data), name))
        known = {"truncated", "damaged", "unknown_format", "unsupported", "empty", "too_large"}
        assert {
            error for error in found(files_of(tmp_path / name)).values() if isinstance(error, str)
        } <= known
