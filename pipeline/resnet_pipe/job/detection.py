"""What a job says of boxes, and what its model's sidecar says: together, how they are made."""

from __future__ import annotations

from dataclasses import replace

from resnet_pipe.head.detect import Detect, as_said
from resnet_pipe.job.job import Job
from resnet_pipe.job.syntax import Place
from resnet_pipe.model.detection import Detection
from resnet_pipe.model.model import Model
from resnet_pipe.model.network import Network

_KEYS = ("boxes", "score", "nms", "max_detections", "classes")
"""Of the section `infer`: what is for boxes alone."""

_LONGEST = 50
"""Characters of a class's name in a message; a file from elsewhere may have any."""


def refuse_boxes(job: Job, model: Model, problems: list[tuple[Place, str]]) -> None:
    """Add what a job without boxes says about them, and that its model gives nothing else."""
    for key in _KEYS:
        if getattr(job.infer, key) is not None:
            problems.append((("infer", key), "only for writer.fields: [boxes]"))
    if model.sidecar is not None and model.sidecar.detection is not None:
        text = f"{model.name} finds objects, and gives nothing else: write fields: [boxes]"
        problems.append(((*job.writer_place(0), job.writer[0].fields_key), text))


def head_of(job: Job, model: Model, network: Network, problems: list[tuple[Place, str]]) -> Detect | None:
    """Return how boxes are made; None if that cannot be told, and why is added to the problems."""
    sidecar, infer = model.sidecar, job.infer
    _refuse_others(job, problems)
    for key in ("activation", "logits", "features"):
        if getattr(infer, key) not in (None, "auto"):
            problems.append((("infer", key), "not for writer.fields: [boxes]"))
    said = sidecar.detection if sidecar is not None else None
    if sidecar is None or not sidecar.classes:
        text = f"{model.path.name} has no sidecar that names its classes: resnet-pipe convert {model.path}"
        problems.append((("infer", "model"), text))
        return None
    if said is None and infer.boxes is None:
        fields = ", ".join(("features", "logits", "top_k"))
        text = f"{model.name} finds no objects: ask for some of {fields}, or use a network that does"
        problems.append(((*job.writer_place(0), job.writer[0].fields_key), text))
        return None
    said = said or Detection(kind="yolo", score=0.25, nms=0.45, max_detections=300)
    labels = tuple(sidecar.classes)
    unknown = [name for name in infer.classes or () if name not in labels]
    if unknown:
        some = ", ".join(label[:_LONGEST] for label in labels[:5]) + (" ..." if len(labels) > 5 else "")
        missing = ", ".join(name[:_LONGEST] for name in unknown[:5])
        text = f"no class is called {missing}; the model has {len(labels)}: {some}"
        problems.append((("infer", "classes"), f"{text} (resnet-pipe models show {model.name} --json)"))
        return None
    wanted = infer.classes or ()
    usual = as_said(said, labels, network)
    settings = replace(
        usual.detector,
        kind=infer.boxes or said.kind,
        score=said.score if infer.score is None else infer.score,
        nms=said.nms if infer.nms is None else infer.nms,
        max_detections=infer.max_detections or said.max_detections,
        only=tuple(index for index, label in enumerate(labels) if label in wanted),
    )
    return replace(usual, detector=settings)


def _refuse_others(job: Job, problems: list[tuple[Place, str]]) -> None:
    """Add the writers of a job with boxes that are to have something else, or one row of many frames."""
    for index, writer in enumerate(job.writer):
        if others := ", ".join(field for field in writer.fields if field != "boxes"):
            text = f"{others} beside boxes: a job has boxes, or classes and features, not both"
            text += "; write draw: boxes" if writer.fields_key == "draw" else ""
            problems.append(((*job.writer_place(index), writer.fields_key), text))
        elif writer.over_frames is not None:
            text = "boxes are of one frame each, and have no mean or maximum over frames: write none"
            problems.append(((*job.writer_place(index), "aggregate"), text))
