"""Pages as a browser shows them: real Chromium, without a window."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageColor

_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(_CHROMIUM is None, reason="needs Chromium")


@dataclass(frozen=True)
class Page:
    """What a browser made of a page.

    Attributes:
        picture: its pixels, uint8, shape (H, W, 3), RGB.
        console: what it complained about.
    """

    picture: NDArray[np.uint8]
    console: list[str]

    def shows(self, color: str, pixels: int = 100) -> bool:
        """Return whether that many pixels have a colour, such as #D55E00, or nearly."""
        wanted = np.array(ImageColor.getrgb(color))
        return int((np.abs(self.picture.astype(int) - wanted).max(axis=2) < 12).sum()) >= pixels


def show(path: Path, tmp_path: Path, dark: bool = False) -> Page:
    """Open a page in Chromium, 1000 pixels wide, and look at it."""
    assert _CHROMIUM is not None
    picture = tmp_path / f"{path.stem}-{dark}.png"
    command = [
        _CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        "--enable-logging=stderr",
        f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1000,3000", f"--screenshot={picture}",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}", path.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Page(np.asarray(Image.open(picture).convert("RGB")), console)


class Outline(HTMLParser):
    """What a page is made of: its elements, the addresses it names, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "href"):
                self.addresses.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_data(self, data: str) -> None:
        self.text += data
