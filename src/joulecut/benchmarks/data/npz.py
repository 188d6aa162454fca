"""``.npz`` files with inputs ``x`` and labels ``y``, and optionally a test part ``x_test``, ``y_test``."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from joulecut.benchmarks.data.records import Dataset, Splits, labelled, split
from joulecut.errors import UsageError

__all__ = ["load_npz"]

_KEYS = ("x", "y", "x_test", "y_test")
_HINT = "Save it with: numpy.savez(path, x=inputs, y=labels)"


def load_npz(path: Path) -> Splits:
    """Read labelled data from an ``.npz`` file; nothing pickled is read.

    ``x`` [N, ...] must be ready for the network (it becomes float32 and is not rescaled); ``y`` [N] are
    class numbers from 0. The samples are split at random, the same way each time, into 60 % for training
    and calibration, 20 % for validation and 20 % for the test; with ``x_test`` and ``y_test`` these are the
    test part and the other 40 % validate.

    Raises:
        UsageError: no such file, no ``.npz`` file, a missing key, pickled objects, or data that
            ``records.labelled`` refuses.
    """
    arrays = _arrays(path)
    if ("x_test" in arrays) != ("y_test" in arrays):
        raise UsageError(f"{path} holds only one of x_test and y_test.", hint="Store both or neither.")
    data = labelled(path.name, arrays["x"], arrays["y"])
    if "x_test" not in arrays:
        return Splits.of(*split(data))
    test = labelled(f"{path.name} (test)", arrays["x_test"], arrays["y_test"])
    if test.inputs.shape[1:] != data.inputs.shape[1:]:
        shapes = f"{list(data.inputs.shape[1:])} and {list(test.inputs.shape[1:])}"
        raise UsageError(f"samples of x and x_test in {path} differ in shape: {shapes}.")
    return _with_test(data, test)


def _with_test(data: Dataset, test: Dataset) -> Splits:
    classes = max(data.classes, test.classes)
    train, *rest = split(Dataset(data.name, data.inputs, data.labels, classes))
    inputs = np.concatenate([part.inputs.numpy() for part in rest])
    labels = np.concatenate([part.labels.numpy() for part in rest])
    validation = labelled(data.name, inputs, labels, classes=classes)
    return Splits.of(train, validation, Dataset(data.name, test.inputs, test.labels, classes))


def _arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    try:
        if not zipfile.is_zipfile(path) and path.is_file():
            raise UsageError(f"{path} is no .npz file.", hint=_HINT)
        with np.load(path, allow_pickle=False) as stored:
            missing = [key for key in ("x", "y") if key not in stored.files]
            if missing:
                held = ", ".join(stored.files)[:200] or "nothing"
                raise UsageError(f"{path} has no array {missing[0]!r}; it holds {held}.", hint=_HINT)
            return {name: stored[name] for name in _KEYS if name in stored.files}
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise UsageError(f"{path} is a damaged .npz file: {error}.", hint=_HINT) from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.", hint=_HINT) from error
    except ValueError as error:
        raise UsageError(
            f"{path} holds an array that cannot be read as numbers: {error}.",
            hint="Pickled objects are never read.",
        ) from error
