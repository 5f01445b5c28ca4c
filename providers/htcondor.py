"""Run blocks as HTCondor jobs: `condor_submit`, `condor_q`, `condor_rm`. Experimental.

    [blocks]
    provider = "htcondor"
    walltime = 3600.0

    [provider_options]
    cpus = 8
    memory = "16 GB"
    submit_options = '+ProjectName = "physics"'

Written after the manual of HTCondor 23.0; not tested against a real system. Blocks have
one node: many small blocks suit a pool better than few large ones.

The job's folder must be one that the execute hosts share: nothing is transferred. A job
that is removed gets SIGTERM, and SIGKILL after `kill_after` seconds; at its walltime it
removes itself so (`periodic_remove`).

The functions of this module write what HTCondor is asked and read what it answers;
nothing but `_HTCondor` runs a command.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from providers.base import JobState, JobStatus, ProviderUnavailable, SubmitRejected
from providers.batch import BatchProvider, Submission
from providers.batch_script import ScriptStyle
from providers.commands import Answer, require_commands, run_command
from providers.options import check_at_least, check_positive, check_word, read_options

__all__ = [
    "HTCondorOptions",
    "HTCondorProvider",
    "htcondor_style",
    "parse_ends",
    "parse_queue",
    "submit_text",
]

# JobStatus, as the manual's appendix on ClassAd attributes numbers them.
_IDLE, _RUNNING, _REMOVED, _COMPLETED, _HELD, _TRANSFERRING, _SUSPENDED = range(1, 8)
_STATES = {
    _IDLE: JobState.PENDING,
    _RUNNING: JobState.RUNNING,
    _HELD: JobState.HELD,
    _TRANSFERRING: JobState.RUNNING,
    _SUSPENDED: JobState.RUNNING,
}
_ATTRIBUTES = (
    "ClusterId,JobStatus,HoldReason,RemoveReason,ExitCode,ExitBySignal,ExitSignal"
)
# What the commands say when it is not the request that is at fault.
_NO_ANSWER = re.compile(
    r"failed to (connect|fetch|end classad)|can't (find address|connect)|timed? ?out|"
    r"connection (refused|reset)|communication error|unable to locate|"
    r"authenticat\w+ (error|failed)|ABORT",
    re.IGNORECASE,
)
_SIGNAL_EXIT_CODE = 128
# In the environment of the job: the number that it has in the queue.
_NUMBER = "ACTORS_HTCONDOR_JOB"

# HTCondor warns the script alone, not its group.
_LAUNCH = """
set -m
bash "$folder/node.sh" "$run" 0 &
child=$!
set +m
trap 'kill -TERM -- "-$child"' TERM
while kill -0 "$child" 2> /dev/null; do
    wait "$child"
done
wait "$child"
code=$?
"""


@dataclass(frozen=True, kw_only=True)
class HTCondorOptions:
    """What `[provider_options]` may hold for HTCondor; "": not asked for.

    Args:
        cpus: processors of a node.
        memory, disk: as `request_memory` and `request_disk` take them: `4 GB`.
        gpus: accelerators of a node.
        requirements: that a host must meet, as a ClassAd expression.
        accounting_group: that jobs are charged to.
        submit_options: more lines of the submit description, for all else.
        worker_init: shell lines before the command.
        kill_after: seconds between the SIGTERM and the SIGKILL of a job; the pool may
            allow less.
        poll_period: seconds between two questions to HTCondor.
        command_timeout: seconds after which HTCondor is held for not answering.

    Raises:
        ValueError: a value that HTCondor could not take.
    """

    cpus: int = 1
    memory: str = ""
    disk: str = ""
    gpus: int = 0
    requirements: str = ""
    accounting_group: str = ""
    submit_options: str = ""
    worker_init: str = ""
    kill_after: float = 30.0
    # Chosen: as often as people look, and nothing to a queue that serves hundreds.
    poll_period: float = 10.0
    command_timeout: float = 60.0

    def __post_init__(self) -> None:
        for name in ("memory", "disk", "requirements", "accounting_group"):
            check_word(name, getattr(self, name))
        check_at_least(1, "cpus", self.cpus)
        check_at_least(0, "gpus", self.gpus)
        for line in self.submit_options.splitlines():
            if line.split(maxsplit=1)[:1] == ["queue"]:
                raise ValueError(
                    "submit_options must not hold a line 'queue': a block is one job"
                )
        check_positive("kill_after", self.kill_after)
        check_positive("poll_period", self.poll_period)
        check_positive("command_timeout", self.command_timeout)


class HTCondorProvider(BatchProvider):
    """Jobs of an HTCondor pool; see `Provider` for the promises.

    Args:
        options: of `HTCondorOptions`, by keyword.

    Raises:
        TypeError: an unknown option, or one of another type.
        ValueError: an option that makes no sense, or the commands are not there.
    """

    def __init__(self, **options: Any) -> None:
        read = read_options(HTCondorOptions, options)
        require_commands("HTCondor", "condor_submit", "condor_q", "condor_rm")
        super().__init__(_HTCondor(read), read.poll_period)


class _HTCondor:
    """HTCondor's commands; see `Scheduler`."""

    system = "HTCondor"

    def __init__(self, options: HTCondorOptions) -> None:
        self.style = htcondor_style(options)
        self._options = options

    def submit(self, submission: Submission) -> str:
        description = submission.script.with_suffix(".sub")
        try:
            text = submit_text(self._options, submission)
            description.write_text(text, encoding="utf-8")
        except OSError as error:
            raise SubmitRejected(f"Cannot write {description}: {error}") from error
        answer = self._run(["condor_submit", "-terse", str(description)])
        if answer.exit_code == 0:
            # "12.0 - 12.0": the first and the last job of a cluster.
            if found := re.search(r"^(\d+)\.\d+ - ", answer.stdout, re.MULTILINE):
                return found[1]
        elif not _NO_ANSWER.search(answer.stderr) and answer.exit_code > 0:
            raise SubmitRejected(f"HTCondor took no job: {answer.reason}")
        raise _no_answer(answer)

    def find(self, name: str) -> str | None:
        text = self._ask("condor_q", "-constraint", f'JobBatchName == "{name}"')
        return next((str(ad["ClusterId"]) for ad in _ads(text)), None)

    def list_jobs(self, numbers: Sequence[str]) -> Mapping[str, JobStatus]:
        return parse_queue(self._ask("condor_q", *numbers))

    def look_up(self, numbers: Sequence[str]) -> Mapping[str, JobStatus]:
        # Newest first; without a limit it reads all that there ever was.
        limit = ("-limit", str(len(numbers)))
        return parse_ends(self._ask("condor_history", *limit, *numbers))

    def cancel(self, numbers: Sequence[str]) -> None:
        answer = self._run(["condor_rm", *numbers])
        # It also complains about jobs that have ended, or that were never there.
        if answer.exit_code and _NO_ANSWER.search(answer.stderr):
            raise _no_answer(answer)

    def _ask(self, command: str, *words: str) -> str:
        answer = self._run([command, *words, "-json", "-attributes", _ATTRIBUTES])
        if answer.exit_code:
            raise _no_answer(answer)
        return answer.stdout

    def _run(self, words: Sequence[str]) -> Answer:
        return run_command(words, self._options.command_timeout)


def _no_answer(answer: Answer) -> ProviderUnavailable:
    return ProviderUnavailable(f"HTCondor does not answer: {answer.reason}")


# What HTCondor is asked


def htcondor_style(options: HTCondorOptions) -> ScriptStyle:
    """Say how scripts for HTCondor are written."""
    return ScriptStyle(
        number=f"${_NUMBER}", launch=_LAUNCH, worker_init=options.worker_init
    )


def submit_text(options: HTCondorOptions, submission: Submission) -> str:
    """Write the submit description of a job.

    Raises:
        SubmitRejected: more nodes than one, or a folder whose name HTCondor would
            misread.
    """
    spec = submission.spec
    if spec.nodes > 1:
        raise SubmitRejected(
            f"{spec.nodes} nodes are more than HTCondor gives a job: set "
            "nodes_per_block = 1, and max_blocks for more of them"
        )
    folder = str(spec.folder)
    if "$(" in folder:
        raise SubmitRejected(f"HTCondor takes no path with '$(': {folder}")
    lines = {
        "universe": "vanilla",
        # Not the script itself: HTCondor runs what it can execute.
        "executable": "/bin/bash",
        "transfer_executable": "false",
        "arguments": f'"{_argument(str(submission.script))}"',
        "batch_name": submission.name,
        "initialdir": folder,
        "output": f"{folder}/batch.out",
        "error": f"{folder}/batch.err",
        "environment": f'"{_NUMBER}=$(ClusterId)"',
        "should_transfer_files": "NO",
        "request_cpus": str(options.cpus),
        "kill_sig": "SIGTERM",
        "want_graceful_removal": "true",
        "job_max_vacate_time": str(math.ceil(options.kill_after)),
    }
    if options.memory:
        lines["request_memory"] = options.memory
    if options.disk:
        lines["request_disk"] = options.disk
    if options.gpus:
        lines["request_gpus"] = str(options.gpus)
    if options.requirements:
        lines["requirements"] = options.requirements
    if options.accounting_group:
        lines["accounting_group"] = options.accounting_group
    if spec.walltime is not None:
        lines["periodic_remove"] = (
            f"JobStatus == {_RUNNING} && "
            f"time() - JobCurrentStartDate > {math.ceil(spec.walltime)}"
        )
    text = "".join(f"{name} = {value}\n" for name, value in lines.items())
    more = options.submit_options.strip("\n")
    return f"{text}{more}\nqueue 1\n" if more else f"{text}queue 1\n"


def _argument(text: str) -> str:
    """Quote an argument, within the double quotes that hold all of them."""
    inner = text.replace("'", "''").replace('"', '""')
    return f"'{inner}'"


# What HTCondor answers


def _ads(text: str) -> list[dict[str, Any]]:
    """Read what `-json` writes; nothing at all if there is no such job.

    Raises:
        ProviderUnavailable: it is no JSON.
    """
    if not text.strip():
        return []
    try:
        ads = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProviderUnavailable(f"HTCondor wrote no JSON: {error}") from error
    if not isinstance(ads, list):
        raise ProviderUnavailable(f"HTCondor wrote no JSON of jobs: {text[:80]!r}")
    return [ad for ad in ads if isinstance(ad, dict) and "ClusterId" in ad]


def _number(ad: Mapping[str, Any], name: str) -> int:
    """Return a number, 0 if there is none."""
    value = ad.get(name)
    return value if isinstance(value, int) else 0


def parse_queue(text: str) -> dict[str, JobStatus]:
    """Read what `condor_q -json` writes: the jobs that are not over, by number.

    Raises:
        ProviderUnavailable: it is no JSON.
    """
    statuses = {}
    for ad in _ads(text):
        code = _number(ad, "JobStatus")
        if code == _REMOVED:
            # While its processes get their time to end; then the queue forgets it.
            status = JobStatus(JobState.RUNNING, message="Being removed")
        elif code in _STATES:
            reason = str(ad.get("HoldReason", "")) if code == _HELD else ""
            status = JobStatus(_STATES[code], message=reason)
        else:
            continue
        statuses[str(ad["ClusterId"])] = status
    return statuses


def parse_ends(text: str) -> dict[str, JobStatus]:
    """Read what `condor_history -json` writes: how jobs ended, by number.

    Raises:
        ProviderUnavailable: it is no JSON.
    """
    return {
        str(ad["ClusterId"]): _verdict(ad)
        for ad in _ads(text)
        if _number(ad, "JobStatus") in (_REMOVED, _COMPLETED)
    }


def _verdict(ad: Mapping[str, Any]) -> JobStatus:
    if ad["JobStatus"] == _REMOVED:
        reason = str(ad.get("RemoveReason", "removed"))
        # "The job attribute PeriodicRemove expression '...' evaluated to TRUE"
        is_late = "PeriodicRemove" in reason
        state = JobState.TIMEOUT if is_late else JobState.CANCELLED
        return JobStatus(state, message=f"HTCondor: {reason}")
    if ad.get("ExitBySignal"):
        number = _number(ad, "ExitSignal")
        return JobStatus(JobState.FAILED, _SIGNAL_EXIT_CODE + number)
    code = _number(ad, "ExitCode")
    return JobStatus(JobState.FAILED if code else JobState.COMPLETED, code)
