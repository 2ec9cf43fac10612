"""The shipped crontab line and systemd units: what cron and systemd would do with them."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from resnet_pipe.job.run_section import RunSection

FOLDER = Path(__file__).parents[2] / "docker" / "cron"
COMMAND = "/opt/resnet-pipe/bin/resnet-pipe run --quiet /etc/resnet-pipe/nightly.yaml"

KEYS = {
    "Unit": {"Description", "Wants", "After", "RequiresMountsFor"},
    "Service": {
        *("Type", "User", "ExecStart", "SuccessExitStatus", "TimeoutStopSec", "KillMode"),
        *("NoNewPrivileges", "ProtectSystem", "ReadWritePaths", "PrivateTmp"),
        *("CacheDirectory", "Environment"),
    },
    "Timer": {"OnCalendar", "Persistent"},
    "Install": {"WantedBy"},
}
"""From systemd.unit(5), systemd.service(5), systemd.kill(5), systemd.exec(5) and systemd.timer(5)."""


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    # Keys of units are case-sensitive.
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(FOLDER / name)
    return parser


def test_the_crontab_is_one_job_that_cron_accepts() -> None:
    text = (FOLDER / "resnet-pipe.cron").read_text()
    assert text.endswith("\n")  # cron ignores a last line without it
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert re.fullmatch(r"MAILTO=\S+@\S+", lines[0])
    (job,) = lines[1:]
    minute, hour, day, month, weekday, user, command = job.split(maxsplit=6)
    assert int(minute) in range(60)
    assert int(hour) in range(24)
    assert [day, month, weekday] == ["*"] * 3
    assert re.fullmatch(r"[a-z_][a-z0-9_-]*", user)
    assert command == COMMAND
    assert "%" not in command  # to cron, the end of the line


@pytest.mark.parametrize("name", ["resnet-pipe.service", "resnet-pipe.timer"])
def test_the_units_have_only_keys_that_systemd_knows(name: str) -> None:
    parsed = unit(name)
    for section in parsed.sections():
        assert set(parsed[section]) <= KEYS[section]


def test_the_service_runs_the_same_command_and_knows_the_exit_codes() -> None:
    service = unit("resnet-pipe.service")["Service"]
    assert service["ExecStart"] == COMMAND
    assert service["Type"] == "oneshot"
    assert set(service["SuccessExitStatus"].split()) == {"3", "4", "11", "143"}
    assert int(service["TimeoutStopSec"]) > RunSection().grace_s
    assert service["KillMode"] == "mixed"  # the first SIGTERM is for the run alone


def test_the_timer_starts_the_service_and_makes_up_for_a_night_that_was_missed() -> None:
    timer = unit("resnet-pipe.timer")
    assert "Unit" not in timer["Timer"]  # so it starts the service of its own name
    assert timer["Timer"]["Persistent"] == "true"
    assert timer["Install"]["WantedBy"] == "timers.target"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_finds_nothing_to_say_about_the_units(tmp_path: Path) -> None:
    for path in FOLDER.glob("resnet-pipe.[st]*"):
        (tmp_path / path.name).write_text(path.read_text().replace(COMMAND, "/bin/true"))
    units = sorted(str(path) for path in tmp_path.iterdir())
    assert len(units) == 2
    found = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    # It loads what they depend on as well, and may find faults in other units of this machine.
    assert [line for line in (found.stdout + found.stderr).splitlines() if "resnet-pipe" in line] == []
