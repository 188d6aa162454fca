"""Jobs without a search: nodes of one layer removed, or blocks, and the result saved as after a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import fx

from joulecut.benchmarks.data.source import load_data
from joulecut.codec import to_json
from joulecut.errors import ModelError, UsageError
from joulecut.hw_models.modelling import estimate
from joulecut.hw_models.spec import DeviceSpec
from joulecut.jobs.exports import network_files
from joulecut.jobs.folder import write_folder
from joulecut.jobs.profiling import provenance, resolve_device
from joulecut.jobs.source import loaded, traced
from joulecut.pruning.block_choice import block_changes, choose_blocks
from joulecut.pruning.blocks import without_blocks
from joulecut.pruning.coupling import Coupling, couple
from joulecut.pruning.coupling.cut import check_runs
from joulecut.pruning.nodes import choose_nodes
from joulecut.pruning.rankings import Ranking, WeightScore, find_ranking
from joulecut.pruning.recipe import Recipe, recipe
from joulecut.pruning.removal import RemovalRecord
from joulecut.workload.from_torch import workload
from joulecut.workload.trace import Traced, trace

__all__ = ["RemovalResult", "prune_nodes", "remove_blocks"]

_LOOKED_AT: Final = 256
"""Samples that tell which blocks change least."""


@dataclass(frozen=True, slots=True, eq=False)
class RemovalResult:
    """A finished removal.

    Attributes:
        record: everything that is known of it.
        model: the smaller network, a plain torch module that needs no joulecut.
        recipe: what was kept.
        inputs: the example inputs.
        original: the network before.
    """

    record: RemovalRecord
    model: fx.GraphModule
    recipe: Recipe
    inputs: tuple[torch.Tensor, ...]
    original: fx.GraphModule

    def save(self, folder: str | Path) -> None:
        """Write the result folder, all of it or nothing.

        It holds ``result.json``, ``recipe.json``, ``weights.safetensors``, ``model.pt2``, ``model.onnx``,
        ``before.onnx`` and ``report.html``. Nothing in it is a pickle.

        Raises:
            OutputError: the folder cannot be written.
            ModelError: the network cannot be exported.
        """
        from joulecut.reports.html import render

        texts = {
            "result.json": to_json(self.record),
            "recipe.json": to_json(self.recipe),
            "report.html": render(self.record.after),
        }
        files = network_files(self.original, self.model, self.inputs)
        write_folder(Path(folder), files | {name: text.encode() for name, text in texts.items()})


def prune_nodes(
    model: Any,
    example: Any,
    layer: str = "",
    *,
    count: int | None = None,
    share: float | None = None,
    threshold: float | None = None,
    indices: Sequence[int] | None = None,
    ranking: str | WeightScore | Ranking = "l2",
    seed: int = 0,
    device: str | DeviceSpec = "auto",
) -> RemovalResult:
    """Remove nodes (filters, channels) of one layer, with all that goes with them, or of every layer.

    Nothing is refitted or trained.

    Args:
        model: a torch module, or its name as on the command line.
        example: example inputs, or their shapes as ``"1x3x224x224"``.
        layer: path of the layer, as ``features.3``; "" for every layer whose nodes are free to go.
        count: so many nodes of each, the lowest ranked.
        share: at most that share of each layer's.
        threshold: all that score less.
        indices: these.
        ranking: ``l1``, ``l2``, ``random``, or a callable from weights [nodes, weights] to scores [nodes].
        seed: of ``random``.
        device: the device whose joules are reported.

    Raises:
        UsageError: no such layer, device or choice.
        ModelError: the layer's nodes must stay (with the reason), or the network cannot be captured.

    >>> network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> result = prune_nodes(network, torch.zeros(1, 4), "0", count=3)
    >>> result.model(torch.zeros(1, 4)).shape, result.record.parameters
    (torch.Size([1, 2]), (58, 37))
    """
    spec = resolve_device(device)
    graph = traced(loaded(model), example)
    _check_data(graph)
    coupling = couple(graph)
    _check_prunable(graph, coupling)
    choose = partial(
        choose_nodes,
        coupling,
        count=count,
        share=share,
        threshold=threshold,
        indices=indices,
        ranking=ranking,
        seed=seed,
    )
    chosen = [choose(name) for name in ([layer] if layer else _layers(coupling))]
    gone = tuple(node for choice in chosen for node in choice.removed)
    if not gone:
        raise UsageError(
            f"no node of {layer[:120] or 'any layer'} is chosen.", hint="Raise the share or the threshold."
        )
    of = f"{chosen[0].width} nodes of {layer}" if layer else f"{sum(c.width for c in chosen)} nodes"
    asked = f"{len(gone)} of {of}, {_how(ranking, threshold, indices)}"
    kept = {name: stays for choice in chosen for name, stays in choice.kept.items()}
    named = gone if layer else ()
    return _Removal(graph, graph, coupling, asked, kept, nodes=named, seed=seed).result(spec)


def _layers(coupling: Coupling) -> list[str]:
    """A layer of each exact group of channels: the first whose weight writes it."""
    found: dict[str, None] = {}
    for group in coupling.groups():
        for part in group.of_role("writer"):
            path, _, leaf = part.parameter.rpartition(".")
            weight = getattr(coupling.module.get_submodule(path), leaf)
            if weight.ndim > 1:
                found[part.parameter] = None
                break
    return list(found)


def _how(ranking: str | WeightScore | Ranking, threshold: float | None, indices: Sequence[int] | None) -> str:
    """How nodes are chosen, in words."""
    if indices is not None:
        return "named one by one"
    by = find_ranking(ranking).name
    return f"{by} below {threshold:g}" if threshold is not None else f"lowest {by} first"


def remove_blocks(
    model: Any,
    example: Any,
    blocks: Sequence[str] = (),
    *,
    count: int | None = None,
    share: float | None = None,
    threshold: float | None = None,
    data: Any = None,
    device: str | DeviceSpec = "auto",
) -> RemovalResult:
    """Leave residual blocks out, so that only their skips are left; nothing is refitted or trained.

    Exactly one of ``blocks`` to ``threshold`` says which or how many. Unnamed ones go in the order of how
    little they change what they read (``pruning.block_choice.block_changes``).

    Args:
        model: a torch module, or its name as on the command line.
        example: example inputs, or their shapes.
        blocks: names of blocks, as ``pruning.blocks.removable_blocks`` calls them.
        count: so many.
        share: at most that share of the residual blocks.
        threshold: all that change less, as a share of what they read.
        data: samples to look at, the calibration part of what ``benchmarks.data.source.load_data`` reads;
            None for the example inputs, which are noise where only their shapes are given.
        device: the device whose joules are reported.

    Raises:
        UsageError: no such block (with those that there are), choice or device.
        ModelError: the network cannot be captured.
    """
    if sum(choice is not None for choice in (blocks or None, count, share, threshold)) != 1:
        raise UsageError(
            "the blocks that go need one choice:", hint="their names, a count, a share or a threshold."
        )
    spec = resolve_device(device)
    graph = traced(loaded(model), example)
    _check_data(graph)
    names, asked = tuple(dict.fromkeys(blocks)), f"without {', '.join(blocks)}"
    if not names:
        inputs = graph.inputs if data is None else (load_data(data).calibration.inputs[:_LOOKED_AT],)
        changes = block_changes(graph, inputs)
        names = choose_blocks(changes, count=count, share=share, threshold=threshold)
        beside = "example inputs" if data is None else f"{len(inputs[0])} samples"
        below = "" if threshold is None else f" below {threshold:g}"
        asked = f"{len(names)} of {len(changes)} blocks, least change{below} on {beside} first"
    smaller = without_blocks(graph, names)
    return _Removal(graph, smaller, couple(smaller), asked, {}, blocks=names).result(spec)


def _check_data(graph: Traced) -> None:
    if any(t.is_meta for t in graph.module.parameters()):
        raise ModelError(
            f"{graph.name} is on the device meta, which holds no data.", hint="Load its weights."
        )


def _check_prunable(graph: Traced, coupling: Coupling) -> None:
    if not coupling.all_groups():
        reason = coupling.refused()[0].reason if coupling.refused() else "no layer writes channels"
        raise UsageError(
            f"{graph.name} has no channel that can be removed: {reason}.",
            hint="Give a network with a layer between its input and its last layer.",
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Removal:
    """What goes from a network; ``base`` is the network without the blocks that go."""

    graph: Traced
    base: Traced
    coupling: Coupling
    asked: str
    kept: dict[str, tuple[int, ...]]
    nodes: tuple[int, ...] = ()
    blocks: tuple[str, ...] = ()
    seed: int = 0

    def result(self, device: DeviceSpec) -> RemovalResult:
        """Cut, check that it runs, and price before and after."""
        graph, cut = self.graph, self.coupling.apply(self.kept)
        with torch.no_grad():
            out = self.base.module(*graph.inputs)
        first = out[0] if isinstance(out, (tuple, list)) else out
        check_runs(cut, graph.inputs, tuple(first.shape))
        after = trace(cut, graph.inputs, name=graph.name)
        sizes = {group.name: group.size for group in self.coupling.all_groups()}
        record = RemovalRecord(
            model=graph.name,
            device=device.name,
            asked=self.asked,
            before=estimate(workload(graph), device),
            after=estimate(workload(after), device),
            parameters=(_parameters(graph.module), _parameters(cut)),
            nodes=self.nodes,
            blocks=self.blocks,
            kept={name: (len(channels), sizes[name]) for name, channels in self.kept.items()},
            refused=self.coupling.refused(),
            provenance={**provenance(), "torch": torch.__version__, "seed": str(self.seed)},
        )
        return RemovalResult(record, cut, self._recipe(device), graph.inputs, graph.module)

    def _recipe(self, device: DeviceSpec) -> Recipe:
        return recipe(
            self.graph.name,
            self.graph.module,
            device=device.name,
            budget=self.asked,
            seed=self.seed,
            groups=self.kept,
            indices=self.coupling.indices(self.kept),
            blocks=self.blocks,
            inputs=self.graph.inputs,
        )


def _parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
