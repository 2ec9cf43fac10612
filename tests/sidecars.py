"""Sidecars for the small networks of the tests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.networks import YOLO_CLASSES, YOLO_CROP, YOLO_WIDTH, write_yolo
from tests.run.jobs import SIDECAR, JobFolder

NAMES = [f"thing {index}" for index in range(YOLO_CLASSES)]
"""Of the classes of a small YOLO."""
LETTERBOX = {"fit": "pad", "crop": YOLO_CROP, "pad_value": 114, "mean": [0] * 3, "std": [1] * 3}


def write_sidecar(network: Path, **changes: Any) -> Path:  # noqa: ANN401 - of any key
    """Write the sidecar of a network, as of one that finds classes unless the changes say otherwise."""
    digest = hashlib.sha256(network.read_bytes()).hexdigest()
    path = network.with_suffix(".json")
    path.write_text(json.dumps({**SIDECAR, "name": network.stem, "onnx_sha256": digest, **changes}))
    return path


def write_yolo_sidecar(
    network: Path,
    kind: str = "yolo",
    labels: Sequence[str] = NAMES,
    *,
    features: bool = False,
    **detection: Any,  # noqa: ANN401
) -> Path:
    """Write the sidecar of a small YOLO; what is given of its section `detection` is changed."""
    said = {"kind": kind, "score": 0.25, "nms": 0.7, "max_detections": 50, **detection}
    return write_sidecar(
        network,
        classes=list(labels),
        features=YOLO_WIDTH if features else None,
        preprocessing=LETTERBOX,
        detection=said,
        file_bytes=network.stat().st_size,
    )


def make_finder(
    folder: Path,
    kind: str = "yolo",
    batch: int | str = "N",
    *,
    features: bool = False,
    **settings: Any,  # noqa: ANN401
) -> JobFolder:
    """Make a job that finds objects with a small YOLO, in a folder that need not be there.

    Args:
        folder: of the job.
        kind: of the YOLO; see `write_yolo`.
        batch: the size of its batches, or the name of a dynamic one.
        features: whether the network has such an output, and the job asks for it.
        settings: of the job; see `JobFolder.write`.
    """
    folder.mkdir(exist_ok=True)
    network = write_yolo(folder / "tiny.onnx", kind, batch, features=features)
    write_yolo_sidecar(network, kind, features=features)
    job = JobFolder(folder, network)
    fields = "[boxes, features]" if features else "[boxes]"
    job.write(**{"fields": fields, "kind": "jsonl", "preprocess": "{}", **settings})
    return job
