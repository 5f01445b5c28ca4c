"""Ray's client, in a process of its own; see `ray`.

    python -m providers.ray_agent ADDRESS

Reads orders, a line of JSON each, and answers each with one: `{"answer": ...}`, or
`{"problem": "..."}` if Ray has one. Ends with its standard input.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from queue import SimpleQueue
from typing import Any

from providers import keeper, processes
from providers.extras import load_extra
from providers.keeper import Keeper

__all__ = ["main"]

_NAMESPACE = "actors-blocks"
# Chosen: how long actors that have answered before, and others, may take to answer.
# All are asked at a time.
_ANSWER_TIMEOUT = 5.0
_FIRST_ANSWER_TIMEOUT = 0.3
# Chosen: how long the head may take to have an actor, milliseconds as a rule, and how
# often it is asked.
_TAKE_TIMEOUT = 5.0
_TAKE_PERIOD = 0.01
# Ray's explanations of a death are long.
_PROBLEM_CHARACTERS = 400


class _Agent:
    def __init__(self, address: str) -> None:
        self._ray = load_extra("ray", "ray")
        # To nodes that do not have this package.
        for module in (keeper, processes):
            self._ray.cloudpickle.register_pickle_by_value(module)
        self._ray.init(
            address=address,
            namespace=_NAMESPACE,
            log_to_driver=False,
            configure_logging=False,
        )
        self._make = self._ray.remote(Keeper)
        self._handles: dict[str, Any] = {}  # {name: actor}
        self._asked: dict[str, Any] = {}  # {name: ref of an answer that is due}
        self._answered: set[str] = set()  # names

    def start(
        self, name: str, arguments: Mapping[str, Any], demand: Mapping[str, Any]
    ) -> None:
        """Make an actor, unless there is one of this name.

        Raises:
            TimeoutError: the head does not say that it has it.
        """
        handle = self._make.options(
            name=name,
            namespace=_NAMESPACE,
            get_if_exists=True,
            lifetime="detached",
            max_restarts=0,
            scheduling_strategy="SPREAD",
            **demand,
        ).remote(**arguments, begins=True, owns_process=True)
        deadline = time.monotonic() + _TAKE_TIMEOUT
        while not self._is_taken(handle):
            if time.monotonic() >= deadline:
                raise TimeoutError(
                    f"the head has not taken {name} in {_TAKE_TIMEOUT} s"
                )
            time.sleep(_TAKE_PERIOD)
        self._handles[name] = handle

    def look(self, names: list[str]) -> dict[str, list[Any]]:
        """Ask actors how their nodes are: what they say, or a word of ours."""
        for name in names:
            if name in self._asked or (handle := self._find(name)) is None:
                continue
            if name in self._answered or self._is_taken(handle):
                self._asked[name] = handle.poll.remote()
        known = [name for name in names if name in self._asked]
        for is_new, timeout in (
            (True, _FIRST_ANSWER_TIMEOUT),
            (False, _ANSWER_TIMEOUT),
        ):
            refs = [self._asked[n] for n in known if (n in self._answered) != is_new]
            if refs:
                self._ray.wait(refs, num_returns=len(refs), timeout=timeout)
        return {name: self._take(name) for name in known}

    def end(self, names: list[str]) -> None:
        """Ask nodes to end; those that wait for room never get it."""
        handles = {name: self._find(name) for name in names}
        refs = {name: h.end.remote() for name, h in handles.items() if h is not None}
        if not refs:
            return
        timeout = _FIRST_ANSWER_TIMEOUT
        waited = list(refs.values())
        ready, _ = self._ray.wait(waited, num_returns=len(waited), timeout=timeout)
        for name, ref in refs.items():
            if ref not in ready and name not in self._answered:
                self._ray.kill(handles[name])
                self._drop(name)

    def forget(self, names: list[str]) -> None:
        """Remove actors."""
        for name in names:
            if (handle := self._find(name)) is not None:
                self._ray.kill(handle)
            self._drop(name)

    def _find(self, name: str) -> Any:
        if name not in self._handles:
            try:
                self._handles[name] = self._ray.get_actor(name, _NAMESPACE)
            except ValueError:
                return None
        return self._handles[name]

    def _is_taken(self, handle: Any) -> bool:
        """Whether an actor outlives the client that made it.

        A detached actor has its name before its maker has told the head all that it
        needs, and is gone if the maker dies in between
        (https://github.com/ray-project/ray/issues/13902). Ray's public way to ask for
        this state needs its dashboard.
        """
        actor_id = handle._actor_id.hex()  # noqa: SLF001
        told = self._ray._private.state.actors(actor_id)  # noqa: SLF001
        # One that has died meanwhile says why when it is asked.
        return bool(told) and told["State"] != "DEPENDENCIES_UNREADY"

    def _drop(self, name: str) -> None:
        self._handles.pop(name, None)
        self._asked.pop(name, None)
        self._answered.discard(name)

    def _take(self, name: str) -> list[Any]:
        ready, _ = self._ray.wait([self._asked[name]], timeout=0)
        if not ready:
            return ["silent" if name in self._answered else "pending"]
        try:
            told = list(self._ray.get(self._asked.pop(name)))
        except self._ray.exceptions.RayActorError as error:
            self._drop(name)
            return ["lost", _in_one_line(error)]
        self._answered.add(name)
        return told


def _in_one_line(error: BaseException) -> str:
    lines = (line.strip() for line in str(error).splitlines())
    return "; ".join(filter(None, lines))[:_PROBLEM_CHARACTERS]


def _read_orders(orders: "SimpleQueue[str]") -> None:
    for line in sys.stdin:
        orders.put(line)
    # Ray may be waiting for a cluster that is gone.
    os._exit(0)


def main() -> None:
    """Serve until standard input ends."""
    # What Ray prints is no answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    orders: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_read_orders, args=(orders,), daemon=True).start()
    agent: _Agent | None = None
    while True:
        order = json.loads(orders.get())
        try:
            agent = agent or _Agent(sys.argv[1])
            told = {"answer": getattr(agent, order.pop("order"))(**order)}
        # Whatever Ray raises, its caller has to hear of.
        except Exception as error:  # noqa: BLE001
            told = {"problem": _in_one_line(error) or type(error).__name__}
        answers.write(json.dumps(told) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
