"""Every function that ``import joulecut`` offers: each wires the parts below, with no logic of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from joulecut.codec import from_json, split_schema, to_json, write_text
from joulecut.errors import SchemaError, UsageError
from joulecut.jobs.profiling import profile
from joulecut.schemas import RECORDS, record_type

if TYPE_CHECKING:
    from joulecut.benchmarks.records import Comparison
    from joulecut.hw_models.battery import BatteryLife
    from joulecut.hw_models.catalogue import DeviceDescription
    from joulecut.hw_models.comparing import EnergyComparison
    from joulecut.hw_models.explaining import Explanation
    from joulecut.hw_models.profile import EnergyProfile
    from joulecut.hw_models.spec import DeviceSpec
    from joulecut.jobs.demo import DemoResult
    from joulecut.jobs.judging import Evaluation
    from joulecut.jobs.pruning import PruneResult
    from joulecut.jobs.recovering import Recovery
    from joulecut.jobs.removing import RemovalResult
    from joulecut.jobs.sparsifying import WeightResult
    from joulecut.profiler.clock import Clock
    from joulecut.profiler.doctor import Diagnosis
    from joulecut.profiler.measure import Measuring
    from joulecut.profiler.records import Measurement
    from joulecut.profiler.sensors.sensor import Sensor
    from joulecut.pruning.explaining import PruneExplanation
    from joulecut.pruning.records import Budget, PruneRecord
    from joulecut.pruning.settings import Effort, Strategy

__all__ = [
    "PruneResult",
    "apply",
    "battery",
    "benchmark",
    "calibrate",
    "compare",
    "demo",
    "device",
    "devices",
    "doctor",
    "explain",
    "explain_steps",
    "load",
    "measure",
    "profile",
    "prune",
    "prune_nodes",
    "prune_weights",
    "remove_blocks",
    "report",
    "save",
]

Progress = Callable[[str, int, int], None]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name == "PruneResult":  # needs torch, which listing devices does not
            _need_torch("PruneResult")
            return import_module("joulecut.jobs.pruning").PruneResult
        raise AttributeError(f"module 'joulecut.api' has no attribute {name!r}")


def prune(
    model: Any,
    example: Any = None,
    *,
    budget: str | Budget | None = None,
    device: str | DeviceSpec,
    data: Any,
    latency: str | None = None,
    memory: str | None = None,
    sensor: str | None = None,
    min_accuracy: float | None = None,
    confidence: float = 0.9,
    strategy: Strategy = "channels",
    layer: str = "",
    effort: Effort = "full",
    ranking: str | Callable[..., Any] = "",
    fit_labels: bool = False,
    finetune_epochs: int = 0,
    recovery: Recovery | str | None = None,
    evaluation: Evaluation | str | None = None,
    seed: int = 0,
    force: bool = False,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> PruneResult:
    """Cut a network to a budget in joules (see ``joulecut.jobs.pruning.prune``).

    Raises:
        MissingExtra: torch is not installed.
        UsageError: bad input.
        BudgetUnreachable: with the best point found; its ``result`` is a ``PruneResult`` where something was
            cut.
        ModelError: the network cannot be captured or exported.
        SensorMissing, SensorDenied: no sensor of that name can be read.
    """
    _need_torch("pruning")
    from joulecut.jobs import pruning

    return pruning.prune(
        model,
        example,
        budget=budget,
        device=device,
        data=data,
        latency=latency,
        memory=memory,
        sensor=sensor,
        min_accuracy=min_accuracy,
        confidence=confidence,
        strategy=strategy,
        layer=layer,
        effort=effort,
        ranking=ranking,
        fit_labels=fit_labels,
        finetune_epochs=finetune_epochs,
        recovery=recovery,
        evaluation=evaluation,
        seed=seed,
        force=force,
        checkpoint=checkpoint,
        resume=resume,
        progress=progress,
    )


def prune_nodes(
    model: Any,
    example: Any,
    layer: str = "",
    *,
    count: int | None = None,
    share: float | None = None,
    threshold: float | None = None,
    indices: Sequence[int] | None = None,
    ranking: str | Callable[[Any], Any] = "l2",
    seed: int = 0,
    device: str | DeviceSpec = "auto",
) -> RemovalResult:
    """Remove nodes of one layer, with all that goes with them (see ``joulecut.jobs.removing.prune_nodes``).

    Raises:
        MissingExtra: torch is not installed.
        UsageError: no such layer, device or choice.
        ModelError: the layer's nodes must stay (with the reason), or the network cannot be captured.
    """
    _need_torch("pruning")
    from joulecut.jobs import removing

    return removing.prune_nodes(
        model,
        example,
        layer,
        count=count,
        share=share,
        threshold=threshold,
        indices=indices,
        ranking=ranking,
        seed=seed,
        device=device,
    )


def remove_blocks(
    model: Any,
    example: Any,
    blocks: Sequence[str] = (),
    *,
    count: int | None = None,
    share: float | None = None,
    threshold: float | None = None,
    data: Any = None,
    device: str | DeviceSpec = "auto",
) -> RemovalResult:
    """Leave residual blocks out of a network (see ``joulecut.jobs.removing.remove_blocks``).

    Raises:
        MissingExtra: torch is not installed.
        UsageError: no such block, choice or device.
        ModelError: the network cannot be captured.
    """
    _need_torch("pruning")
    from joulecut.jobs import removing

    return removing.remove_blocks(
        model, example, blocks, count=count, share=share, threshold=threshold, data=data, device=device
    )


def prune_weights(
    model: Any,
    example: Any = None,
    *,
    pattern: str = "unstructured",
    threshold: float | None = None,
    share: float | None = None,
    count: int | None = None,
    layers: Sequence[str] = (),
    data: Any = None,
    device: str | DeviceSpec = "auto",
    seed: int = 0,
    force: bool = False,
) -> WeightResult:
    """Set single weights, n of m inputs or blocks to zero (see ``joulecut.jobs.sparsifying.prune_weights``).

    Raises:
        MissingExtra: torch is not installed.
        UsageError: no such pattern, amount, layer or device, or too few samples.
        ModelError: the network cannot be captured or re-solved.
    """
    _need_torch("pruning")
    from joulecut.jobs import sparsifying

    return sparsifying.prune_weights(
        model,
        example,
        pattern=pattern,
        threshold=threshold,
        share=share,
        count=count,
        layers=layers,
        data=data,
        device=device,
        seed=seed,
        force=force,
    )


def apply(recipe: Any, model: Any, example: Any = None, *, weights: str | Path | None = None) -> Any:
    """Make the cut of a recipe again, on a network of the author's class.

    Args:
        recipe: a ``Recipe``, its file, or the result folder that holds ``recipe.json``; the folder where
            weights were set to zero, as their masks lie beside the recipe.
        model: a torch module at its original widths; it is cut in place where its code allows it.
        example: one tensor or one per argument of ``forward``; made from the recipe by default.
        weights: a .safetensors file of the pruned network's weights, as ``weights.safetensors`` of the result
            folder; the network keeps its own without one.

    Returns:
        ``model`` itself, cut; where sizes in its code stand against that and an ``example`` is given, the cut
        copy of its captured graph.

    Raises:
        MissingExtra: torch is not installed.
        ModelError: it cannot be cut in place (with the line) and there is no example; it cannot be captured.
        UsageError: the recipe or the weights are damaged, or of another network.
    """
    _need_torch("applying a recipe")
    from joulecut.pruning.recipe import Recipe
    from joulecut.pruning.replay import replay
    from joulecut.pruning.weights.bitmaps import apply_masks
    from joulecut.pruning.weights.records import WeightRecipe
    from joulecut.workload.weights_file import load_weights

    found = recipe
    if isinstance(recipe, (str, Path)):
        found = load(Path(recipe) / "recipe.json" if Path(recipe).is_dir() else recipe)
    if not isinstance(found, (Recipe, WeightRecipe)):
        raise UsageError(f"a {type(found).__name__} is no recipe.", hint="Give recipe.json of a result.")
    if not hasattr(model, "named_parameters"):
        raise UsageError(f"a recipe applies to a torch module, not to a {type(model).__name__}.")
    if isinstance(found, WeightRecipe):
        cut = apply_masks(model, found, recipe)
    else:
        cut = replay(found, model, example)
    if weights is not None:
        load_weights(cut, weights)
    return cut


def demo(
    out_dir: str | Path,
    *,
    data_dir: str | Path | None = None,
    finetune_epochs: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> DemoResult:
    """Run the whole job on bundled data, or on Fashion-MNIST (see ``joulecut.jobs.demo.demo``)."""
    _need_torch("the demo")
    from joulecut.jobs import demo as job

    return job.demo(out_dir, data_dir=data_dir, finetune_epochs=finetune_epochs, seed=seed, progress=progress)


def benchmark(
    *paths: str | Path,
    margin: float = 0.02,
    threads: int = 1,
    max_seconds: float = 30.0,
    progress: Progress | None = None,
) -> Comparison:
    """Time .onnx files in onnxruntime and compare each with the first, call by call.

    Args:
        paths: one .onnx file or more.
        margin: relative difference that is too small to matter.
        threads: threads within an operation.
        max_seconds: time for everything.
        progress: ``progress(stage, done, total)``.

    Raises:
        UsageError: a missing file or a setting out of range.
        ModelError: a file that onnxruntime cannot run.
        NothingMeasured: too few calls in the time.
    """
    from joulecut.benchmarks import compare as bench

    def shown(share: float) -> None:
        if progress is not None:
            progress("benchmarking in onnxruntime", round(100 * share), 100)

    return bench.benchmark(paths, margin=margin, threads=threads, max_seconds=max_seconds, progress=shown)


def compare(
    a: EnergyProfile | str | Path, b: EnergyProfile | str | Path, *, margin: float = 0.02
) -> EnergyComparison:
    """The energy of profile b as a ratio of that of profile a, with its interval and a verdict.

    Raises:
        UsageError: other files than profiles, or profiles whose joules cannot be compared.
    """
    from joulecut.hw_models.comparing import compare as compare_profiles

    return compare_profiles(_profile(a), _profile(b), margin=margin)


def explain(
    subject: EnergyProfile | str | Path, layer: str | None = None, *, device: DeviceSpec | str | None = None
) -> Explanation:
    """Where the joules of a layer (or of the whole network) come from, coefficient by coefficient.

    Args:
        subject: a modelled profile.
        layer: path of the layer; the whole network by default.
        device: what it was modelled on, where that is a device file of one's own.

    Raises:
        UsageError: no profile, or no such layer (with close names).
        UnknownDevice: the profile's device is not bundled.
    """
    from joulecut.hw_models.explaining import explain as explain_profile

    return explain_profile(_profile(subject), layer or "", device=device)


def explain_steps(
    subject: PruneRecord | PruneResult | str | Path, step: int | None = None
) -> PruneExplanation:
    """Why a pruning run took its steps, with what else was at hand, and what had to stay.

    Args:
        subject: a finished run, its record, or the folder of the result.
        step: the index of one step; all by default.

    Raises:
        UsageError: no pruning run, or no such step.
    """
    from joulecut.pruning.explaining import explain_run
    from joulecut.pruning.records import PruneRecord

    found = load(subject) if isinstance(subject, (str, Path)) else getattr(subject, "record", subject)
    if not isinstance(found, PruneRecord):
        raise UsageError(f"{subject} is no pruning run.", hint="Give a folder that `joulecut prune` made.")
    return explain_run(found, step)


def calibrate(
    device: DeviceSpec | str, rows: Sequence[Any], *, power_w: float | None = None, chip: str | None = None
) -> DeviceSpec:
    """Fit a device to 1 to 16 measured networks (see ``joulecut.jobs.calibrating.calibrate``).

    Args:
        device: the prior: a device of the same kind, or its name.
        rows: (workload, joules, seconds) each, or files: tables of rows and measured profiles.
        power_w: mean power while a network runs, where seconds are all that was measured.
        chip: name of the board, the prior's by default.

    Raises:
        UsageError: rows that cannot be read or fitted to.
    """
    from joulecut.jobs import calibrating
    from joulecut.jobs.profiling import resolve_device

    return calibrating.calibrate(resolve_device(device), rows, power_w=power_w, chip=chip)


def battery(
    profile: EnergyProfile | str | Path,
    capacity: str | float,
    *,
    every: str | float | None = None,
    sleep: str | float = 0.0,
    self_discharge: str | float = 0.0,
) -> BatteryLife:
    """Inferences and time on one charge of a battery (see ``joulecut.hw_models.battery``).

    Args:
        profile: joules of one inference.
        capacity: as ``"2400 mWh"`` or ``"1200 mAh x 3.7 V"``, or in joules.
        every: how often it runs, as ``"10 s"`` or ``"360/h"``, or in seconds; without a pause by default.
        sleep: power in between, as ``"5 uW"``, or in watts.
        self_discharge: what the battery loses by itself in a month, as ``"2 %"``, or as a share.

    Raises:
        UsageError: joules counted at the wall, or a figure that makes no sense.
    """
    from joulecut.hw_models.battery import battery_life
    from joulecut.hw_models.duty import parse_capacity, parse_period, parse_self_discharge
    from joulecut.units import parse_quantity

    return battery_life(
        _profile(profile),
        parse_capacity(capacity) if isinstance(capacity, str) else capacity,
        parse_period(every) if isinstance(every, str) else every,
        parse_quantity(sleep, "W") if isinstance(sleep, str) else sleep,
        parse_self_discharge(self_discharge) if isinstance(self_discharge, str) else self_discharge,
    )


def device(name: str) -> DeviceSpec:
    """A device by name, by file, or ``"auto"``.

    Raises:
        UnknownDevice: with close names.
        DeviceFileError: a file that breaks the schema, with the path of the key.
    """
    from joulecut.hw_models.catalogue import device as find

    return find(name)


def devices() -> tuple[DeviceDescription, ...]:
    """Every bundled device, described."""
    from joulecut.hw_models.catalogue import all_devices, describe

    return tuple(describe(spec) for spec in all_devices())


def doctor(
    *,
    powercap_root: str | Path | None = None,
    nvml_library: str | Path | None = None,
    machine_root: str | Path = "/",
    seconds: float = 2.0,
    progress: Progress | None = None,
) -> Diagnosis:
    """Try every energy sensor of this machine (see ``joulecut.profiler.doctor``).

    Args:
        powercap_root: the tree of RAPL zones, where it is not the machine's own.
        nvml_library: a file to load instead of the system's ``libnvidia-ml.so.1``.
        machine_root: where the machine's ``sys``, ``proc`` and ``etc`` lie.
        seconds: longest time to watch each sensor.
        progress: ``progress(stage, done, total)``.
    """
    from joulecut.profiler.clock import SystemClock
    from joulecut.profiler.doctor import diagnose
    from joulecut.profiler.sensors.choose import Sources, openers

    sources = Sources(
        powercap=Path(powercap_root) if powercap_root else None,
        nvml_library=Path(nvml_library) if nvml_library else None,
        machine=Path(machine_root),
    )
    clock = SystemClock()
    found = openers(clock, sources)
    return diagnose(found, clock, machine=sources.machine, seconds=seconds, progress=progress)


@overload
def measure(
    work: str = "block",
    *,
    sensor: str | Sensor = "auto",
    clock: Clock | None = None,
    idle_s: float | None = None,
) -> Measuring: ...


@overload
def measure(
    work: Callable[[], object],
    *,
    label: str = "",
    sensor: str | Sensor = "auto",
    clock: Clock | None = None,
    min_s: float = 2.0,
    max_s: float = 30.0,
    half_width: float = 0.02,
    idle_s: float | None = None,
) -> Measurement: ...


def measure(
    work: str | Callable[[], object] = "block",
    *,
    label: str = "",
    sensor: str | Sensor = "auto",
    clock: Clock | None = None,
    min_s: float = 2.0,
    max_s: float = 30.0,
    half_width: float = 0.02,
    idle_s: float | None = None,
) -> Measuring | Measurement:
    """The joules of a block of code, of a function at every call, or of work that is repeated.

        with jc.measure("decode") as window:
            decode()
        window.energy                                    # joules with bounds; window.measurement: all of it

        @jc.measure("decode")                            # decode.measurements: one a call
        def decode(): ...

        measured = jc.measure(decode, min_s=5.0)         # measured.per_iteration

    Args:
        work: the name of a window; or something to be called again and again, until the 90 % interval of the
            joules of one call is narrow.
        label: what repeated work is called; its own name by default.
        sensor: auto, nvml, rapl, jetson, pyrapl or codecarbon; or an open sensor.
        clock: that an open sensor was opened with.
        min_s, max_s: the least and the most time for which work is repeated.
        half_width: relative half width of the interval that is enough.
        idle_s: idle time measured before and after, for the net joules; by default 3 s for repeated work and
            none for a block.

    Raises:
        SensorMissing, SensorDenied: no sensor can be read, with what it would take.
        UsageError: an unknown sensor, or times that make no sense.
    """
    from joulecut.profiler.evaluate import evaluate
    from joulecut.profiler.measure import Measuring, measure_repeated
    from joulecut.profiler.repeat import Patience

    if isinstance(work, str):
        return Measuring(work, sensor, clock, idle_s or 0.0)
    name = label or getattr(work, "__name__", type(work).__name__)
    patience = Patience(min_s, max_s, half_width, 3.0 if idle_s is None else idle_s)
    return evaluate(measure_repeated(work, name, sensor=sensor, clock=clock, patience=patience), name)


def save(record: object, path: str | Path) -> None:
    """Save a record as JSON, a device as TOML, or a ``PruneResult`` as a folder; whole or not at all.

    Raises:
        OutputError: the path cannot be written.
    """
    from joulecut.hw_models.spec import DeviceSpec

    saver = getattr(record, "save", None)
    if callable(saver):
        saver(path)
    elif isinstance(record, DeviceSpec):
        from joulecut.hw_models.writing import to_toml

        write_text(Path(path), to_toml([record]))
    else:
        write_text(Path(path), to_json(record))


def load(path: str | Path) -> Any:
    """Load a saved record, or the record of a result folder.

    Raises:
        UsageError: no such file.
        SchemaError: not a record, damaged, or written by a newer joulecut.
    """
    file = Path(path)
    if file.is_dir():
        file = file / "result.json"
    try:
        text = file.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror or error}.") from error
    try:
        name, _ = split_schema(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"{file} is not JSON: {error}.") from error
    if name not in RECORDS:
        raise SchemaError(f"{file} holds no record of joulecut.", hint="Give a file that joulecut saved.")
    if name == "recipe":
        _need_torch("reading a recipe")
    return from_json(text, record_type(name), where=str(file))


def report(record: Any, html_path: str | Path) -> None:
    """Write the HTML page of a record, or of a saved file or folder.

    Raises:
        UsageError: there is no page for such a record.
        OutputError: the page cannot be written.
    """
    from joulecut.benchmarks.records import Comparison
    from joulecut.hw_models.profile import EnergyProfile
    from joulecut.pruning.records import PruneRecord
    from joulecut.reports.html import render

    found = load(record) if isinstance(record, (str, Path)) else getattr(record, "record", record)
    if not isinstance(found, (Comparison, EnergyProfile, PruneRecord)):
        raise UsageError(
            f"there is no page for a {type(found).__name__}.",
            hint="Give a profile, a benchmark or a pruning run.",
        )
    write_text(Path(html_path), render(found))


def _profile(subject: EnergyProfile | str | Path) -> EnergyProfile:
    from joulecut.hw_models.profile import EnergyProfile
    from joulecut.pruning.records import PruneRecord

    found = load(subject) if isinstance(subject, (str, Path)) else subject
    if isinstance(found, PruneRecord):
        return found.after
    if not isinstance(found, EnergyProfile):
        raise UsageError(f"{subject} is no profile.", hint="Give a file that `joulecut profile -o` saved.")
    return found


def _need_torch(purpose: str) -> None:
    from importlib.util import find_spec

    if find_spec("torch") is None:
        from joulecut.errors import MissingExtra

        raise MissingExtra("torch", "torch", purpose)
