"""What runs inside the process of an actor on an endpoint.

It is as the embedded one's, but for how values travel: pickled in one piece, as those
of tasks on an endpoint. A generator's items are sent together when it has ended.
"""

import inspect
import signal
import socket
from time import time
from typing import Any

from actors.api.within import go_within
from actors.embedded.host import ActorHost, leave_in_order
from actors.messages import Call, FailureKind, Gave, Ran, Run
from actors.payload import dump_result
from actors.perform import MAX_RESULT_BYTES, failed, too_large
from actors.worker import Progress, Worker

__all__ = ["EndpointHost", "run_host"]


class EndpointHost(ActorHost):
    """What performs an actor's calls."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker)
        # {seq: what its asynchronous generator has given so far}
        self._given_items: dict[int, list[Any]] = {}

    def _result(self, seq: int, value: Any, began_at: float) -> Ran | Gave:
        try:
            if inspect.isgenerator(value):
                value = list(value)
        except BaseException as error:  # noqa: BLE001  the user's code
            return failed(seq, began_at, FailureKind.EXCEPTION, error)
        ended_at = time()
        try:
            payload = dump_result(value)
        except BaseException as error:  # noqa: BLE001  the user's code
            return failed(seq, began_at, FailureKind.NOT_SERIALIZABLE, error)
        if len(payload) > MAX_RESULT_BYTES:
            return too_large(seq, began_at, len(payload))
        return Ran(seq, True, payload, began_at, ended_at)

    def stream_one(self, seq: int, index: int, item: Any) -> None:
        """Keep an item until the generator has ended."""
        self._given_items.setdefault(seq, []).append(item)

    def finish(self, run: Run | Call, value: Any, began_at: float) -> Ran | Gave:
        """Make the result of a call that returned."""
        if inspect.isasyncgenfunction(self._function(run.function)):
            value = self._given_items.pop(run.seq, [])
        return super().finish(run, value, began_at)

    def fail(self, run: Run | Call, error: BaseException, began_at: float) -> Any:
        """Make the result of a call that raised; None: it has ended the actor."""
        self._given_items.pop(run.seq, None)
        return super().fail(run, error, began_at)


def run_host(main: socket.socket, control: socket.socket, progress: Progress) -> int:
    """Be an actor's process; return the exit code."""
    worker = Worker(main, control, progress)
    host = EndpointHost(worker)
    signal.signal(signal.SIGINT, host.on_interrupt)
    # An actor takes no task's place that it could give back.
    go_within(lambda _: None, hosts_actor=True)
    return leave_in_order(worker, host)
