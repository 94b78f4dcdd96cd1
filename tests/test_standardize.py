"""`standardize=True` is what it says: a fit to columns that were really centred and scaled, without touching X."""

import functools
import tracemalloc
import warnings

import numpy as np
import pytest
from scipy import sparse
from test_path import CATEGORICAL, LOSSES, WEIGHTS, N, P, data
from test_prox_newton import LAYOUTS

import fastloss as fl
from fastloss import _design
from fastloss._design import column_scales

PENALTIES = {
    "L1": fl.L1(0.05),
    "elastic net": fl.ElasticNet(0.03, 0.05),
    "by features": fl.ElasticNet(0.03, 0.02, WEIGHTS),
    "positive": fl.L1(0.02, positive=True),
    "all": fl.ElasticNet(0.02, 0.03, WEIGHTS, positive=True),
}
layout = pytest.mark.parametrize("layout", LAYOUTS)
loss = pytest.mark.parametrize("loss", LOSSES)
intercept = pytest.mark.parametrize("intercept", [True, False], ids=["intercept", "no intercept"])
weighting = pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])


def draw_weights(n, weighted=True):
    return np.random.default_rng(3).integers(0, 4, n).astype(float) if weighted else None


def moments(X, weight=None):
    """Means and standard deviations of columns, by NumPy's longest floats."""
    X = X.astype(np.longdouble)
    mean = np.average(X, axis=0, weights=weight)
    return mean.astype(float), np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weight)).astype(float)


@layout
@weighting
@pytest.mark.parametrize("block", [None, 1, 7, 100])
def test_scales_are_standard_deviations(layout, weighted, block, dtype, monkeypatch):
    if block:
        monkeypatch.setattr(_design, "BLOCK", block)
    X, _ = data("squared", 90, 9)
    X = X * np.geomspace(1e-6, 1e6, 9) + np.array([0, 0, 3, 0, 0, -1, 0, 0, 0]) * 100
    weight = draw_weights(90, weighted)
    X = X.astype(dtype)
    expected = moments(X, weight)[1]
    if weighted:
        X[weight == 0, ::2] = np.nan
    np.testing.assert_allclose(column_scales(LAYOUTS[layout](X), weight), expected, rtol=1e-9)


@layout
@weighting
def test_scales_where_blocks_are_many(layout, weighted):
    """More numbers than are looked at at a time; and the scales of an objective."""
    X, y = data("squared", 20_000, 30)
    weight = draw_weights(len(y), weighted)
    assert X.size > 2 * _design.BLOCK
    objective = fl.LinearObjective(LAYOUTS[layout](X), y, fl.SquaredError(), standardize=True, sample_weight=weight)
    np.testing.assert_allclose(objective.scales, moments(X, weight)[1], rtol=1e-10)
    assert fl.LinearObjective(X, y, fl.SquaredError()).scales is None


def test_numbers_that_are_stored_and_zero():
    X = sparse.csr_array(data("squared")[0])
    expected = column_scales(X, None)
    X.data[::3] = 0
    dense = column_scales(X.toarray(), None)
    assert not np.allclose(dense, expected)
    for other in (X, X.tocsc()):
        np.testing.assert_allclose(column_scales(other, None), dense, rtol=1e-12)


@pytest.mark.parametrize("kind", ["csr", "csc"])
def test_numbers_for_the_same_place_are_added(kind):
    """As SciPy does; the passes do so too."""
    dense, _ = data("squared")
    once = getattr(sparse, f"{kind}_array")(dense)
    twice = type(once)((np.repeat(once.data / 2, 2), np.repeat(once.indices, 2), once.indptr * 2), shape=once.shape)
    np.testing.assert_array_equal(twice.toarray(), dense)
    assert not twice.has_canonical_format
    np.testing.assert_allclose(column_scales(twice, None), moments(dense)[1], rtol=1e-12)


@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_more_memory_than_is_stored(index):
    """A compressed matrix may hold more numbers than its starts count."""
    X = sparse.csc_array(data("squared")[0])
    expected = column_scales(X, None)
    X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
    X.data, X.indices = np.append(X.data, [1e9, np.nan]), np.append(X.indices, [0, 0]).astype(index)
    np.testing.assert_array_equal(column_scales(X, None), expected)


@layout
@weighting
@pytest.mark.parametrize("n", [7, 1000, 20_000])
def test_constant_columns_are_not_scaled(layout, weighted, n, dtype):
    """Not by what rounding makes of them, either."""
    constants = [0, 1, 0.1, -3.3e-5, 1e6 + 0.1]
    X = np.column_stack([*(np.full(n, value) for value in constants), np.arange(n) % 2]).astype(dtype)
    weight = np.random.default_rng(0).random(n) if weighted else None
    scale = column_scales(LAYOUTS[layout](X), weight)
    assert scale[:-1].tolist() == [1] * len(constants)
    assert scale[-1] == pytest.approx(moments(X, weight)[1][-1])


@layout
def test_a_column_that_is_constant_where_samples_count(layout):
    X, weight = np.array([[1.0, 0], [1, 2], [5, 3], [np.nan, 5]]), np.array([1.0, 2, 0, 0])
    np.testing.assert_allclose(column_scales(LAYOUTS[layout](X), weight), [1, np.sqrt(8 / 9)])


def test_small_variation_around_a_large_mean():
    X = 1e5 + np.random.default_rng(0).normal(size=(5000, 3)) * [1, 1e-3, 1e-6]
    for weight in (None, draw_weights(5000)):
        np.testing.assert_allclose(column_scales(X, weight), moments(X, weight)[1], rtol=1e-4)


def objectives(loss, penalty, layout="C", fit_intercept=True, weighted=False):
    """Standardised by the objective, and before it; how a point of the second becomes one of the first."""
    X, y = data(loss)
    X[:, 8], X[:, 9] = 0, 0.75  # said to be left as they are
    weight = draw_weights(N, weighted)
    options = {"sample_weight": weight, "fit_intercept": fit_intercept}
    mean, scale = moments(X, weight)
    scale[[8, 9]] = 1
    if not fit_intercept:
        mean[:] = 0
    by_hand = fl.LinearObjective((X - mean) / scale, y, LOSSES[loss], PENALTIES[penalty], **options)
    if weighted:
        X[weight == 0, ::2] = np.nan
    standardized = fl.LinearObjective(
        LAYOUTS[layout](X), y, LOSSES[loss], PENALTIES[penalty], standardize=True, **options
    )

    def back(x):
        W = x.reshape(by_hand.n_outputs, -1).copy()
        W[:, :P] /= scale
        if fit_intercept:
            W[:, P] -= W[:, :P] @ mean
        return W.ravel()

    return standardized, by_hand, back


def solve(objective, loss):
    return fl.minimize(objective, tol=1e-6 if loss == "categorical" else 1e-10, max_iter=5000)


@functools.cache
def by_hand_of(loss, penalty, weighted):
    return solve(objectives(loss, penalty, weighted=weighted)[1], loss)


def canonical(x, objective):
    """A point whose intercepts sum to 0: with classes, what all of them share makes no difference."""
    W = x.reshape(objective.n_outputs, -1).copy()
    if objective.n_outputs > 1 and objective.fit_intercept:
        W[:, P] -= W[:, P].mean()
    return W.ravel()


@pytest.mark.parametrize(
    ("loss", "layout"), [(a, b) for a in LOSSES for b in LAYOUTS if a != "categorical" or b in ("C", "CSC")]
)
@weighting
@pytest.mark.parametrize("penalty", PENALTIES)
def test_is_a_fit_to_scaled_columns(loss, layout, penalty, weighted):
    standardized, by_hand, back = objectives(loss, penalty, layout, True, weighted)
    result, expected = solve(standardized, loss), by_hand_of(loss, penalty, weighted)
    slack = result.duality_gap + expected.duality_gap + 1e-12
    assert result.fun == pytest.approx(expected.fun, abs=slack)
    a, b = (canonical(x, by_hand) for x in (result.x, back(expected.x)))
    np.testing.assert_allclose(a, b, atol=2e-2 if loss == "categorical" else 2e-4)
    # Each is a solution of the other's problem, by its own certificate.
    assert standardized.objective(back(expected.x)) == pytest.approx(expected.fun, rel=1e-10)
    assert standardized.duality_gap(back(expected.x)) <= 1.1 * expected.duality_gap + 1e-10


@loss
@intercept
@weighting
@pytest.mark.parametrize("layout", ["C", "CSC"])
@pytest.mark.parametrize("penalty", ["L1", "all"])
def test_every_answer_is_that_of_scaled_columns(loss, intercept, weighted, layout, penalty):
    standardized, by_hand, back = objectives(loss, penalty, layout, intercept, weighted)
    x = abs(np.random.default_rng(4).normal(scale=0.3, size=by_hand.size))
    assert standardized.value(back(x)) == pytest.approx(by_hand.value(x), rel=1e-10)
    assert standardized.objective(back(x)) == pytest.approx(by_hand.objective(x), rel=1e-10)
    assert standardized.lambda_max() == pytest.approx(by_hand.lambda_max(), rel=1e-6)
    if loss == "categorical" and intercept:  # its dual point may depend on the intercepts
        return
    assert standardized.duality_gap(back(x)) == pytest.approx(by_hand.duality_gap(x), rel=1e-6)


@intercept
@pytest.mark.parametrize("penalty", ["elastic net", "all"])
def test_gradient_and_prox(intercept, penalty):
    """The gradient of the smooth part by differences; the prox by what it minimises."""
    standardized, _, _ = objectives("logistic", penalty, fit_intercept=intercept)
    rng = np.random.default_rng(6)
    x, direction = rng.normal(size=(2, standardized.size))
    _, gradient = standardized.value_and_grad(x)
    there, here = (standardized.value(x + h * direction) for h in (1e-5, -1e-5))
    assert gradient @ direction == pytest.approx((there - here) / 2e-5, rel=1e-6)

    def to_minimise(v):  # what is not smooth, and the distance
        return standardized.objective(v) - standardized.value(v) + np.sum((v - x) ** 2) / (2 * 0.7)

    best = standardized.prox(x, 0.7)
    for size in (1e-4, 1e-2, 1):
        other = best + size * rng.normal(size=(20, best.size)) * (rng.random((20, best.size)) < 0.3)
        other[:, :P] = np.where(standardized.penalty.positive, np.maximum(other[:, :P], 0), other[:, :P])
        assert min(map(to_minimise, other)) >= to_minimise(best) - 1e-12


@pytest.mark.parametrize("solver", ["prox_newton", "gram_newton", "fista"])
def test_every_solver(solver):
    standardized, by_hand, back = objectives("logistic", "by features")
    result = fl.minimize(standardized, solver=solver, tol=1e-9, max_iter=3000)
    expected = fl.minimize(by_hand, solver="prox_newton", tol=1e-10)
    np.testing.assert_allclose(result.x, back(expected.x), atol=1e-3)
    assert result.fun == pytest.approx(expected.fun, rel=1e-8)


@pytest.mark.parametrize("loss", ["squared", "logistic", "categorical"])
@pytest.mark.parametrize("layout", ["C", "CSC"])
def test_the_unit_of_a_column_makes_no_difference(loss, layout, dtype):
    """Powers of 2, so that rounding is the same as well. First-order methods are slow where units differ by much."""
    X, y = data(loss)
    units = 2.0 ** np.random.default_rng(2).integers(-2 if loss == "categorical" else -9, 1, P)
    first, second = (
        fl.regularization_path(
            LAYOUTS[layout]((X * u).astype(dtype)), y, LOSSES[loss], n_alphas=3, eps=0.2, standardize=True, tol=1e-5
        )
        for u in (1.0, units)
    )
    np.testing.assert_allclose(second.alphas, first.alphas, rtol=1e-6)
    np.testing.assert_allclose(second.coefs * units, first.coefs, atol=2e-2)
    np.testing.assert_allclose(second.objectives, first.objectives, atol=3e-5)


@pytest.mark.parametrize("loss", ["Huber", "categorical"])
@layout
def test_a_weight_is_a_number_of_samples(loss, layout):
    X, y = data(loss)
    weight = draw_weights(N)
    penalty, options = fl.L1(0.03), {"tol": 1e-7, "max_iter": 5000}
    weighted = fl.LinearObjective(LAYOUTS[layout](X), y, LOSSES[loss], penalty, standardize=True, sample_weight=weight)
    again = np.repeat(np.arange(N), weight.astype(int))
    repeated = fl.LinearObjective(LAYOUTS[layout](X[again]), y[again], LOSSES[loss], penalty, standardize=True)
    np.testing.assert_allclose(weighted.scales, repeated.scales, rtol=1e-12)
    a, b = (fl.minimize(objective, **options) for objective in (weighted, repeated))
    np.testing.assert_allclose(canonical(a.x, weighted), canonical(b.x, weighted), atol=1e-2)
    assert a.fun == pytest.approx(b.fun, abs=a.duality_gap + b.duality_gap)


@layout
def test_labels_that_are_ignored_do_not_count(layout):
    X, y = data("categorical")
    kept = y != 2
    loss = fl.CategoricalCrossEntropy(from_logits=True, ignore_index=2)
    weight = draw_weights(N)
    for s, counts in ((None, kept), (weight, kept * weight)):
        Z = X.copy()
        Z[counts == 0] = np.nan
        objective = fl.LinearObjective(LAYOUTS[layout](Z), y, loss, fl.L1(0.1), sample_weight=s, standardize=True)
        np.testing.assert_allclose(objective.scales, moments(X, counts)[1], rtol=1e-10)
    soft = fl.LinearObjective(X, np.eye(3)[y.astype(int)], CATEGORICAL, fl.L1(0.1), standardize=True)
    np.testing.assert_allclose(soft.scales, moments(X)[1], rtol=1e-10)


@pytest.mark.parametrize("layout", ["CSR", "CSC"])
@pytest.mark.parametrize("loss", ["squared", "categorical"])
def test_a_sparse_x_stays_sparse(layout, loss):
    n, p = 2000, 20_000
    rng = np.random.default_rng(0)
    X = sparse.random_array((n, p), density=0.005, rng=rng, format=layout.lower())
    y = np.arange(n) % 3.0
    parts = [X.data, X.indices, X.indptr]
    for part in parts:
        part.flags.writeable = False
    before = [part.tobytes() for part in parts]
    tracemalloc.start()
    objective = fl.LinearObjective(X, y, LOSSES[loss], fl.L1(1e-3), standardize=True)
    objective.value_and_grad(np.zeros(objective.size))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fl.ConvergenceWarning)
        fl.regularization_path(X, y, LOSSES[loss], standardize=True, n_alphas=2, eps=0.9, tol=1e-3, max_iter=5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert objective.X is X
    assert [part.tobytes() for part in parts] == before
    assert peak < 0.1 * 8 * n * p  # 320 MB dense; 2.4 MB stored, and vectors of n and of p numbers


def test_a_dense_x_is_not_copied():
    X, y = np.random.default_rng(0).normal(size=(20_000, 100)), np.zeros(20_000)
    for array in (X, np.asfortranarray(X)):
        array.flags.writeable = False
        tracemalloc.start()
        fl.LinearObjective(array, y, fl.SquaredError(), fl.L1(1e-3), standardize=True)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 0.6 * X.nbytes  # blocks of it, and vectors


@pytest.mark.parametrize("value", [1, "yes", None])
def test_it_is_true_or_false(value):
    X, y = data("squared")
    with pytest.raises(TypeError, match="standardize must be True or False"):
        fl.LinearObjective(X, y, fl.SquaredError(), standardize=value)
