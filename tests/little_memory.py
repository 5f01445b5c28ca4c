"""Little memory for a worker, by a control group, and what wants more."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support import eventually

__all__ = ["Hungry", "eat", "group"]

# What a worker may have in the group, and what it tries to have. A worker that does
# nothing has some 30 MB.
_LIMIT_BYTES = 96 * 2**20
_TOO_MANY_BYTES = 512 * 2**20
# {the memory controller's root: the file with the limit}: of the first version of
# control groups, and of the second.
_CONTROLLERS = {
    Path("/sys/fs/cgroup/memory"): "memory.limit_in_bytes",
    Path("/sys/fs/cgroup"): "memory.max",
}


@pytest.fixture(scope="module")
def group() -> Iterator[str]:
    """Make a control group with little memory; return its list of processes."""
    for root, limit in _CONTROLLERS.items():
        folder = root / f"actors-test-{os.getpid()}"
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            if (folder / limit).exists():
                (folder / limit).write_text(str(_LIMIT_BYTES))
                members = folder / "cgroup.procs"
                yield str(members)
                eventually(partial(_is_empty, members))
                return
        finally:
            folder.rmdir()
    pytest.skip("no control group with a memory limit can be made here")


def _is_empty(members: Path) -> bool:
    return not members.read_text()


class Hungry:
    def eat(self, group: str) -> int:
        Path(group).write_text(str(os.getpid()))
        # Swapped out it would live on: every page is written, again and again.
        meal = bytearray(_TOO_MANY_BYTES)
        for start in range(0, len(meal), 4096):
            meal[start] = 1
        return len(meal)

    def ping(self) -> str:
        return "pong"


def eat(group: str) -> int:
    return Hungry().eat(group)
