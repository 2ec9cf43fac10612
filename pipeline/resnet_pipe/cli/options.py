"""What several commands are given in the same words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import click


class FiniteRange(click.FloatRange):
    """A number between two others; Python reads `nan` and `inf` as numbers, too."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:  # noqa: ANN401
        """Return the number; `click.BadParameter` if it is none, or out of range."""
        number = float(super().convert(value, parameter, context))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a number that can be counted to", parameter, context)
        return number


def set_option(example: str) -> Callable[[Any], Any]:
    """Return the option `--set`, the parameter `overrides`, with an example in its help."""
    return click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help=f"Override one value of the job, such as {example}. Repeatable; the value is YAML.",
    )


def check_engines(names: Iterable[str], *others: str) -> None:
    """Raise `click.BadParameter` if a name is neither that of an engine nor one of the others."""
    from resnet_pipe.infer.engine import ENGINES

    known = [*ENGINES, *others]
    for name in names:
        if name not in known:
            raise click.BadParameter(f"unknown engine {name!r}; available: {', '.join(known)}")
