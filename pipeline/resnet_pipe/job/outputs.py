"""What a job uses of its network: outputs, their widths, labels, and the activation for scores."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from resnet_pipe.errors import ModelError
from resnet_pipe.head import output_choice
from resnet_pipe.head.classify import FEATURES, LOGITS, Classify
from resnet_pipe.head.head import Head
from resnet_pipe.head.registry import head_for
from resnet_pipe.infer import probe
from resnet_pipe.infer.engine import EngineRequest
from resnet_pipe.job.job import Job
from resnet_pipe.job.syntax import Place
from resnet_pipe.model.model import Model
from resnet_pipe.model.network import Network
from resnet_pipe.model.output import Activation
from resnet_pipe.preprocess.preprocessing import Preprocessing


def head_of(job: Job, network: Network, problems: list[tuple[Place, str]]) -> Classify:
    """Return the outputs that a job uses, but those that are not found, which are added to the problems."""
    kind = head_for(job.fields)
    if kind is None or not issubclass(kind, Classify):
        problems.append((("writer",), f"no head makes all of these fields: {', '.join(sorted(job.fields))}"))
        return Classify()
    head = kind()
    for output, name in ((LOGITS, job.infer.logits), (FEATURES, job.infer.features)):
        made = {field for field, source in kind.MADE_OF.items() if source == output}
        writers = [index for index, writer in enumerate(job.writer) if made.intersection(writer.fields)]
        if not writers:
            continue
        try:
            if name:
                found = output_choice.named(network, name)
            elif output == LOGITS:
                found = output_choice.for_classes(network)
            else:
                found = output_choice.for_features(network, head.logits)
        except ModelError as error:
            text = "; ".join(filter(None, (error.problem, error.remedy)))
            problems.append(((*job.writer_place(writers[0]), job.writer[writers[0]].fields_key), text))
        else:
            head = replace(head, logits=found) if output == LOGITS else replace(head, features=found)
    return head


def measured(
    job: Job, network: Network, head: Classify, preprocessing: Preprocessing, precision: str
) -> dict[str, int]:
    """Return the widths of a network's outputs, by name, from a forward pass, if the file does not give them.

    UsageError if the job's engine cannot run the network.
    """
    request = EngineRequest(
        model=network.path,
        preprocessing=preprocessing.network_input_in(job.preprocess.mode),
        outputs=head.names,
        batch_size=network.batch_size or 1,
        device=job.infer.first_device,
        precision=precision,
        threads=1,
        streams=1,
        extract=network.has_others(rows=True),
    )
    return probe.widths(request, job.infer.engine)


def labels_of(model: Model, head: Classify) -> tuple[str, ...]:
    """Return the labels of the classes: the sidecar's, or numbers."""
    if model.sidecar is None:
        return tuple(f"class {index}" for index in range(head.classes))
    labels = tuple(model.sidecar.classes)
    if head.binary and len(labels) == 1:  # the one that the value speaks for
        return f"not {labels[0]}", labels[0]
    return labels


def activation_of(job: Job, head: Classify) -> Activation:
    """Return the activation that computes scores: the job's, or the one that the class output requires."""
    if head.logits is None:
        return "none"
    if job.infer.activation == "auto":
        return head.logits.activation
    # Of two classes whose first one has the logit 0, the softmax is the sigmoid of the other one's.
    return "sigmoid" if head.binary and job.infer.activation == "softmax" else job.infer.activation


def outputs_of(job: Job, head: Head) -> dict[str, Any]:
    """Describe the outputs that a job uses, and the activation for scores, for records."""
    if isinstance(head, Classify) and "top_k" in job.fields:
        return {**head.to_json(), "activation": head.activation}
    return head.to_json()


def describe(job: Job, head: Head) -> str:
    """Describe the outputs that a job uses, and the activation for scores, in words."""
    if not isinstance(head, Classify) or "top_k" not in job.fields:
        return head.describe()
    made = {"none": "as they are", "softmax": "by softmax", "sigmoid": "by sigmoid"}
    return f"{head.describe()}; scores: {made[head.activation]}"
