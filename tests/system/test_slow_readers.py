"""Who does not read costs the interchange a bounded amount of memory, loses nothing.

Meanwhile others work as if it were not there.
"""

import os
from operator import pos

import psutil
import pytest

from actors.messages import (
    AckResults,
    Goodbye,
    Notice,
    Results,
    Submit,
    Task,
    TaskId,
    TaskState,
)
from actors.payload import CallDumper, load_result
from tests.endpoints import RunningEndpoint
from tests.support import eventually
from tests.system import tasks
from tests.system.peers import Member
from tests.system.support import Listener

pytestmark = pytest.mark.slow

MEBIBYTE = 1 << 20
LIMIT = 8 * MEBIBYTE
TASKS = 200  # of 1 MiB each


def rss(pid: int) -> int:
    used: int = psutil.Process(pid).memory_info().rss
    return used


def big(number: int) -> bytes:
    """A result of a mebibyte that no buffer can be shared for."""
    return number.to_bytes(4, "big") + os.urandom(MEBIBYTE)


def calls(prefix: str) -> list[Task]:
    dumper = CallDumper()
    return [
        Task(TaskId(f"{prefix}{n}"), *dumper.dump(big, (n,), {}), 0.0)
        for n in range(TASKS)
    ]


def test_a_client_that_never_reads_cannot_fill_the_interchange() -> None:
    with RunningEndpoint(limits={"max_unread_bytes": LIMIT}) as endpoint:
        endpoint.await_workers(2)
        pid = endpoint.pid("interchange")
        with endpoint.executor() as executor:
            # Short ones: a manager has hundreds of leases when a client is held back.
            assert list(executor.map(pos, range(400))) == list(range(400))
            assert executor.submit(tasks.square, 3).result(20) == 9
            before = rss(pid)
            with Member(endpoint, "client") as member, Listener(endpoint) as listener:
                member.say(Submit(calls("first")))
                eventually(
                    lambda: any(
                        isinstance(event, Notice) and "results unread" in event.text
                        for event in listener.heard()
                    ),
                    30,
                    "the client to be held back",
                )
                # It could go on all the time: more of its tasks, and those of others.
                member.say(Submit(calls("second")))
                numbers = executor.map(tasks.square, range(200))
                assert list(numbers) == [n * n for n in range(200)]
                # The limit, what was under way, and what all that is held by.
                assert rss(pid) - before < 16 * LIMIT < TASKS * MEBIBYTE
                expect_all_once(member, "first")
                member.say(Goodbye("done"))


def expect_all_once(member: Member, prefix: str) -> None:
    """Read at last, and find every result exactly once."""
    numbers: dict[str, int] = {}
    while len(numbers) < TASKS:
        outcomes = member.hear(Results, 20).outcomes
        for outcome in outcomes:
            assert outcome.state is TaskState.SUCCESS
            assert outcome.task_id not in numbers
            payload: bytes = load_result(outcome.payload)
            numbers[outcome.task_id] = int.from_bytes(payload[:4], "big")
        member.say(AckResults([o.task_id for o in outcomes]))
    assert numbers == {f"{prefix}{n}": n for n in range(TASKS)}
