"""Promise: an endpoint on another host is asked like one on this."""

import shutil
from pathlib import Path

import pytest

from tests.cli.commands import actors
from tests.cli.test_stop import await_all
from tests.endpoints import RunningEndpoint
from tests.support import free_port

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_leftovers")]


def test_a_port_where_nobody_listens_is_said_so(tmp_path: Path) -> None:
    url = f"wss://127.0.0.1:{free_port()}"
    assert actors("init", tmp_path / "far", "--listen", url).exit_code == 0
    result = actors(
        *("status", url, "--timeout", "1", "--credentials", tmp_path / "far")
    )
    assert result.exit_code == 1
    assert f"No answer from {url} within 1 s: nobody listens there" in result.stderr


def test_an_endpoint_of_the_network_is_seen_and_stopped_from_elsewhere(
    tmp_path: Path,
) -> None:
    url = f"wss://127.0.0.1:{free_port()}"
    endpoint = RunningEndpoint(transport={"listen": url})
    endpoint.paths.config.unlink()
    options = ["--listen", url, "--name", "far"]
    assert actors("init", endpoint.folder, *options).exit_code == 0
    # What an operator on another host has: a copy of the secrets.
    elsewhere = tmp_path / "secrets"
    shutil.copytree(endpoint.folder, elsewhere)
    with endpoint:
        await_all(endpoint)
        for words in ([endpoint.folder], [url, "--credentials", elsewhere]):
            result = actors("status", *words)
            assert result.exit_code == 0, result.stderr
            assert result.stdout.startswith("far: up ")
            assert "block-1.0 on" in result.stdout

        result = actors("stop", "--now", url, "--credentials", elsewhere)
        assert result.exit_code == 1
        assert "--now works on the endpoint's host only" in result.stderr

        (elsewhere / "token").write_text("wrong")
        result = actors("status", url, "--credentials", elsewhere)
        assert result.exit_code == 1
        assert f"{url} refuses us: the token is not this endpoint's" in result.stderr

        (elsewhere / "token").write_text(endpoint.paths.read_token())
        result = actors("stop", url, "--credentials", elsewhere)
        assert (result.exit_code, result.stdout) == (0, f"{url} stopped\n")
        assert endpoint.process is not None
        assert endpoint.process.wait(10) == 0
