"""The section `infer` of a job: which network, what executes it, and what that computes in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from resnet_pipe.errors import HomeError
from resnet_pipe.infer import engine as engines
from resnet_pipe.infer.engine import DEFAULT, ENGINES, Precision
from resnet_pipe.job.location import located, looks_at_disk
from resnet_pipe.job.syntax import Place
from resnet_pipe.model.model import HUBS, convert_first, how_to_make, model_path
from resnet_pipe.model.network import LARGEST_BATCH, Network
from resnet_pipe.model.output import Activation

_DEVICE = re.compile(r"^(auto|cpu|mps|(cuda|tensorrt)(:(\d+|all))?)$")
_MEMBERS = (r"^cpu$", r"^mps$", r"^cuda(:\d+)?$", r"^tensorrt(:\d+)?$")
"""What a list of devices may hold, by kind."""
_ALL = ":all"
_PATH = re.compile(r"/|\.onnx$|^~")
"""Characters that a model's bare name does not contain."""


@looks_at_disk
def _model_file(value: Any, info: ValidationInfo) -> Path:  # noqa: ANN401 - pydantic hands over anything
    if not isinstance(value, str) or not value:
        raise ValueError("expected a model's name, such as resnet18, or the path of an .onnx file")
    base, of_hub = info.context["base"] if info.context else Path(), value.startswith(HUBS)
    named = base / value if of_hub else located(value, base)
    try:
        path = model_path(str(named) if _PATH.search(value) and not of_hub else value, Path())
    except HomeError as error:
        text = f"no such model: {value}: {error.problem}"
        raise ValueError(f"{text}; give its path, or {error.remedy}") from None
    if not path.is_file():
        command = how_to_make(value if of_hub else path.stem)
        if command is None and named.is_dir():
            raise ValueError(f"{named} is a directory, not an .onnx file; {convert_first(named)}")
        remedy = f"make it with: {command}" if command else "`resnet-pipe models` lists those that are there"
        raise ValueError(f"no such model: {path}; {remedy}")
    return path.resolve()


def _devices(value: Any) -> str | tuple[str, ...]:  # noqa: ANN401 - whatever the document holds
    """Return one device, also for a list of one, or several of one kind."""
    listed = isinstance(value, list | tuple)
    devices = tuple(value) if listed else (value,)
    if not devices:
        raise ValueError("the list is empty: give at least one device, or leave out the key")
    for device in devices:
        if not isinstance(device, str) or not _DEVICE.fullmatch(device):
            raise ValueError(
                f"unknown device {device!r}; known: auto, cpu, cuda, cuda:N, cuda:all, tensorrt, mps"
            )
        if listed and (device == "auto" or device.endswith(_ALL)):
            raise ValueError(f"{device} cannot be in a list: name the devices themselves")
    kinds = dict.fromkeys(device.partition(":")[0] for device in devices)
    if len(kinds) > 1:
        raise ValueError(
            f"{' and '.join(kinds)} cannot share a list: their results differ in the last digits, and a row"
            " must not depend on which of them happened to take its batch"
        )
    return devices if len(devices) > 1 else str(devices[0])


class InferSection(BaseModel):
    """Which network to run, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[
        Path,
        BeforeValidator(_model_file, json_schema_input_type=str),
        Field(
            description="the name of a converted model, such as resnet50, hf:microsoft/resnet-50 or "
            "timm:resnet50.a1_in1k, or the path of an .onnx file"
        ),
    ]
    engine: Annotated[
        str,
        Field(
            description="what runs the network; auto: the fastest installed engine whose results are close "
            "enough to float32; tested once, then remembered",
            examples=[*ENGINES, "auto"],
        ),
    ] = DEFAULT
    device: Annotated[
        str | tuple[str, ...],
        BeforeValidator(_devices),
        Field(
            description="auto, cpu, cuda, cuda:N, cuda:all, tensorrt, tensorrt:N, tensorrt:all or mps; auto "
            "uses a GPU if one works, and says which; in a list such as [cuda:0, cuda:1], each device gets "
            "its own engine process"
        ),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "string", "pattern": _DEVICE.pattern},
                    *(
                        {"type": "array", "items": {"type": "string", "pattern": member}, "minItems": 1}
                        for member in _MEMBERS
                    ),
                ],
                "default": "auto",
            }
        ),
    ] = "auto"
    activation: Annotated[
        Literal["auto", Activation],
        Field(
            description="how the scores of top_k are computed: softmax; sigmoid, per class; none:"
            " the output already holds scores; auto: none if the network ends in a softmax or a sigmoid,"
            " otherwise softmax, or sigmoid for a single value"
        ),
    ] = "auto"
    logits: Annotated[
        str | None,
        Field(
            min_length=1, description="name of the output with class values, if the model has several outputs"
        ),
    ] = None
    features: Annotated[
        str | None,
        Field(min_length=1, description="name of the output with features, if the model has several outputs"),
    ] = None
    precision: Annotated[
        Literal["auto", Precision],
        Field(description="auto: the engine's own choice, int8 for an int8 model; part of the fingerprint"),
    ] = "auto"
    batch_size: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=1, le=LARGEST_BATCH)],
        Field(description="items per forward pass; auto: chosen for the engine and the device"),
    ] = "auto"
    streams: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=1, le=256)],
        Field(description="concurrent forward passes on each device; auto: chosen for the engine"),
    ] = "auto"
    threads: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=1, le=1024)],
        Field(description="CPU threads of the engine, across all streams and devices; auto: one per core"),
    ] = "auto"
    timeout_s: Annotated[
        float,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="seconds; a forward pass that takes longer ends the run, and so does one that takes "
            "more than a minute and 50 times as long as the first ones of its size",
        ),
    ] = 600.0

    @field_validator("engine")
    @classmethod
    def _known_engine(cls, value: str) -> str:
        if value not in (*ENGINES, "auto"):
            raise ValueError(f"unknown engine {value!r}; known: {', '.join(ENGINES)}, auto")
        return value

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices as the job names them: all of one kind."""
        return (self.device,) if isinstance(self.device, str) else self.device

    @property
    def first_device(self) -> str:
        """The device, or the first of several: what an engine has on it, it has on the others."""
        return self.devices[0].replace(_ALL, ":0")

    @property
    def all_devices(self) -> bool:
        """Whether all GPUs of a kind are meant, however many there are."""
        return self.devices[0].endswith(_ALL)


def precision_of(infer: InferSection, network: Network, problems: list[tuple[Place, str]]) -> str:
    """Return the precision that a network will compute in; add to the problems what its engine does not have.

    The section's engine is not `auto` (any more). A `MissingExtraError` says that its library is not there.
    """

    def refuse(key: str, problem: str) -> None:
        problems.append((("infer", key), problem))

    engine, precision = infer.engine, infer.precision
    devices = engines.devices(engine)
    kind = infer.first_device.partition(":")[0]
    if kind not in (*devices, "auto"):
        able = ", ".join(devices)
        refuse("device", f"engine {engine} does not support device {infer.devices[0]}; it supports: {able}")
        return precision
    had = engines.precisions(devices, infer.first_device)
    where = "" if kind == "auto" else f" on {kind}"
    if network.quantized:
        if precision not in ("auto", "int8"):
            refuse("precision", f"{precision}, but the model computes in int8")
        elif "int8" not in had:
            able = ", ".join(name for name in ENGINES if engines.description(name).int8)
            refuse("engine", f"engine {engine} cannot run an int8 model{where}; these can: {able}")
        elif saturated := engines.saturation(engine, network):
            refuse("model", f"{saturated}; {engines.SATURATION_REMEDY}")
        return "int8"
    if precision == "int8":
        remedy = "make one with `resnet-pipe convert --quantize`"
        refuse("precision", f"the model does not compute in int8; {remedy}")
    elif precision not in ("auto", *had):
        able = ", ".join(had)
        refuse("precision", f"engine {engine} does not support {precision}{where} here; it supports: {able}")
    return had[0] if precision == "auto" else precision
