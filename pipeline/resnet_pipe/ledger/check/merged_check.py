"""The files of all chunks together: those that were made of what is committed, and as they were made."""

from __future__ import annotations

import re
from collections.abc import Iterator

from resnet_pipe.errors import RunError
from resnet_pipe.ledger import fingerprint, merged
from resnet_pipe.ledger.check.findings import Problem
from resnet_pipe.ledger.ledger import DirectoryLedger, Ledger
from resnet_pipe.store.digest import file_sha256
from resnet_pipe.writer.registry import SECTIONS

WRITER_KIND = re.compile(r"writer(\.\d+)?\.kind")
"""The settings of a fingerprint that name the kinds of writers."""
_REMEDY = "run the job again, which makes it again of what is committed"


def problems(ledger: DirectoryLedger) -> Iterator[Problem]:
    """Yield what is wrong with the files of a directory that are of what is committed."""
    noted = merged.read(ledger)
    if noted is None or noted.records != merged.digest_of(ledger):
        return
    for name, sha256 in noted.files.items():
        path = ledger.store.path(name)
        try:
            digest = file_sha256(path)
        except FileNotFoundError:
            yield Problem("missing", name, "missing", _REMEDY)
        except OSError as error:
            yield Problem("unreadable", name, error.strerror or str(error), _REMEDY)
        else:
            if digest != sha256:
                yield Problem("changed", name, "not what was written", _REMEDY)


def notes(ledger: Ledger) -> Iterator[str]:
    """Yield which files of a directory the next run makes, or makes again."""
    noted = merged.read(ledger)
    if ledger.is_empty() or (noted and noted.records == merged.digest_of(ledger)):
        return
    try:
        made = fingerprint.read(ledger.store)
    except RunError:
        return  # it is a problem of its own
    for setting, kind in made.settings.items() if made else ():
        if WRITER_KIND.fullmatch(setting) and kind in SECTIONS:
            for name in SECTIONS[kind].merged:
                yield f"{name}: not of everything that is committed; the next run makes it"
