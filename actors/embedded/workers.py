"""A worker process as the hub sees it, and what the hub has said to it."""

import math
from collections import deque
from typing import Any

from actors.embedded.tasks import Task
from actors.logic.resources import Need
from actors.logic.turn import Effect
from actors.messages import (
    Call,
    Define,
    HostActor,
    Introduce,
    Run,
    WorkerId,
)
from actors.refs import Promise

__all__ = [
    "AdoptStored",
    "ForWorker",
    "HubWorker",
    "PinStored",
    "SendTasks",
    "UnpinStored",
]


# What the hub sends to a worker's main thread.
ForWorker = Run | Call | Define | Introduce | HostActor


class SendTasks(Effect, frozen=True):
    """Run these, in this order, after what the worker already has."""

    worker_id: WorkerId
    messages: list[ForWorker]


class PinStored(Effect, frozen=True):
    """A worker is about to be given what lies in shared memory."""

    worker_id: WorkerId
    handle: bytes


class UnpinStored(Effect, frozen=True):
    """What a worker was given came back unread."""

    worker_id: WorkerId
    handle: bytes


class AdoptStored(Effect, frozen=True):
    """A worker has put something into shared memory, which is ours now."""

    worker_id: WorkerId
    handle: bytes


class HubWorker:
    """One process, from the wish for it until its death."""

    __slots__ = (
        "all_functions",
        "backlog",
        "blocked",
        "functions",
        "gpus",
        "has_lines",
        "head_since",
        "holds",
        "idle_since",
        "index",
        "is_killed",
        "is_recalled",
        "is_started",
        "is_stopping",
        "need",
        "next_seq",
        "pid",
        "requests",
        "title",
        "why_killed",
        "worker_id",
    )

    def __init__(self, worker_id: WorkerId, index: int) -> None:
        self.worker_id = worker_id
        self.index = index
        self.title = ""  # for people, if it is an actor's
        self.why_killed = ""  # for people, if it was for one call's sake
        self.pid = 0
        self.backlog: deque[tuple[int, Task]] = deque()  # (seq, task)
        self.next_seq = 1
        self.is_started = False
        self.has_lines = False  # others may call it straight
        self.is_killed = False
        self.is_stopping = False
        self.is_recalled = False  # a recall is under way
        self.blocked = 0  # requests for whose answer its task waits
        self.head_since = math.inf  # when the head became the head
        self.idle_since = 0.0
        self.need: Need | None = None  # what its head has taken
        self.gpus: list[int] = []
        self.functions: set[int] = set()  # keys of those defined there, for certain
        self.all_functions: set[int] = set()  # and of those that may be, too
        # {number: [ref, how often it was given]}: what may not be freed because of it
        self.holds: dict[int, list[Any]] = {}
        self.requests: dict[int, Any] = {}  # {its number: what waits for an answer}

    @property
    def head(self) -> Task | None:
        return self.backlog[0][1] if self.backlog else None

    def hold(self, promise: Promise) -> None:
        """Note that it was given a ref, once more."""
        entry = self.holds.get(promise.number)
        if entry is None:
            self.holds[promise.number] = [promise, 1]
        else:
            entry[1] += 1

    def let_go(self, number: int, count: int) -> None:
        """Note that it no longer has a ref that it was given so many times."""
        entry = self.holds.get(number)
        if entry is not None:
            entry[1] -= count
            if entry[1] <= 0:
                del self.holds[number]
