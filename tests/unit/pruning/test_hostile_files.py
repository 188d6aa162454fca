"""Hostile files are refused in one sentence before anything in them runs or is followed."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

import joulecut as jc
from joulecut.errors import JoulecutError
from joulecut.workload.program_file import check_program, save_program

DEVICE = "reference/edge/float32"


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, fuse: Path) -> None:
        self.fuse = fuse

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.fuse),)


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def refused(says: str, action: Callable[[], object]) -> None:
    with pytest.raises(JoulecutError) as caught:
        action()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bomb_under_every_name_is_not_unpickled(tmp_path: Path) -> None:
    fuse = tmp_path / "boom"
    bomb = pickle.dumps(Bomb(fuse))
    for name, says in (
        ("weights.pt", "is a pickle"),
        ("weights.pth", "is a pickle"),
        ("model.pt2", "is no program"),
        ("model.onnx", "cannot be read as ONNX"),
    ):
        (tmp_path / name).write_bytes(bomb)
        refused(says, lambda name=name: jc.profile(tmp_path / name, "1x4", device=DEVICE))  # type: ignore[misc]
    (tmp_path / "recipe.json").write_bytes(bomb)
    refused("is not JSON", lambda: jc.apply(tmp_path, network()))
    recipe = jc.prune_nodes(network(), "1x4", "0", count=2, device=DEVICE).recipe
    (tmp_path / "weights.safetensors").write_bytes(bomb)
    refused(
        "is no file of safetensors",
        lambda: jc.apply(recipe, network(), weights=tmp_path / "weights.safetensors"),
    )
    assert not fuse.exists()
    pickle.loads(bomb)
    assert fuse.exists(), "the bomb is none"


@pytest.mark.parametrize("member", ["data/weights/weight_0", "data/sample_inputs/model.pt", "data/extra.pkl"])
def test_a_program_with_a_pickled_member(tmp_path: Path, member: str) -> None:
    fuse, plain, rigged = tmp_path / "boom", tmp_path / "plain.pt2", tmp_path / "rigged.pt2"
    save_program(torch.export.export(network(), (torch.zeros(1, 4),)), plain)
    check_program(plain)
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(rigged, "w") as new:
        root = old.namelist()[0].partition("/")[0]
        for name in old.namelist():
            if name != f"{root}/{member}":
                new.writestr(name, old.read(name))
        new.writestr(f"{root}/{member}", pickle.dumps(Bomb(fuse)))
    refused("refused unread: it holds the pickled member", lambda: jc.profile(rigged, device=DEVICE))
    assert not fuse.exists()


def header(entries: str, data: bytes) -> bytes:
    return struct.pack("<Q", len(entries)) + entries.encode() + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        struct.pack("<Q", 1 << 40) + b"{}",
        struct.pack("<Q", 4) + b"oops",
        header('{"0.bias":{"dtype":"F32","shape":[6],"data_offsets":[0,2400]}}', bytes(24)),
        header('{"0.bias":{"dtype":"F32","shape":[6],"data_offsets":[24,0]}}', bytes(24)),
        header('{"0.bias":{"dtype":"F32","shape":[600],"data_offsets":[0,24]}}', bytes(24)),
        header('{"0.bias":{"dtype":"EVIL","shape":[6],"data_offsets":[0,24]}}', bytes(24)),
    ],
)
def test_a_broken_header_of_safetensors(tmp_path: Path, content: bytes) -> None:
    recipe = jc.prune_nodes(network(), "1x4", "0", count=2, device=DEVICE).recipe
    file = tmp_path / "weights.safetensors"
    file.write_bytes(content)
    refused(
        "weights.safetensors is no file of safetensors", lambda: jc.apply(recipe, network(), weights=file)
    )


def external(path: Path, location: str) -> None:
    """A network of one matrix, which lies in another file."""
    weight = TensorProto(name="w", data_type=1, dims=[4, 4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "64")):
        weight.external_data.add(key=key, value=value)
    ends = [helper.make_tensor_value_info(name, 1, [1, 4]) for name in "xy"]
    multiply = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([multiply], "g", ends[:1], ends[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("kind", ["above", "absolute", "link", "round about"])
def test_onnx_weights_outside_the_folder(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    secret = tmp_path / "secret.bin"
    np.ones(16, np.float32).tofile(secret)
    (folder / "link.bin").symlink_to(secret)
    locations = {
        "above": "../secret.bin",
        "absolute": str(secret),
        "link": "link.bin",
        "round about": "../given/../secret.bin",
    }
    external(folder / "net.onnx", locations[kind])
    refused("its weight w lies outside its folder", lambda: jc.profile(folder / "net.onnx", device=DEVICE))
    refused("onnxruntime cannot run", lambda: jc.benchmark(folder / "net.onnx", max_seconds=1.0))


def test_onnx_weights_beside_the_file_are_fine(tmp_path: Path) -> None:
    np.ones(16, np.float32).tofile(tmp_path / "own.bin")
    external(tmp_path / "net.onnx", "own.bin")
    assert jc.profile(tmp_path / "net.onnx", device=DEVICE).layers[0].macs == 16
