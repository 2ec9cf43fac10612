"""The figures of benchmarks/gpu.py as Markdown, for people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

STAGES = ("reader", "preprocess", "infer", "writer")
NONE = "-"
PASSES = """\
A pass goes from uint8 pixels to float32 outputs, both in the memory of the host: normalising and both
transfers are in it. The median of passes one after the other, in one stream. `opencv` normalises on the CPU;
what that takes alone stands beside the pass, for the largest batch that was measured.
"""
RUNS = """\
`resnet-pipe run` with the engine's defaults, from JPEGs of 500x375 pixels to Parquet files of logits, without
the wait for the first batch while the workers start. Milliseconds of a stage are those of one worker or
stream for one image; its lanes work at the same time.
"""


def name(record: Mapping[str, Any]) -> str:
    """Return what a record is of."""
    what = f"{record['model']}, {record['engine']} {record['precision']}"
    return f"{what}, batch {record['batch']}" if "batch" in record else f"{what}, from JPEGs to Parquet"


def render(result: Mapping[str, Any]) -> str:
    """Return the whole page.

    Args:
        result: contents of gpu.json.
    """
    passes, runs = result["forward"], result["runs"]
    return "\n".join(
        [
            "# GPU check\n",
            *_conditions(result),
            "\n## Forward passes alone\n",
            PASSES,
            *_forward(passes),
            "\n## From JPEGs to Parquet\n",
            RUNS,
            *_table(_RUN_HEAD, [_run(run) for run in runs if run["reason"] is None]),
            "\n## Not measured\n",
            *(_missing([*passes, *runs]) or ["Nothing: everything planned was measured."]),
            "",
        ]
    )


def fell_back(proof: str) -> int | None:
    """Return how many layers ran on the CPU in the place of a GPU; None if the words do not tell."""
    counted = re.search(r"layers on CUDA, (\d+) on the CPU", proof)
    if counted:
        return int(counted[1])
    return 0 if "no node is on the CPU" in proof or "recorded as a CUDA graph" in proof else None


def _conditions(result: Mapping[str, Any]) -> list[str]:
    machine = result["machine"]
    versions = ", ".join(f"{library} {version}" for library, version in machine["versions"].items())
    weights = set(result["weights"].values())
    return [
        f"- device: {result['device']}",
        *(f"- GPU: {gpu}" for gpu in result["gpus"] or ["none reported by nvidia-smi"]),
        f"- CPU: {machine['processor']}, {machine['cores']} cores; load before: {machine['load_before']}",
        f"- Python {machine['python']}; {versions}",
        f"- {result['started_at']}; took {result['seconds']:.0f} s, {result['allowed_s']:.0f} s were allowed",
        *(f"- {words}" for words in sorted(weights)),
    ]


def _forward(passes: list[Mapping[str, Any]]) -> list[str]:
    sizes = list(dict.fromkeys(record["batch"] for record in passes))
    groups: dict[tuple[str, str], dict[int, Mapping[str, Any]]] = {}
    for record in passes:
        key = record["model"], f"{record['engine']} {record['precision']}"
        groups.setdefault(key, {})[record["batch"]] = record
    rows = []
    for key, records in groups.items():
        measured = [record for record in records.values() if record["reason"] is None]
        if measured:
            rates = [_figure(records[size].get("images_per_second"), 1) for size in sizes]
            first, last = records[sizes[0]], measured[-1]
            normalizing = _figure(last["normalize_ms"], 1)
            of_pass = f"{normalizing} of {last['ms']:.1f}" if normalizing != NONE else NONE
            vram = _figure(last["vram_mb"], 0) + (" (all GPUs)" if last["vram_of"] == "GPUs" else "")
            fallen = _figure(fell_back(last["info"]["proof"]), 0)
            rows.append([*key, *rates, _figure(first.get("ms"), 2), of_pass, fallen, vram])
    head = ["network", "engine", *(f"images/s, batch {size}" for size in sizes), f"ms, batch {sizes[0]}"]
    return _table([*head, "normalising, ms", "layers fallen back to the CPU", "VRAM, MiB"], rows)


_RUN_HEAD = [
    *("network", "engine", "images/s", "batch"),
    *(f"{stage}, ms" for stage in STAGES),
    *("lanes of reader, infer", "bottleneck", "layers fallen back to the CPU", "VRAM, MiB"),
]


def _run(record: Mapping[str, Any]) -> list[str]:
    run = record["run"]
    return [
        record["model"],
        f"{record['engine']} {record['precision']}",
        _figure(record["images_per_second"], 1),
        str(run["batch_size"]),
        *(_figure(_per_item_ms(run["stages"][stage]), 3) for stage in STAGES),
        f"{run['stages']['reader']['lanes']}, {run['stages']['infer']['lanes']}",
        str(run["bottleneck"]),
        _figure(fell_back(run["engine"]["proof"]), 0),
        _figure(run["peak_vram_mb"], 0),
    ]


def _per_item_ms(stage: Mapping[str, Any]) -> float | None:
    return 1000 * stage["busy_s"] / stage["items"] if stage["items"] else None


def _missing(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the reasons, each with what it kept from being measured, as a list."""
    reasons: dict[str, dict[str, list[str]]] = {}
    for record in records:
        if record["reason"] is not None:
            what = f"{record['model']} {record['engine']} {record['precision']}"
            parts = reasons.setdefault(record["reason"], {}).setdefault(what, [])
            size = str(record.get("batch", "from JPEGs"))
            parts.append(f"batch {size}" if "batch" in record and not parts else size)
    lines = []
    for reason, missing in reasons.items():
        several = "; ".join(f"{what} ({', '.join(parts)})" for what, parts in missing.items())
        lines.append(f"- not measured: {_escaped(reason)}: {several}")
    return lines


def _escaped(text: str) -> str:
    """Return a text of which Markdown takes nothing as its own."""
    return re.sub(r"([<>|`*_\[\]\\])", r"\\\1", text)


def _figure(value: float | None, digits: int) -> str:
    return NONE if value is None else f"{value:.{digits}f}"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---"] * 2 + ["--:"] * (len(head) - 2), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines] if rows else ["Nothing was measured."]
