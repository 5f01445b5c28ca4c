"""Connection: the thread behind an executor, and the futures that it fulfils.

The user's threads only append: tasks to a list, wishes to an inbox. The session, the
links and the futures' ends belong to who is at the helm: a thread of the connection's,
or a caller that waits for a result. What users have called when a future ends is called
by the thread.
"""

import itertools
import logging
import math
import os
import random
import secrets
import socket
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

from actors.api.addressing import Entrance, new_instance
from actors.api.item_reader import ItemReader, Reading
from actors.api.screen import Screen
from actors.api.session import (
    KEY_MARK,
    BeBarred,
    CancelNow,
    Leave,
    Progress,
    Receive,
    Resolve,
    Resumed,
    Session,
    SessionSettings,
    Show,
    SubmitNow,
    TakeNow,
)
from actors.api.submissions import Submissions, Wishes
from actors.api.task_future import TaskFuture
from actors.embedded.outcomes import error_of
from actors.endpoint.surroundings import python_version
from actors.errors import (
    ActorsError,
    AddressError,
    AdmissionRefused,
    NotSerializable,
    PayloadTooLarge,
)
from actors.helm import Helm
from actors.inbox import Inbox
from actors.logic.item_streams import ALL_ITEMS
from actors.logic.turn import Effect, Exit
from actors.messages import (
    ActorWork,
    ClientId,
    Delta,
    Failure,
    FailureKind,
    Item,
    Outcome,
    Task,
    TaskId,
    TaskOptions,
    TaskState,
)
from actors.nng import refuse_forks
from actors.payload import CallDumper, load_result
from actors.runtime import Runtime
from actors.store.links import Links
from actors.store.parts import Parts, join_parts
from actors.task_errors import (
    BadStateError,
    ManagerLost,
    RuntimeClosedError,
    TaskFailed,
)

__all__ = ["PATIENCE", "Connection"]

logger = logging.getLogger(__name__)

# Long enough for an endpoint that is started at the same time, or again by its
# supervisor; short enough that a mistyped address is not taken for patience.
PATIENCE = 30.0

# After `shutdown(cancel_futures=True)` the `max_workers` oldest tasks have a moment to
# begin: a pool of so many processes would have begun them at once. Chosen: long for an
# endpoint with free workers, short for people.
_BEGIN_GRACE = 1.0

# Who waits for the only task that is under way, and for a short one as it seems, stays
# awake for so many seconds. Measured on an idle virtual machine: sleeping costs a task
# that takes no time a third more, as the processor has to be woken, too.
_AWAKE = 0.001

_CLOSED = "The runtime was shut down; call actors.init()"

# Looked up once: in Python 3.11 that takes as long as unpickling a result.
_SUCCESS = TaskState.SUCCESS

_ERRORS: dict[FailureKind, type[TaskFailed]] = {
    FailureKind.MANAGER_LOST: ManagerLost,
    FailureKind.BLOCK_FAILED: BadStateError,
}


class Connection:
    """One client of one endpoint; see the module's docstring.

    Args:
        entrance: of the endpoint.
        max_running: tasks that may be there at a time; None: any number.
        patience: seconds without an endpoint after which tasks are given up.
        name: of the client, the same in later processes; "": it has none.
        resumes: take over what earlier processes of that name have left.
        calls: of a worker of the endpoint: tells who asks, as `Task.caller_seq` says,
            and told the client's id.
        log_to_driver: whether what its tasks and actors print appears on our standard
            error.

    Raises:
        ConfigError: the process is a fork of one that uses an endpoint.
    """

    def __init__(
        self,
        entrance: Entrance,
        *,
        max_running: int | None,
        patience: float,
        name: str = "",
        resumes: bool = False,
        calls: Callable[[ClientId], int] | None = None,
        log_to_driver: bool = False,
    ) -> None:
        refuse_forks()
        self._entrance = entrance
        unique = f"{socket.gethostname()}-{secrets.token_hex(6)}"
        self.client_id = ClientId(name or unique)
        # Processes of one client must not give the same ids.
        self._prefix = f"{name}-{secrets.token_hex(4)}-" if name else f"{unique}-"
        self._keys_lock = threading.Lock()  # around `_keyed` and `_resumed`
        self._keyed: dict[str, TaskFuture] = {}  # {key: future}, for ever
        self._resumed: dict[str, TaskFuture] = {}  # {key, or id if it has none: future}
        self._is_resumed = threading.Event()
        self._numbers = itertools.count(1)
        self._calls = calls
        self._links = Links()
        self._dumper = CallDumper(self.write)
        self.lock = threading.Lock()  # see TaskFuture
        self._futures: dict[TaskId, TaskFuture] = {}  # unfinished
        # {generator: who reads its items}
        self._readers: weakref.WeakValueDictionary[TaskId, ItemReader] = (
            weakref.WeakValueDictionary()
        )
        self._inbox = Inbox()
        self._submissions = Submissions(max_running)
        self._wishes = Wishes()
        self._resolver = 0  # the thread that reads results just now
        self._kept: dict[TaskId, object] = {}  # that lives until the task has ended
        self._begin_grace = _BEGIN_GRACE if max_running is not None else 0.0
        self._is_leaving = False
        self._error: ActorsError | None = None  # why no task can succeed any more
        self._breakage: BaseException | None = None  # what came out of a round
        settings = SessionSettings(
            self.client_id,
            new_instance(),
            entrance.token,
            python_version(),
            socket.gethostname(),
            os.getpid(),
            patience,
            self._prefix if name else "",
            resumes,
            calls is not None,
            log_to_driver,
        )
        self._screen = Screen()
        chance = random.Random(secrets.randbits(64))
        self._session = Session(settings, chance, time.monotonic())
        self._runtime = Runtime(
            self._session,
            self,
            dialing={"interchange": entrance.dialing},
            sources=[self._inbox, self._submissions, self._wishes],
            links=self._links,
        )
        self._helm = Helm(self)
        self._is_quick = True  # the last result that somebody waited for came soon
        self._awake = 0.0  # seconds that who waits does so without sleeping
        self.thread = threading.Thread(
            target=self._run, name=f"actors-{self.client_id}", daemon=True
        )
        self.thread.start()

    # From any thread

    def submit(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: TaskOptions,
    ) -> TaskFuture:
        """Send a call; what cannot be sent fails in its future alone."""
        try:
            function_bytes, arguments = self._dumper.dump(function, args, kwargs)
        except NotSerializable as error:
            future = TaskFuture(self._next_task_id(), time.time(), self)
            future.set_exception(error)
            return future
        return self.send(function_bytes, arguments, options)

    def write(self, parts: Parts) -> bytes:
        """Put large arguments where the endpoint takes them."""
        sees_memory = self._runtime.sees_memory("interchange")
        if sees_memory is None:
            # It has not let us in yet, or is away.
            sees_memory = self._entrance.dialing.address.is_local
        return self._links.write(parts) if sees_memory else join_parts(parts)

    def submit_keyed(
        self,
        key: str,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: TaskOptions,
    ) -> TaskFuture:
        """Send a call, unless one was sent with this key: then return its future."""
        with self._keys_lock:
            known = self._keyed.get(key)
            if known is not None:
                return known
            task_id = TaskId(f"{self.client_id}{KEY_MARK}{key}")
            try:
                dumped = self._dumper.dump(function, args, kwargs)
            except NotSerializable as error:
                future = TaskFuture(task_id, time.time(), self)
                future.set_exception(error)
                return future
            future = self._keyed[key] = self.send(*dumped, options, task_id)
            return future

    def resumed(self, timeout: float | None) -> dict[str, TaskFuture]:
        """Wait until it is known what earlier processes left; return their futures."""
        if not self._is_resumed.wait(timeout):
            raise TimeoutError("the endpoint has not told yet what there is to resume")
        if self._error is not None and not self._resumed:
            raise self._error
        with self._keys_lock:
            return dict(self._resumed)

    def detach(self) -> None:
        """End the connection, but no task, once all is accepted."""
        self._submissions.open_wide()
        # Here, as what the loop has not read yet must come before the leave.
        for submission in self._submissions.take():
            self._inbox.put(submission)
        self._inbox.put(Leave(for_good=False))

    def _next_task_id(self) -> TaskId:
        return TaskId(f"{self._prefix}{next(self._numbers)}")

    def send(
        self,
        function_bytes: bytes,
        arguments: bytes,
        options: TaskOptions,
        task_id: TaskId | None = None,
        *,
        actor: ActorWork | None = None,
        kept: object = None,
        reading: Reading | None = None,
    ) -> TaskFuture:
        """Send a call that is pickled already.

        Args:
            function_bytes: pickled, or what stands for it in a word on an actor.
            arguments: pickled.
            options: how to run it.
            task_id: None: give it one.
            actor: whom it is for; None: any worker.
            kept: lives until the task has ended.
            reading: who reads what it yields; None: it has one result.
        """
        caller_seq = 0 if self._calls is None else self._calls(self.client_id)
        now = time.time()
        # As `_next_task_id` does.
        task_id = task_id or TaskId(f"{self._prefix}{next(self._numbers)}")
        future = TaskFuture(task_id, now, self)
        is_alone = not self._futures
        if kept is not None:
            self._kept[task_id] = kept
        self._futures[task_id] = future
        # Both who ends the connection and who submits look: one of them sees it.
        if self._error is not None:
            self._kept.pop(task_id, None)
            if self._futures.pop(task_id, None) is not None:
                future.end(error=self._error)
            return future
        streams_from = -1 if reading is None else self._follow(reading, task_id)
        future.task = Task(
            task_id,
            function_bytes,
            arguments,
            now,
            options.retries,
            options.priority,
            options.name,
            actor,
            options.timeout or None,
            options.needs,
            streams_from,
            caller_seq,
        )
        self._submissions.put(future)
        # The user may well wait for one that is alone. Those that follow are sent
        # together, by the thread or by who waits.
        if not (is_alone and self._helm.attempt(self._send_waiting)):
            self._submissions.ring()
        return future

    def _follow(self, reading: Reading, task_id: TaskId) -> int:
        reader = reading()
        if reader is None:
            return 0
        self._readers[task_id] = reader
        return reader.follow(task_id)

    def take_items(self, task_id: TaskId, count: int) -> None:
        """Tell that so many items were taken; in any thread at any moment."""
        if self._error is None:
            self._wishes.put(TakeNow(task_id, count))

    def steer(self, is_done: Callable[[], bool], deadline: float = math.inf) -> None:
        """Work until something is so, unless another caller does."""
        self._helm.steer(is_done, deadline)

    @property
    def is_resolving(self) -> bool:
        """Whether this thread reads results just now."""
        return self._resolver == threading.get_ident()

    def new_actor_id(self) -> str:
        """Return an id that no other actor ever has."""
        return f"{self._prefix}a{next(self._numbers)}"

    def wish(self, work: ActorWork) -> TaskFuture:
        """Send what is for an actor, behind all earlier wishes."""
        task_id, now = self._next_task_id(), time.time()
        future = self._futures[task_id] = TaskFuture(task_id, now, self)
        if self._error is not None:
            if self._futures.pop(task_id, None) is not None:
                future.end(error=self._error)
            return future
        task = Task(task_id, b"", b"", now, name=work.verb, actor=work)
        self._wishes.put(SubmitNow([task]))
        return future

    def wish_only(self, work: ActorWork) -> None:
        """As `wish`, from any thread at any moment; nobody hears of its end."""
        if self._error is None and not self._is_leaving:
            task = Task(self._next_task_id(), b"", b"", time.time(), actor=work)
            self._wishes.put(SubmitNow([task]))

    def _send_waiting(self) -> None:
        try:
            self._runtime.tell(self._submissions.take())
        except BaseException as reason:  # noqa: BLE001  as in a round
            self._break(reason)

    def bring_about(self, future: TaskFuture, timeout: float | None) -> float | None:
        """Wait and work until a future is done, unless another caller does.

        Returns:
            What is left of the timeout, in seconds.
        """
        began = time.monotonic()
        deadline = math.inf if timeout is None else began + timeout
        self._awake = _AWAKE if self._is_quick and len(self._futures) == 1 else 0.0
        self._helm.steer(future.done, deadline)
        self._awake = 0.0
        now = time.monotonic()
        self._is_quick = now - began < _AWAKE
        return None if timeout is None else max(0.0, deadline - now)

    def cancel_waiting(self) -> None:
        """Cancel every task that has not begun; their futures end so."""
        sent = []
        going = self._submissions.there_is_room_for()
        for task_id, future in list(self._futures.items()):
            if task_id in going or not self._submissions.withdraw(future):
                sent.append(task_id)
            elif self._futures.pop(task_id, None) is not None:
                future.end_cancelled()
        if sent:
            self._inbox.put(CancelNow(sent, False, self._begin_grace))

    def abandon(self) -> None:
        """End the connection now; tasks that have not ended are given up.

        What was asked of actors is said all the same: it may be a kill.
        """
        # Before futures end: what waits for them must not send anything more.
        self._error = RuntimeClosedError(_CLOSED)
        for task_id in list(self._futures):
            future = self._futures.pop(task_id, None)
            if future is not None:
                if future.task is not None and future.task.actor is None:
                    self._submissions.withdraw(future)
                future.end(error=RuntimeClosedError(_CLOSED))
        # As in `detach`.
        self._submissions.open_wide()
        for submission in self._submissions.take():
            self._inbox.put(submission)
        self._inbox.put(Leave())

    def leave(self) -> None:
        """End the connection once every task has ended."""
        self._is_leaving = True
        for task_id in list(self._readers.keys()):
            # What waits for its reader would never end.
            self.take_items(task_id, ALL_ITEMS)
        self._leave_if_done()

    def join(self) -> None:
        """Wait until the connection has ended; in its own thread do nothing."""
        if threading.current_thread() is not self.thread:
            self.thread.join()

    def _leave_if_done(self) -> None:
        # Both who empties the futures and who asks to leave look: one of them sees it.
        if self._is_leaving and not self._futures:
            self._inbox.put(Leave())

    def cancelled(self, task_id: TaskId) -> bool:
        """Forget a task that the user gave up; false: it is forgotten already."""
        future = self._futures.pop(task_id, None)
        if future is None:
            return False
        if self._submissions.withdraw(future):
            # Somebody may wait for it in the loop, where nothing is heard of it.
            self._inbox.wake()
        else:
            self._inbox.put(CancelNow([task_id]))
        self._leave_if_done()
        return True

    def end(self, task_id: TaskId, grace: float | None, *, is_recursive: bool) -> None:
        """Ask for the end of a task; see `CancelTasks`."""
        future = self._futures.get(task_id)
        if future is not None and self._submissions.withdraw(future):
            # The endpoint never hears of it.
            if self._futures.pop(task_id, None) is not None:
                self._kept.pop(task_id, None)
                future.end_cancelled()
                self._inbox.wake()
                self._leave_if_done()
            return
        wish = CancelNow([task_id], grace=grace, is_recursive=is_recursive)
        self._inbox.put(wish)

    def end_all(self) -> None:
        """Ask for the end of all tasks."""
        for task_id in list(self._futures):
            self.end(task_id, -1.0, is_recursive=True)

    # The loop that is steered

    @property
    def is_over(self) -> bool:
        return self._runtime.is_over

    @property
    def is_idle(self) -> bool:
        return not self._futures

    def round(self, longest: float) -> None:
        try:
            self._runtime.round(longest, self._awake)
        except BaseException as reason:  # noqa: BLE001  in whichever thread
            self._break(reason)

    def _break(self, reason: BaseException) -> None:
        """End the loop, and with it the thread, which tells everybody why."""
        self._breakage = reason
        self._runtime.finish()
        self.wake()

    def wake(self) -> None:
        self._inbox.wake()

    # Of who is at the helm

    def _run(self) -> None:
        try:
            self._helm.run()
            if self._breakage is not None:
                raise self._breakage
            self._runtime.end()
        except BaseException as reason:
            text = f"The connection to the endpoint broke: {reason!r}"
            self._error = self._error or ActorsError(text)
            raise
        finally:
            self._runtime.close()
            self._screen.close()
            text = "The connection to the endpoint is closed"
            self._fail(self._error or ActorsError(text))
            self._submissions.close()
            self._wishes.close()
            self._inbox.close()
            self._links.close_when_unused()

    def perform(self, effect: Effect) -> None:
        match effect:
            case Resolve(outcomes):
                self._resolver = threading.get_ident()
                self._submissions.ended(len(outcomes))
                pop = self._futures.pop
                for outcome in outcomes:
                    future = pop(outcome.task_id, None)
                    if future is not None:
                        self._resolve(future, outcome)
                if self._kept:
                    for outcome in outcomes:
                        self._kept.pop(outcome.task_id, None)
                self._resolver = 0
                self._leave_if_done()
            case Show(pid, host, printed, left_out_bytes):
                self._screen.show(pid, host, printed, left_out_bytes)
            case Receive(items):
                self._receive(items)
            case Resumed(task_ids, is_all):
                self._resume(task_ids)
                if is_all:
                    self._is_resumed.set()
            case Progress(deltas):
                for delta in deltas:
                    self._progress(delta)
            case BeBarred(reason, is_refusal):
                where = f"{self._entrance.name}: {reason}"
                if is_refusal:
                    text = f"Refused by the endpoint at {where}"
                    self._give_up(AdmissionRefused(text))
                else:
                    trouble = self._runtime.trouble("interchange")
                    detail = f" ({trouble})" if trouble else ""
                    hint = self._entrance.hint
                    self._give_up(AddressError(f"No endpoint at {where}{detail}{hint}"))
            case Exit():
                self._runtime.finish()
            case _:
                raise TypeError(f"a connection cannot do {effect!r}")

    def _receive(self, items: list[Item]) -> None:
        for item in items:
            reader = self._readers.get(item.task_id)
            if reader is None or self._is_leaving:
                told = ALL_ITEMS
            else:
                told = reader.add(item.index, item.payload)
            if told > item.index:
                # It did not hear that this was taken, or that nobody wants it.
                self.take_items(item.task_id, told)

    def _resume(self, task_ids: list[TaskId]) -> None:
        """Make futures for what an earlier process has submitted."""
        now = time.time()
        with self._keys_lock:
            for task_id in task_ids:
                _, mark, key = task_id.partition(KEY_MARK)
                if mark and key in self._keyed:
                    continue  # the user was quicker, and asked for it again
                future = TaskFuture(task_id, now, self)
                self._futures[task_id] = self._resumed[key or task_id] = future
                if mark:
                    self._keyed[key] = future
                self._submissions.ended(-1)

    def _resolve(self, future: TaskFuture, outcome: Outcome) -> None:
        if outcome.state is _SUCCESS:
            try:
                result = load_result(outcome.payload)
            except NotSerializable as error:
                future.note(outcome)
                self._call(future, partial(future.end, error=error))
            else:
                if not future.fulfil(result, outcome):
                    self._call(future, partial(future.end, result))
            return
        future.note(outcome)
        if outcome.state is TaskState.CANCELLED:
            self._call(future, future.end_cancelled)
        else:
            self._call(future, partial(future.end, error=_exception(outcome)))

    def _call(self, future: TaskFuture, end: Callable[[], None]) -> None:
        """End a future here, or in the thread if its end runs the user's code."""
        if future.has_callbacks:
            self._helm.leave_to_thread(end)
        else:
            end()

    def _progress(self, delta: Delta) -> None:
        future = self._futures.get(delta.task_id)
        if future is not None and delta.state is TaskState.RUNNING:
            future.begin()

    def _give_up(self, error: ActorsError) -> None:
        """End the connection: no task can succeed any more."""
        logger.error("%s", error)
        self._fail(error)
        self._runtime.finish()

    def _fail(self, error: ActorsError) -> None:
        """Fail what is unfinished, and from now on whatever is submitted."""
        self._error = error
        self._is_resumed.set()
        self._kept.clear()
        for task_id in list(self._futures):
            future = self._futures.pop(task_id, None)
            if future is not None:
                future.end(error=error)


def _exception(outcome: Outcome) -> BaseException:
    failure = outcome.failure or Failure(FailureKind.LOST, "the task failed")
    if failure.kind in _ERRORS and not outcome.payload:
        return _ERRORS[failure.kind](failure.message, failure.detail)
    if failure.kind is FailureKind.TOO_LARGE and not outcome.payload:
        return PayloadTooLarge(failure.message)
    return error_of(outcome.payload, failure)
