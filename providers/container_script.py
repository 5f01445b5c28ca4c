"""What runs a node where a container, or a task of a cloud, is all there is.

    bash -c CONTAINER_SCRIPT bash WALLTIME GRACE COMMAND
       └─► the command, in a process group of its own

The script is a container's first process, which the kernel does not let SIGTERM end: it
passes the signal on, and kills what does not hear it. It keeps the walltime by itself,
to the second, where a system would count minutes or include the time that was waited,
and tells by the exit code of timeout(1). Whatever else is left ends with the container.
"""

import math

from providers.base import JobState, JobStatus
from providers.cluster import NodeOrder

__all__ = ["container_end", "container_words", "hard_limit"]

_TIMEOUT_EXIT_CODE = 124
# Chosen: what a system itself may add between a container's start and its script's.
_LIMIT_MARGIN = 60.0

_SCRIPT = """\
why=
ask() { # WHY
    [ -z "$why" ] || return
    why=$1
    kill -TERM -- "-$child" 2> /dev/null
    { sleep "$grace"; kill -KILL -- "-$child"; } 2> /dev/null &
}
walltime=$1 grace=$2
trap 'ask term' HUP INT TERM
trap 'ask time' USR1
set -m
bash -c "$3" < /dev/null &
child=$!
if [ "$walltime" != 0 ]; then
    { sleep "$walltime"; kill -USR1 "$$"; } &
fi
set +m
# A trap ends a wait; the last one, for a child that has ended, tells its exit code.
# Bash would report how it ended.
{
    wait "$child"
    while kill -0 "$child"; do
        wait "$child"
    done
    wait "$child"
} 2> /dev/null
code=$?
[ "$why" != time ] || code=124
exit "$code"
"""


def container_words(node: NodeOrder, worker_init: str, grace: float) -> list[str]:
    """Give the command of a node's container.

    Args:
        node: what it runs.
        worker_init: shell lines before that.
        grace: seconds between SIGTERM and SIGKILL.
    """
    init = worker_init.rstrip("\n")
    command = f"{init}\n{node.command}" if init else node.command
    walltime = node.spec.walltime or 0
    return ["bash", "-c", _SCRIPT, "bash", f"{walltime:g}", f"{grace:g}", command]


def hard_limit(node: NodeOrder, grace: float) -> int | None:
    """Give the seconds after which the system has to end a container by itself."""
    walltime = node.spec.walltime
    return None if walltime is None else math.ceil(walltime + grace + _LIMIT_MARGIN)


def container_end(
    node: NodeOrder, code: int | None, duration: float | None, message: str = ""
) -> JobStatus:
    """Say how a container ended by itself.

    Args:
        node: that it ran.
        code: of the script; None: the system tells none.
        duration: seconds that the container ran; None: not told.
        message: what the system has to say about it.
    """
    if code == 0:
        return JobStatus(JobState.COMPLETED, 0)
    walltime = node.spec.walltime
    # Systems count whole seconds.
    is_late = walltime is not None and (duration is None or duration + 1 >= walltime)
    if is_late and code == _TIMEOUT_EXIT_CODE:
        message = f"Reached its walltime, {walltime:g} s"
        return JobStatus(JobState.TIMEOUT, code, message)
    return JobStatus(JobState.FAILED, code, message)
