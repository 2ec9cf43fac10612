"""How the engine of a job was chosen that says `engine: auto`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from resnet_pipe.infer.engine import DEFAULT, ENGINES, Precision


def _known(engine: str) -> str:
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}")
    return engine


class Choice(BaseModel):
    """An engine and a precision, and how they came to be chosen.

    Attributes:
        ratio: of its items per second to those of the default engine; None if that was not measured.
        reason: why nothing was tried; empty otherwise.
        reference: what the engines were compared with.
        engines: what came of each, as in the JSON of `verify`.
        chosen_at: UTC, ISO 8601.
        circumstances: in which the choice holds: the machine, the model, versions, what the job asks for.
        origin: `new`, `to be remembered` (new, and in the file now) or `remembered` (from the file).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: Annotated[str, AfterValidator(_known)]
    precision: Precision
    ratio: float | None = None
    reason: str = ""
    reference: str = ""
    items: int = 0
    engines: list[dict[str, Any]] = []
    chosen_at: str = ""
    circumstances: dict[str, Any] = {}
    origin: Annotated[Literal["new", "to be remembered", "remembered"], Field(exclude=True)] = "new"

    @property
    def note(self) -> str:
        """Return it in words, for the terminal and run.json."""
        if self.reason:
            return f"engine auto chose {self.engine} {self.precision}: {self.reason}"
        ratio = (
            f"{DEFAULT} cannot be compared"
            if self.ratio is None
            else f"{self.ratio:.1f} times as fast as {DEFAULT}"
        )
        why = "no other is faster" if self.engine == DEFAULT else ratio
        ends = {"to be remembered": "; saved for later runs", "remembered": f"; saved on {self.chosen_at}"}
        return f"engine auto chose {self.engine} {self.precision}: {why}{ends.get(self.origin, '')}"
