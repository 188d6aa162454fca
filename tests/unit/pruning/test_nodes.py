"""Nodes of one layer: chosen by hand-worked scores, removed with what goes with them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pruning_networks import EXACT, captured, one_thread, readers_zeroed, relative  # noqa: F401
from torch import Tensor, nn

from joulecut.errors import ModelError, UsageError
from joulecut.pruning.coupling import Coupling, couple
from joulecut.pruning.nodes import choose_nodes
from joulecut.pruning.rankings import Ranking


def network() -> tuple[nn.Sequential, Coupling]:
    """Five nodes in the first layer, whose norms are L1: 4, 3, 6, 2, 5 and L2: 4, 2.2, 4.2, 2, 3.6."""
    first = nn.Linear(3, 5)
    model = nn.Sequential(first, nn.ReLU(), nn.Linear(5, 2))
    with torch.no_grad():
        rows = [[4.0, 0, 0], [2, -1, 0], [0, 3, 3], [0, 0, -2], [2, 0, 3]]
        first.weight.copy_(torch.tensor(rows))
    return model, couple(model, torch.zeros(1, 3))


@pytest.mark.parametrize(
    ("choice", "removed"),
    [
        ({"count": 3, "ranking": "l1"}, (0, 1, 3)),
        ({"count": 3, "ranking": "l2"}, (1, 3, 4)),
        ({"count": 1}, (3,)),
        ({"share": 0.5}, (1, 3)),
        ({"share": 0.6}, (1, 3, 4)),
        ({"share": 0.1}, ()),
        ({"threshold": 3.7}, (1, 3, 4)),
        ({"threshold": 2.0}, ()),
        ({"threshold": 3.5, "ranking": "l1"}, (1, 3)),
        ({"indices": [4, 0]}, (0, 4)),
        ({"count": 2, "ranking": lambda weights: -weights[:, 0]}, (0, 1)),
    ],
)
def test_the_nodes_that_go_are_those_worked_out_by_hand(
    choice: dict[str, Any], removed: tuple[int, ...]
) -> None:
    chosen = choose_nodes(network()[1], "0", **choice)
    assert (chosen.layer, chosen.width, chosen.removed) == ("0", 5, removed)
    assert chosen.kept == ({"0": tuple(i for i in range(5) if i not in removed)} if removed else {})


def test_rankings_that_look_at_the_loss_have_their_say() -> None:
    """A node that nothing reads costs nothing, however large its own weights are."""
    model, _ = network()
    with torch.no_grad():
        model.get_parameter("2.weight")[:, 2] = 0.0
    coupling = couple(model, torch.zeros(1, 3))
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    for ranking in ("fisher", "obs"):
        assert choose_nodes(coupling, "0", count=1, ranking=ranking, inputs=x).removed == (2,)
    labels = model(x).argmin(1)
    assert choose_nodes(coupling, "0", count=1, ranking="taylor", inputs=x, labels=labels).removed == (2,)
    with pytest.raises(
        UsageError, match=r"the fisher ranking needs calibration data\. Give data, or rank by l2"
    ):
        choose_nodes(coupling, "0", count=1, ranking="fisher")
    with pytest.raises(UsageError, match="the taylor ranking needs labelled calibration data"):
        choose_nodes(coupling, "0", count=1, ranking="taylor", inputs=x)


def test_a_ranking_of_the_users_own_scores_nodes_by_their_group() -> None:
    own = Ranking("own", lambda context: {"0": torch.tensor([3.0, 1.0, 2.0, 5.0, 4.0])}, nats=True)
    x = torch.zeros(4, 3)
    assert choose_nodes(network()[1], "0", count=2, ranking=own, inputs=x).removed == (1, 2)
    silent = Ranking("silent", lambda context: {}, nats=True)
    with pytest.raises(UsageError, match="the silent ranking has no scores for 0: rank by l2"):
        choose_nodes(network()[1], "0", count=2, ranking=silent, inputs=x)


def test_random_nodes_follow_the_seed() -> None:
    _, coupling = network()
    found = [choose_nodes(coupling, "0", count=2, ranking="random", seed=seed).removed for seed in range(20)]
    assert found[3] == choose_nodes(coupling, "0", count=2, ranking="random", seed=3).removed
    assert len(set(found)) > 4
    assert all(len(nodes) == 2 for nodes in found)


def test_removing_three_nodes_is_zeroing_what_reads_them() -> None:
    model, _, coupling = captured("residual")
    chosen = choose_nodes(coupling, "c", count=3)
    cut = coupling.apply(chosen.kept)
    assert tuple(cut.get_parameter("c.weight").shape) == (9, 8, 3, 3)
    assert tuple(cut.get_parameter("bnc.weight").shape) == (9,)
    kept = {
        group.name: list(chosen.kept.get(group.name, range(group.size))) for group in coupling.all_groups()
    }
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        assert relative(cut(x), readers_zeroed(model, coupling, kept)(x)) < 1e-5


def test_nodes_that_hang_together_go_together() -> None:
    """Node i of a convolution in two groups goes with node i + 6; a sum couples the layers at its ends."""
    _, _, coupling = captured("grouped")
    chosen = choose_nodes(coupling, "2", indices=[1])
    assert (chosen.width, chosen.removed) == (12, (1, 7))
    assert (
        choose_nodes(coupling, "2", share=0.3).removed[1] - choose_nodes(coupling, "2", share=0.3).removed[0]
        == 6
    )
    with pytest.raises(
        UsageError, match=r"3 nodes of 2 cannot be removed: 12 of its 12 can, up to 2 at once"
    ):
        choose_nodes(coupling, "2", count=3)
    _, _, coupling = captured("residual")
    chosen = choose_nodes(coupling, "b", count=2)
    cut = coupling.apply(chosen.kept)
    assert cut.get_parameter("stem.weight").shape[0] == cut.get_parameter("b.weight").shape[0] == 6


def test_a_layer_in_several_groups_and_its_weight_by_name() -> None:
    """The first 16 of 20 nodes gate each other in pairs, the last four go one by one."""
    _, _, coupling = captured("split")
    assert choose_nodes(coupling, "wide", indices=[3, 17]).removed == (3, 11, 17)
    assert choose_nodes(coupling, "wide.weight", count=5).width == 20
    with pytest.raises(UsageError, match=r"no node of wide would be left in wide#2: remove fewer"):
        choose_nodes(coupling, "wide", indices=[16, 17, 18, 19])


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.cells, self.head = nn.Linear(3, 4), nn.LSTM(4, 6, batch_first=True), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.cells(self.embed(x))[0][:, -1])
        return logits


def test_hidden_units_of_an_lstm() -> None:
    coupling = couple(Recurrent(), torch.zeros(1, 5, 3))
    if not any(
        "cells" in part.parameter for group in coupling.all_groups() for part in group.of_role("writer")
    ):
        pytest.skip("the engine keeps hidden units")
    chosen = choose_nodes(coupling, "cells", indices=[2, 5])
    assert (chosen.width, chosen.removed) == (6, (2, 5))
    assert tuple(coupling.apply(chosen.kept).get_parameter("cells.weight_hh_l0").shape) == (16, 4)


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        ({}, "need one choice: a count, a share or a threshold"),
        ({"count": 1, "share": 0.5}, "need one choice"),
        ({"count": 0}, "a count of nodes is 1 or more, not 0"),
        ({"count": 6}, "6 nodes of 0 cannot be removed: 5 of its 5 can, one by one"),
        ({"count": 5}, "no node of 0 would be left: remove fewer"),
        ({"share": 1.0}, "between 0 and 1"),
        ({"threshold": 99.0}, "no node of 0 would be left"),
        ({"threshold": 1.0, "ranking": "random"}, "a random ranking has no threshold"),
        ({"indices": [5]}, "0 has nodes 0 to 4, not 5"),
        (
            {"count": 1, "ranking": "l3"},
            "there is no ranking 'l3'. Rankings: random, l1, l2, taylor, fisher, obs.",
        ),
        ({"count": 1, "ranking": lambda weights: weights}, "must give 5 finite scores"),
        ({"count": 1, "ranking": lambda weights: weights[:, 0] / 0}, "must give 5 finite scores"),
    ],
)
def test_a_choice_that_does_not_make_sense(choice: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as refused:
        choose_nodes(network()[1], "0", **choice)
    assert says in str(refused.value)


def test_layers_that_stay_say_why() -> None:
    _, coupling = network()
    with pytest.raises(
        ModelError, match=r"no node of 2 can be removed: it is an output of the network \(output"
    ):
        choose_nodes(coupling, "2", count=1)
    with pytest.raises(
        UsageError, match=r"no layer 'first' whose nodes can be removed. Layers that have: 0\."
    ):
        choose_nodes(coupling, "first", count=1)
    with pytest.raises(UsageError, match="no layer '1' whose"):
        choose_nodes(coupling, "1", count=1)
