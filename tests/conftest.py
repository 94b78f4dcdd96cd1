"""The axes that laws are stated over, as fixtures; and the table of errors in ulp at the end of a run."""

from __future__ import annotations

import os
import subprocess
import sys

if "PYTEST_XDIST_WORKER" in os.environ:  # each core has its own process: threads that wait for work must not take it
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import pytest
from reference import CASES

from fastloss import _runtime

ULPS = pytest.StashKey[dict]()


@pytest.fixture(params=CASES, ids=str)
def case(request):
    """Every loss with every set of parameters."""
    return request.param


@pytest.fixture(params=[np.float32, np.float64], ids=["f32", "f64"])
def dtype(request):
    return request.param


@pytest.fixture(params=["mean", "sum", "none"])
def reduction(request):
    return request.param


@pytest.fixture(params=[False, True], ids=["unweighted", "weighted"])
def weighted(request):
    return request.param


# A missing one is skipped with its reason once, in test_isa.py, rather than in every test.
RUNNABLE = [name for name in _runtime.compiled_instruction_sets() if _runtime.cpu_supports(name)]


@pytest.fixture
def isas():
    """The instruction sets that can run here; the test switches between them by itself."""
    before = _runtime.instruction_set()
    yield RUNNABLE
    _runtime.use_instruction_set(before)


@pytest.fixture(params=RUNNABLE)
def isa(request, isas):
    """Every instruction set, in use while the test runs: a loss that is made then keeps its kernels."""
    _runtime.use_instruction_set(request.param)
    return request.param


@pytest.fixture(scope="session")
def python():
    """Runs a program in a Python of its own and returns what it printed: for crashes, forks and the environment."""

    def run(program, *, flags=(), check=True, timeout=60, **environment):
        # One BLAS thread, so that threads can be counted; and nothing that this process was started with.
        clean = {k: v for k, v in os.environ.items() if k not in ("FASTLOSS_ISA", "OMP_NUM_THREADS")}
        done = subprocess.run(
            [sys.executable, *flags, "-c", program],
            env={**clean, "OPENBLAS_NUM_THREADS": "1", **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check:
            assert done.returncode == 0, f"exit code {done.returncode}\n{done.stderr}"
            return done.stdout.strip()
        return done

    return run


@pytest.fixture
def record_ulp(request):
    """Remembers the largest error of a thing, a dtype and an instruction set for the table at the end of the run."""
    table = request.config.stash.setdefault(ULPS, {})

    def record(thing, what, dtype, isa, error):
        cell = table.setdefault((str(thing), np.dtype(dtype).name, isa), {})
        cell[what] = max(cell.get(what, 0.0), float(error))

    return record


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):  # of a process of pytest-xdist
        session.config.workeroutput["ulps"] = [*session.config.stash.get(ULPS, {}).items()]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    table = node.config.stash.setdefault(ULPS, {})
    for key, errors in getattr(node, "workeroutput", {}).get("ulps", ()):
        cell = table.setdefault(tuple(key), {})
        for what, error in errors.items():
            cell[what] = max(cell.get(what, 0.0), error)


def pytest_terminal_summary(terminalreporter, config):
    table = config.stash.get(ULPS, {})
    if not table:
        return
    columns = sorted({key[1:] for key in table})
    terminalreporter.section("largest errors in ulp (of a loss: value / gradient / hessian)")
    terminalreporter.line(" " * 58 + "".join(f"{' '.join(column):>25}" for column in columns))
    for thing in dict.fromkeys(key[0] for key in table):
        cells = [" / ".join(f"{x:.2f}" for x in table.get((thing, *column), {}).values()) for column in columns]
        terminalreporter.line(f"{thing:58}" + "".join(f"{cell:>25}" for cell in cells))
