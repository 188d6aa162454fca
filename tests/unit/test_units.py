import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulecut.errors import UsageError
from joulecut.units import format_count, format_percent, format_quantity, format_ratio, parse_quantity


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("5 mJ", "J", 5e-3),
        ("12mJ", "J", 12e-3),
        ("  1.5  kJ ", "J", 1500.0),
        ("5 uJ", "J", 5e-6),
        ("5 µJ", "J", 5e-6),  # micro sign
        ("5 μJ", "J", 5e-6),  # Greek mu
        ("3pJ", "J", 3e-12),
        ("1e-3 J", "J", 1e-3),
        (".5 J", "J", 0.5),
        ("-2 mJ", "J", -2e-3),
        ("1 Wh", "J", 3600.0),
        ("1 mWh", "J", 3.6),
        ("5 ms", "s", 5e-3),
        ("2 min", "s", 120.0),
        ("3 W", "W", 3.0),
        ("3 MW", "W", 3e6),
        ("3 mW", "W", 3e-3),
        ("256 kB", "B", 256_000.0),
        ("256 KiB", "B", 262_144.0),
    ],
)
def test_parses_into_base_units(text: str, unit: str, value: float) -> None:
    assert parse_quantity(text, unit) == value


@pytest.mark.parametrize(
    ("text", "unit", "says"),
    [
        ("12", "J", "has no unit"),
        ("", "J", "is not a quantity"),
        ("mJ", "J", "is not a quantity"),
        ("nan J", "J", "is not a quantity"),
        ("inf J", "J", "is not a quantity"),
        ("1e400 J", "J", "is not a finite quantity"),
        ("12 potatoes", "J", "is not in J"),
        ("12 mW", "J", "is not in J"),
        ("12 mj", "J", "is not in J"),
        ("12 xJ", "J", "is not in J"),
        ("1 2 mJ", "J", "is not a quantity"),
        ("256 mB", "B", "is not in B"),
        ("5 mJ; rm", "J", "is not a quantity"),
    ],
)
def test_refuses_in_one_sentence_with_an_example(text: str, unit: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        parse_quantity(text, unit)
    assert "write a" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_long_or_hostile_text_is_shown_cut_and_escaped() -> None:
    with pytest.raises(UsageError) as caught:
        parse_quantity("\x1b[31m" + "x" * 10_000, "J")
    assert len(str(caught.value)) < 250
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.00512, "J", "5.12 mJ"),
        (0.0, "J", "0 J"),
        (1.0, "J", "1.00 J"),
        (999.4, "J", "999 J"),
        (999.6, "J", "1.00 kJ"),
        (0.9996, "J", "1.00 J"),
        (12.34, "J", "12.3 J"),
        (-0.0071, "J", "-7.10 mJ"),
        (4e-12, "J", "4.00 pJ"),
        (4e-17, "J", "4.00e-17 J"),
        (3e16, "J", "30000 TJ"),
        (float("nan"), "J", "nan J"),
        (float("inf"), "s", "inf s"),
    ],
)
def test_formats_with_three_digits(value: float, unit: str, text: str) -> None:
    assert format_quantity(value, unit) == text


@given(st.floats(1e-30, 1e30), st.sampled_from(["J", "s", "W"]), st.booleans())
def test_parse_undoes_format(size: float, unit: str, negative: bool) -> None:
    value = -size if negative else size
    assert math.isclose(parse_quantity(format_quantity(value, unit, 6), unit), value, rel_tol=5.1e-6)


@given(st.floats(1e-20, 1e20), st.integers(2, 8))
def test_format_keeps_the_digits_asked_for(value: float, digits: int) -> None:
    again = parse_quantity(format_quantity(value, "J", digits), "J")
    assert math.isclose(again, value, rel_tol=5.1 * 10.0**-digits)


def test_counts_percentages_and_ratios() -> None:
    assert format_count(12_501_632) == "12,501,632"
    assert format_percent(0.4987) == "49.9 %"
    assert format_percent(1.0, 0) == "100 %"
    assert [format_ratio(x) for x in (0.5, 1.0, 1.84, 123.4)] == ["0.500", "1.00", "1.84", "123"]
