"""Weights set to zero: what is saved and what is not, the accuracy, the bytes, and the saved folder."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
import torch
from made_up_board import BOARD, two_of_four
from rich.console import Console
from torch import Tensor, nn

import joulecut as jc
from joulecut.benchmarks.data.digits import load_digits
from joulecut.benchmarks.networks.digits_cnn import trained_digits_cnn
from joulecut.codec import to_json
from joulecut.errors import ModelError, UsageError
from joulecut.hw_models.device_file import parse_devices
from joulecut.jobs.sparsifying import WeightResult, prune_weights
from joulecut.pruning.weights.bitmaps import apply_masks, pack
from joulecut.pruning.weights.records import WeightRecipe, WeightRecord
from joulecut.reports.weights_console import print_weights

DENSE = "reference/edge/float32"
COMPRESSED = """
[[sparsity]]
kind = "compressed"
ops = ["linear", "conv2d"]
dtypes = ["float32"]
bits_per_nonzero = 40
source = "fit"
"""
(TENSOR,) = parse_devices(BOARD + two_of_four((4, 16, 1), 0.53125), "tensor.toml")
(SPARSE,) = parse_devices(BOARD + COMPRESSED, "sparse.toml")
EXAMPLE = torch.zeros(1, 1, 8, 8)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def network() -> nn.Sequential:
    """A convolution of 36 weights, and linear layers of 256 x 8 and 8 x 3."""
    torch.manual_seed(0)
    ends = nn.Flatten(), nn.Linear(256, 8), nn.ReLU(), nn.Linear(8, 3)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), *ends).eval()


def shown(result: WeightResult) -> str:
    stream = StringIO()
    print_weights(result.record, Console(file=stream, width=200))
    return stream.getvalue()


def test_a_threshold_takes_the_small_weights_and_leaves_the_others_alone() -> None:
    model = network()
    result = prune_weights(model, EXAMPLE, pattern="threshold", threshold=0.05, device=DENSE)
    after = dict(result.model.named_parameters())
    for name, weight in model.named_parameters():
        expected = weight.detach() if weight.ndim == 1 else weight.detach() * (weight.detach().abs() >= 0.05)
        assert torch.equal(after[name].detach(), expected)
    small = [int((p.abs() < 0.05).sum()) for p in model.parameters() if p.ndim > 1]
    assert [layer.zeros for layer in result.record.layers] == small
    assert result.record.weights == 36 + 2048 + 24
    assert result.record.asked == "unstructured zeros below 0.05"


def test_where_no_zero_is_skipped_the_report_says_nought_joules_in_words() -> None:
    result = prune_weights(network(), EXAMPLE, share=0.9, device=DENSE)
    record = result.record
    assert record.before.total.value == record.after.total.value
    assert all(layer.saved.value == 0 for layer in record.layers)
    reasons = [layer.reason for layer in record.layers]
    assert reasons[0] == "no zero-skipping for conv2d/float32 on this device"
    text = shown(result)
    assert "Energy saved" in text
    assert "0 J" in text
    assert "no zero-skipping for linear/float32 on this device" in text
    assert "store zeros too" in text
    assert "Energy left" not in text


def test_joules_where_the_device_file_declares_them() -> None:
    """Layer 2: 2,048 MACs halved at 10 pJ, 8,192 bytes x 0.46875 at 100 pJ; layer 4 has 3 outputs."""
    result = prune_weights(network(), EXAMPLE, pattern="2:4", device=TENSOR)
    conv, wide, narrow = result.record.layers
    saved = (1024 * 10 + 8192 * 0.46875 * 100) * 1e-12
    assert wide.saved.value == pytest.approx(saved, rel=1e-9)
    assert wide.reason == ""
    assert (conv.zeros, conv.reason) == (0, "no weight is zero"), "one input has no group of four"
    assert narrow.reason == (
        "this device skips 2:4 zeros from 4 x 16 x 1 (outputs, inputs, positions) up, and this is 3 x 8 x 1"
    )
    assert (wide.zeros, narrow.zeros) == (1024, 12)
    total = result.record.before.total.value - result.record.after.total.value
    assert total == pytest.approx(saved, rel=1e-9)
    assert "Energy left" in shown(result)


def test_only_the_layers_that_are_named() -> None:
    result = prune_weights(network(), EXAMPLE, share=0.5, layers=["4"], device=DENSE)
    assert [layer.zeros for layer in result.record.layers] == [0, 0, 12]
    assert result.record.layers[0].reason == "it is not one of the layers that were named"
    assert result.record.asked == "unstructured zeros, 50.0 % of the weights, in 4"
    assert list(result.masks) == ["4.weight"]


@pytest.fixture(scope="module")
def digits() -> WeightResult:
    return prune_weights(trained_digits_cnn(), share=0.9, data="digits", device=SPARSE)


def test_a_trained_network_keeps_its_accuracy_at_nine_zeros_of_ten(digits: WeightResult) -> None:
    """Without re-solving, 90 % zeros leave next to nothing of it; the base has 99.2 % on the test images."""
    record = digits.record
    rows = dict(record.rows)
    assert list(rows) == [
        "as trained", "batch norm recalibrated", "weights set to zero", "the others re-solved",
    ]  # fmt: skip
    assert rows["weights set to zero"] < 0.6
    assert rows["the others re-solved"] > 0.93
    assert record.accuracy is not None
    assert record.accuracy.before > 0.985
    assert record.accuracy.after > 0.94
    assert record.accuracy.change_lo <= record.accuracy.change <= record.accuracy.change_hi
    assert record.accuracy.split == "test (397 samples)"
    assert record.zeros == pytest.approx(0.9 * record.weights, abs=len(record.layers))


def test_zeros_compress_and_a_file_that_does_not_compress_keeps_its_size(digits: WeightResult) -> None:
    files = digits.record.files
    assert files.compressed_bytes < 0.3 * files.compressed_before_bytes
    plain = prune_weights(trained_digits_cnn(), EXAMPLE, share=0.1, device=DENSE).record.files
    assert files.dense_bytes == plain.dense_bytes


def test_bytes_that_a_device_does_not_store_save_joules(digits: WeightResult) -> None:
    """40 bits a weight that is not zero, of 32 dense: from a fifth of zeros on there is something to save."""
    for layer in digits.record.layers:
        left = min((layer.weights - layer.zeros) * 40 / 32 / layer.weights, 1.0)
        expected = (layer.weights * 4 - round(layer.weights * 4 * left)) * 100e-12
        assert layer.saved.value == pytest.approx(expected, rel=1e-6)
        assert bool(layer.reason) == (layer.saved.value == 0)
    assert sum(layer.saved.value > 0 for layer in digits.record.layers) >= 5


def test_a_threshold_with_data_takes_the_same_weights_and_re_solves_the_others() -> None:
    model = trained_digits_cnn()
    result = prune_weights(model, threshold=0.03, data="digits", device=DENSE)
    weights = dict(model.named_parameters())
    for name, keep in result.masks.items():
        assert torch.equal(keep, weights[name].detach().abs() >= 0.03)
        assert bool((dict(result.model.named_parameters())[name][~keep] == 0).all())
    record = result.record
    assert record.accuracy is not None
    assert record.accuracy.after > 0.98
    assert 0.4 < record.zeros / record.weights < 0.95
    assert record.files.compressed_bytes < 0.7 * record.files.compressed_before_bytes


RUN = """
import sys
sys.modules["joulecut"] = None
import numpy, onnxruntime, torch
from safetensors.numpy import load_file
folder = sys.argv[1]
io = load_file(folder + "/io.safetensors")
program = torch.export.load(folder + "/model.pt2").module()
found = program(torch.from_numpy(io["x"])).detach().numpy()
session = onnxruntime.InferenceSession(folder + "/model.onnx")
again = session.run(None, {session.get_inputs()[0].name: io["x"]})[0]
for output in (found, again):
    assert numpy.abs(output - io["y"]).max() <= 1e-4 * numpy.abs(io["y"]).max()
"""


def test_the_folder_runs_without_joulecut_and_its_masks_go_on_again(
    digits: WeightResult, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "sparse"
    digits.save(folder)
    assert {path.name for path in folder.iterdir()} == {
        "before.onnx", "masks.safetensors", "model.onnx", "model.pt2", "recipe.json", "report.html",
        "result.json", "weights.safetensors", "weights.safetensors.gz",
    }  # fmt: skip
    record = jc.load(folder)
    assert isinstance(record, WeightRecord)
    assert record == digits.record
    stored = (folder / "weights.safetensors").read_bytes()
    assert gzip.decompress((folder / "weights.safetensors.gz").read_bytes()) == stored
    assert len(stored) == record.files.dense_bytes
    assert (folder / "weights.safetensors.gz").stat().st_size == record.files.compressed_bytes
    masks = (folder / "masks.safetensors").read_bytes()
    assert len(masks) < 0.1 * len(stored)
    recipe = jc.load(folder / "recipe.json")
    assert isinstance(recipe, WeightRecipe)
    assert recipe.masks == hashlib.sha256(masks).hexdigest()
    model = trained_digits_cnn()
    assert jc.apply(folder, model) is model
    weights = load_file(folder / "weights.safetensors")
    for name in recipe.patterns:
        assert torch.equal(dict(model.named_parameters())[name] != 0, weights[name] != 0)
    x = load_digits().test.inputs[:8]
    with torch.no_grad():
        save_file({"x": x, "y": digits.model(x)}, folder / "io.safetensors")
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_masks_of_another_network_are_refused(digits: WeightResult, tmp_path: Path) -> None:
    file = tmp_path / "masks.safetensors"
    with pytest.raises(UsageError, match=r"the masks .* are a file of their own: give the result folder"):
        apply_masks(network(), digits.recipe, digits.recipe)
    with pytest.raises(UsageError, match=r"cannot read .*masks\.safetensors"):
        apply_masks(network(), digits.recipe, tmp_path)
    file.write_bytes(b"other")
    with pytest.raises(UsageError, match="not those of the recipe"):
        apply_masks(network(), digits.recipe, tmp_path)
    file.write_bytes(pack(digits.masks))
    with pytest.raises(UsageError, match="the network has no weight"):
        apply_masks(network(), digits.recipe, tmp_path / "recipe.json")
    for data, wanted in {
        b"nonsense": "the masks are damaged",
        pack({"1.weight": torch.ones(3, 3).bool()}): r"has no weight '1\.weight'",
        pack({"2.weight": torch.ones(3, 3).bool()}): r"2\.weight has 2048 weights",
    }.items():
        file.write_bytes(data)
        recipe = WeightRecipe("net", "", "", 0, {}, hashlib.sha256(data).hexdigest())
        with pytest.raises(UsageError, match=wanted):
            apply_masks(network(), recipe, tmp_path)


def test_the_same_work_gives_the_same_result() -> None:
    part = load_digits().validation
    first, second = (
        prune_weights(trained_digits_cnn(), share=0.9, data=(part.inputs, part.labels), device=SPARSE)
        for _ in range(2)
    )
    assert first.recipe == second.recipe
    assert to_json(first.record) == to_json(second.record)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
        self.two.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.two(self.one(x).relu())
        return out


def test_mistakes_in_one_sentence() -> None:
    few = (torch.rand(40, 1, 8, 8), torch.arange(40) % 3)
    with pytest.raises(UsageError, match=r"has no layer 'conv' whose weights can go\. Layers that have: "):
        prune_weights(network(), EXAMPLE, share=0.5, layers=["conv"], device=DENSE)
    with pytest.raises(UsageError, match="unstructured zeros need one amount"):
        prune_weights(network(), EXAMPLE, device=DENSE)
    with pytest.raises(UsageError, match="is no pattern of zeros"):
        prune_weights(network(), EXAMPLE, pattern="4:2", device=DENSE)
    with pytest.raises(UsageError, match="no weight is chosen"):
        prune_weights(network(), EXAMPLE, threshold=1e-9, device=DENSE)
    with pytest.raises(UsageError, match="24 calibration samples are too few"):
        prune_weights(network(), share=0.5, data=few, device=DENSE)
    with pytest.raises(UsageError, match=r"takes samples of shape \[1, 8, 8\]"):
        prune_weights(network(), EXAMPLE, share=0.5, data=(few[0].flatten(1), few[1]), device=DENSE)
    with pytest.raises(UsageError, match="no layer whose weights can go one by one"):
        prune_weights(Tied(), torch.zeros(1, 4), share=0.5, device=DENSE)
    with pytest.raises(ModelError, match="is on the device meta"):
        prune_weights(network().to("meta"), EXAMPLE.to("meta"), share=0.5, device=DENSE)
    forced = prune_weights(network(), share=0.5, data=few, device=DENSE, force=True)
    assert forced.record.accuracy is not None
