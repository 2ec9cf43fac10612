"""Names of the files that are of one source alone: its key, mirrored below a folder of the output."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from resnet_pipe.store.names import path_of

_NAME_BYTES = 255
"""The longest name that common file systems allow."""
_FOLDERS_BYTES = 1024
"""Longer ones are not mirrored: below an output directory, they might not fit a path."""
_HASHED = re.compile(r".*~[0-9a-f]{16}", re.DOTALL)
"""What a name with a hash looks like. One that looks like this by chance gets another hash."""


def mirrored(folder: str, key: str, suffix: str, suffixes: tuple[str, ...]) -> Path:
    """Return the path of a source's own file, relative to the output directory.

    It is `FOLDER/KEY` and the suffix, empty for a folder with several files. A name that is too long is
    shortened; it and others that cannot stay as they are end in a hash instead. No two keys have the same
    path, none is a folder of another, and none leads out of `folder`; the suffixes are those of all files
    there.
    """
    *above, name = path_of(Path(), key).parts
    if sum(len(os.fsencode(part)) + 1 for part in above) > _FOLDERS_BYTES:
        above = [_hashed("", "/".join(above), "")]
    else:
        above = [_fitted(part, "", suffixes) for part in above]
    return Path(folder, *above, _fitted(name, suffix, suffixes))


def _fitted(name: str, suffix: str, suffixes: tuple[str, ...]) -> str:
    # A folder `a.jpg` might be in the place of the file of a source `a`.
    is_taken = name in ("/", "..") or (not suffix and name.lower().endswith(suffixes))
    is_long = len(os.fsencode(name)) + len(suffix) > _NAME_BYTES
    return _hashed(name, name, suffix) if is_taken or is_long or _HASHED.fullmatch(name) else name + suffix


def _hashed(start: str, text: str, suffix: str) -> str:
    ending = f"~{hashlib.sha256(os.fsencode(text)).hexdigest()[:16]}{suffix}"
    room = _NAME_BYTES - len(ending)
    return os.fsencode(start.strip("/."))[:room].decode("utf-8", "ignore") + ending
