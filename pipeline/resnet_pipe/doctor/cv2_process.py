"""The process that imports cv2 for the doctor."""

from __future__ import annotations

import ctypes
import re
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from resnet_pipe.machine.cv2_import import NO_LIBRARY

_LIBRARY = re.compile(r"(/.*/lib(cudnn|cublas|cublasLt)\.so[.\d]*)$", re.MULTILINE)


def serve(connection: Connection) -> None:
    """Send the fields of `doctor.cv2_library.Cv2`."""
    try:
        import cv2
    except Exception as error:
        answer: dict[str, Any] = {"error": " ".join(str(error).split()) or type(error).__name__}
    else:
        answer = _look(cv2) if hasattr(cv2, "__version__") else {"error": NO_LIBRARY}
    connection.send(answer)


def _look(cv2: Any) -> dict[str, Any]:  # noqa: ANN401 - the module
    answer = {
        "file": cv2.__file__,
        "version": cv2.__version__,
        "build": cv2.getBuildInformation(),
        "libraries": _loaded(),
    }
    try:
        answer["devices"] = cv2.cuda.getCudaEnabledDeviceCount()
    except cv2.error as error:
        answer["cuda_error"] = " ".join(str(error).split())
    return answer


def _loaded() -> dict[str, tuple[str, str]]:
    """Return path and version of those of CUDA's libraries that the dynamic loader has brought with cv2."""
    try:
        mapped = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:  # not Linux, and so no CUDA
        return {}
    return {name: (path, _version(path, name)) for path, name in _LIBRARY.findall(mapped)}


def _version(path: str, name: str) -> str:
    library, value = ctypes.CDLL(path), ctypes.c_int()
    numbers = []
    for part in range(3):  # major, minor, patch: libraryPropertyType of CUDA's library_types.h
        library[f"{name}GetProperty"](ctypes.c_int(part), ctypes.byref(value))
        numbers.append(str(value.value))
    return ".".join(numbers)
