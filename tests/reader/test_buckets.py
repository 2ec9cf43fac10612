"""Which objects of a bucket are sources, what they are called, and how they are fetched ahead."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.request import Request, urlopen

import obstore
import pytest
from pydantic import ValidationError

from resnet_pipe.errors import RunError, SourceError
from resnet_pipe.reader.buckets import in_bucket
from resnet_pipe.reader.buckets.downloads import Downloads
from resnet_pipe.reader.files import Files
from resnet_pipe.reader.images.section import ImagesSection
from resnet_pipe.reader.listing import PassedOver
from resnet_pipe.store.address import Address
from resnet_pipe.store.connection import Storage
from resnet_pipe.store.objects import Objects
from tests.answers import answering, error, listing
from tests.buckets import BUCKET, open_bucket

NAMES = (
    "a b+c.jpg",
    "a%20b.JPG",
    "a-b/c.jpg",
    "a.jpg",
    "a/b.jpg",
    "a/deep/d.jpg",
    "n.txt",
    "pic/x.jpg",
    "pictures/y.jpg",
    "q#y.jpg",
    ".hidden/z.jpg",
    "a/.hidden.jpg",
)
SEEN = [name for name in NAMES if ".hidden" not in name and not name.endswith(".txt")]


def section(*path: str, endpoint: str, **keys: Any) -> ImagesSection:  # noqa: ANN401 - as in a job
    storage = {"endpoint": endpoint, "anonymous": True}
    return ImagesSection.model_validate({"kind": "images", "path": list(path), "storage": storage, **keys})


def files_of(*path: str, endpoint: str, **keys: Any) -> Files:  # noqa: ANN401 - as in a job
    return section(*path, endpoint=endpoint, **keys).make_reader().files


def listed(files: Files, passed_over: PassedOver | None = None) -> list[str]:
    return [source.key for source in files.list_sources(passed_over)]


@pytest.fixture(scope="module")
def names(endpoint: str) -> str:
    """The server, with `NAMES` in the folder `names`, each of which holds its own name."""
    store = open_bucket(endpoint, "names")
    for name in NAMES:
        obstore.put(store, name, name.encode())
    return endpoint


@pytest.mark.parametrize(
    ("path", "root", "expected"),
    [
        (["names"], "names", SEEN),
        (["names/"], "names", SEEN),
        (["names/*"], "names", SEEN),
        (["names/**"], "names", SEEN),
        (["names/*.jpg"], "names", ["a b+c.jpg", "a.jpg", "q#y.jpg"]),
        (["names/*.[jJ]??"], "names", ["a b+c.jpg", "a%20b.JPG", "a.jpg", "q#y.jpg"]),
        (["names/*/*.jpg"], "names", ["a-b/c.jpg", "a/b.jpg", "pic/x.jpg", "pictures/y.jpg"]),
        (["names/**/d*"], "names", ["a/deep/d.jpg"]),
        (["names/pic*"], "names", ["pic/x.jpg", "pictures/y.jpg"]),
        (["names/.*"], "names", [".hidden/z.jpg"]),
        (["names/pic"], "names/pic", ["x.jpg"]),
        (["names/pi"], "names/pi", []),
        (["names/n.txt"], "names", ["n.txt"]),
        (["names/a/b.jpg", "names/pic"], "names", ["a/b.jpg", "pic/x.jpg"]),
        (["names/a", "names/a/b.jpg", "names/a/*"], "names/a", ["b.jpg", "deep/d.jpg"]),
    ],
)
def test_a_prefix_is_a_folder_and_patterns_are_those_of_paths(
    names: str, path: list[str], root: str, expected: list[str]
) -> None:
    files = files_of(*(f"s3://{BUCKET}/{one}" for one in path), endpoint=names)
    assert files.root == f"s3://{BUCKET}/{root}"
    assert listed(files) == sorted(expected)
    for key in listed(files):
        whole = f"{root}/{key}".removeprefix("names/")
        assert files.read(key, lambda: None) == whole.encode()
    assert pickle.loads(pickle.dumps(files)) == files  # noqa: S301


def test_without_recursion_only_what_is_directly_below_is_taken(names: str) -> None:
    files = files_of(f"s3://{BUCKET}/names", endpoint=names, recursive=False)
    assert listed(files) == [name for name in SEEN if "/" not in name]


def test_other_extensions_are_counted(names: str) -> None:
    passed_over = PassedOver()
    listed(files_of(f"s3://{BUCKET}/names", endpoint=names), passed_over)
    assert passed_over.to_json() == {".txt": 1}


def test_empty_objects_that_stand_for_folders_are_no_sources(endpoint: str) -> None:
    for name in ("", "x.jpg/", "y.jpg/", "y.jpg/in.jpg", "plain/", "zero.jpg"):
        target = Request(f"{endpoint}/{BUCKET}/markers/{name}", method="PUT", data=b"")  # noqa: S310
        urlopen(target).close()  # noqa: S310 - http, to the server of the tests
    passed_over = PassedOver()
    assert listed(files_of(f"s3://{BUCKET}/markers", endpoint=endpoint), passed_over) == [
        "y.jpg/in.jpg",
        "zero.jpg",
    ]
    assert not passed_over


def test_the_version_changes_with_the_content_and_not_with_the_date(endpoint: str) -> None:
    store = open_bucket(endpoint, "versions")
    files = files_of(f"s3://{BUCKET}/versions", endpoint=endpoint)
    versions = []
    for content in (b"one", b"one", b"two", b"three"):
        obstore.put(store, "a.jpg", content)
        (source,) = files.list_sources()
        assert source.size == len(content)
        assert 0 < source.version < 2**63
        versions.append(source.version)
    assert versions[0] == versions[1]
    assert len(set(versions)) == 3


def test_a_listing_says_the_same_of_an_object_as_the_object_itself() -> None:
    """Azure lists entity tags without quotation marks; only listings have fractions of seconds."""
    listed = listing("p/a.jpg").replace(b"00:00:00Z", b"00:00:00.123Z")
    without_tag = listed.replace(b"<ETag>tag</ETag>", b"")
    for answered, tag in ((listed, '"tag"'), (without_tag, "2026-11-30T00:00:00+00:00")):
        with answering(lambda _, answered=answered: (200, answered)) as endpoint:  # type: ignore[misc]
            (found,) = Objects(Address(f"s3://{BUCKET}/p"), Storage(endpoint, anonymous=True)).list()
        assert found.tag == tag


@pytest.mark.parametrize("order", [sorted, list])
def test_sources_are_sorted_whatever_the_order_of_the_server(order: Callable[[Any], list[str]]) -> None:
    found = order([f"p/{name}" for name in ("a/b.jpg", "a/c.jpg", "a-b/c.jpg", "a.jpg", "é.jpg", "z.jpg")])
    with answering(lambda _: (200, listing(*found))) as endpoint:
        keys = listed(files_of(f"s3://{BUCKET}/p", endpoint=endpoint))
    assert keys == sorted(keys)
    assert len(keys) == 6


def test_where_order_is_promised_sources_come_as_they_are_listed() -> None:
    names = [f"p/{folder}/{number:03d}.jpg" for folder in ("a-b", "a") for number in range(50)]

    def pages(path: str) -> tuple[int, bytes]:
        if "continuation" in path:
            return 500, error("InternalError")
        more = b"<IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken>"
        return 200, listing(*names).replace(b"<IsTruncated>false</IsTruncated>", more)

    with answering(pages) as endpoint:
        sources = files_of(f"gs://{BUCKET}/p", endpoint=endpoint).list_sources()
        assert [f"p/{next(sources).key}" for _ in names] == names


def test_a_server_that_breaks_its_promise_of_order_is_refused() -> None:
    with (
        answering(lambda _: (200, listing("p/a/b.jpg", "p/a-b/c.jpg"))) as endpoint,
        pytest.raises(RunError, match=r"a-b/c\.jpg comes after a/b\.jpg"),
    ):
        listed(files_of(f"gs://{BUCKET}/p", endpoint=endpoint))


@pytest.mark.parametrize("name", ["p/a//b.jpg", "p/../b.jpg", "p/./b.jpg", "p/line\nfeed.jpg"])
def test_an_object_whose_name_cannot_be_a_key_ends_the_listing(name: str) -> None:
    with (
        answering(lambda _: (200, listing("p/a.jpg", name))) as endpoint,
        pytest.raises(RunError) as caught,
    ):
        listed(files_of(f"s3://{BUCKET}/p", endpoint=endpoint))
    assert repr(name)[1:-1] in caught.value.problem
    assert "rename or remove that object" in str(caught.value.remedy)


def test_the_library_withholds_what_is_listed_with_a_name_that_it_cannot_read() -> None:
    """So such a name cannot be passed over: the others would look as if they had disappeared."""
    with answering(lambda _: (200, listing("p/a.jpg", "p/b//c.jpg", "p/d.jpg"))) as endpoint:
        found = open_bucket(endpoint, "p").list()
        with pytest.raises(obstore.exceptions.InvalidPathError):
            next(found)
        assert [*found] == []


@pytest.mark.parametrize(
    ("status", "code", "expected", "transient"),
    [
        (403, "AccessDenied", "unreadable", False),
        (403, "InvalidObjectState", "unreadable", False),
        (404, "NoSuchKey", "missing", False),
        (400, "ExpiredToken", "unreadable", True),
        (500, "InternalError", "unreadable", True),
        (503, "SlowDown", "unreadable", True),
    ],
)
def test_what_a_server_refuses_is_told_from_what_it_cannot_do_now(
    monkeypatch: pytest.MonkeyPatch, status: int, code: str, expected: str, transient: bool
) -> None:
    monkeypatch.setattr(in_bucket, "PATIENCE_S", 0.2)
    with answering(lambda _: (status, error(code))) as endpoint, pytest.raises(SourceError) as caught:
        files_of(f"s3://{BUCKET}/p", endpoint=endpoint).read("x.jpg", lambda: None)
    assert caught.value.error == expected
    assert caught.value.transient == transient
    assert expected == "missing" or code in caught.value.message


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"])
def test_what_the_job_says_of_the_server_goes_before_the_environment(
    monkeypatch: pytest.MonkeyPatch, scheme: str, variable: str
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "someone")
    with answering(lambda path: (200, path.encode())) as endpoint:
        files = files_of(f"{scheme}://{BUCKET}/a b", endpoint=endpoint)
        assert files.read("c%20d#.jpg", lambda: None) == f"/{BUCKET}/a b/c%20d#.jpg".encode()


def test_who_waits_for_a_slow_server_is_alive() -> None:
    beats = []

    def slowly(_path: str) -> tuple[int, bytes]:
        time.sleep(1.2)
        return 200, b"content"

    with answering(slowly) as endpoint:
        files = files_of(f"s3://{BUCKET}/p", endpoint=endpoint)
        assert files.read("x.jpg", lambda: beats.append(1)) == b"content"
    assert beats


def test_no_more_is_fetched_ahead_than_there_is_room_for() -> None:
    size, asked = 6 << 20, threading.Semaphore(0)

    def large(path: str) -> tuple[int, bytes]:
        asked.release()
        return 200, path[-2:].encode() * (size // 2)

    with answering(large) as endpoint:
        objects = Objects(Address(f"s3://{BUCKET}/p"), Storage(endpoint, anonymous=True))
        downloads = Downloads(objects)
        for number in range(20):
            downloads.announce(f"{number:02d}")
        count = 0
        while asked.acquire(timeout=1.5):
            count += 1
        assert 5 <= count <= 8, "32 MiB are there, or more because nobody knew how large they are"
        for number in (19, 12, 5, *range(5), *range(6, 12), *range(13, 19)):  # also out of turn
            assert downloads.take(f"{number:02d}", lambda: None) == f"{number:02d}".encode() * (size // 2)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"path": ["s3://b/x/", "."]}, "one job reads from a disk or from a bucket"),
        ({"path": ["s3://b/x/", "s3://c/x/"]}, "one job reads from one bucket"),
        ({"path": ["s3://b/x/", "gs://b/x/"]}, "one job reads from one bucket"),
        ({"path": "s3://"}, "names no bucket"),
        ({"path": "s3://*/x"}, "the name of a bucket has no"),
        ({"path": "s3://b//x"}, "has no `//`"),
        ({"path": "s3://b/*//x"}, "has no `//`"),
        ({"path": "s3://b/../x"}, "`..`"),
        ({"path": "https://host/x.jpg"}, "a URL, not a path"),
        ({"path": ".", "storage": {}}, "reader.path is on a disk"),
        ({"storage": {"endpoint": "host:80"}}, "expected the address of a server"),
        ({"storage": {"endpoint": "https://me:secret@host"}}, "credentials do not belong in a job"),
        ({"storage": {"access_key_id": "secret"}}, "credentials do not belong in a job"),
        ({"storage": {"password": "secret"}}, "credentials do not belong in a job"),
        ({"storage": {"region": "secret"}}, "Extra inputs are not permitted"),
    ],
)
def test_what_a_job_may_say_of_a_bucket(values: dict[str, Any], why: str) -> None:
    from pydantic import TypeAdapter

    from resnet_pipe.reader.registry import Section

    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Section).validate_python({"kind": "images", "path": "s3://b/x/", **values})
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("path", "folder", "expected"),
    [
        ("s3://b/p/", "s3://b/p/out", True),
        ("s3://b/p/", "s3://b/p", True),
        ("s3://b/", "s3://b/out", True),
        ("s3://b/p/out/images", "s3://b/p/out", True),
        ("s3://b/p/**/*.jpg", "s3://b/p/out", True),
        ("s3://b/p/*/x.jpg", "s3://b/p", True),
        ("s3://b/p/out/x.jpg", "s3://b/p/out", True),
        ("s3://b/p/", "s3://b/pictures", False),
        ("s3://b/p/", "s3://c/p", False),
        ("s3://b/p/", "gs://b/p", False),
        ("s3://b/p/*.jpg", "s3://b/p/out", False),
        ("s3://b/p/**/*.png", "s3://b/p/out", False),
        ("s3://b/p/", "s3://b/p/.out", False),
        ("s3://b/p/x.jpg", "s3://b/p/out", False),
    ],
)
def test_whether_results_would_be_sources_is_known_beforehand(path: str, folder: str, expected: bool) -> None:
    reach = section(path, endpoint="http://127.0.0.1:9").make_reader().reach
    assert reach.may_hold_below(Address(folder), ".jpg") == expected
    assert not reach.may_hold_below(Address(folder), ".parquet")
