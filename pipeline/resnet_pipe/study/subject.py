"""What a study is about: a model with all that is needed to run it, and what it should give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.errors import ModelError, UsageError
from resnet_pipe.head import output_choice
from resnet_pipe.head.classify import Classify
from resnet_pipe.head.detect import DETECTIONS, as_said
from resnet_pipe.head.detectors.detector import Placements
from resnet_pipe.head.head import Head
from resnet_pipe.infer.engine import ENGINES, EngineInfo, EngineRequest, fitting
from resnet_pipe.infer.probe import Abilities, Probe, Refusal, RefusedError, Work
from resnet_pipe.infer.second import second_request
from resnet_pipe.job import detection
from resnet_pipe.job.document import Document, found_in
from resnet_pipe.job.job import Job
from resnet_pipe.job.outputs import head_of
from resnet_pipe.job.resolve import preprocessing_of
from resnet_pipe.job.syntax import Place
from resnet_pipe.machine.limits import available_cores
from resnet_pipe.model import network as onnx_network
from resnet_pipe.model.model import INT8_SUFFIX, Model, open_model
from resnet_pipe.model.network import Network
from resnet_pipe.preprocess.geometry import Geometry
from resnet_pipe.preprocess.network_input import Pixels
from resnet_pipe.preprocess.preprocessing import Preprocessing
from resnet_pipe.run.engines.detecting import MakesDetections
from resnet_pipe.study.agreement import Agreed, Agreement, compare
from resnet_pipe.study.box_agreement import BoxAgreement, compare_boxes
from resnet_pipe.study.joint_agreement import JointAgreement

REFERENCES = ("torch", "onnxruntime")
"""Engines that give the reference, the first that can."""


@dataclass(frozen=True)
class Reference:
    """What everything else is compared with: finite outputs by name, float32, shape (n, ...).

    `what` is the network that was executed, where that is not the model itself; else empty.
    """

    info: EngineInfo
    what: str
    outputs: dict[str, NDArray[np.float32]]

    def describe(self) -> str:
        """Return one phrase for people."""
        which = self.what and f", {self.what}"
        return f"{self.info.name} {self.info.version} in {self.info.precision}{which}"


@dataclass(frozen=True)
class Subject:
    """A model, its preprocessing from the sidecar or a job, and the outputs that are compared."""

    model: Model
    network: Network
    head: Head
    preprocessing: Preprocessing
    mode: Literal["exact", "fast"] = "exact"

    @property
    def compared(self) -> str:
        """What two executions are compared by: boxes, or the name of an output: the features, if any."""
        names = self.head.as_they_come
        if self.head.detector is not None:
            return f"boxes and {names[-1]}" if names else "boxes"
        return names[-1]  # features come last, and there is one output at least

    @property
    def agreed(self) -> type[Agreed]:
        """The kind of figures that say how well two executions agree."""
        if self.head.detector is None:
            return Agreement
        return JointAgreement if self.head.as_they_come else BoxAgreement

    @property
    def logits(self) -> str | None:
        """The name of the class output, if it has one."""
        classes = self.head.logits if isinstance(self.head, Classify) else None
        return classes.name if classes else None

    @property
    def geometry(self) -> Geometry:
        """The part of the preprocessing that the workers do."""
        return self.preprocessing.geometry(self.mode)

    def agreement(
        self,
        found: Mapping[str, NDArray[np.float32]],
        reference: Reference,
    ) -> Agreement | BoxAgreement | JointAgreement:
        """Compare what an engine gave for some items, one at least, with the reference for them."""
        settings, names = self.head.detector, self.head.as_they_come
        expected = {name: reference.outputs[name] for name in names}
        rows = compare(found, expected, names[-1], self.logits) if names else None
        if settings is None:
            assert rows is not None  # noqa: S101 - there is one output at least
            return rows
        boxes = compare_boxes(found[DETECTIONS], reference.outputs[DETECTIONS], settings)
        return boxes if rows is None else JointAgreement(boxes, rows)

    def work(
        self,
        request: EngineRequest,
        items: Pixels | Sequence[Pixels],
        placements: Placements,
        seconds: float = 0,
    ) -> Work:
        """Return what an engine that is probed is to do with items, and where the images lie in these."""
        settings = self.head.detector
        if settings is None:
            return Work(request, items, seconds)
        second = second_request(request, self.network)
        beside = MakesDetections(settings, second, self.head.as_they_come)
        return Work(request, items, seconds, beside=beside, placements=placements)

    def _source(self) -> Subject | None:
        """Return the float32 model that an int8 model was made from; None if it no longer exists."""
        path, sidecar = self.model.path, self.model.sidecar
        if sidecar is None or sidecar.quantization is None:
            return None
        source = path.with_name(path.name.removesuffix(f"{INT8_SUFFIX}{path.suffix}") + path.suffix)
        if source == path or not source.is_file():
            return None
        model = open_model(source)
        made_from_it = model.sha256 == sidecar.quantization.source_sha256
        return replace(self, model=model, network=onnx_network.inspect(source)) if made_from_it else None

    def request(self, abilities: Abilities, device: str, precision: str) -> EngineRequest:
        """Return what to load into an engine that has these abilities on the device.

        That is for all outputs, with batches that suit it, if any do for the network, and a thread for each
        core.
        """
        taken = self.preprocessing.network_input_in(self.mode)
        return EngineRequest(
            model=self.model.path,
            preprocessing=taken,
            outputs=self.head.names,
            batch_size=self.network.batch_size or fitting(abilities.batch_size, taken),
            device=device,
            precision=precision,
            threads=available_cores(),
            extract=self.network.has_others(rows=self.head.detector is None),
            rows=self.head.detector is None,
        )

    def reference(
        self,
        items: Pixels | Sequence[Pixels],
        placements: Placements,
        names: Sequence[str] = REFERENCES,
        *,
        singly: bool = False,
        look: Callable[[], object] | None = None,
    ) -> Reference:
        """Execute the network in float32 on the CPU, in the first engine of `names` that can.

        For an int8 model, that is the float32 model it was made from, if that is still beside it; otherwise
        the int8 model itself, with its rounding, but without int8 arithmetic. Items: shape (n, H, W, 3), RGB,
        n at least 1; or several such, of other sizes. If `singly`, they are executed one at a time, unless
        the network takes another number only. Meanwhile `look` is called several times a second; what it
        raises ends it.

        Raises:
            UsageError: none of these engines is installed.
            ModelError: none can run the model, or what it gives is not finite.
        """
        subject, what = self, ""
        if subject.network.quantized:
            what = "the int8 model itself, computed without int8"
            if source := self._source():
                subject, what = source, f"{source.model.name}, which it was made from"
        refusals: dict[str, Refusal] = {}
        for name in ("onnxruntime",) if subject.network.quantized else names:
            try:
                with Probe(ENGINES[name], look) as probe:
                    request = subject.request(probe.abilities("cpu"), "cpu", "fp32")
                    if singly:
                        request = replace(request, streams=1, batch_size=subject.network.batch_size or 1)
                    if subject.network.quantized:
                        request = replace(request, streams=1, as_written=True)
                    result = probe.result(subject.work(request, items, placements))
            except RefusedError as error:
                refusals[name] = error.refusal
                continue
            if not all(np.isfinite(values).all() for values in result.outputs.values()):
                text = f"{subject.model.path}: an output is not finite in float32"
                raise ModelError(text, "convert it again")
            return Reference(result.info, what, result.outputs)
        reasons = "".join(f"\n  {name}: {refusal.reason}" for name, refusal in refusals.items())
        if all(refusal.status == "not installed" for refusal in refusals.values()):
            raise UsageError(
                f"no installed engine gives the float32 reference to compare with:{reasons}",
                " or ".join(f"pip install 'resnet-pipe[{name}]'" for name in refusals),
            )
        raise ModelError(f"no engine gives the float32 reference for {subject.model.path}:{reasons}")


def of_model(path: Path) -> Subject:
    """Open a model whose sidecar says how to prepare its images; ModelError if it is unusable or has none."""
    model = open_model(path)
    if model.sidecar is None:
        raise ModelError(
            f"{path} has no sidecar with its preprocessing",
            "give a job file that sets it instead of the model: resnet-pipe verify job.yaml",
        )
    network, said = onnx_network.inspect(path), model.sidecar.detection
    if said is None:
        return Subject(model, network, output_choice.of_network(network), model.sidecar.preprocessing)
    boxes = as_said(said, model.sidecar.classes, network)
    return Subject(model, network, boxes, model.sidecar.preprocessing)


def of_job(job: Job, doc: Document) -> Subject:
    """Open the model of a job, with the job's preprocessing.

    Raises:
        DocumentError: they do not go together.
        ModelError: the model cannot be used.
    """
    model = open_model(job.infer.model)
    network = onnx_network.inspect(model.path)
    problems: list[tuple[Place, str]] = []
    preprocessing = preprocessing_of(job, model, network, problems)
    boxes = None
    if job.finds_objects:
        boxes = detection.head_of(job, model, network, problems)
    else:
        detection.gives_fields(job, model, network, problems)
    if problems or preprocessing is None:
        raise found_in(doc, problems)
    if boxes is not None:  # features are judged if there are any, as of a network that tells classes apart
        boxes = replace(boxes, features=output_choice.features_of(network))
        return Subject(model, network, boxes, preprocessing, job.preprocess.mode)
    asked = head_of(job, network, [])  # what is asked in vain is for a run to say
    head = output_choice.with_named(network, asked)
    if not head.names:
        head = output_choice.of_network(network)
    return Subject(model, network, head, preprocessing, job.preprocess.mode)
