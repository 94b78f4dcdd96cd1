"""Solvers on data that is hard to fit, or wrong."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from test_solvers import LOGISTIC, data, solver

import fastloss as fl

LOSSES = {"squared": fl.SquaredError(), "huber": fl.Huber(0.5), "logistic": LOGISTIC}
loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def draw(loss, n=120, p=8, dtype=np.float64):
    return [x.astype(dtype) for x in data(n, p, classes=loss == LOGISTIC)]


def fit(X, y, loss, solver, lam=0.05, tol=1e-8, intercept=True):
    """Run to a gap that certifies the solution."""
    objective = fl.LinearObjective(X, y, loss, fl.L1(lam), fit_intercept=intercept)
    result = fl.minimize(objective, solver=solver, tol=tol)
    assert result.success
    assert np.isfinite(result.x).all()
    return result


@loss
@solver
def test_a_column_of_zeros(loss, solver):
    X, y = draw(loss)
    X[:, 3] = 0
    result = fit(X, y, loss, solver)
    assert result.x[3] == 0
    assert result.fun == pytest.approx(fit(np.delete(X, 3, axis=1), y, loss, solver).fun, rel=1e-7)


@loss
@solver
def test_a_constant_column(loss, solver):
    X, y = draw(loss)
    X[:, 3] = 2
    # The intercept does the same for nothing.
    assert fit(X, y, loss, solver, tol=1e-10).x[3] == pytest.approx(0, abs=1e-6)


@loss
@solver
def test_a_column_twice(loss, solver):
    X, y = draw(loss)
    result = fit(np.column_stack([X, X[:, 0]]), y, loss, solver)
    assert result.fun == pytest.approx(fit(X, y, loss, solver).fun, rel=1e-7)


@loss
@solver
@pytest.mark.parametrize("shape", [(120, 1), (1, 1), (1, 8), (5, 30), (2, 2000)], ids=str)
def test_a_shape(shape, loss, solver):
    fit(*draw(loss, *shape), loss, solver, tol=1e-6)


@loss
@solver
@pytest.mark.parametrize("factor", [1.0, 1.5, 1e6])
def test_a_penalty_that_leaves_nothing(factor, loss, solver):
    X, y = draw(loss)
    largest = fl.LinearObjective(X, y, loss).lambda_max()
    result = fit(X, y, loss, solver, factor * largest)
    np.testing.assert_allclose(result.x[:8], 0, atol=1e-3 if factor == 1 else 0)


@loss
@solver
def test_float32(loss, solver):
    single = fit(*draw(loss, dtype=np.float32), loss, solver, tol=1e-6)
    double = fit(*draw(loss), loss, solver, tol=1e-6)
    assert single.x.dtype == np.float64
    assert single.fun == pytest.approx(double.fun, rel=2e-6)
    np.testing.assert_allclose(single.x, double.x, atol=1e-2)


@solver
@pytest.mark.parametrize("lam", [1e-2, 1e-3])
def test_separable_classes(solver, lam):
    # Without a penalty the coefficients grow without end.
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 5))
    X[:, 0] += np.sign(X[:, 0])
    y = (X[:, 0] > 0).astype(float)
    result = fit(X, y, LOGISTIC, solver, lam=lam, tol=1e-6)
    assert np.all((X @ result.x[:5] + result.x[5] > 0) == (y > 0))
    assert np.argmax(abs(result.x)) == 0


@solver
@pytest.mark.parametrize("y", [0.0, 3.0])
def test_labels_that_are_all_the_same(solver, y):
    X = data()[0]
    result = fit(X, np.full(120, y), fl.SquaredError(), solver, tol=1e-10)
    np.testing.assert_allclose(result.x, [0] * 8 + [y], atol=1e-4)


@loss
@solver
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_units_of_the_columns_do_not_matter(scale, loss, solver):
    # Without an intercept: its unit would stay.
    X, y = draw(loss)
    result = fit(X, y, loss, solver, intercept=False)
    other = fit(X * scale, y, loss, solver, lam=0.05 * scale, intercept=False)
    np.testing.assert_allclose(other.x * scale, result.x, atol=1e-3)
    assert other.fun == pytest.approx(result.fun, rel=1e-6)


@pytest.mark.parametrize("loss", [*LOSSES.values(), fl.Poisson()], ids=repr)
@pytest.mark.parametrize("solver", ["gram_newton", "prox_newton"])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("far", [50, 500])
def test_features_far_from_zero(far, intercept, solver, loss):
    """The objective is flat along a valley there, to within rounding: its slopes tell what it does not."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(150, 6))
        y = rng.poisson(np.exp(np.clip(X @ rng.normal(size=6), -3, 3))).astype(float)
        if loss == LOGISTIC:
            y = np.minimum(y, 1)
        result = fit(X + far, y, loss, solver, lam=0.01, tol=1e-6, intercept=intercept)
        if intercept:
            assert result.fun == pytest.approx(fit(X, y, loss, solver, lam=0.01).fun, rel=3e-6)


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("delta", [0.01, 0.1, 1.0])
def test_few_samples_of_which_few_curve(delta, free, intercept):
    steps = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        n, p = int(rng.integers(10, 60)), int(rng.integers(2, 8))
        X = rng.normal(size=(n, p))
        y = X @ rng.normal(size=p) + rng.standard_t(2, size=n)
        penalty = fl.L1(0.01, (np.arange(p) % 3 > 0).astype(float) if free else None)
        objective = fl.LinearObjective(X, y, fl.Huber(delta), penalty, fit_intercept=intercept)
        result = fl.minimize(objective)
        assert result.success
        steps += result.nit
    assert steps <= 40 * 10


@solver
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_units_of_the_labels_do_not_matter(scale, solver):
    X, y = data()
    result = fit(X, y, fl.SquaredError(), solver)
    other = fit(X, y * scale, fl.SquaredError(), solver, lam=0.05 * scale)
    np.testing.assert_allclose(other.x / scale, result.x, atol=1e-3)


@solver
def test_a_loss_that_is_negative_at_zero(solver):
    """Of a Poisson model with an offset: there is still something for the gap to be a part of."""
    rng = np.random.default_rng(0)
    X, offset = rng.normal(size=(300, 5)), rng.uniform(2, 4, 300)
    y = rng.poisson(np.exp(offset + X[:, 0] / 4)).astype(float)
    objective = fl.LinearObjective(X, y, fl.Poisson(), fl.L1(0.1), offset=offset, fit_intercept=False)
    assert objective.loss_at_zero < 0
    result = fl.minimize(objective, solver=solver, tol=1e-6)
    assert result.success
    assert result.duality_gap <= 1e-6 * (objective.loss_at_zero - objective.least_loss)
    assert 0 < result.x[0] < 0.25


@solver
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_data_that_is_not_finite_ends_the_run(solver, bad):
    X, y = data()
    X[5, 2] = bad
    with pytest.warns(fl.ConvergenceWarning, match="not finite"):
        result = fl.minimize(fl.LinearObjective(X, y, fl.SquaredError(), fl.L1(0.1)), solver=solver)
    assert not result.success


def test_steps_that_overflow_are_taken_back():
    # exp of the first steps overflows: the line search has to shorten them.
    X, y = data(classes=True)
    objective = fl.LinearObjective(300 * X, y, fl.Poisson(), fl.L2(1.0))
    result = fl.minimize(objective, tol=1e-4, max_iter=100_000)
    assert result.success
    assert result.fun < objective.objective(np.zeros(9))


WITHOUT_END = """
import signal
import numpy as np, fastloss as fl
signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
rng = np.random.default_rng(0)
X = rng.normal(size=(4000, 150))
y = (X[:, 0] + rng.normal(size=4000) > 0).astype(float)
objective = fl.LinearObjective(X, y, fl.BinaryCrossEntropy(from_logits=True), fl.L1(1e-4))
print("ready", flush=True)
while True:
    fl.minimize(objective, solver={solver!r}, tol=1e-9)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("solver", ["fista", "gram_newton", "prox_newton"])
def test_ctrl_c_ends_a_run(solver):
    command = [sys.executable, "-W", "ignore", "-c", WITHOUT_END.format(solver=solver)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        try:
            assert run.stdout.readline() == "ready\n"
            time.sleep(0.5)
            run.send_signal(signal.SIGINT)
            _, errors = run.communicate(timeout=20)
        finally:
            run.kill()
    assert "KeyboardInterrupt" in errors
