"""A command that hangs is no answer, and leaves nothing behind."""

from pathlib import Path

import pytest

from providers import ProviderUnavailable
from providers.commands import require_commands, run_command
from tests.providers.conftest import marked_processes
from tests.support import eventually

pytestmark = pytest.mark.slow


def test_what_a_command_says_is_told_and_a_failure_on_one_line() -> None:
    answer = run_command(["sh", "-c", "echo out; echo a >&2; echo b >&2; exit 3"], 10)
    assert (answer.exit_code, answer.stdout) == (3, "out\n")
    assert answer.reason == "sh (exit code 3): a; b"


def test_a_command_that_says_nothing_has_failed_without_a_word() -> None:
    assert run_command(["false"], 10).reason == "false (exit code 1): no word"


def test_a_command_that_hangs_is_killed_with_what_it_started(mark: str) -> None:
    with pytest.raises(ProviderUnavailable, match="sh did not answer within 0.2 s"):
        # A wrapper script, whose child holds the pipes.
        run_command(["sh", "-c", "sleep 600; true"], 0.2)
    # The child was killed, too, but only its own parent could wait for its end.
    eventually(lambda: not marked_processes(mark), what="the child to end")


def test_a_command_that_is_not_there_is_no_answer() -> None:
    with pytest.raises(ProviderUnavailable, match="Cannot start no-such-command"):
        run_command(["no-such-command"], 10)


def test_missing_commands_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "here").touch(mode=0o700)
    require_commands("Tiny", "here")
    with pytest.raises(ValueError, match="^there not found in PATH"):
        require_commands("Tiny", "here", "there")
