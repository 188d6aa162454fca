from __future__ import annotations

import gc
import time
from collections.abc import Iterator

import numpy as np
import pytest

from joulecut.benchmarks.latency import latency_report, measure_round, undisturbed, warm_up
from joulecut.errors import NothingMeasured


class Busy:
    """Keeps the processor busy for a time that may change from call to call; writes its name into a log."""

    def __init__(self, name: str, durations_s: Iterator[float], log: list[str]) -> None:
        self.name = name
        self.durations_s = durations_s
        self.log = log

    def run(self) -> None:
        self.log.append(self.name)
        end = time.perf_counter() + next(self.durations_s)
        while time.perf_counter() < end:
            pass


def slow_at_first(calls: int, slow_s: float, fast_s: float) -> Iterator[float]:
    for _ in range(calls):
        yield slow_s
    while True:
        yield fast_s


def constant(seconds: float) -> Iterator[float]:
    return slow_at_first(0, 0.0, seconds)


class Interrupted:
    def run(self) -> None:
        raise KeyboardInterrupt


def test_warm_up_outlasts_a_slow_start() -> None:
    log: list[str] = []
    result = warm_up(Busy("a", slow_at_first(50, 1e-3, 2e-4), log), 2.0)
    assert len(log) > 50
    assert result.call_s < 1e-3  # the fast calls wait 0.2 ms, the slow ones 1 ms


def test_warm_up_ends_at_its_cap() -> None:
    rising = iter(0.001 * 1.3**k for k in range(1000))
    result = warm_up(Busy("a", rising, []), 0.05)
    assert not result.settled


@pytest.mark.parametrize(("prime", "quads"), [(False, "abbabaab"), (True, "aabbbbaabbaaaabb")])
def test_round_goes_in_quads_that_each_begins_by_turns(prime: bool, quads: str) -> None:
    log: list[str] = []
    a, b = Busy("a", constant(1e-5), log), Busy("b", constant(1e-5), log)
    taken = measure_round([a, b], 0.005, clock=time.thread_time_ns, prime=prime)
    count = len(log) * 2 // len(quads)
    assert "".join(log) == (quads * count)[: len(log)]
    assert [len(w) for w in taken.wall_s] == [2 * count, 2 * count]
    assert [len(logs) for logs in (*taken.wall_logs, *taken.cpu_logs)] == [count, count]


def test_round_compares_every_network_with_the_first() -> None:
    log: list[str] = []
    networks = [Busy(name, constant(1e-5), log) for name in "abc"]
    taken = measure_round(networks, 0.0, clock=time.thread_time_ns, prime=False)
    assert "".join(log) == "abbaacca"
    assert [len(w) for w in taken.wall_s] == [4, 2, 2]


def test_round_logs_are_those_of_geometric_means() -> None:
    a, b = Busy("a", constant(1e-4), []), Busy("b", constant(3e-4), [])
    taken = measure_round([a, b], 0.01, clock=time.thread_time_ns, prime=False)
    for seconds, logs in ((taken.wall_s, taken.wall_logs[0]), (taken.cpu_s, taken.cpu_logs[0])):
        products = [s[::2] * s[1::2] for s in seconds]
        assert logs == pytest.approx(np.log(np.sqrt(products[1] / products[0])))
    assert np.median(taken.wall_logs[0]) == pytest.approx(np.log(3), abs=0.2)


def test_one_network_is_timed_alone() -> None:
    log: list[str] = []
    taken = measure_round([Busy("a", constant(1e-5), log)], 0.0, clock=time.thread_time_ns, prime=False)
    assert log == ["a"]
    assert (len(taken.wall_s[0]), taken.wall_logs) == (1, ())
    assert taken.wall_s[0][0] >= 1e-5


def test_collector_is_off_meanwhile_and_back_after_an_interrupt() -> None:
    with undisturbed():
        assert not gc.isenabled()
    with pytest.raises(KeyboardInterrupt):
        measure_round([Interrupted()], 1.0, clock=time.thread_time_ns, prime=False)
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("calls", "p90", "p99"), [(63, False, False), (64, True, False), (661, True, False), (662, True, True)]
)
def test_percentiles_need_enough_calls(calls: int, p90: bool, p99: bool) -> None:
    seconds = np.linspace(1e-3, 2e-3, calls)
    report = latency_report("a.onnx", [(seconds, seconds)], contended=False, settings={})
    assert (report.p90_s is not None, report.p99_s is not None) == (p90, p99)
    assert report.calls == calls
    assert report.p50_s.value == pytest.approx(1.5e-3)
    assert report.energy is None


@pytest.mark.parametrize("calls", [0, 4])
def test_too_few_calls_are_no_report(calls: int) -> None:
    seconds = np.ones(calls)
    with pytest.raises(NothingMeasured, match=f"{calls} timed calls of a.onnx are too few"):
        latency_report("a.onnx", [(seconds, seconds)], contended=False, settings={})
