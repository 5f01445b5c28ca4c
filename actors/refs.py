"""Refs: handles on values that may not exist yet, and how they travel.

    driver   ObjectRef, which holds the outcome itself: when the last handle goes, so
             does the value, by Python's own counting of references
    worker   BorrowedRef, which holds a number: the driver's table keeps what it names
             until the worker says that it has let go

A ref is pickled as its number, and only where somebody notes it (`note_refs`): whoever
gets the bytes must be known to hold the ref, or the value could be freed on the way.

The process's *context* is what carries out the calls on refs: the embedded runtime in
the driver, a borrower in its workers. It is one per process, as the process is what it
is, and is set by whoever makes it.
"""

import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, Generic, Protocol, TypeVar

from actors.errors import ActorsError
from actors.messages import ActorOptions, TaskOptions, Value
from actors.plans import GroupPlan, MadeGroup
from actors.whereabouts import Whereabouts

__all__ = [
    "Actors",
    "BorrowedRef",
    "Context",
    "ObjectRef",
    "ObjectRefGenerator",
    "Promise",
    "RefAstray",
    "Settled",
    "StoredOutcome",
    "Waitable",
    "context",
    "known",
    "note_refs",
    "noted_refs",
    "set_context",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Settled:
    """An outcome that is more than a small value's bytes.

    Args:
        value: it, or a failure.
        inner: the refs in it, which live as long as it does.
    """

    __slots__ = ("inner", "value")

    def __init__(self, value: Value, inner: "Sequence[Promise]" = ()) -> None:
        self.value = value
        self.inner = inner


def has_failed(promise: "Promise") -> bool:
    """Tell whether it is known that there will be no value."""
    outcome = promise.outcome
    return isinstance(outcome, Settled) and outcome.value.failure is not None


class StoredOutcome(Settled):
    """An outcome in shared memory, which is freed when this goes.

    Args:
        value: with the segment's handle as its payload.
        inner: the refs in it.
        released: where to put the handle at the end: from any thread, at any moment.
    """

    __slots__ = ("_released",)

    def __init__(
        self, value: Value, inner: "Sequence[Promise]", released: deque[bytes]
    ) -> None:
        super().__init__(value, inner)
        self._released = released

    def __del__(self) -> None:
        self._released.append(self.value.payload)


class Promise:
    """The runtime's part of a ref: fields for it alone, to read and to write.

    Slots, and no more of them: a program may have a million of these.
    """

    # outcome: None: not known; bytes: a small value, pickled
    # waiters: what to call with this promise in the round that brings the outcome
    # task: what brings the outcome, until it has
    # number: its name in other processes; 0: it has been in none
    __slots__ = ("__weakref__", "number", "outcome", "task", "waiters")

    def __init__(self) -> None:
        self.outcome: bytes | Settled | None = None
        self.waiters: list[Callable[[Promise], object]] | None = None
        self.task: Any = None
        self.number = 0


# Of a ref's name. Specified: numbers travel as integers of so many bytes.
_NAME_BYTES = 8


class Waitable:
    """What can be waited for: a ref, or a generator of refs."""

    __slots__ = ()


class ObjectRef(Promise, Waitable, Generic[T_co]):
    """A handle on a value that may not exist yet.

    Give it to `get` and `wait`, as an argument to remote calls, await it, or turn it
    into a `concurrent.futures.Future`. The value is freed when the last ref goes.
    """

    __slots__ = ()

    def future(self) -> "Future[T_co]":
        """Return a standard future that ends as the value becomes known.

        Cancelling the future does not cancel the task: use `actors.cancel`.
        """
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        context().subscribe(self, lambda ref: _fill(future, ref))
        return future

    def __await__(self) -> Generator[Any, None, T_co]:
        # Who awaits has asyncio; who does not need not pay for its import.
        asyncio = sys.modules["asyncio"]
        future: Future[T_co] = self.future()
        wrapped: Generator[Any, None, T_co] = asyncio.wrap_future(future).__await__()
        return wrapped

    def binary(self) -> bytes:
        """Return its name, which no other ref of the program has."""
        number = self.number or context().number_of(self)
        return number.to_bytes(_NAME_BYTES, "big")

    def hex(self) -> str:
        """Return its name as text."""
        return self.binary().hex()

    def __repr__(self) -> str:
        state = "pending" if self.outcome is None else "known"
        return f"ObjectRef({self.number or hex(id(self))}, {state})"

    def __copy__(self) -> "ObjectRef[T_co]":
        return self

    def __deepcopy__(self, memo: object) -> "ObjectRef[T_co]":
        return self

    def __reduce__(self) -> tuple[Callable[[int], "ObjectRef[Any]"], tuple[int]]:
        noted = _notes.refs
        if noted is None:
            raise RefAstray(
                "An ObjectRef travels inside arguments, results and values of put() "
                "only: nobody would know that these bytes hold it; use get() to "
                "pickle its value"
            )
        noted.append(self)
        return _arrive, (context().number_of(self),)


class BorrowedRef(ObjectRef[T_co]):
    """A ref in a process that does not own its value."""

    __slots__ = ("_let_go",)

    def __init__(self, number: int, let_go: Callable[[int], None]) -> None:
        super().__init__()
        self.number = number
        self._let_go = let_go

    def __del__(self) -> None:
        self._let_go(self.number)

    def __repr__(self) -> str:
        return f"ObjectRef({self.number})"


class ObjectRefGenerator(Waitable, Generic[T_co]):
    """The refs of what a remote generator yields, as it yields them.

    Iterate with `for` or `async for`, or `wait` for its next item. The last ref is an
    exception's if it raised.

    Args:
        take: waits for the next ref; None: there are no more.
        call: what `Context.cancel` takes for a ref on the end of it all.
        coming: returns what `Context.wait` takes for a ref that is known once the next
            item is there, or it is known that there is none.
    """

    def __init__(
        self,
        take: Callable[[], ObjectRef[T_co] | None],
        call: Promise,
        coming: Callable[[], Any],
    ) -> None:
        self._take = take
        self.call = call
        self.coming: Callable[[], ObjectRef[Any]] = coming

    def __iter__(self) -> Iterator[ObjectRef[T_co]]:
        return self

    def __next__(self) -> ObjectRef[T_co]:
        ref = self._take()
        if ref is None:
            raise StopIteration
        return ref

    def __aiter__(self) -> "ObjectRefGenerator[T_co]":
        return self

    async def __anext__(self) -> ObjectRef[T_co]:
        asyncio = sys.modules["asyncio"]
        ref: ObjectRef[T_co] | None = await asyncio.to_thread(self._take)
        if ref is None:
            raise StopAsyncIteration
        return ref


class Actors(Protocol):
    """What carries out calls on actors in this process.

    An actor is named by its *anchor*, a ref that all handles on it hold.
    """

    def prepare(self, method: bytes, options: TaskOptions) -> Any:
        """Look, once, at what all calls of a method have in common."""
        ...

    def call(
        self,
        anchor: Any,
        spec: Any,
        method: object,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Call a method; returns as `Context.submit` does."""
        ...

    def create(
        self,
        class_: bytes,
        options: ActorOptions,
        constructor: object,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[ObjectRef[Any], bytes]:
        """Make an actor, or find it; return its anchor and its picture."""
        ...

    def find(self, name: str, namespace: str) -> tuple[ObjectRef[Any], bytes]:
        """Return the anchor and the picture of the actor with a name."""
        ...

    def kill(self, anchor: Any, *, is_final: bool) -> None:
        """Kill an actor's process."""
        ...

    def watch(self, anchor: Any) -> ObjectRef[Any]:
        """Return a ref on what tells of the end of the actor's incarnation."""
        ...

    def supervise(self, plan: GroupPlan) -> "MadeGroup[ObjectRef[Any]]":
        """Make a supervisor, and have it start its children."""
        ...

    def stop(self, anchor: Any) -> None:
        """Have a supervisor stop its children, and end."""
        ...


class Context(Protocol):
    """What carries out calls on refs in this process."""

    # Where names of actors are looked up, and given, unless told otherwise.
    namespace: str

    @property
    def actors(self) -> Actors:
        """What carries out calls on actors."""
        ...

    def whereabouts(self) -> Whereabouts:
        """Return where the code that asks runs, and for whom."""
        ...

    def prepare(self, function: bytes, options: TaskOptions, name: str) -> Any:
        """Look, once, at what all calls of a pickled function have in common."""
        ...

    def submit(
        self,
        spec: Any,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Call a function in a worker.

        Args:
            spec: what `prepare` returned.
            function: to name it in errors.
            args: its arguments.
            kwargs: those by name.

        Returns:
            As `num_returns` says: a ref, a list of refs, an ObjectRefGenerator.
        """
        ...

    def get(self, refs: Sequence[ObjectRef[Any]], timeout: float | None) -> list[Any]:
        """Wait for all values and return them; raise the first failure."""
        ...

    def wait(
        self, refs: Sequence[ObjectRef[Any]], count: int, timeout: float | None
    ) -> list[bool]:
        """Wait until `count` are known; tell of each whether it is."""
        ...

    def put(self, value: Any) -> ObjectRef[Any]:
        """Make a ref on a value."""
        ...

    def cancel(
        self,
        ref: Promise,
        *,
        force: bool,
        recursive: bool,
        grace: float = -1.0,
    ) -> None:
        """Give up the task that brings a value.

        Args:
            ref: on the value.
            force: kill the process that runs the task.
            recursive: give up what it has called, too.
            grace: seconds until a task that goes on all the same has its process
                killed; < 0: it is not.
        """
        ...

    def subscribe(
        self, ref: ObjectRef[Any], callback: Callable[[ObjectRef[Any]], None]
    ) -> None:
        """Have something called, in a thread of the context's, when a ref is known."""
        ...

    def number_of(self, ref: ObjectRef[Any]) -> int:
        """Return the ref's name in other processes."""
        ...

    def arrive(self, number: int) -> ObjectRef[Any]:
        """Return the ref that was pickled as this number."""
        ...


class RefAstray(ActorsError, TypeError):
    """Tell that a ref was pickled where nobody takes note of it."""


# {this process: what carries out its calls}
_contexts: list[Context] = []


def known() -> Context | None:
    """Return the process's context, if it has one."""
    return _contexts[-1] if _contexts else None


def context() -> Context:
    """Return the process's context.

    Raises:
        RuntimeError: there is none: `actors.init()` was not called, or `shutdown` was.
    """
    if not _contexts:
        raise RuntimeError("No runtime in this process; call actors.init() first")
    return _contexts[-1]


def set_context(new: Context | None) -> None:
    """Make something the process's context; None: there is none."""
    _contexts[:] = [] if new is None else [new]


class _Notes(threading.local):
    refs: list[ObjectRef[Any]] | None = None


_notes = _Notes()


def note_refs(refs: list[ObjectRef[Any]] | None) -> None:
    """Let refs be pickled in this thread, and put them on a list; None: no longer.

    Two calls and no context manager, as every remote call makes them.
    """
    _notes.refs = refs


def noted_refs() -> list[ObjectRef[Any]] | None:
    """Return the list that `note_refs` was given in this thread."""
    return _notes.refs


def _arrive(number: int) -> ObjectRef[Any]:
    return context().arrive(number)


def _fill(future: "Future[Any]", ref: ObjectRef[Any]) -> None:
    try:
        (value,) = context().get([ref], None)
    except BaseException as error:  # noqa: BLE001  the task's
        future.set_exception(error)
    else:
        future.set_result(value)
