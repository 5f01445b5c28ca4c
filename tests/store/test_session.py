"""Promise: objects of a dead owner go, however it died; those of a living one stay."""

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from actors.store import Store, StoreFolders, sweep
from actors.store.session import Session
from tests.store.support import filled, parts_of, path_in

_OWNER = """
import os, sys
from actors.store import Store
from tests.store.support import filled, parts_of
store = Store(memory_root=sys.argv[1], spill_root=sys.argv[2])
store.write(parts_of(filled(100_000)))
if sys.argv[3:] == ["fork"] and os.fork():
    sys.stdin.read()
# The child, if there is one: then it has done what a fork makes it do.
print("ready", flush=True)
sys.stdin.read()
os._exit(0)
"""


@pytest.fixture
def owner(memory_root: str, spill_root: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has objects."""
    with _start(memory_root, spill_root) as process:
        yield process
        process.kill()


def _start(*arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _OWNER, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while (line := process.stdout.readline()) != "ready\n":
        assert line, "the owner came up"
    return process


@pytest.mark.slow
def test_what_a_killed_owner_left_goes_with_the_next_start(
    owner: subprocess.Popen[str], memory_root: str, spill_root: str
) -> None:
    assert len(os.listdir(memory_root)) == len(os.listdir(spill_root)) == 1
    with Store(memory_root=memory_root, spill_root=spill_root):
        assert len(os.listdir(memory_root)) == 2, "it lives"
    assert sweep([memory_root, spill_root]) == []
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    with Store(memory_root=memory_root, spill_root=spill_root) as store:
        assert os.listdir(memory_root) == [os.path.basename(store.folders.memory)]
        assert os.listdir(spill_root) == [os.path.basename(store.folders.spill)]


@pytest.mark.slow
def test_a_child_that_outlives_its_killed_owner_keeps_nothing(
    memory_root: str, spill_root: str
) -> None:
    # Its end of the standard input goes with ours.
    with _start(memory_root, spill_root, "fork") as process:
        process.kill()
        process.wait()
        assert len(sweep([memory_root, spill_root])) == 2


def test_folders_are_for_their_owner_alone(store: Store) -> None:
    for folder in (store.folders.memory, store.folders.spill):
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    stored = store.write(parts_of(filled(70_000)))
    assert stat.S_IMODE(os.stat(path_in(store, stored)).st_mode) == 0o600


def test_a_living_session_of_this_very_process_is_not_swept(store: Store) -> None:
    roots = [
        os.path.dirname(store.folders.memory),
        os.path.dirname(store.folders.spill),
    ]
    assert sweep(roots) == []
    assert os.path.exists(store.folders.memory)


def _name(user: int) -> str:
    return f"actors-objects-{user}-0123456789abcdef"


def test_what_only_looks_like_ours_is_left_alone(tmp_path: Path) -> None:
    own = os.geteuid()
    target = tmp_path / "target"
    target.mkdir()
    (target / "keep").touch()
    root = tmp_path / "root"
    root.mkdir()
    (root / _name(own)).symlink_to(target)
    (root / _name(own + 1)).mkdir()
    (root / f"{_name(own)}0").mkdir()
    (root / f"actors-{own}-0123456789").mkdir()
    (root / _name(own).replace("0123", "4567")).touch()
    before = sorted(os.listdir(root))
    assert sweep([str(root), str(tmp_path / "absent")]) == []
    assert sorted(os.listdir(root)) == before
    assert (target / "keep").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
def test_a_folder_of_another_user_is_left_alone(tmp_path: Path) -> None:
    foreign = tmp_path / _name(os.geteuid())
    foreign.mkdir()
    os.chown(foreign, 12_345, -1)
    assert sweep([str(tmp_path)]) == []
    assert foreign.exists()


def test_what_another_machine_made_is_left_to_it(tmp_path: Path) -> None:
    # Its lock may be out of our sight.
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    folder = tmp_path / _name(os.geteuid())
    folder.mkdir()
    lock = folder / "lock"
    lock.write_text("01234567-89ab-cdef elsewhere")
    assert sweep([str(tmp_path)]) == []
    for machine in (f"{boot} container", f"01234567 {os.uname().nodename}"):
        folder.mkdir(exist_ok=True)
        lock.write_text(machine)
        assert sweep([str(tmp_path)]) == [str(folder)]


@pytest.mark.parametrize("files", [[], ["lock"], ["lock", "free/1", "w1/2", "x"]])
def test_a_folder_that_was_half_made_or_half_removed_goes(
    tmp_path: Path, files: list[str]
) -> None:
    folder = tmp_path / _name(os.geteuid())
    folder.mkdir()
    for name in files:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    assert sweep([str(tmp_path)]) == [str(folder)]
    assert not folder.exists()


def test_makers_and_sweepers_do_not_disturb_each_other(tmp_path: Path) -> None:
    root = str(tmp_path)
    problems: list[object] = []
    is_over = threading.Event()

    def make() -> None:
        try:
            for _ in range(40):
                session = Session(root, root)
                for folder in session.folders.memory, session.folders.spill:
                    assert os.path.exists(os.path.join(folder, "free"))
                session.close()
                assert not os.path.exists(session.folders.memory)
        except BaseException as error:  # noqa: BLE001
            problems.append(error)

    def look() -> None:
        try:
            while not is_over.is_set():
                sweep([root])
        except BaseException as error:  # noqa: BLE001
            problems.append(error)

    makers = [threading.Thread(target=make) for _ in range(3)]
    sweepers = [threading.Thread(target=look) for _ in range(2)]
    for thread in (*makers, *sweepers):
        thread.start()
    for thread in makers:
        thread.join()
    is_over.set()
    for thread in sweepers:
        thread.join()
    sweep([root])
    assert problems == []
    assert os.listdir(root) == []


def test_one_place_is_enough(tmp_path: Path) -> None:
    session = Session(str(tmp_path / "absent"), str(tmp_path))
    assert session.folders.memory == ""
    assert session.folders.spill.startswith(str(tmp_path))
    assert session.is_open
    session.close()
    session.close()
    assert not session.is_open
    assert os.listdir(tmp_path) == []


def test_folders_travel_as_a_message(store: Store) -> None:
    data = msgspec.msgpack.encode(store.folders)
    assert msgspec.msgpack.decode(data, type=StoreFolders) == store.folders
