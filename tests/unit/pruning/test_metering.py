"""Measured budgets on simulated meters: rescaling, confirming, and how often a promise is broken."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from joulecut.codec import from_json, to_json
from joulecut.pruning.metering import Look, Metering, MeteringSettings
from joulecut.pruning.pairs import Pairs

ORIGINAL_J = 2.0


class Quiet:
    """A meter without noise; a network is its true joules, and the model says a fraction of them."""

    def __init__(self, model: float = 0.5) -> None:
        self.model = model
        self.asked: list[tuple[float, int]] = []

    def measure(self, at: float, rounds: int) -> Pairs:
        self.asked.append((at, rounds))
        return Pairs((ORIGINAL_J,) * rounds, (at,) * rounds, source="quiet")

    def joules(self, limit_j: float, settings: MeteringSettings | None = None) -> Metering[float]:
        chosen = settings or MeteringSettings()
        return Metering(
            self.measure, lambda at: self.model * at, limit_j, lambda pairs: pairs.smaller, settings=chosen
        )


def test_the_ceiling_is_the_limit_in_the_models_own_joules() -> None:
    """The model says half, so half of the limit is what it may say; without scatter there is no margin."""
    metering = Quiet().joules(1.0)
    assert metering.ceiling(1.9, 0) == pytest.approx(0.5)
    assert metering.factor().value == pytest.approx(2.0)


def test_it_looks_again_after_some_steps_and_some_fall() -> None:
    quiet = Quiet()
    metering = quiet.joules(0.1, MeteringSettings(every=3, fall=0.1, rounds=6))
    for step, at in enumerate([2.0, 1.9, 1.7, 1.79, 1.5, 1.5, 1.5, 1.4]):
        metering.ceiling(at, step)
    assert quiet.asked == [(2.0, 6), (1.79, 6), (1.5, 6)]
    assert [look.step for look in metering.looks] == [0, 3, 6]


def test_the_model_is_rescaled_by_what_it_got_wrong_lately() -> None:
    quiet = Quiet()
    metering = quiet.joules(1.0, MeteringSettings(every=1, recent=1))
    assert metering.ceiling(2.0, 0) == pytest.approx(0.5)
    quiet.model = 0.8
    assert metering.ceiling(1.5, 1) == pytest.approx(0.8)


def test_it_is_met_only_when_fresh_readings_confirm_it() -> None:
    quiet = Quiet()
    metering = quiet.joules(1.0)
    assert metering.met(1.5, 0) == "unsure"
    assert metering.met(1.0, 1) == "yes"
    assert [look.confirming for look in metering.looks] == [False, True]
    assert metering.met(1.0, 1) == "yes"
    assert len(quiet.asked) == 2
    assert metering.figure(1.0, 1).bounds(0.9) == (1.0, 1.0)
    assert metering.figure(1.0, 1).unit == "J"
    rescaled = metering.figure(1.5, 0)
    assert rescaled.value == pytest.approx(1.5)
    assert rescaled.unit == "J"
    assert rescaled.method == "modelled, rescaled by measurements"
    assert metering.fits(0.9, 2)
    assert not metering.fits(1.1, 2)


def test_a_confirmation_that_fails_says_no_and_lowers_the_ceiling() -> None:
    """The model gets this one network wrong by far; what the confirmation read rescales it."""
    quiet = Quiet()
    metering = quiet.joules(1.0, MeteringSettings(recent=1))
    metering.ceiling(2.0, 0)
    quiet.model = 0.25
    assert metering.met(1.8, 1) == "no"
    assert metering.ceiling(1.8, 1) == pytest.approx(0.25)
    assert metering.met(1.2, 2) == "unsure"
    assert metering.met(0.9, 3) == "yes"


def test_shares_are_held_against_the_original_of_the_same_rounds() -> None:
    quiet = Quiet()
    metering: Metering[float] = Metering(quiet.measure, lambda at: at / 4, 0.5, lambda pairs: pairs.ratio)
    assert metering.met(1.1, 0) == "unsure"
    assert metering.met(1.0, 1) == "yes"


def test_later_confirmations_get_less_of_the_risk_and_enough_rounds() -> None:
    """Readings spread evenly over 1 +- 0.5 %: the bound at 3 % is under 1.0023, that at 0.03 % is not."""
    spread = [1 + (k - 19.5) / 39 * 0.01 for k in range(40)]
    order = random.Random(1)

    def measure(_: int, rounds: int) -> Pairs:
        order.shuffle(spread)
        return Pairs((1.0,) * rounds, tuple(spread[k % 40] for k in range(rounds)))

    settings = MeteringSettings(margin=0.0, rounds=40)
    first: Metering[int] = Metering(
        measure, lambda _: 1.0, 1.0023, lambda pairs: pairs.smaller, settings=settings
    )
    assert first.met(0, 0) == "yes"
    later: Metering[int] = Metering(
        measure, lambda _: 1.0, 1.0023, lambda pairs: pairs.smaller, settings=settings
    )
    later.looks += [Look(-1, 0.9, measure(0, 40), confirming=True) for _ in range(9)]
    assert later.met(0, 0) == "unsure"


def test_what_was_measured_is_kept_in_a_file_and_gone_on_from() -> None:
    quiet = Quiet()
    metering = quiet.joules(1.0)
    metering.met(1.0, 0)
    again = Quiet().joules(1.0)
    again.looks = [from_json(to_json(look), Look) for look in metering.looks]
    assert again.looks == metering.looks
    assert again.met(1.0, 0) == "yes"


def just_over(seed: int) -> Callable[[int, int], Pairs]:
    """A noisy meter; every network is 0.1 % over the original."""
    generator = random.Random(f"{seed}")

    def read() -> float:
        spoilt = generator.uniform(1.2, 3.0) if generator.random() < 0.05 else 1.0
        return spoilt * (1 + generator.gauss(0.0, 0.05))

    return lambda _, rounds: Pairs(
        tuple(read() for _ in range(rounds)), tuple(1.001 * read() for _ in range(rounds))
    )


def test_a_search_that_asks_again_and_again_is_lied_to_in_one_of_twenty_at_most() -> None:
    """The worst case: 30 networks, all just over, which a model calls ever cheaper; 100 such searches. With
    the same bound at each of them, of which 4.8 % are lucky, most searches would end on a lucky one."""
    settings = MeteringSettings(margin=0.0, confirming_rounds=18)
    lied = lucky = 0
    for seed in range(100):
        metering: Metering[int] = Metering(
            just_over(seed), lambda at: 0.99**at, 1.0, lambda pairs: pairs.ratio, settings=settings
        )
        lied += any(metering.met(at, at) == "yes" for at in range(30))
        measure = just_over(seed)
        lucky += any(measure(at, 18).ratio.upper(0.05) <= 1 for at in range(30))
    assert lied <= 5
    assert lucky > 50
