"""Run blocks as PBS jobs: `qsub`, `qstat`, `qselect`, `qdel`, `pbsdsh`. Experimental.

    [blocks]
    provider = "pbs"
    nodes_per_block = 2
    walltime = 3600.0

    [provider_options]
    dialect = "pro"
    queue = "workq"
    cpus_per_node = 16

Written after the manuals of PBS Professional 2021.1 (OpenPBS speaks the same) and of
Torque 6.1; not tested against a real system. Their commands have the same names and
mostly the same answers; how nodes are asked for differs, see `PbsOptions.dialect`.

The first node is the host where the job's script runs, the others are reached with
`pbsdsh`. A job that is deleted, or reaches its walltime, gets SIGTERM, and SIGKILL
after the server's `kill_delay`. The job's folder must be one that all nodes share.

The functions of this module write what PBS is asked and read what it answers; nothing
but `_Pbs` runs a command.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
    "PbsOptions",
    "PbsProvider",
    "parse_ends",
    "parse_queue",
    "pbs_style",
    "submit_words",
]

_DIALECTS = ("pro", "torque")
# As qstat's manuals list them; what isn't here is taken for running.
_STATES = {
    "H": JobState.HELD,
    "M": JobState.PENDING,  # moved to another server
    "Q": JobState.PENDING,
    "T": JobState.PENDING,  # on its way to another server, or to a host
    "W": JobState.PENDING,  # its time has not come, or its files have not
}
# Pro's F, Torque's C, and X of a subjob.
_OVER = "CFX"
# What the commands say when it is not the request that is at fault.
_NO_ANSWER = re.compile(
    r"cannot connect|connection (refused|reset)|timed? ?out|no route to host|"
    r"communication failure|end of file|server (is )?(down|shutting)|munge|pbs_iff|"
    r"resource temporarily unavailable|not responding|cannot resolve|unknown host",
    re.IGNORECASE,
)
# qstat's exit codes when a job is not known any more: the low bytes of PBSE_UNKJOBID,
# 15001, and of Pro's PBSE_HISTJOBID, 15139. It has told of the others all the same.
_NOT_THERE = (153, 35)
# Exit_status of a job that reached its walltime: Pro's JOB_EXEC_KILL_WALLTIME, Torque's
# JOB_EXEC_OVERLIMIT_WT.
_WALLTIME_STATUS = {"pro": -29, "torque": -11}
# Exit_status of a job that signal n ended is 256 + n, or 128 + n as shells have it.
_SIGNAL_STATUS, _SIGNAL_EXIT_CODE = 256, 128
# Old servers cut names off here; a job is found by its name, so we do it ourselves.
_NAME_CHARACTERS = 15
# `-o` takes HOST:PATH.
_NO_PATH = ":"
_FIELD = re.compile(r" +([\w.]+) = (.*)")

# `set -m` puts every `pbsdsh` into a process group of its own. Numbers of `-n` are
# those of lines in $PBS_NODEFILE: one per node in Pro, as we ask for it; one per
# processor in Torque.
_LAUNCH = """
node=1
children=
[ -z "$PBS_EXEC" ] || export PATH=$PATH:$PBS_EXEC/bin
set -m
while [ "$node" -lt "$nodes" ]; do
    pbsdsh -n $((node * {lines_per_node})) -- \\
        /bin/bash "$folder/node.sh" "$run" "$node" < /dev/null >&2 &
    children="$children $!"
    node=$((node + 1))
done
set +m
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
class PbsOptions:
    """What `[provider_options]` may hold for PBS; "" and 0: not asked for.

    Args:
        dialect: "pro" for PBS Professional and OpenPBS (`-l select=`), "torque" for
            Torque (`-l nodes=`).
        queue: where jobs queue.
        account: that they are charged to.
        project: that they belong to; Pro only.
        cpus_per_node: processors of every node.
        resources: more for every node: in Pro `mem=4gb:ngpus=1`, in Torque `gpus=1`.
        rerun: whether PBS starts a job again, as the same block, when a host failed.
        scheduler_options: more lines `#PBS -...`, for all else.
        worker_init: shell lines before the command of every node.
        poll_period: seconds between two questions to PBS.
        command_timeout: seconds after which PBS is held for not answering.

    Raises:
        ValueError: a value that PBS could not take.
    """

    dialect: str = "pro"
    queue: str = ""
    account: str = ""
    project: str = ""
    cpus_per_node: int = 1
    resources: str = ""
    rerun: bool = False
    scheduler_options: str = ""
    worker_init: str = ""
    # Chosen: as often as people look, and nothing to a server that serves hundreds.
    poll_period: float = 10.0
    command_timeout: float = 60.0

    def __post_init__(self) -> None:
        if self.dialect not in _DIALECTS:
            raise ValueError(
                f"dialect {self.dialect!r} must be one of {', '.join(_DIALECTS)}"
            )
        for name in ("queue", "account", "project", "resources"):
            check_word(name, getattr(self, name))
        if self.project and self.dialect != "pro":
            raise ValueError(
                f"project {self.project!r} is only for dialect pro: use account"
            )
        check_at_least(1, "cpus_per_node", self.cpus_per_node)
        check_directives("scheduler_options", self.scheduler_options, "#PBS")
        check_positive("poll_period", self.poll_period)
        check_positive("command_timeout", self.command_timeout)


class PbsProvider(BatchProvider):
    """Jobs of a PBS server; see `Provider` for the promises.

    Args:
        options: of `PbsOptions`, by keyword.

    Raises:
        TypeError: an unknown option, or one of another type.
        ValueError: an option that makes no sense, or the commands are not there.
    """

    def __init__(self, **options: Any) -> None:
        read = read_options(PbsOptions, options)
        require_commands("PBS", "qsub", "qstat", "qselect", "qdel")
        super().__init__(_Pbs(read), read.poll_period)


class _Pbs:
    """PBS's commands; see `Scheduler`."""

    system = "PBS"

    def __init__(self, options: PbsOptions) -> None:
        self.style = pbs_style(options)
        self._options = options

    def submit(self, submission: Submission) -> str:
        answer = self._run(submit_words(self._options, submission))
        if answer.exit_code == 0:
            # The last line: a server's hooks may say something before it.
            number = answer.stdout.strip().rpartition("\n")[2]
            if number[:1].isdecimal():
                return number
        elif not _NO_ANSWER.search(answer.stderr) and answer.exit_code > 0:
            raise SubmitRejected(f"PBS took no job: {answer.reason}")
        raise _no_answer(answer)

    def find(self, name: str) -> str | None:
        answer = self._run(["qselect", "-N", _job_name(name)])
        if answer.exit_code:
            raise _no_answer(answer)
        return next(iter(answer.stdout.split()), None)

    def list_jobs(self, numbers: Sequence[str]) -> Mapping[str, JobStatus]:
        return parse_queue(self._ask("qstat", "-f", *numbers))

    def look_up(self, numbers: Sequence[str]) -> Mapping[str, JobStatus]:
        # Torque's `-x` asks for XML; it keeps ended jobs in the queue for a while.
        history = ["-x"] if self._options.dialect == "pro" else []
        text = self._ask("qstat", *history, "-f", *numbers)
        return parse_ends(text, self._options.dialect)

    def cancel(self, numbers: Sequence[str]) -> None:
        answer = self._run(["qdel", *numbers])
        # It also complains about jobs that have ended, or that were never there.
        if answer.exit_code and _NO_ANSWER.search(answer.stderr):
            raise _no_answer(answer)

    def _ask(self, *words: str) -> str:
        """Ask about jobs; that some are not known is an answer."""
        answer = self._run(words)
        if answer.exit_code not in (0, *_NOT_THERE):
            raise _no_answer(answer)
        return answer.stdout

    def _run(self, words: Sequence[str]) -> Answer:
        return run_command(words, self._options.command_timeout)


def _no_answer(answer: Answer) -> ProviderUnavailable:
    return ProviderUnavailable(f"PBS does not answer: {answer.reason}")


# What PBS is asked


def pbs_style(options: PbsOptions) -> ScriptStyle:
    """Say how scripts for PBS are written."""
    lines = 1 if options.dialect == "pro" else options.cpus_per_node
    return ScriptStyle(
        number="$PBS_JOBID",
        launch=_LAUNCH.format(lines_per_node=lines),
        directives=options.scheduler_options,
        worker_init=options.worker_init,
    )


def submit_words(options: PbsOptions, submission: Submission) -> list[str]:
    """Write the command that submits a job.

    What stands here goes before the lines of `scheduler_options`.

    Raises:
        SubmitRejected: a folder whose name PBS would misread.
    """
    spec = submission.spec
    folder = str(spec.folder)
    if _NO_PATH in folder:
        raise SubmitRejected(f"PBS takes no path with {_NO_PATH!r}: {folder}")
    words = [
        *("qsub", "-N", _job_name(submission.name), "-S", "/bin/bash"),
        *("-r", "y" if options.rerun else "n"),
        *("-o", f"{folder}/batch.out", "-e", f"{folder}/batch.err"),
    ]
    more = f":{options.resources}" if options.resources else ""
    if options.dialect == "pro":
        chunk = f"ncpus={options.cpus_per_node}:mpiprocs=1{more}"
        words += ["-l", f"select={spec.nodes}:{chunk}", "-l", "place=scatter"]
    else:
        words += ["-l", f"nodes={spec.nodes}:ppn={options.cpus_per_node}{more}"]
    if spec.walltime is not None:
        words += ["-l", f"walltime={_clock(spec.walltime)}"]
    for flag, value in {
        "-q": options.queue,
        "-A": options.account,
        "-P": options.project,
    }.items():
        if value:
            words += [flag, value]
    return [*words, str(submission.script)]


def _job_name(name: str) -> str:
    """Write a name so that PBS takes it: short, and beginning with a letter.

    What makes it nobody else's stands at its end.
    """
    short = name[-_NAME_CHARACTERS:]
    return short if short[0].isalpha() else f"j{short[1 - _NAME_CHARACTERS :]}"


def _clock(seconds: float) -> str:
    minutes, second = divmod(math.ceil(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02}:{minute:02}:{second:02}"


# What PBS answers


def parse_queue(text: str) -> dict[str, JobStatus]:
    """Read what `qstat -f` writes: the jobs that are not over, by their ids."""
    return {
        number: _status(fields)
        for number, fields in _jobs(text)
        if fields.get("job_state", "") not in _OVER
    }


def parse_ends(text: str, dialect: str) -> dict[str, JobStatus]:
    """Read what `qstat -f` writes: the ends of jobs that are over, by their ids."""
    return {
        number: _verdict(fields, dialect)
        for number, fields in _jobs(text)
        if fields.get("job_state", "-") in _OVER
    }


def _jobs(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Read the fields of each job, names in lower case.

    A line that goes on from the one before begins with a tab.
    """
    number, last, fields = "", "", dict[str, str]()
    for line in [*text.splitlines(), "Job Id:"]:
        if line.startswith("Job Id:"):
            if number:
                yield number, fields
            number, last, fields = line.partition(":")[2].strip(), "", {}
        elif line.startswith("\t"):
            fields[last] = fields.get(last, "") + line[1:]
        elif found := _FIELD.fullmatch(line):
            last = found[1].lower()
            fields[last] = found[2]


def _status(fields: Mapping[str, str]) -> JobStatus:
    state = _STATES.get(fields.get("job_state", ""), JobState.RUNNING)
    # Why it waits; of a job that runs, only since when.
    message = fields.get("comment", "") if state is not JobState.RUNNING else ""
    return JobStatus(state, message=message)


def _verdict(fields: Mapping[str, str], dialect: str) -> JobStatus:
    comment = fields.get("comment", "")
    try:
        status = int(fields["exit_status"])
    except (KeyError, ValueError):
        # Deleted before it began.
        return JobStatus(JobState.CANCELLED, message=f"PBS: {comment or 'deleted'}")
    if status == 0:
        return JobStatus(JobState.COMPLETED, 0)
    if status == _WALLTIME_STATUS[dialect]:
        return JobStatus(JobState.TIMEOUT, message="PBS: it reached its walltime")
    if status < 0:
        message = f"PBS: could not run it, or ended it (Exit_status {status}) {comment}"
        return JobStatus(JobState.FAILED, message=message.strip())
    if status > _SIGNAL_STATUS:
        status += _SIGNAL_EXIT_CODE - _SIGNAL_STATUS
    return JobStatus(JobState.FAILED, status)
