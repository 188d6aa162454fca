"""The whole job on a small network: what it returns, what it saves, and what it refuses."""

from __future__ import annotations

import dataclasses
import io
import json
import pickletools
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional

import joulecut as jc
from joulecut.errors import BudgetUnreachable, ModelError, UsageError
from joulecut.hw_models.catalogue import device as find_device
from joulecut.hw_models.modelling import estimate
from joulecut.hw_models.spec import SparsitySupport
from joulecut.jobs.pruning import PruneResult, prune
from joulecut.pruning.coupling.engine import couple
from joulecut.pruning.records import Budget
from joulecut.workload.from_torch import workload

DEVICE = "reference/edge/float32"
FILES = {
    "result.json", "recipe.json", "bench.json", "report.html",
    "weights.safetensors", "model.pt2", "model.onnx", "before.onnx",
}  # fmt: skip


def network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(inplace=True),
            nn.Conv2d(16, 12, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(12, 4),
        )


def data(count: int = 500, classes: int = 4) -> tuple[Tensor, Tensor]:
    """Pictures and, as labels, what the untrained network itself says of them."""
    x = torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(1)).cumsum(2)
    with torch.no_grad():
        scores = network().eval()(x)
    return x, (scores - scores.mean(0))[:, :classes].argmax(1)


@pytest.fixture(scope="module")
def result() -> PruneResult:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return prune(
            network(),
            budget="60%",
            device=DEVICE,
            data=data(),
            seed=3,
            also=("raspberry-pi-4b/tflite/float32",),
        )
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(result: PruneResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("pruned") / "out"
    result.save(target)
    return target


def test_the_record_says_what_the_model_costs(result: PruneResult) -> None:
    record = result.record
    assert record.met == "yes"
    assert record.after.total.value <= 0.6 * record.before.total.value
    again = estimate(workload(result.model, torch.zeros(1, 1, 8, 8)), DEVICE)
    assert record.after.total.value == pytest.approx(again.total.value, rel=1e-9)
    assert record.steps[-1].total.value == pytest.approx(again.total.value, rel=1e-9)
    assert record.kept["0"][1] == 16
    assert record.kept["3"][1] == 12
    assert set(record.also) == {"raspberry-pi-4b/tflite/float32"}
    assert record.provenance["seed"] == "3"
    assert record.provenance["data"].endswith("300 calibration, 100 validation, 100 test")
    assert [refusal.path for refusal in record.refused] == ["7"]
    assert record.before.filters
    assert record.after.filters


def test_the_quality_is_that_of_both_networks_on_the_same_samples(result: PruneResult) -> None:
    quality = result.record.quality
    assert quality is not None
    count = sum(p.numel() for p in network().parameters())
    assert count == 9 * 16 + 32 + 9 * 16 * 12 + 12 + 12 * 4 + 4
    assert quality.before.parameters == count
    assert quality.after.parameters == sum(p.numel() for p in result.model.parameters()) < count
    assert quality.after.size_bytes == len(result.files["model.onnx"]) < quality.before.size_bytes
    assert quality.accuracy_change == pytest.approx(
        quality.after.accuracy - quality.before.accuracy, abs=1e-9
    )
    assert quality.accuracy_change_lo <= quality.accuracy_change <= quality.accuracy_change_hi
    assert quality.after.inference_energy == result.record.after.total
    assert quality.after.split == "test, 100 samples"
    assert quality.after.training_s == 0
    assert (quality.before.training, quality.after.training) == ((), ())
    (pair,) = result.comparison.pairs
    assert quality.latency_ratio == (pair.cpu_ratio if pair.contended else pair.ratio)
    assert (quality.before.training_energy, quality.after.training_energy) == (None, None)


def test_every_class_has_its_f1_and_the_mean_is_that_of_the_classes(result: PruneResult) -> None:
    quality = result.record.quality
    assert quality is not None
    for one in (quality.before, quality.after):
        assert sum(each.support for each in one.classes) == 100
        assert one.macro_f1 == pytest.approx(sum(each.f1 for each in one.classes) / len(one.classes))
        assert one.macro_f1_lo is not None
        assert one.macro_f1_hi is not None
        assert one.macro_f1_lo <= one.macro_f1 <= one.macro_f1_hi
        assert all(0 <= each.f1_lo <= each.f1 + 1e-12 <= each.f1_hi + 2e-12 for each in one.classes)
    assert quality.macro_f1_change == pytest.approx(quality.after.macro_f1 - quality.before.macro_f1)


def test_the_memory_peak_is_that_of_the_widest_moment(result: PruneResult) -> None:
    """The first convolution reads 64 and writes 16 x 64 float32 values; the weights lie beside them."""
    quality = result.record.quality
    assert quality is not None
    peak = quality.before.memory_peak
    assert peak is not None
    weights = 9 * 16 + 32 + 32 + 9 * 16 * 12 + 12 + 12 * 4 + 4  # with the statistics of the batch norm
    assert peak.value - 4 * (64 + 16 * 64) == pytest.approx(4 * weights, abs=4 * 65)
    assert (peak.unit, peak.origin) == ("B", "modelled")
    assert quality.after.memory_peak is not None
    assert quality.after.memory_peak.value < peak.value


def test_each_limit_is_judged_by_itself() -> None:
    budget = Budget(share=0.8, min_accuracy=0.0)
    record = prune(network(), budget=budget, device=DEVICE, data=data(200)).record
    checks = {check.what: check for check in record.limits}
    assert list(checks) == ["energy of one inference", "validation accuracy"]
    assert {check.met for check in record.limits} == {"yes"}
    energy = checks["energy of one inference"]
    assert energy.asked == "at most 80.0 % of the original"
    assert energy.figure is not None
    assert energy.figure.value == pytest.approx(record.after.total.value)
    assert checks["validation accuracy"].figure is not None
    assert checks["validation accuracy"].figure.n == 40


def test_the_folder_holds_these_files_and_they_load(result: PruneResult, folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == FILES
    assert jc.load(folder) == result.record
    assert jc.load(folder / "result.json") == result.record
    assert jc.load(folder / "recipe.json") == result.recipe
    assert jc.load(folder / "bench.json") == result.comparison
    for name in ("result.json", "recipe.json", "bench.json"):
        text = (folder / name).read_text()
        assert "/tmp/" not in text
        assert json.loads(text)["schema"].startswith("joulecut/")
    assert [model["file"] for model in json.loads((folder / "bench.json").read_text())["models"]] == [
        "before.onnx", "model.onnx",
    ]  # fmt: skip


def pickles(content: bytes) -> bool:
    """Whether the bytes are one whole pickle program."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # raw numbers read as text
            *_, last = pickletools.genops(content)
    except (ValueError, IndexError):
        return False
    return last[0].name == "STOP" and last[2] == len(content) - 1


def test_no_file_is_or_holds_a_pickle(folder: Path) -> None:
    seen = 0
    for path in folder.iterdir():
        content = path.read_bytes()
        assert not pickles(content), path.name
        if zipfile.is_zipfile(io.BytesIO(content)):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    seen += 1
                    assert not name.endswith((".pkl", ".pickle"))
                    assert not pickles(archive.read(name)), name
    assert seen > 3
    assert pickles(b"\x80\x04K\x01.")


def test_all_saved_models_give_the_same(result: PruneResult, folder: Path) -> None:
    x = data()[0][:8]
    with torch.no_grad():
        expected = result.model(x)
        program = torch.export.load(folder / "model.pt2").module()
        torch.testing.assert_close(program(x), expected)
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_allclose(np.asarray(found), expected.numpy(), rtol=1e-4, atol=1e-5)
    onnx.checker.check_model(onnx.load(folder / "before.onnx"))
    weights = load((folder / "weights.safetensors").read_bytes())
    assert set(weights) == set(network().state_dict())
    assert all(torch.equal(weights[key], tensor) for key, tensor in result.model.state_dict().items())


def test_the_recipe_cuts_the_authors_network_to_the_same_shapes(result: PruneResult) -> None:
    kept = {name: list(at) for name, at in result.recipe.groups.items()}
    cut = couple(network(), torch.zeros(1, 1, 8, 8)).apply(kept)
    cut.load_state_dict(result.model.state_dict())
    x = data()[0][:8]
    with torch.no_grad():
        torch.testing.assert_close(cut(x), result.model(x))
    for name, dims in result.recipe.kept.items():
        for dim, at in dims.items():
            assert cut.state_dict()[name].shape[int(dim)] == len(at)


class TwoOutputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(1, 8, 3), nn.Linear(8, 4), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Any:
        x = functional.relu(self.a(x)).mean((2, 3))
        return self.b(x), self.c(x)


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(8, 4)

    def forward(self, x: Tensor, y: Tensor) -> Any:
        return self.a(x + y)


def pixels(x: Tensor) -> Any:
    return x.flatten(1)


@pytest.mark.parametrize(
    ("model", "options", "error", "message"),
    [
        (TwoOutputs(), {}, UsageError, "returns a tuple"),
        (TwoInputs(), {"example": (torch.zeros(1, 8), torch.zeros(1, 8))}, UsageError, "takes 2 inputs"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), {}, UsageError, "no channel that can be removed"),
        (network(), {"example": torch.zeros(1, 1, 9, 9)}, UsageError, r"samples of shape \[1, 9, 9\]"),
        (network(), {"budget": "0%"}, UsageError, "above 0"),
        (network(), {"budget": Budget()}, UsageError, "limits joules, time or memory"),
        (network(), {"budget": "1%"}, BudgetUnreachable, "out of reach"),
        (network(), {"device": "reference/edge/float23"}, UsageError, "reference/edge/float32"),
        (network(), {"data": data(90)}, UsageError, "54 calibration samples are too few"),
        (network(), {"min_accuracy": 1.2}, UsageError, "between 0 and 1"),
        ("nothing.onnx", {}, UsageError, "nothing.onnx"),
        (3, {}, UsageError, "not a int"),
    ],
)
def test_what_cannot_be_pruned_is_told_in_one_sentence(
    model: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    arguments: dict[str, Any] = {"budget": "60%", "device": DEVICE, "data": data(200)}
    with pytest.raises((UsageError, ModelError, BudgetUnreachable), match=message) as caught:
        prune(model, **(arguments | options))
    assert isinstance(caught.value, error)
    assert "\n" not in str(caught.value)


def test_a_sensor_that_would_not_see_the_zeros_is_refused() -> None:
    spec = find_device(DEVICE)
    gate = SparsitySupport("gate", ("conv2d",), ("float32",), spec.sources[0], mac_energy_saved=0.9)
    skips = dataclasses.replace(spec, sparsity=(gate,))
    with pytest.raises(UsageError, match="the sensor measures networks without them"):
        prune(network(), budget="60%", device=skips, data=data(), strategy="auto", sensor="rapl")


def test_a_given_budget_takes_a_floor_of_its_own() -> None:
    """The keyword counts beside a record too."""
    with pytest.raises(BudgetUnreachable, match="validation accuracy"):
        prune(network(), budget=Budget(share=0.6), device=DEVICE, data=data(200), min_accuracy=1.0)


def test_a_fine_tune_is_kept_only_where_validation_gains_and_says_which() -> None:
    """A network cut hard and labelled by its own original has something to learn."""
    record = prune(network(), budget="35%", device=DEVICE, data=data(), finetune_epochs=3, force=True).record
    quality = record.quality
    assert quality is not None
    (cost,) = quality.after.training
    assert quality.before.training_s == 0.0
    assert quality.after.training_s == cost.duration_s > 0.0
    assert (cost.stage, cost.steps, cost.batch) == ("fine-tune", 6, 128)  # 300 samples make 2 steps an epoch
    assert quality.after.training_energy == cost.energy
    name, accuracy = record.rows[-1]
    if cost.kept:
        assert name == "fine-tune, 3 epochs"
        assert accuracy > dict(record.rows)["pruned"]
        assert record.provenance["weights"] == "fine-tuned, 6 gradient steps"
        assert "are kept: validation accuracy moved by +" in record.notes[0]
    else:
        assert name == "fine-tune, 3 epochs, not kept"
        assert record.provenance["weights"].startswith("no gradient step: 6 did not gain")
        assert "were rolled back: validation accuracy moved by " in record.notes[0]


def test_a_recovery_that_fails_is_told_before_anything_is_saved() -> None:
    def recovery(module: Any, train: Any) -> None:
        raise ValueError("no such batch")

    with pytest.raises(UsageError, match=r"the recovery recovery failed: ValueError: no such batch\."):
        prune(network(), budget="60%", device=DEVICE, data=data(200), recovery=recovery)
    with pytest.raises(UsageError, match="either the bundled loop or one of your own"):
        prune(network(), budget="60%", device=DEVICE, data=data(200), recovery=recovery, finetune_epochs=1)
    with pytest.raises(UsageError, match="is no callable that recovers"):
        prune(network(), budget="60%", device=DEVICE, data=data(200), recovery="no-such-thing")
