"""What /proc tells about processes: who is alive, and who belongs to a session.

A pid alone names nobody: it is given to another process when its own has ended. With
the start time (clock ticks since boot) and the boot's id it names one process for ever.
No wall clock is involved, so setting the clock moves nothing.

A session's id is the pid of its leader. The kernel does not give that number to a new
process as long as any process of the session lives; see `session_members`.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "ProcessStat",
    "boot_id",
    "is_alive",
    "parse_stat",
    "read_stat",
    "seconds_since",
    "session_members",
]

_PROC = Path("/proc")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# Fields of /proc/PID/stat after the command's name, as in proc(5), counted from 0.
_STATE, _SESSION, _START_TIME = 0, 3, 19
# A zombie has ended, and only waits for its parent to take notice.
_DEAD_STATES = "ZXx"


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """One process, as /proc/PID/stat had it."""

    pid: int
    state: str
    session: int
    start_time: int  # clock ticks since boot


def boot_id() -> str:
    """Return what is different after each boot of this machine."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def parse_stat(line: str) -> ProcessStat:
    """Parse the content of /proc/PID/stat.

    Raises:
        ValueError: it is none.
    """
    # The name stands in parentheses and may itself hold spaces and parentheses.
    head, separator, tail = line.rpartition(")")
    fields = tail.split()
    if not separator or len(fields) <= _START_TIME:
        raise ValueError(f"Not a line of /proc/PID/stat: {line!r}")
    return ProcessStat(
        pid=int(head.split("(", 1)[0]),
        state=fields[_STATE],
        session=int(fields[_SESSION]),
        start_time=int(fields[_START_TIME]),
    )


def read_stat(pid: int) -> ProcessStat | None:
    """Look at a process; None if there is none with this pid."""
    try:
        line = (_PROC / str(pid) / "stat").read_text(errors="replace")
    # A process that ends while it is read: ESRCH.
    except (FileNotFoundError, ProcessLookupError):
        return None
    return parse_stat(line)


def is_alive(process: ProcessStat) -> bool:
    """Tell whether this very process, seen earlier in this boot, still runs."""
    now = read_stat(process.pid)
    return (
        now is not None
        and now.start_time == process.start_time
        and now.state not in _DEAD_STATES
    )


def seconds_since(start_time: int) -> float:
    """Return the seconds since a process's start time."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - start_time / _TICKS_PER_SECOND


def session_members(leader: ProcessStat) -> list[ProcessStat]:
    """List the living processes of a session, the leader included.

    Args:
        leader: as it was in this boot; it may have ended since.
    """
    now = read_stat(leader.pid)
    if now is not None and now.start_time != leader.start_time:
        # The leader's pid names a stranger, so the session had ended by then.
        return []
    members = []
    for entry in _PROC.iterdir():
        if not entry.name.isdecimal():
            continue
        process = read_stat(int(entry.name))
        if (
            process is not None
            and process.session == leader.pid
            and process.start_time >= leader.start_time
            and process.state not in _DEAD_STATES
        ):
            members.append(process)
    return members
