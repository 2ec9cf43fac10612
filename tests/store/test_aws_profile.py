"""Which credentials, region and endpoint of Amazon's files are used, and which are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from resnet_pipe.errors import UsageError
from resnet_pipe.store import aws_profile

CREDENTIALS = """\
[default]
aws_access_key_id = D
aws_secret_access_key = DS%

[work]
aws_access_key_id = W
aws_secret_access_key = WS
aws_session_token = WT
"""
CONFIG = """\
[default]
region = eu-west-1
s3 =
    max_concurrent_requests = 20

[profile work]
region = eu-north-1
endpoint_url = http://127.0.0.1:8333

[profile other]
role_arn = arn:aws:iam::1:role/x
source_profile = work

[profile login]
sso_session = company

[profile tool]
credential_process = /bin/tool

[profile machine]
region = us-east-2
"""


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Amazon's files, and nothing in the environment but where they are."""
    for name in ("ACCESS_KEY_ID", "PROFILE", "DEFAULT_PROFILE", "REGION", "DEFAULT_REGION", "ENDPOINT_URL"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    for name, text in (("AWS_SHARED_CREDENTIALS_FILE", CREDENTIALS), ("AWS_CONFIG_FILE", CONFIG)):
        (tmp_path / name).write_text(text)
        monkeypatch.setenv(name, str(tmp_path / name))
    return tmp_path


def test_without_a_profile_it_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert aws_profile.settings() == {
        "access_key_id": "D",
        "secret_access_key": "DS%",
        "region": "eu-west-1",
    }
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert "region" not in aws_profile.settings()


def test_the_profile_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "work")
    assert aws_profile.settings() == {
        "access_key_id": "W",
        "secret_access_key": "WS",
        "session_token": "WT",
        "region": "eu-north-1",
        "endpoint": "http://127.0.0.1:8333",
    }


def test_keys_in_the_environment_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "E")
    monkeypatch.setenv("AWS_PROFILE", "other")
    assert aws_profile.settings() == {}


def test_a_profile_without_keys_leaves_them_to_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "machine")
    assert aws_profile.settings() == {"region": "us-east-2"}


@pytest.mark.parametrize("name", ["other", "login", "tool"])
def test_credentials_that_have_to_be_fetched_are_refused_with_how(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("AWS_PROFILE", name)
    with pytest.raises(UsageError) as caught:
        aws_profile.settings()
    assert name in caught.value.problem
    assert f"aws configure export-credentials --profile {name} --format env" in str(caught.value.remedy)


def test_a_profile_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, files: Path) -> None:
    monkeypatch.setenv("AWS_PROFILE", "typo")
    with pytest.raises(UsageError, match="there is no profile typo in"):
        aws_profile.settings()


def test_without_files_there_is_nothing(files: Path) -> None:
    for file in files.iterdir():
        file.unlink()
    assert aws_profile.settings() == {}


def test_a_broken_file_is_named_and_not_shown(files: Path) -> None:
    (files / "AWS_CONFIG_FILE").write_text("aws_secret_access_key = never-to-be-seen")
    with pytest.raises(UsageError) as caught:
        aws_profile.settings()
    assert "AWS_CONFIG_FILE cannot be read" in str(caught.value)
    assert "never-to-be-seen" not in str(caught.value)
