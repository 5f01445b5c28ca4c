"""Progress: a bar on standard error for who waits; drawn by rich.

A bar counts; a thread of rich's reads the count now and then, so that counting costs
next to nothing. Where standard error is no terminal, the last line alone is written.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["Bar", "CountedExecutor", "bar_columns"]

# Pictures a second; chosen: what a person takes for moving, over ssh, too.
_PICTURES_PER_SECOND = 5
# How long what has ended may take to be counted, in seconds; chosen: it is a call.
_LAST_COUNT = 1.0


def bar_columns() -> list[Any]:
    """Return what a bar consists of: text, bar, count, failures, times."""
    return [
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", style="red", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ]


class _Picture(Progress):
    """Reads the count when it is drawn."""

    def __init__(self, read: Callable[[], tuple[int, int]], console: Console) -> None:
        super().__init__(
            *bar_columns(),
            console=console,
            refresh_per_second=_PICTURES_PER_SECOND,
            # What a program prints itself is its own business.
            redirect_stdout=console.is_terminal,
            redirect_stderr=console.is_terminal,
        )
        self.read = read

    def get_renderables(self) -> Any:
        for task_id in self.task_ids:
            done, failed = self.read()
            note = f"{failed} failed" if failed else ""
            self.update(task_id, completed=done, note=note)
        return super().get_renderables()


class Bar:
    """A bar that counts up to a total; from any thread.

    Args:
        text: what is counted.
        total: how many there will be; None: not known yet.
        console: where to draw; None: standard error.
    """

    def __init__(
        self, text: str, total: int | None, console: Console | None = None
    ) -> None:
        self._done = 0
        self._failed = 0
        self._lock = threading.Lock()
        self._is_closed = False
        self._ended = threading.Event()
        self._picture = _Picture(
            lambda: (self._done, self._failed), console or Console(stderr=True)
        )
        self._task: TaskID = self._picture.add_task(text, total=total, note="")
        self._picture.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def set_total(self, total: int) -> None:
        """Say how many there will be."""
        self._picture.update(self._task, total=total)

    def add(self, count: int = 1, *, failed: int = 0) -> int:
        """Count; return how many there are now."""
        with self._lock:
            self._done += count
            self._failed += failed
            return self._done

    def close(self) -> None:
        """Draw it a last time, and leave it there; twice is once."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        self._picture.stop()
        self._ended.set()

    def wait(self, timeout: float) -> None:
        """Wait until somebody has closed it."""
        self._ended.wait(timeout)


class CountedExecutor(Executor):
    """Submits to another executor, and has a bar count what has ended.

    Args:
        executor: to submit to.
        text: what is counted.
        size_of: {arguments of a submission: how much it counts}.
    """

    def __init__(
        self, executor: Executor, text: str, size_of: Callable[..., int]
    ) -> None:
        self._executor = executor
        self._size_of = size_of
        self._bar = Bar(text, None)
        self._total = 0
        self._is_complete = False  # whether all has been submitted

    def submit(
        self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> "Future[Any]":
        """Submit; the bar counts it when it has ended."""
        size = self._size_of(*args)
        future = self._executor.submit(fn, *args, **kwargs)
        self._total += size
        future.add_done_callback(lambda ended: self._count(size, ended))
        return future

    def complete(self) -> None:
        """Say that nothing more will be submitted: the bar ends with the last one."""
        self._bar.set_total(self._total)
        self._is_complete = True
        self._count(0, None)

    def settle(self) -> None:
        """After the last result: let it be counted, and end the bar."""
        # A future is counted a moment after its result can be had.
        self._bar.wait(_LAST_COUNT)
        self._bar.close()

    def close(self) -> None:
        """End the bar now."""
        self._bar.close()

    def _count(self, size: int, ended: "Future[Any] | None") -> None:
        has_failed = ended is not None and (
            ended.cancelled() or ended.exception() is not None
        )
        done = self._bar.add(size, failed=size * has_failed)
        if self._is_complete and done >= self._total:
            self._bar.close()
