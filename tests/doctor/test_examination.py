"""The doctor as a whole: every check has its say, and the exit code and the JSON tell what came of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import get_args

import pytest

from resnet_pipe.doctor import examination
from resnet_pipe.doctor.examination import CHECKS, Finding
from resnet_pipe.errors import CheckName, ExitCode
from tests.run.jobs import Cli

FINE = Finding("packages", "OK", "3.11.2")
SLOW = Finding("cv2", "WARN", "not the best", "pip install a-better-one")
BAD = Finding("cuda", "FAIL", "no driver,\n and \x1b[2J a strange name", "docker run --gpus all")


@pytest.fixture
def findings(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """What the checks packages, cv2 and cuda find, which are all there are."""
    found: list[Finding] = []

    def check_for(name: str) -> Callable[[], Iterable[Finding]]:
        def check() -> Iterable[Finding]:
            return [finding for finding in found if finding.check == name]

        return check

    names: list[CheckName] = ["packages", "cv2", "cuda"]
    monkeypatch.setattr(examination, "CHECKS", {name: f"check_of_{name}" for name in names})
    for name in names:
        module = ModuleType(name)
        module.check = check_for(name)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, f"check_of_{name}", module)
    return found


def test_errors_can_name_every_check_and_no_other() -> None:
    assert tuple(CHECKS) == get_args(CheckName)


@pytest.mark.parametrize(
    ("found", "code", "closing"),
    [
        ([FINE], ExitCode.DONE, "0 FAIL, 0 WARN, 1 OK in 0.0 s. All checks passed."),
        ([FINE, SLOW], ExitCode.DONE, "0 FAIL, 1 WARN, 1 OK in 0.0 s. Runs will work here, but"),
        ([FINE, SLOW, BAD], ExitCode.FAILED, "1 FAIL, 1 WARN, 1 OK in 0.0 s. Some runs will fail here"),
    ],
)
def test_the_exit_code_and_the_last_line_are_those_of_the_worst_finding(
    cli: Cli, findings: list[Finding], found: list[Finding], code: ExitCode, closing: str
) -> None:
    findings += found
    *lines, last = cli("doctor").expect(code).stdout.splitlines()
    assert last.startswith(closing)
    assert [line.split()[0] for line in lines if "what to do" not in line] == [one.level for one in found]


def test_a_finding_is_a_line_with_its_remedy_below_and_control_characters_are_shown(
    cli: Cli, findings: list[Finding]
) -> None:
    findings += [FINE, BAD]
    assert cli("doctor").expect(1).stdout.splitlines()[:3] == [
        "OK    packages   3.11.2",
        "FAIL  cuda       no driver, and \\x1b[2J a strange name",
        "                 what to do: docker run --gpus all",
    ]


def test_json_is_for_programs(cli: Cli, findings: list[Finding]) -> None:
    findings += [FINE, SLOW]
    answer = json.loads(cli("doctor", "--json").expect(0).stdout)
    assert answer.pop("seconds") < 10
    assert answer == {
        "schema_version": 1,
        "counts": {"FAIL": 0, "WARN": 1, "OK": 1},
        "findings": [
            {"check": "packages", "level": "OK", "text": "3.11.2", "remedy": ""},
            {"check": "cv2", "level": "WARN", "text": "not the best", "remedy": "pip install a-better-one"},
        ],
    }


def test_only_the_checks_that_are_named_are_made(cli: Cli, findings: list[Finding]) -> None:
    findings += [FINE, SLOW, BAD]
    assert "cuda" not in cli("doctor", "cv2", "packages").expect(0).stdout
    assert "'frobnicate' is not one of 'packages', 'cv2'" in cli("doctor", "frobnicate").expect(2).stderr


@pytest.mark.parametrize("broken", ["raises", "is not there"])
def test_a_check_that_fails_itself_is_a_finding_and_the_others_go_on(
    cli: Cli, findings: list[Finding], monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def check() -> Iterator[Finding]:
        yield SLOW
        raise OSError("a surprise")

    findings += [FINE, BAD]
    if broken == "raises":
        monkeypatch.setattr(sys.modules["check_of_cv2"], "check", check)
    else:
        monkeypatch.setitem(examination.CHECKS, "cv2", "resnet_pipe.doctor.nowhere")
    said = cli("doctor").expect(1).stdout
    what = "OSError: a surprise" if broken == "raises" else "ModuleNotFoundError: No module named"
    assert f"FAIL  cv2        the check itself failed: {what}" in said
    assert ("WARN  cv2" in said) == (broken == "raises")
    assert "OK    packages" in said
    assert "FAIL  cuda       no driver" in said
