"""The check cuda: what cv2 was built for, what the driver says, and whether they fit.

There is no GPU where these tests run: the driver is a library of ours with the functions of the real one.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from resnet_pipe.doctor.cuda import CudaBuild, judge, parse
from resnet_pipe.doctor.cv2_library import Cv2
from resnet_pipe.doctor.driver import Device, Driver, Version, gpus_on_the_bus
from tests.doctor.environment import CPU_BUILD, CUDA_BUILD, Environment

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler, to make a fake driver")

BUILD = "docker/build-opencv-cuda.sh"
CUDNN = "YES (ver 9.13.0)"
DRIVER = """
#include <string.h>
int cuInit(unsigned flags) {{ return {init}; }}
int cuGetErrorName(int code, const char **name) {{
    *name = code == 100 ? "CUDA_ERROR_NO_DEVICE" : 0;
    return 0;
}}
int cuDriverGetVersion(int *version) {{ *version = {version}; return 0; }}
int cuDeviceGetCount(int *count) {{ *count = {count}; return 0; }}
int cuDeviceGet(int *device, int index) {{ *device = index + 7; return 0; }}
int cuDeviceGetName(char *name, int size, int device) {{ strncpy(name, "NVIDIA Fake 9000", size); return 0; }}
int cuDeviceTotalMem_v2(size_t *bytes, int device) {{ *bytes = 80UL << 30; return 0; }}
int cuDeviceGetAttribute(int *value, int attribute, int device) {{
    *value = device < 7 ? -1 : attribute == 75 ? {major} : attribute == 76 ? {minor} : -1;
    return 0;
}}
"""


def with_driver(
    environment: Environment,
    init: int = 0,
    version: int = 13000,
    count: int = 1,
    architecture: Version = (9, 0),
) -> Environment:
    """Give an environment a driver that answers these things."""
    major, minor = architecture
    source = DRIVER.format(init=init, version=version, count=count, major=major, minor=minor)
    return environment.library("libcuda.so.1", source)


def built(environment: Environment, ptx: str = "", devices: int = 1) -> Environment:
    """Give an environment a cv2 that was built with CUDA."""
    return environment.cv2(build=CUDA_BUILD.format(ptx=ptx, cudnn="YES (ver 9.13.0)"), devices=devices)


def levels(environment: Environment) -> list[str]:
    """Return the levels of the findings about CUDA."""
    return [one["level"] for one in environment.findings("cuda")]


def test_a_build_without_cuda_on_a_machine_without_a_gpu_is_fine() -> None:
    (found,) = judge(Cv2(build=CPU_BUILD), Driver(problem="libcuda.so.1: cannot open"), gpus=0)
    assert found.level == "OK"
    assert "no NVIDIA GPU here" in found.text


@pytest.mark.parametrize(
    ("build", "gpus", "level"),
    [
        (CPU_BUILD, 1, "WARN"),
        (CUDA_BUILD.format(ptx="", cudnn=CUDNN), 1, "FAIL"),
        (CUDA_BUILD.format(ptx="", cudnn=CUDNN), 0, "WARN"),
    ],
)
def test_a_gpu_or_a_build_for_one_without_a_driver_comes_with_the_way_to_reach_it(
    build: str, gpus: int, level: str
) -> None:
    (found,) = judge(Cv2(build=build), Driver(problem="libcuda.so.1: cannot open"), gpus)
    assert found.level == level
    assert "libcuda.so.1: cannot open" in found.text
    assert "docker run --gpus all" in found.remedy
    assert "nvidia-smi" in found.remedy


def test_gpus_that_are_hidden_are_told_from_gpus_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    driver = Driver(problem="the driver returned CUDA_ERROR_NO_DEVICE")
    (found,) = judge(Cv2(build=CUDA_BUILD.format(ptx="", cudnn=CUDNN)), driver, gpus=2)
    assert (found.level, found.remedy) == ("FAIL", "unset CUDA_VISIBLE_DEVICES")


def test_a_gpu_is_seen_on_the_bus_even_without_a_driver(tmp_path: Path) -> None:
    assert gpus_on_the_bus(tmp_path) == 0
    for name, vendor, kind in [
        ("0000:00:01.0", "0x10de", "0x030200"),  # a GPU without a monitor
        ("0000:00:02.0", "0x10de", "0x040300"),  # the sound of a GPU
        ("0000:00:03.0", "0x8086", "0x030000"),  # another vendor's
    ]:
        device = tmp_path / "sys" / "bus" / "pci" / "devices" / name
        device.mkdir(parents=True)
        (device / "vendor").write_text(f"{vendor}\n")
        (device / "class").write_text(f"{kind}\n")
    assert gpus_on_the_bus(tmp_path) == 1
    (tmp_path / "dev").mkdir()
    for name in ("nvidia0", "nvidia1", "nvidiactl"):
        (tmp_path / "dev" / name).touch()
    assert gpus_on_the_bus(tmp_path) == 2


@needs_cc
def test_the_driver_is_asked_for_its_devices(environment: Environment) -> None:
    first, second, third = with_driver(built(environment, devices=2), count=2).findings("cuda")
    assert first["text"] == ("cv2 is built with CUDA 13.0, code for 9.0; the driver supports CUDA 13.0")
    assert second["text"] == "cuda:0 NVIDIA Fake 9000, architecture 9.0, 80.0 GiB: cv2 has code for it"
    assert third["text"].startswith("cuda:1 NVIDIA Fake 9000")
    assert {first["level"], second["level"], third["level"]} == {"OK"}


@needs_cc
def test_a_gpu_that_cv2_was_not_built_for_is_a_warning_with_the_build_as_remedy(
    environment: Environment,
) -> None:
    found = with_driver(environment.cv2()).finding("cuda")
    assert found["level"] == "WARN"
    assert "cuda:0 NVIDIA Fake 9000" in found["text"]
    assert "docker/build-opencv-cuda.sh" in found["remedy"]


@pytest.mark.parametrize(
    ("architecture", "ptx", "driver", "level", "said", "remedy"),
    [
        ((9, 0), "", (13, 0), "OK", "cv2 has code for it", ""),
        ((8, 9), "", (13, 0), "FAIL", "cv2 has no code for it", f"{BUILD} --arch 8.9"),
        ((12, 0), "90", (13, 0), "WARN", "the first start takes minutes", f"{BUILD} --arch 12.0"),
        ((12, 0), "90", (13, 2), "WARN", "the first start takes minutes", f"{BUILD} --arch 12.0"),
    ],
)
def test_each_gpu_is_compared_with_the_architectures_of_the_build(
    architecture: Version, ptx: str, driver: Version, level: str, said: str, remedy: str
) -> None:
    cv2 = Cv2(build=CUDA_BUILD.format(ptx=ptx, cudnn=CUDNN), devices=1)
    device = Device("NVIDIA Fake 9000", architecture, 80 << 30)
    _, found = judge(cv2, Driver(cuda=driver, devices=(device,)), gpus=1)
    assert (found.level, found.remedy) == (level, remedy)
    assert said in found.text


@needs_cc
def test_a_driver_that_is_older_than_the_build_fails(environment: Environment) -> None:
    found = with_driver(built(environment), version=12080).finding("cuda")
    assert found["level"] == "FAIL"
    assert "built with CUDA 13.0" in found["text"]
    assert "the driver supports CUDA 12.8 only" in found["text"]
    assert found["remedy"] == (
        "update NVIDIA's driver to 580 or newer, or docker/build-opencv-cuda.sh --cuda 12"
    )


def test_an_older_driver_of_the_same_major_version_runs_code_but_cannot_compile_ptx() -> None:
    cv2 = Cv2(build=CUDA_BUILD.format(ptx="90", cudnn=CUDNN).replace("13.0", "13.2"), devices=2)
    devices = (Device("old", (9, 0), 1 << 30), Device("new", (10, 0), 1 << 30))
    findings = list(judge(cv2, Driver(cuda=(13, 0), devices=devices), gpus=2))
    assert [one.level for one in findings] == ["OK", "OK", "FAIL"]
    assert "from a newer CUDA than this driver can compile" in findings[2].text


@needs_cc
def test_a_driver_that_refuses_is_quoted(environment: Environment) -> None:
    found = with_driver(built(environment), init=100).finding("cuda")
    assert found["level"] == ("FAIL" if gpus_on_the_bus() else "WARN")
    assert "CUDA_ERROR_NO_DEVICE" in found["text"]


@needs_cc
def test_devices_that_cv2_cannot_use_although_the_driver_has_them_fail(environment: Environment) -> None:
    assert levels(with_driver(built(environment, devices=-1), count=1)) == ["OK", "OK", "FAIL"]


def test_a_driver_that_crashes_is_a_finding(environment: Environment) -> None:
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    crashing = "#include <stdlib.h>\nint cuInit(unsigned flags) { abort(); }"
    found = built(environment).library("libcuda.so.1", crashing).finding("cuda")
    assert "SIGABRT" in found["text"]


def test_a_cv2_that_cannot_be_imported_does_not_hide_the_gpus() -> None:
    driver = Driver(cuda=(13, 0), devices=(Device("NVIDIA Fake 9000", (9, 0), 1 << 30),))
    broken = Cv2(error="libGL.so.1: cannot open")
    for found, said in (
        (judge(broken, driver, gpus=1), "NVIDIA Fake 9000"),
        (judge(broken, Driver(problem="libcuda.so.1: cannot open"), gpus=0), "libcuda.so.1"),
    ):
        (one,) = found
        assert one.level == "WARN"
        assert said in one.text
        assert "without CUDA" not in one.text
        assert one.remedy == "see the cv2 line"


@pytest.mark.parametrize(
    ("code", "ptx", "architecture", "what"),
    [
        ("75 86", "", (8, 6), "code"),
        ("75 86", "", (8, 9), "code"),
        ("75 86", "", (8, 0), "nothing"),
        ("75 86", "", (9, 0), "nothing"),
        ("75 86", "86", (9, 0), "ptx"),
        ("75 86", "86", (8, 0), "nothing"),
        ("75", "75", (8, 0), "ptx"),
        ("90a 120", "", (12, 0), "code"),
        ("9.0 12.0", "12.0", (12, 1), "code"),
        ("120", "120", (13, 0), "ptx"),
        ("", "", (9, 0), "nothing"),
    ],
)
def test_code_runs_on_later_gpus_of_its_generation_and_ptx_on_all_later_ones(
    code: str, ptx: str, architecture: Version, what: str
) -> None:
    information = CUDA_BUILD.replace("90", code).format(ptx=ptx, cudnn=CUDNN)
    build = parse(information)
    assert build is not None
    assert build.runs_on(architecture) == what


def test_the_build_information_is_read() -> None:
    information = CUDA_BUILD.replace("90", "75 86 120").format(ptx="120", cudnn="YES (ver 9.13.0)")
    assert parse(information) == CudaBuild((13, 0), ((7, 5), (8, 6), (12, 0)), ((12, 0),), "9.13.0")
    assert parse(CPU_BUILD) is None
    assert parse("  NVIDIA CUDA:                   NO\n") is None
