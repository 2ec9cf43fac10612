"""What holds of every store, whatever fails: killed processes, full disks, closed doors, several writers."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import pytest

from resnet_pipe.store.disk import Disk
from resnet_pipe.store.names import key_of
from resnet_pipe.store.store import Change

ROOT = Path(__file__).parents[2]
STORES = {"disk": Disk}
"""name -> what makes one in a directory, for a division's tag."""
RECORDS = "_resnet_pipe/ledger"
RECORD = f"{RECORDS}/000000.json"
Files = Mapping[str, bytes]


class MakeStore(Protocol):
    """Makes a store in a directory."""

    def __call__(self, root: Path, tag: str = "") -> Disk: ...


@pytest.fixture(params=STORES)
def make(request: pytest.FixtureRequest) -> MakeStore:
    """Make a store of each kind."""

    def make_it(root: Path, tag: str = "") -> Disk:
        (root / RECORDS).mkdir(parents=True, exist_ok=True)
        return STORES[request.param](root, tag)

    return make_it


@pytest.fixture
def store(make: MakeStore, tmp_path: Path) -> Disk:
    """An empty store of each kind."""
    return make(tmp_path / "out")


def text_of(files: Files, obsolete: tuple[str, ...] = ()) -> bytes:
    """Return a record of files: its last character tells whether it is whole."""
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    return json.dumps({"files": hashes, "obsolete": obsolete}).encode()


def change_of(text: bytes) -> Change | None:
    """Return what a record changes; None if it is torn."""
    return Change(**json.loads(text)) if text.endswith(b"}") else None


def publish(store: Disk, files: Files, obsolete: tuple[str, ...] = ()) -> None:
    """Publish a record with files, all of them staged."""
    staging = store.stage(RECORD)
    for name, data in files.items():
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / name).write_bytes(data)
    text = text_of(files, obsolete)
    change = change_of(text)
    assert change is not None
    store.publish(RECORD, text, change)


def recover(store: Disk) -> None:
    """Recover a store of such records."""
    store.recover(RECORDS, lambda name: change_of(store.read(name)), ["notes.json"])


def everything(root: Path) -> dict[str, bytes]:
    """Return all that is on the disk of a store, but for its locks."""
    paths = (path for path in root.rglob("*") if path.is_file() and "lock" not in path.name)
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


OLD: Files = {"part-0": b"old", "a/b/1": b"old", "a/2": b"the same"}
NEW: Files = {"part-0": b"new", "c/3": b"new", "a/2": b"the same"}
GONE = ("a/b/1",)


def test_a_file_is_there_as_it_was_put(store: Disk) -> None:
    store.put("a.json", [b"one, ", b"two"])
    assert store.read("a.json") == b"one, two"
    found = store.look("a.json")
    assert found is not None
    assert (found.name, found.size) == ("a.json", 8)
    store.put("a.json", [b"two, ", b"one"])
    again = store.look("a.json")
    assert again is not None
    assert again.size == found.size
    assert again.version != found.version


def test_what_is_not_there_is_told(store: Disk) -> None:
    assert store.look("a.json") is None
    assert store.look(RECORDS) is None, "a folder is no file"
    assert store.look("\0") is None
    assert [*store.list("nowhere")] == []
    with pytest.raises(FileNotFoundError):
        store.read("a.json")
    store.delete(["a.json", "nowhere/a.json"])


@pytest.mark.parametrize("file", ["ä ö.csv", "back\\slash", "𝄞", os.fsdecode(b"\xff\xfe.jpg"), "a'\"b\n"])
def test_every_name_that_a_file_can_have_is_a_name(make: MakeStore, tmp_path: Path, file: str) -> None:
    store, name = make(tmp_path), key_of(file)
    store.put(name, [b"data"])
    assert (tmp_path / file).exists()
    assert [found.name for found in store.list("")] == [name]
    assert store.read(name) == b"data"
    store.delete([name])
    assert [*store.list("")] == []


def test_files_are_listed_by_name_and_not_those_below_nor_those_being_written(store: Disk) -> None:
    publish(store, dict.fromkeys(["b", "a", "a-b/c", "a.json"], b"data"))
    with store.put_after("0", [b"half"]):
        assert [file.name for file in store.list("")] == ["a", "a.json", "b"]
        assert [file.name for file in store.list("a-b")] == ["a-b/c"]
        assert [file.name for file in store.list(RECORDS)] == [RECORD]
    assert [file.name for file in store.list("")] == ["0", "a", "a.json", "b"]


def failing() -> Iterator[bytes]:
    yield b"half"
    raise RuntimeError


def test_a_put_that_fails_leaves_the_old_file_and_nothing_else(store: Disk, tmp_path: Path) -> None:
    store.put("a.json", [b"old"])
    with pytest.raises(RuntimeError):
        store.put("a.json", failing())

    def fail_in_the_block() -> None:
        with store.put_after("a.json", [b"new"]):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_in_the_block()
    assert everything(tmp_path / "out") == {"a.json": b"old"}


def test_what_is_deleted_takes_its_empty_folders_along(store: Disk, tmp_path: Path) -> None:
    publish(store, OLD)
    store.delete(["a/b/1"])
    assert not (tmp_path / "out" / "a" / "b").exists()
    assert store.look("a/2")
    store.delete(["a/2"])
    assert not (tmp_path / "out" / "a").exists()
    store.delete([RECORD, "part-0"])
    assert everything(tmp_path / "out") == {}
    publish(store, OLD)


def test_a_record_and_its_files_take_the_place_of_old_ones(store: Disk, tmp_path: Path) -> None:
    publish(store, OLD)
    assert everything(tmp_path / "out") == {**OLD, RECORD: text_of(OLD)}
    publish(store, NEW, GONE)
    assert everything(tmp_path / "out") == {**NEW, RECORD: text_of(NEW, GONE)}
    recover(store)
    assert everything(tmp_path / "out") == {**NEW, RECORD: text_of(NEW, GONE)}


def test_what_was_staged_and_given_up_is_gone(store: Disk, tmp_path: Path) -> None:
    publish(store, OLD)
    (store.stage(RECORD) / "part-0").write_bytes(b"half")
    assert [*store.stage(RECORD).iterdir()] == []
    store.unstage(RECORD)
    assert everything(tmp_path / "out") == {**OLD, RECORD: text_of(OLD)}


KILL = """
import os, shutil, sys
from pathlib import Path
from tests.store import test_contract as contract

kind, action, folder, limit = *sys.argv[1:4], Path(sys.argv[3])
ACTIONS = {
    "publish": lambda store: contract.publish(store, contract.NEW, contract.GONE),
    "adopt": lambda store: store.adopt("_resnet_pipe/next", [*contract.NEW, "gone"], contract.GONE),
    "put": lambda store: store.put("notes.json", [b"new"]),
    "delete": lambda store: store.delete(contract.OLD),
}
fsync = os.fsync

def die_at(number):
    count = 0

    def step(*_):
        nonlocal count
        count += 1
        if count == number:
            os.kill(os.getpid(), 9)

    def watch(event, arguments):
        if event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir"):
            step()
        elif event == "open" and arguments[2] is not None and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            step()

    os.fsync = lambda descriptor: (step(), fsync(descriptor))
    sys.addaudithook(watch)

for number in range(1, 1000):
    root = limit / f"{number:03}"
    shutil.copytree(limit / "before", root)
    child = os.fork()
    if not child:
        die_at(number)
        ACTIONS[action](contract.STORES[kind](root))
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
"""
"""Lets an action die before each of its steps, in a directory for each, `001` and so on; the last ends."""


def killed(kind: str, action: str, folder: Path) -> list[Path]:
    """Return the directories in which an action was killed, and at last the one in which it was not."""
    arguments = [sys.executable, "-c", KILL, kind, action, str(folder)]
    subprocess.run(arguments, check=True, cwd=ROOT)
    return sorted(path for path in folder.iterdir() if path.name.isdecimal())


@pytest.mark.parametrize("kind", STORES)
def test_a_publication_killed_at_any_step_leaves_the_old_state_or_the_new_one(
    kind: str, tmp_path: Path
) -> None:
    publish(STORES[kind](made(tmp_path / "before")), OLD)
    old, new = {**OLD, RECORD: text_of(OLD)}, {**NEW, RECORD: text_of(NEW, GONE)}
    ends = []
    for root in killed(kind, "publish", tmp_path):
        store = STORES[kind](root)
        recover(store)
        ends.append(everything(root))
        assert ends[-1] in (old, new), root.name
        publish(store, NEW, GONE)
        assert everything(root) == new, root.name
    assert ends[0] == old
    assert ends[-1] == new
    assert ends == sorted(ends, key=lambda end: end == new), "once new, it stays new"
    assert 5 < ends.index(new) < len(ends) - 5


@pytest.mark.parametrize("kind", STORES)
def test_files_that_are_adopted_are_in_place_when_it_is_repeated_after_a_kill(
    kind: str, tmp_path: Path
) -> None:
    before = made(tmp_path / "before")
    publish(STORES[kind](before), OLD)
    publish(STORES[kind](made(before / "_resnet_pipe" / "next")), NEW)
    for root in killed(kind, "adopt", tmp_path):
        store = STORES[kind](root)
        store.adopt("_resnet_pipe/next", [*NEW, "gone"], GONE)
        found = everything(root)
        assert {name: data for name, data in found.items() if "_resnet_pipe" not in name} == NEW, root.name


@pytest.mark.parametrize("kind", STORES)
def test_a_put_killed_at_any_step_leaves_the_old_file_or_the_new_one(kind: str, tmp_path: Path) -> None:
    STORES[kind](made(tmp_path / "before")).put("notes.json", [b"old"])
    ends = []
    for root in killed(kind, "put", tmp_path):
        store = STORES[kind](root)
        ends.append(store.read("notes.json"))
        recover(store)
        assert everything(root) == {"notes.json": ends[-1]}
    assert ends[0] == b"old"
    assert ends[-1] == b"new"
    assert set(ends) == {b"old", b"new"}


@pytest.mark.parametrize("kind", STORES)
def test_a_deletion_killed_at_any_step_is_completed_by_another(kind: str, tmp_path: Path) -> None:
    publish(STORES[kind](made(tmp_path / "before")), OLD)
    for root in killed(kind, "delete", tmp_path):
        STORES[kind](root).delete([*OLD, RECORD])
        assert everything(root) == {}


def made(root: Path) -> Path:
    (root / RECORDS).mkdir(parents=True)
    return root


FULL = """
import resource, sys
from pathlib import Path
from tests.store import test_contract as contract

store = contract.STORES[sys.argv[1]](Path(sys.argv[2]))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
large = [b"x" * 1000] * 5
try:
    store.put("notes.json", large)
except OSError:
    print("put")
try:
    with store.put_after("notes.json", large):
        print("the block has begun")
except OSError:
    print("put_after")
try:
    store.publish(contract.RECORD, b"".join(large), contract.Change({}, []))
except OSError:
    print("publish")
"""


@pytest.mark.parametrize("kind", STORES)
def test_where_there_is_no_room_nothing_changes(kind: str, tmp_path: Path) -> None:
    store = STORES[kind](made(tmp_path / "out"))
    store.put("notes.json", [b"old"])
    publish(store, OLD)
    before = everything(tmp_path / "out")
    assert said(FULL, kind, tmp_path / "out") == ["put", "put_after", "publish"]
    recover(store)
    assert everything(tmp_path / "out") == before


CLOSED = """
import os, sys
from pathlib import Path
from tests.store import test_contract as contract

os.chdir(sys.argv[2])
store = contract.STORES[sys.argv[1]](Path("open"))
for path in (".", "open", "open/closed"):
    os.chmod(path, 0o555 if path == "open/closed" else 0o777)
if os.geteuid() == 0:  # whom no permission stops
    os.seteuid(65534)
for what, action in {
    "put": lambda: store.put("closed/file", [b"new"]),
    "delete": lambda: store.delete(["closed/file"]),
    "adopt": lambda: store.adopt("from", ["closed/file"]),
}.items():
    try:
        action()
    except PermissionError as error:
        print(what)
"""


@pytest.mark.parametrize("kind", STORES)
def test_where_nobody_may_write_nothing_changes(kind: str, tmp_path: Path) -> None:
    for folder in ("closed", "from/closed"):
        (tmp_path / "open" / folder).mkdir(parents=True)
        (tmp_path / "open" / folder / "file").write_bytes(folder.encode())
    before = everything(tmp_path)
    assert said(CLOSED, kind, tmp_path) == ["put", "delete", "adopt"]
    (tmp_path / "open" / "closed").chmod(0o755)
    assert everything(tmp_path) == before


def said(script: str, *arguments: object) -> list[str]:
    """Return the lines that a script prints."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    return done.stdout.splitlines()


ALONE = """
import sys
from pathlib import Path
from tests.store import test_contract as contract

store = contract.STORES[sys.argv[1]](Path(sys.argv[2]), sys.argv[3])
for _ in range(50):
    with store.alone():
        store.put("count", [str(int(store.read("count")) + 1).encode()])
    store.put("mine", [sys.argv[3].encode() * 1000])
"""


@pytest.mark.parametrize("kind", STORES)
def test_several_writers_take_nothing_away_from_each_other(kind: str, tmp_path: Path) -> None:
    store = STORES[kind](made(tmp_path))
    store.put("count", [b"0"])
    store.put("mine", [b""])
    tags = ["1of3", "2of3", "3of3"]
    command = [sys.executable, "-c", ALONE, kind, str(tmp_path)]
    writers = [subprocess.Popen([*command, tag], cwd=ROOT) for tag in tags]
    whole = {b"", *(tag.encode() * 1000 for tag in tags)}
    while any(writer.poll() is None for writer in writers):
        assert store.read("mine") in whole
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert store.read("count") == b"150"
    assert sorted(everything(tmp_path)) == ["count", "mine"]


@pytest.mark.parametrize(("tag", "stays"), [("1of3", True), ("2of3", False), ("1of2", False), ("", False)])
def test_what_other_divisions_of_the_same_n_do_now_is_left_alone(
    make: MakeStore, tmp_path: Path, tag: str, stays: bool
) -> None:
    neighbour = make(tmp_path, "2of3")
    (neighbour.stage(RECORD) / "part-0").write_bytes(b"half")
    with neighbour.put_after("notes.json", [b"new"]):
        before = everything(tmp_path)
        assert len(before) == 2
        recover(make(tmp_path, tag))
        assert everything(tmp_path) == (before if stays else {})
        (tmp_path / ".notes.json.2of3.tmp").write_bytes(b"new")  # so that the block can end
    assert neighbour.read("notes.json") == b"new"
