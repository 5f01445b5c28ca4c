"""Large payloads of processes that have no owner in common: hard links count for them.

    writer ──Large──► reference in a message ──► reader: links it, a Large of its own
       └── let go: unlinked                          └── let go: unlinked

    /dev/shm/actors-objects-UID-RANDOM/    mode 0700; one per process, when first needed
        lock                               locked while the process lives
        NUMBER                             a payload: as in `layout`, or a pickle

Each process keeps what it needs under a name of its own, and tells nobody when it needs
it no longer: the kernel frees the memory with the last name and the last mapping. A
Large has a name for as long as it lives; so what makes processes forget payloads that
travel in messages, the acknowledgements, makes them forget these. Folders of the dead
are removed by whoever looks (`session.sweep`), and what others have linked stays.

What is promised
----------------
1. Who has received a frame has linked what it refers to before anything is answered;
   until then the sender keeps it, as it would have to send it again.
2. A reference may come to nothing: its sender needed it no longer, then nobody does,
   and what it is for is left out; or the sender is dead and swept, then the frame
   counts as lost with its link. It does so, too, if a manager has given up items, as it
   may have said before that they are all.
3. A payload whose file was removed by somebody else fails alone where it is opened.
4. Nothing is written to a file that has been told of: an array never changes.

A worker keeps nothing: it writes into its manager's folder, under names that begin with
its pid, and the manager renames what it is told of. So results outlive their worker,
which may have ended by then; what nobody was told of goes with it.

Two processes see the same memory if `Links.place` is the same: the same file system,
of the same boot of the same kernel, seen by the same user. It is told at doors.
"""

import itertools
import logging
import os
import pickle
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from actors.errors import MalformedFrame, ObjectLostError, ObjectStoreFullError
from actors.messages import (
    FRAME_MARK,
    LARGE_MARK,
    ItemsYielded,
    Large,
    LargeName,
    name_of_large,
    with_payloads,
)
from actors.store import layout
from actors.store.forks import at_fork
from actors.store.layout import parse, plan
from actors.store.mapping import MappedFiles
from actors.store.parts import Parts, join_parts
from actors.store.segments import capacity_for, discard_file, make_file
from actors.store.session import MEMORY_ROOT, Session, machine_name, sweep

__all__ = [
    "MEMORY_VARIABLE",
    "Links",
    "SenderGone",
    "SharedDecoder",
    "load_inline",
    "memory_place",
    "worker_write",
]

logger = logging.getLogger(__name__)
Incoming = TypeVar("Incoming")

# Where a manager tells its workers which memory it sees, and its folder there.
MEMORY_VARIABLE = "ACTORS_MEMORY"

# A worker's files: its pid, and so many digits. Names have 20 at most, pids 7.
_WRITTEN_DIGITS = 10

# A process that was killed is not quite dead when its link closes. Chosen.
_SWEEP_DELAY = 1.0

# Beyond it, payloads are copied instead of mapped: see `store.client`.
_MAX_MAPPED = 32_768
# Of this process: the system counts them, too, and has a limit.
_mapped = MappedFiles()


class SenderGone(MalformedFrame):
    """Tell that a frame refers to the memory of a process that is dead."""


def memory_place() -> str:
    """Name the shared memory that this process sees; "": there is none for it."""
    try:
        found = os.stat(MEMORY_ROOT)
        if not os.access(MEMORY_ROOT, os.W_OK | os.X_OK):
            return ""
        boot, _ = machine_name()
        user = f"{os.geteuid()} {os.readlink('/proc/self/ns/user')}"
    except OSError:
        return ""
    return f"{boot} {found.st_dev}:{found.st_ino} {user}"


class Kept(Large):
    """A payload that has a name in this process's folder for as long as it lives."""

    _links: "Links"
    _name: str

    @classmethod
    def of(cls, where: LargeName, links: "Links") -> "Kept":
        """Make what stands for a file of that name."""
        self = cls(where)
        self._links = links
        self._name = where.name
        return self

    def __del__(self) -> None:
        self._links.release(self._name)

    @property
    def reference(self) -> bytes:
        # What nobody can open must not be asked for again and again.
        if not os.path.exists(_path_to(name_of_large(self))):
            return _lost(self)
        return super().reference

    @property
    def content(self) -> bytes | memoryview:
        try:
            return _open(self)
        except (OSError, ValueError) as error:
            # What it is for fails alone.
            logger.warning("a large payload cannot be sent: %s", error)
            return _lost(self)


class Links:
    """The payloads of one process; any thread may use it."""

    def __init__(self) -> None:
        self.place = memory_place()
        self._session: Session | None = None
        # A signal's handler may need the folder while its own thread makes it.
        self._making = threading.RLock()
        self._numbers = itertools.count(1)
        self._held: set[str] = set()  # names of those that live
        self._is_inherited = False
        self._timer: threading.Timer | None = None
        self._is_closing = False
        # Finalizers run when modules may be gone.
        self._unlink = os.unlink

    def write(self, parts: Parts) -> bytes:
        """Copy a payload into shared memory, or into bytes if it has no room.

        Returns:
            A Large, or what `join_parts` makes.
        """
        folder = self._folder()
        if folder is None:
            return join_parts(parts)
        where = _write(folder, str(next(self._numbers)), parts)
        return join_parts(parts) if where is None else self._keep(where)

    def offer(self) -> str:
        """Return what to tell workers by MEMORY_VARIABLE, so that they write here."""
        folder = self._folder()
        return "" if folder is None else f"{os.path.basename(folder)} {self.place}"

    def take(self, reference: bytes) -> bytes | None:
        """Link what another process has; None: nobody needs it any more.

        Returns:
            A Large; its content if it cannot be linked.

        Raises:
            MalformedFrame: it is no reference, or to what cannot be read.
            SenderGone: that process is dead.
        """
        there = name_of_large(reference)
        try:
            return self._obtain(there, _link)
        except SenderGone:
            if os.path.isdir(os.path.dirname(_path_to(there))):
                return None
            raise

    def take_over(self, reference: bytes) -> bytes:
        """As `take`, of what another process has written for this one.

        Raises:
            MalformedFrame: it is no reference, or to what cannot be read.
            SenderGone: that process is dead.
        """
        there = name_of_large(reference)
        found = self._obtain(there, os.rename)
        if not isinstance(found, Large):
            discard_file(_path_to(there))
        return found

    def worker_ended(self, pid: int) -> None:
        """Remove what a worker has written, and did not tell of."""
        folder = self._folder()
        if folder is None:
            return
        try:
            names = os.listdir(folder)
        except FileNotFoundError:
            # Somebody has cleaned up in our place.
            return
        for name in names:
            if name[:-_WRITTEN_DIGITS] == str(pid):
                discard_file(os.path.join(folder, name))

    def release(self, name: str) -> None:
        """Forget a name; called by finalizers, at any point of the program."""
        if self._is_inherited or self._session is None:
            return
        self._held.discard(name)
        try:
            self._unlink(f"{self._session.folders.memory}/{name}")
        except OSError:
            # Somebody has cleaned up in our place.
            return
        if self._is_closing and not self._held:
            self._session.close()

    def sweep_soon(self) -> None:
        """Remove, after a moment, what the dead have left."""
        if self._timer is None and self.place:
            timer = threading.Timer(_SWEEP_DELAY, self.sweep)
            timer.daemon = True
            self._timer = timer
            timer.start()

    def sweep(self) -> None:
        """Remove what the dead have left."""
        self._timer = None
        sweep([MEMORY_ROOT])

    def close(self) -> None:
        """Remove all that is here; what was loaded stays readable."""
        self._is_closing = True
        timer = self._timer
        if timer is not None:
            # There may be nobody else to do it.
            timer.cancel()
            self.sweep()
        if self._session is not None and not self._is_inherited:
            self._session.close()

    def close_when_unused(self) -> None:
        """Remove the folder once the last payload has gone."""
        self._is_closing = True
        if not self._held:
            self.close()

    def _become_inherited(self) -> None:
        self._is_inherited = True
        self._making = threading.RLock()
        self._timer = None

    def _folder(self) -> str | None:
        """Return our folder, made now if need be; None: there can be none."""
        if self._is_inherited or not self.place:
            return None
        with self._making:
            if self._session is None and not self._is_closing:
                sweep([MEMORY_ROOT])
                try:
                    self._session = Session(MEMORY_ROOT, "", has_free=False)
                except ObjectStoreFullError:
                    # It has been logged, and will be no better.
                    self.place = ""
                    return None
                at_fork(in_child=self._become_inherited)
                weakref.finalize(self, self._session.close)
        session = self._session
        return session.folders.memory if session and session.is_open else None

    def _keep(self, where: LargeName) -> bytes:
        self._held.add(where.name)
        return Kept.of(where, self)

    def _name(self, folder: str, byte_count: int) -> LargeName:
        return LargeName(os.path.basename(folder), str(next(self._numbers)), byte_count)

    def _obtain(self, there: LargeName, get: Callable[[str, str], None]) -> bytes:
        """Give a payload a name here, or read it if that cannot be.

        Raises:
            SenderGone: it is not there.
            MalformedFrame: it cannot be read.
        """
        path = _path_to(there)
        try:
            folder = self._folder()
            if folder is not None:
                here = self._name(folder, there.byte_count)
                try:
                    get(path, os.path.join(folder, here.name))
                    return self._keep(here)
                except OSError as error:
                    if isinstance(error, FileNotFoundError) and os.path.isdir(folder):
                        raise
                    logger.debug("%s cannot be taken: %s", path, error)
            return _read(path, there.byte_count)
        except FileNotFoundError:
            raise SenderGone(f"{path} is gone, with the process that had it") from None
        except (OSError, ValueError) as error:
            raise MalformedFrame(f"{path} is no payload: {error}") from None


def worker_write() -> Callable[[Parts], bytes]:
    """Return what puts large results where the manager of this worker takes them."""
    name, _, place = os.environ.get(MEMORY_VARIABLE, "").partition(" ")
    if not place or place != memory_place():
        # It is in a container, and its manager is not.
        return join_parts
    folder, numbers = os.path.join(MEMORY_ROOT, name), itertools.count(1)

    def write(parts: Parts) -> bytes:
        number = f"{os.getpid()}{next(numbers):0{_WRITTEN_DIGITS}}"
        where = _write(folder, number, parts)
        return join_parts(parts) if where is None else Large(where)

    return write


class SharedDecoder(Generic[Incoming]):
    """Decodes frames of who sees the same memory, and takes what they refer to.

    Args:
        decode: decodes a frame into its messages.
        take: what takes a payload: a method of `Links`.
        are_items_vital: whether what is said after items stands on them. Then a sender
            that has given them up meanwhile is to come again, as if it were dead.
    """

    def __init__(
        self,
        decode: Callable[[bytes], list[Incoming]],
        take: Callable[[bytes], bytes | None],
        *,
        are_items_vital: bool = False,
    ) -> None:
        self._decode = decode
        self._take = take
        self._are_items_vital = are_items_vital

    def decode(self, frame: bytes) -> list[Incoming]:
        """Decode and validate.

        Raises:
            SenderGone: the sender is dead, and what it refers to with it; or it has to
                say all again.
            MalformedFrame: as of a `Decoder`.
        """
        try:
            return self._decode(frame)
        except MalformedFrame:
            if bytes(frame[:1]) != FRAME_MARK:
                raise
        messages: list[Any] = self._decode(memoryview(frame)[1:])  # type: ignore[arg-type]
        taken = [with_payloads(message, self._take) for message in messages]
        if self._are_items_vital:
            for before, after in zip(messages, taken, strict=True):
                is_about_items = isinstance(before, ItemsYielded)
                if is_about_items and len(after.items) < len(before.items):
                    raise SenderGone("items were given up that were under way")
        return taken


def load_inline(data: bytes) -> Any:
    """Unpickle what was dumped as bytes, or refers to shared memory.

    Buffers in what is over 64 KiB are read where they are, and are read-only.

    Raises:
        ObjectLostError: what it refers to is gone.
        Exception: whatever unpickling raises.
    """
    if not data.startswith(LARGE_MARK):
        return layout.load_inline(data)
    where = name_of_large(data)
    try:
        pickled, buffers = parse(_open(data))
    except FileNotFoundError:
        raise ObjectLostError(_why_lost(where)) from None
    return pickle.loads(pickled, buffers=buffers)


def _write(folder: str, name: str, parts: Parts) -> LargeName | None:
    """Copy a payload into a file; None: it has no room."""
    planned = plan(parts.pickled, parts.buffers)
    try:
        make_file(os.path.join(folder, name), planned, planned.byte_count)
    except OSError as error:
        logger.debug("%d bytes have no room: %s", planned.byte_count, error)
        return None
    return LargeName(os.path.basename(folder), name, planned.byte_count)


def _open(reference: bytes) -> memoryview:
    """Show a payload.

    Raises:
        FileNotFoundError: it is gone.
        ValueError: there is less of it than there should be.
    """
    where = name_of_large(reference)
    path, byte_count = _path_to(where), where.byte_count
    if os.stat(path).st_size < byte_count:
        raise ValueError(f"the end of {path} is missing")
    if len(_mapped) < _MAX_MAPPED:
        return _mapped.map(path, capacity_for(byte_count))[:byte_count]
    return memoryview(_read(path, byte_count))


def _path_to(where: LargeName) -> str:
    return os.path.join(MEMORY_ROOT, where.folder, where.name)


def _read(path: str, byte_count: int) -> bytes:
    with open(path, "rb") as file:
        content = file.read(byte_count)
    if len(content) < byte_count:
        raise ValueError(f"the end of {path} is missing")
    return content


def _link(path: str, new: str) -> None:
    os.link(path, new, follow_symlinks=False)


def _why_lost(where: LargeName) -> str:
    return (
        f"{where.byte_count} bytes in {MEMORY_ROOT}/{where.folder} are gone: somebody "
        "has removed them; leave such folders to their processes"
    )


class _Lost:
    """What raises an error wherever it is unpickled."""

    def __init__(self, why: str) -> None:
        self._why = why

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return _raise_lost, (self._why,)


def _raise_lost(why: str) -> None:
    raise ObjectLostError(why)


def _lost(reference: bytes) -> bytes:
    return pickle.dumps(_Lost(_why_lost(name_of_large(reference))), 5)
