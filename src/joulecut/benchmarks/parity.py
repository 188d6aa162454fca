"""Whether onnxruntime computes what torch computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from joulecut.benchmarks.session import Settings, load, one_sentence
from joulecut.errors import ParityError

if TYPE_CHECKING:
    import torch

__all__ = ["Parity", "check_parity"]

_RELATIVE: Final = 1e-5
_ABSOLUTE: Final = 1e-6
"""Twenty times the worst of fifteen exports of five networks in float32 (6.7e-7 of the largest output)."""


@dataclass(frozen=True, slots=True)
class Parity:
    """Largest absolute difference on the output that came closest to its tolerance, and that tolerance."""

    max_error: float
    tolerance: float

    @property
    def margin(self) -> float:
        """Error over tolerance; at most 1 where the gate passes."""
        return self.max_error / self.tolerance


def check_parity(
    model: str | bytes,
    network: torch.nn.Module,
    batches: Sequence[tuple[torch.Tensor, ...]],
    *,
    file: str = "the exported network",
) -> Parity:
    """Run a network in torch and in onnxruntime and compare every output.

    Allowed is max|y_ort - y_torch| <= 1e-5 max|y_torch| + 1e-6.

    Args:
        model: path or bytes of the ONNX model.
        network: the original; run as it is, without gradients.
        batches: inputs to try; at least one.
        file: what to call the model in errors.

    Raises:
        ParityError: another number of outputs, another shape, or a difference over the tolerance.
        ModelError: onnxruntime cannot run the model.
    """
    import torch

    session = load(model, Settings(), file)
    names = [each.name for each in session.get_inputs()]
    results: list[Parity] = []
    for inputs in batches:
        with torch.no_grad():
            expected = [t.numpy(force=True) for t in _tensors(network(*inputs))]
        feed = dict(zip(names, (t.numpy(force=True) for t in inputs), strict=False))
        with one_sentence(file):
            found = session.run(None, feed)
        results += _compare(expected, [np.asarray(each) for each in found], file)
    return max(results, key=lambda parity: parity.margin)


def _compare(expected: Sequence[NDArray[Any]], found: Sequence[NDArray[Any]], file: str) -> list[Parity]:
    if [e.shape for e in expected] != [f.shape for f in found]:
        shapes = [str([list(a.shape) for a in arrays]) for arrays in (expected, found)]
        raise ParityError(f"{file} gives outputs of shapes {shapes[1]} in onnxruntime, torch {shapes[0]}.")
    results: list[Parity] = []
    for index, (e, f) in enumerate(zip(expected, found, strict=True)):
        parity = _difference(e.astype(np.float64), f.astype(np.float64))
        if not parity.max_error <= parity.tolerance:  # NaN fails too
            raise ParityError(
                f"{file} computes something else than torch: output {index} differs by "
                f"{parity.max_error:.2g}, allowed is {parity.tolerance:.2g}.",
                hint="Nothing was written.",
            )
        results.append(parity)
    return results


def _difference(expected: NDArray[np.float64], found: NDArray[np.float64]) -> Parity:
    if not expected.size:
        return Parity(0.0, _ABSOLUTE)
    largest = float(np.max(np.abs(expected)))
    return Parity(float(np.max(np.abs(found - expected))), _RELATIVE * largest + _ABSOLUTE)


def _tensors(value: object) -> list[torch.Tensor]:
    """The tensors of nested tuples, lists and dicts, in torch.export's order."""
    import torch

    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        return [t for item in value.values() for t in _tensors(item)]
    if isinstance(value, (tuple, list)):
        return [t for item in value for t in _tensors(item)]
    return []
