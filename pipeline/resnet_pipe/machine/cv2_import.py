"""Whether cv2 can be imported, and what to do if not: of all libraries, it fails most often."""

from __future__ import annotations

import mmap
import re
import sys
from importlib.machinery import PathFinder
from pathlib import Path

from resnet_pipe.errors import UsageError

DISTRIBUTION = "opencv-python-headless"
"""The one that resnet-pipe depends on."""
_WINDOWS = re.compile(r"lib(GL|EGL|OpenGL|gthread|glib|SM|ICE|X\w+|xcb[\w-]*|Qt\w*)[-.\d]*\.so")
"""Libraries of a desktop, which only the distributions with windows need."""
_CUDA = re.compile(r"lib(?:cudnn|cublas|cublasLt)\.so\.\d+")


def require() -> None:
    """Import cv2, before anything is started that needs it.

    Raises:
        UsageError: it cannot be imported; with the reason and what to do.
    """
    if problem := import_problem():
        raise UsageError(f"cv2 cannot be imported: {problem}", remedy(problem), "cv2")


def import_problem() -> str:
    """Import cv2 and return what goes wrong, on one line; empty if nothing does."""
    try:
        import cv2
    except Exception as error:  # ImportError, and what numpy raises for a library made for another version
        return " ".join(str(error).split()) or type(error).__name__
    if hasattr(cv2, "__version__"):
        return ""
    # What remains after one of two distributions with the same files has been uninstalled.
    return "the cv2 folder is there, but its library is missing"


def remedy(problem: str) -> str:
    """Return what to do about a cv2 that cannot be imported, by what the import or the loader said."""
    if missing := _CUDA.search(problem):
        return _remedy_without_cuda(missing[0])
    reinstall = f"pip install --force-reinstall {DISTRIBUTION}"
    if _WINDOWS.search(problem):
        return f"pip uninstall -y opencv-python opencv-contrib-python && {reinstall}"
    if "GLIBC" in problem:
        otherwise = "or build one here with docker/build-opencv-cuda.sh"
        return f"it was built for a newer system: {reinstall}, {otherwise}"
    return reinstall


def _remedy_without_cuda(library: str) -> str:
    installed = [found for folder in sys.path for found in Path(folder).glob("nvidia/*/lib/lib*")]
    if any(found.name == library for found in installed):  # where this cv2 does not look
        places = dict.fromkeys(str(found.parent) for found in installed if _CUDA.match(found.name))
        return f'export LD_LIBRARY_PATH="{":".join(places)}:$LD_LIBRARY_PATH"'
    major = _cuda_major()
    if major is None:
        return f"pip install {_packages(13)}; or, for CUDA 12: pip install {_packages(12)}"
    return f"pip install {_packages(major)}"


def _packages(major: int) -> str:
    """Return the names on the package index of cuBLAS and cuDNN for a major version of CUDA.

    From CUDA 13 on, NVIDIA's packages with a version of CUDA's own have no suffix: nvidia-cublas-cu13 is an
    empty package that says so.
    """
    cublas = f"nvidia-cublas-cu{major}" if major < 13 else f"'nvidia-cublas=={major}.*'"
    return f"{cublas} nvidia-cudnn-cu{major}"


def _cuda_major() -> int | None:
    """Return the major version of CUDA that cv2 is linked against, from the names in its file."""
    spec = PathFinder.find_spec("cv2")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        for path in sorted(Path(folder).rglob("cv2*.so")):
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                if linked := re.search(rb"libcublas(?:Lt)?\.so\.(\d+)", data):
                    return int(linked[1])
    return None
