"""An actor as the interchange's roster keeps it, and what is answered of it."""

import enum
import math
import pickle
import random
from collections import deque
from typing import Any, Self

from actors.logic.actor_life import ActorLife, DeathReason, Died, LifeState
from actors.logic.ledger import Entry
from actors.logic.records import (
    ActorAdmitted,
    ActorDoomed,
    ActorHeld,
    ActorPlaced,
    IncarnationEnded,
    InterchangeRecord,
    RestartsOrdered,
)
from actors.logic.resources import Need
from actors.messages import (
    ActorOptions,
    ClientId,
    Failure,
    FailureKind,
    Incarnation,
    ManagerId,
    Outcome,
    TaskId,
    TaskState,
)

__all__ = ["NOWHERE", "Actor", "Ending", "done", "failed", "reason_named"]

# As users' own payloads are.
_PICKLE_PROTOCOL = 5

NOWHERE = ManagerId("")
NOBODY = ClientId("")


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
        "maker_seq",
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
        maker: ClientId = NOBODY,
        maker_seq: int = 0,
    ) -> None:
        self.actor_id = actor_id
        self.maker = maker  # to whom it is told what it prints
        self.maker_seq = maker_seq  # the task of its that made it, if it is a worker
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

    def failure(self, *, may_have_run: bool = False) -> tuple[Failure, bytes]:
        """Say why it does not answer; and give what its constructor raised."""
        reason = (self.life.reason or DeathReason.EXITED).value
        if self.is_dead:
            kind, text = FailureKind.ACTOR_DIED, f"{self.title} is dead"
        else:
            kind = FailureKind.ACTOR_UNAVAILABLE
            text = f"{self.title} is being restarted"
        text += f": {self.message}"
        if may_have_run and not self.is_dead:
            text += "; the call had begun and may have run"
        payload = self.payload if self.is_dead else b""
        return Failure(kind, text, self.last_words, reason), payload

    def death(self) -> Died:
        """Say that it is dead."""
        reason = self.life.reason or DeathReason.EXITED
        return Died(self.actor_id, self.life.incarnation, reason, True, self.message)

    def end_record(self) -> IncarnationEnded:
        """Return the record on the end of its incarnation."""
        return IncarnationEnded(
            self.actor_id,
            self.life.incarnation,
            (self.life.reason or DeathReason.EXITED).value,
            self.message,
            self.last_words,
            self.payload,
            self.is_dead,
        )

    def ordered_record(self) -> RestartsOrdered:
        """Return the record on the incarnations that end by an operator's order."""
        return RestartsOrdered(self.actor_id, sorted(self.life.ordered))

    def records(self) -> list[InterchangeRecord]:
        """Return the records that stand for all of it before them."""
        records: list[InterchangeRecord] = [
            ActorAdmitted(
                self.actor_id,
                self.class_,
                self.arguments,
                self.options,
                self.is_supervised,
                self.maker,
                self.maker_seq,
            ),
            ActorHeld(self.actor_id, sorted(self.holders)),
        ]
        if self.life.ordered:
            records.append(self.ordered_record())
        number = self.life.incarnation
        records.append(ActorPlaced(self.actor_id, number, self.manager_id))
        if self.is_doomed or self.is_killed:
            records.append(ActorDoomed(self.actor_id))
        if self.life.state in (LifeState.RESTARTING, LifeState.DEAD):
            records.append(self.end_record())
        return records

    def replay(self, record: InterchangeRecord) -> None:
        """Take the next record on it; one on an earlier incarnation has no effect."""
        life = self.life
        match record:
            case ActorHeld(_, client_ids):
                self.holders = set(client_ids)
            case ActorPlaced(_, number, manager_id) if number >= life.incarnation:
                life.restore(number, life.reason, is_over=False, now=-math.inf)
                self.manager_id = manager_id
                self.is_killed = False
            case ActorDoomed():
                self.is_killed = self.is_supervised
                self.is_doomed = not self.is_supervised
            case RestartsOrdered(_, incarnations):
                life.ordered = set(incarnations)
            case IncarnationEnded() if record.incarnation >= life.incarnation:
                reason = reason_named(record.reason)
                life.restore(record.incarnation, reason, is_over=True, now=-math.inf)
                if record.is_final:
                    life.state = LifeState.DEAD
                self.manager_id = NOWHERE
                self.message, self.last_words = record.message, record.last_words
                self.payload = record.payload
                self.is_killed = False


def reason_named(text: str) -> DeathReason:
    """Return the reason that a manager, or a record, has named."""
    try:
        return DeathReason(text)
    except ValueError:
        # Of a newer manager.
        return DeathReason.CRASHED


def done(task_id: TaskId, value: object, at: float) -> Outcome:
    """Answer what a client wants of an actor.

    Args:
        task_id: of the task that it came as.
        value: the answer.
        at: seconds of the wall clock.
    """
    payload = pickle.dumps(value, _PICKLE_PROTOCOL)
    return Outcome(task_id, 1, TaskState.SUCCESS, payload, None, at, at)


def failed(
    task_id: TaskId, failure: Failure, at: float, payload: bytes = b""
) -> Outcome:
    """Say why there is no answer; see `done`.

    Args:
        task_id: see there.
        failure: why.
        at: see there.
        payload: what was raised, pickled; empty: nothing was.
    """
    return Outcome(task_id, 1, TaskState.FAILED, payload, failure, at, at)
