"""Both forms of proximal Newton on data that is hard to fit: nothing to find, all scales, no penalty, far starts."""

import warnings

import numpy as np
import pytest
from test_prox_newton import (
    LAYOUTS,
    LOSSES,
    PENALTIES,
    WEIGHTS,
    P,
    above,
    assert_optimal,
    data,
    few_losses,
    few_runs,
    loss,
    peer,
    peer_of,
    penalty,
    problem,
    solve,
    solver,
)
from test_solvers import LOGISTIC

import fastloss as fl

JUST_ABOVE = 1 + 1e-9


@few_losses
@few_runs
@pytest.mark.parametrize("kind", ["plain", "intercept", "all"])
def test_columns_that_say_nothing(loss, solver, layout, kind):
    """Zero, constant and duplicate columns."""
    X, y = data(loss)
    X[:, 3], X[:, 4], X[:, 5] = 0, 2, X[:, 0]
    intercept = kind != "plain"
    weight = np.arange(90) % 3 if kind == "all" else None
    objective = fl.LinearObjective(
        LAYOUTS[layout](X), y, LOSSES[loss], fl.L1(0.05), fit_intercept=intercept, sample_weight=weight
    )
    result = solve(objective, solver=solver)
    assert result.x[3] == 0
    if intercept:  # which does the same for nothing
        assert result.x[4] == pytest.approx(0, abs=1e-5)
        kept = np.delete(np.arange(P), [3, 4, 5])
        less = fl.LinearObjective(X[:, kept], y, LOSSES[loss], fl.L1(0.05), sample_weight=weight)
        assert result.fun == pytest.approx(solve(less).fun, rel=1e-8)


@loss
@penalty
@solver
def test_a_free_column_that_says_nothing(loss, penalty, solver):
    X, y = data(loss)
    X[:, 2], X[:, 7] = 0, 1  # weight 0
    objective = fl.LinearObjective(X, y, LOSSES[loss], PENALTIES[penalty])
    result = solve(objective, solver=solver)
    assert result.fun <= peer(objective).fun + above(result)
    assert np.abs(result.x).max() < 100  # neither it nor the intercept runs away against the other


@few_losses
@few_runs
@pytest.mark.parametrize("shape", [(90, 1), (1, 1), (1, 8), (2, 500), (5, 30)], ids=str)
@pytest.mark.parametrize("kind", ["plain", "all"])
def test_small_shapes(loss, solver, layout, shape, kind):
    objective = problem(loss, fl.L1(0.05), layout, kind, n=shape[0], p=shape[1])
    result = solve(objective, tol=1e-6, solver=solver)
    assert result.fun <= peer(objective, 1e-6).fun + above(result)


@few_losses
@few_runs
@pytest.mark.parametrize("factor", [JUST_ABOVE, 1.5, 1e6])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["L1", "by features"])
@pytest.mark.parametrize("kind", ["plain", "all"])
def test_from_lambda_max_on_all_that_costs_is_zero(loss, solver, layout, factor, weights, kind):
    largest = problem(loss, fl.L1(1.0, weights), layout, kind).lambda_max()
    if factor == JUST_ABOVE and solver == "gram_newton":
        factor = 1 + 1e-5  # its model's slope at the solution has more than the last rounding
    result = solve(problem(loss, fl.L1(factor * largest, weights), layout, kind), solver=solver)
    assert not result.x[:P][slice(None) if weights is None else weights > 0].any()
    below = solve(problem(loss, fl.L1(0.98 * largest, weights), layout, kind), tol=1e-7, solver=solver)
    assert below.x[:P][slice(None) if weights is None else weights > 0].any()


@few_losses
@solver
@pytest.mark.parametrize("kind", ["plain", "all"])
def test_lambda_max_of_positive_coefficients(loss, solver, kind):
    weights = WEIGHTS + 0.1
    largest = problem(loss, fl.L1(1.0, weights, positive=True), kind=kind).lambda_max()
    for factor, found in ((JUST_ABOVE if solver == "prox_newton" else 1 + 1e-5, False), (0.98, True)):
        penalty = fl.L1(factor * largest, weights, positive=True)
        # Just above it a coefficient costs so little that the gap must be small to show it.
        assert solve(problem(loss, penalty, kind=kind), tol=1e-11, solver=solver).x[:P].any() == found


NOTHING = [None, fl.L1(0), fl.L2(0), fl.ElasticNet(1.0, 1.0, np.zeros(P)), fl.L1(0.0, positive=True)]


@few_losses
@few_runs
@pytest.mark.parametrize("none", NOTHING, ids=repr)
@pytest.mark.parametrize("kind", ["plain", "all"])
def test_without_a_penalty(loss, solver, layout, none, kind):
    objective = problem(loss, none, layout, kind, n=300)
    assert not objective.has_duality_gap
    result = solve(objective, solver=solver)
    assert result.fun == pytest.approx(peer(objective, 1e-9).fun, rel=1e-9, abs=1e-9)
    assert_optimal(objective, result.x, 1e-6)


@pytest.mark.parametrize("lam", [1e-1, 1e-3, 1e-5])
@few_runs
def test_separable_classes(lam, solver, layout):
    X = data("logistic", 100, 5)[0]
    X[:, 0] += np.sign(X[:, 0] + 1e-9)
    y = (X[:, 0] > 0).astype(float)
    result = solve(fl.LinearObjective(LAYOUTS[layout](X), y, LOGISTIC, fl.L1(lam)), tol=1e-7, solver=solver)
    assert lam == 1e-1 or np.all((X @ result.x[:5] + result.x[5] > 0) == (y > 0))


@solver
@pytest.mark.parametrize("weights", [None, [0, 1, 1, 1, 1]])
def test_separable_classes_that_cost_nothing_end(solver, weights):
    """There is no minimum: it says that it stopped, or comes to a loss of almost 0."""
    X = data("logistic", 100, 5)[0]
    X[:, 0] += np.sign(X[:, 0] + 1e-9)
    objective = fl.LinearObjective(X, X[:, 0] > 0, LOGISTIC, fl.L1(0.0 if weights is None else 0.1, weights))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fl.ConvergenceWarning)
        result = fl.minimize(objective, solver=solver)
    assert np.isfinite(result.x).all()
    assert result.fun < 0.01


@few_losses
@few_runs
@pytest.mark.parametrize("scale", [1e-8, 1e-4, 1e4, 1e8])
def test_the_units_of_the_columns_do_not_matter(loss, solver, layout, scale):
    X, y = data(loss)

    def fit(s):
        X_s, penalty = LAYOUTS[layout](X * s), fl.L1(0.05 * s)
        return solve(fl.LinearObjective(X_s, y, LOSSES[loss], penalty, fit_intercept=False), solver=solver)

    one, other = fit(1.0), fit(scale)
    np.testing.assert_allclose(other.x * scale, one.x, atol=1e-4)


@few_losses
@few_runs
def test_columns_of_all_scales(loss, solver, layout):
    X, y = data(loss)
    scales = np.array([1, 1e-8, 1e8, 1e-4, 1e4, 1, 1, 1e8, 1e-8, 1, 1e3, 1e-3])
    weights = scales  # then the coefficients alone are scaled
    objective = fl.LinearObjective(LAYOUTS[layout](X * scales), y, LOSSES[loss], fl.L1(0.05, weights))
    result = solve(objective, tol=1e-8, solver=solver)
    other = solve(fl.LinearObjective(X, y, LOSSES[loss], fl.L1(0.05)), tol=1e-8)
    assert result.fun == pytest.approx(other.fun, rel=1e-7)


@pytest.mark.parametrize("scale", [1e-8, 1e-4, 1e4, 1e8])
@pytest.mark.parametrize("loss", ["squared", "Huber"])
@pytest.mark.parametrize("intercept", [True, False])
@solver
def test_the_units_of_the_labels(loss, solver, scale, intercept):
    """Huber's delta stays: then all residuals are inside it, or outside, where the second derivative is 0."""
    if solver == "gram_newton" and loss == "Huber" and scale > 1:
        return  # about absolute errors: a Hessian of steps past says little of the next one
    X, y = data(loss)
    objective = fl.LinearObjective(X, y * scale, LOSSES[loss], fl.L1(0.05 * min(scale, 1)), fit_intercept=intercept)
    result = solve(objective, tol=1e-6, solver=solver)
    assert result.fun <= peer(objective, 1e-5).fun * (1 + 1e-6)


@solver
def test_labels_far_away(solver):
    X, y = data("Huber")
    near, far = (
        solve(fl.LinearObjective(X, y + shift, LOSSES["Huber"], fl.L1(0.05)), tol=1e-10, solver=solver)
        for shift in (0, 100)
    )
    assert near.fun == pytest.approx(far.fun, rel=1e-6)
    np.testing.assert_allclose(far.x[-1] - near.x[-1], 100, atol=1e-2)


@solver
def test_large_counts(solver):
    X = data("Poisson", 90, 4)[0]
    y = np.round(np.exp(3 * X[:, 0] + 2))
    objective = fl.LinearObjective(X, y, fl.Poisson(), fl.L1(0.05))
    result = solve(objective, tol=1e-8, solver=solver)
    assert_optimal(objective, result.x, 1e-3 * y.mean())


@few_losses
@few_runs
def test_float32(loss, solver, layout):
    single, double = (
        fl.minimize(problem(loss, fl.L1(0.05), layout, "intercept", dtype=dtype), solver=solver)
        for dtype in (np.float32, np.float64)
    )
    assert single.success
    assert single.x.dtype == np.float64
    assert single.fun == pytest.approx(double.fun, rel=1e-5)
    np.testing.assert_allclose(single.x, double.x, atol=1e-2)


@loss
@solver
@pytest.mark.parametrize("far", [-100.0, 50.0])
def test_a_start_far_away(loss, solver, far):
    start = np.full(P + 1, far / (20 if loss == "Poisson" else 1))
    result = solve(problem(loss, "L1", kind="intercept"), start, solver=solver)
    assert result.fun <= peer_of(loss, "L1", "intercept").fun + 1e-8


@few_runs
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_data_that_is_not_finite_ends_the_run(solver, layout, bad):
    X, y = data("squared")
    X[5, 2] = bad
    objective = fl.LinearObjective(LAYOUTS[layout](X), y, fl.SquaredError(), fl.L1(0.1))
    with pytest.warns(fl.ConvergenceWarning, match="not finite"):
        result = fl.minimize(objective, solver=solver)
    assert not result.success
