"""Weights in a search: offered only where the device pays for zeros, at about the loss that follows."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from made_up_board import BOARD, two_of_four
from torch import nn

from joulecut.hw_models.catalogue import device as named
from joulecut.hw_models.device_file import parse_devices
from joulecut.hw_models.sparsity import UNSTRUCTURED, parse_pattern
from joulecut.hw_models.spec import DeviceSpec
from joulecut.pruning.candidates.option import Option, View
from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.folding import fold
from joulecut.pruning.greedy import loss_against
from joulecut.pruning.network import Network
from joulecut.pruning.pricing import pricer
from joulecut.pruning.refit import refit, teach
from joulecut.pruning.settings import SearchSettings
from joulecut.pruning.weights.aligning import grouped_pattern, realigned
from joulecut.pruning.weights.masks import as_matrix, zero_share
from joulecut.pruning.weights.options import WeightOptions, refit_with_zeros, repriced
from joulecut.pruning.weights.prices import declared_patterns, saved_j, weight_price
from joulecut.pruning.weights.sequence import zero_masks
from joulecut.workload.from_torch import layer_works
from joulecut.workload.trace import trace

NM = two_of_four((8, 8, 1), 0.5625)
GATE = """
[[sparsity]]
kind = "gate"
ops = ["linear", "conv2d"]
dtypes = ["float32"]
mac_energy_saved = 0.5
source = "fit"
"""
(NM_DEVICE,) = parse_devices(BOARD + NM, "nm.toml")
(BOTH,) = parse_devices(BOARD + NM + GATE, "both.toml")
SETTINGS = SearchSettings(samples=256, gradient_samples=256)


def view(device: DeviceSpec, network: Network | None = None) -> View:
    """A trained-looking network: its logits are spread, so that a loss means something."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 16, 16),
        nn.ReLU(),
        nn.Linear(16, 5),
    ).eval()
    with torch.no_grad():
        model[5].get_parameter("weight").mul_(6.0)
    graph = trace(model, torch.zeros(1, 1, 4, 4))
    whole = Network.whole(Coupling(fold(graph.module)[0]))
    inputs = torch.randn(256, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    teacher = teach(whole, inputs, SETTINGS.refit)
    now = whole if network is None else network
    with torch.no_grad():
        logits, values = now.run(inputs, keep=None)
    reference = whole(inputs)
    prices = pricer(whole.coupling, layer_works(graph), device)
    return View(
        now, values, teacher, prices, 4, 0, lambda found: loss_against(found, None, reference),
        loss_against(logits, None, reference),
    )  # fmt: skip


def options(seen: View, layers: frozenset[str] = frozenset()) -> list[Option]:
    return list(WeightOptions(SETTINGS, layers)(seen))


def test_a_device_that_declares_nothing_is_offered_nothing() -> None:
    reference = named("reference/edge/float32")
    assert declared_patterns(reference) == ()
    assert options(view(reference)) == []


def test_only_the_layer_whose_shape_matches_is_offered_at_its_price() -> None:
    """Of the linear layers only the first has 8 outputs or more: 2,048 MACs and 8,192 bytes."""
    (option,) = options(view(NM_DEVICE))
    assert (option.kind, option.name, option.channels) == ("weights", "3 (2:4)", ())
    assert option.starts == frozenset(["linear"])
    assert option.saving_j == pytest.approx((1024 * 10 + 8192 * 0.4375 * 100) * 1e-12, rel=1e-9)
    assert option.cost > 0


def test_the_mask_is_applied_and_the_saving_is_that_of_the_network() -> None:
    seen = view(NM_DEVICE)
    (option,) = options(seen)
    network = option.build()
    keep = as_matrix(network.weights["3.weight"]) != 0
    assert zero_share(keep, parse_pattern("2:4")) == 0.5
    assert saved_j(seen.network, seen.teacher.layers, seen.pricer) == 0.0
    assert saved_j(network, seen.teacher.layers, seen.pricer) == pytest.approx(option.saving_j, rel=1e-9)
    assert options(view(NM_DEVICE, network)) == [], "it has its zeros"


def test_a_gate_takes_more_zeros_step_by_step() -> None:
    seen = view(BOTH)
    found = {option.name: option for option in options(seen)}
    assert set(found) == {"0 (unstructured)", "3 (2:4)", "3 (unstructured)", "5 (unstructured)"}
    first = found["0 (unstructured)"].build()
    assert zero_share(as_matrix(first.weights["0.weight"]) != 0, UNSTRUCTURED) == 0.5
    macs = 8 * 9 * 16
    assert found["0 (unstructured)"].saving_j == pytest.approx(0.5 * 0.5 * macs * 10 * 1e-12, rel=1e-9)
    again = {option.name: option for option in options(view(BOTH, first))}
    second = again["0 (unstructured)"]
    weight = second.build().weights["0.weight"]
    assert int((weight == 0).sum()) == int(0.65 * 72)
    assert bool((weight[first.weights["0.weight"] == 0] == 0).all()), "what is zero stays zero"
    assert second.saving_j == pytest.approx((46 / 72 - 0.5) * 0.5 * macs * 10 * 1e-12, rel=1e-6)


def test_named_layers_only() -> None:
    found = options(view(BOTH), layers=frozenset(["5.weight"]))
    assert [option.name for option in found] == ["5 (unstructured)"]


def test_predicted_losses_are_about_the_true_ones() -> None:
    """A second-order prediction, the sweep's from above: within a factor of three."""
    seen = view(BOTH)
    found = sorted(options(seen), key=lambda option: option.cost)
    true = [seen.loss(seen.rerun(option.build(), option.starts)) - seen.now for option in found]
    assert true[0] == min(true)
    for option, rise in zip(found, true, strict=True):
        assert 1 / 3 < option.cost / rise < 3


def test_a_refit_on_the_way_keeps_zeros() -> None:
    seen = view(NM_DEVICE)
    (option,) = options(seen)
    network = option.build()
    again = refit_with_zeros(network, seen.teacher, SETTINGS.refit)
    masks = zero_masks(network, seen.teacher.layers)
    assert all(
        torch.equal(keep, masks[name]) for name, keep in zero_masks(again, seen.teacher.layers).items()
    )
    assert saved_j(again, seen.teacher.layers, seen.pricer) == pytest.approx(option.saving_j, rel=1e-9)
    plain, same = (f(seen.network, seen.teacher, SETTINGS.refit) for f in (refit, refit_with_zeros))
    assert all(torch.equal(plain.weights[name], tensor) for name, tensor in same.weights.items())


def test_inputs_that_go_leave_the_zeros_behind_them_aligned() -> None:
    """A cut that shifts every group of four, as one of single inputs does."""
    seen = view(NM_DEVICE)
    (option,) = options(seen)
    network, patterns = option.build(), declared_patterns(NM_DEVICE)
    group = next(g for g in network.coupling.all_groups() if any(p.parameter == "0.weight" for p in g.slices))
    cut = network.with_weights({"3.weight": network.weights["3.weight"].roll(1, 1)}).cut(group, [1, 4])
    assert grouped_pattern(cut.weights["3.weight"], patterns) is None
    again = realigned(cut, network, seen.teacher.layers, patterns)
    assert grouped_pattern(again.weights["3.weight"], patterns) == parse_pattern("2:4")
    went = (cut.weights["3.weight"] != 0) & (again.weights["3.weight"] == 0)
    assert 0 < int(went.sum()) < 0.3 * int((cut.weights["3.weight"] != 0).sum())
    assert realigned(cut, network, seen.teacher.layers, ()) is cut
    assert realigned(network, network, seen.teacher.layers, patterns) is network
    refitted = refit_with_zeros(again, seen.teacher, SETTINGS.refit, patterns)
    keep = as_matrix(refitted.weights["3.weight"]) != 0
    assert zero_share(keep, parse_pattern("2:4")) == pytest.approx(0.5), "groups are full again"


def test_a_cut_is_priced_by_the_zeros_that_it_leaves() -> None:
    """Of 16 outputs of 128 inputs with 2:4 zeros, 4 go: a quarter of half the MACs, of 0.5625 of the bytes.

    The layer behind is dense and loses 5 x 4 weights; where 8 outputs are too few for 2:4, a cut of 12 costs.
    """
    seen = view(NM_DEVICE)
    (option,) = options(seen)
    sparse = view(NM_DEVICE, option.build())
    groups = seen.network.coupling.all_groups()
    group = next(g for g in groups if any(p.parameter == "3.weight" for p in g.of_role("writer")))

    def cut(count: int) -> Option:
        built = partial(sparse.network.cut, group, list(range(count)))
        return Option("nodes", group.name, tuple(range(count)), 1.0, 0.0, built, None)

    behind = 5 * 4 * (10 + 4 * 100)
    biases = 4 * 4 * 100
    own = 4 * 128 * (0.5 * 10 + 0.5625 * 4 * 100)
    (four,) = repriced([cut(4)], sparse)
    assert four.saving_j == pytest.approx((own + behind + biases) * 1e-12, rel=1e-9)
    dense = 4 * 128 * (10 + 4 * 100)
    lost = 16 * 128 * (0.5 * 10 + 0.4375 * 4 * 100)
    (twelve,) = repriced([cut(12)], sparse)
    assert twelve.saving_j == pytest.approx((3 * (dense + behind + biases) - lost) * 1e-12, rel=1e-9)
    assert repriced([cut(4)], seen)[0].saving_j == 1.0, "without zeros nothing is priced anew"


def test_a_price_goes_by_the_zeros_that_are_there() -> None:
    seen = view(BOTH)
    work = next(layer.work for layer in seen.pricer.layers if layer.node == "linear")
    weight = torch.ones(16, 128)
    weight[:, ::2] = 0.0
    zeros, price = weight_price(BOTH, work, weight)
    assert str(zeros.pattern) == "2:4"
    assert price.saved_j > 0
    weight[0, :4] = 0.0
    weight[0, 4:8] = 1.0  # four of four: no longer two
    zeros, price = weight_price(BOTH, work, weight)
    assert zeros.pattern is UNSTRUCTURED
    assert price.saved_j == pytest.approx(0.5 * zeros.share * 2048 * 10 * 1e-12, rel=1e-3)
