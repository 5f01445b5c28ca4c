"""A queue gives each item once, in order, to whoever in whatever process asks."""

import asyncio
import queue
import threading

import pytest

import actors
from actors.task_errors import ActorDiedError
from actors.util.queue import Empty, Full, Queue

pytestmark = pytest.mark.slow

RUNTIMES = ["embedded", "endpoint"]


@actors.remote
def produce(items: Queue[int], count: int) -> None:
    for item in range(count):
        items.put(item)


@actors.remote
def consume(items: Queue[int], count: int) -> list[int]:
    return [items.get() for _ in range(count)]


def test_items_come_first_in_first_out_and_sizes_are_told() -> None:
    items: Queue[str] = Queue(maxsize=2)
    assert items.empty()
    items.put("a")
    items.put_nowait("b")
    assert (items.size(), items.qsize(), len(items), items.full()) == (2, 2, 2, True)
    assert [items.get(), items.get_nowait()] == ["a", "b"]


def test_full_and_empty_are_told_at_once_or_in_time() -> None:
    items: Queue[int] = Queue(maxsize=1)
    for wait in ({"block": False}, {"timeout": 0.02}):
        with pytest.raises(Empty):
            items.get(**wait)
    items.put(1)
    for wait in ({"block": False}, {"timeout": 0.02}):
        with pytest.raises(queue.Full):
            items.put(2, **wait)
    assert items.get() == 1
    assert items.empty(), "what did not fit in time does not come later"
    with pytest.raises(ValueError, match="non-negative"):
        items.get(timeout=-1)


def test_batches_go_in_and_out_as_a_whole() -> None:
    items: Queue[int] = Queue(maxsize=4)
    items.put_nowait_batch([1, 2, 3])
    with pytest.raises(Full, match="No room for 2 items"):
        items.put_nowait_batch([4, 5])
    with pytest.raises(Empty, match="fewer than 4"):
        items.get_nowait_batch(4)
    assert items.get_nowait_batch(2) == [1, 2]


def test_tasks_fill_and_empty_a_queue_that_is_smaller_than_what_goes_through() -> None:
    items: Queue[int] = Queue(maxsize=3)
    taken = consume.remote(items, 100)
    produce.remote(items, 100)
    assert actors.get(taken) == list(range(100))


def test_waiting_in_asyncio_holds_up_nobody() -> None:
    async def both() -> list[int]:
        items: Queue[int] = Queue(maxsize=1)
        waiting = [asyncio.create_task(items.get_async()) for _ in range(5)]
        for item in range(5):
            await items.put_async(item)
        with pytest.raises(Empty):
            await items.get_async(timeout=0.02)
        return sorted(await asyncio.gather(*waiting))

    assert asyncio.run(both()) == list(range(5))


def test_the_end_lets_go_of_those_who_wait() -> None:
    items: Queue[int] = Queue()
    assert items.empty()
    errors: list[BaseException] = []
    begun = threading.Event()

    def get() -> None:
        begun.set()
        try:
            items.get()
        except (Empty, ActorDiedError) as error:
            errors.append(error)

    waiter = threading.Thread(target=get)
    waiter.start()
    begun.wait()
    items.shutdown()
    waiter.join()
    assert errors
    with pytest.raises(ActorDiedError):
        items.put(1)
