"""Promise: what nobody needs is freed, whoever dies, and nothing else."""

import gc
import os
import subprocess
import sys
import threading

import pytest

from actors.errors import ObjectLostError
from actors.store import OWNER, Store, StoreClient
from tests.store.support import (
    deliver,
    drop,
    filled,
    free_segments,
    parts_of,
    path_in,
    run_python,
)
from tests.support import eventually


def test_a_value_lives_as_long_as_anybody_holds_it(store: Store) -> None:
    stored = store.write(parts_of(filled(70_000)))
    store.pin(stored, "w1")
    store.pin(stored, "w1")
    drop(store, stored)
    store.release(stored.name, "w1")
    assert os.path.exists(path_in(store, stored))
    store.release(stored.name, "w1")
    assert not os.path.exists(path_in(store, stored))


def test_a_result_is_the_owners_once_it_is_adopted(store: Store) -> None:
    client = StoreClient(store.folders, "w1")
    stored = client.write(parts_of(filled(70_000, 6)))
    store.adopt(stored)
    with pytest.raises(ValueError, match="before"):
        store.adopt(stored)
    store.forget("w1")
    assert (store.load(stored) == 6).all()


def test_a_dead_worker_holds_nothing_and_leaves_nothing(store: Store) -> None:
    argument = store.write(parts_of(filled(70_000)))
    store.pin(argument, "w1")
    drop(store, argument)
    client = StoreClient(store.folders, "w1")
    unheard = client.write(parts_of(filled(80_000)))
    spoken = StoreClient(store.folders, "w2").write(parts_of(filled(90_000)))
    store.forget("w1")
    assert not os.path.exists(path_in(store, argument))
    assert not os.path.exists(path_in(store, unheard))
    assert os.path.exists(path_in(store, spoken)), "that is another worker's"
    # It might have died while it made the other one.
    assert len(free_segments(store)) == 1
    store.release(argument.name, "w1")
    store.forget("w1")
    store.forget("nobody")


@pytest.mark.slow
def test_a_worker_killed_while_it_writes_leaves_nothing(store: Store) -> None:
    script = """
import sys
from actors.store import StoreClient, StoreFolders
from tests.store.support import filled, parts_of
client = StoreClient(StoreFolders(*sys.argv[1:]), "w1")
while True:
    client.write(parts_of(filled(100_000)))
"""
    folders = store.folders
    own = os.path.join(folders.memory, "w1")
    worker = subprocess.Popen(
        [sys.executable, "-c", script, folders.memory, folders.spill]
    )
    try:
        eventually(lambda: os.path.exists(own) and len(os.listdir(own)) > 20)
    finally:
        worker.kill()
        worker.wait()
    store.forget("w1")
    assert not os.path.exists(own)


def test_a_release_below_a_locked_store_waits_for_the_next_call(store: Store) -> None:
    # A finalizer may run anywhere, in the middle of the store's own code, too.
    stored = store.write(parts_of(filled(70_000)))
    with store._lock:
        drop(store, stored)
    assert os.path.exists(path_in(store, stored))
    store.collect()
    assert not os.path.exists(path_in(store, stored))


def test_threads_release_without_waiting_for_each_other(store: Store) -> None:
    objects = [store.write(parts_of(filled(66_000))) for _ in range(60)]

    def work(mine: slice) -> None:
        for stored in objects[mine]:
            store.load(stored)
            drop(store, stored)

    threads = [
        threading.Thread(target=work, args=(slice(which, None, 3),))
        for which in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.collect()
    store.collect()
    assert len(store._pins) == 0
    assert not any(os.path.exists(path_in(store, stored)) for stored in objects)


def test_a_cycle_that_holds_an_array_lets_it_go_when_it_is_collected(
    store: Store,
) -> None:
    stored = store.write(parts_of(filled(70_000)))
    cycle: list[object] = [store.load(stored)]
    cycle.append(cycle)
    drop(store, stored)
    del cycle
    gc.collect()
    store.collect()
    assert not os.path.exists(path_in(store, stored))


def test_what_is_received_and_not_wanted_is_released(store: Store) -> None:
    stored = store.write(parts_of(filled(70_000)))
    store.pin(stored, "w1")
    drop(store, stored)
    client = StoreClient(store.folders, "w1")
    client.skip(stored)
    deliver(client, store, "w1")
    assert not os.path.exists(path_in(store, stored))


def test_a_closed_store_refuses_and_ignores(store: Store) -> None:
    stored = store.write(parts_of(filled(70_000)))
    array = store.load(stored)
    store.close()
    for use in (
        lambda: store.write(parts_of(filled(70_000))),
        lambda: store.load(stored),
        lambda: store.pin(stored, "w1"),
        lambda: store.adopt(stored),
    ):
        with pytest.raises(ObjectLostError, match="closed"):
            use()
    store.release(stored.name, OWNER)
    del array
    store.collect()
    store.forget("w1")
    store.trim()
    store.close()


@pytest.mark.slow
def test_a_forked_child_reads_on_and_spoils_nothing() -> None:
    assert run_python(["-m", "tests.store.forking"]) == "done\n"
