"""What runs inside the process of an actor on an endpoint.

It is as the embedded one's, but for how values travel: as those of tasks on an
endpoint; and a generator does not go far ahead of its reader.
"""

import inspect
import pickle
import signal
import socket
from time import time
from typing import Any

from actors.api.item_sender import ItemSender
from actors.api.long_waits import LongWaits
from actors.api.within import Within, go_within
from actors.embedded.host import ActorHost, leave_in_order
from actors.messages import (
    STREAMING,
    Call,
    Deadlocked,
    FailureKind,
    Gave,
    HostActor,
    Message,
    MoreItems,
    Ran,
    Run,
)
from actors.payload import dump_result
from actors.perform import MAX_RESULT_BYTES, failed, too_large
from actors.store.links import worker_write
from actors.worker import Progress, Worker

__all__ = ["EndpointHost", "run_host"]


class EndpointHost(ActorHost):
    """What performs an actor's calls."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker)
        # {seq: what its asynchronous generator has given so far}, if it does not stream
        self._given_items: dict[int, list[Any]] = {}
        self._write = worker_write()
        self._items = ItemSender(self.say, lambda _: None, self._write)
        self.long_waits = LongWaits(self.say)
        self._counts: dict[int, int] = {}  # {seq: how many items it has yielded}
        self.within: Within | None = None  # how its calls find their endpoint

    def hear(self, message: Message) -> None:
        """Take what comes besides calls; never block."""
        if isinstance(message, MoreItems):
            self._items.taken(message.seq, message.count)
        elif isinstance(message, Deadlocked):
            self.long_waits.hear(message)
        else:
            super().hear(message)
        if isinstance(message, HostActor) and self.within is not None:
            self.within.namespace = message.options.home

    def _result(self, seq: int, value: Any, began_at: float) -> Ran | Gave:
        try:
            if inspect.isgenerator(value):
                value = list(value)
        except BaseException as error:  # noqa: BLE001  the user's code
            return failed(seq, began_at, FailureKind.EXCEPTION, error)
        ended_at = time()
        try:
            payload = dump_result(value, write=self._write)
        except BaseException as error:  # noqa: BLE001  the user's code
            return failed(seq, began_at, FailureKind.NOT_SERIALIZABLE, error)
        if len(payload) > MAX_RESULT_BYTES:
            return too_large(seq, began_at, len(payload))
        return Ran(seq, True, payload, began_at, ended_at)

    # Generators whose items travel one by one

    def _stream(self, seq: int, items: Any, first: int) -> None:
        with self._items.open(seq, first):
            self._counts[seq] = self._items.send_all(seq, items, first)

    async def stream_async(self, run: Run | Call, items: Any) -> None:
        """Say what an asynchronous generator gives, as far as its reader allows."""
        seq = run.seq
        if not isinstance(run, Call) or run.options.num_returns != STREAMING:
            self._given_items[seq] = [item async for item in items]
            return
        sender, index = self._items, 0
        with sender.open(seq, run.first_item):
            async for item in items:
                if index >= run.first_item:
                    await sender.make_room(seq)
                    sender.send(seq, index, item)
                index += 1
        self._counts[seq] = index

    def _perform_call(self, call: Call, began_at: float) -> Ran | Gave:
        return self._as_ran(super()._perform_call(call, began_at))

    def finish(self, run: Run | Call, value: Any, began_at: float) -> Ran | Gave:
        """Make the result of a call that returned."""
        if run.seq in self._given_items:
            value = self._given_items.pop(run.seq)
        return self._as_ran(super().finish(run, value, began_at))

    def _as_ran(self, result: Ran | Gave) -> Ran | Gave:
        """Say how many items there were."""
        if isinstance(result, Ran):
            return result
        count = pickle.dumps(self._counts.pop(result.seq))
        return Ran(result.seq, True, count, result.began_at, result.ended_at)


def run_host(main: socket.socket, control: socket.socket, progress: Progress) -> int:
    """Be an actor's process; return the exit code."""
    worker = Worker(main, control, progress)
    host = EndpointHost(worker)
    signal.signal(signal.SIGINT, host.on_interrupt)
    # An actor takes no task's place that it could give back.
    host.within = within = go_within(
        lambda _: None,
        host.is_cancelled_here,
        host.long_waits,
        host.say,
        hosts_actor=True,
    )
    within.actor, within.running_seq = lambda: host.become, host.running_seq
    return leave_in_order(worker, host)
