"""The segments of a JPEG file: list them, read frame header and orientation, and remove oddities.

The format: ITU-T T.81, annex B. Markers are found as libjpeg finds them.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from resnet_pipe.reader.orientation import EXIF, XMP, exif_orientation, xmp_orientation

_SOF3, _SOI, _EOI, _SOS, _DNL, _DHP = 0xC3, 0xD8, 0xD9, 0xDA, 0xDC, 0xDE
_APP0, _APP1, _APP14 = 0xE0, 0xE1, 0xEE
_RESTARTS = range(0xD0, 0xD8)
_LONE = {0x01, _SOI, _EOI, *_RESTARTS}
"""Markers without a segment."""
_PASSED_OVER = {0x01, 0xFE, *_RESTARTS, *range(_APP0, 0xF0)}
"""Markers that do not affect pixels: metadata, comments, and those that are meaningless between segments."""
_JPEG_LS = 0xF7
_FRAMES = {*range(0xC0, 0xD0), _DHP, _JPEG_LS} - {0xC4, 0xC8, 0xCC}
"""Markers of frame headers."""
_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1, 0xC9), (0xC2, 0xCA)
_SEQUENTIAL_SCAN = b"\0\x3f\0"
"""First and last coefficient, and bit position, of the scans of sequential JPEGs."""
_KINDS = {
    _SOF3: "a lossless JPEG (SOF3)",
    **{code: f"a hierarchical JPEG (SOF{code - 0xC0})" for code in (0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF)},
    0xCB: "a lossless JPEG with arithmetic coding (SOF11)",
    _DHP: "a hierarchical JPEG (DHP)",
    _JPEG_LS: "JPEG-LS (SOF55)",
}
"""Coding processes that libjpeg cannot decode or, for lossless JPEGs, only in some files."""
_MAX_BLOCKS = 10
"""Blocks in one unit of an interleaved scan (T.81, B.2.3)."""

_MARKER = re.compile(rb"\xff+([^\x00\xff])")
_END_OF_SCAN = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")


class Segment(NamedTuple):
    """A marker, by its second byte, and its data.

    `stray` bytes before it belong to no segment, `body` follows the length, and `scan` is the coded data
    after the body of an SOS, including restart markers.
    """

    code: int
    stray: bytes
    body: bytes
    scan: bytes

    def written(self) -> bytes:
        """Return the bytes of the segment in a file, without the stray bytes before it."""
        if self.code in _LONE:
            return bytes([0xFF, self.code])
        return struct.pack(">BBH", 0xFF, self.code, len(self.body) + 2) + self.body + self.scan


def segments(data: bytes, scans: bool = True) -> Iterator[Segment]:
    """Yield the segments of a JPEG file up to its end of image or of the file; or only to its first scan."""
    place = 0
    while marker := _MARKER.search(data, place):
        code, stray = marker[1][0], data[place : marker.start()]
        place = end = body = marker.end()
        if code not in _LONE:
            body = place + 2
            place = end = max(body, place + int.from_bytes(data[place:body], "big"))
        if code == _SOS:
            if not scans:
                return
            following = _END_OF_SCAN.search(data, end)
            place = following.start() if following else len(data)
        yield Segment(code, stray, data[body:end], data[end:place])
        if code == _EOI:
            return


def orientation(data: bytes) -> int:
    """Return the orientation of a JPEG file; 1 if it has none, or if that is damaged.

    The first EXIF block with an orientation counts, or XMP if there is none. Much cheaper than with Pillow.
    """
    xmp = None
    for segment in segments(data, scans=False):
        if segment.code != _APP1:
            continue
        if header := EXIF.match(segment.body):
            found = exif_orientation(segment.body[header.end() :])
            if found is not None:
                return found
        elif xmp is None and segment.body.startswith(XMP):
            xmp = xmp_orientation(segment.body)
    return xmp or 1


def ends(data: bytes) -> bool:
    """Return whether a JPEG file has an end-of-image marker."""
    return any(segment.code == _EOI for segment in segments(data))


class FrameHeader(NamedTuple):
    """The frame header of a JPEG file.

    Its process is the second byte of the SOFn marker, its precision bits per sample. A height of 0 is
    unknown, or follows in a DNL segment. Each component has a name and sampling factors, horizontal and
    vertical.
    """

    process: int
    precision: int
    height: int
    width: int
    names: bytes
    factors: tuple[tuple[int, int], ...]
    height_follows: bool

    def beyond_libjpeg(self) -> str | None:
        """Return the kind of JPEG if libjpeg-turbo may have refused it for that reason; else None."""
        bits = f" with {self.precision} bits per sample" if self.precision != 8 else ""
        if self.process in _KINDS:
            return _KINDS[self.process] + bits
        if bits:
            return f"a JPEG{bits}"
        if len(self.factors) not in (1, 3, 4):
            return f"a JPEG with {len(self.factors)} components"
        if self.height_follows:
            return "a JPEG that gives its height after its pixels (DNL)"
        if not all(1 <= factor <= 4 for pair in self.factors for factor in pair):
            return None  # no such thing exists
        most = [max(pair[axis] for pair in self.factors) for axis in (0, 1)]
        if any(most[0] % across or most[1] % down for across, down in self.factors):
            return "a JPEG with fractional sampling"
        if sum(across * down for across, down in self.factors) > _MAX_BLOCKS:
            return f"a JPEG with more than {_MAX_BLOCKS} blocks per unit"
        return None


def frame_header(data: bytes) -> FrameHeader | None:
    """Return the first complete frame header, if there is one."""
    for segment in segments(data):
        if segment.code in _FRAMES and len(segment.body) >= 6:
            precision, height, width, components = struct.unpack_from(">BHHB", segment.body)
            if len(segment.body) == 6 + 3 * components:
                factors = tuple((byte >> 4, byte & 15) for byte in segment.body[7::3])
                follows = not height and any(later.code == _DNL for later in segments(data))
                names = segment.body[6::3]
                return FrameHeader(segment.code, precision, height, width, names, factors, follows)
    return None


def is_lossless(data: bytes) -> bool:
    """Return whether a JPEG file is lossless (SOF3), quickly: only up to the frame header."""
    return next((segment.code for segment in segments(data) if segment.code in _FRAMES), None) == _SOF3


def tidied(data: bytes) -> bytes:
    """Remove from a JPEG file what does not affect pixels, and correct what decoders ignore.

    Metadata, comments, and bytes between segments and after the end are removed; the JFIF revision, an
    unknown Adobe transform and the parameters of a sequential scan become what decoders assume. Bytes between
    segments stay if they may be a segment with a damaged marker: a table, or a missing scan. Scans are
    unchanged.
    """
    header, incomplete = frame_header(data), _lacks_scans(data)
    parts = []
    for segment in segments(data):
        if incomplete or _may_be_segment(segment.stray):
            parts.append(segment.stray)
        if segment.code == _APP0 and segment.body.startswith(b"JFIF\0"):
            parts.append(segment._replace(body=b"JFIF\0\1\1" + segment.body[7:]).written())
        elif segment.code == _APP14 and segment.body.startswith(b"Adobe"):
            parts.append(_with_known_transform(segment, header).written())
        elif segment.code == _SOS and header and header.process in _SEQUENTIAL:
            parts.append(segment._replace(body=segment.body[:-3] + _SEQUENTIAL_SCAN).written())
        elif segment.code not in _PASSED_OVER:
            parts.append(segment.written())
    return b"".join(parts)


def _may_be_segment(stray: bytes) -> bool:
    """Return whether stray bytes have the length that they state, with or without a marker of two bytes."""
    return any(
        len(stray) == start + int.from_bytes(stray[start : start + 2], "big")
        for start in (0, 2)
        if len(stray) > start + 2
    )


def _with_known_transform(segment: Segment, header: FrameHeader | None) -> Segment:
    """Set the colour transform of an Adobe segment to the one that libjpeg assumes for unknown ones."""
    components = len(header.factors) if header else 0
    known = {3: (1, 0), 4: (2, 0)}.get(components)
    if not known or len(segment.body) < 12 or segment.body[11] in known:
        return segment
    return segment._replace(body=segment.body[:11] + bytes([known[0]]) + segment.body[12:])


def unpadded(data: bytes, last: bytes) -> bytes:
    """Replace the zeros at the end of scans of a `tidied` file by `last`; if scans are missing, they stay."""
    if _lacks_scans(data):
        return data
    parts = []
    for segment in segments(data):
        coded = segment.scan.rstrip(b"\0")
        stuffing = b"\0" if coded.endswith(b"\xff") else b""  # FF 00 is a data byte of FF
        if coded + stuffing != segment.scan:
            segment = segment._replace(scan=coded + stuffing + last)
        parts.append(segment.stray + segment.written())
    return b"".join(parts)


def _lacks_scans(data: bytes) -> bool:
    """Return whether some coefficients of some component, or their last bits, are in none of the scans.

    Decoders silently show the rest, as for a file that is still being downloaded.
    """
    header = frame_header(data)
    if header is None or header.process not in (*_SEQUENTIAL, *_PROGRESSIVE):
        return False
    missing = {(name, index) for name in header.names for index in range(64)}
    for segment in segments(data):
        if segment.code == _SOS and len(segment.body) >= 4:
            first, last, bits = segment.body[-3:]
            if header.process in _SEQUENTIAL:
                first, last, bits = _SEQUENTIAL_SCAN
            if not bits & 15:
                names = segment.body[1 : 1 + 2 * segment.body[0] : 2]
                missing -= {(name, index) for name in names for index in range(first, last + 1)}
    return bool(missing)
