"""gram_newton where it is for: many samples of few features, of which a part of the rows makes the Hessian."""

import functools
import importlib

import numpy as np
import pytest
from problems import bits
from scipy import sparse
from test_prox_newton import LOSSES, P, above, assert_optimal, data, few_losses, loss, peer, problem, solve

import fastloss as fl
from fastloss.solvers.gram_newton import LARGEST, stride

TALL = {"n": 5000, "p": 30}
FREE = np.random.default_rng(5).uniform(0.2, 2, 30)
FREE[[2, 7]] = 0
TALL_PENALTIES = {
    "none": None,
    "L1": fl.L1(0.02),
    "L2": fl.L2(0.05),
    "L1 by features": fl.L1(0.02, FREE),
    "all": fl.ElasticNet(0.01, 0.01, FREE + 0.1, positive=True),
    "all, free above 0": fl.ElasticNet(0.01, 0.01, FREE, positive=True),
}
tall_penalty = pytest.mark.parametrize("penalty", TALL_PENALTIES)
kind = pytest.mark.parametrize("kind", ["plain", "all"])
two_losses = pytest.mark.parametrize("loss", ["squared", "logistic"])
gram = functools.partial(solve, solver="gram_newton")
module = importlib.import_module("fastloss.solvers.gram_newton")  # fastloss.solvers.gram_newton is the function


@pytest.fixture(autouse=True)
def sampled(monkeypatch):
    """The rows of these tests are so few that the Hessian would be of all of them."""
    monkeypatch.setattr(module, "FEW_PRODUCTS", 0)


def tall(loss, penalty, kind="plain", layout="C", **shape):
    objective = problem(loss, TALL_PENALTIES.get(penalty, penalty), layout, kind, **{**TALL, **shape})
    assert stride(objective) > 1
    return objective


@functools.cache
def other(loss, penalty, kind):
    objective = tall(loss, penalty, kind)
    return solve(objective) if objective.has_duality_gap else peer(objective)


@loss
@tall_penalty
@kind
def test_agrees_on_tall_data(loss, penalty, kind):
    objective, theirs = tall(loss, penalty, kind), other(loss, penalty, kind)
    result = gram(objective)
    assert -above(result) <= theirs.fun - result.fun <= above(theirs)
    np.testing.assert_allclose(result.x, theirs.x, atol=2e-4)
    assert_optimal(objective, result.x, 2e-4)
    assert result.nit <= 40


@loss
@tall_penalty
@kind
@pytest.mark.parametrize("often", [True, False])
def test_agrees_with_the_hessian_of_all_rows(loss, penalty, kind, often, monkeypatch):
    """At each step or at every second one."""
    objective, theirs = tall(loss, penalty, kind), other(loss, penalty, kind)
    monkeypatch.undo()
    monkeypatch.setattr(module, "TINY_PRODUCTS", module.FEW_PRODUCTS if often else 0)
    assert stride(objective) == 1
    assert module.has_cheap_hessian(objective)
    result = gram(objective)
    assert -above(result) <= theirs.fun - result.fun <= above(theirs)
    assert_optimal(objective, result.x, 2e-4)
    assert result.nit <= 20


@few_losses
@kind
def test_agrees_with_fista_on_tall_data(loss, kind):
    objective = tall(loss, "L1", kind)
    result, theirs = gram(objective), peer(objective, 1e-8)
    assert theirs.success
    assert -above(result) <= theirs.fun - result.fun <= above(theirs)


@two_losses
@pytest.mark.parametrize("layout", ["C", "F", "memmap", "part of the columns"])
def test_every_dense_layout(loss, layout, tmp_path):
    X, y = data(loss, 5000, 30)
    expected = gram(fl.LinearObjective(X, y, LOSSES[loss], fl.L1(0.02)))
    if layout == "memmap":
        np.save(tmp_path / "X.npy", X)
        X = np.load(tmp_path / "X.npy", mmap_mode="r")
    elif layout == "part of the columns":
        X = np.column_stack([X, np.full((5000, 3), np.nan)])[:, :30]
    elif layout == "F":
        X = np.asfortranarray(X)
    result = gram(fl.LinearObjective(X, y, LOSSES[loss], fl.L1(0.02)))
    assert result.fun == pytest.approx(expected.fun, rel=1e-8)
    np.testing.assert_allclose(result.x, expected.x, atol=1e-4)


@few_losses
def test_float32_on_tall_data(loss):
    result = gram(tall(loss, "L1", "intercept", dtype=np.float32), tol=1e-6)
    np.testing.assert_allclose(result.x, other(loss, "L1", "intercept").x, atol=1e-2)


@few_losses
@pytest.mark.parametrize("shape", [(400, 1), (400, 16), (400, 17), (30_000, 3), (300, 300)], ids=str)
def test_a_shape(loss, shape):
    """Few features, whose Hessian is that of all rows each time; as many as samples."""
    objective = problem(loss, fl.L1(0.02), kind="intercept", n=shape[0], p=shape[1])
    assert gram(objective).fun == pytest.approx(solve(objective).fun, rel=1e-8)


@few_losses
@tall_penalty
def test_a_warm_start_on_tall_data(loss, penalty):
    objective = tall(loss, penalty, "intercept")
    solution = gram(objective)
    assert gram(objective, solution.x, tol=2e-9).nit <= 1
    if TALL_PENALTIES[penalty]:
        strengths = 0.95 * objective.penalty.l1, 0.95 * objective.penalty.l2
        objective = objective.with_penalty(objective.penalty.with_strengths(*strengths))
        near, far = gram(objective, solution.x, tol=1e-7), gram(objective, tol=1e-7)
        assert near.fun == pytest.approx(far.fun, rel=1e-6)
    bad = gram(objective, -3 * solution.x + 0.5, tol=1e-7)
    assert bad.fun == pytest.approx(gram(objective, tol=1e-7).fun, rel=1e-6)


@few_losses
@kind
def test_from_strong_to_weak(loss, kind):
    """As along a path: each from the solution before."""
    largest, x = tall(loss, "L1", kind).lambda_max(), None
    for factor in (1.01, 0.5, 0.1, 0.01):
        objective = tall(loss, fl.L1(factor * largest), kind)
        result = gram(objective, x, tol=1e-8)
        x = result.x
        assert x[:30].any() == (factor < 1)
        assert result.fun == pytest.approx(gram(objective, tol=1e-8).fun, rel=1e-7)


@two_losses
@pytest.mark.parametrize("layout", ["C", "F"])
def test_identical_for_any_number_of_threads(loss, layout, dtype):
    def run(n_threads):
        objective = problem(loss, fl.L1(0.02), layout, "all", n_threads, dtype=dtype, **TALL)
        return fl.minimize(objective, solver="gram_newton", tol=1e-4)

    runs = [run(n_threads) for n_threads in (1, 2, 3, 8)]
    assert len({bits(run.x, run.fun, run.duality_gap, run.nit, run.history["objective"]) for run in runs}) == 1


@loss
def test_integer_weights_are_repetitions(loss):
    """Then other rows are in the sample."""
    X, y = data(loss, 5000, 30)
    times = np.random.default_rng(1).integers(0, 3, 5000)
    weighted = fl.LinearObjective(X, y, LOSSES[loss], fl.L1(0.02), sample_weight=times)
    repeated = fl.LinearObjective(X.repeat(times, axis=0), y.repeat(times), LOSSES[loss], fl.L1(0.02))
    one, many = gram(weighted), gram(repeated)
    assert one.fun == pytest.approx(many.fun, rel=1e-8)
    np.testing.assert_allclose(one.x, many.x, atol=1e-4)


MISLEADING = {
    "of weight 0": lambda X, y, s, rows: s.__setitem__(rows, 0),
    "of almost no weight": lambda X, y, s, rows: s.__setitem__(rows, 1e-12),
    "of zeros": lambda X, y, s, rows: X.__setitem__(rows, 0),
    "of small numbers": lambda X, y, s, rows: X.__setitem__(rows, 1e-3 * X[rows]),
    "of large numbers": lambda X, y, s, rows: X.__setitem__(rows, 10 * X[rows]),
    "without a column": lambda X, y, s, rows: X.__setitem__((rows, 0), 0),
    "with a column of their own": lambda X, y, s, rows: X.__setitem__((np.arange(5000) % rows.step > 0, 0), 0),
    "of one label": lambda X, y, s, rows: y.__setitem__(rows, y.max()),
}


@two_losses
@pytest.mark.parametrize("misleading", MISLEADING)
@pytest.mark.parametrize("intercept", [True, False])
def test_a_sample_that_is_unlike_the_rest(loss, misleading, intercept):
    X, y = data(loss, 5000, 30)
    weight = np.ones(5000)

    def objective():
        return fl.LinearObjective(X, y, LOSSES[loss], fl.L1(0.02), sample_weight=weight, fit_intercept=intercept)

    rows = slice(None, None, stride(objective()))
    assert rows.step > 1
    if misleading == "of large numbers":
        X *= 0.2  # or counts of e^10 are predicted
    MISLEADING[misleading](X, y, weight, rows)
    result, expected = gram(objective(), tol=1e-7), solve(objective(), tol=1e-7)
    assert -above(result) <= expected.fun - result.fun <= above(expected)


@few_losses
@kind
def test_what_is_known_without_a_pass_bounds_the_gap(loss, kind):
    objective, seen = tall(loss, "L1", kind), []
    lowest = other(loss, "L1", kind).fun
    gram(objective, tol=1e-8, callback=lambda result: seen.append((result.x, result.fun, result.duality_gap)))
    assert np.isfinite(seen[-1][2])
    for x, fun, gap in seen:
        assert gap >= objective.duality_gap(x) - 1e-12 * max(1, fun)
        assert gap >= fun - lowest - 1e-12 * max(1, fun)


@few_losses
def test_the_objective_falls(loss):
    history = gram(tall(loss, "L1", "intercept")).history["objective"]
    assert np.all(np.diff(history) <= 1e-13 * abs(history[:-1]))


def test_a_long_way_from_model_to_model(monkeypatch):
    """Features that are mostly 0, and a strength 10,000 times weaker: 48 steps, were Hessians not computed anew."""
    monkeypatch.setattr(module, "FEW_FEATURES", 0)
    random = np.random.default_rng(38)
    X = random.normal(size=(1500, 29)) * (random.random((1500, 29)) < 0.02)
    y, label_loss = X @ random.normal(size=29) > 0, fl.BinaryCrossEntropy(from_logits=True, label_smoothing=0.1)
    options = {"n_alphas": 2, "eps": 1e-4, "fit_intercept": False, "standardize": True}
    path = fl.regularization_path(X, y, label_loss, solver="gram_newton", **options)
    assert path.success
    assert path.n_iters[1] <= 20
    lower = fl.regularization_path(X, y, label_loss, solver="prox_newton", **options)
    assert np.all(np.abs(path.objectives - lower.objectives) <= path.duality_gaps + lower.duality_gaps + 1e-12)


@pytest.mark.parametrize("convert", [sparse.csr_array, sparse.csc_array, sparse.csr_matrix, sparse.csc_matrix])
def test_sparse_data_is_refused(convert):
    X, y = data("squared")
    objective = fl.LinearObjective(convert(X), y, fl.SquaredError(), fl.L1(0.1))
    with pytest.raises(TypeError, match=r"gram_newton needs a dense X.*prox_newton takes any"):
        fl.minimize(objective, solver="gram_newton")


def test_too_many_features_are_refused():
    X = np.zeros((3, LARGEST + 1))
    with pytest.raises(TypeError, match=f"gram_newton needs .* at most {LARGEST} coefficients; prox_newton takes any"):
        fl.minimize(fl.LinearObjective(X, np.arange(3.0), fl.SquaredError()), solver="gram_newton")


def test_it_changes_nothing_that_it_was_given():
    X, y = data("logistic", 5000, P)
    w0, weight = np.full(P + 1, 0.1), np.ones(5000)
    before = bits(X, y, w0, weight)
    for array in (X, y, w0, weight):
        array.flags.writeable = False
    objective = fl.LinearObjective(X, y, LOSSES["logistic"], fl.L1(0.01), sample_weight=weight)
    result = gram(objective, w0)
    assert bits(X, y, w0, weight) == before
    assert not np.shares_memory(result.x, w0)
