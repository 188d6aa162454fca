"""Three devices of round figures: one skips 2:4 zeros, one gates and compresses, one does neither."""

from __future__ import annotations

from joulecut.hw_models.device_file import parse_devices

_HEAD = """
schema = 1
chip = "{chip}"
category = "accelerator"
core = "some core"
boundary = "soc_rail"
[source.fit]
text = "made up for tests"
evidence = "measured"
[source.memory]
text = "from memory"
evidence = "remembered"
[runtime.rt.{dtype}]
mode = "calibrated-8"
channel_step = {{ value = 4, source = "fit" }}
pj_per_mac_dense = {{ value = 10, source = "fit" }}
pj_per_weight_byte = {{ value = 100, source = "fit" }}
pj_per_activation_byte = {{ value = 1, source = "fit" }}
"""
NM_ENTRY = """
[[sparsity]]
kind = "nm"
n = 2
m = 4
ops = ["linear", "conv2d"]
dtypes = ["float16", "int8"]
min_dims = [16, 32, 8]
mac_scale = 0.5
weight_bytes_scale = 0.5625
source = "fit"
"""
GATE_ENTRY = """
[[sparsity]]
kind = "gate"
operand = "weight"
ops = ["conv2d"]
dtypes = ["int8"]
mac_energy_saved = 0.5
time_saved = 0.0
source = "fit"
"""
COMPRESSED_ENTRY = """
[[sparsity]]
kind = "compressed"
ops = ["conv2d", "linear"]
dtypes = ["int8"]
bits_per_nonzero = 16
source = "fit"
"""
BLOCK_ENTRY = """
[[sparsity]]
kind = "block"
rows = 4
columns = 1
ops = ["linear"]
dtypes = ["int8"]
mac_energy_saved = 1.0
time_saved = 1.0
bits_per_nonzero = 10
source = "fit"
"""
TIMED = """ps_per_mac = { value = 5, source = "fit" }
idle_w = { value = 1, source = "fit" }
"""
NM_TEXT = _HEAD.format(chip="tensor", dtype="float16") + NM_ENTRY
GATING_TEXT = _HEAD.format(chip="gating", dtype="int8") + TIMED + GATE_ENTRY + BLOCK_ENTRY + COMPRESSED_ENTRY
PLAIN_TEXT = _HEAD.format(chip="plain", dtype="float32")
(NM_DEVICE,) = parse_devices(NM_TEXT, "tensor.toml")
(GATING,) = parse_devices(GATING_TEXT, "gating.toml")
(PLAIN,) = parse_devices(PLAIN_TEXT, "plain.toml")
