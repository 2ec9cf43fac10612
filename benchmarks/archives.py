"""Images in tar files against the same images in a folder, with a network of one layer.

usage: python -m benchmarks.archives [--images 6000] [--repeats 3]

JPEGs of 500x375 pixels, exact preprocessing to 224x224, Parquet. The archives are in the order of the names,
but for `tar.gz, mixed`. Listing comes before the rate is counted: how long it takes is measured on its own,
with nothing in the cache.
"""

from __future__ import annotations

import gzip
import io
import random
import tarfile
import tempfile
import time
from pathlib import Path

import pyarrow as pa
from benchmarks import measure
from benchmarks.folder import sample_folder
from benchmarks.overhead import JOB, write_one_layer

from resnet_pipe.reader.archives.section import ArchiveSection


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


def listing(archive: Path) -> float:
    """Return how many seconds it takes to list an archive that nothing is known of."""
    archive.touch()  # so that what is in the cache is of another one
    reader = ArchiveSection.model_validate({"kind": "archive", "path": str(archive)}).make_reader()
    started = time.perf_counter()
    for _ in reader.list_sources():
        pass
    return round(time.perf_counter() - started, 3)


def main() -> None:
    """Measure, print and save."""
    parser = measure.parser(__doc__, repeats=3)
    parser.add_argument("--images", type=int, default=6000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        write_one_layer(place / "one_layer.onnx")
        with sample_folder(place / "one_layer.onnx", arguments.images, JOB) as folder:
            images = sorted(folder.images.iterdir())
            mixed = random.Random(1).sample(images, len(images))
            packed = {
                "tar": pack(images, place / "x.tar"),
                "tar.gz": pack(images, place / "x.tar.gz"),
                "tar.zst": pack(images, place / "x.tar.zst"),
                "tar.gz, mixed": pack(mixed, place / "mixed.tar.gz"),
            }

            def over(archive: Path) -> measure.Measurement:
                reader = f"reader={{kind: archive, path: {archive}}}"
                writer = f"writer={{kind: parquet, path: {archive}.out, fields: [logits]}}"
                return measure.resnet_pipe(folder.job, reader, writer)

            programs = {name: lambda archive=archive: over(archive) for name, archive in packed.items()}
            rates = measure.compare(
                "archives",
                {"folder": lambda: measure.resnet_pipe(folder.job), **programs},
                arguments.repeats,
                images=arguments.images,
                megabytes={name: archive.stat().st_size >> 20 for name, archive in packed.items()},
                listing_s={name: listing(archive) for name, archive in packed.items()},
            )
    for name in packed:
        print(f"{name} / folder = {rates[name] / rates['folder']:.3f}")


if __name__ == "__main__":
    main()
