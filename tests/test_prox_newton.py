"""Both forms of proximal Newton find what others find, with a certificate. gram_newton alone: test_gram_newton.py."""

import functools
import re
import warnings

import numpy as np
import pytest
from problems import bits
from scipy import sparse
from test_solvers import LOGISTIC, scikit_learn

import fastloss as fl
from fastloss.solvers._runs import start_run

LOSSES = {
    "squared": fl.SquaredError(),
    "Huber": fl.Huber(0.7),
    "logistic": LOGISTIC,
    "logistic, uneven": fl.BinaryCrossEntropy(from_logits=True, label_smoothing=0.1, pos_weight=2.5),
    "Poisson": fl.Poisson(),
}
P = 12
WEIGHTS = np.random.default_rng(5).uniform(0.2, 2, P)
WEIGHTS[[2, 7]] = 0
PENALTIES = {
    "L1": fl.L1(0.04),
    "L2": fl.L2(0.05),
    "elastic net": fl.ElasticNet(0.03, 0.02),
    "L1 by features": fl.L1(0.04, WEIGHTS),
    "elastic net by features": fl.ElasticNet(0.03, 0.02, WEIGHTS),
    "L1 positive": fl.L1(0.02, positive=True),
    "all": fl.ElasticNet(0.02, 0.02, WEIGHTS + 0.1, positive=True),
    "all, free above 0": fl.ElasticNet(0.02, 0.02, WEIGHTS, positive=True),  # has no duality gap
}
LAYOUTS = {"C": np.ascontiguousarray, "F": np.asfortranarray, "CSR": sparse.csr_array, "CSC": sparse.csc_array}
RUNS = [*(("prox_newton", layout) for layout in LAYOUTS), ("gram_newton", "C"), ("gram_newton", "F")]
FEW_RUNS = [("prox_newton", "F"), ("prox_newton", "CSR"), ("gram_newton", "C")]
loss = pytest.mark.parametrize("loss", LOSSES)
penalty = pytest.mark.parametrize("penalty", PENALTIES)
solver = pytest.mark.parametrize("solver", ["prox_newton", "gram_newton"])
runs = pytest.mark.parametrize(("solver", "layout"), RUNS)  # each solver on the layouts that it takes
few_runs = pytest.mark.parametrize(("solver", "layout"), FEW_RUNS)
few_losses = pytest.mark.parametrize("loss", ["squared", "Huber", "logistic", "Poisson"])


def data(loss, n=90, p=P, dtype=np.float64, seed=0):
    """X with many zeros, labels that depend on a few columns."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * (rng.random((n, p)) < 0.5) * 1.2
    z = X[:, 0] - X[:, 1 % p] + 0.5 * X[:, 2 % p] + 0.3 + 0.5 * rng.normal(size=n)
    y = {"l": z > 0, "P": rng.poisson(np.exp(np.clip(z, -3, 2)))}.get(loss[0], z)
    return X.astype(dtype), np.asarray(y, dtype)


def problem(loss, penalty, layout="C", kind="plain", n_threads=None, **shape):
    X, y = data(loss, **shape)
    rng = np.random.default_rng(1)
    options = {"fit_intercept": kind != "plain", "n_threads": n_threads}
    if kind == "all":
        weight = rng.integers(0, 4, len(y)) + (np.arange(len(y)) == 0)
        options.update(sample_weight=weight, offset=rng.normal(scale=0.3, size=len(y)))
        X[weight == 0, :3] = np.nan
    return fl.LinearObjective(LAYOUTS[layout](X), y, LOSSES[loss], PENALTIES.get(penalty, penalty), **options)


def solve(objective, w0=None, tol=1e-9, solver="prox_newton", **options):
    """Run to a gap that certifies the solution, or a gradient of 0 where there is none."""
    known = objective.has_duality_gap
    result = fl.minimize(objective, w0, solver=solver, tol=tol if known else max(tol, 1e-8), **options)
    assert result.success, result
    assert np.isfinite(result.x).all()
    assert result.fun == pytest.approx(objective.objective(result.x), rel=1e-12, abs=1e-300)
    if not known:
        assert np.isnan(result.duality_gap)
        assert np.isnan(result.history["duality_gap"]).all()
        return result
    start = objective.value(np.zeros(objective.size))
    assert -1e-13 * max(start, abs(result.fun)) <= result.duality_gap <= tol * start
    # Another sum over the samples: the same up to rounding, much of which a difference of the two parts leaves.
    assert objective.duality_gap(result.x) == pytest.approx(result.duality_gap, abs=1e-12 * max(1, start) + tol * start)
    return result


def above(result):
    """By how much a result may be above the minimum: the gap, where it is known."""
    return 1e-9 * max(1, abs(result.fun)) if np.isnan(result.duality_gap) else result.duality_gap + 1e-12


def peer(objective, tol=1e-10):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fl.ConvergenceWarning)
        return fl.minimize(objective, solver="fista", tol=tol, max_iter=5_000)


@functools.cache
def peer_of(loss, penalty, kind):
    return peer(problem(loss, penalty, kind=kind))


def assert_optimal(objective, x, tolerance):
    """The conditions of Karush, Kuhn and Tucker."""
    smooth, p = objective.value_and_grad(x)[1], objective.n_features
    c, penalty = x[:p], objective.penalty
    weights = np.ones(p) if penalty.weights is None else penalty.weights
    cost = penalty.l1 * weights
    moving = c != 0
    np.testing.assert_allclose((smooth[:p] + cost * np.sign(c))[moving], 0, atol=tolerance)
    assert np.all(smooth[:p][~moving] >= -(cost + tolerance)[~moving])
    if penalty.positive:
        assert np.all(c >= 0)
    else:
        assert np.all(smooth[:p][~moving] <= (cost + tolerance)[~moving])
    np.testing.assert_allclose(smooth[p:], 0, atol=tolerance)


@loss
@penalty
@runs
@pytest.mark.parametrize("kind", ["plain", "all"])
def test_agrees_with_fista(loss, penalty, solver, layout, kind):
    objective, other = problem(loss, penalty, layout, kind), peer_of(loss, penalty, kind)
    result = solve(objective, solver=solver)
    assert other.success
    assert -above(result) <= other.fun - result.fun <= above(other)
    np.testing.assert_allclose(result.x, other.x, atol=2e-4)
    assert_optimal(objective, result.x, 2e-4)


@few_losses
@few_runs
@pytest.mark.parametrize("shape", [(60, 200), (200, 60), (150, 150), (40, 1500), (3000, 30)], ids=str)
def test_agrees_on_every_shape(loss, solver, layout, shape):
    if solver == "gram_newton" and shape == (40, 1500):
        return  # it can, but is slow: a Hessian of 1500 features
    objective = problem(loss, fl.L1(0.05), layout, "intercept", n=shape[0], p=shape[1])
    result, other = solve(objective, tol=1e-8, solver=solver), peer(objective, 1e-6)
    assert -above(result) <= other.fun - result.fun <= above(other)
    assert np.count_nonzero(result.x) <= min(shape) + 1


@few_losses
@penalty
@solver
@pytest.mark.parametrize("kind", ["plain", "intercept", "all"])
def test_the_gap_bounds_the_distance_to_the_minimum(loss, penalty, solver, kind):
    objective = problem(loss, penalty, kind=kind)
    solution = solve(objective, solver=solver)
    if not objective.has_duality_gap:  # solve has seen that it is NaN
        with pytest.raises(ValueError, match="must cost every coefficient that must be positive something"):
            objective.duality_gap(solution.x)
        return
    for seed in range(12):
        w = solution.x + 10.0 ** (seed % 6 - 4) * np.random.default_rng(seed).normal(size=objective.size)
        if objective.penalty.positive:
            w[:P] = abs(w[:P])
        gap, distance = objective.duality_gap(w), objective.objective(w) - solution.fun
        assert gap >= distance - 1e-11 * max(1, abs(objective.objective(w)))
    history = solution.history
    assert np.all(history["objective"] - solution.fun <= history["duality_gap"] + 1e-12)


@few_losses
@solver
@pytest.mark.parametrize(
    "penalty",
    [
        fl.L1(0.0, positive=True),
        fl.L1(0.05, WEIGHTS, positive=True),
        fl.ElasticNet(0.02, 0.02, WEIGHTS, positive=True),
        fl.ElasticNet(0.0, 0.0, positive=True),
    ],
    ids=repr,
)
@pytest.mark.parametrize("kind", ["plain", "all"])
def test_what_is_free_at_one_side_only_has_no_gap(loss, solver, penalty, kind):
    """The gradient decides then, of an objective that is the lowest all the same."""
    objective = problem(loss, penalty, kind=kind)
    assert not objective.has_duality_gap
    with pytest.raises(ValueError, match="penalty must"):
        objective.duality_gap(np.zeros(objective.size))
    result, other = solve(objective, solver=solver), peer(objective)
    assert "gradient" in result.message
    assert result.fun == pytest.approx(other.fun, rel=1e-9)
    assert_optimal(objective, result.x, 1e-6)


@few_losses
def test_a_ridge_alone_has_a_gap_at_one_side_too(loss):
    objective = problem(loss, fl.L2(0.05, positive=True), kind="intercept")
    assert objective.has_duality_gap
    assert solve(objective).fun == pytest.approx(peer(objective).fun, rel=1e-9)


@few_losses
@pytest.mark.parametrize("weights", [WEIGHTS, np.zeros(P)], ids=["some", "all"])
def test_lambda_max_is_refused_where_a_positive_coefficient_is_free(loss, weights):
    """No strength keeps the others at 0 by a gradient at a point that is known."""
    objective = problem(loss, fl.L1(1.0, weights, positive=True))
    with pytest.raises(ValueError, match="penalty must have weights > 0 where coefficients must be positive"):
        objective.lambda_max()
    assert problem(loss, fl.L1(1.0, WEIGHTS + 0.1, positive=True)).lambda_max() > 0


@few_runs
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_agrees_with_their_lasso(solver, layout, intercept, positive, weighted):
    X, y = data("squared", 120, 40)
    s = np.random.default_rng(2).integers(0, 3, 120).astype(float) if weighted else None
    for l1, l2 in ((0.1, 0.0), (0.05, 0.1)):
        objective = fl.LinearObjective(
            LAYOUTS[layout](X),
            y,
            fl.SquaredError(),
            fl.ElasticNet(l1, l2, positive=positive),
            sample_weight=s,
            fit_intercept=intercept,
        )
        result = solve(objective, tol=1e-12, solver=solver)
        alpha = l1 / 2 + l2  # their loss has 1/2, their l2 as well
        theirs = scikit_learn("ElasticNet", alpha=alpha, l1_ratio=l1 / 2 / alpha, positive=positive)
        theirs.set_params(fit_intercept=intercept).fit(X, y, s)
        np.testing.assert_allclose(result.x[:40], theirs.coef_, atol=1e-5)
        np.testing.assert_array_equal(result.x[:40] != 0, theirs.coef_ != 0)
        np.testing.assert_allclose(result.x[40:].sum(), theirs.intercept_, atol=1e-5)


@few_runs
@pytest.mark.parametrize("lam", [0.05, 0.01, 0.002])
def test_agrees_with_liblinear(solver, layout, lam):
    X, y = data("logistic", 150, 40)
    # No name for the penalty: l1_ratio from 1.8 on, penalty before.
    theirs = scikit_learn("LogisticRegression", solver="liblinear", tol=1e-9, C=1 / (lam * 150), fit_intercept=False)
    theirs.set_params(max_iter=2000, random_state=0)  # it takes the features in random order: some need more than 100
    named = {"l1_ratio": 1} if theirs.get_params()["l1_ratio"] is not None else {"penalty": "l1"}
    theirs.set_params(**named).fit(X, y)
    objective = fl.LinearObjective(LAYOUTS[layout](X), y, LOGISTIC, fl.L1(lam), fit_intercept=False)
    # gram_newton is for more samples a feature, where it goes faster than by a digit in several steps.
    result = solve(objective, tol=1e-12 if solver == "prox_newton" else 1e-8, solver=solver)
    coefficients = np.ravel(theirs.coef_)
    assert -1e-12 <= objective.objective(coefficients) - result.fun <= 1e-8
    np.testing.assert_allclose(result.x, coefficients, atol=1e-3)


@pytest.mark.parametrize("loss", ["squared", "logistic"])
@runs
@pytest.mark.parametrize("shape", [(4001, 30), (60, 600)], ids=str)
def test_identical_for_any_number_of_threads(loss, solver, layout, shape, dtype):
    runs = [
        fl.minimize(
            problem(loss, fl.L1(0.02), layout, "all", k, n=shape[0], p=shape[1], dtype=dtype),
            solver=solver,
            tol=1e-5,
        )
        for k in (1, 2, 3, 8)
    ]
    assert len({bits(run.x, run.fun, run.duality_gap, run.nit, run.history["objective"]) for run in runs}) == 1


@loss
@penalty
@solver
@pytest.mark.parametrize("kind", ["plain", "all"])
def test_a_warm_start(loss, penalty, solver, kind):
    objective = problem(loss, penalty, kind=kind)
    solution = solve(objective, solver=solver)
    again = solve(objective, solution.x, tol=2e-9, solver=solver)
    assert again.nit <= 1
    assert again.fun <= solution.fun + 1e-12
    for factor in (-1.0, 5.0):  # from elsewhere as well, outside of what is allowed at worst
        other = solve(objective, factor * solution.x + 0.5, solver=solver)
        assert other.fun == pytest.approx(solution.fun, rel=1e-7, abs=1e-9)


@solver
@pytest.mark.parametrize("max_iter", [0, 1])
def test_a_stop_that_comes_early(solver, max_iter):
    objective = problem("logistic", fl.L1(1e-3), n=150, p=200)
    with pytest.warns(fl.ConvergenceWarning, match=f"{solver}.*{max_iter} iterations"):
        result = fl.minimize(objective, solver=solver, tol=1e-12, max_iter=max_iter)
    assert (result.success, result.nit) == (False, max_iter)
    assert 0 < result.duality_gap < np.inf


@few_losses
@solver
def test_a_tolerance_of_zero_ends(loss, solver):
    """At rounding it may stop with a warning, but at the minimum."""
    objective = problem(loss, "L1", kind="intercept")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fl.ConvergenceWarning)
        result = fl.minimize(objective, solver=solver, tol=0, max_iter=30)
    assert result.fun == pytest.approx(solve(objective).fun, rel=1e-9)


@solver
def test_an_interruption_comes_through(solver):
    def interrupt(result):
        if result.nit == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fl.minimize(problem("logistic", fl.L1(1e-3), p=200), solver=solver, tol=1e-12, callback=interrupt)


REFUSED = [fl.AbsoluteError(), fl.Quantile(0.3)]


@solver
@pytest.mark.parametrize("loss", REFUSED, ids=repr)
def test_a_loss_that_it_cannot_handle(solver, loss):
    X, y = data("logistic")
    with pytest.raises(TypeError, match=rf"{solver} needs .*SquaredError.*{re.escape(repr(loss))}"):
        fl.minimize(fl.LinearObjective(X, y, loss, fl.L1(0.1)), solver=solver)


@solver
def test_the_callback_stops_the_run(solver):
    def stop(result):
        if result.nit == 1:
            raise StopIteration

    with pytest.warns(fl.ConvergenceWarning, match="callback"):
        result = fl.minimize(problem("logistic", fl.L1(1e-3), p=200), solver=solver, tol=1e-12, callback=stop)
    assert (result.nit, result.success) == (1, False)


@solver
def test_verbose_prints_the_progress(solver, capfd):
    result = solve(problem("logistic", "L1"), solver=solver, verbose=True)
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].startswith(f"{solver}: 90 samples, 12 features")
    assert [int(line.split()[0]) for line in lines[2:-1]] == list(result.history["iteration"])
    assert result.message in lines[-1]


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("penalty", [fl.L1(1.0), fl.ElasticNet(1.0, 0.01), fl.L1(1.0, positive=True)], ids=repr)
def test_hessians_in_single_precision_do_not_limit_the_accuracy(penalty, intercept):
    """Those of 500 features and more; and what a path remembers of them is what they are."""
    rng = np.random.default_rng(0)
    X = np.asfortranarray(rng.standard_normal((800, 700)) @ (np.eye(700) + 0.5 * np.eye(700, k=1)))
    y = X[:, :60] @ rng.standard_normal(60) + rng.standard_normal(800)
    objective = fl.LinearObjective(X, y, fl.SquaredError(), penalty, fit_intercept=intercept)
    largest = objective.lambda_max()
    run = start_run(objective.with_penalty(penalty.with_strengths(largest, 0.0)), "prox_newton", 1e-11, None)
    for share in (0.1, 0.01, 0.005, 0.002, 0.001):
        there = objective.with_penalty(penalty.with_strengths(share * largest, share * penalty.l2))
        result = run(there)
        assert result.success
        assert there.duality_gap(result.x) <= 1.1e-11 * there.loss_at_zero
    assert np.count_nonzero(result.x) > 150
