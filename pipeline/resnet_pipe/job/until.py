"""The key `run.until`: when a run is to have committed all that it begins."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta
from typing import Annotated

from pydantic import AfterValidator

_OF_DAY = re.compile(r"\d\d:\d\d(:\d\d)?")


def moment(text: str, now: float) -> float:
    """Return the moment that a time names, at `now`; both in seconds since 1970.

    A time of day is the next one, on the local clock: where that is put forward over it, an hour later, and
    where it comes twice, the first. Any other is one with its zone, as in ISO 8601, even if it has passed.

    Raises:
        ValueError: it is neither.
    """
    if not _OF_DAY.fullmatch(text):
        there = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text))  # Python 3.10 does not know Z
        if there.tzinfo is None:
            raise ValueError("no zone")
        if not 1970 < there.year < 9999:  # a neighbour's clock may show the year before, or after
            raise ValueError("no such time")
        return there.timestamp()
    here, of_day = datetime.fromtimestamp(now), time.fromisoformat(text)
    today = datetime.combine(here.date(), of_day).timestamp()
    return today if today > now else datetime.combine(here.date() + timedelta(1), of_day).timestamp()


def _checked(text: str) -> str:
    try:
        moment(text, 0)
    except ValueError:
        raise ValueError(
            f"expected a local time such as 06:00, or a moment with its zone such as 2026-12-24T06:00+01:00,"
            f" in quotes, and not {text!r}"
        ) from None
    return text


Until = Annotated[str, AfterValidator(_checked)]
