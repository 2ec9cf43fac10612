"""What the warnings of libjpeg mean: whether pixels may have been made up."""

from __future__ import annotations

import re
from enum import Enum


class Verdict(Enum):
    """What a warning says about the pixels."""

    HARMLESS = "the pixels are those that the file describes"
    DAMAGED = "pixels may have been made up"
    TRUNCATED = "the end is missing, and made up"


_WARNINGS = (
    # About headers: none of these values takes part in decoding.
    ("Warning: unknown JFIF revision number", Verdict.HARMLESS, "nothing but this warning depends on it"),
    ("Invalid SOS parameters for sequential JPEG", Verdict.HARMLESS, "sequential decoding ignores them"),
    ("Unknown Adobe color transform code", Verdict.HARMLESS, "the usual one is taken: YCbCr, or YCCK"),
    ("Corrupt JPEG data: bad ICC marker", Verdict.HARMLESS, "colour profiles are not applied"),
    # Bytes that belong to no segment. Between headers they are skipped; after a scan they may be what is left
    # of its data because the decoder lost its place in them, so the file is decoded once more without them.
    (r"Corrupt JPEG data: \d+ extraneous bytes before", Verdict.HARMLESS, "if it decodes without them"),
    # About coded data: the decoder goes on with zeros, or from a place that it guesses.
    ("Corrupt JPEG data: premature end of data segment", Verdict.DAMAGED, "zeros stand in for the rest"),
    ("Corrupt JPEG data: bad Huffman code", Verdict.DAMAGED, "a zero stands in for it"),
    ("Corrupt JPEG data: bad arithmetic code", Verdict.DAMAGED, "zeros stand in for the rest"),
    (r"Corrupt JPEG data: found marker 0x\w+ instead of RST", Verdict.DAMAGED, "a restart interval is lost"),
    ("Inconsistent progression sequence", Verdict.DAMAGED, "a scan that others refine is missing"),
    ("Premature end of JPEG file", Verdict.TRUNCATED, "an end of image is put in"),
    ("Application transferred too many scanlines", Verdict.DAMAGED, "no reader asks for more than there are"),
)
"""Start of a message, verdict, and reason: every JWRN_* of jerror.h, libjpeg-turbo 2.1 to 3.2, judged by what
its sources do when they issue it. Only the first warning is reported, and it may hide others."""


def verdict(message: str) -> Verdict | None:
    """Return what a message of libjpeg means; None if it is an error, not a warning."""
    return next((meaning for pattern, meaning, _ in _WARNINGS if re.match(pattern, message)), None)
