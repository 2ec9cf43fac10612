"""The difference of two directories as a table for people."""

from __future__ import annotations

from collections.abc import Iterator

from resnet_pipe.study.agreement import digits
from resnet_pipe.study.difference import Difference, Side, name, number, one_line
from resnet_pipe.study.neighbours import NEAREST

_WIDTH = 32
"""Characters for the first value of how a directory was made; a longer one has a line of its own."""
_DIGITS = 16
"""Of a hash: enough to tell one from another."""


def table(found: Difference) -> str:
    """Return it in lines."""
    lines = [f"A: {_directory(found.a)}", f"B: {_directory(found.b)}"]
    lines.append(f"compared: {number(found.common_rows, 'row')} that both have")
    for letter, side in (("A", found.a), ("B", found.b)):
        if side.only_rows:
            lines.append(f"only in {letter}: {_only(side)}")
    if found.made_differently:
        lines += ["", f"{'made with':<27}{'A':<{_WIDTH}}  B"]
        for what, pair in found.made_differently.items():
            lines += _made(what, *("unknown" if value is None else one_line(value) for value in pair))
    lines += ["", *_figures(found)]
    if found.similarity and found.similarity.worst:
        lines += ["", f"{'cosine':<11}{'1 - cosine':<12}least similar {found.similarity.of}"]
        lines += [
            f"{digits(cosine):<11}{1 - cosine:<12.1e}{name(key)}" for key, cosine in found.similarity.worst
        ]
    if found.notes:
        lines += ["", *(f"note: {note}" for note in found.notes)]
    if found.judgement:
        lines += ["", _verdict(found)]
    return "\n".join(lines)


def _figures(found: Difference) -> Iterator[str]:
    if found.similarity:
        yield _line(found.similarity.of, "cosine similarity, smallest", digits(found.similarity.min))
        yield _line("", "mean", digits(found.similarity.mean))
    near = found.neighbours
    if near and near.shared is not None:
        yield _line(
            "features",
            f"{NEAREST} nearest neighbours shared",
            f"{near.shared:.1%}",
            f" of {near.rows:,} rows",
        )
    elif near:
        yield _line("features", f"{NEAREST} nearest neighbours shared", "skipped", f": {near.skipped}")
    if found.classes:
        yield _line("top_k", "same best class", f"{found.classes.same_best:.1%}")
        yield _line("", f"best {found.classes.k} classes shared", f"{found.classes.shared:.1%}")
        largest = found.classes.max_score_difference
        text = "-" if largest is None else f"{largest:.1e}"
        yield _line("", "score of the best class, largest difference", text)


def _line(field: str, what: str, value: str, more: str = "") -> str:
    return f"{field:<10}{what:<45}{value:>9}{more}"


def _directory(side: Side) -> str:
    return f"{one_line(side.output)}, {number(side.rows, 'row')} of {number(side.sources, 'source')}"


def _only(side: Side) -> str:
    text = number(side.only_rows, "row")
    if side.only_sources:
        text += f", with all of {number(side.only_sources, 'source')}"
    more = side.only_rows - len(side.first)
    return f"{text}: {'; '.join(map(name, side.first))}" + (f"; and {more:,} more" if more else "")


def _made(what: str, a: str, b: str) -> list[str]:
    if what.endswith("sha256"):
        a, b = a[:_DIGITS], b[:_DIGITS]
    if len(a) <= _WIDTH:
        return [f"{what:<26} {a:<{_WIDTH}}  {b}"]
    return [f"{what:<26} {a}", f"{'':<26} {'':<{_WIDTH}}  {b}"]


def _verdict(found: Difference) -> str:
    judged = found.judgement
    assert judged is not None  # noqa: S101 - asked for only if there is one
    of = f"1 - cosine of {found.similarity.of}" if found.similarity else "0 for the same best class, else 1"
    text = f"--max {judged.accepted:g}: the largest difference is {judged.largest:.1e} ({of})"
    problems = [f"{number(judged.beyond, 'row')} beyond it"] if judged.beyond else []
    alone = found.a.only_rows + found.b.only_rows
    problems += [f"{number(alone, 'row')} on one side only"] if alone else []
    return f"{text}: {'FAIL, ' + ', '.join(problems) if problems else 'pass'}"
