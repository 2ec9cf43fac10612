"""What tuning has found, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from resnet_pipe.errors import ExitCode
from resnet_pipe.study.search import GAIN, MIN_ROUNDS, Row, Search
from resnet_pipe.study.setting import Facts, Setting
from resnet_pipe.study.trial import Sample

_MORE_TIME = "a larger --seconds would tell more"


@dataclass(frozen=True)
class Tuned:
    """The outcome of tuning a job.

    The baseline of the search is what the job file says (`own`), with the engine that `auto` stood for; the
    facts are its own. The rows are of every setting that was tried, the fastest first, and of those that
    cannot be used here. A trial had so many items. The exit code is 130 or 143 if a signal ended the search.
    """

    own: Setting
    facts: Facts
    search: Search[Setting]
    rows: tuple[Row[Setting], ...]
    sample: Sample
    items: int
    exit_code: ExitCode

    @property
    def changes(self) -> dict[str, object]:
        """What the job has to say differently, by dotted keys."""
        chosen = self.search.chosen
        return {} if chosen == self.search.baseline else chosen.changes(self.own)

    def to_json(self) -> dict[str, Any]:
        """Return all of it, as `tune --json` prints it."""
        search, sample = self.search, self.sample
        return {
            "schema_version": 1,
            "sample": {"kind": sample.section.kind, "items": self.items, "sources": sample.found},
            "baseline": {"setting": asdict(search.baseline), "ran": asdict(self.facts)},
            "chosen": asdict(search.chosen),
            "ratio": search.rows[search.chosen].ratio,
            "rounds": len(search.rounds),
            "changes": self.changes,
            "settings": [asdict(row) for row in self.rows],
            "out_of_time": self._out_of_time,
            "stopped": self._stopped,
        }

    def summary(self) -> str:
        """Return the table of all settings, and one sentence that names the choice."""
        unit = f"{self.sample.section.description.item}s"
        ran = ", ".join(f"{name} {value}" for name, value in asdict(self.facts).items())
        names = [self._name(row.setting) for row in self.rows]
        width = max(20, *map(len, names))
        lines = [
            f"sample: {self.items} {unit} per trial, from {self.sample.found} sources",
            f"{self._name(self.search.baseline)}: {ran}",
            "",
            f"{'setting':<{width}}{unit + '/s':>11}{'ratio':>8}{'spread':>9}{'trials':>8}",
            *(f"{name:<{width}}{_figures(row)}" for name, row in zip(names, self.rows, strict=True)),
        ]
        return "\n".join([*lines, "", self._verdict()])

    def _name(self, setting: Setting) -> str:
        return setting.name(self.search.baseline)

    @property
    def _stopped(self) -> bool:
        return self.exit_code is not ExitCode.DONE

    @property
    def _out_of_time(self) -> bool:
        """Something was left out because there was no time for it, or a signal came."""
        return self.search.out_of_time or self._stopped

    def _verdict(self) -> str:
        search, rounds = self.search, len(self.search.rounds)
        before = "stopped. " if self._stopped else ""
        baseline = self._name(search.baseline)
        if search.chosen != search.baseline:
            ratio = search.rows[search.chosen].ratio
            faster = f"{ratio:.2f} times as fast as {baseline} (median of {rounds} alternating rounds)"
            return f"{before}chosen: {self._name(search.chosen)}: {faster}"
        kept = f"{before}{baseline} is kept: "
        ratio = search.rows[search.fastest].ratio or 1.0
        if len(self.rows) == 1:
            return f"{kept}there was no time to try anything else; {_MORE_TIME}"
        if self._out_of_time and rounds < MIN_ROUNDS and ratio >= GAIN:
            looked = f"{self._name(search.fastest)} looked {ratio:.2f} times as fast"
            return f"{kept}{looked}, but there was no time to confirm it; {_MORE_TIME}"
        more = f"; {_MORE_TIME}" if self._out_of_time else ""
        return f"{kept}nothing else is certain to be at least {GAIN - 1:.0%} faster{more}"


def _figures(row: Row[Setting]) -> str:
    if row.failure is not None:
        return f"  failed: {row.failure}".rstrip()
    middle = median(row.rates)
    spread = f"{(max(row.rates) - min(row.rates)) / middle:.0%}" if len(row.rates) > 1 else "-"
    return f"{middle:>11.1f}{row.ratio or 0:>8.2f}{spread:>9}{len(row.rates):>8}"
