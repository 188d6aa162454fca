"""Callables named as ``package.module:callable`` or ``file.py:callable``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from joulecut.errors import UsageError

__all__ = ["load_callable"]


def load_callable(spec: str) -> Callable[..., Any]:
    """Import the callable that a text names; a module is looked for in the current folder too.

    The code of the module or file runs, as with any import.

    Raises:
        UsageError: not of that form, no such module or file, a syntax error, or no such callable in it.

    >>> load_callable("math:sqrt")(9.0)
    3.0
    """
    source, _, name = spec.rpartition(":")
    if not source or not name.isidentifier():
        raise UsageError(f"{spec[:200]!r} is neither package.module:callable nor file.py:callable.")
    try:
        module = _from_file(Path(source)) if source.endswith(".py") else _from_name(source)
    except SyntaxError as error:
        raise UsageError(f"{source} has a syntax error at line {error.lineno}: {error.msg}.") from error
    found: Any = getattr(module, name, None)
    if not callable(found):
        state = "no" if found is None else f"a {type(found).__name__}, not a callable,"
        raise UsageError(f"{source} holds {state} {name!r}.")
    function: Callable[..., Any] = found
    return function


def _from_name(name: str) -> ModuleType:
    try:
        with _import_path(Path.cwd()):
            return importlib.import_module(name)
    except (ImportError, TypeError, ValueError) as error:
        raise UsageError(f"the module {name!r} cannot be imported: {error}.") from error


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"there is no file {path}.")
    name = f"joulecut_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _import_path(path.resolve().parent):
            spec.loader.exec_module(module)
    except ImportError as error:
        raise UsageError(f"{path} cannot be imported: {error}.") from error
    return module


@contextmanager
def _import_path(folder: Path) -> Iterator[None]:
    """Look for modules in a folder too, first, for as long as an import lasts."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
