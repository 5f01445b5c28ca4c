"""What the system tests have in common beyond `tests.endpoints`."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil

from actors.api.addressing import find_entrance
from actors.api.operator import ask
from actors.endpoint.pictures import Snapshot
from actors.messages import AnyEvent, Published, Verb, published
from actors.transport import Subscriber
from tests.endpoints import RunningEndpoint
from tests.support import eventually

__all__ = ["Listener", "kill", "lines", "manager_of", "order", "picture"]

_EVENT_BYTES = 1 << 20
_picture = msgspec.json.Decoder(Snapshot)


def picture(endpoint: RunningEndpoint) -> Snapshot:
    """Ask an endpoint how it is."""
    answer = ask(find_entrance(endpoint.folder, "operator"), "status")
    return _picture.decode(answer.body)


def order(endpoint: RunningEndpoint, verb: Verb, *names: str, number: int = 0) -> None:
    """Have an endpoint do something that it cannot refuse."""
    entrance = find_entrance(endpoint.folder, "operator")
    answer = ask(entrance, verb, names=names, number=number)
    assert answer.is_done, answer.text


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Signal a process; it may be gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def lines(path: Path) -> list[str]:
    """Return what tasks have noted so far."""
    return path.read_text().split() if path.exists() else []


def manager_of(worker_pid: int) -> int:
    """Return the pid of a worker's manager: its fork server's parent."""
    return psutil.Process(worker_pid).parents()[1].pid


class Listener:
    """Hear an endpoint's events from now on. Ask it often: it may miss some."""

    def __init__(self, endpoint: RunningEndpoint) -> None:
        url = endpoint.address.events("interchange")
        self._subscriber = Subscriber(url, None, _EVENT_BYTES)
        self._heard: list[AnyEvent] = []
        # Somebody who subscribes hears nothing of before.
        eventually(self.heard, what="the first event")

    def heard(self) -> list[AnyEvent]:
        """Return all events so far, oldest first."""
        while (frame := self._subscriber.receive()) is not None:
            events: list[Published] = published.decode(frame)
            self._heard += [event.body for event in events]
        return self._heard

    def __enter__(self) -> "Listener":
        return self

    def __exit__(self, *_: object) -> None:
        self._subscriber.close()
