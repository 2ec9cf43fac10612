"""Draws images/s by engine and depth, from the result of benchmarks/depths.py, as SVG.

usage: python -m benchmarks.chart [benchmarks/results/depths.json] [docs/engines.svg]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from string import Template
from typing import Any
from xml.sax.saxutils import escape

from benchmarks.measure import RESULTS

WIDTH, LEFT, RIGHT, TOP = 860, 230, 70, 70
BAR, STEP, GAP = 15, 20, 16
"""Height of a bar, from one bar to the next, and between two depths; pixels."""
FRAME = Template("""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 $width $height" width="$width" height="$height"
     role="img" aria-label="Images per second by depth and engine">
  <style>
    text { font: 13px system-ui, sans-serif; fill: #1f2328 }
    .title { font-size: 16px; font-weight: 600 } .model { font-weight: 600 }
    .small { font-size: 12px; fill: #57606a }
    .grid { stroke: #d0d7de } .limit { stroke: #1f2328; stroke-width: 2 }
    .opencv { fill: #e69f00 } .openvino { fill: #0072b2 } .onnxruntime { fill: #009e73 }
    .torch { fill: #d55e00 } .mlx { fill: #cc79a7 }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 } .small { fill: #9198a1 } .grid { stroke: #30363d } .limit { stroke: #e6edf3 }
      .openvino { fill: #56b4e9 }
    }
  </style>
  <text class="title" x="8" y="24">JPEGs of 500x375 to Parquet, images/s by depth and engine</text>
  <path class="limit" d="M$left 37v15"/>
  <text class="small" x="238" y="49">the limit: cores / (decode + preprocess + network seconds per image, each
    alone on one core)</text>
$body
</svg>
""")
"""The colours are those of Okabe and Ito, which people with any colour vision tell apart."""
STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
PACKAGES = {"opencv": "opencv-python-headless"}
"""Of the engines, where it has another name."""


def draw(result: Mapping[str, Any]) -> str:
    """Return the chart.

    Args:
        result: what benchmarks/depths.py has saved.
    """
    rows = sorted(result["results"], key=lambda row: int(row["model"].removeprefix("resnet")))
    most = max(max(row["rate"], row["limit"]) for row in rows)
    scale = (WIDTH - LEFT - RIGHT) / most
    bars: list[str] = []
    y = TOP
    for model, several in groupby(rows, key=lambda row: row["model"]):
        bars.append(_text(8, y + 12, model, "model"))
        for row in several:
            bars += _bar(row, y, scale)
            y += STEP
        y += GAP
    bottom = y - GAP
    axis = [_tick(LEFT + value * scale, value, bottom) for value in range(0, int(most) + 1, tick_step(most))]
    axis.append(_text(WIDTH - 8, bottom + 20, "images/s", "small", "end"))
    captions = _captions(result["machine"], dict.fromkeys(row["engine"] for row in rows))
    notes = [_text(8, bottom + 44 + 17 * line, text, "small") for line, text in enumerate(captions)]
    height = bottom + 44 + 17 * len(notes)
    return FRAME.substitute(width=WIDTH, height=height, left=LEFT, body="\n".join([*axis, *bars, *notes]))


def tick_step(most: float) -> int:
    """Return the distance of the ticks of an axis up to `most`, so that it has at least four."""
    return max((step for step in STEPS if most / step >= 4), default=1)


def _bar(row: Mapping[str, Any], y: int, scale: float) -> list[str]:
    engine, width, limit = row["engine"], row["rate"] * scale, row["limit"] * scale
    return [
        _text(LEFT - 8, y + 12, f"{engine} {row['precision']}", "small", "end"),
        f'  <rect class="{escape(engine)}" x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR}"/>',
        f'  <path class="limit" d="M{LEFT + limit:.1f} {y}v{BAR}"/>',
        _text(LEFT + max(width, limit) + 7, y + 12, f"{row['rate']:.1f}"),
    ]


def _tick(x: float, value: int, bottom: int) -> str:
    line = f'  <path class="grid" d="M{x:.1f} {TOP - 8}V{bottom + 4}"/>'
    return f"{line}\n{_text(x, bottom + 20, str(value), 'small', 'middle')}"


def _captions(machine: Mapping[str, Any], engines: Iterable[str]) -> list[str]:
    flags, versions = ", ".join(machine["flags"]), machine["versions"]
    libraries = [PACKAGES.get(engine, engine) for engine in engines]
    return [
        f"{machine['processor']}, {machine['cores']} cores ({flags}); Python {machine['python']}",
        ", ".join(f"{name} {versions[name]}" for name in libraries if name in versions),
    ]


def _text(x: float, y: int, text: str, kind: str = "value", anchor: str = "start") -> str:
    return f'  <text class="{kind}" x="{x:.1f}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def main(source: Path, target: Path) -> None:
    """Draw a result."""
    target.write_text(draw(json.loads(source.read_text())))
    print(f"wrote {target}")


if __name__ == "__main__":
    paths = [Path(path) for path in sys.argv[1:]]
    main(
        paths[0] if paths else RESULTS / "depths.json",
        paths[1] if paths[1:] else RESULTS.parents[1] / "docs" / "engines.svg",
    )
