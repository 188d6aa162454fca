"""Files of exported programs (.pt2): read only when nothing in them can run, written without a pickle.

``torch.export.load`` (torch 2.13, ``torch/export/pt2_archive/_package.py``) unpickles the example inputs,
tensors and constants whose entry says ``use_pickle``, and custom objects; it looks operations up by dotted
name anywhere in torch, and evaluates the text of symbolic sizes. So the archive is looked at as bytes and
JSON first. Only plain tensors, JSON, operations of ``torch.ops`` and arithmetic pass.
"""

from __future__ import annotations

import io
import json
import pickletools
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from joulecut.codec import write_bytes
from joulecut.errors import ModelError, UsageError

if TYPE_CHECKING:
    from torch.export import ExportedProgram

__all__ = ["check_program", "load_program", "save_program"]

_PLAIN: Final = re.compile(
    r"(data/weights/(weight_\d+|\w+_config\.json)|data/constants/(tensor_\d+|\w+_config\.json)|models/\w+\.json"
    r"|data/sample_inputs/\w+\.pt|archive_format|archive_version|byteorder|version|\.data/\w+|\.format_version"
    r"|\.storage_alignment)"
)
"""What ``torch.export.save`` writes; sample inputs only pass where they are empty."""

_TARGET: Final = re.compile(
    r"torch\.ops\.(?!\w*__)\w+\.(?!__)\w+(\.\w+)?|_operator\.(?!__|call$|\w*caller$|\w*getter$)\w+"
    r"|math\.(?!__)\w+|torch\.(sym_(?!_)\w+|_sym_sqrt)"
)
_SYMBOLIC: Final = re.compile(r"[\w\s+\-*/%(),<>=!&|.]*")
_SYMBOL: Final = re.compile(r"'[a-z]+\d*'")
_WORDS: Final = frozenset({
    "Symbol", "Integer", "Rational", "Float", "Add", "Mul", "Pow", "Max", "Min", "Mod", "PythonMod",
    "FloorDiv", "CeilDiv", "CleanDiv", "ModularIndexing", "IntTrueDiv", "FloatTrueDiv", "PowByNatural",
    "FloatPow", "ToFloat", "TruncToInt", "TruncToFloat", "RoundToInt", "RoundDecimal", "CeilToInt",
    "FloorToInt", "Where", "Identity", "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "And", "Or", "Not", "Equality",
    "Unequality", "StrictLessThan", "LessThan", "StrictGreaterThan", "GreaterThan", "floor", "ceiling",
    "sqrt", "Abs", "oo", "int_oo", "True", "False", "true", "false", "precision", "integer", "positive",
    "negative", "nonnegative", "nonzero", "real", "finite", "zero",
})  # fmt: skip
"""What torch writes into sizes: symbols, sympy's arithmetic and torch's own (``torch.utils._sympy``)."""

_PICKLE: Final = re.compile(rb"\x80[\x02-\x05]")
_RUNS_CODE: Final = frozenset({
    "GLOBAL", "STACK_GLOBAL", "INST", "REDUCE", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD",
})  # fmt: skip
"""Opcodes with which a pickle names or calls something."""


def load_program(path: Path) -> ExportedProgram:
    """Load a .pt2 file that ``check_program`` lets pass.

    Raises:
        ModelError: as ``check_program``, or torch cannot read the file.
        UsageError: no such file.
    """
    import torch

    from joulecut.workload.quiet import quiet_torch

    check_program(path)
    try:
        with quiet_torch():
            return torch.export.load(path)
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(f"torch {torch.__version__} cannot load {path}: {reason[0][:200]}.") from error


def save_program(exported: ExportedProgram, path: Path) -> None:
    """Write an exported program without its example inputs, the only thing that torch would pickle.

    Raises:
        ModelError: the program holds something else that torch can only pickle (custom objects).
        OutputError: the file cannot be written; nothing is left behind.
    """
    import torch

    example, exported._example_inputs = exported.example_inputs, None
    buffer = io.BytesIO()
    try:
        torch.export.save(exported, buffer)
    finally:
        exported._example_inputs = example
    reason = _danger(buffer)
    if reason:
        raise ModelError(f"the program cannot be saved without a pickle: it {reason}.")
    write_bytes(path, buffer.getvalue())


def check_program(path: Path) -> None:
    """Refuse a .pt2 file that could run code when it is loaded; nothing in it is run to find out.

    Raises:
        ModelError: it holds a pickle or names something to run, or is no exported program.
        UsageError: no such file.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}.", hint="Give the path of a .pt2 file.")
    try:
        reason = _danger(path)
    except (
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        OSError,
        ValueError,
        RecursionError,
    ) as error:
        raise ModelError(f"{path} is no program saved by torch.export: {error}.") from error
    if reason:
        raise ModelError(
            f"{path} is refused unread: it {reason}, which would run code when loaded.",
            hint="Save the program without example inputs (exported._example_inputs = None), or give .onnx.",
        )


def _danger(file: Path | io.BytesIO) -> str:
    """What is wrong with an archive, as "holds ..." or "names ..."; "" if it is harmless."""
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        if len(set(names)) != len(names):
            return "holds two members of one name"
        for name in names:
            inner = name.partition("/")[2]
            content = archive.read(name)
            if content and (not _PLAIN.fullmatch(inner) or inner.startswith("data/sample_inputs/")):
                return f"holds the pickled member {name[:80]}" if _is_pickled(content) else _foreign(name)
            if _is_pickled(content):
                return f"holds the pickled member {name[:80]}"
            if inner.endswith(".json"):
                reason = _json_danger(json.loads(content))
                if reason:
                    return reason
    return ""


def _foreign(name: str) -> str:
    return f"holds the member {name[:80]}, which is neither a plain tensor nor JSON"


def _is_pickled(content: bytes) -> bool:
    """Whether bytes are a pickle, whole or as far as it runs, or an archive (torch.save) that holds one."""
    if content.startswith(b"PK\x03\x04"):
        return True
    if not _PICKLE.match(content):
        return False
    try:
        for operation, _, position in pickletools.genops(content):
            if operation.name in _RUNS_CODE or (operation.name == "STOP" and position == len(content) - 1):
                return True
    except ValueError:  # raw weights that happen to start like a pickle
        return False
    return False


def _json_danger(document: Any) -> str:
    for key, value in _entries(document):
        if key == "use_pickle" and value:
            return "holds a pickled tensor"
        if key in ("target", "as_operator") and isinstance(value, str) and not _TARGET.fullmatch(value):
            return f"names {value[:80]!r} as an operation"
        if key == "expr_str" and isinstance(value, str) and not _is_arithmetic(value):
            return f"names {value[:80]!r} as a size"
    return ""


def _is_arithmetic(text: str) -> bool:
    text = _SYMBOL.sub("", text)
    words = re.findall(r"[A-Za-z_]\w*", text)
    return bool(_SYMBOLIC.fullmatch(text)) and all(
        word in _WORDS or re.fullmatch(r"[a-z]{1,2}\d+", word) for word in words
    )


def _entries(document: Any) -> Iterator[tuple[str, Any]]:
    """Every key of every object in a JSON document, with its value."""
    stack = [document]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield from item.items()
            stack += item.values()
        elif isinstance(item, list):
            stack += item
