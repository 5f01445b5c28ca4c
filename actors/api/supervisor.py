"""Supervisor: keeps a user's actors alive, as OTP's supervisors do."""

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

from actors.api.actor_class import ActorClass, actor_class
from actors.api.actor_handle import ActorHandle
from actors.api.runtime import runtime
from actors.errors import ConfigError, GetTimeoutError
from actors.logic.actor_life import Died
from actors.logic.restarts import RestartKind, RestartScope
from actors.messages import GroupOptions
from actors.plans import ActorPlan, ChildPlan, GroupPlan, MadeGroup
from actors.refs import ObjectRef

__all__ = ["Child", "Supervisor"]

_SCOPES = ("one_for_one", "rest_for_one", "one_for_all")
_KINDS = ("permanent", "transient", "temporary")


@dataclass(frozen=True)
class Child:
    """An actor, or a supervisor, to be kept by a supervisor.

    Args:
        name: different from its siblings'.
        what: the actor's class, bare or with options, or a supervisor that was not
            started.
        args: of the constructor.
        kwargs: those by name.
        restart: "permanent": restarted however it ends; "transient": unless it ended
            itself (`exit_actor`); "temporary": never. One that has ended for good stays
            so, also when those beside it start anew.

    Raises:
        ConfigError: something of it is wrong.
    """

    name: str
    what: "ActorClass[Any] | type[Any] | Supervisor"
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    restart: RestartKind = "permanent"

    def __post_init__(self) -> None:
        if self.restart not in _KINDS:
            raise ConfigError(
                f"Child {self.name!r}: restart {self.restart!r} must be "
                f"{', '.join(_KINDS[:-1])} or {_KINDS[-1]}"
            )


class Supervisor:
    """Starts actors in order, restarts those that end, and gives up in time.

        with actors.Supervisor(
            [actors.Child("store", Store), actors.Child("reader", Reader, ("x.csv",))],
            restart_scope="rest_for_one",
        ) as supervisor:
            actors.get(supervisor["reader"].next_row.remote())

    Each child is started when the constructor of the one before has returned; all are
    stopped in reverse order. A handle on a child stays good when it is restarted; calls
    made meanwhile wait. `actors.watch(handle)` tells of each end of a child. The
    children are stopped, too, when nobody uses the supervisor any more; it may be given
    to tasks and actors as a handle may.

    On an endpoint the interchange runs it: it goes on when the interchange dies. When
    a node is lost, that counts as one crash, however many children fell.

    Args:
        children: in the order of their start.
        restart_scope: who is restarted with a child that ended: "one_for_one": nobody;
            "rest_for_one": those started after it; "one_for_all": all.
        max_restarts: when more than so many are needed within `period`, it gives up:
            it stops its children and itself. If it is the child of another supervisor,
            that decides what follows.
        period: seconds.
        backoff: (seconds before the first restart, the most that there may be); each
            is twice the one before, and a quiet period starts anew.
        patience: seconds between asking a child to end, which first runs the calls that
            it has, and killing it.

    Raises:
        ConfigError: an argument is wrong.
    """

    def __init__(
        self,
        children: Sequence[Child],
        *,
        restart_scope: RestartScope = "one_for_one",
        max_restarts: int = 3,
        period: float = 5.0,
        backoff: tuple[float, float] = (0.05, 2.5),
        patience: float = 5.0,
    ) -> None:
        names = [child.name for child in children]
        twice = sorted({name for name in names if names.count(name) > 1})
        if not names or twice:
            what = f"{twice[0]!r} twice" if twice else "nobody"
            raise ConfigError(
                f"A supervisor's children need names of their own: {what}"
            )
        if restart_scope not in _SCOPES:
            raise ConfigError(
                f"restart_scope {restart_scope!r} must be {', '.join(_SCOPES[:-1])} or "
                f"{_SCOPES[-1]}"
            )
        first, longest = backoff
        if max_restarts < 0 or period <= 0 or patience < 0 or not 0 <= first <= longest:
            raise ConfigError(
                f"max_restarts {max_restarts} must be 0 or more, period {period:g} "
                f"positive, patience {patience:g} 0 or more, and backoff {backoff} two "
                "durations, the longer last"
            )
        self._children = list(children)
        self._options = GroupOptions(
            restart_scope, max_restarts, period, patience, first, longest
        )
        self._is_child = False
        self._made: MadeGroup[ObjectRef[Any]] | None = None
        self._handles: dict[str, ActorHandle[Any] | Supervisor] = {}

    def start(self, *, timeout: float | None = None) -> Self:
        """Start all children, and return when they are up.

        Args:
            timeout: seconds; None: for ever.

        Raises:
            ActorDiedError: a constructor failed; all others were stopped.
            ActorAlreadyExistsError: the name of a child is another actor's.
            GetTimeoutError: not all are up in time; they go on starting.
            ConfigError: it was started before, or a child's options do not suit.
        """
        if self._made is not None:
            raise ConfigError("The supervisor was started before; make another one")
        current = runtime()
        plan, pictures = self._planned()
        made = current.actors.supervise(plan)
        self._have(made, pictures)
        current.get([made.started], timeout)
        return self

    def stop(self, *, timeout: float | None = None) -> None:
        """Stop the children in reverse order; return when all are gone; twice is once.

        Args:
            timeout: seconds; None: for ever.

        Raises:
            GetTimeoutError: not all are gone in time; they go on ending.
            ConfigError: it was not started, or is the child of another one.
        """
        anchor = self._started().anchor
        runtime().actors.stop(anchor)
        if not all(runtime().wait([anchor], 1, timeout)):
            raise GetTimeoutError(f"Not all children are gone after {timeout:g} s")

    def watch(self) -> ObjectRef[Died]:
        """Return a ref whose value tells how the supervisor ended, once it has.

        Raises:
            ConfigError: it was not started, or is the child of another one.
        """
        return self._started().anchor

    def __getitem__(self, name: str) -> Any:
        """Return a handle on a child, or the supervisor that is the child.

        Raises:
            KeyError: there is none of this name, or it was not started.
        """
        return self._handles[name]

    def __enter__(self) -> Self:
        if self._made is None:
            self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Literal[False]:
        self.stop()
        return False

    def _started(self) -> MadeGroup[ObjectRef[Any]]:
        if self._made is None:
            raise ConfigError("The supervisor was not started; call start()")
        if self._is_child:
            raise ConfigError("The supervisor is another one's child: ask that one")
        return self._made

    def _planned(self) -> tuple[GroupPlan, dict[str, Any]]:
        """Return what shall be made, and what the handles of it need to know."""
        children: dict[str, ChildPlan] = {}
        pictures: dict[str, Any] = {}
        for child in self._children:
            what = child.what
            plan: ActorPlan | GroupPlan
            if isinstance(what, Supervisor):
                plan, pictures[child.name] = what._planned()  # noqa: SLF001
            else:
                if not isinstance(what, ActorClass):
                    what = actor_class(what, {})
                class_, options, pictures[child.name] = what.prepared(
                    is_supervised=True
                )
                name = types.SimpleNamespace(
                    __qualname__=f"{options.class_name}.__init__"
                )
                plan = ActorPlan(
                    class_, options, name, tuple(child.args), dict(child.kwargs)
                )
            children[child.name] = ChildPlan(child.restart, plan)
        return GroupPlan(self._options, children), pictures

    def _have(
        self,
        made: MadeGroup[ObjectRef[Any]],
        pictures: dict[str, Any],
        *,
        is_child: bool = False,
    ) -> None:
        self._made, self._is_child = made, is_child
        for child in self._children:
            inner = made.children[child.name]
            if isinstance(inner, MadeGroup):
                assert isinstance(child.what, Supervisor)
                child.what._have(  # noqa: SLF001
                    inner, pictures[child.name], is_child=True
                )
                self._handles[child.name] = child.what
            else:
                handle = ActorHandle[Any](inner, pictures[child.name])
                self._handles[child.name] = handle
