"""Large values in shared memory: one copy in, none out, read-only.

    parts = dump_parts(value, ...)      # bytes up to 64 KiB, else Parts
    stored = client.write(parts)        # one copy into a segment; `stored` is sent
    value = client.load(stored)         # elsewhere: mapped, nothing is copied

Where to read: `parts` pickles, `layout` has the bytes of a segment, `segments` writes
them into files, `mapping` reads them, `client` is what every process has, `owner` what
the one process has that decides when memory is freed, `session` the folders, and how
they go when their owner is dead. On an endpoint there is no owner: see `links`.

Files
-----
    /dev/shm/actors-objects-UID-RANDOM/     mode 0700; one per owner and session
        lock                                locked while the owner lives
        free/CAPACITY-CREATOR-N             warm segments that anybody may take
        HOLDER/CAPACITY-CREATOR-N.COUNT     a segment in use, in its writer's folder

and the same, without `free`, in a *spill folder* for when shared memory is full.

What is promised
----------------
1. Fresh memory is what costs (the kernel clears and maps each page), so segments are
   used again. Taking a free one is a rename: one process wins, without a message.
2. A segment is freed or used again only after its last pin went. A reader's pin goes
   when its last array over the segment dies: a finalizer of the mapping tells. So an
   array never changes under its reader, however long it lives, and when the owner is
   gone it keeps its memory, too, as unlinking leaves mappings alone.
3. A process that forked while it read has a child that reads on, and that nobody
   counts. Then the segment is never used again, only unlinked (its mode says so, see
   `RETIRED_MODE`).
4. Whoever claimed or made a segment and died before it told the owner leaves it in its
   own folder, where `Store.forget` finds it.
5. Folders of dead owners are removed by the next owner's start, and by `sweep`.

The owner counts pins; a worker's come and go with its messages (see `client`).

What it costs: tests/bench/store_speed.py. Two processes, 2 cores of an EPYC, 64 MiB:
5.4 ms to write, send, map and release (a bare copy: 5.4 ms), 8.1 ms if the reader sums
all of it up. The first time takes 35 ms or more, for the pages are fresh.
"""

from actors.store.client import StoreClient
from actors.store.layout import INLINE_BYTES
from actors.store.links import load_inline
from actors.store.owner import OWNER, Store
from actors.store.parts import Parts, dump_parts
from actors.store.segments import Stored
from actors.store.session import StoreFolders, sweep

__all__ = [
    "INLINE_BYTES",
    "OWNER",
    "Parts",
    "Store",
    "StoreClient",
    "StoreFolders",
    "Stored",
    "dump_parts",
    "load_inline",
    "sweep",
]
