"""Promise: a span of a submitting program has its tasks' spans as its descendants.

Whichever process runs them, and whatever stands between.
"""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SimpleSpanProcessor,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, Tracer

import actors
from actors.otel import Tracing
from tests.endpoints import RunningEndpoint, no_leftovers, shared_endpoint

__all__ = ["no_leftovers", "shared_endpoint"]

pytestmark = pytest.mark.slow


class Memory(TracerProvider):
    """A tracer provider that keeps the spans in its process."""

    def __init__(self) -> None:
        super().__init__()
        self.exporter = InMemorySpanExporter()
        self.add_span_processor(SimpleSpanProcessor(self.exporter))

    def spans(self) -> list[dict[str, Any]]:
        """Give them, without those of the calls that ask for them."""
        asking = ("submit kept", "submit told", "run kept", "run told")
        finished = self.exporter.get_finished_spans()
        return [_told(span) for span in finished if span.name not in asking]


def _told(span: ReadableSpan) -> dict[str, Any]:
    return {
        "name": span.name,
        "verb": span.name.partition(" ")[0],
        "kind": span.kind,
        "trace": span.context.trace_id,
        "id": span.context.span_id,
        "parent": span.parent.span_id if span.parent else None,
        "pid": os.getpid(),
        "error": span.status.description or "",
    }


def set_up() -> None:
    """Keep spans in the worker; a second call would be told by the SDK."""
    trace.set_tracer_provider(Memory())


def kept() -> list[dict[str, Any]]:
    """Return the spans of this worker."""
    provider = trace.get_tracer_provider()
    spans: list[dict[str, Any]] = provider.spans()  # type: ignore[attr-defined]
    return spans


def work(number: int) -> int:
    with trace.get_tracer("user").start_as_current_span("inner"):
        return number * 2


def fail() -> None:
    raise ValueError("it never works")


def carried() -> object:
    return baggage.get_baggage("customer")


@pytest.fixture
def here() -> Memory:
    """The spans of this program."""
    return Memory()


@pytest.fixture
def tracing(here: Memory) -> Tracing:
    return Tracing(set_up, tracer_provider=here)


@pytest.fixture
def user(here: Memory) -> Tracer:
    return here.get_tracer("user")


def expect_chain(
    here: Memory, there: list[dict[str, Any]], names: tuple[str, str], pid: int
) -> None:
    """Check root ─► submit ─► run ─► inner, the last two elsewhere."""
    submitted, root = here.spans()[-2:]
    assert root["name"] == "root"
    assert (submitted["verb"], submitted["kind"]) == ("submit", SpanKind.PRODUCER)
    assert submitted["parent"] == root["id"]
    inner, run = there[-2:]
    assert (run["verb"], run["kind"]) == ("run", SpanKind.CONSUMER)
    assert run["parent"] == submitted["id"]
    assert (inner["name"], inner["parent"]) == ("inner", run["id"])
    assert {span["trace"] for span in (root, submitted, run, inner)} == {root["trace"]}
    assert {inner["pid"], run["pid"]}.isdisjoint({pid})
    assert (submitted["name"], run["name"]) == names


Making = Callable[[], Executor]


def embedded() -> Executor:
    return actors.Executor(None, 1)


def standard() -> Executor:
    return ProcessPoolExecutor(1)


@pytest.mark.parametrize("make", [embedded, standard])
def test_what_is_submitted_here_is_a_child_of_the_span_around_it(
    make: Making, here: Memory, tracing: Tracing, user: Tracer
) -> None:
    with make() as executor:
        assert tracing.instrument(executor) is executor
        assert tracing.instrument(executor) is executor, "once is enough"
        with user.start_as_current_span("root"):
            future = executor.submit(work, 21)
        assert future.result(60) == 42
        there = executor.submit(kept).result(60)
    expect_chain(here, there, ("submit work", "run work"), os.getpid())


@pytest.mark.usefixtures("no_leftovers")
def test_what_is_submitted_to_an_endpoint_is_a_child_of_the_span_around_it(
    shared_endpoint: RunningEndpoint, here: Memory, tracing: Tracing, user: Tracer
) -> None:
    with shared_endpoint.executor(1) as executor:
        tracing.instrument(executor)
        with user.start_as_current_span("root"):
            future = executor.submit(work, 21)
        assert future.result(60) == 42
        # There are two workers: whose it was has them.
        while not (there := executor.submit(kept).result(60)):
            pass
        expect_chain(here, there, ("submit work", "run work"), os.getpid())
        assert sum(executor.map(work, range(10), chunksize=5)) == 90
        assert executor.submit_keyed("k", work, 21).result(60) == 42
    assert [span["name"] for span in here.spans()][-3:] == ["submit work"] * 3


def test_a_failure_is_an_error_of_its_span_and_comes_as_itself(
    here: Memory, tracing: Tracing
) -> None:
    with tracing.instrument(actors.Executor(None, 1)) as executor:
        with pytest.raises(ValueError, match="it never works"):
            executor.submit(fail).result(60)
        (failed,) = executor.submit(kept).result(60)
    assert (failed["name"], failed["error"]) == (
        "run fail",
        "ValueError: it never works",
    )


def test_spans_are_exported_before_the_program_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "spans"

    def set_up_slow() -> None:
        exporter = ConsoleSpanExporter(out=out.open("a"))
        provider = TracerProvider()
        hour = 3_600_000
        processor = BatchSpanProcessor(exporter, schedule_delay_millis=hour)
        provider.add_span_processor(processor)
        trace.set_tracer_provider(provider)

    with Tracing(set_up_slow).instrument(actors.Executor(None, 1)) as executor:
        assert executor.submit(abs, -1).result(60) == 1
        assert '"name": "run abs"' in out.read_text()


def test_baggage_comes_along(tracing: Tracing) -> None:
    with tracing.instrument(actors.Executor(None, 1)) as executor:
        token = context.attach(baggage.set_baggage("customer", "ada"))
        try:
            future = executor.submit(carried)
        finally:
            context.detach(token)
        assert future.result(60) == "ada"
        assert executor.submit(carried).result(60) is None


def test_what_cannot_be_pickled_is_still_said_so(tracing: Tracing) -> None:
    with tracing.instrument(actors.Executor(None, 1)) as executor:
        future = executor.submit(print, sys.stdout)
        with pytest.raises(actors.NotSerializable, match="Argument 1"):
            future.result(60)


def test_without_a_setup_the_context_is_handed_on(here: Memory, user: Tracer) -> None:
    def trace_id() -> int:
        return trace.get_current_span().get_span_context().trace_id

    with Tracing(tracer_provider=here).instrument(actors.Executor(None, 1)) as executor:
        with user.start_as_current_span("root") as root:
            future = executor.submit(trace_id)
        assert future.result(60) == root.get_span_context().trace_id


# Remote functions


def current() -> dict[str, Any]:
    span = trace.get_current_span()
    assert isinstance(span, ReadableSpan)
    return _told(span)


@actors.remote
def child() -> dict[str, Any]:
    return current()


@actors.remote
def parent() -> list[dict[str, Any]]:
    below = actors.get(child.remote())
    return [below, *kept(), current()]


@actors.remote
def items(count: int) -> Iterator[int]:
    for number in range(count):
        with trace.get_tracer("user").start_as_current_span("inner"):
            yield number


@actors.remote
def told() -> list[dict[str, Any]]:
    return kept()


@pytest.fixture
def one_worker() -> Iterator[None]:
    actors.init(num_workers=1)
    yield
    actors.shutdown()


@pytest.mark.usefixtures("one_worker")
def test_remote_functions_bring_their_context(
    here: Memory, tracing: Tracing, user: Tracer
) -> None:
    remote = actors.remote(work)
    # Made before we trace, and after.
    assert actors.get(remote.remote(1), timeout=60) == 2
    tracing.instrument_runtime()
    tracing.instrument_runtime()
    assert actors.get(remote.remote(1), timeout=60) == 2
    assert not here.spans(), "prepared before"
    with user.start_as_current_span("root"):
        ref = actors.remote(work).remote(21)
    assert actors.get(ref, timeout=60) == 42
    there = actors.get(told.remote(), timeout=60)
    expect_chain(here, there, ("submit work", "run work"), os.getpid())


@pytest.mark.usefixtures("one_worker")
def test_a_generators_span_lasts_until_its_end(
    here: Memory, tracing: Tracing, user: Tracer
) -> None:
    tracing.instrument_runtime()
    assert [actors.get(ref, timeout=60) for ref in items.remote(3)] == [0, 1, 2]
    *inner, run = actors.get(told.remote(), timeout=60)
    assert run["name"] == "run items"
    assert [span["parent"] for span in inner] == [run["id"]] * 3


@pytest.mark.usefixtures("one_worker")
def test_calls_of_a_task_are_children_of_its_span(
    here: Memory, tracing: Tracing, user: Tracer
) -> None:
    tracing.instrument_runtime()
    with user.start_as_current_span("root") as root:
        ref = parent.remote()
    chain = actors.get(ref, timeout=60) + here.spans()
    assert [span["name"] for span in chain] == [
        *("run child", "submit child", "run parent", "submit parent", "root")
    ]
    for span, above in itertools.pairwise(chain):
        assert span["parent"] == above["id"], span["name"]
    assert {span["trace"] for span in chain} == {root.get_span_context().trace_id}
    assert len({span["pid"] for span in chain}) == 3


@pytest.mark.usefixtures("no_leftovers")
def test_remote_functions_on_an_endpoint_bring_their_context(
    shared_endpoint: RunningEndpoint, here: Memory, tracing: Tracing, user: Tracer
) -> None:
    actors.init(shared_endpoint.folder)
    try:
        tracing.instrument_runtime()
        with user.start_as_current_span("root"):
            ref = actors.remote(work).remote(21)
        assert actors.get(ref, timeout=60) == 42
        trace_id = here.spans()[-1]["trace"]
        there: list[dict[str, Any]] = []
        while not there:
            every = actors.get(told.remote(), timeout=60)
            there = [span for span in every if span["trace"] == trace_id]
    finally:
        actors.shutdown()
    submitted, root = here.spans()
    assert (submitted["name"], root["name"]) == ("submit work", "root")
    assert there[-1]["parent"] == submitted["id"]


def test_nobody_else_pays_for_the_import() -> None:
    code = "import actors, sys; print([m for m in sys.modules if 'telemetry' in m])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
