"""Why a file cannot be loaded as a checkpoint, and what to do; torch's own advice is to trust the file."""

from __future__ import annotations

import pickle
import re
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from shlex import quote

from resnet_pipe.errors import ModelError
from resnet_pipe.model.foreign import COPY_AGAIN, START, told_by

_LISTED = 5
_OLD_TORCH = {"pickle", "storages", "tensors"}
"""Members of the tar archives that torch wrote before version 0.1.10 (2017)."""


def refusal(path: Path, error: Exception) -> ModelError:
    """Explain why `torch.load`, loading tensors only, refused a file, which may be anything."""
    try:
        with path.open("rb") as file:
            start = file.read(START)
        problem, remedy = (
            _safetensors(path, start)
            or told_by(start)
            or _archive(path, start)
            or _pickled(error, start)
            or _onnx(path)
            or _unknown(start)
        )
    except OSError as unread:
        return ModelError(f"checkpoint {path} cannot be read: {unread.strerror or unread}")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, ValueError, NotImplementedError):
        problem, remedy = "is a damaged archive", COPY_AGAIN
    return ModelError(f"checkpoint {path} {problem}", remedy)


def state_dict(load: str = "model = ...  # the network, with its weights") -> str:
    """Return how to save a network's weights to a file; `load` is the first of the two lines."""
    return f"save a state dict, {two_lines(load, 'model.state_dict()')}"


def two_lines(load: str, saved: str) -> str:
    """Return a remedy with two lines of Python, the second of which saves the expression `saved`."""
    return f'and convert that file:\n      {load}\n      torch.save({saved}, "weights.pt")'


def _safetensors(path: Path, start: bytes) -> tuple[str, str] | None:
    header = int.from_bytes(start[:8], "little")
    if start[8:9] == b"{" and header < path.stat().st_size:
        load = f"tensors = safetensors.torch.load_file({str(path)!r})"
        return "is a safetensors file", f"save it with torch, {two_lines(load, 'tensors')}"
    return None


def _onnx(path: Path) -> tuple[str, str] | None:
    import onnx

    try:
        network = onnx.load(path, load_external_data=False)
    except Exception:  # of several libraries: the file may be anything
        return None
    if not network.graph.node:
        return None
    return (
        "is an ONNX network, not just weights",
        f"convert it as it is: resnet-pipe convert {quote(str(path))}",
    )


def _archive(path: Path, start: bytes) -> tuple[str, str] | None:
    if zipfile.is_zipfile(path):
        return _zip(path)
    if start.startswith(b"PK"):
        return "is truncated: the end of the archive is missing", COPY_AGAIN
    if not tarfile.is_tarfile(path):
        return None
    with tarfile.open(path) as archive:
        names = archive.getnames()
    if set(names) >= _OLD_TORCH:
        load = f"model.load_state_dict(torch.load({str(path)!r}))  # with a torch version of that time"
        return "is a tar archive, torch's format before 2017, which is not supported", state_dict(load)
    return f"is a tar archive of other files: {_several(names)}", "unpack it, and use the file inside"


def _zip(path: Path) -> tuple[str, str] | None:
    """Return what is wrong with a zip archive; None if the cause may be its pickle."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    members = {name.partition("/")[2] for name in names}
    if "data.pkl" not in members:
        return f"is a zip archive of other files: {_several(names)}", "unpack it, and use the file inside"
    if "constants.pkl" in members:
        load = f"model = torch.jit.load({str(path)!r})"
        return "is a TorchScript program (torch.jit.save), not just weights", state_dict(load)
    found = _needed(path)
    return _objects(found) if found else None


def _needed(path: Path) -> list[str]:
    """Return the classes and functions that a torch.save file needs besides tensors."""
    from torch import serialization

    ask = getattr(serialization, "get_unsafe_globals_in_checkpoint", None)  # from torch 2.6
    try:
        return list(ask(path)) if ask is not None else []
    except (RuntimeError, ValueError, KeyError, pickle.UnpicklingError):
        return []


def _pickled(error: Exception, start: bytes) -> tuple[str, str] | None:
    if isinstance(error, pickle.UnpicklingError):
        named = re.findall(r"GLOBAL ([\w.]+)", str(error))
        if named:  # the first that it came upon
            return _objects(named[:1])
        if start.startswith(b"\x80"):
            return "is a pickle, but not a file of tensors saved by torch.save", state_dict()
        if not start.startswith(b"PK"):
            return None
    if start.startswith((b"\x80", b"PK")):
        words = "".join(filter(str.isprintable, str(error).partition("\n")[0]))[:200]
        told = f": {words}" if words and "weights_only" not in words else ""
        return f"is damaged or truncated{told}", COPY_AGAIN
    return None


def _objects(names: Iterable[str]) -> tuple[str, str]:
    """Return what is wrong with a file that contains more than tensors."""
    ordered = sorted(names, key=lambda name: (name.startswith("torch.nn."), name))
    network = any(name.startswith("torch.nn.") for name in ordered)
    what = "a whole network, with its code" if network else "more than tensors"
    return (
        f"holds {what}: {_several(ordered)}. Only tensors are loaded: anything else could run code",
        f"in a program that can import these, {state_dict()}",
    )


def _unknown(start: bytes) -> tuple[str, str]:
    return f"was not written by torch.save: it begins with {start[:24]!r}", state_dict()


def _several(names: list[str]) -> str:
    """Return the first few names, without control characters."""
    told = ", ".join("".join(filter(str.isprintable, name))[:100] for name in names[:_LISTED])
    return f"{told} and {len(names) - _LISTED} more" if len(names) > _LISTED else told or "none"
