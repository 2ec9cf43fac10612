"""Where a transport stream lacks packets, and where only the counter jumps (ISO/IEC 13818-1, 2.4.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from resnet_pipe.reader.opened import Opened
from resnet_pipe.reader.video.container import IN_STEP, TS_SYNC, transport_packets

_AT_ONCE = 1 << 15
"""Packets that are examined at a time: about 6 MB."""
_LENGTH = 188
_PES_HEADER = 6
"""Bytes of a frame's packet that are not included in its length (section 2.4.3.6)."""


class Jump(NamedTuple):
    """A place where the packets of one stream are not consecutive, by the offset of the one after it.

    It is `whole` if the frame that ends or continues there is certainly complete.
    """

    offset: int
    whole: bool


@dataclass
class _Pes:
    """The state of the packetized elementary stream packet that is being read.

    Its header has `declared` its length in bytes, or 0; so many were `seen` so far. Only its last packet may
    be `padded`. It is `torn` where the counter jumped within it, and `spoilt` if bytes that are no packets
    have come within it: they may have become part of it.
    """

    declared: int = 0
    seen: int = 0
    padded: bool = False
    torn: int | None = None
    spoilt: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether all of it has been seen, and nothing else, for certain."""
        if self.spoilt:
            return False
        return self.seen == self.declared if self.declared else self.padded and self.torn is None

    @property
    def contradicts(self) -> bool:
        """Whether its length differs from its header."""
        return self.declared not in (0, self.seen)


def _adaptation_field(packet: bytes) -> tuple[int, bool, bool]:
    """Read what may come between a packet's header and its payload (section 2.4.3.4).

    Return its length with the length byte; whether the counter jumps on purpose; and whether it is padding,
    which fills the rest of a packet after the end of a frame.
    """
    if not packet[3] & 0x20:
        return 0, False, False
    length = packet[4]
    if not length:
        return 1, False, True
    flags = packet[5]
    needed = 1 + 6 * bool(flags & 0x10) + 6 * bool(flags & 0x08) + bool(flags & 0x04)
    return 1 + length, bool(flags & 0x80), not flags & 0x03 and length > needed


def find_jumps(opened: Opened, pid: int, alive: Callable[[], None]) -> Iterator[Jump]:
    """Yield where the continuity counter of the stream `pid` jumps, in the order of the file.

    This alone does not mean that something is missing: it also jumps where recordings are joined.
    """
    layout = transport_packets(opened)
    if layout is None:
        yield Jump(0, False)
        return
    length, sync = layout
    pes, last, place = _Pes(), -1, 0
    for place, packet in _packets(opened, length, sync, pid, alive):
        if packet[0] != TS_SYNC or packet[1] & 0x80:  # astray, or damaged when it was received
            if last >= 0:
                pes.torn, pes.spoilt = place if pes.torn is None else pes.torn, True
            continue
        holds, begins = bool(packet[3] & 0x10), bool(packet[1] & 0x40)
        field_bytes, announced, is_padding = _adaptation_field(packet)
        jumps = not announced and packet[3] & 0x0F != (last + holds) & 0x0F
        if begins:
            if pes.torn is not None:
                yield Jump(pes.torn, pes.is_whole)
            if last >= 0 and (jumps or pes.contradicts):
                yield Jump(place, pes.is_whole)
            pes = _Pes()
        elif last >= 0 and jumps and pes.torn is None:
            pes.torn = place
        last = packet[3] & 0x0F
        payload = packet[4 + field_bytes :] if holds else b""
        if begins and (declared := int.from_bytes(payload[4:_PES_HEADER], "big")):
            pes.declared = declared + _PES_HEADER
        pes.seen += len(payload)
        pes.padded = is_padding
    if pes.torn is not None or pes.contradicts:
        yield Jump(place if pes.torn is None else pes.torn, pes.is_whole)


def _packets(
    opened: Opened, length: int, sync: int, pid: int, alive: Callable[[], None]
) -> Iterator[tuple[int, bytes]]:
    """Yield the packets of a stream, and where they are. What begins otherwise than packets is of any.

    After that, packets may be anywhere: where a recording was cut off within one, another may follow.
    """
    start = 0
    while len(data := opened.read_at(start, _AT_ONCE * length)) >= length:
        alive()
        whole = len(data) // length
        heads = np.frombuffer(data, np.uint8, whole * length).reshape(whole, length)[:, sync : sync + 4]
        astray = np.flatnonzero(heads[:, 0] != TS_SYNC)[:1]
        mine = ((heads[:, 1] & 0x1F).astype(np.uint16) << 8 | heads[:, 2]) == pid
        if len(astray):
            whole = int(astray[0])
            mine[whole:], mine[whole] = False, True
        for number in np.flatnonzero(mine).tolist():
            place = number * length
            yield start + place, data[place + sync : place + sync + _LENGTH]
        start += whole * length
        if len(astray):
            start += _first_in_step(data[whole * length :], length, sync)


def _first_in_step(data: bytes, length: int, sync: int) -> int:
    """Return where packets begin again that follow each other; where the data end, fewer will do."""
    syncs = np.frombuffer(data, np.uint8) == TS_SYNC
    follow = syncs.copy()
    for number in range(1, IN_STEP):
        follow[: -number * length] &= syncs[number * length :]
    follow[:sync] = False
    places = np.flatnonzero(follow)
    return int(places[0]) - sync if len(places) else len(data)
