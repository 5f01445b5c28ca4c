"""The text of a job for a batch system: one script that is submitted, one per node.

    batch.sh  (once, where the batch system starts the job)
       │ claims the job's folder for this attempt, or leaves: see `batch_folder`
       │ makes the next run's folder: a requeued job runs again
       └─► node.sh RUN NODE  (once per node)
              │ exports the variables, runs worker_init and the node's command
              └ notes the exit code

Nothing of this package runs there: a node needs bash and the shared folder, no more.
What differs between batch systems stands in a `ScriptStyle`.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from providers.base import JobSpec

__all__ = ["ScriptStyle", "batch_script", "node_script"]

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class ScriptStyle:
    """What one batch system's scripts say in their own way.

    Args:
        number: shell word that gives the job's number inside the job.
        launch: shell lines that run `bash "$folder/node.sh" "$run" NODE` for each of
            the `$nodes` nodes, wait for all, and leave in `$code` 0 if all exited so.
        node: shell word that gives the node's number where `launch` does not.
        warning: the signal that this batch system sends to the job's process groups
            before it kills them, if it isn't SIGTERM; "" if it is.
        directives: lines of the user's own for the top of the script.
        worker_init: shell lines before the command of every node.
    """

    number: str
    launch: str
    node: str = "0"
    warning: str = ""
    directives: str = ""
    worker_init: str = ""


# SIGTERM goes to everybody: the script must outlive it, to tell its exit code.
_BATCH = """\
#!/bin/bash
{directives}
trap : HUP INT TERM {warning}
folder={folder}
nodes={nodes}
number={number}
claim=$folder/attempt-{attempt}.claim
if [ ! -e "$claim" ]; then
    printf '%s\\n' "$number" > "$claim.$number" || exit 1
    # Of all that try, one makes the link. It may be the provider, which gave us up.
    ln "$claim.$number" "$claim" 2> /dev/null
    rm -f "$claim.$number"
fi
owner=$(cat "$claim") || exit 1
[ "$owner" = "$number" ] || exit 0
last=0
while [ -e "$folder/run-$((last + 1))" ]; do
    last=$((last + 1))
done
run=$folder/run-$((last + 1))
mkdir "$run" || exit 1
{launch}
exit "$code"
"""

# The command runs in the background, so that a warning is acted upon at once: bash runs
# traps only between commands. What bash does to background commands, ignore SIGINT and
# SIGQUIT, is undone.
_NODE = """\
#!/bin/bash
run=$1
node=${{2:-{node}}}
path=$run/node-$node
warn() {{
    [ -e "$path.warned" ] || printf '%s\\n' "$SECONDS" > "$path.warned"
}}
trap warn TERM
trap : HUP INT
{trap_warning}
{exports}
case $node in
{commands}
    *) echo "This job has no node $node" >&2; exit 1 ;;
esac
(
    trap - HUP INT QUIT TERM
    {ignore_warning}
    exec bash -c "$command"
) > "$path.stdout" 2> "$path.stderr" < /dev/null &
child=$!
# A trap ends a wait; the last one, for a child that has ended, tells its exit code.
wait "$child"
while kill -0 "$child" 2> /dev/null; do
    wait "$child"
done
wait "$child"
code=$?
printf '%s\\n' "$code" > "$path.exit.new" && mv "$path.exit.new" "$path.exit"
exit "$code"
"""


def batch_script(style: ScriptStyle, spec: JobSpec, attempt: int) -> str:
    """Write the script to be submitted.

    Args:
        style: of the batch system.
        spec: of the job.
        attempt: number of this submission.
    """
    return _BATCH.format(
        directives=style.directives.strip("\n"),
        warning=style.warning,
        folder=shlex.quote(str(spec.folder)),
        nodes=spec.nodes,
        number=style.number,
        attempt=attempt,
        launch=style.launch.strip("\n"),
    )


def node_script(style: ScriptStyle, spec: JobSpec) -> str:
    """Write the script that runs one node.

    Raises:
        ValueError: a variable's name is none for a shell.
    """
    for name in spec.environment:
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"environment variable {name!r} has no name for a shell")
    init = style.worker_init
    lines = [init.rstrip("\n")] if init.strip() else []
    return _NODE.format(
        node=style.node,
        trap_warning=(
            # Turned into what a program expects, for all of the group.
            f"trap 'warn; kill -TERM 0' {style.warning}" if style.warning else ""
        ),
        ignore_warning=f"trap '' {style.warning}" if style.warning else ":",
        exports="\n".join(
            f"export {name}={shlex.quote(value)}"
            for name, value in spec.environment.items()
        ),
        commands="\n".join(_cases(["\n".join([*lines, c]) for c in spec.commands])),
    )


def _cases(commands: Sequence[str]) -> list[str]:
    return [
        f"    {node}) command={shlex.quote(command)} ;;"
        for node, command in enumerate(commands)
    ]
