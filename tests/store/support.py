"""What tests of the store need."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from actors.store import OWNER, Parts, Store, StoreClient, Stored, dump_parts
from actors.store.segments import path_of

__all__ = [
    "Bytes",
    "deliver",
    "drop",
    "filled",
    "free_segments",
    "parts_of",
    "path_in",
    "run_python",
]

Bytes = npt.NDArray[np.uint8]

_ROOT = Path(__file__).parents[2]


def filled(byte_count: int, value: int = 1) -> Bytes:
    """Return an array of one value everywhere."""
    return np.full(byte_count, value, np.uint8)


def parts_of(value: object) -> Parts:
    """Pickle what is too large for a message."""
    parts = dump_parts(value, list)
    assert isinstance(parts, Parts)
    return parts


def deliver(client: StoreClient, store: Store, holder: str) -> None:
    """Be the message that tells the owner what a worker released."""
    for name in client.take_released():
        store.release(name, holder)


def path_in(store: Store, stored: Stored) -> str:
    return path_of(store.folders, stored.name)


def free_segments(store: Store) -> list[str]:
    return os.listdir(os.path.join(store.folders.memory, "free"))


def drop(store: Store, stored: Stored) -> None:
    """Be the end of the last reference."""
    store.release(stored.name, OWNER)


def run_python(arguments: Sequence[str]) -> str:
    """Run a script of this folder to its end; return what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
