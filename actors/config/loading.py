"""From a file to an `EndpointConfig`, or to everything that is wrong with it.

    file ──tomllib──► tables ──key by key──► values ──contradictions──► EndpointConfig
             │                    │                        │
             └─ line, column      └──────── problems ──────┘  all of them at once

A key that is wrong keeps its default meanwhile, and contradictions that it would take
part in are not told: they may be gone once it is right.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from actors.config.contradictions import find_contradictions
from actors.config.endpoint_paths import CONFIG_NAME, place_sockets
from actors.config.expectations import (
    FAMILIES,
    SECTIONS,
    explain_unknown,
    explain_value,
    plain_type,
)
from actors.config.keys import NAME_PATTERN
from actors.config.shape import EndpointConfig
from actors.config.values import render_key, shown
from actors.errors import ConfigError
from actors.messages import PLAIN_TYPE

__all__ = [
    "Examination",
    "Problem",
    "examine_config",
    "examine_table",
    "load_config",
    "parse_config",
]

_Table = TypeVar("_Table", bound=msgspec.Struct)


class Problem(msgspec.Struct, frozen=True):
    """One thing to mend in an `endpoint.toml`."""

    file: str  # as the caller named it
    key: str  # "[blocks] max_blocks"; "" if it concerns the file
    value: str  # as TOML writes it, shortened; "" if there is none
    text: str  # what is wrong or would be right; goes on after key and value

    def __str__(self) -> str:
        subject = " ".join(part for part in (self.key, self.value) if part)
        return f"{subject or self.file} {self.text}" + (
            f" ({self.file})" if subject else ""
        )


class Examination(msgspec.Struct, frozen=True):
    """What a look at a file gave: a config, or problems."""

    file: Path
    config: EndpointConfig | None  # None: there are problems
    problems: list[Problem]


def load_config(path: Path | str) -> EndpointConfig:
    """Read and check a configuration.

    Args:
        path: an endpoint.toml, by whatever name, or the folder that holds it.

    Raises:
        ConfigError: it cannot be read, is no TOML, or has problems: one line for each.
    """
    examination = examine_config(path)
    if examination.config is None:
        raise ConfigError("\n".join(str(problem) for problem in examination.problems))
    return examination.config


def parse_config(text: str, file: str = CONFIG_NAME) -> EndpointConfig:
    """Check a configuration given as text.

    Args:
        text: TOML.
        file: what error messages call it.

    Raises:
        ConfigError: as for `load_config`.
    """
    config, problems = _examine_text(text, file)
    if config is None:
        raise ConfigError("\n".join(str(problem) for problem in problems))
    return config


def examine_config(path: Path | str) -> Examination:
    """Read and check a configuration, and give all its problems instead of raising."""
    file = Path(path)
    if file.is_dir():
        file = file / CONFIG_NAME
    try:
        # utf-8-sig: some editors put a byte order mark first, which TOML ignores.
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        folder = file.parent if file.suffix == ".toml" else file
        what = f"does not exist; `actors init {folder}` writes one"
        return Examination(file, None, [Problem(str(file), "", "", what)])
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        return Examination(file, None, [Problem(str(file), "", "", what)])
    except UnicodeDecodeError as error:
        what = (
            f"must be UTF-8, but has {error.object[error.start]:#04x} at byte "
            f"{error.start}"
        )
        return Examination(file, None, [Problem(str(file), "", "", what)])
    config, problems = _examine_text(text, str(file))
    if config is not None:
        socket_dir = config.transport.socket_dir
        try:
            place_sockets(file.parent.resolve(), socket_dir)
        except ValueError as error:
            key, value = "[transport] socket_dir", shown(socket_dir)
            return Examination(file, None, [Problem(str(file), key, value, str(error))])
    return Examination(file, config, problems)


def _examine_text(text: str, file: str) -> tuple[EndpointConfig | None, list[Problem]]:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        lines = text.split("\n")
        end = f"(at line {len(lines)}, column {len(lines[-1]) + 1})"
        reason = str(error).replace("(at end of document)", end)
        return None, [Problem(file, "", "", f"is not valid TOML: {reason}")]
    # An integer of thousands of digits; brackets in brackets without end.
    except (ValueError, RecursionError) as error:
        reason = f"holds what is too large to read: {error}"
        return None, [Problem(file, "", "", reason)]
    return examine_table(table, file)


def examine_table(
    table: Mapping[str, Any], file: str = CONFIG_NAME
) -> tuple[EndpointConfig | None, list[Problem]]:
    """Check what a TOML reader gave.

    Returns:
        The config and no problem, or None and at least one.
    """
    reading = _Reading(file)
    config = reading.read(table)
    return (None if reading.problems else config), reading.problems


class _Reading:
    """One pass over the tables of a file, which notes every problem and goes on."""

    def __init__(self, file: str) -> None:
        self.problems: list[Problem] = []
        self._file = file
        # (section, name) with a problem; ("", section) if all of it has.
        self._wrong: set[tuple[str, str]] = set()

    def read(self, table: Mapping[str, Any]) -> EndpointConfig:
        """Read the whole file; wrong keys keep their defaults."""
        config = self._read_section(EndpointConfig, "", table)
        # What follows from a key that is wrong in itself is no news.
        wrong = frozenset(self._wrong)
        for found in find_contradictions(config):
            keys = {found.key, *found.others}
            sections = {("", section) for section, _ in keys}
            if wrong.isdisjoint(keys | sections):
                section, name = found.key
                family, _, member = section.partition(".")
                table = getattr(config, family)
                value = getattr(table[member] if member else table, name)
                if found.item is not None:
                    section, name = f"{section}.{name}", found.item
                    value = value[name]
                self._note(section, name, value, found.must)
        return config

    def _read_section(
        self, shape: type[_Table], section: str, table: Mapping[str, Any]
    ) -> _Table:
        values: dict[str, Any] = {}
        shapes = {field.name: field.type for field in msgspec.structs.fields(shape)}
        for name, value in table.items():
            if name not in shapes:
                text, meant = explain_unknown(section, name)
                self._note(section, name, value, text)
                # A key that is there under its right name too has its own value.
                self._wrong.update(
                    key for key in meant if key[0] != section or key[1] not in table
                )
            elif name in SECTIONS and not section:
                if isinstance(value, dict):
                    values[name] = self._read_section(SECTIONS[name], name, value)
                else:
                    self._note("", name, value, f"must be a table: write [{name}]")
            elif name in FAMILIES and not section:
                values[name] = self._read_family(name, value)
            else:
                try:
                    values[name] = msgspec.convert(value, shapes[name])
                except msgspec.ValidationError:
                    self._refuse(section, name, value, shapes[name])
                except RecursionError:
                    self._note(section, name, value, "must not be nested so deep")
        return shape(**values)

    def _read_family(self, family: str, tables: Any) -> dict[str, Any]:
        """Read the tables `[family.NAME]`."""
        if not isinstance(tables, dict):
            must = f"must be tables: write [{family}.NAME] for each"
            self._note("", family, tables, must)
            return {}
        found = {}
        for name, table in tables.items():
            if not re.fullmatch(NAME_PATTERN, name):
                self._note(
                    family, name, table, "must be named by letters, digits, _, -"
                )
            elif name == PLAIN_TYPE:
                must = "must have another name: this one is of workers without a type"
                self._note(family, name, table, must)
            elif not isinstance(table, dict):
                must = f"must be a table: write [{family}.{name}]"
                self._note(family, name, table, must)
            else:
                section = f"{family}.{name}"
                found[name] = self._read_section(FAMILIES[family], section, table)
        return found

    def _refuse(self, section: str, name: str, value: Any, shape: Any) -> None:
        """Note what is wrong with a value, or with each wrong one of a table."""
        rule, _ = plain_type(shape)
        if not (isinstance(rule, inspect.DictType) and isinstance(value, dict)):
            self._note(section, name, value, explain_value(shape, value))
            return
        self._wrong.add((section, name))
        for item, content in value.items():
            if not isinstance(content, str):
                self._note(
                    f"{section}.{name}", item, content, explain_value(str, content)
                )

    def _note(self, section: str, name: str, value: Any, text: str) -> None:
        self._wrong.add((section, name))
        key, given = render_key(name), shown(value)
        if section:
            key = f"[{section}] {key}"
        elif isinstance(value, dict):
            key, given = f"[{key}]", ""
        self.problems.append(Problem(self._file, key, given, text))
