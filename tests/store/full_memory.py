"""Fill a small shared memory and a small spill folder; run in a process of its own.

Prints "done", or "cannot mount" and why where users may not mount.
"""

import os
import shutil
import subprocess
import sys
import tempfile

import pytest

from actors.errors import ObjectStoreFullError
from actors.store import Store
from tests.store.support import drop, filled, free_segments, parts_of, path_in

_KIB = 1024
_UNSHARE = ["unshare", "--map-root-user", "--mount"]


def _mount(root: str, name: str, size: str) -> str:
    folder = os.path.join(root, name)
    os.mkdir(folder)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=True
    )
    return folder


def _fill(root: str) -> None:
    memory = _mount(root, "memory", "2m")
    spill = _mount(root, "spill", "2m")
    with Store(memory_root=memory, spill_root=spill, max_free_bytes=2**30) as store:
        first = store.write(parts_of(filled(1500 * _KIB, 1)))
        second = store.write(parts_of(filled(1500 * _KIB, 2)))
        assert path_in(store, first).startswith(memory)
        assert path_in(store, second).startswith(spill)
        with pytest.raises(ObjectStoreFullError, match="an object of 1536") as full:
            store.write(parts_of(filled(1500 * _KIB, 3)))
        assert str(full.value).count("No space left on device") == 2, full.value
        # Nothing of the failed try is left, and neither value suffered.
        small = store.write(parts_of(filled(300 * _KIB, 4)))
        assert path_in(store, small).startswith(memory)
        for stored, fill in ((first, 1), (second, 2), (small, 4)):
            assert (store.load(stored) == fill).all()
        store.collect()
        # Free segments that fit nobody make way.
        drop(store, small)
        drop(store, first)
        assert len(free_segments(store)) == 2
        large = store.write(parts_of(filled(1900 * _KIB, 5)))
        assert path_in(store, large).startswith(memory)
        assert free_segments(store) == []
        assert (store.load(large) == 5).all()
    assert os.listdir(memory) == os.listdir(spill) == []


def main() -> None:
    """Do it in a mount namespace, which ends with the process."""
    if len(sys.argv) > 1:
        _fill(sys.argv[1])
        print("done")
        return
    can = shutil.which("unshare") and subprocess.run(
        [*_UNSHARE, "mount", "-t", "tmpfs", "none", "/mnt"],
        capture_output=True,
        check=False,
    )
    if not can or can.returncode:
        print("cannot mount: users may not, or there is no unshare")
        return
    with tempfile.TemporaryDirectory(prefix="a-") as root:
        subprocess.run(
            [*_UNSHARE, sys.executable, "-m", "tests.store.full_memory", root],
            check=True,
        )


if __name__ == "__main__":
    main()
