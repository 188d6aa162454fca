"""Training: it learns, repeats itself, leaves no trace, and works on captured graphs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import fx, nn
from torch.nn import functional

from joulecut.benchmarks.data.digits import load_digits
from joulecut.benchmarks.data.records import Dataset
from joulecut.benchmarks.networks.digits_cnn import digits_cnn, trained_digits_cnn
from joulecut.benchmarks.quality import evaluate, predictions
from joulecut.benchmarks.training import Augment, _augmented, _rate, build, finetune, set_training, train
from joulecut.errors import UsageError
from joulecut.workload.trace import trace


@pytest.fixture(scope="module")
def data() -> Dataset:
    train_part = load_digits().train
    assert train_part is not None
    return train_part.take(0, 512)


def _loss(model: nn.Module, data: Dataset) -> float:
    with torch.no_grad():
        return functional.cross_entropy(model(data.inputs), data.labels).item()


def _tiny() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 16, 10),
    )


def _weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_training_lowers_the_loss(data: Dataset) -> None:
    network = build(_tiny, 1)
    before = _loss(network.eval(), data)
    done: list[tuple[int, int]] = []
    run = train(
        network, data, epochs=10, lr=0.1, seed=1, augment=Augment(1), progress=lambda *at: done.append(at)
    )
    assert before > 2
    assert _loss(network, data) < 1
    assert run.final_loss < 1
    assert run.seconds > 0
    assert run.steps == 10 * 4
    assert done == [(step, 40) for step in range(1, 41)]


def test_training_repeats_itself(data: Dataset) -> None:
    def trained(seed: int) -> torch.Tensor:
        network = build(_tiny, 1)
        train(network, data, epochs=2, lr=0.1, seed=seed, augment=Augment(1))
        return _weights(network)

    assert trained(1).equal(trained(1))
    assert not trained(1).equal(trained(2))


def test_training_leaves_no_trace(data: Dataset) -> None:
    torch.manual_seed(5)
    expected, threads = torch.rand(1), torch.get_num_threads()
    torch.manual_seed(5)
    network = build(_tiny, 1)
    with torch.no_grad():
        train(network, data, epochs=1, lr=0.1, seed=1, augment=Augment(1))
        assert not torch.is_grad_enabled()
    assert torch.rand(1).equal(expected)
    assert torch.get_num_threads() == threads
    assert not any(module.training for module in network.modules())


def test_one_step_by_hand() -> None:
    """One linear layer, one batch: the step is worked out from the gradient of softmax."""
    data = Dataset("points", torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1]), 2)
    network = nn.Linear(2, 2, bias=False)
    nn.init.zeros_(network.weight)
    run = train(network, data, epochs=1, lr=0.1, seed=0)
    assert run.final_loss == pytest.approx(math.log(2))
    # gradient = mean of (p - onehot) x^T = [[-1, 1], [1, -1]] / 4; Nesterov's first step is 1 + 0.9 times as
    # long; amid the only step the rate has fallen for 0.3 of 0.8 of the way: (1 + cos(pi 3/8)) / 2 of 0.1
    step = 0.1 * (1 + math.cos(math.pi * 3 / 8)) / 2 * 1.9 / 4
    assert network.weight.flatten().tolist() == pytest.approx([step, -step, -step, step], rel=1e-5)


def test_learning_rate_makes_one_cycle() -> None:
    rates = [_rate(step, 100, 0.2) for step in range(100)]
    assert max(rates) == pytest.approx(0.2, rel=2e-3)
    assert rates[9] + rates[10] == pytest.approx(0.2)  # half way up, after 10 of 20 steps
    assert rates[59] + rates[60] == pytest.approx(0.2)  # half way down, after 40 of 80
    assert rates[:20] == sorted(rates[:20])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert 0 < rates[99] < 1e-4


def test_augmentation_shifts_and_flips_each_image_by_itself() -> None:
    image = torch.arange(36.0).reshape(1, 6, 6)
    images = torch.stack([image, -image]).repeat(100, 1, 1, 1)
    torch.manual_seed(0)
    result = _augmented(images, Augment(shift=1, flip=True))
    assert result.shape == images.shape
    padded = functional.pad(images[:1], (1, 1, 1, 1), mode="replicate")[0, 0]
    crops = [padded[i : i + 6, j : j + 6] for i in range(3) for j in range(3)]
    allowed = torch.stack([*crops, *(crop.flip(1) for crop in crops)])
    sign = torch.tensor([1.0, -1.0]).repeat(100)
    found = [(allowed == sign[k] * result[k, 0]).all((1, 2)).nonzero().flatten().tolist() for k in range(200)]
    assert all(len(places) == 1 for places in found)
    assert {places[0] for places in found} == set(range(18))
    assert _augmented(images, Augment(shift=0)).equal(images)


def _captured(network: nn.Module) -> fx.GraphModule:
    return trace(network, torch.zeros(1, 1, 8, 8)).module


def test_a_captured_graph_trains_on(data: Dataset) -> None:
    graph = _captured(build(_tiny, 2))
    code, mean = graph.code, graph.get_buffer("1.running_mean").clone()
    before = _loss(graph, data)
    run = finetune(graph, data, epochs=10, lr=0.1, seed=0)
    assert run.final_loss < before
    assert _loss(graph, data) < before / 2
    assert not graph.get_buffer("1.running_mean").equal(mean)
    assert graph.code == code
    assert _loss(graph, data) == _loss(graph, data)
    assert not graph.training


def test_a_captured_graph_trains_as_its_module_does(data: Dataset) -> None:
    network, graph = build(digits_cnn, 2), _captured(build(digits_cnn, 2))
    for model in (network, graph):
        finetune(model, data.take(0, 128), epochs=1, lr=0.05, seed=0)
    torch.testing.assert_close(dict(graph.named_parameters()), dict(network.named_parameters()))
    torch.testing.assert_close(
        graph.get_buffer("down.norm.running_var"), network.get_buffer("down.norm.running_var")
    )


class _Moody(nn.Module):
    """Dropout in both moods, and batch norm with and without running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.normal = nn.BatchNorm1d(4)
        self.statless = nn.BatchNorm1d(4, track_running_stats=False)
        self.linear = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.dropout(self.statless(self.normal(x)), 0.5, training=self.training)
        logits: torch.Tensor = self.linear(functional.dropout(x, 0.25, training=True))
        return logits


def test_what_the_author_fixed_stays_fixed() -> None:
    graph = trace(_Moody(), torch.zeros(3, 4)).module

    def modes() -> list[bool]:
        nodes = [n for n in graph.graph.nodes if n.op == "call_function"]
        return [
            n.args[5] if "batch_norm" in str(n.target) else n.args[2]
            for n in nodes
            if "batch_norm" in str(n.target) or "dropout" in str(n.target)
        ]

    original = modes()
    assert original == [False, True, False, True]
    set_training(graph, True)
    set_training(graph, True)
    assert modes() == [True] * 4
    first, second = graph(torch.ones(3, 4)), graph(torch.ones(3, 4))
    assert first.shape == second.shape
    set_training(graph, False)
    assert modes() == original


@pytest.mark.parametrize("captured", [False, True])
def test_a_loss_that_is_not_finite_stops(data: Dataset, captured: bool) -> None:
    network = _captured(_tiny()) if captured else _tiny()
    with torch.no_grad():
        next(network.parameters())[0] = float("nan")
    with pytest.raises(UsageError, match="the loss is nan after 0 of 4 steps"):
        train(network, data, epochs=1, lr=0.1, seed=0)
    assert not network.training


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "at least 1 epoch"),
        ({"lr": 0.0}, "positive learning rate"),
        ({"lr": math.nan}, "positive learning rate"),
        ({"lr": math.inf}, "positive learning rate"),
    ],
)
def test_unusable_settings(data: Dataset, change: dict[str, float], message: str) -> None:
    settings = {"epochs": 1, "lr": 0.1} | change
    with pytest.raises(UsageError, match=message):
        train(_tiny(), data, epochs=int(settings["epochs"]), lr=settings["lr"], seed=0)


def test_unusable_data_and_networks(data: Dataset) -> None:
    with pytest.raises(UsageError, match="at least 2"):
        train(_tiny(), data.take(0, 1), epochs=1, lr=0.1, seed=0)
    with pytest.raises(UsageError, match="no parameter"):
        train(nn.Flatten(), data, epochs=1, lr=0.1, seed=0)
    flat = Dataset("flat", data.inputs.flatten(1), data.labels, 10)
    with pytest.raises(UsageError, match="only images"):
        train(nn.Linear(64, 10), flat, epochs=1, lr=0.1, seed=0, augment=Augment())


def test_a_trained_network_survives_a_gentle_finetune() -> None:
    splits = load_digits()
    assert splits.train is not None
    network = trained_digits_cnn()
    finetune(network, splits.train, epochs=1, lr=0.001, seed=0)
    assert evaluate(network, splits.test).accuracy >= 0.98
    assert predictions(network, splits.test.inputs[:3]).shape == (3,)
