"""What a study is about: a model with all that is needed to run it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from resnet_pipe.errors import ModelError
from resnet_pipe.head import output_choice
from resnet_pipe.head.classify import Classify
from resnet_pipe.infer.engine import EngineRequest
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
from resnet_pipe.preprocess.preprocessing import Preprocessing


@dataclass(frozen=True)
class Subject:
    """A model, its preprocessing from the sidecar or a job, and the outputs that are compared."""

    model: Model
    network: Network
    head: Classify
    preprocessing: Preprocessing
    mode: Literal["exact", "fast"] = "exact"

    @property
    def compared(self) -> str:
        """The name of the output by which two executions are compared: the features, if it has any."""
        output = self.head.features or self.head.logits
        assert output is not None  # noqa: S101 - a head has one
        return output.name

    @property
    def logits(self) -> str | None:
        """The name of the class output, if it has one."""
        return self.head.logits.name if self.head.logits else None

    @property
    def geometry(self) -> Geometry:
        """The part of the preprocessing that the workers do."""
        return self.preprocessing.geometry(self.mode)

    def source(self) -> Subject | None:
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

    def request(self, batch_size: int, device: str, precision: str) -> EngineRequest:
        """Return what to load into an engine for all outputs, with a thread for each core."""
        return EngineRequest(
            model=self.model.path,
            preprocessing=self.preprocessing.network_input,
            outputs=self.head.names,
            batch_size=batch_size,
            device=device,
            precision=precision,
            threads=available_cores(),
            extract=self.network.has_odd_outputs,
        )


def of_model(path: Path) -> Subject:
    """Open a model whose sidecar says how to prepare its images.

    Raises:
        ModelError: it cannot be used, or has no sidecar.
    """
    model = open_model(path)
    if model.sidecar is None:
        raise ModelError(
            f"{path} has no sidecar with its preprocessing",
            "give a job file that sets it instead of the model: resnet-pipe verify job.yaml",
        )
    network = onnx_network.inspect(path)
    return Subject(model, network, output_choice.of_network(network), model.sidecar.preprocessing)


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
    if problems or preprocessing is None:
        raise found_in(doc, problems)
    asked = head_of(job, network, [])  # what is asked in vain is for a run to say
    head = output_choice.with_named(network, asked)
    if not head.names:
        head = output_choice.of_network(network)
    return Subject(model, network, head, preprocessing, job.preprocess.mode)
