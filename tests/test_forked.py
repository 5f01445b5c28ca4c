"""Children made by fork end as they should, and nobody takes them for their parent."""

import subprocess
import sys

import pytest


@pytest.fixture(scope="module")
def told() -> subprocess.CompletedProcess[str]:
    """What the program says that makes such children; pytest has too many threads."""
    return subprocess.run(
        [sys.executable, "-m", "tests.forked_children"],
        capture_output=True,
        text=True,
        input="not for children",
        timeout=60,
        check=True,
    )


def test_a_child_gives_its_exit_code_and_inherits_no_terminal(
    told: subprocess.CompletedProcess[str],
) -> None:
    assert "leads its group: True; reads ''\ndescribe: 7\n" in told.stdout


def test_what_was_printed_before_is_printed_once(
    told: subprocess.CompletedProcess[str],
) -> None:
    assert told.stdout.count("said before") == 1


def test_an_exception_is_printed_and_ends_the_child_alone(
    told: subprocess.CompletedProcess[str],
) -> None:
    assert "fail: 1\n" in told.stdout
    assert told.stderr.count("ValueError: the child's own error") == 1


def test_a_child_can_be_waited_for_and_ended_by_a_signal(
    told: subprocess.CompletedProcess[str],
) -> None:
    assert "sleeps: None\nsleep: -15\nin the end: -15 -15\n" in told.stdout


def test_spares_that_nobody_wanted_are_gone(
    told: subprocess.CompletedProcess[str],
) -> None:
    assert told.stdout.endswith("spares left: []\n")
