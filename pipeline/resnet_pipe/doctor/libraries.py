"""cuDNN and cuBLAS: does the dynamic loader find them for cv2, and are they those it was built for?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import partial

from resnet_pipe.doctor import cv2_library
from resnet_pipe.doctor.build import CudaBuild, dotted, parse
from resnet_pipe.doctor.cv2_library import Cv2
from resnet_pipe.doctor.finding import Finding
from resnet_pipe.doctor.packages import is_older
from resnet_pipe.machine.cv2_import import remedy

_finding = partial(Finding, "libraries")
_NAMES = {"cudnn": "cuDNN", "cublas": "cuBLAS", "cublasLt": "cuBLASLt"}


def check() -> Iterable[Finding]:
    """Check the libraries that cv2 loaded into a process that imported it."""
    return judge(cv2_library.look())


def judge(cv2: Cv2) -> Iterator[Finding]:
    """Yield the findings for what was observed."""
    build = parse(cv2.build)
    if missing := re.search(r"lib(cudnn|cublas|cublasLt)\.so[.\d]*", cv2.error):
        text = f"{_NAMES[missing[1]]} was not found ({missing[0]}), and cv2 cannot be imported without it"
        yield _finding("FAIL", text, remedy(cv2.error))
    elif cv2.error:
        yield _finding("WARN", "cannot tell what cv2 needs until it can be imported", "see the cv2 line")
    elif build is None:
        yield _finding("OK", "cv2 is built without CUDA, and needs neither cuDNN nor cuBLAS")
    elif build.cudnn is None:
        text = "cv2 is built with CUDA, but without cuDNN, so cv2.dnn cannot use CUDA"
        yield _finding("FAIL", text, "docker/build-opencv-cuda.sh builds one that has it")
    else:
        for name, (path, version) in sorted(cv2.libraries.items()):
            yield _loaded(name, path, version, build)


def _loaded(name: str, path: str, version: str, build: CudaBuild) -> Finding:
    text = f"{_NAMES[name]} {version}, {path}"
    if name != "cudnn":
        return _finding("OK", f"{text} (cv2 is built with CUDA {dotted(build.cuda)})")
    built = str(build.cudnn)
    text = f"{text} (cv2 is built with {built})"
    major, minor = built.split(".")[:2]
    install = f"pip install -U 'nvidia-cudnn-cu{build.cuda[0]}>={major}.{minor},<{int(major) + 1}'"
    if version.split(".")[0] != major:
        return _finding("FAIL", f"{text}: a different major version", install)
    # One built with an older minor version runs with a newer one; the other way round is left open (NVIDIA).
    if is_older(version, f"{major}.{minor}"):
        return _finding("WARN", f"{text}: older than the one it was built with, which may fail", install)
    return _finding("OK", text)
