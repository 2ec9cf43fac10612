"""CUDA in cv2.dnn: which device, and the proof of where a network runs."""

from __future__ import annotations

import re
from typing import Any

from resnet_pipe.errors import DeviceError
from resnet_pipe.infer.placement import check_exists, index_of

_CUDA_WHEEL = "install a cv2 with CUDA (docker/build-opencv-cuda.sh builds one), or use device: cpu"


def select_cuda(cv2: Any, device: str) -> str:  # noqa: ANN401 - the module
    """Make `cuda` or `cuda:N` the current device and return its full name; a `DeviceError` says why not."""
    index = index_of(device)
    count = cv2.cuda.getCudaEnabledDeviceCount()
    if count == 0 and not re.search(r"NVIDIA CUDA:\s*YES", cv2.getBuildInformation()):
        raise DeviceError("this OpenCV has no CUDA", _CUDA_WHEEL, "cuda")
    if count <= 0:
        raise DeviceError(
            "cv2 was built with CUDA, but finds no NVIDIA driver or GPU",
            "check that nvidia-smi lists a GPU (in a container: run it with --gpus all)",
            "cuda",
        )
    check_exists(device, count)
    info = cv2.cuda.DeviceInfo(index)
    architecture = f"{info.majorVersion()}.{info.minorVersion()}"
    if not info.isCompatible():
        raise DeviceError(
            f"this cv2 has no code for the architecture of {device}, {architecture}",
            f"docker/build-opencv-cuda.sh --arch {architecture}: a cv2 with CUDA_ARCH_BIN={architecture}",
            "cuda",
        )
    if not cv2.dnn.getAvailableTargets(cv2.dnn.DNN_BACKEND_CUDA):
        problem = "this cv2 has CUDA, but cv2.dnn was built without it (no cuDNN)"
        raise DeviceError(problem, _CUDA_WHEEL, "cuda")
    cv2.cuda.setDevice(index)
    return f"cuda:{index} (architecture {architecture})"


def prove(dump: str, on_cuda: bool) -> str:
    """Return in words where the layers of a network ran, from its dump after a forward pass.

    The classic engine writes the backend of each layer into it, and the target of the whole network, which is
    no proof: OCV/CPU, CUDA/CUDA_FP16, and OCV/CUDA_FP16 for a layer that CUDA lacks and the CPU computes. The
    input is not one of them. The graph engine of OpenCV 5.0 runs on the CPU only, and writes its operations
    without a backend.

    Raises:
        DeviceError: CUDA was asked for, and a layer ran elsewhere or nothing is known.
    """
    on_gpu, on_cpu = dump.count("CUDA/CUDA"), dump.count("OCV/CPU") + dump.count("OCV/CUDA")
    if not on_cuda:
        if on_gpu:
            raise DeviceError(f"the CPU was requested, but {on_gpu} layers ran on CUDA")
        graph = f"{dump.count('// op #')} operations of the CPU graph"
        return f"after the first forward pass: {f'{on_cpu} layers on OCV/CPU' if on_cpu else graph}"
    if on_gpu == 0 or on_cpu > 0:
        raise DeviceError(
            f"CUDA was requested, but only {on_gpu} layers ran there and {on_cpu} on the CPU",
            "use a model made by `resnet-pipe convert`: all its layers have CUDA kernels",
        )
    return f"after the first forward pass: {on_gpu} layers on CUDA, {on_cpu} on the CPU"
