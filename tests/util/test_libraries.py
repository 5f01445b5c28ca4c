"""Other people's libraries run on actors: joblib, scikit-learn, dask, tqdm, asyncio."""

import asyncio
import concurrent.futures
import multiprocessing
import operator
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import joblib
import pytest
from dask import bag
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeClassifier
from tqdm.contrib.concurrent import process_map

import actors
from actors.util.joblib import register_actors
from tests.endpoints import RunningEndpoint

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def executor() -> Iterator[concurrent.futures.Executor]:
    with actors.Executor(max_workers=2) as made:
        yield made


def pid(_: object = None) -> int:
    return os.getpid()


def invert(x: int) -> float:
    return 1 / x


# joblib


def test_joblib_runs_on_an_endpoint_too() -> None:
    """In a program of its own: this one has a runtime already."""
    script = """
import joblib, os, actors
from actors.util.joblib import register_actors
register_actors()
with joblib.parallel_config("actors"):
    jobs = joblib.Parallel(n_jobs=-1)(joblib.delayed(pow)(x, 2) for x in range(100))
    pids = joblib.Parallel(n_jobs=2)(joblib.delayed(os.getpid)() for _ in range(4))
assert jobs == [x * x for x in range(100)]
assert os.getpid() not in pids
assert set(actors.available_resources()) == set(actors.cluster_resources()) == {"CPU"}
print(actors.cluster_resources()["CPU"])
"""
    with RunningEndpoint() as endpoint:
        ran = subprocess.run(
            [sys.executable, "-W", "error", "-c", script],
            env={**os.environ, "ACTORS_ADDRESS": str(endpoint.folder)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert (ran.stdout, ran.returncode) == ("2.0\n", 0), ran.stderr


@pytest.fixture
def backend() -> Iterator[None]:
    register_actors()
    with joblib.parallel_config("actors"):
        yield


def test_joblib_runs_batches_in_workers_in_order(backend: None) -> None:
    jobs = joblib.Parallel(n_jobs=2)(joblib.delayed(invert)(x) for x in range(1, 300))
    assert jobs == [1 / x for x in range(1, 300)]
    pids = set(joblib.Parallel(n_jobs=-1)(joblib.delayed(pid)() for _ in range(20)))
    workers = {worker.pid for worker in actors.state.list_workers()}
    assert pids <= workers


def test_joblib_raises_what_a_job_raised_and_goes_on(backend: None) -> None:
    with pytest.raises(ZeroDivisionError):
        joblib.Parallel(n_jobs=2)(joblib.delayed(invert)(x) for x in (1, 0, 2))
    assert joblib.Parallel(n_jobs=2)([joblib.delayed(invert)(2)]) == [0.5]


def test_joblib_gives_results_as_they_come(backend: None) -> None:
    parallel = joblib.Parallel(n_jobs=2, return_as="generator")
    assert list(parallel(joblib.delayed(operator.neg)(x) for x in range(5))) == [
        -x for x in range(5)
    ]


def test_joblib_gives_up_in_time(backend: None) -> None:
    with pytest.raises(multiprocessing.TimeoutError):
        joblib.Parallel(n_jobs=2, timeout=0.1)(
            joblib.delayed(time.sleep)(1000) for _ in range(3)
        )


def test_scikit_learn_searches_a_grid_with_the_same_outcome(backend: None) -> None:
    x, y = load_iris(return_X_y=True)
    grid = {"max_depth": [1, 2, 3]}

    def search(n_jobs: int) -> GridSearchCV:
        estimator = DecisionTreeClassifier(random_state=0)
        return GridSearchCV(estimator, grid, n_jobs=n_jobs, cv=3).fit(x, y)

    alone, together = search(1), search(2)
    assert together.best_params_ == alone.best_params_
    scores = [
        found.cv_results_["mean_test_score"].tolist() for found in (alone, together)
    ]
    assert scores[0] == scores[1]
    names = {event["name"] for event in actors.timeline()}
    assert any("_run_batch" in name for name in names), "it ran here"


# Those that take an executor


def test_dask_computes_a_bag_on_an_executor(
    executor: concurrent.futures.Executor,
) -> None:
    from_sequence: Any = bag.from_sequence  # it has no types
    numbers = from_sequence(range(100), npartitions=5)
    total = numbers.map(lambda x: x * x).filter(lambda x: x % 2).sum()
    assert total.compute(scheduler=executor) == sum(x * x for x in range(1, 100, 2))
    pids = set(numbers.map(pid).compute(scheduler=executor))
    assert os.getpid() not in pids


def test_tqdm_maps_on_an_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    # It has no other way to be told which.
    monkeypatch.setattr(concurrent.futures, "ProcessPoolExecutor", actors.Executor)
    options = {"max_workers": 2, "chunksize": 5, "disable": True}
    assert process_map(invert, range(1, 50), **options) == [1 / x for x in range(1, 50)]
    assert os.getpid() not in process_map(pid, range(10), **options)


def test_asyncio_awaits_calls_on_an_executor(
    executor: concurrent.futures.Executor,
) -> None:
    async def work() -> list[float]:
        loop = asyncio.get_running_loop()
        calls = [loop.run_in_executor(executor, invert, x) for x in (1, 2, 4)]
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(executor, invert, 0)
        return await asyncio.gather(*calls)

    assert asyncio.run(work()) == [1, 0.5, 0.25]
