"""Run blocks as processes of this machine.

    submit ──► job.json ──► a wrapper shell per node, each in a session of its own
                                │ claims its node, runs the command, notes the exit code
    status ◄── the job's files and /proc

A job does not die with the process that submitted it. It needs no parent either: all
that there is to know stands in the job's folder (`local_job`) and in /proc, so a new
provider goes on where a killed one was. The job's id is its folder's path.

When a node's command has ended, every process that is left in its session is killed.
Walltime, and the grace after a `cancel`, are kept by `status`: call it now and then.
"""

import logging
import os
import select
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from providers.base import (
    JobSpec,
    JobState,
    JobStatus,
    ProviderError,
    SubmitRejected,
)
from providers.folder import Ending
from providers.local_job import WRAPPER, JobFolder
from providers.processes import (
    ProcessStat,
    boot_id,
    is_alive,
    seconds_since,
    session_members,
)

__all__ = ["LocalProvider"]

logger = logging.getLogger(__name__)

# Lines that people write for batch systems expect bash; sh will do where there is none.
_SHELL = shutil.which("bash") or "/bin/sh"
# A process that got SIGKILL is gone within milliseconds, unless it waits for a disk.
_KILL_PATIENCE = 1.0
_KILL_POLL_PERIOD = 0.002


class _Node:
    """What this process knows of one node of a job."""

    def __init__(self) -> None:
        self.is_claimed = False  # somebody runs it, or it is sealed
        self.leader: ProcessStat | None = None  # its wrapper, if of this boot
        self.child: int | None = None  # pid of the wrapper that this process started
        self.pidfd: int | None = None
        self.is_over = False  # ended, and no process of its session is left


class _Job:
    """A job that is not known to be over."""

    def __init__(self, folder: JobFolder, spec: JobSpec) -> None:
        self.folder = folder
        self.spec = spec
        self.nodes = [_Node() for _ in spec.commands]
        self.ending = folder.ending()
        self.is_terminated = False  # got SIGTERM from this process


class LocalProvider:
    """Jobs as processes of this machine; see `Provider` for the promises.

    Args:
        kill_after: seconds between the SIGTERM and the SIGKILL of a job that was
            cancelled or reached its walltime; >= 0.

    Raises:
        ValueError: `kill_after` is negative.
    """

    # Ends are told by `fileno`; this is how exactly walltimes are kept.
    poll_period = 1.0

    def __init__(self, *, kill_after: float = 5.0) -> None:
        if not kill_after >= 0:
            raise ValueError(f"kill_after {kill_after} must be 0 or more seconds")
        self._kill_after = kill_after
        self._boot = boot_id()
        self._jobs: dict[str, _Job] = {}  # {job_id: a job that is not known to be over}
        self._children: set[int] = set()  # pids that this process has to reap
        # Readable while a wrapper that `status` has not seen end has ended.
        self._ends = select.epoll()
        # Calls may come from several threads; none takes longer than a kill.
        self._lock = threading.Lock()

    def submit(self, spec: JobSpec) -> str:
        """Start a process per node."""
        with self._lock:
            folder = JobFolder(spec.folder.resolve())
            try:
                ordered = folder.order(spec)
            except (OSError, ProviderError) as error:
                raise SubmitRejected(
                    f"Cannot write job {spec.job_name} to {folder.path}: {error}"
                ) from error
            job_id = str(folder.path)
            if folder.status() is None:
                job = self._jobs.setdefault(job_id, _Job(folder, ordered))
                self._start(job)
            return job_id

    def status(self, job_ids: Sequence[str]) -> dict[str, JobStatus]:
        """Look at the jobs' files and processes; end what has to end."""
        with self._lock:
            self._reap()
            return {job_id: self._look(job_id) for job_id in job_ids}

    def cancel(self, job_ids: Sequence[str]) -> None:
        """Send SIGTERM to the groups of all nodes."""
        with self._lock:
            self._reap()
            for job_id in job_ids:
                # Not what has ended by itself: that keeps its own state.
                if self._look(job_id).state.is_final:
                    continue
                self._end(self._jobs[job_id], JobState.CANCELLED, "Cancelled")

    def recover(self, spec: JobSpec) -> str | None:
        """Find a job by its folder, and start the nodes that never came to start."""
        with self._lock:
            job_id = str(spec.folder.resolve())
            job = self._find(job_id)
            if job is None:
                return job_id if JobFolder(Path(job_id)).status() else None
            # Nodes that can't be started: the job has failed, as `status` will tell.
            with suppress(SubmitRejected):
                self._start(job)
            return job_id

    def fileno(self) -> int:
        """Return what is readable when a node has ended and `status` should be asked.

        Raises:
            ValueError: closed.
        """
        return self._ends.fileno()

    def close(self) -> None:
        """Forget all jobs; they go on."""
        with self._lock:
            for job in self._jobs.values():
                for node in job.nodes:
                    self._unwatch(node)
            self._jobs.clear()
            self._reap()
            self._ends.close()

    # Starting

    def _find(self, job_id: str) -> _Job | None:
        """Return a job that is not known to be over; None: unknown, or over."""
        job = self._jobs.get(job_id)
        if job is None:
            folder = JobFolder(Path(job_id))
            spec = folder.spec()
            if spec is None or folder.status() is not None:
                return None
            job = self._jobs[job_id] = _Job(folder, spec)
        return job

    def _start(self, job: _Job) -> None:
        """Start a wrapper for each node that has none, unless the job has to end."""
        if job.ending is not None:
            return
        for number, node in enumerate(job.nodes):
            if node.child is not None or job.folder.claim(number) is not None:
                continue
            try:
                node.child = self._spawn(job, number)
            except OSError as error:
                reason = f"Cannot start node {number}: {error}"
                # What began is killed at once: `status` may never be asked.
                self._end(job, JobState.FAILED, reason)
                self._kill(job)
                raise SubmitRejected(
                    f"Job {job.spec.job_name} was not started: {reason}"
                ) from error
            self._watch(node, node.child)

    def _spawn(self, job: _Job, number: int) -> int:
        path = job.folder.node_path(number)
        with (
            path.with_suffix(".stdout").open("ab") as stdout,
            path.with_suffix(".stderr").open("ab") as stderr,
        ):
            process = subprocess.Popen(
                [
                    *("/bin/sh", "-c", WRAPPER, "sh"),
                    *(str(path), self._boot, _SHELL, job.spec.commands[number]),
                ],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env={**os.environ, **job.spec.environment},
                start_new_session=True,
            )
        self._children.add(process.pid)
        # The job may outlive us, so nobody waits through this object; `_reap` does, by
        # the pid. Without an exit code it would warn when it is thrown away.
        process.returncode = 0
        return process.pid

    def _reap(self) -> None:
        """Take note of children that ended: else they would stay as zombies."""
        for pid in list(self._children):
            try:
                ended, _ = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                # Somebody else in this process waited for all children.
                ended = pid
            if ended:
                self._children.discard(pid)

    # Looking

    def _look(self, job_id: str) -> JobStatus:
        job = self._find(job_id)
        if job is None:
            return JobFolder(Path(job_id)).status() or JobStatus(
                JobState.FAILED,
                message=f"No job {job_id}: never submitted, or its folder was removed",
            )
        for number, node in enumerate(job.nodes):
            self._look_at_node(job, number, node)
        self._keep_time(job)
        if all(node.is_over for node in job.nodes):
            return self._conclude(job_id, job)
        message = "" if job.ending is None else f"Ending: {job.ending.message}"
        if any(node.is_claimed for node in job.nodes):
            return JobStatus(JobState.RUNNING, message=message)
        return JobStatus(JobState.PENDING, message=message)

    def _look_at_node(self, job: _Job, number: int, node: _Node) -> None:
        """Bring `node` up to date; kill what its command left when it has ended."""
        if node.is_over:
            return
        # In this order: a child that has ended by now claims nothing any more.
        child_ended = node.child is not None and node.child not in self._children
        self._read_claim(job, number, node)
        if not node.is_claimed and child_ended:
            _seal(job.folder, number)
            self._read_claim(job, number, node)
        if not node.is_claimed:
            return
        if node.leader is None:
            self._unwatch(node)
            node.is_over = True
            return
        # In this order: a wrapper that is gone by now has told all it ever will.
        is_running = is_alive(node.leader)
        if not is_running or job.folder.exit_code(number) is not None:
            self._unwatch(node)
            node.is_over = _sweep(node.leader)
        elif node.pidfd is None:
            self._watch(node, node.leader.pid)

    def _read_claim(self, job: _Job, number: int, node: _Node) -> None:
        if node.is_claimed:
            return
        claim = job.folder.claim(number)
        if claim is not None:
            node.is_claimed = True
            # In another boot, another process has its pid.
            node.leader = claim.leader if claim.boot == self._boot else None

    # Ending

    def _conclude(self, job_id: str, job: _Job) -> JobStatus:
        status = job.folder.judge(len(job.nodes), job.ending)
        job.folder.conclude(status)
        del self._jobs[job_id]
        return status

    def _keep_time(self, job: _Job) -> None:
        """End a job that reached its walltime; kill one that had its grace."""
        walltime = job.spec.walltime
        if job.ending is None and walltime is not None:
            leaders = [leader for _, leader in _living(job)]
            age = max((seconds_since(at.start_time) for at in leaders), default=0.0)
            if age >= walltime:
                self._end(job, JobState.TIMEOUT, f"Reached its walltime, {walltime} s")
        if job.ending is None:
            return
        if not job.is_terminated:
            # A predecessor asked, and may have died before it sent the signal.
            self._terminate(job)
        if seconds_since(0) - job.ending.asked_at >= self._kill_after:
            self._kill(job)

    def _end(self, job: _Job, state: JobState, message: str) -> None:
        """Ask a job to end, unless it was asked before."""
        if job.ending is None:
            job.ending = Ending(state, message, seconds_since(0))
            try:
                job.folder.ask_to_end(job.ending)
            except OSError as error:
                # A full disk must not keep a job alive; a successor would not know.
                logger.warning("%s: cannot note '%s': %s", job.folder, message, error)
        if not job.is_terminated:
            self._terminate(job)

    def _terminate(self, job: _Job) -> None:
        """Send SIGTERM to every node, and see to it that no other one starts."""
        for number, node in enumerate(job.nodes):
            _seal(job.folder, number)
            self._read_claim(job, number, node)
        for _, leader in _living(job):
            # It may end between the look and the signal.
            with suppress(ProcessLookupError):
                os.killpg(leader.pid, signal.SIGTERM)
        job.is_terminated = True

    def _kill(self, job: _Job) -> None:
        """Kill every process of the job."""
        for node, leader in _living(job):
            self._unwatch(node)
            node.is_over = _sweep(leader)

    # Prompt notice

    def _watch(self, node: _Node, pid: int) -> None:
        """Let `fileno` tell when a wrapper has ended."""
        self._unwatch(node)
        # Not everywhere allowed or there, and the process may have ended: then the end
        # is seen at the next `status`, as it would be without.
        with suppress(OSError):
            node.pidfd = os.pidfd_open(pid)
            self._ends.register(node.pidfd, select.EPOLLIN)

    def _unwatch(self, node: _Node) -> None:
        if node.pidfd is not None:
            # Closing takes it out of the epoll set: nobody else holds it.
            os.close(node.pidfd)
            node.pidfd = None


def _living(job: _Job) -> list[tuple[_Node, ProcessStat]]:
    """List the nodes whose wrapper runs, with the wrapper."""
    return [
        (node, node.leader)
        for node in job.nodes
        if not node.is_over and node.leader is not None and is_alive(node.leader)
    ]


def _seal(folder: JobFolder, number: int) -> None:
    """See to it that nobody starts a node any more, if the disk lets us."""
    try:
        folder.seal(number)
    except OSError as error:
        logger.warning("%s: cannot seal node %d: %s", folder, number, error)


def _sweep(leader: ProcessStat) -> bool:
    """Kill every process of a session; false if some don't die."""
    deadline = time.monotonic() + _KILL_PATIENCE
    # Again and again: what is killed may just have forked.
    while members := session_members(leader):
        if time.monotonic() > deadline:
            return False
        for member in members:
            # A member that ended since is gone, which is what we want.
            if is_alive(member):
                with suppress(ProcessLookupError):
                    os.kill(member.pid, signal.SIGKILL)
        time.sleep(_KILL_POLL_PERIOD)
    return True
