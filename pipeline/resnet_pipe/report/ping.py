"""Pings for a dead man's switch such as healthchecks.io: somebody notices when cron stops calling."""

from __future__ import annotations

from queue import Empty, Queue
from threading import Thread
from urllib.parse import urlsplit

TIMEOUT_S = 10.0


def ping(url: str, suffix: str) -> str | None:
    """Send a GET to a URL with `/suffix` behind its path; return None if it arrived, else what went wrong.

    It never raises: a job does not fail for its ping. Nor does it take longer than `TIMEOUT_S`, whatever the
    server does. What it returns has nothing of the URL, which may be a secret.
    """
    answers: Queue[str | None] = Queue()
    Thread(target=lambda: answers.put(_get(url, suffix)), name="ping", daemon=True).start()
    try:
        problem = answers.get(timeout=TIMEOUT_S)
    except Empty:
        problem = f"no answer within {TIMEOUT_S:g} s"
    return problem and f"the ping to /{suffix} failed: {problem}"


def _get(url: str, suffix: str) -> str | None:
    import urllib.error  # with ssl: only where somebody wants to be told
    import urllib.request

    parts = urlsplit(url)
    whole = parts._replace(path=f"{parts.path.rstrip('/')}/{suffix}").geturl()
    try:
        with urllib.request.urlopen(whole, timeout=TIMEOUT_S):  # noqa: S310
            return None
    except urllib.error.HTTPError as error:
        return f"HTTP status {error.code}"
    except urllib.error.URLError as error:
        return getattr(error.reason, "strerror", None) or type(error.reason).__name__
    except TimeoutError:
        return f"no answer within {TIMEOUT_S:g} s"
    except Exception as error:
        return type(error).__name__
