"""Promise: a container's command is filled in word by word, or its fault is told."""

import pytest

from actors.config.container_command import (
    ENGINES,
    container_words,
    find_container_problems,
)


@pytest.mark.parametrize("engine", ENGINES)
def test_each_engine_shows_the_folders_and_ends_with_the_image(engine: str) -> None:
    words = container_words(engine, image="i:1", folder="/a b", endpoint_dir="/e")
    assert words[0] == engine
    assert words[-1] == "i:1"
    assert any(word.startswith("/a b") for word in words)
    assert any(word.startswith("/e") for word in words)


def test_a_command_of_ones_own_is_filled_in_and_never_split_again() -> None:
    words = container_words(
        "run -v {folder}:'/x y' {image}", image="a b", folder="/f", endpoint_dir="/e"
    )
    assert words == ["run", "-v", "/f:/x y", "a b"]


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("podmn", 'did you mean "podman"?'),
        ("", "must be one of"),
        ("run 'x", "must be the words of a command: No closing quotation"),
        ("run {imge}", "unknown field {imge}; known are {image}"),
        ("run image", "must contain {image}"),
    ],
)
def test_a_wrong_command_is_refused_with_its_fault(command: str, problem: str) -> None:
    (told,) = find_container_problems(command)
    assert problem in told
    assert find_container_problems("run {image}") == []
