"""Make the tar file for the example job archive.yaml: the sample images, in the order of their names.

usage: python jobs/sample_archive.py FOLDER ARCHIVE

An archive that is there already is left alone.
"""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path


def main(folder: Path, archive: Path) -> None:
    """Make an archive of the files in a folder."""
    if archive.exists():
        print(f"{archive} is there")
        return
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w") as tar:
        for file in files:
            tar.add(file, file.relative_to(folder))
    print(f"packed {len(files)} sample images into {archive}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
