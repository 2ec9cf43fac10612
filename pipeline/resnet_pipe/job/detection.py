"""What a job says of boxes and features, and what its detector has: together, how they are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from resnet_pipe.head.classify import FEATURES
from resnet_pipe.head.detect import Detect, as_said
from resnet_pipe.head.detectors.registry import kinds_of
from resnet_pipe.head.output_choice import features_of
from resnet_pipe.job.job import Job
from resnet_pipe.job.syntax import Place
from resnet_pipe.model.detection import WITH_FEATURES, Kind, usual
from resnet_pipe.model.model import Model, how_to_make
from resnet_pipe.model.network import Network
from resnet_pipe.model.output import shape_text

_KEYS = ("boxes", "score", "nms", "max_detections", "classes")
"""Of the section `infer`: what is for boxes alone."""

_LONGEST = 50
"""Characters of a class's name in a message; a file from elsewhere may have any."""


def gives_fields(job: Job, model: Model, network: Network, problems: list[tuple[Place, str]]) -> bool:
    """Tell whether the model of a job without boxes gives its fields, as far as one that finds objects may.

    What it does not give is added to the problems, and what the job says about boxes.
    """
    for key in _KEYS:
        if getattr(job.infer, key) is not None:
            problems.append((("infer", key), "only for writer.fields: [boxes]"))
    if model.sidecar is None or model.sidecar.detection is None:
        return True
    return not _refuse_missing(job, model, network, problems)


def head_of(job: Job, model: Model, network: Network, problems: list[tuple[Place, str]]) -> Detect | None:
    """Return how boxes are made, and which output has the features of a job that asks for them.

    None if that cannot be told; what is wrong is added to the problems.
    """
    sidecar, infer = model.sidecar, job.infer
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
    _refuse_missing(job, model, network, problems)
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
    features = found.features if FEATURES in job.fields else None
    return replace(found, detector=settings, features=features)


def _unlike(boxes: Kind, kinds: Sequence[Kind], model: Model, network: Network) -> str:
    """Return why a file is not of the kind that a job says, and of which it may be."""
    names = [f"{one.name[:_LONGEST]} {shape_text(one.shape or ())}" for one in network.outputs]
    given = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    fits = f"it fits {' or '.join(kinds)}" if kinds else "it fits no kind of network that finds objects"
    return f"{model.path.name} gives {given}, and so it is no {boxes}: {fits}"


def _refuse_missing(job: Job, model: Model, network: Network, problems: list[tuple[Place, str]]) -> bool:
    """Add the writers that are to have what a network that finds objects does not give; tell if there are."""
    before = len(problems)
    given = {"boxes", *([FEATURES] if features_of(network) else [])}
    for index, writer in enumerate(job.writer):
        fields, key = writer.fields, writer.fields_key
        others = ", ".join(field for field in fields if field not in (*given, FEATURES))
        text = ""
        if others:
            arrays = "field: features" if FEATURES in given else "another kind"
            instead = {"draw": "draw: boxes", "field": arrays}.get(key, "fields: [boxes]")
            text = f"{model.name} finds objects, and gives no {others}: write {instead}"
        elif FEATURES in fields and FEATURES not in given:
            text = f"{model.name} gives no features: {_otherwise(model)}"
        elif "boxes" in fields and writer.over_frames is not None:
            key = "aggregate"
            text = "boxes are of one frame each, and have no mean or maximum over frames: write none"
        if text:
            problems.append(((*job.writer_place(index), key), text))
    return len(problems) > before


def _otherwise(model: Model) -> str:
    """Return what to do about a network that finds objects and gives no features."""
    said = model.sidecar.detection if model.sidecar else None
    if said is None or said.kind not in WITH_FEATURES:
        return "choose other fields"
    command = how_to_make(model.name)
    return f"convert it again{f' ({command})' if command else ''}, or choose other fields"
