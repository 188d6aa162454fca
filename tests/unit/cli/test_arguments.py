import argparse

import pytest

from joulecut.cli.arguments import count, positive_count, seconds, share


@pytest.mark.parametrize(
    ("text", "value"),
    [("2%", 0.02), ("2 %", 0.02), ("0.02", 0.02), ("0", 0.0), ("100%", 1.0), ("1", 1.0), ("70%", 0.7)],
)
def test_a_share_is_a_percentage_or_a_number(text: str, value: float) -> None:
    assert share(text) == value


@pytest.mark.parametrize("text", ["", "%", "2%%", "-1%", "101%", "2", "nan", "nan%", "inf", "two"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"is not a share; write it as 2% or 0\.02"):
        share(text)


@pytest.mark.parametrize(("text", "value"), [("30", 30.0), ("1.5", 1.5), ("0.1s", 0.1), (" 2 ", 2.0)])
def test_seconds(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "1e999", "s", "2m", ""])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a positive number of seconds"):
        seconds(text)


@pytest.mark.parametrize("text", ["-1", "1.5", "x", "", "²", "9" * 10, "9" * 10_000])
def test_what_is_no_count_is_refused(text: str) -> None:
    for kind in (count, positive_count):
        with pytest.raises(argparse.ArgumentTypeError, match="is not a whole number") as caught:
            kind(text)
        assert len(str(caught.value)) < 100


def test_zero_counts_where_nothing_is_a_choice() -> None:
    assert (count("0"), count("12"), positive_count("1")) == (0, 12, 1)
    with pytest.raises(argparse.ArgumentTypeError, match="from 1 up"):
        positive_count("0")
