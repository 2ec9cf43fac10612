"""Which output of a network holds class values, and which one features."""

from __future__ import annotations

from collections.abc import Callable

from resnet_pipe.errors import ModelError
from resnet_pipe.head.classify import FEATURES, LOGITS, Classify
from resnet_pipe.model.network import Network
from resnet_pipe.model.output import HELD, Output


def with_named(network: Network, head: Classify) -> Classify:
    """Return a copy in which missing outputs are filled with those called `logits` and `features`."""

    def of(one: Output | None, name: str) -> Output | None:
        found = _called(network, name)
        return found if one is None and found not in (head.logits, head.features) else one

    return Classify(of(head.logits, LOGITS), of(head.features, FEATURES))


def chosen(
    network: Network, head: Classify, logits: str | None, features: str | None
) -> dict[str, tuple[str, str | None]]:
    """Return the configured names of used outputs, each with the output that would be used by default.

    The head has the outputs chosen by these names.
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


def of_network(network: Network) -> Classify:
    """Return the outputs that are unambiguous in the file, if none are requested; ModelError if none are."""
    features = _called(network, FEATURES)
    try:
        return Classify(for_classes(network), features)
    except ModelError:
        if features is None:
            raise
        return Classify(None, features)


def for_classes(network: Network) -> Output:
    """Return the output with one value per class: `logits`, or the only candidate; ModelError without one."""
    named = _called(network, LOGITS)
    if named is not None:
        return named
    others = [one for one in network.of_images if one.is_row and one.name != FEATURES]
    certain = [one for one in others if one.width and len(one.shape or ()) == 2]
    found = certain if len(certain) == 1 else others
    if len(found) == 1:
        return found[0]
    raise _unclear(network, found, LOGITS, "values for classes")


def for_features(network: Network, logits: Output | None) -> Output:
    """Return the output with features: `features`, or the only candidate; ModelError without one."""
    named = _called(network, FEATURES)
    if named is not None:
        return named
    found = [
        one
        for one in network.of_images
        if one.is_row and one.shape != (None,) and one.name != LOGITS and one != logits and not one.ending
    ]
    if len(found) == 1:
        return found[0]
    raise _unclear(network, found, FEATURES, "features")


def features_of(network: Network) -> Output | None:
    """Return the output called `features`, of a known width, that a network that finds objects may have."""
    found = _called(network, FEATURES)
    return found if found is not None and found.width else None


def named(network: Network, name: str) -> Output:
    """Return the output of this name; ModelError if it is not there, or has not one row per image."""
    found = next((one for one in network.of_images if one.name == name), None)
    if found is None:
        raise ModelError(f"{network.path} has no output {name!r}; {_all(network)}")
    if not found.is_row:
        raise ModelError(f"{network.path}: its output {found.describe()} is not one row of floats per image")
    return found


def _called(network: Network, name: str) -> Output | None:
    return next((one for one in network.of_images if one.name == name and one.is_row), None)


def _unclear(network: Network, found: list[Output], key: str, what: str) -> ModelError:
    if found:
        several = ", ".join(one.describe() for one in found)
        return ModelError(
            f"{network.path}: several outputs could hold {what}: {several}",
            f"name the right one: infer.{key}: {found[0].name}",
        )
    rows = [one.name for one in network.of_images if one.is_row]
    return ModelError(
        f"{network.path} has no output with {what} (one row of floats per image); {_all(network)}",
        f"choose other writer.fields; or, if {rows[0]} is the right one, set infer.{key}: {rows[0]}"
        if rows
        else "export it with such an output",
    )


def _all(network: Network) -> str:
    outputs = ", ".join(
        one.describe() + (f": {HELD[one.ending]}" if one.ending else "") for one in network.of_images
    )
    return f"its outputs are: {outputs}" if outputs else "it has no outputs"
