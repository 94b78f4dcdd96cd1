"""Threads and processes: results do not depend on them, limits are obeyed, a forked child does not hang."""

import ctypes.util
import os
import sys
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import threadpoolctl

import fastloss as fl
from fastloss import _runtime

openmp = pytest.mark.skipif(_runtime.compiler()[1] == 0, reason="this build has no OpenMP: it runs on one thread")
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture
def default_threads():
    """Undoes what a test sets."""
    yield
    fl.set_num_threads(None)


def bits(results):
    """What was computed, to the last bit."""
    return b"".join(np.asarray(x).tobytes() for x in results)


def everything(loss, *arguments, **options):
    return bits(
        [
            loss(*arguments, **options),
            *loss.value_and_grad(*arguments, **options),
            *loss.value_and_grad(*arguments, reduction="sum", **options),
            *loss.grad_and_hess(*arguments, **options),
        ]
    )


# --- Results ---


@openmp
@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("n", [16385, 50_003])
def test_results_do_not_depend_on_the_number_of_threads(case, dtype, weighted, n):
    n = case.rows(n)
    y, z = case.sample(n, dtype, wide=True)
    w = np.random.default_rng(5).random(n).astype(dtype) if weighted else None
    loss = case.make()
    one = everything(loss, y, z, w, n_threads=1)
    for n_threads in (2, 3, 8):
        assert everything(loss, y, z, w, n_threads=n_threads) == one


@openmp
@pytest.mark.parametrize("shape", [(100_003, 1), (317, 317), (2, 50_001)])
def test_nor_do_those_of_strided_arrays(dtype, shape):
    rng = np.random.default_rng(6)
    for z in (rng.normal(size=shape).astype(dtype, order="F"), rng.normal(size=shape).astype(dtype)[::-1]):
        y, w = np.zeros(shape, np.int8), rng.random(shape[0])
        one = everything(fl.Huber(), y, z, w, n_threads=1)
        for n_threads in (2, 3, 8):
            assert everything(fl.Huber(), y, z, w, n_threads=n_threads) == one


def test_calls_from_many_threads_at_once(case):
    y, z = case.sample(case.rows(50_000))
    loss = case.make()
    expected = everything(loss, y, z, n_threads=1)
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(everything, loss, y, z, n_threads=1 + i % 3) for i in range(32)]
        assert {call.result(timeout=60) for call in calls} == {expected}


def test_others_run_during_a_call():
    # The GIL is released: this thread wakes up many times while the other one is in a kernel.
    x = np.broadcast_to(1.0, 1 << 25)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(fl.BinaryCrossEntropy(from_logits=True), x, x, n_threads=1)
        turns = 0
        while not call.done():
            time.sleep(1e-3)
            turns += 1
    assert turns > 10


@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_call_with_out_allocates_nothing_that_grows(case, dtype, weighted, n_threads):
    n = case.rows(200_000)
    y, z = case.sample(n, dtype)
    w = np.ones(n, dtype) if weighted else None
    out, hessian = np.empty_like(z), np.empty_like(z)
    strided = np.empty((*z.shape, 2), dtype)[..., 0]
    loss = case.make()
    tracemalloc.start()
    try:
        loss(y, z, w, n_threads=n_threads)
        for target in (out, strided):
            loss.value_and_grad(y, z, w, out=target, n_threads=n_threads)
        loss.value_and_grad(y[::2], z[::2], w if w is None else w[::2], out=out[::2], n_threads=n_threads)
        loss.grad_and_hess(y, z, w, out=(out, hessian), n_threads=n_threads)
        assert tracemalloc.get_traced_memory()[1] < 20_000
    finally:
        tracemalloc.stop()


# --- Their number ---


@openmp
@linux
def test_the_setting_beats_the_environment_and_the_argument_beats_the_setting(python):
    # The threads of the process are counted: nothing else shows how many a call used.
    program = """
        import os
        import numpy as np, fastloss as fl

        def show(n=100_000, **options):
            fl.SquaredError()(np.zeros(n), np.zeros(n), **options)
            print(fl.get_num_threads(), len(os.listdir("/proc/self/task")))

        show(100, n_threads=4)  # too few to gain
        show()
        fl.set_num_threads(3)
        show()
        show(n_threads=4)
        fl.set_num_threads(None)
        print(fl.get_num_threads())
    """
    assert python("if True:" + program, OMP_NUM_THREADS="2").splitlines() == ["2 1", "2 2", "3 3", "3 4", "2"]


@pytest.mark.usefixtures("default_threads")
def test_set_and_get():
    default = fl.get_num_threads()
    assert default >= 1
    for n in (1, 5, np.int64(3)):
        fl.set_num_threads(n)
        assert fl.get_num_threads() == (n if _runtime.compiler()[1] else 1)
    fl.set_num_threads(None)
    assert fl.get_num_threads() == default


@openmp
def test_a_great_number_of_threads_is_no_error():
    x = np.zeros(100_000)
    assert fl.SquaredError()(x, x, n_threads=1000) == fl.SquaredError()(x, x, n_threads=10**30) == 0


@openmp
def test_limits_of_threadpoolctl_are_obeyed(python):
    program = """
        import fastloss as fl, threadpoolctl
        print(fl.get_num_threads())
        for setting in (None, 4):
            fl.set_num_threads(setting)
            with threadpoolctl.threadpool_limits(limits=1):
                print(fl.get_num_threads())
            with threadpoolctl.threadpool_limits(limits=2, user_api="openmp"):
                print(fl.get_num_threads())
            print(fl.get_num_threads())
    """
    assert python("if True:" + program, OMP_NUM_THREADS="3").split() == ["3", "1", "2", "3", "1", "2", "4"]
    assert any(pool["user_api"] == "openmp" for pool in threadpoolctl.threadpool_info())


# --- Forks ---

FORK = """
import os, signal
import numpy as np
import fastloss as fl

x = np.linspace(-1, 1, 200_000)
loss = fl.BinaryCrossEntropy(from_logits=True)
expected = loss(x > 0, x, n_threads=1)
{before}
child = os.fork()
if child == 0:
    signal.alarm(10)  # ends a child that hangs
    same = all(loss(x > 0, x, n_threads=n) == expected for n in (1, 2, None))
    {inside}
    os._exit(0 if same else 1)
print(os.waitpid(child, 0)[1], loss(x > 0, x, n_threads=2) == expected)
"""


@forks
@pytest.mark.parametrize(
    "before", ["", "loss(x > 0, x, n_threads=2)", "fl.SquaredError().value_and_grad(x, x, n_threads=8)"]
)
def test_a_forked_child_computes(before, python):
    assert python(FORK.format(before=before, inside="")) == "0 True"


@forks
def test_a_forked_child_of_a_forked_child_computes(python):
    inside = """
    grandchild = os.fork()
    if grandchild == 0:
        os._exit(0 if loss(x > 0, x, n_threads=2) == expected else 1)
    same = same and os.waitpid(grandchild, 0)[1] == 0
    """
    assert python(FORK.format(before="loss(x > 0, x, n_threads=2)", inside=inside)) == "0 True"


@forks
@linux
@openmp
def test_a_forked_child_computes_after_others_used_openmp(python):
    # Another library that shares this process's OpenMP runtime has started its threads, fastloss has not.
    if not ctypes.util.find_library("gomp"):
        pytest.skip("no libgomp of the system to share")
    before = """
import ctypes
gomp = ctypes.CDLL("libgomp.so.1")
gomp.GOMP_parallel(ctypes.cast(gomp.omp_get_max_threads, ctypes.c_void_p), None, 2, 0)
"""
    assert python(FORK.format(before=before, inside="")) == "0 True"


@forks
def test_a_pool_of_forked_processes_computes(python):
    program = """
        import multiprocessing, numpy as np, fastloss as fl
        x = np.linspace(-1, 1, 200_000)
        def work(n):
            return fl.mse(x, x + n)
        expected = [work(n) for n in range(4)]
        with multiprocessing.get_context("fork").Pool(2) as pool:
            print(pool.map_async(work, range(4)).get(30) == expected)
    """
    assert python("if True:" + program) == "True"
