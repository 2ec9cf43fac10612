"""What a network's outputs mean to a job: which of them holds values for the classes, and which features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from resnet_pipe.errors import ModelError
from resnet_pipe.network import Network
from resnet_pipe.output import HELD, Output

LOGITS, FEATURES = "logits", "features"
FOR_CLASSES = frozenset({LOGITS, "top_k"})
"""Fields that are made of the output for the classes."""
FOR_FEATURES = frozenset({FEATURES})
"""Fields that are made of the output with the features."""


@dataclass(frozen=True)
class Head:
    """The outputs that a job or a study takes.

    Attributes:
        logits: with one value for each class, or one for two classes; None if nobody asks for it.
        features: the pooled values before the classifier, or None.
    """

    logits: Output | None
    features: Output | None

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of these outputs, each once."""
        return tuple(dict.fromkeys(one.name for one in (self.logits, self.features) if one is not None))

    @property
    def widths(self) -> tuple[int, ...]:
        """Return how many values these outputs have for each image, in the order of their names."""
        found = {one.name: one.width or 0 for one in (self.logits, self.features) if one is not None}
        return tuple(found[name] for name in self.names)

    @property
    def binary(self) -> bool:
        """Whether one value tells two classes apart: the larger it is, the more it is the second one."""
        return self.logits is not None and self.logits.width == 1

    @property
    def classes(self) -> int:
        """Return how many classes there are; 0 without an output for them, or if it shows only in a run."""
        width = (self.logits.width or 0) if self.logits else 0
        return 2 if self.binary else width

    @property
    def width(self) -> int:
        """Return the width of the features; 0 without any, or if it shows only in a run."""
        return (self.features.width or 0) if self.features else 0

    @property
    def open(self) -> tuple[str, ...]:
        """Return the names of the outputs whose width shows only when the network runs."""
        return tuple(
            one.name for one in (self.logits, self.features) if one is not None and one.width is None
        )

    def with_widths(self, widths: Mapping[str, int]) -> Head:
        """Return it with outputs of these widths, by name."""

        def of(one: Output | None) -> Output | None:
            return replace(one, shape=(None, widths[one.name])) if one and one.name in widths else one

        return Head(of(self.logits), of(self.features))

    def to_json(self) -> dict[str, Any]:
        """Return what the outputs are, for records: name, width, and what the values are."""
        found: dict[str, Any] = {}
        if self.logits is not None:
            held = HELD[self.logits.ending]
            found[LOGITS] = {"output": self.logits.name, "width": self.logits.width, "holds": held}
        if self.features is not None:
            found[FEATURES] = {"output": self.features.name, "width": self.features.width}
        return found

    def describe(self) -> str:
        """Return what the outputs are, in words."""
        told = []
        if self.logits is not None:
            two = ", one value for two classes" if self.binary else ""
            told.append(f"{self.logits.describe()}: {HELD[self.logits.ending]}{two}")
        if self.features is not None:
            told.append(f"{self.features.describe()}: features")
        return "; ".join(told)


def with_named(network: Network, head: Head) -> Head:
    """Return it with the outputs called `logits` and `features`, where it has none of its own for them."""

    def of(one: Output | None, name: str) -> Output | None:
        found = _called(network, name)
        return found if one is None and found not in (head.logits, head.features) else one

    return Head(of(head.logits, LOGITS), of(head.features, FEATURES))


def chosen(
    network: Network, head: Head, logits: str | None, features: str | None
) -> dict[str, tuple[str, str | None]]:
    """Return the names that were given for outputs in use, each with the one that would have been taken.

    Args:
        network: of the file.
        head: what was made of the names.
        logits: name given for the output for the classes, if any.
        features: name given for the output with the features, if any.
    """
    found: dict[str, tuple[str, str | None]] = {}
    if head.logits is not None and logits:
        found[LOGITS] = (logits, _name(lambda: for_classes(network)))
    if head.features is not None and features:
        found[FEATURES] = (features, _name(lambda: for_features(network, head.logits)))
    return found


def _name(find: Callable[[], Output]) -> str | None:
    try:
        return find().name
    except ModelError:
        return None


def of_network(network: Network) -> Head:
    """Return the outputs of which the file leaves no doubt, where nothing is asked for.

    Raises:
        ModelError: there are none.
    """
    features = _called(network, FEATURES)
    try:
        return Head(for_classes(network), features)
    except ModelError:
        if features is None:
            raise
        return Head(None, features)


def for_classes(network: Network) -> Output:
    """Return the output with a value for each class: `logits`, or the only one that may be it.

    Raises:
        ModelError: there is none, or there are several.
    """
    named = _called(network, LOGITS)
    if named is not None:
        return named
    others = [one for one in network.outputs if one.is_row and one.name != FEATURES]
    certain = [one for one in others if one.width and len(one.shape or ()) == 2]
    found = certain if len(certain) == 1 else others
    if len(found) == 1:
        return found[0]
    raise _unclear(network, found, LOGITS, "values for classes")


def for_features(network: Network, logits: Output | None) -> Output:
    """Return the output with features: `features`, or the only one that may be it.

    Args:
        network: of the file.
        logits: the output with values for the classes, if that is asked for, too.

    Raises:
        ModelError: there is none, or there are several.
    """
    named = _called(network, FEATURES)
    if named is not None:
        return named
    found = [
        one
        for one in network.outputs
        if one.is_row and one.shape != (None,) and one.name != LOGITS and one != logits and not one.ending
    ]
    if len(found) == 1:
        return found[0]
    raise _unclear(network, found, FEATURES, "features")


def named(network: Network, name: str) -> Output:
    """Return the output of this name.

    Raises:
        ModelError: there is none, or it has no row for each image.
    """
    found = next((one for one in network.outputs if one.name == name), None)
    if found is None:
        raise ModelError(f"{network.path} has no output {name!r}; {_all(network)}")
    if not found.is_row:
        raise ModelError(f"{network.path}: its output {found.describe()} is not one row of floats per image")
    return found


def _called(network: Network, name: str) -> Output | None:
    return next((one for one in network.outputs if one.name == name and one.is_row), None)


def _unclear(network: Network, found: list[Output], key: str, what: str) -> ModelError:
    if found:
        several = ", ".join(one.describe() for one in found)
        return ModelError(
            f"{network.path}: several outputs could hold {what}: {several}",
            f"name the right one: infer.{key}: {found[0].name}",
        )
    rows = [one.name for one in network.outputs if one.is_row]
    return ModelError(
        f"{network.path} has no output with {what} (one row of floats per image); {_all(network)}",
        f"choose other writer.fields; or, if {rows[0]} is the right one, set infer.{key}: {rows[0]}"
        if rows
        else "export it with such an output",
    )


def _all(network: Network) -> str:
    outputs = ", ".join(
        one.describe() + (f": {HELD[one.ending]}" if one.ending else "") for one in network.outputs
    )
    return f"its outputs are: {outputs}" if outputs else "it has no outputs"
