"""What the figures of a depth study say: in sentences, and beside another study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from resnet_pipe.study.figures import Entry, Point, Study, rate, turning_point


def findings(study: Study) -> list[str]:
    """Return the sentences shown above the figures, at least one."""
    said = [sentence for engine in engines(study) for sentence in _of_engine(study, engine)]
    said += _engines_compared(study)
    if study.sizes and not study.size:
        sizes = ", ".join(f"{size} in {name}" for name, size in _sizes(study).items())
        said.append(f"Not only depth differs: the networks were converted for images up to {sizes}.")
    if study.failed:
        depths = ", ".join(f"{study.name(failed)} ({failed.engine})" for failed in study.failed)
        said.append(f"Not measured: {depths}.")
    return said or ["Nothing was measured."]


def engines(study: Study) -> list[str]:
    """Return the engines of a study, in the order in which they were asked for."""
    return list(dict.fromkeys(entry.setting.engine for entry in study.entries))


def of_engine(study: Study, engine: str) -> list[Entry]:
    """Return the entries of an engine, by depth."""
    mine = (entry for entry in study.entries if entry.setting.engine == engine)
    return sorted(mine, key=lambda entry: entry.network.depth)


def _of_engine(study: Study, engine: str) -> Iterator[str]:
    entries = of_engine(study, engine)
    first, last = entries[0], entries[-1]
    precision = first.setting.precision
    if len(entries) == 1:
        name = study.name(first.network)
        yield f"{name} runs at {_rate(first)} images/s in {engine} ({precision})."
        yield from _largest_part(study, first)
        return
    start, end = first.stages["infer"].busy_ms, last.stages["infer"].busy_ms
    growth = f"{end / start:.1f}x" if start else "from nothing"
    reading = _range([entry.stages["reader"].busy_ms for entry in entries])
    yield (
        f"{engine} ({precision}): from {study.name(first.network)} to {study.name(last.network)},"
        f" inference time grows {growth}, from {start:.1f} to {end:.1f} ms per image, while reading"
        f" {'takes' if ' ' in reading else 'stays'} {reading} ms;"
        f" {_rate(first)} images/s drop to {_rate(last)}."
    )
    yield _limit(study, entries)
    known = sorted((entry.gflops, study.name(entry.network)) for entry in entries if entry.gflops)
    if known:
        (least, worst), (most, best) = known[0], known[-1]
        yield f"{best} uses the machine best, {most:.0f} GFLOP/s; {worst} reaches {least / most:.0%} of that."
    yield from _largest_part(study, last)
    points = [point for point in study.batch_sizes if point.engine == engine]
    curves = [[p for p in points if p.depth == depth] for depth in sorted({p.depth for p in points})]
    if curves:
        yield _batch_sizes(study, curves)


def _largest_part(study: Study, entry: Entry) -> Iterator[str]:
    """Say which part of the infer stage takes the most time, of a network that finds objects."""
    if entry.parts:
        part = max(entry.parts, key=entry.parts.__getitem__)
        taken, every = entry.parts[part], sum(entry.parts.values()) or 1.0
        yield (
            f"{study.name(entry.network)} spends the most time in {part}: {taken:.1f} ms per image,"
            f" {taken / every:.0%} of infer."
        )


def _limit(study: Study, entries: Sequence[Entry]) -> str:
    what = "inference" if entries[0].parts else "the network"
    turn = turning_point(entries)
    if turn is not None:
        return f"From {study.networks.name(turn)} on, {what} is the bottleneck; before, it is reading."
    limits = {entry.bottleneck for entry in entries}
    if limits == {"infer"}:
        return f"{what.capitalize()} is the bottleneck at every depth."
    if len(limits) == 1:
        return (
            f"The bottleneck is {limits.pop()} at every depth: a deeper network costs little or nothing here."
        )
    limited = ", ".join(f"{entry.bottleneck} in {study.name(entry.network)}" for entry in entries)
    return f"The bottleneck: {limited}."


def _batch_sizes(study: Study, curves: Sequence[Sequence[Point]]) -> str:
    tops = [max(curve, key=lambda point: point.images_per_s) for curve in curves]
    ones = [min(curve, key=lambda point: point.batch_size) for curve in curves]
    shares = [one.images_per_s / top.images_per_s for one, top in zip(ones, tops, strict=True)]
    top, one = tops[0], ones[0]
    if len(curves) == 1:
        said = (
            f"{study.name(top)} is fastest with batches of {top.batch_size}: {rate(top.images_per_s)}"
            f" images/s, {top.latency.p50:.0f} ms per batch"
        )
        if one is not top:
            said += f"; batches of {one.batch_size} give {shares[0]:.0%} of that, in {one.latency.p50:.0f} ms"
        return f"{said}."
    if len({point.batch_size for point in tops}) > 1:
        sizes = ", ".join(f"{point.batch_size} in {study.name(point)}" for point in tops)
        return f"The fastest batch size: {sizes}."
    return (
        f"Batches of {top.batch_size} are the fastest at every depth; batches of {one.batch_size}"
        f" give {min(shares):.0%} to {max(shares):.0%} of that."
    )


def _engines_compared(study: Study) -> Iterator[str]:
    first, *others = engines(study) or [""]
    base = {entry.network.depth: entry for entry in of_engine(study, first)}
    for other in others:
        both = [entry for entry in of_engine(study, other) if entry.network.depth in base]
        ratios = [entry.images_per_s.median / base[entry.network.depth].images_per_s.median for entry in both]
        if ratios:
            yield f"{other} is {_range(ratios)} times as fast as {first}, end to end."


def compare(first: Study, second: Study) -> str:
    """Return two studies, of machines, engines, or before and after, side by side for a terminal.

    That is what differs between them, and a line for each depth that both have on the same engine; or on any
    engines, if each study has one.
    """
    lines = []
    fields, both = {"job", "sources", "items", "repeats"}, first.sizes.keys() & second.sizes.keys()
    a, b = (
        {
            "networks": study.networks.called,
            **study.model_dump(include=fields),
            **{f"images in {name}": f"up to {size}" for name, size in _sizes(study).items() if name in both},
            **study.machine,
        }
        for study in (first, second)
    )
    for name in dict.fromkeys((*a, *b)):
        one, other = a.get(name, "unknown"), b.get(name, "unknown")
        if one != other:
            lines.append(f"A and B differ: {name}: {one} and {other}")
    width = max([10, *(len(first.name(entry.network)) for entry in first.entries)]) + 1
    lines.append(
        f"{'model':<{width}}{'A':<24}{'B':<24}{'images/s A':>11}{'B':>9}{'B / A':>8}"
        f"{'infer ms A':>12}{'B':>8}{'MB A':>8}{'B':>7}"
    )
    several = len(engines(first)) > 1 or len(engines(second)) > 1
    pairs = [
        f"{first.name(one.network):<{width}}{_side_by_side(one, other)}"
        for one, other in product(first.entries, second.entries)
        if first.family == second.family
        and one.network.depth == other.network.depth
        and (one.setting.engine == other.setting.engine or not several)
    ]
    return "\n".join([*lines, *(pairs or ["the two studies share no network on the same engine"])])


def _sizes(study: Study) -> dict[str, str]:
    """Return the largest image of each network that takes many sizes, in words."""
    return {name: "{} x {}".format(*size) for name, size in study.sizes.items()}


def _side_by_side(one: Entry, other: Entry) -> str:
    a, b = one.images_per_s.median, other.images_per_s.median
    settings = [
        f"{setting.engine} {setting.precision} {setting.device}"[:23]
        for setting in (one.setting, other.setting)
    ]
    return (
        f"{settings[0]:<24}{settings[1]:<24}"
        f"{rate(a):>11}{rate(b):>9}{b / a:>8.2f}"
        f"{one.stages['infer'].busy_ms:>12.2f}{other.stages['infer'].busy_ms:>8.2f}"
        f"{one.peak_rss_mb:>8.0f}{other.peak_rss_mb:>7.0f}"
    )


def _rate(entry: Entry) -> str:
    return rate(entry.images_per_s.median)


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.1f}", f"{max(values):.1f}"
    return low if low == high else f"{low} to {high}"
