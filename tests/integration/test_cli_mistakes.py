"""What strangers get wrong: each mistake is one clear sentence, the right exit code, and nothing on disk."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from command_line import DEVICE, STRANGERS, Cli, assert_refused
from numpy.typing import NDArray
from onnx import TensorProto, helper
from strangers import HOSTILE, Tiny, samples

INPUT = ("--input", "1x1x4x4")
BUDGET = ("--device", DEVICE, "--budget", "60%")
Arrays = tuple[NDArray[Any], NDArray[Any]]


def refused(cli: Cli, folder: Path, argv: tuple[object, ...], code: int, says: str) -> None:
    """Refused, with the folder as it was."""
    before = sorted(folder.iterdir())
    assert_refused(cli(*argv), code, says)
    assert sorted(folder.iterdir()) == before


def prune(
    out: Path, model: object = f"{STRANGERS}:tiny", data: object = f"{STRANGERS}:samples"
) -> tuple[object, ...]:
    return ("prune", model, "--data", data, *BUDGET, "-o", out)


# --- networks


@pytest.mark.parametrize(
    ("name", "given", "code", "says"),
    [
        ("tiny", "1x3x4x4", 6, "to have 1 channels, but got 3 channels instead. Check"),
        ("tiny", "0x1x4x4", 2, "'0x1x4x4' is empty"),
        ("tiny", "1x1x4x4:banana", 2, "Types: float64"),
        ("tiny", f"{10**15}x1x4x4", 2, "are free: give a smaller batch"),
        ("tiny", "y=1x1x4x4", 2, "no input 'y'. Its inputs: x."),
        ("masked", "1x1x4x4", 2, "takes x, mask, and the example is 1 tensor: give one per input"),
        ("masked", "mask=1x1x4x4", 2, "the input x is missing"),
        ("branching", "1x1x4x4", 6, "strangers.py:38: Could not guard on data-dependent"),
        ("failing", "1x1x4x4", 6, "strangers.py:43: Odd: not today. Check"),
        ("leaving", "1x1x4x4", 6, "leaving failed: SystemExit: 3."),
        ("weights", "1x1x4x4", 6, "returned an object of type OrderedDict"),
        ("nobody", "1x1x4x4", 2, "has no 'nobody'"),
    ],
)
def test_networks_that_cannot_be_read(
    cli: Cli, tmp_path: Path, name: str, given: str, code: int, says: str
) -> None:
    argv = ("profile", f"{STRANGERS}:{name}", "--input", given, "--device", DEVICE, "-o", tmp_path / "p.json")
    refused(cli, tmp_path, argv, code, says)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_network_on_a_gpu_that_is_not_there(cli: Cli, tmp_path: Path) -> None:
    refused(cli, tmp_path, ("profile", f"{STRANGERS}:on_a_gpu", *INPUT), 6, "on_a_gpu failed: ")


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("pair", 2, "returns a tuple; accuracy needs logits"),
        ("rigid", 2, "has no channel that can be removed"),
        ("masked", 2, "takes x, mask"),
        ("branching", 6, "data-dependent"),
        ("failing", 6, "Odd: not today"),
    ],
)
def test_networks_that_cannot_be_pruned(cli: Cli, tmp_path: Path, name: str, code: int, says: str) -> None:
    refused(cli, tmp_path, prune(tmp_path / "small", f"{STRANGERS}:{name}"), code, says)


def test_named_inputs_go_where_they_belong_and_chatter_to_stderr(cli: Cli) -> None:
    named = ("profile", f"{STRANGERS}:masked", "--input", "mask=1x1x1x1,1x1x4x4", "--device", DEVICE)
    assert cli(*named)[0] == 0
    code, printed, said = cli("profile", f"{STRANGERS}:chatting", *INPUT, "--device", DEVICE, "--json")
    assert (code, printed[0], printed[-2:]) == (0, "{", "}\n")
    assert set(said.splitlines()) == {"a forward that chats"}


def test_a_hostile_name_survives_pruning_and_every_report(cli: Cli, tmp_path: Path) -> None:
    small, saved = tmp_path / "small", tmp_path / "p.json"
    code, printed, said = cli(*prune(small, f"{STRANGERS}:hostile"))
    assert code in (0, 1), said
    cli("profile", f"{STRANGERS}:hostile", *INPUT, "--device", DEVICE, "--per-filter", "-o", saved)
    for text in (
        printed,
        said,
        cli("report", small)[1],
        cli("report", saved)[1],
        cli("explain", saved, HOSTILE)[1],
    ):
        assert "\x1b" not in text
        assert max(map(len, text.splitlines())) <= 200
    page = (small / "report.html").read_text()
    assert "<img src=x" not in page
    assert "\x1b" not in page


# --- data


def images(change: Callable[[NDArray[Any], NDArray[Any]], Arrays]) -> Callable[[], Arrays]:
    def made() -> Arrays:
        x, y = (part.numpy() for part in samples())
        return change(x, y)

    return made


def with_nan(x: NDArray[Any], y: NDArray[Any]) -> Arrays:
    x = x.copy()
    x[7, 0, 0, 0] = np.nan
    return x, y


@pytest.mark.parametrize(
    ("make", "code", "says"),
    [
        (images(lambda x, y: (x[:, :, :2, :2], y)), 6, "cannot capture Tiny"),
        (images(with_nan), 2, "first in sample 7"),
        (images(lambda x, y: (x * np.float32(1e30), y)), 2, "beyond 1e+15. Scale the inputs."),
        (images(lambda x, y: (x, y + 5)), 2, "and tiny tells 4 classes apart. Labels must be 0 to 3."),
        (images(lambda x, y: (x, y - 1)), 2, "the label -1"),
        (images(lambda x, y: (x, y.astype(np.float32))), 2, "one whole number per sample"),
        (images(lambda x, y: (x, np.zeros_like(y))), 2, "are of one class"),
        (images(lambda x, y: (x[:10], y[:10])), 2, "holds 10 samples"),
        (images(lambda x, y: (x[:60], y[:60])), 2, "--force to go on"),
        (images(lambda x, y: (x, y[1:])), 2, "holds 400 samples and y 399"),
    ],
)  # fmt: skip
def test_data_that_cannot_be_used(
    cli: Cli, tmp_path: Path, make: Callable[[], Arrays], code: int, says: str
) -> None:
    x, y = make()
    np.savez(tmp_path / "data.npz", x=x, y=y)
    refused(cli, tmp_path, prune(tmp_path / "small", data=tmp_path / "data.npz"), code, says)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (f"{STRANGERS}:breaking_off", "reading"),
        (f"{STRANGERS}:leaving", "SystemExit: 3"),
        (f"{STRANGERS}:tiny", "gives a Tiny, not an iterable"),
        ("missing.npz", "missing.npz cannot be read: No such file or directory."),
        (STRANGERS.parent, "lacks the IDX files"),
        ("bananas", "no data that joulecut knows"),
    ],
)
def test_sources_of_data_that_fail(cli: Cli, tmp_path: Path, data: object, says: str) -> None:
    refused(cli, tmp_path, prune(tmp_path / "small", data=data), 2, says)


# --- pickles


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, fuse: Path) -> None:
        self.fuse = fuse

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.fuse),)


def rigged_program(path: Path, bomb: bytes) -> None:
    """A .pt2 program whose example inputs are a bomb; this is where torch.export.save keeps a pickle."""
    stored = io.BytesIO()
    torch.export.save(torch.export.export(Tiny(), (torch.zeros(1, 1, 4, 4),)), stored)
    with zipfile.ZipFile(stored) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, bomb if "sample_inputs" in name else old.read(name))


def test_a_pickle_is_refused_before_it_runs(cli: Cli, tmp_path: Path) -> None:
    fuse = tmp_path / "boom"
    bomb = pickle.dumps(Bomb(fuse))
    (tmp_path / "weights.pth").write_bytes(bomb)
    (tmp_path / "disguised.pt2").write_bytes(bomb)
    rigged_program(tmp_path / "rigged.pt2", bomb)
    np.savez(tmp_path / "rigged.npz", x=np.array([Bomb(fuse)] * 40, dtype=object), y=np.arange(40) % 2)
    (tmp_path / "result.json").write_bytes(bomb)
    small = tmp_path / "small"
    for argv, code, says in (
        (("profile", tmp_path / "weights.pth"), 2, "is a pickle"),
        (("profile", tmp_path / "disguised.pt2"), 6, "is no program saved by torch.export"),
        (("profile", tmp_path / "rigged.pt2"), 6, "refused unread: it holds the pickled member"),
        (prune(small, tmp_path / "rigged.pt2"), 6, "refused unread"),
        (prune(small, data=tmp_path / "rigged.npz"), 2, "Pickled objects are never read"),
        (("report", tmp_path), 2, "is not JSON"),
    ):
        refused(cli, tmp_path, argv, code, says)
    assert not fuse.exists()
    pickle.loads(bomb)
    assert fuse.exists(), "the bomb is none"


# --- .onnx files


def onnx_file(path: Path, op: str, shape: list[int | str]) -> Path:
    """One node from x to y."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy")
    graph = helper.make_graph([helper.make_node(op, ["x"], ["y"])], "net", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_onnx_files_that_cannot_be_used(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "junk.onnx").write_bytes(b"\x00\xffjunk" * 100)
    unknown = onnx_file(tmp_path / "unknown.onnx", "Fancy", [1, 4])
    for argv, code, says in (
        (("profile", tmp_path / "empty.onnx"), 6, "holds no network"),
        (("profile", tmp_path / "junk.onnx"), 6, "cannot be read as ONNX"),
        (("profile", unknown), 2, "no layers to price; not counted: Fancy"),
        (("bench", tmp_path / "empty.onnx"), 6, "cannot run"),
        (("bench", tmp_path / "junk.onnx"), 6, "cannot run"),
        (("bench", unknown), 6, "No Op registered for Fancy"),
        (prune(tmp_path / "small", unknown), 2, "unknown.onnx is an .onnx file"),
    ):
        refused(cli, tmp_path, argv, code, says)


def test_open_sizes_of_an_onnx_file_are_given_as_input(cli: Cli, tmp_path: Path) -> None:
    file = onnx_file(tmp_path / "open.onnx", "Relu", ["n", 3, "height"])
    argv = ("profile", file, "--device", DEVICE)
    refused(cli, tmp_path, argv, 6, "dimension 2 of the input x is open. Give its size with --input.")
    refused(cli, tmp_path, (*argv, "--input", "1x4x9"), 2, "is nx3xheight, not 1x4x9")
    refused(cli, tmp_path, (*argv, "--input", "1x3x9,1"), 2, "takes 1 input, not 2")
    assert cli(*argv, "--input", "1x3x9")[0] == 0


# --- devices

BOARD = """
schema = 1
chip = "board"
category = "microcontroller"
core = "one core"
boundary = "board_dc"
[source.paper]
text = "a paper"
evidence = "assumed"
[runtime.any.float32]
mode = "datasheet"
channel_step = { value = 4, source = "paper" }
pj_per_mac_dense = { value = 4, source = "paper" }
"""


@pytest.mark.parametrize(
    ("written", "instead", "says"),
    [
        ("pj_per_mac_dense", "mac_dense", "runtime.any.float32.mac_dense is not a known key"),
        ("pj_per_mac_dense", "pj_per_mac_dnse", "Did you mean pj_per_mac_dense?"),
        ('= { value = 4, source = "paper" }\npj', "= 4\npj", "channel_step is a number without a source"),
        ("value = 4, source = \"paper\" }\npj", "value = 4 }\npj", "channel_step.source is missing"),
        ("dense = { value = 4", "dense = { value = nan", "dense.value is nan, not a finite number"),
        ("dense = { value = 4", f"dense = {{ value = {10**400}", "not a finite number"),
        ("dense = { value = 4", "dense = { value = -4", "is -4, below 0"),
        ("schema = 1", "", "schema is missing"),
        ("[runtime", "[runtime", ""),
        ("schema", "sch]ema", "is not TOML"),
    ],
)  # fmt: skip
def test_device_files_that_break_the_schema(
    cli: Cli, tmp_path: Path, written: str, instead: str, says: str
) -> None:
    file = tmp_path / "board.toml"
    file.write_text(BOARD.replace(written, instead))
    argv = ("profile", f"{STRANGERS}:tiny", *INPUT, "--device", file)
    if says:
        refused(cli, tmp_path, argv, 2, says)
    else:
        assert cli(*argv)[0] == 0


# --- where results go


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("file", "is a file, not a folder"),
        ("file/small", "there is no folder"),
        ("no/small", "there is no folder"),
        ("loop", "is a link that leads nowhere"),
        ("/proc/small", "cannot write /proc/small"),
        ("", "cannot"),
    ],
)
def test_folders_that_cannot_be_written(cli: Cli, tmp_path: Path, path: str, says: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    if not path:
        with pytest.raises(SystemExit, match="2"):
            cli(*prune(Path("x"))[:-1], "")
        return
    for argv in (prune(tmp_path / path), ("demo", "-o", tmp_path / path)):
        refused(cli, tmp_path, argv, 2, says)


# --- the demo on files of one's own


def idx(path: Path, values: NDArray[Any]) -> None:
    """An IDX file of unsigned bytes."""
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    path.write_bytes(bytes((0, 0, 8, values.ndim)) + sizes + values.astype(np.uint8).tobytes())


def idx_folder(folder: Path, size: int, classes: int) -> Path:
    folder.mkdir()
    for part in ("train", "t10k"):
        idx(folder / f"{part}-images-idx3-ubyte", np.zeros((60, size, size)))
        idx(folder / f"{part}-labels-idx1-ubyte", np.arange(60) % classes)
    return folder


def test_the_demo_names_what_is_wrong_with_its_files(cli: Cli, tmp_path: Path) -> None:
    small, letters, fine = (
        idx_folder(tmp_path / name, size, classes)
        for name, size, classes in (("small", 20, 10), ("letters", 28, 26), ("fine", 28, 10))
    )
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "resnet8-seed0.safetensors").write_bytes(b"junk")
    (kept / "resnet8-seed0.json").write_text("{}")
    for data, out, says in (
        (tmp_path, "demo", "lacks the IDX files train-images"),
        (small, "demo", "28x28 pixels in ten classes"),
        (letters, "demo", "28x28 pixels in ten classes"),
        (fine, "kept", "Delete resnet8-seed0.safetensors to train again"),
    ):
        refused(cli, tmp_path, ("demo", "--data", data, "-o", tmp_path / out), 2, says)
