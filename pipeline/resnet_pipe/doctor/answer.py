"""A process that looks at a library for the doctor: if the library crashes or hangs, this ends alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from resnet_pipe.machine.memory import memory_file
from resnet_pipe.process.child import Child, EndedError, SilentError

LIMIT_S = 30.0
"""A cold disk may take this long for CUDA's libraries; anything longer counts as a hang."""
Answer = TypeVar("Answer")


def answer_of(module: str, instead: Callable[[str], Answer]) -> Answer:
    """Run a module's `serve` in a process of its own and return what it sends.

    If it crashes or hangs, return what `instead` makes of the reason, which is on one line.
    """
    with os.fdopen(memory_file(), "rb") as printed, Child(module, output=printed.fileno()) as process:
        try:
            answer: Answer = process.receive(LIMIT_S)
        except SilentError:
            return instead(f"its process did not answer within {LIMIT_S:g} s")
        except EndedError as ended:
            printed.seek(0)
            last = printed.read().decode(errors="replace").strip().rpartition("\n")[2].strip()
            return instead(f"its process {ended}" + (f": {last}" if last else ""))
        return answer
