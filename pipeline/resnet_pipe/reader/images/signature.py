"""Which image formats there are: by their first bytes, and by the extensions that are looked for."""

from __future__ import annotations

import re

from resnet_pipe.errors import SourceError

_NAMES = "avif bmp dib gif heic heif hif jfif jpe jpeg jpg mpo png tif tiff webp"
EXTENSIONS = frozenset(f".{name}" for name in _NAMES.split())
"""Of the files that are taken from a folder; what is in them is told from their first bytes alone."""

_DECODED = {
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n(?!.{4}CgBI)", re.DOTALL),
    "WEBP": re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
    "BMP": re.compile(rb"BM"),
    "TIFF": re.compile(rb"II\*\0|MM\0\*|II\+\0|MM\0\+"),
    "GIF": re.compile(rb"GIF8[79]a"),
    "DIB": re.compile(rb"[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"),
}
"""The supported formats, by Pillow's names; JPEG is checked before. Those with brands are below."""

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

_AVIF_BRANDS = frozenset([b"avif", b"avis"])
_HEIF_BRANDS = frozenset(b"heic heix heim heis hevc hevx hevm hevs mif1 mif2 msf1".split())


def identify(data: bytes) -> str:
    """Return Pillow's name for the format of a file that is not a JPEG, such as `PNG`, or `HEIF`.

    Raises `SourceError`: `unsupported`, with the name of the format, or `unknown_format`.
    """
    for name, pattern in _DECODED.items():
        if pattern.match(data):
            return name
    if data[4:8] == b"ftyp":
        brands = _brands(data)
        if brands & _AVIF_BRANDS:
            return "AVIF"
        if brands & _HEIF_BRANDS:
            return "HEIF"
    for other, begin in _OTHERS.items():
        if re.match(begin, data, re.DOTALL):
            raise SourceError("reader", "unsupported", f"an unsupported image format: {other}")
    raise SourceError("reader", "unknown_format", f"not a known image format: it begins with {data[:16]!r}")


def _brands(data: bytes) -> set[bytes]:
    """Return all brands that a file claims (ISO/IEC 14496-12, section 4.3)."""
    end = min(int.from_bytes(data[:4], "big"), 4096)
    return {data[8:12], *(data[start : start + 4] for start in range(16, end, 4))}
