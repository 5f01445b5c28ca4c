"""TaskFuture: a standard future, as light as a task that takes microseconds needs it.

A `concurrent.futures.Future` is made with a condition, its lock, and two lists. Most
tasks end before anybody asks for them, so they are made when somebody does ask: then
the future is *watched*, and works as the standard one. One lock, which the futures of a
connection share, stands around "is it watched?" and "it has ended".
"""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, InvalidStateError
from concurrent.futures._base import FINISHED, PENDING
from typing import Any, Protocol

import msgspec

from actors.messages import FailureKind, Outcome, Step, Task, TaskId, TaskState

__all__ = ["Home", "TaskFuture"]

# A payload up to this is less than what replacing it costs. Chosen.
_SMALL_BYTES = 256

_MADE_LATE = frozenset({"_condition", "_waiters", "_done_callbacks"})


class Home(Protocol):
    """Where a future comes from."""

    lock: threading.Lock

    def cancelled(self, task_id: TaskId) -> bool:
        """Forget a task that the user gave up; false: it is forgotten already."""
        ...

    def end(self, task_id: TaskId, grace: float | None, *, is_recursive: bool) -> None:
        """Ask for the end of a task; see `CancelTasks`."""
        ...

    def bring_about(self, future: "TaskFuture", timeout: float | None) -> float | None:
        """Help a future to its end while its user waits; return what is left of it."""
        ...


class TaskFuture(Future[Any]):
    """The future of a task on an endpoint.

    A task that turns out to have begun when it is cancelled is ended with its worker,
    as nobody can get its result any more.
    """

    # What the standard future sets for each.
    _state: str = PENDING
    _result: Any = None
    _exception: BaseException | None = None

    _is_watched = False
    _outcome: Outcome | None = None  # as the endpoint tells it
    _cancelled_at = 0.0
    _large_bytes = 0  # of its payload, if that was too large to be kept

    task: Task | None = None  # to be sent

    def __init__(self, task_id: TaskId, received_at: float, home: Home) -> None:
        self.task_id = task_id
        self._received_at = received_at
        self.sent_at = received_at  # when it began to wait for the endpoint
        self._home = home

    def __getattr__(self, name: str) -> Any:
        """Make what a standard future has and this one not yet."""
        if name not in _MADE_LATE:
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}"
            )
        with self._home.lock:
            if not self._is_watched:
                self._waiters = []
                self._done_callbacks: list[Any] = []
                self._condition = threading.Condition()
                self._is_watched = True
        return self.__dict__[name]

    def done(self) -> bool:
        # Running and pending are all that is not.
        return self._state == FINISHED or (self._is_watched and super().done())

    def result(self, timeout: float | None = None) -> Any:
        if self._state != FINISHED:
            timeout = self._home.bring_about(self, timeout)
        if self._state == FINISHED and self._exception is None:
            return self._result
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        if self._state != FINISHED:
            timeout = self._home.bring_about(self, timeout)
        return super().exception(timeout)

    def cancel(self, *, if_running: bool = False) -> bool:
        """Give the task up.

        Args:
            if_running: also if it is known to run: its worker is killed. The future is
                cancelled once the endpoint has done so; a result that comes before
                counts.

        Returns:
            Whether it is cancelled, or is going to be; false: it runs or has ended.
        """
        if not super().cancel():
            if if_running and not self.done():
                self._home.end(self.task_id, None, is_recursive=False)
                # The endpoint may have been quick.
                return self.cancelled() or not self.done()
            return False
        # Who takes it off the list of the unfinished tells those who wait: one does.
        if self._home.cancelled(self.task_id):
            self._end_as_cancelled()
        return True

    def give_up(self, grace: float, *, is_recursive: bool) -> None:
        """Have the task end soon, and this with it; see `endpoint_refs.give_up`.

        What it returns all the same counts.
        """
        if not self.done():
            self._home.end(self.task_id, grace, is_recursive=is_recursive)

    @property
    def history(self) -> list[Step]:
        """What happened to the task: complete once it is done, oldest first."""
        return [
            Step(TaskState.RECEIVED, 1, self._received_at),
            Step(TaskState.WAITING_FOR_ENDPOINT, 1, self.sent_at),
            *(self._outcome.steps if self._outcome else ()),
            *self._own_steps(),
        ]

    def _own_steps(self) -> Iterator[Step]:
        if self._cancelled_at:
            attempt = self._outcome.attempt if self._outcome else 1
            yield Step(TaskState.CANCELLED, attempt, self._cancelled_at)

    @property
    def payload_bytes(self) -> int:
        """What its result took on its way here; -1: there is none."""
        if self._outcome is None:
            return -1
        return self._large_bytes or len(self._outcome.payload)

    @property
    def was_raised(self) -> bool:
        """Whether the task's own code raised what it failed with."""
        failure = self._outcome.failure if self._outcome else None
        return failure is not None and failure.kind is FailureKind.EXCEPTION

    # For the connection

    @property
    def has_callbacks(self) -> bool:
        """Whether its end makes code of the user's run."""
        return self._is_watched and bool(self._done_callbacks)

    def begin(self) -> None:
        """Note that it runs, unless it has ended or is being cancelled."""
        with self._condition:
            if not self.done() and not self.running():
                self.set_running_or_notify_cancel()

    def fulfil(self, result: Any, outcome: Outcome) -> bool:
        """End it with a result if nobody watches it; false: somebody does."""
        if len(outcome.payload) > _SMALL_BYTES:  # not to be kept beside the result
            self._large_bytes = len(outcome.payload)
            outcome = msgspec.structs.replace(outcome, payload=b"")
        self._outcome = outcome
        with self._home.lock:
            if self._is_watched:
                return False
            self._result = result
            self._state = FINISHED
            return True

    def end(self, result: Any = None, error: BaseException | None = None) -> None:
        """End it with a result or an error, unless somebody is cancelling it."""
        try:
            if error is None:
                self.set_result(result)
            else:
                self.set_exception(error)
        except InvalidStateError:
            if self.cancelled():
                self._end_as_cancelled()

    def end_cancelled(self) -> None:
        """End it as cancelled, also if it runs."""
        with self._condition:
            if self.running():
                # Of no use to anybody by now, and in the way of `cancel`.
                self._state = PENDING
        super().cancel()
        self._end_as_cancelled()

    def _end_as_cancelled(self) -> None:
        if self._outcome is None or not self._outcome.ended_at:
            self._cancelled_at = time.time()
        self.set_running_or_notify_cancel()

    def note(self, outcome: Outcome) -> None:
        """Note what happened at the endpoint, if it has no result."""
        self._outcome = outcome
