"""Fixtures that more than one part of the tests uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.photographs import NAMES, encode, photograph


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with real photographs as JPEGs, 500 pixels wide, one in a subfolder. Do not change it."""
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "more").mkdir()
    for name in NAMES:
        image = photograph(name)
        image = image.resize((500, round(500 * image.height / image.width)))
        stem = Path(name).stem
        target = folder / "more" if stem == "rocket" else folder
        (target / f"{stem}.jpg").write_bytes(encode(image, "JPEG", quality=90))
    return folder
