"""Promise: whoever asks is told in a sentence why there are so many blocks."""

import json
from typing import Any

import pytest

from tests.cli.commands import actors
from tests.endpoints import RunningEndpoint
from tests.support import eventually

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_leftovers")]


def decisions(endpoint: RunningEndpoint) -> list[dict[str, Any]]:
    result = actors("strategy", "explain", "--json", endpoint.folder)
    answer = json.loads(result.stdout)
    assert answer["ok"] is (result.exit_code == 0)
    told: list[dict[str, Any]] = answer.get("decisions", [])
    return told


def test_the_last_decision_and_the_launches_before_are_explained(
    shared_endpoint: RunningEndpoint,
) -> None:
    eventually(
        lambda: any(d["active_blocks"] == 1 for d in decisions(shared_endpoint)),
        what="a decision on the block that is there",
    )
    newest, *before = decisions(shared_endpoint)
    assert (newest["kind"], newest["action"]) == ("simple", "none")
    assert newest["reason"].startswith("no tasks for ")
    assert (newest["tasks"], newest["slots"]) == (0, 2)
    (launch,) = [decision for decision in before if decision["action"] == "launch"]
    assert launch["reason"] == "the endpoint starts with 1 blocks"
    text = actors("strategy", "explain", shared_endpoint.folder).stdout
    assert text.startswith("Strategy simple, 0 s ago: do nothing: no tasks for ")
    assert "  0 tasks, 0 of them waiting; 1 block, " in text
    assert "start 1 block: the endpoint starts with 1 blocks" in text


def test_an_endpoint_that_does_not_run_explains_nothing(
    shared_endpoint: RunningEndpoint,
) -> None:
    result = actors("strategy", "explain", shared_endpoint.folder / "nowhere")
    assert result.exit_code == 1
    assert "nowhere" in result.stderr
