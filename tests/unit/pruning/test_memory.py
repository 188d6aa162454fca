"""Peak memory, counted by hand on small networks (float32: 4 bytes a value), and of networks really cut."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from pruning_networks import EXACT, build, captured, one_thread, random_kept  # noqa: F401
from torch import Tensor, nn

from joulecut.hw_models.catalogue import device
from joulecut.pruning.blocks import removable_blocks
from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.memory import PeakMemory, peak_memory
from joulecut.pruning.pricing import pricer
from joulecut.workload.from_torch import layer_works
from joulecut.workload.trace import trace

REFERENCE = device("reference/edge/float32")
MICROCONTROLLER = device("nucleo-l4r5zi/x-cube-ai/int8")


def activations(model: nn.Module, *shape: int) -> PeakMemory:
    """Of one sample, the weights left out."""
    return peak_memory(Coupling(trace(model, torch.zeros(1, *shape)).module), (), REFERENCE)


def whole(memory: PeakMemory, model: nn.Module, *shape: int) -> list[float]:
    """Values alive by operation, nothing cut."""
    groups = Coupling(trace(model, torch.zeros(1, *shape)).module).all_groups()
    return [held / 4 for held in memory.by_operation({group.name: group.size for group in groups})]


class Skip(nn.Module):
    """On 4 x 4: the input holds 16 values, the skip 2 x 16, the wide layer 4 x 16."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.stem, self.wide, self.narrow = nn.Conv2d(1, 2, 1), nn.Conv2d(2, 4, 1), nn.Conv2d(4, 2, 1)
        self.activation, self.head = activation, nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.narrow(self.activation(self.wide(x)))
        logits: Tensor = self.head(torch.flatten(x, 1))
        return logits


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.ReLU(inplace=True), nn.Hardswish(), nn.BatchNorm2d(4)])
def test_a_skip_stays_alive_beside_its_branch(activation: nn.Module) -> None:
    """Stem 16 + 32; wide 32 + 64; its activation in place; narrow 32 + 64 + 32; the sum over an operand;
    flatten a view; head 32 + 3."""
    model = Skip(activation)
    memory = activations(model, 1, 4, 4)
    assert whole(memory, model, 1, 4, 4) == [48, 96, 96, 128, 64, 32, 35]
    assert memory.at({"stem": 2, "wide": 4}) == 4 * 128
    assert memory.fullest({"stem": 2, "wide": 4}) == "conv2d_2"
    assert memory.at({"stem": 2, "wide": 1}) == 4 * (32 + 16 + 32)
    assert memory.at({"stem": 1, "wide": 4}) == 4 * (16 + 64 + 16)


def test_the_excess_counts_every_operation_over_the_limit() -> None:
    """48, 96, 96, 128, 64, 32 and 35 values against 90: 6 + 6 + 38 too many."""
    memory = activations(Skip(nn.ReLU()), 1, 4, 4)
    assert memory.excess({"stem": 2, "wide": 4}, 4 * 90) == 4 * 50
    assert memory.excess({"stem": 2, "wide": 4}, 4 * 128) == 0


class KeepsBoth(nn.Module):
    """Reads a value before and after its activation."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(2, 8), nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        before = self.a(x)
        after = torch.relu(before)
        logits: Tensor = self.b(after) + self.c(before)
        return logits


def test_what_is_read_later_is_not_written_over() -> None:
    """a 2 + 8; relu 8 + 8; b 16 + 4; c 8 + 4 + 4, what it writes and b's; the sum over one of them."""
    model = KeepsBoth()
    assert whole(activations(model, 2), model, 2) == [10, 16, 20, 16, 8]


class AddsItsInput(nn.Module):
    """The input is read first and last, and belongs to the caller."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = torch.relu(x) + self.b(torch.tanh(self.a(x)))
        return logits


def test_the_input_is_never_written_over() -> None:
    """relu 4 + 4, as the input is read again; a 8 + 6; tanh in place; b 4 + 6 + 4; the sum over one."""
    model = AddsItsInput()
    assert whole(activations(model, 4), model, 4) == [8, 14, 10, 14, 8]


class Halved(nn.Module):
    """Two halves of one value, read one after the other, and put together again."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(2, 8), nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.a(x).chunk(2, 1)
        return torch.cat([self.b(left), self.c(right)], 1)


def test_a_view_keeps_all_of_what_it_looks_at() -> None:
    """a 2 + 8; the halves take nothing; b 8 + 3; c 8 + 3 + 3; cat 3 + 3 + 6."""
    model = Halved()
    assert whole(activations(model, 2), model, 2) == [10, 8, 8, 8, 11, 14, 12]


def test_weights_count_where_they_share_the_memory() -> None:
    """stem 2 x 1 + 2, wide 4 x 2 + 4, narrow 2 x 4 + 2, head 3 x 32 + 3: 4 + 12 + 10 + 99 values."""
    model = Skip(nn.ReLU())
    graph = trace(model, torch.zeros(1, 1, 4, 4))
    coupling, widths = Coupling(graph.module), {"stem": 2, "wide": 4}
    layers = pricer(coupling, layer_works(graph), REFERENCE).layers
    memory = peak_memory(coupling, layers, REFERENCE)
    assert memory.weight_bytes(widths) == 4 * 125
    assert memory.at(widths) == 4 * (128 + 125)
    assert memory.at({"stem": 2, "wide": 1}) == 4 * (80 + 4 + 3 + 4 + 99)


def test_a_microcontroller_has_its_weights_in_flash_and_bytes_of_its_own_type() -> None:
    model = Skip(nn.ReLU())
    graph = trace(model, torch.zeros(1, 1, 4, 4))
    coupling, widths = Coupling(graph.module), {"stem": 2, "wide": 4}
    assert {memory.name for memory in MICROCONTROLLER.memories} == {"flash", "sram"}
    memory = peak_memory(
        coupling, pricer(coupling, layer_works(graph), MICROCONTROLLER).layers, MICROCONTROLLER
    )
    assert memory.at(widths) == 128
    assert memory.weight_bytes(widths) == 125
    without = dataclasses.replace(MICROCONTROLLER, memories=())
    assert (
        peak_memory(coupling, pricer(coupling, layer_works(graph), without).layers, without).at(widths) == 253
    )


def test_a_dropped_block_holds_nothing() -> None:
    """Stem 16 + 32, then nothing but the skip, and the head 32 + 3."""
    graph = trace(Skip(nn.ReLU()), torch.zeros(1, 1, 4, 4))
    coupling = Coupling(graph.module)
    layers = pricer(coupling, layer_works(graph), REFERENCE).layers
    (block,) = removable_blocks(graph)
    memory = peak_memory(coupling, layers, REFERENCE, [block])
    assert memory.at({"stem": 2, "wide": 4}) == 4 * (48 + 4 + 99)
    assert [held / 4 - 103 for held in memory.by_operation({"stem": 2, "wide": 4})] == [48, 32, 35]


@pytest.mark.parametrize("name", sorted(EXACT))
def test_the_peak_is_that_of_the_cut_network(name: str) -> None:
    _, graph, coupling = captured(name)
    memory = peak_memory(coupling, pricer(coupling, layer_works(graph), REFERENCE).layers, REFERENCE)
    kept = random_kept(coupling, 0, fewest=2)
    cut = trace(coupling.apply(kept), graph.inputs)
    anew = Coupling(cut.module)
    expected = peak_memory(anew, pricer(anew, layer_works(cut), REFERENCE).layers, REFERENCE)
    sizes = {group.name: group.size for group in anew.all_groups()}
    found = memory.by_operation({group: len(channels) for group, channels in kept.items()})
    assert found == pytest.approx(expected.by_operation(sizes), rel=1e-12)
