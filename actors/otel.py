"""OpenTelemetry traces of calls, from the program that makes them to the worker.

    program   your span ─► submit f (producer)
                              └──► run f (consumer)                    worker
                                      └──► whatever f does: your spans, its own calls

The context travels with the call: as a further argument, which only the wrapper around
the function sees. Nothing between program and worker knows of it, and calls that are
not traced pay nothing for it. Between the end of `submit` and the begin of `run` the
task was queued.

Where spans go to is the user's business, as everywhere with OpenTelemetry: `setup` is
called once in each worker, before its first traced call, to make a tracer provider.
"""

import contextlib
import functools
import inspect
import os
import weakref
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from typing import Any, TypeVar

from opentelemetry import context, propagate
from opentelemetry.trace import (
    SpanKind,
    Tracer,
    TracerProvider,
    get_tracer,
    get_tracer_provider,
)

from actors.api.runtime import runtime
from actors.messages import TaskOptions
from actors.payload import Wrapper, dump_function, load_function
from actors.refs import Context, known

__all__ = ["Tracing"]

Setup = Callable[[], object]
AnyExecutor = TypeVar("AnyExecutor", bound=Executor)

_TRACER = "actors"
# An exporter that is not done by then delays results no longer. Chosen: what a person
# waits for without asking; the SDK's own 30 s would look like a task that hangs.
_FLUSH_MILLISECONDS = 5000
# The argument that carries the context; no function of a user's has one of this name.
_CARRIER = "_actors_trace_context"

# Setups that were called in this process, by name: it is the process that they set up,
# hence a variable of the process. By name, as a function that came by value is another
# object each time.
_called: set[str] = set()
# Contexts of this process whose calls are traced.
_instrumented: "weakref.WeakSet[Any]" = weakref.WeakSet()


class Tracing:
    """Traces calls of executors and of remote functions.

    Args:
        setup: called once in each worker process, before its first traced call; it
            travels like a function that is submitted. None: workers have a tracer
            provider already, or only hand the context on.
        tracer_provider: of the spans in this process; None: the global one.
        flush: have a worker export the spans of a call before it sends the result.
            Without it short calls are faster, and what a worker has not exported when
            its program ends is lost.
    """

    def __init__(
        self,
        setup: Setup | None = None,
        *,
        tracer_provider: TracerProvider | None = None,
        flush: bool = True,
    ) -> None:
        self._setup = setup
        self._provider = tracer_provider
        self._flushes = flush

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker has a provider of its own.
        made = functools.partial(Tracing, flush=self._flushes)
        return made, (self._setup,)

    def instrument(self, executor: AnyExecutor) -> AnyExecutor:
        """Trace what is submitted to an executor, by whatever method it has for that.

        Any standard executor will do whose workers are other processes.

        Returns:
            The same executor.
        """
        if "submit" in vars(executor):  # it is traced already
            return executor
        # Of the last function: it is pickled, and loaded, once if it can be.
        last: list[_Traced] = []

        def send(
            submit: Callable[..., Any],
            fn: Callable[..., Any],
            args: tuple[Any, ...],
            kwargs: Mapping[str, Any],
        ) -> Any:
            # Another thread may put another function there at any moment.
            traced = last[0] if last else None
            if traced is None or traced.function is not fn:
                traced = _Traced(fn, _name_of(fn), self)
                last[:] = [traced]
            return self._send(traced.name, submit, (traced, *args), kwargs)

        submit = _weakly(executor.submit)

        def traced_submit(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
            return send(submit(), fn, args, kwargs)

        # In place of a look at each call: most programs trace nothing.
        vars(executor)["submit"] = traced_submit
        submit_keyed = getattr(executor, "submit_keyed", None)
        if submit_keyed is not None:  # it is an endpoint's
            keyed = _weakly(submit_keyed)

            def traced_keyed(
                key: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
            ) -> Any:
                return send(functools.partial(keyed(), key), fn, args, kwargs)

            vars(executor)["submit_keyed"] = traced_keyed
        return executor

    def instrument_runtime(self) -> None:
        """Trace calls of remote functions by this program, and by their tasks.

        The runtime is that of `actors.init`, which starts if there is none; after
        another `init` call this again. Calls of actors are not traced.
        """
        self._instrument(runtime())

    def _instrument(self, current: Context) -> None:
        if current in _instrumented:
            return
        _instrumented.add(current)
        prepare, submit = current.prepare, current.submit

        def traced_prepare(function: bytes, options: TaskOptions, name: str) -> Any:
            traced = _Traced(_Pickled(function), name, self)
            return _Spec(prepare(dump_function(traced), options, name), name)

        def traced_submit(spec: Any, *rest: Any) -> Any:
            if not isinstance(spec, _Spec):  # made before we came
                return submit(spec, *rest)
            function, args, kwargs = rest
            return self._send(
                spec.name,
                lambda *args, **kwargs: submit(spec.inner, function, args, kwargs),
                args,
                kwargs,
            )

        vars(current).update(prepare=traced_prepare, submit=traced_submit)

    def _send(
        self,
        name: str,
        submit: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Any:
        carrier: dict[str, str] = {}
        with self._tracer.start_as_current_span(
            f"submit {name}", kind=SpanKind.PRODUCER
        ):
            propagate.inject(carrier)
            return submit(*args, **kwargs, **{_CARRIER: carrier})

    @property
    def _tracer(self) -> Tracer:
        return get_tracer(_TRACER, tracer_provider=self._provider)

    # In the worker

    def begin_here(self) -> Tracer:
        """Set this process up, if that was not done, and return its tracer."""
        setup = self._setup
        if setup is not None:
            name = f"{setup.__module__}.{_name_of(setup)}"
            if name not in _called:
                setup()
                _called.add(name)
        current = known()
        if current is not None:
            self._instrument(current)
        return self._tracer

    def end_here(self) -> None:
        """Have the spans of a call exported, if that is wanted."""
        # The API's provider, which stands for none, cannot.
        flush = getattr(get_tracer_provider(), "force_flush", None)
        if self._flushes and flush is not None:
            flush(_FLUSH_MILLISECONDS)


def _weakly(method: Callable[..., Any]) -> Callable[[], Callable[..., Any]]:
    """Hold a method, but not its executor: one that nobody holds any more ends."""
    held = weakref.WeakMethod(method)

    def of_the_living() -> Callable[..., Any]:
        alive = held()
        assert alive is not None, "an executor that is called is alive"
        return alive

    return of_the_living


class _Spec:
    """What a context knows of a function whose calls are traced."""

    def __init__(self, inner: Any, name: str) -> None:
        self.inner = inner
        self.name = name


class _Pickled:
    """A function that is pickled already; unpickled it is the function itself."""

    def __init__(self, pickled: bytes) -> None:
        self._pickled = pickled

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return load_function(self._pickled)(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return load_function, (self._pickled,)


class _Traced(Wrapper):
    """A function whose calls are spans, children of the context that they bring."""

    def __init__(
        self, function: Callable[..., Any], name: str, tracing: Tracing
    ) -> None:
        super().__init__(function)
        self.name = name
        # What people are told it is.
        self.__qualname__ = name
        self._tracing = tracing

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function in a span, which a generator has until its end."""
        carrier = kwargs.pop(_CARRIER, {})
        if inspect.isgeneratorfunction(self.function):
            return self._generate(carrier, args, kwargs)
        with self._span(carrier):
            return self.function(*args, **kwargs)

    def _generate(
        self,
        carrier: Mapping[str, str],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Iterator[Any]:
        with self._span(carrier):
            yield from self.function(*args, **kwargs)

    @contextlib.contextmanager
    def _span(self, carrier: Mapping[str, str]) -> Iterator[None]:
        tracer = self._tracing.begin_here()
        # All of it: there may be baggage, too.
        token = context.attach(propagate.extract(carrier))
        try:
            with tracer.start_as_current_span(
                f"run {self.name}",
                kind=SpanKind.CONSUMER,
                attributes={"process.pid": os.getpid()},
            ):
                yield
        finally:
            context.detach(token)
            self._tracing.end_here()


def _name_of(function: Callable[..., Any]) -> str:
    while isinstance(function, functools.partial):
        # As `map` makes one of a function and its chunks.
        inner = next((arg for arg in function.args if callable(arg)), function.func)
        function = inner
    name: str = getattr(function, "__qualname__", type(function).__qualname__)
    return name
