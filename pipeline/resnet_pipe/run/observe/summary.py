"""What a run tells its user at the end: what happened, where the time went, where the results are."""

from __future__ import annotations

from resnet_pipe.errors import ExitCode
from resnet_pipe.run.observe.clock import STAGES, utilisation
from resnet_pipe.run.observe.outcome import Outcome
from resnet_pipe.study.figures import rate

ADVICE = {
    "reader": "to speed up decoding: more cores (run.workers), or preprocess.mode: fast",
    "preprocess": "to speed up resizing: more cores (run.workers), or preprocess.mode: fast",
    "infer": "to speed it up: a shallower model, a GPU (infer.device: cuda) or more cores",
    "writer": "to speed it up: fewer or cheaper writers (drawing labels costs most), or a faster disk",
}
"""What to change when a stage is the bottleneck."""


def summary(outcome: Outcome, stages: bool = True) -> str:
    """Return what a run tells its user at the end: what happened, the stage table, where the results are.

    Without `stages`, there is no table, which only a terminal shows well.
    """
    output = outcome.resolved.job.output
    plan, effort = outcome.plan, outcome.effort
    partial = f", {outcome.counts.partial} partial" if outcome.counts.partial else ""
    skipped = f", {plan.done_before} already done" if plan.done_before else ""
    skipped += f", {plan.failed_before} failed before (unchanged)" if plan.failed_before else ""
    lines = [f"{sources(outcome.counts.done)} done{partial}, {outcome.counts.failed} failed{skipped}"]
    if effort.engine is not None:
        engine, seconds = effort.engine, effort.run_seconds
        what = f"{outcome.resolved.job.reader.description.item}s"
        lines[0] += f"; {effort.items} {what} in {seconds:.1f} s, {rate(effort.items_per_second)} {what}/s"
        video = outcome.video()
        if video is not None:
            lines.append(
                f"video: {video['frames_decoded']} frames decoded, {video['frames_used']} used;"
                f" {video['seconds']:.1f} s of video, {video['real_time_factor']:.1f} times real time"
            )
        lines.append(
            f"engine: {engine.name} {engine.version}, {engine.device}, {engine.precision} ({engine.proof})"
        )
        if len(effort.devices) > 1:
            lines += [
                f"device {index} ({use.place}): {use.describe(what, seconds)}"
                for index, use in enumerate(effort.devices)
            ]
        lines.append(f"model: {outcome.resolved.model.name}, {outcome.resolved.metadata['weights']}")
        if stages:
            lines += ["", table(outcome), ""]
    if outcome.counts.noted:
        lines.append(f"notes: on {sources(outcome.counts.noted)}, see source_noted in the run's log.jsonl")
    lines.append(f"results: {output}")
    if outcome.report is not None:
        lines.append(f"report: {outcome.report}")
    elif outcome.resolved.job.run.report:
        lines.append(f"no report: {outcome.no_report}")
    now, earlier = outcome.counts.failed + outcome.counts.partial, _earlier_failures(outcome)
    if now and _is_apart(outcome):
        lines.append(f"failures of the new results: {outcome.failures}")
        now = 0
    if now or earlier:
        whose = f"{now} from this run, {earlier}" if now and earlier else earlier
        lines.append(f"failures: {whose}{whose and ': '}{output / 'failures.jsonl'}")
    if outcome.exit_code is ExitCode.WINDOW_ENDED:
        left = f"{sources(outcome.remaining)} left"
        if not outcome.remaining:
            left = "rows of sources that have disappeared are still to be removed"
        lines.append(f"the window ended: {left}; the same command continues")
    if outcome.unfinished:
        lines.append(f"not finished: {outcome.unfinished}")
    return "\n".join(lines)


def warning(outcome: Outcome) -> str:
    """Return what must be said even in a quiet run, if sources failed in it."""
    partial = f", {outcome.counts.partial} partial" if outcome.counts.partial else ""
    earlier = _earlier_failures(outcome)
    failed = f"{sources(outcome.counts.failed)} failed{partial}{earlier and f' ({earlier})'}"
    return f"{failed}: {outcome.failures}"


def _earlier_failures(outcome: Outcome) -> str:
    own = 0 if _is_apart(outcome) else outcome.counts.failed + outcome.counts.partial
    return outcome.standing.of_earlier_runs(own) if outcome.standing else ""


def _is_apart(outcome: Outcome) -> bool:
    """Tell whether what this run has done is not in the results, but in new ones that are not complete."""
    return outcome.failures != str(outcome.resolved.job.output / "failures.jsonl")


def sources(count: int) -> str:
    """Return a number of sources in words."""
    return f"{count} source{'' if count == 1 else 's'}"


def table(outcome: Outcome) -> str:
    """Return the stage table for a terminal, and one sentence that names the bottleneck."""
    clocks = outcome.effort.all_clocks
    total = sum(clock.busy_s for clock in clocks.values()) or 1.0
    lines = [f"{'stage':<11}{'busy':>9}{'share':>8}{'ms/item':>10}{'waiting':>10}"]
    for stage in STAGES:
        clock = clocks[stage]
        waiting = clock.wait_in_s + clock.wait_out_s
        per_item = 1000 * clock.busy_s / clock.items if clock.items else 0.0
        lines.append(
            f"{stage:<11}{clock.busy_s:>7.2f} s{clock.busy_s / total:>7.0%}{per_item:>10.2f}{waiting:>8.2f} s"
        )
        if stage == "infer":
            lines += [
                f"  {name:<9}{seconds:>7.2f} s{seconds / total:>7.0%}{1000 * seconds / clock.items:>10.2f}"
                for name, seconds in outcome.effort.infer_parts.items()
                if clock.items
            ]
    limit = outcome.bottleneck
    if limit is not None:
        busy = utilisation(clocks[limit], outcome.effort.run_seconds)
        lines.append(f"bottleneck: {limit}, busy {min(busy, 1):.0%} of the run; {ADVICE[limit]}")
    return "\n".join(lines)
