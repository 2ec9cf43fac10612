"""Remove metadata from image files, because Pillow fails on damage that does not affect pixels.

Whatever tells the orientation is kept if it is readable.
"""

from __future__ import annotations

import io
import re
import struct
import zlib

from PIL.PngImagePlugin import PngStream

_PNG_TEXTS = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")
"""The start of text chunks that may tell the orientation: XMP, and ImageMagick's EXIF."""
_PNG_TEXT_BYTES = 1 << 20
"""More than any photograph has."""
_ANCILLARY = re.compile(rb"[a-z][A-Za-z]{3}")
"""Names of PNG chunks that a decoder may skip. tRNS is one: alpha is dropped."""
_WEBP_METADATA = (b"ICCP", b"EXIF", b"XMP ")
_GIF_EXTENSION, _GIF_CONTROL = 0x21, 0xF9


def without_metadata(name: str, data: bytes) -> bytes:
    """Return a whole file of a format, Pillow's `name`, with the same pixels, and the same orientation.

    The orientation is lost if it cannot be read; other damage is left as it is.
    """
    strip = {"PNG": _png, "WEBP": _webp, "GIF": _gif}.get(name)
    return strip(data) if strip else data


def _png(data: bytes) -> bytes:
    """Keep the critical chunks (https://www.w3.org/TR/png-3/, section 5), and what tells the orientation."""
    kept, start, texts, pixels = [data[:8]], 8, set[bytes](), False
    while start + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        if not kind.isalpha():  # zeros of a file that was made too large, or lost pages: millions of chunks
            break
        end = start + 12 + length
        if not _ANCILLARY.fullmatch(kind):
            keep = True
        elif end > len(data):
            keep = not pixels  # without it the file would look damaged, not cut off
        else:
            keep = _tells_orientation(kind, memoryview(data)[start + 8 : end], texts)
        if keep:
            kept.append(data[start:end])
        pixels |= kind == b"IDAT"
        start = end
    return b"".join([*kept, data[start:]])


def _tells_orientation(kind: bytes, rest: memoryview, texts: set[bytes]) -> bool:
    """Return whether a chunk may tell the orientation, and is intact.

    `rest` is everything after its name, with the checksum. Of each kind of text chunk, the first counts.
    """
    text = next((text for text in _PNG_TEXTS if rest[: len(text)] == text), None)
    if kind != b"eXIf" and (text is None or text in texts or len(rest) > _PNG_TEXT_BYTES):
        return False
    if zlib.crc32(rest[:-4], zlib.crc32(kind)) != int.from_bytes(rest[-4:], "big"):
        return False
    if kind != b"eXIf" and text is not None:
        try:
            PngStream(io.BytesIO(rest)).call(kind, 0, len(rest) - 4)
        except Exception:  # whatever Pillow may raise on them
            return False
        texts.add(text)
    return True


def _webp(data: bytes) -> bytes:
    """Remove a metadata chunk that extends past the end (WebP container specification)."""
    start = 12
    while start + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, start)
        if not kind.rstrip().isalnum():
            break
        if start + 8 + length > len(data) and kind in _WEBP_METADATA:
            return data[:4] + struct.pack("<I", start - 8) + data[8:start]
        start += 8 + length + length % 2
    return data


def _gif(data: bytes) -> bytes:
    """Remove comments, texts and application blocks before the first frame (GIF89a, sections 23 to 26)."""
    start = 13 + (3 << (data[10] & 7) + 1 if len(data) > 10 and data[10] & 0x80 else 0)
    kept = [data[:start]]
    while data[start : start + 1] == bytes([_GIF_EXTENSION]):
        end = start + 2
        while end < len(data) and data[end]:
            end += 1 + data[end]
        if end >= len(data):
            break
        if data[start + 1] == _GIF_CONTROL:
            kept.append(data[start : end + 1])
        start = end + 1
    return b"".join([*kept, data[start:]])
