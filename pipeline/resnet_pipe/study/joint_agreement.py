"""How well boxes and features agree that two executions of one network give: both must be good enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from resnet_pipe.study.agreement import ERRORS, Agreement, digits
from resnet_pipe.study.box_agreement import BoxAgreement


@dataclass(frozen=True)
class JointAgreement:
    """Figures over the images of a sample, of a network that finds objects and gives features; see `Agreed`.

    The thresholds are those of the boxes; features have those of `Agreement`.
    """

    THRESHOLDS: ClassVar[Mapping[str, float]] = BoxAgreement.THRESHOLDS
    ERRORS: ClassVar[Mapping[str, float]] = ERRORS
    TITLES: ClassVar[str] = f"{BoxAgreement.TITLES}{'cosine min':>12}{'max error':>11}"

    boxes: BoxAgreement
    features: Agreement

    def passes(self, precision: str) -> bool:
        """Tell whether it is good enough for a precision."""
        return self.problem(precision) is None

    def problem(
        self, precision: str, reference: str = "the reference", least: float | None = None
    ) -> str | None:
        """Return what is not good enough for a precision, of boxes or of features; None if nothing is.

        With `least`, that is what both figures must reach that decide.
        """
        problems = (one.problem(precision, reference, least) for one in (self.boxes, self.features))
        return next(filter(None, problems), None)

    def cells(self) -> str:
        """Return the figures for the columns of a table."""
        cosine, error = digits(self.features.cosine_min), self.features.max_relative_error
        return f"{self.boxes.cells()}{cosine:>12}{error:>11.1e}"

    def describe(self) -> str:
        """Return the figures that decide, in words."""
        return f"{self.boxes.describe()}, {self.features.describe()}"

    def to_json(self) -> dict[str, Any]:
        """Return the figures for machines."""
        names = ("cosine_min", "cosine_mean", "max_relative_error")
        return self.boxes.to_json() | {name: self.features.figures[name] for name in names}

    @staticmethod
    def legend(compared: str) -> list[str]:
        """Return what the columns mean."""
        return BoxAgreement.legend(compared) + Agreement.legend("features")
