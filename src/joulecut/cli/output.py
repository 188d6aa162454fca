"""Where a command's words go: numbers to stdout, notes and progress to stderr."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeVar

from joulecut.errors import OutputError
from joulecut.reports.text import printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Output", "Progress", "check_file", "check_folder"]

Record = TypeVar("Record")
Progress = Callable[[str, int, int], None]
"""``progress(stage, done, total)``."""


@dataclass(frozen=True, slots=True)
class Output:
    """The two streams of a command and how much it may say.

    Attributes:
        stdout: takes the result, and nothing else.
        stderr: takes notes, progress and errors.
        json: the result is JSON.
        quiet: no notes and no progress.
        verbose: stages in words, tracebacks, other packages' warnings.
    """

    stdout: TextIO
    stderr: TextIO
    json: bool = False
    quiet: bool = False
    verbose: bool = False

    def show(self, record: Record, render: Callable[[Record, Console], None]) -> None:
        """Print a record: as JSON, or as ``render`` draws it."""
        if self.json:
            from joulecut.codec import to_json

            self.stdout.write(to_json(record))
        else:
            render(record, self._console(self.stdout))

    def describe(self, record: Record, render: Callable[[Record, Console], None]) -> None:
        """Draw a record on stderr, for commands whose stdout is another program's."""
        render(record, self._console(self.stderr))

    def note(self, text: str) -> None:
        """Say something that is no result."""
        if not self.quiet:
            self.stderr.write(f"{printable(text)}\n")

    @contextmanager
    def progress(self) -> Iterator[Progress | None]:
        """A callable that shows how far long work is: a bar on a terminal, stages in words with ``-v``."""
        if self.quiet or not (self.verbose or self.stderr.isatty()):
            yield None
        elif not self.stderr.isatty():
            yield self._stages()
        else:
            with self._bars() as progress:
                yield progress

    def _stages(self) -> Progress:
        said: set[str] = set()

        def progress(stage: str, _done: int, total: int) -> None:
            if stage not in said:
                said.add(stage)
                self.note(f"{stage} ({total})")

        return progress

    @contextmanager
    def _bars(self) -> Iterator[Progress]:
        from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        tasks: dict[str, TaskID] = {}
        name = TextColumn("{task.description}", markup=False)
        columns = (name, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Bars(*columns, console=self._console(self.stderr), transient=True) as bars:

            def progress(stage: str, done: int, total: int) -> None:
                if stage not in tasks:
                    tasks[stage] = bars.add_task(printable(stage), total=total)
                bars.update(tasks[stage], completed=done, total=total)

            yield progress

    def _console(self, stream: TextIO) -> Console:
        from rich.console import Console

        return Console(file=stream, highlight=False)


def check_file(path: str | None) -> None:
    """Refuse an output file that cannot be written, before any work is done.

    Raises:
        OutputError: its folder is missing or read-only, or the path is a folder.
    """
    if path is None:
        return
    if Path(path).is_dir():
        raise OutputError(f"cannot write {path}: it is a folder.", hint="Name a file in it.")
    if Path(path).is_symlink() and not Path(path).exists():
        raise OutputError(f"{path} is a link that leads nowhere.", hint="Choose another name for the file.")
    if not Path(path).exists() or Path(path).is_file():  # a device, as /dev/stdout, is written in place
        _check_parent(Path(path))


def check_folder(path: str, *, force: bool) -> None:
    """Refuse an output folder that cannot be made or holds something, before any work is done.

    Raises:
        OutputError: it is a file, its parent is missing or read-only, or it is not empty and not ``force``.
    """
    folder = Path(path)
    if folder.is_dir():
        if not force and any(folder.iterdir()):
            raise OutputError(
                f"{path} is not empty.", hint="Choose another folder, or --force to write into it."
            )
        _try_writing(folder, path)
    elif folder.exists():
        raise OutputError(f"{path} is a file, not a folder.", hint="Choose another name for the folder.")
    elif folder.is_symlink():
        raise OutputError(f"{path} is a link that leads nowhere.", hint="Choose another name for the folder.")
    else:
        _check_parent(folder)


def _check_parent(path: Path) -> None:
    parent = path.parent
    if not parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {parent}.", hint="Make it first.")
    _try_writing(parent, path)


def _try_writing(folder: Path, path: str | Path) -> None:
    """Make a nameless file: permissions alone say yes to root on file systems that take no files."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror} in {folder}.",
            hint="Choose a folder that can be written and is not full.",
        ) from error
