"""The interchange as a process: its machine, doors and links, and its journal."""

import logging
import math
import resource
import time

from actors.endpoint.interchange import Interchange, InterchangeSettings
from actors.endpoint.pulse import Pulse
from actors.endpoint.recorder import JournalRecorder, journal_config
from actors.endpoint.shell import ActorShell, run_actor
from actors.endpoint.surroundings import Surroundings, python_version
from actors.inbox import Inbox
from actors.journal import Journal
from actors.logic.placement import PlacementRules
from actors.logic.records import (
    InterchangeRecord,
    decode_record,
    encode_record_apart,
)
from actors.messages import from_member
from actors.runtime import Runtime, Serving
from actors.store.links import Links

__all__ = ["run"]

logger = logging.getLogger(__name__)


def run(around: Surroundings, pulse: Pulse) -> int:
    """Run an endpoint's interchange until it ends; return its exit code."""
    config = around.config
    # Each member costs four, and the usual limit is 1,024.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    settings = InterchangeSettings(
        name=config.name,
        epoch=around.instance,
        token=around.token,
        python=python_version(),
        tempo=around.tempo,
        keep_results=config.results.keep,
        max_queued_tasks=config.limits.max_queued_tasks,
        max_unread_bytes=config.limits.max_unread_bytes,
        wall_offset=around.wall_offset,
        node=around.node,
        placement=PlacementRules(
            config.placement.selector,
            config.placement.scheduler_mode == "hard",
            frozenset(config.worker_types),
            math.inf if config.blocks.walltime is None else config.blocks.walltime,
            config.placement.end_margin,
        ),
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
    with Journal[InterchangeRecord](
        around.paths.journals / "interchange",
        encode=encode_record_apart,
        decode=decode_record,
        config=journal_config(config),
    ) as journal:
        machine.restore(pulse.along(journal.replay()), time.monotonic())
        if machine.ledger.entries or machine.clients:
            logger.info(
                "%d unfinished tasks, and results for %d clients, are back",
                len(machine.ledger.entries),
                sum(bool(c.unacknowledged) for c in machine.clients.values()),
            )
        if machine.fleet.is_quiesced:
            logger.warning("is quiesced since before: `actors resume` undoes it")
        recorder = JournalRecorder(journal, machine.snapshot, tells=True)
        links = Links()
        # What an earlier one has left.
        links.sweep()
        try:
            runtime = Runtime(
                machine,
                shell,
                serving=serving,
                sources=[shell.inbox],
                recorder=recorder,
                meanwhile=pulse.beat,
                links=links,
            )
            return run_actor(shell, runtime, pulse)
        finally:
            recorder.close()
            links.close()
