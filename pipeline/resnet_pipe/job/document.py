"""YAML documents (jobs and recipes) that know the line and column of every value.

Errors are collected, all of them, and each names its place as `file:line:column`.
"""

from __future__ import annotations

import copy
import difflib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from resnet_pipe.errors import DocumentError
from resnet_pipe.job.syntax import Place, mark, one_line, parse

MAX_BYTES = 1 << 20
"""Larger documents are refused: nobody writes them by hand."""
_M = TypeVar("_M", bound=BaseModel)


@dataclass(frozen=True)
class Document:
    """A parsed YAML mapping of plain dicts, lists and scalars.

    Positions are place of a value (keys and indices from the root) -> its 1-based (line, column). Overrides
    are the places that were set besides, with an option of the command line, so that errors can say so; a
    program sets them without one.
    """

    path: Path
    values: dict[str, Any]
    positions: Mapping[Place, tuple[int, int]]
    overrides: frozenset[Place] = frozenset()
    option: str = ""

    def where(self, place: Place) -> str:
        """Return where a value was written: `--set key.key`, `overrides`, or `file:line:column`.

        A place that was written nowhere, such as that of a missing key, is where its nearest ancestor is.
        """
        for end in range(len(place), 0, -1):
            if place[:end] in self.overrides:
                return self._override(place[:end])
        for end in range(len(place), 0, -1):
            if place[:end] in self.positions:
                line, column = self.positions[place[:end]]
                return f"{self.path}:{line}:{column}"
            below = [override for override in self.overrides if override[:end] == place[:end]]
            if below:  # an override made this section
                return self._override(min(below, key=str))
        return f"{self.path}:1:1" if self.positions else str(self.path)

    def _override(self, place: Place) -> str:
        return f"{self.option} {'.'.join(map(str, place))}" if self.option else "overrides"

    def with_overrides(self, assignments: Sequence[str], option: str = "") -> Document:
        """Return a copy with `key.key=value` assignments applied; values are YAML.

        Errors name the option that has given them. DocumentError if one is malformed or goes through a value
        that has no keys.
        """
        given_by = option or "overrides:"
        values = copy.deepcopy(self.values)
        places: set[Place] = set()
        problems = []
        for assignment in assignments:
            name, equals, text = assignment.partition("=")
            place = tuple(name.strip().split("."))
            wrong = f"{given_by} {name.partition(':')[0]}"  # not the value, which may be a secret by mistake
            if not equals or not all(place):
                problems.append(f"{wrong}{equals}: expected key.key=value, such as infer.batch_size=32")
                continue
            try:
                value = parse(text)
            except Exception as error:
                problems.append(f"{wrong}: the value is not valid YAML: {one_line(error)}")
                continue
            target: Any = values
            for key in place[:-1]:
                target = target.setdefault(key, {}) if isinstance(target, dict) else None
            if not isinstance(target, dict):
                problems.append(f"{wrong}: {'.'.join(place[:-1])} is not a section")
                continue
            target[place[-1]] = value
            places.add(place)
        if problems:
            raise DocumentError(problems)
        return Document(self.path, values, self.positions, self.overrides | places, option)

    def validate(self, model: type[_M], context: Mapping[str, Any]) -> _M:
        """Return the document as a pydantic model, whose validators see the context.

        DocumentError has every problem found.
        """
        try:
            return model.model_validate(self.values, context=dict(context))
        except ValidationError as error:
            raise DocumentError(self._problems(error, model)) from None

    def _problems(self, error: ValidationError, model: type[BaseModel]) -> list[str]:
        problems: dict[tuple[tuple[int, int], str], list[str]] = {}
        errors = error.errors(include_url=False)
        with_wrong_members = {item["loc"][:end] for item in errors for end in range(len(item["loc"]))}
        for item in errors:
            if item["type"] == "too_short" and item["loc"] in with_wrong_members:
                continue  # only because pydantic does not count the wrong ones
            place = self._place(item["loc"])
            name = ".".join(map(str, place))
            text = ""
            if item["type"] == "extra_forbidden":
                known = _known_keys(model, item["loc"][:-1])
                name = f"unknown key {name!r}{_suggestion(str(place[-1]), known)}"
            elif item["type"] == "missing":
                name = f"{name} is missing"
                place = place[:-1]
            elif item["type"] == "union_tag_not_found":
                name = f"{name}.kind is missing"
            elif item["type"] == "union_tag_invalid":
                name = f"{name}.kind must be one of: {item['ctx']['expected_tags']}".replace("'", "")
                place = (*place, "kind")
            elif item["type"] in ("model_type", "model_attributes_type"):
                text = "expected keys and values"
            elif item["type"] == "too_short" and item["ctx"]["min_length"] == 1:
                text = "expected at least one value"
            elif item["type"] in ("tuple_type", "list_type"):
                text = "expected a list: [...]"
            else:
                message = item["msg"].removeprefix("Value error, ")
                text = message[0].lower() + message[1:]
            # What a value of several types could have been instead is one problem, not several.
            position = self.positions.get(place, (0, 0))
            problems.setdefault((position, f"{self.where(place)}: {name}"), []).append(text)
        return [
            ": ".join(filter(None, (name, "; or: ".join(texts))))
            for (_, name), texts in sorted(problems.items())
        ]

    def _place(self, loc: Place) -> Place:
        """Drop the union tags and validator names that pydantic puts into an error's location."""
        place: Place = ()
        value: Any = self.values
        for index, part in enumerate(loc):
            last = index == len(loc) - 1
            if isinstance(value, dict) and (part in value or last):
                value = value.get(part)
            elif isinstance(value, list) and isinstance(part, int) and part < len(value):
                value = value[part]
            else:
                continue
            place = (*place, part)
        return place


def found_in(doc: Document, problems: Sequence[tuple[Place, str]]) -> DocumentError:
    """Return an error with a document's problems, each with its place."""
    return DocumentError(
        [f"{doc.where(place)}: {'.'.join(map(str, place))}: {text}" for place, text in problems]
    )


def read(path: Path) -> Document:
    """Read a YAML mapping; DocumentError if the file cannot be read, is not YAML, or is not a mapping."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise DocumentError([f"{path}: no such file"]) from None
    except OSError as error:
        raise DocumentError([f"{path}: cannot be read: {error.strerror}"]) from None
    if len(text) > MAX_BYTES:
        raise DocumentError([f"{path}: larger than {MAX_BYTES} bytes: not a job or recipe"])
    positions: dict[Place, tuple[int, int]] = {(): (1, 1)}
    try:
        values = parse(text.decode("utf-8"), positions)
    except Exception as error:
        raise DocumentError([f"{path}:{mark(error)}: not valid YAML: {one_line(error)}"]) from None
    if not isinstance(values, dict):
        raise DocumentError([f"{path}:1:1: expected keys and values, such as `name: folder`"])
    return Document(path, values, positions)


def of_mapping(values: Mapping[str, Any]) -> Document:
    """Return a mapping of plain values, paths, lists and mappings as a document, without positions.

    DocumentError if it holds anything else.
    """
    return Document(Path("job"), json.loads(as_json(values)), {})


def as_json(value: object) -> str:
    """Return plain values, paths, numbers of NumPy, lists and mappings as JSON, which is YAML as well.

    DocumentError if there is anything else.
    """
    try:
        text = json.dumps(value, default=_as_plain, ensure_ascii=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise DocumentError([f"job: {error}"]) from None
    return text


def _as_plain(value: Any) -> object:  # noqa: ANN401 - whatever a program has put there
    if isinstance(value, Mapping):
        return dict(value)
    return value.item() if hasattr(value, "item") else os.fspath(value)


def _suggestion(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; valid keys: {', '.join(known)}"


def _known_keys(model: type[BaseModel], loc: Place) -> list[str]:
    """Return the keys allowed at `loc`, following fields and the tags of unions."""
    current: list[type[BaseModel]] = [model]
    for part in loc:
        inner: list[type[BaseModel]] = []
        for candidate in current:
            if part in candidate.model_fields:
                inner += _models_in(candidate.model_fields[str(part)].annotation)
            kind = candidate.model_fields.get("kind")
            if kind is not None and part in get_args(kind.annotation):
                inner.append(candidate)
        current = inner or current
    return sorted({name for candidate in current for name in candidate.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:  # noqa: ANN401 - any type annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
