"""Devices as the text of a device file: what ``parse_devices`` reads back as the same records."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Final

from joulecut.errors import UsageError
from joulecut.hw_models.calibration import Calibration
from joulecut.hw_models.device_file import SCHEMA
from joulecut.hw_models.sparsity_file import NEEDED
from joulecut.hw_models.spec import DeviceSpec, Figure, Source, SparsitySupport

__all__ = ["to_toml"]

_HEAD: Final = ("chip", "category", "core", "boundary")


def to_toml(devices: Iterable[DeviceSpec], *, comment: str = "") -> str:
    """The device file of one chip.

    Args:
        devices: the devices of one chip: same core, category and boundary.
        comment: a line to begin with.

    Raises:
        UsageError: no device, devices of several chips, or two sources of one name.

    >>> from joulecut.hw_models.catalogue import device
    >>> from joulecut.hw_models.device_file import parse_devices
    >>> board = device("raspberry-pi-4b/tflite/float32")
    >>> parse_devices(to_toml([board]), "again") == (board,)
    True
    """
    chosen = tuple(devices)
    heads = {tuple(getattr(each, key) for key in _HEAD) for each in chosen}
    if len(heads) != 1:
        raise UsageError("a device file holds the devices of one chip, with one core and one boundary.")
    lines = [*([f"# {comment}"] if comment else []), f"schema = {SCHEMA}"]
    lines += [f"{key} = {_text(getattr(chosen[0], key))}" for key in _HEAD]
    for source in _sources(chosen):
        lines += [
            "",
            f"[source.{source.id}]",
            f"text = {_text(source.text)}",
            f"evidence = {_text(source.evidence)}",
        ]
        lines += [f"date = {_text(source.date)}"] if source.date else []
    for each in chosen:
        lines += ["", f"[{_table(each)}]", *_device(each)]
    for runtime, entry in dict.fromkeys((each.runtime, entry) for each in chosen for entry in each.sparsity):
        lines += ["", "[[sparsity]]", f"runtimes = [{_text(runtime)}]", *_sparsity(entry)]
    return "\n".join(lines) + "\n"


def _sources(devices: Iterable[DeviceSpec]) -> tuple[Source, ...]:
    found: dict[str, Source] = {}
    for each in devices:
        for source in each.sources:
            if found.setdefault(source.id, source) != source:
                raise UsageError(f"two sources are called {source.id!r}.")
    return tuple(found.values())


def _table(spec: DeviceSpec) -> str:
    runtime = _text(spec.runtime) if "." in spec.runtime else spec.runtime
    return f"runtime.{runtime}.{spec.dtype}"


def _device(spec: DeviceSpec) -> Iterator[str]:
    yield f"mode = {_text(spec.mode)}"
    if spec.prior_only:
        yield "prior_only = true"
    if spec.runtime_version:
        yield f"runtime_version = {_text(spec.runtime_version)}"
    if spec.note:
        yield f"note = {_text(spec.note)}"
    if spec.pads:
        yield f"pads = [{', '.join(map(_text, spec.pads))}]"
    for figure in spec.figures.values():
        yield f"{figure.key} = {_figure(figure)}"
    if spec.calibration is not None:
        yield ""
        yield f"[{_table(spec)}.calibration]"
        yield from _calibration(spec.calibration)


def _sparsity(entry: SparsitySupport) -> Iterator[str]:
    """What its kind must say, and what is not as it is by default."""
    for field in fields(entry):
        value = getattr(entry, field.name)
        if field.name == "source":
            yield f"source = {_text(value.id)}"
        elif value != field.default or field.name in NEEDED[entry.kind]:
            yield f"{field.name} = {_plain(value)}"


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_plain, value))}]"
    return _number(value) if isinstance(value, (int, float)) else _text(str(value))


def _figure(figure: Figure) -> str:
    parts = [f"value = {_number(figure.value)}", f"source = {_text(figure.source.id)}"]
    if figure.low is not None and figure.high is not None:
        parts.append(f"range = [{_number(figure.low)}, {_number(figure.high)}]")
    return f"{{ {', '.join(parts)} }}"


def _calibration(calibration: Calibration) -> Iterator[str]:
    yield f"prior = {_text(calibration.prior)}"
    yield f"digest = {_text(calibration.digest)}"
    if calibration.power_w is not None:
        yield f"power_w = {_number(calibration.power_w)}"
    yield "rows = ["
    for row in calibration.rows:
        latency = "" if row.latency_s is None else f"latency_s = {_number(row.latency_s)}, "
        yield (
            f"  {{ network = {_text(row.network)}, macs = {row.macs}, energy_j = {_number(row.energy_j)}, "
            f"{latency}residual = {_number(row.residual)} }},"
        )
    yield "]"


def _number(value: float) -> str:
    """The shortest text that reads back as the same number."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def _text(value: str) -> str:
    """A basic string: TOML escapes what JSON escapes, DEL aside."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
