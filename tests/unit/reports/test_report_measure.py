"""A measurement on the terminal."""

import io

import pytest
from rich.console import Console

from joulecut.estimate import Estimate, Spread
from joulecut.profiler.records import DomainEnergy, Measurement, Quality
from joulecut.reports.measure_console import print_measurement


def joules(value: float, half: float) -> Estimate:
    return Estimate(value, "J", "measured", "counter", 1, own=Spread(half / 2, half / 2, half, half))


def shown(quality: Quality = "good", *, net: Estimate | None = None, reasons: tuple[str, ...] = ()) -> str:
    energy = None if quality == "invalid" else joules(40.0, 1.0)
    reason = reasons[0] if reasons else ""
    domain = DomainEnergy(
        "package:0", "powercap", True, "cpu_package", energy, quality, reason, 1e-3, 2000, 0.02, 1, 2
    )
    measured = Measurement(
        label="sleep 2\x1b[2J", sensor="rapl", total=energy, per_iteration=None,
        idle=joules(30.0, 1.0), net=net,
        domains=(domain,), duration_s=2.0, iterations=1, quality=quality, reasons=reasons, exit_code=3,
    )  # fmt: skip
    stream = io.StringIO()
    print_measurement(measured, Console(file=stream, width=100))
    return stream.getvalue()


def test_the_headline_is_gross_idle_net_time_and_power() -> None:
    text = shown(net=joules(10.0, 2.0))
    assert "40.0 J [39.0 to 41.0 J]" in text
    assert "10.0 J [8.00 to 12.0 J]" in text
    assert "20.0 W" in text  # 40 J in 2 s
    assert "Exit code" in text


def test_a_net_that_may_be_nothing_is_said_so() -> None:
    assert "not distinguishable from idle" in shown(net=joules(-0.5, 2.0))


@pytest.mark.parametrize("quality", ["degraded", "below resolution", "invalid"])
def test_a_doubt_stands_in_the_first_lines(quality: Quality) -> None:
    lines = shown(quality, reasons=("gpu:0 was slowed down", "and shared")).splitlines()
    assert any(quality in line and "gpu:0 was slowed down" in line for line in lines[:5])
    assert any("and shared" in line for line in lines)


def test_an_invalid_measurement_shows_no_figure() -> None:
    assert "not known" in shown("invalid", reasons=("stuck",))


def test_what_commands_are_called_cannot_move_the_cursor() -> None:
    assert "\x1b[2J" not in shown()
