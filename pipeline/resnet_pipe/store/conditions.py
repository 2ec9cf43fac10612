"""Does a server keep conditions? Some take a request with one, ignore it, and say that all went well."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from uuid import uuid4

from resnet_pipe.errors import UsageError
from resnet_pipe.store.objects import ConditionError, Objects
from resnet_pipe.store.store import HOME


def require(objects: Objects, who: str) -> None:
    """Try the conditions that commits depend on, on an object of its own, which is removed again.

    What somebody of the same name has left, who was killed meanwhile, is removed as well.

    Raises:
        UsageError: the server ignores one of them, or cannot do it.
    """
    begin = f"{HOME}/probe-{who}-"
    name = f"{begin}{uuid4().hex}"
    objects.delete([found.name for found in objects.list_in(HOME) if found.name.startswith(begin)])
    try:
        with suppress(ConditionError):  # after an answer that got lost: nobody else has this name
            objects.create(name, b"first")
        _, tag = objects.read_tagged(name)
        another = str(int(tag) - 1) if tag.isdecimal() else f'"{"0" * 32}"'
        _must_fail(objects, "create an object only where there is none", lambda: objects.create(name, b"2"))
        _must_fail(
            objects,
            "replace an object only if it is the known one",
            lambda: objects.replace(name, b"3", another),
        )
        try:
            objects.replace(name, b"fourth", tag)
        except ConditionError:
            if objects.read(name) != b"fourth":  # else the answer had got lost
                raise _refusal(objects, "replace an object that is the known one") from None
    finally:
        objects.delete([name])


def _must_fail(objects: Objects, what: str, request: Callable[[], object]) -> None:
    try:
        request()
    except ConditionError:
        return
    raise _refusal(objects, what)


def _refusal(objects: Objects, what: str) -> UsageError:
    return UsageError(
        f"the server of {objects.address} does not {what}, so two runs could overwrite each other's results",
        "write to a server that keeps conditions (If-None-Match, If-Match), such as Amazon S3, Google Cloud"
        " Storage, Azure, MinIO or SeaweedFS; or write to a disk, and copy the results",
    )
