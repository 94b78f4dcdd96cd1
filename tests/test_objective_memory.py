"""How `LinearObjective` reads and writes memory: nothing is copied, nothing of the caller's changes."""

import tracemalloc

import numpy as np
import pytest
from problems import FEW, LINEAR, SETTINGS, SMOOTH, Problem, bits

import fastloss as fl

few_settings = pytest.mark.parametrize("setting", FEW, ids=str)
DEMO = Problem.draw(SMOOTH[0])


def test_x_is_never_copied(dtype):
    n, p = 20_000, 100
    X, y = np.ones((n, p), dtype), np.zeros(n, dtype)
    w = np.zeros(p + 1)
    tracemalloc.start()
    objective = fl.LinearObjective(X, y, fl.SquaredError(), fl.L1(0.1))
    objective.value_and_grad(w)
    objective.duality_gap(w)
    objective.lambda_max()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.shares_memory(objective.X, X)
    assert peak < X.nbytes / 4  # a few vectors of n numbers; X has 100


LAYOUTS = {
    "every second row": lambda wide: wide[::2],
    "rows backwards": lambda wide: wide[::-1],
    "first columns": lambda wide: wide[:, :5],
    "columns inside": lambda wide: wide[3:-3, 4:9],
    "one row, again and again": lambda wide: np.broadcast_to(wide[0], (100, 12)),
    "one column": lambda wide: wide[:, 3:4],
    "one column, Fortran-ordered": lambda wide: np.asfortranarray(wide[:, :1]),
    "one row": lambda wide: wide[:1],
    "read-only": lambda wide: np.frombuffer(wide.tobytes(), wide.dtype).reshape(wide.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts_that_are_read_in_place(layout, dtype, isa):
    X = layout(np.random.default_rng(5).normal(size=(100, 12)).astype(dtype))
    problem, copied = (Problem.draw(LINEAR[0], SETTINGS[-1], *X.shape, dtype=dtype) for _ in range(2))
    problem.X, copied.X = X, np.array(X, order="C")
    w = problem.point()
    assert np.shares_memory(problem.objective().X, X)
    assert bits(*problem.objective().value_and_grad(w)) == bits(*copied.objective().value_and_grad(w))


@pytest.mark.parametrize("rows", [slice(None), slice(None, None, 3)])
def test_a_memmap_is_read_in_place(tmp_path, rows):
    problem = Problem.draw(LINEAR[0], n=4001, p=11)
    problem.X.tofile(tmp_path / "X")
    mapped = problem.rows(rows)
    mapped.X = np.memmap(tmp_path / "X", np.float64, "r", shape=problem.X.shape)[rows]
    assert np.shares_memory(mapped.objective().X, mapped.X)
    w = problem.point()
    assert bits(*mapped.objective().value_and_grad(w)) == bits(*problem.rows(rows).objective().value_and_grad(w))


def test_the_gradient_goes_to_out():
    objective, w = DEMO.objective(), DEMO.point()
    value, gradient = objective.value_and_grad(w)
    apart = np.empty(2 * objective.size)[::2]
    for out in (np.empty(objective.size), apart, w):  # at last the point itself
        value_again, same = objective.value_and_grad(w, out=out)
        assert same is out
        assert bits(value_again, same) == bits(value, gradient)


@few_settings
def test_read_only_arguments_are_left_alone(setting, dtype):
    problem = Problem.draw(SMOOTH[0], setting, dtype=dtype)
    w = problem.point()
    arrays = [x for x in (problem.X, problem.y, problem.weight, problem.offset, w) if x is not None]
    before = bits(*arrays)
    for array in arrays:
        array.flags.writeable = False
    objective = problem.objective(penalty=fl.L1(0.1))
    objective.value_and_grad(w)
    objective.prox(w, 0.1)
    objective.duality_gap(w)
    assert bits(*arrays) == before
