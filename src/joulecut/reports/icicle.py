"""Data of the icicle: the module hierarchy by dotted path, each node as wide as its energy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from joulecut.estimate import Estimate, total
from joulecut.hw_models.profile import EnergyProfile, LayerEnergy
from joulecut.reports.profile_tables import slices
from joulecut.reports.text import describe, printable

__all__ = ["MAX_DEPTH", "icicle"]

MAX_DEPTH: Final = 8
"""Levels drawn; what lies deeper keeps its full name on the last level."""

Leaf = tuple[tuple[str, ...], Estimate, int]
"""Names from the top down, energy, and the number of what bounds the layer."""


def icicle(states: Iterable[tuple[str, EnergyProfile]]) -> dict[str, Any]:
    """One tree for each state of a network ("before", "after"), drawn on a common scale.

    A node is ``{"n": name, "v": joules, "t": text, "b": number of its bound, "c": children}``; "b" is
    an index into ``bounds`` for a layer, -1 for a module, -2 for the static slice, -3 for what is
    unattributed.
    """
    pairs = tuple(states)
    bounds = sorted({layer.bound_by for _, profile in pairs for layer in profile.layers})
    trees = [
        {"label": label, "text": describe(profile.total), "root": _root(profile, bounds)}
        for label, profile in pairs
    ]
    return {"bounds": [printable(bound) for bound in bounds], "trees": trees}


def _root(profile: EnergyProfile, bounds: list[str]) -> dict[str, Any]:
    leaves = [_leaf(layer, bounds) for layer in profile.layers]
    root = _node("", "", _children(leaves), profile.total, -1)
    for kind, (label, estimate) in zip((-2, -3), slices(profile), strict=False):
        if estimate.value > 0:
            root["c"].append(_node(label, label, [], estimate, kind))
    return root


def _leaf(layer: LayerEnergy, bounds: list[str]) -> Leaf:
    names = (printable(layer.path) or "(root)").split(".", MAX_DEPTH - 1)
    return tuple(names), layer.energy, bounds.index(layer.bound_by)


def _children(leaves: list[Leaf], above: str = "") -> list[dict[str, Any]]:
    """The nodes under one module, in the order of execution; parts of one module go together."""
    groups: dict[tuple[str, int], list[Leaf]] = {}
    for at, leaf in enumerate(leaves):
        is_layer = len(leaf[0]) == 1
        groups.setdefault((leaf[0][0], at if is_layer else -1), []).append(leaf)
    nodes: list[dict[str, Any]] = []
    for (first, _), members in groups.items():
        path = f"{above}{first}"
        energy = total((leaf[1] for leaf in members), unit="J", method="sum of its layers")
        if len(members[0][0]) == 1:
            nodes.append(_node(first, path, [], members[0][1], members[0][2]))
            continue
        inner = _children([(names[1:], own, bound) for names, own, bound in members], f"{path}.")
        nodes.append(_merged(first, inner[0]) if len(inner) == 1 else _node(first, path, inner, energy, -1))
    return nodes


def _merged(first: str, only: dict[str, Any]) -> dict[str, Any]:
    """A module with a single part is drawn as that part, under both names."""
    return only | {"n": f"{first}.{only['n']}"}


def _node(
    label: str, path: str, children: list[dict[str, Any]], energy: Estimate, bound: int
) -> dict[str, Any]:
    node: dict[str, Any] = {"n": label, "v": float(f"{energy.value:.6g}"), "t": describe(energy), "b": bound}
    if path != label:
        node["p"] = path
    return node | ({"c": children} if children or bound == -1 else {})
