"""Long videos and many: does memory grow with length, and does the engine stay busy with short clips?

usage: python -m benchmarks.long_and_many MODEL.onnx [--minutes 30 120] [--clips 10000]

Peaks of the run and its workers on every frame of films of 320x240 pixels, 10 frames a second, with a network
of one layer; then MODEL on clips of two seconds, one frame a second of each.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from benchmarks import measure
from benchmarks.overhead import write_one_layer
from jobs.sample_videos import Clip, write

JOB = """\
name: long-and-many
reader: {{kind: video, path: {videos}, {sampling}}}
preprocess: {{resize: 256, crop: 224, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}}
infer: {{model: {model}, device: cpu}}
writer: {{kind: parquet, path: {out}, fields: [logits]}}
run: {{workers: 2}}
"""
MINUTE = Clip(320, 240, Fraction(10), 60)
CLIP = Clip(160, 120, Fraction(10), 2)


def repeat(minute: Path, film: Path, times: int) -> None:
    """Write a film that shows the same again and again, without encoding it again."""
    with av.open(str(minute)) as source, av.open(str(film), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        offset = 0
        for _ in range(times):
            source.seek(0)
            end = 0
            for packet in source.demux(stream):
                if packet.dts is not None and packet.pts is not None:
                    end = max(end, packet.pts + (packet.duration or 0))
                    packet.pts, packet.dts, packet.stream = packet.pts + offset, packet.dts + offset, copy
                    target.mux(packet)
            offset += end


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--minutes", type=int, nargs=2, default=(30, 120))
    parser.add_argument("--clips", type=int, default=10_000)
    arguments = parser.parse_args()
    peaks: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        job, one_layer = directory / "job.yaml", directory / "one_layer.onnx"
        write_one_layer(one_layer)
        write(directory / "minute.mp4", MINUTE)
        for minutes in arguments.minutes:
            film = directory / f"{minutes}.mp4"
            repeat(directory / "minute.mp4", film, minutes)
            job.write_text(
                JOB.format(videos=film, sampling="every: 1", model=one_layer, out=directory / "film")
            )
            peaks[minutes] = measure.resnet_pipe(job).report["peak_rss_mb"]
            print(f"{minutes} minutes: peak {peaks[minutes]:.1f} MB", flush=True)
        ratio = peaks[arguments.minutes[1]] / peaks[arguments.minutes[0]]
        print(f"ratio {ratio:.3f}")
        clips = directory / "clips"
        clips.mkdir()
        write(directory / "clip.mp4", CLIP)
        for number in range(arguments.clips):
            (clips / f"{number:06d}.mp4").hardlink_to(directory / "clip.mp4")
        model = arguments.model.resolve()
        job.write_text(JOB.format(videos=clips, sampling="fps: 1", model=model, out=directory / "out"))
        first, second = run(job), run(job)
    infer = first["stages"]["infer"]
    busy = infer["busy_s"] / infer["lanes"] / first["run_seconds"]
    print(f"{arguments.clips} clips: {first['items']} frames in {first['seconds']:.0f} s")
    print(f"engine busy {busy:.3f}, peak {first['peak_rss_mb']:.1f} MB")
    print(f"again, with nothing to do: {second['seconds']:.2f} s")
    measure.save("long-and-many", {"peak_rss_mb": peaks, "ratio": ratio, "clips": first, "again": second})


def run(job: Path) -> dict[str, Any]:
    """Run a job, and return its run.json."""
    command = [sys.executable, "-m", "resnet_pipe", "run", str(job), "--quiet", "--json"]
    result: dict[str, Any] = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout
    )
    return result


if __name__ == "__main__":
    main()
