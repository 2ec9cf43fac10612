"""Keys, region and endpoint of Amazon's own files, which the library of buckets does not read."""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from pathlib import Path

from resnet_pipe.errors import UsageError

_KEYS = {
    "access_key_id": "aws_access_key_id",
    "secret_access_key": "aws_secret_access_key",
    "session_token": "aws_session_token",
}
"""What credentials are, and what Amazon's files call them; in capitals, these are variables."""
_ELSEWHERE = ("role_arn", "sso_session", "sso_start_url", "credential_process", "credential_source")
"""Keys of a profile whose credentials Amazon's own program has to fetch."""


def settings() -> dict[str, str | bool]:
    """Return what the profile says and the environment does not, as the library calls it.

    The profile is `AWS_PROFILE`, or `default`. Where neither says anything, the library asks the machine.

    Raises:
        UsageError: there is no such profile, its credentials are elsewhere, or a file cannot be read.
    """
    asked = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE")
    name = asked or "default"
    profile = _profile(name)
    if profile is None:
        if asked and not _has_keys():
            raise UsageError(
                f"AWS_PROFILE: there is no profile {name} in {' or '.join(map(str, _files().values()))}",
                "aws configure list-profiles shows those that there are",
            )
        return {}
    found: dict[str, str | bool] = {}
    if not _has_keys():
        found |= _keys(name, profile)
    if "region" in profile and not _says("AWS_REGION", "AWS_DEFAULT_REGION"):
        found["region"] = profile["region"]
    if "endpoint_url" in profile and not _says("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"):
        found["endpoint"] = profile["endpoint_url"]
    return found


def _keys(name: str, profile: Mapping[str, str]) -> dict[str, str]:
    elsewhere = [key for key in _ELSEWHERE if key in profile]
    if elsewhere:
        raise UsageError(
            f"the profile {name} has its credentials from elsewhere ({elsewhere[0]}), which is not supported",
            f'eval "$(aws configure export-credentials --profile {name} --format env)", and run this again',
        )
    return {ours: profile[theirs] for ours, theirs in _KEYS.items() if profile.get(theirs)}


def _has_keys() -> bool:
    return _says("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE")


def _says(*names: str) -> bool:
    return any(os.environ.get(name) for name in names)


def _files() -> dict[str, Path]:
    """Return the files of profiles: what a section's name begins with in it, and where it is."""
    credentials = os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")
    config = os.environ.get("AWS_CONFIG_FILE", "~/.aws/config")
    # Not `Path.expanduser`: a user without a home has no such files, and that is no error.
    named = {"": credentials, "profile ": config}
    return {prefix: Path(os.path.expanduser(text)) for prefix, text in named.items()}  # noqa: PTH111


def _profile(name: str) -> dict[str, str] | None:
    """Return what the files say of a profile, that of credentials first; None if it is in neither."""
    found: dict[str, str] | None = None
    for prefix, path in _files().items():
        parser = configparser.RawConfigParser(strict=False, default_section="")
        try:
            parser.read_string(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, configparser.Error) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__  # its text may hold a key
            raise UsageError(
                f"{path} cannot be read: {reason}", "repair it, or set AWS_ACCESS_KEY_ID and its like"
            ) from None
        for section in (name, f"{prefix}{name}"):
            if parser.has_section(section):
                found = {**dict(parser.items(section)), **(found or {})}
    return found
