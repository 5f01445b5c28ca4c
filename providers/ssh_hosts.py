"""The hosts of the ssh provider: all asked at a time, silent ones less often."""

import logging
import math
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from providers.ssh_connection import Connections, HostRefused, HostSilent
from providers.ssh_host import HostAnswer, HostRules, parse_answer, question

__all__ = ["Host", "Hosts", "check_hosts"]

logger = logging.getLogger(__name__)

# Chosen: that many hosts are asked at a time; each takes a process of ours.
_MOST_AT_A_TIME = 32
# Characters of an answer that makes no sense, in a message.
_SHOWN = 200
# What is a file's name, wherever hosts share their users' homes.
_NO_FILE_NAME = re.compile(r"[^\w.@-]", re.ASCII)


class Host:
    """What is known of one host.

    Args:
        name: as ssh takes it.
        rules: for its nodes.
    """

    def __init__(self, name: str, rules: HostRules) -> None:
        self.name = name
        self.rules = rules
        self.problem = ""  # why it did not answer when last asked
        self.refuses = False  # and won't, before somebody has mended something
        self.silent_since: float | None = None
        self.ask_again_at = -math.inf


class Hosts:
    """Any number of hosts, by name; also such as only older jobs know.

    Args:
        connections: to them.
        rules: for all; each has a folder of its own in theirs, in case that hosts share
            their users' homes.
        retry_period: seconds until a silent host is asked again.
    """

    def __init__(
        self, connections: Connections, rules: HostRules, retry_period: float
    ) -> None:
        self._connections = connections
        self._rules = rules
        self._retry_period = retry_period
        self._hosts: dict[str, Host] = {}  # {name: Host}
        self._pool = ThreadPoolExecutor(_MOST_AT_A_TIME, "ssh")

    def __getitem__(self, name: str) -> Host:
        host = self._hosts.get(name)
        if host is None:
            folder = f"{self._rules.folder}/{_NO_FILE_NAME.sub('_', name)}"
            host = self._hosts[name] = Host(name, replace(self._rules, folder=folder))
        return host

    def ask(self, requests: Mapping[str, Sequence[str]]) -> dict[str, HostAnswer]:
        """Ask hosts.

        Args:
            requests: by host; none: only for its free slots.

        Returns:
            What they said; who did not answer, or is not asked for now because it did
            not the last time, is missing.
        """
        now = time.monotonic()
        hosts = [self[name] for name in requests]
        due = [host for host in hosts if host.ask_again_at <= now]
        told = self._pool.map(
            lambda host: self._ask_one(host, requests[host.name]), due
        )
        return {
            host.name: answer
            for host, answer in zip(due, told, strict=True)
            if answer is not None
        }

    def all_refuse(self, names: Iterable[str]) -> bool:
        """Tell whether none of these hosts would take anything as things are."""
        return all(self[name].refuses for name in names)

    def problems(self, names: Iterable[str]) -> str:
        """Tell why hosts don't answer, each once; "" if they do."""
        hosts = [self[name] for name in dict.fromkeys(names)]
        return "; ".join(
            f"{host.name}: {host.problem}" for host in hosts if host.problem
        )

    def close(self) -> None:
        """Close the connections."""
        self._pool.shutdown()
        self._connections.close(self._hosts)
        self._hosts.clear()

    def _ask_one(self, host: Host, requests: Sequence[str]) -> HostAnswer | None:
        asked_at = time.monotonic()
        try:
            text = self._connections.ask(host.name, question(host.rules, requests))
            answer = parse_answer(text)
            if answer is None:
                raise HostSilent(f"Its answer is not whole: {text[-_SHOWN:]!r}")
        except (HostSilent, HostRefused) as error:
            if str(error) != host.problem:
                logger.warning("%s: %s", host.name, error)
            host.problem = str(error)
            host.refuses = isinstance(error, HostRefused)
            if host.silent_since is None:
                host.silent_since = asked_at
            # A refusal comes at once, and nobody is kept waiting by it.
            patience = 0.0 if host.refuses else self._retry_period
            host.ask_again_at = time.monotonic() + patience
            return None
        if host.problem:
            logger.info("%s answers again", host.name)
        host.problem = ""
        host.refuses = False
        host.silent_since = None
        return answer


def check_hosts(hosts: Sequence[str]) -> None:
    """Refuse what is no list of hosts.

    Raises:
        TypeError: it is no list of strings.
        ValueError: it is empty, or one of them is twice there or cannot be a host.
    """
    if isinstance(hosts, str) or not all(isinstance(host, str) for host in hosts):
        raise TypeError(f"hosts {hosts!r} must be a list of strings")
    if not hosts:
        raise ValueError('hosts must name one or more, such as ["node1", "ada@node2"]')
    for host in hosts:
        if not host or host.startswith("-") or not host.isprintable() or " " in host:
            raise ValueError(f"hosts {host!r} must be a host as ssh takes it")
        if hosts.count(host) > 1:
            raise ValueError(
                f"hosts {host!r} is there twice: slots_per_host gives more"
            )
