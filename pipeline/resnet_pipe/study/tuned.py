"""What tuning has found, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from resnet_pipe.errors import ExitCode
from resnet_pipe.study.search import GAIN, MIN_ROUNDS, Row
from resnet_pipe.study.setting import Facts, Setting

_MORE_TIME = "a larger --seconds would tell more"


@dataclass(frozen=True)
class Tuned:
    """The outcome of tuning a job.

    Attributes:
        own: what the job file says.
        baseline: what the others were compared with: the same, with the engine that `auto` stood for.
        chosen: the setting to use; the baseline if no other one was proved to be faster.
        fastest: the setting that looked fastest, proved or not.
        rows: of every setting that was tried, the fastest first.
        rounds: of the final, in which baseline and candidates were measured in alternation.
        kind: of the reader.
        item: what an item is called.
        items: in a trial.
        found: sources of the job.
        out_of_time: something was left out because there was no time for it, or a signal came.
        stopped: 130 or 143 if a signal ended the search.
    """

    own: Setting
    baseline: Setting
    facts: Facts
    chosen: Setting
    fastest: Setting
    rows: tuple[Row[Setting], ...]
    rounds: int
    kind: str
    item: str
    items: int
    found: int
    out_of_time: bool
    stopped: ExitCode | None

    @property
    def changes(self) -> dict[str, object]:
        """What the job has to say differently, by dotted keys."""
        return {} if self.chosen == self.baseline else self.chosen.changes(self.own)

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of the process."""
        return self.stopped or ExitCode.DONE

    def to_json(self) -> dict[str, Any]:
        """Return all of it, as `tune --json` prints it."""
        return {
            "schema_version": 1,
            "sample": {"kind": self.kind, "items": self.items, "sources": self.found},
            "baseline": {"setting": asdict(self.baseline), "ran": asdict(self.facts)},
            "chosen": asdict(self.chosen),
            "ratio": self._row(self.chosen).ratio,
            "rounds": self.rounds,
            "changes": self.changes,
            "settings": [asdict(row) for row in self.rows],
            "out_of_time": self.out_of_time,
            "stopped": self.stopped is not None,
        }

    def summary(self) -> str:
        """Return the table of all settings, and one sentence that names the choice."""
        unit = f"{self.item}s"
        ran = ", ".join(f"{name} {value}" for name, value in asdict(self.facts).items())
        names = [self._name(row.setting) for row in self.rows]
        width = max(20, *map(len, names))
        lines = [
            f"sample: {self.items} {unit} per trial, from {self.found} sources",
            f"{self._name(self.baseline)}: {ran}",
            "",
            f"{'setting':<{width}}{unit + '/s':>11}{'ratio':>8}{'spread':>9}{'trials':>8}",
        ]
        for name, row in zip(names, self.rows, strict=True):
            figures = _figures(row)
            lines.append(f"{name:<{width}}{figures}".rstrip())
        return "\n".join([*lines, "", self._verdict()])

    def _name(self, setting: Setting) -> str:
        return setting.name(self.baseline)

    def _row(self, setting: Setting) -> Row[Setting]:
        return next(row for row in self.rows if row.setting == setting)

    def _verdict(self) -> str:
        before = "stopped. " if self.stopped else ""
        baseline = self._name(self.baseline)
        if self.chosen != self.baseline:
            ratio = self._row(self.chosen).ratio
            return (
                f"{before}chosen: {self._name(self.chosen)}: {ratio:.2f} times as fast as {baseline} (median"
                f" of {self.rounds} alternating rounds)"
            )
        kept = f"{before}{baseline} is kept: "
        ratio = self._row(self.fastest).ratio or 1.0
        if len(self.rows) == 1:
            return f"{kept}there was no time to try anything else; {_MORE_TIME}"
        if self.out_of_time and self.rounds < MIN_ROUNDS and ratio >= GAIN:
            return (
                f"{kept}{self._name(self.fastest)} looked {ratio:.2f} times as fast, but there was no time to"
                f" confirm it; {_MORE_TIME}"
            )
        more = f"; {_MORE_TIME}" if self.out_of_time else ""
        return f"{kept}nothing else is certain to be at least {GAIN - 1:.0%} faster{more}"


def _figures(row: Row[Setting]) -> str:
    if row.failure is not None:
        return f"  failed: {row.failure}"
    middle = median(row.rates)
    spread = f"{(max(row.rates) - min(row.rates)) / middle:.0%}" if len(row.rates) > 1 else "-"
    return f"{middle:>11.1f}{row.ratio or 0:>8.2f}{spread:>9}{len(row.rates):>8}"
