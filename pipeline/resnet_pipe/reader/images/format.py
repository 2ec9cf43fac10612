"""What image formats there are: how each begins, and which extensions its files have."""

from __future__ import annotations

import re
from typing import NamedTuple

from resnet_pipe.errors import SourceError


class Format(NamedTuple):
    """A format that is read.

    Attributes:
        name: Pillow's, or `HEIF`.
        extensions: of its files, without dots. Files with others are not sources.
        begins: a pattern of the first bytes of its files; the default is that of none.
        brands: where these tell it: a file of ISO/IEC 14496-12 claims one of them.
    """

    name: str
    extensions: str
    begins: bytes = rb"(?!)"
    brands: frozenset[bytes] = frozenset()


FORMATS = (
    Format("JPEG", "jpg jpeg jpe jfif mpo", rb"\xff\xd8\xff"),
    Format("PNG", "png", rb"\x89PNG\r\n\x1a\n(?!.{4}CgBI)"),
    Format("WEBP", "webp", rb"RIFF.{4}WEBP"),
    Format("BMP", "bmp", rb"BM"),
    Format("TIFF", "tif tiff", rb"II\*\0|MM\0\*|II\+\0|MM\0\+"),
    Format("GIF", "gif", rb"GIF8[79]a"),
    Format("DIB", "dib", rb"[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"),
    Format("AVIF", "avif", brands=frozenset([b"avif", b"avis"])),
    Format(
        "HEIF",
        "heic heif hif",
        brands=frozenset(b"heic heix heim heis hevc hevx hevm hevs mif1 mif2 msf1".split()),
    ),
)
"""Those that are read; a file is of the first one that fits. AVIF files often claim brands of HEIF, too."""

EXTENSIONS = frozenset(f".{name}" for one in FORMATS for name in one.extensions.split())
"""Of the files that are sources."""

_OTHERS = {
    "PNG with Apple's changes (CgBI)": rb"\x89PNG\r\n\x1a\n.{4}CgBI",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n",
    "JPEG 2000": rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
    "JPEG XR": rb"II\xbc",
    "JNG": rb"\x8bJNG\r\n\x1a\n",
    "MNG": rb"\x8aMNG\r\n\x1a\n",
    "Photoshop (PSD)": rb"8BPS",
    "GIMP (XCF)": rb"gimp xcf",
    "SVG": rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml.{0,2000}?|<!--.{0,2000}?|<!DOCTYPE svg.{0,2000}?)?<svg[\s>]",
    "PDF": rb"%PDF-",
    "PostScript": rb"%!PS|\xc5\xd0\xd3\xc6",
    "OpenEXR": rb"\x76\x2f\x31\x01",
    "Radiance HDR": rb"#\?(?:RADIANCE|RGBE)",
    "PNM (PBM, PGM, PPM or PAM)": rb"P[1-7][\s#]",
    "PFM": rb"P[Ff][\r\n]",
    "icon (ICO)": rb"\0\0[\x01\x02]\0[^\0]\0.{3}[\0\xff]",
    "icon (ICNS)": rb"icns",
    "DDS": rb"DDS \x7c\0\0\0",
    "KTX": rb"\xabKTX (?:11|20)\xbb",
    "QOI": rb"qoif",
    "FLIF": rb"FLIF",
    "BPG": rb"BPG\xfb",
    "FITS": rb"SIMPLE  =",
    "DICOM": rb".{128}DICM",
    "DPX": rb"SDPX|XPDS",
    "SGI": rb"\x01\xda[\0\x01][\x01\x02]",
    "Sun raster": rb"\x59\xa6\x6a\x95",
    "Windows metafile (WMF)": rb"\xd7\xcd\xc6\x9a",
    "Windows metafile (EMF)": rb"\x01\0\0\0.{36} EMF",
    "DjVu": rb"AT&TFORM",
    "raw camera (Canon CR3)": rb".{4}ftypcrx ",
    "raw camera (Canon CRW)": rb"II\x1a\0\0\0HEAPCCDR",
    "raw camera (Fujifilm RAF)": rb"FUJIFILMCCD-RAW",
    "raw camera (Olympus ORF)": rb"II(?:RO|RS)\x08\0\0\0|MMOR\0\0\0\x08",
    "raw camera (Panasonic RW2)": rb"IIU\0",
    "raw camera (Minolta MRW)": rb"\0MRM",
    "raw camera (Sigma X3F)": rb"FOVb",
}
"""Unsupported image formats; the patterns are tried in this order."""


def format_of(data: bytes) -> str:
    """Return the name of the format that a file has, such as `PNG`, whatever it is called.

    Raises `SourceError`: `unsupported`, with the name of the format, or `unknown_format`.
    """
    brands: set[bytes] = set()
    if data[4:8] == b"ftyp":
        end = min(int.from_bytes(data[:4], "big"), 4096)  # ISO/IEC 14496-12, section 4.3
        brands = {data[8:12], *(data[start : start + 4] for start in range(16, end, 4))}
    for one in FORMATS:
        if re.match(one.begins, data, re.DOTALL) or one.brands & brands:
            return one.name
    for other, begin in _OTHERS.items():
        if re.match(begin, data, re.DOTALL):
            raise SourceError("reader", "unsupported", f"an unsupported image format: {other}")
    raise SourceError("reader", "unknown_format", f"not a known image format: it begins with {data[:16]!r}")
