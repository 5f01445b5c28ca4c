"""Worker processes and their pipes, as their owner sees them.

    owner ──start, assign, recall, stop, kill──► Pool ──► fork server, pipes ──► workers
          ◄──read(): WorkerStarted, TasksRan, TasksRecalled, WorkerDied──

Used by the manager and by the embedded runtime. Read `pool` first: it gives tasks to
workers and tells what becomes of them. `batches` cuts what it gives into frames; a
`pooled_worker` is what it keeps of each; `server_care` has what makes them, `output`
what they print, `usage` what they take, `deaths` how they ended. What runs inside a
worker is `actors.worker`.
"""

from actors.pool.pool import Pool
from actors.pool.server_care import MakeServer
from actors.pool.usage import WorkerUsage

__all__ = ["MakeServer", "Pool", "WorkerUsage"]
