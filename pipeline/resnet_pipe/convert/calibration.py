"""The images that an int8 model is calibrated with, and those that it is then measured on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import SourceError, UsageError
from resnet_pipe.preprocess.preprocessing import Preprocessing
from resnet_pipe.reader.files import local_root
from resnet_pipe.reader.images.reader import ImageReader
from resnet_pipe.reader.images.section import ImagesSection
from resnet_pipe.reader.source import Source
from resnet_pipe.store.digest import file_sha256
from resnet_pipe.store.names import path_of

LEAST = 20
"""With fewer, neither the ranges of the activations nor the figures mean anything."""
MOST = 160
"""More hardly change the ranges, and each takes a second or two with a deep network."""
HELD_OUT = 5
"""Every fifth image is for measuring."""
_LISTED = 10_000
"""Files among which the images are spread; a directory of millions is not listed to its end."""
_ADVICE = "give a directory of a few hundred images like those the network will see"


@dataclass(frozen=True)
class CalibrationImages:
    """Images at the network's input size: uint8, shape (n, H, W, 3), RGB; and the key and fault of others.

    No image of `held_out`, for measuring what int8 changes, is in `calibration`, for the ranges of the
    activations.
    """

    calibration: NDArray[np.uint8]
    held_out: NDArray[np.uint8]
    skipped: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class CalibrationFiles:
    """The image files chosen from a directory tree: at most `MOST`, in the order of their keys."""

    directory: Path
    reader: ImageReader
    sources: tuple[Source, ...]

    @classmethod
    def choose(cls, directory: Path) -> CalibrationFiles:
        """Choose the files; a `UsageError` if the directory lacks them, a `RunError` if it is not listed."""
        if not directory.is_dir():
            raise UsageError(f"{directory} is not a directory of calibration images", _ADVICE)
        reader = ImagesSection(kind="images", path=[directory.resolve()]).make_reader()
        found = list(islice(reader.list_sources(), _LISTED))
        if len(found) < LEAST:
            raise UsageError(
                f"{directory} has {len(found)} image files; calibrating needs at least {LEAST}", _ADVICE
            )
        count = min(len(found), MOST)
        chosen = tuple(found[index * len(found) // count] for index in range(count))
        return cls(directory, reader, chosen)

    def digest(self) -> str:
        """Return a hash of which files these are and what is in them; an `OSError` if one cannot be read."""
        root = local_root(self.reader.files)
        parts = [(one.key, one.size, file_sha256(path_of(root, one.key))) for one in self.sources]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def read(self, preprocessing: Preprocessing) -> CalibrationImages:
        """Read the images as a job would, in exact mode, and divide them; a `UsageError` if they are few."""
        geometry = preprocessing.geometry()
        images = np.empty((len(self.sources), *geometry.size, 3), np.uint8)
        count = 0
        skipped: list[tuple[str, str]] = []
        for source in self.sources:
            try:
                for item in self.reader.read(source.key, geometry.min_side):
                    geometry.apply(item.frame, images[count])
            except SourceError as error:
                skipped.append((source.key, error.message))
            else:
                count += 1
        if count < LEAST:
            key, reason = skipped[0]
            raise UsageError(
                f"only {count} of {len(self.sources)} images in {self.directory} can be read, and calibrating"
                f" needs at least {LEAST}; {key}: {reason}",
                _ADVICE,
            )
        held_out = np.arange(count) % HELD_OUT == HELD_OUT - 1
        images = images[:count]
        return CalibrationImages(images[~held_out], images[held_out], tuple(skipped))
