"""How far joulecut and its peers can cut a network's energy, and what it costs in accuracy and time.

    python -m perf.pruning [--sample] [--network NAME ...] [--method NAME ...] [--seed N ...] [--no-epoch]
                           [--again] [--table] [--refit] [--data FOLDER] [--out FOLDER]

Trains two networks of MLPerf Tiny, a small MobileNet and a small transformer on Fashion-MNIST (once: the
weights are kept), recalibrates their batch norms, and has every method cut the same network to shares of its
energy on reference/edge/float32, each priced anew from the cut network. Methods choose on calibration and
validation images; the figures are of the 10,000 test images, without a gradient step and after one epoch.
Stop it at any time: what is done is read back from --out. `make perf-env` makes the environment.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import fx

from joulecut.benchmarks.data.records import Splits
from joulecut.benchmarks.data.source import load_data
from perf.pruning_bases import NETWORKS, Base, tuned
from perf.pruning_field import Field, Point, field_of
from perf.pruning_halp import halp
from perf.pruning_netadapt import netadapt
from perf.pruning_ours import searched
from perf.pruning_refit import table
from perf.pruning_results import Results, Row, scored
from perf.pruning_table import HEADLINE, report
from perf.pruning_torch_pruning import hessian, magnitude, repaired_hessian, taylor
from perf.pruning_widths import uniform

FINE: Final = (0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
"""Budgets of the peers: closer near the whole network, where most of them lose their first point."""
COARSE: Final = (0.7, 0.6, 0.5, 0.45, 0.4, 0.3, 0.2)
"""Budgets of joulecut, whose final refit and exchanges run at every one."""
SAMPLE: Final = (0.7, 0.5)


@dataclass(frozen=True, slots=True)
class Method:
    """A way to cut, the budgets it is asked for, and the seeds it is run on (all where none is named)."""

    path: Callable[[Field, Sequence[float]], Iterator[Point]]
    budgets: tuple[float, ...] = FINE
    seeds: tuple[int, ...] = ()


METHODS: Final = {
    "uniform L2": Method(uniform),
    "Torch-Pruning magnitude": Method(magnitude),
    "Torch-Pruning Taylor": Method(taylor),
    "Torch-Pruning Hessian": Method(hessian),
    "Torch-Pruning Hessian, repaired": Method(repaired_hessian),
    "HALP style": Method(halp),
    "NetAdapt style": Method(netadapt, seeds=(0,)),
    "joulecut quick": Method(searched("quick"), COARSE),
    "joulecut": Method(searched("full"), COARSE),
}


@dataclass(frozen=True, slots=True)
class Runner:
    """What a run shares."""

    splits: Splits
    results: Results
    epoch: bool
    again: bool

    def run(self, base: Base, seed: int, methods: dict[str, Method], sample: bool, weights: Path) -> None:
        """Run some methods on one network, those that are not done."""
        wanted = {}
        for name, method in methods.items():
            if not method.seeds or seed in method.seeds:
                budgets = self._missing(base, seed, name, SAMPLE if sample else method.budgets)
                if budgets:
                    wanted[name] = budgets
        if not wanted:
            return
        network = base.trained(seed, self.splits, weights)
        field = field_of(base, seed, self.splits, network)
        if not self.results.has(base.name, seed, "base", 1.0, "base"):
            self.results.add(
                Row(base.name, seed, "base", 1.0, "base", **scored(field.graph.module, self.splits))
            )
            self.results.add(
                Row(base.name, seed, "as trained", 1.0, "base", **scored(field.trained, self.splits))
            )
        for name, budgets in wanted.items():
            self._run_method(field, name, methods[name], budgets)

    def _missing(self, base: Base, seed: int, name: str, budgets: Sequence[float]) -> list[float]:
        if self.again:
            return list(budgets)
        done = self.results.has
        return [
            budget
            for budget in budgets
            if not done(base.name, seed, name, budget, "cut")
            or (self._tunes(budget) and not done(base.name, seed, name, budget, "epoch"))
        ]

    def _tunes(self, budget: float) -> bool:
        return self.epoch and budget in HEADLINE

    def _run_method(self, field: Field, name: str, method: Method, budgets: Sequence[float]) -> None:
        left = list(budgets)
        last: fx.GraphModule | None = None
        for point in method.path(field, budgets):
            left.remove(point.budget)
            if point.network is not last:
                share, scores, last = (
                    field.share(point.network),
                    scored(point.network, self.splits),
                    point.network,
                )
            if share > point.budget * (1 + 1e-9):
                raise SystemExit(f"{name} gives {share:.4f} of the energy for a budget of {point.budget}")
            clock = point.clock
            fields: dict[str, Any] = {
                "share": share,
                "cpu_s": clock.cpu_s,
                "wall_s": clock.wall_s,
                "note": point.note,
            }
            self._add(Row(field.base.name, field.seed, name, point.budget, "cut", **fields, **scores))
            if self.epoch and point.budget in HEADLINE:
                fields |= self._after_an_epoch(field, point.network)
                self._add(Row(field.base.name, field.seed, name, point.budget, "epoch", **fields))
        for budget in left:
            self.results.add(Row(field.base.name, field.seed, name, budget, "unreachable"))

    def _after_an_epoch(self, field: Field, network: fx.GraphModule) -> dict[str, Any]:
        assert self.splits.train is not None
        further = copy.deepcopy(network)
        tuned(further, field.base.recipe, self.splits.train, field.seed)
        return scored(further, self.splits)

    def _add(self, row: Row) -> None:
        self.results.add(row)
        where = f"{row.network} {row.seed} {row.method}, {row.stage} at {row.budget:g}"
        print(
            f"{where}: {row.share:.3f} of the energy, {row.accuracy('test'):.2f} %, {row.cpu_s:.1f} s",
            flush=True,
        )


def print_refits(bases: Sequence[Base], seeds: Sequence[int], data: str, weights: Path) -> None:
    """The refits at the same channels, one network after the other."""
    splits = load_data(data)
    for base in bases:
        for seed in seeds or base.seeds:
            field = field_of(base, seed, splits, base.trained(seed, splits, weights))
            for line in table([field], HEADLINE):
                print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--method", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seed", nargs="+", type=int, default=[])
    parser.add_argument("--no-epoch", action="store_true", help="leave the epoch after the cut out")
    parser.add_argument("--again", action="store_true", help="run what is done already too")
    parser.add_argument(
        "--sample", action="store_true", help="ResNet-8, seed 0, two budgets, for a first look"
    )
    parser.add_argument("--table", action="store_true", help="only print what is done")
    parser.add_argument("--refit", action="store_true", help="refits at the same channels instead")
    parser.add_argument("--data", default="/usr/share/datasets/fashion-mnist", help="folder of Fashion-MNIST")
    parser.add_argument(
        "--out", type=Path, default=Path(".perf/pruning"), help="folder of weights and results"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    results = Results(args.out)
    networks = ["resnet8"] if args.sample else args.network
    if args.refit:
        print_refits([NETWORKS[name] for name in networks], args.seed, args.data, args.out / "bases")
        return
    if not args.table:
        runner = Runner(load_data(args.data), results, not args.no_epoch, args.again)
        for network in networks:
            base = NETWORKS[network]
            for seed in [0] if args.sample else args.seed or base.seeds:
                chosen = {name: METHODS[name] for name in args.method}
                runner.run(base, seed, chosen, args.sample, args.out / "bases")
    for network in networks:
        print(report(results, network, list(METHODS)))


if __name__ == "__main__":
    main()
