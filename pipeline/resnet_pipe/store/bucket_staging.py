"""What is staged in a bucket, and on this machine before that, by a run or by attempts for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from resnet_pipe.store.bucket_files import BucketFiles, at_once
from resnet_pipe.store.lock import own_folder
from resnet_pipe.store.names import key_of, object_of, path_of
from resnet_pipe.store.objects import Objects
from resnet_pipe.store.store import HOME, WHOLE

STAGED = f"{HOME}/staged"
_SIGHT_S = 8.0
"""A machine that cannot reach a sign for so long is refused: before work starts on the others."""


class BucketStaging(BucketFiles):
    """What of a `Store` is about files that are not final, and about attempts."""

    def __init__(self, objects: Objects, scratch: Path, tag: str, attempt: str) -> None:
        super().__init__(objects, scratch, tag)
        if attempt:  # beside others on this machine
            self._local = self.home / "attempts" / attempt
        self._attempt = self._tagged(attempt)
        self._taken: dict[str, str] = {}
        """Records that are to be published from what an attempt has staged, which has this name."""

    def attempt(self, record: str) -> str:
        """See `Store.attempt`: the name of its folder below `staged/`, after the record's."""
        return self._taken.get(record) or self._tagged(uuid4().hex[:12])

    def _tagged(self, attempt: str) -> str:
        return ".".join(filter(None, (attempt, self.tag)))

    def stage(self, record: str) -> Path:
        """See `Store.stage`: on this machine."""
        staging = self._staging(record)
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        return staging

    def unstage(self, record: str) -> None:
        """See `Store.unstage`."""
        shutil.rmtree(self._staging(record))

    def attempted(self) -> AbstractContextManager[None]:
        """See `Store.attempted`: a folder, with a spool of its own, as nobody could say that it is wrong."""
        self.home.mkdir(parents=True, exist_ok=True)
        return own_folder(self._local, self.home)

    def complete(self, record: str) -> None:
        """See `Store.complete`: in the bucket, where step 1 of a publication puts them."""
        self._upload(self._paths(record), staged(record, self._attempt))
        shutil.rmtree(self._staging(record))

    def take_over(self, record: str, attempt: str, names: Collection[str]) -> None:
        """See `Store.take_over`.

        Files of a new record stay where they are: who removes them has copied them, if the record was there,
        or else has put a cancelled one, so that it cannot come. Those of a record that is replaced are
        fetched, because `publish` may have to put them again.
        """
        folder = staged(record, self._tagged(attempt))
        if record not in self._tags:
            self._taken[record] = self._tagged(attempt)
            return
        staging = self.stage(record)
        try:
            at_once(lambda name: self._fetch(f"{folder}/{object_of(name)}", path_of(staging, name)), names)
        except FileNotFoundError:
            raise self._overtaken() from None
        self._patient.delete(f"{folder}/{object_of(name)}" for name in names)

    def drop(self, attempts: Collection[str]) -> None:
        """See `Store.drop`. After an error, all of it is left: `recover` knows what has been published."""
        ours = {self._tagged(attempt) for attempt in attempts}
        if ours and not self._taken:
            with suppress(OSError):
                found = [one.name for one in self._objects.list(STAGED)]
                self._patient.delete(name for name in found if _attempt_of(name) in ours)

    @contextmanager
    def shown(self, sign: str) -> Iterator[None]:
        """See `Store.shown`. What is left of it is removed as what `conditions` leaves."""
        name = self._sign(sign)
        self._objects.put(name, b"")
        try:
            yield
        finally:
            with suppress(OSError):
                found = [one.name for one in self._objects.list_in(HOME)]
                self._objects.delete(one for one in found if one.startswith(name))

    def see(self, sign: str) -> None:
        """See `Store.see`."""
        objects, name = replace(self._objects, patience_s=_SIGHT_S), self._sign(sign)
        if objects.look(name) is None:
            raise FileNotFoundError(2, "it is another bucket there, on another server perhaps", str(objects))
        own = f"{name}-{uuid4().hex[:12]}"
        objects.put(own, b"")
        objects.delete([own])

    def _sign(self, sign: str) -> str:
        return f"{HOME}/probe-{self.tag or WHOLE}-{sign}"

    def _paths(self, record: str) -> dict[str, Path]:
        """Return the files that are staged for a record on this machine, by name."""
        staging = self._staging(record)
        found = (Path(folder, name) for folder, _, names in os.walk(staging) for name in names)
        return {key_of(str(path.relative_to(staging))): path for path in found}

    def _upload(self, paths: Mapping[str, Path], folder: str) -> None:
        at_once(lambda name: self._patient.put(f"{folder}/{object_of(name)}", paths[name]), paths)

    def _staging(self, record: str) -> Path:
        return self._local / "staging" / (self.tag or WHOLE) / _stem(record)


def staged(record: str, attempt: str) -> str:
    """Return the folder for what an attempt stages for a record."""
    return f"{STAGED}/{_stem(record)}-{attempt}"


def _attempt_of(name: str) -> str:
    """Return the attempt that has staged a file."""
    return name.removeprefix(f"{STAGED}/").partition("/")[0].rpartition("-")[2]


def _stem(record: str) -> str:
    return record.rpartition("/")[2].removesuffix(".json")
