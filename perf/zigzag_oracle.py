"""DRAM energy of every layer as ZigZag's search finds it: the stored oracle of the closed-form traffic.

    python -m perf.zigzag_oracle            # compare hw_models.traffic with the stored search
    python -m perf.zigzag_oracle --search   # search again and store (minutes; needs zigzag-dse and six)

ZigZag (Mei et al., IEEE Trans. Computers 70(8), 2021, doi 10.1109/TC.2021.3059962) searches loop orders and
tilings on its edge-TPU-like accelerator: 2 MiB for activations, 32 KiB for weights, and DRAM at 700 pJ a
64-bit word read and 750 written. The networks are those that come with it, in its 8 bits. The closed form
is asked with both memories as one.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np

from joulecut.hw_models.traffic import offchip_bytes
from joulecut.workload.layer import LayerWork

__all__ = ["NETWORKS", "Agreement", "OracleLayer", "agreement", "search", "stored"]

FILE: Final = Path(__file__).parent / "data" / "zigzag_dram.json"
NETWORKS: Final = {"resnet18": 6, "mobilenetv2": 5}
"""How many loop prime factors are ordered for each (``lpf_limit``)."""
PJ_PER_BYTE: Final = 87.5
ONCHIP_BYTES: Final = (2048 + 32) * 1024


@dataclass(frozen=True, slots=True)
class OracleLayer:
    """A layer with its loop sizes, its stride and the picojoules that it spends in DRAM."""

    name: str
    loops: dict[str, int]
    stride: int
    dram_pj: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """Search over closed form, by layer: quantiles of the ratio, and the correlation of the logarithms."""

    layers: int
    p10: float
    median: float
    p90: float
    log_correlation: float


def search(model: Path, lpf_limit: int) -> tuple[tuple[OracleLayer, ...], float]:
    """Search every layer of a network on the edge-TPU-like accelerator: layers and CPU seconds."""
    from joulecut.hw_models.backends.zigzag import search as searched

    inputs = _inputs()
    started = time.process_time()
    layers = searched(
        model,
        inputs / "hardware/edge_tpu_like.yaml",
        inputs / "mapping/edge_tpu_like.yaml",
        lpf_limit=lpf_limit,
    )
    found = tuple(OracleLayer(each.name, each.loops, each.stride, each.offchip) for each in layers)
    return found, time.process_time() - started


def _inputs() -> Path:
    spec = find_spec("zigzag")
    if spec is None or spec.origin is None:
        raise SystemExit("zigzag-dse is not installed: pip install zigzag-dse==3.9.1 six")
    return Path(spec.origin).parent / "inputs"


def stored(network: str) -> tuple[OracleLayer, ...]:
    """The stored search of a network."""
    plain = json.loads(FILE.read_text(encoding="utf-8"))
    return tuple(OracleLayer(**row) for row in plain["networks"][network]["layers"])


def agreement(layers: tuple[OracleLayer, ...]) -> Agreement:
    """How the closed form compares with a search."""
    ours = np.array([PJ_PER_BYTE * closed_form_bytes(each) for each in layers])
    theirs = np.array([each.dram_pj for each in layers])
    p10, median, p90 = np.quantile(theirs / ours, [0.1, 0.5, 0.9]).tolist()
    return Agreement(len(layers), p10, median, p90, float(np.corrcoef(np.log(ours), np.log(theirs))[0, 1]))


def closed_form_bytes(layer: OracleLayer) -> float:
    """Bytes over the edge of the chip by ``hw_models.traffic``."""
    work = _work(layer)
    return offchip_bytes(work, work.weight_bytes, work.in_bytes, work.out_bytes, ONCHIP_BYTES)


def _work(layer: OracleLayer) -> LayerWork:
    """A layer in 8 bits from its loops; a matrix product's are C, D and K."""
    loops = {"B": 1, "G": 1, "OX": 1, "OY": layer.loops.get("D", 1), "FX": 1, "FY": 1} | layer.loops
    groups, wide, high = loops["G"], loops["OX"], loops["OY"]
    reads, writes = groups * loops["C"], groups * loops["K"]
    in_shape = (loops["B"], reads, high * layer.stride, wide * layer.stride)
    out_shape = (loops["B"], writes, high, wide)
    weights = (writes, loops["C"], loops["FY"], loops["FX"])
    return LayerWork(
        path=layer.name,
        op="conv2d",
        kind="depthwise" if groups > 1 else "dense",
        macs=math.prod(weights) * wide * high,
        weight_bytes=math.prod(weights),
        in_bytes=math.prod(in_shape),
        out_bytes=math.prod(out_shape),
        in_shape=in_shape,
        out_shape=out_shape,
        weight_shape=weights,
        in_channels=reads,
        out_channels=writes,
        groups=groups,
        dtype="int8",
    )


def _store() -> None:
    found = {}
    for network, lpf_limit in NETWORKS.items():
        layers, seconds = search(_inputs() / f"workload/{network}.onnx", lpf_limit)
        found[network] = {
            "lpf_limit": lpf_limit,
            "cpu_seconds": round(seconds, 1),
            "layers": [asdict(layer) for layer in layers],
        }
    plain = {
        "source": f"zigzag-dse {version('zigzag-dse')}, inputs/hardware/edge_tpu_like.yaml with its mapping, "
        "least energy; inputs/workload/*.onnx",
        "command": "python -m perf.zigzag_oracle --search",
        "unit": "pJ in DRAM: 700 a 64-bit word read, 750 written",
        "networks": found,
    }
    FILE.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--search", action="store_true", help="run ZigZag and store what it finds")
    if parser.parse_args().search:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        _store()
    print(f"{'network':12} layers  ratio p10  median     p90  log correlation")
    for network in NETWORKS:
        each = agreement(stored(network))
        ratios = f"{each.p10:9.3f} {each.median:7.3f} {each.p90:7.3f}"
        print(f"{network:12} {each.layers:6} {ratios}  {each.log_correlation:15.4f}")


if __name__ == "__main__":
    main()
