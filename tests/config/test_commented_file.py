"""Promise: the file that `actors init` writes says what it means, and means it."""

import datetime
import re
import tomllib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.config import (
    BlocksConfig,
    EndpointConfig,
    StrategyConfig,
    WorkersConfig,
    WorkerTypeConfig,
    json_schema,
    parse_config,
    render_config,
)
from actors.config.values import render_key, render_value

# TOML has no surrogates.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True)
TOML_VALUES = st.recursive(
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | TEXTS
    | st.datetimes()
    | st.datetimes(timezones=st.just(datetime.UTC))
    | st.dates()
    | st.times(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)
    ),
    max_leaves=10,
)


def test_the_defaults_survive_writing_and_reading() -> None:
    assert parse_config(render_config(EndpointConfig())) == EndpointConfig()


def test_every_key_stands_in_the_file_with_an_explanation_above_it() -> None:
    section, above = "", ""
    explained = set()
    for line in render_config(EndpointConfig()).splitlines():
        if match := re.fullmatch(r"(?:# )?\[(\w+)(?:\.NAME)?\]", line):
            section = match[1]
        elif match := re.match(r"(?:# )?(\w+) = ", line):
            explained.add((section, match[1]))
        if match:
            assert above.startswith("# "), line
        above = line
    definitions = json_schema()["$defs"]
    known = {("", "name")}
    for name, described in definitions["EndpointConfig"]["properties"].items():
        if "$ref" in described:
            shape = definitions[described["$ref"].removeprefix("#/$defs/")]
            known |= {(name, key) for key in shape["properties"]}
    of_type = definitions["WorkerTypeConfig"]["properties"]
    known |= {("worker_types", key) for key in of_type}
    assert explained == known


def test_every_line_but_a_long_value_fits_on_a_page() -> None:
    for line in render_config(EndpointConfig()).splitlines():
        assert len(line) <= 88 or "{python} -m" in line


@given(
    name=st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True),
    init=TEXTS.filter(lambda text: "\0" not in text),
    environment=st.dictionaries(
        NAMES, TEXTS.filter(lambda text: "\0" not in text), max_size=3
    ),
    walltime=st.none() | st.floats(0.001, 1e8),
    options=st.dictionaries(TEXTS, TOML_VALUES, max_size=4),
)
def test_any_config_survives_writing_and_reading(
    name: str,
    init: str,
    environment: dict[str, str],
    walltime: float | None,
    options: dict[str, Any],
) -> None:
    config = EndpointConfig(
        name=name,
        blocks=BlocksConfig(
            environment=environment,
            walltime=walltime,
            launch_command=f"echo \"${{HOME}}\" '{name}' {{{{block_id}}}}",
        ),
        workers=WorkersConfig(init=init),
        strategy=StrategyConfig(kind="none", parallelism=1e-9),
        worker_types={
            "bare": WorkerTypeConfig(environment=environment),
            name: WorkerTypeConfig(venv=f"/{name}", path=[name, "/x y"]),
        },
        provider_options=options,
    )
    assert parse_config(render_config(config)) == config


@given(TEXTS, TOML_VALUES)
def test_any_key_and_value_survive_writing_and_reading(key: str, value: Any) -> None:
    assert tomllib.loads(f"{render_key(key)} = {render_value(value)}") == {key: value}


def test_what_toml_cannot_hold_is_not_written() -> None:
    with pytest.raises(TypeError, match="None is no TOML value"):
        render_value([None])


def test_the_schema_describes_every_key_and_forbids_others() -> None:
    schema = json_schema()
    assert schema["$ref"] == "#/$defs/EndpointConfig"
    for name, section in schema["$defs"].items():
        assert section["additionalProperties"] is False, name
        assert section["description"], name
        for key, described in section["properties"].items():
            assert "$ref" in described or described["description"], key
    parallelism = schema["$defs"]["StrategyConfig"]["properties"]["parallelism"]
    assert (parallelism["minimum"], parallelism["maximum"]) == (0, 1)
    assert msgspec.json.decode(msgspec.json.encode(schema)) == schema
