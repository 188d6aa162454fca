"""What users name as ``package.module:callable`` or ``file.py:callable``: found by running their code."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from joulecut.errors import JoulecutError, ModelError, UsageError

__all__ = ["AuthorsCode", "find"]


class AuthorsCode(AbstractContextManager[None]):
    """Runs code of the user, which may raise anything or leave, and reports it as one error that names it.

    Args:
        doing: what is done, as ``"calling net.py:build"``.
        failure: the error to raise.
    """

    def __init__(self, doing: str, failure: type[JoulecutError] = ModelError) -> None:
        self._doing = doing
        self._failure = failure

    def __exit__(self, kind: object, error: BaseException | None, trail: object) -> None:
        if isinstance(error, (Exception, SystemExit)) and not isinstance(error, JoulecutError):
            first = (str(error).strip().splitlines() or [""])[0][:200]
            reason = f"{type(error).__name__}: {first}".rstrip(": .")
            raise self._failure(f"{self._doing} failed: {reason}.") from error


def find(source: str, attribute: str, *, hint: str, failure: type[JoulecutError] = ModelError) -> Any:
    """What a module or file calls ``attribute``; a module is looked for in the current folder too.

    Args:
        source: ``package.module`` or ``file.py``; its code runs, as with any import.
        attribute: a name in it, dotted or not.
        hint: what to give instead, for an error.
        failure: the error to raise where that code fails.

    Raises:
        UsageError: no such file, module or name.

    >>> find("math", "sqrt", hint="")(9.0)
    3.0
    """
    found: Any = (
        _file(Path(source), hint, failure) if source.endswith(".py") else _package(source, hint, failure)
    )
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise UsageError(f"{source} has no {attribute[:200]!r}.", hint=hint)
        found = getattr(found, name)
    return found


def _package(name: str, hint: str, failure: type[JoulecutError]) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(f"{name[:200]!r} is no module of Python.", hint=hint)
    with AuthorsCode(f"importing {name}", failure), _importable_from(Path.cwd()):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            missing = error.name or name
            if name == missing or name.startswith(f"{missing}."):
                raise UsageError(f"there is no module {missing}.", hint=hint) from error
            raise UsageError(f"{name} needs the module {missing}, which is not installed.") from error


def _file(path: Path, hint: str, failure: type[JoulecutError]) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"there is no file {path}.", hint=hint)
    name = f"joulecut_user_{path.stem}"
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise UsageError(f"{path} cannot be read as Python.", hint=hint)
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # dataclasses and the like look their module up
    with AuthorsCode(f"running {path}", failure), _importable_from(path.parent.resolve()):
        specification.loader.exec_module(module)
    return module


@contextmanager
def _importable_from(folder: Path) -> Iterator[None]:
    """Let the user's file import what lies beside it, as it can when Python runs it."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
