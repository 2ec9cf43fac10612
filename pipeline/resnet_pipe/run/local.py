"""A run on this machine, from the checked job to the exit code."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from resnet_pipe import atomic
from resnet_pipe.errors import ExitCode, RunError
from resnet_pipe.infer import engine as engines
from resnet_pipe.infer.engine import EngineRequest
from resnet_pipe.job import Job
from resnet_pipe.plan import Plan, Rules, make_plan
from resnet_pipe.reader.images import ImageReader
from resnet_pipe.resolve import Resolved
from resnet_pipe.run import fingerprint, record
from resnet_pipe.run.commit import Committed, Committer, failure_lines
from resnet_pipe.run.cores import available_cores
from resnet_pipe.run.ledger import HOME, Ledger, Record
from resnet_pipe.run.lock import output_lock
from resnet_pipe.run.pipeline import Counts, Pipeline
from resnet_pipe.run.pool import WorkerPool
from resnet_pipe.run.progress import Progress, make_progress
from resnet_pipe.run.record import Outcome
from resnet_pipe.run.slots import SlotShape
from resnet_pipe.run.stop import Stop, on_signals
from resnet_pipe.run.timing import STAGES, StageClock

SLOTS_PER_WORKER = 3
"""One to fill, one that waits for the engine, one that is with the engine."""


@dataclass(frozen=True)
class RunOptions:
    """What the command line adds to a job.

    Attributes:
        rules: which sources are processed.
        fresh: drop what the output directory holds.
        quiet: no progress.
    """

    rules: Rules = field(default_factory=Rules)
    fresh: bool = False
    quiet: bool = False


def plan_only(resolved: Resolved, rules: Rules) -> Plan:
    """Return what a run would do, changing nothing.

    Raises:
        UsageError: the output directory holds results of another making.
    """
    output = resolved.job.writer.path
    records: dict[str, Record] = {}
    if (output / HOME).is_dir():
        fingerprint.check(output / HOME, resolved.fingerprint)
        records = {one.chunk: one for one in Ledger(output).records()}
    return _plan(resolved.job, records, rules)


def run(resolved: Resolved, options: RunOptions) -> Outcome:
    """Run a job: lock, recover, plan, execute, report.

    Returns:
        what happened; its exit code is 0, 3, 130 or 143. It has been saved as run.json.

    Raises:
        LockedError: another run holds the output directory.
        ResnetPipeError: the run could not finish; what was committed stays.
    """
    started_at, started = datetime.now(timezone.utc), time.perf_counter()
    output = resolved.job.writer.path
    with _explained(output), on_signals() as stop:
        home = output / HOME
        (home / "ledger").mkdir(parents=True, exist_ok=True)
        part = options.rules.part
        with output_lock(home, (part.index, part.count) if part else None):
            ledger = Ledger(output, f"{part.index}of{part.count}" if part else "")
            records = _open_output(resolved, ledger, options.fresh)
            plan = _plan(resolved.job, records, options.rules)
            progress = make_progress(plan.planned, options.quiet)
            try:
                execution = _Execution(resolved, ledger, plan, stop, progress)
                execution.run()
            finally:
                progress.close()
            _write_failures(output, ledger)
            outcome = execution.outcome(started_at, time.perf_counter() - started)
            directory = home / "runs" / started_at.strftime("%Y-%m-%dT%H-%M-%S.%fZ")
            directory.mkdir(parents=True)
            record.save(outcome, directory, _job_yaml(resolved.job))
            return outcome


class _Execution:
    """The part of a run between plan and report."""

    def __init__(
        self, resolved: Resolved, ledger: Ledger, plan: Plan, stop: Stop, progress: Progress
    ) -> None:
        self._resolved = resolved
        self._ledger = ledger
        self._plan = plan
        self._stop = stop
        self._progress = progress
        self._counts = Counts()
        self._clocks = {stage: StageClock() for stage in STAGES}
        self._done = self._failed = 0
        self._engine: engines.EngineInfo | None = None
        self._warmup_s = self._run_seconds = 0.0
        self._workers = 0
        self._worker_rss_kb: dict[int, int] = {}

    def run(self) -> None:
        """Load the engine and process the plan; nothing is loaded if there is nothing to do."""
        if self._plan.chunk_count == 0:
            return
        job = self._resolved.job
        cores = available_cores()
        tasks = -(-self._plan.planned // job.infer.batch_size)
        self._workers = max(1, min(cores if job.run.workers == "auto" else job.run.workers, tasks))
        for stage in ("reader", "preprocess"):
            self._clocks[stage].lanes = self._workers
        shape = SlotShape(self._workers, SLOTS_PER_WORKER, job.infer.batch_size, self._resolved.geometry.crop)
        reader = ImageReader.from_section(job.reader)
        pool = WorkerPool(reader, self._resolved.geometry, shape, job.reader.timeout_s)
        try:
            engine = self._load(cores)
            self._process(pool, engine)
        finally:
            pool.close()

    def _load(self, cores: int) -> engines.Engine:
        resolved, started = self._resolved, time.perf_counter()
        infer = resolved.job.infer
        engine = engines.load(
            infer.engine,
            EngineRequest(
                model=resolved.model.path,
                preprocessing=resolved.preprocessing,
                outputs=resolved.outputs,
                batch_size=infer.batch_size,
                device=infer.device,
                precision=infer.precision,
                threads=cores,
            ),
        )
        self._warmup_s = time.perf_counter() - started
        self._engine = engine.describe()
        return engine

    def _process(self, pool: WorkerPool, engine: engines.Engine) -> None:
        job = self._resolved.job
        committer = Committer(self._resolved, self._ledger, self._clocks["writer"], self._on_commit)
        pipeline = Pipeline(
            pool, engine, committer, self._clocks, self._counts, job.infer.batch_size, self._progress.say
        )
        started = time.perf_counter()
        try:
            pipeline.run(
                self._plan.chunks(),
                self._stop,
                grace_s=30.0,
                max_failures=self._plan.planned,
                tick=self._tick,
            )
        finally:
            self._run_seconds = time.perf_counter() - started
            self._worker_rss_kb = pipeline.peak_rss_kb
        self._tick()

    def _tick(self) -> None:
        seen = self._counts.items + self._counts.failures
        self._progress.update(seen, self._counts.items, self._counts.failures)

    def _on_commit(self, committed: Committed) -> None:
        self._done += committed.done
        self._failed += committed.failed
        self._counts.chunks += 1

    def outcome(self, started_at: datetime, seconds: float) -> Outcome:
        """Return what happened."""
        if self._stop.signal is not None:
            code = self._stop.exit_code
        else:
            code = ExitCode.SOME_FAILED if self._failed else ExitCode.DONE
        return Outcome(
            resolved=self._resolved,
            plan=self._plan,
            engine=self._engine,
            clocks=self._clocks,
            started_at=started_at,
            seconds=seconds,
            run_seconds=self._run_seconds,
            warmup_s=self._warmup_s,
            done=self._done,
            failed=self._failed,
            items=self._counts.items,
            workers=self._workers,
            worker_rss_kb=self._worker_rss_kb,
            exit_code=code,
        )


def _plan(job: Job, records: dict[str, Record], rules: Rules) -> Plan:
    plan = make_plan(ImageReader.from_section(job.reader).list_sources(), records, job.run.chunk_items, rules)
    if plan.listed == 0 and rules.part is None and not job.reader.allow_empty:
        places = ", ".join(map(str, job.reader.path))
        before = f", but {plan.disappeared} sources were there before" if plan.disappeared else ""
        raise RunError(
            f"no images found in {places}{before}",
            "check that the disk is mounted and the path is right; reader.allow_empty: true accepts this",
        )
    return plan


def _open_output(resolved: Resolved, ledger: Ledger, fresh: bool) -> dict[str, Record]:
    """Recover from a crash, check what is there, and return the records by chunk."""
    home = ledger.output / HOME
    ledger.recover()
    if fresh:
        for old in list(ledger.records()):
            ledger.remove(old)
        (home / fingerprint.NAME).unlink(missing_ok=True)
    fingerprint.check(home, resolved.fingerprint)
    records = {}
    for one in ledger.records():
        if (ledger.output / one.shard).is_file():
            records[one.chunk] = one
        else:
            ledger.remove(one)  # its rows are gone: its sources are new again
    fingerprint.save(home, resolved.fingerprint)
    return records


def _write_failures(output: Path, ledger: Ledger) -> None:
    with atomic.replacing(output / "failures.jsonl") as path, path.open("w", encoding="utf-8") as file:
        for line in failure_lines(ledger.records()):
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _job_yaml(job: Job) -> str:
    from io import StringIO

    from ruamel.yaml import YAML

    text = StringIO()
    YAML(typ="safe", pure=True).dump(job.model_dump(mode="json"), text)
    return text.getvalue()


@contextmanager
def _explained(output: Path) -> Iterator[None]:
    """Turn what the disk refuses into an error that says what to do."""
    try:
        yield
    except OSError as error:
        place = error.filename or output
        raise RunError(
            f"cannot go on: {place}: {error.strerror or error}",
            "free space or make it writable, then run the same command again: nothing committed is lost",
        ) from error
