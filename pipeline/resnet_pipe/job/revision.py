"""A YAML file with some values changed and every other character kept.

A YAML library that writes a document again keeps comments and order, but not blanks, quotes and line breaks.
So only the places of the values are taken from it, and the text is changed there and nowhere else.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from resnet_pipe.errors import DocumentError, UsageError
from resnet_pipe.job import document
from resnet_pipe.job.document import Document
from resnet_pipe.job.syntax import Place
from resnet_pipe.store import atomic


def check_writable(path: Path) -> None:
    """Refuse a file, or a symbolic link to one, that `revise` could not replace.

    UsageError if it is read-only, or nothing can be written into its directory.
    """
    target = path.resolve()
    writable = os.access(target, os.W_OK) and target.stat().st_mode & 0o222  # root may write to all of them
    if not writable:
        raise UsageError(f"{target} is read-only", "make it writable, or drop --write and paste the result")
    if not os.access(target.parent, os.W_OK):
        raise UsageError(
            f"cannot create files in {target.parent}, which is needed to replace {target.name}",
            "make the directory writable, or drop --write and paste the result",
        )


def revise(path: Path, changes: Mapping[str, object]) -> None:
    """Change values of a YAML file atomically, keeping its mode. A link stays one; its target changes.

    Changes are dotted keys, added where they are missing, to numbers or words.

    Raises:
        UsageError: it is read-only, or its form (aliases, an end marker) does not let a value be changed by
            itself. The file is as it was.
    """
    check_writable(path)
    target = path.resolve()
    text = target.read_bytes().decode("utf-8")
    wanted = document.read(target).with_overrides([f"{name}={value}" for name, value in changes.items()])
    try:
        for name, value in changes.items():
            text = _with(text, tuple(name.split(".")), str(value))
        with atomic.replacing(target) as temporary:
            temporary.write_bytes(text.encode("utf-8"))
            shutil.copymode(target, temporary)
            if document.read(temporary).values != wanted.values:
                raise ValueError
    except (ValueError, DocumentError):
        raise UsageError(
            f"{path}: {', '.join(changes)} cannot be changed without changing other keys too",
            "edit it by hand",
        ) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", "edit it by hand") from None


def sections(doc: Document, changes: Mapping[str, object]) -> str:
    """Return those sections of a document in which something changes, as they are to read, one on a line."""
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap

    values = doc.with_overrides([f"{name}={value}" for name, value in changes.items()]).values
    changed = {name.partition(".")[0] for name in changes}
    yaml, text = YAML(typ="rt", pure=True), StringIO()
    yaml.width = 1 << 20
    for name, section in values.items():
        if name in changed:
            inline = CommentedMap(section)
            inline.fa.set_flow_style()
            yaml.dump({name: inline}, text)
    return text.getvalue()


def _with(text: str, place: Place, value: str) -> str:
    """Return the text with the value at a place changed or added; ValueError if that is not simple."""
    from ruamel.yaml import YAML

    node: Any = YAML(typ="rt", pure=True).compose(text)
    for depth, key in enumerate(place):
        members = {name.value: (name, inner) for name, inner in node.value}
        if key not in members:
            rest = place[depth:]
            entry = f"{rest[-1]}: {value}"
            for name in reversed(rest[:-1]):
                entry = f"{name}: {{{entry}}}"
            return _with_member(text, node, entry, is_root=depth == 0)
        node = members[key][1]
    if not isinstance(node.value, str):
        raise ValueError
    return text[: node.start_mark.index] + value + text[node.end_mark.index :]


def _with_member(text: str, node: Any, entry: str, is_root: bool) -> str:  # noqa: ANN401 - a MappingNode
    if not node.value:
        start = node.start_mark.index + 1
        return f"{text[:start]}{entry}{text[start:]}"
    name, last = node.value[-1]
    end = last.end_mark.index
    if node.flow_style:
        return f"{text[:end]}, {entry}{text[end:]}"
    newline = "\r\n" if "\r\n" in text else "\n"
    if is_root:
        return f"{text}{'' if text.endswith(newline) else newline}{entry}{newline}"
    end = text.find(newline, end)
    end = len(text) if end < 0 else end
    return f"{text[:end]}{newline}{' ' * name.start_mark.column}{entry}{text[end:]}"
