"""One 720p H.264 film through resnet-pipe, against a script, decoding alone and the network alone.

usage: python -m benchmarks.video MODEL.onnx [--seconds 180] [--repeats 5]

1 fps: against benchmarks/peers/cv2_video.py, which reads every frame with cv2.VideoCapture and takes one a
second; both infer with cv2.dnn on the CPU. Every frame, of a tenth of that film: against decoding with PyAV
and all cores, and against the network alone.
"""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path

import av
from benchmarks import measure
from jobs.sample_videos import Clip, frames
from numpy.random import default_rng

JOB = """\
name: video
reader: {{kind: video, path: {video}, {sampling}}}
infer: {{model: {model}, device: cpu}}
writer: {{kind: parquet, path: {out}, fields: [logits]}}
"""
BIT_RATE = 4_000_000


def make_film(path: Path, seconds: float) -> None:
    """Write a film with grain, so that it has the bit rate of one that was filmed."""
    clip, rng = Clip(1280, 720, Fraction(30), seconds), default_rng(0)
    grain = rng.integers(0, 12, (clip.height, clip.width * 2, 3)).astype("uint8")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=clip.rate, options={"preset": "veryfast", "g": "60"})
        stream.width, stream.height, stream.pix_fmt = clip.width, clip.height, "yuv420p"
        stream.bit_rate = BIT_RATE
        for frame in frames(clip):
            left = int(rng.integers(clip.width))
            noisy = frame // 2 + frame // 4 + grain[:, left : left + clip.width]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noisy, "rgb24")))
        container.mux(stream.encode())


def main() -> None:
    """Measure, print and save."""
    parser = measure.parser(__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--seconds", type=float, default=180)
    arguments = parser.parse_args()
    model = arguments.model.resolve()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        film, excerpt = directory / "film.mp4", directory / "excerpt.mp4"
        make_film(film, arguments.seconds)
        make_film(excerpt, arguments.seconds / 10)
        jobs = {"sampled": (film, "fps: 1"), "all": (excerpt, "every: 1")}
        for job, (video, sampling) in jobs.items():
            text = JOB.format(video=video, sampling=sampling, model=model, out=directory / job)
            (directory / f"{job}.yaml").write_text(text)
        parquet = directory / "peer.parquet"
        rates = measure.compare(
            f"video-{model.stem}",
            {
                "resnet-pipe, 1 fps": lambda: measure.resnet_pipe(directory / "sampled.yaml"),
                "script, 1 fps": lambda: measure.script("peers.cv2_video", film, model, parquet, 1),
                "resnet-pipe, all": lambda: measure.resnet_pipe(directory / "all.yaml"),
                "decoding alone": lambda: measure.script("decode_video", excerpt),
                "network alone": lambda: measure.script("raw_cv2", model, 16, 20),
            },
            arguments.repeats,
            seconds=arguments.seconds,
        )
    sampled = rates["resnet-pipe, 1 fps"] / rates["script, 1 fps"]
    every = rates["resnet-pipe, all"] / min(rates["decoding alone"], rates["network alone"])
    print(f"1 fps: {sampled:.2f} times the script; all frames: {every:.3f} of the slower of the two alone")


if __name__ == "__main__":
    main()
