"""Data: bundled digits and their checksums, IDX and ``.npz`` files, callables and loaders."""

from __future__ import annotations

import gzip
import shutil
import struct
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits as sklearn_digits
from torch.utils.data import DataLoader, TensorDataset

from joulecut.benchmarks.data.bundled import read_bundled
from joulecut.benchmarks.data.digits import load_digits
from joulecut.benchmarks.data.idx import MEAN, STD, load_idx_folder, read_idx
from joulecut.benchmarks.data.npz import load_npz
from joulecut.benchmarks.data.records import CALIBRATION_SAMPLES, Dataset, Splits, labelled, split
from joulecut.benchmarks.data.source import from_loader, load_data
from joulecut.benchmarks.networks.digits_cnn import trained_digits_cnn
from joulecut.benchmarks.quality import evaluate
from joulecut.errors import UsageError

BUNDLED = Path(str(files("joulecut.benchmarks.data"))) / "files"


# --- bundled digits


def test_digits_are_scikit_learns_each_once() -> None:
    splits = load_digits()
    assert splits.train is not None
    parts = (splits.train, splits.validation, splits.test)
    assert [len(part) for part in parts] == [1000, 400, 397]
    ours = torch.cat([torch.cat([p.inputs.flatten(1) * 16, p.labels[:, None].float()], 1) for p in parts])
    digits: Any = sklearn_digits()
    theirs = np.column_stack([digits.data, digits.target]).astype(np.float32)
    assert sorted(map(tuple, ours.tolist())) == sorted(map(tuple, theirs.tolist()))
    assert all(set(part.labels.tolist()) == set(range(10)) for part in parts)


def test_bundled_weights_are_good_on_the_test_part() -> None:
    assert evaluate(trained_digits_cnn(), load_digits().test).accuracy >= 0.98


def test_bundled_files_are_small_and_licensed() -> None:
    assert sum(path.stat().st_size for path in BUNDLED.iterdir()) < 2_000_000
    text = (BUNDLED / "LICENSE").read_text()
    assert "CC BY 4.0" in text
    assert "BSD 3-Clause" in text


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    shutil.copytree(BUNDLED, folder)
    content = bytearray((folder / "digits.npz").read_bytes())
    content[1000] ^= 1
    (folder / "digits.npz").write_bytes(content)
    with pytest.raises(UsageError, match=r"digits\.npz is damaged"):
        read_bundled("digits.npz", folder)
    assert read_bundled("digits_cnn.safetensors", folder)
    (folder / "SHA256SUMS").write_text("")
    with pytest.raises(UsageError, match="has no checksum"):
        read_bundled("digits.npz", folder)
    with pytest.raises(UsageError, match="cannot be read"):
        read_bundled("other.npz", folder)


# --- records


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((3, 2)), np.zeros(3), "y of data must be one whole number per sample"),
        (np.zeros((3, 2)), np.zeros((3, 1), int), "y of data must be one whole number per sample"),
        (np.zeros(3), np.zeros(3, int), "two dimensions or more"),
        (np.zeros((3, 2)), np.zeros(4, int), "3 samples and y 4"),
        (np.zeros((0, 2)), np.zeros(0, int), "holds no samples"),
        (np.array([[0.0], [1.0], [np.nan]]), np.zeros(3, int), "first in sample 2"),
        (np.array([[np.inf], [1.0], [np.nan]]), np.zeros(3, int), "first in sample 0"),
        (np.zeros((2, 2)), np.array([0, -1]), "label -1; labels must be 0 or more"),
        (np.zeros((2, 2)), np.array([0, 5]), "label 5; labels must be 0 to 4"),
        (np.array([["a"], ["b"]]), np.zeros(2, int), "must hold numbers"),
    ],
)
def test_unusable_data(x: object, y: object, message: str) -> None:
    classes = 5 if "0 to 4" in message else None
    with pytest.raises(UsageError, match=message):
        labelled("data", x, y, classes=classes)


def test_any_number_type_becomes_float32_and_int64() -> None:
    data = labelled("data", np.array([[1], [2]], ">u2"), np.array([0, 1], np.uint32))
    assert data.inputs.dtype == torch.float32
    assert data.labels.dtype == torch.int64
    assert data.inputs.tolist() == [[1.0], [2.0]]


def test_split_is_a_partition_and_the_same_each_time() -> None:
    data = labelled("data", np.arange(103.0)[:, None], np.arange(103) % 3)
    parts = split(data)
    assert [len(part) for part in parts] == [63, 20, 20]
    values = [part.inputs[:, 0].tolist() for part in parts]
    assert sorted(value for part in values for value in part) == list(range(103))
    assert values == [part.inputs[:, 0].tolist() for part in split(data)]
    assert values != [part.inputs[:, 0].tolist() for part in split(data, seed=1)]
    assert all(((part.inputs[:, 0] % 3) == part.labels).all() for part in parts)
    with pytest.raises(UsageError, match="at least 20"):
        split(data.take(0, 19))


def test_calibration_is_the_head_of_the_training_data() -> None:
    count = CALIBRATION_SAMPLES + 5
    train = Dataset("big", torch.arange(count)[:, None].float(), torch.zeros(count, dtype=torch.int64), 1)
    splits = Splits.of(train, train, train)
    assert splits.calibration.inputs[:, 0].tolist() == list(range(CALIBRATION_SAMPLES))


# --- IDX


def _idx(array: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], kind: int = 8) -> bytes:
    return bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def idx_folder(tmp_path: Path) -> Path:
    images = np.arange(12 * 4 * 5, dtype=np.uint8).reshape(12, 4, 5)
    labels = np.arange(12, dtype=np.uint8) % 3
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(_idx(images)))
    (folder / "train-labels-idx1-ubyte").write_bytes(_idx(labels))
    (folder / "t10k-images-idx3-ubyte").write_bytes(_idx(images[:6]))
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(_idx(labels[:6])))
    return folder


def test_idx_folder(idx_folder: Path) -> None:
    splits = load_data(str(idx_folder))
    assert splits.train is not None
    assert [len(p) for p in (splits.train, splits.calibration, splits.validation, splits.test)] == [
        10,
        10,
        2,
        6,
    ]
    assert splits.train.inputs.shape == (10, 1, 4, 5)
    assert splits.train.inputs[0, 0, 1, 2].item() == pytest.approx((7 / 255 - MEAN) / STD, rel=1e-6)
    assert splits.validation.labels.tolist() == [1, 2]
    assert splits.test.classes == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no IDX file: it begins with nothing"),
        (b"PK\3\4 and more", "no IDX file: it begins with 50 4b 03 04"),
        (_idx(np.zeros((2, 2), np.uint8), kind=0x0D), "type 0x0d"),
        (b"\0\0\x08\x03\0\0", "ends within its header of 16 bytes"),
        (_idx(np.zeros((2, 3), np.uint8))[:-1], r"announces shape \[2, 3\] and holds 5 values"),
        (_idx(np.zeros((2, 3), np.uint8)) + b"\0", r"announces shape \[2, 3\] and holds 7 values"),
        (gzip.compress(_idx(np.zeros((2, 3), np.uint8)), mtime=0)[:-9], "cannot be read"),
        (b"\x1f\x8b\x08 damaged", "cannot be read"),
    ],
)
def test_damaged_idx_file(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read_idx(path)


def test_idx_folder_names_every_missing_file(idx_folder: Path) -> None:
    (idx_folder / "train-labels-idx1-ubyte").unlink()
    (idx_folder / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(UsageError, match=r"train-labels-idx1-ubyte\[.gz\], t10k-images-idx3-ubyte\[.gz\]"):
        load_idx_folder(idx_folder)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("train-labels-idx1-ubyte", (11,), "12 images and train-labels-idx1-ubyte 11 labels"),
        ("train-labels-idx1-ubyte", (12, 1), "must hold labels"),
        ("t10k-images-idx3-ubyte", (6, 20), "must hold images"),
        ("t10k-images-idx3-ubyte", (6, 5, 4), "4x5 and 5x4"),
        ("t10k-images-idx3-ubyte", (6, 0, 4), "no samples"),
    ],
)
def test_idx_folder_of_wrong_shape(idx_folder: Path, name: str, shape: tuple[int, ...], message: str) -> None:
    (idx_folder / name).write_bytes(_idx(np.zeros(shape, np.uint8)))
    with pytest.raises(UsageError, match=message):
        load_idx_folder(idx_folder)


# --- npz


def test_npz_is_split_and_not_rescaled(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, x=np.arange(100, dtype=np.uint8)[:, None], y=np.arange(100) % 4)
    splits = load_data(str(path))
    assert [len(p) for p in (splits.calibration, splits.validation, splits.test)] == [60, 20, 20]
    parts = (splits.calibration, splits.validation, splits.test)
    assert sorted(torch.cat([p.inputs[:, 0] for p in parts]).tolist()) == list(range(100))


def test_npz_with_a_test_part_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, x=np.zeros((50, 3)), y=np.arange(50) % 4, x_test=np.ones((2, 3)), y_test=[0, 4])
    splits = load_npz(path)
    assert [len(p) for p in (splits.calibration, splits.validation, splits.test)] == [30, 20, 2]
    assert splits.test.inputs.eq(1).all()
    assert {p.classes for p in (splits.calibration, splits.validation, splits.test)} == {5}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros((30, 2)), "y": np.zeros(30, int)}, "no array 'x'; it holds images, y"),
        ({"x": np.zeros((30, 2))}, "no array 'y'"),
        ({"x": np.array([{}] * 30), "y": np.zeros(30, int)}, "cannot be read as numbers"),
        ({"x": np.zeros((30, 2)), "y": np.zeros(30, int), "x_test": np.zeros((30, 2))}, "only one of"),
        (
            {
                "x": np.zeros((30, 2)),
                "y": np.zeros(30, int),
                "x_test": np.zeros((3, 3)),
                "y_test": np.zeros(3, int),
            },
            r"differ in shape: \[2\] and \[3\]",
        ),
        ({"x": np.zeros((5, 2)), "y": np.zeros(5, int)}, "at least 20"),
    ],
)
def test_unusable_npz(
    tmp_path: Path, arrays: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]], message: str
) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, allow_pickle=True, **arrays)
    with pytest.raises(UsageError, match=message):
        load_npz(path)


def test_npz_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    with pytest.raises(UsageError, match="cannot be read"):
        load_npz(path)
    path.write_bytes(b"no archive")
    with pytest.raises(UsageError, match=r"no \.npz file"):
        load_npz(path)
    np.savez(path, x=np.zeros((30, 200)), y=np.zeros(30, int))
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    with pytest.raises(UsageError, match="damaged"):
        load_npz(path)


# --- callables and loaders

SOURCE = """
import torch
from helper import LABELS
def batches():
    for _ in range(3):
        yield torch.ones(10, 2), LABELS
def uneven():
    yield torch.ones(10, 2), LABELS
    yield torch.ones(10, 3), LABELS
def single():
    yield torch.ones(10, 2), LABELS
    yield torch.ones(10, 2)
def number():
    return 5
def nothing():
    return []
constant = 3
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "helper.py").write_text("import torch\nLABELS = torch.arange(10) % 2\n")
    path = tmp_path / "my_source.py"
    path.write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "helper", raising=False)
    monkeypatch.delitem(sys.modules, "my_source", raising=False)
    return path


@pytest.mark.parametrize("form", ["my_source:batches", "my_source.py:batches"])
def test_batches_of_a_callable_are_collected(source: Path, form: str) -> None:
    path_before = list(sys.path)
    splits = load_data(form)
    assert [len(p) for p in (splits.calibration, splits.validation, splits.test)] == [18, 6, 6]
    assert sys.path == path_before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("uneven", r"batch 1 of my_source:uneven have shape \[3\], those before \[2\]"),
        ("single", "batch 1 of my_source:single is a Tensor, not a pair"),
        ("number", "gives a int, not an iterable"),
        ("nothing", "gives no batches"),
        ("missing", "has no 'missing'"),
        ("constant", "gives a int, not an iterable"),
    ],
)
def test_unusable_callables(source: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_data(f"my_source:{name}")


def test_unusable_specs(source: Path) -> None:
    for spec, message in {
        "digit": "no data that joulecut knows",
        "nowhere.py:f": "there is no file nowhere.py",
        "no_such_module:f": "there is no module no_such_module",
        "..:f": "is no module of Python",
        "math:not a name": "math has no 'not a name'",
    }.items():
        with pytest.raises(UsageError, match=message):
            load_data(spec)
    source.write_text("def broken(:\n")
    with pytest.raises(UsageError, match=r"running my_source\.py failed: SyntaxError: .*line 1"):
        load_data("my_source.py:broken")


def test_loaders_pairs_and_splits_are_taken() -> None:
    x, y = torch.arange(40.0)[:, None], torch.arange(40) % 4
    loader = DataLoader(TensorDataset(x, y), batch_size=16)
    for data in (loader, (x, y), [x.numpy(), y.numpy()]):
        splits = from_loader(data)
        parts = (splits.calibration, splits.validation, splits.test)
        assert torch.cat([p.inputs[:, 0] for p in parts]).sort().values.equal(x[:, 0])
    assert from_loader(splits) is splits
