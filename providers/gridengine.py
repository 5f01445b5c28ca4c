"""Run blocks as Grid Engine jobs: `qsub`, `qstat`, `qdel`, `qacct`, `qrsh`.

    [blocks]
    provider = "gridengine"
    nodes_per_block = 2
    walltime = 3600.0

    [provider_options]
    queue = "all.q"
    parallel_environment = "mpi"
    slots_per_node = 16

Grid Engine knows slots, not nodes. A job asks a parallel environment for
`slots_per_node` slots per node; the first node is the host where the job's script
runs, the others are reached with `qrsh -inherit`: the environment must have
`control_slaves TRUE`, and an `allocation_rule` that gives every host `slots_per_node`
slots.

A job ends with SIGKILL at once, unless it asked for a warning, as ours do (`-notify`):
they get SIGUSR2, turned into SIGTERM, and SIGKILL after the queue's `notify` time. That
is so at the walltime (`h_rt`), too. The job's folder must be one that all nodes share.

The functions of this module write what Grid Engine is asked and read what it answers;
nothing but `_GridEngine` runs a command.
"""

import math
import os
import pwd
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from providers.base import JobState, JobStatus, ProviderUnavailable, SubmitRejected
from providers.batch import BatchProvider, Submission
from providers.batch_script import ScriptStyle
from providers.commands import Answer, require_commands, run_command
from providers.options import (
    check_at_least,
    check_directives,
    check_positive,
    check_word,
    read_options,
)

__all__ = [
    "GridEngineOptions",
    "GridEngineProvider",
    "gridengine_style",
    "parse_accounting",
    "parse_queue",
    "submit_words",
]

# What the commands say when it is not the request that is at fault.
_NO_ANSWER = re.compile(
    r"commlib|unable to (contact|send message to) qmaster|select error|send error|"
    r"timed? ?out|connection (refused|reset)|can't resolve|qmaster is not",
    re.IGNORECASE,
)
# As accounting(5) has it: the job reached h_rt, or another limit.
_ENDED_BY_LIMIT = 37

# What `-o` would take for a host, a list or a variable.
_NO_PATH = re.compile(r"[:,$]")

# Hosts of the other nodes, one line each: a line of PE_HOSTFILE is "HOST SLOTS QUEUE",
# and one host may have several nodes. `set -m` puts every `qrsh` into a process group
# of its own: what warns the first node must not end the connections to the others.
_LAUNCH = """
hosts=
if [ "$nodes" -gt 1 ]; then
    hosts=$(awk -v each={slots_per_node} \\
        '{{ for (i = 0; i < $2; i++) if (slot++ % each == 0) print $1 }}' \\
        "$PE_HOSTFILE" | tail -n +2 | head -n $((nodes - 1)))
    export PATH=$PATH:$SGE_BINARY_PATH
fi
node=1
children=
set -m
for host in $hosts; do
    qrsh -inherit "$host" bash "$folder/node.sh" "$run" "$node" < /dev/null >&2 &
    children="$children $!"
    node=$((node + 1))
done
set +m
if [ "$node" -lt "$nodes" ]; then
    echo "Grid Engine granted slots for $node of $nodes nodes" >&2
    exit 1
fi
bash "$folder/node.sh" "$run" 0
code=$?
for child in $children; do
    # A trap ends a wait.
    while kill -0 "$child" 2> /dev/null; do
        wait "$child"
    done
    wait "$child" || code=$?
done
"""


@dataclass(frozen=True, kw_only=True)
class GridEngineOptions:
    """What `[provider_options]` may hold for Grid Engine; "": not asked for.

    Args:
        queue: where jobs queue.
        project: that they belong to.
        resources: that every slot must have, such as `mem_free=4G,gpu=1`.
        parallel_environment: that gives a job more than one slot.
        slots_per_node: slots of every node; more than 1 need a parallel environment.
        rerun: whether Grid Engine starts a job again, as the same block, when its host
            failed. Without, the job waits there until the host is back.
        scheduler_options: more lines `#$ -...`, for all else.
        worker_init: shell lines before the command of every node.
        poll_period: seconds between two questions to Grid Engine.
        command_timeout: seconds after which Grid Engine is held for not answering.

    Raises:
        ValueError: a value that Grid Engine could not take.
    """

    queue: str = ""
    project: str = ""
    resources: str = ""
    parallel_environment: str = ""
    slots_per_node: int = 1
    rerun: bool = False
    scheduler_options: str = ""
    worker_init: str = ""
    # Chosen: as often as people look, and nothing to a qmaster that serves hundreds.
    poll_period: float = 10.0
    # Its commands wait without end for a qmaster that hangs.
    command_timeout: float = 60.0

    def __post_init__(self) -> None:
        for name in ("queue", "project", "resources", "parallel_environment"):
            check_word(name, getattr(self, name))
        check_at_least(1, "slots_per_node", self.slots_per_node)
        if self.slots_per_node > 1 and not self.parallel_environment:
            raise ValueError(
                f"slots_per_node {self.slots_per_node} needs parallel_environment: "
                "`qconf -spl` lists them"
            )
        check_directives("scheduler_options", self.scheduler_options, "#$")
        check_positive("poll_period", self.poll_period)
        check_positive("command_timeout", self.command_timeout)


class GridEngineProvider(BatchProvider):
    """Jobs of a Grid Engine cell; see `Provider` for the promises.

    Args:
        options: of `GridEngineOptions`, by keyword.

    Raises:
        TypeError: an unknown option, or one of another type.
        ValueError: an option that makes no sense, or the commands are not there.
    """

    def __init__(self, **options: Any) -> None:
        read = read_options(GridEngineOptions, options)
        require_commands("Grid Engine", "qsub", "qstat", "qdel")
        super().__init__(_GridEngine(read), read.poll_period)


class _GridEngine:
    """Grid Engine's commands; see `Scheduler`."""

    system = "Grid Engine"

    def __init__(self, options: GridEngineOptions) -> None:
        self.style = gridengine_style(options)
        self._options = options

    def submit(self, submission: Submission) -> str:
        answer = self._run(submit_words(self._options, submission))
        if answer.exit_code == 0:
            number = answer.stdout.strip()
            if number.isdecimal():
                return number
        elif not _NO_ANSWER.search(answer.stderr) and answer.exit_code > 0:
            raise SubmitRejected(f"Grid Engine took no job: {answer.reason}")
        raise _no_answer(answer)

    def find(self, name: str) -> str | None:
        return next((n for n, its, _ in self._queue() if its == _job_name(name)), None)

    def list_jobs(self, numbers: Sequence[str]) -> Mapping[str, JobStatus]:
        return {number: status for number, _, status in self._queue()}

    def look_up(self, numbers: Sequence[str]) -> Mapping[str, JobStatus]:
        found = {}
        for number in numbers:
            answer = self._run(["qacct", "-j", number])
            # If that failed, there is no record of it, or none yet.
            status = parse_accounting(answer.stdout)
            if answer.exit_code == 0 and status is not None:
                found[number] = status
        return found

    def cancel(self, numbers: Sequence[str]) -> None:
        answer = self._run(["qdel", *numbers])
        # It also complains about jobs that have ended, or that were never there.
        if answer.exit_code and _NO_ANSWER.search(answer.stderr + answer.stdout):
            raise _no_answer(answer)

    def _queue(self) -> list[tuple[str, str, JobStatus]]:
        answer = self._run(["qstat", "-xml", "-u", _user()])
        if answer.exit_code:
            raise _no_answer(answer)
        try:
            return list(parse_queue(answer.stdout))
        except ElementTree.ParseError as error:
            raise ProviderUnavailable(f"qstat wrote no XML: {error}") from error

    def _run(self, words: Sequence[str]) -> Answer:
        return run_command(words, self._options.command_timeout)


def _no_answer(answer: Answer) -> ProviderUnavailable:
    return ProviderUnavailable(f"Grid Engine does not answer: {answer.reason}")


def _user() -> str:
    """Return the name that our jobs have in the queue."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return "*"  # everybody's


# What Grid Engine is asked


def gridengine_style(options: GridEngineOptions) -> ScriptStyle:
    """Say how scripts for Grid Engine are written."""
    return ScriptStyle(
        number="$JOB_ID",
        launch=_LAUNCH.format(slots_per_node=options.slots_per_node),
        warning="USR2",
        directives=options.scheduler_options,
        worker_init=options.worker_init,
    )


def submit_words(options: GridEngineOptions, submission: Submission) -> list[str]:
    """Write the command that submits a job.

    What stands here goes before the lines of `scheduler_options`.

    Raises:
        SubmitRejected: several nodes and no parallel environment, or a folder whose
            name Grid Engine would misread.
    """
    spec = submission.spec
    folder = str(spec.folder)
    if found := _NO_PATH.search(folder):
        raise SubmitRejected(f"Grid Engine takes no path with {found[0]!r}: {folder}")
    words = [
        *("qsub", "-terse", "-notify", "-N", _job_name(submission.name)),
        *("-S", "/bin/bash", "-r", "y" if options.rerun else "n"),
        *("-wd", folder, "-o", f"{folder}/batch.out", "-e", f"{folder}/batch.err"),
    ]
    if spec.walltime is not None:
        words += ["-l", f"h_rt={math.ceil(spec.walltime)}"]
    if options.resources:
        words += ["-l", options.resources]
    if options.queue:
        words += ["-q", options.queue]
    if options.project:
        words += ["-P", options.project]
    if options.parallel_environment:
        slots = spec.nodes * options.slots_per_node
        words += ["-pe", options.parallel_environment, str(slots)]
    elif spec.nodes > 1:
        raise SubmitRejected(
            f"{spec.nodes} nodes need the option parallel_environment: `qconf -spl` "
            "lists what there is"
        )
    return [*words, str(submission.script)]


def _job_name(name: str) -> str:
    """Write a name so that Grid Engine takes it: it must not begin with a digit."""
    return name if name[0].isalpha() else f"j{name}"


# What Grid Engine answers


def parse_queue(text: str) -> Iterator[tuple[str, str, JobStatus]]:
    """Read what `qstat -xml` writes: number, name and state of each job.

    Raises:
        ElementTree.ParseError: it is no XML.
    """
    for job in ElementTree.fromstring(text).iter("job_list"):
        number = job.findtext("JB_job_number", "")
        code = job.findtext("state", "")
        yield number, job.findtext("JB_name", ""), _status(number, code)


def _status(number: str, code: str) -> JobStatus:
    """Read the letters of a state, as qstat's manual lists them."""
    is_queued = "q" in code
    if "d" in code:
        state = JobState.PENDING if is_queued else JobState.RUNNING
        return JobStatus(state, message=f"Being deleted ({code})")
    if "E" in code:
        message = (
            f"Grid Engine could not start it ({code}): `qstat -j {number}` tells why, "
            f"`qmod -cj {number}` lets it try again"
        )
        return JobStatus(JobState.HELD, message=message)
    if is_queued:
        return JobStatus(JobState.HELD if "h" in code else JobState.PENDING)
    return JobStatus(JobState.RUNNING)


def parse_accounting(text: str) -> JobStatus | None:
    """Read what `qacct -j` writes of one job.

    A job has a record for its script, and may have one for each node beside the first.

    Returns:
        None: no record.
    """
    told: list[JobStatus] = []
    failed = ""
    for line in text.splitlines():
        name, _, value = line.strip().partition(" ")
        if name == "failed":
            failed = value.strip()
        elif name == "exit_status":
            told.append(_verdict(failed, value.strip()))
    # The worst one speaks for the job.
    for state in (JobState.TIMEOUT, JobState.FAILED, JobState.COMPLETED):
        for status in reversed(told):
            if status.state is state:
                return status
    return None


def _verdict(failed: str, exit_status: str) -> JobStatus:
    """Read `37  : qmaster enforced h_rt ...` and `137 (Killed)`."""
    number, _, cause = failed.partition(":")
    digits = re.match(r"[0-9]{1,9}", exit_status)
    code = int(digits[0]) if digits else None
    if number.strip() == str(_ENDED_BY_LIMIT):
        return JobStatus(JobState.TIMEOUT, code, f"Grid Engine: {cause.strip()}")
    if number.strip() != "0":
        return JobStatus(JobState.FAILED, code, f"Grid Engine: {cause.strip()}")
    return JobStatus(JobState.FAILED if code else JobState.COMPLETED, code)
