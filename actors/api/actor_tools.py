"""What is done with actors besides calling them."""

import pickle
from typing import Any, NoReturn

from actors.api.actor_handle import ActorHandle, checked_handle
from actors.api.runtime import runtime
from actors.api.typed_actor import Actor
from actors.embedded.host import ActorExit
from actors.logic.actor_life import Died
from actors.refs import ObjectRef, known

__all__ = ["exit_actor", "get_actor", "kill", "watch"]


def get_actor(name: str, namespace: str | None = None) -> ActorHandle[Any]:
    """Return a handle on the actor with a name.

    Args:
        name: of the actor.
        namespace: of the name; None: the one that `init` was told, or the actor whose
            code this is was made in.

    Raises:
        NoSuchActorError: there is none, or it is about to end.
    """
    here = runtime()
    where = here.namespace if namespace is None else namespace
    anchor, picture = here.actors.find(name, where)
    return ActorHandle(anchor, pickle.loads(picture))


def kill(handle: ActorHandle[Any] | Actor, *, no_restart: bool = True) -> None:
    """Kill an actor's process; nothing if the actor is dead.

    Args:
        handle: on the actor.
        no_restart: for good; else it is as if it had crashed.

    Raises:
        ConfigError: it is no handle.
    """
    runtime().actors.kill(checked_handle(handle), is_final=no_restart)


def watch(handle: ActorHandle[Any] | Actor) -> ObjectRef[Died]:
    """Return a ref whose value tells how the actor's present incarnation ended.

    It is known once that has ended: at once if the actor is dead. Watching does not
    keep the actor alive.

    Raises:
        ConfigError: it is no handle.
    """
    ref: ObjectRef[Died] = runtime().actors.watch(checked_handle(handle))
    return ref


def exit_actor() -> NoReturn:
    """End the actor whose method calls this, for good.

    The call fails with ActorDiedError, and so do those behind it.

    Raises:
        RuntimeError: not in an actor.
    """
    if not getattr(known(), "hosts_actor", False):
        raise RuntimeError("exit_actor() was called outside of an actor's methods")
    raise ActorExit("the actor ended itself")
