"""Work in step with a sensor that looks at a part of each tick, by a program that is held up now and then."""

import random
from itertools import pairwise

import pytest

from joulecut.profiler.acquire import Recorder
from joulecut.profiler.aligning import find_ticks
from joulecut.profiler.evaluate import evaluate
from joulecut.profiler.instep import delays_after
from joulecut.profiler.iterations import Progress
from joulecut.profiler.phases import even_power
from joulecut.profiler.reckoned import Span
from joulecut.profiler.records import Domain, Measurement
from joulecut.profiler.repeat import Patience, record_repeated
from joulecut.profiler.simulate import Load, SimulatedSensor, World, energy_counter
from joulecut.profiler.ticks import staircase
from joulecut.profiler.wraps import Series

PART_TIME = energy_counter("gpu:0", "gpu", tick_s=0.1, quantum_j=1e-3, counts=0, duty=0.25)


def late(period_s: float, seed: int, *, late_s: float, share: float) -> tuple[Measurement, float]:
    """300 W and 100 W by halves, some of them late at 100 W; the measurement and its relative error."""
    world = World(Load("gpu", idle_w=60.0), seed=seed)
    drawn = random.Random(seed)
    recorder = Recorder(SimulatedSensor(world, [PART_TIME]), world)
    find_ticks(recorder)

    def work() -> None:
        world.work(period_s / 2, 300.0)
        world.work(period_s / 2 + (drawn.uniform(0.0, late_s) if drawn.random() < share else 0.0), 100.0)

    record_repeated(recorder, work, "work", Patience(10.0, 10.0, idle_s=0.0))
    trace = recorder.trace()
    ends_s = [mark.at_s for mark in trace.marks if mark.kind in ("begin", "end")]
    pauses_s = [mark.at_s for mark in trace.marks if mark.name == "pause"]
    true_j = world.energy_j("gpu", *ends_s) - sum(
        world.energy_j("gpu", *pause_s) for pause_s in zip(pauses_s[::2], pauses_s[1::2], strict=True)
    )
    measured = evaluate(trace)
    assert measured.per_iteration is not None
    return measured, measured.per_iteration.value * measured.iterations / true_j - 1


@pytest.mark.parametrize("period_s", [0.05, 0.1, 0.2])
def test_iterations_that_are_late_at_random_do_not_bend_the_mean(period_s: float) -> None:
    """One in eight is up to 4 ms late. Of a tick a quarter is seen; as they come, up to 7 % are missed."""
    errors = [late(period_s, seed, late_s=0.004, share=0.125)[1] for seed in range(6)]
    assert max(map(abs, errors)) < 0.02


def stepping(joules: list[float], phases: list[float]) -> tuple[float, float] | None:
    """Ticks of 1 s that bring so many joules each; ticks fall at these phases of iterations of 1 s."""
    domain = Domain("gpu:0", "counter", 1.0, 0, True, "board_dc", 0.0, 0.0, "gpu:0", "by hand")
    shown, times, total = list[float](), list[float](), 0.0
    for k, rise in enumerate([0.0, *joules]):
        total += rise
        times += [k + 0.01, k + 0.99]
        shown += [total, total]
    series = Series(domain, tuple(times), tuple(shown), (0,) * len(times), (None,) * len(times), ())
    # The iteration that runs when tick k comes began so much before it.
    starts = tuple(k + 1 - phase for k, phase in enumerate(phases))
    ends = tuple(start + 1.0 for start in starts)
    counts = (1,) * len(starts)
    span = Span(0.0, len(joules) + 1.0)
    return even_power(staircase(series), Progress(span, starts, ends, counts, tuple(range(len(starts))), ()))


def test_a_phase_that_came_often_counts_no_more_than_one_that_came_once() -> None:
    """Phases 0, 1/4, 1/2, 3/4 at 100, 200, 300, 200 W, the first three times: the mean is 200 W, not 167."""
    phases = [0.0, 0.0, 0.0, 0.25, 0.5, 0.75]
    joules = [100.0, 100.0, 100.0, 200.0, 300.0, 200.0]
    assert stepping(joules, phases) == pytest.approx((200.0, 0.25), rel=0.05)


def test_the_part_that_was_never_seen_is_known() -> None:
    assert stepping([100.0] * 5, [0.0, 0.1, 0.0, 0.1, 0.2]) == pytest.approx((100.0, 0.8), rel=0.05)


def test_the_interval_holds_what_late_iterations_make_unsure() -> None:
    """One in eight is up to a third late, by chance in step or not: 1 to 12 % off, and the bounds say so."""
    inside = 0
    for seed in range(8):
        measured, error = late(0.05, seed, late_s=0.016, share=0.125)
        assert measured.per_iteration is not None
        low_j, high_j = (bound / measured.per_iteration.value for bound in measured.per_iteration.bounds(0.9))
        inside += low_j <= 1 / (1 + error) <= high_j
    assert inside >= 7


def test_stretches_between_delays_hold_the_same_number_of_iterations() -> None:
    after, total = delays_after(10.0, 0.1, 0.1)
    assert {later - earlier for earlier, later in pairwise(after)} == {12}
    assert after[0] + (total - after[-1]) == 12 + 1
