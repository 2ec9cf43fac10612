"""The next generation: results of `--fresh`, built next to the old ones, which they replace at the end.

It is an output directory of its own, `OUT/_resnet_pipe/next`. When it is complete, `switch.json` is written:
from then on the new results are the ones that count, and what is left to do is moving them into place. A
crash in the middle of that is completed by the next run, whatever it is.
"""

from __future__ import annotations

import json

from resnet_pipe.errors import RunError, UsageError
from resnet_pipe.job.fingerprint import Fingerprint
from resnet_pipe.ledger import fingerprint
from resnet_pipe.ledger.ledger import LEDGER, Ledger, record_name
from resnet_pipe.store.store import HOME

NEXT = f"{HOME}/next"
SWITCH = f"{HOME}/switch.json"


def next_ledger(ledger: Ledger) -> Ledger:
    """Return the ledger of the next generation of a directory, whether there is one or not."""
    return ledger.below(NEXT)


def is_begun(ledger: Ledger) -> bool:
    """Tell whether a directory has a next generation."""
    return next_ledger(ledger).store.exists(LEDGER)


def goes_on(ledger: Ledger, ours: Fingerprint) -> bool:
    """Tell whether the next generation of a directory was started by a job with this fingerprint."""
    try:
        noted = fingerprint.read(next_ledger(ledger).store)
    except RunError:
        return False  # nobody needs it: it is begun again
    return noted is not None and ours.digest in noted.digests


def begin(ledger: Ledger) -> None:
    """Make an empty next generation, in the place of one that may be there."""
    drop(ledger)
    next_ledger(ledger).store.make(LEDGER, parents=False)


def drop(ledger: Ledger) -> None:
    """Remove the next generation, if there is one."""
    next_ledger(ledger).store.clear(LEDGER)


def switch(ledger: Ledger) -> None:
    """Put the next generation, which is complete, in the place of the results.

    If the disk refuses it, `complete` does what is left.
    """
    before, after = list(ledger.records()), list(next_ledger(ledger).records())
    files = {file.name for record in before for file in record.files}
    files -= {file.name for record in after for file in record.files}
    chunks = {record.chunk for record in before} - {record.chunk for record in after}
    plan = {"schema_version": 1, "files": sorted(files), "chunks": sorted(chunks)}
    ledger.claim(())  # where another run has begun, what it commits would be taken away
    ledger.store.put(SWITCH, [json.dumps(plan, ensure_ascii=False).encode()])
    complete(ledger)


def complete(ledger: Ledger) -> None:
    """Complete a switch that was started; do nothing if there is none.

    Raises:
        RunError: it cannot be read what is left to do; nothing was changed.
        OSError: the disk refuses it.
    """
    store = ledger.store
    with store.alone():  # the divisions of a job may begin at the same time: one does it
        plan = read_switch(ledger)
        if plan is None:
            return
        new = list(next_ledger(ledger).records())
        store.adopt(NEXT, [file.name for record in new for file in record.files], plan["files"])
        gone = [record_name(chunk) for chunk in plan["chunks"]]
        store.adopt(NEXT, [record_name(record.chunk) for record in new], gone)
        store.adopt(NEXT, [fingerprint.NAME])
        store.delete([SWITCH])
    drop(ledger)


def refuse_half_switched(ledger: Ledger) -> None:
    """Refuse to look at a directory in which new results have not replaced all old ones: UsageError."""
    if ledger.store.look(SWITCH):
        raise UsageError(
            f"{ledger.output}: a run was interrupted while new results were replacing the old ones",
            "run the job: it first completes the replacement",
        )


def read_switch(ledger: Ledger) -> dict[str, list[str]] | None:
    """Return the `files` and `chunks` that a started switch removes; None if there is none.

    RunError if it cannot be read.
    """
    try:
        plan = json.loads(ledger.store.read(SWITCH))
        if plan["schema_version"] != 1:
            raise ValueError(f"schema version {plan['schema_version']}; this version supports 1")
        return {"files": plan["files"], "chunks": plan["chunks"]}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RunError(
            f"{ledger.store.where(SWITCH)}: cannot read the state of an interrupted switch to new results:"
            f" {error}",
            "check the disk, or use the version of resnet-pipe that wrote it; nothing was changed",
        ) from None
