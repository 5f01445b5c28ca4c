"""The interchange as a process."""

import time

from actors.endpoint.interchange import Interchange, InterchangeSettings
from actors.endpoint.shell import ActorShell, run_actor
from actors.endpoint.surroundings import Surroundings, python_version
from actors.messages import from_member
from actors.runtime import Inbox, Runtime, Serving

__all__ = ["run"]


def run(around: Surroundings) -> int:
    """Run an endpoint's interchange until it ends; return its exit code."""
    config = around.config
    settings = InterchangeSettings(
        name=config.name,
        epoch=around.instance,
        token=around.token,
        python=python_version(),
        tempo=around.tempo,
        keep_results=config.results.keep,
        max_queued_tasks=config.limits.max_queued_tasks,
        wall_offset=around.wall_offset,
    )
    shell = ActorShell(Inbox())
    serving = Serving(
        around.listening_address,
        "interchange",
        around.listening_security,
        lambda hello: from_member[hello.kind],
        around.tempo,
        around.instance,
        config.transport.max_frame_bytes,
        publishes=True,
    )
    machine = Interchange(settings, time.monotonic())
    return run_actor(
        shell, Runtime(machine, shell, serving=serving, sources=[shell.inbox])
    )
