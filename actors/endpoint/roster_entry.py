"""An actor as the interchange's roster keeps it."""

import enum
import math
import random
from collections import deque
from typing import Any, Self

from actors.logic.actor_life import ActorLife, LifeState
from actors.logic.ledger import Entry
from actors.logic.resources import Need
from actors.messages import ActorOptions, ClientId, Incarnation, ManagerId, TaskId

__all__ = ["NOWHERE", "Actor", "Ending"]

NOWHERE = ManagerId("")


class Ending(enum.IntEnum):
    """What its supervisor has told an actor's process."""

    NOT = 0
    ASKED = 1  # to end once it has run what it has
    KILLED = 2


class Actor:
    """One actor, from its admission until nobody needs to know that it is dead."""

    __slots__ = (
        "actor_id",
        "arguments",
        "class_",
        "ending",
        "free_at",
        "group",
        "holders",
        "is_doomed",
        "is_held_back",
        "is_killed",
        "is_released",
        "is_supervised",
        "lanes",
        "last_words",
        "life",
        "maker",
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
        *,
        is_supervised: bool = False,
        maker: ClientId | None = None,
    ) -> None:
        self.actor_id = actor_id
        self.maker = maker  # to whom it is told what it prints; None: to nobody
        self.class_ = class_
        self.arguments = arguments
        self.options = options
        self.need = Need.of(options)  # from its start to its end
        # How often one that is supervised restarts is its supervisor's business.
        max_restarts = -1 if is_supervised else options.max_restarts
        self.life = ActorLife(max_restarts, options.restart_period, chance)
        # The supervisor's group that it is in, and its name there; None: it restarts
        # by itself.
        self.group: tuple[Any, str] | None = None
        # Of one that is supervised:
        self.is_supervised = is_supervised
        self.is_held_back = is_supervised  # it shall have no process for now
        self.is_killed = False  # by a user, this incarnation
        self.ending = Ending.NOT
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

    @classmethod
    def forgotten(cls, actor_id: str, chance: random.Random) -> Self:
        """Make what stands for a dead one of which nothing is known any more."""
        actor = cls(actor_id, b"", b"", ActorOptions("?"), chance)
        actor.life.state = LifeState.DEAD
        actor.message = "the endpoint has forgotten it"
        return actor

    @property
    def may_restart(self) -> bool:
        """Whether an operator may have another incarnation begin."""
        if self.group is not None:
            group, name = self.group
            return bool(group.settings.kinds[name] != "temporary")
        return self.life.may_restart

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
