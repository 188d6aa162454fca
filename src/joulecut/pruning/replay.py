"""A recipe replayed on a network: the author's module cut in place, or its captured graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from joulecut.errors import ModelError, UsageError
from joulecut.pruning.blocks import without_blocks
from joulecut.pruning.coupling import Coupling, Group, couple
from joulecut.pruning.recipe import Recipe
from joulecut.pruning.user_module import cut_in_place
from joulecut.workload.inputs import example as make_example
from joulecut.workload.inputs import parse_inputs
from joulecut.workload.trace import trace

__all__ = ["replay"]


def replay(recipe: Recipe, model: nn.Module, example: Tensor | Sequence[Tensor] | None = None) -> nn.Module:
    """Make the cut of a recipe again, on a network of the class that it is of.

    Only which weights stay is replayed: their values are the given network's.

    Args:
        recipe: what was kept.
        model: the network, at its original widths.
        example: one tensor or one per argument of ``forward``; made from the recipe by default.

    Returns:
        ``model`` itself, cut in place, where no size in its code stands against that. Otherwise, with an
        example given, the cut copy of its captured graph.

    Raises:
        ModelError: it cannot be cut in place (with the line), and no example was given, or captured.
        UsageError: the recipe is of another network, damaged, or says nothing of the inputs.

    >>> import torch
    >>> kept = {"0.weight": {"0": (1, 2)}, "0.bias": {"0": (1, 2)}, "2.weight": {"1": (1, 2)}}
    >>> recipe = Recipe("net", "", "", "", 0, {}, kept, inputs="1x3")
    >>> replay(recipe, nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)))[0]
    Linear(in_features=3, out_features=2, bias=True)
    """
    _check(recipe, model)
    inputs = _inputs(recipe, example)
    graph = trace(model, inputs)
    coupling = couple(without_blocks(graph, recipe.blocks) if recipe.blocks else graph)
    kept = {group.name: _kept(group, recipe) for group in coupling.all_groups()}
    _check_whole(recipe, model, coupling, kept)
    try:
        if recipe.blocks:
            raise ModelError(
                f"{type(model).__name__} cannot be cut in place: its code calls the block {recipe.blocks[0]}."
            )
        cut_in_place(model, coupling, kept, inputs)
    except ModelError as error:
        if example is None:
            raise ModelError(
                error.message, hint="Give an example input to get its captured graph, cut, instead."
            ) from error
        return coupling.apply(kept)
    return model


def _inputs(recipe: Recipe, example: Tensor | Sequence[Tensor] | None) -> tuple[Tensor, ...]:
    if isinstance(example, Tensor):
        return (example,)
    if example is not None:
        return tuple(example)
    if not recipe.inputs:
        raise UsageError("the recipe does not say what the network reads:", hint="give an example input.")
    return make_example(parse_inputs(recipe.inputs))


def _check(recipe: Recipe, model: nn.Module) -> None:
    """Every parameter, dimension and index exists."""
    own = dict(_tensors(model))
    name = type(model).__name__
    for parameter, dims in recipe.kept.items():
        if parameter not in own:
            raise UsageError(f"the recipe does not fit {name}, which has no weight {parameter[:120]!r}.")
        shape = own[parameter].shape
        for dim, kept in dims.items():
            if not dim.isdecimal() or len(dim) > 2 or int(dim) >= len(shape):
                raise UsageError(f"the recipe is damaged: {parameter} has no dimension {dim[:40]!r}.")
            size = shape[int(dim)]
            if not kept or list(kept) != sorted(set(kept)) or kept[0] < 0:
                raise UsageError(f"the recipe is damaged: it does not keep {parameter} in ascending order.")
            if kept[-1] >= size:
                raise UsageError(
                    f"the recipe does not fit {name}: dimension {dim} of {parameter} has {size} indices, "
                    f"and it keeps number {kept[-1]}.",
                    hint="Give the network at its original widths.",
                )


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def _kept(group: Group, recipe: Recipe) -> list[int]:
    """Channels of a group whose slices the recipe keeps, in the first parameter that it cuts."""
    for part in group.slices:
        found = recipe.kept.get(part.parameter, {}).get(str(part.dim))
        if found is not None:
            stays = set(found)
            return [i for i, at in enumerate(part.positions.tolist()) if stays.issuperset(at)]
    return list(range(group.size))


def _check_whole(recipe: Recipe, model: nn.Module, coupling: Coupling, kept: dict[str, list[int]]) -> None:
    """What the groups keep is what the recipe keeps, everywhere."""
    name = type(model).__name__
    empty = next((group for group, channels in kept.items() if not channels), "")
    if empty:
        raise UsageError(f"the recipe does not fit {name}: it keeps nothing of {empty}.")
    found = coupling.indices(kept)
    for parameter in {**recipe.kept, **found}:
        asked = {int(dim): list(at) for dim, at in recipe.kept.get(parameter, {}).items()}
        if asked != found.get(parameter, {}):
            raise UsageError(
                f"the recipe does not fit {name}: what it keeps of {parameter} does not go together with "
                "the rest.",
                hint="Give the network that was pruned, at its original widths.",
            )
