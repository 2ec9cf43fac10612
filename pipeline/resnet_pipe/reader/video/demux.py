"""Open video files and read their packets, without decoding, with PyAV, which includes FFmpeg."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import av
from av.stream import Discard, Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.behind import behind
from resnet_pipe.reader.opened import Opened
from resnet_pipe.reader.source import check_pixels
from resnet_pipe.reader.video.container import ends_early, is_known
from resnet_pipe.reader.video.decoder import Decoder, VideoPacket, describe, pixel_limit
from resnet_pipe.reader.video.input import Input
from resnet_pipe.reader.video.timeline import Timeline

_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,live_flv,asf,asf_o,ogg,mxf,mxf_opatom,nut,ivf"
)
"""FFmpeg's demuxers for files that hold all of a video themselves: no playlists, patterns or devices."""
_MP4 = "mov,mp4,m4a,3gp,3g2,mj2"
_MPEGTS = "mpegts"
_MAY_JUMP = frozenset([_MPEGTS, "mpeg"])
"""Demuxers of containers whose times may jump (FFmpeg's AVFMT_TS_DISCONT), as they do at joins."""
_DESCRIBES = frozenset([_MP4, "flv", "live_flv"])
"""Demuxers that deliver new decoder parameters with the first packet that they apply to."""
_SILENT = frozenset(["matroska,webm", "avi", "mpegts"])
"""Demuxers that take a missing end for the end, without a word."""
_GENERATE_TIMES = 1
"""FFmpeg's AVFMT_FLAG_GENPTS, which PyAV sets."""
_PICTURE = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
"""Dispositions of video tracks that are not videos, such as covers."""
_DEFAULT_PIXELS = 5_000_000
"""How many pixels the default flag counts as in ffmpeg's automatic stream selection."""
_BUFFER_BYTES = 256 << 10
"""What FFmpeg asks for at a time where a video is on no disk."""
_PASSED_BYTES = 1 << 20
"""So much is let go at a time."""


class Video:
    """A video file whose packets are read. It stays open after that: who has opened it closes it.

    Attributes:
        opened: the file; `path` is its own, None if it is on no disk.
        max_pixels: width times height of the largest frame to decode.
        alive: called for every packet that is read.
        track: number of the track that is read, as in ffmpeg's `v:N`: the given one, or the one that ffmpeg
            selects; `stream` is the track itself.
        note: which track was selected, if there are several and none was given.
        time_base: seconds per unit of time.
        count: packets that have been read.
        decoded: frames that have come out of the decoder; counted by the code that decodes.
        problem: why there are no more packets; None at the end of the file.
        next: number of the first of `packets`, which have not been read yet, if the code that reads them has
            set it.
        marked: number of the first packet at which a continuity counter jumps; None if there is none.
        described: new decoder parameters, by the first packet that they apply to, of those read.
        damage: how many packets are intact, and why the next is not; None if all are. Set by `scan`, as is
            `timeline`.
        left_out: frames after a join that could not be decoded without those before it.
        notes: what is unusual about the video, but was handled.
        extent: of a span, where in the file its packets begin, from its start on. Set by `scan`.

    Raises:
        SourceError: `unknown_format`, `truncated`, `damaged`, `no_video`, `unsupported`, `too_large` or
            `unreadable`.
        OSError: of a file that is on no disk: it cannot be read.
    """

    track: int
    note: str | None
    stream: VideoStream
    decoder: Decoder

    def __init__(
        self,
        opened: Opened,
        max_pixels: int,
        alive: Callable[[], None] = lambda: None,
        track: int | None = None,
    ) -> None:
        self.opened = opened
        self._input = Input(opened, alive)
        self.path = self._input.path
        self._asked = track
        self.alive = alive
        self.max_pixels = max_pixels
        self.decoded = 0
        self.timeline = Timeline()
        self.damage: tuple[int, SourceError] | None = None
        self.left_out = 0
        self.notes: list[str] = []
        self.extent = range(0)
        self._open()

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the demuxer and the decoder."""
        self.packets: Iterator[VideoPacket] = iter(())
        self._container.close()

    @property
    def may_jump(self) -> bool:
        """Whether its container allows times to jump; then, long gaps do not count as gaps."""
        return self._container.format.name in _MAY_JUMP

    @property
    def is_transport(self) -> bool:
        """Whether it is a transport stream, whose continuity counters show missing packets."""
        return self._container.format.name == _MPEGTS

    @property
    def seconds(self) -> float | None:
        """How long the video is by its header; None if that does not say."""
        return None if self._container.duration is None else self._container.duration / av.time_base

    def fault(self, text: str, cause: av.FFmpegError | None = None) -> SourceError:
        """Return the error for a file that cannot be read as it should, or for its disk if that is to blame.

        FFmpeg's error of input and output is its word for what the system refuses, but for damage too.
        """
        try:
            self._input.check()
        except SourceError as unreadable:
            return unreadable
        error = "truncated" if ends_early(self.opened) else "damaged"
        return SourceError("reader", error, text, cause is not None and cause.errno == errno.EIO)

    def _open(self) -> None:
        options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file", **pixel_limit(self.max_pixels)}
        self._input.seek(0)
        try:
            self._container = av.open(
                self._input if self.path is None else str(self.path),
                "r",
                options=options,
                metadata_errors="replace",
                buffer_size=_BUFFER_BYTES,
            )
        except av.FFmpegError as error:
            if self._input.problem is not None:
                raise self._input.problem from None
            if isinstance(error, av.ArgumentError) or not is_known(self.opened):
                raise SourceError("reader", "unknown_format", "not a video file of a kind we know") from None
            if isinstance(error, av.EOFError) and not ends_early(self.opened):
                raise SourceError("reader", "no_frames", "it ends before the first frame") from None
            raise self.fault(f"it cannot be opened: {describe(error)}", error) from None
        try:
            if self._input.problem is not None:
                raise self._input.problem
            self._prepare()
        except BaseException:
            self._container.close()
            raise

    def _prepare(self) -> None:
        """Choose the track, and get ready to read its packets and to decode them."""
        tracks = self._container.streams.video
        if not tracks and ends_early(self.opened):
            raise SourceError("reader", "truncated", "it ends before its contents are described")
        self.track, self.note = _choose(tracks, self._asked)
        self.stream = tracks[self.track]
        for other in self._container.streams:
            if other.index != self.stream.index:
                other.discard = Discard.all
        context = self.stream.codec_context
        if context is None or not self.stream.time_base:
            text = f"there is no decoder for its video track {self.track}"
            if self.note is not None:
                text += ", the one that ffmpeg selects; reader.track selects another"
            raise SourceError("reader", "unsupported", text)
        check_pixels(context.width, context.height, self.max_pixels)
        self.decoder = Decoder(context, self.max_pixels)
        # Times that the file does not hold would be guesses.
        self._container.flags &= ~_GENERATE_TIMES
        self.time_base = self.stream.time_base
        self._start()
        self.count = 0
        self.marked: int | None = None
        self.described: dict[int, bytes] = {}
        self._described = context.extradata

    def _start(self) -> None:
        """Begin to read packets from where the file is."""
        self.problem: SourceError | None = None
        self._passed: int | None = None
        self.packets = self._demux()
        self.next: int | None = None

    def _demux(self) -> Iterator[VideoPacket]:
        """Yield packets up to the end of the file, or up to what `problem` then says."""
        name = self._container.format.name
        try:
            for packet in self._stream_packets():
                if not packet.size:
                    continue  # the one that ends the stream, or a frame that AVI files call dropped
                if packet.is_corrupt and self.is_transport:
                    self.marked = self.count if self.marked is None else self.marked
                elif packet.is_corrupt:
                    self.problem = self.fault("a packet is not whole")
                    return
                if packet.has_sidedata("encryption_info"):
                    self.problem = SourceError("reader", "encrypted", "it is encrypted")
                    return
                if name in _DESCRIBES and packet.has_sidedata("new_extradata"):
                    extradata = bytes(packet.get_sidedata("new_extradata"))
                    if extradata != self._described:
                        self.described[self.count] = self._described = extradata
                self.count += 1
                self._pass(packet.pos)
                self.alive()
                yield packet
        except av.FFmpegError as error:
            self.problem = self.fault(f"it cannot be read on: {describe(error)}", error)
        else:
            self.problem = self._input.problem
            short = name == _MP4 and (not self.stream.frames or self.count < self.stream.frames)
            if self.problem is None and (short or name in _SILENT) and ends_early(self.opened):
                self.problem = SourceError("reader", "truncated", "its end is missing")

    def _pass(self, offset: int | None) -> None:
        """Let go what comes before an offset, of a file that is too large to stay for a second pass."""
        if offset is None or behind.keeps(self.opened.size):
            return
        if self._passed is None or offset < self._passed:
            self._passed = offset
        elif offset - self._passed >= _PASSED_BYTES:
            self.opened.let_go(self._passed, offset - self._passed)
            self._passed = offset

    def _stream_packets(self) -> Iterator[VideoPacket]:
        with suppress(IndexError):  # PyAV's, at the end of a file in which streams have appeared since
            yield from self._container.demux(self.stream)

    def begin(self, number: int) -> VideoCodecContext:
        """Reset the decoder for a packet that does not depend on earlier ones, and return it."""
        return self.decoder.begin(self.timeline.at(number).extradata)

    def rewind(self) -> None:
        """Go to the very first packet."""
        self.close()
        self._open()

    def seek(self, pts: int) -> bool:
        """Go somewhere near a presentation time; False if the demuxer cannot."""
        try:
            self._container.seek(pts, stream=self.stream)
        except av.FFmpegError:
            return False
        self._start()
        return True


def _choose(streams: Sequence[VideoStream], asked: int | None) -> tuple[int, str | None]:
    """Choose the track that is asked for, or that ffmpeg selects; raises `SourceError`: `no_video`.

    Return its number, and if there was a choice, a note that tells so.
    """
    if asked is not None and streams:
        if asked >= len(streams):
            raise SourceError("reader", "no_video", f"it has {_count(streams)}, but reader.track is {asked}")
        if streams[asked].disposition & _PICTURE:
            raise SourceError("reader", "no_video", f"its video track {asked} is a picture, not a video")
        return asked, None
    videos = [number for number, stream in enumerate(streams) if not stream.disposition & _PICTURE]
    if not videos:
        raise SourceError("reader", "no_video", "there is no video in it")
    number = max(videos, key=lambda each: _weight(streams[each]))
    if len(videos) == 1:
        return number, None
    return number, f"it has {_count(streams)}: track {number} was read; reader.track selects another"


def _weight(stream: VideoStream) -> tuple[bool, int]:
    """Return ffmpeg's criteria: whether there are packets, as the header says, and the size; the first wins.

    Without a decoder, the size is unknown: a track with one comes first, unless only the other is the
    default.
    """
    is_default = bool(stream.disposition & Disposition.default)
    pixels = stream.width * stream.height if stream.codec_context else 0
    return bool(stream.frames), pixels + _DEFAULT_PIXELS * is_default


def _count(streams: Sequence[VideoStream]) -> str:
    last = len(streams) - 1
    return f"{last + 1} video tracks (0 to {last})" if last else "1 video track (number 0)"
