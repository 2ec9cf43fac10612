"""The decoder of a video track, which reports damage and puts up with malformed side data."""

from __future__ import annotations

from typing import cast

import av
from av.codec.context import Flags as CodecFlags
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from resnet_pipe.reader.video.side_data import SideData

_STRICT = frozenset(["hevc", "mjpeg"])
"""Codecs whose decoders hide damage unless told not to, and then have nothing against whole files."""


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
        self._side_data = SideData(context)
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
            self.context, self._side_data = new, SideData(new)
        return self.context

    def decode(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        """Decode a packet, which may be modified; None flushes the frames that the decoder has held back.

        Malformed side data is no damage: if the decoder refuses a packet, it is tried again without them.

        Raises:
            av.FFmpegError: the decoder refuses the picture.
        """
        if packet is None:
            return self.context.decode(None)
        self._side_data.hide(packet)
        try:
            return self.context.decode(packet)
        except av.FFmpegError:
            if not self._side_data.hide(packet, before=True):
                raise
        return self.context.decode(packet)
