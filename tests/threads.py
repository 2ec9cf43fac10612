"""Call what changes the thread that it is called in."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def apart(
    function: Callable[Parameters, Result], *arguments: Parameters.args, **options: Parameters.kwargs
) -> Result:
    """Call a function in a thread of its own, and return its result.

    Run as root, libsvtav1 makes the thread that opens it a real-time one, for good: in the tests' own, what
    spins there later, or in a process that is started there, starves everything that it waits for.
    """
    with ThreadPoolExecutor(1) as own:
        return own.submit(function, *arguments, **options).result()
