"""From what a user names or hands over to ``Splits``: bundled data, files, folders, callables, loaders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import torch

from joulecut.benchmarks.data.records import Dataset, Splits, labelled, split
from joulecut.errors import UsageError
from joulecut.workload.callables import AuthorsCode, find

__all__ = ["from_loader", "load_data"]

_MOST_BYTES: Final = 2 * 1024**3
"""Inputs of a loader are read up to this size, so that an endless one ends."""
_FORMS: Final = (
    "Give a bundled name (digits), an .npz file with x and y, a folder of IDX files, "
    "package.module:callable or file.py:callable."
)


def load_data(spec: str) -> Splits:
    """Load what DATA names on the command line.

    Args:
        spec: ``digits``; an ``.npz`` file (see ``npz.load_npz``); a folder of IDX files (see
            ``idx.load_idx_folder``); or ``package.module:callable`` / ``file.py:callable`` whose result is
            an iterable of batches (x, y), a pair (x, y) or ``Splits``.

    Raises:
        UsageError: none of these, or data that cannot be used; one sentence says why.

    >>> len(load_data("digits").test)
    397
    """
    from joulecut.benchmarks.data import digits, idx, npz

    path = Path(spec)
    if spec == "digits":
        return digits.load_digits()
    if path.is_dir():
        return idx.load_idx_folder(path)
    if path.suffix == ".npz":
        return npz.load_npz(path)
    if ":" in spec:
        return _from_callable(spec)
    raise UsageError(f"{spec[:200]!r} is no data that joulecut knows.", hint=_FORMS)


def _from_callable(spec: str) -> Splits:
    source, _, name = spec.rpartition(":")
    made = find(source, name, hint=_FORMS, failure=UsageError)
    if callable(made):
        with AuthorsCode(f"calling {spec}", UsageError):
            made = made()
    return from_loader(made, name=spec)


def from_loader(data: Any, *, name: str = "data") -> Splits:
    """Make ``Splits`` of a DataLoader, any iterable of batches (x, y), or one pair (x, y).

    Batches are collected (inputs of up to 2 GiB; what follows is left out) and split at random, the same
    way each time, into 60 % for training and calibration, 20 % for validation and 20 % for the test.

    Args:
        data: the loader, the pair, or ``Splits``, which are returned as they are.
        name: what to call it in an error.

    Raises:
        UsageError: not iterable, a batch that is no pair, samples of different shapes, too few samples,
            or data that ``records.labelled`` refuses.

    >>> splits = from_loader((torch.zeros(50, 1, 8, 8), torch.arange(50) % 10))
    >>> len(splits.calibration), len(splits.validation), len(splits.test)
    (30, 10, 10)
    """
    if isinstance(data, Splits):
        return data
    x, y = data if _is_pair(data) else _collect(data, name)
    return Splits.of(*split(labelled(name, x, y)))


def _is_pair(batch: Any) -> bool:
    """A tuple or list of two arrays, of which the second has one entry per sample."""
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        return False
    return all(hasattr(part, "shape") and hasattr(part, "dtype") for part in batch)


def _collect(batches: Any, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    if not isinstance(batches, Iterable) or isinstance(batches, (str, bytes)):
        raise UsageError(f"{name} gives a {type(batches).__name__}, not an iterable of batches (x, y).")
    inputs: list[torch.Tensor] = []
    labels: list[torch.Tensor] = []
    size = 0
    for part in _parts(batches, name):
        if inputs and part.inputs.shape[1:] != inputs[0].shape[1:]:
            shapes = f"{list(part.inputs.shape[1:])}, those before {list(inputs[0].shape[1:])}"
            raise UsageError(f"samples in {part.name} have shape {shapes}.")
        inputs.append(part.inputs)
        labels.append(part.labels)
        size += part.inputs.nbytes
        if size >= _MOST_BYTES:
            break
    if not inputs:
        raise UsageError(f"{name} gives no batches.")
    return torch.cat(inputs), torch.cat(labels)


def _parts(batches: Iterable[Any], name: str) -> Iterator[Dataset]:
    """Each batch, checked."""
    with AuthorsCode(f"reading {name}", UsageError):
        for index, batch in enumerate(batches):
            if not _is_pair(batch):
                raise UsageError(
                    f"batch {index} of {name} is a {type(batch).__name__}, not a pair of arrays (x, y)."
                )
            yield labelled(f"batch {index} of {name}", *batch)
