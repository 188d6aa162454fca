"""The closed-form traffic against the stored search of ZigZag, which takes minutes."""

from __future__ import annotations

import pytest
from perf.zigzag_oracle import FILE, NETWORKS, agreement, stored

BARS = {"resnet18": 0.98, "mobilenetv2": 0.94}


@pytest.mark.parametrize("network", NETWORKS)
def test_each_layer_is_within_15_percent_of_the_search(network: str) -> None:
    found = agreement(stored(network))
    assert found.p10 >= 0.85
    assert found.p90 <= 1.15
    assert found.log_correlation >= BARS[network]


def test_the_search_is_the_one_that_is_described() -> None:
    """ResNet-18 has 20 convolutions and a linear layer, MobileNet V2 52 and one."""
    assert [len(stored(network)) for network in NETWORKS] == [21, 53]
    first = stored("resnet18")[0]
    # 3 x 224 x 224 and 64 x 3 x 7 x 7 bytes at 700 pJ a 64-bit word, 64 x 112 x 112 at 750
    assert first.dram_pj == pytest.approx((3 * 224 * 224 + 64 * 147) * 87.5 + 64 * 112 * 112 * 93.75)
    assert "zigzag-dse 3.9.1" in FILE.read_text()
