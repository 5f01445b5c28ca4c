"""A place in shared memory, one for what does not fit; both are empty at the end."""

import contextlib
import gc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.store import Store
from actors.store.session import MEMORY_ROOT


@pytest.fixture
def memory_root() -> Iterator[str]:
    """Real shared memory, apart from other people's."""
    parent = MEMORY_ROOT if os.access(MEMORY_ROOT, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="a-", dir=parent) as root:
        yield root
        gc.collect()
        assert os.listdir(root) == [], "objects stayed in shared memory"


@pytest.fixture
def spill_root(tmp_path: Path) -> Iterator[str]:
    root = tmp_path / "spill"
    root.mkdir()
    yield str(root)
    assert os.listdir(root) == [], "objects stayed in the spill folder"


@pytest.fixture
def store(memory_root: str, spill_root: str) -> Iterator[Store]:
    with contextlib.closing(
        Store(memory_root=memory_root, spill_root=spill_root)
    ) as opened:
        yield opened
