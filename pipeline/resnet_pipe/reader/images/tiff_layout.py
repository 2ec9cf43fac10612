"""The pixel layout that the tags of a TIFF file describe; unsupported layouts are refused by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.images.tiff_directory import Directory

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
"""The supported values of the tag PhotometricInterpretation."""
NONE, RLE, FAX3, FAX4, LZW, OLD_JPEG, JPEG, DEFLATE = 1, 2, 3, 4, 5, 6, 7, 8
PACKBITS, OLD_DEFLATE, LZMA, ZSTD = 32773, 32946, 34925, 50000
"""Values of the tag Compression."""
LOSSLESS = frozenset([NONE, LZW, DEFLATE, OLD_DEFLATE, PACKBITS, LZMA, ZSTD])
"""Compressions that restore the original bytes, whatever these mean."""

_COLOURS = {
    **dict.fromkeys((WHITE_IS_ZERO, BLACK_IS_ZERO), ("grey", 1)),
    **{RGB: ("RGB", 3), PALETTE: ("a palette", 1), CMYK: ("CMYK", 4), YCBCR: ("YCbCr", 3)},
}
"""Names, and how many samples of a pixel are its colour; those after them are alpha, or unknown."""
_OTHER_COLOURS = {
    4: "a transparency mask",
    8: "an image in CIE L*a*b* colours",
    9: "an image in ICC L*a*b* colours",
    10: "an image in ITU L*a*b* colours",
    32803: "the raw data of a camera's sensor",
    32844: "an image of logarithmic luminance (LogL)",
    32845: "an image of logarithmic colours (LogLuv)",
    34892: "the raw data of a camera's sensor",
}
_OTHER_COMPRESSIONS = {
    OLD_JPEG: "old-style JPEG",
    **dict.fromkeys((9, 10, 34661), "JBIG"),
    **dict.fromkeys((22610, 34934), "JPEG XR"),
    **dict.fromkeys((33003, 33004, 33005, 34712), "JPEG 2000"),
    **dict.fromkeys((50002, 52546), "JPEG XL"),
    **dict.fromkeys((34676, 34677), "SGI Log"),
    32767: "Sony's raw format",
    32809: "ThunderScan",
    34713: "Nikon's raw format",
    34887: "LERC",
    34892: "DNG's lossy JPEG",
    34933: "PNG",
    50001: "WebP",
    65535: "Pentax's raw format",
}
_CANON = b"II*\0\x10\0\0\0CR\x02\0"
"""The first bytes of Canon's raw format (CR2)."""
_FORMATS = {2: "signed integers", 3: "floating-point numbers", 5: "complex integers", 6: "complex numbers"}
"""Values of the tag SampleFormat."""


@dataclass(frozen=True)
class Layout:
    """How the first image of a TIFF file is stored: its size, in pixels, and what its samples are.

    Attributes:
        bits: of each sample, 1 to 16; 8 unless the compression is one of `LOSSLESS`, or 1 for those of faxes.
        samples: of each pixel, of which the first `colours` are colour.
        associated: whether the sample after them is alpha, and the colours are premultiplied.
        photometric: the meaning of the colours.
        planar: whether each sample has its own chunks.
        differences: whether samples are stored as the difference from those of the pixel on the left.
        reversed_bits: whether the lowest bit of a byte is its first.
        tiled: whether the chunks are tiles; else they are strips, the last of which may have fewer rows.
    """

    width: int
    height: int
    bits: int
    samples: int
    colours: int
    associated: bool
    photometric: int
    compression: int
    planar: bool
    differences: bool
    reversed_bits: bool
    tiled: bool
    chunk_width: int
    chunk_height: int

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height of all tiles together."""
        if not self.tiled or min(self.chunk_width, self.chunk_height) < 1:
            return self.chunk_width, self.height if self.chunk_height else 0
        across, down = -(-self.width // self.chunk_width), -(-self.height // self.chunk_height)
        return across * self.chunk_width, down * self.chunk_height

    @classmethod
    def of(cls, directory: Directory) -> Layout:
        """Interpret the tags, or raise `SourceError`: `unsupported`, `damaged` or `truncated`."""
        _check_it_is_the_image(directory)
        width, height, compression = (directory.number(tag, 0) for tag in (256, 257, 259))
        compression = compression or NONE
        samples = directory.number(277, 1)
        if samples < 1:
            raise SourceError("reader", "damaged", f"its header says {samples} samples per pixel")
        bits = _bits(directory, samples)
        photometric = _photometric(directory, samples, compression)
        _, colours = _COLOURS[photometric]
        if samples < colours:
            _refuse(f"{samples} samples per pixel, although its colours need {colours}")
        if samples > colours + 4:  # no photograph has as many besides
            _refuse(f"{samples} samples per pixel")
        if photometric == CMYK and directory.number(332, 1) != 1:
            _refuse("inks other than cyan, magenta, yellow and black")
        alpha = directory.number(338, 0) if samples > colours else 0
        if alpha == 1 and photometric not in (BLACK_IS_ZERO, RGB):
            _refuse("premultiplied alpha in colours other than grey and RGB")
        tiled = 324 in directory.entries
        layout = cls(
            width=width,
            height=height,
            bits=bits,
            samples=samples,
            colours=colours,
            associated=alpha == 1,
            photometric=photometric,
            compression=compression,
            planar=samples > 1 and directory.number(284, 1) == 2,
            differences=_differences(directory, bits, compression),
            reversed_bits=directory.number(266, 1) == 2,
            tiled=tiled,
            chunk_width=directory.number(322, 0) if tiled else width,
            chunk_height=directory.number(323, 0) if tiled else min(height, directory.number(278, height)),
        )
        _check_combination(layout)
        return layout


def _refuse(what: str) -> NoReturn:
    raise SourceError("reader", "unsupported", f"a TIFF file with {what}")


def _check_it_is_the_image(directory: Directory) -> None:
    """Refuse camera raw files: the first image in most of them is a thumbnail."""
    reduced = directory.number(254, 0) & 1 or directory.number(255, 1) == 2
    more = directory.following or 330 in directory.entries
    if 50706 in directory.entries or directory.data.startswith(_CANON) or (reduced and more):
        _refuse("a camera's raw data, or a thumbnail as its first image")


def _bits(directory: Directory, samples: int) -> int:
    """Return the number of bits, which is the same for every sample."""
    bits = sorted(set(directory.numbers(258, (1,))[:samples]))
    formats = {1 if kind == 4 else kind for kind in directory.numbers(339, (1,))[:samples]}
    if formats != {1}:
        kinds = sorted(_FORMATS.get(kind, f"sample format {kind}") for kind in formats)
        _refuse(f"{bits[-1]}-bit {' and '.join(kinds)}, which have no 8-bit RGB form")
    if len(bits) > 1:
        _refuse(f"samples of different sizes: {', '.join(map(str, bits))} bits")
    if not 1 <= bits[0] <= 16:
        _refuse(f"{bits[0]}-bit integers, which have no 8-bit RGB form")
    return bits[0]


def _photometric(directory: Directory, samples: int, compression: int) -> int:
    """Return the meaning of the colours; if the tag is missing, libtiff's guess."""
    guess = BLACK_IS_ZERO if samples < 3 else RGB
    photometric = directory.number(262, WHITE_IS_ZERO if compression in (RLE, FAX3, FAX4) else guess)
    if photometric not in _COLOURS:
        _refuse(_OTHER_COLOURS.get(photometric, f"photometric interpretation {photometric}"))
    return photometric


def _differences(directory: Directory, bits: int, compression: int) -> bool:
    predictor = directory.number(317, 1)
    if predictor == 1 or compression not in LOSSLESS - {PACKBITS}:
        return False
    if predictor != 2 or bits not in (8, 16) or compression == NONE:
        _refuse(f"{bits}-bit samples with predictor {predictor} and compression {compression}")
    return True


def _check_combination(layout: Layout) -> None:
    """Refuse what libtiff or Pillow cannot decode, or decode wrong."""
    name = _OTHER_COMPRESSIONS.get(layout.compression, f"compression {layout.compression}")
    samples = "one sample" if layout.samples == 1 else f"{layout.samples} samples"
    what = f"{_COLOURS[layout.photometric][0]} in {samples} per pixel of {layout.bits} bits"
    if layout.planar:
        what += ", in separate planes"
    if layout.photometric == YCBCR:
        if layout.planar or layout.bits != 8 or layout.samples != 3:
            _refuse(what)
        if layout.compression not in LOSSLESS | {JPEG, OLD_JPEG}:
            _refuse(f"YCbCr colours with {name}")
    elif layout.compression in (RLE, FAX3, FAX4):
        if layout.bits != 1 or layout.samples != 1 or layout.photometric == PALETTE:
            _refuse(f"{what}, with fax compression")
    elif layout.compression == JPEG:
        plain = layout.bits == 8 and layout.samples == layout.colours and not layout.planar
        if not plain or layout.photometric == PALETTE:
            _refuse(f"{what}, compressed with JPEG")
    elif layout.compression not in LOSSLESS:
        _refuse(f"an image compressed with {name}")
