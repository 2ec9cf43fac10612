"""The proof that engines give what the network should give: `resnet-pipe verify`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from resnet_pipe.errors import ExitCode, UsageError
from resnet_pipe.job import job as jobs
from resnet_pipe.model.model import find_model
from resnet_pipe.reader.images.section import ImagesSection
from resnet_pipe.reader.registry import Section
from resnet_pipe.reader.section import nothing_found
from resnet_pipe.study import subject as subjects
from resnet_pipe.study.items import Items, read_items
from resnet_pipe.study.subject import Reference, Subject
from resnet_pipe.study.verifier import Verdict, Verifier, Wishes


@dataclass(frozen=True)
class Verification:
    """What `verify` was asked, what the items should give, and the verdict on each engine and precision."""

    subject: Subject
    sample: Items
    reference: Reference
    wishes: Wishes
    verdicts: list[Verdict]

    @property
    def exit_code(self) -> ExitCode:
        """Return 1 if an engine fails or crashes, 2 if one asked for by name, or every one, does not run."""
        if any(verdict.status in ("fail", "crashed") for verdict in self.verdicts):
            return ExitCode.FAILED
        return ExitCode.USAGE if self.problems else ExitCode.DONE

    @property
    def problems(self) -> list[str]:
        """Return why a requested engine did not run."""
        ran = {verdict.engine for verdict in self.verdicts if verdict.agreement}
        return [
            f"{verdict.name} {verdict.status}: {verdict.refusal.describe()}"
            for verdict in self.verdicts
            if verdict.refusal
            and (verdict.engine in self.wishes.engines or not ran)
            and (verdict.engine not in ran or verdict.precision in self.wishes.precisions)
        ]

    def to_json(self) -> dict[str, Any]:
        """Return it for machines."""
        model = self.subject.model
        return {
            "schema_version": 1,
            "model": {
                "name": model.name,
                "sha256": model.sha256,
                "weights": model.sidecar.weights.describe() if model.sidecar else None,
            },
            "images": {
                "used": len(self.sample.items),
                "found": self.sample.found,
                "failures": [failure._asdict() for failure in self.sample.failures],
            },
            "reference": {**asdict(self.reference.info), "what": self.reference.what},
            "compared": self.subject.compared,
            "thresholds": self.subject.agreed.THRESHOLDS,
            "largest_errors": self.subject.agreed.ERRORS,
            "engines": [verdict.to_json() for verdict in self.verdicts],
            "exit_code": int(self.exit_code),
        }

    def table(self) -> str:
        """Return it for people."""
        agreed = self.subject.agreed
        lines = [
            f"{self.subject.model.name}, {len(self.sample.items)} images,"
            f" compared with {self.reference.describe()}",
            "",
            f"{'engine':<13}{'precision':<11}{'device':<8}{agreed.TITLES}{'images/s':>10}  result",
            *map(_row, self.verdicts),
            "",
            *(f"FAIL {verdict.name}: {verdict.problem}" for verdict in self.verdicts if verdict.problem),
            *agreed.legend(self.subject.compared),
        ]
        return "\n".join(lines)


def _row(verdict: Verdict) -> str:
    start = f"{verdict.engine:<13}{verdict.precision or '-':<11}"
    if verdict.agreement is None or verdict.info is None:
        refusal = verdict.refusal
        return f"{start}{verdict.status}: {refusal.reason if refusal else ''}"
    return (
        f"{start}{verdict.info.device.split()[0]:<8}{verdict.agreement.cells()}"
        f"{verdict.items_per_second or 0:>10.1f}  {verdict.status if verdict.status == 'pass' else 'FAIL'}"
    )


def verify(
    spec: str, images: Path | None, count: int, wishes: Wishes, say: Callable[[str], None]
) -> Verification:
    """Compare engines and precisions with float32, each in its own process, on `count` images, at least 1.

    The spec is a model as in a job; or a job file, for its model, its preprocessing and its input. Images of
    a directory take the place of that input.

    Raises:
        UsageError: there are no images, none can be read, or nothing gives a reference.
        ModelError: the model cannot be used.
    """
    section: Section | None = None
    if spec.endswith((".yaml", ".yml")):
        job, doc = jobs.load(Path(spec))
        subject, section = subjects.of_job(job, doc), job.reader
    else:
        subject = subjects.of_model(find_model(spec, Path()))
    if images is not None:
        section = ImagesSection(kind="images", path=[images])
    if section is None:
        raise UsageError("no images to verify it with", "give --images DIR with images of your own, or a job")
    sample = read_items(section.make_reader(), subject.geometry, count, section.timeout_s)
    if not len(sample.items):
        raise _nothing(sample, section)
    reference = subject.reference(sample.items, sample.placements)
    say(f"reference: {reference.describe()}")
    verdicts = []
    for verdict in Verifier(subject, sample, reference, wishes).verdicts():
        verdicts.append(verdict)
        say(f"{verdict.name}: {verdict.status}")
    return Verification(subject, sample, reference, wishes, verdicts)


def _nothing(sample: Items, section: Section) -> UsageError:
    if sample.found:
        places, first = ", ".join(map(str, section.path)), sample.failures[0]
        text = f"none of the {len(sample.failures)} files tried in {places} can be read"
        text += f"; the first, {first.key}: {first.message}"
    else:
        text = nothing_found(section, sample.passed_over)[0]
    return UsageError(text, "give a directory of images")
