"""What manifests name in a bucket or on a web server: nothing outside the root, and no secrets."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import obstore
import pytest
from pydantic import ValidationError

from resnet_pipe.errors import RunError, SourceError, UsageError
from resnet_pipe.reader import packed
from resnet_pipe.reader.buckets import downloads, in_bucket
from resnet_pipe.reader.manifests.section import ManifestSection
from resnet_pipe.reader.reader import Reader
from resnet_pipe.reader.source import Source
from resnet_pipe.store.address import Address
from resnet_pipe.store.web_address import WebAddress
from tests.buckets import BUCKET, free_port, open_bucket
from tests.manifests import write_manifest
from tests.photographs import encode, photograph
from tests.web import DATE, Site, publishing

PICTURE = encode(photograph().resize((60, 40)), "JPEG", quality=90)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server of `pictures/a.jpg` and `pictures/sub/b c.jpg`, beside which there is `outside.jpg`."""
    monkeypatch.setattr(in_bucket, "PATIENCE_S", 0.3)
    folder = tmp_path / "site"
    for name in ("pictures/a.jpg", "pictures/sub/b c.jpg", "outside.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(PICTURE)
    with publishing(folder) as site:
        yield site


def reader_of(tmp_path: Path, root: str, rows: Sequence[str | None], **keys: Any) -> Reader:  # noqa: ANN401
    write_manifest(tmp_path / "list.jsonl", rows)
    values = {"kind": "manifest", "path": str(tmp_path / "list.jsonl"), "root": root, **keys}
    return ManifestSection.model_validate(values).make_reader()


def failure(reader: Reader, key: str) -> SourceError:
    with pytest.raises(SourceError) as caught:
        list(reader.read(key, None, None, None, lambda: None))
    return caught.value


def test_files_of_a_web_server_are_named_by_paths_and_by_addresses(site: Site, tmp_path: Path) -> None:
    root = f"{site.address}/pictures/"
    rows = [
        "a.jpg",
        f"{root}a.jpg",
        f"{root}%61.jpg",
        "./sub/../a.jpg",
        "../pictures/a.jpg",
        f" {root}a.jpg ",
    ]
    rows += [
        f"{root}sub/b%20c.jpg",
        f"{root}sub/b c.jpg",
        "sub/b c.jpg",
        root.upper() and f"{root}gone%3F.jpg",
    ]
    reader = reader_of(tmp_path, root, rows)
    assert reader.root == WebAddress(root)
    sources = {source.key: source for source in reader.list_sources()}
    assert list(sources) == ["a.jpg", "gone?.jpg", "sub/b c.jpg"]
    assert sources["a.jpg"].size == len(PICTURE)
    assert sources["gone?.jpg"].is_absent
    assert failure(reader, "gone?.jpg").error == "missing"
    assert len(list(reader.read("sub/b c.jpg", None, None, None, lambda: None))) == 1
    assert site.asked("HEAD").count("/pictures/a.jpg") == 1


HOSTILE = [
    "../outside.jpg",
    "/pictures/a.jpg",
    "//127.0.0.1/a.jpg",
    "/etc/passwd",
    "file:///etc/passwd",
    "s3://other/",
    "SITE/outside.jpg",
    "SITE/pictures/../outside.jpg",
    "SITE/pictures/%2e%2e/outside.jpg",
    "SITE/pictures/..%2Foutside.jpg",
    "SITE/pictures/..\\outside.jpg",
    "SITE/pictures/%5Ca.jpg",
    "..\\outside.jpg",
    "SITE/pictures//a.jpg",
    "SITE/pictures/%ff.jpg",
    "SITE/pictures-old/a.jpg",
    "SITE/pictures/a.jpg?size=1",
    "SITE/pictures/a.jpg#1",
    "SITE:80/pictures/a.jpg",
    "SITE@169.254.169.254/pictures/a.jpg",
    "http://169.254.169.254/latest",
    "https:///pictures/a.jpg",
    "http://[::1]/a.jpg",
]


@pytest.mark.parametrize("row", HOSTILE)
def test_what_is_elsewhere_is_not_asked_for(site: Site, tmp_path: Path, row: str) -> None:
    reader = reader_of(tmp_path, f"{site.address}/pictures/", [row.replace("SITE", site.address)])
    (source,) = reader.list_sources()
    assert source.is_absent
    error = failure(reader, source.key)
    assert error.error == "unsupported"
    assert not error.transient
    elsewhere = f"not below {site.address}/pictures; reader.root says where files may be"
    assert error.message == elsewhere or any(
        word in error.message for word in ("a name", "`?`", "credent", "no server")
    )
    reader.files.announce(source.key)
    (path,) = reader.files.as_files([source], tmp_path / "work", lambda: None)
    assert not path.exists()
    assert site.requests == []


@pytest.mark.parametrize(
    "row",
    ["a" * 5000, "b/" * 3000, f"https://{'h' * 5000}/", "", "http://h/\0"],
    ids=["name", "path", "server", "empty", "nul"],
)
def test_what_is_too_long_names_nothing(site: Site, tmp_path: Path, row: str) -> None:
    reader = reader_of(tmp_path, f"{site.address}/pictures/", [row])
    assert [source.key for source in reader.list_sources()] == ["list.jsonl//1"]
    assert failure(reader, "list.jsonl//1").error == "missing"


@pytest.mark.parametrize("root", ["https://h/pictures/", "s3://bucket/pictures/", None])
@pytest.mark.parametrize(
    "row",
    [
        "https://me:hidden@h/pictures/a.jpg",
        " https://hidden@h/pictures/a.jpg",
        "https://me:hid/hidden@h/pictures/a.jpg",
        "https://me:1/hidden@h/pictures/a.jpg",
        "https://me:hid?hidden@h/pictures/a.jpg",
        "https://h/pictures/a.jpg?signature=hidden",
        "https://h/pictures/a.jpg#hidden",
        "s3://key:hidden@bucket/pictures/a.jpg",
    ],
)
def test_no_secret_of_a_row_gets_into_keys_and_messages(tmp_path: Path, root: str | None, row: str) -> None:
    reader = reader_of(tmp_path, root or str(tmp_path), [row])
    (source,) = reader.list_sources()
    assert source.is_absent
    error = failure(reader, source.key)
    assert "hidden" not in f"{source.key} {error.message}"
    assert error.error == "unsupported"


@pytest.mark.parametrize(
    ("root", "why"),
    [
        ("https://me:hidden@h/", "credentials do not belong in an address"),
        ("s3://me:hidden@bucket/x", "credentials do not belong in an address"),
        ("https://", "names no server"),
        ("https:///x", "names no server"),
        ("https://h/a//b", "has no `//`"),
        ("https://h/%2e%2e/", "`..`"),
        ("https://h/a%2Fb/", "a name on a web server"),
        ("https://h/?x", "`?`"),
        ("https://h:port/", "names no server"),
        ("ftp://h/", "a URL, not a path"),
    ],
)
def test_what_a_root_may_not_be_is_said(tmp_path: Path, root: str, why: str) -> None:
    with pytest.raises(ValidationError) as caught:
        reader_of(tmp_path, root, [])
    assert why in str(caught.value)
    assert "hidden" not in caught.value.errors()[0]["msg"]


def test_addresses_of_one_place_are_one() -> None:
    one = WebAddress("HTTPS://Images.Example.org:443/my%20pictures/ä/")
    assert one == "https://images.example.org/my%20pictures/%C3%A4"
    assert one.names == ["my pictures", "ä"]
    assert one == WebAddress(one)
    assert WebAddress("https://bücher.example") == "https://xn--bcher-kva.example"
    assert WebAddress("http://[::1]:8080/x").origin == "http://[::1]:8080"
    assert Address("s3://bucket/a%20b").names == ["a%20b"]


def test_storage_is_for_buckets(tmp_path: Path) -> None:
    for root in ("https://h/pictures/", str(tmp_path)):
        with pytest.raises(ValidationError, match=r"reader\.storage is for buckets"):
            reader_of(tmp_path, root, [], storage={"anonymous": True})
    reader_of(tmp_path, "s3://bucket/x/", [], storage={"anonymous": True})


def version_of_a(site: Site, tmp_path: Path) -> int:
    reader = reader_of(tmp_path, f"{site.address}/pictures/", ["a.jpg"])
    (source,) = reader.list_sources()
    assert source.size == len((site.folder / "pictures/a.jpg").read_bytes())
    return source.version


def test_a_version_is_the_tag_else_the_date_else_the_size(site: Site, tmp_path: Path) -> None:
    file = site.folder / "pictures/a.jpg"
    first = version_of_a(site, tmp_path)
    site.headers = lambda _: {"Last-Modified": DATE.replace("Mon, 30", "Sun, 29")}
    assert version_of_a(site, tmp_path) == first, "the tag is the same"
    file.write_bytes(PICTURE[::-1])
    assert version_of_a(site, tmp_path) != first
    site.headers = lambda _: {"ETag": ""}
    dated = version_of_a(site, tmp_path)
    file.write_bytes(PICTURE)
    assert version_of_a(site, tmp_path) == dated, "the date is the same"
    site.headers = lambda _: {"ETag": "", "Last-Modified": DATE.replace("Mon, 30", "Sun, 29")}
    assert version_of_a(site, tmp_path) != dated
    site.headers = lambda _: {"ETag": "", "Last-Modified": ""}
    sized = version_of_a(site, tmp_path)
    file.write_bytes(PICTURE[::-1])
    assert version_of_a(site, tmp_path) == sized
    file.write_bytes(PICTURE + b"0")
    assert version_of_a(site, tmp_path) != sized


@pytest.mark.parametrize("status", [403, 405])
def test_a_server_that_refuses_to_be_asked_about_files_is_asked_for_them(
    site: Site, tmp_path: Path, status: int
) -> None:
    expected = version_of_a(site, tmp_path)
    site.refused = lambda method, _: status if method == "HEAD" else None
    assert version_of_a(site, tmp_path) == expected
    site.refused = lambda _method, _path: status
    reader = reader_of(tmp_path, f"{site.address}/pictures/", ["a.jpg"])
    assert list(reader.list_sources()) == [Source("a.jpg", 0, 0)]


@pytest.mark.parametrize(
    ("status", "error", "transient"),
    [
        (404, "missing", False),
        (401, "unreadable", False),
        (403, "unreadable", False),
        (410, "unreadable", False),
        (503, "unreadable", True),
    ],
)
def test_what_a_server_does_not_give_is_a_failure(
    site: Site, tmp_path: Path, status: int, error: str, transient: bool
) -> None:
    site.refused = lambda _method, path: status if "a.jpg" in path else None
    reader = reader_of(tmp_path, f"{site.address}/pictures/", ["a.jpg", "sub/b c.jpg"])
    if transient:
        with pytest.raises(RunError, match=f"{site.address}/pictures/a.jpg cannot be looked at.*503"):
            list(reader.list_sources())
    else:
        assert [source.is_absent for source in reader.list_sources()] == [True, False]
    found = failure(reader, "a.jpg")
    assert (found.error, found.transient) == (error, transient)
    assert not reader.files.is_gone()


def test_a_server_that_cannot_be_reached_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_bucket, "PATIENCE_S", 0.2)
    address = f"http://127.0.0.1:{free_port()}/pictures"
    reader = reader_of(tmp_path, address, ["a.jpg"])
    with pytest.raises(RunError, match=f"{address}/a.jpg cannot be looked at"):
        list(reader.list_sources())
    assert reader.files.is_gone()
    assert failure(reader, "a.jpg").transient


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"Content-Length": "", "Connection": "close"}, "Content-Length"),
        ({"Last-Modified": "?"}, "last modified"),
    ],
)
def test_an_answer_that_the_library_does_not_take_costs_its_file(
    site: Site, tmp_path: Path, headers: dict[str, str], why: str
) -> None:
    site.headers = lambda path: headers if path.endswith("a.jpg") else {}
    reader = reader_of(tmp_path, f"{site.address}/pictures/", ["a.jpg", "sub/b c.jpg"])
    assert [source.is_absent for source in reader.list_sources()] == [True, False]
    found = failure(reader, "a.jpg")
    assert why in found.message
    assert not found.transient


@pytest.mark.parametrize("headers", [{}, {"Transfer-Encoding": "chunked"}], ids=["honest", "lying"])
def test_more_than_there_is_room_for_is_not_read(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    monkeypatch.setattr(downloads, "_LARGEST", 5 << 20)
    data = b"x" * (6 << 20)
    lines = [b"%x\r\n%b\r\n" % (1 << 20, data[: 1 << 20]) for _ in range(6)] + [b"0\r\n\r\n"]
    (site.folder / "pictures/a.jpg").write_bytes(b"".join(lines) if headers else data)
    site.headers = lambda _: {**headers, **({"Content-Length": "10"} if headers else {})}
    reader = reader_of(tmp_path, f"{site.address}/pictures/", ["a.jpg"])
    found = failure(reader, "a.jpg")
    assert (found.error, found.transient) == ("too_large", False)


def test_a_redirect_is_followed(site: Site, tmp_path: Path) -> None:
    """As the documents say: the library cannot be told otherwise."""
    site.headers = lambda _: {"Location": "/outside.jpg"}
    site.refused = lambda _, path: 302 if path == "/pictures/moved.jpg" else None
    reader = reader_of(tmp_path, f"{site.address}/pictures/", ["moved.jpg"])
    assert len(list(reader.read("moved.jpg", None, None, None, lambda: None))) == 1
    assert site.asked("GET") == ["/pictures/moved.jpg", "/outside.jpg"]


@pytest.mark.parametrize(
    "place", ["/pictures/a.jpg", "file:///etc/passwd", ""], ids=["circle", "scheme", "none"]
)
def test_a_redirect_that_leads_nowhere_costs_its_file(site: Site, tmp_path: Path, place: str) -> None:
    site.refused = lambda _, path: 302 if path == "/pictures/a.jpg" else None
    site.headers = lambda _: {"Location": place}
    reader = reader_of(tmp_path, f"{site.address}/pictures/", ["a.jpg", "sub/b c.jpg"])
    assert [source.is_absent for source in reader.list_sources()] == [True, False]
    found = failure(reader, "a.jpg")
    assert (found.error, found.transient) == ("unreadable", False)


def test_many_files_are_looked_at_at_a_time_and_come_in_order(site: Site, tmp_path: Path) -> None:
    now, most = set(), 0

    def slow(_method: str, path: str) -> None:
        nonlocal most
        now.add(path)
        most = max(most, len(now))
        time.sleep(0.02 * (int(path[-5]) % 3))
        now.discard(path)

    site.before = slow
    reader = reader_of(tmp_path, f"{site.address}/pictures/", [f"{number:04d}.x" for number in range(600)])
    sources = reader.list_sources()
    assert next(sources).key == "0000.x"
    assert len(site.requests) <= 256
    assert [source.key for source in sources] == [f"{number:04d}.x" for number in range(1, 600)]
    assert 4 < most <= 32
    deadline = time.monotonic() + 10
    while any(thread.name == "ahead" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_with_versions_in_the_manifest_nothing_is_asked(site: Site, tmp_path: Path) -> None:
    rows = [("a.jpg", "1"), ("sub/b c.jpg", None), ("gone.jpg", 7), ("a.jpg", "2"), ("", "x"), ("../x", "y")]
    text = "".join(
        f'{{"path": "{name}", "etag": {"null" if version is None else repr(version)}}}\n'.replace("'", '"')
        for name, version in rows
    )
    (tmp_path / "list.jsonl").write_text(text)
    values = {"kind": "manifest", "path": str(tmp_path / "list.jsonl"), "version": "etag"}

    def sources_of(root: str) -> list[Source]:
        return list(ManifestSection.model_validate({**values, "root": root}).make_reader().list_sources())

    sources = sources_of(f"{site.address}/pictures/")
    assert site.requests == []
    assert [one.key for one in sources] == [
        "a.jpg",
        "gone.jpg",
        f"{site.address}/x",
        "list.jsonl//5",
        "sub/b c.jpg",
    ]
    assert [one.is_absent for one in sources] == [False, False, True, True, False]
    assert all(one.size == 0 for one in sources)
    (tmp_path / "list.jsonl").write_text('{"path": "a.jpg", "etag": "1"}\n{"path": "b.jpg", "etag": "2"}\n')
    one, two = sources_of(f"{site.address}/pictures/")
    assert one.version != two.version == sources[0].version, "the last row tells"
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"x")
    assert sources_of(str(tmp_path)) == [one, two], "wherever the files are"
    (tmp_path / "list.jsonl").write_text('{"path": "a.jpg", "etag": "\\ud800"}\n{"path": "b.jpg"}\n')
    assert len(sources_of(str(tmp_path))) == 2
    (tmp_path / "list.jsonl").write_text('{"path": "a.jpg"}\n')
    with pytest.raises(UsageError, match="has no column 'etag'") as caught:
        sources_of(str(tmp_path))
    assert caught.value.remedy == "reader.version: one of path"


def test_rows_name_objects_of_their_root_only(tmp_path: Path, endpoint: str) -> None:
    store = open_bucket(endpoint, f"{tmp_path.name}")
    root = f"s3://{BUCKET}/{tmp_path.name}/pictures"
    for name in ("pictures/a.jpg", "pictures/b%20c?.jpg", "outside.jpg"):
        obstore.put(store, name, PICTURE)
    rows = [
        "a.jpg",
        f"{root}/a.jpg",
        f"S3://{root[5:]}/b%20c?.jpg",
        "sub/../a.jpg",
        "gone.jpg",
        "../outside.jpg",
    ]
    rows += [
        f"{root}/../outside.jpg",
        f"{root}//a.jpg",
        f"s3://{BUCKET}/outside.jpg",
        "s3://other/a.jpg",
        "/a.jpg",
    ]
    rows += [f"{root}-old/a.jpg", "https://h/a.jpg"]
    reader = reader_of(tmp_path, f"{root}/", rows, storage={"endpoint": endpoint, "anonymous": True})
    sources = {source.key: source for source in reader.list_sources()}
    assert [key for key, source in sources.items() if not source.is_absent] == ["a.jpg", "b%20c?.jpg"]
    absent = [key for key, source in sources.items() if source.is_absent]
    assert len(absent) == 9
    assert {failure(reader, key).error for key in absent if key != "gone.jpg"} == {"unsupported"}
    assert failure(reader, "gone.jpg").error == "missing"
    for key in ("a.jpg", "b%20c?.jpg"):
        assert len(list(reader.read(key, None, None, None, lambda: None))) == 1


def test_a_sample_of_files_whose_sizes_are_not_known_has_an_end(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "UNPACKED_BYTES", 3 * len(PICTURE))
    for number in range(9):
        (site.folder / f"pictures/{number}.jpg").write_bytes(PICTURE)
    rows = [f"{number}.jpg" for number in range(9)]
    for number, more in enumerate(({}, {"version": "label"})):
        reader = reader_of(tmp_path, f"{site.address}/pictures/", rows, **more)
        work = tmp_path / f"work{number}"
        work.mkdir()
        paths = reader.files.as_files(list(reader.list_sources()), work, lambda: None)
        assert [path.read_bytes() for path in paths] == [PICTURE] * 3


def test_a_sample_leaves_most_of_the_disk_free(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 4 * 3 * len(PICTURE)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=free))
    for number in range(9):
        (site.folder / f"pictures/{number}.jpg").write_bytes(PICTURE)
    reader = reader_of(tmp_path, f"{site.address}/pictures/", [f"{number}.jpg" for number in range(9)])
    (tmp_path / "work").mkdir()
    assert len(reader.files.as_files(list(reader.list_sources()), tmp_path / "work", lambda: None)) == 3
