"""Results of the finished spans of long videos, kept until their chunk is committed.

A film of two hours is one source and is committed as a whole. Its spans are kept here as they are
finished, so that a crash costs the spans in flight and not the film.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import RunError
from resnet_pipe.preprocess.network_input import Placement
from resnet_pipe.reader.source import Source, Span
from resnet_pipe.run.workers.messages import Note, Outputs, Row
from resnet_pipe.store import atomic

_FORMAT = 3
"""Version of the files; those of another version are ignored."""
_KEYS = ("frame_index", "pts_s", "placement", "notes", "carried")


class SpanResult(NamedTuple):
    """The rows of one span, the network's outputs for them, and the notes about its source."""

    rows: list[Row]
    outputs: Outputs
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class Spool:
    """The finished spans of one run, in a directory below `home`; only those of a job with this digest.

    The tag tells apart those who share the directory; it is empty for who has it alone.
    """

    directory: Path
    home: Path
    digest: str
    tag: str = ""

    def save(self, source: Source, span: Span, batches: Sequence[SpanResult]) -> None:
        """Keep a finished span of a video: its rows, in order."""
        atomic.make_folder(self.directory, self.home)
        rows = [row for batch in batches for row in batch.rows]
        filled = [batch.outputs for batch in batches if batch.rows]
        names = filled[0] if filled else ()
        arrays: dict[str, NDArray[np.generic]] = {
            name: np.concatenate([outputs[name] for outputs in filled]) for name in names
        }
        arrays["frame_index"] = np.array([row.frame_index for row in rows], np.int64)
        arrays["pts_s"] = np.array([row.pts_s for row in rows], np.float64)
        placements = [row.placement for row in rows if row.placement is not None]
        arrays["placement"] = np.array(placements, np.int64).reshape(-1, len(Placement._fields))
        arrays["notes"] = np.array([note.text for batch in batches for note in batch.notes], np.str_)
        if rows and rows[0].carried:
            arrays["carried"] = np.array([json.dumps(rows[0].carried)], np.str_)
        with atomic.replacing(self._path(source, span), self.tag) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    def has(self, source: Source, span: Span) -> bool:
        """Tell whether a span has been finished, by this run or an earlier one."""
        return self._path(source, span).exists()

    def load(self, source: Source, span: Span) -> SpanResult:
        """Return a finished span.

        Raises:
            RunError: it cannot be read any more. It is forgotten.
        """
        path = self._path(source, span)
        try:
            with np.load(path, allow_pickle=False) as arrays:
                index, pts = arrays["frame_index"].tolist(), arrays["pts_s"].tolist()
                places = [Placement(*values) for values in arrays["placement"].tolist()]
                notes = tuple(Note(source.key, text) for text in arrays["notes"].tolist())
                told = json.loads(arrays["carried"][0]) if "carried" in arrays.files else []
                outputs = {name: arrays[name] for name in arrays.files if name not in _KEYS}
            placements: Sequence[Placement | None] = places or [None] * len(index)
            carried = tuple(told)
            rows = [Row(source.key, *values, carried) for values in zip(index, pts, placements, strict=True)]
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            path.unlink(missing_ok=True)
            raise RunError(
                f"{path}: a finished part of {source.key} can no longer be read: {error}",
                "check the disk, then run the same command again; that part is decoded again",
            ) from None
        return SpanResult(rows, outputs, notes)

    def forget(self, source: Source, span: Span) -> None:
        """Drop a span: its chunk is committed."""
        self._path(source, span).unlink(missing_ok=True)

    def clear(self) -> None:
        """Drop everything: nothing is in flight."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _path(self, source: Source, span: Span) -> Path:
        identity = repr((_FORMAT, self.digest, source.identity, span))
        return self.directory / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.npz"
