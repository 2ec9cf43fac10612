"""Which images and videos can be read here: one sample of each kind is decoded, as in a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from resnet_pipe.doctor.examination import Finding
from resnet_pipe.errors import RunError
from resnet_pipe.preprocess.geometry import Geometry
from resnet_pipe.reader.files import Folder
from resnet_pipe.reader.images.format import EXTENSIONS
from resnet_pipe.reader.images.reader import ImageReader
from resnet_pipe.reader.reader import Reader
from resnet_pipe.reader.video.reader import EXTENSIONS as VIDEO_EXTENSIONS
from resnet_pipe.reader.video.reader import VideoReader
from resnet_pipe.reader.video.sampling import Sampling
from resnet_pipe.run.workers.pool import WorkerPool
from resnet_pipe.run.workers.slots import SlotShape
from resnet_pipe.study.items import collect

SAMPLES = Path(__file__).parent / "samples"
"""Pictures of 32 x 32 pixels, all of one colour: `COLOUR`."""
COLOUR = (200, 100, 50)
_IMAGES = {
    "sample.jpg": "JPEG",
    "sample.png": "PNG",
    "sample.webp": "WebP",
    "sample.gif": "GIF",
    "sample.bmp": "BMP",
    "sample.tif": "TIFF",
    "sample.avif": "AVIF",
}
_HEIF = {"sample.heic": "HEIC"}
_VIDEOS = {
    "h264.mp4": "H.264",
    "hevc.mp4": "HEVC",
    "vp8.webm": "VP8",
    "vp9.webm": "VP9",
    "av1.mp4": "AV1",
    "mpeg4.mp4": "MPEG-4",
    "mpeg2.mkv": "MPEG-2",
    "mjpeg.mov": "Motion JPEG",
}
_SIDE = 32
_TOLERANCE = 12
"""Of 255: lossy codecs, and the colours of videos, round."""
_PIXELS = 1 << 20
_TIMEOUT_S = 20.0
_AV1_DECODERS = ("libdav1d", "libaom-av1", "libgav1")
"""FFmpeg's own, called av1, needs a GPU."""
_CHECK = "decoders"


def check(samples: Path = SAMPLES) -> Iterator[Finding]:
    """Decode a sample of each kind of file in a worker process, and look for the codecs that are needed."""
    files = Folder.of([samples], False, EXTENSIONS)
    images = ImageReader(files, accept_truncated=False, max_pixels=_PIXELS)
    kinds, libraries = _IMAGES, f"simplejpeg {_version('simplejpeg')}, Pillow {_version('pillow')}"
    remedy = "pip install --upgrade --force-reinstall pillow simplejpeg"
    if find_spec("pillow_heif") is None:
        yield Finding(_CHECK, "OK", "cannot read HEIC; to add it: pip install 'resnet-pipe[heif]'")
    else:
        kinds, libraries = _IMAGES | _HEIF, f"{libraries}, pillow-heif {_version('pillow-heif')}"
        remedy += " pillow-heif"
    yield from _decoded("images", images, kinds, libraries, remedy)
    files = Folder.of([samples], False, VIDEO_EXTENSIONS)
    videos = VideoReader(files, Sampling(), "pyav", _PIXELS)
    remedy = "pip install --upgrade --force-reinstall av"
    try:
        import av.codec

        codecs = av.codec.codecs_available
    except ImportError as error:
        text = f"videos cannot be read, because PyAV cannot be imported: {error}"
        yield Finding(_CHECK, "FAIL", text, remedy)
        return
    av1 = next((name for name in _AV1_DECODERS if name in codecs), "no decoder")
    libraries = f"PyAV {_version('av')}; AV1: {av1}"
    yield from _decoded("videos", videos, _VIDEOS, libraries, remedy)
    yield _encoder(remedy)


def _decoded(
    what: str, reader: Reader, kinds: Mapping[str, str], libraries: str, remedy: str
) -> Iterator[Finding]:
    """Yield which kinds of files can be read, on one line, and on one each, those that cannot."""
    try:
        problems = _problems(reader, kinds)
    except RunError as error:
        yield Finding(_CHECK, "FAIL", f"cannot read any {what}: {error.problem}", error.remedy or remedy)
        return
    read = [kind for name, kind in kinds.items() if name not in problems]
    yield Finding(_CHECK, "OK", f"can read {what}: {', '.join(read) or 'none'} ({libraries})")
    for name, problem in problems.items():
        yield Finding(_CHECK, "WARN", f"cannot read {kinds[name]} {what}: {problem}", remedy)


def _problems(reader: Reader, kinds: Mapping[str, str]) -> dict[str, str]:
    """Decode the samples in a worker process and return the problems, by name of the sample.

    Raises:
        RunError: the directory cannot be listed, or worker processes do not work at all.
    """
    sources = [source for source in reader.list_sources() if source.key in kinds]
    geometry = Geometry(_SIDE, _SIDE, "bilinear", "exact")
    shape = SlotShape(workers=1, per_worker=2, batch_size=1, size=geometry.size)
    with closing(WorkerPool(reader, geometry, shape, _TIMEOUT_S, traced=False)) as pool:
        items, failures = collect(pool, sources, len(sources))
    colours = {
        source.key: items[number, 0].pixels for number, source in enumerate(sources) if (number, 0) in items
    }
    problems = {failure.key: failure.message for failure in failures}
    for name in kinds:
        item = colours.get(name)
        if name not in problems and item is None:
            problems[name] = "its sample is missing from the installation"
        elif item is not None and np.abs(item.astype(int) - COLOUR).max() > _TOLERANCE:
            mean = item.mean(axis=(0, 1)).round().astype(int).tolist()
            problems[name] = f"its pixels come out as RGB {mean}, not {list(COLOUR)}"
    return problems


def _encoder(remedy: str) -> Finding:
    """Return whether the writer `video` can do its work."""
    from av.codec import Codec
    from av.codec.codec import UnknownCodecError

    try:
        Codec("libx264", "w")
    except UnknownCodecError:
        text = "cannot write annotated videos (writer.kind: video): this PyAV has no libx264"
        return Finding(_CHECK, "WARN", text, remedy)
    return Finding(_CHECK, "OK", "can write annotated videos: H.264 (libx264)")


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "of unknown version"
