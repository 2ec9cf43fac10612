"""YAML documents: every value knows its place, every problem is reported, and nothing hostile gets far."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from resnet_pipe.errors import DocumentError
from resnet_pipe.job.document import MAX_BYTES, Document, read


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Wheel(Part):
    kind: Literal["wheel"]
    spokes: int


class Wing(Part):
    kind: Literal["wing"]
    span_m: float


class Machine(Part):
    name: str
    seats: Annotated[Literal["many"] | Annotated[int, Field(ge=1)], Field()] = "many"
    colours: list[Literal["red", "blue"]] = []
    moves_on: Annotated[Wheel | Wing, Field(discriminator="kind")]


def document(folder: Path, text: str | bytes) -> Document:
    (folder / "d.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(folder / "d.yaml")


def values(folder: Path, text: str | bytes) -> dict[str, Any]:
    return document(folder, text).values


def problems(folder: Path, text: str, *overrides: str) -> list[str]:
    """Return what is wrong with a machine, without the folder in front of each place."""
    with pytest.raises(DocumentError) as caught:
        document(folder, text).with_overrides(overrides, "--set").validate(Machine, {})
    return [problem.removeprefix(f"{folder}/") for problem in caught.value.problems]


GOOD = "name: bike\nmoves_on: {kind: wheel, spokes: 32}\n"


def test_every_value_knows_its_line_and_column(tmp_path: Path) -> None:
    text = "a: 1\nb:\n  c: {d: 2,  e: 3}\n  f:\n    - x\n    - {g: 4}\n"
    where = document(tmp_path, text).where
    found = {
        place: where(place).rpartition("d.yaml:")[2]
        for place in (("a",), ("b", "c"), ("b", "c", "e"), ("b", "f", 1), ("b", "f", 1, "g"))
    }
    assert found == {
        ("a",): "1:1",
        ("b", "c"): "3:3",
        ("b", "c", "e"): "3:14",
        ("b", "f", 1): "6:7",
        ("b", "f", 1, "g"): "6:8",
    }


def test_what_stands_nowhere_is_where_its_section_is(tmp_path: Path) -> None:
    where = document(tmp_path, "a: 1\nb: {c: 2}\n").where
    assert where(("b", "missing")).endswith("d.yaml:2:1")
    assert where(("missing",)).endswith("d.yaml:1:1")


def test_all_problems_are_reported_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = "colours:\n  - red\n  - green\nmoves_on: {kind: wheel, spokes: some, spoks: 3}\nnmae: x\n"
    assert problems(tmp_path, text) == [
        "d.yaml:1:1: name is missing",
        "d.yaml:3:5: colours.1: input should be 'red' or 'blue'",
        "d.yaml:4:25: moves_on.spokes: input should be a valid integer, unable to parse string as an integer",
        "d.yaml:4:39: unknown key 'moves_on.spoks'; did you mean 'spokes'?",
        "d.yaml:5:1: unknown key 'nmae'; did you mean 'name'?",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"zzz: 1\n{GOOD}", "1:1: unknown key 'zzz'; valid keys: colours, moves_on, name, seats"),
        (f"12: 1\n{GOOD}", "1:1: unknown key '12'; valid keys: colours, moves_on, name, seats"),
        ("name: x\nmoves_on: {kind: leg, span_m: 1}\n", "2:12: moves_on.kind must be one of: wheel, wing"),
        ("name: x\nmoves_on: {span_m: 1}\n", "2:1: moves_on.kind is missing"),
        ("name: x\nmoves_on: wheel\n", "2:1: moves_on: expected keys and values"),
        ("name: x\nmoves_on: {kind: wing, spokes: 1, span_m: 2}\n", "2:24: unknown key 'moves_on.spokes'; "
         "valid keys: kind, span_m"),
        (f"{GOOD}seats: 0\n", "3:1: seats: input should be 'many'; or: input should be greater than or equal "
         "to 1"),
    ],
)  # fmt: skip
def test_each_kind_of_problem_is_one_line_with_its_place(tmp_path: Path, text: str, expected: str) -> None:
    assert problems(tmp_path, text) == [f"d.yaml:{expected}"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("off", "off"),
        ("y", "y"),
        ("2024-01-01", "2024-01-01"),
        ("12:30:45", "12:30:45"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("0o17", 15),
        ("017", 17),
        ("0x1F", 31),
        ("1e3", 1000.0),
        ("'7'", "7"),
        ("&anchor true", True),
        ("&anchor 0x1F", 31),
    ],
)
def test_scalars_are_those_of_yaml_1_2(tmp_path: Path, text: str, value: object) -> None:
    found = values(tmp_path, f"a: {text}\n")["a"]
    assert (found, type(found)) == (value, type(value))


def test_anchors_aliases_and_merge_keys_are_resolved_and_keep_a_place(tmp_path: Path) -> None:
    doc = document(tmp_path, "a: &a {x: 1}\nb: *a\nc:\n  <<: *a\n  y: 2\n")
    assert doc.values == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}
    assert doc.where(("c", "y")).endswith(":5:3")
    assert doc.where(("c", "x")).endswith(":4:3")


def test_a_byte_order_mark_and_the_line_ends_of_windows_are_accepted(tmp_path: Path) -> None:
    doc = document(tmp_path, "\ufeffa: x\r\nb: y\r\n".encode())
    assert doc.values == {"a": "x", "b": "y"}
    assert doc.where(("b",)).endswith(":2:1")


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['touch {proof}']",
        "!!python/object/new:os.system ['touch {proof}']",
        "!!python/object/apply:subprocess.check_call [[touch, '{proof}']]",
        "!!python/object:pathlib.Path {{name: x}}",
        "!!python/name:os.system",
        "!anything [1]",
    ],
)
def test_tags_construct_nothing(tmp_path: Path, tag: str) -> None:
    proof = tmp_path / "proof"
    found = values(tmp_path, f"a: {tag.format(proof=proof)}\n")["a"]
    assert not proof.exists()
    assert type(found) in (str, list, dict)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1:1: expected keys and values"),
        ("- a\n- b\n", ":1:1: expected keys and values"),
        ("just words\n", ":1:1: expected keys and values"),
        ("a: 1\nb: [1, 2\nc: 3\n", ":3:2: not valid YAML: "),
        ("a: 1\n\tb: 2\n", ":2:1: not valid YAML: "),
        ("a: 1\nb: 2\na: 3\n", ":3:1: not valid YAML: found duplicate key"),
        ("a: 1\n---\na: 2\n", ":2:1: not valid YAML: "),
        ("a: *nowhere\n", ":1:4: not valid YAML: found undefined alias"),
        (b"a: 1\nbc: \xff\n", ":2:5: not valid YAML: 'utf-8' codec"),
        ("x" * (MAX_BYTES + 1), ": larger than 1048576 bytes"),
    ],
)
def test_what_is_not_a_document_is_said_in_one_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        document(tmp_path, text)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{tmp_path}/d.yaml{message}")
    assert "\n" not in problem


def test_a_small_file_that_unfolds_into_billions_of_values_is_refused(tmp_path: Path) -> None:
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    for level in range(1, 10):
        text += f"a{level}: &a{level} [{', '.join(9 * [f'*a{level - 1}'])}]\n"
    with pytest.raises(DocumentError, match="alias bomb"):
        document(tmp_path, text)
    with pytest.raises(DocumentError, match="alias bomb"):
        document(tmp_path, "a: 1").with_overrides([f"b={{{text.strip().replace(chr(10), ', ')}}}"])


@pytest.mark.parametrize("name", ["nowhere.yaml", ".", "d.yaml/x"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "d.yaml").touch()
    with pytest.raises(DocumentError) as caught:
        read(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


@given(st.text(st.sampled_from(":-[]{}&*!|>'\"%@`#?, \n\tab1~<.\x85\ud800\x00"), max_size=60) | st.binary())
@settings(max_examples=400)
@example("a: &a\n  - *a\n")
@example("? {}\n: {}\n")
@example("? &a [*a]\n: 1\n")
def test_any_file_is_a_document_or_an_error_with_a_message(
    tmp_path_factory: pytest.TempPathFactory, data: str | bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(data if isinstance(data, bytes) else data.encode(errors="surrogatepass"))
    problems = []
    try:
        read(path).validate(Machine, {})
    except DocumentError as error:
        problems = error.problems
    assert all(problem.startswith(str(path)) for problem in problems)


# Without what only the escapes of YAML can write, and JSON does not escape.
_TEXT = st.text(st.characters(exclude_categories=["Cc", "Cn", "Cs", "Zl", "Zp"], exclude_characters="\ufeff"))
_SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT
)
_TREES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4)
)


@given(st.dictionaries(_TEXT, _TREES, min_size=1, max_size=4))
@example({"a": True, "b": 1, "c": 1.0, "d": "1", "e": "true", "f": "no", "g": "a\n\tb", "?": {"": "#"}})
def test_every_json_object_is_a_document_with_the_same_keys_values_and_types(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "tree.yaml"
    path.write_text(json.dumps(tree, ensure_ascii=False), encoding="utf-8")
    assert json.dumps(read(path).values) == json.dumps(tree)


def test_overrides_are_yaml_and_leave_everything_else_as_it_was(tmp_path: Path) -> None:
    before = document(tmp_path, "a: {b: 1, c: 2}\nd: 3\n")
    after = before.with_overrides(["a.b=[1, no, true]", "d=x=y", "e.f={g: 0o10}", "a.b=4", " h = "])
    assert after.values == {"a": {"b": 4, "c": 2}, "d": "x=y", "e": {"f": {"g": 8}}, "h": None}
    assert before.values == {"a": {"b": 1, "c": 2}, "d": 3}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seats=0", "--set seats: seats: input should be 'many'; or: input should be greater"),
        ("moves_on.spoks=3", "--set moves_on.spoks: unknown key 'moves_on.spoks'; did you mean 'spokes'?"),
        ("moves_on={kind: wheel, spokes: x}", "--set moves_on: moves_on.spokes: input should be a valid"),
        ("moves_on={kind: wheel}", "--set moves_on: moves_on.spokes is missing"),
        ("nothing.like.this=3", "--set nothing.like.this: unknown key 'nothing'; valid keys: colours"),
        ("name.first=x", "--set name.first: name is not a section"),
        ("colours.0=red", "--set colours.0: colours is not a section"),
        ("seats", "--set seats: expected key.key=value"),
        ("=3", "--set =: expected key.key=value"),
        ("moves_on..spokes=3", "--set moves_on..spokes=: expected key.key=value"),
        ("seats=[", "--set seats: the value is not valid YAML: "),
    ],
)
def test_a_wrong_override_is_named_by_its_key(tmp_path: Path, override: str, expected: str) -> None:
    (problem,) = problems(tmp_path, f"{GOOD}colours: [red]\n", override)
    assert problem.startswith(expected)


def test_an_override_of_a_section_that_the_file_lacks_is_the_place_of_its_problems(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "name: x\n", "moves_on.kind=wheel")
    assert problem == "--set moves_on.kind: moves_on.spokes is missing"


def test_all_malformed_overrides_are_reported_at_once(tmp_path: Path) -> None:
    assert len(problems(tmp_path, GOOD, "seats", "name.x=1", "name=y", "=")) == 3
