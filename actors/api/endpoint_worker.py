"""What an endpoint's workers run: tasks that may call others on the same endpoint.

A task that was cancelled, or whose time is over, gets a KeyboardInterrupt.
"""

import os
import pickle
import signal
import socket
from time import time

from actors.api.item_sender import ItemSender
from actors.api.long_waits import LongWaits
from actors.api.within import Within, go_within
from actors.messages import (
    Call,
    Deadlocked,
    FailureKind,
    Interrupt,
    Message,
    MoreItems,
    Ran,
    TaskWaits,
)
from actors.payload import load_arguments
from actors.perform import SimplePerformer, failed, not_loadable
from actors.store.links import worker_write
from actors.worker import Progress, Worker
from actors.workplace import find_workplace

__all__ = ["EndpointPerformer", "run_worker"]

# What a message takes, roughly.
_MESSAGE_BYTES = 16


class EndpointPerformer(SimplePerformer):
    """What performs an endpoint's tasks.

    Args:
        worker: says things to the manager.
    """

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker, worker_write())
        self._items = ItemSender(self.say, self.waits, self._write)
        self.long_waits = LongWaits(self.say)
        self.within: Within | None = None  # how its tasks find their endpoint

    def _perform_call(self, call: Call, began_at: float) -> Ran:
        """Run a generator."""
        seq = call.seq
        try:
            function = self._functions.load(call.function)
        except BaseException as error:  # noqa: BLE001  the user's code
            return not_loadable(seq, began_at, "Function", error)
        try:
            args, kwargs = load_arguments(call.arguments.payload)
        except BaseException as error:  # noqa: BLE001  the user's code
            return not_loadable(seq, began_at, "Argument", error)
        try:
            with self._items.open(seq, call.first_item):
                try:
                    self._running = seq
                    self._raise_if_interrupted()
                    items = function(*args, **kwargs)
                    count = self._items.send_all(seq, items, call.first_item)
                finally:
                    self._running = 0
        except BaseException as error:  # noqa: BLE001  the user's code
            return failed(seq, began_at, FailureKind.EXCEPTION, error)
        return Ran(seq, True, pickle.dumps(count), began_at, time())

    def waits(self, is_waiting: bool) -> None:
        """Tell that the task that runs begins, or ends, to wait for others."""
        self.say(TaskWaits(is_waiting), _MESSAGE_BYTES, now=True)

    # In the second thread

    def hear(self, message: Message) -> None:
        match message:
            case Interrupt(seq, is_recursive):
                self.interrupt(seq)
                if is_recursive and self.within is not None:
                    self.within.cancel_all()
            case Deadlocked():
                self.long_waits.hear(message)
            case MoreItems(seq, count):
                self._items.taken(seq, count)
            case _:
                super().hear(message)

    # In the main thread

    def running_seq(self) -> int:
        """Return the number of the task that runs; 0: none does."""
        return self._running

    def is_cancelled_here(self) -> bool:
        """Tell whether the task that runs was interrupted."""
        return self._running > 0 and self._running in self._cancelled


def run_worker(main: socket.socket, control: socket.socket, progress: Progress) -> int:
    """Be a worker; return the exit code."""
    worker = Worker(main, control, progress)
    performer = EndpointPerformer(worker)
    signal.signal(signal.SIGINT, performer.on_interrupt)
    performer.within = within = go_within(
        performer.waits,
        performer.is_cancelled_here,
        performer.long_waits,
        performer.say,
        hosts_actor=False,
    )
    within.running_seq = performer.running_seq
    return worker.run(find_workplace(os.environ, performer) or performer)
