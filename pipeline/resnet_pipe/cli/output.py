"""The argument of commands about results: a directory, or an address in a bucket."""

from __future__ import annotations

import click

from resnet_pipe.store.store import Output, output_of


def to_output(_context: click.Context, _param: click.Parameter, value: str) -> Output:
    """Return the place that a user has named; the callback of an argument."""
    try:
        return output_of(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
