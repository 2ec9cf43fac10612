"""Environments for the doctor: packages recorded as installed, a cv2 that is none, fake libraries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CUDA_BUILD = """
General configuration for OpenCV 5.0.0 =====================================

  NVIDIA CUDA:                   YES (ver 13.0, CUBLAS)
    NVIDIA GPU arch:             90
    NVIDIA PTX archs:            {ptx}

  cuDNN:                         {cudnn}
"""
"""The part about CUDA of what cv2.getBuildInformation() gives."""
CPU_BUILD = "General configuration for OpenCV 5.0.0\n\n  OpenCL:                        NO\n"

CV2 = """
import types
__version__ = {version!r}
{code}
def getBuildInformation():
    return {build!r}
cuda = types.SimpleNamespace(getCudaEnabledDeviceCount=lambda: {devices})
class error(Exception): ...
"""


class Environment:
    """A directory that comes first on the path of every process of the doctor.

    Args:
        place: an empty directory.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.libraries = place / "lib"
        self.libraries.mkdir()

    def cv2(
        self, code: str = "", version: str = "5.0.0", build: str = CPU_BUILD, devices: int = 0
    ) -> Environment:
        """Have `import cv2` execute `code`, and give a module that says these things of itself."""
        folder = self.place / "cv2"
        folder.mkdir()
        text = CV2.format(version=version, code=code, build=build, devices=devices)
        (folder / "__init__.py").write_text(text)
        return self

    def distribution(
        self, name: str, version: str = "5.0.0.93", *metadata: str, record: str = ""
    ) -> Environment:
        """Record a distribution as installed.

        Args:
            name: of it.
            version: of it.
            metadata: more lines of its METADATA.
            record: lines of its RECORD.
        """
        folder = self.place / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *metadata]
        (folder / "METADATA").write_text("\n".join(lines) + "\n\n")
        (folder / "RECORD").write_text(record)
        return self

    def opencv(self, name: str, version: str = "5.0.0.93") -> Environment:
        """Record a distribution as installed that holds cv2."""
        return self.distribution(name, version, record="cv2/__init__.py,sha256=x,1\ncv2/cv2.abi3.so,,\n")

    def library(self, name: str, source: str) -> Environment:
        """Put a shared library where the dynamic loader looks first, made from C."""
        place = self.libraries / name
        command = ["cc", "-shared", "-fPIC", "-o", str(place), "-x", "c", "-"]
        subprocess.run(command, input=source, text=True, check=True)
        return self

    @property
    def variables(self) -> Mapping[str, str]:
        """What has a process live in this environment."""
        path = filter(None, [str(self.place), os.environ.get("PYTHONPATH")])
        return {"PYTHONPATH": os.pathsep.join(path), "LD_LIBRARY_PATH": str(self.libraries)}

    def doctor(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command, as a user does."""
        done = subprocess.run(
            [sys.executable, "-m", "resnet_pipe", "doctor", *arguments],
            env={**os.environ, **self.variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return done

    def findings(self, *checks: str) -> list[dict[str, Any]]:
        """Run some checks and return their findings; the exit code has to go with them."""
        done = self.doctor("--json", *checks)
        answer = json.loads(done.stdout)
        found: list[dict[str, Any]] = answer["findings"]
        assert done.returncode == any(one["level"] == "FAIL" for one in found)
        assert {one["check"] for one in found} == set(checks)
        assert all(one["remedy"] or one["level"] == "OK" for one in found)
        return found

    def finding(self, check: str) -> dict[str, Any]:
        """Return the only finding of a check."""
        (found,) = self.findings(check)
        return found
