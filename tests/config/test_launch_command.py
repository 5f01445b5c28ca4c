"""Promise: a launch command reaches the shell as its author meant it.

Values of any content arrive as one word each; braces that are no fields, quotes and
spaces arrive as they were written.
"""

import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.config import (
    BlocksConfig,
    EndpointConfig,
    EndpointPaths,
    WorkersConfig,
    bind_launch,
    expand_launch,
)
from actors.config.launch_command import find_launch_problems
from actors.messages import BlockId

# What a process name, path or variable can hold.
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def launch(
    command: str,
    *,
    folder: str = "/lab",
    python: str = "/usr/bin/python3",
    block_id: str = "b1",
    node: int = 0,
    init: str = "",
) -> str:
    """Fill in a command in both stages."""
    config = EndpointConfig(
        name="lab",
        blocks=BlocksConfig(launch_command=command),
        workers=WorkersConfig(init=init),
    )
    template = expand_launch(config, EndpointPaths(folder), python)
    return bind_launch(template, BlockId(block_id), node)


def test_the_default_command_starts_a_manager_of_this_block_and_node() -> None:
    command = launch(BlocksConfig().launch_command, block_id="b7", node=3)
    assert command == (
        "/usr/bin/python3 -m actors.endpoint.launch manager /lab --block b7 --node 3"
    )
    assert find_launch_problems(BlocksConfig().launch_command) == []


def test_one_template_serves_many_blocks() -> None:
    config = EndpointConfig()
    template = expand_launch(config, EndpointPaths("/lab"), "python")
    first = bind_launch(template, BlockId("b1"), 0)
    second = bind_launch(template, BlockId("b2"), 1)
    assert first.replace("b1", "b2").replace("--node 0", "--node 1") == second


@given(python=WORDS, folder=WORDS, block_id=WORDS, node=st.integers(0, 10**6))
def test_any_value_arrives_as_one_word(
    python: str, folder: str, block_id: str, node: int
) -> None:
    path = Path("/") / folder
    command = launch(
        "{python} -d {endpoint_dir} -b {{block_id}} -n {{node}} --name={name}",
        python=python,
        folder=str(path),
        block_id=block_id,
        node=node,
    )
    assert shlex.split(command) == [
        python,
        "-d",
        str(path.resolve()),
        "-b",
        block_id,
        "-n",
        str(node),
        "--name=lab",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "${HOME}",
        '"${SLURM_NODEID:-0}"',
        "{ echo a; echo b; }",
        "{a,b}",
        "{1..3}",
        "{}",
        "{{}}",
        "{{ block_id }}",
        "awk '{print $1}'",
        "echo 'it'\\''s' \"two  words\"",
        "a | b && c > d",
        "{{{node}}}",
    ],
)
def test_braces_that_are_no_fields_reach_the_shell_untouched(text: str) -> None:
    command = f"{text} {{{{block_id}}}}"
    assert find_launch_problems(command) == []
    assert launch(command) == f"{text} b1"


@given(st.text("{}$ab_ '\"\\", max_size=20))
def test_a_command_without_fields_is_the_same_after_both_stages(text: str) -> None:
    if not any("unknown" in problem for problem in find_launch_problems(text)):
        assert launch(text) == text


def test_a_real_shell_sees_what_was_meant() -> None:
    command = launch(
        "printf '%s|' {endpoint_dir} {{block_id}} \"${WORD}\" '{python}' {{node}}",
        folder="/no/it's {here}/a{node}",
        block_id="$(false) `false` {name}",
        python="py",
        node=2,
    )
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        env={"WORD": "a  b"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "/no/it's {here}/a{node}|$(false) `false` {name}|a  b|py|2|"


def test_init_goes_before_the_command_and_is_no_template() -> None:
    init = "module load gcc\nexport A={python} B=${HOME} C={{node}}\n\n"
    assert launch("run {{block_id}}", init=init) == (
        "module load gcc\nexport A={python} B=${HOME} C={{node}}\nrun b1"
    )


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("run {pyhton} {{block_id}}", "{pyhton}; did you mean {python}?"),
        ("run {{blockid}}", "{{blockid}}; did you mean {{block_id}}?"),
        ("run {nod} {{block_id}}", "{nod}; did you mean {{node}}?"),
        (
            "run {USER} {{block_id}}",
            (
                "{USER}; known are {python}, {endpoint_dir}, {name}, {{block_id}}, "
                "{{node}}; the shell's own is ${USER}"
            ),
        ),
        ("run {block_id}", "must have {{block_id}} instead of {block_id}"),
        ("{{python}} {{block_id}}", "must have {python} instead of {{python}}"),
        ("run", "must contain {{block_id}}"),
        ("", "must contain {{block_id}}"),
        (
            "run 'a {{block_id}}",
            "must be a shell command, but has no closing quotation",
        ),
    ],
)
def test_a_wrong_command_is_refused_with_the_right_one(
    command: str, problem: str
) -> None:
    (found,) = find_launch_problems(command)
    assert problem in found


def test_all_problems_of_a_command_are_told() -> None:
    assert len(find_launch_problems("{a} {{b}} {node} 'x")) == 4


def test_the_time_that_init_takes_is_told_where_blocks_have_an_end() -> None:
    paths = EndpointPaths(Path("/e"))
    config = EndpointConfig(
        blocks=BlocksConfig(walltime=60.0), workers=WorkersConfig(init="sleep 3")
    )
    lines = bind_launch(expand_launch(config, paths, "py"), BlockId("b"), 0).split("\n")
    assert lines[:2] == ["export ACTORS_BLOCK_BEGAN=$(date +%s)", "sleep 3"]
