"""Why a reader finds nothing: there are only files of other kinds, or none."""

from __future__ import annotations

from resnet_pipe.reader.passed_over import PassedOver
from resnet_pipe.reader.section import ReaderSection


def nothing_found(section: ReaderSection, passed_over: PassedOver, before: int = 0) -> tuple[str, str]:
    """Return the problem and the remedy; `before` is how many sources there were in an earlier run."""
    what, places = f"{section.description.source}s", ", ".join(map(str, section.path))
    problem = f"no {what} found in {places}" + (f" (before, there were {before})" if before else "")
    if not passed_over:
        return problem, "check reader.path, and that the disk is mounted"
    names = " ".join(sorted(section.make_reader().reach.extensions))
    remedy = f"{what} are recognised by extension: {names}; a file named in reader.path may have any"
    return f"{problem}: {passed_over.describe()}", remedy
