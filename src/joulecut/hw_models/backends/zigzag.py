"""ZigZag's search of mappings for accelerators of one's own, as an ``EnergyProfile``.

ZigZag (Mei et al., IEEE Trans. Computers 70(8), 2021, doi 10.1109/TC.2021.3059962; ``joulecut[zigzag]``)
takes an accelerator and its mapping as YAML and searches the loop order and tiling of every convolution and
matrix product. Its energies have no unit of their own: they are in that of the costs in the accelerator's
file, which is the picojoule in every file that comes with it, and here unless the caller says otherwise.
There is no static power in them, and no layer but those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from math import fsum, prod
from pathlib import Path
from typing import Any, Final

from joulecut.errors import MissingExtra, ModelError, UsageError
from joulecut.hw_models.backends.cache import cached, content_key
from joulecut.hw_models.backends.modelled import modelled_profile, modelled_row
from joulecut.hw_models.profile import EnergyProfile
from joulecut.workload.layer import Uncounted

__all__ = ["MappedLayer", "search", "zigzag_profile"]

_STAGES: Final = (
    ("parser.onnx_model_parser", "ONNXModelParserStage"),
    ("parser.accelerator_parser", "AcceleratorParserStage"),
    ("results.reduce_stages", "SumStage"),
    ("workload_iterator", "WorkloadStage"),
    ("results.reduce_stages", "MinimalEnergyStage"),
    ("mapping.spatial_mapping_generation", "SpatialMappingGeneratorStage"),
    ("results.reduce_stages", "MinimalEnergyStage"),
    ("mapping.temporal_mapping_generator_stage", "TemporalMappingGeneratorStage"),
    ("evaluation.cost_model_evaluation", "CostModelStage"),
)
"""The stages of ``zigzag.api.get_hardware_performance_zigzag`` that compute, without those that write logs,
plots and pickles."""


@dataclass(frozen=True, slots=True)
class MappedLayer:
    """A layer as ZigZag maps it at least energy.

    Attributes:
        name: of its ONNX node.
        op: its operator.
        loops: size of each loop (B, K, G, OX, OY, C, FX, FY of a convolution).
        stride: of its rows and columns.
        bits: width of each operand's elements (W, I, O, O_final).
        memory: energy in each memory of each operand, innermost first, in the accelerator's unit.
        total: energy of the layer, in that unit.
        cycles: its time.
    """

    name: str
    op: str
    loops: dict[str, int]
    stride: int
    bits: dict[str, int]
    memory: dict[str, tuple[float, ...]]
    total: float
    cycles: float

    @property
    def offchip(self) -> float:
        """Energy in the outermost memory of every operand."""
        return fsum(levels[-1] for levels in self.memory.values())


def search(model: Path, accelerator: Path, mapping: Path, *, lpf_limit: int = 6) -> tuple[MappedLayer, ...]:
    """The best mapping of every convolution and matrix product; takes seconds to minutes a network.

    Args:
        model: an .onnx file with known shapes; its weights are not read.
        accelerator: ZigZag's YAML of the hardware.
        mapping: ZigZag's YAML of the spatial mapping.
        lpf_limit: loop prime factors whose orders are searched; more take longer and cost less energy.

    Raises:
        MissingExtra: ZigZag is not installed.
        UsageError: a file that is missing or that ZigZag refuses.
        ModelError: a network without a layer that ZigZag maps.
    """
    for file in (model, accelerator, mapping):
        if not file.is_file():
            raise UsageError(f"there is no file {file}.")
    try:
        main = import_module("zigzag.stages.main").MainStage
        stages = [getattr(import_module(f"zigzag.stages.{module}"), name) for module, name in _STAGES]
        uneven = import_module("zigzag.mapping.temporal_mapping").TemporalMappingType.UNEVEN
    except ImportError as error:
        raise MissingExtra("zigzag-dse", "zigzag", "a ZigZag accelerator") from error
    try:
        found = main(
            stages,
            accelerator=str(accelerator),
            workload=str(model),
            mapping=str(mapping),
            loma_lpf_limit=lpf_limit,
            loma_show_progress_bar=False,
            nb_mappings_generated=3,
            enable_mix_spatial_mapping_generation=False,
            access_same_data_considered_as_no_access=True,
            temporal_mapping_type=uneven,
        ).run()
    except (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        what = " ".join(str(error).split())[:200] or type(error).__name__
        raise UsageError(f"ZigZag cannot map {model.name} on {accelerator.name}: {what}.") from error
    return tuple(_mapped(evaluation) for evaluation, _ in found[0][1])


def _mapped(evaluation: Any) -> MappedLayer:
    layer = evaluation.layer
    memory = evaluation.mem_energy_breakdown.items()
    return MappedLayer(
        name=str(layer.name),
        op=str(layer.type),
        loops={str(loop): int(size) for loop, size in layer.layer_dim_sizes.data.items()},
        stride=max((int(each.coef_2) for each in layer.dimension_relations), default=1),
        bits={str(operand): int(bits) for operand, bits in layer.operand_precision.data.items()},
        memory={str(operand): tuple(map(float, levels)) for operand, levels in memory},
        total=float(evaluation.energy_total),
        cycles=float(evaluation.latency_total2),
    )


def zigzag_profile(
    model: str | Path,
    accelerator: str | Path,
    mapping: str | Path,
    *,
    unit_j: float = 1e-12,
    clock_hz: float | None = None,
    lpf_limit: int = 6,
    cache: Path | None = None,
) -> EnergyProfile:
    """Joules of one inference on an accelerator of one's own, by ZigZag.

    Args:
        model: an .onnx file with known shapes.
        accelerator: ZigZag's YAML of the hardware.
        mapping: ZigZag's YAML of the spatial mapping.
        unit_j: joules of the unit that the accelerator's costs are written in; the picojoule by default.
        clock_hz: cycles a second; without it there is no time.
        lpf_limit: how far orders of loops are searched (see ``search``).
        cache: where results are kept, by content; the user's cache by default.

    Returns:
        A profile in mode ``datasheet``, as nothing of it was measured; layers that ZigZag does not map are
        listed as uncounted.

    Raises:
        MissingExtra: ZigZag is not installed.
        UsageError, ModelError: see ``search``; a unit or a clock that is not positive.
    """
    if unit_j <= 0 or (clock_hz is not None and clock_hz <= 0):
        raise UsageError("the unit of energy and the clock must be above 0.")
    files = [Path(each) for each in (model, accelerator, mapping)]
    for file in files:
        if not file.is_file():
            raise UsageError(f"there is no file {file}.")
    try:
        release = version("zigzag-dse")
    except PackageNotFoundError as error:
        raise MissingExtra("zigzag-dse", "zigzag", "a ZigZag accelerator") from error
    settings = f"{release} {unit_j!r} {clock_hz!r} {lpf_limit}"

    def make() -> EnergyProfile:
        layers = search(*files, lpf_limit=lpf_limit)
        return _profile(files, layers, unit_j, clock_hz, release)

    key = content_key(
        "zigzag", settings, files[0].name, files[1].name, *(file.read_bytes() for file in files)
    )
    return cached(cache, key, make)


def _profile(
    files: Sequence[Path], layers: Sequence[MappedLayer], unit_j: float, clock_hz: float | None, release: str
) -> EnergyProfile:
    model, accelerator, mapping = files
    device = f"{accelerator.stem}/zigzag/int{max((each.bits.get('W', 8) for each in layers), default=8)}"
    rows = [
        modelled_row(
            device,
            path=each.name,
            op=each.op.lower(),
            macs=prod(each.loops.values()),
            energy_j=each.total * unit_j,
            duration_s=each.cycles / clock_hz if clock_hz else 0.0,
            bound_by="off-chip bytes" if each.offchip > each.total / 2 else "compute",
        )
        for each in layers
    ]
    if not rows:
        raise ModelError(f"{model} holds no layer that ZigZag maps.")
    return modelled_profile(
        model.stem,
        device,
        "definition",
        rows,
        uncounted=_unmapped(model),
        provenance={
            "tool": f"zigzag-dse {release}, least energy over searched mappings",
            "accelerator": f"{accelerator.name}, mapping {mapping.name}",
            "unit": f"{unit_j:g} J for each unit of energy in {accelerator.name}",
            "warning": "no static power and no layers but convolutions and matrix products",
        },
    )


def _unmapped(model: Path) -> tuple[Uncounted, ...]:
    """The layers of a network that no mapping is searched for."""
    from joulecut.workload.from_onnx import workload

    reason = "ZigZag maps convolutions and matrix products only"
    left = [layer for layer in workload(model).layers if not layer.macs]
    return tuple(Uncounted(layer.op, layer.path, layer.calls, reason) for layer in left)
