"""``python -m joulecut`` is the command ``joulecut``."""

from joulecut.cli import entry

entry()
