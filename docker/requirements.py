"""Print what resnet-pipe needs, as pip reads it, so that an image has it in a layer of its own.

usage: python docker/requirements.py PYPROJECT EXTRAS

EXTRAS are names with commas between them, such as openvino,report; or nothing.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import tomllib


def requirements(project: dict[str, Any], extras: list[str]) -> list[str]:
    """Return the dependencies of a project and of some of its extras, each once.

    Args:
        project: the table `project` of a pyproject.toml.
        extras: those wanted; one may name others of the project, such as `resnet-pipe[openvino,report]`.

    Raises:
        SystemExit: there is no such extra.
    """
    found = dict.fromkeys(project["dependencies"])
    optional = project["optional-dependencies"]
    for extra in extras:
        if extra not in optional:
            sys.exit(f"unknown extra {extra!r}; available: {', '.join(optional)}")
        for requirement in optional[extra]:
            own = re.fullmatch(rf"{re.escape(project['name'])}\[(.*)\]", requirement)
            found |= dict.fromkeys(requirements(project, own[1].split(",")) if own else [requirement])
    return list(found)


if __name__ == "__main__":
    with Path(sys.argv[1]).open("rb") as file:
        table = tomllib.load(file)["project"]
    print(*requirements(table, [name for name in sys.argv[2].split(",") if name]), sep="\n")
