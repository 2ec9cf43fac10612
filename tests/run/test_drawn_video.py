"""Videos with labels drawn on: of the track that was read; and what becomes of those that cannot be made."""

from __future__ import annotations

from pathlib import Path

import av
from av.stream import Disposition

from tests.remuxing import joined
from tests.run.jobs import VideoFolder, assert_clean, records

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
    assert source["notes"] == ["it has 2 video tracks, 0 to 1: 1 was read; reader.track chooses another"]
    said = film.run("--set", "reader.track=0").expect(2).stderr
    assert "reader.track: null -> 0" in said
    film.run("--set", "reader.track=0", "--fresh").expect(0)
    assert [number for _, _, number in film.numbers()] == list(range(12))
    with av.open(str(film.out / "video/both.mp4.mp4")) as drawn:
        assert sum(1 for _ in drawn.decode(video=0)) == 12
    assert_clean(film.out)
