"""The documentation refers to what exists: tests, files, headings, and keys of the job."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from resnet_pipe.errors import CheckName

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *(page for page in sorted(DOCS.glob("*.md")) if not page.is_symlink())]


def section(page: str, heading: str, header: str) -> dict[str, list[str]]:
    """Return the tables of one section of a page: the first cell of each row to the others.

    Args:
        page: its name in docs/.
        heading: with its `#`; the section ends at the next heading of any level.
        header: the first cell of the tables' headers.
    """
    text = f"\n{(DOCS / page).read_text()}\n#"
    body = re.search(rf"\n{re.escape(heading)}\n(.*?)\n#", text, re.DOTALL)
    assert body, heading
    rows = [re.split(r" *\| *", line)[1:-1] for line in body[1].splitlines() if line.startswith("|")]
    return {first: others for first, *others in rows if first != header and set(first) != {"-"}}


def faults(page: str) -> dict[str, list[str]]:
    """Return the rows of all tables of a page that list what has happened."""
    headings = re.findall(r"^## .*$", (DOCS / page).read_text(), re.MULTILINE)
    tables = [
        section(page, heading, "what happened") for heading in headings if heading != "## A source failed"
    ]
    return {fault: cells for table in tables for fault, cells in table.items()}


def test_every_fault_names_tests_that_exist() -> None:
    proofs = faults("proofs.md")
    assert list(proofs) == list(faults("faults.md"))
    assert len(proofs) > 80
    exist = {name for page in (ROOT / "tests").rglob("test_*.py") for name in functions(page)}
    for fault, (cell,) in proofs.items():
        names = re.findall(r"`(test_\w+)`", cell)
        assert names, fault
        assert cell == ", ".join(f"`{name}`" for name in names), fault
        assert set(names) <= exist, set(names) - exist


def functions(module: Path) -> set[str]:
    """Return the names of the functions of a module."""
    return {node.name for node in ast.parse(module.read_text()).body if isinstance(node, ast.FunctionDef)}


def anchors(page: Path) -> set[str]:
    """Return what a link may name after `#`: the headings of a page, as GitHub writes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_the_readme_is_short_and_its_examples_are_those_of_pages_that_the_tests_execute() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) < 200
    blocks = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    executed = [
        *blocks.findall((DOCS / "results.md").read_text()),
        *blocks.findall((DOCS / "python.md").read_text()),
    ]
    examples = blocks.findall(text)
    assert len(examples) >= 2
    assert set(examples) <= set(executed)


def test_every_check_of_the_doctor_is_in_its_page_in_its_order() -> None:
    checks = section("doctor.md", "# Ask the doctor", "check")
    assert list(checks) == [f"`{check}`" for check in get_args(CheckName)]


SCHEMA: dict[str, Any] = json.loads((ROOT / "jobs" / "schema.json").read_text())


def sections() -> list[tuple[str, dict[str, Any]]]:
    """Return the sections of a job: the heading in docs/job.md, and the schema of the section."""
    definitions = SCHEMA["definitions"]

    def named(reference: str) -> dict[str, Any]:
        definition: dict[str, Any] = definitions[reference.rpartition("/")[2]]
        return definition

    readers = SCHEMA["properties"]["reader"]["discriminator"]["mapping"]
    writers = SCHEMA["properties"]["writer"]["anyOf"][1]["items"]["discriminator"]["mapping"]
    single = {name: SCHEMA["properties"][name] for name in ("preprocess", "infer", "run")}
    return [
        *((f"### reader {kind}", named(reference)) for kind, reference in readers.items()),
        *((f"### writer {kind}", named(reference)) for kind, reference in writers.items()),
        *((f"## {name}", named(each["$ref"])) for name, each in single.items()),
        ("### ray", named("RaySection")),
    ]


def shown(value: Any) -> str:  # noqa: ANN401 - whatever JSON has
    """Return a default as docs/job.md shows it."""
    if value is None:
        return "none"
    if isinstance(value, list):
        return f"`[{', '.join(map(str, value))}]`"
    return (
        f"`{value:g}`"
        if isinstance(value, float)
        else f"`{value if isinstance(value, str) else json.dumps(value)}`"
    )


def choices(schema: dict[str, Any]) -> list[str]:
    """Return the values that a key may have, if they are words."""
    inner = [*schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else [])]
    return [*schema.get("enum", ()), *(choice for each in inner for choice in choices(each))]


@pytest.mark.parametrize(
    ("heading", "schema"), sections(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_the_tables_of_the_job_have_every_key_with_its_default(heading: str, schema: dict[str, Any]) -> None:
    table = section("job.md", heading, "key")
    keys = {
        f"`{key}`": shown(each["default"]) if "default" in each else ""
        for key, each in schema["properties"].items()
    }
    assert {key: cells[0] for key, cells in table.items()} == keys
    for key, each in schema["properties"].items():
        for choice in choices(each):
            assert f"`{choice}`" in " ".join(table[f"`{key}`"]), f"{key}: {choice}"


def test_every_section_of_the_job_is_in_its_page() -> None:
    headings = re.findall(r"^## (\w+)", (DOCS / "job.md").read_text(), re.MULTILINE)
    assert [heading for heading in headings if heading in SCHEMA["properties"]] == list(SCHEMA["properties"])
