"""The files of a model, on their way to nodes that do not have them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from resnet_pipe.job.resolve import Resolved
from resnet_pipe.machine.home import cache_dir
from resnet_pipe.store import atomic
from resnet_pipe.store.digest import file_sha256

_KEPT = "models-of-runs"
"""Below the cache directory: models that have come with a run, by SHA-256."""


@dataclass(frozen=True)
class ModelFile:
    """A file with its name below the model's directory."""

    name: str
    content: bytes

    @property
    def sha256(self) -> str:
        """Return its SHA-256, hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()


def read(resolved: Resolved) -> list[ModelFile]:
    """Return the files of a job's model: the ONNX file first, then those with its weights."""
    root = resolved.model.path.parent
    paths = (resolved.model.path, *resolved.network.data)
    return [ModelFile(str(path.relative_to(root)), path.read_bytes()) for path in paths]


def with_model_here(resolved: Resolved, files: list[ModelFile], attempt: str) -> Resolved:
    """Return a job whose model is on this node: where the job says, or else in the cache directory.

    The name of the attempt is for files that are being written.

    Raises:
        HomeError: this user has no cache directory.
    """
    if _are_in(resolved.model.path.parent, files):
        return resolved
    digest = hashlib.sha256("".join(f"{file.name} {file.sha256}\n" for file in files).encode()).hexdigest()
    folder = cache_dir() / _KEPT / digest
    if not _are_in(folder, files):
        for file in files:
            path = folder / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic.write_bytes(path, file.content, attempt)
    path, *data = (folder / file.name for file in files)
    return replace(
        resolved,
        model=replace(resolved.model, path=path),
        network=replace(resolved.network, path=path, data=tuple(data)),
    )


def _are_in(folder: Path, files: list[ModelFile]) -> bool:
    paths = [(folder / file.name, file.sha256) for file in files]
    return all(path.is_file() and file_sha256(path) == sha256 for path, sha256 in paths)
