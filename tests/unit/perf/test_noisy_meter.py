"""Over 200 simulated searches on a noisy meter, a network called met is over its budget in 5 % at most."""

from __future__ import annotations

import random
from statistics import fmean

import pytest
from perf.noisy_meter import FIGURES, METHODS, Figure, NoisyMeter, SimulatedPath, simulate


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_at_most_one_in_twenty_breaks_its_word(figure: Figure) -> None:
    met = [outcome for outcome in simulate(METHODS["ours"], figure, 200) if outcome.met]
    assert len(met) > 150
    assert sum(outcome.used > 1 for outcome in met) <= 0.05 * len(met)
    assert fmean(outcome.used for outcome in met) > 0.9


def test_without_a_confirmation_a_third_does() -> None:
    met = [outcome for outcome in simulate(METHODS["rescaled once"], FIGURES[0], 60) if outcome.met]
    assert sum(outcome.used > 1 for outcome in met) > 0.2 * len(met)


def test_the_simulated_meter_is_as_noisy_as_it_says() -> None:
    generator = random.Random(0)
    meter = NoisyMeter(
        SimulatedPath((1.0, 0.5), (1.0, 0.5)), generator, gain=0.0, outliers=0.0, walk=0.0, trend=0.0
    )
    ratios = meter.interleaved(1, 2000).ratio.values
    middle = sorted(ratios)[1000]
    assert middle == pytest.approx(0.5, rel=0.01)
    inner = sum(abs(ratio / middle - 1) < 0.05 * 2**0.5 for ratio in ratios) / 2000
    assert inner == pytest.approx(0.683, abs=0.04)
    assert meter.readings == 4000
