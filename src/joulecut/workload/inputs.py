"""Example inputs of a network: read from text, made with a seed."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from joulecut.errors import MissingExtra, UsageError
from joulecut.units import format_quantity
from joulecut.workload.layer import DTYPE_BITS

if TYPE_CHECKING:
    import torch

__all__ = ["InputSpec", "arranged", "example", "parse_inputs"]

_INPUT: Final = re.compile(r"(?:(?P<name>[A-Za-z_]\w*)=)?(?P<shape>\d+(?:x\d+)*)(?::(?P<dtype>\w+))?")


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input: its name ("" for the next position), shape with the batch first, and type."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


def parse_inputs(text: str) -> tuple[InputSpec, ...]:
    """Read ``--input``: shapes with optional names and types, separated by commas.

    Raises:
        UsageError: not of that form, an unknown type, a size of 0, or a name given twice.

    >>> parse_inputs("1x3x224x224:float32,ids=1x128:int64")[1]
    InputSpec(name='ids', shape=(1, 128), dtype='int64')
    """
    specs = tuple(_input(part.strip()) for part in text.split(","))
    names = [spec.name for spec in specs if spec.name]
    twice = next((name for name in names if names.count(name) > 1), "")
    if twice:
        raise UsageError(f"the input {twice[:80]} is given twice.")
    return specs


def _input(part: str) -> InputSpec:
    match = _INPUT.fullmatch(part)
    if match is None:
        raise UsageError(
            f"{part[:80]!r} is no input:", hint="write a shape, as 1x3x224x224 or ids=1x128:int64."
        )
    shape = tuple(int(size) for size in match["shape"].split("x"))
    dtype = match["dtype"] or "float32"
    if 0 in shape:
        raise UsageError(f"the input {part[:80]!r} is empty:", hint="write sizes of 1 or more.")
    if DTYPE_BITS.get(dtype, 0) < 8:
        known = ", ".join(name for name, bits in DTYPE_BITS.items() if bits >= 8)
        raise UsageError(f"{dtype[:40]!r} is no type of an input.", hint=f"Types: {known}.")
    return InputSpec(match["name"] or "", shape, dtype)


def arranged(specs: tuple[InputSpec, ...], names: tuple[str, ...]) -> tuple[InputSpec, ...]:
    """The inputs in the order in which a network takes them; those without a name fill the free places.

    Args:
        specs: what the user gave.
        names: what the network calls its inputs, in order.

    Raises:
        UsageError: a name that the network does not have, or none for a place before the last one.

    >>> [spec.shape for spec in arranged(parse_inputs("mask=1x1,1x2"), ("x", "mask"))]
    [(1, 2), (1, 1)]
    """
    given = {spec.name: spec for spec in specs if spec.name}
    unnamed = [spec for spec in specs if not spec.name]
    unknown = next((name for name in given if name not in names), "")
    if unknown:
        known = ", ".join(names) or "none by name"
        raise UsageError(f"the network has no input {unknown[:80]!r}.", hint=f"Its inputs: {known}.")
    ordered = []
    for name in names[: len(specs)]:
        if name not in given and not unnamed:
            raise UsageError(f"the input {name[:80]} is missing:", hint="give its shape too.")
        ordered.append(given[name] if name in given else unnamed.pop(0))
    return (*ordered, *unnamed)


def example(specs: tuple[InputSpec, ...], seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Example tensors: standard normal floats; integers 0 or 1, which any table of two rows can look up.

    Args:
        specs: the inputs.
        seed: of the random numbers; the same seed gives the same tensors.

    Raises:
        MissingExtra: torch is not installed.
        UsageError: they are larger than the free memory.

    >>> example(parse_inputs("2x3"))[0].shape
    torch.Size([2, 3])
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        raise MissingExtra("torch", "torch", "An example input") from error
    _check_room(specs)
    generator = torch.Generator().manual_seed(seed)
    made = []
    for spec in specs:
        dtype: torch.dtype = getattr(torch, spec.dtype)
        if dtype.is_floating_point:
            made.append(torch.randn(spec.shape, generator=generator).to(dtype))
        else:
            made.append(torch.randint(0, 2, spec.shape, generator=generator).to(dtype))
    return tuple(made)


def _check_room(specs: tuple[InputSpec, ...]) -> None:
    from psutil import virtual_memory

    needed = sum(math.prod(spec.shape) * DTYPE_BITS[spec.dtype] // 8 for spec in specs)
    free = int(virtual_memory().available)
    if needed > free:
        sizes = format_quantity(needed, "B"), format_quantity(free, "B")
        raise UsageError(
            f"the input takes {sizes[0]} of memory, and {sizes[1]} are free:",
            hint="give a smaller batch or shape.",
        )
