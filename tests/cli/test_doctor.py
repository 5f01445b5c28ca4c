"""Promise: `actors doctor` finds what would keep an endpoint from working.

It says what to do, and changes nothing.
"""

import datetime
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.certificates import make_certificates
from actors.cli.checkup import check_up
from tests.cli.commands import actors
from tests.endpoints import RunningEndpoint


@pytest.fixture
def port() -> Iterator[int]:
    """A port that somebody else listens at."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def made(folder: Path, text: str = "", **options: str) -> Path:
    words = [word for key, value in options.items() for word in (f"--{key}", value)]
    actors("init", folder, *words)
    config = folder / "endpoint.toml"
    config.write_text(text or config.read_text())
    return folder


def findings(folder: Path) -> dict[str, list[tuple[str, str, str]]]:
    """Ask the doctor: {subject: [(verdict, text, advice)]}."""
    result = actors("doctor", folder, "--json")
    answer = json.loads(result.stdout)
    assert answer["ok"] == (result.exit_code == 0)
    found: dict[str, list[tuple[str, str, str]]] = {}
    for each in answer["findings"]:
        row = (each["verdict"], each["text"], each["advice"])
        found.setdefault(each["subject"], []).append(row)
        assert bool(each["advice"]) == (each["verdict"] != "good"), each
    return found


def bad(folder: Path) -> dict[str, str]:
    """Return {subject: text} of what is wrong."""
    return {
        subject: text
        for subject, rows in findings(folder).items()
        for verdict, text, _ in rows
        if verdict == "bad"
    }


def test_a_fresh_endpoint_is_well_and_nothing_is_left(tmp_path: Path) -> None:
    folder = made(tmp_path / "lab")
    before = sorted(folder.rglob("*"))
    assert not bad(folder)
    assert sorted(folder.rglob("*")) == before
    result = actors("doctor", folder)
    assert result.exit_code == 0
    assert "✓ batch system   provider local" in result.stdout
    assert "It does not run" in result.stdout


def test_a_wrong_configuration_is_all_that_is_told(tmp_path: Path) -> None:
    folder = made(tmp_path, "[blocks]\nmax_blocks = -1\n")
    assert list(bad(folder)) == ["configuration"]


def test_a_token_that_others_may_read_is_told(tmp_path: Path) -> None:
    folder = made(tmp_path / "lab")
    (folder / "token").chmod(0o644)
    assert "chmod 600" in bad(folder)["token"]


def test_a_port_that_is_taken_is_named(tmp_path: Path, port: int) -> None:
    folder = made(tmp_path / "lab", listen=f"wss://127.0.0.1:{port}")
    assert "Address already in use" in bad(folder)[f"port {port}"]


def test_the_port_of_the_metrics_is_tried_too(tmp_path: Path, port: int) -> None:
    text = f'[metrics]\nlisten = "http://127.0.0.1:{port}"\n'
    assert "[metrics] listen" in bad(made(tmp_path, text))[f"port {port}"]


def test_a_name_that_nobody_knows_is_told(tmp_path: Path) -> None:
    folder = made(
        tmp_path / "lab", listen="wss://127.0.0.1:5555", advertise="nowhere.invalid"
    )
    assert "nowhere.invalid cannot be found" in bad(folder)["host name"]


def test_certificates_of_other_hosts_are_told(tmp_path: Path) -> None:
    folder = made(tmp_path / "lab", listen="wss://127.0.0.1:5555")
    make_certificates(folder / "credentials", ["10.1.2.3"], overwrite=True)
    text = bad(folder)["certificates"]
    assert "does not name" in text
    assert "127.0.0.1" in text


def test_certificates_that_do_not_belong_together_are_told(tmp_path: Path) -> None:
    folder = made(tmp_path / "lab", listen="wss://127.0.0.1:5555")
    other = made(tmp_path / "other", listen="wss://127.0.0.1:5555")
    (other / "credentials/client.pem").rename(folder / "credentials/client.pem")
    assert "is not of" in bad(folder)["certificates"]


@pytest.mark.parametrize(
    ("name", "word"), [("server.pem", "No such"), ("ca.pem", "no")]
)
def test_certificates_that_cannot_be_read_are_named(
    tmp_path: Path, name: str, word: str
) -> None:
    folder = made(tmp_path / "lab", listen="wss://127.0.0.1:5555")
    path = folder / "credentials" / name
    path.unlink()
    if name == "ca.pem":
        path.write_text("nothing")
    text = bad(folder)["certificates"]
    assert name in text
    assert word in text


def test_a_key_that_others_may_read_is_told(tmp_path: Path) -> None:
    folder = made(tmp_path / "lab", listen="wss://127.0.0.1:5555")
    (folder / "credentials/server.pem").chmod(0o640)
    assert "mode 0640" in bad(folder)["certificates"]


def test_commands_that_are_not_there_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    folder = made(tmp_path / "lab", '[blocks]\nprovider = "slurm"\n')
    found = findings(folder)
    assert "squeue" in found["batch system"][0][1]
    assert found["shared folder"][0][0] in ("good", "doubtful")


def test_the_interpreters_of_worker_types_are_asked(tmp_path: Path) -> None:
    for name, says in (("old", "echo 3.1"), ("broken", "exit 3")):
        python = tmp_path / name / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(f"#!/bin/sh\n{says}\n")
        python.chmod(0o755)
    types = "".join(
        f'[worker_types.{name}]\nvenv = "{tmp_path}/{name}"\n'
        for name in ("old", "broken", "gone")
    )
    folder = made(tmp_path / "lab", f"{types}[worker_types.fine]\n")
    rows = findings(folder)["worker type"]
    told = {text.partition(":")[0]: (verdict, text) for verdict, text, _ in rows}
    assert told["fine"][0] == "good"
    assert {told[name][0] for name in ("old", "broken", "gone")} == {"bad"}
    assert "is Python 3.1, and this endpoint's is 3." in told["old"][1]
    assert "bin/python does not run" in told["broken"][1]
    assert "there is no folder" in told["gone"][1]


def test_a_batch_system_that_does_not_answer_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("sbatch", "squeue", "scancel", "sacct", "scontrol"):
        (commands / name).write_text(
            "#!/bin/sh\necho the controller is away >&2\nexit 1"
        )
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(commands), prepend=os.pathsep)
    folder = made(tmp_path / "lab", '[blocks]\nprovider = "slurm"\n')
    assert "the controller is away" in bad(folder)["batch system"]


@pytest.mark.parametrize(
    ("days", "verdict", "text"),
    [
        (1, "good", "Valid until"),
        (-2, "bad", "Not valid before"),
        (3640, "doubtful", "They end on"),
        (4000, "bad", "They ended on"),
    ],
)
def test_certificates_are_valid_for_a_time(
    tmp_path: Path, days: int, verdict: str, text: str
) -> None:
    folder = made(tmp_path / "lab", listen="wss://127.0.0.1:5555")
    then = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    found = [f for f in check_up(folder, then) if f.subject == "certificates"]
    assert found[0].verdict == verdict
    assert found[0].text.startswith(text)


@pytest.mark.slow
def test_an_endpoint_that_runs_is_asked() -> None:
    with RunningEndpoint() as endpoint:
        found = findings(endpoint.folder)
        ((verdict, text, _),) = found["endpoint"]
        assert verdict == "good"
        assert "and answers" in text
