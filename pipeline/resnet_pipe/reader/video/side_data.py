"""Hide side data from decoders that refuse a picture when its side data is malformed.

Side data describes how to show, caption or find pictures: SEI messages in HEVC, metadata in AV1. What
is hidden stays in place, but as filler, which decoders skip: nothing else moves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

_START_CODE = re.compile(b"\0\0\1")
_SEI = (39, 40)
_FILLER = 38
_FIRST_NOT_OF_PICTURE = 32
"""Types of HEVC's NAL units (ITU-T H.265, table 7-1); types below the last one hold pictures."""
_LENGTH_SIZE, _ARRAYS = 21, 22
"""Where HEVC's configuration gives the size of lengths, and the number of arrays of units."""
_METADATA, _PADDING = 5, 15
"""Types of AV1's OBUs, open bitstream units (AV1 specification, section 6.2.2)."""


class SideData:
    """The side data of the stream that a context decodes."""

    def __init__(self, context: VideoCodecContext) -> None:
        self._context = context
        self._codec = context.codec.canonical_name
        self._extradata = bytearray(context.extradata or b"")
        self._length_size: int | None = None  # NAL units follow start codes
        if self._extradata[:3] > b"\0\0\1" and len(self._extradata) > _ARRAYS:  # as FFmpeg tells
            self._length_size = (self._extradata[_LENGTH_SIZE] & 3) + 1

    def hide(self, packet: Packet[VideoStream], before: bool = False) -> bool:
        """Hide what does not affect pictures in a packet, in place; return whether there was any.

        For HEVC, this is SEI after the beginning of the picture: a decoder that refuses it has started the
        picture, and cannot retry. Some SEI before it does matter (orientation, film grain, where decoding may
        start) and is hidden only with `before`, as is that before all pictures if the decoder has not opened.
        """
        data = memoryview(packet)
        if self._codec == "av1":
            return _hide_metadata(data)
        if self._codec != "hevc":
            return False
        if self._length_size is None:
            units = _after_start_codes(data)
        else:
            units = _after_lengths(data, self._length_size)
        in_header = before and not self._context.is_open and self._hide_in_header()
        return _hide_sei(data, units, before) or in_header

    def _hide_in_header(self) -> bool:
        header = self._extradata
        units = _after_start_codes(header) if self._length_size is None else _in_configuration(header)
        found = _hide_sei(memoryview(header), units, True)
        self._context.extradata = bytes(header)
        return found


def _after_start_codes(data: bytearray | memoryview) -> Iterator[int]:
    """Yield the offsets of NAL units (ITU-T H.265, annex B)."""
    return (code.end() for code in _START_CODE.finditer(data))


def _after_lengths(data: memoryview, size: int) -> Iterator[int]:
    """Yield the offsets of NAL units, each after its length in `size` bytes (ISO/IEC 14496-15, 4.3.3)."""
    position = size
    while position < len(data):
        yield position
        position += int.from_bytes(data[position - size : position], "big") + size


def _in_configuration(data: bytearray) -> Iterator[int]:
    """Yield the offsets of NAL units in a decoder's configuration (ISO/IEC 14496-15, 8.3.3.1)."""
    position = _ARRAYS + 1
    for _ in range(data[_ARRAYS]):
        count = int.from_bytes(data[position + 1 : position + 3], "big")
        position += 3
        for _ in range(count):
            yield position + 2
            position += 2 + int.from_bytes(data[position : position + 2], "big")


def _hide_sei(data: memoryview, units: Iterator[int], before: bool) -> bool:
    found = False
    for unit in units:
        if unit >= len(data):
            break
        kind = data[unit] >> 1 & 0x3F
        if kind < _FIRST_NOT_OF_PICTURE:
            before = True
        elif kind in _SEI and before:
            data[unit] = data[unit] & 0x81 | _FILLER << 1
            found = True
    return found


def _hide_metadata(data: memoryview) -> bool:
    """Hide the metadata of AV1, none of which affects pictures (AV1 specification, section 5.3)."""
    found, position = False, 0
    while position < len(data):
        header = data[position]
        if header >> 3 & 0x0F == _METADATA:
            data[position] = header & 0x87 | _PADDING << 3
            found = True
        if not header & 0x02:
            break  # it has no length: it is the last one
        position += 1 + (header >> 2 & 1)
        length = shift = 0
        for byte in data[position : position + 8]:  # leb128, section 4.10.5
            position += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        position += length
    return found
