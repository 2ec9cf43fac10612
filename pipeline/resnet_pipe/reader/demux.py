"""Open video files and read their packets, without decoding: with PyAV, which brings its own FFmpeg."""

from __future__ import annotations

import errno
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

import av
from av.codec.context import Flags as CodecFlags
from av.packet import Packet
from av.stream import Discard
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.container import ends_early, is_known
from resnet_pipe.reader.file import check_readable
from resnet_pipe.reader.index import Index, Packets, index_packets
from resnet_pipe.reader.side_data import SideData
from resnet_pipe.reader.source import Span
from resnet_pipe.reader.track import Track, choose

VideoPacket: TypeAlias = "Packet[VideoStream]"

_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,live_flv,asf,asf_o,ogg,mxf,mxf_opatom,nut,ivf"
)
"""FFmpeg's demuxers for files that hold all of a video themselves: no playlists, patterns or devices."""
_MP4 = "mov,mp4,m4a,3gp,3g2,mj2"
_SILENT = frozenset(["matroska,webm", "avi", "mpegts"])
"""Demuxers that take a missing end for the end, without a word."""
_GENERATE_TIMES = 1
"""FFmpeg's AVFMT_FLAG_GENPTS, which PyAV sets."""
_INTER_CODECS = ["h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mpeg1video", "mpeg2video", "theora"]
_INTRA_CODECS = ["mjpeg", "prores", "dnxhd", "ffv1", "huffyuv", "utvideo", "rawvideo", "dvvideo", "png"]
_ONE_FRAME_A_PACKET = frozenset([*_INTER_CODECS, *_INTRA_CODECS])
"""Codecs of which each packet holds one frame, but for what `scan` looks out for."""
_STRICT = frozenset(["hevc", "mjpeg"])
"""Codecs whose decoders hide damage unless told not to, and then have nothing against whole files."""
_SHORTEST_MPEG4 = 32
"""Bytes of an MPEG-4 packet below which it may say no more than that there is no new frame."""
_NEAR = 500
"""So many packets are read and dropped sooner than the file is searched."""
_LEAD_S = 1
"""A span is indexed from so long before its first frame, for an earlier entry to start at."""


class Video:
    """A video file that is open for reading.

    Args:
        path: of a regular file.
        max_pixels: width times height of the largest frame to decode.
        alive: called with every packet that is read.
        track: the number of the video track to read; None for the one that ffmpeg takes.

    Attributes:
        track: the track that is read.
        codec: FFmpeg's name of what the video is coded in.
        context: the decoder.
        time_base: seconds per unit of time.
        count: packets that have been read.
        decoded: frames that have come out of the decoder; for whoever decodes to count.
        problem: why there are no more packets; None if that is the end of the file.

    Raises:
        SourceError: `unknown_format`, `truncated`, `damaged`, `no_video`, `unsupported` or `too_large`.
    """

    codec: str
    context: VideoCodecContext

    track: Track

    def __init__(
        self,
        path: Path,
        max_pixels: int,
        alive: Callable[[], None] = lambda: None,
        track: int | None = None,
    ) -> None:
        self.path = path
        self._asked = track
        self.alive = alive
        self.max_pixels = max_pixels
        # For frames that grow in the middle of a video; decoders count whole blocks.
        self._limit = {"max_pixels": str(min(2 * max_pixels + (1 << 16), 2**31 - 1))}
        self.decoded = 0
        self._open()

    def __enter__(self) -> Video:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the file and the decoder."""
        self._packets: Iterator[VideoPacket] = iter(())
        self._container.close()

    @property
    def seconds(self) -> float | None:
        """How long the video is by its header; None if that does not say."""
        return None if self._container.duration is None else self._container.duration / av.time_base

    def fault(self, text: str, cause: av.FFmpegError | None = None) -> SourceError:
        """Return the error for a file that cannot be read as it should, or for its disk if that is to blame.

        Args:
            text: what is wrong.
            cause: FFmpeg's. An error of input and output is its word for what the system refuses, but for
                damage too.
        """
        try:
            check_readable(self.path, self.alive)
        except SourceError as unreadable:
            return unreadable
        error = "truncated" if ends_early(self.path) else "damaged"
        return SourceError("reader", error, text, cause is not None and cause.errno == errno.EIO)

    def _open(self) -> None:
        options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file", **self._limit}
        try:
            self._container = av.open(str(self.path), options=options, metadata_errors="replace")
        except av.FFmpegError as error:
            if isinstance(error, av.ArgumentError) or not is_known(self.path):
                raise SourceError("reader", "unknown_format", "not a video file of a kind we know") from None
            if isinstance(error, av.EOFError) and not ends_early(self.path):
                raise SourceError("reader", "no_frames", "it ends before the first frame") from None
            raise self.fault(f"it cannot be opened: {describe(error)}", error) from None
        try:
            self._stream = self._choose_stream()
            self._prepare()
        except BaseException:
            self._container.close()
            raise

    def _choose_stream(self) -> VideoStream:
        tracks = self._container.streams.video
        if not tracks and ends_early(self.path):
            raise SourceError("reader", "truncated", "it ends before it says what is in it")
        if not tracks:
            raise SourceError("reader", "no_video", "there is no video in it")
        self.track = choose(tracks, self._asked)
        for other in self._container.streams:
            if other.index != self.track.stream.index:
                other.discard = Discard.all
        return self.track.stream

    def _prepare(self) -> None:
        context = self._stream.codec_context
        if context is None or not self._stream.time_base:
            text = f"there is no decoder for its video track {self.track.number}"
            if self.track.note is not None:
                text += ", which is the one that ffmpeg takes; reader.track chooses another"
            raise SourceError("reader", "unsupported", text)
        check_size(context.width, context.height, self.max_pixels)
        self.codec = context.codec.canonical_name
        self.context = context
        context.thread_count = 1  # a worker is a process
        # What a decoder would drop in silence comes out with a mark, and is then an error.
        context.flags |= CodecFlags.output_corrupt
        context.options = dict(self._limit)
        self._side_data = SideData(context)
        if self.codec in _STRICT:
            context.options["err_detect"] = "explode"
        # Times that the file does not hold would be guesses.
        self._container.flags &= ~_GENERATE_TIMES
        self.time_base = self._stream.time_base
        self._start()
        self.count = 0

    def _start(self) -> None:
        """Begin to read packets from where the file is."""
        self.problem: SourceError | None = None
        self._packets = self._demux()
        self._next: int | None = None

    def _demux(self) -> Iterator[VideoPacket]:
        """Yield packets up to the end of the file, or up to what `problem` then says."""
        try:
            for packet in self._container.demux(self._stream):
                if not packet.size:
                    continue  # the one that ends the stream, or a frame that AVI files call dropped
                if packet.is_corrupt:
                    self.problem = self.fault("a packet is not whole")
                    return
                if packet.has_sidedata("encryption_info"):
                    self.problem = SourceError("reader", "encrypted", "it is encrypted")
                    return
                self.count += 1
                self.alive()
                yield packet
        except av.FFmpegError as error:
            self.problem = self.fault(f"it cannot be read on: {describe(error)}", error)
        else:
            if self._lacks_its_end():
                self.problem = SourceError("reader", "truncated", "its end is missing")

    def _lacks_its_end(self) -> bool:
        """Tell whether a file whose packets have come to an end is not whole."""
        name = self._container.format.name
        short = name == _MP4 and (not self._stream.frames or self.count < self._stream.frames)
        return (short or name in _SILENT) and ends_early(self.path)

    def scan(self, span: Span | None = None) -> Index | None:
        """Read all packets, or those that a span needs, and make an index of them.

        Args:
            span: of this very video.

        Returns:
            None if the packets do not tell which frames there are, and when.
        """
        if span is not None and span.start_pts is not None:
            lead = round(_LEAD_S / self.time_base)
            self._search([span.start_pts - lead, span.start_pts - 10 * lead], None, span.start_pts)
        if self.codec not in _ONE_FRAME_A_PACKET:
            return None
        pts, key, shown = array("q"), bytearray(), bytearray()
        missing = -1 if span is None else span.frames
        for packet in self._packets:
            time = packet.pts
            if time is None or (self.codec == "mpeg4" and packet.size < _SHORTEST_MPEG4):
                return None
            visible = not packet.is_discard and _shows_a_frame(packet, self.codec)
            pts.append(time)
            key.append(packet.is_keyframe)
            shown.append(visible)
            missing -= visible and (span is None or _is_within(time, span))
            if not missing:
                break
        return index_packets(pts, key, shown, self.time_base, self.context.reorder_depth, self.problem)

    def read(self, packets: Packets, entry: int, last: int) -> Iterator[tuple[int, VideoPacket]]:
        """Yield packets with their numbers, in the order of decoding.

        Args:
            packets: of the index of this video.
            entry: where to start, a position in `packets.entry`.
            last: number of the last packet.

        Raises:
            SourceError: the file does not read as it did.
        """
        first = int(packets.entry[entry])
        if self._next is not None and 0 <= first - self._next <= _NEAR:
            for _ in range(first - self._next):
                next(self._packets, None)
        else:
            targets = packets.pts[packets.entry[max(0, entry - 2) : entry + 1]].tolist()
            self._search(reversed(targets), targets[-1], targets[-1])
        for number in range(first, last + 1):
            packet = next(self._packets, None)
            if packet is None or packet.pts != packets.pts[number]:
                self._next = None
                raise self.problem or self.fault("it does not read the same when it is read again")
            self._next = number + 1
            yield number, packet

    def decode(self, packet: VideoPacket | None) -> list[VideoFrame]:
        """Decode a packet; None gives the frames that the decoder has held back.

        Malformed side data costs no picture: if the decoder refuses a packet, it is asked again without them.

        Args:
            packet: is changed.

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

    def rewind(self) -> Iterator[VideoPacket]:
        """Yield all packets, from the very first."""
        self.close()
        self._open()
        return self._packets

    def _search(self, targets: Iterable[int], low: int | None, high: int) -> None:
        """Go to the first key frame that is presented from `low` to `high`.

        Where a demuxer lands is never certain: some go by the time of decoding, some guess from the bytes.

        Args:
            targets: presentation times to seek, one after the other; the last resort is the beginning.
            low: units of the time base; None for any.
            high: units of the time base.
        """
        for target in chain(targets, [None]):
            if target is None:
                self.rewind()
            elif not self._seek(target):
                continue
            for packet in self._packets:
                if packet.pts is None:
                    continue
                if packet.pts > high:
                    break
                if packet.is_keyframe and (low is None or packet.pts >= low):
                    self._packets = chain([packet], self._packets)
                    return
        raise self.fault("a key frame is not found again")

    def _seek(self, pts: int) -> bool:
        """Go somewhere near a presentation time; False if the demuxer cannot."""
        try:
            self._container.seek(pts, stream=self._stream)
        except av.FFmpegError:
            return False
        self._start()
        return True


def _is_within(pts: int, span: Span) -> bool:
    return (span.start_pts is None or pts >= span.start_pts) and (span.end_pts is None or pts < span.end_pts)


def _shows_a_frame(packet: VideoPacket, codec: str) -> bool:
    """Tell whether a packet holds a frame to show, not only one that others are predicted from.

    In VP8 a bit says so (RFC 6386, section 9.1). In VP9, the encoder puts both into one packet, a superframe
    (VP9 bitstream specification, annex B); a packet with a hidden frame alone is unusual, but allowed.
    """
    if codec == "vp8":
        return bool(memoryview(packet)[0] & 0x10)
    if codec == "vp9":
        data = memoryview(packet)
        first, last = data[0], data[-1]
        if first & 0x30 == 0x30:  # profile 3 has one more bit
            first <<= 1
        show_existing, show = first & 0x08, first & 0x02
        return bool(show_existing or show or last & 0xE0 == 0xC0)
    return True


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse frames of too many pixels.

    Raises:
        SourceError: `too_large`.
    """
    if width * height > max_pixels:
        problem = f"{width} x {height} pixels: more than reader.max_pixels, {max_pixels}"
        raise SourceError("reader", "too_large", problem)


def describe(error: av.FFmpegError) -> str:
    """Return what FFmpeg says, without numbers and file names."""
    return error.strerror or type(error).__name__
