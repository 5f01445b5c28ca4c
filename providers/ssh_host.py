"""What runs on a host of the ssh provider: bash, sent anew with every connection.

    provider ──ssh──► bash -s   (once per question: all nodes of the host in one)
                       │ look, end, start
                       └─► keeper.sh   session leader; outlives the connection
                             ├─► node.sh   the node's command; see `batch_script`
                             └─► a watch: walltime, orders to end, nobody asking

A node has a folder on its host, which nobody else needs to see:

    claim      boot id, pid and start time of its keeper; or "sealed": it never runs
    node.sh  keeper.sh  keeper.log
    node-0.stdout  node-0.stderr  node-0.exit  node-0.warned
    seen       uptime at which a provider last asked
    ending     it has to end
    why        why it was asked to end: ending, walltime, abandoned; or: rebooted
    over       nothing of it is left

A claim is made with link(2): of all that were ever sent to start or to seal a node,
however late they come, exactly one wins. A keeper that is killed is missed by the
watch, which then kills the whole session; if both are gone, the next question does it.
Times are seconds of uptime: nobody's clock is trusted.
"""

import base64
import binascii
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from providers.base import STDERR_TAIL_CHARACTERS
from providers.bash_session import SESSION_FUNCTIONS

__all__ = ["HostAnswer", "HostRules", "NodeReport", "parse_answer", "question"]

# What a line begins with that is ours; a host's .bashrc may say something, too.
_MARK = "actors:"
# UTF-8's longest character.
_TAIL_BYTES = STDERR_TAIL_CHARACTERS * 4
# Chosen: what is left of a node can be read for a week.
_KEPT_DAYS = 7

# Nothing runs before all of it has come: the last line calls what the others define.
_FUNCTIONS = (
    SESSION_FUNCTIONS
    + """\
say() { printf '%s %s\\n' 'MARK' "$*"; }
uptime() { read -r now _ < /proc/uptime; now=${now%%.*}; }
claim_of() { # FOLDER: sets $owner_boot, $leader, $leader_born
    read -r owner_boot leader leader_born < "$1/claim"
}
write() { # TEXT FILE: it appears whole
    printf '%s\\n' "$1" > "$2.$BASHPID" && mv -f "$2.$BASHPID" "$2"
}
claim() { # TEXT FOLDER: unless somebody was faster
    printf '%s\\n' "$1" > "$2/claim.$BASHPID" || return 1
    ln "$2/claim.$BASHPID" "$2/claim" 2> /dev/null
    rm -f "$2/claim.$BASHPID"
    [ -e "$2/claim" ]
}
watch() { # FOLDER CHILD WALLTIME GRACE LEASE
    local asked= why seen started
    trap : HUP INT TERM
    uptime
    started=$now
    while :; do
        sleep 1
        alive "$$" "$my_born" || break
        uptime
        if [ -z "$asked" ]; then
            why=
            seen=$started
            read -r seen < "$1/seen"
            if [ -e "$1/ending" ]; then why=ending
            elif [ "$3" -gt 0 ] && [ $((now - started)) -ge "$3" ]; then why=walltime
            elif [ $((now - seen)) -ge "$5" ]; then why=abandoned
            else continue
            fi
            asked=$now
            write "$why" "$1/why"
            kill -TERM -- "-$2"
        elif [ $((now - asked)) -ge "$4" ]; then
            sweep "$$" "$my_born" "$$" "$BASHPID"
        fi
    done
    # The keeper was killed.
    sweep "$$" "$my_born" "$BASHPID"
}
keep() { # FOLDER NODE WALLTIME GRACE LEASE UMASK
    local boot child watcher
    umask "$6"
    # A trap that does something is not inherited, an ignored signal would be.
    trap : HUP INT TERM
    read -r boot < /proc/sys/kernel/random/boot_id
    stat_of "$$"
    my_born=$born
    claim "$boot $$ $my_born" "$1" || exit 1
    claim_of "$1"
    [ "$owner_boot $leader $leader_born" = "$boot $$ $my_born" ] || exit 0
    cd
    # Each gets a process group of its own, which can be warned alone.
    set -m
    bash "$1/node.sh" "$1" "$2" < /dev/null &
    child=$!
    watch "$1" "$child" "$3" "$4" "$5" &
    watcher=$!
    set +m
    # A trap ends a wait.
    while kill -0 "$child" 2> /dev/null; do
        wait "$child"
    done
    # Whose end bash would report.
    { kill -KILL "$watcher" && wait "$watcher"; } 2> /dev/null
    sweep "$$" "$my_born" "$$" && write yes "$1/over"
}
"""
)

_QUESTIONS = """\
look() { # KEY
    local folder=$root/$1 code=- why=- path tail=
    [ -e "$folder/claim" ] || { say node "$1" none; return; }
    claim_of "$folder"
    [ "$owner_boot" != sealed ] || { say node "$1" sealed; return; }
    uptime
    write "$now" "$folder/seen"
    if [ ! -e "$folder/over" ]; then
        if [ "$owner_boot" = "$boot" ]; then
            if alive "$leader" "$leader_born" || ! sweep "$leader" "$leader_born"; then
                say node "$1" running
                return
            fi
        elif [ ! -e "$folder/why" ]; then
            write rebooted "$folder/why"
        fi
        write yes "$folder/over"
    fi
    for path in "$folder"/node-*.exit; do
        [ ! -e "$path" ] || read -r code < "$path"
    done
    [ ! -e "$folder/why" ] || read -r why < "$folder/why"
    for path in "$folder"/node-*.stderr "$folder/keeper.log"; do
        [ -n "$tail" ] || [ ! -s "$path" ] ||
            tail=$(tail -c TAIL_BYTES "$path" | base64 | tr -d '\\n')
    done
    say node "$1" over "$code" "$why" "$tail"
}
make_folder() { (umask 077 && mkdir -p "$1") || exit 1; }
end() { # KEY
    make_folder "$root/$1"
    [ -e "$root/$1/claim" ] || claim sealed "$root/$1" || exit 1
    write yes "$root/$1/ending" || exit 1
    look "$1"
}
count() { # sets $busy
    local path folder
    busy=0
    for path in "$root"/*/claim; do
        folder=${path%/claim}
        [ -e "$path" ] && [ ! -e "$folder/over" ] && claim_of "$folder" || continue
        [ "$owner_boot" = "$boot" ] || continue
        ! alive "$leader" "$leader_born" || busy=$((busy + 1))
    done
}
tidy() {
    local path
    find "$root" -mindepth 1 -maxdepth 1 -type d -mtime +KEPT_DAYS |
        while IFS= read -r path; do
            if [ -e "$path/over" ] || grep -qsx sealed "$path/claim"; then
                rm -rf "$path"
            fi
        done
}
start() { # KEY NODE WALLTIME GRACE LEASE SCRIPT
    local folder=$root/$1 try
    make_folder "$folder"
    if [ ! -e "$folder/claim" ]; then
        count
        if [ "$busy" -lt "$slots" ]; then
            printf '%s' "$6" > "$folder/node.sh" || exit 1
            {
                declare -f say uptime stat_of alive members sweep claim_of write
                declare -f claim watch keep
                echo 'keep "$@"'
            } > "$folder/keeper.sh" || exit 1
            uptime
            write "$now" "$folder/seen" || exit 1
            setsid bash "$folder/keeper.sh" "$folder" "${@:2:4}" "$(umask)" \\
                < /dev/null > "$folder/keeper.log" 2>&1 9>&- &
            for try in {1..250}; do
                [ ! -e "$folder/claim" ] || break
                sleep 0.02
            done
        fi
        # No slot, or it did not start: it never will.
        [ -e "$folder/claim" ] || claim sealed "$folder" || exit 1
    fi
    look "$1"
}
main() {
    root=ROOT
    slots=SLOTS
    case $root in /*) ;; *) root=$HOME/$root ;; esac
    for tool in base64 find flock grep ln setsid tail; do
        command -v "$tool" > /dev/null || { echo "No $tool in PATH" >&2; exit 1; }
    done
    make_folder "$root"
    read -r boot < /proc/sys/kernel/random/boot_id || exit 1
BODY
    count
    say free $((slots - busy))
    say end
}
main
"""

# Of all that start nodes, one at a time counts the slots.
_LOCK = """\
    exec 9> "$root/lock" && flock -w 10 9 || exit 1
    tidy
"""


@dataclass(frozen=True, slots=True)
class HostRules:
    """What holds for all nodes of a host.

    Args:
        folder: where nodes have theirs; relative: to the user's home.
        slots: nodes that may run at a time.
        grace: seconds between SIGTERM and SIGKILL.
        lease: seconds after which a node ends that no provider asks about.
    """

    folder: str
    slots: int
    grace: float
    lease: float

    def look(self, key: str) -> str:
        """Ask how a node is."""
        return f"look {shlex.quote(key)}"

    def end(self, key: str) -> str:
        """Ask a node to end; one that has not begun never will."""
        return f"end {shlex.quote(key)}"

    def start(self, key: str, node: int, walltime: float | None, script: str) -> str:
        """Start a node, if there is a free slot; else it never will be."""
        seconds = [math.ceil(walltime or 0), math.ceil(self.grace)]
        numbers = " ".join(map(str, [node, *seconds, math.ceil(self.lease)]))
        return f"start {shlex.quote(key)} {numbers} {shlex.quote(script)}"


def question(rules: HostRules, requests: Sequence[str]) -> str:
    """Write what bash on a host has to read.

    Args:
        rules: for this host; they make the requests, too.
        requests: any number; the free slots are told anyway.
    """
    lines = [f"    {request}\n" for request in requests]
    if any(request.startswith("start ") for request in requests):
        lines.insert(0, _LOCK)
    return (
        _FUNCTIONS.replace("MARK", _MARK)
        + _QUESTIONS.replace("TAIL_BYTES", str(_TAIL_BYTES))
        .replace("KEPT_DAYS", str(_KEPT_DAYS))
        .replace("ROOT", shlex.quote(rules.folder))
        .replace("SLOTS", str(rules.slots))
        # Last: what was asked for may hold any of these words.
        .replace("BODY\n", "".join(lines))
    )


@dataclass(frozen=True, slots=True)
class NodeReport:
    """A host's word on one node.

    Args:
        state: `none`: it knows nothing of it; `sealed`: it never runs; `running`;
            `over`.
        exit_code: of one that is over; None: none was told.
        why: it was asked to end; see the module's docstring; "": it was not.
        stderr_tail: of one that is over.
    """

    state: str
    exit_code: int | None = None
    why: str = ""
    stderr_tail: str = ""


@dataclass(frozen=True, slots=True)
class HostAnswer:
    """What a host said.

    Args:
        free_slots: when all that was asked for had been done.
        reports: by key.
    """

    free_slots: int
    reports: Mapping[str, NodeReport]


def parse_answer(text: str) -> HostAnswer | None:
    """Read what a host answered; None if it is not whole."""
    free_slots = 0
    reports: dict[str, NodeReport] = {}
    try:
        for line in text.splitlines():
            # A greeting without a line break may stand before it.
            match line.partition(_MARK)[2].split():
                case ["node", key, state]:
                    reports[key] = NodeReport(state)
                case ["node", key, "over", code, why, *tail]:
                    reports[key] = _over(code, why, *tail)
                case ["free", count]:
                    free_slots = int(count)
                case ["end"]:
                    return HostAnswer(free_slots, reports)
    except (ValueError, TypeError, binascii.Error):
        return None
    return None


def _over(code: str, why: str, tail: str = "") -> NodeReport:
    text = base64.b64decode(tail, validate=True).decode(errors="replace")
    return NodeReport(
        "over",
        int(code) if code.isdecimal() else None,
        "" if why == "-" else why,
        text[-STDERR_TAIL_CHARACTERS:],
    )
