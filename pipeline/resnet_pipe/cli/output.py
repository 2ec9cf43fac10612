"""The argument of commands about results: a directory, or an address in a bucket."""

from __future__ import annotations

from pathlib import Path

import click

from resnet_pipe.store.address import Address, is_address
from resnet_pipe.store.objects import Objects
from resnet_pipe.store.store import Output


def to_output(_context: click.Context, _param: click.Parameter, value: str) -> Output:
    """Return the place that a user has named; the callback of an argument."""
    if not is_address(value):
        return Path(value)
    try:
        return Objects(Address(value))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
