"""The recipe says which network it is of, and saves and loads."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from joulecut.codec import from_json, to_json
from joulecut.pruning.recipe import Recipe, fingerprint, recipe


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def test_the_fingerprint_covers_names_shapes_types_and_values() -> None:
    model = network()
    first = fingerprint(model)
    assert fingerprint(model) == first
    assert len(first) == 64
    found = {first}
    assert fingerprint(nn.Sequential(*model)) == first
    found.add(fingerprint(nn.ModuleDict({"a": model[0], "b": model[1]})))
    with torch.no_grad():
        model.get_parameter("0.weight")[1, 1] += 1e-6
    found.add(fingerprint(model))
    model.get_buffer("1.num_batches_tracked").add_(1)
    found.add(fingerprint(model))
    found.add(fingerprint(model.double()))
    found.add(fingerprint(model.bfloat16()))
    assert len(found) == 6


def test_the_fingerprint_by_hand() -> None:
    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.tensor([1.0]))

    digest = hashlib.sha256(b"w torch.float32 (1,)\n\x00\x00\x80\x3f").hexdigest()
    assert fingerprint(One()) == digest


def test_a_recipe_saves_and_loads() -> None:
    made = recipe(
        "net",
        network(),
        device="reference/edge/float32",
        budget="50.0 % of the original",
        seed=3,
        groups={"0": (0, 2)},
        indices={"0.weight": {0: [0, 2]}, "0.bias": {0: [0, 2]}},
    )
    assert made.kept == {"0.weight": {"0": (0, 2)}, "0.bias": {"0": (0, 2)}}
    assert from_json(to_json(made), Recipe, where="recipe.json") == made
