"""Two depth studies side by side: two machines, two engines, before and after."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from resnet_pipe.errors import UsageError
from resnet_pipe.study.figures import Entry, Study


def read(path: Path) -> Study:
    """Read depth.json.

    Raises:
        UsageError: it cannot be read, is no depth study, or is one of another schema version.
    """
    remedy = "give a depth.json written by `resnet-pipe depth`"
    try:
        return Study.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", remedy) from None
    except ValidationError as error:
        first: Any = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        if place == "schema_version":
            found = f"its schema_version is {first['input']}, and this resnet-pipe reads 1"
            raise UsageError(f"{path}: {found}", "use the version of resnet-pipe that wrote it") from None
        raise UsageError(f"{path} is not a depth study: {place}: {first['msg']}", remedy) from None


def compare(first: Study, second: Study) -> str:
    """Return both for a terminal: what differs between them, and a line for each depth that both have."""
    lines = [_line(one, other) for one, other in _pairs(first, second)]
    return "\n".join(
        [
            *(f"A and B differ: {difference}" for difference in _differences(first, second)),
            f"{'model':<11}{'A':<24}{'B':<24}{'images/s A':>11}{'B':>9}{'B / A':>8}"
            f"{'infer ms A':>12}{'B':>8}{'MB A':>8}{'B':>7}",
            *(lines or ["the two studies share no depth on the same engine"]),
        ]
    )


def _differences(first: Study, second: Study) -> Iterator[str]:
    fields = {"job", "sources", "items", "repeats"}
    a, b = ({**study.model_dump(include=fields), **study.machine} for study in (first, second))
    for name in dict.fromkeys((*a, *b)):
        one, other = a.get(name, "unknown"), b.get(name, "unknown")
        if one != other:
            yield f"{name}: {one} and {other}"


def _pairs(first: Study, second: Study) -> Iterator[tuple[Entry, Entry]]:
    """Yield what belongs together: the same depth and engine, or depth if each study has one engine."""
    several = any(len({entry.setting.engine for entry in study.entries}) > 1 for study in (first, second))
    for one, other in product(first.entries, second.entries):
        same_engine = one.setting.engine == other.setting.engine
        if one.network.depth == other.network.depth and (same_engine or not several):
            yield one, other


def _line(one: Entry, other: Entry) -> str:
    a, b = one.images_per_s.median, other.images_per_s.median
    return (
        f"{f'ResNet-{one.network.depth}':<11}{_setting(one):<24}{_setting(other):<24}"
        f"{a:>11.1f}{b:>9.1f}{b / a:>8.2f}"
        f"{one.stages['infer'].busy_ms:>12.2f}{other.stages['infer'].busy_ms:>8.2f}"
        f"{one.peak_rss_mb:>8.0f}{other.peak_rss_mb:>7.0f}"
    )


def _setting(entry: Entry) -> str:
    setting = entry.setting
    return f"{setting.engine} {setting.precision} {setting.device}"[:23]
