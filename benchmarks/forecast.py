"""Does a run take as long as `resnet-pipe plan` has said? Ten jobs of different kinds, forecast and then run.

usage: python -m benchmarks.forecast MODEL.onnx [--seconds 30] [--run-seconds 90] [--only NAME ...]

Each job is as large as takes about --run-seconds on this machine, by a short run of it; then it is forecast
within --seconds, and run with `resnet-pipe run`, whose time is taken from the command to its end. An
interval should hold what happens in nine cases of ten.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from benchmarks import measure
from jobs.sample_videos import Clip, frames
from jobs.samples import photographs, sample
from PIL import Image

JOB = """\
name: forecast
reader: {reader}
infer: {{model: {model}, device: cpu, engine: {engine}}}
writer: {{kind: parquet, path: {out}, fields: [logits]}}
"""
DISTINCT = 300
"""Images and clips that differ; a job of more has links to them."""
FEW, MOST = 64, 200_000
"""Items of the short run that tells how large a job has to be, and of a job."""


@dataclass(frozen=True)
class Kind:
    """A kind of job.

    Attributes:
        make: writes so many distinct sources into a folder.
        reader: its section, with {path} to be put in.
        distinct: how many.
    """

    make: Callable[[Path, int], None]
    reader: str
    distinct: int = DISTINCT


def images(side: Callable[[np.random.Generator], int], kinds: Iterable[str]) -> Callable[[Path, int], None]:
    """Return what makes images whose longer side a function says, of each of some extensions in turn."""
    extensions = [*kinds]

    def make(folder: Path, count: int) -> None:
        photos, rng = photographs(), np.random.default_rng(3)
        for number in range(count):
            picture = Image.fromarray(sample(photos, rng))
            longest = side(rng)
            size = (longest, round(longest * picture.height / picture.width))
            picture.resize(size).save(
                folder / f"{number:04d}{extensions[number % len(extensions)]}", quality=90
            )

    return make


def skewed(rng: np.random.Generator) -> int:
    """Return a side such that few images have most of the pixels."""
    return int(np.clip(rng.lognormal(5.5, 0.8), 64, 5000))


def clips(width: int, height: int, shortest_s: float, longest_s: float) -> Callable[[Path, int], None]:
    """Return what makes videos of 25 frames a second that last from so long to so long."""

    def make(folder: Path, count: int) -> None:
        rng = np.random.default_rng(4)
        for number in range(count):
            clip = Clip(width, height, Fraction(25), float(rng.uniform(shortest_s, longest_s)))
            with av.open(str(folder / f"{number:04d}.mp4"), "w") as container:
                stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "g": "50"})
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                for frame in frames(clip):
                    container.mux(
                        stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24"))
                    )
                container.mux(stream.encode())

    return make


SMALL = images(lambda _rng: 500, [".jpg"])
FILMS = clips(640, 360, 20, 60)
KINDS = {
    "small JPEGs": Kind(SMALL, "{{kind: images, path: {path}}}"),
    "large JPEGs": Kind(images(lambda _rng: 4000, [".jpg"]), "{{kind: images, path: {path}}}", 40),
    "JPEGs and PNGs": Kind(
        images(lambda _rng: 1000, [".jpg", ".png"]), "{{kind: images, path: {path}}}", 100
    ),
    "skewed sizes": Kind(images(skewed, [".jpg"]), "{{kind: images, path: {path}}}"),
    "a tar file": Kind(SMALL, "{{kind: archive, path: {path}/all.tar}}"),
    "a manifest": Kind(SMALL, "{{kind: manifest, path: {path}/all.csv, column: file}}"),
    "clips, every frame": Kind(clips(320, 240, 1, 4), "{{kind: video, path: {path}}}", 30),
    "films, every 10th": Kind(FILMS, "{{kind: video, path: {path}, every: 10}}", 4),
    "films, 1 a second": Kind(FILMS, "{{kind: video, path: {path}, fps: 1}}", 4),
    "films, key frames": Kind(FILMS, "{{kind: video, path: {path}, keyframes: true}}", 4),
}


@dataclass(frozen=True)
class Made:
    """A job of some kind in a folder; its sources are links to a few, as many as it is to have."""

    folder: Path
    kind: Kind
    model: Path
    engine: str

    def job(self, count: int, name: str) -> Path:
        """Return a job of so many sources."""
        path = self.folder / name
        path.mkdir()
        originals = sorted((self.folder / "originals").iterdir())
        for number in range(count):
            original = originals[number * 7 % len(originals)]
            os.link(original, path / f"{number:06d}{original.suffix}")
        if ".tar" in self.kind.reader:
            with tarfile.open(path / "all.tar", "w") as tar:
                for file in sorted(path.glob("*.jpg")):
                    tar.add(file, file.name)
                    file.unlink()
        if ".csv" in self.kind.reader:
            names = sorted(file.name for file in path.glob("*.jpg"))
            (path / "all.csv").write_text("\n".join(["file", *names]) + "\n")
        job = self.folder / f"{name}.yaml"
        reader, out = self.kind.reader.format(path=path), self.folder / f"{name}-out"
        job.write_text(JOB.format(reader=reader, model=self.model, engine=self.engine, out=out))
        return job


def make(folder: Path, kind: Kind, model: Path, engine: str) -> Made:
    """Make the sources of a kind."""
    originals = folder / "originals"
    originals.mkdir()
    kind.make(originals, kind.distinct)
    return Made(folder, kind, model, engine)


def run(job: Path) -> tuple[float, Mapping[str, Any]]:
    """Run a job from nothing; return the seconds of the command, and its run.json."""
    started = time.perf_counter()
    printed = measure.output([sys.executable, "-m", "resnet_pipe", "run", str(job), "--quiet", "--json"])
    return time.perf_counter() - started, json.loads(printed)


def sources_for(made: Made, seconds: float) -> int:
    """Return about how many sources take so long."""
    few = min(FEW, made.kind.distinct)
    _, told = run(made.job(few, "few"))
    each_s = (told["run_seconds"] - told["first_batch_s"]) / few
    return int(np.clip(seconds / each_s, 8, MOST))


def judge(name: str, made: Made, seconds: float, run_s: float) -> dict[str, Any]:
    """Forecast a job and run it; return both."""
    count = sources_for(made, run_s)
    job = made.job(count, "job")
    command = [sys.executable, "-m", "resnet_pipe", "plan", str(job), "--quiet", "--json"]
    told = json.loads(measure.output([*command, "--seconds", str(seconds)]))["forecast"]
    took, ran = run(job)
    size = sum(file.stat().st_size for file in (made.folder / "job-out").rglob("*.parquet"))
    low, high = told["seconds"]["low"], told["seconds"]["high"]
    print(
        f"{name:<20}{count:>7} sources  {low:>7.1f} to {high:>7.1f} s  took {took:>7.1f} s"
        f"  {'inside' if low <= took <= high else 'OUTSIDE'}",
        flush=True,
    )
    return {
        "kind": name,
        "sources": count,
        "forecast": told,
        "took_s": round(took, 2),
        "items": ran["items"],
        "peak_rss_mb": ran["peak_rss_mb"],
        "bytes": size,
        "inside": low <= took <= high,
    }


def main() -> None:
    """Forecast, run, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--run-seconds", type=float, default=90)
    parser.add_argument("--only", nargs="*", choices=KINDS, default=[*KINDS])
    arguments = parser.parse_args()
    results = []
    for name in arguments.only:
        with tempfile.TemporaryDirectory() as folder:
            made = make(Path(folder), KINDS[name], arguments.model.resolve(), arguments.engine)
            results.append(judge(name, made, arguments.seconds, arguments.run_seconds))
    inside = sum(result["inside"] for result in results)
    print(f"{inside} of {len(results)} runs took as long as was forecast")
    measure.save("forecast", {"seconds": arguments.seconds, "inside": inside, "results": results})


if __name__ == "__main__":
    main()
