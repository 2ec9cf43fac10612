"""Images in tar files against the same images in a folder: what reading and preparing one costs a processor.

usage: python -m benchmarks.archives [--images 2000]

JPEGs of 500x375 pixels, exact preprocessing to 224x224, in one process, one kind after the other, twice.
What counts is processor time, so that other programs matter little. The archives are in the order of the
names, all but `tar.gz, mixed`. Listing is of an archive that nothing is known of.
"""

from __future__ import annotations

import argparse
import gzip
import io
import random
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from benchmarks import measure
from jobs.samples import main as make_samples

from resnet_pipe.preprocess.geometry import Geometry
from resnet_pipe.reader.archives.section import ArchiveSection
from resnet_pipe.reader.images.reader import ImageReader
from resnet_pipe.reader.images.section import ImagesSection

TASK = 50
"""Images that a worker knows of at a time."""
ROUNDS = 2


def pack(images: list[Path], archive: Path) -> Path:
    """Make a tar file of images, compressed as its name says."""
    plain = archive.with_name(f"{archive.name}.plain")
    with tarfile.open(plain, "w") as tar:
        for image in images:
            header, data = tarfile.TarInfo(f"pictures/{image.name}"), image.read_bytes()
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))  # and not a link to another one
    if archive.suffix == ".tar":
        return plain.rename(archive)
    data = plain.read_bytes()
    plain.unlink()
    archive.write_bytes(
        gzip.compress(data, 6) if archive.suffix == ".gz" else pa.compress(data, "zstd", asbytes=True)
    )
    return archive


def reader_of(path: Path) -> ImageReader:
    """Return the reader of a folder, or of an archive."""
    if path.is_dir():
        return ImagesSection.model_validate({"kind": "images", "path": str(path)}).make_reader()
    return ArchiveSection.model_validate({"kind": "archive", "path": str(path)}).make_reader()


def prepare(reader: ImageReader, keys: list[str], geometry: Geometry) -> None:
    """Read and prepare images as a worker does."""
    pixels = np.empty((*geometry.size, 3), np.uint8)
    for key in keys:
        reader.files.announce(key)
    for key in keys:
        for item in reader.read(key, geometry.min_side):
            geometry.apply(item.frame, pixels)


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    count = parser.parse_args().images
    geometry = Geometry(256, 224, "bilinear", "exact")
    geometry.load()
    seconds: dict[str, float] = {}
    listing: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        make_samples(place / "images", count)
        images = sorted((place / "images").iterdir())
        places = {
            "folder": place / "images",
            "tar": pack(images, place / "x.tar"),
            "tar.gz": pack(images, place / "x.tar.gz"),
            "tar.zst": pack(images, place / "x.tar.zst"),
            "tar.gz, mixed": pack(random.Random(1).sample(images, count), place / "mixed.tar.gz"),
        }
        readers = {name: reader_of(path) for name, path in places.items()}
        keys = {}
        for name, reader in readers.items():
            started = time.process_time()
            keys[name] = [source.key for source in reader.list_sources()]
            listing[name] = time.process_time() - started
            prepare(reader, keys[name][:1], geometry)
        for name, reader in [*readers.items()] * ROUNDS:
            started = time.process_time()
            for task in range(0, count, TASK):
                prepare(reader, keys[name][task : task + TASK], geometry)
            seconds[name] = seconds.get(name, 0) + (time.process_time() - started) / ROUNDS
        megabytes = {name: path.stat().st_size >> 20 for name, path in places.items() if path.is_file()}
    for name in readers:
        share = seconds["folder"] / seconds[name]
        per_image = f"{1000 * seconds[name] / count:.3f} ms an image, {share:.2f} of the folder's rate"
        print(f"{name:14} {per_image}; listing {listing[name]:.3f} s")
    result = {"images": count, "megabytes": megabytes, "seconds": seconds, "listing_s": listing}
    measure.save("archives", result)


if __name__ == "__main__":
    main()
