"""The decoder of a video track, which reports damage and puts up with malformed side data.

Side data describes how to show, caption or find pictures: SEI messages in HEVC, metadata in AV1. What
is hidden stays in place, but as filler, which decoders skip: nothing else moves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias, cast

import av
from av.codec.context import Flags as CodecFlags
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

VideoPacket: TypeAlias = "Packet[VideoStream]"

_STRICT = frozenset(["hevc", "mjpeg"])
"""Codecs whose decoders hide damage unless told not to, and then have nothing against whole files."""

_START_CODE = re.compile(b"\0\0\1")
_SEI = (39, 40)
_FILLER = 38
_FIRST_NOT_OF_PICTURE = 32
"""Types of HEVC's NAL units (ITU-T H.265, table 7-1); types below the last one hold pictures."""
_LENGTH_SIZE, _ARRAYS = 21, 22
"""Where HEVC's configuration gives the size of lengths, and the number of arrays of units."""
_METADATA, _PADDING = 5, 15
"""Types of AV1's OBUs, open bitstream units (AV1 specification, section 6.2.2)."""


def pixel_limit(max_pixels: int) -> dict[str, str]:
    """Return FFmpeg's option against frames that grow in the middle of a video; it counts whole blocks."""
    return {"max_pixels": str(min(2 * max_pixels + (1 << 16), 2**31 - 1))}


def describe(error: av.FFmpegError) -> str:
    """Return what FFmpeg says, without numbers and file names."""
    return error.strerror or type(error).__name__


class Decoder:
    """Decodes the packets of one track with the context of its stream, which is not open yet.

    Frames may have `max_pixels`. `context` is what decodes now: other parameters need another. `codec` is
    FFmpeg's name.
    """

    def __init__(self, context: VideoCodecContext, max_pixels: int) -> None:
        self.codec: str = context.codec.canonical_name
        self.context = context
        context.thread_count = 1  # a worker is a process
        # What a decoder would drop in silence comes out with a mark, and is then an error.
        context.flags |= CodecFlags.output_corrupt
        context.options = pixel_limit(max_pixels)
        if self.codec in _STRICT:
            context.options["err_detect"] = "explode"
        self._header = self._extradata = context.extradata

    def begin(self, extradata: bytes | None) -> VideoCodecContext:
        """Forget what has been decoded; return the context for these parameters, or those in the header."""
        extradata = extradata or self._header
        if extradata == self._extradata:
            self.context.flush_buffers()
        else:
            old, self._extradata = self.context, extradata
            new = cast(VideoCodecContext, av.CodecContext.create(old.name, "r"))
            new.extradata, new.codec_tag, new.options = extradata, old.codec_tag, dict(old.options)
            new.thread_count, new.flags = old.thread_count, old.flags
            self.context = new
        return self.context

    def decode(self, packet: VideoPacket | None) -> list[VideoFrame]:
        """Decode a packet, which may be modified; None flushes the frames that the decoder has held back.

        Malformed side data is no damage: if the decoder refuses a packet, it is tried again without them.

        Raises:
            av.FFmpegError: the decoder refuses the picture.
        """
        if packet is None:
            return self.context.decode(None)
        self._hide(packet)
        try:
            return self.context.decode(packet)
        except av.FFmpegError:
            if not self._hide(packet, before=True):
                raise
        return self.context.decode(packet)

    def _hide(self, packet: VideoPacket, before: bool = False) -> bool:
        """Hide what does not affect pictures in a packet, in place; return whether there was any.

        For HEVC, this is SEI after the beginning of the picture: a decoder that refuses it has started the
        picture, and cannot retry. Some SEI before it does matter (orientation, film grain, where decoding may
        start) and is hidden only with `before`, as is that before all pictures if the decoder has not opened.
        """
        data = memoryview(packet)
        if self.codec == "av1":
            return _hide_metadata(data)
        if self.codec != "hevc":
            return False
        header = bytearray(self._extradata or b"")
        if header[:3] > b"\0\0\1" and len(header) > _ARRAYS:  # as FFmpeg tells that NAL units have lengths
            units, in_header = _after_lengths(data, (header[_LENGTH_SIZE] & 3) + 1), _in_configuration(header)
        else:
            units, in_header = _after_start_codes(data), _after_start_codes(header)
        found = _hide_sei(data, units, before)
        if before and not self.context.is_open:
            found |= _hide_sei(memoryview(header), in_header, before)
            self.context.extradata = bytes(header)
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
