"""cuDNN and cuBLAS as the dynamic loader brings them with cv2: the checks cv2 and cuda."""

from __future__ import annotations

import shutil

import pytest

from resnet_pipe.doctor.cuda import judge
from resnet_pipe.doctor.cv2_library import Cv2
from resnet_pipe.doctor.driver import Driver
from tests.doctor.environment import CUDA_BUILD, Environment

MISSING = 'raise ImportError("{}: cannot open shared object file: No such file or directory")'
BUILD = CUDA_BUILD.format(ptx="", cudnn="YES (ver 9.13.0)")
VERSION = "int {name}GetProperty(int type, int *value) {{ *value = (int[]){{ {numbers} }}[type]; return 0; }}"


@pytest.mark.parametrize(
    ("missing", "linked", "remedy"),
    [
        ("libcudnn.so.99", "libcublas.so.13", "pip install 'nvidia-cublas==13.*' nvidia-cudnn-cu13"),
        ("libcudnn.so.99", "libcublasLt.so.12", "pip install nvidia-cublas-cu12 nvidia-cudnn-cu12"),
        ("libcublasLt.so.99", "libcublas.so.13", "pip install 'nvidia-cublas==13.*' nvidia-cudnn-cu13"),
        ("libcudnn.so.99", "", "or, for CUDA 12: pip install nvidia-cublas-cu12 nvidia-cudnn-cu12"),
    ],
)
def test_a_library_that_is_missing_comes_with_its_package_for_the_cuda_that_cv2_is_linked_against(
    environment: Environment, missing: str, linked: str, remedy: str
) -> None:
    environment.cv2(MISSING.format(missing)).opencv("opencv-python-headless", "5.0.0.93+cu")
    (environment.place / "cv2" / "cv2.abi3.so").write_bytes(b"\x7fELF\0" + linked.encode() + b"\0")
    found = environment.finding("cv2")
    assert found["level"] == "FAIL"
    assert missing in found["text"]
    assert found["remedy"].endswith(remedy)


def test_a_library_that_pip_has_where_cv2_does_not_look_is_pointed_to(environment: Environment) -> None:
    place = environment.place / "nvidia" / "cudnn" / "lib"
    place.mkdir(parents=True)
    (place / "libcudnn.so.99").touch()
    found = environment.cv2(MISSING.format("libcudnn.so.99")).finding("cv2")
    assert found["remedy"].startswith('export LD_LIBRARY_PATH="')
    assert str(place) in found["remedy"]


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler, to make fake libraries")
def test_what_the_loader_has_brought_is_asked_for_its_version(environment: Environment) -> None:
    environment.library("libcudnn.so.9", VERSION.format(name="cudnn", numbers="9, 24, 1"))
    environment.library("libcublas.so.13", VERSION.format(name="cublas", numbers="13, 1, 0"))
    code = "import ctypes\nfor name in ('libcudnn.so.9', 'libcublas.so.13'): ctypes.CDLL(name)"
    cublas, cudnn = environment.cv2(code, build=BUILD).findings("cuda")[1:]
    assert cudnn["level"] == cublas["level"] == "OK"
    assert cudnn["text"] == (
        f"cuDNN 9.24.1, {environment.libraries}/libcudnn.so.9 (cv2 is built with 9.13.0)"
    )
    assert cublas["text"].startswith(f"cuBLAS 13.1.0, {environment.libraries}/libcublas.so.13")


@pytest.mark.parametrize(
    ("version", "level"),
    [("9.13.0", "OK"), ("9.24.0", "OK"), ("9.12.9", "WARN"), ("8.9.7", "FAIL"), ("10.0.0", "FAIL")],
)
def test_the_version_of_cudnn_is_compared_with_that_of_the_build(version: str, level: str) -> None:
    cv2 = Cv2(build=BUILD, libraries={"cudnn": ("/lib/libcudnn.so.9", version)})
    _, found = judge(cv2, Driver(problem="no driver"), gpus=0)
    assert found.level == level
    assert found.remedy == ("" if level == "OK" else "pip install -U 'nvidia-cudnn-cu13>=9.13,<10'")


def test_a_build_without_cudnn_has_no_cuda_in_its_dnn() -> None:
    without = Cv2(build=CUDA_BUILD.format(ptx="", cudnn="NO"))
    _, found = judge(without, Driver(problem="no driver"), gpus=0)
    assert found.level == "FAIL"
    assert "cv2.dnn cannot use CUDA" in found.text
