"""What `engine: auto` has chosen before, in the user's cache directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from resnet_pipe.errors import HomeError
from resnet_pipe.infer.engine import DEFAULT, ENGINES, Precision
from resnet_pipe.machine.home import cache_dir
from resnet_pipe.store import atomic

_KEPT = 100
"""Choices in the file; the oldest are forgotten."""


class Choice(BaseModel):
    """An engine and a precision, and how they came to be chosen.

    Attributes:
        engine: name.
        precision: that the network computes in.
        ratio: of its items per second to those of the default engine; None if that was not measured.
        reason: why nothing was tried; empty otherwise.
        reference: what the engines were compared with.
        items: that they were tried with.
        engines: what came of each, as in the JSON of `verify`.
        chosen_at: UTC, ISO 8601.
        circumstances: in which the choice holds: the machine, the model, versions, what the job asks for.
        origin: `new`, `to be remembered` (new, and in the file now) or `remembered` (from the file).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: Annotated[str, Field(pattern=f"^({'|'.join(ENGINES)})$")]
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


class Memory(BaseModel):
    """The contents of engines.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    choices: list[Choice] = []

    @classmethod
    def read(cls) -> Memory:
        """Return the saved choices: none if there is no file, or it cannot be read."""
        try:
            return cls.model_validate_json(_path().read_bytes())
        except (OSError, HomeError, ValidationError):
            return cls()

    def find(self, circumstances: dict[str, Any]) -> Choice | None:
        """Return the choice that was made in the same circumstances."""
        return next((one for one in reversed(self.choices) if one.circumstances == circumstances), None)

    @staticmethod
    def remember(choice: Choice) -> str | None:
        """Add a choice to the file, in the place of an older one; return why that is not possible, if so."""
        others = [one for one in Memory.read().choices if one.circumstances != choice.circumstances]
        memory = Memory(choices=[*others, choice][-_KEPT:])
        try:
            path = _path()
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic.write_bytes(path, memory.model_dump_json(indent=1).encode(), str(os.getpid()))
        except HomeError as error:
            return f"{error.problem}; {error.remedy}"
        except OSError as error:
            return f"{error}; set XDG_CACHE_HOME to use another directory"
        return None


def _path() -> Path:
    return cache_dir() / "engines.json"
