"""Convert a network: build the original, compare, and write the ONNX file and its sidecar."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_pipe.convert.photographs import photographs
from resnet_pipe.convert.recipe import TORCHVISION
from resnet_pipe.convert.sources.directory import Ask
from resnet_pipe.convert.spec import LIBRARIES, Say, wanted
from resnet_pipe.errors import MissingExtraError, ModelError, UsageError
from resnet_pipe.head.classify import FEATURES
from resnet_pipe.model.detection import WITH_FEATURES
from resnet_pipe.model.model import Sidecar, models_dir, read_sidecar
from resnet_pipe.store import atomic
from resnet_pipe.store.digest import file_sha256

if TYPE_CHECKING:
    from resnet_pipe.convert.original import Original
_NAME = re.compile(r"[\w@+-][\w.@+ -]{0,199}")
"""Of a model: part of a file's name, and never a path."""


@dataclass(frozen=True)
class Conversion:
    """The ONNX file and what its sidecar says; not changed if both were there and would be the same again."""

    path: Path
    sidecar: Sidecar
    changed: bool


def convert(
    spec: str,
    *,
    weights: str | None = None,
    ask: Ask | None = None,
    name: str | None = None,
    out: Path | None = None,
    say: Say = lambda _text: None,
    singly: bool = False,
) -> Conversion:
    """Convert a network to ONNX, and compare the result with the original.

    Args:
        spec: a recipe file, or the bare name of one that comes with the package, such as `resnet50`; a
            network on a hub, `hf:OWNER/NAME[@REVISION]` or `timm:NAME`; a directory as transformers or timm
            save it; or an .onnx file.
        weights: of a recipe: imagenet, random, auto, or a checkpoint file; None for its own. With a
            checkpoint, a recipe that comes with the package has the preprocessing `OF_A_CHECKPOINT`.
        ask: what no file says.
        name: of the model; None for that of what is converted.
        out: the directory for the files; None for `models_dir()`.
        say: is told what happens, a line at a time.
        singly: refuse a network that takes several images at a time and no other number.

    Raises:
        DocumentError: the recipe is wrong.
        MissingExtraError: an extra is not installed.
        ModelError: the weights are not available, or the result is not the same network. No file is left.
        UsageError: there is nothing of this name, or a model of this name is another network.
    """
    if name is not None and not _NAME.fullmatch(name):
        raise UsageError(
            f"--name {name[:100]!r} is not the name of a model", "use letters, digits, ., _ and -"
        )
    found = wanted(spec, weights, ask or Ask(spec), say)
    if singly and found.batch_size not in (None, 1):
        raise UsageError(
            f"{spec} takes exactly {found.batch_size} images at a time, and calibrating takes one after the"
            " other",
            "export it with a dynamic batch size (dynamic_axes, or dynamic_shapes), or convert it without"
            " --quantize",
        )
    target = (out or models_dir()) / f"{name or found.name}.onnx"
    versions = versions_of(*LIBRARIES, extra="convert", purpose="Converting a model")
    digest = hashlib.sha256(json.dumps([found.decides, versions], sort_keys=True).encode()).hexdigest()
    try:
        before = unchanged(target, digest)
        if before is not None:
            return Conversion(target, before, changed=False)
        with _there(target.parent), alone(target.parent):
            original = found.build(say)
            refuse_other(target, original)
            return Conversion(target, _convert(original, target, digest, versions, say), changed=True)
    except OSError as error:
        raise unwritable(target, error) from error


def unwritable(target: Path, error: OSError) -> ModelError:
    """Return the error about a model that cannot be written."""
    remedy = "make it writable or free some space, or choose another place with --out or XDG_CACHE_HOME"
    if error.errno == errno.ENAMETOOLONG:
        remedy = "give it a shorter name with --name NAME"
    return ModelError(f"cannot write {target}: {error.strerror or error}", remedy)


@contextmanager
def _there(directory: Path) -> Iterator[None]:
    """Make a directory, and those above it; if this ends badly, remove those again that are still empty."""
    made = [one for one in (directory, *directory.parents) if not one.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # somebody has written something there
            for one in made:
                one.rmdir()
        raise


def refuse_other(target: Path, original: Original | Sidecar) -> None:
    """Refuse to replace a model that came from elsewhere: it may be the only copy, and jobs name it."""
    beside = target.with_suffix(".json")
    if not (target.exists() or beside.exists()):
        return
    there = f"{target if target.exists() else beside} is there already, and was not made by this program"
    known = original.source == TORCHVISION and _is_clean(target)
    with suppress(ModelError):
        before = read_sidecar(beside)
        there = f"{target} is another network: {before.architecture} of {before.source}"
        same = before.weights.requested == original.weights.requested
        if original.source == TORCHVISION:  # whatever its weights
            same = before.architecture == original.architecture
        known = same and before.source == original.source
    if not known:
        raise UsageError(there, "give this one another name: --name NAME; or remove that file")


def _is_clean(path: Path) -> bool:
    """Tell whether an ONNX file, whose sidecar is lost, has the form that `graph.clean` gives."""
    import onnx

    from resnet_pipe.convert import graph

    try:
        found = onnx.load(path, load_external_data=False).graph
    except Exception:  # of several libraries: it may be anything
        return False
    return found.name == graph.NAME and [value.name for value in found.input] == [graph.INPUT]


def _convert(original: Original, target: Path, digest: str, versions: dict[str, str], say: Say) -> Sidecar:
    from resnet_pipe.convert import check, graph  # which need onnx

    photos = photographs(original.preprocessing)

    def make(temporary: Path) -> Sidecar:
        temporary.write_bytes(original.graph.SerializeToString(deterministic=True))
        proved = check.differences(temporary, original, photos, say)
        return Sidecar(
            name=target.stem,
            source=original.source,
            architecture=original.architecture,
            depth=original.depth,
            weights=original.weights,
            # Python's text may hold half of a surrogate pair; no file can.
            classes=[name.encode(errors="replace").decode() for name in original.classes],
            features=graph.width(original.graph, FEATURES),
            preprocessing=original.preprocessing,
            params=original.params,
            macs=original.macs
            if original.macs is not None
            else graph.multiply_accumulates(original.graph, original.preprocessing.size),
            file_bytes=temporary.stat().st_size,
            onnx_sha256=file_sha256(temporary),
            recipe_sha256=digest,
            compared_with=original.runs_in,
            max_relative_difference=max(proved.values()),
            proved=proved,
            licence=original.licence,
            revision=original.revision,
            files=original.files,
            assumed=original.assumed,
            detection=original.detection,
            versions=versions,
        )

    sidecar = write(target, make)
    engines, difference = ", ".join(sidecar.proved), sidecar.max_relative_difference
    say(f"as in {original.runs_in} on {len(photos)} photographs, within {difference:.1e}: {engines}")
    for note in original.notes:
        say(f"NOTE: {note}")
    for assumption in original.assumed:
        say(f"NOTE: assumed {assumption}")
    return sidecar


def write(target: Path, make: Callable[[Path], Sidecar]) -> Sidecar:
    """Write an ONNX file, the target, and its sidecar in the place of older ones.

    `make` writes it to the path that it is given, and returns its sidecar. If it raises, nothing changes.
    """
    with atomic.replacing(target) as temporary:
        sidecar = make(temporary)
        # The sidecar goes first: until the file follows, its SHA-256 says that they do not belong together,
        # and converting again repairs it.
        unused = set() if sidecar.preprocessing.varies else {"longest", "multiple"}
        text = sidecar.model_dump_json(indent=1, exclude={"preprocessing": unused})
        atomic.write_bytes(target.with_suffix(".json"), text.encode())
    return sidecar


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Let one conversion at a time write to a directory; what one that was killed has left is overwritten."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def versions_of(*libraries: str, extra: str, purpose: str) -> dict[str, str]:
    """Return the installed versions of libraries; a `MissingExtraError` names one that is not installed."""
    try:
        return {library: metadata.version(library) for library in libraries}
    except metadata.PackageNotFoundError as error:
        raise MissingExtraError(str(error.name), extra, purpose) from None


def unchanged(target: Path, digest: str) -> Sidecar | None:
    """Return the sidecar of an ONNX file that a conversion with this digest would give again, or None."""
    path = target.with_suffix(".json")
    if target.is_file() and path.is_file():
        with suppress(ModelError):
            sidecar = read_sidecar(path)
            said = sidecar.detection
            lacks = said is not None and said.kind in WITH_FEATURES and sidecar.features is None
            same = sidecar.recipe_sha256 == digest and sidecar.onnx_sha256 == file_sha256(target)
            if same and not lacks:  # as detectors do that were converted before they had features
                return sidecar
    return None
