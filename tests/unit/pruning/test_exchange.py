"""Exchanges: what they end at is within the budget, on the grid and better on samples not fitted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from pruning_networks import EXACT, captured, one_thread  # noqa: F401

from joulecut.hw_models.catalogue import device
from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.exchange import Exchange, Exchanger, Order, held_out_loss, rebuilt
from joulecut.pruning.folding import fold
from joulecut.pruning.network import Network
from joulecut.pruning.pricing import Pricer, pricer
from joulecut.pruning.refit import teach
from joulecut.pruning.settings import RefitSettings
from joulecut.workload.from_torch import layer_works


def under(prices: Pricer, limit_j: float) -> Callable[[Network], bool]:
    """Whether a network takes at most so many joules."""
    return lambda network: prices.total_j({name: len(k) for name, k in network.kept.items()}) <= limit_j


def rounds(
    exchanger: Exchanger, network: Network, fits: Callable[[Network], bool], most: int
) -> list[Exchange]:
    """Round after round, until none gains."""
    found: list[Exchange] = []
    current = exchanger.start(network.kept)
    for _ in range(most):
        exchange = exchanger.round(current, fits)
        if exchange is None:
            break
        found.append(exchange)
        current = exchange.network
    return found


SETTINGS = RefitSettings(rows=2_000, sensitivity=0.0)


def parts(step: int) -> tuple[Network, Pricer, Exchanger]:
    """A residual network, channels in the order of their numbers, judged by the distance to its outputs."""
    _, graph, coupling = captured("residual")
    whole = Network.whole(Coupling(fold(graph.module)[0]))
    generator = torch.Generator().manual_seed(0)
    x, held_out = (torch.randn(n, *EXACT["residual"].shape, generator=generator) for n in (128, 256))
    wanted = whole(held_out)
    spec = dataclasses.replace(device("reference/edge/float32"), channel_step=step, pads=())
    prices = pricer(coupling, layer_works(graph), spec)
    order = {
        group.name: Order(tuple(range(group.size)), (0.0,) * group.size)
        for group in whole.coupling.all_groups()
    }
    loss = held_out_loss(held_out, lambda logits: 100 * float((logits - wanted).pow(2).mean()))
    return whole, prices, Exchanger(whole, teach(whole, x, SETTINGS), SETTINGS, loss, step, order, 40)


def lopsided(whole: Network) -> Network:
    """One group at two channels, the others whole."""
    return rebuilt(whole, {**whole.kept, "stem": (6, 7)})


def test_exchanges_lower_the_loss_within_the_budget_and_on_the_grid() -> None:
    whole, prices, exchanger = parts(2)
    network = lopsided(whole)
    narrow = prices.total_j({name: len(kept) for name, kept in network.kept.items()})
    limit = 0.6 * narrow + 0.4 * prices.total_j(prices.sizes)
    found = rounds(exchanger, network, under(prices, limit), 3)
    assert found
    before = None
    for exchange in found:
        assert exchange.after < exchange.before
        assert before is None or exchange.before == before
        before = exchange.after
        assert abs(exchanger.loss(exchange.network) - exchange.after) < 1e-6
        widths = {name: len(kept) for name, kept in exchange.network.kept.items()}
        assert prices.total_j(widths) <= limit
        assert all(width % 2 == 0 for width in widths.values())
        group, channels = exchange.restored
        assert channels
        assert set(channels) <= set(exchange.network.kept[group])
        group, channels = exchange.cut
        assert not group or not set(channels) & set(exchange.network.kept[group])
    assert len(found[-1].network.kept["stem"]) > 2


def test_with_room_for_all_nothing_is_lost() -> None:
    whole, prices, exchanger = parts(2)
    everything = prices.total_j(prices.sizes)
    found = rounds(exchanger, lopsided(whole), under(prices, everything), 3)
    assert found[0].before > 1e-3
    assert found[-1].after < 1e-6
    assert len(found[-1].network.kept["stem"]) == 8


def test_without_room_nothing_happens() -> None:
    whole, prices, exchanger = parts(2)
    assert rounds(exchanger, lopsided(whole), under(prices, 0.0), 3) == []
    assert exchanger.count == 0
