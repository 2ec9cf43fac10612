"""Read image files: one source, one item."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from resnet_pipe.reader.reader import FileReader
from resnet_pipe.reader.source import FrameCounts, Item, Source, Span


@dataclass(frozen=True)
class ImageReader(FileReader):
    """Lists image files, wherever they are, and decodes them.

    With `accept_truncated`, a file that ends too early is processed as far as it goes.
    """

    expected_items: ClassVar[int] = 1

    accept_truncated: bool
    max_pixels: int

    def load(self) -> None:
        """See `Reader.load`."""
        from resnet_pipe.reader.images import decode  # noqa: F401 - later it would be charged to a source

    def may_split(self, _source: Source) -> bool:
        """Return False: an image is one item."""
        return False

    def spans(self, _source: Source, _alive: object = None) -> tuple[Span, ...]:
        """Return nothing: an image is read as a whole."""
        return ()

    def read(
        self,
        key: str,
        min_side: int | None,
        span: Span | None = None,
        counts: FrameCounts | None = None,
        alive: Callable[[], None] = lambda: None,
    ) -> Iterator[Item]:
        """Decode one source to exactly one item, upright: the first frame of an animation.

        Raises:
            SourceError: what `Files.read` raises, or `decode.decode`.
        """
        from resnet_pipe.reader.images.decode import decode  # loaded only where images are decoded

        yield decode(self.files.read(key, alive), self.max_pixels, self.accept_truncated, min_side)
