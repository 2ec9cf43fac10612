"""The text of a record gives it back, whatever sources are called; cut off or changed, it is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_pipe.errors import RunError
from resnet_pipe.ledger import record as records
from resnet_pipe.ledger.record import Canary, Entries, Entry, Failure, File, Record
from resnet_pipe.reader.source import Source

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["failure", '"failure": {', "\\xff", '", "sha256": "', "𝄞\n"]
)
_FILES = st.lists(st.builds(File, _TEXT, _TEXT), max_size=2).map(tuple)


@st.composite
def _entries(draw: st.DrawFn) -> Entry:
    source = Source(draw(_TEXT), draw(st.integers(0)), draw(st.integers()))
    failed = draw(st.booleans())
    return Entry(
        source,
        draw(st.integers(0)),
        Failure(source.key, draw(_TEXT), draw(_TEXT), draw(_TEXT)) if failed else None,
        draw(_FILES),
        draw(st.integers(1, 9)) if failed else 1,
        draw(st.lists(_TEXT, max_size=2).map(tuple)),
    )


_SOURCES = st.lists(_entries(), max_size=6, unique_by=lambda entry: entry.source.key).map(
    lambda entries: sorted(entries, key=lambda entry: entry.source.key)
)
_RECORDS = st.builds(
    Record,
    _TEXT,
    _FILES,
    _TEXT,
    _TEXT,
    _SOURCES.map(Entries.of),
    st.none() | st.just(Canary(4, "opencv", 0.5, None)),
    _TEXT,
)


@given(_SOURCES)
def test_columns_give_back_the_entries_that_they_were_made_of(given_entries: list[Entry]) -> None:
    made = Entries.of(given_entries)
    assert list(made) == given_entries
    assert len(made) == len(given_entries)
    assert list(made.detailed) == [
        entry for entry in given_entries if entry.failure or entry.files or entry.notes
    ]


@given(_RECORDS)
def test_what_is_written_is_what_is_read(record: Record) -> None:
    text = records.dump(record, [])
    assert records.parse("here", text) == record
    files = [file for entry in record.entries for file in entry.files]
    assert record.files == (*record.shards, *files)
    assert record.rows == sum(entry.rows for entry in record.entries)


@given(_RECORDS, st.data())
def test_a_text_that_is_cut_off_or_changed_is_refused(record: Record, data: st.DataObject) -> None:
    text = records.dump(record, [])
    with pytest.raises(RunError, match="here: unreadable ledger record"):
        records.parse("here", text[: data.draw(st.integers(0, len(text) - 1))])
    place = data.draw(st.integers(text.index(b'"chunk"'), len(text) - 1))  # version 1 had no checksum
    other = bytes([text[place] ^ data.draw(st.integers(1, 255))])
    with pytest.raises(RunError, match="here: unreadable ledger record"):
        records.parse("here", text[:place] + other + text[place + 1 :])
