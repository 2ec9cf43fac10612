"""How well two executions of one network agree, and how well they must."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

THRESHOLDS = {"fp32": 0.99999, "fp16": 0.999, "bf16": 0.999, "int8": 0.99}
"""By precision: what the cosine similarity of every image must reach. The smallest decides, not the mean."""


class Agreed(Protocol):
    """How well what an engine gives agrees with the reference, whatever kind of network it is.

    Attributes:
        THRESHOLDS: by precision, what the figure that decides must reach.
        TITLES: of the columns of a table, whose cells `cells` gives.
    """

    THRESHOLDS: ClassVar[Mapping[str, float]]
    TITLES: ClassVar[str]

    def passes(self, precision: str) -> bool:
        """Tell whether it is good enough for a precision."""

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
    where a value is not finite.

    Attributes:
        max_relative_error: over all outputs: the largest absolute difference, divided by the largest absolute
            value of the reference. Infinite where a value is not finite.
        top1: share of the images whose best class is the reference's; None for a network without classes.
        top5: share of the reference's five best classes that are among the five best; or None.
    """

    THRESHOLDS: ClassVar[Mapping[str, float]] = THRESHOLDS
    TITLES: ClassVar[str] = f"{'cosine min':>11}{'mean':>10}{'max error':>11}{'top-1':>8}{'top-5':>8}"

    cosine_min: float
    cosine_mean: float
    max_relative_error: float
    top1: float | None
    top5: float | None

    def passes(self, precision: str) -> bool:
        """Tell whether it is good enough for a precision."""
        return self.cosine_min >= THRESHOLDS[precision]

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
        return asdict(self)

    @staticmethod
    def legend(compared: str) -> list[str]:
        """Return what the columns mean; `compared` is the output that decides."""
        return [
            f"cosine: of the output `{compared}`; the smallest of all images must reach "
            + ", ".join(f"{name} {threshold}" for name, threshold in THRESHOLDS.items()),
            "max error: the largest difference in any output, relative to that output's largest value",
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
    top1, top5 = (None, None) if logits is None else _best(found[logits], reference[logits])
    return Agreement(
        cosine_min=float(similarity.min()),
        cosine_mean=float(similarity.mean()),
        max_relative_error=max(_error(found[name], values) for name, values in reference.items()),
        top1=top1,
        top5=top5,
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
    return f"{int(cosine * 1e7 + 1e-3) / 1e7:.7f}"


def _error(found: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    difference = float(np.abs(found.astype(np.float64) - reference).max())
    largest = float(np.abs(reference).max())
    if difference == 0.0:
        return 0.0
    return difference / largest if largest and np.isfinite(difference) else float("inf")
