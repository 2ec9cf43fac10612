"""Pings for a dead man's switch such as healthchecks.io: somebody notices when cron stops calling."""

from __future__ import annotations

TIMEOUT_S = 10.0


def ping(url: str, suffix: str) -> str | None:
    """Send a GET to `url`/`suffix`; return None if it arrived, else what went wrong.

    It never raises: a job does not fail for its ping.
    """
    import urllib.request  # with ssl: only where somebody wants to be told

    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/{suffix}", timeout=TIMEOUT_S):  # noqa: S310
            return None
    except Exception as error:
        return f"the ping to /{suffix} failed: {error}"
