"""The section `run` of a job: how it is carried out."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ByteSize, ConfigDict, Field, ValidationInfo

from resnet_pipe.errors import ExitCode
from resnet_pipe.job.cluster import RaySection
from resnet_pipe.job.location import located, looks_at_disk
from resnet_pipe.job.notify import ExitCodes, Variables
from resnet_pipe.job.until import Until

_SIZE = re.compile(r"[0-9]{1,18}(\.[0-9]+)? ?(B|[KMGTP]i?B)?", re.IGNORECASE)


@looks_at_disk
def _file(value: Any, info: ValidationInfo) -> Path | None:  # noqa: ANN401 - of a document
    if value is None:
        return None
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("expected the path of a file")
    path = located(value, info.context["base"] if info.context else Path())
    if not path.parent.is_dir():
        raise ValueError(f"no such directory: {path.parent}")
    return path


@looks_at_disk
def _metrics_path(value: Any, info: ValidationInfo) -> Path | None:  # noqa: ANN401 - as above
    path = _file(value, info)
    if path is not None and path.exists() and not path.is_file():
        raise ValueError(f"not a regular file, and would be overwritten: {path}")
    if path is not None and path.suffix != ".prom":
        # node_exporter reads no other; and no other file can be replaced by mistake
        raise ValueError(f"the name must end in .prom: {path}")
    return path


def _size(value: Any) -> Any:  # noqa: ANN401 - of a document
    """Refuse what `ByteSize` reads the beginning of, such as `5%`, and what no disk has."""
    if value is not None and (isinstance(value, bool) or not _SIZE.fullmatch(str(value))):
        raise ValueError(f"expected a number of bytes, such as 500MiB or 10GiB, and not {value!r}")
    return value


def _url(value: str) -> str:
    """Refuse what no ping would reach; it is not repeated, for an address that can be pinged is a secret."""
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if (
        not usable
        or parts.username is not None
        or not value.isascii()
        or not value.isprintable()
        or " " in value
    ):
        raise ValueError("expected an address such as https://hc-ping.com/UUID, without user and password")
    return value


Limit = Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=r"^\d+(\.\d+)?%$")]
"""A number of sources, or a share of them such as `5%`."""


class RunSection(BaseModel):
    """How the run is carried out. Nothing here affects the rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=1, le=256)],
        Field(description="decoding processes; auto: one per core"),
    ] = "auto"
    chunk_items: Annotated[
        int, Field(ge=1, le=1_000_000, description="items whose results are committed together, as one shard")
    ] = 4096
    max_failures: Annotated[
        Limit | None,
        Field(description="end the run if more sources than this fail: a count, or a share such as 5%"),
    ] = None
    max_disappeared: Annotated[
        Limit,
        Field(
            description="refuse --prune and --fresh if more known sources than this are gone at once: a "
            "count, or a share (which ignores fewer than ten)"
        ),
    ] = "20%"
    grace_s: Annotated[
        float, Field(ge=0, description="seconds the chunk in flight gets to finish after SIGTERM or SIGINT")
    ] = 30.0
    canary: Annotated[
        int,
        Field(
            ge=0,
            le=64,
            description="items that are computed again in float32 on the CPU, one at a time; the run ends "
            "before it commits anything if they differ too much; 0: none",
        ),
    ] = 4
    trace: Annotated[
        bool, Field(description="write trace.json into the run's folder, for ui.perfetto.dev")
    ] = False
    report: Annotated[
        bool, Field(description="write report.html into the run's folder; needs the `report` extra")
    ] = True
    metrics: Annotated[
        Path | None,
        BeforeValidator(_metrics_path, json_schema_input_type=str),
        Field(description="Prometheus text file, NAME.prom; default: metrics.prom in the output directory"),
    ] = None
    ping_url: Annotated[
        Annotated[str, AfterValidator(_url)] | None,
        Field(description="URL to ping, with /start at the beginning and /<exit code> at the end"),
    ] = None
    notify: Annotated[
        Variables,
        Field(
            description="environment variables that hold addresses of apprise: what is told how the run has "
            "ended; needs the `notify` extra"
        ),
    ] = ()
    notify_on: Annotated[
        ExitCodes, Field(min_length=1, description="exit codes at which a notification is sent")
    ] = (ExitCode.FAILED, ExitCode.USAGE, ExitCode.SOME_FAILED, ExitCode.LOCKED, ExitCode.SIGTERM)
    until: Annotated[
        Until | None,
        Field(
            description="begin no chunk that would not be committed by then: a local time such as 06:00, or "
            "a moment with its zone such as 2026-12-24T06:00+01:00"
        ),
    ] = None
    min_free: Annotated[
        Annotated[ByteSize, BeforeValidator(_size), Field(ge=0)] | None,
        Field(
            description="begin no chunk while the disk of the results has less free, such as 10GiB; default: "
            "1 GiB, or 2 % of the disk if that is less"
        ),
    ] = None
    nice: Annotated[int, Field(ge=0, le=19, description="lower the priority, as `nice -n` does")] = 0
    pause_file: Annotated[
        Path | None,
        BeforeValidator(_file, json_schema_input_type=str),
        Field(description="while this file exists, no chunk is begun"),
    ] = None
    executor: Annotated[
        Literal["local", "ray"],
        Field(description="who runs the chunks: this machine, or a Ray cluster; ray needs the `ray` extra"),
    ] = "local"
    ray: RaySection = Field(default_factory=RaySection, description="the cluster of executor: ray")

    def failure_limit(self, planned: int) -> int:
        """Return how many of the planned sources may fail."""
        return planned if self.max_failures is None else _limit(self.max_failures, planned)

    def disappeared_limit(self, known: int) -> int:
        """Return how many of the known sources, which the ledger has, may be gone at once."""
        return _limit(self.max_disappeared, known)


def _limit(limit: int | str, count: int) -> int:
    """Return a limit as a number of sources, of which it may be a share."""
    if isinstance(limit, int):
        return limit
    return int(count * Fraction(limit.rstrip("%")) / 100)  # a float may be one too few
