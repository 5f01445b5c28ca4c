"""An actor as the interchange's roster keeps it."""

import math
import random
from collections import deque

from actors.logic.actor_life import ActorLife, LifeState
from actors.logic.ledger import Entry
from actors.logic.resources import Need
from actors.messages import ActorOptions, ClientId, Incarnation, ManagerId, TaskId

__all__ = ["NOWHERE", "Actor"]

NOWHERE = ManagerId("")


class Actor:
    """One actor, from its admission until nobody needs to know that it is dead."""

    __slots__ = (
        "actor_id",
        "arguments",
        "class_",
        "free_at",
        "holders",
        "is_doomed",
        "is_released",
        "lanes",
        "last_words",
        "life",
        "manager_id",
        "message",
        "need",
        "options",
        "payload",
        "restart_at",
        "sent",
        "watchers",
    )

    def __init__(
        self,
        actor_id: str,
        class_: bytes,
        arguments: bytes,
        options: ActorOptions,
        chance: random.Random,
    ) -> None:
        self.actor_id = actor_id
        self.class_ = class_
        self.arguments = arguments
        self.options = options
        self.need = Need.of(options)  # from its start to its end
        self.life = ActorLife(options.max_restarts, options.restart_period, chance)
        self.holders: set[ClientId] = set()
        # {caller: its calls that are not handed over}, in order
        self.lanes: dict[ClientId, deque[Entry]] = {}
        self.sent: dict[TaskId, Entry] = {}  # at the manager; also some that ended
        self.watchers: list[Entry] = []  # that learn of this incarnation's end
        self.manager_id = NOWHERE  # who has, or gets, the incarnation
        self.restart_at = math.inf
        self.free_at = math.inf  # when it ends, as nobody has a handle
        self.is_doomed = False  # killed for good
        self.is_released = False  # nobody has had a handle for long enough
        self.message = ""  # how it died, for people
        self.last_words = ""
        self.payload = b""  # what its constructor raised

    @property
    def incarnation(self) -> Incarnation:
        return Incarnation(self.actor_id, self.life.incarnation)

    @property
    def is_dead(self) -> bool:
        return self.life.state is LifeState.DEAD

    @property
    def title(self) -> str:
        """Its name for people."""
        name = f" {self.options.name!r}" if self.options.name else ""
        return f"Actor {self.options.class_name}{name} ({self.actor_id})"
