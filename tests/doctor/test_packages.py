"""The check packages: what pip's records say is compared with what resnet-pipe wants."""

from __future__ import annotations

import sys

import pytest

from resnet_pipe.doctor.packages import is_older
from tests.doctor.environment import Environment

WANTED = (
    "Requires-Dist: numpy>=1.0",
    "Requires-Dist: opencv-python-headless>=4.10",
    "Requires-Dist: click>=99.1",
    "Requires-Dist: no.such_thing>=2",
    "Requires-Dist: broken-thing",
    "Requires-Dist: unversioned>=1",
    "Requires-Dist: elsewhere>=1; sys_platform == 'plan9'",
    "Requires-Dist: pillow>=1; extra == 'pictures'",
    "Requires-Dist: tqdm>=99; extra == 'bars'",
    "Requires-Dist: pillow>=1; extra == 'more'",
    "Requires-Dist: no-such-thing>=1; (sys_platform != 'plan9') and extra == 'more'",
    "Requires-Dist: resnet-pipe[pictures,bars,more]; extra == 'all'",
)


@pytest.fixture
def wanting(environment: Environment) -> Environment:
    """An environment with a resnet-pipe that wants other things."""
    environment.distribution("broken-thing", "1.0").distribution("unversioned", "1.0")
    (environment.place / "broken_thing-1.0.dist-info" / "METADATA").unlink()
    (environment.place / "unversioned-1.0.dist-info" / "METADATA").write_text("Name: unversioned\n\n")
    return environment.distribution("resnet-pipe", "0.1.0", *WANTED)


def test_each_package_that_is_missing_too_old_or_broken_comes_with_the_command_that_mends_it(
    wanting: Environment,
) -> None:
    found = wanting.findings("packages")
    failed = {one["text"].split()[0]: one for one in found if one["level"] == "FAIL"}
    assert {name: one["remedy"] for name, one in failed.items()} == {
        "click": "pip install -U 'click>=99.1'",
        "no-such-thing": "pip install 'no-such-thing>=2'",
        "broken-thing": "pip install --force-reinstall 'broken-thing'",
        "unversioned": "pip install --force-reinstall 'unversioned>=1'",
    }
    assert "is too old: 99.1 is needed" in failed["click"]["text"]
    (fine,) = [one["text"] for one in found if one["text"].startswith("numpy")]
    assert "elsewhere" not in fine
    assert "opencv" not in fine  # any cv2 will do: it has a check of its own


def test_an_extra_that_is_not_installed_is_no_fault_and_an_old_library_is_a_warning(
    wanting: Environment,
) -> None:
    found = [one for one in wanting.findings("packages") if "extra" in one["text"]]
    assert [(one["level"], one["text"].split(":")[0]) for one in found] == [
        ("WARN", "extra bars"),
        ("OK", "extra pictures"),
        ("OK", "extras not installed"),
    ]
    assert found[0]["remedy"] == "pip install -U 'tqdm>=99'"
    assert found[2]["text"].endswith("more (missing no-such-thing)")


def test_this_environment_is_fine(environment: Environment) -> None:
    found = environment.findings("packages")
    assert {one["level"] for one in found} == {"OK"}
    assert "numpy " in found[0]["text"]
    assert f"Python {sys.version.split()[0]} in " in found[0]["text"]


@pytest.mark.parametrize(
    ("version", "minimum", "older"),
    [
        ("1.26", "1.26.0", False),
        ("1.9.9", "1.26", True),
        ("2.0", "1.26", False),
        ("4.11.0.86+cu130", "4.10", False),
        ("2.5.0a0+git123", "2.5", False),
        ("2024.6", "2025.0", True),
        ("1.0", "", False),
    ],
)
def test_versions_are_compared_number_by_number(version: str, minimum: str, older: bool) -> None:
    assert is_older(version, minimum) is older
