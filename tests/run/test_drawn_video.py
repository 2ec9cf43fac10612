"""Videos with labels drawn on: of the track that was read; and what becomes of those that cannot be made."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import av
from av.stream import Disposition

from tests.remuxing import joined, remux
from tests.run.jobs import VideoFolder, assert_clean, records
from tests.videos import frame_times

DRAWN = "[{kind: parquet, path: out, fields: [features]}, {kind: video, k: 1}]"


def test_the_track_that_was_read_is_drawn_and_named_in_the_record(film: VideoFolder, tmp_path: Path) -> None:
    first = film.add_video("first.mp4").rename(tmp_path / "first.mp4")
    second = film.add_video("second.mp4", frames=8, shift=60).rename(tmp_path / "second.mp4")
    joined((first, second), film.videos / "both.mp4", (Disposition(0), Disposition.default))
    film.describe(writer=DRAWN)
    film.run().expect(0)
    assert [number for _, _, number in film.numbers()] == list(range(60, 68))
    with av.open(str(film.out / "video/both.mp4.mp4")) as drawn:
        assert sum(1 for _ in drawn.decode(video=0)) == 8
    ((source,),) = (record["sources"] for record in records(film.out))
    assert source["notes"] == [
        "it has 2 video tracks (0 to 1): track 1 was read; reader.track selects another"
    ]
    said = film.run("--set", "reader.track=0").expect(2).stderr
    assert "reader.track: null -> 0" in said
    film.run("--set", "reader.track=0", "--fresh").expect(0)
    assert [number for _, _, number in film.numbers()] == list(range(12))
    with av.open(str(film.out / "video/both.mp4.mp4")) as drawn:
        assert sum(1 for _ in drawn.decode(video=0)) == 12
    assert_clean(film.out)


def with_gap(job: VideoFolder, name: str, hours: int) -> Path:
    """Add a video that stands still for hours between two of its frames."""
    plain = job.add_video("plain.mkv")
    gap = hours * 3600 * 1000
    made = remux(plain, job.videos / name, lambda _, data: data, times=lambda ms: ms + gap * (ms > 200))
    plain.unlink()
    return made


REFUSED = """
import sys
if "resnet_pipe.writer.annotated.drawing_process" in sys.orig_argv:
    import av
    av_open = av.open

    class Refused:
        def __init__(self, container):
            self.container = container

        def __getattr__(self, name):
            return getattr(self.container, name)

        def mux(self, packets):
            if any(packet.pts for packet in packets):
                raise av.InvalidDataError(22, "Invalid argument")
            self.container.mux(packets)

    def open_(file, mode="r", **options):
        container = av_open(file, mode, **options)
        return Refused(container) if "refused" in str(file) and mode == "w" else container

    av.open = open_
"""
"""In the process that draws labels, a frame that is not the first of one file is refused."""


def test_a_video_that_cannot_be_drawn_leaves_no_file_and_the_failure_says_why(film: VideoFolder) -> None:
    with_gap(film, "days.mkv", 40)
    with_gap(film, "months.mkv", 1000)
    film.add_video("refused.mkv", frames=60)
    film.describe(writer=DRAWN)
    film.run(children=REFUSED).expect(3)
    frames = {"days.mkv": 12, "months.mkv": 12, "refused.mkv": 60}
    assert Counter(row["path"] for row in film.rows()) == frames
    failures = film.failures()
    assert set(failures) == {"months.mkv", "refused.mkv"}
    for path, failure in failures.items():
        assert (failure["stage"], failure["error"]) == ("writer", "unsupported")
        assert (failure["status"], failure["rows"]) == ("partial", frames[path])
    assert "two of its frames are 1000 hours apart" in failures["months.mkv"]["message"]
    assert "Invalid argument" in failures["refused.mkv"]["message"]
    assert [path.name for path in (film.out / "video").iterdir()] == ["days.mkv.mp4"]
    drawn = frame_times(film.out / "video/days.mkv.mp4")
    assert drawn == frame_times(film.videos / "days.mkv")
    assert (drawn[-1] or 0) > 40 * 3600
    assert_clean(film.out)
