"""What an endpoint says of itself to the programs and tasks that run on it."""

from typing import Any

from actors.api.actor_tools import get_actor
from actors.api.objects import get
from actors.embedded.pictures import ActorState, TaskState, WorkerState

__all__ = [
    "endpoint_actors",
    "endpoint_spans",
    "endpoint_status",
    "endpoint_tasks",
    "endpoint_workers",
]

_MICROSECONDS = 1e6
# The interchange gives no more at a time.
_MOST = 2000
# {state at the endpoint: Ray's name}
_TASK_STATES = {
    "waiting-for-nodes": "PENDING_NODE_ASSIGNMENT",
    "waiting-for-launch": "SUBMITTED_TO_WORKER",
    "running": "RUNNING",
}
_ACTOR_STATES = {
    "waiting": "PENDING_CREATION",
    "starting": "PENDING_CREATION",
    "alive": "ALIVE",
    "restarting": "RESTARTING",
    "dead": "DEAD",
}


def endpoint_status() -> Any:
    """Return the interchange's snapshot."""
    return _ask("status")


def endpoint_tasks(limit: int) -> list[TaskState]:
    """Return what has not ended, of all programs; 2,000 at most."""
    listed = _ask("tasks", states=list(_TASK_STATES), limit=min(limit, _MOST))
    pids = {w.worker_id: w.pid for m in endpoint_status().managers for w in m.workers}
    return [
        TaskState(
            task_id=task.task_id,
            name=task.name,
            state=_TASK_STATES[task.state],
            type="ACTOR_TASK" if task.actor_id else "NORMAL_TASK",
            worker_id=task.place,
            worker_pid=pids.get(task.place, 0),
            actor_id=task.actor_id,
            attempt_number=task.attempt - 1,
        )
        for task in listed.tasks
    ]


def endpoint_actors() -> list[ActorState]:
    """Return all actors that somebody has a handle on, of all programs."""
    return [
        ActorState(
            actor_id=actor.actor_id,
            class_name=actor.class_name,
            state=_ACTOR_STATES[actor.state],
            name=actor.name,
            ray_namespace=actor.namespace,
            pid=actor.pid,
            num_restarts=max(0, actor.incarnation - 1),
            pending_calls=actor.waiting_calls + actor.leased_calls,
            death_cause=actor.message,
        )
        for actor in endpoint_status().actors
    ]


def endpoint_workers() -> list[WorkerState]:
    """Return the processes that run tasks, then those of actors."""
    status = endpoint_status()
    workers = [
        WorkerState(w.worker_id, "WORKER", w.pid, not w.task_id, int(bool(w.task_id)))
        for manager in status.managers
        for w in manager.workers
    ]
    return workers + [
        WorkerState(a.actor_id, "ACTOR", a.pid, not a.leased_calls, a.leased_calls)
        for a in status.actors
        if a.state in ("starting", "alive")
    ]


def endpoint_spans() -> list[dict[str, Any]]:
    """Return what ran lately as Chrome's trace events: a sample, if it was much."""
    events: list[dict[str, Any]] = []
    groups: dict[str, int] = {}  # {manager or worker: its number in the trace}
    for task in _ask("tasks", limit=_MOST).tasks:
        if not task.began_at or task.state in _TASK_STATES:
            continue
        manager = task.place.rpartition("-")[0] or task.place
        events.append(
            {
                "name": task.name or task.task_id,
                "cat": "task",
                "ph": "X",
                "ts": task.began_at * _MICROSECONDS,
                "dur": max(0.0, task.at - task.began_at) * _MICROSECONDS,
                "pid": groups.setdefault(manager, len(groups) + 1),
                "tid": groups.setdefault(task.place, len(groups) + 1),
                "args": {"task_id": task.task_id, "state": task.state, "count": 1},
            }
        )
    lanes = {(event["pid"], event["tid"]) for event in events}
    names = {number: name for name, number in groups.items()}
    for pid, tid in sorted(lanes):
        told: list[tuple[str, int]] = [("process_name", pid), ("thread_name", tid)]
        events += [
            {"name": n, "ph": "M", "pid": pid, "tid": tid, "args": {"name": names[of]}}
            for n, of in told
        ]
    return events


def _ask(method: str, **kwargs: Any) -> Any:
    interchange = get_actor("interchange", namespace="endpoint")
    return get(getattr(interchange, method).remote(**kwargs))
