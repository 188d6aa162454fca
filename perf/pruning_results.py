"""Results of perf.pruning: a line of JSON for each network, seed, method, budget and stage."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from joulecut.benchmarks.data.records import Dataset, Splits
from joulecut.benchmarks.quality import predictions

__all__ = ["Results", "Row", "Stage", "scored"]

Stage = Literal["base", "cut", "epoch", "unreachable"]
"""The recalibrated base; a cut network without a gradient step (of ours or after the method's own); after
one epoch; a budget that the method did not reach."""


@dataclass(frozen=True, slots=True)
class Row:
    """One network that was scored.

    Attributes:
        share: its energy over the recalibrated base's.
        validation, test: which of the images are classified right, a bit an image, base64.
        count: of images in each.
        cpu_s, wall_s: from the start of the method's path to here.
        note: what the method says of it.
    """

    network: str
    seed: int
    method: str
    budget: float
    stage: Stage
    share: float = 1.0
    validation: str = ""
    test: str = ""
    count: tuple[int, int] = (0, 0)
    cpu_s: float = 0.0
    wall_s: float = 0.0
    note: str = ""

    def correct(self, part: Literal["validation", "test"]) -> np.ndarray:
        """Bool [images]: which are right."""
        text = self.validation if part == "validation" else self.test
        bits = np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8))
        return bits[: self.count[part == "test"]].astype(bool)

    def accuracy(self, part: Literal["validation", "test"]) -> float:
        """Share of the images that are right, in percent."""
        return 100 * float(self.correct(part).mean())


def scored(network: nn.Module, splits: Splits) -> dict[str, Any]:
    """The fields of a row that hold what a network gets right."""
    return {
        "validation": _bits(network, splits.validation),
        "test": _bits(network, splits.test),
        "count": (len(splits.validation), len(splits.test)),
    }


def _bits(network: nn.Module, data: Dataset) -> str:
    right: torch.Tensor = predictions(network, data.inputs) == data.labels
    return base64.b64encode(np.packbits(right.numpy()).tobytes()).decode()


class Results:
    """The rows of one folder; later lines replace earlier ones of the same case."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rows: dict[tuple[str, int, str, float, Stage], Row] = {}
        for file in sorted(folder.glob("*.jsonl")):
            for line in file.read_text().splitlines():
                fields = json.loads(line)
                self._keep(Row(**fields | {"count": tuple(fields["count"])}))

    def _keep(self, row: Row) -> None:
        self._rows[row.network, row.seed, row.method, row.budget, row.stage] = row

    def add(self, row: Row) -> None:
        """Keep a row and append it to the network's file."""
        self._keep(row)
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{row.network}.jsonl").open("a") as lines:
            lines.write(json.dumps(asdict(row)) + "\n")

    def has(self, network: str, seed: int, method: str, budget: float, stage: Stage) -> bool:
        """Whether this case is done, or its budget known to be out of reach."""
        found = ((network, seed, method, budget, s) for s in (stage, "unreachable"))
        return any(key in self._rows for key in found)

    def rows(self, network: str, method: str, stage: Stage, seed: int | None = None) -> Iterator[Row]:
        """The rows of a method, from the largest energy to the least."""
        found = [r for r in self._rows.values() if (r.network, r.method, r.stage) == (network, method, stage)]
        yield from sorted((r for r in found if seed in (None, r.seed)), key=lambda r: (r.seed, -r.share))

    def base(self, network: str, seed: int) -> Row:
        """The recalibrated base."""
        return self._rows[network, seed, "base", 1.0, "base"]

    def seeds(self, network: str, method: str = "base") -> list[int]:
        """Seeds that a method has rows of."""
        return sorted({r.seed for r in self._rows.values() if (r.network, r.method) == (network, method)})
