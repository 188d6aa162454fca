"""What is a layer, what is folded, and its bytes, names and channels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from joulecut.errors import TraceError, UsageError
from joulecut.workload.counting import register
from joulecut.workload.from_torch import layer_works, workload
from joulecut.workload.layer import LayerWork, Workload
from joulecut.workload.operation import Count
from joulecut.workload.trace import trace


def paths(work: Workload) -> list[str]:
    return [layer.path for layer in work.layers]


def only(model: nn.Module, *inputs: Tensor) -> LayerWork:
    (layer,) = workload(model, inputs).layers
    return layer


IMAGE = torch.zeros(1, 3, 8, 8)


@pytest.mark.parametrize(
    "activation",
    [
        nn.ReLU(),
        nn.ReLU6(),
        nn.Hardtanh(),
        nn.SiLU(),
        nn.GELU(),
        nn.Sigmoid(),
        nn.Hardswish(),
        nn.PReLU(),
        nn.Tanh(),
    ],
    ids=lambda a: type(a).__name__,
)
def test_batch_norm_and_activation_cost_nothing_after_a_convolution(activation: nn.Module) -> None:
    alone = only(nn.Sequential(nn.Conv2d(3, 4, 3)), IMAGE)
    whole = only(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), activation, nn.Dropout(), nn.Identity()), IMAGE
    )
    assert whole == alone
    assert alone.reads_input
    assert alone.writes_output


def test_activations_written_out_cost_nothing() -> None:
    class Swish(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.conv(x)
            return y * functional.relu6(y + 3) / 6 * torch.sigmoid(y)

    assert only(Swish(), IMAGE).path == "conv"


def test_batch_norm_elsewhere_is_a_layer() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.BatchNorm2d(3)
            self.conv = nn.Conv2d(3, 4, 1)
            self.norm = nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(self.first(x))
            return torch.add(self.norm(y), y)

    work = workload(Shared(), IMAGE)
    assert paths(work) == ["first", "conv", "norm", "add"]
    first = work.layers[0]
    assert (first.kind, first.macs, first.weight_bytes) == ("elementwise", 0, 4 * 4 * 3)
    assert first.in_bytes == first.out_bytes == 4 * 3 * 64
    assert [layer.reads_input for layer in work.layers] == [True, False, False, False]
    assert [layer.writes_output for layer in work.layers] == [False, False, False, True]


def test_activation_of_the_input_is_a_layer() -> None:
    layer = only(nn.Sequential(nn.Flatten(), nn.ReLU()), IMAGE)
    assert (layer.path, layer.kind, layer.in_bytes, layer.out_bytes) == ("1", "elementwise", 768, 768)
    assert layer.reads_input
    assert layer.writes_output


def test_bytes_by_hand() -> None:
    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
            self.norm = nn.GroupNorm(2, 8)
            self.pool = nn.MaxPool2d(2)
            self.fc = nn.Linear(64, 5)

        def forward(self, x: Tensor) -> Tensor:
            y = self.pool(self.norm(self.conv(x)))
            y = torch.cat([y, y + y.flip(1)], 1)
            return torch.softmax(self.fc(y.flatten(1)), -1)

    work = {layer.path: layer for layer in workload(Small(), torch.zeros(2, 3, 8, 8)).layers}
    byte_counts = {
        p: (layer.weight_bytes, layer.bias_bytes, layer.in_bytes, layer.out_bytes)
        for p, layer in work.items()
    }
    map_8x4x4, map_8x2x2 = 4 * 2 * 8 * 16, 4 * 2 * 8 * 4
    assert byte_counts == {
        "conv": (4 * (8 * 3 * 9 + 8), 32, 4 * 2 * 3 * 64, map_8x4x4),
        "norm": (4 * 16, 0, map_8x4x4, map_8x4x4),
        "pool": (0, 0, map_8x4x4, map_8x2x2),
        "flip": (0, 0, map_8x2x2, map_8x2x2),
        "add": (0, 0, 2 * map_8x2x2, map_8x2x2),
        "cat": (0, 0, 2 * map_8x2x2, 2 * map_8x2x2),
        "fc": (4 * (64 * 5 + 5), 20, 4 * 2 * 64, 4 * 2 * 5),
        "softmax": (0, 0, 40, 40),
    }
    assert {layer.kind for layer in work.values() if not layer.macs} == {"elementwise", "data_movement"}
    assert (work["cat"].kind, work["cat"].in_channels, work["cat"].out_channels) == ("data_movement", 16, 16)
    assert (work["conv"].in_channels, work["conv"].out_channels) == (3, 8)
    assert (work["fc"].in_channels, work["fc"].out_channels) == (64, 5)
    assert (work["norm"].in_channels, work["pool"].out_channels) == (8, 8)


@pytest.mark.parametrize(
    ("dtype", "name", "size"),
    [(torch.float64, "float64", 8), (torch.float16, "float16", 2), (torch.bfloat16, "bfloat16", 2)],
)
def test_bytes_follow_the_type(dtype: torch.dtype, name: str, size: int) -> None:
    layer = only(nn.Linear(6, 4).to(dtype), torch.zeros(2, 6, dtype=dtype))
    assert (layer.dtype, layer.weight_bytes) == (name, size * (24 + 4))
    assert (layer.in_bytes, layer.out_bytes) == (size * 12, size * 8)


def test_int8_weights_count_as_int8() -> None:
    class Quantised(nn.Module):
        weight: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("weight", torch.ones(6, 4, dtype=torch.int8))

        def forward(self, x: Tensor) -> Tensor:
            return torch.mm(x, self.weight)

    layer = only(Quantised(), torch.ones(2, 6, dtype=torch.int8))
    assert (layer.dtype, layer.weight_bytes, layer.in_bytes, layer.out_bytes) == ("int8", 24, 12, 8)


def test_a_module_used_twice_is_one_layer() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = Residual()

        def forward(self, x: Tensor) -> Tensor:
            return self.block(self.block(x))  # type: ignore[no-any-return]

    work = workload(Twice(), torch.zeros(1, 4, 8, 8))
    conv, add = work.layers
    assert (conv.path, conv.calls, conv.macs) == ("block.conv", 2, 2 * 64 * 4 * 4)
    assert (conv.weight_bytes, conv.in_bytes) == (4 * (16 + 4), 2 * 4 * 4 * 64)
    assert (add.path, add.calls, add.in_bytes) == ("block.add", 2, 2 * 2 * 4 * 4 * 64)
    assert conv.reads_input
    assert add.writes_output


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(self.conv(x), x)


def test_functional_operations_get_their_callers_path() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.b1 = Sums()

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.b1(x)
            return functional.avg_pool2d(y, 2)

    class Sums(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x + x.flip(1)
            return y + x

    assert paths(workload(Two(), IMAGE)) == ["b1.flip", "b1.add", "b1.add_1", "avg_pool2d"]


def test_tied_weights_do_not_share_a_path_with_another_operation() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(10, 4)

        def forward(self, ids: Tensor) -> Tensor:
            return functional.linear(self.table(ids), self.table.weight)

    embedding, linear = workload(Tied(), torch.zeros(1, 3, dtype=torch.int64)).layers
    assert (embedding.path, embedding.kind, embedding.macs) == ("table", "data_movement", 0)
    assert embedding.weight_bytes == 3 * 4 * 4  # the rows looked up, not the table
    assert (linear.path, linear.macs, linear.weight_bytes) == ("linear", 3 * 4 * 10, 160)


@pytest.mark.parametrize("multiplier", [1, 2])
def test_depthwise(multiplier: int) -> None:
    layer = only(nn.Conv2d(3, 3 * multiplier, 3, groups=3, bias=False), IMAGE)
    assert (layer.kind, layer.groups, layer.macs) == ("depthwise", 3, 3 * multiplier * 9 * 36)
    assert only(nn.Conv2d(1, 4, 3, groups=1), torch.zeros(1, 1, 8, 8)).kind == "dense"


def test_zero_padding_before_a_convolution_is_part_of_it() -> None:
    padded = only(nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 4, 3, 2)), IMAGE)
    assert padded.in_bytes == 4 * 3 * 64
    assert padded.reads_input
    lone = workload(nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(2)), IMAGE)
    assert paths(lone) == ["0", "1"]


def test_channels_of_transformer_layers_are_last() -> None:
    class Mixer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch = nn.Conv2d(3, 6, 4, 4)
            self.norm = nn.LayerNorm(6)
            self.up = nn.Linear(6, 24)
            self.down = nn.Linear(24, 6)

        def forward(self, x: Tensor) -> Tensor:
            y = self.patch(x).permute(0, 2, 3, 1)
            return torch.add(self.down(functional.gelu(self.up(self.norm(y)))), y)

    work = {layer.path: layer for layer in workload(Mixer(), IMAGE).layers}
    assert set(work) == {"patch", "norm", "up", "down", "add"}
    assert (work["norm"].in_channels, work["add"].in_channels, work["add"].out_channels) == (6, 6, 6)


def test_composite_layers_of_torch_name_their_parts() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    work = workload(nn.Sequential(layer), torch.zeros(2, 5, 8))
    assert [p for p in paths(work) if not p.startswith("0.self_attn")] == [
        *("0.add", "0.norm1", "0.linear1", "0.linear2", "0.add_1", "0.norm2"),
    ]  # fmt: skip


def test_parts_without_gradients_are_counted() -> None:
    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                y: Tensor = self.conv(x)
            return y

    traced = trace(Frozen(), IMAGE)
    assert workload(traced).macs == 4 * 36 * 27
    traced.module(IMAGE + 1).sum().backward()
    assert traced.module.get_parameter("conv.weight").grad is not None


def test_half_gates_are_not_taken_for_activations() -> None:
    class Glu(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 8)

        def forward(self, x: Tensor) -> Tensor:
            a, b = self.fc(x).chunk(2, -1)
            return torch.mul(a, torch.sigmoid(b))

    assert paths(workload(Glu(), torch.zeros(2, 4))) == ["fc", "mul"]


@torch.library.custom_op("joulecut_test::twist", mutates_args=())
def twist(x: Tensor) -> Tensor:
    return x.flip(0) * 2


@twist.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("joulecut_test::weave", mutates_args=())
def weave(x: Tensor) -> Tensor:
    return x @ x.T


@weave.register_fake
def _(x: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[0])


class Custom(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return weave(twist(twist(x)))  # type: ignore[no-any-return]


def test_operations_without_a_rule_are_listed_and_keep_their_bytes() -> None:
    register(
        "weave", lambda call: Count("dense", macs=call.results[0].numel * call.operands[0].value.shape[1])
    )
    work = workload(Custom(), torch.zeros(4, 6))
    assert [(u.op, u.path, u.calls) for u in work.uncounted] == [
        ("twist", "twist", 1),
        ("twist", "twist_1", 1),
    ]
    assert all("no counting rule" in u.reason for u in work.uncounted)
    first, _, counted = work.layers
    assert (first.kind, first.macs, first.in_bytes, first.out_bytes) == ("elementwise", 0, 96, 96)
    assert counted.macs == 4 * 4 * 6
    for taken in ("weave", "conv2d", "relu", "view"):
        with pytest.raises(UsageError, match="already"):
            register(taken, lambda call: Count("dense"))


def test_forms_that_a_rule_cannot_count_are_listed() -> None:
    class Three(nn.Module):
        def forward(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
            return torch.einsum("bi,bj,bk->bijk", a, b, c)

    work = workload(Three(), tuple(torch.zeros(2, 3) for _ in range(3)))
    assert "einsum" in work.uncounted[0].reason
    assert work.layers[0].in_bytes == 3 * 24


def test_each_node_is_one_call_and_the_workload_their_sum() -> None:
    traced = trace(nn.Sequential(Residual(), Residual()), torch.zeros(2, 4, 8, 8))
    nodes = {node.name for node in traced.module.graph.nodes}
    each, work = layer_works(traced), workload(traced)
    assert set(each) <= nodes
    assert all(layer.calls == 1 for layer in each.values())
    assert sum(layer.macs for layer in each.values()) == work.macs == 2 * 2 * 64 * 16
    assert work.input_shapes == ((2, 4, 8, 8),)
    assert workload(traced, batch=5).macs == 5 * work.macs // 2
    assert workload(traced) == work  # counting another batch leaves the traced network as it is


def test_wrong_arguments() -> None:
    model = nn.Linear(4, 2)
    traced = trace(model, torch.zeros(1, 4))
    with pytest.raises(UsageError, match="example inputs"):
        workload(model)
    with pytest.raises(UsageError, match="captured with its inputs"):
        workload(traced, torch.zeros(1, 4))
    with pytest.raises(UsageError, match="batch"):
        workload(traced, batch=0)
    with pytest.raises(UsageError, match="one tensor"):
        workload(model, ())
    with pytest.raises(TraceError, match="cannot capture Linear"):
        workload(model, torch.zeros(1, 5))
