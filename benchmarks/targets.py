"""What the engines are meant to reach, and whether they do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Target:
    """A ratio of two rates.

    Attributes:
        ours: the program whose rate is divided.
        others: the best of these is what it is divided by.
        ratio: at least this.
        measured: the ratio; None where ours or all others are missing.
    """

    ours: str
    others: tuple[str, ...]
    ratio: float
    measured: float | None = None

    @property
    def verdict(self) -> str:
        """Return `met`, `missed` or `not measured`."""
        if self.measured is None:
            return "not measured"
        return "met" if self.measured >= self.ratio else "missed"

    def to_json(self) -> dict[str, Any]:
        """Return it for a result."""
        return {**asdict(self), "verdict": self.verdict}


def judge(rates: Mapping[str, Sequence[float]], openvino: str) -> list[Target]:
    """Return the targets, measured: the median of the ratios of the rounds, for a machine may slow down.

    Args:
        rates: images a second in each round, by program; scripts are called `script NAME`.
        openvino: the program with the precision that this engine takes by itself.
    """
    targets = (
        Target(openvino, ("script openvino", "script openvino_async"), 1.30),
        Target(openvino, (f"limit of {openvino}",), 0.92),
        Target(openvino, ("script torch",), 8),
        Target("openvino int8", (openvino,), 1.4),
        Target("onnxruntime fp32", ("script ort",), 1.08),
        Target("onnxruntime fp32", ("script ray_ort",), 1.5),
        Target("torch fp32", ("script torch",), 1.15),
        Target("torch bf16", ("script torch",), 2.5),
    )
    return [_measured(target, rates) for target in targets]


def table(rates: Mapping[str, float], targets: list[Target]) -> str:
    """Return the rates, the fastest first, and the targets, as text."""
    lines = [f"{'program':<26}{'images/s':>9}"]
    lines += [f"{name:<26}{rate:>9.1f}" for name, rate in sorted(rates.items(), key=lambda item: -item[1])]
    lines += ["", f"{'ratio':<62}{'measured':>9}{'target':>8}"]
    for target in targets:
        what = f"{target.ours} / {' or '.join(target.others)}"
        measured = "-" if target.measured is None else f"{target.measured:.2f}"
        lines.append(f"{what:<62}{measured:>9}{target.ratio:>8.2f}  {target.verdict}")
    return "\n".join(lines)


def _measured(target: Target, rates: Mapping[str, Sequence[float]]) -> Target:
    others = [rates[name] for name in target.others if name in rates]
    if target.ours not in rates or not others:
        return target
    rounds = zip(rates[target.ours], *others, strict=True)
    return replace(target, measured=median(ours / max(theirs) for ours, *theirs in rounds))
