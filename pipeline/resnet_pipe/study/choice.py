"""`engine: auto`: the fastest engine with correct results, on this machine and for this job.

Tried once, with items of the job, and remembered in the user's cache directory until the model, the machine
or a library is another one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from resnet_pipe.errors import HomeError, ResnetPipeError, UsageError
from resnet_pipe.infer import engine as engines
from resnet_pipe.infer.engine import DEFAULT, ENGINES, Precision, precisions
from resnet_pipe.infer.probe import Probe, RefusedError
from resnet_pipe.job.document import Document
from resnet_pipe.job.job import Job
from resnet_pipe.job.resolve import Choice
from resnet_pipe.ledger import fingerprint
from resnet_pipe.ledger.ledger import Ledger
from resnet_pipe.machine import description
from resnet_pipe.machine.home import cache_dir
from resnet_pipe.store import atomic
from resnet_pipe.store.digest import file_sha256
from resnet_pipe.store.store import refused
from resnet_pipe.study import subject as subjects
from resnet_pipe.study.items import Items, read_items
from resnet_pipe.study.subject import REFERENCES, Subject
from resnet_pipe.study.verifier import Verifier, Wishes

SAMPLE = 32
"""Items that the engines are compared on; of large ones, which have many sizes, not so many."""
_FEWEST = 4
_NAME = "engines.json"
_KEPT = 100
"""Choices in the file; the oldest are forgotten."""


def choose(job: Job, doc: Document, fresh: bool, say: Callable[[str], None]) -> tuple[Job, Choice]:
    """Return a job whose engine is `auto` with an engine and a precision, and how they were chosen.

    The precision is part of the fingerprint. So if the output directory holds results, and `fresh` does not
    drop them, only engines of their precision are candidates: the upgrade of a library makes no nightly job
    fail. If nothing of the input can be read, the first engine that has the precision is taken, most often
    opencv, and not remembered. Of several devices, the first one is tried.

    Raises:
        DocumentError: job and model do not go together.
        UsageError: no engine can run the model as the job asks, or passes the check.
    """
    subject = subjects.of_job(job, doc)
    with refused(job.output):
        free = fresh or job.infer.precision != "auto" or Ledger(job.output).is_empty()
        noted = None if free else fingerprint.precision(Ledger(job.output).store)
    kept = noted if noted in get_args(Precision) else None
    chooser = _Chooser(job, subject, kept, kept or job.infer.precision, say)
    choice = chooser.recall() or chooser.decide()
    say(choice.note)
    infer = job.infer.model_copy(update={"engine": choice.engine, "precision": choice.precision})
    return job.model_copy(update={"infer": infer}), choice


@dataclass
class _Chooser:
    """Chooses for one job; `kept` is the precision of the results in its output directory, if it has any."""

    job: Job
    subject: Subject
    kept: str | None
    precision: str
    """That one, or else what the job says, which may be `auto`."""
    say: Callable[[str], None]

    def recall(self) -> Choice | None:
        """Return an earlier choice in the same circumstances, if it suits the existing results."""
        saved = _saved()
        for precision in dict.fromkeys((self.job.infer.precision, self.precision)):
            circumstances = self._circumstances(precision)
            for choice in saved:
                if choice.circumstances == circumstances and self.kept in (None, choice.precision):
                    return choice.model_copy(update={"origin": "remembered"})
        return None

    def decide(self) -> Choice:
        """Try all engines, and remember the fastest that passes."""
        taken = self.subject.preprocessing.network_input
        count = max(_FEWEST, engines.fitting(SAMPLE, taken)) if taken.other else SAMPLE
        self.say(f"engine auto: comparing the engines on up to {count} items of the job, once")
        section = self.job.reader
        try:
            sample = read_items(section.make_reader(), self.subject.geometry, count, section.timeout_s)
        except ResnetPipeError as error:
            return self._first(error.problem)  # the run will end with it, in the way that runs end
        if not len(sample.items):
            return self._first("no source could be read, so the engines could not be compared")
        choice = self._fastest(sample)
        if problem := _save(choice):
            self.say(f"engine auto: the choice cannot be saved: {problem}")
            return choice
        return choice.model_copy(update={"origin": "to be remembered"})

    def _circumstances(self, precision: str) -> dict[str, Any]:
        infer, detector = self.job.infer, self.subject.head.detector
        return {
            "machine": description.identity(engines.distributions()),
            "model_sha256": [self.subject.model.sha256, *map(file_sha256, self.subject.network.data)],
            "preprocessing": {**self.subject.preprocessing.told(), "mode": self.subject.mode},
            "device": infer.first_device,
            "precision": precision,
            **infer.model_dump(include={"batch_size", "streams", "threads"}),
            **({} if detector is None else {"detector": {**asdict(detector), "only": list(detector.only)}}),
        }

    def _fastest(self, sample: Items) -> Choice:
        asked = self.job.infer.model_dump(include={"batch_size", "streams", "threads"})
        counts = {name: count for name, count in asked.items() if count != "auto"}
        wishes = Wishes((), (self.precision,), self.job.infer.first_device, counts)
        names = (*REFERENCES, DEFAULT)  # without the others, what it would be without auto
        reference = self.subject.reference(sample.items, sample.placements, names)
        tried = {}
        for verdict in Verifier(self.subject, sample, reference, wishes, race=True).verdicts():
            tried[verdict.engine] = verdict  # the only one, as there is one precision
            self.say(f"engine auto: {verdict.describe()}")
        passed = (one for one in tried.values() if one.status == "pass")
        rates = {one.engine: one.items_per_second for one in passed if one.items_per_second}
        if not rates:
            reasons = "".join(f"\n  {verdict.describe()}" for verdict in tried.values())
            raise UsageError(
                f"engine auto: no engine passes the check with {self.subject.model.path}:{reasons}",
                "see `resnet-pipe verify`, or set infer.engine to one",
                "engines",
            )
        best = max(rates, key=rates.__getitem__)
        return Choice(
            engine=best,
            precision=tried[best].precision,
            ratio=rates[best] / rates[DEFAULT] if DEFAULT in rates else None,
            reference=reference.describe(),
            items=len(sample.items),
            engines=[verdict.to_json() for verdict in tried.values()],
            chosen_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            circumstances=self._circumstances(self.precision),
        )

    def _first(self, reason: str) -> Choice:
        """Choose without a comparison: the first engine that supports what is wanted."""
        wanted = "int8" if self.subject.network.quantized else self.precision
        device = self.job.infer.first_device
        for name, module in ENGINES.items():
            with suppress(RefusedError), Probe(module) as probe:
                had = precisions(probe.abilities(device).devices, device)
                wrong_here = engines.saturation(name, self.subject.network)
                if had and wanted in ("auto", *had) and wrong_here is None:
                    precision = had[0] if wanted == "auto" else wanted
                    return Choice(engine=name, precision=precision, reason=reason)
        raise UsageError(
            f"engine auto: no installed engine supports precision {wanted} on device {device}",
            "pip install 'resnet-pipe[all]', or change infer.precision or infer.device",
        )


class _Memory(BaseModel):
    """The contents of engines.json; in each circumstances, the last choice."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    choices: list[Choice] = []


def _saved() -> list[Choice]:
    """Return the saved choices: none if there is no file, or it cannot be read."""
    try:
        return _Memory.model_validate_json((cache_dir() / _NAME).read_bytes()).choices
    except (OSError, HomeError, ValidationError):
        return []


def _save(choice: Choice) -> str | None:
    """Add a choice to the file, in the place of an older one; return why that is not possible, if so."""
    others = [one for one in _saved() if one.circumstances != choice.circumstances]
    memory = _Memory(choices=[*others, choice][-_KEPT:])
    try:
        path = cache_dir() / _NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_bytes(path, memory.model_dump_json(indent=1).encode(), str(os.getpid()))
    except HomeError as error:
        return f"{error.problem}; {error.remedy}"
    except OSError as error:
        return f"{error}; set XDG_CACHE_HOME to use another directory"
    return None
