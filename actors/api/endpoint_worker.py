"""What an endpoint's workers run: tasks that may call others on the same endpoint."""

import socket

from actors.api.within import Within, go_within
from actors.messages import Call, Gave, Ran, Run, TaskWaits
from actors.perform import SimplePerformer
from actors.worker import Progress, Worker

__all__ = ["LATER", "run_worker"]

# What those need that call others, and what actors run: see `actors.forkserver`. They
# load nng, which is no harm in a copy as long as nobody has opened a socket.
LATER = ("actors.api.endpoint_host", "actors.api.on_endpoint")

# What a message takes, roughly.
_MESSAGE_BYTES = 16


class _Performer(SimplePerformer):
    """Runs tasks.

    Args:
        within: the context that they find.
    """

    def __init__(self, within: Within) -> None:
        super().__init__()
        self._within = within

    def perform(self, run: Run | Call) -> Ran | Gave:
        """Run a task; whatever its code raises is its result."""
        result = super().perform(run)
        if self._within.is_there:
            self._within.settle()
        return result


def run_worker(main: socket.socket, control: socket.socket, progress: Progress) -> int:
    """Be a worker; return the exit code."""
    worker = Worker(main, control, progress)

    def waits(is_waiting: bool) -> None:
        worker.say(TaskWaits(is_waiting), _MESSAGE_BYTES, now=True)

    return worker.run(_Performer(go_within(waits, hosts_actor=False)))
