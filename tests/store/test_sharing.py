"""Promise: an array never changes under its reader, whatever the others do."""

import contextlib
import gc
import itertools
import os
import tempfile
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors.errors import ObjectLostError
from actors.store import OWNER, Store, StoreClient, Stored
from actors.store.client import _MAX_MAPPED
from actors.store.mapping import _MAX_KEPT
from actors.store.session import MEMORY_ROOT
from tests.store.support import Bytes, deliver, drop, filled, parts_of, path_in

_SIZES = st.sampled_from([66_000, 66_500, 300_000, 1_100_000, 1_105_000])
_INDEX = st.integers(0, 1000)


class _Reader:
    """A worker: what it was sent, and what it made of that."""

    def __init__(self, store: Store, holder: str) -> None:
        self.holder = holder
        self.client = StoreClient(store.folders, holder)
        self.received: list[tuple[Stored, int]] = []
        self.arrays: list[tuple[Bytes, int]] = []


class _Object(NamedTuple):
    stored: Stored
    fill: int


class Sharing(RuleBasedStateMachine):
    """One owner and two workers in one process; only their files meet."""

    def __init__(self) -> None:
        super().__init__()
        parent = MEMORY_ROOT if os.access(MEMORY_ROOT, os.W_OK) else None
        self.stack = contextlib.ExitStack()
        self.root = self.stack.enter_context(
            tempfile.TemporaryDirectory(prefix="a-", dir=parent)
        )
        self.store = self.stack.enter_context(
            Store(memory_root=self.root, spill_root=self.root, max_free_bytes=2_500_000)
        )
        self.names = itertools.count()
        self.fills = itertools.count(1)
        self.workers = [self._worker(), self._worker()]
        self.objects: list[_Object] = []
        self.own_arrays: list[tuple[Bytes, int]] = []

    def _worker(self) -> _Reader:
        return _Reader(self.store, f"w{next(self.names)}")

    def teardown(self) -> None:
        for found in self.objects:
            self.store.release(found.stored.name, OWNER)
        self.own_arrays.clear()
        for worker in self.workers:
            worker.arrays.clear()
            for stored, _ in worker.received:
                worker.client.skip(stored)
            deliver(worker.client, self.store, worker.holder)
            worker.client.close()
        self.store.collect()
        assert len(self.store._pins) == 0
        self.store.close()
        assert os.listdir(self.root) == []
        self.stack.close()

    @rule(size=_SIZES)
    def write(self, size: int) -> None:
        fill = next(self.fills) % 256
        self.objects.append(
            _Object(self.store.write(parts_of(filled(size, fill))), fill)
        )

    @rule(size=_SIZES, which=st.integers(0, 1))
    def return_result(self, size: int, which: int) -> None:
        fill = next(self.fills) % 256
        stored = self.workers[which].client.write(parts_of(filled(size, fill)))
        self.store.adopt(stored)
        self.objects.append(_Object(stored, fill))

    @rule(size=_SIZES, which=st.integers(0, 1))
    def write_and_tell_nobody(self, size: int, which: int) -> None:
        client = self.workers[which].client
        client.discard(client.write(parts_of(filled(size))))

    @precondition(lambda self: self.objects)
    @rule(index=_INDEX, which=st.integers(0, 1))
    def send(self, index: int, which: int) -> None:
        found = self.objects[index % len(self.objects)]
        self.store.pin(found.stored, self.workers[which].holder)
        self.workers[which].received.append((found.stored, found.fill))

    @rule(which=st.integers(0, 1), is_skipped=st.booleans())
    def read(self, which: int, is_skipped: bool) -> None:
        worker = self.workers[which]
        while worker.received:
            stored, fill = worker.received.pop()
            if is_skipped:
                worker.client.skip(stored)
            else:
                worker.arrays.append((worker.client.load(stored), fill))

    @precondition(lambda self: self.objects)
    @rule(index=_INDEX)
    def read_at_owner(self, index: int) -> None:
        found = self.objects[index % len(self.objects)]
        self.own_arrays.append((self.store.load(found.stored), found.fill))

    @rule(which=st.integers(0, 2), index=_INDEX)
    def let_an_array_go(self, which: int, index: int) -> None:
        arrays = [*(worker.arrays for worker in self.workers), self.own_arrays][which]
        if arrays:
            del arrays[index % len(arrays)]

    @precondition(lambda self: self.objects)
    @rule(index=_INDEX)
    def let_a_reference_go(self, index: int) -> None:
        found = self.objects.pop(index % len(self.objects))
        self.store.release(found.stored.name, OWNER)

    @rule(which=st.integers(0, 1))
    def hear(self, which: int) -> None:
        deliver(self.workers[which].client, self.store, self.workers[which].holder)
        self.store.collect()

    @rule(which=st.integers(0, 1), is_writing=st.booleans())
    def kill(self, which: int, is_writing: bool) -> None:
        worker = self.workers[which]
        if is_writing:
            worker.client.write(parts_of(filled(70_000)))
        worker.arrays.clear()
        self.store.forget(worker.holder)
        # What was on its way when it died.
        deliver(worker.client, self.store, worker.holder)
        worker.client.close()
        self.workers[which] = self._worker()

    @rule()
    def trim(self) -> None:
        self.store.trim()

    @invariant()
    def every_array_is_as_it_was(self) -> None:
        for arrays in (*(w.arrays for w in self.workers), self.own_arrays):
            for array, fill in arrays:
                assert not array.flags.writeable
                assert (array == fill).all()

    @invariant()
    def every_referenced_object_is_there(self) -> None:
        self.store._pins.check()
        for found in self.objects:
            assert os.path.exists(path_in(self.store, found.stored))


Sharing.TestCase.settings = settings(max_examples=100, deadline=None)
TestSharing = Sharing.TestCase


def test_an_array_outlives_the_store(store: Store) -> None:
    array = store.load(store.write(parts_of(filled(1_000_000, 5))))
    store.close()
    assert (array == 5).all()
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.flags.writeable = True


def test_a_part_of_an_array_keeps_all_of_it(store: Store) -> None:
    stored = store.write(parts_of([filled(70_000, 3), filled(70_000, 4)]))
    part = store.load(stored)[1][60_000:]
    drop(store, stored)
    gc.collect()
    store.collect()
    drop(store, store.write(parts_of([filled(70_000, 8), filled(70_000, 9)])))
    assert (part == 4).all()
    assert os.path.exists(path_in(store, stored))
    del part
    store.collect()
    assert not os.path.exists(path_in(store, stored))


def test_a_value_without_arrays_is_released_once_it_is_read(store: Store) -> None:
    stored = store.write(parts_of(bytes(100_000)))
    client = StoreClient(store.folders, "w1")
    assert client.load(stored) == bytes(100_000)
    assert client.take_released() == [stored.name]
    assert client.take_released() == []


def test_thousands_of_arrays_keep_no_file_open(store: Store) -> None:
    stored = store.write(parts_of(filled(70_000)))
    before = len(os.listdir("/proc/self/fd"))
    arrays = [store.load(stored) for _ in range(2000)]
    assert len(os.listdir("/proc/self/fd")) == before
    assert all(array[-1] == 1 for array in arrays)
    assert _mappings(stored) == 2000
    arrays.clear()
    assert _mappings(stored) == 0


def _mappings(stored: Stored) -> int:
    with open("/proc/self/maps") as file:
        return file.read().count(stored.name.rpartition("/")[2])


@pytest.mark.slow
def test_more_arrays_than_the_system_maps_are_copies(store: Store) -> None:
    stored = store.write(parts_of(filled(66_000)))
    arrays = [store.load(stored) for _ in range(_MAX_MAPPED + 2)]
    assert _mappings(stored) == _MAX_MAPPED
    assert (arrays[-1] == 1).all()
    assert not arrays[-1].flags.writeable
    arrays.clear()
    drop(store, stored)
    store.collect()
    assert not os.path.exists(path_in(store, stored))


def test_few_mappings_are_kept_for_the_next_values(store: Store) -> None:
    objects = [store.write(parts_of(filled(2**20, fill))) for fill in range(8)]
    for stored in objects:
        store.load(stored)
    assert 0 < sum(map(_mappings, objects)) <= _MAX_KEPT
    for stored in objects:
        drop(store, stored)
    client = StoreClient(store.folders, "w1")
    for fill in range(20, 30):
        stored = store.write(parts_of(filled(2**20, fill)))
        store.pin(stored, "w1")
        assert (client.load(stored) == fill).all()
        deliver(client, store, "w1")
        drop(store, stored)
    client.close()


def test_what_was_freed_is_lost_with_a_clear_error(store: Store) -> None:
    stored = store.write(parts_of(filled(70_000)))
    client = StoreClient(store.folders, "w1")
    drop(store, stored)
    with pytest.raises(ObjectLostError, match=r"70\d\d\d bytes\) is gone"):
        client.load(stored)
    assert client.take_released() == [stored.name]
    with pytest.raises(ObjectLostError, match="has been freed"):
        store.load(stored)


def test_a_damaged_object_is_lost_with_a_clear_error(store: Store) -> None:
    for damage in (b"", b"x" * 100_000):
        stored = store.write(parts_of(filled(70_000)))
        with open(path_in(store, stored), "wb") as file:
            file.write(damage)
        with pytest.raises(ObjectLostError, match="damaged"):
            store.load(stored)


class _Bomb:
    def __init__(self) -> None:
        self.array = filled(100_000)

    def __setstate__(self, state: dict[str, Bytes]) -> None:
        raise LookupError("not here")


def test_a_value_that_cannot_be_unpickled_is_released_all_the_same(
    store: Store,
) -> None:
    stored = store.write(parts_of(_Bomb()))
    with pytest.raises(LookupError, match="not here"):
        store.load(stored)
    drop(store, stored)
    gc.collect()
    store.collect()
    assert not os.path.exists(path_in(store, stored))


def test_an_array_that_is_sent_on_is_read_only_there_too(store: Store) -> None:
    first = store.load(store.write(parts_of(filled(70_000, 2))))
    second = store.load(store.write(parts_of(first)))
    assert not second.flags.writeable
    assert np.array_equal(first, second)
