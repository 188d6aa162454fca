"""The zoo's totals, counted by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from perf.zoo_networks import COSTED, Network, zoo
from perf.zoo_process import read_results, store
from perf.zoo_table import summary

A, B, C = (Network(f"timm:{name}", 64) for name in "abc")


def _result(network: Network, verdict: str, **more: Any) -> dict[str, Any]:
    return {"name": network.name, "side": network.side, "verdict": verdict, "reason": ""} | more


OURS = {
    A: _result(A, "exact", parameters=[100, 40], difference=1e-15),
    B: _result(B, "exact", inexact=["layer_norm"], every_group=_result(B, "inexact", parameters=[100, 30])),
    C: _result(C, "wrong") | {"reason": "differs by 1.0e-01"},
}
PEER = {
    A: _result(A, "runs", setting=0),
    B: _result(B, "runs", setting=3),
    C: _result(C, "breaks") | {"reason": "IndexError: 3"},
}


def test_totals_count_each_side() -> None:
    text = summary([A, B, C], OURS, PEER)
    assert "joulecut, what it cuts by default: 2 of 3 smaller and equal to the reference\n" in text
    assert "  of them marked inexact, as nothing exact is worth 5 %: 0\n" in text
    assert "joulecut, every group cut: 2 of 3, of them marked inexact: 1\n" in text
    assert "with layer_norm: inexact 30.0%" in text
    assert "wrong: 1\n" in text
    assert "Torch-Pruning: 2 of 3 run and are smaller (equal to nothing), 1 as its examples" in text
    assert "joulecut ahead: 0 networks\njoulecut ahead, without further settings: 1 networks" in text
    assert "   1  breaks: IndexError: 3" in text


def test_a_network_with_nothing_exact_asks_for_the_marked_groups() -> None:
    marked = _result(A, "inexact", parameters=[100, 60])
    text = summary([A], {A: marked | {"inexact": ["softmax"], "every_group": marked}}, {})
    assert "nothing exact is worth 5 %, asked for those marked softmax: inexact 60.0%" in text
    assert "as nothing exact is worth 5 %: 1\n" in text


def test_what_is_wrong_with_every_group_cut_is_wrong() -> None:
    broken = _result(A, "breaks") | {"reason": "RuntimeError"}
    text = summary([A], {A: _result(A, "exact", inexact=["mean"], every_group=broken)}, {})
    assert "  break in forward: 1\n" in text


def test_bars_show_where_all_networks_were_tried() -> None:
    networks = zoo()
    text = summary(networks, {n: _result(n, "exact") for n in networks}, {})
    assert "116 of 116 smaller and equal to the reference (bar 114: met)" in text
    assert "bar" not in summary([A], {A: OURS[A]}, {})


def test_cost_is_judged() -> None:
    slow = {COSTED[0]: _result(COSTED[0], "costed", couple_s=2.5, peak_rss_bytes=1 << 30)}
    assert "2.5 s CPU (bar 2: missed), 1.00 GiB (bar 2: met)" in summary([A], slow, {})


def test_one_network_at_two_sizes_is_two_results(tmp_path: Path) -> None:
    file = tmp_path / "new" / "results.jsonl"
    assert read_results(file) == {}
    large = Network(A.name, 224)
    for result in (_result(A, "wrong"), _result(large, "costed"), _result(A, "exact")):
        store(file, result)
    assert {n: r["verdict"] for n, r in read_results(file).items()} == {A: "exact", large: "costed"}


def test_the_list_holds_116_different_networks() -> None:
    assert len({network.name for network in zoo()}) == 116
