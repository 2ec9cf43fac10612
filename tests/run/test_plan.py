"""Plans, for any listing and any ledger: every source is processed once, or is already done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from resnet_pipe.ledger.record import Entries, Entry, Failure, Record
from resnet_pipe.reader.source import Source
from resnet_pipe.run.plan import Chunk, Division, Plan, Rules, make_plan
from resnet_pipe.run.source_table import SourceTable

Records = dict[str, Record]
Listing = Mapping[str, int]
"""key -> mtime: what is on the disk."""


@dataclass(frozen=True)
class Round:
    """One run: what it finds, which sources fail, how it is started, and whether a shard is lost later."""

    listing: Listing
    failing: Set[str]
    chunk_items: int
    divisions: int
    retry_failed: bool
    prune: bool
    loses_a_shard: bool = False


_KEYS = st.sampled_from([f"{number:02d}.jpg" for number in range(20)]) | st.sampled_from(
    ["ä", "\\xff", "𝄞 \n"]
)
_ROUNDS = st.builds(
    Round,
    st.dictionaries(_KEYS, st.sampled_from([0, 1, -11_644_473_600 * 10**9 + 7, 2**62 * 10**9 - 1])),
    st.frozensets(_KEYS, max_size=4),
    st.integers(1, 7),
    st.integers(0, 4),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)


def sources(listing: Listing) -> list[Source]:
    return [Source(key, 7, listing[key]) for key in sorted(listing)]


def plans(records: Records, run: Round) -> list[Plan]:
    """Return the plans of all divisions that run at the same time; one plan for a whole job."""
    divisions: list[Division | None] = [
        Division(index, run.divisions) for index in range(1, run.divisions + 1)
    ]
    rules = [Rules(run.retry_failed, run.prune, division) for division in divisions or [None]]
    return [make_plan(sources(run.listing), records, run.chunk_items, rule) for rule in rules]


def chunks(records: Records, run: Round) -> list[Chunk]:
    return [chunk for plan in plans(records, run) for chunk in plan.chunks()]


def committed(chunk: Chunk, failing: Set[str]) -> Record:
    """Return the record that a run leaves of a chunk."""
    entries = [
        Entry(source, 0, Failure(source.key, "reader", "empty", ""))
        if source.key in failing
        else Entry(source, 1)
        for source in chunk.sources
    ]
    entries = sorted([*entries, *chunk.kept], key=lambda entry: entry.source.key)
    return Record(chunk.id, (), "", "", Entries.of(entries))


def after(records: Records, run: Round) -> Records:
    return records | {chunk.id: committed(chunk, run.failing) for chunk in chunks(records, run)}


def ledger_after(rounds: list[Round]) -> Records:
    records: Records = {}
    for run in rounds:
        records = after(records, run)
        if run.loses_a_shard and records:
            del records[min(records)]
    return records


def entries(records: Records) -> dict[str, Entry]:
    """Return the entry of each key, which must be the only one."""
    found = [entry for record in records.values() for entry in record.entries]
    assert all(count == 1 for count in Counter(entry.source.key for entry in found).values())
    return {entry.source.key: entry for entry in found}


@given(st.lists(_ROUNDS, max_size=4), _ROUNDS)
@settings(max_examples=300)
def test_every_source_is_in_one_chunk_or_is_already_done(before: list[Round], run: Round) -> None:
    records = ledger_after(before)
    known = entries(records)
    processed = Counter(source for chunk in chunks(records, run) for source in chunk.sources)
    for source in sources(run.listing):
        entry = known.get(source.key)
        done = entry is not None and entry.source == source and not (entry.failure and run.retry_failed)
        assert processed[source] == (0 if done else 1)
    assert set(processed) <= set(sources(run.listing))


@given(st.lists(_ROUNDS, max_size=4), _ROUNDS)
@settings(max_examples=300)
def test_the_figures_of_a_plan_are_those_of_its_chunks(before: list[Round], run: Round) -> None:
    records = ledger_after(before)
    made = plans(records, run)
    for plan in made:
        assert plan.planned == sum(len(chunk.sources) for chunk in plan.chunks())
        assert plan.chunk_count == len(list(plan.chunks()))
        assert plan.found == len(run.listing)
    assert sum(plan.planned + plan.skipped for plan in made) == len(run.listing)
    assert sum(plan.disappeared for plan in made) == len(entries(records).keys() - run.listing.keys())


@given(st.lists(_ROUNDS, max_size=4), _ROUNDS)
@settings(max_examples=300)
def test_after_a_run_the_ledger_has_what_is_there_and_the_next_run_has_nothing_to_do(
    before: list[Round], run: Round
) -> None:
    records = ledger_after(before)
    old, now = entries(records), after(records, run)
    expected = {key for key in old if not run.prune} | set(run.listing)
    assert entries(now).keys() == expected
    for source in sources(run.listing):
        assert entries(now)[source.key].source == source
    for key in expected - run.listing.keys():
        assert entries(now)[key] == old[key]
    again = Round(run.listing, frozenset(), run.chunk_items, run.divisions, False, run.prune)
    assert chunks(now, again) == []
    whole = Round(run.listing, frozenset(), 3, 0, False, run.prune)
    assert chunks(now, whole) == []


@given(st.lists(_ROUNDS, max_size=4), _ROUNDS)
@settings(max_examples=300)
def test_new_chunks_are_full_in_order_and_never_take_an_id_that_is_in_use(
    before: list[Round], run: Round
) -> None:
    records = ledger_after(before)
    ids = [chunk.id for chunk in chunks(records, run)]
    assert len(ids) == len(set(ids))
    for plan in plans(records, run):
        new = [chunk for chunk in plan.chunks() if chunk.replaces is None]
        assert all(len(chunk.sources) == run.chunk_items for chunk in new[:-1])
        assert all(1 <= len(chunk.sources) <= run.chunk_items for chunk in new)
        assert not {chunk.id for chunk in new} & records.keys()
        keys = [source.key for chunk in new for source in chunk.sources]
        assert all(one < next_ for one, next_ in pairwise(keys))


@given(st.lists(_ROUNDS, min_size=1, max_size=4), _ROUNDS)
@settings(max_examples=300)
def test_a_chunk_is_written_again_only_if_a_source_of_its_own_changed_or_goes(
    before: list[Round], run: Round
) -> None:
    records = ledger_after(before)
    for chunk in chunks(records, run):
        if chunk.replaces is None:
            assert chunk.kept == ()
            continue
        assert chunk.replaces == records[chunk.id]
        old = {entry.source.key: entry for entry in chunk.replaces.entries}
        kept = {entry.source.key for entry in chunk.kept}
        redone = {source.key for source in chunk.sources}
        gone = old.keys() - kept - redone
        assert redone or gone
        assert not kept & redone
        assert all(entry == old[entry.source.key] for entry in chunk.kept)
        assert gone == (old.keys() - run.listing.keys() if run.prune else set())


@given(st.integers(1, 9), st.text())
def test_every_text_belongs_to_exactly_one_division(count: int, text: str) -> None:
    assert sum(Division(index, count).owns(text) for index in range(1, count + 1)) == 1


_EIGHT_BYTES = st.integers(-(2**63), 2**63 - 1)


@given(
    st.lists(st.builds(Source, st.text(st.characters(exclude_categories=["Cs"])), _EIGHT_BYTES, _EIGHT_BYTES))
)
@example([Source("", 0, 0), Source("a/\n\\xff 𝄞", 2**63 - 1, -1), Source("", 0, 0)])
def test_a_table_of_sources_gives_back_what_was_put_in(given_sources: list[Source]) -> None:
    table = SourceTable()
    for source in given_sources:
        table.append(source)
    assert len(table) == len(given_sources)
    assert list(table) == given_sources
    assert list(table) == given_sources
