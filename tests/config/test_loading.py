"""Promise: a wrong endpoint.toml is refused with everything that is wrong in it.

Each problem names file, key, value and what would be right; nothing but ConfigError
comes out, whatever goes in.
"""

import contextlib
import datetime
import math
import string
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actors.config import (
    EndpointConfig,
    Problem,
    examine_config,
    examine_table,
    load_config,
    parse_config,
)
from actors.errors import ConfigError


def problems_of(text: str) -> list[str]:
    """Give the lines of the refusal, without the file at their ends."""
    with pytest.raises(ConfigError) as refusal:
        parse_config(text, "here.toml")
    lines = str(refusal.value).split("\n")
    assert all(line.endswith(" (here.toml)") for line in lines)
    return [line.removesuffix(" (here.toml)") for line in lines]


def test_an_empty_file_is_an_endpoint_with_the_defaults() -> None:
    assert parse_config("") == EndpointConfig()


def test_a_key_is_read_into_its_section() -> None:
    config = parse_config(
        'name = "lab"\nblocks.max_blocks = 4\n[heartbeat]\nperiod = 1\nthreshold = 2\n'
        "[provider_options]\npartition.nodes = [1, 2]\n"
    )
    assert config.name == "lab"
    assert config.blocks.max_blocks == 4
    assert config.heartbeat.period == 1.0
    assert isinstance(config.heartbeat.period, float)
    assert config.provider_options == {"partition": {"nodes": [1, 2]}}


TYPES = [
    (
        '[blocks]\nmax_blocks = "2"',
        (
            '[blocks] max_blocks "2" must be a whole number from 0 to 1000000, not a '
            "string; write it without quotes"
        ),
    ),
    (
        '[blocks]\nmax_blocks = "two"',
        (
            '[blocks] max_blocks "two" must be a whole number from 0 to 1000000, not a '
            "string"
        ),
    ),
    (
        "[blocks]\nmax_blocks = true",
        (
            "[blocks] max_blocks true must be a whole number from 0 to 1000000, not a "
            "boolean"
        ),
    ),
    (
        "[blocks]\nmax_blocks = 2.0",
        (
            "[blocks] max_blocks 2.0 must be a whole number from 0 to 1000000, not a "
            "number with a fraction"
        ),
    ),
    (
        "[blocks]\nmin_blocks = -1",
        "[blocks] min_blocks -1 must be a whole number from 0 to 1000000",
    ),
    (
        "[blocks]\nnodes_per_block = 0",
        "[blocks] nodes_per_block 0 must be a whole number from 1 to 1000000",
    ),
    (
        f"[blocks]\nmax_blocks = 0x{'f' * 200}",
        f"[blocks] max_blocks 0x{'f' * 58}... must be a whole number from 0 to 1000000",
    ),
    (
        "[strategy]\nparallelism = 1.5",
        "[strategy] parallelism 1.5 must be a number from 0 to 1",
    ),
    (
        "[strategy]\nparallelism = -0.1",
        "[strategy] parallelism -0.1 must be a number from 0 to 1",
    ),
    (
        "[strategy]\nperiod = 0",
        "[strategy] period 0 must be a number from 0.01 to 86400",
    ),
    (
        "[heartbeat]\nperiod = nan",
        "[heartbeat] period nan must be a number from 0.01 to 86400",
    ),
    (
        "[results]\nkeep = inf",
        "[results] keep inf must be a number from 0 to 315360000",
    ),
    (
        "[blocks]\nwalltime = true",
        (
            "[blocks] walltime true must be a number above 0 and at most 315360000, "
            "not a boolean"
        ),
    ),
    (
        "[blocks]\nwalltime = 01:00:00",
        (
            "[blocks] walltime 01:00:00 must be a number above 0 and at most "
            "315360000, not a date or time"
        ),
    ),
    (
        '[strategy]\nkind = "simpel"',
        (
            '[strategy] kind "simpel" must be one of "auto", "none", "simple", '
            '"staged"; did you mean "simple"?'
        ),
    ),
    (
        "[journal]\ndurability = 1",
        (
            '[journal] durability 1 must be one of "interval", "off", "sync", not a '
            "whole number"
        ),
    ),
    ("name = 7", "name 7 must be a string, not a whole number; write it in quotes"),
    ('name = "a b"', 'name "a b" must consist of letters, digits, _ and - only'),
    ('name = "a\\n"', 'name "a\\n" must consist of letters, digits, _ and - only'),
    ('name = ""', 'name "" must consist of letters, digits, _ and - only'),
    (
        f'name = "{"a" * 65}"',
        f'name "{"a" * 60}..." must have at most 64 characters, not 65',
    ),
    (
        '[blocks]\nprovider = "my module:Class"',
        (
            '[blocks] provider "my module:Class" must be the name of a provider, or '
            '"module:Class"'
        ),
    ),
    (
        "[blocks]\nenvironment = [1]",
        "[blocks] environment [...] must be a table of strings, not an array",
    ),
    (
        "[blocks.environment]\nA = 1\n'B C' = true",
        (
            "[blocks.environment] A 1 must be a string, not a whole number; write it "
            "in quotes"
        ),
    ),
    ("blocks = 3", "blocks 3 must be a table: write [blocks]"),
    ("[[blocks]]", "blocks [...] must be a table: write [blocks]"),
    (
        "worker_types = 1",
        "worker_types 1 must be tables: write [worker_types.NAME] for each",
    ),
    (
        "[worker_types]\na = 1",
        "[worker_types] a 1 must be a table: write [worker_types.a]",
    ),
    (
        '[worker_types."a b"]',
        '[worker_types] "a b" {} must be named by letters, digits, _, -',
    ),
    (
        "[worker_types.plain]",
        (
            "[worker_types] plain {} must have another name: this one is of workers "
            "without a type"
        ),
    ),
    (
        '[worker_types.a]\nvenv = "env"',
        '[worker_types.a] venv "env" must be an absolute path',
    ),
    (
        "[worker_types.a]\npath = [1]",
        "[worker_types.a] path [...] must be an array of strings",
    ),
    (
        "[worker_types.a.environment]\nA = 1",
        (
            "[worker_types.a.environment] A 1 must be a string, not a whole number; "
            "write it in quotes"
        ),
    ),
    (
        '[worker_types.a]\nvenf = "/env"',
        '[worker_types.a] venf "/env" is not a known key; did you mean venv?',
    ),
    ("provider_options = 1", "provider_options 1 must be a table, not a whole number"),
]


@pytest.mark.parametrize(("text", "problem"), TYPES)
def test_a_wrong_value_is_refused_with_what_it_must_be(text: str, problem: str) -> None:
    assert problems_of(text)[0] == problem


UNKNOWN = [
    (
        "[blocks]\nmax_block = 3",
        "[blocks] max_block 3 is not a known key; did you mean max_blocks?",
    ),
    (
        "[blocks]\nworkers_per_node = 3",
        "[blocks] workers_per_node 3 is not a key of [blocks]; move it to [workers]",
    ),
    (
        "max_blocks = 3",
        "max_blocks 3 is not a key of the top of the file; move it to [blocks]",
    ),
    (
        "[results]\nperiod = 3",
        (
            "[results] period 3 is not a key of [results]; move it to [heartbeat] or "
            "[strategy]"
        ),
    ),
    (
        '[blocks]\nname = "a"',
        '[blocks] name "a" is not a key of [blocks]; move it to the top of the file',
    ),
    (
        "[workers]\nmin_block = 3",
        (
            "[workers] min_block 3 is not a known key; did you mean min_blocks in "
            "[blocks]?"
        ),
    ),
    (
        "[blocks.strategy]",
        (
            "[blocks] strategy {} is not a key of [blocks]; the section is named "
            "[strategy]"
        ),
    ),
    (
        "[block]\nmax_blocks = 3",
        "[block] is not a known section; did you mean [blocks]?",
    ),
    (
        "[journal]\ncolour = 1",
        "[journal] colour 1 is not a known key; [journal] knows durability, interval",
    ),
    (
        '"two words" = 1',
        (
            '"two words" 1 is not a known key; the top of the file knows '
            + ", ".join(sorted(EndpointConfig.__struct_fields__))
        ),
    ),
]


@pytest.mark.parametrize(("text", "problem"), UNKNOWN)
def test_an_unknown_key_is_refused_with_what_was_meant(text: str, problem: str) -> None:
    assert problems_of(text) == [problem]


CONTRADICTIONS = [
    (
        "[blocks]\nmin_blocks = 2\ninit_blocks = 2",
        (
            "[blocks] max_blocks 1 must be at least min_blocks 2: raise it or lower "
            "min_blocks"
        ),
    ),
    (
        "[blocks]\ninit_blocks = 5",
        "[blocks] init_blocks 5 must be from min_blocks 0 to max_blocks 1",
    ),
    (
        "[blocks]\nmin_blocks = 1\ninit_blocks = 0",
        "[blocks] init_blocks 0 must be from min_blocks 1 to max_blocks 1",
    ),
    (
        "[heartbeat]\nperiod = 61.0",
        (
            "[heartbeat] threshold 120.0 must be at least 122.0, twice the period "
            "61.0: raise it or lower period"
        ),
    ),
    (
        '[transport]\nlisten = "ws://0.0.0.0:80"',
        (
            '[transport] listen "ws://0.0.0.0:80" is not encrypted and must stay on a '
            "loopback host such as 127.0.0.1; for other hosts use "
            '"wss://0.0.0.0:80"'
        ),
    ),
    (
        '[transport]\nlisten = "wss://[::]:80"',
        (
            '[transport] advertise "" must name the host that members dial, because '
            "listen wss://[::]:80 stands for every address of this machine"
        ),
    ),
    (
        '[transport]\nadvertise = "node1"',
        '[transport] advertise "node1" must be "" unless listen is wss; it is "ipc"',
    ),
    (
        '[blocks]\nprovider = "slurn"',
        (
            '[blocks] provider "slurn" is not built in, and no installed package '
            'offers it; known are "local", "slurm", "gridengine", "ssh", "dask", '
            '"ray", "aws_batch", "kubernetes", "pbs", "htcondor", "azure_batch", '
            'and "module:Class" for one of yours'
        ),
    ),
    (
        '[blocks]\nlaunch_command = "run {pyhton} {{block_id}}"',
        (
            '[blocks] launch_command "run {pyhton} {{block_id}}" has the unknown field '
            "{pyhton}; did you mean {python}?"
        ),
    ),
    (
        '[blocks]\nlaunch_command = "run \\u0000 {{block_id}}"',
        (
            '[blocks] launch_command "run \\u0000 {{block_id}}" must not contain the '
            "character NUL"
        ),
    ),
    (
        '[worker_types.a]\nvenv = "/x"\nimage = "i"',
        (
            '[worker_types.a] image "i" must be left out where there is a venv: it is '
            "the one or the other"
        ),
    ),
    (
        '[worker_types.a]\ncontainer_command = "podmn"',
        (
            '[worker_types.a] container_command "podmn" must be one of "podman", '
            '"docker", "apptainer", or a command with {image}; did you mean "podman"?'
        ),
    ),
    (
        '[worker_types.a.environment]\n"A B" = "1"',
        (
            '[worker_types.a.environment] "A B" "1" must have a name of letters, '
            "digits and _, that begins with no digit"
        ),
    ),
    (
        '[blocks.environment]\n"A B" = "1"',
        (
            '[blocks.environment] "A B" "1" must have a name of letters, digits and _, '
            "that begins with no digit"
        ),
    ),
    (
        '[blocks.environment]\nA = "\\u0000"',
        '[blocks.environment] A "\\u0000" must not contain the character NUL',
    ),
    (
        '[workers]\ninit = "\\u0000"',
        '[workers] init "\\u0000" must not contain the character NUL',
    ),
    (
        '[transport]\nsocket_dir = "\\u0000"',
        '[transport] socket_dir "\\u0000" must not contain the character NUL',
    ),
]


@pytest.mark.parametrize(("text", "problem"), CONTRADICTIONS)
def test_a_contradiction_is_refused_with_both_sides(text: str, problem: str) -> None:
    assert problems_of(text) == [problem]


@pytest.mark.parametrize(
    "text",
    [
        "[heartbeat]\nperiod = 60\nthreshold = 120",
        "[blocks]\nmin_blocks = 1\ninit_blocks = 1\nmax_blocks = 1",
        "[blocks]\ninit_blocks = 0\nmax_blocks = 0",
        "[strategy]\nparallelism = 0",
        '[blocks]\nprovider = "my.module:Outer.Inner"',
        '[transport]\nlisten = "ws://127.0.0.1:80"',
        '[transport]\nlisten = "wss://0.0.0.0:80"\nadvertise = "node1"',
    ],
)
def test_what_lies_exactly_on_a_limit_is_right(text: str) -> None:
    parse_config(text)


def test_all_problems_are_told_at_once_in_the_order_of_the_file() -> None:
    lines = problems_of(
        'colour = 1\n[heartbeat]\nperiod = "1"\n'
        "[blocks]\ninit_blocks = 7\nmax_blokcs = 1\n"
        "[workers]\nworkers_per_node = -1\n[transport]\nlisten = 'tcp'"
    )
    assert [line.split(" must ")[0].split(" is ")[0] for line in lines] == [
        "colour 1",
        '[heartbeat] period "1"',
        "[blocks] max_blokcs 1",
        "[workers] workers_per_node -1",
        '[transport] listen "tcp"',
    ]


@pytest.mark.parametrize(
    "text",
    [
        # init_blocks 5 contradicts the default of max_blocks only because of the slip
        "[blocks]\ninit_blocks = 5\nmax_block = 5",
        '[blocks]\ninit_blocks = 5\nmax_blocks = "5"',
        "max_blocks = 5\n[blocks]\ninit_blocks = 5",
    ],
)
def test_a_contradiction_that_follows_from_another_problem_is_not_told(
    text: str,
) -> None:
    assert len(problems_of(text)) == 1


def test_a_misspelt_key_beside_the_right_one_hides_no_contradiction() -> None:
    lines = problems_of("[blocks]\ninit_blocks = 5\nmax_blocks = 4\nmax_block = 5")
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = 1\nname = 2", "(at line 2, column 9)"),
        ("[blocks\n", "(at line 1, column 8)"),
        ("a = 1\nb = [1,\n", "(at line 3, column 1)"),
    ],
)
def test_a_syntax_error_names_line_and_column(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse_config(text, "here.toml")
    assert str(refusal.value).startswith("here.toml is not valid TOML: ")
    assert words in str(refusal.value)


@pytest.mark.parametrize("value", ["[" * 100_000, "1" * 5_000])
def test_a_value_that_python_cannot_read_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="too large to read"):
        parse_config(f"a = {value}")


def test_a_file_is_found_by_its_own_name_or_by_its_folder(tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text('name = "other"')
    (tmp_path / "endpoint.toml").write_bytes(b'\xef\xbb\xbfname = "marked"')
    assert load_config(other).name == "other"
    assert load_config(str(tmp_path)).name == "marked"


@pytest.mark.parametrize("name", ["lab", "lab/endpoint.toml"])
def test_a_missing_file_is_refused_with_the_way_to_get_one(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        load_config(tmp_path / name)
    assert str(refusal.value) == (
        f"{tmp_path / name} does not exist; `actors init {tmp_path / 'lab'}` writes one"
    )


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "endpoint.toml"
    file.write_bytes(b"name = '\xff'")
    with pytest.raises(ConfigError, match="must be UTF-8, but has 0xff at byte 8"):
        load_config(file)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be read: Not a directory"):
        load_config(tmp_path / "file" / "endpoint.toml")


def test_a_folder_too_deep_for_sockets_is_refused_only_if_it_was_asked_for(
    tmp_path: Path,
) -> None:
    file = tmp_path / "endpoint.toml"
    file.write_text(f'[transport]\nsocket_dir = "{"d" * 120}"')
    examination = examine_config(file)
    assert examination.config is None
    (problem,) = examination.problems
    assert problem.key == "[transport] socket_dir"
    assert "at most 58 bytes" in problem.text
    file.write_text("")
    assert load_config(file) == EndpointConfig()


def test_a_problem_has_its_parts_apart_for_programs() -> None:
    config, problems = examine_table({"blocks": {"max_blocks": -1}}, "here.toml")
    assert config is None
    assert problems == [
        Problem(
            "here.toml",
            "[blocks] max_blocks",
            "-1",
            "must be a whole number from 0 to 1000000",
        )
    ]


# Hypothesis

KEYS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        [*EndpointConfig.__struct_fields__]
        + [
            name
            for field in msgspec.structs.fields(EndpointConfig)
            if hasattr(field.type, "__struct_fields__")
            for name in field.type.__struct_fields__
        ]
    ),
)
SCALARS = st.one_of(
    st.booleans(),
    st.integers(),
    st.integers(0, 10),
    st.floats(),
    st.text(),
    st.text(string.printable),
    st.datetimes(),
    st.dates(),
    st.times(),
    st.sampled_from(
        ["ipc", "wss://a:1", "ws://127.0.0.1:1", "none", "local", "{node}"]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5)
    ),
    max_leaves=20,
)


@given(st.dictionaries(KEYS, VALUES | st.dictionaries(KEYS, VALUES)))
@example({"heartbeat": {"period": math.nan, "threshold": 10**400}})
@example({"blocks": {"environment": {"": ""}, "launch_command": "'"}})
@example({"name": datetime.time(1), "blocks": {"max_blocks": -(2**70000)}})
def test_any_tables_give_a_config_or_problems_and_nothing_else(
    table: dict[str, Any],
) -> None:
    config, problems = examine_table(table)
    assert (config is None) == bool(problems)
    for problem in problems:
        assert problem.key
        assert "\n" not in str(problem)


@given(st.text(string.printable) | st.text())
def test_any_text_gives_a_config_or_a_config_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert isinstance(parse_config(text), EndpointConfig)


def test_brackets_nested_deep_in_the_providers_table_are_refused_or_taken() -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    config, problems = examine_table({"provider_options": {"a": nested}})
    assert (config is None) == bool(problems)
