"""Labels and scores on a picture: legible at any size, whatever is in a label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import ImageFont
from pydantic import ValidationError

from resnet_pipe.writer.annotated.annotated import AnnotatedImagesSection, AnnotatedVideoSection
from resnet_pipe.writer.annotated.panel import Lettering, Panel
from tests.writer.annotated.drawing import CAT, COFFEE, LABELS, Best, with_panel

Picture = NDArray[np.uint8]

ANY_TEXT = st.text(st.characters(), max_size=300)
"""With lone surrogates, control characters and what is not assigned."""


def grey(width: int, height: int, level: int = 128) -> Picture:
    return np.full((height, width, 3), level, np.uint8)


def box(before: Picture, after: Picture) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of what has changed."""
    rows, columns = np.nonzero((before != after).any(axis=2))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("golden retriever", "golden retriever"),
        ("\x1b[31mred\x1b[0m\x00", "[31mred[0m"),
        ("two\r\nlines\tand  more ", "two lines and more"),
        ("\u202egnirts\u202c \u200dleft", "gnirts left"),
        ("\ud800half", "half"),
        ("Möwe, piñata", "Mowe, pinata"),
        ("cafe\u0301", "cafe"),
        ("a" + 40 * "\u0301" + "b", "ab"),
        ("№ 5²", "No 52"),
        ("", "class 7"),
        ("\n\u200b", "class 7"),
    ],
)
def test_a_label_is_shown_on_one_line_without_control_characters(label: str, shown: str) -> None:
    assert Lettering(None, 20).label(label, 7) == shown


@pytest.mark.parametrize("label", ["猫", "кот", "קוד", "قطة", "🐱", "a 🐱"])
def test_a_label_that_the_font_lacks_letters_for_begins_with_its_index(label: str) -> None:
    assert Lettering(None, 20).label(label, 7) == f"7: {label}"


@given(ANY_TEXT, st.integers(11, 40), st.integers(20, 400))
def test_no_text_is_wider_than_its_room(label: str, size: int, room: int) -> None:
    lettering = Lettering(None, size)
    text = lettering.label(label, 0)
    fitted = lettering.fit(text, room)
    assert lettering.font.getlength(fitted) <= max(room, lettering.font.getlength("..."))
    if lettering.font.getlength(text) <= room:
        assert fitted == text
    else:
        assert fitted.endswith("...")
        assert text.startswith(fitted[:-3])


@given(st.lists(ANY_TEXT, min_size=1, max_size=5), st.integers(1, 300), st.integers(1, 300))
def test_any_label_can_be_drawn_on_a_picture_of_any_size(labels: list[str], width: int, height: int) -> None:
    best = list(range(len(labels))), [1 / len(labels)] * len(labels)
    drawn = with_panel(grey(width, height), best, labels)
    assert drawn.shape == (height, width, 3)
    if min(width, height) > 10:
        assert (drawn != 128).any()


@pytest.mark.parametrize(("width", "height"), [(426, 240), (1280, 720), (3840, 2160), (1080, 1920)])
def test_the_panel_is_a_dark_band_at_the_top_left_and_nothing_else_changes(width: int, height: int) -> None:
    before = grey(width, height, 200)
    after = with_panel(before, CAT)
    left, top, right, bottom = box(before, after)
    assert 0 < left < width / 16
    assert 0 < top < height / 16
    assert width / 4 < right < width / 2
    assert bottom < height / 2.5
    band = after[top:bottom, left:right].mean(axis=2)
    assert np.median(band) < 100
    assert band.max() == 255


def ink(picture: Picture) -> NDArray[np.bool_]:
    """Tell which rows of a picture have letters of the first line in them, which alone are white."""
    white: NDArray[np.bool_] = (picture.min(axis=2) > 250).any(axis=1)
    return white


def test_text_takes_the_same_part_of_a_large_picture_and_of_a_small_one() -> None:
    black = grey(3840, 2160, 0), grey(1280, 720, 0)
    large, small = (with_panel(picture, CAT) for picture in black)
    assert box(black[0], large) == pytest.approx([3 * side for side in box(black[1], small)], rel=0.03)
    assert ink(large).sum() == pytest.approx(3 * ink(small).sum(), rel=0.1)
    assert ink(small).sum() > 720 / 45


def test_text_on_a_small_picture_is_never_smaller_than_can_be_read() -> None:
    before = grey(160, 120)
    left, top, right, bottom = box(before, with_panel(before, CAT))
    assert right - left > 140
    assert bottom - top > 3 * 15


def test_a_bar_is_as_long_as_its_score() -> None:
    def blue(score: float) -> int:
        drawn = with_panel(grey(1280, 720), ([0], [score])).astype(int)
        return int(((drawn[:, :, 2] - drawn[:, :, 0]) > 120).any(axis=0).sum())

    whole = blue(1.0)
    assert whole > 400
    for score in (0.0, 0.125, 0.5, 0.75):
        assert abs(blue(score) - score * whole) <= 1


def test_the_band_lets_a_third_of_the_picture_through() -> None:
    dark, light = (with_panel(grey(640, 360, level), CAT).astype(int) for level in (0, 255))
    assert np.median((light - dark)[20:60, 20:60]) == 255 - 170


def test_a_panel_shows_the_newest_labels_whatever_it_has_shown_before() -> None:
    panel = Panel(426, 240, LABELS, None)

    def draw(best: Best) -> Picture:
        picture = grey(426, 240)
        panel.draw(picture, np.array(best[0], np.int32), np.array(best[1], np.float32))
        return picture

    closer = CAT[0], [0.7501, 0.125, 0.0625]  # the same in the digits that are shown
    other = CAT[0], [0.752, 0.125, 0.0625]
    drawn = [draw(best) for best in (CAT, COFFEE, CAT, closer, other)]
    assert np.array_equal(drawn[0], drawn[2])
    assert np.array_equal(drawn[0], drawn[3])
    assert not np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[4])


def test_scores_are_at_the_right_end_of_the_panel() -> None:
    before = grey(1280, 720)
    one, other = (with_panel(before, ([0], [score])) for score in (0.111, 0.777))
    left, top, right, _ = box(before, one)
    text = slice(top, top + 40)  # without the bar
    changed = box(one[text], other[text])
    assert changed[0] > left + 0.7 * (right - left)
    assert changed[2] > right - 60


def test_a_long_label_stays_clear_of_the_score() -> None:
    score = with_panel(grey(640, 360), ([0], [0.5]), [" "])
    both = with_panel(grey(640, 360), ([0], [0.5]), ["W" * 200])
    right = box(grey(640, 360), both)[2]
    assert np.array_equal(score[:, right - 60 :], both[:, right - 60 :])
    assert not np.array_equal(score, both)


@pytest.fixture
def font(tmp_path: Path) -> Path:
    """A font file with Pillow's own letters."""
    own = ImageFont.load_default(10)
    assert isinstance(own, ImageFont.FreeTypeFont)
    path = tmp_path / "own \udcff.ttf"
    path.write_bytes(own.font_bytes)
    return path


def test_a_font_of_ones_own_is_used(font: Path) -> None:
    assert Lettering(font, 20).font.getname() == ("Aileron", "Regular")
    section = AnnotatedVideoSection.model_validate(
        {"kind": "video", "path": "out", "font": font.name}, context={"base": font.parent}
    )
    assert section.font == font


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("absent.ttf", "No such file"),
        ("text.ttf", "not a usable font"),
        (".", "Is a directory"),
        (7, "expected the path"),
    ],
)
def test_a_font_that_cannot_be_used_is_a_problem_of_the_job(
    tmp_path: Path, value: object, problem: str
) -> None:
    (tmp_path / "text.ttf").write_text("not a font")
    with pytest.raises(ValidationError, match=problem):
        AnnotatedImagesSection.model_validate(
            {"kind": "images", "path": "out", "font": value}, context={"base": tmp_path}
        )
