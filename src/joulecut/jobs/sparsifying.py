"""The weight job: single weights, n of m inputs or blocks set to zero, priced, and saved as a folder."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, fx

from joulecut.benchmarks.data.records import Splits
from joulecut.benchmarks.data.source import from_loader, load_data
from joulecut.benchmarks.quality import evaluate, paired_difference
from joulecut.codec import to_json
from joulecut.errors import ModelError, UsageError
from joulecut.hw_models.modelling import estimate, total_estimate
from joulecut.hw_models.sparsity import UNSTRUCTURED, WeightPattern, Zeros, parse_pattern
from joulecut.hw_models.spec import DeviceSpec
from joulecut.jobs.exports import network_files
from joulecut.jobs.folder import write_folder
from joulecut.jobs.profiling import provenance, resolve_device
from joulecut.jobs.source import loaded, traced
from joulecut.pruning.folding import parameter
from joulecut.pruning.recipe import fingerprint
from joulecut.pruning.recover import recalibrated
from joulecut.pruning.settings import RefitSettings
from joulecut.pruning.state import samples_that_fit
from joulecut.pruning.weights.bitmaps import pack
from joulecut.pruning.weights.layers import WeightLayer, weight_layers
from joulecut.pruning.weights.masks import Amount
from joulecut.pruning.weights.prices import weight_price
from joulecut.pruning.weights.pruner import magnitude_masks, solved, zeroed
from joulecut.pruning.weights.records import (
    AccuracyChange,
    LayerZeros,
    WeightFiles,
    WeightRecipe,
    WeightRecord,
)
from joulecut.units import format_percent
from joulecut.workload.from_torch import layer_works, workload
from joulecut.workload.trace import Traced

__all__ = ["WeightResult", "prune_weights"]

_FEWEST_SAMPLES: Final = 64
_MOST_SAMPLES: Final = 8192


@dataclass(frozen=True, slots=True, eq=False)
class WeightResult:
    """A finished weight pruning.

    Attributes:
        record: everything that is known of it.
        model: the network with its zeros, a plain torch module that needs no joulecut.
        recipe: what was set to zero.
        masks: which weights stay, bool by name of the weight.
        inputs: the example inputs.
        original: the network before.
    """

    record: WeightRecord
    model: fx.GraphModule
    recipe: WeightRecipe
    masks: Mapping[str, Tensor]
    inputs: tuple[Tensor, ...]
    original: fx.GraphModule

    def save(self, folder: str | Path) -> None:
        """Write the result folder, all of it or nothing.

        It holds ``result.json``, ``recipe.json``, ``masks.safetensors`` (a bit a weight), the weights as
        ``weights.safetensors`` and through gzip, ``model.pt2``, ``model.onnx``, ``before.onnx`` and
        ``report.html``. Nothing in it is a pickle.

        Raises:
            OutputError: the folder cannot be written.
            ModelError: the network cannot be exported.
        """
        from joulecut.reports.html import render

        files = network_files(self.original, self.model, self.inputs)
        files |= {
            "weights.safetensors.gz": _zipped(files["weights.safetensors"]),
            "masks.safetensors": pack(self.masks),
            "result.json": to_json(self.record).encode(),
            "recipe.json": to_json(self.recipe).encode(),
            "report.html": render(self.record.after).encode(),
        }
        write_folder(Path(folder), files)


def prune_weights(
    model: Any,
    example: Any = None,
    *,
    pattern: str = "unstructured",
    threshold: float | None = None,
    share: float | None = None,
    count: int | None = None,
    layers: Sequence[str] = (),
    data: Any = None,
    device: str | DeviceSpec = "auto",
    seed: int = 0,
    force: bool = False,
) -> WeightResult:
    """Set weights of a network to zero, and say what that saves.

    Without data the smallest weights go and the others stay as they are. With data the batch norms are
    recalibrated, the weights that least squares misses least go, each layer as many as the loss allows best,
    and every weight that stays is re-solved in closed form; no gradient step is taken, and no label is used
    but for the accuracy that is reported.

    Args:
        model: a torch module, or its name as on the command line.
        example: example inputs or their shapes; a sample of the data by default.
        pattern: ``2:4`` and the like, ``4x1`` and the like (outputs x inputs), or ``unstructured``.
        threshold: all weights of a smaller magnitude go (of a block: root mean square).
        share: that share of the weights of these layers together, the least first.
        count: so many of them.
        layers: paths of the layers; all by default.
        data: a DataLoader, a pair (x, y), or the name of data as on the command line.
        device: the device whose joules are reported.
        seed: recorded; nothing here is drawn at random.
        force: go on with fewer than 64 calibration samples.

    Raises:
        UsageError: no such pattern, amount, layer or device, or too few samples.
        ModelError: the network cannot be captured or re-solved.

    >>> network = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    >>> found = prune_weights(network, torch.zeros(1, 8), pattern="2:4", device="reference/edge/float32")
    >>> found.record.zeros, found.record.weights, found.record.layers[0].reason
    (80, 160, 'no zero-skipping for linear/float32 on this device')
    """
    zeros = UNSTRUCTURED if pattern == "threshold" else parse_pattern(pattern)
    amount = Amount(threshold, share, count)
    amount.check(zeros)
    spec = resolve_device(device)
    splits = load_data(data) if isinstance(data, str) else None if data is None else from_loader(data)
    graph = traced(loaded(model), example, splits.calibration.inputs[:1] if splits else None)
    _check(graph, splits, force)
    chosen = weight_layers(graph.module, layer_works(graph), layers)
    work = _Work(graph, chosen, zeros, amount, spec, splits, seed)
    return work.by_magnitude() if splits is None else work.by_least_squares(splits)


def _check(graph: Traced, splits: Splits | None, force: bool) -> None:
    if any(t.is_meta for t in graph.module.parameters()):
        raise ModelError(
            f"{graph.name} is on the device meta, which holds no data.", hint="Load its weights."
        )
    if splits is None:
        return
    data = splits.calibration
    if len(graph.inputs) != 1:
        raise UsageError(f"{graph.name} takes {len(graph.inputs)} inputs; data with one input can be used.")
    wanted, given = tuple(graph.inputs[0].shape[1:]), tuple(data.inputs.shape[1:])
    if wanted != given:
        raise UsageError(
            f"{graph.name} takes samples of shape {list(wanted)}, and {data.name} holds {list(given)}."
        )
    if len(data) < _FEWEST_SAMPLES and not force:
        raise UsageError(
            f"{len(data)} calibration samples are too few to re-solve layers ({_FEWEST_SAMPLES} at least).",
            hint="Give more data, or --force to go on regardless.",
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Work:
    """One job: what is asked of which network."""

    graph: Traced
    layers: tuple[WeightLayer, ...]
    pattern: WeightPattern
    amount: Amount
    device: DeviceSpec
    splits: Splits | None
    seed: int

    def by_magnitude(self) -> WeightResult:
        """The smallest weights set to zero; the others stay."""
        masks = magnitude_masks(self.layers, self.pattern, self.amount)
        return self._result(zeroed(self.graph.module, masks), masks, ())

    def by_least_squares(self, splits: Splits) -> WeightResult:
        """Zeros chosen on the data, and every other weight re-solved."""
        most = min(_MOST_SAMPLES, samples_that_fit(self.graph.module))
        inputs = splits.calibration.inputs[:most]
        base = recalibrated(self.graph.module, inputs)
        try:
            model, masks = solved(base, self.layers, self.pattern, self.amount, inputs, RefitSettings())
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]  # public, and not in __all__
            raise ModelError(
                f"the layers of {self.graph.name} cannot be re-solved on {splits.calibration.name}.",
                hint="Check the scale of the inputs: float32 has overflowed.",
            ) from error
        stages = {
            "as trained": self.graph.module,
            "batch norm recalibrated": base,
            "weights set to zero": zeroed(base, masks),
            "the others re-solved": model,
        }
        rows = tuple((name, evaluate(each, splits.validation).accuracy) for name, each in stages.items())
        return self._result(model, masks, rows)

    def _result(
        self, model: fx.GraphModule, masks: dict[str, Tensor], rows: tuple[tuple[str, float], ...]
    ) -> WeightResult:
        if all(bool(keep.all()) for keep in masks.values()):
            raise UsageError("no weight is chosen.", hint="Raise the threshold or the share.")
        priced = {layer.path: self._price(layer, model) for layer in self.layers}
        zeros = {path: found for path, (_, found) in priced.items() if found.share}
        before = estimate(workload(self.graph), self.device)
        record = WeightRecord(
            model=self.graph.name,
            device=self.device.name,
            asked=self._asked(),
            pattern=str(self.pattern),
            before=before,
            after=estimate(workload(self.graph), self.device, zeros=zeros),
            layers=tuple(layer for layer, _ in priced.values()),
            files=_files(self.graph.module, model),
            rows=rows,
            accuracy=_accuracy(self.graph.module, model, self.splits),
            provenance={**provenance(), "torch": torch.__version__, "seed": str(self.seed), **self._data()},
        )
        return WeightResult(record, model, self._recipe(masks), masks, self.graph.inputs, self.graph.module)

    def _price(self, layer: WeightLayer, model: fx.GraphModule) -> tuple[LayerZeros, Zeros]:
        """What went from a layer and what it saves."""
        weight = parameter(model, layer.name).detach()
        zeros, price = weight_price(self.device, layer.work, weight, self.pattern)
        gone = int((weight == 0).sum())
        saved = total_estimate(self.device, price.saved_j)
        reason = layer.whole or price.reason
        return LayerZeros(layer.path, layer.work.op, weight.numel(), gone, saved, reason), zeros

    def _asked(self) -> str:
        amount = self.amount
        how = f"{self.pattern} zeros"
        if amount.threshold is not None:
            how += f" below {amount.threshold:g}"
        elif amount.share is not None:
            how += f", {format_percent(amount.share)} of the weights"
        elif amount.count is not None:
            how += f", {amount.count} of the weights"
        named = [layer.path for layer in self.layers if not layer.whole]
        return how if len(named) == len(self.layers) else f"{how}, in {', '.join(named)}"

    def _data(self) -> dict[str, str]:
        return {} if self.splits is None else {"calibration": self.splits.calibration.name}

    def _recipe(self, masks: dict[str, Tensor]) -> WeightRecipe:
        patterns = dict.fromkeys(sorted(masks), str(self.pattern))
        digest = hashlib.sha256(pack(masks)).hexdigest()
        of = fingerprint(self.graph.module)
        return WeightRecipe(self.graph.name, of, self._asked(), self.seed, patterns, digest)


def _accuracy(before: fx.GraphModule, after: fx.GraphModule, splits: Splits | None) -> AccuracyChange | None:
    if splits is None:
        return None
    first, last = (evaluate(module, splits.test) for module in (before, after))
    pair = paired_difference(first.correct, last.correct)
    split = f"test ({len(splits.test)} samples)"
    return AccuracyChange(split, first.accuracy, last.accuracy, pair.change, pair.lo, pair.hi)


def _files(before: fx.GraphModule, after: fx.GraphModule) -> WeightFiles:
    weights = _weights_file(after)
    return WeightFiles(len(weights), len(_zipped(weights)), len(_zipped(_weights_file(before))))


def _weights_file(module: fx.GraphModule) -> bytes:
    from safetensors.torch import save

    return save({name: tensor.contiguous() for name, tensor in module.state_dict().items()})


def _zipped(data: bytes) -> bytes:
    """The same bytes for the same data: no name and no time goes in."""
    return gzip.compress(data, compresslevel=6, mtime=0)
