"""Files in memory, read-only, for as long as somebody looks at them.

Python's own `mmap` keeps a file descriptor for each mapping, and a program may well
keep thousands of arrays; so the system is called directly.

A mapping that nobody looks at any more is kept for a while: the same segment comes back
with another value, and to map its pages anew takes longer than to read them (64 MiB:
8 ms and 2 ms).
"""

import ctypes
import mmap
import os
import weakref
from collections import OrderedDict
from collections.abc import Callable

__all__ = ["MappedFiles", "ReadMappings"]

# From <sys/mman.h>.
_MAP_FAILED = ctypes.c_void_p(-1).value

# Mappings that are kept, and how large each may be. They count as this process's memory
# in some statistics, though it is the segments' and goes with them. Below the least, it
# is not worth a place. Chosen.
_MAX_KEPT = 4
_MIN_KEPT_BYTES = 2**20
_MAX_KEPT_BYTES = 128 * 2**20

_libc = ctypes.CDLL(None, use_errno=True)
_mmap = _libc.mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
)
_munmap = _libc.munmap
_munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)


class ReadMappings:
    """Mappings of files whose names are never given away again.

    Any thread may use it; finalizers do, in the middle of anything, so that it has no
    lock: each step is a single operation on a dictionary.
    """

    def __init__(self) -> None:
        # {key: (address, extent)}, kept longest first; nobody looks at these.
        self._kept: OrderedDict[str, tuple[int, int]] = OrderedDict()
        # Mappings of an earlier generation are not kept.
        self._generation = 0

    def map(
        self, key: str, path: str, extent: int, on_end: Callable[[], None]
    ) -> memoryview:
        """Show the beginning of a file.

        Args:
            key: names the file for ever, also if it is moved.
            path: where it is now.
            extent: how many bytes to map, always the same for a file; those beyond its
                end must not be read. Not more different ones than there may be types,
                as each makes a type.
            on_end: called, in any thread and at any point of the program, when the view
                and all that was made from it are gone; must neither block nor raise.

        Raises:
            OSError: the system refuses; ENOMEM also if it has too many mappings.
        """
        try:
            address, _ = self._kept.pop(key)
        except KeyError:
            address = _map(path, extent)
        # Views, arrays and slices keep their first exporter alive, which is this.
        content = (ctypes.c_char * extent).from_address(address)
        end = weakref.finalize(
            content, self._end, key, address, extent, self._generation, on_end
        )
        # At the interpreter's end the system unmaps, and nobody listens any more.
        end.atexit = False
        return memoryview(content).cast("B").toreadonly()

    def retire(self) -> None:
        """Keep none of what is looked at now."""
        self._generation += 1

    def close(self) -> None:
        """Unmap what is kept; what is looked at goes later."""
        self.retire()
        while self._kept:
            _munmap(*self._kept.popitem()[1])

    def _end(
        self,
        key: str,
        address: int,
        extent: int,
        generation: int,
        on_end: Callable[[], None],
    ) -> None:
        dropped: tuple[int, int] | None = (address, extent)
        if (
            generation == self._generation
            and _MIN_KEPT_BYTES <= extent <= _MAX_KEPT_BYTES
        ):
            # Another reader of the same value may have left one.
            dropped = self._kept.pop(key, None)
            self._kept[key] = (address, extent)
            if len(self._kept) > _MAX_KEPT:
                _, dropped = self._kept.popitem(last=False)
        if dropped is not None:
            _munmap(*dropped)
        on_end()


class MappedFiles:
    """Mappings of files that nobody writes to, each for as long as it is looked at.

    Any thread may use it, finalizers do.
    """

    def __init__(self) -> None:
        self._addresses: set[int] = set()

    def __len__(self) -> int:
        return len(self._addresses)

    def map(self, path: str, extent: int) -> memoryview:
        """Show the beginning of a file.

        Args:
            path: where it is; it may be removed afterwards.
            extent: as of `ReadMappings.map`.

        Raises:
            OSError: as of `ReadMappings.map`.
        """
        address = _map(path, extent)
        self._addresses.add(address)
        content = (ctypes.c_char * extent).from_address(address)
        end = weakref.finalize(content, self._end, address, extent)
        end.atexit = False
        return memoryview(content).cast("B").toreadonly()

    def _end(self, address: int, extent: int) -> None:
        # In this order: the system may give the address away again at once.
        self._addresses.discard(address)
        _munmap(address, extent)


def _map(path: str, extent: int) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        address = _mmap(None, extent, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    finally:
        os.close(descriptor)
    if address == _MAP_FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    assert isinstance(address, int)
    return address
