"""One local job's folder: what is written when, so that nobody's death loses anything.

    job.json       the order, written first and whole. Without it: never submitted
    node-0.claim   who runs node 0: the boot's id and /proc/PID/stat of its wrapper; or
                   "sealed": nobody ever will
    node-0.exit    the exit code of node 0's command
    node-0.stdout  node-0.stderr
    ending.json    the job was asked to end: which state that will be, since when
    status.json    how the job ended, written last; nothing changes after it

Each file appears under its name with all its content (written aside, then renamed or
linked), and is never rewritten. A claim is made with link(2), which fails if the name
is taken: of all wrappers that were ever started for a node, and whoever wants to seal
it, exactly one wins. So a wrapper that comes late, after its provider was killed and
another one started the node again, sees the claim and leaves.

Nothing is synced to the disk: with the machine die the processes too, and the boot's id
tells.
"""

from pathlib import Path
from typing import NamedTuple

from providers.base import JobState, JobStatus
from providers.folder import Ending, OrderFolder, explain_exit_code, read_tail
from providers.processes import ProcessStat, parse_stat

__all__ = ["WRAPPER", "Claim", "JobFolder"]

# What runs a node, as the leader of a session of its own.
#   $1 path of the node's files, without suffix; $2 boot id; $3 shell; $4 command
# SIGTERM goes to the whole group. The wrapper must outlive it, to tell the exit code; a
# trap that does something is not inherited by the command, an ignored signal would be.
# At the end it takes the rest of its group along, should nobody else be there to do it.
WRAPPER = """
asked=
trap 'asked=yes' HUP INT TERM
IFS= read -r stat < "/proc/$$/stat" || exit 1
rm -f "$1.claim.$$"
printf '%s\\n%s\\n' "$2" "$stat" > "$1.claim.$$" || exit 1
if ! problem=$(ln "$1.claim.$$" "$1.claim" 2>&1); then
    rm -f "$1.claim.$$"
    [ -e "$1.claim" ] || printf '%s\\n' "$problem" >&2
    exit 1
fi
rm -f "$1.claim.$$"
if [ -z "$asked" ]; then
    "$3" -c "$4"
    code=$?
else
    code=143
fi
printf '%s\\n' "$code" > "$1.exit.$$" && mv "$1.exit.$$" "$1.exit"
kill -KILL 0
"""

_SEALED = "sealed\n"


class Claim(NamedTuple):
    """Who runs a node.

    Args:
        boot: id of the boot of the machine; "" if the node is sealed.
        leader: the wrapper; None if the node is sealed.
    """

    boot: str
    leader: ProcessStat | None


class JobFolder(OrderFolder):
    """The files of one local job."""

    # Nodes

    def node_path(self, node: int) -> Path:
        """Return the path of a node's files, without suffix."""
        return self.path / f"node-{node}"

    def claim(self, node: int) -> Claim | None:
        """Tell who runs a node; None: nobody yet."""
        text = self._read(f"node-{node}.claim")
        if text is None:
            return None
        if text == _SEALED:
            return Claim("", None)
        boot, stat = text.splitlines()
        return Claim(boot, parse_stat(stat))

    def seal(self, node: int) -> bool:
        """See to it that nobody will run a node; false if somebody has begun."""
        return self._create(f"node-{node}.claim", _SEALED)

    def exit_code(self, node: int) -> int | None:
        """Return the exit code of a node's command; None if none was told."""
        text = self._read(f"node-{node}.exit")
        return None if text is None else int(text)

    def stderr_tail(self, node: int) -> str:
        """Return the last characters that a node wrote to standard error."""
        return read_tail(self.node_path(node).with_suffix(".stderr"))

    # The end

    def judge(self, nodes: int, ending: Ending | None) -> JobStatus:
        """Tell how the job ended.

        Args:
            nodes: how many it has; all have ended.
            ending: what was asked for, if anything.
        """
        codes = [self.exit_code(node) for node in range(nodes)]
        failed = next((node for node, code in enumerate(codes) if code != 0), None)
        if failed is None:
            tails = map(self.stderr_tail, range(nodes))
            tail = next(filter(None, tails), "")
            code: int | None = 0
        else:
            tail, code = self.stderr_tail(failed), codes[failed]
        if ending is not None:
            return JobStatus(ending.state, code, ending.message, tail)
        if failed is None:
            return JobStatus(JobState.COMPLETED, 0, "", tail)
        return JobStatus(JobState.FAILED, code, self._cause(failed, code), tail)

    def _cause(self, node: int, code: int | None) -> str:
        if code is None:
            claim = self.claim(node)
            if claim is None or claim.leader is None:
                return f"Node {node} could not start"
            return (
                f"Node {node} ended without an exit code: its shell was killed, "
                f"or could not write to {self.path}"
            )
        return explain_exit_code(node, code)
