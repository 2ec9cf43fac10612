"""Which nodes of a cluster may take part in a run: those that see the same files, with the same versions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from resnet_pipe.errors import UsageError
from resnet_pipe.infer import engine as engines
from resnet_pipe.job.resolve import Resolved
from resnet_pipe.ledger.ledger import DirectoryLedger, Ledger
from resnet_pipe.run.executors.ray.actor import versions_here
from resnet_pipe.run.executors.ray.messages import Answer, Question


@dataclass(frozen=True)
class Admission:
    """The question for each actor, and what is known here."""

    question: Question
    output: Path
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
        if answer.no_output:
            raise UsageError(
                f"node {answer.node} cannot write into {self.output}: {answer.no_output}",
                "the output directory must be on a disk that all nodes share, at the same path",
            )
        if self.has_input and not answer.has_input:
            raise UsageError(
                f"node {answer.node} has no input: {self.question.files.root} is missing or empty there",
                "the sources must be on a disk that all nodes share, at the same path",
            )


@contextmanager
def admission(resolved: Resolved, results: Ledger, name: str) -> Iterator[Admission]:
    """Yield what decides who may take part; during the block, something is there for the nodes to see.

    The results are those of the output directory. The name is one that no other run has.

    Raises:
        UsageError: the results are in a bucket.
    """
    output = results.output
    if not isinstance(output, Path):
        raise UsageError(
            f"with run.executor: ray, results go to a disk that all nodes share, and not to {output}",
            "set writer.path to a directory there; or share a bucket with --divide I/N, without Ray",
        )
    distributions = engines.description(resolved.job.infer.engine).distributions
    files = resolved.job.reader.make_reader().files
    sign = DirectoryLedger(output, results.tag, name)
    try:
        question = Question(sign.stage("seen"), files, distributions)
        yield Admission(question, output, versions_here(distributions), not files.is_gone())
    finally:
        sign.store.drop_attempt()


def _described(versions: dict[str, str], others: dict[str, str]) -> str:
    """Return those versions that the others do not have."""
    names = [name for name in {**versions, **others} if versions.get(name) != others.get(name)]
    return ", ".join(f"{name} {versions.get(name, '(not installed)')}" for name in names)
