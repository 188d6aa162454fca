"""Two devices with round figures, so that joules can be worked out by hand."""

from __future__ import annotations

from joulecut.hw_models.device_file import parse_devices

_HEAD = """
schema = 1
chip = "{chip}"
category = "{category}"
core = "some core"
boundary = "{boundary}"
[source.fit]
text = "made up for tests"
evidence = "measured"
[runtime.rt.{dtype}]
mode = "calibrated-8"
channel_step = {{ value = 4, source = "fit" }}
"""
BOARD_TEXT = (
    _HEAD.format(chip="board", category="linux-board", boundary="wall_ac", dtype="float32")
    + """
pj_per_mac_dense = { value = 600, source = "fit" }
pj_per_mac_depthwise = { value = 50, source = "fit" }
pj_per_weight_byte = { value = 1500, source = "fit" }
pj_per_activation_byte = { value = 2500, source = "fit" }
pj_per_elementwise_byte = { value = 1000, source = "fit" }
uj_per_layer = { value = 400, source = "fit" }
uj_per_inference = { value = 500, source = "fit" }
active_w = { value = 5, source = "fit" }
idle_w = { value = 2, source = "fit" }
fitted_mmac = { value = 4000, source = "fit", range = [10, 4000] }
"""
)
CORE_TEXT = (
    _HEAD.format(chip="core", category="microcontroller", boundary="soc_rail", dtype="int8")
    + """
clock_mhz = { value = 100, source = "fit" }
voltage_v = { value = 1.8, source = "fit" }
sram_kib = { value = 640, source = "fit" }
flash_kib = { value = 2048, source = "fit" }
pj_per_cycle = { value = 300, source = "fit" }
cycles_per_mac_dense = { value = 1.5, source = "fit" }
cycles_per_mac_depthwise = { value = 4, source = "fit" }
cycles_per_weight_byte = { value = 0.5, source = "fit" }
cycles_per_activation_byte = { value = 2, source = "fit" }
cycles_per_elementwise_byte = { value = 1, source = "fit" }
cycles_per_layer = { value = 1000, source = "fit" }
cycles_per_inference = { value = 5000, source = "fit" }
"""
)
(BOARD,) = parse_devices(BOARD_TEXT, "board.toml")
(CORE,) = parse_devices(CORE_TEXT, "core.toml")
