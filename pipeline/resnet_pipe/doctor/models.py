"""Whether the models that were converted are whole, and belong to their sidecars."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path
from shlex import quote

from resnet_pipe.doctor.examination import Finding
from resnet_pipe.errors import HomeError, ModelError
from resnet_pipe.head.detect import as_said
from resnet_pipe.head.output_choice import of_network
from resnet_pipe.model.model import Sidecar, how_to_make, models_dir, open_model, read_sidecar
from resnet_pipe.model.network import PERHAPS_BOXES, inspect
from resnet_pipe.store.names import key_of

HASHED_BYTES = 4 << 30
"""Of the models, the smallest first, so many are read whole: that takes seconds."""
_CHECK = "models"


def check(directory: Path | None = None) -> Iterator[Finding]:
    """Compare every model in a directory, None for where they are kept, with its sidecar."""
    try:
        directory = directory or models_dir()
        sizes = {path: path.stat().st_size for path in directory.glob("*.onnx") if path.is_file()}
    except HomeError as error:
        text = f"none: {error.problem}; jobs must give the path of a model, or {error.remedy}"
        yield Finding(_CHECK, "OK", text)
        return
    except OSError as error:
        yield Finding(_CHECK, "FAIL", f"{error.filename}: {error.strerror}", f"ls -l {directory}")
        return
    if not sizes:
        text = f"none converted yet in {directory}; to convert one: resnet-pipe convert resnet50"
        yield Finding(_CHECK, "OK", text)
        return
    smallest_first = sorted(sizes, key=sizes.__getitem__)
    totals = accumulate(map(sizes.__getitem__, smallest_first))
    hashed = {path for path, total in zip(smallest_first, totals, strict=True) if total <= HASHED_BYTES}
    with ThreadPoolExecutor() as threads:
        yield from threads.map(lambda path: _finding(path, path in hashed), sorted(sizes))


def _finding(path: Path, hashed: bool) -> Finding:
    name, sidecar_path = key_of(path.stem), path.with_suffix(".json")
    remake = how_to_make(name)
    try:
        if not sidecar_path.exists():
            held = f"; its outputs: {_outputs(path)}" if hashed else ""
            text = f"{path} has no sidecar, so every job that uses it must set the preprocessing{held}"
            give = "set preprocess.resize, crop, mean and std in the job"
            if held.endswith(PERHAPS_BOXES):
                give = f"resnet-pipe convert {quote(str(path))} --name NAME"
            return Finding(_CHECK, "WARN", text, f"{remake}; or {give}" if remake else give)
        size = path.stat().st_size
        sidecar = open_model(path).sidecar if hashed else read_sidecar(sidecar_path)
        assert sidecar is not None  # noqa: S101 - its file is there
        held = f"; {_outputs(path, sidecar)}" if hashed else ""
        if not hashed and sidecar.file_bytes != size:
            raise ModelError(f"{path} has {size} bytes, but its sidecar says {sidecar.file_bytes}")
    except ModelError as error:
        remedy = error.remedy or "convert it again"
        remedy += f"; to convert it: {remake}" if remake else ""
        return Finding(_CHECK, "FAIL", error.problem, remedy)
    except OSError as error:
        return Finding(_CHECK, "FAIL", f"{error.filename} cannot be read: {error.strerror}", f"ls -l {path}")
    proof = "SHA-256 matches its sidecar" if hashed else "size matches its sidecar, too large to hash here"
    return Finding(_CHECK, "OK", f"{name}: {size / 1e6:.0f} MB, {proof}; {sidecar.weights.describe()}{held}")


def _outputs(path: Path, sidecar: Sidecar | None = None) -> str:
    """Return what a model's outputs hold, in words; a ModelError says that it cannot be run."""
    network = inspect(path)
    if sidecar is not None and sidecar.detection is not None:
        return as_said(sidecar.detection, sidecar.classes, network).describe()
    return PERHAPS_BOXES if network.may_find_objects else of_network(network).describe()
