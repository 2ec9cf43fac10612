"""Videos that were joined, for the tests: made of parts that were each encoded on their own."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import av

TS_PACKET = 188
PID = 256
"""Of the video, in what FFmpeg writes."""


def _packets(data: bytes) -> tuple[list[bytearray], list[int]]:
    """Return the packets of a transport stream, and which are of the video."""
    packets = [bytearray(data[at : at + TS_PACKET]) for at in range(0, len(data), TS_PACKET)]
    return packets, [n for n, packet in enumerate(packets) if (packet[1] & 0x1F) << 8 | packet[2] == PID]


def frame_starts(data: bytes) -> list[int]:
    """Return which packets of the video, counted from 0, frames begin with."""
    packets, video = _packets(data)
    return [number for number, place in enumerate(video) if packets[place][1] & 0x40]


def padded_starts(data: bytes) -> list[int]:
    """Return those of `frame_starts` before which a packet is filled up: the frame before ends there."""
    packets, video = _packets(data)
    return [start for start in frame_starts(data) if start and packets[video[start - 1]][3] & 0x20]


def recount(data: bytes, first: int, by: int = 5) -> bytes:
    """Let the continuity counter jump before a packet of the video, with nothing missing."""
    packets, video = _packets(data)
    for place in video[first:]:
        packets[place][3] = packets[place][3] & 0xF0 | (packets[place][3] + by) & 0x0F
    return b"".join(packets)


def last_count(data: bytes) -> int:
    """Return the continuity counter of the video's last packet."""
    packets, video = _packets(data)
    return packets[video[-1]][3] & 0x0F


def without(data: bytes, first: int, stop: int) -> bytes:
    """Leave out the video's packets from `first` to before `stop`, as if they had not been received."""
    packets, video = _packets(data)
    lost = set(video[first:stop])
    return b"".join(packet for place, packet in enumerate(packets) if place not in lost)


def two_descriptions(first: Path, second: Path, path: Path) -> Path:
    """Write the frames of two MP4 files into one track, with the sample description of each (`stsd`).

    Args:
        first: an MP4 file with one track of video, and its table of contents at the end.
        second: another of the same codec and time base.
        path: of the new file.
    """
    end = _append(first, second, path)
    data = path.read_bytes()
    sizes = _sizes(path)
    at = data.index(b"mdat") + 4
    offsets = [at + sum(sizes[:number]) for number in range(len(sizes))]
    other = _box(second.read_bytes(), b"stsd")[16:]
    data = _rewrite(data, b"stsd", lambda box: _full(b"stsd", struct.pack(">I", 2) + box[16:] + other))
    chunks = struct.pack(">7I", 2, 1, 1, 1, end + 1, 1, 2)
    data = _rewrite(data, b"stsc", lambda _: _full(b"stsc", chunks))
    table = struct.pack(f">{len(offsets) + 1}I", len(offsets), *offsets)
    path.write_bytes(_rewrite(data, b"stco", lambda _: _full(b"stco", table)))
    return path


def _append(first: Path, second: Path, path: Path) -> int:
    """Write the packets of two files one after the other; return how many the first has."""
    with av.open(str(path), "w", options={"movflags": "-faststart", "use_editlist": "0"}) as target:
        with av.open(str(first)) as source:
            stream = target.add_stream_from_template(source.streams.video[0])
            packets = [packet for packet in source.demux(video=0) if packet.size]
            for packet in packets:
                packet.stream = stream
                target.mux(packet)
        shift = max((packet.pts or 0) + (packet.duration or 0) for packet in packets)
        with av.open(str(second)) as source:
            for packet in source.demux(video=0):
                if packet.size:
                    assert packet.pts is not None
                    assert packet.dts is not None
                    packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                    target.mux(packet)
    return len(packets)


def _sizes(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [packet.size for packet in container.demux(video=0) if packet.size]


def _box(data: bytes, kind: bytes) -> bytes:
    at = data.rindex(kind) - 4
    return data[at : at + int.from_bytes(data[at : at + 4], "big")]


def _full(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4sI", 12 + len(body), kind, 0) + body


_AROUND = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


def _rewrite(data: bytes, kind: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Replace a box of the only track's sample table, and adapt the sizes of those around it."""
    old = _box(data, kind)
    new = change(old)
    at = data.rindex(kind) - 4
    data = data[:at] + new + data[at + len(old) :]
    for parent in _AROUND:
        place = data.rindex(parent) - 4
        size = int.from_bytes(data[place : place + 4], "big") + len(new) - len(old)
        data = data[:place] + size.to_bytes(4, "big") + data[place + 4 :]
    return data
