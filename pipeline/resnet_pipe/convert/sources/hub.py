"""Repositories of the Hugging Face hub: the files of a network, fetched once, of one commit."""

from __future__ import annotations

from pathlib import Path

from resnet_pipe.errors import MissingExtraError, ModelError

TIMEOUT_S = 10.0
"""A hub that does not answer in this time is not there."""


def fetch(repository: str, revision: str | None, files: tuple[str, ...]) -> tuple[Path, str]:
    """Return a directory with those of the files that a repository has, and its commit.

    What the hub's own cache has is not fetched again; its own switches (HF_HOME, HF_HUB_OFFLINE, HF_ENDPOINT)
    and its login apply. The revision is a branch, a tag or a commit; None for the newest.

    Raises:
        MissingExtraError: the extra `hub` is not installed.
        ModelError: there is no such repository or revision, or no network.
    """
    try:
        from huggingface_hub import HfApi, snapshot_download
        from huggingface_hub.errors import (
            HFValidationError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )
        from huggingface_hub.utils import disable_progress_bars, get_session
    except ImportError:
        raise MissingExtraError("huggingface-hub", "hub", f"Fetching {repository}") from None
    name = repository if revision is None else f"{repository}@{revision}"
    disable_progress_bars()
    get_session().timeout = TIMEOUT_S  # by itself, the library waits for ever
    problem = ""
    try:
        HfApi().repo_info(repository, revision=revision, timeout=TIMEOUT_S)
    except HFValidationError as error:
        raise ModelError(f"{name} is not the name of a repository: {error}", "write OWNER/NAME") from None
    except RevisionNotFoundError:
        raise ModelError(f"{repository} has no revision {revision}", "leave out @REVISION") from None
    except RepositoryNotFoundError:  # also one that is gated
        raise ModelError(
            f"there is no repository {repository}, or it is not open to this user",
            "check the name; for a private or a gated one: hf auth login",
        ) from None
    except Exception as error:  # of the hub's library, or of the one below it, which has changed before
        problem = _line(error)
    try:
        found = snapshot_download(
            repository, revision=revision, allow_patterns=list(files), local_files_only=bool(problem)
        )
    except Exception as error:
        raise ModelError(
            f"{name} is not on this machine and cannot be fetched: {problem or _line(error)}",
            "run this once with network access, or through a mirror: HF_ENDPOINT=URL; or copy the repository"
            " to this machine, and convert its directory. HF_HUB_OFFLINE=1 uses only what has been fetched",
        ) from None
    directory = Path(found)
    return directory, directory.name


def _line(error: Exception) -> str:
    """Return the beginning of what the hub's library says, which goes on with its own advice."""
    return str(error).strip().split("\n", 1)[0]
