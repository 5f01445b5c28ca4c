"""The fake disk of the tests behaves as the real one, and forgets as it is told."""

import errno
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from actors.journal import FileSystem, JournalLocked, RealFiles
from tests.fake_disk import FakeDisk, SimulatedCrash

Folder = tuple[FileSystem, Path]


@pytest.fixture(params=["real", "fake"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    files: FileSystem = RealFiles() if request.param == "real" else FakeDisk()
    folder = tmp_path / "outer" / "inner"
    files.make_folder(folder)
    return files, folder


def test_what_is_written_is_read_back(place: Folder) -> None:
    files, folder = place
    file = files.create(folder / "a")
    assert file.write(b"hello ") == 6
    assert file.write(memoryview(b"world")) == 5
    assert file.size() == 11
    assert file.read_at(0, 100) == b"hello world"
    assert file.read_at(6, 3) == b"wor"
    assert file.read_at(11, 3) == b""
    file.close()
    file.close()


def test_writes_go_to_the_end_also_after_a_cut_and_a_reopening(place: Folder) -> None:
    files, folder = place
    file = files.create(folder / "a")
    file.write(b"0123456789")
    file.truncate(4)
    file.write(b"abc")
    file.sync()
    file.close()
    file = files.open(folder / "a", writable=True)
    file.write(b"!")
    assert file.read_at(0, 100) == b"0123abc!"
    file.close()


def test_a_second_handle_sees_what_the_first_writes(place: Folder) -> None:
    files, folder = place
    writer = files.create(folder / "a")
    reader = files.open(folder / "a")
    writer.write(b"abc")
    assert reader.read_at(0, 10) == b"abc"
    assert reader.size() == 3
    writer.close()
    reader.close()


def test_a_file_opened_for_reading_refuses_writes(place: Folder) -> None:
    files, folder = place
    files.create(folder / "a").close()
    reader = files.open(folder / "a")
    with pytest.raises(OSError, match=r"."):
        reader.write(b"abc")
    with pytest.raises(OSError, match=r"."):
        reader.truncate(0)
    reader.close()


def test_creating_an_existing_file_empties_it(place: Folder) -> None:
    files, folder = place
    for text in (b"long", b"x"):
        file = files.create(folder / "a")
        file.write(text)
        file.close()
    file = files.open(folder / "a")
    assert file.read_at(0, 10) == b"x"
    file.close()


def test_a_rename_replaces_and_an_open_file_outlives_its_name(place: Folder) -> None:
    files, folder = place
    for name in ("a", "b"):
        file = files.create(folder / name)
        file.write(name.encode())
        file.close()
    reader = files.open(folder / "b")
    files.rename(folder / "a", folder / "b")
    files.sync_folder(folder)
    assert files.names(folder) == ["b"]
    assert reader.read_at(0, 10) == b"b"
    files.unlink(folder / "b")
    assert files.names(folder) == []
    assert reader.read_at(0, 10) == b"b"
    reader.close()


def test_what_is_not_there_is_not_found(place: Folder) -> None:
    files, folder = place
    attempts: list[Callable[[], object]] = [
        lambda: files.open(folder / "a"),
        lambda: files.unlink(folder / "a"),
        lambda: files.rename(folder / "a", folder / "b"),
        lambda: files.names(folder / "nowhere"),
    ]
    for attempt in attempts:
        with pytest.raises(FileNotFoundError):
            attempt()


def test_a_folder_may_be_made_twice(place: Folder) -> None:
    files, folder = place
    files.create(folder / "a").close()
    files.make_folder(folder)
    assert files.names(folder) == ["a"]


def test_a_lock_is_refused_until_it_is_released(place: Folder) -> None:
    files, folder = place
    assert files.holder(folder) is None
    lock = files.lock(folder)
    holder = files.holder(folder)
    assert holder is not None
    with pytest.raises(JournalLocked) as refused:
        files.lock(folder)
    assert (refused.value.pid, refused.value.host) == holder
    lock.release()
    lock.release()
    assert files.holder(folder) is None
    files.lock(folder).release()


def test_folders_and_files_are_for_their_owner_only(tmp_path: Path) -> None:
    files = RealFiles()
    files.make_folder(tmp_path / "j")
    files.create(tmp_path / "j" / "a").close()
    files.lock(tmp_path / "j").release()
    assert (tmp_path / "j").stat().st_mode & 0o777 == 0o700
    for path in (tmp_path / "j").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


# The fake alone


def fates(prepare: Callable[[FakeDisk], None], path: Path) -> set[bytes | None]:
    """Return what may become of a file by power loss; None: it is gone."""
    found: set[bytes | None] = set()
    for seed in range(300):
        disk = FakeDisk()
        disk.make_folder(path.parent)
        prepare(disk)
        disk.restart(random.Random(seed))
        found.add(disk.files().get(path))
    return found


def test_power_loss_spares_what_was_synced_and_only_that() -> None:
    path = Path("/d/a")

    def write_synced_then_unsynced(disk: FakeDisk) -> None:
        file = disk.create(path)
        file.write(b"safe")
        file.sync()
        disk.sync_folder(path.parent)
        file.write(b"risk")

    found = fates(write_synced_then_unsynced, path)
    assert all(content is not None and content[:4] == b"safe" for content in found)
    assert {b"safe", b"safer", b"saferisk", b"safe\0\0\0\0"} <= found


def test_power_loss_may_take_a_name_that_was_not_synced() -> None:
    path = Path("/d/a")

    def create(disk: FakeDisk) -> None:
        file = disk.create(path)
        file.write(b"x")
        file.sync()

    assert fates(create, path) == {None, b"x"}


def test_power_loss_leaves_one_of_both_files_of_a_rename() -> None:
    path = Path("/d/a")

    def replace(disk: FakeDisk) -> None:
        disk.put(path, b"old")
        file = disk.create(path.with_name("b"))
        file.write(b"new")
        file.sync()
        disk.rename(path.with_name("b"), path)

    assert fates(replace, path) == {b"old", b"new"}


def test_a_killed_process_loses_nothing_but_the_rest_of_its_write() -> None:
    disk = FakeDisk()
    disk.make_folder(Path("/d"))
    file = disk.create(Path("/d/a"))
    file.write(b"first")
    disk.crash_at, disk.crash_share = len(disk.operations), 0.5
    with pytest.raises(SimulatedCrash):
        file.write(b"second")
    with pytest.raises(SimulatedCrash):
        disk.names(Path("/d"))
    disk.restart()
    assert disk.read(Path("/d/a")) == b"firstsec"
    with pytest.raises(SimulatedCrash):
        file.write(b"the dead do not write")


def test_a_full_disk_takes_what_fits_then_says_so() -> None:
    disk = FakeDisk(capacity=5)
    disk.make_folder(Path("/d"))
    file = disk.create(Path("/d/a"))
    assert file.write(b"1234567") == 5
    with pytest.raises(OSError, match="No space") as full:
        file.write(b"67")
    assert full.value.errno == errno.ENOSPC
