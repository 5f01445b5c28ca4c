"""Run blocks as Slurm jobs: `sbatch`, `squeue`, `scancel`; `scontrol` and `sacct`.

    [blocks]
    provider = "slurm"
    nodes_per_block = 2
    walltime = 3600.0

    [provider_options]
    partition = "compute"
    exclusive = true

A job of several nodes starts their commands through `srun`, one task per node. Slurm
counts time limits in minutes: a walltime is rounded up. A cancelled job gets SIGTERM,
and SIGKILL after Slurm's `KillWait`. The job's folder must be one that all nodes share.

The functions of this module write what Slurm is asked and read what it answers; nothing
but `_Slurm` runs a command.
"""

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
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
    "SlurmOptions",
    "SlurmProvider",
    "parse_accounting",
    "parse_queue",
    "parse_show_job",
    "slurm_style",
    "submit_words",
]

# As squeue's manual lists them; what isn't here is taken for running.
_STATES = {
    "BOOT_FAIL": JobState.FAILED,
    "CANCELLED": JobState.CANCELLED,
    "COMPLETED": JobState.COMPLETED,
    "CONFIGURING": JobState.PENDING,  # its nodes boot
    "COMPLETING": JobState.RUNNING,  # some of its processes may be left
    "DEADLINE": JobState.TIMEOUT,
    "FAILED": JobState.FAILED,
    "NODE_FAIL": JobState.FAILED,
    "OUT_OF_MEMORY": JobState.FAILED,
    "PENDING": JobState.PENDING,
    "PREEMPTED": JobState.CANCELLED,  # and not requeued
    "RESV_DEL_HOLD": JobState.HELD,
    "REQUEUED": JobState.PENDING,
    "REQUEUE_FED": JobState.PENDING,
    "REQUEUE_HOLD": JobState.HELD,
    "REVOKED": JobState.CANCELLED,
    "SPECIAL_EXIT": JobState.HELD,
    "TIMEOUT": JobState.TIMEOUT,
}
# What to say of an end whose state does not say it all.
_CAUSES = {
    "BOOT_FAIL": "a node did not boot",
    "CANCELLED": "somebody cancelled it",
    "DEADLINE": "it reached its deadline",
    "NODE_FAIL": "a node failed",
    "OUT_OF_MEMORY": "it used more memory than it had asked for",
    "PREEMPTED": "it was preempted",
    "REVOKED": "another cluster runs it",
    "TIMEOUT": "it reached its time limit",
}
# Reasons that say nothing.
_NO_REASON = ("None", "NonZeroExitCode", "")
# What sbatch and the others say when it is not the request that is at fault, from
# Slurm's slurm_errno.c: the controller is down, busy, starting, or munge is.
_NO_ANSWER = re.compile(
    r"unable to contact|timed? ?out|connection (refused|reset)|communication|"
    r"zero bytes were transmitted|not connected|standby mode|temporarily|"
    r"authentication|not responding|cannot resolve|unexpected message|"
    r"socket (error|operation)",
    re.IGNORECASE,
)
_SQUEUE = ("squeue", "--noheader", "--states=all")
_SACCT = (
    *("sacct", "--noheader", "--allocations", "--parsable2"),
    "--format=JobIDRaw,State,ExitCode",
)
_UNKNOWN_JOB = "Invalid job id specified"
# Inside a job, these would make sbatch and squeue ask for what that job has, or show
# what its user wants to see. The rest of Slurm's variables are the user's wishes.
_MISLEADING = re.compile(
    r"SLURM_(?!CONF$|CLUSTERS$)|SQUEUE_|SBATCH_(JOB_NAME|OUTPUT|ERROR|ARRAY_INX)$"
)
_EXIT_CODE = re.compile("([0-9]{1,9}):([0-9]{1,9})")
_SIGNAL_EXIT_CODE = 128

_ON_ONE_NODE = """
bash "$folder/node.sh" "$run" 0
code=$?
"""
# One task per node; a node that ends, or fails, does not end the others. Without a
# binding: else a task would see one core of those that the node gave to the job.
_ON_SEVERAL_NODES = """
[ -z "$SLURM_CPUS_PER_TASK" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
srun --nodes="$nodes" --ntasks="$nodes" --ntasks-per-node=1 --cpu-bind=none \\
    --kill-on-bad-exit=0 --wait=0 --input=none bash "$folder/node.sh" "$run"
code=$?
"""


@dataclass(frozen=True, kw_only=True)
class SlurmOptions:
    """What `[provider_options]` may hold for Slurm; "" and 0: not asked for.

    Args:
        partition: where jobs queue.
        account: that they are charged to.
        qos: quality of service.
        constraint: features that the nodes must have, as `--constraint` takes them.
        gres: generic resources of every node, such as `gpu:2`.
        exclusive: whether jobs have their nodes for themselves.
        cpus_per_node: processors of every node; without `exclusive`, Slurm gives one
            if this is 0.
        requeue: whether Slurm queues a job again, as the same block, when it was
            preempted or a node of it failed. Without, such a block has ended, and the
            strategy asks for another one.
        scheduler_options: more lines `#SBATCH --...`, for all else.
        worker_init: shell lines before the command of every node.
        poll_period: seconds between two questions to Slurm.
        command_timeout: seconds after which Slurm is held for not answering.

    Raises:
        ValueError: a value that Slurm could not take.
    """

    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    gres: str = ""
    exclusive: bool = False
    cpus_per_node: int = 0
    requeue: bool = False
    scheduler_options: str = ""
    worker_init: str = ""
    # Chosen: as often as people look, and nothing to a controller that serves hundreds.
    poll_period: float = 10.0
    # Slurm's commands give up after 10 to 100 s by themselves, as slurm.conf has it.
    command_timeout: float = 60.0

    def __post_init__(self) -> None:
        for name in ("partition", "account", "qos", "constraint", "gres"):
            check_word(name, getattr(self, name))
        check_at_least(0, "cpus_per_node", self.cpus_per_node)
        check_directives("scheduler_options", self.scheduler_options, "#SBATCH")
        check_positive("poll_period", self.poll_period)
        check_positive("command_timeout", self.command_timeout)


class SlurmProvider(BatchProvider):
    """Jobs of a Slurm cluster; see `Provider` for the promises.

    Args:
        options: of `SlurmOptions`, by keyword.

    Raises:
        TypeError: an unknown option, or one of another type.
        ValueError: an option that makes no sense, or Slurm's commands are not there.
    """

    def __init__(self, **options: Any) -> None:
        read = read_options(SlurmOptions, options)
        require_commands("Slurm", "sbatch", "squeue", "scancel", "scontrol")
        super().__init__(_Slurm(read), read.poll_period)


class _Slurm:
    """Slurm's commands; see `Scheduler`."""

    system = "Slurm"

    def __init__(self, options: SlurmOptions) -> None:
        self.style = slurm_style(options)
        self._options = options

    def submit(self, submission: Submission) -> str:
        answer = self._run(submit_words(self._options, submission))
        if answer.exit_code == 0:
            # "NUMBER", or "NUMBER;CLUSTER".
            number = answer.stdout.strip().partition(";")[0]
            if number.isdecimal():
                return number
        elif not _NO_ANSWER.search(answer.stderr) and answer.exit_code > 0:
            raise SubmitRejected(f"Slurm took no job: {answer.reason}")
        raise ProviderUnavailable(f"Slurm does not answer: {answer.reason}")

    def find(self, name: str) -> str | None:
        answer = self._ask(*_SQUEUE, f"--name={name}", "--format=%i")
        return next(iter(answer.stdout.split()), None)

    def list_jobs(self, numbers: Sequence[str]) -> Mapping[str, JobStatus]:
        jobs = f"--jobs={','.join(numbers)}"
        return parse_queue(self._ask(*_SQUEUE, jobs, "--format=%i|%T|%r").stdout)

    def look_up(self, numbers: Sequence[str]) -> Mapping[str, JobStatus]:
        found: dict[str, JobStatus] = {}
        # The controller first, while it remembers a job (`MinJobAge`): sacct takes 128
        # off an exit code above it, so that 137 looks like 9.
        for number in numbers:
            answer = self._ask("scontrol", "--oneliner", "show", "job", number)
            found |= parse_show_job(answer.stdout)
        if forgotten := [number for number in numbers if number not in found]:
            # Without accounting that fails, or sacct isn't even there.
            with suppress(ProviderUnavailable):
                answer = self._run([*_SACCT, f"--jobs={','.join(forgotten)}"])
                if answer.exit_code == 0:
                    found |= parse_accounting(answer.stdout)
        return {n: status for n, status in found.items() if status.state.is_final}

    def cancel(self, numbers: Sequence[str]) -> None:
        answer = self._run(["scancel", *numbers])
        # It also complains about jobs that have ended, or that were never there.
        if answer.exit_code and _NO_ANSWER.search(answer.stderr):
            raise ProviderUnavailable(f"Slurm does not answer: {answer.reason}")

    def _ask(self, *words: str) -> Answer:
        """Ask about jobs; that one is not known is an answer."""
        answer = self._run(words)
        if answer.exit_code and _UNKNOWN_JOB not in answer.stderr:
            raise ProviderUnavailable(f"Slurm does not answer: {answer.reason}")
        return answer

    def _run(self, words: Sequence[str]) -> Answer:
        ours = {k: v for k, v in os.environ.items() if not _MISLEADING.match(k)}
        return run_command(words, self._options.command_timeout, ours)


# What Slurm is asked


def slurm_style(options: SlurmOptions) -> ScriptStyle:
    """Say how scripts for Slurm are written; several nodes or one."""
    return ScriptStyle(
        number="$SLURM_JOB_ID",
        launch=f'if [ "$nodes" -eq 1 ]; then\n{_ON_ONE_NODE.strip()}\nelse\n'
        f"{_ON_SEVERAL_NODES.strip()}\nfi",
        node="$SLURM_PROCID",
        directives=options.scheduler_options,
        worker_init=options.worker_init,
    )


def submit_words(options: SlurmOptions, submission: Submission) -> list[str]:
    """Write the command that submits a job.

    What stands here goes before the lines of `scheduler_options`.
    """
    spec = submission.spec
    words = [
        *("sbatch", "--parsable", f"--job-name={submission.name}"),
        *(f"--nodes={spec.nodes}", "--ntasks-per-node=1"),
        *(f"--chdir={spec.folder}", f"--output={_plain(spec.folder)}/batch.out"),
        *(f"--error={_plain(spec.folder)}/batch.err", "--open-mode=append"),
        "--requeue" if options.requeue else "--no-requeue",
    ]
    if spec.walltime is not None:
        words.append(f"--time={math.ceil(spec.walltime / 60)}")
    for name in ("partition", "account", "qos", "constraint", "gres"):
        if value := getattr(options, name):
            words.append(f"--{name}={value}")
    if options.exclusive:
        words.append("--exclusive")
    if options.cpus_per_node:
        words.append(f"--cpus-per-task={options.cpus_per_node}")
    return [*words, str(submission.script)]


def _plain(path: object) -> str:
    """Write a path so that Slurm replaces nothing in it: it knows `%j` and such."""
    return str(path).replace("%", "%%")


# What Slurm answers


def parse_queue(text: str) -> dict[str, JobStatus]:
    """Read lines of `squeue --format=%i|%T|%r`: number, state, reason."""
    statuses = {}
    for line in text.splitlines():
        number, _, rest = line.strip().partition("|")
        state, _, reason = rest.partition("|")
        if state:
            statuses[number] = _status(state, reason)
    return statuses


def parse_accounting(text: str) -> dict[str, JobStatus]:
    """Read lines of `sacct --format=JobIDRaw,State,ExitCode`, separated by `|`.

    A state may go on: `CANCELLED by 1000`. An exit code above 128 has lost 128. Of a
    job that was requeued, the last line is the last run's.
    """
    statuses = {}
    for line in text.splitlines():
        number, _, rest = line.strip().partition("|")
        state, _, code = rest.partition("|")
        if words := state.split():
            statuses[number] = _status(words[0], "", code)
    return statuses


def parse_show_job(text: str) -> dict[str, JobStatus]:
    """Read lines of `scontrol --oneliner show job`: `JobId=7 JobState=FAILED ...`."""
    statuses = {}
    for line in text.splitlines():
        fields = dict(_fields(line))
        if "JobId" in fields and "JobState" in fields:
            statuses[fields["JobId"]] = _status(
                fields["JobState"], fields.get("Reason", ""), fields.get("ExitCode", "")
            )
    return statuses


def _fields(line: str) -> Iterator[tuple[str, str]]:
    for word in line.split():
        name, equals, value = word.partition("=")
        if equals:
            yield name, value


def _status(word: str, reason: str, code: str = "") -> JobStatus:
    state = _STATES.get(word, JobState.RUNNING)
    reason = "" if reason in _NO_REASON else reason
    if state is JobState.PENDING and "held" in reason.lower():
        state = JobState.HELD
    if not state.is_final:
        return JobStatus(state, message=reason if state != JobState.RUNNING else "")
    parts = [f"Slurm: {word}, {_CAUSES[word]}"] if word in _CAUSES else []
    if reason and reason.upper() not in (word, word.replace("_", "")):
        parts.append(f"reason {reason}")
    return JobStatus(state, _exit_code(code), "; ".join(parts))


def _exit_code(text: str) -> int | None:
    """Read `3:0`, exit code and signal, as shells count; None if it is something else.

    None also for `0:0`, which Slurm tells of jobs that it ended.
    """
    found = _EXIT_CODE.fullmatch(text)
    if found is None:
        return None
    code, number = int(found[1]), int(found[2])
    return _SIGNAL_EXIT_CODE + number if number else code or None
