"""The processes of an endpoint's services, as the kernel of its host knows them."""

from collections.abc import Iterator
from pathlib import Path

import psutil

from actors.api.addressing import Entrance
from actors.errors import ActorsError

__all__ = ["find_services"]

# {how the kernel knows a process: which actor it is}; the kernel keeps 15 bytes.
_ACTORS = {
    "actors-intercha": "interchange",
    "actors-strategy": "strategy",
    "actors-provider": "provider",
    "actors-monitor": "monitor",
}


def find_services(entrance: Entrance) -> Iterator[tuple[str, psutil.Process]]:
    """Find the services of an endpoint that runs on this host.

    Returns:
        Names and processes, the supervisor first; nothing of an endpoint that is
        elsewhere, or goes just now.
    """
    try:
        status = entrance.run_status
        if status is None or not status.is_here:
            return
        root = psutil.Process(status.root_pid)
        yield "supervisor", root
        for child in root.children():
            actor = _ACTORS.get(_kernel_name(child.pid))
            if actor is not None:
                yield actor, child
    except (ActorsError, OSError, ValueError, psutil.Error):
        # It goes just now; the connection tells that.
        return


def _kernel_name(pid: int) -> str:
    # Not `name()`: psutil completes it from the command line where it can.
    return Path(f"/proc/{pid}/comm").read_text().strip()
