"""EmbeddedExecutor: `concurrent.futures` on worker processes of its own."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from actors.api.embedding import embed
from actors.api.executors import Executor
from actors.api.initializer import Initializer, is_for_bars
from actors.api.names import name_call
from actors.api.option_kinds import of_their_kinds
from actors.embedded.outcomes import load
from actors.embedded.tasks import CallSpec, TaskStage
from actors.errors import NotSerializable
from actors.messages import FailureKind, TaskOptions
from actors.payload import CallDumper, dump_call, dump_function, is_reference
from actors.refs import ObjectRef, Promise, Settled
from actors.task_errors import InitializerFailedError

if TYPE_CHECKING:
    from actors.embedded.runtime import Embedded

__all__ = ["EmbeddedExecutor"]

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_MAX_WORKERS = 512
_ENDED = frozenset({CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED})


class _LocalFuture(Future[Any]):
    """The future of a task here; who waits for it runs the rounds that bring it.

    What came is unpickled by who asks for it first: it is the user's code that runs
    then, and in a round it could wait for another round.
    """

    _outcome: bytes | Settled | None = None  # came, and nobody has asked yet

    def __init__(self, runtime: "Embedded") -> None:
        super().__init__()
        # Typeshed does not know of these.
        self._state: str
        self._condition: threading.Condition
        self._waiters: list[Any]
        self._done_callbacks: list[Any]
        self._result: Any
        self._exception: BaseException | None
        self._runtime = runtime
        self.ref: ObjectRef[Any] | None = None  # until it has ended

    def result(self, timeout: float | None = None) -> Any:
        try:
            self._wait(timeout)
            return super().result(0)
        finally:
            # As the standard one: no cycle through the exception's traceback.
            del self

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._wait(timeout)
        return super().exception(0)

    def running(self) -> bool:
        """Tell whether a worker has the task; it runs, or is about to."""
        ref = self.ref
        task = ref.task if ref is not None else None
        return task is not None and task.stage is TaskStage.ASSIGNED

    def cancel(self) -> bool:
        """Give the task up; false: a worker has it, or it has ended."""
        ref = self.ref
        if ref is not None and not self.done():
            self._runtime.cancel_waiting(ref)
        return self.cancelled()

    def _is_over(self) -> bool:
        return self._state in _ENDED

    def _wait(self, timeout: float | None) -> None:
        """Run rounds until it has ended, or let others do; then open what came."""
        if not self._is_over():
            deadline = None if timeout is None else time.monotonic() + timeout
            self._runtime.steer(self._is_over, timeout)
            with self._condition:
                while not self._is_over():
                    left = None if deadline is None else deadline - time.monotonic()
                    if left is not None and left <= 0:
                        return
                    self._condition.wait(left)
        if self._outcome is not None:
            self._open()

    def _open(self) -> None:
        with self._condition:
            outcome, self._outcome = self._outcome, None
            if outcome is None:
                return  # another thread was faster
            try:
                self._result = load(outcome, self._runtime.load_stored)
            except BaseException as error:  # noqa: BLE001  the task's
                self._exception = error

    def note(self, ref: Promise) -> None:
        """Take the outcome, in a round."""
        outcome = ref.outcome
        failure = outcome.value.failure if isinstance(outcome, Settled) else None
        with self._condition:
            self.ref = None
            if failure is not None and failure.kind is FailureKind.CANCELLED:
                self._state = CANCELLED_AND_NOTIFIED
                for waiter in self._waiters:
                    waiter.add_cancelled(self)
            else:
                self._outcome = outcome
                self._state = FINISHED
                for waiter in self._waiters:
                    if failure is None:
                        waiter.add_result(self)
                    else:
                        waiter.add_exception(self)
            self._condition.notify_all()
        if self._done_callbacks:
            self._runtime.leave_to_thread(self._invoke_callbacks)

    def _invoke_callbacks(self) -> None:
        super()._invoke_callbacks()  # type: ignore[misc]


class EmbeddedExecutor(Executor):
    """Run calls in worker processes of this one; a standard executor.

    Functions and arguments are pickled: by reference what can be imported, by value
    what is defined in `__main__`, a notebook, a lambda or a local function.

    Args:
        address: None.
        max_workers: processes; default: as many as processors that we may use.
        initializer: called in each worker before its first task. If it fails, so do
            all tasks, with a `BrokenProcessPool`.
        initargs: its arguments.
        retries: how often a task is started again after its worker died; 0: a task
            runs at most once.
        priority: higher goes first.
        max_tasks_per_child: tasks that a process runs; then another one takes its
            place. None: any number.
        log_to_driver: whether what the tasks print appears on our standard error.

    Raises:
        ConfigError: an option is of a wrong kind.
        NotSerializable: `initializer` or `initargs` cannot be pickled.
        TypeError: `initializer` is not callable.
        ValueError: `max_workers` or `max_tasks_per_child` is not positive, or `retries`
            is negative.
    """

    def __init__(
        self,
        address: None = None,
        max_workers: int | None = None,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        retries: int = 3,
        priority: int = 0,
        max_tasks_per_child: int | None = None,
        log_to_driver: bool = True,
    ) -> None:
        given = of_their_kinds(
            {
                "max_workers": max_workers,
                "retries": retries,
                "priority": priority,
                "max_tasks_per_child": max_tasks_per_child,
            }
        )
        max_workers, retries = given["max_workers"], given["retries"]
        max_tasks_per_child = given["max_tasks_per_child"]
        if max_tasks_per_child is not None and max_tasks_per_child < 1:
            raise ValueError("max_tasks_per_child must be >= 1")
        if address is not None:
            raise TypeError(f"address {address!r}: an EmbeddedExecutor has none")
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if retries < 0:
            raise ValueError(f"retries {retries} must be 0 or more")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if is_for_bars(initializer):
            initializer = None
        # Others read it to decide on the size of chunks: dask, joblib.
        self._max_workers = max_workers or len(os.sched_getaffinity(0))
        self._options = TaskOptions(retries=retries, priority=given["priority"] or 0)
        self._dumper = CallDumper()
        self._spec: tuple[bytes, CallSpec] | None = None  # of the last function
        # An initializer that can be imported is called as a worker starts. One that
        # goes by value rides with each function: what it sets must be in the same
        # pickle as who reads it, or they would have two sets of global variables.
        self._rider: Initializer | None = None
        first: tuple[bytes, bytes] | None = None
        if initializer is not None:
            first = dump_call(initializer, initargs, {})
            if not is_reference(first[0], initializer):
                first, self._rider = None, Initializer(initializer, initargs)
        self._runtime = embed(
            self._max_workers,
            {},
            max(_MAX_WORKERS, self._max_workers),
            initializer=first,
            log_to_driver=log_to_driver,
            most_tasks=max_tasks_per_child or 0,
        )
        self._begin(self._runtime)

    def submit(
        self,
        fn: Callable[Parameters, Result],
        /,
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> "Future[Result]":
        """Schedule `fn(*args, **kwargs)`.

        What cannot be pickled fails in the future alone, with NotSerializable.

        Raises:
            RuntimeError: after `shutdown`, or at the interpreter's end.
            BrokenProcessPool: the initializer has failed.
        """
        with self._lock:
            self._refuse_if_over()
            why = self._runtime.broken or self._broken
            if why is not None:
                raise InitializerFailedError(why.message, why.detail)
            future = _LocalFuture(self._runtime)
            try:
                ref = self._runtime.submit(
                    self._prepared(fn), fn, args, kwargs, future.note
                )
                # Unless it has ended: then nothing is to be kept.
                future.ref = ref if ref.outcome is None else None
            except NotSerializable as error:
                future.set_exception(error)
        if self._rider is not None:
            self._break_with(future)
        return future

    def _prepared(self, function: Callable[..., Any]) -> CallSpec:
        if self._rider is None:
            pickled = self._dumper.dump_function(function)
        else:
            pickled = dump_function(self._rider.before(function))
        last = self._spec
        if last is not None and last[0] == pickled:
            return last[1]
        spec = self._runtime.prepare(pickled, self._options, name_call(function))
        self._spec = (pickled, spec)
        return spec

    def terminate_workers(self) -> None:
        """End the workers at once; tasks that have not ended fail.

        The standard executor has it since Python 3.14.
        """
        with self._lock:
            self._is_shut_down = True
        self._runtime.close("the executor's workers were terminated")

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks, and end the workers when all have ended.

        Args:
            wait: return only then.
            cancel_futures: cancel what no worker has.
        """
        with self._lock:
            self._is_shut_down = True
        if self._forked_from:
            return  # it is the parent's
        self._runtime.leave(cancel_waiting=cancel_futures)
        if wait:
            self._runtime.join()
