"""Charts as pictures for a page, each in two colour schemes, and for slides.

Drawn by matplotlib: whatever draws raises a MissingExtraError where that is not installed.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

from resnet_pipe.errors import HomeError, MissingExtraError
from resnet_pipe.machine.home import cache_dir
from resnet_pipe.machine.silence import silenced
from resnet_pipe.report.page import data_url

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STAGE_COLORS = {"reader": "#0072B2", "preprocess": "#56B4E9", "infer": "#D55E00", "writer": "#009E73"}
"""Safe for colour-blind readers: Okabe and Ito 2008, https://jfly.uni-koeln.de/color/."""
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""For everything else, from the same palette, in the order in which they are used."""
_CONFIGURATION = "MPLCONFIGDIR"


@dataclass(frozen=True)
class Scheme:
    """The colours of everything that is not data: texts, axes and notes, and the lines behind the data."""

    text: str
    muted: str
    grid: str


LIGHT = Scheme(text="#1a1d21", muted="#5b636d", grid="#e3e6ea")
DARK = Scheme(text="#e8eaed", muted="#a0a8b2", grid="#31363d")

Draw = Callable[["Axes", Scheme], None]
Corner = tuple[
    tuple[float, float], Literal["left", "center", "right"], Literal["top", "center", "bottom", "baseline"]
]
"""Where a note stands: its distance from what it is about, points, and which end of it stands there."""


@dataclass(frozen=True)
class Picture:
    """A chart for a page: SVGs as data URLs, for light screens and paper and for dark ones; a text."""

    light: str
    dark: str
    text: str


def picture(draw: Draw, text: str, height: float = 3.2) -> Picture:
    """Draw a chart in both schemes, of the width of a page; height in inches."""
    light, dark = (_svg(figure({"": draw}, scheme, 7.2, height)) for scheme in (LIGHT, DARK))
    return Picture(light, dark, text)


def figure(
    draws: Mapping[str, Draw], scheme: Scheme, width: float, height: float, columns: int = 1
) -> Figure:
    """Return a figure of several charts, each under its title, in a grid, `columns` of them side by side."""
    _load()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"text.parse_math": False}):  # names come from files: a dollar sign is no formula
        drawn = Figure(figsize=(width, height), layout="constrained")
        rows = -(-len(draws) // columns)
        for index, (title, draw) in enumerate(draws.items()):
            axes = drawn.add_subplot(rows, columns, index + 1)
            _style(axes, scheme)
            draw(axes, scheme)
            if title:
                axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=scheme.text, pad=24)
        return drawn


def _load() -> None:
    """Import matplotlib, with its font cache in our cache directory or nowhere, and without messages."""
    try:
        if "matplotlib.figure" in sys.modules:
            return
        # Its messages are about directories, and about building its font cache.
        with _configured(), silenced("matplotlib"):
            import matplotlib.figure  # noqa: F401 - and with it the list of fonts
    except ImportError:
        raise MissingExtraError("matplotlib", "report", "A report") from None


@contextmanager
def _configured() -> Iterator[None]:
    """Give matplotlib a writable directory, in our cache if that is possible, unless the user has set one."""
    if os.environ.get(_CONFIGURATION):
        yield
        return
    with TemporaryDirectory(prefix="resnet-pipe-") as directory:
        with suppress(HomeError, OSError):
            kept = cache_dir() / "matplotlib"
            kept.mkdir(parents=True, exist_ok=True)
            directory = str(kept) if os.access(kept, os.W_OK) else directory
        os.environ[_CONFIGURATION] = directory
        try:
            yield
        finally:
            del os.environ[_CONFIGURATION]


def _style(axes: Axes, scheme: Scheme) -> None:
    axes.set_facecolor("none")
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color(scheme.muted)
    axes.tick_params(colors=scheme.muted, labelcolor=scheme.muted, labelsize=9, length=0)
    axes.grid(axis="y", color=scheme.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set(color=scheme.muted, fontsize=9)


def note(axes: Axes, scheme: Scheme, text: str, at: tuple[float, float], corner: Corner) -> None:
    """Write a few words beside a point of the data."""
    offset, across, up = corner
    axes.annotate(
        text, at, offset, textcoords="offset points", ha=across, va=up, fontsize=8, color=scheme.text
    )


def legend(axes: Axes, scheme: Scheme, columns: int = 4) -> None:
    """Put the legend above the data, where it covers nothing."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=columns,
        frameon=False,
        fontsize=9,
        labelcolor=scheme.text,
        handlelength=1.2,
        borderaxespad=0.2,
        columnspacing=1.4,
    )


def _svg(drawn: Figure) -> str:
    import matplotlib as mpl

    content = io.BytesIO()
    # Letters as outlines, which need no font; and the same figures give the same bytes.
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "resnet-pipe"}):
        drawn.savefig(content, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return data_url("image/svg+xml", content.getvalue())
