"""Executor: `concurrent.futures` on an endpoint."""

import functools
import math
import os
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import msgspec

from actors.api.addressing import find_entrance
from actors.api.connection import PATIENCE, Connection
from actors.api.executors import Executor
from actors.api.initializer import Initializer, InitializerFailed, is_for_bars
from actors.api.names import name_call
from actors.api.option_kinds import of_their_kinds
from actors.api.options import needs_of
from actors.api.session import KEY_MARK
from actors.api.task_future import TaskFuture
from actors.messages import TaskOptions
from actors.nng import refuse_forks

__all__ = ["EndpointExecutor"]

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

# Ids of tasks have at most 200: a name and a key, or a name and a number. Chosen.
_MOST_CHARACTERS = 100
_MOST_KEY_CHARACTERS = 90


class EndpointExecutor(Executor):
    """Run calls on an endpoint; a standard `concurrent.futures.Executor`.

    Functions and arguments are pickled: by reference what the workers can import, by
    value what is defined in `__main__`, a notebook, a lambda or a local function.

    Args:
        address: an endpoint's folder (or its endpoint.toml), or `wss://host:port`;
            None: the environment variable ACTORS_ADDRESS, which `actors run ... --
            COMMAND` sets for its command.
        max_workers: at most so many of this executor's tasks are at the endpoint at a
            time; None: as many as you submit, and the endpoint decides.
        initializer: called in each worker before the first of this executor's tasks
            there. Workers serve others, too, and keep what it changed. If it fails, so
            do the executor's tasks, with a `BrokenExecutor`.
        initargs: its arguments.
        credentials: for a `wss://` address: a folder with the endpoint's `token` and
            `credentials/`, as `actors init` wrote them.
        retries: how often a task is started again after its worker, node or block was
            lost; 0: a task runs at most once. An exception of your own is a result, and
            never retried.
        priority: higher goes first.
        worker_type: the environment to run in: a table `[worker_types.NAME]` of the
            endpoint's endpoint.toml; "": plain workers. If there is none of that name,
            or no such worker can be started, tasks fail with a WorkerTypeError.
        walltime: seconds that a task may take; it is started only on a block that lives
            on for as long, and fails if the endpoint has none that ever does. It is not
            ended after that time.
        tag: of the managers that may run its tasks, their `[workers] tag`; tasks wait
            until there is one. "": any that is not `tag_exclusive`.
        patience: seconds without an endpoint after which tasks fail.
        name: of this client, 1 to 100 characters without ':' and '!'; one process at a
            time may have it. If the process dies, the endpoint goes on with its tasks,
            and keeps their results as long as its `results.keep` says, for a later
            process of that name; it forgets them when the executor is shut down.
        log_to_driver: whether what its tasks print appears on our standard error, as
            that of a `ProcessPoolExecutor` does; it stands in the endpoint's logs, too.
        resume: with a name: take over what earlier processes have left; `resumed` gives
            the futures.

    Raises:
        AddressError: no address, or nothing is there.
        ConfigError: the address, the endpoint's folder or the credentials are wrong,
            or an option is of a wrong kind.
        TypeError: `initializer` is not callable.
        ValueError: `max_workers` or `walltime` is not positive, `retries` or
            `patience` is negative, `name` is no name, or `resume` has none.
    """

    def __init__(
        self,
        address: str | os.PathLike[str] | None = None,
        max_workers: int | None = None,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        credentials: str | os.PathLike[str] | None = None,
        retries: int = 3,
        priority: int = 0,
        worker_type: str = "",
        walltime: float | None = None,
        tag: str = "",
        patience: float = PATIENCE,
        name: str = "",
        resume: bool = False,
        log_to_driver: bool = True,
    ) -> None:
        given = of_their_kinds(
            {
                "max_workers": max_workers,
                "walltime": walltime,
                "retries": retries,
                "priority": priority,
                "patience": patience,
                "worker_type": worker_type,
                "tag": tag,
                "name": name,
            }
        )
        max_workers, walltime = given["max_workers"], given["walltime"]
        retries, patience, name = given["retries"], given["patience"], given["name"]
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if retries < 0:
            raise ValueError(f"retries {retries} must be 0 or more")
        if patience < 0:
            raise ValueError(f"patience {patience:g} must be 0 or more")
        if walltime is not None and not 0 < walltime < math.inf:
            raise ValueError(f"walltime {walltime} must be positive")
        if len(name) > _MOST_CHARACTERS or set(name) & {":", KEY_MARK}:
            raise ValueError(
                f"name {name!r} must have at most {_MOST_CHARACTERS} characters, and "
                f"neither ':' nor {KEY_MARK!r}"
            )
        if resume and not name:
            raise ValueError("resume needs the name of the client to be resumed")
        # Others read it to decide on the size of chunks: dask, joblib.
        self._max_workers = max_workers or os.cpu_count() or 1
        needs = needs_of(given["worker_type"] or "", walltime, given["tag"] or "")
        # As of the last call, by whose name people know its task.
        self._options = TaskOptions(
            retries=retries, priority=given["priority"] or 0, needs=needs
        )
        if is_for_bars(initializer):
            initializer = None
        self._initializer = Initializer(initializer, initargs) if initializer else None
        entrance = find_entrance(address, "client", credentials=credentials)
        self._connection = Connection(
            entrance,
            max_running=max_workers,
            patience=patience,
            name=name,
            resumes=resume,
            log_to_driver=log_to_driver,
        )
        self._name = name
        self._resumes = resume
        self._begin(self._connection)

    def submit(
        self,
        fn: Callable[Parameters, Result],
        /,
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> TaskFuture:
        """Schedule `fn(*args, **kwargs)`.

        What cannot be pickled, or is larger than the endpoint takes, fails in the
        future alone, with NotSerializable or PayloadTooLarge.

        Raises:
            RuntimeError: after `shutdown`, or at the interpreter's end.
            BrokenExecutor: the initializer has failed.
        """
        return self._submit(fn, args, kwargs)

    def submit_keyed(
        self,
        key: str,
        fn: Callable[Parameters, Result],
        /,
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> TaskFuture:
        """Schedule `fn(*args, **kwargs)`, unless a task with this key was before.

        The same key twice is one task, with one future: whatever the second call was
        to do is not looked at. In an executor with a name that holds across its
        processes, until one of them shuts it down: only then does the endpoint forget
        the results of keyed tasks. A task that failed stays failed under its key.

        Args:
            key: 1 to 90 characters.
            fn: what to call, as for `submit`.
            args: its arguments.
            kwargs: more of them.

        Raises:
            ConfigError: the key is no text that UTF-8 can express.
            ValueError: it is empty or too long.
            RuntimeError: after `shutdown`, or at the interpreter's end.
            BrokenExecutor: the initializer has failed.
        """
        key = of_their_kinds({"key": key})["key"]
        if not 0 < len(key) <= _MOST_KEY_CHARACTERS:
            raise ValueError(
                f"key {key!r} must have 1 to {_MOST_KEY_CHARACTERS} characters"
            )
        return self._submit(fn, args, kwargs, key)

    def resumed(self, timeout: float | None = None) -> dict[str, TaskFuture]:
        """Return the futures of what earlier processes of this name have left.

        Args:
            timeout: seconds to wait for the endpoint's answer; None: as long as the
                executor's patience with it.

        Returns:
            {the task's key, or its id if it has none: its future}, finished or not.
            Nothing is left out that the endpoint had accepted, and whose result no
            process had got.

        Raises:
            ValueError: the executor was not made with `resume=True`.
            TimeoutError: after `timeout`.
            ActorsError: there is no endpoint.
        """
        if not self._resumes:
            raise ValueError("only Executor(name=..., resume=True) has resumed tasks")
        return self._connection.resumed(timeout)

    def detach(self) -> None:
        """Leave the endpoint without giving anything up; returns at once accepted.

        Tasks go on, and their results wait for an executor of this name that resumes
        them. Futures of this one fail.

        Raises:
            ValueError: the executor has no name: nobody could resume it.
        """
        if not self._name:
            raise ValueError("detach needs an executor with a name")
        with self._lock:
            self._is_shut_down = True
        self._connection.detach()
        self._connection.join()

    def _submit(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        key: str = "",
    ) -> TaskFuture:
        connection = self._connection
        submit = connection.submit
        if key:
            submit = functools.partial(connection.submit_keyed, key)
        with self._lock:
            if self._is_shut_down or self._is_at_exit:
                self._refuse_if_over()
            if self._broken is not None:
                raise InitializerFailed(self._broken.message)
            options = self._options
            name = getattr(function, "__qualname__", None) or name_call(function)
            if options.name != name:
                options = self._options = msgspec.structs.replace(options, name=name)
            if self._initializer is None:
                return submit(function, args, kwargs, options)
            function = self._initializer.before(function)
            future = submit(function, args, kwargs, options)
        self._break_with(future)
        return future

    def _refuse_if_over(self) -> None:
        # In a fork there is more to say: it cannot have one of its own, either.
        refuse_forks()
        super()._refuse_if_over()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks, and leave the endpoint when all have ended.

        Args:
            wait: return only then.
            cancel_futures: cancel what has not begun. With `max_workers`, the oldest
                so many tasks are given a second to begin.
        """
        with self._lock:
            self._is_shut_down = True
        if self._forked_from:
            return  # it is the parent's
        if cancel_futures:
            self._connection.cancel_waiting()
        self._connection.leave()
        if wait:
            self._connection.join()
