"""Promise: memory is used again when nobody reads it, and by one writer at a time."""

import contextlib
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import ObjectStoreFullError
from actors.store import Store, StoreClient, Stored
from actors.store.segments import capacity_for
from tests.store.support import (
    deliver,
    drop,
    filled,
    free_segments,
    parts_of,
    path_in,
    run_python,
)

_MIB = 2**20


def _inode(store: Store, stored: Stored) -> int:
    return os.stat(path_in(store, stored)).st_ino


@given(byte_count=st.integers(65_536, 2**40))
def test_a_capacity_suffices_and_wastes_little(byte_count: int) -> None:
    capacity = capacity_for(byte_count)
    assert byte_count <= capacity <= byte_count * 33 / 32 + 4096
    assert capacity % 4096 == 0
    assert capacity_for(capacity) == capacity


@given(byte_count=st.integers(65_536, 2**40), more=st.integers(0, 2**20))
def test_more_bytes_get_no_less_capacity(byte_count: int, more: int) -> None:
    assert capacity_for(byte_count) <= capacity_for(byte_count + more)


def test_a_freed_segment_is_written_again(store: Store) -> None:
    first = store.write(parts_of(filled(_MIB, 1)))
    inode = _inode(store, first)
    drop(store, first)
    # The second time it is mapped, the third time it still is; a bit more fits, too.
    for size, fill in ((_MIB, 2), (_MIB + 100, 3)):
        again = store.write(parts_of(filled(size, fill)))
        assert again.name != first.name
        assert _inode(store, again) == inode
        assert (store.load(again) == fill).all()
        drop(store, again)
        store.collect()


def test_a_freed_segment_is_written_again_by_another_process(store: Store) -> None:
    first = store.write(parts_of(filled(_MIB)))
    inode = _inode(store, first)
    drop(store, first)
    client = StoreClient(store.folders, "w1")
    result = client.write(parts_of(filled(_MIB, 2)))
    store.adopt(result)
    assert _inode(store, result) == inode
    assert (store.load(result) == 2).all()
    client.close()


def test_a_segment_that_is_read_is_not_written_again(store: Store) -> None:
    first = store.write(parts_of(filled(_MIB)))
    inode = _inode(store, first)
    array = store.load(first)
    drop(store, first)
    second = store.write(parts_of(filled(_MIB, 2)))
    assert _inode(store, second) != inode
    del array
    third = store.write(parts_of(filled(_MIB, 3)))
    assert _inode(store, third) == inode


def test_a_much_larger_segment_is_left_for_larger_values(store: Store) -> None:
    drop(store, store.write(parts_of(filled(10 * _MIB))))
    small = store.write(parts_of(filled(_MIB)))
    assert len(free_segments(store)) == 1
    assert os.stat(path_in(store, small)).st_size < 2 * _MIB


def test_a_smaller_segment_is_not_taken(store: Store) -> None:
    drop(store, store.write(parts_of(filled(_MIB))))
    larger = store.write(parts_of(filled(_MIB + 100_000, 2)))
    assert len(free_segments(store)) == 1
    assert (store.load(larger) == 2).all()


def test_no_two_writers_get_the_same_segment(store: Store) -> None:
    for stored in [store.write(parts_of(filled(100_000))) for _ in range(8)]:
        drop(store, stored)
    written: list[tuple[Stored, int]] = []

    def write(which: int) -> None:
        client = StoreClient(store.folders, f"w{which}")
        for turn in range(20):
            fill = which * 20 + turn
            stored = client.write(parts_of(filled(100_000, fill)))
            store.adopt(stored)
            if turn % 2:
                drop(store, stored)
            else:
                written.append((stored, fill))
        client.close()

    threads = [threading.Thread(target=write, args=(which,)) for which in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({_inode(store, stored) for stored, _ in written}) == 40
    for stored, fill in written:
        assert (store.load(stored) == fill).all()


def test_a_segment_has_all_its_memory_from_the_start(store: Store) -> None:
    # A hole would be filled when it is written through a mapping, and if there is no
    # memory then, the process is killed.
    stored = store.write(parts_of(filled(3 * _MIB + 1)))
    status = os.stat(path_in(store, stored))
    assert status.st_size == capacity_for(stored.byte_count)
    assert status.st_blocks * 512 >= status.st_size


def test_free_memory_is_bounded(memory_root: str, spill_root: str) -> None:
    with Store(
        memory_root=memory_root, spill_root=spill_root, max_free_bytes=3 * _MIB
    ) as store:
        objects = [store.write(parts_of(filled(_MIB))) for _ in range(5)]
        oldest = _inode(store, objects[0])
        for stored in objects:
            drop(store, stored)
        assert len(free_segments(store)) == 2
        free = os.path.join(store.folders.memory, "free")
        inodes = {os.stat(os.path.join(free, n)).st_ino for n in os.listdir(free)}
        assert oldest not in inodes
        drop(store, store.write(parts_of(filled(10 * _MIB))))
        assert len(free_segments(store)) == 2


def test_coming_and_going_does_not_count_twice(
    memory_root: str, spill_root: str
) -> None:
    with Store(
        memory_root=memory_root, spill_root=spill_root, max_free_bytes=3 * _MIB
    ) as store:
        first = store.write(parts_of(filled(_MIB)))
        inode = _inode(store, first)
        drop(store, first)
        for _ in range(10):
            again = store.write(parts_of(filled(_MIB)))
            assert _inode(store, again) == inode
            drop(store, again)


def test_the_number_of_free_segments_is_bounded(store: Store) -> None:
    for stored in [store.write(parts_of(filled(66_000))) for _ in range(100)]:
        drop(store, stored)
    assert len(free_segments(store)) == 64


def test_an_idle_store_gives_its_memory_back(store: Store) -> None:
    stored = store.write(parts_of(filled(_MIB)))
    array = store.load(stored)
    drop(store, stored)
    store.trim()
    assert (array == 1).all()
    del array
    store.trim()
    assert free_segments(store) == []
    assert os.listdir(os.path.join(store.folders.memory, "owner")) == []


def test_without_shared_memory_values_go_to_the_spill_folder(
    tmp_path: Path, spill_root: str
) -> None:
    with Store(memory_root=str(tmp_path / "absent"), spill_root=spill_root) as store:
        stored = store.write(parts_of(filled(_MIB, 3)))
        assert path_in(store, stored).startswith(spill_root)
        array = store.load(stored)
        drop(store, stored)
        store.trim()
        assert os.path.exists(path_in(store, stored))
        assert (array == 3).all()
        del array
        store.collect()
        assert not os.path.exists(path_in(store, stored))
        client = StoreClient(store.folders, "w1")
        result = client.write(parts_of(filled(_MIB, 4)))
        store.adopt(result)
        store.pin(result, "w1")
        assert (client.load(result) == 4).all()
        deliver(client, store, "w1")
        drop(store, result)
        # Not even a folder of the same name somewhere else.
        (tmp_path / "w1").mkdir()
        with contextlib.chdir(tmp_path):
            store.forget("w1")
        assert (tmp_path / "w1").exists()


def test_nowhere_to_put_objects_is_an_error_at_the_start(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    with pytest.raises(ObjectStoreFullError, match="No such file.*make room"):
        Store(memory_root=absent, spill_root=absent)


@pytest.mark.slow
def test_what_does_not_fit_goes_elsewhere_and_then_nowhere() -> None:
    printed = run_python(["-m", "tests.store.full_memory"])
    if printed.startswith("cannot mount"):
        pytest.skip(printed)
    assert printed == "done\n"


@pytest.mark.parametrize("holder", ["", "free", "lock", "../x", "a/b", "A", "x" * 65])
def test_a_holder_has_a_name_that_a_folder_can_have(store: Store, holder: str) -> None:
    with pytest.raises(ValueError, match="Holder"):
        StoreClient(store.folders, holder)


def test_large_pieces_are_copied_whole(store: Store) -> None:
    value = np.arange(5 * _MIB, dtype=np.int64)
    for _ in range(3):
        stored = store.write(parts_of(value))
        assert np.array_equal(store.load(stored), value)
        drop(store, stored)
        store.collect()
