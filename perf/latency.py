"""False alarms of the latency comparison: one file against itself, beside timing A and then B.

    python -m perf.latency [--windows 100] [--seconds 2] [--sample] [--busy N]

Every window compares a small network with itself in two ways in the same minute: as ``joulecut bench`` does,
and naively (all calls of A, then all calls of B, ratio of medians). A perfect method says 1.000 every time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

from joulecut.benchmarks import machine
from joulecut.benchmarks.compare import benchmark
from joulecut.benchmarks.latency import undisturbed, warm_up
from joulecut.benchmarks.session import open_session


def write_network(path: Path, widths: tuple[int, ...], size: int) -> None:
    """A chain of 3x3 convolutions with ReLU on size x size inputs; weights from a fixed seed."""
    random = np.random.default_rng(0)
    nodes, weights, name, channels = [], [], "x", 1
    for index, width in enumerate(widths):
        values = random.standard_normal((width, channels, 3, 3)).astype(np.float32) / (3 * channels**0.5)
        weights.append(numpy_helper.from_array(values, f"w{index}"))
        nodes.append(helper.make_node("Conv", [name, f"w{index}"], [f"c{index}"], pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{index}"], [f"r{index}"]))
        name, channels = f"r{index}", width
    first, last = (
        helper.make_tensor_value_info(end, TensorProto.FLOAT, ["batch", count, size, size])
        for end, count in (("x", 1), (name, channels))
    )
    graph = helper.make_graph(nodes, "chain", [first], [last], weights)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


def naive(path: Path, seconds: float) -> float:
    """Ratio of medians when all calls of A come before all calls of B."""
    medians = []
    for session in [open_session(path), open_session(path)]:
        warm_up(session, 0.2)
        calls, end = [], time.perf_counter() + seconds / 2
        with undisturbed():
            while time.perf_counter() < end:
                start = time.perf_counter()
                session.run()
                calls.append(time.perf_counter() - start)
        medians.append(float(np.median(calls)))
    return medians[1] / medians[0]


def measure(path: Path, windows: int, seconds: float) -> dict[str, object]:
    """Run all windows and summarise both methods."""
    ratios: dict[str, list[float]] = {"naive": [], "wall": [], "cpu": [], "decisive": []}
    half_widths, covered, verdicts, contended = [], 0, dict[str, int](), 0
    for _ in range(windows):
        ratios["naive"].append(naive(path, seconds))
        pair = benchmark([path, path], max_seconds=seconds).pairs[0]
        decisive = pair.cpu_ratio if pair.contended else pair.ratio
        low, high = decisive.bounds(0.9)
        ratios["wall"].append(pair.ratio.value)
        ratios["cpu"].append(pair.cpu_ratio.value)
        ratios["decisive"].append(decisive.value)
        half_widths.append((high - low) / 2)
        covered += low <= 1 <= high
        contended += pair.contended
        verdicts[pair.verdict] = verdicts.get(pair.verdict, 0) + 1
    return {
        "windows": windows,
        "seconds": seconds,
        **machine.facts(),
        **{name: errors(values) for name, values in ratios.items()},
        "half_width_p50": float(np.median(half_widths)),
        "interval_covers_1": covered / windows,
        "contended": contended / windows,
        "verdicts": verdicts,
    }


def errors(ratios: list[float]) -> dict[str, float]:
    """Spread of |ratio - 1|, and how often it passes 1 and 2 %."""
    off = np.abs(np.array(ratios) - 1)
    return {
        "bias": float(np.mean(ratios)) - 1,
        "p50": float(np.median(off)),
        "p95": float(np.quantile(off, 0.95)),
        "max": float(off.max()),
        "over_1_percent": float(np.mean(off > 0.01)),
        "over_2_percent": float(np.mean(off > 0.02)),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--windows", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a window")
    parser.add_argument("--size", type=int, default=8, help="height and width of the input")
    parser.add_argument("--busy", type=int, default=0, help="busy loops to run beside it")
    parser.add_argument("--sample", action="store_true", help="20 windows, for a first look")
    args = parser.parse_args()
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(args.busy)]
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "chain.onnx"
            write_network(path, (16, 32, 64), args.size)
            print(json.dumps(measure(path, 20 if args.sample else args.windows, args.seconds), indent=1))
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


if __name__ == "__main__":
    main()
