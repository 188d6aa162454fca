"""IDX files, the format of MNIST and Fashion-MNIST (yann.lecun.com/exdb/mnist, "the IDX file format")."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from joulecut.benchmarks.data.records import Dataset, Splits, labelled
from joulecut.errors import UsageError

__all__ = ["MEAN", "STD", "load_idx_folder", "read_idx"]

MEAN: Final = 0.2860
"""Mean of Fashion-MNIST's 60,000 training images with pixels from 0 to 1: computed from the data."""
STD: Final = 0.3530
"""Standard deviation of the same pixels."""

_GZIP_MAGIC: Final = b"\x1f\x8b"
_UNSIGNED_BYTE: Final = 8
_NAMES: Final = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_SIXTHS: Final = 6
"""One training image in six validates: the last 10,000 of 60,000."""


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, gzipped or plain.

    Returns:
        The array in the shape that the header gives.

    Raises:
        UsageError: unreadable, no IDX file, another type than unsigned bytes, or a wrong length.
    """
    content = _content(path)
    if len(content) < 4 or content[:2] != b"\0\0":
        raise UsageError(f"{path} is no IDX file: it begins with {content[:4].hex(' ') or 'nothing'}.")
    kind, rank = content[2], content[3]
    if kind != _UNSIGNED_BYTE:
        raise UsageError(
            f"{path} holds IDX values of type 0x{kind:02x}; only unsigned bytes (0x08) are read."
        )
    start = 4 + 4 * rank
    if len(content) < start:
        raise UsageError(f"{path} ends within its header of {start} bytes.")
    shape = tuple(int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4))
    if len(content) - start != math.prod(shape):
        raise UsageError(f"{path} announces shape {list(shape)} and holds {len(content) - start} values.")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == _GZIP_MAGIC else content
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path} cannot be read: {error}.") from error


def load_idx_folder(folder: Path) -> Splits:
    """Read a folder of four IDX files, named as MNIST and Fashion-MNIST name them (``.gz`` or plain).

    Pixels are normalised with Fashion-MNIST's mean and deviation. The last sixth of the training images
    validates (10,000 of 60,000); ``t10k`` is the test part.

    Args:
        folder: the folder, as ``/usr/share/datasets/fashion-mnist`` of Debian's package.

    Returns:
        Images as [N, 1, height, width].

    Raises:
        UsageError: files missing (all are named), damaged, of the wrong shape, or not as many labels as
            images.
    """
    found = {name: _find(folder, name) for name in _NAMES}
    missing = [f"{name}[.gz]" for name, path in found.items() if path is None]
    if missing:
        raise UsageError(f"{folder} lacks the IDX files {', '.join(missing)}.")
    train, test = (
        _images(folder, *(path for name in names if (path := found[name]) is not None))
        for names in (_NAMES[:2], _NAMES[2:])
    )
    if train.inputs.shape[1:] != test.inputs.shape[1:]:
        sizes = (f"{part.inputs.shape[2]}x{part.inputs.shape[3]}" for part in (train, test))
        raise UsageError(f"images of {folder} differ in size: train and test are {' and '.join(sizes)}.")
    if test.classes > train.classes:
        raise UsageError(f"the test part of {folder} holds a label that no training image has.")
    kept = len(train) - len(train) // _SIXTHS
    return Splits.of(
        train.take(0, kept), train.take(kept), Dataset(test.name, test.inputs, test.labels, train.classes)
    )


def _find(folder: Path, name: str) -> Path | None:
    paths = (folder / f"{name}.gz", folder / name)
    return next((path for path in paths if path.is_file()), None)


def _images(folder: Path, images_path: Path, labels_path: Path) -> Dataset:
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.ndim != 3:
        raise UsageError(
            f"{images_path} must hold images [N, height, width], not shape {list(images.shape)}."
        )
    if labels.ndim != 1:
        raise UsageError(f"{labels_path} must hold labels [N], not shape {list(labels.shape)}.")
    if len(images) != len(labels):
        raise UsageError(
            f"{images_path} holds {len(images)} images and {labels_path.name} {len(labels)} labels."
        )
    inputs = (images.astype(np.float32)[:, None] / 255 - MEAN) / STD
    return labelled(folder.resolve().name, inputs, labels)
