"""Accelerators at the wall: ResNet-50 one sample at a time and in full batches gives two terms.

    energy of a batch = pj_per_mac x MACs of the batch + uj_per_layer x layers

The second term is what one sample costs beyond its part of a full batch: an engine that waits, and a server
that idles meanwhile. Batches of 8 that were published too lie within a quarter of it (python -m
perf.energy_models).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from joulecut.hw_models.spec import DeviceSpec, Figure, Source
from perf.populations import described, figure
from perf.published_networks import network

__all__ = ["accelerator"]

STEP: Final = Source("step", "no step is known for this runtime: every width is proposed", "assumed")
FEW: Final = Source(
    "few-terms",
    "the energy of this device is known per MAC and per layer only; by MACs a network cut in width keeps "
    "20 % of its energy where measured boards keep 30 to 80 %, so a ratio is known to x/÷ 1.5 at best",
    "assumed",
)
ONE: Final = Source(
    "one-network",
    "prices per MAC found on one network lie, on boards left out, within x/÷ 1.7 (microcontrollers) and 3.3 "
    "(Linux boards) of other networks in 90 % (python -m perf.energy_models, column of MACs only)",
    "assumed",
)


def accelerator(chip: str, runtime: str, facts: Mapping[str, Any]) -> DeviceSpec:
    """One accelerator with its host system."""
    resnet = network("resnet50", 224, "int8")
    assert resnet is not None
    macs, layers = resnet.macs, len(resnet.layers)
    rounds = facts["rounds"]
    source = Source(
        "resnet50",
        "ResNet-50 v1.5 int8 (4.089 GMAC): energy of the whole system divided by samples, full batches "
        f"(Offline){' and one at a time (SingleStream)' if 'batch1_mj' in facts else ''}, medians; "
        f"MLPerf Inference {rounds}, github.com/mlcommons/inference_results_*",
        "measured",
    )
    figures: dict[str, Figure] = {
        "channel_step": figure("channel_step", 1, STEP),
        "idle_w": figure("idle_w", facts["idle_w"], source),
        "factor_90": figure("factor_90", 2.5, ONE),
        "own_factor_90": figure("own_factor_90", 1.5, FEW),
        "pj_per_mac_dense": figure("pj_per_mac_dense", 1e-3 * facts["batched_mj"] / macs, source),
        "ps_per_mac": figure("ps_per_mac", 1e-3 * facts["batched_latency_ms"] / macs, source),
    }
    note = f"The whole system with {facts['core']}."
    if "batch1_mj" in facts:
        extra_j = 1e-3 * (facts["batch1_mj"] - facts["batched_mj"])
        extra_s = 1e-3 * (facts["batch1_latency_ms"] - facts["batched_latency_ms"])
        figures["uj_per_layer"] = figure("uj_per_layer", extra_j / layers, source)
        figures["us_per_layer"] = figure("us_per_layer", extra_s / layers, source)
    else:
        note += (
            " Known in full batches only: energy per sample for throughput, too low for a single inference."
        )
    return described(
        chip, runtime if "batch1_mj" in facts else f"{runtime}-batched", "int8", figures,
        core=facts["core"], category="accelerator", boundary="wall_ac", mode="calibrated-1", note=note,
    )  # fmt: skip
