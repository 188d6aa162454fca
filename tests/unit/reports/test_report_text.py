from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulecut.estimate import Estimate, Spread
from joulecut.reports.text import describe, interval, number, points, printable, quantity, remaining, shorten


def test_printable_escapes_what_moves_the_cursor_or_turns_the_writing() -> None:
    assert printable("a\x1b[31m\nb") == "a\\x1b[31m\\nb"
    assert printable("\u202eabc\u2028") == "\\u202eabc\\u2028"
    assert printable("half \ud800") == "half \\ud800"
    assert printable("Schicht µ 层") == "Schicht µ 层"


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_printable_text_is_one_line_and_encodes(text: str) -> None:
    safe = printable(text)
    safe.encode()
    assert len(safe.splitlines()) <= 1
    assert printable(safe) == safe


@given(st.text(max_size=200), st.integers(1, 80))
def test_shortened_text_fits_and_keeps_both_ends(text: str, width: int) -> None:
    short = shorten(text, width)
    assert len(short) <= width
    if len(text) <= width:
        assert short == text
    elif width >= 3:
        assert short[0] == text[0]
        assert short[-1] == text[-1]


def test_interval_writes_a_shared_unit_once() -> None:
    spread = Spread(0, 0, 1e-4, 2e-4)
    assert interval(Estimate(2e-3, "J", "modelled", "m", own=spread)) == "1.90 to 2.20 mJ"
    assert interval(Estimate(9.5e-4, "J", "modelled", "m", own=spread)) == "850 µJ to 1.15 mJ"
    assert interval(Estimate(0.5, "1", "measured", "m", own=Spread(0, 0, 0.01, 0.02))) == "49.0 to 52.0 %"


def test_describe_holds_figure_interval_and_origin() -> None:
    assert describe(Estimate(3e-6, "J", "assumed", "m")) == "3.00 µJ ±0 assumed"
    wide = Estimate(3e-6, "J", "measured", "m", own=Spread(0, 0, 1e-6, 1e-6))
    assert describe(wide) == "3.00 µJ [2.00 to 4.00 µJ] measured"


@pytest.mark.parametrize(
    ("change", "text"), [(0.0123, "+1.2 points"), (-0.0123, "−1.2 points"), (-0.0001, "0.0 points")]
)
def test_points_carry_their_sign(change: float, text: str) -> None:
    assert points(change) == text


def test_numbers_and_quantities() -> None:
    assert number(0.00012345) == "0.000123"
    assert number(1800.0, 6) == "1,800"
    assert quantity(0.25, "1") == "25.0 %"
    assert quantity(12_501_632, "") == "12.5 M"


def test_remaining_is_unknown_where_the_original_may_cost_nothing() -> None:
    zero = Estimate(0.0, "J", "modelled", "m")
    assert remaining(zero, zero) is None
    two, one = (Estimate(value, "J", "modelled", "m") for value in (2.0, 1.0))
    left = remaining(two, one)
    assert left is not None
    assert left.value == 0.5
