"""The outcome for one engine in one precision."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

from resnet_pipe.infer.engine import EngineInfo
from resnet_pipe.infer.probe import Refusal
from resnet_pipe.study.agreement import Agreement, digits


@dataclass(frozen=True)
class Verdict:
    """What ran, how well it agrees with the reference, and how fast the network alone is, with all cores.

    Of an engine that gave nothing there is the refusal instead; the precision is None if it came from no
    farther than asking the engine.
    """

    engine: str
    precision: str | None
    info: EngineInfo | None = None
    agreement: Agreement | None = None
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
            text += f", cosine {digits(self.agreement.cosine_min)}"
        return f"{text}, {self.items_per_second:.1f} items/s" if self.items_per_second else text

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON; infinite values become null."""
        agreement = asdict(self.agreement) if self.agreement else {}
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
