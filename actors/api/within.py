"""Within: how code that runs on an endpoint gets back to it.

A task or an actor that calls remote functions and actors becomes a client of its own
endpoint: at its first such call, as most never make one. A task that waits for values
says so, and its manager lets another one run in its place.
"""

import importlib
import os
import threading
from collections.abc import Callable
from typing import Any

from actors.address import WITHIN_VARIABLE
from actors.api.long_waits import LongWaits, Say
from actors.errors import ConfigError
from actors.messages import Calls, ClientId, HostActor
from actors.refs import set_context
from actors.whereabouts import Whereabouts

__all__ = ["Within", "go_within"]

# By name: it imports nng, which must not be there before a worker is forked.
_ON_ENDPOINT = "actors.api.on_endpoint"
# What a message takes, roughly.
_MESSAGE_BYTES = 64


class Within:
    """The context of such a process; see `actors.refs.Context`.

    Args:
        waits: told whenever the main thread begins (true) or ends (false) to wait.
        is_cancelled: tells whether the task or call that asks was cancelled.
        long_waits: told of waits that take long.
        say: tells the manager something.
        hosts_actor: whether the process is an actor's.
    """

    def __init__(
        self,
        waits: Callable[[bool], None],
        is_cancelled: Callable[[], bool],
        long_waits: LongWaits,
        say: Say,
        *,
        hosts_actor: bool,
    ) -> None:
        self.hosts_actor = hosts_actor
        self.is_cancelled_here = is_cancelled
        self._waits = waits
        self._long_waits = long_waits
        self._say = say
        self._lock = threading.Lock()
        self._inner: Any = None
        self._namespace = ""
        self._told_seq = -1  # of who has called others last
        # Set by who knows it: an actor's process, and that of a task with a number.
        self.actor: Callable[[], HostActor | None] = lambda: None
        self.running_seq: Callable[[], int] = lambda: 0

    @property
    def namespace(self) -> str:
        """Where names of actors are looked up, and given, unless told otherwise."""
        return self._namespace

    @namespace.setter
    def namespace(self, namespace: str) -> None:
        self._namespace = namespace
        with self._lock:
            if self._inner is not None:
                self._inner.namespace = namespace

    def whereabouts(self) -> Whereabouts:
        """Return where the code that asks runs, and for whom."""
        return Whereabouts(
            os.path.basename(os.environ.get(WITHIN_VARIABLE, "")),
            self._namespace,
            self.running_seq(),
            actor=self.actor(),
        )

    def __getattr__(self, name: str) -> Any:
        """Go to the endpoint, and be what is there from now on."""
        if name.startswith("_"):
            raise AttributeError(name)
        with self._lock:
            if self._inner is None:
                self._inner = self._connect()
        found = self.__dict__[name] = getattr(self._inner, name)
        return found

    def cancel_all(self) -> None:
        """Give up all that the code here has called and that has not ended."""
        with self._lock:
            inner = self._inner
        if inner is not None:
            inner.cancel_all()

    def _connect(self) -> Any:
        folder = os.environ.get(WITHIN_VARIABLE, "")
        if not folder:
            raise ConfigError(
                f"{WITHIN_VARIABLE} is not set: this worker does not know its endpoint"
            )
        module = importlib.import_module(_ON_ENDPOINT)
        inner = module.connect_within(
            folder, self._waits, self._long_waits, self._calls
        )
        inner.namespace = self._namespace
        return inner

    def _calls(self, client_id: ClientId) -> int:
        """Tell the manager, once, which task calls others; return its number."""
        seq = 0 if self.hosts_actor else self.running_seq()
        if seq != self._told_seq:
            self._told_seq = seq
            self._say(Calls(seq, client_id), _MESSAGE_BYTES, now=True)
        return seq


def go_within(
    waits: Callable[[bool], None],
    is_cancelled: Callable[[], bool],
    long_waits: LongWaits,
    say: Say,
    *,
    hosts_actor: bool,
) -> Within:
    """Let this process find its endpoint when it wants to; see `Within`."""
    within = Within(waits, is_cancelled, long_waits, say, hosts_actor=hosts_actor)
    context: Any = within
    set_context(context)
    return within
