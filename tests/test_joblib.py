"""util.joblib: joblib's jobs in cyray's processes."""

from __future__ import annotations

import os

import joblib
import pytest

import cyray
from cyray.util.joblib import register_ray

INIT = {"num_cpus": 3}
pytestmark = pytest.mark.usefixtures("shared_session")
register_ray()


def run(jobs, n_jobs=2, **options):
    with joblib.parallel_config(backend="cyray", **options):
        return joblib.Parallel(n_jobs=n_jobs)(jobs)


def square(x):
    return x * x


def where(_):
    return os.getpid(), cyray.get_runtime_context().get_actor_id() is not None


def fail(x):
    raise KeyError(x)


@pytest.mark.parametrize("backend", ["cyray", "ray"])
@pytest.mark.parametrize("n_jobs", [1, 2, -1, 50])
def test_values_come_in_order(backend, n_jobs):
    with joblib.parallel_config(backend=backend):
        made = joblib.Parallel(n_jobs=n_jobs)(joblib.delayed(square)(i) for i in range(100))
    assert made == [i * i for i in range(100)]


def test_jobs_run_in_actors_and_no_more_of_them_than_asked_for():
    places = run(joblib.delayed(where)(i) for i in range(40))
    assert len({pid for pid, _ in places}) <= 2 and os.getpid() not in dict(places)
    assert all(in_actor for _, in_actor in places)


def test_errors_are_what_a_job_raised_and_the_next_run_works():
    with pytest.raises(KeyError, match="fail"):
        run(joblib.delayed(fail)(i) for i in range(4))
    assert run([joblib.delayed(square)(3)]) == [9]


def test_jobs_may_use_joblib_themselves():
    def outer(n):
        return sum(joblib.Parallel(n_jobs=2)(joblib.delayed(square)(i) for i in range(n)))

    assert run(joblib.delayed(outer)(n) for n in range(4)) == [0, 0, 1, 5]


def test_options_of_the_actors():
    with pytest.raises(ValueError, match="cpus"):
        run([joblib.delayed(square)(1)], ray_remote_args={"cpus": 1})
    assert run([joblib.delayed(square)(2)], ray_remote_args={"num_cpus": 1}) == [4]
