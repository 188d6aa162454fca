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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch

from joulecut.benchmarks.data.records import Splits
from joulecut.benchmarks.data.source import load_data
from joulecut.pruning.coupling.cut import copied
from perf.pruning_bases import NETWORKS, Base, tuned
from perf.pruning_field import Field, Point, field_of
from perf.pruning_halp import halp
from perf.pruning_netadapt import netadapt
from perf.pruning_ours import searched
from perf.pruning_refit import table
from perf.pruning_results import Results, Row, Stage, scored
from perf.pruning_table import ALONE, HEADLINE, LABELLED, QUICK_ALONE, report
from perf.pruning_torch_pruning import hessian, magnitude, repaired_hessian, taylor
from perf.pruning_widths import uniform

FINE: Final = (0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
"""Budgets of the peers: closer near the whole network, where most of them lose their first point."""
COARSE: Final = (0.7, 0.6, 0.5, 0.45, 0.4, 0.3, 0.2)
"""Budgets of joulecut, whose final refit and exchanges run at every one."""
SAMPLE: Final = (0.7, 0.5)
STAGES: Final[tuple[Stage, ...]] = ("cut", "epoch")

Case = tuple[float, Stage]
"""A budget and a stage of one method."""


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
    "NetAdapt style": Method(netadapt),
    "joulecut quick": Method(searched("quick"), COARSE),
    "joulecut": Method(searched("full"), COARSE),
    LABELLED: Method(searched("full", fit_labels=True), COARSE),
    ALONE: Method(searched("full"), (HEADLINE[-1],)),
    QUICK_ALONE: Method(searched("quick"), (HEADLINE[-1],)),
}


@dataclass(frozen=True, slots=True)
class Runner:
    """What all runs share."""

    splits: Splits
    results: Results
    weights: Path
    epoch: bool
    again: bool

    def run(self, base: Base, seed: int, methods: dict[str, Method]) -> None:
        """Run some methods on one network, those that are not done."""
        found = {name: self._missing(base, seed, name, method) for name, method in methods.items()}
        wanted = {name: cases for name, cases in found.items() if cases}
        if not wanted:
            return
        field = field_of(base, seed, self.splits, base.trained(seed, self.splits, self.weights))
        for name, network in (("base", field.graph.module), ("as trained", field.trained)):
            if not self.results.has(base.name, seed, name, 1.0, "base"):
                self.results.add(Row(base.name, seed, name, 1.0, "base", **scored(network, self.splits)))
        for name, cases in wanted.items():
            self._run_method(field, name, methods[name], cases)

    def _missing(self, base: Base, seed: int, name: str, method: Method) -> set[Case]:
        """Budgets and stages of a method that there are no results of."""
        if method.seeds and seed not in method.seeds:
            return set()
        cases: set[Case] = {(budget, "cut") for budget in method.budgets}
        if self.epoch:
            cases |= {(budget, "epoch") for budget in method.budgets if budget in HEADLINE}
        done = self.results.has
        return cases if self.again else {c for c in cases if not done(base.name, seed, name, *c)}

    def _run_method(self, field: Field, name: str, method: Method, cases: set[Case]) -> None:
        """Walk the whole path, as its points may hang on those before, and score what is missing."""
        reached, last, rows = set(), None, dict[Stage, Row]()
        for point in method.path(field, method.budgets):
            reached.add(point.budget)
            rows = rows if point.network is last else {}
            last = point.network
            for stage in STAGES:
                if (point.budget, stage) in cases:
                    rows[stage] = rows.get(stage) or self._row(field, name, point, stage)
                    self._add(replace(rows[stage], budget=point.budget))
        for budget, _ in sorted(cases):
            if budget not in reached:
                self.results.add(Row(field.base.name, field.seed, name, budget, "unreachable"))

    def _row(self, field: Field, name: str, point: Point, stage: Stage) -> Row:
        share, clock, network = field.share(point.network), point.clock, point.network
        if share > point.budget * (1 + 1e-9):
            raise SystemExit(f"{name} takes {share:.4f} of the energy where {point.budget} is allowed")
        if stage == "epoch":
            assert self.splits.train is not None
            network = copied(network)
            tuned(network, field.base.recipe, self.splits.train, field.seed)
        return Row(
            field.base.name,
            field.seed,
            name,
            point.budget,
            stage,
            share,
            cpu_s=clock.cpu_s,
            wall_s=clock.wall_s,
            note=point.note,
            **scored(network, self.splits),
        )

    def _add(self, row: Row) -> None:
        self.results.add(row)
        case = f"{row.network} {row.seed} {row.method}, {row.stage} at {row.budget:g}"
        figures = f"{row.share:.3f} of the energy, {row.accuracy('test'):.2f} %, {row.cpu_s:.1f} s"
        print(f"{case}: {figures}", flush=True)


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
    weights = args.out / "bases"
    if args.refit:
        print_refits([NETWORKS[name] for name in args.network], args.seed, args.data, weights)
        return
    networks, methods = args.network, {name: METHODS[name] for name in args.method}
    if args.sample:
        networks, args.seed, args.out = ["resnet8"], [0], args.out / "sample"
        methods = {name: replace(method, budgets=SAMPLE) for name, method in methods.items()}
    results = Results(args.out)
    if not args.table:
        runner = Runner(load_data(args.data), results, weights, not args.no_epoch, args.again)
        for network in networks:
            for seed in args.seed or NETWORKS[network].seeds:
                runner.run(NETWORKS[network], seed, methods)
    for network in networks:
        print(report(results, network, list(METHODS)))


if __name__ == "__main__":
    main()
