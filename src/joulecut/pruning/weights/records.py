"""Records of weight pruning: ``WeightRecord`` and its layers and files, ``WeightRecipe``."""

from __future__ import annotations

from dataclasses import dataclass, field

from joulecut.estimate import Estimate
from joulecut.hw_models.profile import EnergyProfile

__all__ = ["AccuracyChange", "LayerZeros", "WeightFiles", "WeightRecipe", "WeightRecord"]


@dataclass(frozen=True, slots=True)
class LayerZeros:
    """What went from one layer, and what that is worth.

    Attributes:
        path: the layer.
        op: its operation.
        weights: how many it has, the bias aside.
        zeros: how many of them are zero now.
        saved: joules saved in one inference.
        reason: why that is nothing, or why the layer was left whole; "" where joules are saved.
    """

    path: str
    op: str
    weights: int
    zeros: int
    saved: Estimate
    reason: str = ""


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """What the weights take as files: zeros are worth bytes only where the format compresses.

    Attributes:
        dense_bytes: ``weights.safetensors``, which stores zeros like other values (so do .onnx and .pt2).
        compressed_bytes: the same file through gzip, ``weights.safetensors.gz``.
        compressed_before_bytes: the original's weights through gzip.
    """

    dense_bytes: int
    compressed_bytes: int
    compressed_before_bytes: int


@dataclass(frozen=True, slots=True)
class AccuracyChange:
    """Accuracy before and after on the same samples, 0 to 1, and the change with its 90 % interval."""

    split: str
    before: float
    after: float
    change: float
    change_lo: float
    change_hi: float


@dataclass(frozen=True, slots=True)
class WeightRecord:
    """All that is known of a weight pruning, as saved in ``result.json``.

    Attributes:
        model: name of the network.
        device: device that prices it.
        asked: what was asked for, in words.
        pattern: ``2:4``, ``4x1`` or ``unstructured``.
        before: profile of the original.
        after: profile of the result; its zeros save what the device file declares for them.
        layers: every layer with weights, in the order of execution.
        files: what the weights take as files.
        rows: validation accuracy after each stage of the work; () without data.
        accuracy: on test samples, or None without data.
        provenance: versions, data, seed.
    """

    model: str
    device: str
    asked: str
    pattern: str
    before: EnergyProfile
    after: EnergyProfile
    layers: tuple[LayerZeros, ...]
    files: WeightFiles
    rows: tuple[tuple[str, float], ...] = ()
    accuracy: AccuracyChange | None = None
    provenance: dict[str, str] = field(default_factory=dict)

    @property
    def weights(self) -> int:
        """Weights of all these layers, biases aside."""
        return sum(layer.weights for layer in self.layers)

    @property
    def zeros(self) -> int:
        """How many of them are zero."""
        return sum(layer.zeros for layer in self.layers)


@dataclass(frozen=True, slots=True)
class WeightRecipe:
    """Which weights a run set to zero; the bitmaps themselves are in ``masks.safetensors``.

    Attributes:
        model: name of the network.
        fingerprint: SHA-256 over names, shapes and values of the original's parameters and buffers.
        asked: what was asked for, in words.
        seed: of the run.
        patterns: pattern by name of the weight.
        masks: SHA-256 of ``masks.safetensors``.
    """

    model: str
    fingerprint: str
    asked: str
    seed: int
    patterns: dict[str, str]
    masks: str
