"""The bundled digits: 1,797 handwritten digits of 8x8 pixels, as scikit-learn ships them.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
Repository, doi 10.24432/C50P49 (test part: 13 writers); licences in ``files/LICENSE``.
"""

from __future__ import annotations

import io
from typing import Final

import numpy as np

from joulecut.benchmarks.data.bundled import read_bundled
from joulecut.benchmarks.data.records import Splits, labelled

__all__ = ["load_digits"]

_TRAIN: Final = 1000
_VALIDATION: Final = 400
_BRIGHTEST: Final = 16.0
"""Pixels count the inked points of a 4x4 patch."""


def load_digits() -> Splits:
    """The digits as [N, 1, 8, 8] with pixels from 0 to 1: 1,000 train, 400 validation, 397 test.

    The file holds the images in a shuffled order that was drawn once, and the parts follow one another in
    it: no random number generator takes part. The bundled network was trained on ``train`` only. Writers
    are not known per image, so one writer may be in several parts.

    Raises:
        UsageError: the bundled file is damaged.

    >>> [len(part) for part in (load_digits().validation, load_digits().test)]
    [400, 397]
    """
    with np.load(io.BytesIO(read_bundled("digits.npz")), allow_pickle=False) as stored:
        images, labels = stored["x"], stored["y"]
    inputs = images.astype(np.float32)[:, None] / _BRIGHTEST
    digits = labelled("digits", inputs, labels, classes=10)
    held_out = _TRAIN + _VALIDATION
    return Splits.of(digits.take(0, _TRAIN), digits.take(_TRAIN, held_out), digits.take(held_out))
