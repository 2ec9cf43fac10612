"""cv2: which one is imported, from which distribution, and does it import at all."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache, partial
from importlib import metadata
from importlib.machinery import PathFinder
from multiprocessing.connection import Connection
from pathlib import Path

from resnet_pipe.doctor.answer import answer_of
from resnet_pipe.doctor.examination import Finding
from resnet_pipe.doctor.packages import canonical, is_older, minimum_of
from resnet_pipe.machine.cv2_import import DISTRIBUTION, import_problem, remedy

_finding = partial(Finding, "cv2")
_CUDA = re.compile(r"(/.*/lib(cudnn|cublas|cublasLt)\.so[.\d]*)$", re.MULTILINE)
"""Path and name of one of CUDA's libraries, in a list of mapped files (/proc/self/maps)."""
_CV2 = re.compile(r"^cv2(/__init__\.py|[^,]*\.so),", re.MULTILINE)
"""A file without which there is no cv2, in a list of installed files (RECORD)."""


@dataclass(frozen=True)
class Cv2:
    """What a process saw that imported cv2: its file, or why that cannot be imported, on one line.

    `build` is what `cv2.getBuildInformation()` gives, `devices` how many it counts for CUDA (-1 without a
    driver); `libraries` are path and version of `cudnn`, `cublas` and `cublasLt`, as the loader brought them.
    """

    file: str | None = None
    error: str = ""
    version: str = ""
    build: str = ""
    devices: int = 0
    cuda_error: str = ""
    libraries: dict[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Distribution:
    """An installed distribution that holds a cv2, its own version, and the directory with that `cv2`."""

    name: str
    version: str
    place: str


@cache
def look() -> Cv2:
    """Import cv2 in a process of its own."""
    seen = answer_of("resnet_pipe.doctor.cv2_library", lambda problem: Cv2(error=problem))
    spec = PathFinder.find_spec("cv2")
    return replace(seen, file=seen.file or (spec.origin if spec else None))


def serve(connection: Connection) -> None:
    """Send a `Cv2`: what that process does. If the import fails, the file is left open."""
    error = import_problem()
    connection.send(Cv2(error=error) if error else _look())


def _look() -> Cv2:
    import cv2

    seen = Cv2(
        file=cv2.__file__, version=cv2.__version__, build=cv2.getBuildInformation(), libraries=_loaded()
    )
    try:
        return replace(seen, devices=cv2.cuda.getCudaEnabledDeviceCount())
    except cv2.error as error:
        return replace(seen, cuda_error=" ".join(str(error).split()))


def _loaded() -> dict[str, tuple[str, str]]:
    """Return path and version of those of CUDA's libraries that the dynamic loader has brought with cv2."""
    try:
        mapped = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:  # not Linux, and so no CUDA
        return {}
    return {name: (path, _version(path, name)) for path, name in _CUDA.findall(mapped)}


def _version(path: str, name: str) -> str:
    library, value = ctypes.CDLL(path), ctypes.c_int()
    numbers = []
    for part in range(3):  # major, minor, patch: libraryPropertyType of CUDA's library_types.h
        library[f"{name}GetProperty"](ctypes.c_int(part), ctypes.byref(value))
        numbers.append(str(value.value))
    return ".".join(numbers)


def check() -> Iterator[Finding]:
    """Import cv2 and find out where it comes from."""
    cv2 = look()
    distributions = _distributions(cv2.file)
    names = " and ".join(f"{one.name} {one.version}" for one in distributions)
    error = f"import cv2 fails: {cv2.error}" if cv2.error else ""
    here = f"{cv2.version} from {names or 'no distribution'}, {cv2.file}"
    if len(distributions) > 1:
        text = f"{names} are installed on top of each other: they share files, and the last one installed won"
        yield _finding("FAIL", f"{text}; {error}" if error else text, _untangle(distributions))
    elif error:
        yield _finding("FAIL", f"{error} ({names or 'not from a distribution'})", remedy(cv2.error))
    elif is_older(cv2.version, minimum := minimum_of(DISTRIBUTION)):
        yield _finding("FAIL", f"{here}: resnet-pipe needs {minimum}", f"pip install -U {DISTRIBUTION}")
    elif not distributions:
        text = f"{here}: pip does not know about it and will install another one"
        reinstall = f"pip install --force-reinstall {DISTRIBUTION}"
        yield _finding("WARN", text, f"{reinstall}; or package your build as a wheel of that name")
    elif distributions[0].name != DISTRIBUTION:
        text = f"{here}: resnet-pipe depends on {DISTRIBUTION}, which pip will install over it"
        yield _finding("WARN", text, _untangle(distributions))
    else:
        yield _finding("OK", here)


def _untangle(distributions: list[Distribution]) -> str:
    names = " ".join(one.name for one in distributions)
    own = [one for one in distributions if "+" in one.version]  # built by someone; not on the package index
    again = f"the wheel of {own[0].name} {own[0].version}" if own else DISTRIBUTION
    return f"pip uninstall -y {names} && pip install {again}"


def _distributions(file: str | None) -> list[Distribution]:
    """Return those that are where a cv2 is imported from; all of them if there is none."""
    found = set()
    for one in metadata.distributions():
        held = _CV2.search(one.read_text("RECORD") or "")
        if held:
            place = os.path.realpath(Path(str(one.locate_file("cv2"))).parent)
            found.add(Distribution(canonical(one.metadata["Name"]), one.version, place))
    if file is not None:
        path = Path(os.path.realpath(file))
        here = path.parent.parent if path.name == "__init__.py" else path.parent
        found = {one for one in found if one.place == str(here)}
    return sorted(found, key=lambda one: one.name)
