"""A process that looks at a library for the doctor: if the library crashes or hangs, this ends alone."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from resnet_pipe.process import child

LIMIT_S = 30.0
"""A cold disk may take this long for CUDA's libraries; anything longer counts as a hang."""


class NoAnswerError(Exception):
    """The process gave no answer; the reason in words, on one line."""


def answer_of(module: str) -> dict[str, Any]:
    """Run a module and return the JSON object on the last line that it prints.

    Raises:
        NoAnswerError: it crashed or hung.
    """
    try:
        done = subprocess.run(
            child.command(module),
            env=child.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NoAnswerError(f"its process did not answer within {LIMIT_S:g} s") from None
    if done.returncode or not done.stdout:
        said = done.stderr.decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(said) if line.strip()), "")
        ending = f"its process {child.ending(done.returncode)}"
        raise NoAnswerError(f"{ending}: {last}" if last else ending)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer
