"""A folder of sample images, JPEGs of 500x375 pixels, and a job over it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jobs.samples import main as make_samples

DISTINCT = 600
"""Larger folders hold some of these several times."""
JOB = """\
name: benchmark
reader: {{kind: images, path: {images}}}
infer: {{model: {model}, device: cpu}}
writer: {{kind: parquet, path: {directory}/out, fields: [logits]}}
"""


@dataclass(frozen=True)
class Folder:
    """Images and what is done with them.

    Attributes:
        directory: may be written to.
        images: the folder.
        job: from the folder to Parquet files of logits.
    """

    directory: Path
    images: Path
    job: Path

    def of(self, count: int) -> Path:
        """Return a folder of `count` images: these, again and again."""
        folder = self.directory / f"images-{count}"
        if not folder.exists():
            folder.mkdir()
            fill(folder, sorted(self.images.iterdir()), count)
        return folder


def fill(folder: Path, images: list[Path], count: int) -> None:
    """Bring a folder that holds none or some of `images` to `count` files, with further links to them."""
    for number in range(len(list(folder.iterdir())), count):
        os.link(images[number % len(images)], folder / f"image_{number:06d}.jpg")


@contextmanager
def sample_folder(model: Path, images: int, job: str = JOB) -> Iterator[Folder]:
    """Make a folder that lasts as long as the context.

    Args:
        model: of the job.
        images: how many.
        job: its text, with {images}, {model} and {directory} to be put in.
    """
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        folder = Folder(directory, directory / "images", directory / "job.yaml")
        make_samples(folder.images, min(DISTINCT, images))
        fill(folder.images, sorted(folder.images.iterdir()), images)
        folder.job.write_text(job.format(images=folder.images, model=model.resolve(), directory=directory))
        yield folder
