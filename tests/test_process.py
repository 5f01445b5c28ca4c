"""Promise: we know who lives, and who must die is dead soon, and nobody else is."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from actors.process import (
    Alarm,
    ProcessIdentity,
    ProcessWatch,
    kill_group,
    kill_session,
    read_usage,
)
from tests.support import eventually

_SLEEPER = "import time; time.sleep(60)"

# A parent that has a child in a process group of its own, then sleeps.
_FAMILY = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {_SLEEPER!r}], process_group=0)
print(child.pid, flush=True)
time.sleep(60)
"""

_DIES_WITH_PARENT = """
import os, sys, time
from actors.process import die_with_parent
parent = os.getpid()
if os.fork() == 0:
    die_with_parent(parent)
    print(os.getpid(), flush=True)
time.sleep(60)
"""

_ORPHANED_BEFORE_THE_CALL = """
import os, time
from actors.process import die_with_parent
reader, writer = os.pipe()
if os.fork() == 0:
    parent = os.getppid()
    if os.fork() == 0:
        os.close(reader)
        while os.getppid() == parent:
            time.sleep(0.01)
        die_with_parent(parent)
        os.write(writer, b"survived")
        os._exit(0)
    os._exit(0)
os.close(writer)
print(os.read(reader, 100).decode() or "died", flush=True)
"""

_SUBREAPER = """
import os
from actors.process import become_subreaper
become_subreaper()
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    if os.fork() == 0:
        # Comes when the parent is gone.
        os.read(reader, 1)
        os.write(1, str(os.getppid()).encode())
        os._exit(0)
    os._exit(0)
os.waitpid(child, 0)
os.write(writer, b"x")
os.wait()
print("", os.getpid(), flush=True)
"""


def _python(code: str, *, start_new_session: bool = False) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        start_new_session=start_new_session,
    )


def _is_alive(pid: int) -> bool:
    try:
        return ProcessIdentity.of(pid).is_alive()
    except ProcessLookupError:
        return False


@pytest.fixture
def sleeper() -> "Iterator[subprocess.Popen[bytes]]":
    process = _python(_SLEEPER, start_new_session=True)
    yield process
    process.kill()
    process.communicate()


def test_this_process_is_alive() -> None:
    identity = ProcessIdentity.of(os.getpid())
    assert identity.is_alive()
    assert identity == ProcessIdentity.of(os.getpid())


def test_an_unknown_pid_is_a_lookup_error() -> None:
    with pytest.raises(ProcessLookupError, match=r"No process has pid \d+"):
        ProcessIdentity.of(2**22 + 1)


def test_a_zombie_is_dead(sleeper: "subprocess.Popen[bytes]") -> None:
    identity = ProcessIdentity.of(sleeper.pid)
    sleeper.kill()
    # Nobody waits for it meanwhile: its pid stays taken.
    eventually(lambda: not identity.is_alive(), what="death of the sleeper")
    assert ProcessIdentity.of(sleeper.pid) == identity


def test_a_pid_given_to_somebody_else_is_not_the_same_process(
    sleeper: "subprocess.Popen[bytes]",
) -> None:
    now = ProcessIdentity.of(sleeper.pid)
    earlier = ProcessIdentity(now.pid, now.started_at - 1)
    assert not earlier.is_alive()
    assert not earlier.send_signal(signal.SIGKILL)
    assert now.is_alive()


def test_a_signal_reaches_the_living_and_not_the_dead(
    sleeper: "subprocess.Popen[bytes]",
) -> None:
    identity = ProcessIdentity.of(sleeper.pid)
    assert identity.send_signal(signal.SIGTERM)
    assert sleeper.wait() == -signal.SIGTERM
    assert not identity.send_signal(signal.SIGTERM)


def test_a_watch_is_readable_at_death(sleeper: "subprocess.Popen[bytes]") -> None:
    watch = ProcessWatch(ProcessIdentity.of(sleeper.pid))
    assert not watch.is_dead()
    sleeper.kill()
    assert select.select([watch], [], [], 10)[0] == [watch]
    assert watch.is_dead()
    watch.close()
    watch.close()


def test_a_watch_on_the_dead_is_readable_at_once(
    sleeper: "subprocess.Popen[bytes]",
) -> None:
    identity = ProcessIdentity.of(sleeper.pid)
    sleeper.kill()
    sleeper.wait()
    watch = ProcessWatch(identity)
    assert watch.is_dead()
    watch.close()


def test_a_watch_on_a_reused_pid_is_readable_at_once(
    sleeper: "subprocess.Popen[bytes]",
) -> None:
    now = ProcessIdentity.of(sleeper.pid)
    watch = ProcessWatch(ProcessIdentity(now.pid, now.started_at - 1))
    assert watch.is_dead()
    watch.close()


def test_a_session_is_killed_with_all_its_process_groups() -> None:
    parent = _python(_FAMILY, start_new_session=True)
    assert parent.stdout is not None
    child_pid = int(parent.stdout.readline())
    assert os.getpgid(child_pid) != os.getpgid(parent.pid)
    assert kill_session(parent.pid) == 2
    assert parent.wait() == -signal.SIGKILL
    eventually(lambda: not _is_alive(child_pid), what="death of the child")
    assert kill_session(parent.pid) == 0
    parent.stdout.close()


def test_killing_ones_own_session_spares_oneself() -> None:
    code = (
        "import os; from actors.process import kill_session; "
        "print(kill_session(os.getpid()))"
    )
    process = _python(code, start_new_session=True)
    assert process.communicate()[0] == b"0\n"


def test_a_group_is_killed_and_an_empty_one_is_told(
    sleeper: "subprocess.Popen[bytes]",
) -> None:
    assert kill_group(sleeper.pid)
    assert sleeper.wait() == -signal.SIGKILL
    assert not kill_group(sleeper.pid)


@pytest.mark.parametrize("group_id", [-5, 0, 1])
def test_a_group_number_that_means_everybody_is_refused(group_id: int) -> None:
    with pytest.raises(ValueError, match="must be greater than 1"):
        kill_group(group_id)


def test_a_child_dies_with_its_parent() -> None:
    parent = _python(_DIES_WITH_PARENT)
    assert parent.stdout is not None
    child_pid = int(parent.stdout.readline())
    assert _is_alive(child_pid)
    parent.kill()
    parent.wait()
    eventually(lambda: not _is_alive(child_pid), within=2, what="death of the child")
    parent.stdout.close()


def test_a_child_whose_parent_was_faster_dies_at_the_call() -> None:
    process = _python(_ORPHANED_BEFORE_THE_CALL)
    assert process.communicate()[0] == b"died\n"


def test_orphans_go_to_the_subreaper() -> None:
    output, _ = _python(_SUBREAPER).communicate()
    adopter, subreaper = output.split()
    assert adopter == subreaper


def test_usage_is_told_of_the_living_only(sleeper: "subprocess.Popen[bytes]") -> None:
    usage = read_usage(os.getpid())
    assert usage is not None
    assert usage.rss_bytes > 2**20
    assert usage.cpu_seconds > 0
    sleeper.kill()
    sleeper.wait()
    assert read_usage(sleeper.pid) is None


def test_an_alarm_is_readable_after_its_delay_and_not_before() -> None:
    alarm = Alarm(0.01)
    assert select.select([alarm], [], [], 0.05)[0] == []
    alarm.set()
    assert select.select([alarm], [], [], 0)[0] == []
    assert select.select([alarm], [], [], 10)[0] == [alarm]
    alarm.clear()
    assert select.select([alarm], [], [], 0.05)[0] == []
    alarm.close()
    alarm.close()


def test_a_cleared_alarm_stays_silent() -> None:
    alarm = Alarm(0.01)
    alarm.set()
    alarm.clear()
    assert select.select([alarm], [], [], 0.05)[0] == []
    alarm.close()
