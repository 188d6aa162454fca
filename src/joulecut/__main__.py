"""``python -m joulecut`` is the command ``joulecut``."""

from joulecut.cli.main import entry

entry()
