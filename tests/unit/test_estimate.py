import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulecut.estimate import CERTAIN, Estimate, Origin, Spread, difference, exact, ratio, total


def modelled(value: float, *, common: float = 1.0, own: float = 1.0, device: str = "board") -> Estimate:
    """An estimate whose 90 % bounds are a factor away; the 50 % bounds are at its square root."""
    return Estimate(
        value,
        "J",
        "modelled",
        "demo",
        n=4,
        common=Spread.factors(value, math.sqrt(common), common),
        own=Spread.factors(value, math.sqrt(own), own),
        common_with=device,
    )


def test_factors_are_distances_from_the_value() -> None:
    assert Spread.factors(8.0, 2.0, 4.0) == Spread(4.0, 8.0, 6.0, 24.0)


@pytest.mark.parametrize(("at_50", "at_90"), [(0.9, 2.0), (2.0, 1.5), (float("nan"), 2.0)])
def test_factors_below_one_or_in_the_wrong_order_are_refused(at_50: float, at_90: float) -> None:
    with pytest.raises(ValueError, match="factor_50 <= factor_90"):
        Spread.factors(1.0, at_50, at_90)


def test_bounds_join_the_two_parts_in_quadrature() -> None:
    both = Estimate(10.0, "J", "modelled", "demo", common=Spread(1, 1, 3, 3), own=Spread(1, 2, 4, 4))
    assert both.bounds(0.9) == (5.0, 15.0)
    assert both.bounds(0.5) == pytest.approx((10 - math.sqrt(2), 10 + math.sqrt(5)))
    with pytest.raises(ValueError, match=r"0\.5 and 0\.9"):
        both.bounds(0.95)


def test_the_common_part_adds_up_and_the_own_part_averages_out() -> None:
    four = [
        Estimate(1.0, "J", "modelled", "m", common=Spread(0, 0, 0.5, 0.5), common_with="d") for _ in range(4)
    ]
    assert total(four, unit="J", method="sum").bounds() == (2.0, 6.0)
    alone = [Estimate(1.0, "J", "modelled", "m", own=Spread(0, 0, 0.5, 0.5)) for _ in range(4)]
    assert total(alone, unit="J", method="sum").bounds() == (3.0, 5.0)


def test_a_sum_is_only_as_sure_as_its_least_sure_term() -> None:
    origins: list[Origin] = ["measured", "modelled", "attributed"]
    assert total([exact(1.0, "J", o, "m") for o in origins], unit="J", method="sum").origin == "modelled"


def test_an_exact_term_does_not_blur_what_the_sum_has_in_common() -> None:
    unattributed = exact(0.0, "J", "modelled", "none")
    before = modelled(4.0, common=2.0) + unattributed
    after = unattributed + modelled(2.0, common=2.0)
    assert before.common_with == after.common_with == "board"
    assert ratio(after, before).bounds() == (0.5, 0.5)


def test_terms_of_two_devices_have_nothing_in_common() -> None:
    both = modelled(1.0, common=2.0, device="a") + modelled(1.0, common=2.0, device="b")
    assert both.common_with == ""
    assert both.bounds() == (1.0, 4.0)


def test_units_do_not_mix() -> None:
    joules, seconds = exact(1.0, "J", "assumed", "m"), exact(1.0, "s", "assumed", "m")
    with pytest.raises(ValueError, match="cannot add s to J"):
        total([joules, seconds], unit="J", method="sum")
    with pytest.raises(ValueError, match="no ratio of J and s"):
        ratio(joules, seconds)
    with pytest.raises(ValueError, match="cannot subtract s from J"):
        difference(joules, seconds, method="d")


def test_an_empty_sum_is_zero() -> None:
    assert total([], unit="s", method="none") == exact(0.0, "s", "assumed", "none")


def test_what_is_common_cancels_in_a_ratio_and_the_own_parts_stay() -> None:
    before, after = modelled(4.0, common=3.0, own=1.5), modelled(2.0, common=3.0, own=1.5)
    low, high = ratio(after, before).bounds()
    factor = math.exp(math.hypot(math.log(1.5), math.log(1.5)))  # two independent factors of 1.5
    assert (low, high) == pytest.approx((0.5 / factor, 0.5 * factor))


def test_only_the_common_factor_that_both_share_cancels() -> None:
    """One factor moves both: where a is 3 times as large, b is 2 times as large, and the ratio 1.5 times."""
    left = ratio(modelled(1.0, common=3.0), modelled(1.0, common=2.0))
    assert left.bounds() == pytest.approx((1 / 1.5, 1.5))
    turned = ratio(modelled(1.0, common=2.0), modelled(1.0, common=3.0))
    assert turned.bounds() == pytest.approx((1 / 1.5, 1.5))


def test_nothing_cancels_between_devices_or_without_a_name() -> None:
    factor = math.exp(math.hypot(math.log(2), math.log(2)))
    for name_a, name_b in (("a", "b"), ("", "")):
        result = ratio(modelled(1.0, common=2.0, device=name_a), modelled(1.0, common=2.0, device=name_b))
        assert result.bounds() == pytest.approx((1 / factor, factor))


def test_a_ratio_needs_a_divisor_that_cannot_be_zero_and_no_negative_value() -> None:
    vague = Estimate(1.0, "J", "measured", "m", own=Spread(0.5, 0.5, 1.0, 1.0))
    with pytest.raises(ValueError, match="may be zero"):
        ratio(vague, vague)
    with pytest.raises(ValueError, match="negative"):
        ratio(exact(-1.0, "J", "measured", "m"), exact(1.0, "J", "measured", "m"))
    assert ratio(exact(0.0, "J", "measured", "m"), modelled(1.0, common=2.0)).value == 0.0


def test_a_difference_is_as_uncertain_as_itself() -> None:
    """Halving 4 J on a device that may be 2 times off saves 2 J, 2 times off: 1 to 4 J."""
    saved = difference(modelled(4.0, common=2.0), modelled(2.0, common=2.0), method="saving")
    assert (saved.value, *saved.bounds()) == (2.0, 1.0, 4.0)
    nothing = difference(modelled(4.0, common=2.0), modelled(4.0, common=2.0), method="saving")
    assert nothing.bounds() == (0.0, 0.0)
    costs = difference(modelled(2.0, common=2.0), modelled(4.0, common=2.0), method="saving")
    assert (costs.value, *costs.bounds()) == (-2.0, -4.0, -1.0)


def test_a_difference_between_devices_is_as_uncertain_as_both() -> None:
    apart = difference(
        modelled(4.0, common=2.0, device="a"), modelled(2.0, common=2.0, device="b"), method="d"
    )
    assert apart.bounds() == (2.0 - 2.0 - 2.0, 2.0 + 4.0 + 1.0)


def test_scaling_by_a_negative_constant_swaps_the_bounds() -> None:
    turned = Estimate(1.0, "J", "measured", "m", own=Spread(0, 0, 0.25, 1.0)).scaled(-2.0, method="turned")
    assert (turned.value, *turned.bounds(), turned.method) == (-2.0, -4.0, -1.5, "turned")


def test_text_has_one_unit_style_and_says_the_origin() -> None:
    assert str(exact(0.012, "J", "assumed", "m")) == "12.0 mJ (assumed)"
    assert str(modelled(0.004, common=2.0)) == "4.00 mJ [2.00 mJ to 8.00 mJ] (modelled)"
    assert (
        str(ratio(modelled(2.0, own=2.0), exact(4.0, "J", "assumed", "m")))
        == "0.500 [0.250 to 1.00] (assumed)"
    )


values = st.floats(1e-12, 1e6)
factors = st.floats(1.0, 4.0)


@given(st.lists(st.tuples(values, factors, factors), min_size=1, max_size=8))
def test_a_total_is_inside_its_bounds_and_no_wider_than_its_terms(
    terms: list[tuple[float, float, float]],
) -> None:
    parts = [modelled(value, common=common, own=own) for value, common, own in terms]
    whole = total(parts, unit="J", method="sum")
    low, high = whole.bounds()
    assert whole.value == math.fsum(part.value for part in parts)
    slack = 1e-9 * whole.value
    assert sum(part.bounds()[0] for part in parts) - slack <= low <= whole.value <= high
    assert high <= sum(part.bounds()[1] for part in parts) + slack
    at_50 = whole.bounds(0.5)
    assert low - slack <= at_50[0] <= at_50[1] <= high + slack


@given(values, values, factors, st.floats(1.0, 1.9))
def test_a_ratio_turned_round_has_the_bounds_turned_round(
    a: float, b: float, common: float, own: float
) -> None:
    one = ratio(modelled(a, common=common, own=own), modelled(b, common=common, own=own))
    other = ratio(modelled(b, common=common, own=own), modelled(a, common=common, own=own))
    assert one.bounds()[0] == pytest.approx(1 / other.bounds()[1], rel=1e-6)
    assert one.bounds()[1] == pytest.approx(1 / other.bounds()[0], rel=1e-6)


def test_certain_is_certain() -> None:
    assert exact(3.0, "J", "assumed", "m").common == CERTAIN
    assert exact(3.0, "J", "assumed", "m").bounds() == (3.0, 3.0)
