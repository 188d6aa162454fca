"""Fit the bundled device files to the published rows, and write them.

python -m perf.fit_devices [--check]

``--check`` writes nothing and exits with 1 where a file would change. Files that no row here speaks about
(the reference, generic x86 hosts, Coral, Xeon, Eyeriss) are written by hand.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import joulecut.hw_models
from joulecut.hw_models.spec import DeviceSpec, Source
from joulecut.hw_models.writing import to_toml
from perf import fit_boards, fit_microcontrollers
from perf.energy_rows import Series, all_microcontroller_series, linux_series, microcontroller_series, newest
from perf.fit_accelerators import accelerator
from perf.populations import figure

FOLDER: Final = Path(joulecut.hw_models.__file__).parent / "devices"
_CHIPS: Final = Path(__file__).parent / "data" / "chips.toml"

MEASURED: Final = (
    # chip in the catalogue, its name there, board and runtime of the rows, version, supply
    ("nucleo-l4r5zi", "x-cube-ai", "nucleo-l4r5zi", "x-cube-ai", "9.0", "1.8 V"),
    ("nucleo-l4r5zi", "x-cube-ai-8", "nucleo-l4r5zi", "x-cube-ai", "8.1.0", "1.8 V"),
    ("nucleo-l4r5zi", "x-cube-ai-7", "nucleo-l4r5zi", "x-cube-ai", "7.1", "1.8 V"),
    ("nucleo-l4r5zi", "tflm", "nucleo-l4r5zi", "tflm", "2.3.1", "1.8 V"),
    ("nucleo-l4r5zi", "microtvm-cmsis-nn", "nucleo-l4r5zi", "microtvm-cmsis-nn", "", ""),
    ("nucleo-l4r5zi", "microtvm-native", "nucleo-l4r5zi", "microtvm-native", "", ""),
    ("nucleo-l4r5zi", "onnc-zephyr", "nucleo-l4r5zi", "onnc-zephyr", "", ""),
    ("nucleo-l4r5zi", "onnc-mbed", "nucleo-l4r5zi", "onnc-mbed", "", ""),
    ("nucleo-l4r5zi-p", "x-cube-ai", "nucleo-l4r5zi-p", "x-cube-ai", "10.2", "3.0 V external SMPS"),
    ("nucleo-h7a3zi-q", "x-cube-ai", "nucleo-h7a3zi-q", "x-cube-ai", "9.0", "3.0 V SMPS"),
    ("nucleo-h7a3zi-q", "x-cube-ai-8", "nucleo-h7a3zi-q", "x-cube-ai", "8.1.0", "3.0 V SMPS"),
    ("nucleo-h7a3zi-q", "x-cube-ai-7", "nucleo-h7a3zi-q", "x-cube-ai", "7.1", "3.0 V SMPS"),
    ("nucleo-u385rg-q", "x-cube-ai", "nucleo-u385rg-q", "x-cube-ai", "10.2", "1.8 V SMPS"),
    ("efr32xg24-dk2601b", "tflm", "efr32xg24-dk2601b", "tflm-mvp", "", "1.8 V"),
    ("rx65n-cloud-kit", "tflm", "rx65n-cloud-kit", "tflm-e-ai", "", ""),
    ("gap9-0p65v", "gapflow", "gap9", "gapflow", "", "1.8 V"),
    ("syntiant-ndp9120-0p9v", "syntiant-tdk", "syntiant-ndp9120", "syntiant-tdk", "", "0.9 V"),
    ("syntiant-ndp9120-1p1v", "syntiant-tdk", "syntiant-ndp9120", "syntiant-tdk", "", "1.1 V"),
)
TIMED: Final = (
    # the same of runtimes whose latency was published and whose energy was not; the donor of joules per cycle
    ("nucleo-l4r5zi", "plumerai", "nucleo-l4r5zi", "plumerai", "nucleo-l4r5zi"),
    ("nucleo-l4r5zi", "hale", "nucleo-l4r5zi", "hale", "nucleo-l4r5zi"),
    ("nucleo-h7a3zi-q", "plumerai", "nucleo-h7a3zi-q", "plumerai", "nucleo-h7a3zi-q"),
    ("nucleo-h7a3zi-q", "hale", "nucleo-h7a3zi-q", "hale", "nucleo-h7a3zi-q"),
    ("nucleo-u575zi-q", "x-cube-ai", "nucleo-u385rg-q", "x-cube-ai", "nucleo-u385rg-q"),
    ("ek-ra6m4", "tflm", "rx65n-cloud-kit", "tflm-e-ai", ""),
    ("nucleo-g0b1re", "hale", "nucleo-g0b1re", "hale", ""),
    ("disco-f746ng", "plumerai", "disco-f746ng", "plumerai", ""),
    ("disco-f746ng", "hale", "disco-f746ng", "hale", ""),
    ("cy8cproto-062-4343w", "plumerai", "cy8cproto-062-4343w", "plumerai", ""),
    ("nrf5340-dk", "microtvm-cmsis-nn", "nrf5340-dk", "microtvm-cmsis-nn", ""),
    ("numaker-m467hj", "onnc-zephyr", "numaker-m467hj", "onnc-zephyr", ""),
    ("b-u585i-iot02a", "plumerai", "b-u585i-iot02a", "plumerai", "nucleo-u385rg-q"),
    ("ek-ra8d1", "tflm", "ek-ra8d1", "tflm-cmsis-nn", ""),
)
RUNTIMES: Final = {"jetson": "tensorrt", "nvidia": "tensorrt", "qualcomm": "cloud-ai-sdk", "sima": "sima-sdk"}


def _find(
    series: Iterable[Series], board: str, runtime: str, version: str = "", supply: str | None = None
) -> Series:
    """The newest series of a board and runtime."""
    chosen = [
        each for each in series
        if (each.first.board, each.first.runtime) == (board, runtime)
        and (not version or each.first.version == version)
        and (supply is None or each.first.supply == supply)
        and (supply is None or any(row.energy_j is not None for row in each.rows))
    ]  # fmt: skip
    return max(chosen, key=lambda each: (len(each.rows), each.first.round))


def microcontrollers(facts: Mapping[str, Any]) -> Iterator[DeviceSpec]:
    """Every microcontroller of the tables above."""
    cores, everything = microcontroller_series(), all_microcontroller_series()
    for chip, runtime, board, rows_runtime, version, supply in MEASURED:
        each = _find(everything, board, rows_runtime, version, supply)
        values = fit_microcontrollers.joules_per_cycle([each])
        source = Source(
            f"power-{runtime}",
            f"energy / (latency x clock) of {len(values)} networks, {supply or 'voltage not stated'}, "
            f"geometric mean; MLPerf Tiny {each.first.round.replace('tiny-', 'v')}, energy mode",
            "measured",
        )
        energy = figure("pj_per_cycle", fit_microcontrollers.mean(values), source, min(values), max(values))
        yield fit_microcontrollers.core_device(
            chip, runtime, each, cores, facts[chip], energy=energy, mode=f"calibrated-{len(values)}"
        )
    boards = {each.first.board: [] for each in cores}  # type: dict[str, list[float]]
    for each in cores:
        boards[each.first.board] += fit_microcontrollers.joules_per_cycle([each])
    means = {board: fit_microcontrollers.mean(values) for board, values in boards.items() if values}
    for chip, runtime, board, rows_runtime, donor in TIMED:
        yield _timed(chip, runtime, _find(cores, board, rows_runtime), cores, facts[chip], means, donor)


def _timed(
    chip: str,
    runtime: str,
    each: Series,
    cores: Sequence[Series],
    facts: Mapping[str, Any],
    means: Mapping[str, float],
    donor: str,
) -> DeviceSpec:
    """A microcontroller whose cycles are known and whose joules per cycle are taken from elsewhere."""
    text = (
        f"geometric mean of the published rows of {donor}"
        if donor
        else f"geometric mean of {', '.join(sorted(means))}: this chip's own was not published"
    )
    own = donor == chip
    source = Source(f"power-{runtime}", text, "measured" if own else "assumed")
    value = means[donor] if donor else fit_microcontrollers.mean(list(means.values()))
    low, high = (None, None) if donor else (min(means.values()), max(means.values()))
    note = "" if own else "No joule of it was published: cycles of its core, joules per cycle of others."
    return fit_microcontrollers.core_device(
        chip, runtime, each, cores, facts,
        energy=figure("pj_per_cycle", value, source, low, high),
        mode="scaled" if own else "datasheet", note=note,
    )  # fmt: skip


def boards(facts: Mapping[str, Any]) -> Iterator[DeviceSpec]:
    """Linux boards, generic ones, and those that have another's cores."""
    series = newest(linux_series())
    for each in series:
        yield fit_boards.board(each, series, facts[each.first.chip])
    for runtime in ("tflite", "armnn-neon"):
        for dtype in ("float32", "int8"):
            yield fit_boards.generic("generic-aarch64", runtime, dtype, "aarch64", series)
    yield fit_boards.generic("generic-aarch64", "tflite", "float32", "aarch64", series, name="any")
    for dtype in ("float32", "int8"):
        yield fit_boards.generic("generic-mali", "armnn-opencl", dtype, "Arm Mali GPU of a board", series)
    rk3588s = [fit_boards.board(each, series, facts["firefly-rk3588s"]) for each in series if
               (each.first.chip, each.first.runtime) == ("firefly-rk3588s", "tflite")]  # fmt: skip
    remembered = Source("board", "typical idle and peak power of the board, not confirmed", "remembered")
    for donor in rk3588s:
        yield fit_boards.like_another(
            donor, "raspberry-pi-5", "4x Cortex-A76 (BCM2712)",
            {
                "clock_mhz": figure("clock_mhz", 2400e6, remembered),
                "idle_w": figure("idle_w", 2.7, remembered),
                "active_w": figure("active_w", 8.0, remembered),
            },
            "Coefficients of another board with the same Cortex-A76 cores.",
        )  # fmt: skip
        yield fit_boards.like_another(
            donor, "generic-phone", "4x Cortex-A76 class",
            {}, "A phone is a guess: coefficients of a board with cores of that class, measured at the wall "
            "and taken for the battery rail, its power supply's losses included.",
            category="phone", boundary="board_dc",
        )  # fmt: skip
    for each in series:
        if (each.first.chip, each.first.runtime) == ("raspberry-pi-4b", "tflite"):
            yield fit_boards.like_another(
                fit_boards.board(each, series, facts["raspberry-pi-4b"]),
                "raspberry-pi-3b", "4x Cortex-A53 (BCM2837)",
                {
                    "clock_mhz": figure("clock_mhz", 1200e6, remembered),
                    "idle_w": figure("idle_w", 1.4, remembered),
                    "active_w": figure("active_w", 3.7, remembered),
                },
                "Coefficients of its successor, with other cores.",
            )  # fmt: skip


def files() -> dict[str, str]:
    """Text of each device file by chip."""
    facts = tomllib.loads(_CHIPS.read_text(encoding="utf-8"))["chip"]
    found: dict[str, list[DeviceSpec]] = {}
    for spec in (*microcontrollers(facts), *boards(facts)):
        found.setdefault(spec.chip, []).append(spec)
    for chip, known in facts.items():
        if known["kind"] == "accelerator":
            found[chip] = [accelerator(chip, RUNTIMES[chip.split("-")[0]], known)]
    return {chip: to_toml(specs, comment=_COMMENT) for chip, specs in found.items()}


_COMMENT: Final = "Fitted to published rows: python -m perf.fit_devices"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail where a file would change")
    check = parser.parse_args().check
    changed = []
    for chip, text in files().items():
        path = FOLDER / f"{chip}.toml"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            changed.append(path.name)
            if not check:
                path.write_text(text, encoding="utf-8")
    print(f"{'would change' if check else 'wrote'} {len(changed)}: {', '.join(changed)}")
    if check and changed:
        sys.exit(1)


if __name__ == "__main__":
    main()
