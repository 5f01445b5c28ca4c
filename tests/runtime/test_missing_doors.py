"""Doors that are not there yet are found soon, and looked for seldom after a while."""

import math
from itertools import pairwise
from pathlib import Path

import pytest

from actors.messages import PROTOCOL, Hello
from actors.runtime.missing_doors import MissingDoors

HELLO = Hello("client", "c", "i", PROTOCOL, "3.11", "t")


@pytest.mark.parametrize("url", ["wss://far:1/door", "ws://127.0.0.1:1/door"])
def test_doors_of_other_kinds_are_not_looked_for(url: str) -> None:
    doors = MissingDoors()
    assert not doors.add("door", url, HELLO, 0.0)
    assert doors.look_at == math.inf


def test_a_door_that_is_there_is_not_looked_for(tmp_path: Path) -> None:
    (tmp_path / "door").touch()
    doors = MissingDoors()
    assert not doors.add("door", f"ipc://{tmp_path}/door", HELLO, 0.0)
    assert "door" not in doors


def test_a_door_that_appears_is_found_once(tmp_path: Path) -> None:
    doors = MissingDoors()
    assert doors.add("door", f"ipc://{tmp_path}/door", HELLO, 0.0)
    assert "door" in doors
    assert doors.find(doors.look_at) == []
    (tmp_path / "door").touch()
    assert doors.find(doors.look_at) == [("door", HELLO)]
    assert "door" not in doors
    assert doors.look_at == math.inf
    assert doors.find(1.0) == []


def test_a_door_that_is_given_up_is_not_found(tmp_path: Path) -> None:
    doors = MissingDoors()
    doors.add("door", f"ipc://{tmp_path}/door", HELLO, 0.0)
    doors.discard("door")
    (tmp_path / "door").touch()
    assert doors.find(doors.look_at) == []


def test_looks_become_as_rare_as_the_wait_is_long(tmp_path: Path) -> None:
    doors = MissingDoors()
    doors.add("old", f"ipc://{tmp_path}/old", HELLO, 0.0)
    looks = []
    while doors.look_at < 60.0:
        looks.append(doors.look_at)
        doors.find(doors.look_at)
    pauses = [round(later - earlier, 6) for earlier, later in pairwise(looks)]
    assert pauses == sorted(pauses), "no look sooner after a longer wait"
    assert pauses[0] <= 0.01
    assert pauses[-1] == pytest.approx(0.1)
    # Somebody new is not kept waiting by who waits for hours.
    doors.add("new", f"ipc://{tmp_path}/new", HELLO, looks[-1])
    assert doors.look_at <= looks[-1] + 0.01
