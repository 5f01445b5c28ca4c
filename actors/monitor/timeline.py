"""Timeline: what an observer saw of an endpoint's tasks, as a trace. Pure.

    lab                  counts of tasks and blocks; decisions, restarts
      tasks              a span for each task that waits
    block-1.0            a group for each manager
      block-1.0-w1       a lane for each worker, a slice for each task that it ran

An interchange remembers a few hundred tasks that ended: all that took long or failed,
and a sample of many short ones. Who looks again and again sees more.
"""

from collections import OrderedDict

import msgspec

from actors.api.observer import Changed, Heard, Told, Unanswered
from actors.endpoint.pictures import ManagerPicture, Snapshot
from actors.endpoint.task_pictures import TaskList, TaskPicture
from actors.logic.trace_events import TraceEvents
from actors.messages import (
    AnyEvent,
    BlockState,
    LoadReported,
    TaskEnded,
    TaskState,
    event_kind,
)

__all__ = ["Timeline"]

# Tasks, and other moments. Chosen: what Perfetto draws without trouble; 100 MB here.
_TASKS_KEPT = 200_000
_MOMENTS_KEPT = 100_000

_status = msgspec.json.Decoder(Snapshot)
_tasks = msgspec.json.Decoder(TaskList)
_FINAL = frozenset(state.label for state in TaskState if state.is_final)


class Timeline:
    """The model; see the module's docstring."""

    def __init__(self) -> None:
        self._name = ""
        # {(task_id, attempt): as it was seen last}, oldest first
        self._tasks: OrderedDict[tuple[str, int], TaskPicture] = OrderedDict()
        self._workers: dict[str, str] = {}  # {task_id: worker that runs it}
        self._hosts: dict[str, str] = {}  # {manager_id: host}
        self._moments: OrderedDict[tuple[float, AnyEvent], None] = OrderedDict()
        self._counts: list[tuple[float, dict[str, int], dict[str, int]]] = []
        self._missed = 0
        self._dropped = 0

    @property
    def tasks(self) -> int:
        """How many there are in it."""
        return len(self._tasks)

    def take(self, news: Changed | Told | Heard | Unanswered, now: float) -> None:
        """Take what the observer tells; `now` is in seconds since 1970."""
        match news:
            case Heard(event, missed):
                self._missed += missed
                # Tasks say themselves how they ended, and pictures what the load is.
                if not isinstance(event.body, TaskEnded | LoadReported):
                    self._note_moment(event.at, event.body)
            case Told(command, answer) if command.verb == "status":
                self._take_status(_status.decode(answer.body), now)
            case Told(command, answer) if command.verb == "tasks":
                for task in _tasks.decode(answer.body).tasks:
                    self._note_task(task)

    def _take_status(self, status: Snapshot, now: float) -> None:
        self._name = status.name
        if not self._counts:
            # What is told live comes with a better time.
            for told in status.relayed:
                self._note_moment(now - told.age, told.event)
        unfinished = {s: n for s, n in status.tasks.items() if s not in _FINAL}
        states = [BlockState(block.state) for block in status.blocks]
        blocks = {s.value: states.count(s) for s in BlockState if s.is_active}
        self._counts.append((now, unfinished, blocks))
        del self._counts[:-_MOMENTS_KEPT]
        for manager in status.managers:
            self._hosts[manager.manager_id] = manager.host
            self._note_workers(manager)

    def _note_workers(self, manager: ManagerPicture) -> None:
        for worker in manager.workers:
            if worker.task_id:
                self._workers[worker.task_id] = worker.worker_id

    def _note_moment(self, at: float, event: AnyEvent) -> None:
        self._moments[at, event] = None
        if len(self._moments) > _MOMENTS_KEPT:
            self._moments.popitem(last=False)

    def _note_task(self, task: TaskPicture) -> None:
        self._tasks[task.task_id, task.attempt] = task
        if len(self._tasks) > _TASKS_KEPT:
            (task_id, _), _ = self._tasks.popitem(last=False)
            self._workers.pop(task_id, None)
            self._dropped += 1

    # The trace

    def render(self, now: float) -> bytes:
        """Write the trace; what has not ended lasts until `now`."""
        trace = TraceEvents()
        endpoint = f"endpoint {self._name}"
        for at, tasks, blocks in self._counts:
            trace.counts(endpoint, "tasks", at, tasks)
            trace.counts(endpoint, "blocks", at, blocks)
        for at, event in self._moments:
            facts = msgspec.to_builtins(event)
            name = event_kind(event).replace("_", " ")
            trace.moment(endpoint, name, at, facts)
        for task in self._tasks.values():
            self._draw(task, trace, endpoint, now)
        facts = {
            "made_by": "actors timeline",
            "endpoint": self._name,
            "tasks": len(self._tasks),
            "tasks_left_out": self._dropped,
            "events_missed": self._missed,
        }
        return trace.render(facts)

    def _draw(
        self, task: TaskPicture, trace: TraceEvents, endpoint: str, now: float
    ) -> None:
        ended = task.at if task.state in _FINAL else now
        name = task.name or task.task_id
        facts = {
            "task_id": task.task_id,
            "state": task.state,
            "attempt": task.attempt,
            "client": task.client_id,
            "priority": task.priority,
        }
        if task.message:
            facts["message"] = task.message
        began = task.began_at or ended
        if task.queued_at:
            trace.span(endpoint, "waiting", name, task.queued_at, began, facts)
        if task.began_at:
            worker = self._workers.get(task.task_id, "")
            if task.state in _FINAL or not worker:
                worker = task.place
            group = self._group_of(worker)
            trace.slice(group, worker, name, task.began_at, ended, facts)

    def _group_of(self, worker: str) -> str:
        """Name the manager that a worker is of, with its host."""
        manager = worker if worker in self._hosts else worker.rpartition("-")[0]
        host = self._hosts.get(manager, "")
        return f"{manager or worker} on {host}" if host else manager or worker
