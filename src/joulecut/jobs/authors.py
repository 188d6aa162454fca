"""Callables that a user names on the command line."""

from __future__ import annotations

from typing import Any, Final

from joulecut.errors import UsageError
from joulecut.workload.callables import find

__all__ = ["named_callable"]

_HINT: Final = "Give package.module:callable or file.py:callable."


def named_callable(spec: str, task: str) -> Any:
    """What a user names as ``package.module:callable`` or ``file.py:callable``.

    Args:
        spec: the name; the code of its module runs, as with any import.
        task: what it is to do, for an error, as "recovers a network".

    Raises:
        UsageError: no such module, file or name, or it is no callable.

    >>> named_callable("math:sqrt", "takes roots")(9.0)
    3.0
    """
    source, _, name = spec.rpartition(":")
    found: Any = find(source, name, hint=_HINT, failure=UsageError) if source else None
    if not callable(found):
        raise UsageError(f"{spec[:200]!r} is no callable that {task}.", hint=_HINT)
    return found
