"""Torch-Pruning 1.6.1 itself, on the author's module: global rankings, one tile of channels at a time.

Helped as an informed user would: widths in the device's steps, the class layer left alone, heads told, as
many steps as there are channels and a look at the energy after every group that a step cuts, so that the
first network below a budget is close to it, and gradients and batch-norm statistics made anew whenever 2 % of
the energy has gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional

from joulecut.pruning.coupling.groups import Group
from perf.pruning_field import Clock, Field, Point
from perf.pruning_widths import Space
from perf.small_networks import Attention

__all__ = ["hessian", "magnitude", "repaired_hessian", "taylor"]

TAYLOR_SAMPLES: Final = 1024
HESSIAN_SAMPLES: Final = 128
REFRESH: Final = 0.02
"""Share of the energy after which what the importance needs is made anew."""

Prepare = Callable[[Field, nn.Module], None]
"""Makes what an importance needs of the network as it now is."""


def magnitude(field: Field, budgets: Sequence[float]) -> Iterator[Point]:
    """L2 norms over each group, its default."""
    from torch_pruning import importance

    return _path(field, budgets, importance.GroupMagnitudeImportance(p=2), _nothing)


def taylor(field: Field, budgets: Sequence[float]) -> Iterator[Point]:
    """Gradient times weight, from calibration images with labels."""
    from torch_pruning import importance

    return _path(field, budgets, importance.GroupTaylorImportance(), _gradients)


def hessian(field: Field, budgets: Sequence[float]) -> Iterator[Point]:
    """Squared gradient times squared weight, as it is: it keeps the last sample's gradient alone."""
    from torch_pruning import importance

    return _hessian(field, budgets, importance.GroupHessianImportance())


def repaired_hessian(field: Field, budgets: Sequence[float]) -> Iterator[Point]:
    """The same, the squared gradients of all samples added up as its documentation says."""
    from torch_pruning import importance

    class Summed(importance.GroupHessianImportance):  # type: ignore[misc]  # has no types
        def accumulate_grad(self, model: nn.Module) -> None:
            for parameter in model.parameters():
                if parameter.grad is not None:
                    square = parameter.grad.detach().square()
                    self._accu_grad[parameter] = self._accu_grad.get(parameter, 0) + square
                    self._counter[parameter] = self._counter.get(parameter, 0) + 1

    return _hessian(field, budgets, Summed())


def _hessian(field: Field, budgets: Sequence[float], importance: Any) -> Iterator[Point]:
    def prepare(field: Field, model: nn.Module) -> None:
        _recalibrate(field, model)
        importance.zero_grad()
        images, labels = field.inputs[:HESSIAN_SAMPLES], field.labels[:HESSIAN_SAMPLES]
        for image, label in zip(images[:, None], labels[:, None], strict=True):
            model.zero_grad()
            torch.autograd.backward(functional.cross_entropy(model(image), label))
            importance.accumulate_grad(model)

    return _path(field, budgets, importance, prepare)


def _path(field: Field, budgets: Sequence[float], importance: Any, prepare: Prepare) -> Iterator[Point]:
    """One path; the network of the first step below each budget."""
    import torch_pruning

    clock = Clock()
    left = sorted(budgets, reverse=True)
    model = field.copied()
    with clock.running():
        heads = {
            layer: part.heads
            for part in model.modules()
            if isinstance(part, Attention)
            for layer in part.projections
        }
        pruner = torch_pruning.pruner.BasePruner(
            model,
            field.inputs[:1],
            importance=importance,
            global_pruning=True,
            pruning_ratio=1.0,
            iterative_steps=sum(_channels(layer) for layer in model.modules()),
            ignored_layers=[model.get_submodule("classifier")],
            num_heads=heads,
            round_to=field.spec.channel_step,
        )
    space, last = Space(field.graph, field.spec), 2.0
    while left and pruner.current_step < pruner.iterative_steps:
        with clock.running():
            if space.share(_widths(space, model)) < last - REFRESH:
                prepare(field, model)
                last = space.share(_widths(space, model))
            groups = pruner.step(interactive=True)
        for group in groups:
            with clock.running():
                group.prune()
            share = space.share(_widths(space, model))
            if left and share <= left[0]:
                with clock.running():
                    final = field.recalibrated(model)
                last = 2.0  # gradients do not outlive the capture
                while left and share <= left[0]:
                    yield Point(left.pop(0), final, clock)


def _widths(space: Space, model: nn.Module) -> dict[str, int]:
    """The widths that a cut module has, by the group that writes them.

    Where two groups share a dimension (heads, then the channels within each), Torch-Pruning leaves the heads.
    """
    tensors, widths = dict(model.named_parameters()), {}
    first: dict[tuple[str, int], Group] = {}
    for group in space.coupling.all_groups():
        part = group.slices[0]
        widths[group.name] = tensors[part.parameter].shape[part.dim] // part.positions.shape[1]
        heads = first.setdefault((part.parameter, part.dim), group)
        if heads is not group:
            widths[heads.name] = heads.size
    return widths


def _recalibrate(field: Field, model: nn.Module) -> None:
    """Batch-norm statistics of one batch of calibration images."""
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    model.train()
    with torch.no_grad():
        model(field.inputs[:TAYLOR_SAMPLES])
    model.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _nothing(field: Field, model: nn.Module) -> None:
    """Magnitudes need no gradients."""


def _gradients(field: Field, model: nn.Module) -> None:
    _recalibrate(field, model)
    model.zero_grad()
    loss = functional.cross_entropy(model(field.inputs[:TAYLOR_SAMPLES]), field.labels[:TAYLOR_SAMPLES])
    torch.autograd.backward(loss)


def _channels(layer: nn.Module) -> int:
    if isinstance(layer, nn.Linear):
        return layer.out_features
    return layer.out_channels if isinstance(layer, nn.Conv2d) else 0
