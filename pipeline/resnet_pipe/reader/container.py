"""Tell whether the end of a video file is missing, from what its outermost structure says of its size.

FFmpeg's demuxers take the end of the file for the end of the video, some of them without a word.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import BinaryIO

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_MP4_BOXES = tuple(b"ftyp moov mdat moof mfra free skip wide styp sidx uuid".split())
TS_SYNC = 0x47
"""The first byte of each transport stream packet."""
_TS_PACKETS = ((188, 0), (192, 4), (204, 0))
"""Length of a transport stream's packets, and where the sync byte is: plain, Blu-ray, with parity."""

_SIGNATURES = re.compile(
    rb".{4}(" + b"|".join(_MP4_BOXES) + rb")"  # MP4, QuickTime
    rb"|\x1a\x45\xdf\xa3"  # Matroska, WebM
    rb"|RIFF|FLV|OggS|DKIF|nut/"
    rb"|\x47.{187}\x47|.{4}\x47.{191}\x47|\x47.{203}\x47"  # transport streams, as in _TS_PACKETS
    rb"|\x00\x00\x01[\xb0-\xbf]"  # program streams
    rb"|\x30\x26\xb2\x75"  # ASF, Windows Media
    rb"|\x06\x0e\x2b\x34",  # MXF
    re.DOTALL,
)
"""How video files begin."""


def is_known(path: Path) -> bool:
    """Tell whether a file begins like a video.

    Args:
        path: of a regular file.
    """
    with path.open("rb") as file:
        return _SIGNATURES.match(file.read(512)) is not None


def ends_early(path: Path) -> bool:
    """Tell whether a file is shorter than its own headers say; False where they say nothing.

    Args:
        path: of a regular file.
    """
    with path.open("rb") as file:
        start = file.read(512)
        size = os.fstat(file.fileno()).st_size
        if start[4:8] in _MP4_BOXES:
            return _mp4_ends_early(file, size)
        if start.startswith(_EBML):
            return _matroska_ends_early(start, size)
        if start[:4] == b"RIFF":
            return 8 + int.from_bytes(start[4:8], "little") > size
    return _transport_stream_ends_early(start, size)


def _mp4_ends_early(file: BinaryIO, size: int) -> bool:
    """Walk the boxes of the file (ISO/IEC 14496-12, section 4.2)."""
    position, kinds = 0, set()
    while position < size:
        file.seek(position)
        header = file.read(16)
        length, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        elif length == 0:
            length = size - position  # to the end of the file
        kinds.add(kind)
        if len(header) < 8 or (position + length > size and kind in _MP4_BOXES):
            return True
        if length < 8:
            return False  # damage, not a missing end
        position += length
    return b"moov" not in kinds


def _matroska_ends_early(start: bytes, size: int) -> bool:
    """Compare with the size of the segment, which holds all but the header (RFC 8794, sections 4 to 6)."""
    segment = start.find(_SEGMENT)
    if segment < 0:
        return size < 512
    position = segment + len(_SEGMENT)
    if position >= len(start) or not start[position]:
        return position >= size
    width = 9 - start[position].bit_length()
    length = int.from_bytes(start[position : position + width], "big") & ((1 << 7 * width) - 1)
    unknown = (1 << 7 * width) - 1
    return length != unknown and position + width + length > size


def transport_packets(path: Path) -> tuple[int, int] | None:
    """Return a transport stream's packet length and the offset of the sync byte; None for other files.

    Args:
        path: of a regular file.
    """
    with path.open("rb") as file:
        return _transport_packets(file.read(512))


def _transport_packets(start: bytes) -> tuple[int, int] | None:
    for length, sync in _TS_PACKETS:
        if all(start[sync + n * length : sync + n * length + 1] == bytes([TS_SYNC]) for n in range(2)):
            return length, sync
    return None


def _transport_stream_ends_early(start: bytes, size: int) -> bool:
    """Look for a packet that is cut off (ISO/IEC 13818-1, section 2.4.3)."""
    layout = _transport_packets(start)
    return layout is not None and size % layout[0] != 0
