"""The documentation refers to what exists: tests, files and headings."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FAULTS = ROOT / "docs" / "faults.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_every_fault_names_tests_that_exist() -> None:
    table = re.findall(r"^\| fault \|.*?\n\n", FAULTS.read_text() + "\n\n", re.MULTILINE | re.DOTALL)
    rows = [row for part in table for row in part.splitlines()[2:] if row]
    assert len(rows) > 40
    for row in rows:
        proofs = re.findall(r"\[`(test_\w+)`\]\((?:\.\./)?(tests/[\w/]+\.py)\)", row)
        assert proofs, row
        assert row.count("`test_") == len(proofs), row
        for name, path in proofs:
            tree = ast.parse((ROOT / path).read_text())
            assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, (
                f"{path}: {name}"
            )


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


def test_the_examples_of_the_readme_are_those_that_the_tests_execute() -> None:
    blocks = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    executed = blocks.findall((ROOT / "docs" / "results.md").read_text())
    examples = blocks.findall((ROOT / "README.md").read_text())
    assert len(examples) >= 4
    assert set(examples) <= set(executed)
