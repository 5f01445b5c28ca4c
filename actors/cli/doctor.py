"""`actors doctor`: would this endpoint work here, and if not, what is to be done?"""

import datetime
from pathlib import Path

import click
import msgspec

from actors.cli.asking import echo_json
from actors.cli.checkup import check_up
from actors.cli.paths import GivenPath
from actors.config import CONFIG_NAME

__all__ = ["doctor"]

_MARKS = {"good": "✓", "doubtful": "▲", "bad": "✖"}
_COLOURS = {"good": "green", "doubtful": "yellow", "bad": "red"}
_SUBJECT_WIDTH = 14


@click.command()
@click.argument("file", metavar=CONFIG_NAME, type=GivenPath())
@click.option("--json", "is_json", is_flag=True, help="Answer in JSON.")
@click.pass_context
def doctor(ctx: click.Context, file: Path, *, is_json: bool) -> None:
    """Look whether an endpoint can work here, and say what to do if not.

    Give endpoint.toml or its folder. `actors check` reads the configuration; this looks
    at the place: versions, the folder and whether nodes can see it, ports,
    certificates, the clock, the batch system's commands and whether it answers, what
    worker types name, room on disk and in memory; and, if the endpoint runs, whether it
    answers. Nothing is started, submitted or changed. The exit code is 1 if something
    is wrong, 0 if it is well or doubtful.

    With --json standard output gets one object: "ok", and "findings", each with
    "subject", "verdict" (good, doubtful, bad), "text" and "advice".

    \b
    Example:
        actors doctor lab
    """  # noqa: D301 (click wants the character backspace)
    findings = []
    for finding in check_up(file, datetime.datetime.now(datetime.UTC)):
        findings.append(finding)
        if not is_json:
            mark = click.style(_MARKS[finding.verdict], fg=_COLOURS[finding.verdict])
            click.echo(f"{mark} {finding.subject:<{_SUBJECT_WIDTH}} {finding.text}")
            if finding.advice:
                click.echo(f"  {'':<{_SUBJECT_WIDTH}} → {finding.advice}")
    is_well = all(finding.verdict != "bad" for finding in findings)
    if is_json:
        echo_json({"ok": is_well, "findings": msgspec.to_builtins(findings)})
    ctx.exit(0 if is_well else 1)
