"""JPEG files that no library writes: of any sampling; and a decoder that only checks coded data."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Factors = Sequence[tuple[int, int]]
Blocks = NDArray[np.int64]
"""Shape (rows, columns, 64): the quantized coefficients of one component, by frequency."""

_QUANTUM = 3
_AC_SYMBOLS = [0x00, 0xF0, *(run << 4 | size for run in range(16) for size in range(1, 11))]
"""Their codes are their positions here, in 8 bits. Those of the DC symbols, 0 to 11, are themselves, in 4."""
_DC_TABLE = b"\x00" + bytes([0, 0, 0, 12]) + bytes(12) + bytes(range(12))
_AC_TABLE = b"\x10" + bytes(7) + bytes([len(_AC_SYMBOLS)]) + bytes(8) + bytes(_AC_SYMBOLS)

_DCT = np.sqrt(np.where(np.arange(8) == 0, 1, 2) / 8)[:, np.newaxis] * np.cos(
    np.outer(np.arange(8), 2 * np.arange(8) + 1) * np.pi / 16
)
_BY_FREQUENCY = sorted(range(64), key=lambda i: (sum(divmod(i, 8)), divmod(i, 8)[sum(divmod(i, 8)) % 2 == 0]))
"""Zigzag: ITU-T T.81, figure A.6."""


def segment(code: int, body: bytes) -> bytes:
    """Return a marker with its length and what follows it."""
    return struct.pack(">BBH", 0xFF, code, len(body) + 2) + body


def jpeg(image: Image.Image, factors: Factors, *, progressive: bool = False, extra: bytes = b"") -> bytes:
    """Return a JPEG file with one component for each band of an image, sampled as often as `factors` say.

    Args:
        image: of mode L, YCbCr, or CMYK.
        factors: horizontal and vertical, of each component.
        progressive: first the DC coefficients of all components, then the others of one after the other.
        extra: segments that come first.
    """
    most = [max(pair[axis] for pair in factors) for axis in (0, 1)]
    units = -(-image.width // (8 * most[0])), -(-image.height // (8 * most[1]))
    sizes = [(-(-image.width * h // most[0]), -(-image.height * v // most[1])) for h, v in factors]
    counts = [(units[0] * h, units[1] * v) for h, v in factors]
    planes = [_blocks(*each) for each in zip(image.split(), sizes, counts, strict=True)]
    frame = struct.pack(">BHHB", 8, image.height, image.width, len(factors))
    frame += b"".join(bytes([name, h << 4 | v, 0]) for name, (h, v) in enumerate(factors, 1))
    parts = [b"\xff\xd8", extra, segment(0xDB, bytes([0] + [_QUANTUM] * 64))]
    parts += [
        segment(0xC2 if progressive else 0xC0, frame),
        segment(0xC4, _DC_TABLE),
        segment(0xC4, _AC_TABLE),
    ]
    names = range(1, len(factors) + 1)
    alone = [_alone(plane, size) for plane, size in zip(planes, sizes, strict=True)]
    together = _interleaved(planes, factors, units) if len(factors) > 1 else alone[0]
    parts.append(_scan(names, (0, 0) if progressive else (0, 63), together))
    parts += [_scan([name], (1, 63), alone[name - 1]) for name in names if progressive]
    return b"".join([*parts, b"\xff\xd9"])


def _blocks(band: Image.Image, size: tuple[int, int], count: tuple[int, int]) -> Blocks:
    """Scale a band to a size, fill it up to a number of blocks across and down, and transform these."""
    pixels = np.asarray(band.resize(size, Image.Resampling.BOX), float) - 128
    filled = np.pad(pixels, ((0, 8 * count[1] - size[1]), (0, 8 * count[0] - size[0])), "edge")
    blocks = filled.reshape(count[1], 8, count[0], 8).swapaxes(1, 2)
    coefficients = (_DCT @ blocks @ _DCT.T).reshape(*blocks.shape[:2], 64)
    quantized: Blocks = np.rint(coefficients[:, :, _BY_FREQUENCY] / _QUANTUM).astype(np.int64)
    return quantized


def _alone(plane: Blocks, size: tuple[int, int]) -> list[tuple[int, Blocks]]:
    """Return the blocks that a scan of one component has, without those that only fill up the units."""
    return [(0, block) for block in plane[: -(-size[1] // 8), : -(-size[0] // 8)].reshape(-1, 64)]


def _interleaved(planes: list[Blocks], factors: Factors, units: tuple[int, int]) -> list[tuple[int, Blocks]]:
    """Return the blocks of all components, and which each is of, unit after unit."""
    return [
        (index, planes[index][row * v + y, column * h + x])
        for row in range(units[1])
        for column in range(units[0])
        for index, (h, v) in enumerate(factors)
        for y in range(v)
        for x in range(h)
    ]


def _scan(names: Iterable[int], band: tuple[int, int], blocks: list[tuple[int, Blocks]]) -> bytes:
    """Return a scan of the coefficients from `band[0]` to `band[1]`."""
    bits: list[str] = []
    before: dict[int, int] = {}
    for index, block in blocks:
        if band[0] == 0:
            difference = int(block[0]) - before.get(index, 0)
            before[index] = int(block[0])
            bits.append(f"{difference.bit_length():04b}" + _value(difference))
        run = 0
        last = max((k for k in range(max(band[0], 1), band[1] + 1) if block[k]), default=0)
        for k in range(max(band[0], 1), last + 1):
            if block[k] == 0:
                run += 1
                continue
            bits.append(f"{_AC_SYMBOLS.index(0xF0):08b}" * (run // 16))
            value = int(block[k])
            bits.append(f"{_AC_SYMBOLS.index(run % 16 << 4 | value.bit_length()):08b}" + _value(value))
            run = 0
        if last < band[1]:
            bits.append("00000000")
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    coded = int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0")
    selectors = b"".join(bytes([name, 0]) for name in names)
    return segment(0xDA, bytes([len(selectors) // 2]) + selectors + bytes([*band, 0])) + coded


def _value(number: int) -> str:
    """Return the bits of a coefficient after its size: T.81, F.1.2.1."""
    size = number.bit_length()
    return f"{number if number > 0 else number + (1 << size) - 1:0{size}b}" if size else ""


def bits_left(scan: bytes, blocks: int) -> tuple[int, bool]:
    """Read the coded data of a baseline `jpeg` as libjpeg-turbo does.

    Its quick decoder takes a code that does not exist for a zero of 17 bits, and does not mention it.

    Returns:
        How many bits are left after so many blocks, fewer than none if there are too few; and whether all
        codes exist.
    """
    bits = "".join(f"{byte:08b}" for byte in re.sub(rb"\xff+\0", b"\xff", scan))
    place, exist = 0, True

    def symbol(width: int, symbols: Sequence[int]) -> int:
        nonlocal place, exist
        code = int(bits[place : place + width] or "0", 2)
        place += width if code < len(symbols) else 17
        exist &= code < len(symbols)
        return symbols[code] if code < len(symbols) else 0

    for _ in range(blocks):
        size = symbol(4, range(12))
        place += size
        k = 1
        while k < 64:
            run, size = divmod(symbol(8, _AC_SYMBOLS), 16)
            if not size and run < 15:
                break
            place += size
            k += run + 1
    return len(bits) - place, exist
