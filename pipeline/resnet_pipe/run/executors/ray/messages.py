"""What the driver of a run and its actors say to each other. All of it goes from process to process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_pipe.job.resolve import Resolved
from resnet_pipe.ledger.record import Failure, Record
from resnet_pipe.reader.files import Files
from resnet_pipe.run.observe.history import Seen
from resnet_pipe.run.observe.outcome import Effort
from resnet_pipe.run.workload import Workload
from resnet_pipe.store.store import Output


@dataclass(frozen=True)
class Question:
    """What an actor has to answer before it gets the job.

    Attributes:
        output: where the results are.
        tag: of the division.
        sign: that the driver leaves there until everybody has been asked.
        files: where the sources are.
        distributions: of the engine's library.
    """

    output: Output
    tag: str
    sign: str
    files: Files
    distributions: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """What an actor is, and what it sees.

    Attributes:
        node: the host name of its node.
        versions: of all that must be the same everywhere, by name.
        no_output: why it cannot write to where the results are; empty if it can.
        has_input: whether there is anything where the sources are.
    """

    node: str
    versions: dict[str, str]
    no_output: str
    has_input: bool


@dataclass(frozen=True)
class Setup:
    """All that an actor needs, apart from the chunks.

    Attributes:
        output: what the chunks are committed to, by the driver.
        tag: of the division.
        attempt: the name of this actor's staging; no other one has the same.
        trace: where to write one; None without.
    """

    resolved: Resolved
    workload: Workload
    output: Output
    tag: str
    attempt: str
    trace: Path | None


@dataclass(frozen=True)
class Ready:
    """The actor's workers and its engine are proved to work."""


@dataclass(frozen=True)
class Told:
    """An event of the actor's chunk runner; see `Events`."""

    name: str
    fields: dict[str, Any]


@dataclass(frozen=True)
class Failed:
    """A source has failed."""

    failure: Failure
    chunk: str


@dataclass(frozen=True)
class Staged:
    """The actor has staged a chunk completely, and waits until it is committed."""

    record: Record


@dataclass(frozen=True)
class Ended:
    """The actor's chunk runner has ended, with an error or without."""

    error: Exception | None
    effort: Effort
    seen: Seen | None


Message = Ready | Told | Failed | Staged | Ended
