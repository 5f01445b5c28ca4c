"""Promise: `actors tui` says what is wrong instead of taking the screen."""

from pathlib import Path

from tests.cli.commands import actors


def test_an_address_that_is_none_is_named(tmp_path: Path) -> None:
    result = actors("tui", tmp_path / "nowhere")
    assert result.exit_code == 1
    assert "nowhere does not exist" in result.output


def test_without_an_address_it_says_how_to_give_one() -> None:
    result = actors("tui")
    assert result.exit_code == 1
    assert "ACTORS_ADDRESS" in result.output


def test_without_a_terminal_it_names_the_command_that_needs_none(
    tmp_path: Path,
) -> None:
    actors("init", tmp_path)
    result = actors("tui", tmp_path)
    assert result.exit_code == 1
    assert f"`actors status {tmp_path}`" in result.output


def test_the_help_shows_an_example() -> None:
    result = actors("tui", "--help")
    assert result.exit_code == 0
    assert "actors tui lab" in result.output
