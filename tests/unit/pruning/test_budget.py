"""Budgets: what is read, what is refused, and when one is met."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import pytest

from joulecut.errors import UsageError
from joulecut.estimate import Estimate, Spread
from joulecut.pruning.budget import all_of, check, parse_budget
from joulecut.pruning.candidates.channels import chunk
from joulecut.pruning.modelled import PricedLimit
from joulecut.pruning.records import Budget, Met


@pytest.mark.parametrize(
    ("text", "share", "energy_j"),
    [
        ("50%", 0.5, None),
        (" 12.5 % ", 0.125, None),
        ("12mJ", None, 0.012),
        ("12 mJ", None, 0.012),
        ("3.5e-3 J", None, 0.0035),
        ("800 nJ", None, 8e-7),
        ("2 mWh", None, 7.2),
    ],
)
def test_budgets_are_joules_or_a_share(text: str, share: float | None, energy_j: float | None) -> None:
    found = parse_budget(text, min_accuracy=0.7, confidence=0.5)
    assert found == Budget(energy_j=found.energy_j, share=share, min_accuracy=0.7, confidence=0.5)
    assert found.energy_j == pytest.approx(energy_j)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0%", "above 0"),
        ("-5%", "above 0"),
        ("nan%", "above 0"),
        ("inf%", "above 0"),
        ("1e999%", "above 0"),
        ("100%", "asks for no saving"),
        ("250%", "asks for no saving"),
        ("half%", "is not a share"),
        ("%", "is not a share"),
        ("50%%", "is not a share"),
        ("0 J", "above 0"),
        ("-3 mJ", "above 0"),
        ("nan J", "not a quantity"),
        ("inf J", "not a quantity"),
        ("1e999 J", "not a finite"),
        ("12", "has no unit"),
        ("12 m", "is not in J"),
        ("12 mW", "is not in J"),
        ("12 furlongs", "is not in J"),
        ("1e-30 J", "no energy of an inference"),
        ("5 TJ", "no energy of an inference"),
        ("", "not a quantity"),
        ("mJ", "not a quantity"),
        ("x" * 10_000, "not a quantity"),
    ],
)
def test_senseless_budgets_are_refused_in_one_sentence(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_budget(text)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "budget",
    [
        Budget(),
        Budget(min_accuracy=0.9),
        Budget(latency_s=0.0),
        Budget(latency_s=-1.0),
        Budget(latency_s=math.nan),
        Budget(latency_s=math.inf),
        Budget(memory_bytes=0.0),
        Budget(memory_bytes=math.nan),
        Budget(memory_bytes=math.inf),
        Budget(share=0.5, step_samples=0),
        Budget(latency_s=1.0, per="training step"),
        Budget(energy_j=1.0, share=0.5),
        Budget(share=math.nan),
        Budget(energy_j=math.inf),
        Budget(share=0.5, min_accuracy=1.01),
        Budget(share=0.5, min_accuracy=-0.01),
        Budget(share=0.5, min_accuracy=math.nan),
        Budget(share=0.5, confidence=0.95),
        Budget(share=0.5, confidence=math.nan),
    ],
)
def test_senseless_records_are_refused(budget: Budget) -> None:
    with pytest.raises(UsageError):
        check(budget)


@dataclass(frozen=True)
class Priced:
    """Stands in for a pricer, and for the network that it prices."""

    figure: Estimate
    widths: dict[str, int] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()

    def total(self, _widths: object, _gone: object) -> Estimate:
        return self.figure


def held(budget: Budget, before: Estimate, after: Estimate) -> tuple[Met, float]:
    """A budget's joules held against a network: whether they are met, and what would be allowed."""
    priced: Any = Priced(after)
    most = budget.energy_j if budget.energy_j is not None else budget.share
    assert most is not None
    whole = before if budget.share is not None else None
    limit = PricedLimit("energy", "J", priced, most, budget.confidence, whole)
    return limit.check(priced).met, limit.ceiling(priced)


AFTER = Estimate(1.0, "J", "modelled", "t", own=Spread(0.1, 0.2, 0.2, 0.5))
"""1 J: 0.9 to 1.2 J at 50 %, 0.8 to 1.5 J at 90 %."""


@pytest.mark.parametrize(
    ("energy_j", "confidence", "met"),
    [
        (1.6, 0.9, "yes"),
        (1.5, 0.9, "yes"),
        (1.4, 0.9, "unsure"),
        (1.0, 0.9, "unsure"),
        (0.8, 0.9, "unsure"),
        (0.79, 0.9, "no"),
        (1.2, 0.5, "yes"),
        (1.1, 0.5, "unsure"),
        (0.89, 0.5, "no"),
    ],
)
def test_joules_are_met_on_the_upper_bound(energy_j: float, confidence: float, met: str) -> None:
    before = Estimate(2.0, "J", "modelled", "t")
    budget = Budget(energy_j=energy_j, confidence=confidence)
    found, allowed_j = held(budget, before, AFTER)
    assert found == met
    assert allowed_j == pytest.approx(energy_j / (1.5 if confidence == 0.9 else 1.2))


def common(value: float, device: str, own: Spread = Spread(0, 0, 0, 0)) -> Estimate:  # noqa: B008
    """A figure that is wrong by up to a factor of 2, together with all others of its device."""
    factors = Spread.factors(value, 1.3, 2.0)
    return Estimate(value, "J", "modelled", "t", common=factors, own=own, common_with=device)


@pytest.mark.parametrize(("share", "met"), [(0.51, "yes"), (0.5, "yes"), (0.49, "no")])
def test_of_a_share_what_is_common_to_the_device_cancels(share: float, met: str) -> None:
    budget = Budget(share=share)
    found, allowed_j = held(budget, common(2.0, "board"), common(1.0, "board"))
    assert found == met
    assert allowed_j == pytest.approx(2 * share)


@pytest.mark.parametrize(("share", "met"), [(0.62, "unsure"), (0.625, "yes"), (0.41, "unsure"), (0.39, "no")])
def test_of_a_share_what_is_the_networks_own_stays(share: float, met: str) -> None:
    """0.8 to 1.25 J of exactly 2 J, both by the factor 1.25: 0.4 to 0.625."""
    after = common(1.0, "board", Spread(0.1, 0.1, 0.2, 0.25))
    assert held(Budget(share=share), common(2.0, "board"), after)[0] == met


def test_figures_of_two_devices_share_nothing() -> None:
    """Both wrong by a factor of 2 on their own: 2 ** sqrt(2) = 2.665 at worst, so 0.5 may be 1.33."""
    before, after = common(2.0, "one board"), common(1.0, "another")
    found, allowed_j = held(Budget(share=0.9), before, after)
    assert found == "unsure"
    assert allowed_j == pytest.approx(0.9 * 1.0 / (0.5 * 2 ** math.sqrt(2)))


@pytest.mark.parametrize("step", [1, 4, 8, 32])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 7, 8, 9, 16, 31, 32, 33, 40, 64, 100])
def test_a_chunk_leaves_a_multiple_of_the_step_or_everything(width: int, step: int) -> None:
    taken = chunk(width, step)
    left = width - taken
    assert left >= 1
    if width > step:
        assert 0 < taken <= step
        assert left % step == 0
    else:
        assert taken == 0


def test_time_and_memory_are_read_with_their_units() -> None:
    found = parse_budget("50%", latency="5 ms", memory="256 kB", per="training step", step_samples=32)
    assert (found.latency_s, found.memory_bytes) == (0.005, 256_000.0)
    assert str(found) == (
        "50.0 % of the original per training step of 32 and 5.00 ms of latency and 256 kB of memory"
    )
    assert parse_budget(None, memory="1 KiB") == Budget(memory_bytes=1024.0)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"latency": "5"}, "has no unit"),
        ({"latency": "5 mJ"}, "is not in s"),
        ({"latency": "0 s"}, "no time of an inference"),
        ({"latency": "-5 ms"}, "no time of an inference"),
        ({"memory": "12 ms"}, "is not in B"),
        ({"memory": "0 kB"}, "no memory of an inference"),
        ({"memory": "1e999 B"}, "not a finite"),
        ({"step_samples": 0}, "1 sample or more"),
    ],
)
def test_senseless_limits_are_refused_in_one_sentence(limits: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_budget("50%", **limits)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("verdicts", "met"),
    [([], "yes"), (["yes", "yes"], "yes"), (["yes", "unsure"], "unsure"), (["unsure", "no", "yes"], "no")],
)
def test_verdicts_are_joined(verdicts: list[Met], met: Met) -> None:
    assert all_of(verdicts) == met
