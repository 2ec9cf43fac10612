"""The seams of the design, held: which folder knows which, and what only the command line may do."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pipeline" / "resnet_pipe"
FILES = sorted(PACKAGE.rglob("*.py"))

STAGES = {"reader", "preprocess", "infer", "head", "writer"}
BELOW = {"errors", "machine", "process", "store", "model"}
"""What every stage may use."""
KNOWS: dict[str, set[str]] = {
    "errors": set(),
    "machine": {"errors"},
    "process": {"errors", "machine"},
    "store": {"errors"},
    "model": {"errors", "machine", "store", "preprocess"},
    "preprocess": {"errors"},
    "reader": BELOW | {"job"},
    "infer": BELOW | {"job", "preprocess"},
    "head": BELOW | {"preprocess"},  # which says where the image of an item lies in the network's input
    "writer": BELOW | {"job", "reader", "head"},
    "ledger": BELOW | {"reader", "writer", "job"},  # whose fingerprint a directory holds
    "job": BELOW | STAGES,
    "run": BELOW | STAGES | {"job", "ledger", "report", "study"},
    "study": BELOW | STAGES | {"job", "ledger", "run", "convert"},
    "convert": BELOW | STAGES | {"job", "study"},
    "report": BELOW | {"ledger", "study", "writer"},
    "doctor": BELOW | STAGES | {"run", "study"},
}
"""The other folders that each one imports from. Whoever adds to these has found a new seam: say why."""
SPOKEN_OF = {"reader.source", "reader.files", "preprocess.network_input", "head.rows", "head.registry"}
"""What passes from one stage to the next: sources and items, and where their bytes are, for who reads them
again; a network's input; rows and their columns."""
READ_AGAIN = "writer/annotated/second_reading.py"
"""The one place where a stage uses another: pictures to draw on are read a second time, in full size."""


def folder_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path: Path) -> Iterator[str]:
    """Yield the modules of the package that a file imports, without its name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "resnet_pipe":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("resnet_pipe."):
            yield str(node.module).partition(".")[2]
        elif isinstance(node, ast.Import):
            yield from (
                alias.name.partition(".")[2] for alias in node.names if alias.name.startswith("resnet_pipe.")
            )


@pytest.mark.parametrize("folder", KNOWS)
def test_a_folder_knows_only_those_that_it_needs(folder: str) -> None:
    found = {
        (str(path.relative_to(PACKAGE)), module)
        for path in FILES
        if folder_of(path) == folder
        for module in imports(path)
        if module.partition(".")[0] not in {folder, "__version__"} | KNOWS[folder]
    }
    assert found == set()


def test_every_folder_is_in_the_table() -> None:
    outside = {"cli", "__init__", "__main__"}
    assert {folder_of(path) for path in FILES} - outside == set(KNOWS)


def test_stages_do_not_know_each_other() -> None:
    found = {
        str(path.relative_to(PACKAGE)): module
        for path in FILES
        if folder_of(path) in STAGES
        for module in imports(path)
        if module.partition(".")[0] in STAGES - {folder_of(path)} and module not in SPOKEN_OF
    }
    assert set(found) <= {READ_AGAIN}, found


def test_only_the_command_line_prints_exits_and_installs_signals() -> None:
    forbidden = {"print", "sys.exit", "os._exit", "signal.signal", "exit", "quit"}
    found = {
        f"{path.relative_to(PACKAGE)}:{node.lineno}: {ast.unparse(node.func)}"
        for path in FILES
        if folder_of(path) not in ("cli", "__main__")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in forbidden
    }
    assert found == set()


def test_no_file_is_too_long_to_be_read() -> None:
    long = {str(path.relative_to(PACKAGE)) for path in FILES if len(path.read_text().splitlines()) > 300}
    assert long == set()


def test_every_file_says_in_its_first_line_what_it_is_for() -> None:
    for path in FILES:
        text = ast.get_docstring(ast.parse(path.read_text()))
        assert text, path
        assert text.splitlines()[0].endswith((".", "?", ":", "`.")), path


@pytest.mark.parametrize("name", ["Record", "Division", "Setup", "Network", "Failure", "Outcome"])
def test_a_word_of_the_design_is_one_class(name: str) -> None:
    found = [
        str(path.relative_to(PACKAGE))
        for path in FILES
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == name
    ]
    assert len(found) <= 1, found
