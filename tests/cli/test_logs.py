"""Promise: `actors logs` shows what all processes wrote, and ends without a noise."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import actors
from tests.endpoints import RunningEndpoint
from tests.support import eventually

LINE = "2026-01-01 10:00:00,000 INFO x: hello"
# Ctrl-C is not ignored, whoever runs the tests.
AS_FROM_A_TERMINAL = """
import signal
from actors.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""
WORDS = [sys.executable, "-m", "actors", "logs"]


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """The folder of an endpoint that ran once."""
    (tmp_path / "logs").mkdir()
    workers = tmp_path / "blocks/block-1/workers"
    workers.mkdir(parents=True)
    (tmp_path / "logs/interchange.log").write_text(f"{LINE}\n")
    (workers / "block-1.0-w1.log").write_text("one\ntwo\nthree\n")
    return tmp_path


def test_lines_carry_the_name_of_who_wrote_them(lab: Path) -> None:
    result = actors("logs", lab)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"interchange | {LINE}",
        "block-1.0-w1 | one",
        "block-1.0-w1 | two",
        "block-1.0-w1 | three",
    ]
    assert actors("logs", address=lab).stdout == result.stdout
    assert actors("logs", lab, "--lines", "all").stdout == result.stdout


def test_only_the_last_lines_are_shown(lab: Path) -> None:
    result = actors("logs", lab, "-n", "1", "--actor", "block-1")
    assert result.stdout == "block-1.0-w1 | three\n"
    assert actors("logs", lab, "-n", 0).stdout == ""


def test_programs_get_an_object_per_line(lab: Path) -> None:
    record = {
        "time": "2100-01-01T10:00:00.500000Z",
        "level": "error",
        "logger": "x",
        "message": "it broke",
        "actor": "strategy",
        "pid": 7,
        "exception": "Traceback\nValueError",
    }
    line = json.dumps(record, separators=(",", ":"))
    (lab / "logs/strategy.log").write_text(f"{line}\n")
    result = actors("logs", lab, "--json")
    assert result.exit_code == 0
    first, *_, told = [json.loads(line) for line in result.stdout.splitlines()]
    assert (first["source"], first["message"]) == ("interchange", LINE)
    assert first["time"].endswith("Z")
    assert told == {"source": "strategy", **record}
    assert len(result.stdout.splitlines()) == 5


@pytest.mark.parametrize("count", ["-1", "x", "1.5", ""])
def test_a_number_of_lines_is_a_number(lab: Path, count: str) -> None:
    result = actors("logs", lab, f"--lines={count}")
    assert result.exit_code == 2
    assert 'is not a number of lines, or "all"' in result.stderr


def test_a_name_that_nobody_has_is_answered_with_those_there_are(lab: Path) -> None:
    result = actors("logs", lab, "--actor", "manager")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no log of manager" in result.stderr
    assert "block-1.0-w1, interchange" in result.stderr


def test_an_endpoint_that_never_ran_has_no_logs(tmp_path: Path) -> None:
    result = actors("logs", tmp_path)
    assert result.exit_code == 1
    assert f"`actors run {tmp_path}`" in result.stderr


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("", "No endpoint's folder"),
        ("./nowhere", "does not exist"),
        ("wss://h:1", "they are files"),
    ],
)
def test_what_is_no_folder_has_no_logs(address: str, reason: str) -> None:
    result = actors("logs", *([address] if address else []))
    assert result.exit_code == 1
    assert reason in result.stderr


def follow(lab: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", AS_FROM_A_TERMINAL, "logs", "-f", *words, str(lab)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_followed_files_may_come_later_and_ctrl_c_is_quiet(lab: Path) -> None:
    with follow(lab, "-n", "1") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "block-1.0-w1 | three\n"
        (lab / "logs/strategy.log").write_text("new file\n")
        assert process.stdout.readline() == "strategy | new file\n"
        with (lab / "logs/strategy.log").open("a") as file:
            file.write("more\n")
        assert process.stdout.readline() == "strategy | more\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert (out, err, process.returncode) == ("", "", 130)


@pytest.mark.slow
def test_following_ends_when_nobody_reads_any_more(lab: Path) -> None:
    with follow(lab) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.slow
def test_a_pipe_that_breaks_makes_no_noise(lab: Path) -> None:
    (lab / "logs/interchange.log").write_text(f"{LINE}\n" * 20_000)
    command = f"{' '.join(WORDS)} {lab} -n all | head -1"
    shell = subprocess.run(command, shell=True, capture_output=True, check=True)
    assert shell.stdout.decode() == f"interchange | {LINE}\n"
    assert shell.stderr == b""


@pytest.mark.slow
@pytest.mark.usefixtures("no_leftovers")
def test_every_process_of_an_endpoint_logs_json_if_asked_to() -> None:
    with RunningEndpoint(log={"format": "json"}) as endpoint:
        endpoint.await_workers(2)
        os.kill(endpoint.pid("strategy"), signal.SIGKILL)
        eventually(lambda: "strategy ended" in endpoint.log("run"))
        eventually(lambda: endpoint.log("strategy").count("is up") == 2)
        paths = endpoint.paths
        files = [*paths.logs.glob("*.log"), *paths.blocks.glob("*/node-0.stderr")]
        written = {
            record["actor"]
            for file in files
            for record in map(json.loads, file.read_text().splitlines())
        }
        assert written == {"interchange", "strategy", "provider", "manager"}
        told = [json.loads(line) for line in endpoint.log("run").splitlines()]
        assert {record["actor"] for record in told} == {"supervisor"}
        assert told[0]["message"].startswith("endpoint tested runs at ")
        assert "SIGKILL" in told[1]["message"]


@pytest.mark.slow
@pytest.mark.usefixtures("no_leftovers")
def test_what_a_task_prints_is_in_its_workers_log(
    shared_endpoint: RunningEndpoint,
) -> None:
    with shared_endpoint.executor() as executor:
        executor.submit(os.system, "echo printed by a task").result(30)
        executor.submit(print, "and this", flush=True).result(30)
    folder = shared_endpoint.folder
    eventually(
        lambda: "| and this" in actors("logs", folder, "--actor", "block-1").stdout,
        what="the task's words",
    )
    text = actors("logs", folder, "-n", "all").stdout
    assert "| printed by a task" in text
    sources = {line.split(" | ")[0] for line in text.splitlines()}
    assert "provider" in sources
    assert any(source.startswith("block-1.0-w") for source in sources)
