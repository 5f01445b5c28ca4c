"""`actors status`: what an endpoint is doing."""

import shutil
import sys

import click
import msgspec

from actors.api.operator import ask
from actors.cli.asking import Asking, address_argument, asking, echo_json
from actors.cli.picture import draw
from actors.endpoint.pictures import Snapshot

__all__ = ["status"]

# Where nobody looks at a screen; chosen: fits into mails and terminals.
_COLUMNS = 80


@click.command()
@address_argument
@asking()
def status(address: str | None, *, how: Asking) -> None:
    """Show what an endpoint is doing.

    Its tasks are counted by state; its blocks, managers, workers and clients listed.

    ADDRESS is an endpoint's folder, or wss://HOST:PORT with --credentials; left out, it
    is what ACTORS_ADDRESS says. The exit code is 0 if the endpoint answered.

    What a worker runs is shown once it has run it for about a second; its memory and
    processor time are as of its manager's last report.

    With --json standard output gets one object. If the endpoint did not answer: "ok":
    false and "text", why. Otherwise, with times in seconds and sizes in bytes:

    \b
        ok          true
        name        of the endpoint
        epoch       another one after each start of its interchange
        uptime      since that start
        tasks       {state: count}, those that ended since that start
        finished    tasks that ended since then, however they did
        malformed   frames that were refused since then
        services    connected ones of supervisor, strategy, provider
        blocks      list: block_id, state, job_id, managers, leases, is_held,
                    is_draining, message, exit_code or null, stderr_tail
        managers    list: manager_id, block_id, host, pid, state (ready, held,
                    draining, away), slots, window, leases, silent, time_left,
                    total, free, types, rss_bytes, cpu_seconds, workers
          workers   list: worker_id, pid, task_id ("" when idle), task_name,
                    rss_bytes, cpu_seconds
        clients     list: client_id, host, pid, is_connected, unfinished,
                    unacknowledged
        actors      list, of clients: actor_id, class_name, name, namespace,
                    state, incarnation, manager_id, waiting_calls, leased_calls,
                    holders, is_detached, message, max_restarts, pid, rss_bytes,
                    cpu_seconds
        members     list of services and operators: kind, member_id, host,
                    pid, silent
        relayed     list: age, event (scaling, restarts), oldest first
        is_quiesced whether no tasks are taken or started until `actors resume`
        bad_state   why all tasks fail until `actors resume`; "": they do not
        bad_state_detail  what the batch system says of the blocks that failed
        journal     null, or: durability, lag (how long what must be safe had to
                    wait for the disk lately, at most), unsynced_records,
                    unsynced_bytes, size_bytes, free_bytes (of its disk),
                    interval (between two syncs, or 0),
                    compacted (since it was made short, or null)
    Keys may be added; these stay.

    \b
    Examples:
        actors status lab
        actors status --json lab | jq .tasks.running
    """  # noqa: D301 (click wants the character backspace)
    answer = ask(how.entrance(address), "status", timeout=how.timeout)
    snapshot = msgspec.json.decode(answer.body, type=Snapshot)
    if how.is_json:
        echo_json({"ok": True, **msgspec.to_builtins(snapshot)})
        return
    columns = _COLUMNS
    if sys.stdout.isatty():
        columns = max(_COLUMNS, shutil.get_terminal_size().columns)
    click.echo(draw(snapshot, columns))
