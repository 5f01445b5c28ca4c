"""Promise: whoever asks in vain learns what is wrong, why, and what to do next.

Exit code 2 tells of a wrong call, 1 of an endpoint that cannot be asked; with --json
the reason stands on standard output, for programs.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest

from actors.cli.asking import split_address
from actors.endpoint.surroundings import RunStatus, Surroundings, boot_id
from actors.process import ProcessIdentity
from tests.cli.commands import actors

STEERING = [
    ("hold", "block-1"),
    ("resume", "block-1"),
    ("drain", "block-1"),
    ("scale", "1"),
    ("cancel", "t1"),
]
ASKING = [("status",), ("stop",), *STEERING]


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """The folder of an endpoint that was never started."""
    assert actors("init", tmp_path / "lab").exit_code == 0
    return tmp_path / "lab"


@pytest.fixture
def sleeper() -> Iterator[ProcessIdentity]:
    """A process that does nothing, not even serve."""
    words = [sys.executable, "-c", "input()"]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as process:
        yield ProcessIdentity.of(process.pid)
        process.kill()


def pretend(lab: Path, root: ProcessIdentity, **changes: object) -> None:
    """Write what an endpoint writes that runs here, with this root process."""
    around = Surroundings.of(lab)
    address = str(around.local_address)
    status = RunStatus(
        "lab", address, around.host, boot_id(), root.pid, root.started_at, 2
    )
    around.write_status(msgspec.structs.replace(status, **changes))


# Wrong calls


# `resume` without names undoes `quiesce`.
@pytest.mark.parametrize(
    ("verb", "name"), [asked for asked in STEERING if asked[0] != "resume"]
)
def test_a_command_without_its_names_is_a_wrong_call(
    lab: Path, verb: str, name: str
) -> None:
    for words in ([], [lab]):
        result = actors(verb, *words, address=lab)
        assert result.exit_code == 2
        assert "Missing argument" in result.stderr
    result = actors(verb, "block-1" if verb != "scale" else "lab")
    assert result.exit_code == 2
    assert "ACTORS_ADDRESS is not set" in result.stderr


@pytest.mark.parametrize("blocks", ["many", "1.5", "1000001", "٣٣٣٣٣٣٣"])
def test_blocks_are_a_number(lab: Path, blocks: str) -> None:
    result = actors("scale", lab, blocks)
    assert result.exit_code == 2
    assert "must be a whole number from 0 to 1000000" in result.stderr
    assert actors("scale", lab, "-1").exit_code == 2
    assert actors("scale", lab, "1", "2").exit_code == 2


@pytest.mark.parametrize("words", ASKING)
@pytest.mark.parametrize("timeout", ["0", "-1", "nan"])
def test_a_timeout_is_more_than_nothing(
    lab: Path, words: tuple[str, ...], timeout: str
) -> None:
    assert actors(*words, "--timeout", timeout, address=lab).exit_code == 2


@pytest.mark.parametrize(
    "words",
    [("init",), ("check",), ("run",), ("status",), ("hold", "block-1"), ("logs",)],
)
def test_an_address_too_long_to_be_a_file_is_an_error_like_others(
    words: tuple[str, ...],
) -> None:
    verb, *names = words
    result = actors(verb, "x" * 300, *names)
    assert result.exit_code == 1
    assert "File name too long" in result.stderr
    assert isinstance(result.exception, SystemExit)


def test_what_standard_output_cannot_take_is_said() -> None:
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, "-m", "actors", "schema"]
        result = subprocess.run(
            words, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert result.returncode == 1
    assert result.stderr == "Error: [Errno 28] No space left on device\n"


@pytest.mark.parametrize("words", [*ASKING, ("logs",)])
def test_help_is_worth_reading(words: tuple[str, ...]) -> None:
    result = actors(words[0], "--help")
    assert result.exit_code == 0
    assert "ADDRESS" in result.stdout
    assert "Example" in result.stdout
    assert "xit code" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_the_address_is_the_first_word_if_it_looks_like_one(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lab.parent)
    monkeypatch.setenv("ACTORS_ADDRESS", "elsewhere")
    for address in (str(lab), "lab", "lab/endpoint.toml", "wss://h:1", "./missing"):
        assert split_address([address, "b"], "NAME") == (address, ["b"])
    assert split_address(["b"], "NAME") == (None, ["b"])
    assert split_address(["b", "lab"], "NAME") == (None, ["b", "lab"])
    (lab.parent / "b").mkdir()  # a folder, but no endpoint's
    assert split_address(["b"], "NAME") == (None, ["b"])
    monkeypatch.delenv("ACTORS_ADDRESS")
    assert split_address(["a", "b"], "NAME") == ("a", ["b"])
    with pytest.raises(click.UsageError):
        split_address(["a"], "NAME")


# Nobody answers


@pytest.mark.parametrize("words", [("status",), ("stop",), ("scale", "1")])
def test_without_any_address_it_is_asked_for(words: tuple[str, ...]) -> None:
    result = actors(*words)
    assert result.exit_code == 1
    assert "No endpoint's address" in result.stderr
    assert "ACTORS_ADDRESS" in result.stderr


@pytest.mark.parametrize("words", ASKING)
def test_a_folder_that_does_not_exist_is_named(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    result = actors(*words, address=tmp_path / "nowhere")
    assert result.exit_code == 1
    assert f"{tmp_path}/nowhere does not exist" in result.stderr


@pytest.mark.parametrize("words", ASKING)
def test_an_endpoint_that_was_never_started_is_known_at_once(
    lab: Path, words: tuple[str, ...]
) -> None:
    result = actors(*words, address=lab)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: No")
    assert f"it was never started: `actors run {lab}` starts it" in result.stderr


@pytest.mark.parametrize("words", ASKING)
def test_for_programs_the_reason_is_json(lab: Path, words: tuple[str, ...]) -> None:
    result = actors(*words, "--json", address=lab)
    assert (result.exit_code, result.stderr) == (1, "")
    answer = json.loads(result.stdout)
    assert answer["ok"] is False
    assert "never started" in answer["text"]


@pytest.mark.parametrize("words", ASKING)
def test_an_endpoint_whose_process_is_gone_is_known_at_once(
    lab: Path, words: tuple[str, ...]
) -> None:
    # Its pid is somebody else's by now: ours.
    pretend(lab, ProcessIdentity(os.getpid(), 1.0))
    result = actors(*words, address=lab)
    assert result.exit_code == 1
    assert f"its process {os.getpid()} is gone" in result.stderr


@pytest.mark.parametrize("words", [*ASKING, ("stop", "--now")])
def test_a_copy_of_a_running_endpoints_folder_is_not_that_endpoint(
    lab: Path, words: tuple[str, ...], sleeper: ProcessIdentity
) -> None:
    pretend(lab, sleeper, folder_id=Surroundings.of(lab).folder_id)
    copy = shutil.copytree(lab, lab.with_name("copy"))
    result = actors(*words, address=copy)
    assert result.exit_code == 1
    assert "it was never started" in result.stderr
    assert sleeper.is_alive()
    # Moved, it is the same one.
    around = Surroundings.of(lab.rename(lab.with_name("moved")))
    status = around.read_status()
    assert status is not None
    assert status.is_running


@pytest.mark.parametrize("words", ASKING)
def test_a_damaged_word_of_its_start_is_named(
    lab: Path, words: tuple[str, ...]
) -> None:
    (lab / "status.json").write_bytes(b"")
    result = actors(*words, address=lab)
    assert result.exit_code == 1
    assert f"{lab}/status.json is damaged" in result.stderr
    assert f"`actors run {lab}` writes it anew" in result.stderr


@pytest.mark.parametrize("words", ASKING)
def test_an_endpoint_of_another_host_is_not_looked_for_here(
    lab: Path, words: tuple[str, ...], sleeper: ProcessIdentity
) -> None:
    pretend(lab, sleeper, host="elsewhere", boot_id="another")
    result = actors(*words, address=lab)
    assert result.exit_code == 1
    assert "it was started on elsewhere" in result.stderr
    pretend(lab, sleeper, boot_id="another")
    assert "this host was restarted" in actors(*words, address=lab).stderr
    assert sleeper.is_alive()


@pytest.mark.slow
def test_an_endpoint_that_lives_and_does_not_answer_is_waited_for(
    lab: Path, sleeper: ProcessIdentity
) -> None:
    pretend(lab, sleeper)
    result = actors("status", lab, "--timeout", "0.3")
    assert result.exit_code == 1
    assert f"No answer from {lab} within 0.3 s" in result.stderr
    assert f"`actors logs {lab}`" in result.stderr


def test_a_url_without_credentials_is_refused_with_what_is_needed() -> None:
    result = actors("status", "wss://127.0.0.1:1")
    assert result.exit_code == 1
    assert "credentials" in result.stderr
