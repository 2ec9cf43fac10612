"""The videos, and parts of videos, that manifests name as sources, each in a row of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from resnet_pipe.errors import SourceError
from resnet_pipe.reader.files import LargeFiles
from resnet_pipe.reader.manifests.clip import clip_of, key_of_clip
from resnet_pipe.reader.manifests.manifests import OF_ROW, Manifests
from resnet_pipe.reader.opened import Opened
from resnet_pipe.reader.source import FrameCounts, Item, Source, Span
from resnet_pipe.reader.video.reader import EXTENSIONS, VideoReader

_NO_CLIP = "#t="
"""After the number of a row, in the key of one that says no clip."""


@dataclass(frozen=True)
class Clips(Manifests):
    """The videos that manifests name, as `LargeFiles`: parts of them where `start` and `end` name columns.

    These hold seconds after the first frame. A row with others is a source too: reading it fails. `videos`
    are the same files as `named`.
    """

    videos: LargeFiles = field(kw_only=True)
    start: str | None = None
    end: str | None = None

    @property
    def extensions(self) -> frozenset[str]:
        """See `Files.extensions`; a manifest may name others."""
        return EXTENSIONS

    @property
    def _columns(self) -> dict[str, str]:
        return super()._columns | {f"reader.{key}": name for key, name in self._times.items()}

    @property
    def _times(self) -> dict[str, str]:
        given = {"start": self.start, "end": self.end}
        return {key: name for key, name in given.items() if name is not None}

    def _key_of_row(self, row: str, name: object, *times: object) -> str:
        file = super()._key_of_row(row, name)
        try:
            return file if file == row else key_of_clip(file, **dict(zip(self._times, times, strict=True)))
        except ValueError:
            return f"{row}{_NO_CLIP}"

    def announce(self, key: str) -> None:
        """See `Files.announce`: nothing is read ahead."""

    @contextmanager
    def at_hand(self, key: str, alive: Callable[[], None], again: bool = False) -> Iterator[Opened]:
        """See `LargeFiles.at_hand`: the whole file."""
        refusal = self._refusal(key)
        if refusal is not None:
            raise refusal
        with self.videos.at_hand(clip_of(key).file, alive, again) as opened:
            yield opened

    def sweep(self) -> None:
        """See `LargeFiles.sweep`."""
        self.videos.sweep()

    def as_files(self, sources: Sequence[Source], folder: Path, alive: Callable[[], None]) -> list[Path]:
        """See `Files.as_files`: the whole files of those that are not refused."""
        read = [source for source in sources if self._refusal(source.key) is None]
        files = list(dict.fromkeys(source._replace(key=clip_of(source.key).file) for source in read))
        return [
            *self.videos.as_files(files, folder, alive),
            *[folder / "refused"] * (len(sources) - len(read)),
        ]

    def _identified(self, key: str) -> Source:
        return super()._identified(clip_of(key).file)._replace(key=key)

    def _refusal(self, key: str) -> SourceError | None:
        manifest, of_row, row = key.partition(OF_ROW)
        if of_row and row.endswith(_NO_CLIP):
            text = f"row {row.removesuffix(_NO_CLIP)} of {manifest} says no clip: start and end are seconds"
            return SourceError("reader", "unsupported", f"{text}, 0 or more, and start is before end")
        return super()._refusal(clip_of(key).file)


class ClipReader(VideoReader):
    """Reads of each video what its key says."""

    def spans(self, source: Source, alive: Callable[[], None] = lambda: None) -> tuple[Span, ...]:
        """See `Reader.spans`."""
        return self._of(source.key).spans(source, alive)

    def count_items(self, key: str, alive: Callable[[], None]) -> int:
        """See `Reader.count_items`."""
        return self._of(key).count_items(key, alive)

    def read(
        self,
        key: str,
        min_side: int | None,
        span: Span | None = None,
        counts: FrameCounts | None = None,
        alive: Callable[[], None] = lambda: None,
    ) -> Iterator[Item]:
        """See `Reader.read`."""
        return self._of(key).read(key, min_side, span, counts, alive)

    def _of(self, key: str) -> VideoReader:
        clip = clip_of(key)
        sampling = replace(self.sampling, start=clip.start, end=clip.end)
        return VideoReader(
            self.files, sampling, self.backend, self.max_pixels, self.track, self.span_s, self.long_bytes
        )
