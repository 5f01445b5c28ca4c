"""Anchors: what all handles on an endpoint's actor, or supervisor, hold in a process.

While it lives, or a call is under way, the endpoint counts this client as one that
wants the actor. Calls leave in the order in which they were made: one whose arguments
are not known yet holds back those behind it.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from actors.logic.actor_life import Died
from actors.refs import ObjectRef, RefAstray, context, noted_refs

__all__ = ["EndpointAnchor", "GroupAnchor", "Lane"]


class Lane:
    """Calls of one actor that have not left, in their order."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        # (what is waited for, what to do then)
        self._waiting: deque[tuple[list[Future[Any]], Callable[[], None]]] = deque()

    @property
    def is_empty(self) -> bool:
        return not self._waiting

    def enter(self, missing: "list[Future[Any]]", leave: Callable[[], None]) -> None:
        """Have something done once these futures are done, and all before it is."""
        self._waiting.append((missing, leave))
        for future in missing:
            future.add_done_callback(lambda _: self._go_on())
        self._go_on()

    def _go_on(self) -> None:
        with self._lock:
            while self._waiting:
                missing, leave = self._waiting[0]
                if not all(future.done() for future in missing):
                    return
                # It stays the first until it has left: nobody shall overtake it.
                leave()
                self._waiting.popleft()


class EndpointAnchor(ObjectRef[None]):
    """What all handles on an actor hold in this process."""

    __slots__ = (
        "_release",
        "actor_id",
        "error",
        "lane",
        "limit",
        "pending",
        "room",
        "waits",
    )

    def __init__(
        self,
        actor_id: str,
        limit: int,
        waits: bool,
        release: "Callable[[EndpointAnchor], None]",
    ) -> None:
        super().__init__()
        self.actor_id = actor_id
        # Calls of this process that may be unanswered, < 0: any number; and whether who
        # makes more waits.
        self.limit = limit
        self.waits = waits
        self.room = threading.Semaphore(limit) if limit >= 0 else None
        self.pending: set[Future[Any]] = set()  # calls that are unanswered, if limited
        self.lane = Lane()
        self.error: BaseException | None = None  # why it was never made
        self._release = release

    def __del__(self) -> None:
        self._release(self)

    def __reduce__(self) -> tuple[Any, ...]:
        _note(self)
        return _arrive, (self.actor_id, self.limit, self.waits)

    def __repr__(self) -> str:
        return f"ObjectRef(actor {self.actor_id})"


class GroupAnchor(ObjectRef[Died]):
    """What a user's supervisor holds: when the last one goes, the children stop.

    Its value is how the supervisor ended.
    """

    __slots__ = ("_release", "group_id", "lane")

    def __init__(self, group_id: str, release: "Callable[[GroupAnchor], None]") -> None:
        super().__init__()
        self.group_id = group_id
        self.lane = Lane()
        self._release = release

    def __del__(self) -> None:
        self._release(self)

    def __reduce__(self) -> tuple[Any, ...]:
        _note(self)
        return _arrive_group, (self.group_id,)

    def __repr__(self) -> str:
        return f"ObjectRef(supervisor {self.group_id})"


def _note(anchor: ObjectRef[Any]) -> None:
    """Have whoever sends these bytes keep us until they have been read."""
    noted = noted_refs()
    if noted is not None:
        noted.append(anchor)


def _arrive(actor_id: str, limit: int, waits: bool) -> EndpointAnchor:
    arrive = getattr(context().actors, "arrive", None)
    if arrive is None:
        raise RefAstray(f"Actor {actor_id} is an endpoint's, and this program is not")
    anchor: EndpointAnchor = arrive(actor_id, limit, waits)
    return anchor


def _arrive_group(group_id: str) -> GroupAnchor:
    arrive = getattr(context().actors, "arrive_group", None)
    if arrive is None:
        raise RefAstray(
            f"Supervisor {group_id} is an endpoint's, and this program is not"
        )
    anchor: GroupAnchor = arrive(group_id)
    return anchor
