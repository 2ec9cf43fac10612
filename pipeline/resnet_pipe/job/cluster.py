"""The part of a job's run section that is about a Ray cluster: where it is, and what a worker takes of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

_GPUS = ("cuda", "tensorrt")
"""How the devices begin that are GPUs."""


class RaySection(BaseModel):
    """A Ray cluster, and how a run uses it. Nothing here affects the rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: Annotated[
        str,
        Field(
            pattern=r"^(auto|[^/]+:\d+)$",
            description="of the cluster, HOST:PORT; auto: that which this machine is a node of",
        ),
    ] = "auto"
    workers: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=1, le=4096)],
        Field(description="each has its own engine and decoding processes; auto: as many as the nodes hold"),
    ] = "auto"
    gpus_per_worker: Annotated[
        float | None,
        Field(ge=0, description="GPUs that a worker takes; default: one for each CUDA device of the job"),
    ] = None
    cpus_per_worker: Annotated[
        int | None,
        Field(ge=1, description="cores that a worker takes; default: its share of its node's"),
    ] = None

    def gpus(self, devices: tuple[str, ...]) -> float:
        """Return how many GPUs a worker of a job with these devices takes."""
        if self.gpus_per_worker is not None:
            return self.gpus_per_worker
        return float(sum(device.startswith(_GPUS) for device in devices))
