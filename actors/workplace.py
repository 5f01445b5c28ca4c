"""A worker's workplace: a folder for its tasks, and an ear for SIGTERM.

    perform ─► make and enter the folder ─► the task ─► measure, leave, remove it

A second thread measures while a task runs: one that writes too much is ended with its
process, and the last line that this writes says why. Who is asked to end while a task
runs raises SystemExit in it, so that it may tidy up; whatever it handles by itself is
its own business.
"""

import contextlib
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import MutableMapping
from pathlib import Path
from types import FrameType
from typing import Literal

import msgspec

from actors.logic.care import EXIT_OVER_LIMIT, over_work_dir
from actors.messages import Call, Gave, Message, Ran, Run
from actors.perform import Performer, SimplePerformer
from actors.process import ProcessIdentity

__all__ = ["Workplace", "WorkplaceSettings", "find_workplace", "make_work_root"]

# How a worker hears of its workplace.
_VARIABLE = "ACTORS_WORKPLACE"
# How often a folder is measured while a task runs, in seconds. Chosen: a disk takes
# some hundred megabytes meanwhile. Where it takes long, it takes a tenth of the time.
_MEASURE_PERIOD = 0.5
_MEASURE_SHARE = 10
_ROOT_PREFIX = "actors-work-"


class WorkplaceSettings(msgspec.Struct, frozen=True):
    """What a worker is told of it."""

    kind: Literal["none", "task", "worker"] = "none"  # whose folder it is
    folder: str = ""  # of this worker alone
    limit_bytes: int = 0  # 0: any number
    hears_sigterm: bool = False

    def variables(self) -> dict[str, str]:
        """Return what tells a worker of it."""
        return {_VARIABLE: msgspec.json.encode(self).decode()}


def find_workplace(
    environment: MutableMapping[str, str], inner: Performer
) -> "Workplace | None":
    """Make the workplace that the environment tells of, and take that out of it.

    Args:
        environment: of the process.
        inner: runs the tasks.
    """
    told = environment.pop(_VARIABLE, "")
    if not told:
        return None
    return Workplace(msgspec.json.decode(told, type=WorkplaceSettings), inner)


class Workplace:
    """Runs tasks as another performer does, at a place of their own.

    Make it in the process's main thread.

    Args:
        settings: see there.
        inner: runs them; default: a SimplePerformer.
    """

    needs_rest = False

    def __init__(
        self, settings: WorkplaceSettings, inner: Performer | None = None
    ) -> None:
        self._settings = settings
        self._inner = inner or SimplePerformer()
        self._home = os.getcwd()
        self._is_running = False  # the user's code
        self._lock = threading.Lock()  # around what the second thread looks at
        self._is_closed = threading.Event()
        if settings.hears_sigterm:
            signal.signal(signal.SIGTERM, self._end_in_order)
        if settings.limit_bytes and settings.kind != "none":
            threading.Thread(
                target=self._watch, name="actors-work-dir", daemon=True
            ).start()

    def perform(self, run: Run | Call) -> Ran | Gave | None:
        """Run a task in its folder."""
        if self._settings.kind == "none":
            return self._run(run)
        os.makedirs(self._settings.folder, mode=0o700, exist_ok=True)
        os.chdir(self._settings.folder)
        try:
            result = self._run(run)
        finally:
            os.chdir(self._home)
        return self._tidied(result)

    def _run(self, run: Run | Call) -> Ran | Gave | None:
        with self._lock:
            self._is_running = True
        try:
            return self._inner.perform(run)
        finally:
            with self._lock:
                self._is_running = False

    def _tidied(self, result: Ran | Gave | None) -> Ran | Gave | None:
        """Look whether too much was written, and remove what is of no use any more."""
        settings, limit_bytes = self._settings, self._settings.limit_bytes
        used_bytes = _measure(settings.folder) if limit_bytes else 0
        is_over = used_bytes > limit_bytes
        if settings.kind == "task" or is_over:
            shutil.rmtree(settings.folder, ignore_errors=True)
        if not (is_over and isinstance(result, Ran)):
            return result
        failure = over_work_dir(used_bytes, limit_bytes)
        return Ran(result.seq, False, b"", result.began_at, result.ended_at, failure)

    def hear(self, message: Message) -> None:
        """Take any other message."""
        self._inner.hear(message)

    def rest(self) -> None:
        """Do what is left to do."""
        self._inner.rest()

    def close(self) -> None:
        """Look at the folder no more: there is nothing left to run."""
        self._is_closed.set()

    def _end_in_order(self, _number: int, _frame: FrameType | None) -> None:
        if self._is_running:
            sys.exit(128 + signal.SIGTERM)

    def _watch(self) -> None:
        folder, limit_bytes = self._settings.folder, self._settings.limit_bytes
        pause = _MEASURE_PERIOD
        while not self._is_closed.wait(pause):
            with self._lock:
                if not self._is_running:
                    continue
                began_at = time.monotonic()
                used_bytes = _measure(folder)
                pause = max(
                    _MEASURE_PERIOD, _MEASURE_SHARE * (time.monotonic() - began_at)
                )
                if used_bytes > limit_bytes:
                    failure = over_work_dir(used_bytes, limit_bytes)
                    sys.stderr.write(f"\n{failure.message}\n")
                    sys.stderr.flush()
                    os._exit(EXIT_OVER_LIMIT)


def _measure(folder: str) -> int:
    """Return the bytes that the files in a folder take."""
    total = 0
    waiting = [folder]
    while waiting:
        # What is removed meanwhile takes nothing.
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    with contextlib.suppress(OSError):
                        total += entry.stat(follow_symlinks=False).st_size
    return total


def make_work_root(parent: Path) -> Path:
    """Make a folder for the workplaces of this process's workers.

    What killed processes have left beside it goes.

    Raises:
        OSError: it cannot be made.
    """
    for left in parent.glob(f"{_ROOT_PREFIX}*"):
        pid, _, started_at = left.name.removeprefix(_ROOT_PREFIX).partition("-")
        try:
            owner = ProcessIdentity(int(pid), float(started_at))
        except ValueError:
            continue
        if not owner.is_alive():
            shutil.rmtree(left, ignore_errors=True)
    me = ProcessIdentity.of(os.getpid())
    root = parent / f"{_ROOT_PREFIX}{me.pid}-{me.started_at}"
    root.mkdir(mode=0o700, parents=True)
    return root
