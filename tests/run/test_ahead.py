"""Results that overtake a slow video wait in memory: so many, and then the other workers wait as well."""

from __future__ import annotations

import time

import pytest

from resnet_pipe.run import tasks
from tests.run.faults import FRAMES, Gate, shorten_spans
from tests.run.jobs import VideoFolder, assert_clean, assert_same_rows, wait_until

CLIPS = 12
"""Of twelve frames each, 3.2 kB of results a frame."""


def ahead(size: int) -> str:
    """Return the fault that only so many bytes of results may overtake a task."""
    return f"""
from resnet_pipe.run import tasks

tasks.AHEAD_BYTES = {size}
"""


FIRST_HANGS = f"""
{FRAMES}
    def before_frame(key, index):
        (FOLDER / f"begun-{{key}}").touch()
        if key == "a.mkv":
            wait_at("gate")
"""


def test_what_may_overtake_a_slow_video_is_bounded(film: VideoFolder) -> None:
    film.add_video("a.mkv")
    for number in range(CLIPS):
        film.add_video(f"clip-{number:02d}.mkv", shift=number)
    film.describe(workers=2)
    undisturbed = film.undisturbed()

    def begun() -> int:
        return len(list(film.folder.glob("begun-clip-*")))

    with film.start(faults=ahead(60_000) + FIRST_HANGS) as run:
        Gate(film).wait()
        # Two clips are enough; the other worker has two tasks, and one waits behind the slow video.
        wait_until(lambda: begun() >= 2, "two clips have overtaken the slow video")
        time.sleep(0.5)
        assert begun() <= 5
        Gate(film).open()
        run.end().expect(0)
    assert begun() == CLIPS
    assert_same_rows(film.out, undisturbed)
    assert_clean(film.out)


def test_a_run_in_which_nothing_may_be_overtaken_ends_all_the_same(
    film: VideoFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.mkv", "c.mkv"):
        film.add_video(name)
    for name in ("b.mkv", "d.mkv"):
        film.add_video(name, 60)
    film.describe(workers=2)
    undisturbed = film.undisturbed()
    shorten_spans(monkeypatch)
    monkeypatch.setattr(tasks, "AHEAD_BYTES", 0)
    film.run().expect(0)
    assert_same_rows(film.out, undisturbed)
    assert_clean(film.out)
