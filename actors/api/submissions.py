"""What the user's threads have for a connection's loop: tasks, and wishes.

Both are sources of the loop: any thread puts something in, the loop takes all there is.
"""

import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from actors.api.session import SubmitNow, TakeNow
from actors.api.task_future import TaskFuture
from actors.inbox import Bell
from actors.messages import Task, TaskId

__all__ = ["Submissions", "Wishes"]


class Submissions:
    """A source of tasks from any thread: all that came since the last look, at once.

    Args:
        max_running: tasks that may be at the endpoint at a time; None: any number.
    """

    def __init__(self, max_running: int | None) -> None:
        self._bell = Bell()
        # Oldest first; those without a task were withdrawn.
        self._waiting: deque[TaskFuture] = deque()
        self._lock = threading.Lock()  # around a task's leaving its future
        self._room = max_running
        # For every task there is: without a call in between.
        # Add a future with its task; `ring` then, or `take` at once.
        self.put = self._waiting.append
        # Tell the loop that there is something to read.
        self.ring = self._bell.ring

    def withdraw(self, future: TaskFuture) -> bool:
        """Take back a task that was not sent yet; false: it was."""
        with self._lock:
            was_waiting = future.task is not None
            future.task = None
        return was_waiting

    def there_is_room_for(self) -> set[TaskId]:
        """List the tasks that are about to go; none where any number may."""
        if self._room is None:
            return set()
        with self._lock:
            # A copy: other threads may append meanwhile.
            waiting = (f.task_id for f in list(self._waiting) if f.task is not None)
            return set(itertools.islice(waiting, self._room))

    def ended(self, count: int) -> None:
        """Note that tasks ended: as many others may go."""
        if self._room is not None:
            self._room += count
            if self._waiting:
                self._bell.ring()

    def open_wide(self) -> None:
        """Let any number go from now on."""
        self._room = None

    def fileno(self) -> int:
        return self._bell.fileno()

    def read(self) -> Sequence[Any]:
        self._bell.hear()
        return self.take()

    def take(self) -> list[SubmitNow]:
        """Take what waits and may go."""
        waiting, now = self._waiting, time.time()
        tasks: list[Task] = []
        room = len(waiting) if self._room is None else self._room
        with self._lock:
            while waiting and len(tasks) < room:
                future = waiting.popleft()
                if future.task is not None:
                    tasks.append(future.task)
                    future.task = None
                    future.sent_at = now
        if self._room is not None:
            self._room -= len(tasks)
        return [SubmitNow(tasks)] if tasks else []

    def close(self) -> None:
        self._bell.close()


class Wishes:
    """A source of what nobody waits for, in the order of its coming.

    `put` may be called while an object is being freed, in the middle of any line.
    """

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._wishes: deque[SubmitNow | TakeNow] = deque()
        self._lock = threading.RLock()  # around what is done with the descriptor

    def put(self, wish: SubmitNow | TakeNow) -> None:
        """Add what is to be said; to no effect after `close`."""
        self._wishes.append(wish)
        with self._lock:
            if self._fd >= 0:
                os.eventfd_write(self._fd, 1)

    def fileno(self) -> int:
        return self._fd

    def read(self) -> Sequence[Any]:
        os.eventfd_read(self._fd)
        return [self._wishes.popleft() for _ in range(len(self._wishes))]

    def close(self) -> None:
        with self._lock:
            # In this order: something may be put in between the two.
            fd, self._fd = self._fd, -1
            os.close(fd)
