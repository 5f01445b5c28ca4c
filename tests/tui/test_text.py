"""Promise: numbers are short, lines are as wide as they say, names are harmless."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.text import amount, clock, duration, number, plain, shorten, size, sparkline

FLOATS = st.floats(min_value=0, max_value=1e12)


@given(st.lists(FLOATS, max_size=50), st.integers(1, 40), st.integers(1, 8))
def test_sparklines_have_the_size_they_are_given(
    values: list[float], width: int, height: int
) -> None:
    lines = sparkline(values, width, height)
    assert len(lines) == height
    assert {len(line) for line in lines} == {width}
    shown = values[-width:]
    bottom = lines[-1][width - len(shown) :]
    assert [char != " " for char in bottom] == [value > 0 for value in shown]


def test_the_largest_value_is_a_full_bar_and_no_number_is_none() -> None:
    assert sparkline([0, 4, 8], 3) == [" ▄█"]
    assert sparkline([0, 4, 8], 3, 2) == ["  █", " ██"]
    assert sparkline([4], 1, top=8) == ["▄"]
    assert sparkline([math.nan, math.inf, 1], 3) == ["  █"]


@given(st.text(max_size=60), st.integers(0, 50))
def test_shortened_text_fits_and_cannot_move_the_cursor(text: str, width: int) -> None:
    short = shorten(text, width)
    assert len(short) <= width
    assert short.isprintable()
    assert len(plain(text)) == len(text)


@given(FLOATS)
def test_numbers_and_durations_are_short(value: float) -> None:
    assert len(number(min(value, 1e9))) <= 6
    assert len(duration(min(value, 1e8))) <= 11


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"),
        (1e-5, "10 µs"),
        (0.25, "250 ms"),
        (2.54, "2.5 s"),
        (59.6, "60 s"),
        (90, "1 min 30 s"),
        (4000, "1 h 6 min"),
        (200_000, "2 d 7 h"),
    ],
)
def test_durations_have_one_or_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_rest_reads_well() -> None:
    assert (amount(1, "task"), amount(2000, "task")) == ("1 task", "2,000 tasks")
    assert (number(0), number(0.254), number(7.0), number(12_345)) == (
        "0",
        "0.25",
        "7",
        "12.3k",
    )
    assert (size(900), size(5 << 20), size(64 << 30)) == ("1 KiB", "5 MiB", "64 GiB")
    assert clock(0) == "-"
