"""Write TIFF files of any samples, so that what is in them is known without another reader."""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
NONE, LZW, DEFLATE, PACKBITS, LZMA = 1, 5, 8, 32773, 34925
BYTE, SHORT, LONG = 1, 3, 4

Tags = dict[int, tuple[int, tuple[int, ...]]]
"""Type and values of each tag."""


@dataclass(frozen=True)
class Tiff:
    """What a file is to be like.

    Attributes:
        bits: of each sample, 1 to 16, or 32.
        photometric: the meaning of the colours.
        order: `<` or `>`.
        big: a BigTIFF file.
        planar: each sample has strips or tiles of its own.
        chunk: width and height of a tile; or None and the rows of a strip.
        compression: one of those above.
        predictor: 2 for differences.
        reversed_bits: the lowest bit of a byte comes first.
        tags: more of them, and others than these would give: type and values.
    """

    bits: int = 8
    photometric: int = BLACK_IS_ZERO
    order: str = "<"
    big: bool = False
    planar: bool = False
    chunk: tuple[int | None, int] = (None, 5)
    compression: int = NONE
    predictor: int = 1
    reversed_bits: bool = False
    tags: Tags = field(default_factory=dict)

    def encode(self, samples: NDArray[np.integer]) -> bytes:
        """Return the file, of samples of shape (H, W, S)."""
        height, width, count = samples.shape
        planes = [samples[:, :, [plane]] for plane in range(count)] if self.planar else [samples]
        chunks = [self._compress(piece) for plane in planes for piece in self._pieces(plane)]
        if self.reversed_bits:
            chunks = [bytes(int(f"{byte:08b}"[::-1], 2) for byte in chunk) for chunk in chunks]
        tiled = self.chunk[0] is not None
        tags: Tags = {
            256: (SHORT, (width,)),
            257: (SHORT, (height,)),
            258: (SHORT, (self.bits,) * count),
            259: (SHORT, (self.compression,)),
            262: (SHORT, (self.photometric,)),
            266: (SHORT, (2 if self.reversed_bits else 1,)),
            277: (SHORT, (count,)),
            284: (SHORT, (2 if self.planar else 1,)),
            317: (SHORT, (self.predictor,)),
            324 if tiled else 273: (LONG, (0,) * len(chunks)),
            325 if tiled else 279: (LONG, tuple(map(len, chunks))),
        }
        if tiled:
            tags |= {322: (SHORT, (self.chunk[0] or 0,)), 323: (SHORT, (self.chunk[1],))}
        else:
            tags |= {278: (SHORT, (self.chunk[1],))}
        tags |= self.tags
        start = len(self._head(tags))
        offsets = tuple(start + sum(map(len, chunks[:number])) for number in range(len(chunks)))
        tags = tags | {324 if tiled else 273: (LONG, offsets)} | self.tags
        return b"".join((self._head(tags), *chunks))

    def _pieces(self, plane: NDArray[np.integer]) -> Iterator[NDArray[np.integer]]:
        across, down = self.chunk
        for top in range(0, plane.shape[0], down):
            for left in range(0, plane.shape[1], across or plane.shape[1]):
                piece = plane[top : top + down, left : left + (across or plane.shape[1])]
                if across:
                    short = ((0, down - piece.shape[0]), (0, across - piece.shape[1]), (0, 0))
                    piece = np.pad(piece, short)
                yield piece

    def _compress(self, piece: NDArray[np.integer]) -> bytes:
        if self.predictor == 2:
            piece = np.diff(piece, axis=1, prepend=np.zeros_like(piece[:, :1])) % (1 << self.bits)
        rows = piece.reshape(len(piece), -1)
        if self.bits in (8, 16, 32):
            data = rows.astype(f"{self.order}u{self.bits // 8}").tobytes()
        else:
            bits = rows[:, :, np.newaxis] >> np.arange(self.bits)[::-1] & 1
            data = np.packbits(bits.reshape(len(rows), -1).astype(np.uint8), axis=1).tobytes()
        return COMPRESSORS[self.compression](data)

    def _head(self, tags: Tags) -> bytes:
        """Return the header, the directory and the values that do not fit into it."""
        mark = b"II" if self.order == "<" else b"MM"
        form, count, entry, offset, room = (
            ("HHHQ", "Q", "HHQ", "Q", 8) if self.big else ("HI", "H", "HHI", "I", 4)
        )
        start = 16 if self.big else 8
        header = mark + struct.pack(self.order + form, *((43, 8, 0, start) if self.big else (42, start)))
        place = start + struct.calcsize("=" + count) + len(tags) * (4 + 2 * room) + room
        entries, values = b"", b""
        for tag in sorted(tags):
            kind, numbers = tags[tag]
            code = {BYTE: "B", SHORT: "H", LONG: "I"}[kind]
            data = struct.pack(f"{self.order}{len(numbers)}{code}", *numbers)
            entries += struct.pack(self.order + entry, tag, kind, len(numbers))
            if len(data) > room:
                entries += struct.pack(self.order + offset, place + len(values))
                values += data + b"\0" * (len(data) % 2)
            else:
                entries += data.ljust(room, b"\0")
        return header + struct.pack(self.order + count, len(tags)) + entries + bytes(room) + values


def packbits(data: bytes) -> bytes:
    """Return data in the form of PackBits: runs of bytes as they are, TIFF 6.0, section 9."""
    pieces = (data[start : start + 128] for start in range(0, len(data), 128))
    return b"".join(bytes([len(piece) - 1]) + piece for piece in pieces)


def lzw(data: bytes) -> bytes:
    """Return data in the form of LZW, with codes of 9 bits alone: the table is cleared before it grows."""
    codes = [256]
    for number, byte in enumerate(data):
        if number and number % 250 == 0:
            codes.append(256)
        codes.append(byte)
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


COMPRESSORS: dict[int, Callable[[bytes], bytes]] = {
    NONE: bytes,
    LZW: lzw,
    DEFLATE: zlib.compress,
    PACKBITS: packbits,
    LZMA: lzma.compress,
}
