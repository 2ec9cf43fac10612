"""Damaged and lying image files by the thousand: each ends as exactly one row or one failure."""

from __future__ import annotations

import os
import random
import secrets
import struct
import zlib
from collections import Counter

import pytest

from tests.image_files import LONG, SHORT, grey_tiff, patched, png, png_chunk, tiff, whole_files
from tests.run.commands import Result
from tests.run.jobs import JobFolder, assert_clean

CLASSES = {"unknown_format", "empty", "truncated", "damaged", "too_large", "unsupported"}
"""The errors of a source that was read. Any other one would be a library's surprise, or a dead worker."""


def flip(data: bytes, chance: random.Random) -> bytes:
    """Flip one bit to eight, in half of the cases all in the header."""
    damaged = bytearray(data)
    end = chance.choice((len(data), min(200, len(data))))
    for _ in range(chance.choice((1, 2, 8))):
        damaged[chance.randrange(end)] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def truncate(data: bytes, chance: random.Random) -> bytes:
    """Cut a file anywhere, in half of the cases in its header."""
    return data[: chance.randrange(chance.choice((len(data), min(200, len(data)))))]


def splice(data: bytes, chance: random.Random) -> bytes:
    """Put a piece of any file into the place of a piece of this one."""
    start, end = sorted(chance.randrange(len(data)) for _ in range(2))
    other = chance.choice([data, *whole_files().values()])
    first, last = sorted(chance.randrange(len(other)) for _ in range(2))
    return data[:start] + other[first:last] + data[end if chance.random() < 0.5 else start :]


MUTATIONS = (flip, truncate, splice)


def fill(job: JobFolder, count: int, seed: str | None) -> None:
    """Fill a job with the whole files and `count` damaged ones, all from one seed, which is printed.

    Without a seed the damage is another one every time.
    """
    seed = os.environ.get("FUZZ_SEED") or seed or secrets.token_hex(4)
    print(f"to get the same files again: FUZZ_SEED={seed!r}")  # noqa: T201 - pytest shows it if the test fails
    chance = random.Random(seed)
    kinds = list(whole_files().items())
    for name, data in kinds:
        (job.images / f"whole-{name}").write_bytes(data)
    for number in range(count):
        name, data = kinds[number % len(kinds)]
        mutation = MUTATIONS[number // len(kinds) % len(MUTATIONS)]
        (job.images / f"{mutation.__name__}-{number:05d}-{name}").write_bytes(mutation(data, chance))


def run(job: JobFolder) -> Result:
    return job.run("--quiet", "--set", "infer.batch_size=16", "--set", "run.chunk_items=512")


@pytest.mark.parametrize(
    ("count", "seed"), [(200, "always the same"), pytest.param(10_000, None, marks=pytest.mark.slow)]
)
def test_every_damaged_file_ends_as_one_row_or_one_failure_and_no_worker_dies(
    job: JobFolder, count: int, seed: str | None
) -> None:
    fill(job, count, seed)
    said = run(job).expect(3)
    rows, failures = job.paths(), job.failures()
    assert sorted([*rows, *failures]) == sorted(path.name for path in job.images.iterdir())
    assert job.summary()["workers_replaced"] == 0
    assert {line["error"] for line in failures.values()} <= CLASSES
    assert all(line["stage"] == "reader" and line["message"] for line in failures.values())
    assert len(job.events("source_failed")) == len(failures)
    assert said.stderr == f"{len(failures)} sources failed: {job.out}/failures.jsonl\n"  # no decoder spoke
    assert {f"whole-{name}" for name in whole_files()} <= set(rows)
    for mutation in MUTATIONS:
        outcomes = Counter(
            name in failures for name in [*rows, *failures] if name.startswith(mutation.__name__)
        )
        assert outcomes[True], f"no failure at all: {mutation.__name__} does no damage"
    assert_clean(job.out)
    run(job).expect(0)
    assert job.summary()["sources"]["skipped"] == len(rows) + len(failures)


def gif(screen: int, frame: int) -> bytes:
    """Return a GIF whose screen and frame are squares that need not agree."""
    head = b"GIF89a" + struct.pack("<HHBBB", screen, screen, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return head + b"," + struct.pack("<HHHHB", 0, 0, frame, frame, 0) + b"\x02\x02\x44\x01\0;"


def webp(width: int, height: int) -> bytes:
    """Return a WebP whose extended header lies about the canvas."""
    still = whole_files()["lossy.webp"]
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunks = b"VP8X" + struct.pack("<II", 10, 0) + canvas + still[12:]
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def jpeg(*segments: bytes) -> bytes:
    """Return a JPEG with these blocks of EXIF before everything else."""
    still = whole_files()["baseline.jpg"]
    head = b"".join(b"\xff\xe1" + struct.pack(">H", 8 + len(one)) + b"Exif\0\0" + one for one in segments)
    return still[:2] + head + still[2:]


def squares(size: int, code: str) -> bytes:
    return struct.pack(code, size, size)


def claims(size: int) -> dict[str, bytes]:
    """Return files whose headers say that they are `size` pixels wide and high, where they can."""
    still = whole_files()
    return {
        "jpg": patched(still["baseline.jpg"], b"\xff\xc0\0\x11\x08", 0, squares(size, ">HH")),
        "png": png(size, size, b""),
        "gif": gif(size, size),
        "bmp": patched(still["colour.bmp"], b"\x28\0\0\0", 0, squares(size, "<ii")),
        "tif": grey_tiff(size, size),
        "webp": patched(still["lossy.webp"], b"\x9d\x01\x2a", 0, squares(min(size, 16383), "<HH")),
        "avif": patched(still["colour.avif"], b"ispe", 4, squares(min(size, 16000), ">II")),
    }


def decompresses(kind: bytes, name: bytes, size: int) -> bytes:
    """Return a PNG of four by four pixels with a compressed chunk of `size` bytes, all zero."""
    return png(4, 4, b"\0abcd" * 4, extra=png_chunk(kind, name + b"\0\0" + zlib.compress(bytes(size), 9)))


LZW, GROUP_4, TILE, EXIF_IFD, SUB_IFD = 5, 4, 65520, 34665, 330
NO_DIRECTORY = b"II*\0\xff\xff\xff\xff"


def extreme_files() -> dict[str, dict[str, bytes]]:
    """Return file names and contents by what they must end as: a class of failure, or a row."""
    still = whole_files()
    return {
        "too_large": {
            **{f"claims.{kind}": data for kind, data in claims(65000).items()},
            "rows-of-nothing.png": png(20_000, 20_000, bytes(2501 * 20_000), depth=1),
            "claims-most.png": png(2**31 - 1, 2**31 - 1, b""),
            "claims-most.tif": grey_tiff(2**32 - 1, 2**32 - 1),
            "frame-beyond-screen.gif": gif(1, 65535),
            "upside-down.bmp": patched(still["colour.bmp"], b"\x28\0\0\0", 4, struct.pack("<i", -(2**31))),
        },
        "damaged": {
            **{f"no-pixels.{kind}": data for kind, data in claims(0).items()},
            "claims.webp": webp(65535, 65535),
            "claims-most.webp": webp(1 << 24, 255),
            "claims-most.avif": patched(still["colour.avif"], b"ispe", 4, squares(2**32 - 1, ">II")),
            "tile.tif": grey_tiff(extra=((259, SHORT, 1, LZW), (322, LONG, 1, TILE), (323, LONG, 1, TILE))),
            "strip.tif": grey_tiff(3000, 3000, ((259, SHORT, 1, LZW),), size=16),
            "entries.tif": b"II*\0\x08\0\0\0\xff\xff" + bytes(12 * 65535 + 4),
            "bad-code-words.tif": grey_tiff(64, 64, ((258, SHORT, 1, 1), (259, SHORT, 1, GROUP_4))),
            "past-the-end.jpg": jpeg()[:2] + b"\xff\xe1\xff\xff" + jpeg()[2:],
        },
        "truncated": {
            "long-chunk.png": png(4, 4, b"\0abcd" * 4, extra=struct.pack(">I", 2**32 - 1) + b"tEXt"),
            "few-rows.gif": gif(1, 3000),
            "directory-beyond-the-end.tif": NO_DIRECTORY,
            "more-entries.tif": b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**63) + bytes(100),
        },
        "unsupported": {"samples.tif": grey_tiff(extra=((277, SHORT, 1, 65535),))},
        "row": {
            "text.png": decompresses(b"zTXt", b"Comment", 1 << 26),
            "profile.png": decompresses(b"iCCP", b"profile", 1 << 26),
            "next-directory-is-this-one.tif": grey_tiff(following=8),
            "exif-directory-is-this-one.tif": grey_tiff(extra=((EXIF_IFD, LONG, 1, 8),)),
            "sub-directory-is-this-one.tif": grey_tiff(extra=((SUB_IFD, LONG, 1, 8),)),
            "description-of-4-gib.tif": grey_tiff(extra=((270, 2, 2**32 - 1, 8),)),
            "300-blocks-of-exif.jpg": jpeg(*[b"II*\0\x08\0\0\0\xff\xff" + bytes(65000)] * 300),
            "exif-directory-is-this-one.jpg": jpeg(tiff([(EXIF_IFD, LONG, 1, 8)], following=8)),
            "exif-beyond-the-end.jpg": jpeg(NO_DIRECTORY, b"MM", b""),
            "16-mib-of-exif.png": png(
                4, 4, b"\0abcd" * 4, extra=png_chunk(b"eXIf", b"II*\0\x08\0\0\0" + bytes(1 << 24))
            ),
        },
    }


def test_headers_that_claim_the_extreme_cost_their_own_file_and_nothing_else(job: JobFolder) -> None:
    expected = extreme_files()
    for files in expected.values():
        for name, data in files.items():
            (job.images / name).write_bytes(data)
    said = run(job).expect(3)
    found = {path: line["error"] for path, line in job.failures().items()} | dict.fromkeys(job.paths(), "row")
    assert found == {name: ending for ending, files in expected.items() for name in files}
    assert job.summary()["workers_replaced"] == 0
    assert said.stderr.count("\n") == 1
    assert_clean(job.out)
