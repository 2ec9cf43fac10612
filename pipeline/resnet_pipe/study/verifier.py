"""Engines and precisions tried one after the other, on real items, and compared with the reference."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import inf, isfinite
from typing import Any

from resnet_pipe.infer.engine import ENGINES, EngineInfo, of_any_size, precisions
from resnet_pipe.infer.probe import Abilities, Probe, Refusal, RefusedError
from resnet_pipe.study.agreement import Agreed
from resnet_pipe.study.items import Items
from resnet_pipe.study.subject import Reference, Subject

SECONDS = 2.0
"""How long the speed of each engine and precision is measured."""
PATIENCE_S = 30.0
"""In a race: how much longer than twice the time of the fastest an engine may take, for loading."""


@dataclass(frozen=True)
class Wishes:
    """Which engines and precisions are to be tried, and how; device, streams and threads as in a job.

    Without engines, that is all of them, and without precisions, all that each engine has; the precision
    `auto` stands for the one that it would take by itself. The counts are of `batch_size`, `streams` and
    `threads`; without one, it is what suits each engine, or a thread for each core.
    """

    engines: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    device: str = "auto"
    counts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What ran, in one precision, how well it agrees with the reference, and how fast the network alone is.

    Of an engine that gave nothing there is the refusal instead; the precision is None if it came from no
    farther than asking the engine.
    """

    engine: str
    precision: str | None
    info: EngineInfo | None = None
    agreement: Agreed | None = None
    items_per_second: float | None = None
    refusal: Refusal | None = None

    @property
    def status(self) -> str:
        """Return how it went: `pass`, `fail`, `not installed`, `cannot run`, `crashed` or `given up`."""
        if self.agreement is None or self.precision is None:
            return self.refusal.status if self.refusal else "crashed"
        return "pass" if self.agreement.passes(self.precision) else "fail"

    @property
    def name(self) -> str:
        """Return engine and precision."""
        return f"{self.engine} {self.precision}" if self.precision else self.engine

    def describe(self) -> str:
        """Return it in one line."""
        text = f"{self.name}: {self.status}"
        if self.refusal:
            text += f": {self.refusal.reason}"
        if self.agreement:
            text += f", {self.agreement.describe()}"
        return f"{text}, {self.items_per_second:.1f} items/s" if self.items_per_second else text

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON; infinite values become null."""
        agreement = self.agreement.to_json() if self.agreement else {}
        rate = self.items_per_second
        return {
            "engine": self.engine,
            "precision": self.precision,
            "status": self.status,
            **{name: getattr(self.refusal, name, None) for name in ("reason", "remedy")},
            **{name: getattr(self.info, name, None) for name in ("version", "device", "streams", "note")},
            "items_per_second": round(rate, 2) if rate else None,
            **{name: value if isfinite(value or 0.0) else None for name, value in agreement.items()},
        }


@dataclass
class Verifier:
    """Tries engines and precisions one after the other, each in its own process.

    There is one item at least. In a race, only the fastest matters: whatever
    takes far longer than one that passes is given up.
    """

    subject: Subject
    sample: Items
    reference: Reference
    wishes: Wishes
    race: bool = False
    _shortest_s: float = inf

    def verdicts(self) -> Iterator[Verdict]:
        """Yield the outcome for each engine and precision, at least one per engine."""
        for name in self.wishes.engines or ENGINES:
            try:
                with Probe(ENGINES[name]) as probe:
                    first, *others = self._wanted(probe.abilities(self.wishes.device))
                    yield self._try(probe, name, first)
            except RefusedError as error:
                yield Verdict(name, None, refusal=error.refusal)
                continue
            for precision in others:
                with Probe(ENGINES[name]) as probe:
                    yield self._try(probe, name, precision)

    def _wanted(self, abilities: Abilities) -> list[str]:
        """Return the precisions of an engine to try: those it has on the device and those requested."""
        had = precisions(abilities.devices, self.wishes.device)
        if not had:
            raise RefusedError(Refusal("cannot run", f"it does not support device {self.wishes.device}"))
        fitting = [one for one in had if self._problem(one, had) is None]
        if not fitting:
            raise RefusedError(Refusal("cannot run", self._problem("int8", had) or ""))
        asked = self.wishes.precisions or fitting
        return list(dict.fromkeys(fitting[0] if one == "auto" else one for one in asked))

    def _problem(self, precision: str, had: tuple[str, ...]) -> str | None:
        """Return why the model cannot be computed in a precision: a quantised one can in int8 alone."""
        if precision not in had:
            return f"{precision} is not supported here; supported: {', '.join(had)}"
        if (precision == "int8") == self.subject.network.quantized:
            return None
        return "the model does not compute in int8" if precision == "int8" else "the model computes in int8"

    def _try(self, probe: Probe, name: str, precision: str) -> Verdict:
        wishes = self.wishes
        try:
            abilities = probe.abilities(wishes.device)
            if self.subject.preprocessing.varies and name not in of_any_size():
                raise RefusedError(Refusal("cannot run", "it takes images of one size only"))
            if problem := self._problem(precision, precisions(abilities.devices, wishes.device)):
                raise RefusedError(Refusal("cannot run", problem))
            request = replace(self.subject.request(abilities, wishes.device, precision), **wishes.counts)
            patience_s = 2 * self._shortest_s + PATIENCE_S if self.race else inf
            started = time.monotonic()
            work = self.subject.work(request, self.sample.items, self.sample.placements, SECONDS)
            result = probe.result(work, patience_s)
            took_s = time.monotonic() - started
        except RefusedError as error:
            return Verdict(name, precision, refusal=error.refusal)
        agreement = self.subject.agreement(result.outputs, self.reference)
        if agreement.passes(precision):
            self._shortest_s = min(self._shortest_s, took_s)
        return Verdict(name, precision, result.info, agreement, result.items_per_second)
