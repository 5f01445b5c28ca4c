"""Mailboxes: how many calls a caller may have under way at an actor. Pure.

Every call to an actor whose mailbox is bounded needs room first. There is none, and the
caller is told so, or waits until one of its calls has ended: first come, first served.
"""

from collections import deque
from collections.abc import Callable, Iterable

from actors.embedded.actor_calls import Actor, ActorCall
from actors.logic.actor_life import LifeState
from actors.messages import Failure, FailureKind, Value
from actors.refs import Promise, Settled

__all__ = ["dissolve", "give_room_back", "pending_calls", "reserve"]


def reserve(
    actor: Actor, caller: str, tell: Callable[[Settled | None], object]
) -> None:
    """Make room for a call.

    Args:
        actor: whose mailbox.
        caller: who wants to call.
        tell: called with None once there is room, or the actor is dead; with a failure
            if there is none and nobody is made to wait.
    """
    if actor.life.state is LifeState.DEAD or _take_room(actor, caller):
        tell(None)
    elif actor.options.waits_for_room:
        actor.room_waiters.setdefault(caller, deque()).append(tell)
    else:
        limit = actor.options.max_pending_calls
        text = f"{limit} calls wait at {actor.title}, which is its "
        text += 'max_pending_calls; get some results first, or use on_full="wait"'
        tell(Settled(Value(b"", failure=Failure(FailureKind.PENDING_LIMIT, text))))


def _take_room(actor: Actor, caller: str) -> bool:
    waiting = actor.pending.get(caller, 0)
    if waiting >= actor.options.max_pending_calls:
        return False
    actor.pending[caller] = waiting + 1
    return True


def give_room_back(actor: Actor, caller: str) -> None:
    """Let a caller's place be that of its next call."""
    count = actor.pending.get(caller, 0)
    if count > 1:
        actor.pending[caller] = count - 1
    elif count:
        del actor.pending[caller]
    waiters = actor.room_waiters.get(caller)
    if waiters and _take_room(actor, caller):
        tell = waiters.popleft()
        if not waiters:
            del actor.room_waiters[caller]
        tell(None)


def dissolve(actor: Actor) -> None:
    """Let all go on who wait: the actor is dead, and will say so."""
    waiters, actor.room_waiters = actor.room_waiters, {}
    for each in waiters.values():
        for tell in each:
            tell(None)


def pending_calls(actor: Actor, caller: str) -> list[Promise]:
    """Return a ref of each call of a caller that has no outcome yet."""
    lane: Iterable[ActorCall] = actor.lanes.get(caller, ())
    calls = [*actor.sent.values(), *lane]
    calls = [call for call in calls if call.caller == caller and call.anchor]
    return [
        call.returns if isinstance(call.returns, Promise) else call.returns[0]
        for call in calls
        if call.returns
    ]
