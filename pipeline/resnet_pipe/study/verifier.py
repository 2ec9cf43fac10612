"""Engines and precisions tried one after the other, on real items, and compared with the reference."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf

import numpy as np
from numpy.typing import NDArray

from resnet_pipe.infer.engine import ENGINES, precisions
from resnet_pipe.infer.probe import Abilities, Probe, Refusal, RefusedError, Work
from resnet_pipe.study.agreement import compare
from resnet_pipe.study.engine_verdict import Verdict
from resnet_pipe.study.reference import Reference
from resnet_pipe.study.subject import Subject

SECONDS = 2.0
"""How long the speed of each engine and precision is measured."""
PATIENCE_S = 30.0
"""In a race: how much longer than twice the time of the fastest an engine may take, for loading."""


@dataclass(frozen=True)
class Wishes:
    """Which engines and precisions are to be tried, and how; device, streams and threads as in a job.

    Without engines, that is all of them, and without precisions, all that each engine has; the precision
    `auto` stands for the one that it would take by itself. None is for what suits each engine, and for a
    thread each core.
    """

    engines: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    device: str = "auto"
    batch_size: int | None = None
    streams: int | None = None
    threads: int | None = None


@dataclass
class Verifier:
    """Tries engines and precisions one after the other, each in its own process.

    The items are uint8, shape (n, H, W, 3), RGB, n at least 1. In a race, only the fastest matters: whatever
    takes far longer than one that passes is given up.
    """

    subject: Subject
    items: NDArray[np.uint8]
    reference: Reference
    wishes: Wishes
    race: bool = False
    _shortest_s: float = inf

    def verdicts(self) -> Iterator[Verdict]:
        """Yield the outcome for each engine and precision, at least one per engine."""
        for name in self.wishes.engines or ENGINES:
            yield from self._of(name)

    def _of(self, name: str) -> Iterator[Verdict]:
        try:
            with Probe(ENGINES[name]) as probe:
                first, *others = self._wanted(probe.abilities(self.wishes.device))
                yield self._try(probe, name, first)
        except RefusedError as error:
            yield Verdict(name, None, refusal=error.refusal)
            return
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
            if problem := self._problem(precision, precisions(abilities.devices, wishes.device)):
                raise RefusedError(Refusal("cannot run", problem))
            batch_size = wishes.batch_size or self.subject.network.batch_size or abilities.batch_size
            request = self.subject.request(batch_size, wishes.device, precision)
            request = replace(request, streams=wishes.streams, threads=wishes.threads or request.threads)
            started = time.monotonic()
            result = probe.result(
                Work(request, self.items, SECONDS), 2 * self._shortest_s + PATIENCE_S if self.race else inf
            )
            took_s = time.monotonic() - started
        except RefusedError as error:
            return Verdict(name, precision, refusal=error.refusal)
        agreement = compare(
            result.outputs, self.reference.outputs, self.subject.compared, self.subject.logits
        )
        if agreement.passes(precision):
            self._shortest_s = min(self._shortest_s, took_s)
        return Verdict(name, precision, result.info, agreement, result.items_per_second)
