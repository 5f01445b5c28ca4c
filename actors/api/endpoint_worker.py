"""What an endpoint's workers run: tasks that may call others on the same endpoint."""

import os
import socket

from actors.api.within import go_within
from actors.messages import TaskWaits
from actors.worker import Progress, Worker
from actors.workplace import find_workplace

__all__ = ["run_worker"]

# What a message takes, roughly.
_MESSAGE_BYTES = 16


def run_worker(main: socket.socket, control: socket.socket, progress: Progress) -> int:
    """Be a worker; return the exit code."""
    worker = Worker(main, control, progress)

    def waits(is_waiting: bool) -> None:
        worker.say(TaskWaits(is_waiting), _MESSAGE_BYTES, now=True)

    go_within(waits, hosts_actor=False)
    return worker.run(find_workplace(os.environ))
