"""A job that makes no sense is refused before any batch system sees it."""

from pathlib import Path

import pytest

from providers import JobSpec, JobState


def test_a_job_has_as_many_nodes_as_commands() -> None:
    assert JobSpec("name", ["a", "b"], Path("folder")).nodes == 2


@pytest.mark.parametrize("walltime", [0.0, -1.0, float("nan")])
def test_a_walltime_that_is_not_positive_is_refused(walltime: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        JobSpec("name", ["true"], Path("folder"), walltime=walltime)


@pytest.mark.parametrize("commands", [[], "true"])
def test_commands_must_be_a_sequence_of_lines(commands: list[str] | str) -> None:
    with pytest.raises(ValueError, match="must be a sequence"):
        JobSpec("name", commands, Path("folder"))


def test_a_job_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        JobSpec("", ["true"], Path("folder"))


def test_an_unknown_state_is_not_final() -> None:
    assert not JobState.UNKNOWN.is_final
    assert [state for state in JobState if state.is_final] == [
        JobState.CANCELLED,
        JobState.COMPLETED,
        JobState.FAILED,
        JobState.TIMEOUT,
    ]
