"""The `endpoint.toml` that `actors init` writes: every key, explained."""

import textwrap
from collections.abc import Iterator
from typing import Any

import msgspec

from actors.config.expectations import SECTIONS
from actors.config.shape import EndpointConfig, json_schema
from actors.config.values import render_key, render_value
from actors.config.workers import WorkerTypeConfig

__all__ = ["render_config"]

_COLUMNS = 88

_HEAD = """\
# Configuration of an endpoint of `actors`. All keys stand here; where one
# is missing, its default holds. Durations are seconds, sizes are bytes.
#
#     actors check {file}    tells what is wrong with a change
#     actors run {file}      starts the endpoint
"""


def render_config(config: EndpointConfig, file: str = "endpoint.toml") -> str:
    """Write a configuration as commented TOML; reading it gives an equal one.

    Args:
        config: any; a key that is None stands in a comment.
        file: what the comments call it.
    """
    schema = json_schema()["$defs"]
    lines = [_HEAD.format(file=file)]
    values = msgspec.structs.asdict(config)
    # What comes after the first table header would belong to that table.
    lines += _render_key("name", config.name, schema["EndpointConfig"])
    for section, shape in SECTIONS.items():
        described = schema[shape.__name__]
        lines += ["", f"# {described['description']}", f"[{section}]"]
        for name, value in msgspec.structs.asdict(values[section]).items():
            lines += _render_key(name, value, described)
    lines += ["", *_comment(_property("worker_types", schema["EndpointConfig"]))]
    described = schema["WorkerTypeConfig"]
    for type_name, type_ in config.worker_types.items():
        lines += ["", f"[worker_types.{type_name}]"]
        for name, value in msgspec.structs.asdict(type_).items():
            lines += _render_key(name, value, described)
    if not config.worker_types:
        lines += _show_table("worker_types.NAME", WorkerTypeConfig(), described)
    lines += ["", *_comment(_property("provider_options", schema["EndpointConfig"]))]
    lines += ["[provider_options]"]
    for name, value in config.provider_options.items():
        lines.append(f"{render_key(name)} = {render_value(value)}")
    return "\n".join(lines) + "\n"


def _show_table(
    name: str, values: msgspec.Struct, described: dict[str, Any]
) -> Iterator[str]:
    """Write a table that could be, as comments."""
    yield f"# [{name}]"
    for key, value in msgspec.structs.asdict(values).items():
        yield from _comment(_property(key, described))
        yield f"# {key} = {render_value(value)}"


def _render_key(name: str, value: Any, table: dict[str, Any]) -> Iterator[str]:
    described = _property(name, table)
    yield from _comment(described)
    if value is None:
        yield f"# {name} = {render_value(described['examples'][0])}"
    else:
        yield f"{name} = {render_value(value)}"


def _comment(described: dict[str, Any]) -> Iterator[str]:
    lines = textwrap.wrap(
        described["description"],
        _COLUMNS - len("# "),
        break_long_words=False,
        break_on_hyphens=False,
    )
    default = described.get("default")
    if default not in (None, {}):
        text = f"Default: {render_value(default)}"
        if len(f"# {lines[-1]}. {text}") <= _COLUMNS:
            lines[-1] += f". {text}"
        else:  # not broken: it is there to be copied
            lines.append(text)
    yield from (f"# {line}" for line in lines)


def _property(name: str, table: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = table["properties"][name]
    return described
