"""Promise: everybody finds an endpoint's state in one place, and only its user can.

No process of an endpoint comes to another folder than its siblings; token and sockets
are closed to other users.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.config import SOCKET_NAME_BYTES, EndpointPaths
from actors.errors import ConfigError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask_of_a_careless_user() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def test_an_endpoint_is_named_by_its_folder_or_its_file(tmp_path: Path) -> None:
    (tmp_path / "endpoint.toml").write_text("")
    by_folder = EndpointPaths.of(tmp_path)
    by_file = EndpointPaths.of(str(tmp_path / "endpoint.toml"))
    assert by_folder.folder == by_file.folder == tmp_path.resolve()
    assert by_file.config == tmp_path.resolve() / "endpoint.toml"


def test_a_file_of_another_name_is_no_endpoint(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"must be a folder or a file named endpoint"):
        EndpointPaths.of(tmp_path / "other.toml")


def test_a_symbolic_link_leads_to_the_same_places(tmp_path: Path) -> None:
    (tmp_path / "lab").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "lab")
    link, lab = EndpointPaths(tmp_path / "link"), EndpointPaths(tmp_path / "lab")
    assert (link.folder, link.sockets) == (lab.folder, lab.sockets)


def test_a_short_folder_holds_its_own_sockets() -> None:
    assert EndpointPaths("/lab").sockets == Path("/lab/run")
    assert EndpointPaths("/lab", "s").sockets == Path("/lab/s")
    assert EndpointPaths("/lab", "/var/s").sockets == Path("/var/s")


@pytest.mark.parametrize("letter", ["d", "ä"])
def test_sockets_of_any_folder_keep_below_the_systems_limit(letter: str) -> None:
    # As many as the longest path that Linux takes.
    for length in range(1, 4096 // len(letter.encode()), 13):
        folder = "/" + "/".join([letter * 100] * (length // 100) + [letter * 3])
        sockets = EndpointPaths(folder).sockets
        assert len(os.fsencode(sockets / ("n" * SOCKET_NAME_BYTES))) <= 107


def test_a_deep_folder_has_its_sockets_elsewhere_always_in_the_same_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deep = "/" + "d" * 100
    place = EndpointPaths(deep).sockets
    monkeypatch.setenv("TMPDIR", "/var/tmp")
    assert EndpointPaths(deep).sockets == place
    assert EndpointPaths(deep + "/").sockets == place
    assert EndpointPaths(deep + "e").sockets != place
    assert str(os.getuid()) in place.name


def test_a_socket_folder_that_was_asked_for_is_not_moved_but_refused() -> None:
    with pytest.raises(ConfigError, match=r"\[transport\] socket_dir d+ must give a"):
        EndpointPaths("/lab", "d" * 100)


@pytest.mark.usefixtures("umask_of_a_careless_user")
def test_folders_are_made_for_this_user_alone(tmp_path: Path) -> None:
    paths = EndpointPaths(tmp_path / "lab")
    # Whatever the temporary folder's length.
    paths.sockets = tmp_path / "s"
    paths.make_folders()
    for folder in (paths.sockets, paths.logs, paths.journals, paths.blocks):
        assert mode(folder) == 0o700
    paths.make_folders()  # again: nothing to do


def test_a_socket_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    paths = EndpointPaths(tmp_path)
    paths.sockets = tmp_path / "s"
    paths.sockets.mkdir()
    paths.sockets.chmod(0o750)
    with pytest.raises(ConfigError, match=r"mode 0750\) must be a folder of yours"):
        paths.make_folders()


def test_a_link_in_place_of_the_socket_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    paths = EndpointPaths(tmp_path)
    paths.sockets = tmp_path / "s"
    paths.sockets.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="must be a folder of yours"):
        paths.make_folders()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"Cannot make .*file/lab"):
        EndpointPaths(tmp_path / "file" / "lab").make_folders()


@pytest.mark.usefixtures("umask_of_a_careless_user")
def test_a_token_is_made_once_and_for_this_user_alone(tmp_path: Path) -> None:
    paths = EndpointPaths(tmp_path)
    token = paths.make_token()
    assert len(token) >= 32
    assert mode(paths.token) == 0o600
    assert paths.make_token() == paths.read_token() == token
    (tmp_path / "other").mkdir()
    assert EndpointPaths(tmp_path / "other").make_token() != token


def test_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    paths = EndpointPaths(tmp_path)
    paths.make_token()
    paths.token.chmod(0o640)
    with pytest.raises(ConfigError, match="has mode 0640 and must be readable by you"):
        paths.read_token()


def test_a_missing_or_empty_token_is_refused_with_the_next_step(
    tmp_path: Path,
) -> None:
    paths = EndpointPaths(tmp_path)
    with pytest.raises(ConfigError, match=r"`actors init .*` writes one"):
        paths.read_token()
    paths.token.touch(mode=0o600)
    with pytest.raises(ConfigError, match="is empty: remove it"):
        paths.make_token()


def test_a_token_without_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Cannot write the token"):
        EndpointPaths(tmp_path / "missing").make_token()
