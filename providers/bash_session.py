"""What bash can do with the processes of a session, for where no Python of ours is.

    stat_of PID              sets $state, $session, $born (clock ticks since boot)
    alive PID BORN           whether this very process runs
    members LEADER BORN [BUT...]   the living of a session, into $found
    sweep LEADER BORN [BUT...]     kill them all; false if some don't die

As in `processes`: a pid with its start time names one process for ever.
"""

__all__ = ["SESSION_FUNCTIONS"]

SESSION_FUNCTIONS = """\
stat_of() { # PID: sets $state, $session, $born
    local line
    { IFS= read -r line < "/proc/$1/stat"; } 2> /dev/null || return 1
    set -- ${line##*) }
    state=$1 session=$4 born=${20}
}
alive() { # PID BORN
    stat_of "$1" && [ "$born" = "$2" ] && case $state in [ZXx]) false ;; esac
}
members() { # LEADER BORN [BUT...]: of a session, into $found
    local path pid
    found=()
    # The leader's pid names a stranger: the session had ended by then.
    if stat_of "$1" && [ "$born" != "$2" ]; then return; fi
    for path in /proc/[0-9]*; do
        pid=${path#/proc/}
        stat_of "$pid" && [ "$session" = "$1" ] && [ "$born" -ge "$2" ] || continue
        case " ${*:3} " in *" $pid "*) continue ;; esac
        case $state in [ZXx]) ;; *) found+=("$pid") ;; esac
    done
}
sweep() { # LEADER BORN [BUT...]: kill a session; false if some don't die
    local try
    # Again and again: what is killed may just have forked.
    for try in {1..100}; do
        members "$@"
        [ ${#found[@]} -gt 0 ] || return 0
        kill -KILL "${found[@]}" 2> /dev/null
        sleep 0.02
    done
    return 1
}
"""
