"""A backend of joblib, and so of scikit-learn: `Parallel` runs on actors' workers.

    from actors.util.joblib import register_actors

    register_actors()
    with joblib.parallel_config("actors"):
        search.fit(x, y)

It needs joblib, which is no dependency of this package.
"""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from joblib import register_parallel_backend
from joblib.parallel import AutoBatchingMixin, ParallelBackendBase

from actors.api.objects import cancel
from actors.api.remote import remote
from actors.refs import ObjectRef
from actors.state import cluster_resources

__all__ = ["ActorsBackend", "register_actors"]


def register_actors() -> None:
    """Make `joblib.parallel_config("actors")` known."""
    register_parallel_backend("actors", ActorsBackend)


class ActorsBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """Runs joblib's batches as remote functions, here or on an endpoint."""

    supports_retrieve_callback = True
    supports_inner_max_num_threads = False
    default_n_jobs = -1

    def configure(self, n_jobs: int = 1, parallel: Any = None, **_options: Any) -> int:
        """Note who asks; return how many jobs run at a time."""
        self.parallel = parallel
        self._refs: dict[Future[Any], ObjectRef[Any]] = {}
        return self.effective_n_jobs(n_jobs)

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many jobs can run at a time: as many as there are processors.

        Raises:
            ValueError: `n_jobs` is 0.
        """
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        cpus = max(1, int(cluster_resources().get("CPU", 1)))
        return max(1, cpus + 1 + n_jobs) if n_jobs < 0 else n_jobs

    def submit(
        self, func: Callable[[], Any], callback: Callable[[Any], object] | None = None
    ) -> "Future[Any]":
        """Run a batch in a worker."""
        ref: ObjectRef[Any] = _run.remote(func)
        future: Future[Any] = ref.future()
        self._refs[future] = ref
        future.add_done_callback(lambda ended: self._refs.pop(ended, None))
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: "Future[Any]") -> Any:
        """Return what a batch returned, or raise what it raised."""
        return out.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Give up what runs or waits."""
        for ref in list(self._refs.values()):
            cancel(ref)
        if ensure_ready:
            self.configure(n_jobs=self.parallel.n_jobs, parallel=self.parallel)

    def terminate(self) -> None:
        """Keep the workers: they are the program's."""


def _run_batch(batch: Callable[[], Any]) -> Any:
    return batch()


_run = remote(_run_batch)
