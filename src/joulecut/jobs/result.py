"""``PruneResult``: a finished pruning run, and the folder that it is saved as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import fx

from joulecut.benchmarks.records import Comparison
from joulecut.codec import to_json
from joulecut.jobs.folder import write_folder
from joulecut.pruning.recipe import Recipe
from joulecut.pruning.records import PruneRecord, PruneStep, Refusal

__all__ = ["PruneResult"]


@dataclass(frozen=True, slots=True, eq=False)
class PruneResult:
    """A finished pruning run.

    Attributes:
        record: everything that is known of it.
        model: the smaller network, a plain torch module that needs no joulecut.
        recipe: what was kept.
        comparison: the onnxruntime benchmark of before and after.
        files: contents of the result folder by file name.
    """

    record: PruneRecord
    model: fx.GraphModule
    recipe: Recipe
    comparison: Comparison
    files: Mapping[str, bytes]

    @property
    def steps(self) -> tuple[PruneStep, ...]:
        """What was removed, in order."""
        return self.record.steps

    @property
    def refused(self) -> tuple[Refusal, ...]:
        """Channels that had to stay, with the reasons."""
        return self.record.refused

    def save(self, folder: str | Path) -> None:
        """Write the result folder, all of it or nothing.

        It holds ``result.json``, ``recipe.json``, ``bench.json``, ``weights.safetensors``, ``model.pt2``,
        ``model.onnx``, ``before.onnx`` and ``report.html``. Nothing in it is a pickle.

        Raises:
            OutputError: the folder cannot be written.
        """
        from joulecut.reports.html import render

        texts = {
            "result.json": to_json(self.record),
            "recipe.json": to_json(self.recipe),
            "bench.json": to_json(self.comparison),
            "report.html": render(self.record),
        }
        write_folder(Path(folder), {**self.files, **{name: text.encode() for name, text in texts.items()}})
