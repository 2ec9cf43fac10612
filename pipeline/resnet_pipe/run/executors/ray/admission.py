"""Which nodes of a cluster may take part in a run: those that see the same files, with the same versions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from resnet_pipe.errors import UsageError
from resnet_pipe.infer import engine as engines
from resnet_pipe.job.resolve import Resolved
from resnet_pipe.ledger.ledger import Ledger
from resnet_pipe.run.executors.ray.actor import versions_here
from resnet_pipe.run.executors.ray.messages import Answer, Question

_BUCKET = (
    "give that node the extra `cloud`, and credentials and an endpoint for the bucket, as this machine has:"
    " in the environment in which Ray was started there, or in the provider's own files"
)


@dataclass(frozen=True)
class Admission:
    """The question for each actor, and what is known here."""

    question: Question
    versions: dict[str, str]
    has_input: bool

    def check(self, answer: Answer) -> None:
        """Let an actor take part, or not.

        Raises:
            UsageError: its node does not have what it needs.
        """
        if answer.versions != self.versions:
            raise UsageError(
                f"node {answer.node} has {_described(answer.versions, self.versions)}; this machine has"
                f" {_described(self.versions, answer.versions)}",
                "install the same versions on all nodes",
            )
        output, root = self.question.output, self.question.files.root
        if answer.no_output:
            raise UsageError(
                f"node {answer.node} cannot write to {output}: {answer.no_output}",
                "the output directory must be on a disk that all nodes share, at the same path"
                if isinstance(output, Path)
                else _BUCKET,
            )
        if self.has_input and not answer.has_input:
            raise UsageError(
                f"node {answer.node} has no input: {root} is missing, empty or out of reach there",
                "the sources must be on a disk that all nodes share, at the same path"
                if isinstance(root, Path)
                else _BUCKET,
            )


@contextmanager
def admission(resolved: Resolved, results: Ledger, sign: str) -> Iterator[Admission]:
    """Yield what decides who may take part; during the block, something is there for the nodes to see.

    The results are those of the output. The sign is one that no other run has.
    """
    distributions = engines.description(resolved.job.infer.engine).distributions
    files = resolved.job.reader.make_reader().files
    question = Question(results.output, results.tag, sign, files, distributions)
    with results.store.shown(sign):
        yield Admission(question, versions_here(distributions), not files.is_gone())


def _described(versions: dict[str, str], others: dict[str, str]) -> str:
    """Return those versions that the others do not have."""
    names = [name for name in {**versions, **others} if versions.get(name) != others.get(name)]
    return ", ".join(f"{name} {versions.get(name, '(not installed)')}" for name in names)
