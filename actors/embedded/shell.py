"""The shell of the embedded runtime: what is done, apart from what is decided.

    pool ──what workers said──► hub, directory ──effects──► pool, store

Only rounds may touch it.
"""

import contextlib
import logging
import os
import time

import msgspec

from actors.embedded.actor_requests import ACTOR_REQUESTS, ActorRequests, line_path
from actors.embedded.directory import Directory, StartHost
from actors.embedded.hub import Hub
from actors.embedded.requests import Requests
from actors.embedded.workers import AdoptStored, PinStored, SendTasks, UnpinStored
from actors.errors import ObjectLostError
from actors.logic.turn import Effect
from actors.logic.workers import (
    InitializerFailed,
    KillWorker,
    RecallTasks,
    StartWorker,
    StopWorker,
    TasksRan,
    TasksRecalled,
    TellWorker,
    WorkerDied,
    WorkerEvent,
    WorkerSaid,
    WorkerStarted,
)
from actors.messages import (
    ActorExits,
    Began,
    FromWorker,
    Gave,
    ReleaseStored,
    WorkerId,
    Yielded,
)
from actors.pool import Pool
from actors.store import OWNER, Store, Stored

__all__ = ["Shell"]

logger = logging.getLogger(__name__)

# What an actor's process runs, see `forkserver.Program`.
_HOST_PROGRAM = "actors.embedded.host:run_host"

_stored: msgspec.msgpack.Decoder[Stored] = msgspec.msgpack.Decoder(Stored)


class Shell:
    """See the module's docstring.

    Args:
        hub: the tables of tasks.
        directory: those of actors.
        pool: of the processes.
        store: of large values.
        lines_folder: of the actors' sockets; empty: they have none.
    """

    def __init__(
        self,
        hub: Hub,
        directory: Directory,
        pool: Pool,
        store: Store,
        lines_folder: str,
    ) -> None:
        self._hub = hub
        self._directory = directory
        self._calls = directory.calls
        self._pool = pool
        self._store = store
        self._lines_folder = lines_folder
        self._requests = Requests(hub)
        self._actor_requests = ActorRequests(directory, self._requests, lines_folder)

    # What workers say

    def take(self, event: WorkerEvent, now: float) -> None:
        """Hand what was said, or befell, to whom it concerns."""
        hub = self._hub
        if event.worker_id in hub.guests:
            if type(event) is TasksRan:
                # The usual case: a match takes longer to find that out.
                self._calls.ran(event.worker_id, event.results, now)
            else:
                self._take_of_actor(event, now)
            return
        match event:
            case TasksRan(worker_id, results):
                hub.ran(worker_id, results, now)
            case WorkerSaid(worker_id, Gave() as gave):
                hub.gave(worker_id, gave, now)
            case WorkerSaid(worker_id, Yielded() as item):
                hub.yielded(worker_id, item)
            case WorkerSaid(worker_id, ReleaseStored(names)):
                for name in names:
                    self._store.release(name, worker_id)
            case WorkerSaid(worker_id, message):
                self._say_to_hub(worker_id, message)
            case TasksRecalled(worker_id, seqs):
                hub.recalled(worker_id, seqs, now)
            case WorkerStarted(worker_id, pid):
                hub.crew.started(worker_id, pid)
            case InitializerFailed(worker_id, failure):
                logger.error("the initializer failed: %s", failure.message)
                hub.give_up(failure)
            case WorkerDied(worker_id):
                hub.died(event, now)
                self.carry_out()
                self._store.forget(worker_id)

    def _take_of_actor(self, event: WorkerEvent, now: float) -> None:
        directory, calls = self._directory, self._calls
        match event:
            case WorkerSaid(worker_id, Gave() as gave):
                calls.gave(worker_id, gave, now)
            case WorkerSaid(worker_id, Yielded() as item):
                calls.yielded(worker_id, item)
            case WorkerSaid(worker_id, ActorExits()):
                directory.exits(worker_id)
            case WorkerSaid(worker_id, Began(seq)):
                calls.began(worker_id, seq, now)
            case WorkerSaid(worker_id, ReleaseStored(names)):
                for name in names:
                    self._store.release(name, worker_id)
            case WorkerSaid(worker_id, message):
                self._say_to_hub(worker_id, message)
            case WorkerStarted(worker_id, pid):
                self._hub.guests[worker_id].pid = pid
            case WorkerDied(worker_id):
                directory.died(event, now)
                self.carry_out()
                self._store.forget(worker_id)
                with contextlib.suppress(OSError):  # usually it has none
                    os.unlink(line_path(self._lines_folder, worker_id))

    def _say_to_hub(self, worker_id: WorkerId, message: FromWorker) -> None:
        if isinstance(message, ACTOR_REQUESTS):
            self._actor_requests.take(worker_id, message)
        else:
            self._requests.take(worker_id, message)

    # Effects

    def carry_out(self) -> None:
        """Do what the hub, or the directory, has decided."""
        hub = self._hub
        while hub.effects:
            effects, hub.effects = hub.effects, []
            for effect in effects:
                self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        pool = self._pool
        match effect:
            case SendTasks(worker_id, messages):
                pool.assign(worker_id, messages)
            case TellWorker(worker_id, message):
                pool.tell(worker_id, message)
            case PinStored(worker_id, handle):
                # Lost: whoever reads it is told.
                with contextlib.suppress(ObjectLostError):
                    self._store.pin(_stored.decode(handle), worker_id)
            case UnpinStored(worker_id, handle):
                self._store.release(_stored.decode(handle).name, worker_id)
            case AdoptStored(_, handle):
                with contextlib.suppress(ObjectLostError):
                    self._store.adopt(_stored.decode(handle))
            case RecallTasks(worker_id):
                pool.recall(worker_id)
            case StartWorker(worker_id):
                self._start(worker_id)
            case StartHost(worker_id):
                self._start(worker_id, _HOST_PROGRAM)
            case StopWorker(worker_id):
                pool.stop(worker_id)
            case KillWorker(worker_id):
                pool.kill(worker_id)
            case _:
                raise AssertionError(f"nobody carries out {effect}")

    def _start(self, worker_id: WorkerId, program: str = "") -> None:
        try:
            self._pool.start(worker_id, program)
        except OSError as error:
            # No descriptors left, for instance: as if it had died at once.
            why = f"cannot start a worker: {error}"
            death = WorkerDied(worker_id, None, None, 0, 0.0, 0, why)
            if program:
                self._directory.died(death, time.monotonic())
            else:
                self._hub.died(death, time.monotonic())

    def release(self) -> None:
        """Let go of stored values that no ref stands for any more."""
        released = self._hub.parcels.released
        while released:
            self._store.release(_stored.decode(released.popleft()).name, OWNER)
