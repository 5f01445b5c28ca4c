"""A process is known by its pid, its start and its boot, never by its pid alone."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from providers.processes import (
    ProcessStat,
    boot_id,
    is_alive,
    parse_stat,
    read_stat,
    seconds_since,
    session_members,
)
from tests.support import eventually


def test_a_name_may_hold_spaces_and_parentheses() -> None:
    line = "7 (a) b (c) S 1 7 5 " + " ".join(str(n) for n in range(4, 50))
    stat = parse_stat(line)
    assert (stat.pid, stat.state, stat.session) == (7, "S", 5)


@pytest.mark.parametrize("line", ["", "7", "7 (x) S 1 2 3", "no process at all"])
def test_another_line_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="Not a line of"):
        parse_stat(line)


def test_this_process_is_alive_and_started_a_while_ago() -> None:
    me = read_stat(os.getpid())
    assert me is not None
    assert is_alive(me)
    assert 0 <= seconds_since(me.start_time) < 24 * 3600
    assert me.session == os.getsid(0)


def test_another_process_with_the_same_pid_is_not_the_same() -> None:
    me = read_stat(os.getpid())
    assert me is not None
    assert not is_alive(replace(me, start_time=me.start_time - 1))


def test_a_pid_that_nobody_has_is_dead() -> None:
    beyond = int(Path("/proc/sys/kernel/pid_max").read_text()) + 1
    assert read_stat(beyond) is None
    assert not is_alive(ProcessStat(beyond, "S", beyond, 0))


@pytest.mark.slow
def test_a_zombie_is_dead_and_no_member_of_its_session() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)
    stat = read_stat(process.pid)
    assert stat is not None
    eventually(lambda: not is_alive(stat), what="the end of a child")
    assert read_stat(process.pid) is not None
    assert session_members(stat) == []
    process.wait()


@pytest.mark.slow
def test_a_session_whose_leaders_pid_was_reused_has_no_members() -> None:
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    stat = read_stat(process.pid)
    assert stat is not None
    eventually(
        lambda: [m.pid for m in session_members(stat)] == [process.pid],
        what="the session",
    )
    former = replace(stat, start_time=stat.start_time - 1)
    assert session_members(former) == []
    process.kill()
    process.wait()


def test_a_boot_has_one_id() -> None:
    assert boot_id() == boot_id() != ""
