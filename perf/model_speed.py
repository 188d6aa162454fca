"""How fast energies are worked out: one network, one pruning step, many networks at once, beside peers.

    python -m perf.model_speed [--device NAME] [--zigzag]

A ResNet-50 (53 convolutions, 16 sums, a mean and a linear layer), in CPU time of one core; the best of 7
repeats. A pruning step changes one group of channels: an inner width of a bottleneck, which touches two
layers, or the stream of a stage, which touches its shortcut, its sums and all that reads them.

Beside them, in this process and on the same network: fvcore's count of operations, which is what a pruner
pays for each step when it counts anew (its network comes from torchvision), and with --zigzag (minutes)
ZigZag's search of mappings on its edge-TPU-like accelerator. A peer that is not installed is named and left
out; `make perf-env` installs them. Exits with 1 where a figure of ours misses its bar.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import timeit
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy and torch are imported

import numpy as np

from joulecut.hw_models import device as find_device
from joulecut.hw_models import estimate, layer_cost
from joulecut.hw_models.batched import LayerTable
from joulecut.hw_models.incremental import IncrementalEnergy
from joulecut.hw_models.spec import DeviceSpec
from joulecut.hw_models.widths import ChannelCount, PricedLayer
from joulecut.workload.layer import Workload
from perf.published_networks import network

CANDIDATES = 1000
BARS = {"whole network": 100e-6, "inner width": 10e-6, "mean of all groups": 10e-6, "layers a second": 1e6}


def seconds(work: Callable[[], object], number: int) -> float:
    """CPU seconds of one call: the best of 7 repeats of ``number``. Other programs' turns do not count."""
    return min(timeit.repeat(work, number=number, repeat=7, timer=time.process_time)) / number


def resnet50() -> Workload:
    """The network that every figure is of."""
    found = network("resnet50")
    assert found is not None
    return found


def grouped(work: Workload) -> tuple[list[PricedLayer], dict[str, int]]:
    """The layers of a bottleneck ResNet with its groups: inner widths, and one stream for each stage."""
    layers: list[PricedLayer] = []
    sizes: dict[str, int] = {}
    current = block = ChannelCount(3)
    for layer in work.layers:
        reads = current
        if layer.in_channels != current.at(sizes):  # the shortcut of a stage's first block
            reads = block
        if layer.op == "conv2d":
            widens = reads is not current or layer.out_channels == 4 * layer.in_channels
            writes = ChannelCount.of(f"stream {layer.out_channels}" if widens else layer.path)
        else:
            writes = current if layer.op in ("add", "mean") else ChannelCount(layer.out_channels)
        operands = ((layer.in_bytes // 2 // layer.in_channels, current),) * 2 if layer.op == "add" else ()
        layers.append(PricedLayer(layer.path, layer, reads, writes, operands))
        sizes |= {name: layer.out_channels for (name,), _ in writes.terms}
        current = writes
        if layer.op == "add" or len(layers) == 1:
            block = writes
    return layers, sizes


def own_figures(device: DeviceSpec, work: Workload) -> dict[str, float]:
    """Seconds of each way to the energy; ``layers a second`` of a batch."""
    table, (layers, sizes) = LayerTable(device, work.layers), grouped(work)
    running = IncrementalEnergy(device, layers, sizes)
    assert abs(running.total_j / float(table.total_j()) - 1) < 1e-9
    inner, stream = layers[2].node, "stream 1024"
    draw = np.random.default_rng(0)
    share = draw.uniform(0.25, 1.0, (CANDIDATES, len(work.layers)))
    n_in, n_out = (
        np.maximum(share * [max(getattr(layer, axis), 1) for layer in work.layers], 1).astype(np.int64)
        for axis in ("in_channels", "out_channels")
    )
    batch_s = seconds(lambda: table.total_j(n_in, n_out), 3)
    return {
        "whole network": seconds(table.total_j, 200),
        "layer by layer": seconds(lambda: sum(layer_cost(device, each).total_j for each in work.layers), 10),
        "arrays made": seconds(lambda: LayerTable(device, work.layers), 10),
        "with intervals and provenance": seconds(lambda: estimate(work, device), 3),
        "inner width": _step_s(running, inner, sizes[inner]),
        "stream": _step_s(running, stream, sizes[stream]),
        "mean of all groups": sum(_step_s(running, group, size) for group, size in sizes.items())
        / len(sizes),
        "layers a second": CANDIDATES * len(work.layers) / batch_s,
    }


def _step_s(running: IncrementalEnergy, group: str, size: int) -> float:
    def there_and_back() -> None:
        running.resize(group, size - 8)
        running.resize(group, size)

    return seconds(there_and_back, 500) / 2


def peers(zigzag: bool) -> Iterator[tuple[str, float | str]]:
    """Seconds of each peer's count of the same network, or why there is none."""
    missing = [name for name in ("fvcore", "torch", "torchvision") if find_spec(name) is None]
    yield (
        "fvcore, operations of a ResNet-50",
        f"left out: {', '.join(missing)} not installed" if missing else fvcore_s(),
    )
    if not zigzag:
        yield "ZigZag, ResNet-50", "left out: ask for it with --zigzag (minutes)"
    elif find_spec("zigzag") is None:
        yield "ZigZag, ResNet-50", "left out: zigzag not installed"
    else:
        yield "ZigZag, ResNet-50", zigzag_s(resnet50())


def fvcore_s() -> float:
    """CPU seconds of one count by fvcore, capture included, after one to warm up."""
    import torch
    from fvcore.nn import FlopCountAnalysis
    from torchvision.models import resnet50 as build

    torch.set_num_threads(1)
    model, image = build().eval(), torch.zeros(1, 3, 224, 224)

    def count() -> float:
        started = time.process_time()
        analysis = FlopCountAnalysis(model, image)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        assert analysis.total() > 4e9
        return time.process_time() - started

    return min(count() for _ in range(4))


def zigzag_s(work: Workload) -> float:
    """CPU seconds of ZigZag's search for every layer, on the accelerator of the stored oracle."""
    from perf.onnx_networks import write_network
    from perf.zigzag_oracle import search

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{work.name}.onnx"
        write_network(work, path)
        return search(path, lpf_limit=5)[1]


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="raspberry-pi-4b/tflite/float32")
    parser.add_argument("--zigzag", action="store_true")
    args = parser.parse_args()
    device, work = find_device(args.device), resnet50()
    figures = own_figures(device, work)
    print(f"{work.name}, {len(work.layers)} layers, on {device.name}; {sys.version.split()[0]}")
    bars_met = True
    for name, figure in figures.items():
        bar = BARS.get(name)
        met = bar is None or (figure >= bar if name == "layers a second" else figure <= bar)
        bars_met &= met
        shown = f"{figure:12,.0f}" if name == "layers a second" else f"{1e6 * figure:9.1f} us"
        print(f"{name:32} {shown:>14}{'' if bar is None else '   met' if met else '   MISSED'}")
    for name, found in peers(args.zigzag):
        if isinstance(found, str):
            print(f"{name:32} {found}")
        else:
            ratio = found / figures["whole network"]
            print(f"{name:32} {1e3 * found:11,.1f} ms   {ratio:,.0f} x ours for the whole network")
    return 0 if bars_met else 1


if __name__ == "__main__":
    sys.exit(main())
