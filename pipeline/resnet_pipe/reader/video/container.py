"""Tell whether the end of a video file is missing, from what its outermost structure says of its size.

FFmpeg's demuxers take the end of the file for the end of the video, some of them without a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from resnet_pipe.reader.opened import Opened

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_MP4_BOXES = tuple(b"ftyp moov mdat moof mfra free skip wide styp sidx uuid".split())
_MP4_HEADER = 8
"""Bytes of a box's length and kind."""
TS_SYNC = 0x47
"""The first byte of each transport stream packet."""
_TS_PACKETS = ((188, 0), (192, 4), (204, 0))
"""Length of a transport stream's packets, and where the sync byte is: plain, Blu-ray, with parity."""
IN_STEP = 5
"""Packets that are certain to be packets, one after the other."""
_AT_ONCE = 8 << 20
"""Bytes that are searched at a time."""

_HEADERS = (
    (b"FLV", re.compile(rb"FLV\x01[\x00-\x05]\x00\x00\x00\x09")),
    (b"\x30\x26\xb2\x75", re.compile(rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c")),
)
"""How FLV and ASF files begin, and their whole headers, where these do not vary."""
_LONGEST_HEADER = 16
"""Of these, bytes."""

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


def is_known(opened: Opened) -> bool:
    """Tell whether a file begins like a video."""
    return _SIGNATURES.match(opened.read_at(0, 512)) is not None


def appended_at(opened: Opened, after: int) -> int | None:
    """Return where, beyond `after`, a file begins that was appended to one of MP4, QuickTime, FLV or ASF.

    FFmpeg reads the first one alone.
    """
    start = opened.read_at(0, 16)
    if start[4:8] in _MP4_BOXES:
        begins = (place for place, kind, _ in _mp4_boxes(opened) if kind == b"ftyp")
        return next((place for place in begins if place > after), None)
    header = next((header for begin, header in _HEADERS if start.startswith(begin)), None)
    return None if header is None else _find(opened, header, after)


def _find(opened: Opened, header: re.Pattern[bytes], after: int) -> int | None:
    """Return where a header is from `after` on; it may lie across two of the parts that are read."""
    for place in range(after, opened.size, _AT_ONCE):
        found = header.search(opened.read_at(place, _AT_ONCE + _LONGEST_HEADER - 1))
        if found is not None:
            return place + found.start()
    return None


def ends_early(opened: Opened) -> bool:
    """Tell whether a file is shorter than its own headers say; False where they say nothing."""
    start = opened.read_at(0, 512)
    if start[4:8] in _MP4_BOXES:
        return _mp4_ends_early(opened)
    if start.startswith(_EBML):
        return _matroska_ends_early(start, opened.size)
    if start[:4] == b"RIFF":
        return 8 + int.from_bytes(start[4:8], "little") > opened.size
    return _transport_stream_ends_early(opened, start)


def _mp4_ends_early(opened: Opened) -> bool:
    kinds = set()
    for place, kind, length in _mp4_boxes(opened):
        kinds.add(kind)
        if length is None or (place + length > opened.size and kind in _MP4_BOXES):
            return True
        if length < _MP4_HEADER:
            return False  # damage, not a missing end
    return b"moov" not in kinds


def _mp4_boxes(opened: Opened) -> Iterator[tuple[int, bytes, int | None]]:
    """Yield place, kind and length of each outermost box (ISO/IEC 14496-12, section 4.2).

    The length is None where the file ends within the header.
    """
    place = 0
    while place < opened.size:
        header = opened.read_at(place, 2 * _MP4_HEADER)
        length, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        elif length == 0:
            length = opened.size - place  # to the end of the file
        yield place, kind, length if len(header) >= _MP4_HEADER else None
        if len(header) < _MP4_HEADER or length < _MP4_HEADER:
            return
        place += length


def _matroska_ends_early(start: bytes, size: int) -> bool:
    """Compare with the size of the segment, which holds all but the header (RFC 8794, sections 4 to 6)."""
    segment = start.find(_SEGMENT)
    if segment < 0:
        return size < 512
    position = segment + len(_SEGMENT)
    if position >= len(start) or not start[position]:
        return position >= size
    width = 9 - start[position].bit_length()
    unknown = (1 << 7 * width) - 1
    length = int.from_bytes(start[position : position + width], "big") & unknown
    return length != unknown and position + width + length > size


def transport_packets(opened: Opened) -> tuple[int, int] | None:
    """Return a transport stream's packet length and the offset of the sync byte; None for other files.

    It may begin within a packet, as where recording began.
    """
    start = opened.read_at(0, 2 * IN_STEP * _TS_PACKETS[-1][0])
    layouts = (_transport_packets(start[place:]) for place in range(_TS_PACKETS[-1][0]))
    return next((layout for layout in layouts if layout is not None), None)


def _transport_packets(start: bytes) -> tuple[int, int] | None:
    for length, sync in _TS_PACKETS:
        syncs = start[sync : sync + IN_STEP * length : length]
        if len(syncs) >= 2 and syncs == bytes([TS_SYNC]) * len(syncs):
            return length, sync
    return None


def _transport_stream_ends_early(opened: Opened, start: bytes) -> bool:
    """Look for a packet that is cut off (ISO/IEC 13818-1, section 2.4.3)."""
    layout = _transport_packets(start)
    if layout is None or opened.size % layout[0] == 0:
        return False
    last = IN_STEP * layout[0]  # other packets may have been cut off before
    return _transport_packets(opened.read_at(max(0, opened.size - last), last)) != layout
