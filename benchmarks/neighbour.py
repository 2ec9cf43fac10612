"""What a run over much leaves of a file that another program has in memory.

usage: python -m benchmarks.neighbour [--memory 1.5] [--own 0.5] [--input 2] [--kinds images tar video]

Needs root on Linux, with version 1 of the control groups: a group of so much memory, in GiB, stands for the
machine that the run shares with a server. So many GiB have the server's file and what the run reads. The file
has been read once; then comes a run over images of 1 MiB, over the same in tar files, or over a video. What
counts is how much of the server's file is in memory afterwards.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from benchmarks import measure
from benchmarks.archives import pack
from benchmarks.overhead import write_one_layer
from jobs.samples import main as make_samples

JOB = """\
name: neighbour
reader: {{kind: {kind}, path: {path}}}
preprocess: {{resize: 256, crop: 224, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}}
infer: {{model: {model}, device: cpu, batch_size: 16}}
run: {{workers: 2}}
writer: {{kind: parquet, path: {directory}/out, fields: [logits]}}
"""
READERS = {"images": "images", "tar": "archive", "video": "video"}
GROUP = Path("/sys/fs/cgroup/memory/resnet-pipe-neighbour")
IMAGE_BYTES = 1 << 20
PER_ARCHIVE = 512
_COMMENT = 65_000


def padded(image: bytes) -> bytes:
    """Return a JPEG as it was, but with comments up to `IMAGE_BYTES`: to be read, and not decoded."""
    part = b"\xff\xfe" + (2 + _COMMENT).to_bytes(2, "big") + bytes(_COMMENT)
    return image[:2] + part * ((IMAGE_BYTES - len(image)) // len(part)) + image[2:]


def make_input(kind: str, folder: Path, size: int) -> None:
    """Write files of one kind, with so many bytes together."""
    folder.mkdir()
    if kind == "video":
        make_video(folder / "film.avi", size)
        return
    small = folder.with_name("small")
    make_samples(small, 48)
    images = [padded(path.read_bytes()) for path in sorted(small.iterdir())]
    for number in range(size // IMAGE_BYTES):
        path = folder / f"{number // PER_ARCHIVE:03d}" / f"{number:06d}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(images[number % len(images)])
    if kind == "tar":
        for part in sorted(folder.iterdir()):
            pack(sorted(part.iterdir()), folder / f"{part.name}.tar")
            shutil.rmtree(part)


def make_video(path: Path, size: int) -> None:
    """Write a film that is not compressed, so that reading it takes long and decoding does not."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("rawvideo", rate=30)
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        frame = np.zeros((720, 640), np.uint8)
        for number in range(size // frame.size):
            frame[:] = number % 251
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "yuv420p")))
        container.mux(stream.encode())


def resident(path: Path) -> int:
    """Return how many bytes of a file are in memory; its owner may know (mincore(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    size, page = path.stat().st_size, mmap.PAGESIZE
    descriptor = os.open(path, os.O_RDONLY)
    at = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    os.close(descriptor)
    pages = (ctypes.c_ubyte * -(-size // page))()
    if libc.mincore(ctypes.c_void_p(at), ctypes.c_size_t(size), pages):
        raise OSError(ctypes.get_errno(), "mincore", str(path))
    libc.munmap(ctypes.c_void_p(at), ctypes.c_size_t(size))
    return page * bytes(pages).count(1)


def touch(path: Path) -> None:
    """Have all of a file in memory, read once."""
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while file.read(1 << 20):
            pass


@contextmanager
def group(limit: int) -> Iterator[None]:
    """Put this process, and those that it starts, into a group with little memory."""
    GROUP.mkdir()
    (GROUP / "memory.limit_in_bytes").write_text(str(limit))
    (GROUP / "cgroup.procs").write_text(str(os.getpid()))
    try:
        yield
    finally:
        (GROUP.parent / "cgroup.procs").write_text(str(os.getpid()))
        GROUP.rmdir()


def main() -> None:
    """Measure, print and save."""
    parser = measure.parser(__doc__, repeats=1)
    for name, value in (("memory", 1.5), ("own", 0.5), ("input", 2.0)):
        parser.add_argument(f"--{name}", type=float, default=value)
    parser.add_argument("--kinds", nargs="*", choices=READERS, default=[*READERS])
    arguments = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in arguments.kinds}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        model, server, job = directory / "one_layer.onnx", directory / "server", directory / "job.yaml"
        write_one_layer(model)
        subprocess.run(
            ["head", "-c", str(int(arguments.own * 2**30)), "/dev/urandom"],
            stdout=server.open("wb"),
            check=True,
        )
        for kind in arguments.kinds:
            folder = directory / kind
            make_input(kind, folder, int(arguments.input * 2**30))
            job.write_text(JOB.format(kind=READERS[kind], path=folder, model=model, directory=directory))
            os.sync()
            for path in folder.rglob("*.*"):
                with path.open("rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            with group(int(arguments.memory * 2**30)):
                for _ in range(arguments.repeats):
                    touch(server)
                    before = resident(server)
                    done = measure.resnet_pipe(job)
                    left = resident(server) / before
                    ours = sum(resident(path) for path in folder.rglob("*.*"))
                    found[kind].append({"left": left, "read_left_bytes": ours, "rate": done.rate})
                    print(
                        f"{kind}: {left:.0%} left, {ours >> 20} MiB of its own, {done.rate:.0f}/s", flush=True
                    )
            shutil.rmtree(folder)
            shutil.rmtree(directory / "out")
    measure.save("neighbour", {"memory_gib": arguments.memory, "own_gib": arguments.own, "found": found})


if __name__ == "__main__":
    main()
