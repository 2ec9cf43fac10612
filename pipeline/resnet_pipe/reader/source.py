"""Sources, their keys, decoded items and how large these may be: the words every reader speaks."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import SourceError

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
"""`json.dumps` would make one for each of a million sources."""


class Carried(NamedTuple):
    """What comes with a source and becomes columns of its rows: texts, None where there is none.

    The notes tell why a value is None although there is one: see `FrameCounts`.
    """

    values: tuple[str | None, ...] = ()
    notes: tuple[str, ...] = ()

    def to_text(self) -> str:
        """Return it as JSON."""
        return _ENCODER.encode(self)

    @classmethod
    def of_text(cls, text: str) -> Carried:
        """Return what `to_text` has made a text of."""
        return cls(*map(tuple, json.loads(text)))


NOTHING = Carried()
"""What most sources carry."""


class Source(NamedTuple):
    """One input that the user named: an image file or a video file. The first three fields are its identity.

    `key` is the path below the reader's root, in the reversible text form of `key_of`. `version` is what
    changes when it changes: of a file, when it was modified, in ns since 1970, which may be negative.
    `carried` is what comes with it, where listing tells; where it is None, `Files.carried` does.
    """

    key: str
    size: int
    version: int
    carried: Carried | None = None

    @property
    def identity(self) -> Source:
        """Return it without what comes with it: as the ledger knows it."""
        return self if self.carried is None else Source(*self[:3])

    @property
    def is_absent(self) -> bool:
        """Tell whether it is only named, by a manifest: there is no such file, or it cannot be reached."""
        return not self.size and not self.version


def version_of(*parts: int | str) -> int:
    """Return a version, 63 bits, that changes with any of the parts."""
    digest = hashlib.sha256(" ".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class Item(NamedTuple):
    """One thing that the network sees, decoded.

    Attributes:
        frame: uint8, shape (H, W, 3), RGB, any size of at least 1 x 1.
        frame_index: position in presentation order from 0; None for an image.
        pts_s: presentation time in seconds; None for an image.
        extent: width and height of the image in pixels of the frame, where its last column or row is only
            partly covered, as in a JPEG decoded to an eighth of a size that is no multiple of 8; else None.
        whole: width and height of the image as it is displayed, where a reader has made the frame smaller;
            else None.
    """

    frame: NDArray[np.uint8]
    frame_index: int | None = None
    pts_s: float | None = None
    extent: tuple[float, float] | None = None
    whole: tuple[int, int] | None = None

    @property
    def displayed(self) -> tuple[int, int]:
        """Width and height of the image as it is displayed, pixels."""
        return self.whole or (self.frame.shape[1], self.frame.shape[0])


@dataclass(frozen=True)
class Span:
    """A part of a long video that is decoded on its own, from a key frame on.

    Its frames are presented from `start_pts` to before `end_pts`, in units of the stream's time base; None
    for the beginning and the end of the video. `first_frame` is the `frame_index` of the first of its
    `frames`, which are counted before sampling. `wanted` tells which of them sampling takes, one bit each
    (`numpy.packbits`); None for all.
    """

    index: int
    count: int
    start_pts: int | None
    end_pts: int | None
    first_frame: int
    frames: int
    wanted: bytes | None = None


@dataclass
class FrameCounts:
    """What has been read so far; a reader adds to it before each item.

    Frames are `decoded`, and `used` if they become items; sampled or skipped, they cover `seconds`. `notes`
    tell in short sentences what is unusual about the source, but was handled: its rows are correct.
    """

    decoded: int = 0
    used: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    def add(self, now: FrameCounts, before: FrameCounts | None = None) -> None:
        """Add the counts that others have come to, in all or since it was like `before`."""
        before = before or FrameCounts()
        self.decoded += now.decoded - before.decoded
        self.used += now.used - before.used
        self.seconds += now.seconds - before.seconds


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse images of no pixels, as `damaged`, or of too many, as `too_large`; raises `SourceError`."""
    if width < 1 or height < 1:
        raise SourceError("reader", "damaged", f"it says that it is {width} x {height} pixels")
    check_pixels(width, height, max_pixels)


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Refuse frames of too many pixels as `too_large`: a `SourceError`.

    None are not refused: a video may not say its size before decoding.
    """
    if width * height > max_pixels:
        problem = f"{width} x {height} pixels: more than reader.max_pixels, {max_pixels}"
        raise SourceError("reader", "too_large", problem)
