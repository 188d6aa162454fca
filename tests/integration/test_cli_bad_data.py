"""Data, judges and loops that are no good: exit code 2, one sentence, and nothing lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import DEVICE, Cli, assert_refused

CODE = """
import torch
from torch import nn


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)).eval()


class Logs(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, x):
        return self.net(x) + x.mean(1, keepdim=True).log()


def logs():
    return Logs().eval()


def nan_weights():
    found = net()
    with torch.no_grad():
        found[2].weight[0] = float("nan")
    return found


X, Y = torch.rand(300, 6, generator=torch.Generator().manual_seed(1)) + 0.1, torch.arange(300) % 3


def data():
    return X, Y


def negative():
    x = X.clone()
    x[[50, 150, 250]] -= 5
    return x, Y


def one_class():
    return X, torch.zeros_like(Y)


def rare_class():
    y = torch.zeros_like(Y)
    y[0] = 1
    return X, y


def nan_inputs():
    x = X.clone()
    x[7] = float("nan")
    return x, Y


def nan_labels():
    return X, Y * float("nan")


def no_labels():
    return [(x,) for x in X.split(50)]


def ends_early():
    for number, x in enumerate(X.split(50)):
        if number == 3:
            raise OSError("disk gone")
        yield x, Y[:50]


def judge(network):
    raise ValueError("metric broke")


def nan_score(network):
    return float("nan")


def loop(module, train):
    raise KeyError("lr")


def diverges(module, train):
    with torch.no_grad():
        next(module.parameters()).fill_(float("inf"))
"""


@pytest.fixture
def author(tmp_path: Path) -> Path:
    path = tmp_path / "author.py"
    path.write_text(CODE)
    return path


def prune(cli: Cli, author: Path, model: str, data: str, *more: str) -> tuple[int, str, str]:
    where = ("--budget", "60%", "--device", DEVICE, "-o", author.parent / "out")
    named = data if data.endswith(".npz") else f"{author}:{data}"
    return cli("prune", f"{author}:{model}", "--data", named, *where, *more)


@pytest.mark.parametrize(
    ("model", "data", "says"),
    [
        ("net", "one_class", "are of one class; their accuracy means nothing. Give data with at least two"),
        ("net", "rare_class", "are of one class; their accuracy means nothing. Give data with at least two"),
        ("net", "nan_inputs", "holds NaN or infinite values, first in sample 7."),
        ("net", "nan_labels", "must be one whole number per sample, not float32 of shape [300]."),
        ("net", "no_labels", "is a tuple, not a pair of arrays (x, y)."),
        ("net", "ends_early", "failed: OSError: disk gone."),
        ("nan_weights", "data", "the network returns NaN logits for 2 of 2 samples."),
        ("logs", "negative", "the network returns NaN logits for "),
    ],
)
def test_data_that_cannot_be_judged_on(cli: Cli, author: Path, model: str, data: str, says: str) -> None:
    assert_refused(prune(cli, author, model, data), 2, says)
    assert not (author.parent / "out").exists()


def test_files_without_labels(cli: Cli, author: Path) -> None:
    x, path = np.zeros((100, 6), dtype=np.float32), author.parent / "x.npz"
    np.savez(path, x=x)
    assert_refused(prune(cli, author, "net", str(path)), 2, "x.npz has no array 'y'; it holds x.")
    np.savez(path, x=x, y=np.full(100, np.nan))
    assert_refused(prune(cli, author, "net", str(path)), 2, "y of ")


@pytest.mark.parametrize(
    ("option", "name", "says"),
    [
        ("--evaluation", "judge", "the evaluation judge failed: ValueError: metric broke."),
        (
            "--evaluation",
            "nan_score",
            "the evaluation nan_score gives NaN; it must give a share from 0 to 1.",
        ),
        ("--evaluation", "nowhere", "has no 'nowhere'."),
        ("--recovery", "nowhere", "has no 'nowhere'."),
    ],
)
def test_judges_and_loops_that_are_no_good(cli: Cli, author: Path, option: str, name: str, says: str) -> None:
    assert_refused(prune(cli, author, "net", "data", option, f"{author}:{name}"), 2, says)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("loop", "the recovery loop failed: KeyError: 'lr'."),
        ("diverges", "the recovery diverges has left NaN or infinite values in 0.weight."),
    ],
)
def test_a_loop_that_breaks_after_the_cut_leaves_the_cut(
    cli: Cli, author: Path, name: str, says: str
) -> None:
    outcome = prune(cli, author, "net", "data", "--recovery", f"{author}:{name}")
    assert_refused(outcome, 2, says)
    assert "The steps taken are kept: go on with --resume." in outcome[2]
    assert [path.name for path in (author.parent / "out").iterdir()] == ["checkpoint.safetensors"]
