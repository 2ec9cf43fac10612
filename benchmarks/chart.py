"""Draws images/s as SVG: by engine and depth (benchmarks/depths.py), or by program (benchmarks/engines.py).

usage: python -m benchmarks.chart depths|programs [FIGURES.json] [CHART.svg]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from string import Template
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from benchmarks.measure import RESULTS

WIDTH, LEFT, RIGHT, TOP = 860, 230, 70, 70
BAR, STEP, GAP = 15, 20, 16
"""Height of a bar, from one bar to the next, and between two groups; pixels."""
FRAME = Template("""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 $width $height" width="$width" height="$height"
     role="img" aria-label="$title">
  <style>
    text { font: 13px system-ui, sans-serif; fill: #1f2328 }
    .title { font-size: 16px; font-weight: 600 } .group { font-weight: 600 }
    .small { font-size: 12px; fill: #57606a }
    .grid { stroke: #d0d7de } .limit { stroke: #1f2328; stroke-width: 2 }
    .opencv { fill: #e69f00 } .openvino { fill: #0072b2 } .onnxruntime { fill: #009e73 }
    .torch { fill: #d55e00 } .mlx { fill: #cc79a7 } .script { fill: #afb8c1 }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 } .small { fill: #9198a1 } .grid { stroke: #30363d } .limit { stroke: #e6edf3 }
      .openvino { fill: #56b4e9 } .script { fill: #656c76 }
    }
  </style>
  <text class="title" x="8" y="24">$title</text>
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
PROGRAMS = {
    "opencv": {"opencv fp32": "resnet-pipe, fp32", "script cv2": "a script"},
    "openvino": {
        "openvino fp32": "resnet-pipe, fp32",
        "openvino bf16": "resnet-pipe, bf16",
        "openvino int8": "resnet-pipe, int8",
        "script openvino": "a script",
        "script openvino_async": "a script, asynchronous",
    },
    "onnxruntime": {
        "onnxruntime fp32": "resnet-pipe, fp32",
        "script ort": "a script",
        "script ray_ort": "Ray Data",
    },
    "torch": {
        "torch fp32": "resnet-pipe, fp32",
        "torch bf16": "resnet-pipe, bf16",
        "script torch": "a script",
        "script hf": "Hugging Face's pipeline",
    },
}
"""By engine, the programs that are compared, each with what it is called there."""


class Bar(NamedTuple):
    """One bar: what stands before it, its colour, its length, and where the limit is, if that is known."""

    label: str
    kind: str
    rate: float
    limit: float | None


def draw_depths(result: Mapping[str, Any]) -> str:
    """Return the chart of what benchmarks/depths.py has saved: a group for each depth, bars for engines."""
    rows = sorted(result["results"], key=lambda row: int(row["model"].removeprefix("resnet")))
    groups = {
        model: [
            Bar(f"{row['engine']} {row['precision']}", row["engine"], row["rate"], row["limit"])
            for row in several
        ]
        for model, several in groupby(rows, key=lambda row: row["model"])
    }
    title = "JPEGs of 500x375 to Parquet, images/s by depth and engine"
    return _draw(title, groups, _captions(result["machine"], dict.fromkeys(row["engine"] for row in rows)))


def draw_programs(result: Mapping[str, Any]) -> str:
    """Return the chart of what benchmarks/engines.py has saved: a group for each engine, with its scripts."""
    rates = result["median"]
    groups = {
        engine: [
            Bar(
                label,
                "script" if name.startswith("script") else engine,
                rates[name],
                rates.get(f"limit of {name}"),
            )
            for name, label in programs.items()
            if name in rates
        ]
        for engine, programs in PROGRAMS.items()
    }
    title = "ResNet-50, JPEGs of 500x375 to Parquet, images/s"
    return _draw(title, groups, _captions(result["machine"], PROGRAMS))


def _draw(title: str, groups: Mapping[str, list[Bar]], captions: list[str]) -> str:
    most = max(max(bar.rate, bar.limit or 0) for bars in groups.values() for bar in bars)
    scale = (WIDTH - LEFT - RIGHT) / most
    parts: list[str] = []
    y = TOP
    for name, bars in groups.items():
        parts.append(_text(8, y + 12, name, "group"))
        for bar in bars:
            parts += _bar(bar, y, scale)
            y += STEP
        y += GAP
    bottom = y - GAP
    axis = [_tick(LEFT + value * scale, value, bottom) for value in range(0, int(most) + 1, tick_step(most))]
    axis.append(_text(WIDTH - 8, bottom + 20, "images/s", "small", "end"))
    notes = [_text(8, bottom + 44 + 17 * line, text, "small") for line, text in enumerate(captions)]
    height = bottom + 44 + 17 * len(notes)
    body = "\n".join([*axis, *parts, *notes])
    return FRAME.substitute(title=escape(title), width=WIDTH, height=height, left=LEFT, body=body)


def tick_step(most: float) -> int:
    """Return the distance of the ticks of an axis up to `most`, so that it has at least four."""
    return max((step for step in STEPS if most / step >= 4), default=1)


def _bar(bar: Bar, y: int, scale: float) -> list[str]:
    width, limit = bar.rate * scale, (bar.limit or 0) * scale
    mark = [f'  <path class="limit" d="M{LEFT + limit:.1f} {y}v{BAR}"/>'] if limit else []
    return [
        _text(LEFT - 8, y + 12, bar.label, "small", "end"),
        f'  <rect class="{escape(bar.kind)}" x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR}"/>',
        *mark,
        _text(LEFT + max(width, limit) + 7, y + 12, f"{bar.rate:.1f}"),
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


DRAW = {
    "depths": (draw_depths, "depths.json", "engines.svg"),
    "programs": (draw_programs, "engines-resnet50.json", "programs.svg"),
}
"""By what is drawn: the function, and the usual names of the figures and of the chart."""


def main(what: str, source: str | None = None, target: str | None = None) -> None:
    """Draw a result."""
    draw, figures, chart = DRAW[what]
    path = Path(target) if target else RESULTS.parents[1] / "docs" / chart
    path.write_text(draw(json.loads((Path(source) if source else RESULTS / figures).read_text())))
    print(f"wrote {path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
