"""OnEndpoint: remote functions and refs of a program that uses an endpoint.

    .remote(refs...) ──► pending, until the refs are known ──► a task at the endpoint
                                                                    │
    get, wait, await  ◄── ref ◄── future ◄──────── result ──────────┘

A ref stands on a standard future: of the task that brings the value, or of a value
that is here already. The values live in this program; the endpoint keeps nothing once
its client has a result. A ref that is an argument is replaced by its value before the
task is sent.
"""

import concurrent.futures
import contextlib
import math
import os
import pickle
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any

import msgspec

from actors.api.addressing import find_entrance
from actors.api.call_in import call_in
from actors.api.connection import PATIENCE, Connection
from actors.api.endpoint_actors import EndpointActors, Sending
from actors.api.endpoint_refs import (
    EndpointRef,
    NotYetKnown,
    PendingCall,
    counted,
    future_of,
    give_up,
    item_of,
    known_ref,
    ref_on,
    resolved,
    snapshot,
    task_of,
    then,
)
from actors.api.item_reader import ItemReader, Reading
from actors.api.long_waits import LONG, LongWaits
from actors.api.task_future import TaskFuture
from actors.embedded.outcomes import error_of
from actors.errors import ActorsError, DeadlockError, GetTimeoutError
from actors.logic.returns import call_and_list, call_and_split
from actors.messages import (
    DYNAMIC,
    STREAMING,
    ActorWork,
    ClientId,
    Failure,
    FailureKind,
    Needs,
    TaskId,
    TaskOptions,
)
from actors.payload import dump_arguments, dump_function
from actors.refs import (
    Actors,
    ObjectRef,
    ObjectRefGenerator,
    Promise,
    RefAstray,
    note_refs,
)
from actors.task_errors import TaskCancelledError
from actors.whereabouts import Whereabouts

__all__ = ["OnEndpoint", "connect"]

# What runs instead of a function whose program has a namespace.
_CALL_IN = dump_function(call_in)
# "Any number" of retries; more than a cluster's life has room for.
_ANY_NUMBER = 2**31
# Seconds that a call waits to hear whether it can ever run; without an answer it is
# sent all the same. Chosen: an interchange that is restarted is away for less.
_VERDICT_PATIENCE = 5.0
# Who wants several values, and has waited so long for one, looks whether another has
# failed. To wait for all of them at once costs 2 us each, which short tasks would feel.
_SOON = 0.2


class _Spec:
    """What all calls of a function have in common.

    Args:
        function: pickled.
        options: of the calls.
        name: for people.

    """

    def __init__(self, function: bytes, options: TaskOptions, name: str) -> None:
        self.name = name
        self.returns = options.num_returns
        retries = _ANY_NUMBER if options.retries < 0 else options.retries
        self.options = TaskOptions(
            retries=retries,
            priority=options.priority,
            name=options.name or name,
            timeout=options.timeout,
            needs=options.needs,
        )
        self.own_retries = math.inf if options.own_retries < 0 else options.own_retries
        self.retry_on: tuple[type[BaseException], ...] = (
            pickle.loads(options.retry_on) if options.retry_on else (Exception,)
        )
        # What stands before the arguments.
        self.first: tuple[Any, ...] = ()
        self.function = function
        if self.returns == STREAMING:
            return
        if self.returns == DYNAMIC:
            self.function, self.first = dump_function(call_and_list), (function,)
        elif self.returns != 1:
            self.function = dump_function(call_and_split)
            self.first = (function, self.returns)


class OnEndpoint:
    """The runtime of a program on an endpoint.

    Args:
        connection: to the endpoint.
        waits: of code that runs on the endpoint itself: told whenever its main thread
            begins (true) or ends (false) to wait for values.
        long_waits: of such code: told of waits of its main thread that take long.
        namespace: where names of actors are looked up, and given, unless told.
        job_id: what this program, and what it calls, is told that it runs on.
    """

    def __init__(
        self,
        connection: Connection,
        waits: Callable[[bool], None] | None = None,
        long_waits: LongWaits | None = None,
        *,
        namespace: str = "",
        job_id: str = "",
    ) -> None:
        self._connection = connection
        self._waits = waits
        self._long_waits = long_waits
        self.is_within = waits is not None
        self.namespace = namespace
        self._job_id = job_id
        self._suited: set[Needs] = set()  # what the endpoint can have
        self.actors = EndpointActors(self)
        # For those who see in this the protocol.
        _: Actors = self.actors

    def whereabouts(self) -> Whereabouts:
        """Return where the program runs."""
        return Whereabouts(self._job_id, self.namespace, is_driver=True)

    # Calls

    def prepare(self, function: bytes, options: TaskOptions, name: str) -> _Spec:
        """Look at what all calls of a function have in common.

        Raises:
            ConfigError: nothing at the endpoint can ever run them.
            TaskFailed: it refuses them for another reason.
        """
        spec = _Spec(function, options, name)
        if options.needs is not None and options.needs not in self._suited:
            self._refuse_unsuited(spec.options)
        return spec

    def _refuse_unsuited(self, options: TaskOptions) -> None:
        """Ask the endpoint, once, whether it can ever run what needs this."""
        if options.needs is None or self.is_resolving:
            return
        asking = self._connection.send(b"", b"", options, actor=ActorWork("", "suits"))
        try:
            verdict = asking.result(_VERDICT_PATIENCE)
        except (ActorsError, TimeoutError):
            # It is away, or in a bad state: each call will tell.
            asking.cancel()
            return
        if verdict is not None:
            kind, text = verdict
            raise error_of(b"", Failure(FailureKind(kind), text))
        self._suited.add(options.needs)

    def submit(
        self,
        spec: _Spec,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Call a function at the endpoint.

        Returns:
            As `num_returns` says: a ref, a list of refs, an ObjectRefGenerator.

        Raises:
            NotSerializable: an argument cannot be pickled.
        """
        values = [*args, *kwargs.values()]
        dependencies = [value for value in values if isinstance(value, ObjectRef)]
        future: Future[Any]
        reader = self.new_reader(spec.returns)
        reading = None if reader is None else weakref.ref(reader)
        send = partial(self._send, spec, function, reading)
        if not dependencies and not spec.own_retries:
            try:
                future = send(args, kwargs)
            except NotYetKnown as not_yet:
                dependencies = not_yet.refs
        if dependencies or spec.own_retries:
            call = PendingCall(
                send,
                args,
                kwargs,
                spec.own_retries,
                spec.retry_on,
            )
            future = call.promise
            call.begin_after([future_of(ref) for ref in dependencies])
        return self._refs(spec.returns, future, reader)

    def new_reader(self, returns: int) -> ItemReader | None:
        """Return what reads a call's items, if it has some."""
        return ItemReader(self._connection) if returns == STREAMING else None

    def _send(
        self,
        spec: _Spec,
        function: Callable[..., Any],
        reading: Reading | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> TaskFuture:
        what, first = spec.function, spec.first
        if self.namespace:
            what, first = _CALL_IN, (self.namespace, what, *first)
        arguments, held = self.dump(function, (*first, *args), kwargs)
        return self._connection.send(
            what,
            arguments,
            spec.options,
            kept=held or None,
            reading=reading,
        )

    # For actors

    @property
    def is_resolving(self) -> bool:
        """Whether this thread reads results just now, and must not wait for any."""
        return self._connection.is_resolving

    def new_actor_id(self) -> str:
        """Return the id of an actor that is about to be made."""
        return self._connection.new_actor_id()

    def dump(
        self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[bytes, Sequence[ObjectRef[Any]]]:
        """Pickle the arguments of a call.

        Returns:
            Bytes, and the actors' anchors in them: to be kept until they were read.

        Raises:
            NotSerializable: an argument cannot be pickled.
            NotYetKnown: of refs in them.
        """
        held: list[ObjectRef[Any]] = []
        note_refs(held)
        try:
            arguments = dump_arguments(function, args, kwargs, self._connection.write)
        finally:
            note_refs(None)
        unknown = [ref for ref in held if isinstance(ref, EndpointRef)]
        if unknown:
            raise NotYetKnown(unknown)
        return arguments, held

    def unknown_inside(
        self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> list[Future[Any]]:
        """Return the futures of refs inside arguments that are not known."""
        kept = tuple(None if isinstance(v, ObjectRef) else v for v in args)
        named = {k: v for k, v in kwargs.items() if not isinstance(v, ObjectRef)}
        try:
            self.dump(function, kept, named)
        except NotYetKnown as not_yet:
            return [future_of(ref) for ref in not_yet.refs]
        return []

    def send_work(
        self,
        work: ActorWork,
        function: bytes,
        arguments: bytes,
        options: TaskOptions,
        kept: object,
        reading: Reading | None = None,
    ) -> TaskFuture:
        """Send what is for an actor.

        Args:
            work: what it is.
            function: what, by the kind of work.
            arguments: pickled.
            options: of which `retries`, `priority`, `timeout` and `name` count.
            kept: lives until it has ended.
            reading: who reads what it yields.
        """
        if options.retries < 0:
            options = msgspec.structs.replace(options, retries=_ANY_NUMBER)
        return self._connection.send(
            function, arguments, options, actor=work, kept=kept, reading=reading
        )

    def wish(self, work: ActorWork) -> TaskFuture:
        """Send what is for an actor, behind all earlier wishes."""
        return self._connection.wish(work)

    def wish_only(self, work: ActorWork) -> None:
        """As `wish`, from any thread at any moment; nobody hears of its end."""
        self._connection.wish_only(work)

    @staticmethod
    def later(
        sending: Sending, options: TaskOptions
    ) -> tuple[Future[Any], Callable[[], None]]:
        """Prepare a call that is sent later.

        Returns:
            Its future, and what sends it, once its arguments are known.
        """
        tries = math.inf if options.own_retries < 0 else options.own_retries
        retry_on = pickle.loads(options.retry_on) if options.retry_on else (Exception,)
        call = PendingCall(sending.send, sending.args, sending.kwargs, tries, retry_on)
        return call.promise, call.begin

    @staticmethod
    def send_now(
        send: Callable[[tuple[Any, ...], dict[str, Any]], "Future[Any]"],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> "Future[Any] | None":
        """Make a call at once; all refs among its arguments have ended.

        Returns:
            Its future; None: it cannot be made now, as one of them has failed, or as
            refs inside its arguments are not known.
        """
        try:
            ready = resolved(args, kwargs)
        except BaseException:  # noqa: BLE001  the ref's own: the call will tell it
            return None
        try:
            return send(*ready)
        except NotYetKnown:
            return None

    @staticmethod
    def unknown_among(
        args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> list[Future[Any]]:
        """Return the futures of refs among arguments that are not known."""
        refs = [v for v in (*args, *kwargs.values()) if isinstance(v, ObjectRef)]
        return [future for future in map(future_of, refs) if not future.done()]

    def returned(
        self, future: "Future[Any]", returns: int, reader: ItemReader | None
    ) -> Any:
        """Return what a call of an actor returns to the user, as `num_returns` says."""
        if returns > 1 or returns == 0:
            future = then(future, partial(counted, count=returns))
        return self._refs(returns, future, reader)

    @staticmethod
    def ref_on(
        future: "Future[Any]", change: Callable[[Any], Any] | None = None
    ) -> ObjectRef[Any]:
        """Return a ref on a future's result, or on what becomes of that."""
        return ref_on(future if change is None else then(future, change))

    def _refs(
        self, returns: int, future: "Future[Any]", reader: ItemReader | None
    ) -> Any:
        if returns == 1:
            return ref_on(future)
        if returns == DYNAMIC:
            return ref_on(then(future, lambda values: [known_ref(v) for v in values]))
        if reader is not None:
            reader.end_with(future)
            return ObjectRefGenerator(
                partial(self._take, reader),
                ref_on(future),
                lambda: ref_on(reader.coming()),
            )
        refs = [
            ref_on(then(future, partial(item_of, index=index)))
            for index in range(returns)
        ]
        return refs or None

    def _take(self, reader: ItemReader) -> ObjectRef[Any] | None:
        if self._waits is None:
            return reader.take()
        with self._waiting(is_over=reader.is_ready):
            if self._may_be_stuck(None):
                self._await_item(reader)
            return reader.take()

    def _await_item(self, reader: ItemReader) -> None:
        """Wait for the next item, or its end.

        Raises:
            DeadlockError: neither will ever come.
        """
        reader.wait_for(lambda: False, LONG)
        task_id = reader.task_id
        if not reader.is_ready and task_id is not None:
            with self.stuck([task_id], 0) as doom:
                doom.add_done_callback(lambda _: reader.look())
                reader.wait_for(doom.done)

    def _may_be_stuck(self, timeout: float | None) -> bool:
        """Tell whether a wait of this thread might never end."""
        return (
            self._long_waits is not None
            and timeout is None
            and threading.current_thread() is threading.main_thread()
        )

    @contextlib.contextmanager
    def stuck(self, task_ids: Sequence[TaskId], spare: int) -> "Iterator[Future[str]]":
        """Have found out, while it is entered, whether a wait will ever end.

        Args:
            task_ids: what is waited for.
            spare: so many of them may never end.

        Yields:
            A future that is done when the wait is in vain.

        Raises:
            DeadlockError: it was in vain.
        """
        assert self._long_waits is not None
        doom = self._long_waits.begin(task_ids, spare)
        try:
            yield doom
        finally:
            self._long_waits.end()
        if doom.done():
            raise DeadlockError(doom.result())

    def _await_within(self, futures: "Sequence[Future[Any]]", spare: int) -> None:
        """Wait until all but so many are done, or may soon be.

        Raises:
            DeadlockError: they never will.
        """
        deadline = time.monotonic() + LONG
        unknown = [future for future in futures if not future.done()]
        while len(unknown) > spare and (left := deadline - time.monotonic()) > 0:
            if not spare:
                # It works while it waits.
                with contextlib.suppress(TimeoutError, CancelledError):
                    unknown[0].exception(left)
            else:
                first = concurrent.futures.FIRST_COMPLETED
                concurrent.futures.wait(unknown, left, return_when=first)
            unknown = [future for future in unknown if not future.done()]
        if len(unknown) <= spare:
            return
        task_ids = [task_id for f in unknown if (task_id := task_of(f)) is not None]
        if len(task_ids) <= spare:
            return
        with self.stuck(task_ids, spare) as doom:
            while len(unknown) > spare and not doom.done():
                if not spare and any(f.done() and _has_failed(f) for f in futures):
                    # Who wants them all wants to know.
                    return
                first = concurrent.futures.FIRST_COMPLETED
                concurrent.futures.wait([*unknown, doom], return_when=first)
                unknown = [future for future in unknown if not future.done()]

    @contextlib.contextmanager
    def _waiting(self, *, is_over: bool) -> Iterator[None]:
        """Tell, while it is entered, that the main thread waits, if it does."""
        is_told = (
            self._waits is not None
            and threading.current_thread() is threading.main_thread()
            and not is_over
        )
        if not is_told or self._waits is None:
            yield
            return
        self._waits(True)
        try:
            yield
        finally:
            self._waits(False)

    def await_room(
        self, room: threading.Semaphore, pending: "Sequence[Future[Any]]"
    ) -> None:
        """Wait until a call may be made.

        Args:
            room: acquired then.
            pending: calls, each of which makes room when it ends.

        Raises:
            DeadlockError: none of them ever will.
        """
        if not self._may_be_stuck(None):
            room.acquire()
            return
        with self._waiting(is_over=False):
            if room.acquire(timeout=LONG):
                return
            task_ids = [t for f in pending if (t := task_of(f)) is not None]
            with self.stuck(task_ids, len(pending) - 1) as doom:
                has_room = False
                while not (has_room or doom.done()):
                    has_room = room.acquire(timeout=LONG)
                if has_room and doom.done():
                    room.release()

    # Refs

    def get(self, refs: Sequence[ObjectRef[Any]], timeout: float | None) -> list[Any]:
        """Wait for all values and return them.

        Raises:
            GetTimeoutError: not all are known after `timeout` seconds.
            BaseException: the first failure among them.
        """
        futures = [future_of(ref) for ref in refs]
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        if self._waits is None:
            return self._get(refs, futures, timeout, deadline)
        with self._waiting(is_over=all(future.done() for future in futures)):
            if self._may_be_stuck(timeout):
                self._await_within(futures, 0)
            return self._get(refs, futures, timeout, deadline)

    @staticmethod
    def _get(
        refs: Sequence[ObjectRef[Any]],
        futures: "Sequence[Future[Any]]",
        timeout: float | None,
        deadline: float,
    ) -> list[Any]:
        left = None if len(futures) < 2 else _SOON
        values: list[Any] = []
        for ref, future in zip(refs, futures, strict=True):
            if timeout is not None:
                rest = max(0.0, deadline - time.monotonic())
                left = rest if len(futures) < 2 else min(rest, _SOON)
            try:
                values.append(future.result(left))
            except CancelledError as error:
                raise TaskCancelledError("The task was cancelled") from error
            except TimeoutError as error:
                # It may be the task's own.
                if future.done():
                    raise
                if time.monotonic() >= deadline:
                    raise GetTimeoutError(
                        f"{ref} is not known after {timeout} s; its task goes on"
                    ) from error
                break
        else:
            return values
        which = _one_or_all(futures, deadline)
        there = [futures[i] for i in which]
        return OnEndpoint._get([refs[i] for i in which], there, timeout, deadline)

    def wait(
        self, refs: Sequence[ObjectRef[Any]], count: int, timeout: float | None
    ) -> list[bool]:
        """Wait until so many are known; tell of each whether it is."""
        futures = [future_of(ref) for ref in refs]
        with self._waiting(is_over=all(future.done() for future in futures)):
            if self._may_be_stuck(timeout):
                self._await_within(futures, len(futures) - count)
            return self._wait(futures, count, timeout)

    @staticmethod
    def _wait(
        futures: "Sequence[Future[Any]]", count: int, timeout: float | None
    ) -> list[bool]:
        deadline = None if timeout is None else time.monotonic() + timeout
        while (known := [f.done() for f in futures]).count(True) < count:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            # The first of those that are not known: the others are already.
            concurrent.futures.wait(
                [f for f in futures if not f.done()],
                left,
                return_when=concurrent.futures.FIRST_COMPLETED,
            )
            if deadline is not None and time.monotonic() >= deadline:
                return [f.done() for f in futures]
        return known

    def put(self, value: Any) -> ObjectRef[Any]:
        """Make a ref on what a value is now.

        Raises:
            NotSerializable: it cannot be pickled.
        """
        return known_ref(*snapshot(value))

    def cancel(
        self,
        ref: Promise,
        *,
        force: bool,
        recursive: bool,
        grace: float = -1.0,
    ) -> None:
        """Give up the task that brings a value; see `actors.cancel`."""
        grace = 0.0 if force else grace
        give_up(future_of(ref), grace, is_recursive=recursive)

    def cancel_all(self) -> None:
        """Give up all that was called and has not ended."""
        self._connection.end_all()

    def subscribe(
        self, ref: ObjectRef[Any], callback: Callable[[ObjectRef[Any]], None]
    ) -> None:
        """Have something called, in the connection's thread, when a ref is known."""
        future_of(ref).add_done_callback(lambda _: callback(ref))

    def number_of(self, ref: ObjectRef[Any]) -> int:
        """Refuse: a ref has no name outside this program."""
        raise RefAstray(
            f"{ref} cannot leave this program: give it as an argument of its own, or "
            "what get() returns"
        )

    def arrive(self, number: int) -> ObjectRef[Any]:
        """Refuse: no ref comes from elsewhere."""
        raise RefAstray(f"ObjectRef {number} is another program's")

    def close(self) -> None:
        """Leave the endpoint; tasks that have not ended are given up."""
        self._connection.abandon()
        self._connection.join()


def connect(
    address: str | os.PathLike[str] | None,
    credentials: str | os.PathLike[str] | None,
    namespace: str = "",
    *,
    log_to_driver: bool = True,
) -> OnEndpoint:
    """Go to an endpoint; see `actors.init`.

    Raises:
        AddressError: nothing is there.
        ConfigError: the address, the endpoint's folder or the credentials are wrong.
    """
    entrance = find_entrance(address, "client", credentials=credentials)
    connection = Connection(
        entrance, max_running=None, patience=PATIENCE, log_to_driver=log_to_driver
    )
    job_id = os.path.basename(entrance.name.rstrip("/"))
    return OnEndpoint(connection, namespace=namespace, job_id=job_id)


def connect_within(
    folder: str,
    waits: Callable[[bool], None],
    long_waits: LongWaits,
    calls: Callable[[ClientId], int],
) -> OnEndpoint:
    """Go to the endpoint whose worker this process is.

    Args:
        folder: of the endpoint.
        waits: see `OnEndpoint`.
        long_waits: see there.
        calls: see `Connection`.
    """
    connection = Connection(
        find_entrance(folder, "client"),
        max_running=None,
        patience=PATIENCE,
        calls=calls,
    )
    return OnEndpoint(connection, waits, long_waits)


def _one_or_all(futures: "Sequence[Future[Any]]", deadline: float) -> Sequence[int]:
    """Wait until all are done, or one has failed, or the deadline is over.

    Returns:
        The place of one that has failed while others were not done; else all places.
    """
    if not any(f.done() and _has_failed(f) for f in futures):
        left = max(0.0, deadline - time.monotonic())
        concurrent.futures.wait(
            [f for f in futures if not f.done()],
            None if left == math.inf else left,
            return_when=concurrent.futures.FIRST_EXCEPTION,
        )
    everything = range(len(futures))
    if all(f.done() for f in futures):
        return everything
    failed = [i for i in everything if futures[i].done() and _has_failed(futures[i])]
    return failed[:1] or everything


def _has_failed(future: "Future[Any]") -> bool:
    return future.cancelled() or future.exception() is not None
