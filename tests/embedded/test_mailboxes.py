"""Promise: a bounded mailbox holds what it says, and nobody waits in vain."""

import random
from collections import deque
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from actors.embedded.actor_calls import Actor
from actors.embedded.crew import Crew
from actors.embedded.directory import Directory
from actors.embedded.hub import Hub
from actors.embedded.mailboxes import dissolve, give_room_back, reserve
from actors.logic.actor_life import DeathReason
from actors.logic.resources import Capacity
from actors.messages import ActorOptions, FailureKind
from actors.refs import Settled

CALLERS = ("", "w1", "a2")


def actor_with(limit: int, *, waits: bool) -> Actor:
    hub = Hub(Capacity({"CPU": 1}), Crew(1, 1, random.Random(0)))
    directory = Directory(hub, random.Random(0), lambda: None)
    options = ActorOptions("C", max_pending_calls=limit, waits_for_room=waits)
    return directory.prepare(b"c", options, b"").actor


@given(
    limit=st.integers(1, 4),
    steps=st.lists(st.tuples(st.sampled_from(CALLERS), st.booleans()), max_size=60),
)
def test_who_waits_gets_room_in_turn_as_soon_as_there_is_some(
    limit: int, steps: list[tuple[str, bool]]
) -> None:
    actor = actor_with(limit, waits=True)
    told: dict[str, list[int]] = {caller: [] for caller in CALLERS}
    waiting: dict[str, deque[int]] = {caller: deque() for caller in CALLERS}
    running = dict.fromkeys(CALLERS, 0)

    def tell(caller: str, number: int, answer: Settled | None) -> None:
        assert answer is None
        told[caller].append(number)

    for number, (caller, is_call) in enumerate(steps):
        if is_call:
            waiting[caller].append(number)
            reserve(actor, caller, partial(tell, caller, number))
        elif running[caller]:
            running[caller] -= 1
            give_room_back(actor, caller)
        while waiting[caller] and running[caller] < limit:
            running[caller] += 1
            assert told[caller].pop(0) == waiting[caller].popleft()
        assert not any(told.values())
        assert {c: n for c, n in running.items() if n} == actor.pending
    actor.life.ended(DeathReason.KILLED, 0.0, is_meant=True)
    dissolve(actor)
    assert {c: deque(numbers) for c, numbers in told.items()} == waiting


def test_who_may_not_wait_is_refused_and_told_what_to_do() -> None:
    actor = actor_with(1, waits=False)
    answers: list[Settled | None] = []
    for _ in range(2):
        reserve(actor, "", answers.append)
    first, second = answers
    assert first is None
    assert second is not None
    failure = second.value.failure
    assert failure is not None
    assert failure.kind is FailureKind.PENDING_LIMIT
    assert 'on_full="wait"' in failure.message
    reserve(actor, "w1", answers.append)
    assert answers[2] is None, "each caller has its own"
