"""An actor as the directory keeps it, and a call of one of its methods."""

import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from actors.embedded.tasks import CallSpec, Task, TaskStage
from actors.embedded.workers import HubWorker
from actors.errors import ConfigError
from actors.logic.actor_life import ActorLife
from actors.logic.resources import Need
from actors.messages import METHOD_MARK, ActorOptions, Gave
from actors.refs import ObjectRef, Promise, Settled

__all__ = [
    "CONSTRUCTOR",
    "Actor",
    "ActorCall",
    "Anchor",
    "CallerCount",
    "refuse_detached",
]

# What stands for the class itself in place of a method's name.
_NEW = TaskStage.NEW
CONSTRUCTOR = METHOD_MARK + b"__init__"


def refuse_detached(options: ActorOptions) -> None:
    """Raise ConfigError if an actor shall outlive all programs."""
    if options.is_detached:
        raise ConfigError(
            "lifetime 'detached' needs an endpoint: embedded actors end with their "
            "program"
        )


class Anchor(ObjectRef[None]):
    """What all handles on an actor hold: when it goes, nobody wants the actor.

    It is a ref, and so its holders in all processes are counted as those of any ref
    are. Its outcome is known once the constructor has returned.
    """

    __slots__ = ("actor",)

    def __init__(self, actor: "Actor") -> None:
        super().__init__()
        self.actor = actor
        actor.anchor = weakref.ref(self)

    def __del__(self) -> None:
        self.actor.unwanted(self.actor)


class CallerCount:
    """How many calls a worker has made of an actor by way of the owner."""

    __slots__ = ("is_opaque", "last", "seen", "unanswered")

    def __init__(self) -> None:
        self.seen = 0
        self.last = 0  # the number of the ref for what that returns
        self.unanswered = 0
        self.is_opaque = False  # there was one of which no end will be known


class Actor:
    """One actor, from the wish for it until its death is known."""

    __slots__ = (
        "__weakref__",
        "actor_id",
        "anchor",
        "begun_direct",
        "callers",
        "class_",
        "creation",
        "early",
        "ended_incarnation",
        "gpus",
        "group",
        "host",
        "is_exiting",
        "is_held_back",
        "is_killed",
        "is_released",
        "lanes",
        "last_words",
        "life",
        "message",
        "need",
        "options",
        "pending",
        "room_waiters",
        "sent",
        "unwanted",
        "watchers",
        "window",
    )

    def __init__(
        self,
        actor_id: str,
        class_: bytes,
        options: ActorOptions,
        life: ActorLife,
        unwanted: Any,
    ) -> None:
        self.actor_id = actor_id
        self.class_ = class_
        self.options = options
        self.life = life
        self.unwanted = unwanted  # called, in any thread, when the last handle goes
        self.anchor: Any = None  # a weak reference
        self.creation: ActorCall | None = None  # of the constructor
        self.host: HubWorker | None = None  # its process
        # {caller: its calls that were not sent}, in order
        self.lanes: dict[str, deque[ActorCall]] = {}
        self.callers: dict[str, CallerCount] = {}  # {worker: its calls}
        # {number: what came of a call that went straight to it and is not adopted}
        self.early: dict[int, Gave] = {}
        self.ended_incarnation = 0  # the last that ended, and
        self.begun_direct = 0  # the last call that began in it without the owner
        self.sent: dict[int, ActorCall] = {}  # {seq: call}: at the process
        self.pending: dict[str, int] = {}  # {caller: calls without an outcome}
        # {caller: those that wait until it may make one more}
        self.room_waiters: dict[str, deque[Callable[[Settled | None], object]]] = {}
        self.watchers: list[Promise] = []  # that learn of this incarnation's end
        self.window = 0  # calls at the process, at most
        self.need = Need.of(options)
        self.gpus: list[int] | None = None  # taken with its need; None: not taken
        self.is_killed = False  # for good
        self.is_exiting = False  # it said so
        self.is_released = False  # nobody has a handle
        # The supervisor's group that it is in, and its name there; None: it restarts
        # by itself.
        self.group: tuple[Any, str] | None = None
        self.is_held_back = False  # by the supervisor: it shall not start
        self.message = ""  # how it died, for people
        self.last_words = ""

    @property
    def title(self) -> str:
        """Its name for people."""
        name = f" {self.options.name!r}" if self.options.name else ""
        return f"Actor {self.options.class_name}{name} ({self.actor_id})"


class ActorCall(Task):
    """One call of a method; it keeps its actor wanted.

    Args:
        anchor: of the actor; None: it is the constructor.
        actor: whose.
        caller: who calls: "" for the program itself, or a worker's id.
    """

    __slots__ = ("actor", "anchor", "caller")

    def __init__(
        self,
        actor: Actor,
        anchor: Promise | None,
        caller: str,
        spec: CallSpec,
        arguments: bytes | Settled,
        returns: Promise | list[Promise],
        dependencies: Sequence[Promise] = (),
        held: Sequence[Promise] = (),
    ) -> None:
        # All that Task.__init__ does, too, which would be a third of the time.
        self.spec = spec
        self.arguments = arguments
        self.returns = returns
        self.dependencies = dependencies
        self.held = held
        self.stage = _NEW
        self.missing = self.ticket = self.seq = self.crashes = self.own_failures = 0
        self.worker = self.children = None
        self.is_cancelled = self.is_timed_out = False
        self.actor = actor
        self.anchor = anchor
        self.caller = caller
