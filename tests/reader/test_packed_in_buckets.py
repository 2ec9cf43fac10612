"""Archives and tables in a bucket: which requests they cost, and what becomes of faults."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import obstore
import pytest

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.archives.section import ArchiveSection
from resnet_pipe.reader.buckets import in_bucket
from resnet_pipe.reader.files import Files
from resnet_pipe.reader.tables.section import TableSection
from resnet_pipe.store.objects import Objects
from tests import flaky_proxy
from tests.archives import compressed, tar_of
from tests.buckets import BUCKET, open_bucket
from tests.flaky_proxy import Faults
from tests.tables import write_table

COUNT = 40
NAMES = ("x.tar", "x.tar.gz", "x.tar.zst", "x.parquet")
each_kind = pytest.mark.parametrize("name", NAMES)


def images(count: int = COUNT, size: int = 40_000, seed: int = 1) -> list[bytes]:
    """Return what nothing can compress."""
    rng = random.Random(seed)
    return [rng.randbytes(size + number) for number in range(count)]


class Held:
    """One archive or table in a folder of a bucket of its own, and the files of a reader over that."""

    def __init__(self, folder: Path, endpoint: str, name: str) -> None:
        self.folder, self.endpoint, self.name = folder, endpoint, name
        self.store = open_bucket(endpoint, folder.name)

    def put(self, contents: list[bytes], name: str = "", share: float = 1) -> bytes:
        """Put the first share of the file with these images; return all of it."""
        name = name or self.name
        if name.endswith(".parquet"):
            write_table(self.folder / "x", contents, rows=10)
            data = (self.folder / "x").read_bytes()
        else:
            data = compressed(tar_of((f"{at:04d}.jpg", one) for at, one in enumerate(contents)), name)
        obstore.put(self.store, name, data[: int(share * len(data))])
        return data

    def files(self, endpoint: str = "", path: str = "") -> Files:
        kind = TableSection if self.name.endswith(".parquet") else ArchiveSection
        section = kind.model_validate(
            {
                "kind": "table" if kind is TableSection else "archive",
                "path": f"s3://{BUCKET}/{self.folder.name}/{path}",
                "storage": {"endpoint": endpoint or self.endpoint, "anonymous": True},
            }
        )
        return section.make_reader().files


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def held(tmp_path_factory: pytest.TempPathFactory, endpoint: str, name: str) -> Held:
    return Held(tmp_path_factory.mktemp("held"), endpoint, name)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The requests of this process: which one, and how many bytes it wants."""
    made: list[tuple[str, int]] = []
    look, read_part = Objects.look, Objects.read_part

    def looking(self: Objects, name: str) -> Any:  # noqa: ANN401 - of the method
        made.append((f"look {name}", 0))
        return look(self, name)

    def reading(self: Objects, name: str, offset: int, size: int) -> Any:  # noqa: ANN401 - of the method
        made.append((f"read {name}", size))
        return read_part(self, name, offset, size)

    monkeypatch.setattr(Objects, "look", looking)
    monkeypatch.setattr(Objects, "read_part", reading)
    return made


def keys_of(files: Files) -> list[str]:
    return [source.key for source in files.list_sources()]


def read_all(files: Files, keys: list[str]) -> list[bytes]:
    """Read as a worker does."""
    for key in keys:
        files.announce(key)
    return [files.read(key, lambda: None) for key in keys]


def failure(files: Files, key: str) -> SourceError:
    with pytest.raises(SourceError) as caught:
        files.read(key, lambda: None)
    return caught.value


@each_kind
def test_few_requests_list_and_read_it(held: Held, asked: list[tuple[str, int]], name: str) -> None:
    contents = images(300)
    size = len(held.put(contents))
    files = held.files()
    keys = keys_of(files)
    assert len(asked) <= 14
    assert all(one == f"read {name}" for one, _ in asked)
    if name.endswith(".parquet"):
        assert asked == [(f"read {name}", 64 << 10)]
    asked.clear()
    assert keys_of(files) == keys
    assert len(asked) == (name.endswith(".parquet")), "an index of an archive is kept"
    asked.clear()
    assert read_all(files, keys) == contents
    assert [one for one, _ in asked].count(f"look {name}") == 2, "who holds it, and how large that is"
    assert len(asked) <= 14
    assert sum(wanted for _, wanted in asked) < 1.1 * size + (1 << 20)


@pytest.mark.parametrize("name", ["x.tar"])
def test_the_index_of_large_members_is_made_without_reading_them(
    held: Held, asked: list[tuple[str, int]], name: str
) -> None:
    size = len(held.put(images(8, size=3_000_000)))
    assert len(keys_of(held.files())) == 8
    assert len(asked) < 15
    assert sum(wanted for _, wanted in asked) < size / 20


@pytest.mark.parametrize("name", ["x.tar"])
def test_members_in_an_archive_that_others_read_too_cost_about_their_own_bytes(
    held: Held, asked: list[tuple[str, int]], name: str
) -> None:
    """As one worker of four reads."""
    contents = images(320)
    held.put(contents)
    files = held.files()
    keys = keys_of(files)
    asked.clear()
    mine = [at for at in range(len(keys)) if at % 160 < 40]
    assert read_all(files, [keys[at] for at in mine]) == [contents[at] for at in mine]
    assert len(asked) <= 6
    assert sum(wanted for _, wanted in asked) < 1.1 * sum(len(contents[at]) for at in mine)


@each_kind
def test_another_object_in_its_place_is_told_while_it_is_read(held: Held, name: str) -> None:
    held.put(images(size=200_000))
    files = held.files()
    before = list(files.list_sources())
    files.read(before[0].key, lambda: None)
    others = images(size=200_000, seed=2)
    held.put(others)
    error = failure(files, before[-1].key)
    assert error.error == "unreadable"
    assert error.transient, "it is tried again, and is another one then"
    assert "replaced" in error.message
    assert files.read(before[-1].key, lambda: None) == others[-1]
    assert {one.version for one in files.list_sources()}.isdisjoint(one.version for one in before)
    assert read_all(files, keys_of(files)) == others


@each_kind
def test_one_that_is_gone_or_denied_or_empty_costs_itself(held: Held, name: str) -> None:
    held.put(images(3))
    held.put(images(3), f"y{name[1:]}")
    files = held.files()
    keys = keys_of(files)
    obstore.delete(held.store, name)
    obstore.put(held.store, f"z{name[1:]}", b"")
    assert failure(files, keys[0]).error == "missing"
    assert not failure(files, keys[0]).transient
    assert failure(files, f"z{name[1:]}").error == "empty"
    assert keys_of(files) == [*keys[3:], f"z{name[1:]}"]
    faults = Faults()
    faults.refused = lambda _: 403
    with flaky_proxy.before(held.endpoint, faults) as address:
        error = failure(held.files(address), keys[3])
    assert error.error == "unreadable"
    assert not error.transient


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.tar.zst"])
def test_what_is_whole_of_a_truncated_archive_is_read(held: Held, name: str) -> None:
    contents = images()
    held.put(contents, share=0.6)
    files = held.files()
    keys = keys_of(files)
    assert keys[0] == name
    assert 15 < len(keys) < 30
    assert failure(files, name).error == "truncated"
    assert read_all(files, keys[1:]) == contents[: len(keys) - 1]
    held.put(contents)
    assert keys_of(files) == [f"{name}/{at:04d}.jpg" for at in range(COUNT)]


@pytest.mark.parametrize("name", ["x.parquet"])
def test_a_truncated_table_is_damaged(held: Held, name: str) -> None:
    held.put(images(), share=0.6)
    files = held.files()
    assert keys_of(files) == [name]
    assert failure(files, name).error == "damaged"


@each_kind
def test_a_server_that_goes_away_is_no_fault_of_the_source_and_nothing_is_lost(
    held: Held, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_bucket, "PATIENCE_S", 0.2)
    contents = images(60, size=100_000)
    held.put(contents)
    faults = Faults()
    with flaky_proxy.before(held.endpoint, faults) as address:
        files = held.files(address)
        keys = keys_of(files)
        faults.lost = 1
        errors = [failure(files, keys[0])]
        faults.lost = 0
        assert files.read(keys[0], lambda: None) == contents[0]
        faults.lost = 1
        errors.append(failure(files, keys[-1]))
        errors.append(failure(files, keys[-1]))
        faults.lost = 0
        assert read_all(files, keys) == contents
    assert {error.error for error in errors} == {"unreadable"}
    assert all(error.transient for error in errors)


@each_kind
def test_requests_and_answers_that_get_lost_are_not_noticed(held: Held, name: str) -> None:
    contents = images(60, size=100_000)
    held.put(contents)
    faults = Faults(seed=3)
    with flaky_proxy.before(held.endpoint, faults) as address:
        faults.lost = faults.unanswered = 0.15
        files = held.files(address)
        assert read_all(files, keys_of(files)) == contents


@each_kind
def test_who_waits_for_a_slow_server_is_alive_at_every_step(held: Held, name: str) -> None:
    contents = images(3)
    held.put(contents)
    faults = Faults()
    slow: list[str] = []

    def wait(request: tuple[str, str]) -> None:
        if slow and request[0] == slow[0]:
            time.sleep(0.6)

    faults.before = wait
    with flaky_proxy.before(held.endpoint, faults) as address:
        files = held.files(address)
        key = keys_of(files)[0]
        for method, least in (("HEAD", 2), ("GET", 1)):
            read_all(held.files(), [key])  # another server: it will be opened again
            slow[:] = [method]
            beats: list[int] = []
            assert files.read(key, lambda beats=beats: beats.append(1)) == contents[0]  # type: ignore[misc]
            assert len(beats) >= least
            slow.clear()


@pytest.mark.parametrize("name", ["x.tar", "x.parquet"])
def test_a_folder_may_be_called_like_an_archive(held: Held, asked: list[tuple[str, int]], name: str) -> None:
    contents = images(3)
    held.put(contents, f"in.v1/{name}/{name}")
    target = Request(f"{held.endpoint}/{BUCKET}/{held.folder.name}/in.v1/{name}/", method="PUT", data=b"")  # noqa: S310
    urlopen(target).close()  # noqa: S310 - http, to the server of the tests
    files = held.files()
    keys = keys_of(files)
    assert keys[0].startswith(f"in.v1/{name}/{name}/")
    asked.clear()
    assert read_all(files, keys) == contents
    looks = [one for one, _ in asked if one.startswith("look")]
    assert looks == [f"look in.v1/{name}", f"look in.v1/{name}/{name}", f"look in.v1/{name}/{name}"]


@each_kind
def test_an_object_may_have_any_name_if_it_is_spelled_out(held: Held, name: str) -> None:
    contents = images(3)
    data = held.put(contents)
    obstore.put(held.store, "sub/data 100%#.bin", data)
    files = held.files(path="sub/data 100%#.bin")
    assert keys_of(files)[0].startswith("data 100%#.bin/")
    assert read_all(files, keys_of(files)) == contents
