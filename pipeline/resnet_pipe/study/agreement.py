"""How well two executions of one network agree, and how well they must."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

THRESHOLDS = {"fp32": 0.99999, "fp16": 0.999, "bf16": 0.999, "int8": 0.99}
"""By precision: what the cosine similarity of every image must reach. The smallest decides, not the mean."""
ERRORS = {"fp32": 0.01, "fp16": 0.1, "bf16": 0.1, "int8": 0.5}
"""By precision: the largest relative error that an output may have. Measured were 1e-6, 7e-3 in bf16, and
0.02 to 0.14 in int8; numbers of another network, order or scale have about 1 and more."""
FEW = 4
"""Values of an output in a sample."""
FIGURES = ("cosine_min", "cosine_mean", "max_relative_error", "top1", "top5")
"""Those of an agreement that are kept."""


class Agreed(Protocol):
    """How well what an engine gives agrees with the reference, whatever kind of network it is.

    Attributes:
        THRESHOLDS: by precision, what the figure that decides must reach.
        ERRORS: by precision, the largest relative error that an output may have; empty where it has no limit.
        TITLES: of the columns of a table, whose cells `cells` gives.
    """

    THRESHOLDS: ClassVar[Mapping[str, float]]
    ERRORS: ClassVar[Mapping[str, float]]
    TITLES: ClassVar[str]

    def passes(self, precision: str) -> bool:
        """Tell whether it is good enough for a precision."""

    def problem(
        self, precision: str, reference: str = "the reference", least: float | None = None
    ) -> str | None:
        """Return which figure is not good enough for a precision; None if all are.

        With `least`, that is what the figure must reach that decides, whatever the precision.
        """

    def cells(self) -> str:
        """Return the figures for the columns of a table."""

    def describe(self) -> str:
        """Return the figure that decides, in words."""

    def to_json(self) -> dict[str, Any]:
        """Return the figures for machines."""

    @staticmethod
    def legend(compared: str) -> list[str]:
        """Return what the columns mean; `compared` is the output that decides."""


@dataclass(frozen=True)
class Agreement:
    """Figures over the images of a sample, of a network that classifies or gives features.

    The cosine similarity of an image is that of its features, or of its logits if the network has none; 0
    where a value is not finite. It knows nothing of other outputs, or of their scale, and of an output of a
    single value it is 1: that is what the error is for.

    Attributes:
        max_relative_error: over all outputs: the largest absolute difference, divided by the largest absolute
            value of the reference. Infinite where a value is not finite.
        top1: share of the images whose best class is the reference's; None for a network without classes.
        top5: share of the reference's five best classes that are among the five best; or None.
        similar: the output that has the cosine similarity.
        errors: the relative error of each output.
        few: outputs of which the sample has fewer than `FEW` values. All of them may be near zero by chance,
            where rounding is a large part of them; so their error has a limit in float32 alone.
    """

    THRESHOLDS: ClassVar[Mapping[str, float]] = THRESHOLDS
    ERRORS: ClassVar[Mapping[str, float]] = ERRORS
    TITLES: ClassVar[str] = f"{'cosine min':>11}{'mean':>10}{'max error':>11}{'top-1':>8}{'top-5':>8}"

    cosine_min: float
    cosine_mean: float
    max_relative_error: float
    top1: float | None
    top5: float | None
    similar: str = ""
    errors: Mapping[str, float] = field(default_factory=dict)
    few: frozenset[str] = frozenset()

    def passes(self, precision: str) -> bool:
        """Tell whether it is good enough for a precision."""
        return self.problem(precision) is None

    def problem(
        self, precision: str, reference: str = "the reference", least: float | None = None
    ) -> str | None:
        """Return which figure is not good enough for a precision, and of which output; None if all are."""
        least, most = THRESHOLDS[precision] if least is None else least, ERRORS[precision]
        if not self.cosine_min >= least:  # also if it is not a number
            return (
                f"the smallest cosine similarity of the output `{self.similar}` to {reference} is"
                f" {digits(self.cosine_min)}, and must be {least:.6g} at least"
            )
        judged = self.errors.keys() - (self.few if precision != "fp32" else set())
        for name in sorted(judged, key=self.errors.__getitem__, reverse=True):
            if not self.errors[name] <= most:
                return (
                    f"the largest difference of the output `{name}` from {reference} is"
                    f" {self.errors[name]:.2g} times its largest value, and must be {most} at most"
                )
        return None

    @property
    def figures(self) -> dict[str, Any]:
        """Return the figures by name."""
        return {name: getattr(self, name) for name in FIGURES}

    def cells(self) -> str:
        """Return the figures for the columns of a table."""
        best, five = ("-" if share is None else f"{share:.1%}" for share in (self.top1, self.top5))
        return (
            f"{digits(self.cosine_min):>11}{digits(self.cosine_mean):>10}{self.max_relative_error:>11.1e}"
            f"{best:>8}{five:>8}"
        )

    def describe(self) -> str:
        """Return the figure that decides, in words."""
        return f"cosine {digits(self.cosine_min)}"

    def to_json(self) -> dict[str, Any]:
        """Return the figures for machines."""
        return {**self.figures}

    @staticmethod
    def legend(compared: str) -> list[str]:
        """Return what the columns mean; `compared` is the output that decides."""
        return [
            f"cosine: of the output `{compared}`; the smallest of all images must reach "
            + ", ".join(f"{name} {threshold}" for name, threshold in THRESHOLDS.items()),
            "max error: the largest difference in any output, relative to that output's largest value;"
            " at most " + ", ".join(f"{name} {most}" for name, most in ERRORS.items()),
        ]


def compare(
    found: Mapping[str, NDArray[np.float32]],
    reference: Mapping[str, NDArray[np.float32]],
    features: str,
    logits: str | None,
) -> Agreement:
    """Compare an engine's outputs with the expected ones, all float32, shape (n, width), n at least 1.

    The reference is finite; `features` names the output whose cosine similarity counts.
    """
    similarity = cosines(found[features], reference[features])
    if reference[features].shape[1] == 1:  # its cosine is its sign, which rounding may change near zero
        similarity = np.isfinite(found[features][:, 0]).astype(np.float64)
    errors = {name: _error(found[name], values) for name, values in reference.items()}
    top1, top5 = (None, None) if logits is None else _best(found[logits], reference[logits])
    return Agreement(
        cosine_min=float(similarity.min()),
        cosine_mean=float(similarity.mean()),
        max_relative_error=max(errors.values()),
        top1=top1,
        top5=top5,
        similar=features,
        errors=errors,
        few=frozenset(name for name, values in reference.items() if values.size < FEW),
    )


def _best(found: NDArray[np.float32], reference: NDArray[np.float32]) -> tuple[float, float]:
    """Return the shares of the best class, and of the five best ones, that agree."""
    ours, theirs = (np.nan_to_num(values, nan=-np.inf) for values in (found, reference))
    count = min(5, ours.shape[1])
    best, expected = (np.argsort(-values, axis=1, kind="stable")[:, :count] for values in (ours, theirs))
    shared = (best[:, :, None] == expected[:, None, :]).any(axis=1)
    return float((best[:, 0] == expected[:, 0]).mean()), float(shared.mean())


def cosines(found: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cosine similarity of each row: 1 of two zero rows, 0 of one or of what is not finite."""
    ours, theirs = found.astype(np.float64), reference.astype(np.float64)
    with np.errstate(all="ignore"):
        lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
        cosine = (ours * theirs).sum(axis=1) / lengths
    cosine[~np.isfinite(cosine)] = 0.0
    cosine[~ours.any(axis=1) & ~theirs.any(axis=1)] = 1.0
    clipped: NDArray[np.float64] = np.clip(cosine, -1.0, 1.0)
    return clipped


def digits(cosine: float) -> str:
    """Return seven digits of a cosine similarity, cut off: less than a threshold must not look like it."""
    if np.isnan(cosine):
        return "nan"
    return f"{int(cosine * 1e7 + 1e-3) / 1e7:.7f}"


def _error(found: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    difference = float(np.abs(found.astype(np.float64) - reference).max())
    largest = float(np.abs(reference).max())
    if difference == 0.0:
        return 0.0
    return difference / largest if largest and np.isfinite(difference) else float("inf")
