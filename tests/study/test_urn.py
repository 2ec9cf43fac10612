"""What trials draw is like the whole, each time other files, and always the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from resnet_pipe.study.urn import Urn


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """A hundred files: nine of ten are small .jpg, the others large .PNG, the larger the later."""
    paths = [tmp_path / f"{number:03d}{'.PNG' if number % 10 == 3 else '.jpg'}" for number in range(100)]
    for number, path in enumerate(paths):
        path.write_bytes(b"x" * (number + (1000 if path.suffix == ".PNG" else 1)))
    return paths


def test_every_draw_has_each_kind_and_each_size_as_the_urn_has(files: list[Path]) -> None:
    urn, all_bytes = Urn.of(files), sum(path.stat().st_size for path in files)
    for turn in range(8):
        draw = urn.draw(turn, 20)
        assert len(set(draw.paths)) == 20
        assert list(draw.paths) == sorted(draw.paths), "in the order of the listing"
        assert sum(path.suffix == ".PNG" for path in draw.paths) == 2
        assert draw.size == sum(path.stat().st_size for path in draw.paths)
        assert draw.size / 20 == pytest.approx(all_bytes / 100, rel=0.06)


def test_draws_differ_and_come_out_the_same_every_time(files: list[Path]) -> None:
    urn = Urn.of(files)
    draws = [urn.draw(turn, 20).paths for turn in range(4)]
    assert len(set(draws)) == 4
    assert len({path for paths in draws for path in paths}) > 60
    assert draws == [Urn.of(files).draw(turn, 20).paths for turn in range(4)]


def test_few_files_are_drawn_again_and_again_as_often_as_each_other(files: list[Path]) -> None:
    draw = Urn.of(files[:7]).draw(3, 65)
    assert len(draw.paths) == 65
    assert {draw.paths.count(path) for path in files[:7]} == {9, 10}


def test_a_file_that_is_gone_is_drawn_as_well(files: list[Path]) -> None:
    files[0].unlink()
    assert set(Urn.of(files[:2]).draw(0, 2).paths) == set(files[:2])
