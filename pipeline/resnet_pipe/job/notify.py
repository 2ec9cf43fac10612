"""The keys `run.notify` and `run.notify_on`: who is told how a run has ended, and when."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from resnet_pipe.errors import ExitCode

_NAME = "[A-Za-z_][A-Za-z0-9_]*"
_INSTEAD = (
    "expected names of environment variables that hold the addresses, such as [OPS_CHAT]; an address is a"
    " secret, and does not belong in a job, of which copies are kept"
)
"""What is there instead is not repeated: it may be an address, and messages are logged."""


def _list(value: Any) -> Any:  # noqa: ANN401 - of a document
    if not isinstance(value, list | tuple):
        raise ValueError(_INSTEAD)
    return value


def _name(value: Any) -> Any:  # noqa: ANN401 - of a document
    if not isinstance(value, str) or not re.fullmatch(_NAME, value):
        raise ValueError(_INSTEAD)
    return value


def _number(value: Any) -> Any:  # noqa: ANN401 - of a document
    if isinstance(value, bool) or not isinstance(value, int):  # true would be 1
        raise ValueError("expected an exit code, such as 1")
    return value


_Variable = Annotated[
    str, BeforeValidator(_name), WithJsonSchema({"type": "string", "pattern": f"^{_NAME}$"})
]
Variables = Annotated[
    tuple[_Variable, ...], BeforeValidator(_list, json_schema_input_type=tuple[_Variable, ...])
]
"""Names of environment variables, and nothing that may be a secret."""
_Code = Annotated[
    ExitCode, BeforeValidator(_number), WithJsonSchema({"type": "integer", "enum": [*map(int, ExitCode)]})
]
ExitCodes = tuple[_Code, ...]
"""Some of those that a run may end with."""
