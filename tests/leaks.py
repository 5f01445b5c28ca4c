"""Whether a test has left something: processes, descriptors, memory, calls, actors.

    @pytest.fixture(autouse=True)
    def nothing_is_left() -> Iterator[None]:
        with no_leaks():
            yield

The runtime of a module goes on from test to test; what it had before, it may have.
"""

import contextlib
import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from actors.embedded.runtime import Embedded
from actors.refs import known
from tests.support import eventually

__all__ = ["no_leaks"]

# Workers that stood in for those that waited go after a second.
_PATIENCE = 30.0
# Those that the store keeps, and its locks.
_MOST_OPEN_SEGMENTS = 32


@contextlib.contextmanager
def no_leaks() -> Iterator[None]:
    """Fail if something is left that was not there before.

    Raises:
        AssertionError: names it.
    """
    runtime = _runtime()
    eventually(lambda: _is_calm(runtime), _PATIENCE, "the test before to be over")
    before = _there_is(runtime)
    before_open = _descriptors()
    yield
    if known() is not runtime:
        return  # the test has ended it: whoever does looks by itself

    def look() -> dict[str, Any]:
        now = _there_is(runtime)
        left = {
            what: now[what] - old if isinstance(old, set) else (old, now[what])
            for what, old in before.items()
            if (now[what] - old if isinstance(old, set) else now[what] > old)
        }
        now_open = _descriptors()
        # As many others may have come for those that went.
        if len(now_open) > len(before_open):
            left["descriptors"] = now_open - before_open
        return left

    left = look()
    if left:
        # Circles in the test's own objects may hold handles.
        gc.collect()
        with contextlib.suppress(AssertionError):
            eventually(lambda: not look(), _PATIENCE)
        left = look()
    assert not left, f"left behind: {left}"
    runtime.look(runtime.hub.check)
    runtime.look(runtime.directory.check)


def _processes(runtime: Embedded) -> list[str]:
    """Return the pids of what the runtime's fork server has made."""
    pids = runtime.look(lambda: [worker.pid for worker in runtime.hub.workers.values()])
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
            server = psutil.Process(pid).ppid()
            children = Path(f"/proc/{server}/task/{server}/children")
            return children.read_text().split()
    return []


def _descriptors() -> set[str]:
    """Tell what is open, but for the few segments that the store keeps open."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        # The list itself is one of them, and gone.
        with contextlib.suppress(FileNotFoundError):
            found.add(f"{number}: {os.readlink(f'/proc/self/fd/{number}')}")
    segments = {each for each in found if "/actors-objects-" in each}
    assert len(segments) <= _MOST_OPEN_SEGMENTS
    return found - segments


def _runtime() -> Embedded:
    runtime = known()
    assert isinstance(runtime, Embedded), "for tests whose module has a runtime"
    return runtime


def _is_calm(runtime: Embedded) -> bool:
    return bool(runtime.look(lambda: all(w.pid for w in runtime.hub.workers.values())))


def _there_is(runtime: Embedded) -> dict[str, Any]:
    hub, directory = runtime.hub, runtime.directory
    return {
        "processes": len(_processes(runtime)),
        "values in shared memory": {
            name for name, _, _ in runtime.look(runtime.list_stored)
        },
        "tasks": runtime.look(lambda: {task.spec.name for task in hub.unended}),
        "requests": runtime.look(
            lambda: sum(
                len(worker.requests)
                for worker in (*hub.workers.values(), *hub.guests.values())
            )
        ),
        "actors": runtime.look(lambda: set(directory.actors)),
        "supervisors": runtime.look(lambda: len(directory.groups.live)),
    }
