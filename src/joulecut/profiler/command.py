"""Measuring a command of the user's: run as a shell would, its signals and its exit code passed on."""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Final

from joulecut.errors import UsageError
from joulecut.profiler.acquire import Recorder
from joulecut.profiler.aligning import align, record_idle, settle
from joulecut.profiler.records import Trace

__all__ = ["CommandNotFound", "CommandNotRun", "record_command", "run_command"]

_BY_SIGNAL: Final = 128


class CommandNotRun(UsageError):
    """A command that cannot be executed; exits as shells do then."""

    exit_code = 126

    def __init__(self, command: str, error: OSError) -> None:
        super().__init__(f"cannot run {command[:200]}: {error.strerror or error}.")


class CommandNotFound(CommandNotRun):
    """There is no such command."""

    exit_code = 127


def record_command(
    recorder: Recorder, command: Sequence[str], label: str, *, repeat: int = 1, idle_s: float = 0.0
) -> Trace:
    """Run a command in a window, ``repeat`` times unless it fails before.

    Args:
        recorder: one whose ticks were found.
        command: the program and its arguments.
        label: the name of the window.
        repeat: how often it is run.
        idle_s: idle time that is measured before and after; 0 for none.

    Raises:
        CommandNotFound, CommandNotRun: there is no such command, or it cannot be executed.
    """
    record_idle(recorder, idle_s, "before")
    recorder.look()
    gap_s = recorder.longest_gap_s
    with recorder.polled(gap_s):
        align(recorder)
        recorder.begin(label)
        exit_code = 0
        for _ in range(repeat):
            exit_code = run_command(command, recorder.poll, gap_s)
            recorder.mark("iteration", label)
            if exit_code:
                break
        recorder.end(label)
        settle(recorder)
    recorder.look()
    record_idle(recorder, idle_s, "after")
    return recorder.trace(exit_code)


def run_command(
    command: Sequence[str], meanwhile: Callable[[], None] | None = None, every_s: float = math.inf
) -> int:
    """Run a command with this program's streams; its exit code, 128 + n where signal n ended it.

    Meanwhile Ctrl-C is the command's: it gets it from the terminal, and this program waits for it to end.
    SIGTERM and SIGHUP, and a SIGINT that came from no terminal, are passed on.

    Args:
        command: the program and its arguments.
        meanwhile: what is called once a period while it runs, in this thread.
        every_s: the period, in seconds.

    Raises:
        CommandNotFound, CommandNotRun: it could not be started.
    """
    with _passing_signals() as children:
        try:
            child = subprocess.Popen(command)
        except FileNotFoundError as error:
            raise CommandNotFound(command[0], error) from error
        except OSError as error:
            raise CommandNotRun(command[0], error) from error
        children.append(child)
        if meanwhile and every_s < math.inf:
            while not _ended(child, every_s):
                meanwhile()
        status = child.wait()
    return status if status >= 0 else _BY_SIGNAL - status


def _ended(child: subprocess.Popen[bytes], within_s: float) -> bool:
    """Wait for a command to end, for some time at most, without waking up on the way where Linux can."""
    try:
        process = os.pidfd_open(child.pid)
    except (AttributeError, OSError):  # not Linux, or older than 5.3
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(within_s)
        return child.returncode is not None
    try:
        return bool(select.select([process], [], [], within_s)[0])
    finally:
        os.close(process)


@contextmanager
def _passing_signals() -> Iterator[list[subprocess.Popen[bytes]]]:
    """While open, signals to this program go to the children in the list that it gives."""
    children: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, _: FrameType | None) -> None:
        if number in (signal.SIGINT, signal.SIGQUIT) and _in_foreground():
            return  # the terminal has sent it to the command too
        for child in children:
            child.send_signal(number)

    numbers = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, pass_on) for number in numbers}
    try:
        yield children
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _in_foreground() -> bool:
    """Whether a terminal sends its Ctrl-C to this program's process group."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
