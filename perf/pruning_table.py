"""Tables of perf.pruning: points lost, the factor saved at one point, times, and the bars.

Losses are those against the recalibrated base of the same seed. The factor is one over the energy at which
the test loss first passes one point, linear between a method's measured points; the picked factor is that of
the least energy such that no measured point down to it loses more than a point on validation. Intervals
(90 %) are paired: 2,000 resamples of the test images, the same ones for all methods and seeds.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from perf.pruning_results import Results, Row, Stage

__all__ = ["ALONE", "HEADLINE", "LABELLED", "QUICK_ALONE", "Factor", "factor_at_a_point", "report"]

HEADLINE: Final = (0.7, 0.5, 0.3, 0.2)
RESAMPLES: Final = 2000
OURS: Final = "joulecut"
QUICK: Final = "joulecut quick"
LABELLED: Final = "joulecut, last layer on labels"
"""A row of its own, in no bar."""
ALONE: Final = "joulecut, 20 % alone"
QUICK_ALONE: Final = "joulecut quick, 20 % alone"
"""Both: one run as a user starts it, without the last refits of other budgets."""
TRAINING: Final = ("NetAdapt style",)
"""Methods that take gradient steps: no peers of what takes none."""


@dataclass(frozen=True, slots=True)
class Factor:
    """Energy saved at one point of loss, the mean over seeds.

    Attributes:
        value: base's energy over what is left.
        draws: the same for each resample of the test images, float [resamples].
        open: some seed never loses a point down to the least energy measured, so it may be more.
    """

    value: float
    draws: np.ndarray
    open: bool

    def __str__(self) -> str:
        low, high = np.quantile(self.draws, (0.05, 0.95))
        return f"{'>=' if self.open else ''}{self.value:.2f} [{low:.2f}, {high:.2f}]"


def factor_at_a_point(shares: Sequence[float], losses: np.ndarray) -> np.ndarray:
    """One over the share at which the loss first passes 1, linear between points.

    Args:
        shares: falling, below 1.
        losses: points lost, [draws, shares]; at a share of 1 nothing is lost.

    Returns:
        [draws]; one over the least share where the loss never passes 1.

    >>> factor_at_a_point([0.8, 0.5], np.array([[0.5, 2.0], [0.0, 0.9]])).round(3).tolist()
    [1.429, 2.0]
    """
    at = np.array([1.0, *shares])
    loss = np.concatenate([np.zeros((len(losses), 1)), losses], 1)
    over = loss > 1
    first = np.where(over.any(1), over.argmax(1), len(at) - 1)
    rows = np.arange(len(loss))
    high, low = loss[rows, first], loss[rows, first - 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        way = np.where(over.any(1), (1 - low) / (high - low), 1.0)
    return np.asarray(1 / (at[first - 1] + way * (at[first] - at[first - 1])))


def _draws(count: int) -> np.ndarray:
    """How often each test image is drawn: [1 + resamples, images], the first row once each."""
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return np.concatenate([np.ones((1, count)), drawn]).astype(np.float32)


def factor(results: Results, network: str, method: str, weights: np.ndarray) -> Factor | None:
    """A method's factor over the seeds that it has run on."""
    found, is_open = [], False
    for seed in results.seeds(network, method):
        rows = list(results.rows(network, method, "cut", seed))
        if not rows:
            continue
        base = results.base(network, seed).correct("test")
        lost = np.stack([base.astype(np.float32) - row.correct("test") for row in rows], 1)
        losses = 100 * weights @ lost / len(base)
        found.append(factor_at_a_point([row.share for row in rows], losses))
        is_open = is_open or bool((losses[0] <= 1).all())
    if not found:
        return None
    mean = np.mean(found, 0)
    return Factor(float(mean[0]), mean[1:], is_open)


def lost(results: Results, network: str, method: str, budget: float, stage: Stage) -> float | None:
    """Mean points of test accuracy lost at a budget; None where it is not measured."""
    rows = [row for row in results.rows(network, method, stage) if row.budget == budget]
    if not rows:
        return None
    return statistics.fmean(
        results.base(network, row.seed).accuracy("test") - row.accuracy("test") for row in rows
    )


def picked(results: Results, network: str, method: str) -> list[tuple[float, float]]:
    """By seed: the factor picked on validation, and the test points that it loses."""
    found = []
    for seed in results.seeds(network, method):
        base = results.base(network, seed)
        chosen: Row = base
        for row in results.rows(network, method, "cut", seed):
            if base.accuracy("validation") - row.accuracy("validation") > 1:
                break
            chosen = row
        found.append((1 / chosen.share, base.accuracy("test") - chosen.accuracy("test")))
    return found


def seconds(results: Results, network: str, method: str) -> float | None:
    """Mean CPU seconds to the least energy."""
    times = [
        max(row.cpu_s for row in results.rows(network, method, "cut", seed))
        for seed in results.seeds(network, method)
        if any(results.rows(network, method, "cut", seed))
    ]
    return statistics.fmean(times) if times else None


def report(results: Results, network: str, methods: Sequence[str]) -> str:
    """The table of one network and its bars."""
    seeds = results.seeds(network)
    if not seeds:
        return f"\n{network}: nothing is done"
    weights = _draws(len(results.base(network, seeds[0]).correct("test")))
    bases = ", ".join(f"{results.base(network, seed).accuracy('test'):.2f}" for seed in seeds)
    trained = ", ".join(f"{row.accuracy('test'):.2f}" for row in results.rows(network, "as trained", "base"))
    heads = " / ".join(f"{100 * budget:g}" for budget in HEADLINE)
    lines = [
        f"\n{network}: test accuracy of the recalibrated base {bases} %, as trained {trained} % "
        f"(seeds {', '.join(map(str, seeds))})",
        f"{'':<32}{'points lost at ' + heads + ' %':<34}{'after one epoch':<28}{'factor at 1 point':<22}"
        f"{'picked, its loss':<18}{'CPU s':>7}  seeds",
    ]
    factors = {}
    for method in methods:
        found = None if method in (ALONE, QUICK_ALONE) else factor(results, network, method, weights)
        if found is not None:
            factors[method] = found
            lines.append(_line(results, network, method, found))
    count = sum(1 for method in methods for _ in results.rows(network, method, "cut"))
    lines.append(f"{count} cut networks of {len(factors)} methods were scored on the test images.")
    return "\n".join([*lines, *_bars(results, network, factors)])


def _line(results: Results, network: str, method: str, found: Factor) -> str:
    cut, epoch = (
        " / ".join(_number(lost(results, network, method, budget, stage)) for budget in HEADLINE)
        for stage in ("cut", "epoch")
    )
    picks = picked(results, network, method)
    pick = f"{statistics.fmean(f for f, _ in picks):.2f}, {statistics.fmean(loss for _, loss in picks):.2f}"
    took = seconds(results, network, method) or 0.0
    seeds = len(results.seeds(network, method))
    return f"{method:<32}{cut:<34}{epoch:<28}{found!s:<22}{pick:<18}{took:>7.1f}  {seeds}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _bars(results: Results, network: str, factors: dict[str, Factor]) -> list[str]:
    """The bars that this network has, with their figures."""
    if OURS not in factors:
        return []
    peers = {name: f for name, f in factors.items() if name not in (OURS, QUICK, LABELLED, *TRAINING)}
    found: list[str] = []
    wanted = {"resnet8": 2.0, "dscnn": 1.8}.get(network)
    if wanted is not None:
        found.append(_bar(f"factor {factors[OURS]}", f"at least {wanted}", factors[OURS].value >= wanted))
    if peers:
        best = max(peers, key=lambda name: peers[name].value)
        more = {"resnet8": 1.5, "dscnn": 1.35}.get(network, 1.3)
        ratio = factors[OURS].value / peers[best].value
        low, high = np.quantile(factors[OURS].draws / peers[best].draws, (0.05, 0.95))
        says = f"{ratio:.2f} [{low:.2f}, {high:.2f}] times {best}"
        found.append(_bar(says, f"at least {more}", ratio >= more))
    if network == "resnet8":
        for budget, most in ((0.5, 0.8), (0.3, 3.0), (0.2, 6.5)):
            loss = lost(results, network, OURS, budget, "cut")
            if loss is not None:
                says = f"{loss:.2f} points lost at {100 * budget:g} %"
                found.append(_bar(says, f"at most {most}", loss <= most))
    return [*found, *_epoch_bars(results, network, [*peers, *TRAINING]), *_time_bars(results, network)]


def _epoch_bars(results: Results, network: str, peers: Sequence[str]) -> list[str]:
    found = []
    for budget in HEADLINE:
        ahead = {name: _ahead(results, network, name, budget) for name in peers}
        known = {name: points for name, points in ahead.items() if points is not None}
        if known:
            best = min(known, key=lambda name: known[name])
            says = f"after an epoch at {100 * budget:g} % {known[best]:+.2f} points against {best}"
            found.append(_bar(says, "at most 0.2 behind", known[best] >= -0.2))
    return found


def _ahead(results: Results, network: str, peer: str, budget: float) -> float | None:
    """Points of test accuracy that joulecut has more than a peer after an epoch, on the seeds of both."""
    mine, theirs = (
        {row.seed: row for row in results.rows(network, name, "epoch") if row.budget == budget}
        for name in (OURS, peer)
    )
    both = [mine[seed].accuracy("test") - theirs[seed].accuracy("test") for seed in mine.keys() & theirs]
    return statistics.fmean(both) if both else None


def _time_bars(results: Results, network: str) -> list[str]:
    found = []
    took = seconds(results, network, ALONE)
    if took is not None:
        found.append(_bar(f"{took:.0f} s of CPU time for one run to 20 %", "under 100 s", took < 100))
    quick, slow = seconds(results, network, QUICK_ALONE), seconds(results, network, TRAINING[0])
    if quick is not None and slow is not None:
        pairs = [(lost(results, network, name, b, "cut") for name in (QUICK, TRAINING[0])) for b in HEADLINE]
        pairs += [(lost(results, network, name, HEADLINE[-1], "cut") for name in (QUICK_ALONE, TRAINING[0]))]
        losses = [(mine, theirs) for mine, theirs in pairs if mine is not None and theirs is not None]
        no_worse = all(mine <= theirs for mine, theirs in losses)
        says = f"{QUICK} {slow / quick:.1f} times as fast to 20 % as {TRAINING[0]}, " + (
            "no" if no_worse else "at some budget"
        )
        found.append(_bar(says + " less accurate", "10 times, never less", no_worse and slow >= 10 * quick))
    return found


def _bar(says: str, wanted: str, met: bool) -> str:
    return f"{'met   ' if met else 'MISSED'} {says} (bar: {wanted})"
