"""The bars of the large networks, and what their stages are called."""

from __future__ import annotations

import pytest
import torch
from perf.large_networks import Phases, Size, missed, noise


def test_bars_are_missed_above_them_only() -> None:
    assert missed({"pricing, CPU s": 0.2, "staged, s": 899.0, "staged, GiB": 7.9}) == []
    assert missed({"quick, s": 181.234}) == ["quick, s: 181.23, bar 180"]


def test_noise_is_the_same_each_time() -> None:
    x = noise(Size(2, 8))
    assert x.shape == (2, 3, 8, 8)
    assert torch.equal(x, noise(Size(2, 8)))


def test_a_stage_ends_where_the_next_begins(capsys: pytest.CaptureFixture[str]) -> None:
    phases = Phases("demo")
    for stage in ("capturing", "pruning", "pruning", "refitting"):
        phases(stage, 0, 1)
    phases.total()
    rows = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert rows == [["demo", "capturing"], ["demo", "pruning"], ["demo", "refitting"], ["demo", "all"]]
