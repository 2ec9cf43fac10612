"""What `engine: auto` has chosen before, in the user's cache directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from resnet_pipe.errors import HomeError
from resnet_pipe.job.resolve import Choice
from resnet_pipe.machine.home import cache_dir
from resnet_pipe.store import atomic

_KEPT = 100
"""Choices in the file; the oldest are forgotten."""


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
