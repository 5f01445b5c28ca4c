"""Concurrency: calls of one actor that run at the same time.

Each concurrency group has threads of its own; calls without a group share the rest.
`async def` methods run on one event loop, in a thread of its own, as many at a time as
their group may; sync methods never run there, as one of them would stop all others.
"""

import asyncio
import contextlib
import ctypes
import inspect
import threading
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from time import time
from typing import Any

from actors.embedded.borrower import CURRENT_SEQ
from actors.embedded.host import ActorHost
from actors.messages import STREAMING, Call, Run

__all__ = ["Concurrency"]

_MESSAGE_BYTES = 64


class Concurrency:
    """Runs the calls of an actor.

    Args:
        host: of the actor.
        calls: at a time, outside of groups.
        groups: {name: calls at a time}.
        threads: for those calls outside of groups that are not async.
        is_async: whether there are async methods.
    """

    def __init__(
        self,
        host: ActorHost,
        calls: int,
        groups: Mapping[str, int],
        *,
        threads: int,
        is_async: bool,
    ) -> None:
        self._host = host
        self._limits = {"": calls, **groups}
        self._threads = {
            name: ThreadPoolExecutor(count, f"actors-{name}")
            for name, count in {"": threads, **groups}.items()
        }
        self._waiting: dict[int, Run | Call] = {}  # {seq: call that has not begun}
        self._running: dict[int, int | asyncio.Task[Any]] = {}  # {seq: thread or task}
        self._loop: asyncio.AbstractEventLoop | None = None
        if is_async:
            self._loop = asyncio.new_event_loop()
            self._permits = {
                name: asyncio.Semaphore(limit) for name, limit in self._limits.items()
            }
            threading.Thread(
                target=self._loop.run_forever, name="actors-loop", daemon=True
            ).start()

    def take(self, run: Run | Call) -> None:
        """Begin a call as soon as its group has room."""
        method = getattr(
            self._host.instance, run.function[1:].partition(b"\0")[0].decode(), None
        )
        group = run.function.partition(b"\0")[2].decode()
        if group not in self._limits:
            group = ""
        self._waiting[run.seq] = run
        if self._host.is_cancelled(run.seq):
            # The word overtook it.
            self._decline(run.seq)
            return
        if self._loop is not None and (
            inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)
        ):
            self._loop.call_soon_threadsafe(self._begin, self._await(run, group), run)
        else:
            self._threads[group].submit(self._call, run)

    def interrupt(self, seq: int) -> None:
        """Cancel a call that runs, or decline one that has not begun."""
        if self._decline(seq):
            return
        where = self._running.get(seq)
        if isinstance(where, asyncio.Task):
            assert self._loop is not None
            self._loop.call_soon_threadsafe(where.cancel)
        elif where is not None:
            # At its next bytecode: a sleeping call ends its sleep first.
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(where), ctypes.py_object(KeyboardInterrupt)
            )

    def _decline(self, seq: int) -> bool:
        """Answer a call that has not begun and never will; false: it has."""
        run = self._waiting.pop(seq, None)
        if run is None:
            return False
        self._host.is_cancelled(seq)  # no more to be remembered
        error = KeyboardInterrupt("the call was cancelled")
        self._say(self._host.fail(run, error, time()))
        return True

    def _begin(self, work: Coroutine[Any, Any, None], run: Run | Call) -> None:
        assert self._loop is not None
        self._running[run.seq] = self._loop.create_task(work)

    def _call(self, run: Run | Call) -> None:
        """In a thread."""
        began_at, host = time(), self._host
        if host.is_exiting or self._waiting.pop(run.seq, None) is None:
            return
        loaded = host.load(run)
        if not isinstance(loaded, tuple):
            self._say(loaded)
            return
        method, args, kwargs = loaded
        try:
            if host.is_cancelled(run.seq):
                raise KeyboardInterrupt("the call was cancelled")
            self._running[run.seq] = threading.get_ident()
            CURRENT_SEQ.set(run.seq)
            host.say_begun(run)
            try:
                value = method(*args, **kwargs)
                if isinstance(run, Call) and run.options.num_returns == STREAMING:
                    host.stream(run.seq, value, run.first_item)
            finally:
                self._running.pop(run.seq, None)
                CURRENT_SEQ.set(0)
        except BaseException as error:  # noqa: BLE001  the user's code
            self._say(host.fail(run, error, began_at))
        else:
            self._say(host.finish(run, value, began_at))

    async def _await(self, run: Run | Call, group: str) -> None:
        """On the loop."""
        began_at, host = time(), self._host
        try:
            async with self._permits[group]:
                if self._waiting.pop(run.seq, None) is None:
                    return
                began_at = time()
                loaded = host.load(run)
                if not isinstance(loaded, tuple):
                    self._say(loaded)
                    return
                if host.is_cancelled(run.seq):
                    raise asyncio.CancelledError
                CURRENT_SEQ.set(run.seq)
                host.say_begun(run)
                method, args, kwargs = loaded
                if inspect.isasyncgenfunction(method):
                    await host.stream_async(run, method(*args, **kwargs))
                    value = None
                else:
                    value = await method(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001  the user's code
            self._say(host.fail(run, error, began_at))
        else:
            self._say(host.finish(run, value, began_at))
        finally:
            self._running.pop(run.seq, None)

    def _say(self, result: Any) -> None:
        # The hub is gone: so is this process, in a moment.
        if result is not None:
            with contextlib.suppress(OSError):
                size = _MESSAGE_BYTES + len(getattr(result, "payload", b""))
                self._host.say(result, size, now=True)
