"""Doors of this host that are not there yet: looked for until they are.

nng would dial them at moments of its own, ever more seldom: an endpoint's actors, which
start at the same time, and the client that started them, would wait for that. To see
whether a file is there costs next to nothing.
"""

import math
import os
from typing import NamedTuple

from actors.messages import Hello

__all__ = ["MissingDoors"]

# Pauses between two looks, in seconds: the time that was waited by now over a number,
# between two limits. Chosen: a start is held up by a few milliseconds, and who waits
# for hours looks ten times a second.
_LOOKS_PER_WAIT = 20
_SHORTEST = 0.003
_LONGEST = 0.1


class _Missing(NamedTuple):
    path: str  # of the socket
    newcomer: Hello
    since: float


class MissingDoors:
    """Those that somebody is to knock at."""

    look_at = math.inf  # when `find` is wanted

    def __init__(self) -> None:
        self._missing: dict[str, _Missing] = {}  # {door: what is known of it}

    def __contains__(self, door: str) -> bool:
        return door in self._missing

    def add(self, door: str, url: str, newcomer: Hello, now: float) -> bool:
        """Look for a door from now on; false: it is there, or elsewhere.

        Args:
            door: its name.
            url: where it will be.
            newcomer: what to say there.
            now: seconds, monotonic.
        """
        scheme, _, path = url.partition("://")
        if scheme != "ipc" or os.path.exists(path):
            return False
        self._missing[door] = _Missing(path, newcomer, now)
        self.look_at = min(self.look_at, now + _SHORTEST)
        return True

    def discard(self, door: str) -> None:
        """Look for a door no longer."""
        self._missing.pop(door, None)

    def find(self, now: float) -> list[tuple[str, Hello]]:
        """Return those that have appeared, with what is to be said at them."""
        found = [
            (door, missing.newcomer)
            for door, missing in self._missing.items()
            if os.path.exists(missing.path)
        ]
        for door, _ in found:
            del self._missing[door]
        waited = [now - missing.since for missing in self._missing.values()]
        pause = min(waited, default=math.inf) / _LOOKS_PER_WAIT
        self.look_at = (
            now + min(max(pause, _SHORTEST), _LONGEST) if self._missing else math.inf
        )
        return found
