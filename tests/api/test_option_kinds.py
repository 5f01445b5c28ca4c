"""Promise: an option of a wrong kind is refused at the call, and never sent."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import actors
from actors.api.executor import EndpointExecutor
from actors.api.methods import MethodChanges
from actors.api.names import name_call
from actors.api.option_kinds import of_their_kinds
from actors.errors import ConfigError


def nothing() -> None:
    pass


class Nobody:
    pass


@pytest.mark.parametrize(
    ("option", "value", "what"),
    [
        ("num_cpus", "1", "a number"),
        ("num_cpus", math.nan, "a number"),
        ("num_gpus", math.inf, "finite"),
        ("max_retries", 1.5, "a whole number"),
        ("max_retries", True, "a whole number"),
        ("priority", 2**60, "within"),
        ("num_returns", 2.0, "a whole number"),
        ("name", 3, "a text"),
        ("name", "\udc80", "UTF-8"),
        ("timeout", "5", "a number"),
        ("retry_exceptions", ValueError, "a list of exception classes"),
        ("retry_exceptions", ["ValueError"], "a list of exception classes"),
        ("resources", ["disk"], "a mapping"),
        ("resources", {"disk": "1"}, r"resources\['disk'\] '1' must be a number"),
        ("resources", {1: 1}, "a text"),
    ],
)
def test_a_function_is_told(option: str, value: object, what: str) -> None:
    given: dict[str, Any] = {option: value}
    with pytest.raises(ConfigError, match=what):
        actors.remote(nothing).options(**given)


@pytest.mark.parametrize(
    ("option", "value", "what"),
    [
        ("name", 3, "a text"),
        ("namespace", b"n", "a text"),
        ("get_if_exists", "yes", "true or false"),
        ("max_restarts", "3", "a whole number"),
        ("max_concurrency", 2.5, "a whole number"),
        ("max_pending_calls", math.inf, "a whole number"),
        ("concurrency_groups", {"io": "2"}, "a whole number"),
        ("concurrency_groups", ["io"], "a mapping"),
    ],
)
def test_so_is_a_class(option: str, value: object, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        actors.remote(Nobody).options(**{option: value})


def test_and_a_method() -> None:
    for option, value in (("max_task_retries", "1"), ("concurrency_group", 1)):
        with pytest.raises(ConfigError, match=option):
            MethodChanges.of(**{option: value})


@pytest.mark.parametrize(
    ("option", "value", "what"),
    [
        ("max_workers", 1.5, "a whole number"),
        ("retries", "3", "a whole number"),
        ("priority", 0.5, "a whole number"),
        ("patience", "long", "a number"),
        ("walltime", "1h", "a number"),
        ("worker_type", 3, "a text"),
        ("tag", 3, "a text"),
        ("name", 3, "a text"),
    ],
)
def test_and_an_executor(option: str, value: object, what: str) -> None:
    """Before it looks for its endpoint."""
    given: dict[str, Any] = {option: value}
    with pytest.raises(ConfigError, match=f"{option} .* must be {what}"):
        actors.Executor("there is none", **given)
    if option in ("max_workers", "retries", "priority"):
        with pytest.raises(ConfigError, match=what):
            actors.Executor(**given)


def test_and_a_key(tmp_path: Path) -> None:
    """A name of a file that is no UTF-8, as os.listdir gives it, broke the client."""
    (tmp_path / "endpoint.toml").touch()
    with EndpointExecutor(tmp_path, name="nightly") as executor:
        for key in ("\udc80", 5, b"key"):
            with pytest.raises(ConfigError, match="key .* must be a text"):
                executor.submit_keyed(key, abs, -1)  # type: ignore[arg-type]


def test_a_call_is_named_by_its_type_if_its_own_name_is_no_text() -> None:
    class Proxy:
        """Has whatever it is asked for."""

        def __getattr__(self, name: str) -> "Proxy":
            return self

        def __call__(self) -> None: ...

    assert name_call(Proxy()).endswith("Proxy")


def test_numbers_of_other_libraries_travel_as_pythons_own() -> None:
    given = {"num_cpus": np.float32(0.5), "retries": np.int64(3), "num_gpus": 1}
    kinds = {name: type(value) for name, value in of_their_kinds(given).items()}
    assert kinds == {"num_cpus": float, "retries": int, "num_gpus": int}


@pytest.mark.parametrize("option", ["num_workers", "num_cpus"])
def test_no_workers_are_not_as_many_as_there_may_be(option: str) -> None:
    given: dict[str, Any] = {option: 0}
    with pytest.raises(ConfigError, match="num_workers 0 must be at least 1"):
        actors.init(**given)
