"""What a job says of boxes, and what its model's sidecar says: together, how they are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from resnet_pipe.head.detect import Detect, as_said
from resnet_pipe.head.detectors.registry import kinds_of
from resnet_pipe.job.job import Job
from resnet_pipe.job.syntax import Place
from resnet_pipe.model.detection import Kind, usual
from resnet_pipe.model.model import Model
from resnet_pipe.model.network import Network
from resnet_pipe.model.output import shape_text

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
    if infer.boxes is not None and infer.boxes not in (kinds := kinds_of(network)):
        problems.append((("infer", "boxes"), _unlike(infer.boxes, kinds, model, network)))
        return None
    kind = infer.boxes or (said.kind if said else None)
    if kind is None:
        fields = ", ".join(("features", "logits", "top_k"))
        text = f"{model.name} finds no objects: ask for some of {fields}, or use a network that does"
        problems.append(((*job.writer_place(0), job.writer[0].fields_key), text))
        return None
    said = said or usual(kind)
    labels = tuple(sidecar.classes)
    unknown = [name for name in infer.classes or () if name not in labels]
    if unknown:
        some = ", ".join(label[:_LONGEST] for label in labels[:5]) + (" ..." if len(labels) > 5 else "")
        missing = ", ".join(name[:_LONGEST] for name in unknown[:5])
        text = f"no class is called {missing}; the model has {len(labels)}: {some}"
        problems.append((("infer", "classes"), f"{text} (resnet-pipe models show {model.name} --json)"))
        return None
    wanted = infer.classes or ()
    found = as_said(said, labels, network)
    settings = replace(
        found.detector,
        kind=kind,
        score=said.score if infer.score is None else infer.score,
        nms=said.nms if infer.nms is None else infer.nms,
        max_detections=infer.max_detections or said.max_detections,
        only=tuple(index for index, label in enumerate(labels) if label in wanted),
    )
    return replace(found, detector=settings)


def _unlike(boxes: Kind, kinds: Sequence[Kind], model: Model, network: Network) -> str:
    """Return why a file is not of the kind that a job says, and of which it may be."""
    names = [f"{one.name[:_LONGEST]} {shape_text(one.shape or ())}" for one in network.outputs]
    given = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    fits = f"it fits {' or '.join(kinds)}" if kinds else "it fits no kind of network that finds objects"
    return f"{model.path.name} gives {given}, and so it is no {boxes}: {fits}"


def _refuse_others(job: Job, problems: list[tuple[Place, str]]) -> None:
    """Add the writers of a job with boxes that are to have something else; `fields` are boxes if not said."""
    for index, writer in enumerate(job.writer):
        others = ", ".join(field for field in writer.fields if field != "boxes")
        by_default = "fields" in type(writer).model_fields and "fields" not in writer.model_fields_set
        if others and not by_default:
            text = f"{others} beside boxes: a job has boxes, or classes and features, not both"
            text += "; write draw: boxes" if writer.fields_key == "draw" else ""
            problems.append(((*job.writer_place(index), writer.fields_key), text))
