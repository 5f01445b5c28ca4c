"""Fork while objects are read; run in a process of its own, that has no other threads.

Prints "done".
"""

import gc
import os
import tempfile

from actors.errors import ObjectLostError
from actors.store import Store, StoreClient, Stored
from tests.store.support import Bytes, drop, filled, free_segments, parts_of, path_in


def _refuses(store: Store, client: StoreClient, stored: Stored) -> bool:
    refused = 0
    for use in (
        lambda: store.write(parts_of(filled(70_000))),
        lambda: store.load(stored),
        lambda: client.write(parts_of(filled(70_000))),
        lambda: client.load(stored),
    ):
        try:
            use()
        except ObjectLostError:
            refused += 1
    return refused == 4


def _in_child(store: Store, client: StoreClient, stored: Stored, go: int) -> int:
    array = _KEPT.pop()
    # The parent lets go, and writes another value of the size.
    os.read(go, 1)
    assert (array == 1).all(), "the child's memory was written to"
    assert _refuses(store, client, stored)
    drop(store, stored)
    del array
    gc.collect()
    store.forget("w1")
    store.trim()
    store.collect()
    store.close()
    client.close()
    return 0


_KEPT: list[Bytes] = []


def main() -> None:
    """Fork, let go of what the child reads, write, and look at both sides."""
    with tempfile.TemporaryDirectory(prefix="a-") as root:
        with Store(memory_root=root, spill_root=root) as store:
            client = StoreClient(store.folders, "w1")
            read = store.write(parts_of(filled(1_000_000, 1)))
            kept = store.write(parts_of(filled(1_000_000, 2)))
            inode = os.stat(path_in(store, read)).st_ino
            _KEPT.append(store.load(read))
            wait, go = os.pipe()
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    code = _in_child(store, client, kept, wait)
                finally:
                    os._exit(code)
            _KEPT.clear()
            drop(store, read)
            store.collect()
            assert not os.path.exists(path_in(store, read))
            assert free_segments(store) == []
            again = store.write(parts_of(filled(1_000_000, 9)))
            assert os.stat(path_in(store, again)).st_ino != inode
            os.write(go, b"x")
            _, status = os.waitpid(child, 0)
            assert status == 0, status
            assert (store.load(kept) == 2).all(), "the child freed the parent's"
            # What was not read when the process forked is used again.
            drop(store, again)
            store.collect()
            assert len(free_segments(store)) == 1
        assert os.listdir(root) == []
    print("done")


if __name__ == "__main__":
    main()
