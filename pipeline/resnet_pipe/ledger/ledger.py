"""The ledger: one record for each committed chunk, and the only answer to "is this source done?".

How a chunk is committed, so that a crash at any instant leaves either the old state or the new one:

1. all its files are complete in its staging directory, on the disk;
2. its record is written as *pending*: it says which files there will be, and their SHA-256;
3. each file gets its final name, and files of the old record that are in the new one no more are removed;
4. the record gets its final name.

After a crash, a pending record that is whole is carried through from step 3; a torn one is dropped, with
the staging directory; one that cannot be read, or that a newer version has written, is an error that changes
nothing: files of it may be in place. A chunk that is written again (sources changed) goes the same way, so
its old rows are there until the new ones are.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from resnet_pipe.ledger import record as records
from resnet_pipe.ledger.lock import report_lock
from resnet_pipe.ledger.record import File, Record
from resnet_pipe.model.model import file_sha256
from resnet_pipe.reader.source import path_of
from resnet_pipe.store import atomic

HOME = "_resnet_pipe"
"""The directory inside an output directory that belongs to resnet-pipe."""
_TAG = re.compile(r"\.(\d+of(\d+))\.tmp$")
SWITCH = "switch.json"
"""In that directory, while new results take the place of old ones; see `generation`."""
TEMPORARY = ("failures.jsonl", "metrics*", "fingerprint.json", SWITCH)
"""What a killed run may leave under a temporary name. No other files are touched."""
_WHOLE = "whole"
"""Where a run with exclusive use of the output directory stages its files."""


class Ledger:
    """The records of an output directory.

    Args:
        output: the output directory.
        tag: names this run among those that share the directory; empty for a run that has it alone.

    Attributes:
        output: the output directory.
        directory: where the records are.
        tag: as given.
    """

    def __init__(self, output: Path, tag: str = "") -> None:
        self.output = output
        self.directory = output / HOME / "ledger"
        self.tag = tag

    def records(self) -> Iterator[Record]:
        """Yield all records, sorted by chunk.

        Raises:
            RunError: a record cannot be read.
        """
        for path in sorted(self._paths()):
            yield records.read(path)

    def is_empty(self) -> bool:
        """Tell whether there is no record: nothing has been committed."""
        return next(self._paths(), None) is None

    def _paths(self) -> Iterator[Path]:
        return (path for path in self.directory.glob("*.json") if not path.name.startswith("."))

    def stage(self, chunk: str) -> Path:
        """Return an empty directory for the files of a chunk, laid out as in the output directory."""
        staging = self._staging(self.tag, chunk)
        shutil.rmtree(staging, ignore_errors=True)
        atomic.make_folder(staging, self.output / HOME)
        return staging

    @property
    def spool(self) -> Path:
        """Return where a run keeps the finished spans of videos in flight."""
        return self.output / HOME / "spool" / (self.tag or _WHOLE)

    def unstage(self, chunk: str) -> None:
        """Remove the directory that `stage` gave: the chunk will not be committed.

        If its commit has begun, and failed, the files stay: `recover` decides about them.
        """
        if not self._pending(chunk).exists():
            shutil.rmtree(self._staging(self.tag, chunk))

    def path(self, file: File) -> Path:
        """Return the final path of a file."""
        return path_of(self.output, file.name)

    def is_intact(self, record: Record) -> bool:
        """Tell whether all files of a chunk are there."""
        return all(self.path(file).is_file() for file in record.files)

    def commit(self, record: Record, replaces: Record | None) -> None:
        """Make a chunk and its record final. See the top of this file for the order.

        Args:
            record: its new files are in the directory that `stage` gave.
            replaces: the old record of this chunk, if it has one.
        """
        staging = self._staging(self.tag, record.chunk)
        for directory, _, names in os.walk(staging):
            for name in names:
                atomic.sync(Path(directory, name))
            atomic.sync(Path(directory))
        atomic.sync_up_to(staging.parent, self.output / HOME)
        pending = self._pending(record.chunk)
        obsolete = (
            {file.name for file in replaces.files} - {file.name for file in record.files} if replaces else ()
        )
        pending.write_bytes(records.dump(record, sorted(obsolete)))
        atomic.sync(pending)
        atomic.sync(self.directory)
        self._carry_through(pending, record, sorted(obsolete), staging)

    def _carry_through(self, pending: Path, record: Record, obsolete: list[str], staging: Path) -> None:
        """Complete the commit of a pending record: steps 3 and 4."""
        self.put_in_place(record.files, staging, obsolete)
        os.replace(pending, self.directory / f"{record.chunk}.json")  # noqa: PTH105 - synced already
        atomic.sync(self.directory)
        shutil.rmtree(staging, ignore_errors=True)

    def put_in_place(self, files: Iterable[File], staging: Path, obsolete: Iterable[str]) -> None:
        """Give files their final names, durably, and remove others; steps already done are skipped.

        Args:
            files: whatever of them is below `staging` is moved; the others are in place.
            staging: laid out as the output directory.
            obsolete: names of the files to remove then.
        """
        changed: set[Path] = set()
        for file in files:
            staged, path = path_of(staging, file.name), self.path(file)
            if staged.exists():  # otherwise it is in place, or belongs to a source that is kept
                atomic.make_folder(path.parent, self.output)
                os.replace(staged, path)  # noqa: PTH105 - the os call is the one with the guarantee
                changed.add(path.parent)
        for name in obsolete:
            changed.add(self._remove(path_of(self.output, name)))
        for directory in changed:
            if directory.is_dir():  # otherwise it has become empty, and those above it are here too
                atomic.sync_up_to(directory, self.output)

    def pending(self) -> list[tuple[Path, Path]]:
        """Return all pending records, active or left behind, and where their files are staged."""
        found = []
        for path in sorted(self.directory.glob(".*.json.*tmp")):
            tag = _TAG.search(path.name)
            chunk = path.name[1:].partition(".json.")[0]
            found.append((path, self._staging(tag[1] if tag else "", chunk)))
        return found

    def recover(self) -> list[str]:
        """Finish or undo what a crash left half done; return the names of the chunks carried through.

        What the other divisions of the job are writing now is left alone. A run that was killed may have
        been another one: of the whole job, or of one that was divided by another N.

        Raises:
            RunError: what is half done cannot be read; nothing was changed.
        """
        with report_lock(self.output / HOME):  # the divisions may begin at the same time: one does it
            pending = self._leftovers(self.directory, "*.json")
            # All, before anything is changed.
            read = [(path, records.read_pending(path)) for path in pending]
            carried = [chunk for path, known in read if (chunk := self._recover(path, known)) is not None]
            for name in TEMPORARY:
                for directory in (self.output, self.output / HOME):
                    for leftover in self._leftovers(directory, name):
                        leftover.unlink(missing_ok=True)
            for place in (self.output / HOME / "staging").glob("*"):
                if not self._is_of_a_neighbour(place.name):
                    shutil.rmtree(place, ignore_errors=True)
            for place in self.spool.parent.glob("*"):
                if place != self.spool and not self._is_of_a_neighbour(place.name):
                    shutil.rmtree(place, ignore_errors=True)
        return carried

    def _recover(self, pending: Path, known: tuple[Record, list[str]] | None) -> str | None:
        """Carry a pending record through, and return the name of its chunk; drop a torn one."""
        if known is None:
            pending.unlink(missing_ok=True)
            return None
        record, obsolete = known
        tag = _TAG.search(pending.name)
        staging = self._staging(tag[1] if tag else "", record.chunk)
        if not self._is_complete(record, staging):
            self._give_up(pending, record, obsolete)
            return None
        self._carry_through(pending, record, obsolete, staging)
        return record.chunk

    def _is_complete(self, record: Record, staging: Path) -> bool:
        """Tell whether every file of a pending record is staged, or in place as it was written."""
        for file in record.files:
            path = self.path(file)
            if not path_of(staging, file.name).exists() and not (
                path.is_file() and file_sha256(path) == file.sha256
            ):
                return False
        return True

    def _give_up(self, pending: Path, record: Record, obsolete: list[str]) -> None:
        """Forget a chunk of which files are lost, and may have replaced others: its sources are new again."""
        for name in (*(file.name for file in record.files), *obsolete):
            self._remove(path_of(self.output, name))
        (self.directory / f"{record.chunk}.json").unlink(missing_ok=True)
        pending.unlink()
        atomic.sync(self.directory)

    def _pending(self, chunk: str) -> Path:
        return atomic.temporary_name(self.directory / f"{chunk}.json", self.tag)

    def _staging(self, tag: str, chunk: str) -> Path:
        return self.output / HOME / "staging" / (tag or _WHOLE) / chunk

    def _leftovers(self, directory: Path, name: str) -> list[Path]:
        """Return the temporary files in a directory that no run can be writing now."""
        found = sorted(directory.glob(f".{name}.*tmp"))
        return [
            path
            for path in found
            if not ((tag := _TAG.search(path.name)) and self._is_of_a_neighbour(tag[1]))
        ]

    def _is_of_a_neighbour(self, tag: str) -> bool:
        """Tell whether a tag is that of another division of the same N, which may be running now."""
        return tag != self.tag and tag.partition("of")[2] == self.tag.partition("of")[2] != ""

    def remove(self, record: Record) -> None:
        """Forget a chunk, with its files. They go first: without them, the record means nothing."""
        for directory in {self._remove(self.path(file)) for file in record.files}:
            if directory.is_dir():
                atomic.sync(directory)
        (self.directory / f"{record.chunk}.json").unlink()
        atomic.sync(self.directory)

    def _remove(self, path: Path) -> Path:
        """Remove a file, and the folders that are empty then; return the nearest folder that is left."""
        path.unlink(missing_ok=True)
        for directory in path.parents:
            if directory == self.output or (self.tag and directory.is_dir()):
                break  # another division may be about to put a file into an empty one
            try:
                directory.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                break  # it is not empty
        return directory
