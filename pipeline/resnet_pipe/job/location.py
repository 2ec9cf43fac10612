"""Paths in a job: `~` is a home directory; shell variables, Windows paths, errors of the disk are refused."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationInfo

from resnet_pipe.machine.home import home

_T = TypeVar("_T")
_REPLACED_BY_A_SHELL = re.compile(r"\$([A-Za-z_]\w*|\{[^{}]*\}|\([^()]*\))|%[A-Za-z_]\w*%")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+:)//")
_OF_WINDOWS = re.compile(r"([A-Za-z]):([\\/].*)?|\\\\.*", re.DOTALL)


def located(text: str, base: Path) -> Path:
    """Resolve a path in a job; a relative one starts from `base`.

    `~` and `~user` at its beginning are replaced. A name that looks like `$NAME`, `%NAME%`, a URL or a drive
    letter is accepted only if such a file or directory exists; else ValueError says what to write instead.
    """
    if text.startswith("~"):
        user, _, below = text[1:].partition("/")
        directory = home(user)
        if directory is None and user:
            raise ValueError(f"there is no user {user}; for a file or directory of that name, write ./{text}")
        if directory is None:
            raise ValueError(f"{text}: this user has no home directory; write the full path")
        return directory / below.lstrip("/")
    for variable in _REPLACED_BY_A_SHELL.finditer(text):
        end = text.find("/", variable.end())
        if not os.path.lexists(base / (text if end < 0 else text[:end])):
            raise ValueError(
                f"{variable[0]} is not expanded in a job: {text}; write the path itself, use ~ for the home"
                " directory, or let the shell expand it on the command line: --set KEY=PATH"
            )
    url = _URL.match(text)
    if url and not os.path.lexists(base / url[1]):
        shown = re.sub(r"//.*@", "//***@", text, flags=re.DOTALL)
        raise ValueError(f"a URL, not a path: {shown}; write where it is mounted, or has been copied to")
    windows = _OF_WINDOWS.fullmatch(text)
    if windows and not os.path.lexists(base / text.split("/")[0]):
        drive, below = windows[1], (windows[2] or "").replace("\\", "/")
        instead = f"; in WSL it is /mnt/{drive.lower()}{below}" if drive else ""
        raise ValueError(f"a Windows path: {text}; write where it is mounted, such as /mnt/data{instead}")
    return base / text


def looks_at_disk(validator: Callable[[Any, ValidationInfo], _T]) -> Callable[[Any, ValidationInfo], _T]:
    """Turn errors of the disk (permission denied, a name too long) into problems of the document."""

    @wraps(validator)
    def checked(value: Any, info: ValidationInfo) -> _T:  # noqa: ANN401 - pydantic hands over anything
        try:
            return validator(value, info)
        except OSError as error:
            raise ValueError(f"{error.strerror}: {error.filename}") from None

    return checked
