"""The candidates of a plan: the job as it is, or with each of several models and engines."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resnet_pipe.errors import MissingExtraError, UsageError
from resnet_pipe.infer.engine import ENGINES, one_line
from resnet_pipe.job import job as jobs
from resnet_pipe.job.resolve import Resolved
from resnet_pipe.run import preparation
from resnet_pipe.study.forecast import Measurement

ALL = "all"
"""In the place of the names of engines: each that is installed."""
_FIRST, _FIRST_LARGE = 16, 4
"""Items of the first trial; of large images, which take a network that finds objects seconds."""


@dataclass(eq=False)
class Candidate:
    """A way to run a job: with a model, on an engine.

    Attributes:
        model: its name, or its path, as whoever asked has written it.
        failure: why there is no forecast; None if there is nothing in the way.
        own: whether that is the job as it is.
        begun: its first trial, with all that a run has at its beginning and its end.
        trials: those after it.
    """

    model: str
    engine: str
    ready: Resolved | None = None
    failure: str | None = None
    own: bool = False
    begun: Measurement | None = None
    trials: list[Measurement] = field(default_factory=list)

    @property
    def resolved(self) -> Resolved:
        """Return the job with the model and the engine; ValueError if there is something in the way."""
        if self.ready is None:
            raise ValueError(self.failure)
        return self.ready

    @property
    def first_items(self) -> int:
        """Return how many items its first trial has."""
        return _FIRST_LARGE if self.resolved.preprocessing.varies else _FIRST

    def to_json(self) -> dict[str, Any]:
        """Return what it is; the precision is what the engine has had, if anything has run."""
        ran = None if self.begun is None else self.begun.trial.result["engine"]["precision"]
        return {"model": self.model, "engine": self.engine, "precision": ran}


def as_it_is(own: Resolved) -> list[Candidate]:
    """Return the job as the only candidate."""
    return [Candidate(own.model.name, own.job.infer.engine, own, own=True)]


@dataclass(frozen=True)
class Variants:
    """A job of a file with each of some models on each of some engines; with its own, where none is named.

    If `fresh`, its results will be dropped. Of `engine: auto`, `say` is told.
    """

    path: Path
    overrides: Sequence[str]
    own: Resolved
    fresh: bool
    say: Callable[[str], None]

    def candidates(self, models: Sequence[str], engines: Sequence[str]) -> list[Candidate]:
        """Return them; those that an engine cannot run have a failure.

        Raises:
            UsageError: a model is not there, or does not go with the job.
        """
        found: list[Candidate] = []
        one_model, one_engine = models or (None,), engines or (None,)
        for model in one_model:
            of_model = [] if model is None else [f"infer.model={json.dumps(model)}"]
            if of_model:
                jobs.load(self.path, [*self.overrides, *of_model], "--models")
            for engine in tuple(ENGINES) if ALL in engines else one_engine:
                found += self._one(model or self.own.model.name, engine, of_model, ALL not in engines)
        return found

    def _one(
        self, model: str, engine: str | None, of_model: Sequence[str], missing_too: bool
    ) -> list[Candidate]:
        """Return a candidate; none if its library is missing, unless `missing_too`."""
        of_engine = [] if engine is None else [f"infer.engine={engine}"]
        try:
            loaded = jobs.load(self.path, [*self.overrides, *of_model, *of_engine], "--engines")
            ready = preparation.resolved(loaded, self.fresh, self.say)
            if not self.fresh:
                preparation.refuse_mixture(ready)
        except MissingExtraError as error:
            failure = f"{error.problem} {error.remedy}"
            return [Candidate(model, str(engine), failure=failure)] if missing_too else []
        except UsageError as error:
            if engine is None:
                raise
            return [Candidate(model, engine, failure=one_line(error.problem))]
        infer = ready.job.infer
        own = ready.model.path == self.own.model.path and infer.engine == self.own.job.infer.engine
        return [Candidate(model, infer.engine, ready, own=own)]
