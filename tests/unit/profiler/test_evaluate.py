"""What a trace says, by traces written by hand: every figure follows from its counts."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traces import counter, stairs, trace, window

from joulecut.errors import UsageError
from joulecut.estimate import ratio
from joulecut.profiler.evaluate import evaluate, evaluate_all, labels
from joulecut.profiler.records import DeviceState, Domain, Mark, Read

STEADY = stairs([10] * 40, 0.1)
"""100 W: 10 J at each tick of 0.1 s, the first at 0 s."""


def test_steady_power_gives_power_times_time() -> None:
    measured = evaluate(trace(counter(), STEADY, window(1.03, 3.03)))
    assert measured.total is not None
    assert measured.total.value == pytest.approx(200.0, rel=1e-3)
    low, high = measured.total.bounds(0.9)
    assert low <= 200.0 <= high
    assert high - low < 20.0  # a tick at each end, of 10 J
    assert (measured.quality, measured.reasons, measured.iterations) == ("good", (), 1)
    assert measured.duration_s == pytest.approx(2.0)
    assert measured.domains[0].tick_s == pytest.approx(0.1, rel=1e-3)
    assert measured.domains[0].ticks == 20


def test_the_counts_at_the_ends_are_reported() -> None:
    domain = evaluate(trace(counter(), STEADY, window(1.03, 3.03))).domains[0]
    assert (domain.begin_count, domain.end_count) == (110, 310)  # ticks at 0 to 1.0 s, and 0 to 3.0 s


def test_shorter_than_two_ticks_gives_bounds_that_hold_what_the_counter_allows() -> None:
    """Within one tick of 10 J: anything from 0 to 10 J, and one count more for the digit."""
    measured = evaluate(trace(counter(), STEADY, window(1.03, 1.07)))
    assert measured.quality == "below resolution"
    assert measured.total is not None
    assert measured.total.value > 0
    assert measured.total.bounds(0.9) == pytest.approx((0.0, 11.0))
    assert "shorter than two ticks" in measured.reasons[0]


def test_a_block_over_one_tick_is_bounded_by_its_neighbours() -> None:
    """From 1.05 to 1.15 s, with ticks at 1.0, 1.1 and 1.2 s: between 0 and 20 J, and a digit."""
    measured = evaluate(trace(counter(), STEADY, window(1.05, 1.15)))
    assert measured.total is not None
    assert measured.total.value == pytest.approx(10.0, abs=0.5)
    assert measured.total.bounds(0.9) == pytest.approx((0.0, 21.0))


def test_a_stated_peak_narrows_what_a_tick_may_hold() -> None:
    """Steps are known to 5 ms, so at 200 W at most 1 J came before the step at the begin, and at most
    3 J in the 15 ms after it; and a digit."""
    bounded = evaluate(trace(counter(peak_w=200.0), STEADY, window(1.0, 1.01)))
    assert bounded.total is not None
    assert bounded.total.bounds(0.9)[1] == pytest.approx(5.0)


def test_a_counter_that_wraps_goes_on() -> None:
    """It starts again after 256 counts; 400 J pass in the trace."""
    reads = [Read(r.begin_s, r.end_s, (r.counts[0] % 256,)) for r in STEADY if r.counts[0] is not None]
    measured = evaluate(trace(counter(counts=256), reads, window(1.03, 3.03)))
    assert measured.total is not None
    assert measured.total.value == pytest.approx(200.0, rel=1e-3)


@given(st.lists(st.integers(0, 99), min_size=12, max_size=40), st.integers(0, 99))
def test_a_wrapped_counter_never_gives_a_negative_joule(rises: list[int], first: int) -> None:
    reads = [Read(r.begin_s, r.end_s, ((r.counts[0] or 0) % 100,)) for r in stairs(rises, 0.1, first=first)]
    measured = evaluate(trace(counter(counts=100), reads, window(0.35, 0.1 * len(rises) - 0.25)))
    if measured.total is not None:
        assert measured.total.value >= 0
        assert measured.total.bounds(0.9)[0] <= measured.total.value <= measured.total.bounds(0.9)[1]
        assert math.isfinite(measured.total.bounds(0.9)[1])


def test_a_reset_spoils_its_window_and_no_other() -> None:
    reads = [Read(r.begin_s, r.end_s, ((r.counts[0] or 0) - 200 * (r.begin_s > 2.0),)) for r in STEADY]
    marks = [*window(0.5, 1.5, "before"), *window(1.7, 2.5, "over"), *window(2.6, 3.6, "after")]
    before, over, after = evaluate_all(trace(counter(), reads, marks))
    assert (before.quality, over.quality, after.quality) == ("good", "invalid", "good")
    assert over.total is None
    assert over.domains[0].energy is None
    assert "went backwards" in over.reasons[0]
    assert after.total is not None
    assert after.total.value == pytest.approx(100.0, rel=1e-2)


def test_a_lost_reading_spoils_its_window_and_no_other() -> None:
    reads = [
        Read(r.begin_s, r.end_s, (None,), ("it is gone",)) if 1.9 < r.begin_s < 2.1 else r for r in STEADY
    ]
    over, after = evaluate_all(
        trace(counter(), reads, [*window(1.7, 2.5, "over"), *window(2.6, 3.6, "after")])
    )
    assert (over.quality, after.quality) == ("invalid", "good")
    assert "it is gone" in over.reasons[0]


def test_a_rise_beyond_the_peak_is_a_reset() -> None:
    """A counter of 1,000 counts that starts again seems to rise by 910 J at once; 300 W are the most."""
    reads = [Read(r.begin_s, r.end_s, ((r.counts[0] or 0) - 100 * (r.begin_s > 2.0),)) for r in STEADY]
    measured = evaluate(trace(counter(counts=1000, peak_w=300.0), reads, window(1.5, 2.5)))
    assert measured.quality == "invalid"
    assert "more than the device can draw" in measured.reasons[0]


def test_readings_too_far_apart_may_hide_a_wrap() -> None:
    """100 counts of 1 J last half a second at 200 W; nothing was read for a second."""
    reads = [Read(r.begin_s, r.end_s, ((r.counts[0] or 0) % 100,)) for r in STEADY if not 2 < r.begin_s < 3]
    measured = evaluate(trace(counter(counts=100, peak_w=200.0), reads, window(1.5, 3.5)))
    assert measured.quality == "invalid"
    assert "wrap around unseen" in measured.reasons[0]


def test_a_counter_that_stands_still_is_stuck_and_no_zero() -> None:
    still = [Read(k / 100, k / 100, (7,)) for k in range(300)]
    measured = evaluate(trace(counter(), still, window(1.0, 2.5)))
    assert (measured.quality, measured.total) == ("invalid", None)
    assert "stuck" in measured.reasons[0]


def test_a_counter_that_stops_within_the_window_is_stuck() -> None:
    reads = stairs([10] * 20 + [0] * 20, 0.1)
    measured = evaluate(trace(counter(), reads, window(1.0, 3.9)))
    assert measured.quality == "invalid"
    assert "did not change for" in measured.reasons[0]


def test_package_and_dram_are_added_and_psys_is_shown() -> None:
    domains = [counter("package:0"), counter("dram:0"), counter("psys", counted=False)]
    reads = [Read(r.begin_s, r.end_s, (r.counts[0], 2 * (r.counts[0] or 0), 5)) for r in STEADY]
    measured = evaluate(trace(domains, reads, window(1.03, 3.03)))
    assert measured.total is not None
    assert measured.total.value == pytest.approx(600.0, rel=1e-3)
    assert [domain.name for domain in measured.domains] == ["package:0", "dram:0", "psys"]
    assert measured.domains[2].quality == "invalid"  # it stood still, and does not count
    assert measured.quality == "good"


def test_no_total_where_a_counted_domain_has_no_figure() -> None:
    reads = [Read(r.begin_s, r.end_s, (r.counts[0], 5)) for r in STEADY]
    measured = evaluate(trace([counter(), counter("dram:0")], reads, window(1.03, 3.03)))
    assert (measured.total, measured.quality) == (None, "invalid")
    assert measured.domains[0].energy is not None


def test_the_gain_is_common_and_cancels_in_a_ratio() -> None:
    both = evaluate_all(trace(counter(gain=0.05), STEADY, [*window(0.5, 1.5, "a"), *window(1.6, 3.6, "b")]))
    one, two = both[0].total, both[1].total
    assert one is not None
    assert two is not None
    assert one.common.above_90 == pytest.approx(0.05 * one.value)
    low, high = ratio(one, two).bounds(0.9)
    assert low <= 0.5 <= high
    assert one.common_with == two.common_with == "by hand package:0"


def idle(begin_s: float, end_s: float) -> list[Mark]:
    return [Mark(begin_s, "idle_begin", "idle"), Mark(end_s, "idle_end", "idle")]


def test_gross_idle_and_net() -> None:
    """40 W for 2 s, 100 W for 2 s, 40 W for 2 s: 200 J gross, 80 J idle, 120 J net."""
    reads = stairs([4] * 20 + [10] * 20 + [4] * 20, 0.1)
    marks = [*idle(0.35, 1.75), *window(1.9, 3.9), *idle(4.15, 5.65)]  # a tick shows what was drawn before it
    measured = evaluate(trace(counter(gain=0.1), reads, marks))
    assert measured.total is not None
    assert measured.idle is not None
    assert measured.net is not None
    assert measured.total.value == pytest.approx(200.0, rel=0.02)
    assert measured.idle.value == pytest.approx(80.0, rel=0.02)
    assert measured.net.value == pytest.approx(120.0, rel=0.04)
    assert measured.net.common.above_90 == pytest.approx(0.1 * measured.net.value)  # the gain moves both
    assert measured.reasons == ()


def test_idle_that_changed_is_said() -> None:
    """40 W before and 60 W after, by readings that are good to about a tick in fifteen."""
    reads = stairs([4] * 20 + [10] * 20 + [6] * 20, 0.1)
    marks = [*idle(0.35, 1.75), *window(1.9, 3.9), *idle(4.15, 5.65)]  # a tick shows what was drawn before it
    measured = evaluate(trace(counter(), reads, marks))
    assert measured.idle is not None
    assert measured.idle.value == pytest.approx(100.0, rel=0.02)  # the mean of 80 and 120 J
    low, high = measured.idle.bounds(0.9)
    assert low <= 80.5
    assert high >= 119.5
    assert "idle power was 40.0 W before and 60.0 W after" in measured.reasons[0]


def test_a_slowed_down_device_degrades_its_window() -> None:
    states = [DeviceState("cpu", t, {"throttle_reasons": "hardware thermal slowdown"}) for t in (0.0, 3.5)]
    measured = evaluate(trace(counter(), STEADY, window(1.03, 3.03), states))
    assert measured.quality == "degraded"
    assert measured.total is not None
    assert measured.reasons == ("cpu was slowed down (hardware thermal slowdown)",)


def test_a_suspended_machine_has_no_figure() -> None:
    states = [
        DeviceState("machine", 0.0, {"suspended_s": 5.0}),
        DeviceState("machine", 3.5, {"suspended_s": 65.0}),
    ]
    measured = evaluate(trace(counter(), STEADY, window(1.03, 3.03), states))
    assert (measured.quality, measured.total) == ("invalid", None)
    assert measured.reasons == ("the machine was suspended for 60.0 s",)


def test_iterations_share_the_joules() -> None:
    """20 iterations of 0.1 s at 100 W: 10 J each, whatever the phase of the ticks."""
    marks = [
        Mark(1.03, "begin", "work"),
        *(Mark(1.03 + 0.1 * k, "iteration", "work") for k in range(1, 21)),
        Mark(1.03 + 0.1 * 20, "end", "work"),
    ]
    measured = evaluate(trace(counter(), STEADY, marks))
    assert measured.iterations == 20
    assert measured.per_iteration is not None
    assert measured.per_iteration.value == pytest.approx(10.0, rel=5e-3)
    low, high = measured.per_iteration.bounds(0.9)
    assert low <= 10.0 <= high
    assert (high - low) / 10 < 0.05


def test_pauses_are_no_iterations() -> None:
    """Idle 40 W before; 100 W work with a pause of 0.5 s at 40 W in the middle: 10 J each of 20."""
    reads = stairs([4] * 20 + [10] * 10 + [4] * 5 + [10] * 10 + [10] * 3, 0.1)
    marks = [
        *idle(0.35, 1.75),
        Mark(1.9, "begin", "work"),
        *(Mark((19 + k) / 10, "iteration", "work") for k in range(1, 11)),
        Mark(2.9, "idle_begin", "pause"),
        Mark(3.4, "idle_end", "pause"),
        *(Mark((34 + k) / 10, "iteration", "work") for k in range(1, 11)),
        Mark(4.4, "end", "work"),
    ]
    measured = evaluate(trace(counter(), reads, marks))
    assert measured.iterations == 20
    assert measured.duration_s == pytest.approx(2.0)
    assert measured.per_iteration is not None
    assert measured.per_iteration.value == pytest.approx(10.0, rel=0.02)


def test_stretches_of_one_name_add_up() -> None:
    measured = evaluate(trace(counter(), STEADY, [*window(0.5, 1.5), *window(2.0, 3.0)]))
    assert measured.iterations == 2
    assert measured.duration_s == pytest.approx(2.0)
    assert measured.total is not None
    assert measured.total.value == pytest.approx(200.0, rel=1e-2)


def test_windows_are_found_by_name() -> None:
    made = trace(counter(), STEADY, [*window(0.5, 1.5, "a"), *window(2.0, 3.0, "b")])
    assert labels(made) == ("a", "b")
    assert evaluate(made, "b").label == "b"
    with pytest.raises(UsageError, match=r"no finished window 'c'\. It holds 'a', 'b'"):
        evaluate(made, "c")


def test_a_window_without_readings_about_it_has_no_figure() -> None:
    measured = evaluate(trace(counter(), STEADY, window(3.0, 5.0)))
    assert measured.total is None
    assert "no reading after the end" in measured.reasons[0]


def test_two_readings_alone_do_not_tell_their_interval() -> None:
    measured = evaluate(trace(counter(), [Read(0.0, 0.0, (0,)), Read(2.0, 2.0, (200,))], window(0.5, 1.5)))
    assert measured.quality == "degraded"
    assert measured.total is not None
    assert measured.total.value == 200.0
    assert "how often the counter changes is not known" in measured.reasons[0]


def test_a_trace_without_counted_domains_has_no_total() -> None:
    measured = evaluate(trace(counter(counted=False), STEADY, window(1.03, 3.03)))
    assert (measured.total, measured.quality) == (None, "invalid")


def test_power_is_integrated_and_called_so() -> None:
    gauge = Domain("gpu:0", "gauge", 1.0, 0, True, "board_dc", 0.0, 0.0, "gpu:0", "power")
    reads = [Read(k / 100, k / 100, (100 + k % 2,)) for k in range(400)]
    measured = evaluate(trace(gauge, reads, window(1.0, 3.0)))
    assert measured.total is not None
    assert measured.total.value == pytest.approx(201.0, rel=5e-3)  # 100 and 101 W by turns
    assert "integrated" in measured.total.method


def test_a_device_that_could_not_be_read_is_said_with_the_figure() -> None:
    said = "the GPUs could not be read and are in no figure: NVIDIA's driver refuses this user"
    short = replace(trace(counter(), stairs([5] * 8, 1.0), window(1.0, 6.0)), unread=(said,))
    measured = evaluate(short)
    assert (measured.quality, measured.reasons) == ("good", (said,))
