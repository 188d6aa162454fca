"""Curves and their merging: small cases by hand, and what must hold on any network."""

from __future__ import annotations

import functools
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pruning_networks import EXACT, build, captured, one_thread  # noqa: F401

from joulecut.hw_models.catalogue import device
from joulecut.hw_models.incremental import IncrementalEnergy
from joulecut.hw_models.widths import ChannelCount, PricedLayer
from joulecut.pruning.curves import BY_SCORE, PER_JOULE, Curves, Offer, Path, Price, merge, ordered
from joulecut.pruning.obs import Block
from joulecut.pruning.pricing import Pricer, pricer
from joulecut.workload.from_torch import layer_works
from joulecut.workload.layer import LayerWork

REFERENCE = device("reference/edge/float32")


def test_a_curve_goes_down_the_grid_and_leaves_one_step() -> None:
    """Ten channels in steps of four: two leave to reach eight, then four; four stay."""
    scores = torch.tensor([9.0, 1, 8, 2, 7, 3, 6, 4, 5, 10])
    assert ordered(scores, range(10, 20), 4) == (Block((11, 13), 3.0), Block((15, 16, 17, 18), 18.0))
    assert ordered(scores[:4], range(4), 4) == ()
    assert ordered(torch.tensor([1.0, 1.0, 0.0]), [0, 1, 2], 1) == (Block((2,), 0.0), Block((0,), 1.0))


def chain(a: int, b: int) -> tuple[list[PricedLayer], IncrementalEnergy]:
    """Linear layers 4 -> a -> b -> 4 on the reference device (4 pJ a MAC, 20 pJ a byte, steps of 4)."""
    sizes = {"a": a, "b": b}
    counts = [ChannelCount(4), ChannelCount.of("a"), ChannelCount.of("b"), ChannelCount(4)]
    layers = []
    for i, (reads, writes) in enumerate(itertools.pairwise(counts)):
        m, n = reads.at(sizes), writes.at(sizes)
        work = LayerWork(
            f"fc{i}", "linear", "dense", m * n, 4 * m * n, 4 * m, 4 * n, (1, m), (1, n), (n, m), m, n
        )
        layers.append(PricedLayer(f"fc{i}", work, reads, writes))
    return layers, IncrementalEnergy(REFERENCE, layers, sizes)


def test_the_path_of_two_groups_by_hand() -> None:
    """A weight costs 84 pJ (a MAC and four bytes), an activation 80 each time that it is written or read.

    4 -> 8 -> 8 -> 4 has 128 weights and 40 activations; four channels of either group take 48 weights and 8
    activations away, 4672 pJ. Both saved at once 80 and 16.
    """
    layers, energy = chain(8, 8)
    assert energy.total_j == pytest.approx((128 * 84 + 40 * 80) * 1e-12)
    curves: Curves = {"a": [Block((0, 1, 2, 3), 3.0)], "b": [Block((4, 5, 6, 7), 2.0)]}
    path = merge(curves, energy, layers, 1e-12 * (128 * 84 + 40 * 80 - 4672), PER_JOULE)
    (step,) = path.taken
    assert (step.offer.group, step.offer.channels, step.offer.cost) == ("b", (4, 5, 6, 7), 2.0)
    assert step.offer.saving_j == pytest.approx(4672e-12)
    assert step.price == pytest.approx(2.0 / 4672e-12)
    ((other, price),) = step.beside
    assert other.group == "a"
    assert price == pytest.approx(3.0 / 4672e-12)
    assert path.channels() == {"b": (4, 5, 6, 7)}
    assert energy.total_j == path.total_j == pytest.approx((80 * 84 + 32 * 80) * 1e-12)


def test_a_saving_counts_up_to_what_is_needed() -> None:
    """``a`` costs less by joule, but of its large saving only a little is needed: ``b`` loses less."""
    small, large = Offer("b", 1, (0,), 1.0, 2.0), Offer("a", 1, (0,), 3.0, 10.0)
    assert PER_JOULE.of(large, 10.0) < PER_JOULE.of(small, 10.0)
    assert PER_JOULE.of(small, 1.0) < PER_JOULE.of(large, 1.0)
    assert BY_SCORE.of(large, 1.0) == BY_SCORE.of(large, 9.0) == 3.0


def test_what_is_put_back_is_the_dearest_that_fits() -> None:
    """The path takes a cheap block of ``a`` before a dear one of ``b`` that alone would do."""
    layers, energy = chain(8, 64)
    full = energy.total_j
    curves: Curves = {"a": [Block((0, 1, 2, 3), 1.0)], "b": [Block(tuple(range(60)), 300.0)]}
    saving_b = energy.saving_j("b", 60)
    path = merge(curves, energy, layers, full - 0.999 * saving_b, PER_JOULE)
    assert [step.offer.group for step in path.taken] == ["b"]
    assert path.total_j == pytest.approx(full - saving_b, rel=1e-12)
    assert path.taken[0].offer.saving_j == pytest.approx(saving_b)


def test_the_path_ends_where_the_curves_do() -> None:
    layers, energy = chain(8, 8)
    path = merge({"a": [Block((0,), 0.0)], "b": []}, energy, layers, 0.0, BY_SCORE)
    assert path.channels() == {}  # on a grid of four one channel saves nothing
    assert merge({"a": [], "b": []}, energy, layers, 1.0, BY_SCORE) == Path((), energy.total_j)


@functools.cache
def prices(name: str) -> Pricer:
    _, graph, coupling = captured(name)
    return pricer(coupling, layer_works(graph), REFERENCE)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_on_any_network(data: st.DataObject) -> None:
    """Totals are full prices at those widths to 1e-9; the limit holds; nothing more can be put back."""
    found = prices(data.draw(st.sampled_from(sorted(EXACT))))
    step = data.draw(st.sampled_from([1, 2, 4]))
    price: Price = data.draw(st.sampled_from([PER_JOULE, BY_SCORE]))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    curves: Curves = {
        name: ordered(torch.rand(size, generator=generator), range(size), step)
        for name, size in found.sizes.items()
    }
    limit_j = data.draw(st.floats(0.3, 0.99)) * found.total_j(found.sizes)
    energy = IncrementalEnergy(REFERENCE, found.layers, found.sizes)
    path = merge(curves, energy, found.layers, limit_j, price)
    at = dict(found.sizes)
    for taken in path.taken:
        before_j = found.total_j(at)
        at[taken.offer.group] -= len(taken.offer.channels)
        assert taken.total_j == pytest.approx(found.total_j(at), rel=1e-9)
        assert before_j - taken.total_j == pytest.approx(taken.offer.saving_j, rel=1e-6, abs=1e-9 * before_j)
    assert {n: at[n] for n in at} == {n: s - len(path.channels().get(n, ())) for n, s in found.sizes.items()}
    if path.total_j <= limit_j:
        last = {taken.offer.group: taken.offer for taken in path.taken}
        for group, offer in last.items():
            assert found.total_j({**at, group: at[group] + len(offer.channels)}) > limit_j
