"""joulecut on one network, judged against the reference; prints one line of JSON.

python -m perf.zoo_ours timm:resnest14d 64
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx

import joulecut
from joulecut.errors import JoulecutError
from joulecut.pruning.coupling import Coupling, couple
from perf.zoo_networks import COSTED, Network, build
from perf.zoo_process import Result, limit_cpu, peak_rss_bytes
from perf.zoo_reference import Reference, Unjudged

__all__ = ["engine_version", "smallest", "try_network"]

SHARE = 0.4
"""Of the channels of every group, removed."""
SMALLER = 0.95
"""A network must keep at most this share of its parameters to count as pruned."""
TOLERANCE = 1e-5
"""Largest difference from the reference, by the reference's largest value."""
MOVED = 1e-3
"""A removal that changes the output by less, by the output's largest value, proves nothing."""


def engine_version() -> str:
    """A digest of the code that finds and cuts channels."""
    package = Path(joulecut.__file__).parent
    files = [*sorted((package / "pruning/coupling").glob("*.py")), package / "workload/trace.py"]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def try_network(network: Network) -> Result:
    """Couple a network, cut it, and compare it with the reference in float64.

    What the engine gives by default is cut, its exact groups; the marked ones are asked for too where that
    leaves more than 95 % of the parameters. ``every_group`` is the verdict with all of them cut.
    """
    _warm_up()
    dtype = torch.float32 if network in COSTED else torch.float64
    model, images = build(network, dtype)
    started = time.process_time()
    coupling = couple(model, images)
    found: Result = {"couple_s": time.process_time() - started, "peak_rss_bytes": peak_rss_bytes()}
    kept = smallest(coupling)
    found |= _described(coupling)
    if dtype == torch.float32:
        return found | {"verdict": "costed"}
    exact = {group.name: kept[group.name] for group in coupling.groups()}
    judged = judge(coupling, exact, images, marked=False)
    if any(len(kept[group.name]) < group.size for group in coupling.all_groups() if group.inexact):
        found["every_group"] = judge(coupling, kept, images, marked=True)
        if judged["verdict"] == "not smaller":
            judged = found["every_group"]
    return found | judged


def _warm_up() -> None:
    """Load what torch loads with its first export, which is no cost of the network."""
    couple(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 2)), torch.zeros(2, 2))


def smallest(coupling: Coupling) -> dict[str, list[int]]:
    """The channels that stay of every group when the 40 % with the smallest L2 norm go."""
    kept = {}
    for group in coupling.all_groups():
        squares = torch.zeros(group.size, dtype=torch.float64)
        for piece in group.of_role("writer"):
            weight = _tensor(coupling.module, piece.parameter).detach()
            rows = weight.movedim(piece.dim, 0).reshape(weight.shape[piece.dim], -1)
            squares += rows.double().square().sum(1)[piece.positions].reshape(group.size, -1).sum(1)
        order = torch.argsort(squares, stable=True).tolist()
        kept[group.name] = sorted(order[int(SHARE * group.size) :])
    return kept


def _tensor(module: fx.GraphModule, name: str) -> Tensor:
    path, _, leaf = name.rpartition(".")
    found = getattr(module.get_submodule(path), leaf)
    assert isinstance(found, Tensor)
    return found


def _described(coupling: Coupling) -> Result:
    reasons = Counter[str]()
    for refusal in coupling.refused():
        reasons[f"{refusal.op}: {refusal.reason}"] += refusal.channels
    return {
        "groups": len(coupling.all_groups()),
        "inexact": sorted({op for g in coupling.all_groups() for op in g.inexact.split(", ")} - {""}),
        "channels": sum(group.size for group in coupling.all_groups()),
        "refused": dict(reasons.most_common(6)),
    }


def judge(coupling: Coupling, kept: dict[str, list[int]], images: Tensor, *, marked: bool) -> Result:
    """Cut and compare; ``marked``: the engine calls a group that loses channels inexact."""
    reference = Reference(coupling, kept)
    with torch.no_grad():
        original, expected = coupling.module(images), reference.run(images)
        started = time.process_time()
        try:
            cut = coupling.apply(kept)
            out = cut(images)
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
            return {"verdict": "breaks", "reason": str(error).splitlines()[0][:200]}
    before, after = (sum(p.numel() for p in m.parameters()) for m in (coupling.module, cut))
    result: Result = {"parameters": [before, after], "counted": sorted(reference.counted)}
    result["cut_s"] = time.process_time() - started
    if out.shape != original.shape:
        return result | {"verdict": "other shape", "reason": f"{tuple(out.shape)}"}
    result["difference"] = _largest(out - expected) / _largest(expected)
    result["moved"] = _largest(original - expected) / _largest(original)
    return result | _verdict(result, before, after, marked)


def _verdict(result: Result, before: int, after: int, marked: bool) -> dict[str, str]:
    if not result["difference"] <= TOLERANCE:
        return {"verdict": "wrong", "reason": f"differs by {result['difference']:.1e}"}
    if result["counted"] and not marked:
        return {"verdict": "wrong", "reason": f"not marked inexact: {', '.join(result['counted'])}"}
    if after > SMALLER * before:
        return {"verdict": "not smaller", "reason": f"keeps {after / before:.1%} of its parameters"}
    if result["moved"] < MOVED:
        return {"verdict": "vacuous", "reason": f"the removal moves the output by {result['moved']:.1e} only"}
    return {"verdict": "inexact" if marked else "exact", "reason": ""}


def _largest(value: Tensor) -> float:
    return float(value.abs().max())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("side", type=int, help="of the input, pixels")
    parser.add_argument("--limit", type=float, default=300, help="CPU seconds")
    args = parser.parse_args()
    limit_cpu(args.limit)
    torch.set_num_threads(1)
    result: dict[str, Any]
    try:
        result = try_network(Network(args.name, args.side))
    except JoulecutError as error:
        result = {"verdict": "refused", "reason": str(error).splitlines()[0][:300]}
    except Unjudged as error:
        result = {"verdict": "unjudged", "reason": str(error).splitlines()[0][:300]}
    print(json.dumps({"name": args.name} | result))


if __name__ == "__main__":
    main()
