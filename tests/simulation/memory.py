"""The shared memory of a simulation: files, and who has names for them.

As `actors.store.links`, with the same promises: a payload has a file for as long as the
object lives that stands for it; who ends leaves files until somebody sweeps. What
travels is a reference, so whoever lets go too early is found out.
"""

import itertools
from typing import Protocol

from actors.messages import LARGE_MARK, Large, LargeName, name_of_large
from actors.store.links import SenderGone

__all__ = ["LOST", "Holder", "Memory"]

# What is sent, or written down, of a payload whose file is gone.
LOST = b"lost"
# What each counts as.
_BYTES = 100_000


class Holder(Protocol):
    """A process that may have a folder."""

    is_alive: bool


class _Kept(Large):
    """A payload that has a file."""

    _memory: "Memory"
    _holder: Holder

    @classmethod
    def of(cls, where: LargeName, memory: "Memory", holder: Holder) -> "_Kept":
        self = cls(where)
        self._memory, self._holder = memory, holder
        return self

    def __del__(self) -> None:
        # Nobody who is dead removes anything.
        if self._holder.is_alive:
            self._memory.files.pop(name_of_large(self)[:2], None)

    @property
    def content(self) -> bytes:
        return self._memory.files.get(name_of_large(self)[:2], LOST)


class Memory:
    """All files of all processes."""

    def __init__(self) -> None:
        self.files: dict[tuple[str, str], bytes] = {}  # {(folder, name): content}
        self.folders: dict[str, Holder] = {}
        self.taken = 0  # how often one process has linked what another one had
        self.unneeded = 0  # how often nobody needed it any more
        self._numbers = itertools.count(1)
        self._names: dict[int, str] = {}  # {id of a holder: its folder}

    def write(self, holder: Holder, content: bytes) -> bytes:
        """Put a payload into a process's folder."""
        where = LargeName(self._folder(holder), str(next(self._numbers)), _BYTES)
        self.files[where[:2]] = content
        return _Kept.of(where, self, holder)

    def take(self, holder: Holder, reference: bytes) -> bytes | None:
        """Link what another process has; see `Links.take`."""
        there = name_of_large(reference)
        content = self.files.get(there[:2])
        if content is not None:
            self.taken += 1
            return self.write(holder, content)
        if there.folder not in self.folders:
            raise SenderGone(there.folder)
        self.unneeded += 1
        return None

    def read(self, payload: bytes) -> bytes:
        """Return what a payload, or a reference, stands for."""
        if not payload.startswith(LARGE_MARK):
            return payload
        return self.files.get(name_of_large(payload)[:2], LOST)

    def sweep(self) -> None:
        """Remove the folders of the dead."""
        dead = {name for name, holder in self.folders.items() if not holder.is_alive}
        self.files = {at: c for at, c in self.files.items() if at[0] not in dead}
        for name in dead:
            del self.folders[name]

    def _folder(self, holder: Holder) -> str:
        name = self._names.get(id(holder))
        if name is None:
            name = f"actors-objects-0-{len(self._names):016x}"
            self._names[id(holder)] = name
            # It lives on here, so that no other one gets its id.
            self.folders[name] = holder
        return name
