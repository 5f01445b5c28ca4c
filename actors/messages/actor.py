"""What is said of an actor, by whoever says it."""

from typing import Annotated, Literal

import msgspec

from actors.messages.basis import Amount, Struct

__all__ = [
    "METHOD_MARK",
    "ActorOptions",
    "ActorWork",
    "Incarnation",
]


class ActorOptions(Struct, frozen=True, array_like=True, gc=False):
    """How an actor lives, and who may find it."""

    class_name: str
    picture: bytes = b""  # what a handle on it knows, pickled
    name: str = ""  # empty: nobody finds it
    namespace: str = ""
    get_if_exists: bool = False
    max_restarts: int = 0  # within `restart_period`; -1: any number
    restart_period: float = 0.0  # seconds; 0: for ever
    max_concurrency: int = 0  # calls at a time; 0: as usual for its class
    groups: list[Amount] = []  # concurrency groups, and calls at a time in each
    max_pending_calls: int = -1  # of one caller; -1: any number
    fails_on_restart: bool = False  # calls fail while it restarts, and do not wait
    num_cpus: float = 0.0  # from its start to its end, as all it needs
    num_gpus: float = 0.0
    resources: list[Amount] = []
    waits_for_room: bool = False  # a caller with max_pending_calls waits, not fails
    is_detached: bool = False  # it lives although nobody has a handle
    home: str = ""  # the namespace in which it looks for others


class ActorWork(Struct, frozen=True, array_like=True, gc=False):
    """What a task has to do with an actor, if it is no call of a function.

    "create"    function: the class; arguments: its constructor's; `options`.
                Ends at once, with (id, picture) of the actor, or of its namesake
    "call"      function: METHOD_MARK and a name; arguments: the method's
    "find"      function: the name, arguments: the namespace, in UTF-8; as "create"
    "hold"      the client has a handle from now on; so it has after the two above
    "release"   it has none any more
    "kill"      for good
    "restart"   kill it, as if it had crashed
    "watch"     ends with what tells of the end of the present incarnation (`Died`)
    "supervise" arguments: a `NewGroup` of the id. Ends when all in it are up together,
                or never will be. The client has handles on the group and on all in it;
                "hold", "release" and "watch" take a group's id, too
    "stop"      end a group
    "command"   arguments: a `Command`; for the endpoint's own actors
    "suits"     of no actor: ends at once, with (kind, text) of the `Failure` of a task
                that needs what this one does, if nothing here can ever run it

    The outcome's payload is pickled as any other's.
    """

    # Minted by the client that made it, unique for ever.
    actor_id: Annotated[str, msgspec.Meta(max_length=200)]
    verb: Literal[
        "create",
        "call",
        "find",
        "hold",
        "release",
        "kill",
        "restart",
        "watch",
        "command",
        "suits",
        "supervise",
        "stop",
    ]
    options: ActorOptions | None = None


class Incarnation(Struct, frozen=True, array_like=True, gc=False):
    """One life of an actor, from its process's start to that process's end."""

    actor_id: str
    number: int  # 1 is the first


# What a `Run` or a `Call` names in place of a function is a method of the actor if it
# begins so: the name follows, and after a zero byte the concurrency group if told.
METHOD_MARK = b"@"
