"""Run blocks on a list of hosts, by `ssh`.

    [blocks]
    provider = "ssh"
    nodes_per_block = 1
    max_blocks = 4

    [provider_options]
    hosts = ["node1", "node2", "ada@node3", "node4"]

There is no batch system: jobs wait here until enough hosts have a free slot, and start
where they are. A node of a job is a process group on a host that outlives the
connection (`ssh_host`); its provider only asks how it is, with one ssh per host and
question. What is remembered stands with the job (`ssh_job`) and on the hosts.

ssh is never asked for a password: log in by a key, in an agent or without a passphrase,
to hosts whose keys are in known_hosts. Hosts need bash, coreutils, findutils and
util-linux, no shared folder. A host whose systemd ends a user's processes at logout
(KillUserProcesses=yes) needs `loginctl enable-linger`.

A host that does not answer says nothing about its nodes: they are unknown until it is
back. A node that nobody has asked about for `abandon_after` seconds ends itself; so a
host that was silent for twice as long has nothing left of it, and the job has failed.
"""

import logging
import math
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from providers.base import (
    JobSpec,
    JobState,
    JobStatus,
    ProviderError,
    ProviderUnavailable,
    SubmitRejected,
)
from providers.batch_script import ScriptStyle, node_script
from providers.commands import require_commands
from providers.folder import Ending
from providers.open_jobs import OpenJobs
from providers.options import check_at_least, check_positive, check_word, read_options
from providers.processes import seconds_since
from providers.ssh_connection import Connections, SshLogin
from providers.ssh_host import HostAnswer, HostRules, NodeReport
from providers.ssh_hosts import Host, Hosts, check_hosts
from providers.ssh_job import NodeEnd, Place, SshJob, SshJobFolder, judge

__all__ = ["SshOptions", "SshProvider"]

logger = logging.getLogger(__name__)

# A host keeps its nodes' lease by its own clock, from a question that it heard; its
# answer may have been lost, and it may be slow to kill.
_GIVE_UP_LEASES = 2
_JOB_NAME = re.compile(r"[\w.-]+", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class SshOptions:
    """What `[provider_options]` may hold for ssh, beside `hosts`.

    Args:
        user, port, identity_file, ssh_config: as ssh's -l, -p, -i and -F; "" and 0: as
            the user's ssh configuration has it, where each host may have its own.
        slots_per_host: nodes that a host may run at a time.
        worker_init: shell lines before the command of every node.
        host_folder: where each host keeps its nodes' files; relative: to the user's
            home there.
        kill_after: seconds between the SIGTERM and the SIGKILL of a job that was
            cancelled or reached its walltime; >= 0.
        abandon_after: seconds after which a node ends that no provider asks about.
        poll_period: seconds between two questions to a host.
        connect_timeout: seconds that a connection may take.
        command_timeout: seconds after which a host is held for not answering.
        retry_period: seconds until a host that did not answer is asked again.

    Raises:
        ValueError: a value that makes no sense.
    """

    user: str = ""
    port: int = 0
    identity_file: str = ""
    ssh_config: str = ""
    slots_per_host: int = 1
    worker_init: str = ""
    host_folder: str = ".local/state/actors-blocks"
    kill_after: float = 10.0
    # Chosen: an endpoint may be down for lunch, not for the night.
    abandon_after: float = 3600.0
    # Chosen: a shared connection makes it cheap; see `ssh_connection`.
    poll_period: float = 5.0
    # Chosen: on a network that works, a connection takes a fraction of a second.
    connect_timeout: float = 5.0
    command_timeout: float = 20.0
    # Chosen: nothing else is done while a silent host is waited for.
    retry_period: float = 30.0

    def __post_init__(self) -> None:
        for name in ("user", "identity_file", "ssh_config", "host_folder"):
            check_word(name, getattr(self, name))
        check_at_least(1, "slots_per_host", self.slots_per_host)
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port {self.port} must be 1 to 65535; 0: ssh's own")
        if not self.host_folder:
            raise ValueError("host_folder '' must be a path on the hosts")
        if not 0 <= self.kill_after < math.inf:
            raise ValueError(f"kill_after {self.kill_after} must be 0 or more seconds")
        for name in (
            *("abandon_after", "poll_period", "connect_timeout"),
            *("command_timeout", "retry_period"),
        ):
            check_positive(name, getattr(self, name))
        if self.abandon_after < 2 * self.poll_period:
            raise ValueError(
                f"abandon_after {self.abandon_after:g} must be at least twice "
                f"poll_period {self.poll_period:g}, or nodes end between two questions"
            )


class SshProvider:
    """Jobs on a list of hosts; see `Provider` for the promises.

    Args:
        hosts: as ssh takes them: names, aliases of its configuration, USER@HOST.
        options: of `SshOptions`, by keyword.

    Raises:
        TypeError: an unknown option, or one of another type.
        ValueError: an option that makes no sense, or there is no ssh.
    """

    def __init__(self, *, hosts: Sequence[str] = (), **options: Any) -> None:
        read = read_options(SshOptions, options)
        check_hosts(hosts)
        require_commands("ssh", "ssh")
        self.poll_period = read.poll_period
        self._options = read
        self._names = list(hosts)
        self._style = ScriptStyle(number="", launch="", worker_init=read.worker_init)
        login = SshLogin(
            *(read.user, read.port, read.identity_file, read.ssh_config),
            read.connect_timeout,
        )
        self._hosts = Hosts(
            Connections(login, read.command_timeout),
            HostRules(
                *(read.host_folder, read.slots_per_host),
                *(read.kill_after, read.abandon_after),
            ),
            read.retry_period,
        )
        self._jobs = OpenJobs(_folder_of, _open_job)
        # Calls may come from several threads; two must not place jobs at a time.
        self._lock = threading.Lock()

    def submit(self, spec: JobSpec) -> str:
        """Take a job; start it if enough hosts have a free slot.

        Raises:
            SubmitRejected: more nodes than all hosts have slots, or every host refuses
                us; see `Provider` for the rest.
        """
        with self._lock:
            folder = SshJobFolder(spec.folder.absolute())
            job_id = str(folder.path)
            try:
                answers = None if folder.spec() else self._check(spec)
                ordered = folder.order(spec)
                if answers is not None:
                    job = self._jobs[job_id] = SshJob(folder, ordered)
                    self._start_waiting({job_id: job}, answers)
            except (OSError, ValueError, ProviderError) as error:
                raise SubmitRejected(
                    f"Cannot take job {spec.job_name}: {error}"
                ) from error
            return job_id

    def status(self, job_ids: Sequence[str]) -> dict[str, JobStatus]:
        """Ask each host once, and start what waits."""
        with self._lock:
            return self._status(job_ids)

    def cancel(self, job_ids: Sequence[str]) -> None:
        """Write down that jobs have to end, then tell their hosts."""
        with self._lock:
            statuses = self._status(job_ids, may_start=False)
            asked = {}
            for job_id, job in self._jobs.to_cancel(job_ids, statuses):
                if job.ending is None:
                    now = seconds_since(0)
                    job.ending = Ending(JobState.CANCELLED, "Cancelled", now)
                    try:
                        job.folder.ask_to_end(job.ending)
                    except OSError as error:
                        # A full disk must not keep a job alive.
                        logger.warning("%s: cannot note: %s", job.folder, error)
                asked[job_id] = job
            self._advance(asked, may_start=False)
            silent = self._hosts.problems(
                host for job in asked.values() for _, host in job.placed
            )
        if silent:
            raise ProviderUnavailable(f"Will be told later: {silent}")

    def recover(self, spec: JobSpec) -> str | None:
        """Find a job by its folder."""
        folder = SshJobFolder(spec.folder.absolute())
        try:
            return None if folder.spec() is None else str(folder.path)
        except OSError as error:
            raise ProviderUnavailable(f"Cannot use {folder}: {error}") from error

    def probe(self) -> None:
        """Ask all hosts nothing: they answer if jobs can be started there."""
        with self._lock:
            self._hosts.ask({name: [] for name in self._names})
            problems = self._hosts.problems(self._names)
        if problems:
            raise ProviderUnavailable(problems)

    def fileno(self) -> None:
        """Return None: hosts are polled."""

    def close(self) -> None:
        """Forget all jobs; they go on."""
        with self._lock:
            self._jobs.clear()
            self._hosts.close()

    # Submitting

    def _check(self, spec: JobSpec) -> Mapping[str, HostAnswer]:
        """See to it that a job can be taken, before anything is written.

        Returns:
            What the hosts said.

        Raises:
            ValueError, SubmitRejected: it cannot.
        """
        if not _JOB_NAME.fullmatch(spec.job_name):
            raise ValueError(
                f"its name {spec.job_name!r} must be letters, digits, '_', '-' and '.'"
            )
        node_script(self._style, spec)
        slots = len(self._names) * self._options.slots_per_host
        if spec.nodes > slots:
            raise SubmitRejected(
                f"its {spec.nodes} nodes are more than the {slots} slots of all hosts"
            )
        answers = self._hosts.ask({name: [] for name in self._names})
        if self._hosts.all_refuse(self._names):
            raise SubmitRejected(self._hosts.problems(self._names))
        return answers

    # Looking

    def _status(
        self, job_ids: Sequence[str], may_start: bool = True
    ) -> dict[str, JobStatus]:
        jobs, statuses = self._jobs.split(job_ids)
        self._advance(jobs, may_start)
        return statuses | {i: self._conclude(i, job) for i, job in jobs.items()}

    def _advance(self, jobs: Mapping[str, SshJob], may_start: bool) -> None:
        """Ask about jobs, tell them to end, start what waits where there is room."""
        requests: dict[str, list[str]] = {}
        for job in jobs.values():
            self._seal_what_waits(job)
            for number, name in job.placed:
                rules = self._hosts[name].rules
                ask = rules.look if job.ending is None else rules.end
                requests.setdefault(name, []).append(ask(job.node_key(number)))
        if may_start and any(job.waiting for job in jobs.values()):
            # All hosts: who has a free slot?
            requests = {name: [] for name in self._names} | requests
        answers = self._ask(jobs, requests)
        if may_start:
            self._start_waiting(jobs, answers)

    def _ask(
        self, jobs: Mapping[str, SshJob], requests: Mapping[str, Sequence[str]]
    ) -> Mapping[str, HostAnswer]:
        """Ask hosts, and note what they say about these jobs."""
        answers = self._hosts.ask(requests)
        for job in jobs.values():
            for number, name in job.placed:
                if name not in requests:
                    continue
                answer = answers.get(name)
                if answer is None:
                    self._give_up(job, number, self._hosts[name])
                elif report := answer.reports.get(job.node_key(number)):
                    self._note_report(job, number, name, report)
        return answers

    def _note_report(
        self, job: SshJob, number: int, host: str, report: NodeReport
    ) -> None:
        node = job.nodes[number]
        node.is_running = report.state == "running"
        try:
            if node.is_running:
                job.folder.note_begun(number, node.attempt)
            has_vanished = report.state == "none" and job.folder.has_begun(
                number, node.attempt
            )
        except OSError as error:
            logger.warning("%s: %s", job.folder, error)
            return
        if report.state == "over":
            job.settle(number, NodeEnd.of(host, report))
        elif has_vanished:
            # Its files were removed: with what ran there, or in spite of it.
            job.settle(number, NodeEnd(host))
        elif report.state == "sealed":
            if job.ending is None:
                node.place = None
            else:
                job.settle(number, NodeEnd())

    def _give_up(self, job: SshJob, number: int, host: Host) -> None:
        """End a node whose host was silent for so long that it has ended."""
        job.nodes[number].is_running = False
        since = host.silent_since
        lease = self._options.abandon_after
        if since is not None and time.monotonic() - since > _GIVE_UP_LEASES * lease:
            job.settle(number, NodeEnd(host.name, why="lost"))

    def _conclude(self, job_id: str, job: SshJob) -> JobStatus:
        """Say how a job is; write it down if it is over."""
        ends = [node.end for node in job.nodes if node.end is not None]
        if len(ends) < len(job.nodes):
            return self._on_its_way(job)
        status = judge(job.spec, ends, job.ending)
        job.folder.conclude(status)
        self._jobs.pop(job_id, None)
        return status

    def _on_its_way(self, job: SshJob) -> JobStatus:
        problems = self._hosts.problems(host for _, host in job.placed)
        message = problems if job.ending is None else f"Ending: {job.ending.message}"
        if any(node.is_running for node in job.nodes):
            return JobStatus(JobState.RUNNING, message=message)
        if problems:
            return JobStatus(JobState.UNKNOWN, message=problems)
        if any(node.end for node in job.nodes):
            # The rest waits for its place.
            return JobStatus(JobState.RUNNING, message=message)
        if job.ending is None and job.waiting:
            problems = self._hosts.problems(self._names)
            if self._hosts.all_refuse(self._names):
                return JobStatus(JobState.HELD, message=problems)
            message = f"Waits for {len(job.waiting)} free slots"
            message = "; ".join(filter(None, [message, problems]))
        return JobStatus(JobState.PENDING, message=message)

    # Placing

    def _seal_what_waits(self, job: SshJob) -> None:
        """See to it that the waiting nodes of a job that has to end never start."""
        if job.ending is None:
            return
        for number in job.waiting:
            self._take_place(job, number, "")
            place = job.nodes[number].place
            if place is not None and not place.host:
                job.settle(number, NodeEnd())

    def _start_waiting(
        self, jobs: Mapping[str, SshJob], answers: Mapping[str, HostAnswer]
    ) -> None:
        """Give waiting nodes a place, and start them there."""
        free = {name: answer.free_slots for name, answer in answers.items()}
        starts: dict[str, list[str]] = {}

        def start(job: SshJob, number: int, name: str) -> None:
            free[name] = free.get(name, 0) - 1
            script = node_script(self._style, job.spec)
            rules, walltime = self._hosts[name].rules, job.spec.walltime
            request = rules.start(job.node_key(number), number, walltime, script)
            starts.setdefault(name, []).append(request)

        for job in jobs.values():
            if job.ending is not None:
                continue
            # A start that was not heard of, and was not done.
            for number, name in job.placed:
                report = answers.get(name)
                found = report and report.reports.get(job.node_key(number))
                if found and found.state == "none":
                    start(job, number, name)
        for job in jobs.values():
            waiting = job.waiting if job.ending is None else []
            room = _spread({name: free.get(name, 0) for name in self._names})
            # All or none: jobs that hold a part each would wait for one another.
            if len(room) < len(waiting):
                continue
            for number, name in zip(waiting, room, strict=False):
                self._take_place(job, number, name)
                place = job.nodes[number].place
                if place is not None and place.host == name:
                    start(job, number, name)
        if starts:
            self._ask(jobs, starts)

    def _take_place(self, job: SshJob, number: int, host: str) -> None:
        node = job.nodes[number]
        place = Place(node.attempt + 1, host)
        try:
            node.place = job.folder.take_place(number, place)
        except OSError as error:
            logger.warning("%s: cannot note a place: %s", job.folder, error)
            return
        node.attempt = place.attempt


def _folder_of(job_id: str) -> SshJobFolder:
    return SshJobFolder(Path(job_id))


def _open_job(_job_id: str, folder: SshJobFolder, spec: JobSpec) -> SshJob:
    return SshJob(folder, spec)


def _spread(free: Mapping[str, int]) -> list[str]:
    """List hosts with free slots, each as often as it has some.

    Nodes get hosts of their own while there are some, the emptiest first.
    """
    names = sorted(free, key=lambda name: -free[name])
    rounds = max(free.values(), default=0)
    return [name for taken in range(rounds) for name in names if free[name] > taken]
