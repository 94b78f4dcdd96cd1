"""Laws of `LinearObjective` with K classes over the layouts of X: all agree with C order, and none is ever copied."""

import gc
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from problems import bits
from scipy import sparse
from test_design import LAYOUTS, parts
from test_linear_softmax import OPTIONS, PENALTIES, Softmax, accuracy

import fastloss as fl
from fastloss import _many_outputs, _rows

layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
options = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
soft = pytest.mark.parametrize("soft", [False, True], ids=["indices", "soft"])


def draw(n=60, p=5, k=3, **more):
    """A problem whose X is mostly 0, in rows and columns as well, and NaN in rows that do not count."""
    problem = Softmax.draw(n, p, k, **{"penalty": PENALTIES[2], **more})
    X = problem.X
    X[np.random.default_rng(3).random(X.shape) < 0.6] = 0
    if n > 4 and p > 2:
        X[1] = X[n // 2] = X[-1] = 0
        X[:, p // 2] = X[:, -1] = 0
    X[~problem.used] = np.nan
    return problem


def everything(problem, w, n_threads=None):
    """What an objective says at w."""
    objective = problem.objective(n_threads)
    facts = [*objective.value_and_grad(w), objective.value(w), objective.objective(w), objective.lambda_max()]
    return [*facts, objective.duality_gap(w)]


def assert_like_dense(problem, w, layouts=LAYOUTS, expected=None):
    expected = everything(problem, w) if expected is None else expected
    for name, layout in layouts.items():
        for found, right in zip(everything(replace(problem, X=layout(problem.X)), w), expected, strict=True):
            np.testing.assert_allclose(found, right, **accuracy(problem.X.dtype), err_msg=name)


@pytest.fixture
def small_blocks(monkeypatch):
    """Sets the rows of a block and the numbers in it, for objectives that are made from then on."""

    def use(rows, numbers):
        for module, name, value in (
            (_many_outputs, "BLOCK_NUMBERS", 1),
            (_many_outputs, "LEAST_ROWS", rows),
            (_rows, "NUMBERS", numbers),
            (_rows, "COPIED", numbers),
            (_rows, "LEAST_ROWS", 1),
            (_rows, "PARTS", 64),
        ):
            monkeypatch.setattr(module, name, value)

    return use


@options
@soft
@pytest.mark.parametrize("offset", [False, True], ids=["", "offset"])
def test_layouts_agree(options, soft, offset, weighted, dtype):
    problem = draw(options=options, soft=soft, offset=offset, weighted=weighted, dtype=dtype)
    assert_like_dense(problem, problem.point())


@pytest.mark.parametrize("k", [1, 13])
@pytest.mark.parametrize(("n", "p"), [(1, 1), (1, 5), (7, 1), (257, 3), (3, 300)])
def test_every_shape(n, p, k, dtype):
    problem = draw(n, p, k, dtype=dtype)
    assert_like_dense(problem, problem.point(scale=0.4 / np.sqrt(p)))


@pytest.mark.parametrize(("rows", "numbers"), [(1, 10**6), (7, 10**6), (60, 1), (8, 12)])
@pytest.mark.parametrize("options", [{}, OPTIONS["all"]], ids=["plain", "all"])
def test_blocks_do_not_show(small_blocks, rows, numbers, options):
    problem = draw(options=options, weighted=bool(options))
    problem.X[:4, :4] = 1  # rows that are fuller than others
    if options:
        problem.y[20:45] = -7  # whole blocks that do not count
        problem.X[~problem.used] = np.nan
    w = problem.point()
    expected = everything(problem, w)
    small_blocks(rows, numbers)
    assert_like_dense(problem, w, expected=expected)


def test_without_an_intercept(dtype):
    problem = draw(intercept=False, weighted=True, dtype=dtype, penalty=PENALTIES[0])
    assert_like_dense(problem, problem.point())


def test_nothing_is_stored(dtype):
    problem = draw(dtype=dtype)
    problem.X[:] = 0
    assert_like_dense(problem, problem.point())


@layout
def test_identical_for_any_number_of_threads(layout, dtype):
    problem = draw(1001, 40, 21, options=OPTIONS["all"], weighted=True, dtype=dtype)
    problem.X = layout(problem.X)
    w = problem.point(scale=0.1)
    assert len({bits(*everything(problem, w, n_threads)) for n_threads in (1, 2, 3, 8)}) == 1


@pytest.mark.parametrize("name", ["F", "CSR", "CSC", "CSC, unsorted, 64 bits"])
def test_identical_in_concurrent_calls(name):
    problem = draw(2000, 5, 10, weighted=True)
    problem.X = LAYOUTS[name](problem.X)
    objective = problem.objective()
    points = [problem.point(seed) for seed in range(10)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(objective.value_and_grad, points))
    assert [bits(*x) for x in found] == [bits(*objective.value_and_grad(w)) for w in points]


@layout
def test_fista_finds_the_same_minimum(layout, weighted):
    problem = draw(options=OPTIONS["ignored"], weighted=weighted, penalty=PENALTIES[0])
    expected = fl.minimize(problem.objective(), solver="fista", tol=1e-9)
    problem.X = layout(problem.X)
    found = fl.minimize(problem.objective(), solver="fista", tol=1e-9)
    assert found.success
    assert found.duality_gap == pytest.approx(expected.duality_gap, abs=1e-9)
    assert found.fun == pytest.approx(expected.fun, abs=2e-9)
    np.testing.assert_allclose(found.x, expected.x, atol=1e-3)


@layout
def test_x_is_left_alone(layout, dtype):
    problem = draw(weighted=True, dtype=dtype)
    problem.X = layout(problem.X)
    arrays = parts(problem.X)
    before = [x.tobytes() for x in arrays]
    for x in arrays:
        x.flags.writeable = False
    objective, w = problem.objective(), problem.point()
    everything(problem, w)
    value = bits(*objective.value_and_grad(w))
    assert objective.X is problem.X
    assert [x.tobytes() for x in parts(problem.X)] == before
    if sparse.issparse(problem.X):  # the objective keeps the numbers that it was given
        problem.X.data = np.zeros(1, dtype)
        gc.collect()
        assert bits(*objective.value_and_grad(w)) == value


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_memmap_is_read_in_place(tmp_path, order, dtype):
    problem = draw(300, weighted=True, dtype=dtype)
    written = np.memmap(tmp_path / "X", dtype, "w+", shape=problem.X.shape, order=order)
    written[:] = problem.X
    written.flush()
    X = np.memmap(tmp_path / "X", dtype, "r", shape=problem.X.shape, order=order)
    assert_like_dense(problem, problem.point(), {order: lambda _: X})
    assert replace(problem, X=X).objective().X is X


@pytest.mark.parametrize("name", ["C", "F", "F, columns backwards", "CSR", "CSC", "CSC, unsorted, 64 bits"])
def test_neither_x_nor_the_logits_exist_twice(small_blocks, name, dtype):
    small_blocks(32, 2048)
    n, p, k = 3200, 30, 60
    problem = Softmax.draw(n, p, k, weighted=True, dtype=dtype, penalty=PENALTIES[0])
    problem.X = LAYOUTS.get(name, np.array)(problem.X)
    w = np.zeros(k * (p + 1))
    objective = problem.objective()
    gc.collect()
    tracemalloc.start()
    objective.value_and_grad(w)
    objective.duality_gap(w)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    size = np.dtype(dtype).itemsize
    blocks = 50 * k * 8  # of numbers between the logits and the gap
    assert peak < sum(x.nbytes for x in parts(problem.X)) / 8 + 10 * blocks + 8 * 8 * k * p
    assert peak < n * k * size / 2
