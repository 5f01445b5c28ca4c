"""What the operating system knows about processes: who lives, who dies with whom.

Linux. Everything here reads /proc or makes one system call, and imports nothing that
is slow to import: the fork server needs it before the first worker can start.

A pid alone names nobody for long: the kernel gives it away again. `ProcessIdentity`
is a pid with its start, `ProcessWatch` a descriptor that becomes readable at death.
"""

import contextlib
import ctypes
import errno
import os
import select
import signal
import sys
from collections.abc import Iterator

import msgspec

__all__ = [
    "Alarm",
    "ProcessIdentity",
    "ProcessUsage",
    "ProcessWatch",
    "become_subreaper",
    "die_with_parent",
    "find_outer_pid",
    "kill_group",
    "kill_session",
    "name_process",
    "python_version",
    "read_descendants_rss",
    "read_oom_kills",
    "read_usage",
]

# From <linux/prctl.h>.
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36

# Positions in /proc/PID/stat, counted from the state, which follows the name.
_STATE = 0
_SESSION = 3
_USER_TICKS = 11
_SYSTEM_TICKS = 12
_STARTED_TICKS = 19
_RSS_PAGES = 21

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

# Zombies and the dead: they run nothing any more, they only wait for their parent.
_DEAD_STATES = ("Z", "X", "x")

# A process that forks while its session is being killed needs another look; chosen:
# who still forks after so many looks does it faster than we can read /proc.
_MAX_LOOKS = 100

# From <time.h> and <sys/timerfd.h>.
_CLOCK_MONOTONIC = 1
_TFD_CLOEXEC = os.O_CLOEXEC
_NANOSECONDS = 1_000_000_000

_libc = ctypes.CDLL(None, use_errno=True)

# Setting a timer does not block: keeping the interpreter's lock is cheaper than giving
# it away and asking for it again.
_timerfd_settime = ctypes.PyDLL(None).timerfd_settime


def _prctl(option: int, argument: object) -> None:
    if _libc.prctl(option, argument, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel SIGKILL this process when its parent ends.

    The kernel's "parent" is the *thread* that made this process: call it only where
    that thread lives as long as the process it belongs to. It does not hold for
    children of this process, and not beyond an `exec` that changes credentials.
    If the parent is gone already, this process ends here and now.

    Args:
        parent_pid: who the parent was when this process was made.

    Raises:
        OSError: the kernel refuses.
    """
    _prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)


def become_subreaper() -> None:
    """Make orphaned descendants children of this process, not of init.

    Raises:
        OSError: the kernel refuses.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1))


def name_process(name: str) -> None:
    """Set what `top` shows for this process; the kernel keeps 15 bytes of it."""
    _prctl(_PR_SET_NAME, ctypes.c_char_p(os.fsencode(name)))


def _read_stat(pid: int) -> list[str] | None:
    """Read /proc/PID/stat from the state on; None if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read().decode("ascii", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in parentheses and may hold anything, parentheses too.
    return text[text.rindex(")") + 2 :].split()


class ProcessIdentity(msgspec.Struct, frozen=True):
    """One process and no other, also after its pid was given away again.

    Args:
        pid: its process id.
        started_at: when it started, seconds since the machine's boot. Unlike a
            moment since 1970 it does not move when somebody sets the clock.
    """

    pid: int
    started_at: float

    @classmethod
    def of(cls, pid: int) -> "ProcessIdentity":
        """Identify a process that exists; a zombie still does.

        Raises:
            ProcessLookupError: no process has this pid.
        """
        stat = _read_stat(pid)
        if stat is None:
            raise ProcessLookupError(errno.ESRCH, f"No process has pid {pid}")
        return cls(pid, int(stat[_STARTED_TICKS]) / _TICKS_PER_SECOND)

    def is_alive(self) -> bool:
        """Tell whether it still runs; a zombie does not."""
        stat = _read_stat(self.pid)
        return (
            stat is not None
            and stat[_STATE] not in _DEAD_STATES
            and int(stat[_STARTED_TICKS]) / _TICKS_PER_SECOND == self.started_at
        )

    def send_signal(self, number: int) -> bool:
        """Signal this process and never another one that has its pid now.

        Returns:
            Whether it was alive to get the signal.

        Raises:
            PermissionError: it belongs to somebody else.
        """
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            # The descriptor holds on to whoever has the pid now: compare, then send.
            if not self.is_alive():
                return False
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
        return True


class ProcessWatch:
    """A descriptor for selectors that is readable once a process is dead.

    A process that is dead already makes it readable at once. Dead means here that it
    ended; its parent need not have waited for it.
    """

    def __init__(self, identity: ProcessIdentity) -> None:
        self.identity = identity
        try:
            self._descriptor = os.pidfd_open(identity.pid)
        except ProcessLookupError:
            self._descriptor = _readable_descriptor()
            return
        if not identity.is_alive():
            # Perhaps the pid is somebody else's by now, who may live for long.
            os.close(self._descriptor)
            self._descriptor = _readable_descriptor()

    def fileno(self) -> int:
        """Return the descriptor, -1 after `close`."""
        return self._descriptor

    def is_dead(self) -> bool:
        """Tell whether the process has ended, without waiting."""
        poller = select.poll()
        poller.register(self._descriptor, select.POLLIN)
        return bool(poller.poll(0))

    def close(self) -> None:
        """Release the descriptor; closing twice does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _readable_descriptor() -> int:
    return os.eventfd(1, os.EFD_CLOEXEC)


def _living_members(session_id: int) -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdecimal():
            stat = _read_stat(int(name))
            if (
                stat is not None
                and int(stat[_SESSION]) == session_id
                and stat[_STATE] not in _DEAD_STATES
            ):
                yield int(name)


def kill_session(session_id: int) -> int:
    """SIGKILL every process of a session, whatever process groups it has.

    Looks again until nobody is left, as a member may fork meanwhile. The caller
    itself is spared. Processes that have made a session of their own are no members.

    Args:
        session_id: the pid of the process that called `setsid`; it may be dead.

    Returns:
        How many processes were sent the signal.

    Raises:
        PermissionError: a member belongs to somebody else.
    """
    signalled: set[int] = set()
    for _ in range(_MAX_LOOKS):
        members = [pid for pid in _living_members(session_id) if pid != os.getpid()]
        if not members:
            break
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                signalled.add(pid)
    return len(signalled)


def kill_group(group_id: int) -> bool:
    """SIGKILL every process of a process group.

    Args:
        group_id: > 1; 0 and 1 would mean this process's own group, and everybody.

    Returns:
        Whether the group still had a member.

    Raises:
        PermissionError: all members belong to somebody else.
    """
    if group_id <= 1:
        raise ValueError(f"Process group {group_id} must be greater than 1")
    try:
        os.killpg(group_id, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


class ProcessUsage(msgspec.Struct, frozen=True):
    """What a process takes: resident bytes now, processor seconds since its start."""

    rss_bytes: int
    cpu_seconds: float


def read_usage(pid: int) -> ProcessUsage | None:
    """Read what a process takes; None if it is gone, zeros of memory for a zombie."""
    stat = _read_stat(pid)
    if stat is None:
        return None
    ticks = int(stat[_USER_TICKS]) + int(stat[_SYSTEM_TICKS])
    return ProcessUsage(int(stat[_RSS_PAGES]) * _PAGE_BYTES, ticks / _TICKS_PER_SECOND)


def _children(pid: int) -> list[int]:
    """Return the living children of a process, of all its threads."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
    except OSError:
        pass  # it is gone, or a thread of it
    return found


def read_descendants_rss(pid: int) -> int:
    """Return the resident bytes of what a process has started, without itself.

    Memory that several share counts for each.
    """
    total = 0
    waiting = _children(pid)
    while waiting:
        child = waiting.pop()
        usage = read_usage(child)
        if usage is not None:
            total += usage.rss_bytes
            waiting += _children(child)
    return total


def find_outer_pid(parent_pid: int, inner_pid: int) -> int:
    """Find a process by the pid that it has for its parent, in a container perhaps.

    Args:
        parent_pid: of its parent, as we see it.
        inner_pid: its own, in the innermost namespace that it is in.

    Returns:
        Its pid for us; 0: it is gone, or the kernel does not tell.
    """
    for child in _children(parent_pid):
        try:
            with open(f"/proc/{child}/status", "rb") as file:
                inner = [line for line in file if line.startswith(b"NSpid:")]
        except OSError:
            continue
        if inner and int(inner[0].split()[-1]) == inner_pid:
            return child
    return 0


def read_oom_kills() -> int:
    """Return how many processes the kernel has killed for want of memory so far."""
    try:
        with open("/proc/vmstat", encoding="ascii") as file:
            for line in file:
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0


class _TimerSpec(ctypes.Structure):
    # struct itimerspec: the period, then the time until it fires first.
    _fields_ = (
        ("period_seconds", ctypes.c_long),
        ("period_nanoseconds", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
    )


class Alarm:
    """A descriptor for selectors that is readable some time after it was set.

    Setting and clearing cost a system call each and wake nobody.

    Args:
        delay: seconds from `set` to readable; > 0.
    """

    def __init__(self, delay: float) -> None:
        nanoseconds = round(delay * _NANOSECONDS)
        self._set = _TimerSpec(0, 0, *divmod(nanoseconds, _NANOSECONDS))
        self._clear = _TimerSpec(0, 0, 0, 0)
        self._descriptor: int = _libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_CLOEXEC)
        if self._descriptor < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"timerfd_create: {os.strerror(number)}")

    def fileno(self) -> int:
        """Return the descriptor, -1 after `close`."""
        return self._descriptor

    def set(self) -> None:
        """Become readable after the delay, once; a running delay starts again."""
        _timerfd_settime(self._descriptor, 0, ctypes.byref(self._set), None)

    def clear(self) -> None:
        """Become and stay unreadable."""
        _timerfd_settime(self._descriptor, 0, ctypes.byref(self._clear), None)

    def close(self) -> None:
        """Release the descriptor; closing twice does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def python_version() -> str:
    """Return "3.11": what must be equal where pickles travel."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"
