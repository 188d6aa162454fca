"""``[[sparsity]]`` of a device file: which zero weights save joules, for which layers, and who says so.

A file without such an entry describes a chip whose zeros cost what other values cost::

    [[sparsity]]
    kind = "nm"                       # at most n of m consecutive inputs are not zero
    n = 2
    m = 4
    ops = ["linear"]
    dtypes = ["float16", "int8"]
    min_dims = [64, 64, 64]           # outputs, inputs, positions
    mac_scale = 0.5                   # energy and time of the MACs
    weight_bytes_scale = 0.5625       # half the values, and 2 bits of position for each
    source = "fit"

    [[sparsity]]
    kind = "gate"                     # a zero switches its multiplier off
    operand = "weight"
    ops = ["conv2d", "linear"]
    dtypes = ["int8"]
    mac_energy_saved = 0.9
    source = "fit"

``block`` takes ``rows``, ``columns``, ``mac_energy_saved``, ``time_saved`` and ``bits_per_nonzero``;
``compressed`` takes ``bits_per_nonzero``. ``runtimes`` narrows an entry to some runtimes of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, cast, get_args

from joulecut.hw_models.checks import Checks
from joulecut.hw_models.figures import close_key
from joulecut.hw_models.spec import Source, SparsityKind, SparsitySupport
from joulecut.workload.layer import DTYPE_BITS

__all__ = ["NEEDED", "SPARSE_OPS", "SparsityTables"]

SPARSE_OPS: Final = ("conv1d", "conv2d", "conv3d", "linear")
"""Operations whose weights can be pruned one by one."""

_COMMON: Final = ("kind", "ops", "dtypes", "runtimes", "min_dims", "source")
_COUNTS: Final[dict[str, tuple[str, ...]]] = {"nm": ("n", "m"), "block": ("rows", "columns")}
NEEDED: Final[dict[str, tuple[str, ...]]] = {
    "nm": ("mac_scale", "weight_bytes_scale"),
    "block": ("mac_energy_saved",),
    "gate": ("mac_energy_saved",),
    "compressed": ("bits_per_nonzero",),
}
"""What an entry of a kind must say, besides its pattern."""
_OPTIONAL: Final[dict[str, tuple[str, ...]]] = {
    "block": ("time_saved", "bits_per_nonzero"),
    "gate": ("time_saved", "operand"),
}
_MOST_BITS: Final = 128.0


class SparsityTables(Checks):
    """Reads the entries ``[[sparsity]]`` of one file.

    Args:
        where: what to call the file in an error.
        sources: the sources that the file lists.
        runtimes: the runtimes that it describes.
    """

    def __init__(self, where: str, sources: Mapping[str, Source], runtimes: tuple[str, ...]) -> None:
        super().__init__(where)
        self.sources = sources
        self.runtimes = runtimes

    def read(self, value: object) -> dict[str, tuple[SparsitySupport, ...]]:
        """The entries that hold for each runtime, in the order of the file.

        Raises:
            DeviceFileError: an unknown or missing key, a value out of range, a source that is not listed.
        """
        if not isinstance(value, list) or not value:
            raise self.fail("sparsity", f"is {value!r}, not a list of tables", "Write [[sparsity]].")
        found: dict[str, tuple[SparsitySupport, ...]] = {}
        for number, each in enumerate(value):
            at = f"sparsity[{number}]"
            table = self.as_table(each, at)
            entry = self._entry(table, at)
            narrow = (
                self._words(table, "runtimes", at, self.runtimes) if "runtimes" in table else self.runtimes
            )
            found |= {runtime: (*found.get(runtime, ()), entry) for runtime in narrow}
        return found

    def _entry(self, table: Mapping[str, Any], at: str) -> SparsitySupport:
        kind = cast(SparsityKind, self.text(table, "kind", f"{at}.kind"))
        self.choice(f"{at}.kind", kind, get_args(SparsityKind))
        counts, needed, optional = (each.get(kind, ()) for each in (_COUNTS, NEEDED, _OPTIONAL))
        self.known(table, at, (*_COMMON, *counts, *needed, *optional))
        return SparsitySupport(
            kind=kind,
            ops=self._words(table, "ops", at, SPARSE_OPS),
            dtypes=self._words(table, "dtypes", at, tuple(DTYPE_BITS)),
            min_dims=self._dims(table, at) if "min_dims" in table else (1, 1, 1),
            source=self._source(table, at),
            operand=self._operand(table, at),
            **self._counts(table, counts, at),
            **self._effects(table, (*needed, *(key for key in optional if key in table)), at),
        )

    def _words(
        self, table: Mapping[str, Any], key: str, at: str, allowed: tuple[str, ...]
    ) -> tuple[str, ...]:
        found = table.get(key)
        if not isinstance(found, list) or not found:
            raise self.fail(f"{at}.{key}", "is missing" if found is None else f"is {found!r}, not a list")
        for word in found:
            self.choice(f"{at}.{key}", word, allowed)
        return tuple(found)

    def _dims(self, table: Mapping[str, Any], at: str) -> tuple[int, int, int]:
        found = table["min_dims"]
        if not isinstance(found, list) or len(found) != 3:
            raise self.fail(f"{at}.min_dims", f"is {found!r}, not [outputs, inputs, positions]")
        outputs, inputs, positions = (self._whole({"min_dims": each}, "min_dims", at) for each in found)
        return outputs, inputs, positions

    def _counts(self, table: Mapping[str, Any], keys: tuple[str, ...], at: str) -> dict[str, int]:
        found = {key: self._whole(table, key, at) for key in keys}
        if keys == ("n", "m") and found["n"] >= found["m"]:
            raise self.fail(f"{at}.n", f"is {found['n']}, not below m = {found['m']}")
        if found.get("rows", 0) * found.get("columns", 0) == 1:
            raise self.fail(f"{at}.rows", "and columns are 1, which is no block", 'Write kind = "gate".')
        return found

    def _whole(self, table: Mapping[str, Any], key: str, at: str) -> int:
        value = self.number(table, key, f"{at}.{key}")
        if value < 1 or value != int(value):
            raise self.fail(f"{at}.{key}", f"is {value:g}, not a whole number from 1 up")
        return int(value)

    def _effects(self, table: Mapping[str, Any], keys: tuple[str, ...], at: str) -> dict[str, Any]:
        """What zeros are worth; every one of them lies in a range that cannot make energy negative."""
        found = {key: self.number(table, key, f"{at}.{key}") for key in keys if key != "operand"}
        for key, value in found.items():
            above_0 = key in ("mac_scale", "weight_bytes_scale", "bits_per_nonzero")
            most = _MOST_BITS if key == "bits_per_nonzero" else 1.0
            if not 0 <= value <= most or (above_0 and value == 0):
                raise self.fail(
                    f"{at}.{key}", f"is {value:g}, not {'above' if above_0 else 'from'} 0 to {most:g}"
                )
        return found

    def _operand(self, table: Mapping[str, Any], at: str) -> Literal["weight", "activation"]:
        found = table.get("operand", "weight")
        self.choice(f"{at}.operand", found, ("weight", "activation"))
        return cast(Literal["weight", "activation"], found)

    def _source(self, table: Mapping[str, Any], at: str) -> Source:
        name = self.text(table, "source", f"{at}.source")
        if name not in self.sources:
            near = close_key(name, tuple(self.sources))
            hint = f"Did you mean {near!r}?" if near else f"Add a table [source.{name}]."
            raise self.fail(f"{at}.source", f"names {name!r}, which is no source of this file", hint)
        return self.sources[name]
