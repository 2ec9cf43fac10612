"""What planning has found, for people: what there is to do, how long it takes, where the time will go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from pydantic import ByteSize

from resnet_pipe.cli.table import padded, widths, wrapped
from resnet_pipe.errors import ExitCode
from resnet_pipe.report.one_line import on_one_line
from resnet_pipe.run.observe.summary import ADVICE
from resnet_pipe.study.figures import rate
from resnet_pipe.study.forecast import Forecast
from resnet_pipe.study.interval import Interval
from resnet_pipe.study.planned import Planned, Row

_WIDTH, _NAME = 80, 10
"""Columns of a line, and of what it is about."""
_FINISHES = {"surely": "surely", "perhaps": "perhaps: it may take longer", "no": "no"}
_ENOUGH = {"surely": "enough", "perhaps": "perhaps not enough", "no": "not enough"}


def summary(planned: Planned) -> str:
    """Return all of it: a line for each figure, or a table of several candidates."""
    lines = [*_to_do(planned)]
    if not planned.rows:
        return "\n".join([*lines, "nothing new: a run would be done at once"])
    several = len(planned.rows) > 1
    lines += ["", *_table(planned), ""] if several else _forecast(planned, planned.rows[0])
    if several and (verdict := _verdict(planned)):
        lines.append(verdict)
    lines += [_line("note", note) for note in planned.notes]
    if planned.exit_code is not ExitCode.DONE:
        lines.append("stopped: this is what had been measured until then")
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Return a duration in words, with two or three digits."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if whole < 600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    if minutes < 120:
        return f"{minutes} min"
    hours = round(seconds / 3600)
    if hours < 48:
        return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"
    return f"{hours // 24} d {hours % 24} h" if hours % 24 else f"{hours // 24} d"


def _short(seconds: float) -> str:
    """Return the same in fewer columns, such as 1h12m."""
    return duration(seconds).replace(" min", "m").replace(" ", "")


def _line(name: str, text: str) -> str:
    lines = "\n".join(wrapped(on_one_line(text), _WIDTH, " " * _NAME))
    return padded(name, _NAME) + lines[_NAME:]


def _to_do(planned: Planned) -> Iterator[str]:
    to_do, plan = planned.to_do, planned.to_do.plan
    unit = planned.job.reader.description.source
    size = f", {_size(to_do.size)}" if to_do.size else ""
    failed = f", {plan.failed_before:,} failed before (unchanged)" if plan.failed_before else ""
    gone = f", {plan.disappeared:,} disappeared" if plan.disappeared else ""
    count = len(to_do)
    yield _line("to do", f"{count:,} {unit}{'' if count == 1 else 's'}{size}")
    yield _line("known", f"{plan.done_before:,} already done{failed}{gone}")
    if plan.passed_over:
        yield _line("", plan.passed_over.describe())
    if planned.items is not None and planned.items.are_frames:
        yield _line("items", f"{_numbers(planned.items.count)} {planned.job.reader.description.item}s")


def _forecast(planned: Planned, row: Row) -> Iterator[str]:
    told, aims = row.forecast, planned.aims
    if told is None:
        return
    item = planned.job.reader.description.item
    yield _line("time", f"{_durations(told.seconds, duration)}, expected {duration(told.seconds.expected)}")
    yield _line("", f"at {rate(told.items_per_second)} {item}s/s; {_measured(row)}")
    if told.failed.expected:
        yield _line("failures", f"{_numbers(told.failed)} sources, if they fail as those that were tried")
    shares = ", ".join(f"{stage} {share:.0%}" for stage, share in told.stages.items())
    yield _line("work", f"{shares}; {told.bottleneck} limits")
    yield _line("", ADVICE[told.bottleneck])
    yield _line("memory", f"{_size(told.memory.expected)}, all processes together")
    yield _line("output", _output(planned, told))
    if aims.price is not None:
        million = told.cost_of_a_million(aims.price).expected
        yield _line("cost", f"{_costs(told.cost(aims.price))}; of a million {item}s {_cost(million)}")
    if aims.until is not None and row.finishes is not None:
        yield _line("finishes", f"by {_clock(aims.until)}: {_FINISHES[row.finishes]}")


def _output(planned: Planned, told: Forecast) -> str:
    text, room = _size(told.output.expected), planned.aims.room
    if room is None:
        return text
    free = f"{_size(room.free)} free, run.min_free {_size(room.min_free)}"
    return f"{text}; {free}: {_ENOUGH[room.enough(told)]}"


def _measured(row: Row) -> str:
    items = sum(one.items for one in row.candidate.trials)
    return f"measured in {len(row.candidate.trials)} trials with {items:,} items"


def _table(planned: Planned) -> Iterator[str]:
    """Yield a line for each candidate, and above them what the columns are."""
    aims, item = planned.aims, planned.job.reader.description.item
    titles = ["candidate", "time", f"{item}s/s", "memory"]
    titles += ["cost"] if aims.price is not None else []
    titles += [f"by {_clock(aims.until)}"] if aims.until is not None else []
    rows = [_cells(planned, row, len(titles)) for row in planned.rows]
    columns = widths([titles, *rows])
    for cells, row in zip([titles, *rows], [None, *planned.rows], strict=True):
        if row is not None and row.forecast is None:
            yield f"{padded(cells[0], columns[0])}  failed: {on_one_line(row.candidate.failure or '')}"
        else:
            numbers = (
                padded(cell, own, right=True) for cell, own in zip(cells[1:], columns[1:], strict=True)
            )
            yield "  ".join([padded(cells[0], columns[0]), *numbers])


def _cells(planned: Planned, row: Row, columns: int) -> list[str]:
    """Return the cells of a candidate: empty ones after its name if it failed."""
    told, aims = row.forecast, planned.aims
    if told is None:
        return [_name(planned, row), *[""] * (columns - 1)]
    cells = [_name(planned, row), _durations(told.seconds, _short), rate(told.items_per_second)]
    cells.append(_size(told.memory.expected))
    cells += [_cost(told.cost(aims.price).expected)] if aims.price is not None else []
    return cells + ([str(row.finishes)] if aims.until is not None else [])


def _name(planned: Planned, row: Row) -> str:
    """Return what distinguishes a candidate from the others."""
    all_of_them = [other.candidate for other in planned.rows]
    one = row.candidate
    if len({each.engine for each in all_of_them}) == 1:
        return on_one_line(one.model)
    one_model = len({each.model for each in all_of_them}) == 1
    return one.engine if one_model else on_one_line(f"{one.model}, {one.engine}")


def _verdict(planned: Planned) -> str:
    best, until = planned.best, planned.aims.until
    several = len({row.candidate.model for row in planned.rows}) > 1
    if best is not None:
        name = _name(planned, best)
        if several and until is not None:
            return f"best: {name}, the slowest of these models that surely finishes by {_clock(until)}"
        return f"best: {name}, the fastest"
    return f"none of these surely finishes by {_clock(until)}" if several and until is not None else ""


def _durations(interval: Interval, in_words: Callable[[float], str]) -> str:
    low, high = in_words(interval.low), in_words(interval.high)
    return low if low == high else f"{low} to {high}"


def _numbers(interval: Interval) -> str:
    low, high = f"{interval.low:,.0f}", f"{interval.high:,.0f}"
    return low if low == high else f"{low} to {high}"


def _costs(interval: Interval) -> str:
    low, high = _cost(interval.low), _cost(interval.high)
    return low if low == high else f"{low} to {high}"


def _cost(amount: float) -> str:
    return f"{amount:,.2f}" if amount >= 1 else f"{amount:.2g}"


def _clock(moment: float) -> str:
    """Return a moment on the local clock: the time of day, with the date if that is not today."""
    there = datetime.fromtimestamp(moment)
    return f"{there:%H:%M}" if there.date() == datetime.now().date() else f"{there:%Y-%m-%d %H:%M}"


def _size(count: float) -> str:
    return ByteSize(count).human_readable(separator=" ")
