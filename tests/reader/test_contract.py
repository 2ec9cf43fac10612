"""What every reader promises, asked of every reader in the registry."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from pydantic import ValidationError

from resnet_pipe.errors import SourceError, UsageError
from resnet_pipe.job.job import Job
from resnet_pipe.preprocess.geometry import Geometry
from resnet_pipe.reader.listing import PassedOver
from resnet_pipe.reader.reader import Reader
from resnet_pipe.reader.registry import Section
from resnet_pipe.reader.section import nothing_found
from resnet_pipe.reader.source import Carried, FrameCounts, Item, Source, Span
from resnet_pipe.store.address import Address
from resnet_pipe.store.names import key_of, path_of
from resnet_pipe.store.web_address import WebAddress
from resnet_pipe.study.items import read_items
from tests.archives import pack
from tests.buckets import BUCKET, open_bucket, upload
from tests.manifests import write_manifest
from tests.photographs import encode, photograph
from tests.tables import write_table
from tests.videos import SAMPLES, make

SECTIONS: tuple[type[Section], ...] = get_args(Section)
LIBRARIES = {"cv2", "PIL", "simplejpeg", "av", "numpy", "pyarrow", "onnx"}
"""What takes long to import."""


def _photograph(folder: Path) -> bytes:
    return encode(photograph().resize((200, 150)), "JPEG", quality=90)


def _film(folder: Path) -> bytes:
    return make(folder, SAMPLES["h264.mp4"]).read_bytes()


WHOLE: dict[str, Callable[[Path], bytes]] = {
    "images": _photograph,
    "archive": _photograph,
    "manifest": _photograph,
    "table": _photograph,
    "video": _film,
}
"""For each kind of reader, a source that can be read. A folder is given in which files may be made."""


PACKED: dict[str, Sequence[str]] = {
    "archive": ("all.tar", "all.tar.gz", "all.tar.zst"),
    "table": ("all.parquet",),
}
"""For each kind of reader whose sources are in files of others, what these are called."""


IN_BUCKET: dict[str, Sequence[str]] = {
    "images": ("bucket/",),
    "archive": ("bucket/all.tar", "bucket/all.tar.gz", "bucket/all.tar.zst"),
    "table": ("bucket/all.parquet",),
    "video": ("bucket/", "bucket/in parts"),
}
"""For each kind of reader that also reads from buckets, what its files are called there."""
IN_PARTS = {"copies_gib": 0}
"""What makes it read from there without a copy."""


LISTED: dict[str, Sequence[str]] = {
    "manifest": ("all.csv", "all.tsv", "all.jsonl", "all.parquet", "bucket/all.parquet", "web/all.csv")
}
"""For each kind of reader whose sources are listed in other files, what these are called; before a slash,
where they are, or what they name."""


SPLITTING = {"video": {"span_s": 0.4, "long_bytes": 0}}
"""What makes a reader that has spans split even small sources."""


@dataclass(frozen=True)
class Folder:
    """A folder of sources, and the reader over it. Do not change it.

    Attributes:
        path: of the folder.
        place: the same, or the address of the folder in a bucket.
        root: the same as the place, or the address on a web server of what manifests name.
        loose: where the sources are files: this folder, unless they are packed.
        prefix: of all keys.
        manifest: the file that lists the sources; empty if nothing does.
        section: of a job over the folder.
        reader: that the section makes.
        keys: of the sources, by the names of the files that they are made of, and of one that is not there.
        whole: the keys of the sources that can be read.
    """

    path: Path
    place: Path | Address
    root: Path | Address
    loose: Path
    prefix: str
    manifest: str
    section: Section
    reader: Reader
    keys: Mapping[str, str]
    whole: tuple[str, ...]

    @property
    def in_bucket(self) -> bool:
        """Whether it has been uploaded."""
        return isinstance(self.place, Address)

    @property
    def is_remote(self) -> bool:
        """Whether the sources are in a bucket or on a web server."""
        return isinstance(self.root, Address)

    def root_at(self, path: Path) -> dict[str, str]:
        """Return what a section says if what it names is in another folder."""
        if self.in_bucket or not isinstance(self.root, Address):
            return {}
        return {"root": self.root.replace(self.path.name, path.name)}

    def beside(self, path: Path) -> Path | Address:
        """Return another place, for sources that are files in a folder or not."""
        if not isinstance(self.place, Address):
            return path
        address = Address(f"{self.place}-{path.name}")
        storage = self.section.model_dump()["storage"]
        upload(open_bucket(storage["endpoint"]), path, f"{address.split('/', 3)[3]}/")
        return address

    def failing(self, **errors: str) -> dict[str, str]:
        """Return these errors, of names without extensions, by key."""
        extension = self.section.description.usual_extension
        return {self.keys[f"{name}{extension}"]: error for name, error in errors.items()}


def kind_of(section: type) -> str:
    kind: str = section.model_json_schema()["properties"]["kind"]["const"]  # type: ignore[attr-defined]
    return kind


ON_DISK = {**PACKED, **LISTED}
EACH = [
    (section, name)
    for section in SECTIONS
    for kind in [kind_of(section)]
    for name in (*ON_DISK.get(kind, [""]), *IN_BUCKET.get(kind, []))
]


@pytest.fixture(
    scope="module",
    params=EACH,
    ids=lambda param: " ".join(dict.fromkeys([kind_of(param[0]), param[1]])).strip(),
)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    section, place_and_name = request.param
    kind, in_bucket = kind_of(section), place_and_name.startswith("bucket/")
    name = place_and_name.removeprefix("bucket/")
    packed = name if kind in PACKED else ""
    where, _, manifest = name.rpartition("/") if kind in LISTED else (name, "", "")
    in_bucket, on_web = in_bucket or where == "bucket", where == "web"
    path = tmp_path_factory.mktemp(kind)
    extension = section.description.usual_extension
    data = WHOLE[kind](tmp_path_factory.mktemp("samples"))
    (path / "sub").mkdir()
    odd = "b c%20+#" if in_bucket or on_web else "b\\c"
    names = (f"a-b{extension}", f"a{extension}", f"sub/ä{extension}", f"sub/{odd}{extension.upper()}")
    for name in names:
        (path / name).write_bytes(data)
    (path / f"cut{extension}").write_bytes(data[: len(data) // 2])
    (path / f"empty{extension}").touch()
    (path / f"not-one{extension}").write_bytes(b"this is neither an image nor a video\n" * 100)
    (path / "notes.txt").write_text("not a source")
    (path / f".hidden{extension}").write_bytes(data)
    others = tuple(f"{other}{extension}" for other in ("cut", "empty", "not-one"))
    everything = (*names, *others, f"gone{extension}")
    loose, prefix = path, ""
    if packed:
        path, prefix = tmp_path_factory.mktemp("packed"), f"{packed}/"
    keys = {name: prefix + key_of(name) for name in everything}
    if kind == "archive":
        pack(loose, path / packed)
    if kind == "table":
        write_table(path / packed, [(loose / name).read_bytes() for name in (*names, *others)])
        keys = {name: f"{prefix}{row:09d}" for row, name in enumerate(everything)}
    if manifest:
        write_manifest(path / manifest, [*names, *others])
    values: dict[str, Any] = {"kind": kind, "path": str(path / manifest)}
    place: Path | Address = path
    root: Path | Address | None = None
    if on_web:
        root = WebAddress(f"{request.getfixturevalue('web').address}/{path.name}")
        values["root"] = f"{root}/"
    if in_bucket:
        endpoint = request.getfixturevalue("endpoint")
        upload(open_bucket(endpoint), path, f"{path.name}/")
        place = Address(f"s3://{BUCKET}/{path.name}")
        values |= {
            "path": f"{place}/{manifest}".rstrip("/"),
            "storage": {"endpoint": endpoint, "anonymous": True},
        }
    if name == "in parts":
        values |= IN_PARTS
    made = section.model_validate(values)
    whole = tuple(sorted(keys[name] for name in names))
    return Folder(path, place, root or place, loose, prefix, manifest, made, made.make_reader(), keys, whole)


def read(reader: Reader, key: str, min_side: int | None = None, span: Span | None = None) -> list[Item]:
    return list(reader.read(key, min_side, span, FrameCounts(), lambda: None))


def failure(reader: Reader, key: str) -> SourceError:
    with pytest.raises(SourceError) as caught:
        read(reader, key)
    return caught.value


def made_of(folder: Folder, **changes: Any) -> Reader:  # noqa: ANN401 - keys of a section
    values = {**folder.section.model_dump(mode="json"), **changes}
    return type(folder.section).model_validate(values).make_reader()


def assert_same(found: list[Item], expected: list[Item]) -> None:
    assert [item[1:] for item in found] == [item[1:] for item in expected]
    assert all(np.array_equal(one.frame, other.frame) for one, other in zip(found, expected, strict=True))


def test_every_reader_has_a_kind_of_its_own_and_a_sample_here() -> None:
    kinds = [kind_of(section) for section in SECTIONS]
    assert sorted(kinds) == sorted(WHOLE)
    job = Job.model_json_schema()["properties"]["reader"]["discriminator"]
    assert sorted(job["mapping"]) == sorted(kinds), "a job may name each of them"


def test_a_reader_describes_itself(folder: Folder) -> None:
    about, section = folder.section.description, type(folder.section)
    assert about.source.isalpha()
    assert about.item.isalpha()
    assert about.usual_extension in folder.reader.files.extensions
    assert 16 << 20 < about.worker_bytes < 4 << 30
    assert about.without_result <= section.model_fields.keys()
    assert {"path", "recursive", "timeout_s", "allow_empty"} <= about.without_result
    assert folder.reader.expected_items == 1 or about.has_frames
    assert folder.section.limited(1).keys() <= section.model_fields.keys() - about.without_result


def test_a_section_is_strict_and_survives_being_written_and_read_again(folder: Folder) -> None:
    section, values = type(folder.section), folder.section.model_dump(mode="json")
    again = section.model_validate(values, context={"base": Path("/nowhere")})
    assert again == folder.section
    assert again.make_reader() == folder.reader
    assert all(value.get("description") for value in section.model_json_schema()["properties"].values())
    for key, wrong in (
        ("unknown", 1),
        ("timeout_s", 0),
        ("max_pixels", 0),
        ("path", []),
        ("path", "/nowhere"),
    ):
        with pytest.raises(ValidationError):
            section.model_validate({**values, key: wrong})


def test_sources_are_listed_once_sorted_by_key_and_nothing_else(folder: Folder) -> None:
    passed_over = PassedOver()
    listed = list(folder.reader.list_sources(passed_over))
    others = folder.failing(cut="", empty="", **{"not-one": ""})
    assert [source.key for source in listed] == sorted([*folder.whole, *others])
    assert passed_over.to_json() == ({} if folder.manifest or folder.section.kind == "table" else {".txt": 1})
    names = {key: name for name, key in folder.keys.items()}
    for source in listed:
        status = (folder.loose / names[source.key]).stat()
        assert source.size == status.st_size or folder.section.kind == "table"
        assert (
            folder.prefix
            or folder.is_remote
            or source == Source(source.key, status.st_size, status.st_mtime_ns)
        )
    assert len({source.version for source in listed}) > 1
    assert made_of(folder, recursive=False).root == folder.root
    assert [source.key for source in made_of(folder, recursive=False).list_sources()] == [
        source.key
        for source in listed
        if folder.prefix or folder.manifest or not source.key.startswith("sub/")
    ]
    files = [folder.manifest or folder.prefix.rstrip("/") or source.key for source in listed]
    held = [folder.reader.reach.holds(path_of(folder.path, file)) for file in files]
    assert set(held) == {not folder.in_bucket}
    assert not folder.reader.reach.holds(folder.path / "notes.txt")


def test_where_nothing_is_found_it_says_what_it_looks_for(folder: Folder, tmp_path: Path) -> None:
    place = folder.beside(tmp_path)
    values = {**folder.section.model_dump(mode="json"), "path": f"{place}/"}
    section = type(folder.section).model_validate(values)
    assert list(section.make_reader().list_sources()) == []
    said, _ = nothing_found(section, PassedOver())
    assert said.rstrip("/") == f"no {section.description.source}s found in {place}"


def test_checking_a_job_and_listing_its_sources_load_no_decoder(folder: Folder) -> None:
    section, values = type(folder.section), folder.section.model_dump(mode="json")
    check = (
        f"import sys; from {section.__module__} import {section.__name__} as Section;"
        f"reader = Section.model_validate({values!r}).make_reader();"
        "list(reader.list_sources());"
        f"print({LIBRARIES - {'numpy'} - decompresses(folder)} & set(sys.modules))"
    )
    assert run(check) == "set()"


def test_loading_imports_all_that_reading_needs(folder: Folder) -> None:
    """What is missing, or takes long, must not be charged to the first source."""
    section, values = type(folder.section), folder.section.model_dump(mode="json")
    check = (
        f"import sys; from {section.__module__} import {section.__name__} as Section;"
        f"reader = Section.model_validate({values!r}).make_reader();"
        "reader.load(); before = set(sys.modules);"
        f"list(reader.read({folder.whole[0]!r}, None));"
        f"print({LIBRARIES - decompresses(folder)} & (set(sys.modules) - before))"
    )
    assert run(check) == "set()"


def decompresses(folder: Folder) -> set[str]:
    """Return what is imported where a source is in a file of that kind, and never missing."""
    return {"pyarrow"} if re.search(r"zst|parquet", folder.prefix + folder.manifest) else set()


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_items_are_rgb_pixels_and_those_of_a_video_have_numbers_and_times(folder: Folder) -> None:
    about = folder.section.description
    for key in folder.whole:
        items = read(folder.reader, key)
        assert len(items) == 1 or about.has_frames
        for item in items:
            assert item.frame.dtype == np.uint8
            assert item.frame.ndim == 3
            assert item.frame.shape[2] == 3
            assert item.frame.flags.c_contiguous
            assert item.extent is None
            assert (item.frame_index is not None) == (item.pts_s is not None) == about.has_frames
        if about.has_frames:
            assert [item.frame_index for item in items] == list(range(len(items)))
            assert (np.diff([item.pts_s or 0 for item in items]) > 0).all()


def test_reading_again_and_a_pickled_copy_give_the_same(folder: Folder) -> None:
    data = pickle.dumps(folder.reader)
    assert len(data) < 4096, "workers get a copy"
    copy: Reader = pickle.loads(data)  # noqa: S301
    assert copy == folder.reader
    first = read(folder.reader, folder.whole[0])
    assert_same(read(folder.reader, folder.whole[0]), first)
    assert_same(read(copy, folder.whole[0]), first)


def test_frames_may_come_smaller_but_not_too_small(folder: Folder) -> None:
    (whole, *_) = read(folder.reader, folder.whole[0])
    shorter = min(whole.frame.shape[:2])
    for min_side in (1, shorter // 3, shorter, 10 * shorter):
        (item, *_) = read(folder.reader, folder.whole[0], min_side)
        assert min(min_side, shorter) <= min(item.frame.shape[:2]) <= shorter
        assert item.displayed == whole.displayed, "it says how large the image is"


def test_there_are_no_more_items_than_the_job_takes(folder: Folder) -> None:
    whole = read(folder.reader, folder.whole[0])
    assert (len(whole) > 2) == folder.section.description.has_frames
    reader = made_of(folder, **folder.section.limited(2))
    assert_same(read(reader, folder.whole[0]), whole[:2])
    assert reader.expected_items <= 2


def test_a_reader_counts_what_it_reads_where_sources_have_several_items(folder: Folder) -> None:
    counts = FrameCounts()
    items = list(folder.reader.read(folder.whole[0], None, None, counts, lambda: None))
    if folder.section.description.has_frames:
        assert counts.decoded == counts.used == len(items)
        assert counts.seconds > 0
    assert counts.notes == []


def test_items_are_counted_without_decoding_as_many_as_are_read(folder: Folder) -> None:
    beats: list[None] = []
    for key in folder.whole:
        count = folder.reader.count_items(key, lambda: beats.append(None))
        assert count == len(read(folder.reader, key))
    assert bool(beats) == folder.section.description.has_frames
    few = made_of(folder, max_frames=3) if folder.section.kind == "video" else folder.reader
    assert few.count_items(folder.whole[0], lambda: None) == len(read(few, folder.whole[0]))
    if folder.section.description.has_frames:
        with pytest.raises(SourceError):
            folder.reader.count_items(next(iter(folder.failing(empty=""))), lambda: None)


def test_what_comes_with_a_source_is_a_text_or_nothing_for_each_column(folder: Folder) -> None:
    """A manifest says it in its list of sources, so that no worker reads the manifest."""
    reader = folder.reader
    assert {source.carried for source in reader.list_sources()} == {None}
    assert reader.files.carried(folder.whole[0], lambda: None) == Carried()
    if "carry" not in type(folder.section).model_fields:
        return
    if folder.section.kind != "archive":  # which has no columns that there are or not
        with pytest.raises(UsageError, match="'gone'") as refused:
            list(made_of(folder, carry=["label", "gone"]).list_sources())
        assert "label" in (refused.value.remedy or "")
    reader = made_of(folder, carry=["label"])
    versions = {source.key: source.version for source in folder.reader.list_sources()}
    for source in reader.list_sources():
        assert source.identity == Source(source.key, source.size, source.version)
        assert (source.carried is None) == (source.version == versions[source.key])
        if source.key in folder.whole:
            read(reader, source.key)
            found = source.carried or reader.files.carried(source.key, lambda: None)
            number = [*folder.keys.values()].index(source.key)
            told = {"archive": None, "table": str(number), "manifest": f"label, {number}"}
            assert found == Carried((told[folder.section.kind],))


def test_spans_together_give_what_the_whole_gives(folder: Folder) -> None:
    kind = folder.section.kind
    reader: Reader = replace(folder.reader, **SPLITTING.get(kind, {}))  # type: ignore[type-var]
    for source in reader.list_sources():
        spans = reader.spans(source, lambda: None)
        assert reader.may_split(source) or not spans
        if source.key in folder.whole and kind in SPLITTING:
            assert [(span.index, span.count) for span in spans] == [
                (n, len(spans)) for n in range(len(spans))
            ]
            assert len(spans) > 1
            parts = [item for span in spans for item in read(reader, source.key, span=span)]
            assert_same(parts, read(reader, source.key))


def test_what_cannot_be_read_is_a_failure_of_the_source_with_its_class(
    folder: Folder, tmp_path: Path
) -> None:
    expected = folder.failing(cut="truncated", empty="empty", gone="missing", **{"not-one": "unknown_format"})
    found = {key: failure(folder.reader, key) for key in expected}
    if not folder.is_remote:
        file = Path(folder.prefix).suffix or folder.section.description.usual_extension
        os.mkfifo(tmp_path / f"pipe{file}")
        (tmp_path / f"folder{file}").mkdir()
        (tmp_path / f"link{file}").symlink_to("nowhere")
        elsewhere = made_of(folder, path=str(tmp_path))
        expected |= {f"pipe{file}": "not_a_file", f"folder{file}": "not_a_file", f"link{file}": "missing"}
        found |= {f"{name}{file}": failure(elsewhere, f"{name}{file}") for name in ("pipe", "folder", "link")}
    assert {key: error.error for key, error in found.items()} == expected
    for error in found.values():
        assert error.stage == "reader"
        assert error.message
        assert "\n" not in error.message
        assert not error.transient


def test_more_pixels_than_allowed_are_refused_before_decoding(folder: Folder) -> None:
    error = failure(made_of(folder, max_pixels=1), folder.whole[0])
    assert error.error == "too_large"
    assert "reader.max_pixels" in error.message


def test_a_file_is_told_by_its_content_whatever_it_is_called(folder: Folder, tmp_path: Path) -> None:
    file = folder.prefix.rstrip("/") or folder.whole[0]
    (tmp_path / "data.bin").write_bytes(path_of(folder.path, file).read_bytes())
    if folder.manifest:
        write_manifest(tmp_path / folder.manifest, ["data.bin"])
    place = f"{folder.beside(tmp_path)}/{folder.manifest or 'data.bin'}"
    named = made_of(folder, path=place, **folder.root_at(tmp_path))
    key = "data.bin" + folder.whole[0].removeprefix(file)
    assert key in [source.key for source in named.list_sources()]
    assert_same(read(named, key), read(folder.reader, folder.whole[0]))


def open_files() -> set[str]:
    """Return the descriptors of this process; not connections, which are kept for the next request."""
    found = {path.name: str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}
    return {name for name, target in found.items() if not target.startswith("socket:")}


def test_reading_leaves_no_file_open(folder: Folder) -> None:
    read(folder.reader, folder.whole[0])
    before = open_files()
    for source in folder.reader.list_sources():
        try:
            read(folder.reader, source.key)
        except SourceError:
            continue
    next(folder.reader.read(folder.whole[0], None, None, None, lambda: None))
    assert open_files() == before


@pytest.mark.cv2
def test_it_reads_in_a_worker_process_and_a_bad_source_costs_itself(folder: Folder) -> None:
    geometry = Geometry(None, 32, fit="squash")
    sources = len(list(folder.reader.list_sources()))
    found = read_items(folder.reader, geometry, 10_000, folder.section.timeout_s)
    assert found.found == sources
    expected = []
    for key in folder.whole:
        for item in read(folder.reader, key):
            pixels = np.empty((32, 32, 3), np.uint8)
            geometry.apply(item.frame, pixels)
            expected.append(pixels.tobytes())
    assert {items.tobytes() for items in found.items} >= set(expected)
    failed = {one.key: one.error for one in found.failures}
    assert failed == folder.failing(cut="truncated", empty="empty", **{"not-one": "unknown_format"})
