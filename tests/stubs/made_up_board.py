"""Text of a device file with round figures, and of zeros that it pays for: tests put the two together."""

from __future__ import annotations

BOARD = """
schema = 1
chip = "made-up"
category = "accelerator"
core = "some core"
boundary = "soc_rail"
[source.fit]
text = "made up for tests"
evidence = "measured"
[runtime.rt.float32]
mode = "calibrated-8"
channel_step = { value = 4, source = "fit" }
pj_per_mac_dense = { value = 10, source = "fit" }
pj_per_weight_byte = { value = 100, source = "fit" }
"""


def two_of_four(min_dims: tuple[int, int, int], weight_bytes_scale: float) -> str:
    """An entry for 2:4 zeros in linear layers, whose MACs cost half."""
    return f"""
[[sparsity]]
kind = "nm"
n = 2
m = 4
ops = ["linear"]
dtypes = ["float32"]
min_dims = {list(min_dims)}
mac_scale = 0.5
weight_bytes_scale = {weight_bytes_scale}
source = "fit"
"""
