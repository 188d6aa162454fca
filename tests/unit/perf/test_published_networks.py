"""The networks behind the published energies have the MACs that were published of them."""

from __future__ import annotations

import pytest
from perf.energy_rows import linux_series, microcontroller_series, newest, rows
from perf.published_networks import network


@pytest.mark.parametrize(
    ("model", "size", "mmac"),
    [
        ("resnet8", 32, 12.501632),
        ("mobilenet_v1_0.25", 96, 7.489664),
        ("ds_cnn", 49, 2.656768),
        ("fc_autoencoder", 640, 0.264192),
        ("mobilenet_v1_1", 224, 568.7),
        ("mobilenet_v2_1", 224, 300.8),
        ("resnet18", 224, 1814.1),
        ("resnet50", 224, 4089.2),
        # github.com/tensorflow/models, slim/nets/mobilenet: millions of multiply-adds
        ("mobilenet_v3_large_1", 224, 217),
        ("mobilenet_v3_large_0.75", 224, 155),
        ("mobilenet_v3_large_min_1", 224, 209),
        ("mobilenet_v3_small_1", 224, 56.5),
        ("mobilenet_v3_small_0.75", 224, 43.5),
        ("mobilenet_v3_small_min_1", 224, 53),
        # github.com/tensorflow/tpu, efficientnet/lite
        ("efficientnet_lite0", 224, 407),
        ("efficientnet_lite1", 240, 631),
        ("efficientnet_lite2", 260, 899),
        ("efficientnet_lite3", 280, 1440),
        ("efficientnet_lite4", 300, 2640),
    ],
)
def test_macs(model: str, size: int, mmac: float) -> None:
    found = network(model, size)
    assert found is not None
    # the tables of EfficientNet-Lite count additions of biases and residuals too
    assert found.macs / 1e6 == pytest.approx(mmac, rel=0.06 if "lite" in model else 0.02)


def test_a_network_that_is_not_typed_in() -> None:
    assert network("inception_v4") is None


def test_number_types_change_bytes_only() -> None:
    wide, narrow = network("resnet8", 32, "float32"), network("resnet8", 32, "int8")
    assert wide is not None
    assert narrow is not None
    assert wide.macs == narrow.macs
    assert wide.layers[0].in_bytes == 4 * narrow.layers[0].in_bytes


def test_rows_are_positive_and_grouped_by_submission() -> None:
    assert all(row.latency_s > 0 and (row.energy_j is None or row.energy_j > 0) for row in rows())
    for each in (*linux_series(), *microcontroller_series()):
        assert len({row.workload.name for row in each.rows}) == len(each.rows)
        assert len({(row.board, row.runtime, row.version, row.dtype) for row in each.rows}) == 1
    chosen = newest(linux_series())
    keys = [(each.first.chip, each.first.runtime, each.first.dtype) for each in chosen]
    assert len(keys) == len(set(keys)) == 20
