"""The process's runtime: `init`, `shutdown`, and what comes about by itself."""

import contextlib
import importlib
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Protocol

from actors.address import ADDRESS_VARIABLE
from actors.api.dashboard import Dashboard, require_dashboard
from actors.errors import ConfigError
from actors.refs import Context, context, known, set_context

__all__ = ["init", "is_initialized", "runtime", "shutdown"]

# Each takes some 10 MB of its own. Chosen: what a large machine bears.
_MAX_WORKERS = 512

# By name: workers, which have a context of another kind, need not import it.
_EMBEDDING = "actors.api.embedding"
# By name, too: who stays at home need not pay for nng's import, and must not have it
# before workers fork.
_ON_ENDPOINT = "actors.api.on_endpoint"


class _Runtime(Context, Protocol):
    """What `init` makes; in a worker there is another context from the beginning."""

    def close(self) -> None: ...


_made: list[_Runtime] = []  # the one that this process has, if any
_dashboards: list[Dashboard] = []  # and its dashboard
_lock = threading.RLock()
_starting: list[bool] = []  # not empty: `init` is under way


def init(
    address: str | os.PathLike[str] | None = None,
    *,
    num_workers: int | None = None,
    num_cpus: int | None = None,
    num_gpus: float = 0,
    resources: Mapping[str, float] | None = None,
    max_workers: int | None = None,
    log_to_driver: bool = True,
    namespace: str = "",
    ignore_reinit_error: bool = False,
    credentials: str | os.PathLike[str] | None = None,
    dashboard: bool = False,
) -> None:
    """Start worker processes for this program, or go to an endpoint.

    Without it the first remote call does, with the defaults. In a worker it does
    nothing: tasks share the runtime of the program that called them.

    Args:
        address: an endpoint's folder (or its endpoint.toml), or `wss://host:port`;
            None: the environment variable ACTORS_ADDRESS, and without that, worker
            processes of this program. An endpoint has its own workers: it takes no
            `num_workers`, `num_cpus`, `num_gpus`, `resources` and `max_workers`.
        credentials: for a `wss://` address: a folder with the endpoint's `token` and
            `credentials/`, as `actors init` wrote them.
        num_workers: processes to keep, and processors to share out; default: as many
            as this process may use.
        num_cpus: another name for it, Ray's.
        num_gpus: GPUs to share out; tasks find theirs in CUDA_VISIBLE_DEVICES.
        resources: amounts of whatever else tasks may ask for.
        max_workers: processes that there may be while tasks wait for each other; 512
            unless told.
        log_to_driver: whether what workers print for us appears on our standard error;
            on an endpoint it stands in its logs, too.
        namespace: where `get_actor` looks, and named actors are made, unless told;
            default: the one that all programs share which name none.
        ignore_reinit_error: let a second call do nothing.
        dashboard: show tasks, actors, workers and objects, or the endpoint, in a
            browser, by `actors web` in a process of its own; where, it says on
            standard error. `actors tui --pid PID` shows them without that, too.

    Raises:
        AddressError: there is no endpoint at the address.
        ConfigError: a number is not positive; or the address, the endpoint's folder
            or the credentials are wrong; or the dashboard's packages are missing.
        RuntimeError: there is a runtime already.
    """
    with _lock, _no_other_start():
        if known() is not None:
            if ignore_reinit_error or not _made:  # made by nobody: a worker's
                return
            raise RuntimeError(
                "actors.init() was called before; call actors.shutdown() first"
            )
        if dashboard:
            require_dashboard()
        if address is not None or os.environ.get(ADDRESS_VARIABLE):
            _refuse_workers(
                num_workers=num_workers,
                num_cpus=num_cpus,
                num_gpus=num_gpus,
                resources=resources,
                max_workers=max_workers,
            )
            module = importlib.import_module(_ON_ENDPOINT)
            made = module.connect(
                address, credentials, namespace, log_to_driver=log_to_driver
            )
            _have(made)
            if dashboard:
                words = [os.fspath(address or os.environ[ADDRESS_VARIABLE])]
                if credentials is not None:
                    words += ["--credentials", os.fspath(credentials)]
                _dashboards.append(Dashboard(words))
            return
        max_workers = _MAX_WORKERS if max_workers is None else max_workers
        count = num_workers if num_workers is not None else num_cpus
        if count is None:
            count = len(os.sched_getaffinity(0))
        if count < 1 or max_workers < count:
            raise ConfigError(
                f"num_workers {count} must be at least 1 and at most max_workers "
                f"{max_workers}"
            )
        amounts = {**(resources or {}), **({"GPU": num_gpus} if num_gpus else {})}
        embedding = importlib.import_module(_EMBEDDING)
        made = embedding.embed(
            count,
            amounts,
            max_workers,
            log_to_driver=log_to_driver,
            namespace=namespace,
        )
        _have(made)
        if dashboard:
            _dashboards.append(Dashboard())


@contextlib.contextmanager
def _no_other_start() -> Iterator[None]:
    """Refuse to start while we start: our own imports have led here."""
    if _starting:
        raise RuntimeError(
            "What is imported to start the runtime calls it: has a script, or a "
            f"module in {sys.path[0]!r}, the name of one of the standard library's, as "
            "queue.py has"
        )
    _starting.append(True)
    try:
        yield
    finally:
        _starting.clear()


def _refuse_workers(**given: object) -> None:
    """Raise ConfigError if somebody wants workers of his own on an endpoint."""
    names = [name for name, value in given.items() if value]
    if names:
        raise ConfigError(
            f"{', '.join(names)} cannot be chosen on an endpoint, which has workers of "
            "its own ([workers] of its endpoint.toml): leave it out, or call init() "
            "without an address"
        )


def _have(new: _Runtime) -> None:
    _made.append(new)
    set_context(new)


def is_initialized() -> bool:
    """Tell whether this process has a runtime."""
    return known() is not None


def shutdown() -> None:
    """End all tasks and workers of this program; twice is once."""
    with _lock:
        if _made:
            _made[-1].close()
            _made.clear()
            set_context(None)
        while _dashboards:
            _dashboards.pop().close()


def runtime() -> Context:
    """Return the process's runtime; start it if there is none."""
    current = known()
    if current is not None:
        return current
    init(ignore_reinit_error=True)
    return context()


def _begin_anew() -> None:
    """In a forked child: have no runtime; it is the parent's."""
    if _made:
        disown = getattr(_made[-1], "disown", None)
        if disown is not None:
            disown()
        # Never freed: it would close, warn and wait for what is not the child's.
        _inherited.extend(_made)
        _made.clear()
        _inherited.extend(_dashboards)
        _dashboards.clear()
        set_context(None)


_inherited: list[object] = []
os.register_at_fork(after_in_child=_begin_anew)

# Before the interpreter waits for threads, and before `atexit`: its own may want us.
threading._register_atexit(shutdown)  # type: ignore[attr-defined]  # noqa: SLF001
