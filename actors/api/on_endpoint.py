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
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError
from functools import partial
from typing import Any

from actors.api.addressing import find_entrance
from actors.api.connection import PATIENCE, Connection
from actors.api.endpoint_actors import EndpointActors
from actors.api.task_future import TaskFuture
from actors.errors import (
    ConfigError,
    GetTimeoutError,
    NotSerializable,
    TaskCancelledError,
)
from actors.logic.returns import call_and_list, call_and_split
from actors.messages import DYNAMIC, STREAMING, ActorWork, TaskOptions
from actors.payload import dump_arguments, dump_function
from actors.refs import Actors, ObjectRef, ObjectRefGenerator, RefAstray

__all__ = ["OnEndpoint", "connect"]

# "Any number" of retries; more than a cluster's life has room for.
_ANY_NUMBER = 2**31


class _Spec:
    """What all calls of a function have in common.

    Args:
        function: pickled.
        options: of the calls.
        name: for people.

    Raises:
        ConfigError: an option asks for what endpoints do not offer.
    """

    def __init__(self, function: bytes, options: TaskOptions, name: str) -> None:
        _refuse_what_is_missing(options, name)
        self.name = name
        self.returns = options.num_returns
        retries = _ANY_NUMBER if options.retries < 0 else options.retries
        self.options = TaskOptions(
            retries=retries, priority=options.priority, name=options.name or name
        )
        self.own_retries = math.inf if options.own_retries < 0 else options.own_retries
        self.retry_on: tuple[type[BaseException], ...] = (
            pickle.loads(options.retry_on) if options.retry_on else (Exception,)
        )
        # What stands before the arguments.
        self.first: tuple[Any, ...] = ()
        self.function = function
        if self.returns in (DYNAMIC, STREAMING):
            self.function, self.first = dump_function(call_and_list), (function,)
        elif self.returns != 1:
            self.function = dump_function(call_and_split)
            self.first = (function, self.returns)


def _refuse_what_is_missing(options: TaskOptions, name: str) -> None:
    missing = {
        "timeout": options.timeout,
        "num_gpus": options.num_gpus,
        "resources": options.resources,
        "num_cpus": options.num_cpus not in (0.0, 1.0),
    }
    for option, is_given in missing.items():
        if is_given:
            raise ConfigError(
                f"{name} asks for {option}, which an endpoint does not offer: leave it "
                "out, or call actors.init() without an address"
            )


class OnEndpoint:
    """The runtime of a program on an endpoint.

    Args:
        connection: to the endpoint.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.actors: Actors = EndpointActors(self)

    # Calls

    def prepare(self, function: bytes, options: TaskOptions, name: str) -> _Spec:
        """Look at what all calls of a function have in common.

        Raises:
            ConfigError: an option asks for what endpoints do not offer.
        """
        return _Spec(function, options, name)

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
        if not dependencies and not spec.own_retries:
            future: Future[Any] = self._send(spec, function, args, kwargs)
        else:
            call = _Call(self._send, spec, function, args, kwargs)
            future = call.promise
            call.begin_after([_future_of(ref) for ref in dependencies])
        return self._refs(spec, future)

    def _send(
        self,
        spec: _Spec,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> TaskFuture:
        try:
            arguments = dump_arguments(function, (*spec.first, *args), kwargs)
        except NotSerializable as error:
            if isinstance(error.__cause__, RefAstray):
                raise NotSerializable(
                    f"An argument of {spec.name} has an ObjectRef inside, which cannot "
                    "go to an endpoint: give the ref itself, or what get() returns"
                ) from error
            raise
        return self._connection.send(spec.function, arguments, spec.options)

    def send_work(
        self, work: ActorWork, function: bytes, arguments: bytes, options: TaskOptions
    ) -> TaskFuture:
        """Send what is for an actor."""
        return self._connection.send(function, arguments, options, actor=work)

    @staticmethod
    def ref_on(
        future: "Future[Any]", change: Callable[[Any], Any] | None = None
    ) -> ObjectRef[Any]:
        """Return a ref on a future's result, or on what becomes of that."""
        return _ref_on(future if change is None else _then(future, change))

    @staticmethod
    def _refs(spec: _Spec, future: "Future[Any]") -> Any:
        if spec.returns == 1:
            return _ref_on(future)
        if spec.returns == DYNAMIC:
            return _ref_on(_then(future, lambda values: [_known(v) for v in values]))
        if spec.returns == STREAMING:
            return ObjectRefGenerator(_Items(future).take)
        refs = [
            _ref_on(_then(future, partial(_item, index=index)))
            for index in range(spec.returns)
        ]
        return refs or None

    # Refs

    def get(self, refs: Sequence[ObjectRef[Any]], timeout: float | None) -> list[Any]:
        """Wait for all values and return them.

        Raises:
            GetTimeoutError: not all are known after `timeout` seconds.
            BaseException: the first failure among them.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        values = []
        for ref in refs:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            future = _future_of(ref)
            try:
                values.append(future.result(left))
            except CancelledError as error:
                raise TaskCancelledError("The task was cancelled") from error
            except TimeoutError as error:
                # It may be the task's own.
                if future.done():
                    raise
                raise GetTimeoutError(
                    f"{ref} is not known after {timeout} s; its task goes on"
                ) from error
        return values

    def wait(
        self, refs: Sequence[ObjectRef[Any]], count: int, timeout: float | None
    ) -> list[bool]:
        """Wait until so many are known; tell of each whether it is."""
        futures = [_future_of(ref) for ref in refs]
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
        """Make a ref on a value."""
        return _known(value)

    def cancel(
        self,
        ref: ObjectRef[Any],
        *,
        force: bool,
        recursive: bool,
        grace: float = -1.0,
    ) -> None:
        """Give up the task that brings a value; one that runs only by `force`.

        Raises:
            ConfigError: there is a `grace`: nothing is interrupted before it.
        """
        if grace >= 0:
            raise ConfigError(
                f"grace {grace:g}: an endpoint does not interrupt tasks; use force=True"
            )
        _give_up(_future_of(ref), force=force)

    def subscribe(
        self, ref: ObjectRef[Any], callback: Callable[[ObjectRef[Any]], None]
    ) -> None:
        """Have something called, in the connection's thread, when a ref is known."""
        _future_of(ref).add_done_callback(lambda _: callback(ref))

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
        self._connection.cancel_waiting()
        self._connection.leave()
        self._connection.join()


def connect(
    address: str | os.PathLike[str] | None, credentials: str | os.PathLike[str] | None
) -> OnEndpoint:
    """Go to an endpoint; see `actors.init`.

    Raises:
        AddressError: nothing is there.
        ConfigError: the address, the endpoint's folder or the credentials are wrong.
    """
    entrance = find_entrance(address, "client", credentials=credentials)
    return OnEndpoint(Connection(entrance, max_running=None, patience=PATIENCE))


class _Call:
    """A call that waits for refs, or may be made again."""

    def __init__(
        self,
        send: Callable[..., TaskFuture],
        spec: _Spec,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self.promise = _Promise()
        self._send = send
        self._spec = spec
        self._function = function
        self._args = args
        self._kwargs = kwargs
        self._missing = 1  # refs that are not known; and we, who look for them
        self._counting = threading.Lock()
        self._tries_left = spec.own_retries

    def begin_after(self, dependencies: "Sequence[Future[Any]]") -> None:
        """Begin once all these are known."""
        self._missing += len(dependencies)
        for future in dependencies:
            future.add_done_callback(self._one_less)
        self._one_less(None)

    def _one_less(self, future: "Future[Any] | None") -> None:
        with self._counting:
            self._missing -= 1
            is_complete = not self._missing
        if is_complete and not self.promise.done():
            self._begin()

    def _begin(self) -> None:
        try:
            args = tuple(_value_of(value) for value in self._args)
            kwargs = {name: _value_of(value) for name, value in self._kwargs.items()}
            future = self._send(self._spec, self._function, args, kwargs)
        except BaseException as error:  # noqa: BLE001  a dependency's, perhaps
            _end(self.promise, None, error)
            return
        self.promise.source = future
        future.add_done_callback(self._ended)

    def _ended(self, future: "Future[Any]") -> None:
        error = None if future.cancelled() else future.exception()
        if self._tries_left > 0 and isinstance(error, self._spec.retry_on):
            self._tries_left -= 1
            self._begin()
        else:
            _pass_on(future, self.promise)


class _Promise(Future[Any]):
    """A future that somebody else's end will end."""

    source: "Future[Any] | None" = None  # whose; None: not known yet

    def give_up(self, *, force: bool) -> None:
        """Cancel it, or what will end it."""
        if self.source is None:
            self.cancel()
            self.set_running_or_notify_cancel()
        else:
            _give_up(self.source, force=force)


def _give_up(future: "Future[Any]", *, force: bool) -> None:
    match future:
        case _Promise():
            future.give_up(force=force)
        case TaskFuture():
            future.cancel(if_running=force)


def _pass_on(
    source: "Future[Any]",
    promise: "Future[Any]",
    change: Callable[[Any], Any] = lambda result: result,
) -> None:
    """End a promise as another future has ended; nothing if it was given up."""
    if source.cancelled():
        promise.cancel()
        promise.set_running_or_notify_cancel()
        return
    error = source.exception()
    result = None
    try:
        if error is None:
            result = change(source.result())
    except BaseException as reason:  # noqa: BLE001  for whoever waits
        error = reason
    _end(promise, result, error)


def _end(
    promise: "Future[Any]", result: Any, error: "BaseException | None" = None
) -> None:
    # Given up meanwhile: nobody wants it any more.
    with contextlib.suppress(InvalidStateError):
        if error is None:
            promise.set_result(result)
        else:
            promise.set_exception(error)


def _then(source: "Future[Any]", change: Callable[[Any], Any]) -> _Promise:
    """Return what another future's result becomes by a change."""
    promise = _Promise()
    promise.source = source
    source.add_done_callback(lambda ended: _pass_on(ended, promise, change))
    return promise


def _item(values: list[Any], index: int) -> Any:
    return values[index]


def _ref_on(future: "Future[Any]") -> ObjectRef[Any]:
    ref: ObjectRef[Any] = ObjectRef()
    ref.task = future
    return ref


def _known(value: Any) -> ObjectRef[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return _ref_on(future)


def _future_of(ref: ObjectRef[Any]) -> "Future[Any]":
    future = ref.task
    if not isinstance(future, Future):
        raise TypeError(f"{ref} is not of this runtime: it was made before init()")
    return future


def _value_of(argument: Any) -> Any:
    return (
        _future_of(argument).result() if isinstance(argument, ObjectRef) else argument
    )


class _Items:
    """The refs of what a generator yielded, one after the other.

    Args:
        future: of the list of them.
    """

    def __init__(self, future: "Future[Any]") -> None:
        self._future = future
        self._taken = 0

    def take(self) -> ObjectRef[Any] | None:
        """Wait for the next ref; None: there are no more. An error is the last one."""
        index, self._taken = self._taken, self._taken + 1
        try:
            values = self._future.result()
        except BaseException:  # noqa: BLE001  for who gets the ref
            return _ref_on(self._future) if index == 0 else None
        return _known(values[index]) if index < len(values) else None
