"""A process that looks at a library for the doctor: if the library crashes or hangs, this ends alone."""

from __future__ import annotations

import os
from typing import Any

from resnet_pipe.machine.memory import memory_file
from resnet_pipe.process.child import Child, EndedError, SilentError

LIMIT_S = 30.0
"""A cold disk may take this long for CUDA's libraries; anything longer counts as a hang."""


class NoAnswerError(Exception):
    """The process gave no answer; the reason in words, on one line."""


def answer_of(module: str) -> Any:  # noqa: ANN401 - what the process sends
    """Run a module's `serve` in a process of its own and return what it sends.

    Raises:
        NoAnswerError: it crashed or hung.
    """
    with os.fdopen(memory_file(), "rb") as printed, Child(module, output=printed.fileno()) as process:
        try:
            return process.receive(LIMIT_S)
        except SilentError:
            raise NoAnswerError(f"its process did not answer within {LIMIT_S:g} s") from None
        except EndedError as ended:
            printed.seek(0)
            last = printed.read().decode(errors="replace").strip().rpartition("\n")[2].strip()
            raise NoAnswerError(f"its process {ended}" + (f": {last}" if last else "")) from None
