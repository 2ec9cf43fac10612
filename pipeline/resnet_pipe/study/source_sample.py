"""A sample of a job's sources, chosen evenly, laid out as a folder of links."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from resnet_pipe.errors import RunError
from resnet_pipe.job.job import Job
from resnet_pipe.reader.listing import PassedOver
from resnet_pipe.reader.section import ReaderSection, nothing_found
from resnet_pipe.run.plan import SourceTable
from resnet_pipe.run.stop import Stop
from resnet_pipe.store.names import path_of

MAX_ITEMS = 4096
"""A trial never has more, however fast the machine is."""
ITEMS_PER_SOURCE = 64
"""The sample takes the first frames of a video: seconds of many videos say more than all of one."""
MIN_SOURCES = 8


@dataclass(frozen=True)
class Sample:
    """Sources that represent all those that were found: at least one absolute path, evenly spread over them.

    The section is of the job's reader, the extensions of the files that it takes from a folder.
    """

    section: ReaderSection
    extensions: frozenset[str]
    paths: tuple[Path, ...]
    found: int

    def lay_out(self, folder: Path, items: int) -> dict[str, object]:
        """Make a folder of links to about `items` items; of images, exactly as many, always the same.

        Links, and not a list of paths, because a small sample has to be read several times over to last long
        enough, and a reader takes each path once. Returned is what the `reader` section of a job over the
        folder says differently.
        """
        folder.mkdir()
        changes: dict[str, object] = {"path": [str(folder)], "recursive": False}
        count = items
        if self.section.description.has_frames:
            count = max(MIN_SOURCES, -(-items // ITEMS_PER_SOURCE))
            changes |= self.section.limited(-(-items // count))
        for number in range(count):
            at = number * len(self.paths) // count if count < len(self.paths) else number % len(self.paths)
            path = self.paths[at]
            extension = path.suffix.lower()
            if extension not in self.extensions:
                extension = self.section.description.usual_extension
            (folder / f"{number:06d}{extension}").symlink_to(path)
        return changes

    def forget(self) -> None:
        """Have Linux drop the images from its memory, so that every trial reads them from the disk.

        A job over new files does. From memory, one worker would look like enough where several have to wait
        for a slow disk together. Videos are large, and are read ahead.
        """
        if self.section.description.has_frames or not hasattr(os, "posix_fadvise"):
            return
        for path in self.paths:
            if path.is_file():  # opening a pipe would wait
                # What cannot be opened, the trial will report.
                with suppress(OSError), path.open("rb", buffering=0) as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def take_sample(job: Job, stop: Stop | None = None) -> Sample:
    """Choose a sample; a stop that is asked for ends the listing.

    Raises:
        RunError: there are none, or a directory cannot be listed.
        StoppedError: somebody asked for a stop.
    """
    reader, passed_over, table = job.reader.make_reader(), PassedOver(), SourceTable()
    sources = reader.list_sources(passed_over)
    for source in sources if stop is None else stop.during(sources):
        table.append(source)
    if not len(table):
        raise RunError(*nothing_found(job.reader, passed_over))
    root, count = reader.root, min(len(table), MAX_ITEMS)
    chosen = {number * len(table) // count for number in range(count)}
    paths = tuple(path_of(root, source.key) for at, source in enumerate(table) if at in chosen)
    return Sample(job.reader, reader.reach.extensions, paths, len(table))
