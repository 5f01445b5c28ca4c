"""Run blocks as actors on a Dask cluster that is there already.

    [blocks]
    provider = "dask"
    max_blocks = 4

    [provider_options]
    address = "tcp://scheduler:8786"
    resources = { BLOCK = 1 }

Needs the extra `dask`. A node is a Dask actor (`keeper`), pinned under its name by a
published dataset, so that it outlives its client; its command is a child process of the
Dask worker, and dies with it. Its output is the worker's. Dask itself counts nothing
for actors: give workers a resource (`dask worker --resources BLOCK=1`) and name it in
`resources`, or all blocks may land on one worker. The workers' Python need not have
this package, but must be able to unpickle what ours pickles: the same minor version.

Nodes of one block start each when there is room for it. TLS and the like are as Dask's
own configuration has them.
"""

import asyncio
import threading
from asyncio import CancelledError
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from providers import keeper, processes
from providers.base import JobState, JobStatus, ProviderUnavailable
from providers.cluster import ClusterProvider, NodeOrder
from providers.extras import load_extra
from providers.keeper import Keeper
from providers.keeper_options import KeeperOptions, keeper_arguments, read_answer
from providers.options import check_word, read_options

__all__ = ["DaskOptions", "DaskProvider"]

_T = TypeVar("_T")

# Chosen: how long a worker may take to say how its node is. All are asked at a time.
_ANSWER_TIMEOUT = 5.0
# Chosen: a scheduler tells within milliseconds where an actor is, if it is somewhere.
_PLACE_TIMEOUT = 0.5
# Chosen: saying goodbye is a courtesy.
_GOODBYE_TIMEOUT = 1.0
_PREFIX = "actors-block:"


@dataclass(frozen=True, kw_only=True)
class DaskOptions(KeeperOptions):
    """What `[provider_options]` may hold for Dask, beside `resources`.

    Args:
        address: of the scheduler, such as `tcp://host:8786` or `tls://host:8786`.

    See `KeeperOptions` for the others.
    """

    address: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_word("address", self.address)
        if not self.address:
            raise ValueError(
                "address '' must be that of a Dask scheduler, such as tcp://host:8786"
            )


class DaskProvider(ClusterProvider):
    """Jobs as actors of a Dask cluster; see `Provider` for the promises.

    Args:
        resources: of a Dask worker, that each node takes while it is there.
        options: of `DaskOptions`, by keyword.

    Raises:
        ExtraMissing: the extra `dask` is not installed.
        TypeError: an unknown option, or one of another type.
        ValueError: an option that makes no sense.
    """

    def __init__(
        self, *, resources: Mapping[str, float] | None = None, **options: Any
    ) -> None:
        read = read_options(DaskOptions, options)
        super().__init__(_Dask(read, dict(resources or {})), read.poll_period)


class _Made:
    """Unpickles as what `make` returns."""

    def __init__(self, make: Callable[[], object]) -> None:
        self._make = make

    def __reduce__(self) -> tuple[Callable[[], object], tuple[()]]:
        return self._make, ()


class _Dask:
    system = "Dask"
    # Chosen: the scheduler has what it was told; its answer may have been lost.
    patience = 1.0

    def __init__(self, options: DaskOptions, resources: dict[str, float]) -> None:
        self._options = options
        self._resources = resources
        self._distributed = load_extra("dask", "distributed")
        # To workers that do not have this package.
        self._cloudpickle = load_extra("dask", "cloudpickle")
        for module in (keeper, processes):
            self._cloudpickle.register_pickle_by_value(module)
        self._client: Any = None
        self._futures: dict[str, Any] = {}  # {name: the Dask future of its actor}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="dask-client", daemon=True
        )
        self._thread.start()

    # As `Cluster` has them

    def start(self, node: NodeOrder) -> None:
        self._run(self._start(node))

    def look(self, nodes: Sequence[NodeOrder]) -> Mapping[str, JobStatus]:
        return self._run(self._look([node.name for node in nodes]))

    def end(self, names: Sequence[str]) -> None:
        self._run(self._end(names))

    def forget(self, names: Sequence[str]) -> None:
        self._run(self._forget(names))

    def close(self) -> None:
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._disconnect(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Do some work in the loop's thread, and wait for it.

        Raises:
            ProviderUnavailable: no scheduler, or no answer in time.
        """
        done = asyncio.run_coroutine_threadsafe(self._attempt(work), self._loop)
        return done.result()

    # In the loop's thread

    async def _attempt(self, work: Coroutine[Any, Any, _T]) -> _T:
        address, timeout = self._options.address, self._options.command_timeout
        try:
            async with asyncio.timeout(timeout):
                if self._client is None or self._client.status != "running":
                    await self._disconnect()
                    # Kept before it is awaited: one that is thrown away complains.
                    self._client = self._distributed.Client(
                        address,
                        asynchronous=True,
                        timeout=timeout,
                        set_as_default=False,
                    )
                    await self._client
                # Its actors talk through it, not through another one of this process.
                with self._client.as_current():
                    return await work
        # CommClosedError, when the scheduler goes, is an OSError.
        except (OSError, TimeoutError, CancelledError) as error:
            work.close()
            await self._disconnect()
            raise ProviderUnavailable(
                f"Dask's scheduler {address} did not answer within {timeout:g} s: "
                f"{str(error) or type(error).__name__}"
            ) from error

    async def _disconnect(self) -> None:
        self._futures.clear()
        client, self._client = self._client, None
        if client is not None:
            # It says goodbye to a scheduler that may have gone.
            with suppress(OSError, TimeoutError):
                await client.close(timeout=_GOODBYE_TIMEOUT)

    async def _start(self, node: NodeOrder) -> None:
        key = _PREFIX + node.name
        if key in await self._client.list_datasets():
            return
        arguments = keeper_arguments(node, self._options)
        # As bytes: the scheduler, too, would unpickle a class, by its name.
        future = self._client.submit(
            self._cloudpickle.loads,
            self._cloudpickle.dumps(_Made(partial(Keeper, **arguments))),
            key=key,
            actor=True,
            pure=False,
            resources=self._resources or None,
        )
        await self._client.publish_dataset(**{key: future})
        await self._hold(node.name, future)
        # It begins at once if there is room, else with the first look after that.
        await self._ask(node.name, end=False)

    async def _look(self, names: Sequence[str]) -> dict[str, JobStatus]:
        known = await self._find(names)
        answers = (self._ask(name, end=False) for name in known)
        return dict(zip(known, await asyncio.gather(*answers), strict=True))

    async def _end(self, names: Sequence[str]) -> None:
        known = await self._find(names)
        statuses = await asyncio.gather(*(self._ask(n, end=True) for n in known))
        # What has no place yet has not begun, and never will.
        await self._forget(
            name
            for name, status in zip(known, statuses, strict=True)
            if status.state is JobState.PENDING
        )

    async def _forget(self, names: Iterable[str]) -> None:
        for name in names:
            self._futures.pop(name, None)
            await self._client.unpublish_dataset(_PREFIX + name)

    async def _find(self, names: Sequence[str]) -> list[str]:
        """Get hold of the actors that are there; return their names."""
        published = set(await self._client.list_datasets())
        known = [name for name in names if _PREFIX + name in published]
        for name in self._futures.keys() - set(known) & set(names):
            del self._futures[name]
        for name in known:
            if name not in self._futures:
                future = await self._client.get_dataset(_PREFIX + name)
                await self._hold(name, future)
        return known

    async def _hold(self, name: str, future: Any) -> None:
        """Keep an actor's future, which the scheduler tells about from now on."""
        with suppress(TimeoutError):
            await self._distributed.wait(future, timeout=_PLACE_TIMEOUT)
        self._futures[name] = future

    async def _ask(self, name: str, *, end: bool) -> JobStatus:
        future = self._futures[name]
        if future.status == "pending":
            return JobStatus(JobState.PENDING, message="Dask has no worker for it yet")
        if future.status != "finished":
            problem = await self._problem(future)
            return JobStatus(JobState.FAILED, message=f"Dask lost it: {problem}")
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT):
                actor = await future
                return read_answer(await (actor.end() if end else actor.poll()))
        # RuntimeError, and ValueError before: its worker was lost just now. The
        # scheduler will say so, too; only its word counts.
        except (OSError, TimeoutError, RuntimeError, ValueError) as error:
            said = str(error) or type(error).__name__
            return JobStatus(JobState.UNKNOWN, message=f"No answer from it: {said}")

    async def _problem(self, future: Any) -> str:
        return str(await future.exception()) if future.status == "error" else "gone"
