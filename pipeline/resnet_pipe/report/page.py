"""HTML pages that need nothing but themselves: no network, no script, for print and for dark screens."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from resnet_pipe.errors import MissingExtraError

_TEMPLATES = Path(__file__).resolve().parent / "templates"


def render(template: str, values: dict[str, Any]) -> str:
    """Return an HTML page by a file in `templates/`. Every value is escaped, also file names and labels.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError:
        raise MissingExtraError("jinja2", "report", "A report") from None
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["duration"] = duration
    environment.filters["grouped"] = grouped
    return environment.get_template(template).render(**values)


def data_url(media_type: str, content: bytes) -> str:
    """Return content as a URL that holds it (RFC 2397)."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def duration(seconds: float) -> str:
    """Return seconds as people say them: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def grouped(value: float) -> str:
    """Return a count with its thousands apart by narrow spaces (ISO 80000-1): `1 234 567`."""
    return f"{value:,.0f}".replace(",", "\u202f")
