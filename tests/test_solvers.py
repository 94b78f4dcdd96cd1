"""Laws of `minimize` and its solvers. What it refuses: test_objective_arguments.py."""

import re

import numpy as np
import pytest
from problems import FEW, PENALISED, SMOOTH, Problem, bits
from scipy import sparse

import fastloss as fl

FIRST_ORDER = ["fista", "ista"]
SOLVERS = [*FIRST_ORDER, "prox_newton", "gram_newton"]
first_order = pytest.mark.parametrize("solver", FIRST_ORDER)
solver = pytest.mark.parametrize("solver", SOLVERS)
LOGISTIC = fl.BinaryCrossEntropy(from_logits=True)


def data(n=120, p=8, seed=0, classes=False):
    """Columns of different scales, correlated; labels that depend on some of them."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) @ (np.eye(p) + 0.6 / np.sqrt(p) * rng.normal(size=(p, p))) + 0.5
    y = 1.5 * X[:, 0] - X[:, 1 % p] + rng.normal(size=n)
    return X, (y > y.mean()).astype(float) if classes else y


def lasso(n=120, p=8, lam=0.2, **options):
    X, y = data(n, p)
    return fl.LinearObjective(X, y, fl.SquaredError(), fl.L1(lam), **options)


def scikit_learn(name, **parameters):
    """An estimator of theirs, with a tight tolerance."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    return getattr(linear_model, name)(**{"tol": 1e-12, "max_iter": 100_000, **parameters})


def logistic_regression(l1_ratio, **parameters):
    """Theirs, by either of the ways in which their versions name an L1 penalty."""
    sklearn = pytest.importorskip("sklearn")
    old = tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 8)
    named = {"penalty": "elasticnet"} if old else {}
    return scikit_learn("LogisticRegression", solver="saga", l1_ratio=l1_ratio, **named, **parameters)


n = 120
# ours; theirs, whose squared loss and L2 have a factor 1/2 each
MODELS = {
    "Lasso": (fl.SquaredError(), fl.L1(0.3), lambda: scikit_learn("Lasso", alpha=0.15)),
    "ElasticNet": (
        fl.SquaredError(),
        fl.ElasticNet(0.12, 0.14),
        lambda: scikit_learn("ElasticNet", alpha=0.2, l1_ratio=0.3),
    ),
    "Ridge": (fl.SquaredError(), fl.L2(0.1), lambda: scikit_learn("Ridge", alpha=0.1 * n)),
    "logistic L1": (LOGISTIC, fl.L1(0.02), lambda: logistic_regression(1, C=1 / (0.02 * n))),
    "logistic L2": (LOGISTIC, fl.L2(0.02), lambda: logistic_regression(0, C=0.5 / (0.02 * n))),
    "logistic elastic net": (LOGISTIC, fl.ElasticNet(0.02, 0.01), lambda: logistic_regression(0.5, C=1 / (0.04 * n))),
    "Poisson": (fl.Poisson(), fl.L2(0.05), lambda: scikit_learn("PoissonRegressor", alpha=0.1)),
}


@solver
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize(("loss", "penalty", "theirs"), MODELS.values(), ids=MODELS)
def test_agrees_with_scikit_learn(solver, loss, penalty, theirs, intercept):
    X, y = data(n, classes=not isinstance(loss, fl.SquaredError))
    result = fl.minimize(fl.LinearObjective(X, y, loss, penalty, fit_intercept=intercept), solver=solver, tol=1e-11)
    model = theirs().set_params(fit_intercept=intercept).fit(X, y)
    coefficients = np.ravel(model.coef_)
    np.testing.assert_allclose(result.x[:8], coefficients, atol=2e-5)
    np.testing.assert_array_equal(result.x[:8] == 0, coefficients == 0)
    if intercept:
        np.testing.assert_allclose(result.x[-1:], model.intercept_, atol=2e-5)
    if penalty.l1:
        assert 0 < np.count_nonzero(coefficients) < 8


@solver
@pytest.mark.parametrize("case", SMOOTH, ids=str)
@pytest.mark.parametrize("setting", PENALISED, ids=str)
def test_stops_at_the_tolerance(solver, case, setting):
    objective = Problem.draw(case, setting, n=80, p=4).objective()
    if case.name == "Huber" and case.parameters["delta"] < 0.1 and solver == "ista":
        return  # thousands of iterations: nearly all samples are on the linear part
    result = fl.minimize(objective, solver=solver, tol=1e-5)
    assert result.success
    fun = objective.objective(result.x)
    assert result.fun == (fun if solver in FIRST_ORDER else pytest.approx(fun, rel=1e-13))
    if objective.has_duality_gap:
        gap, start = objective.duality_gap(result.x), objective.value(np.zeros(objective.size))
        # Newton's methods know a gap from predictions that they keep, or a bound on it without a pass over X.
        assert gap == result.duality_gap if solver in FIRST_ORDER else gap <= result.duality_gap + 1e-13 * (1 + start)
        assert result.duality_gap <= 1e-5 * start
        assert np.all(result.history["duality_gap"][:-1] > 1e-5 * start)


@solver
def test_the_history(solver):
    objective = lasso(lam=0.01)
    result = fl.minimize(objective, solver=solver, tol=1e-10)
    history = result.history
    assert set(history) == {"iteration", "time", "objective", "duality_gap", "support"}
    assert {len(column) for column in history.values()} == {len(history["time"])}
    assert len(history["time"]) > (2 if solver in FIRST_ORDER else 1)
    assert np.all(np.diff(history["iteration"]) > 0)
    assert np.all(np.diff(history["time"]) >= 0)
    assert history["time"][0] >= 0
    assert (history["iteration"][0], history["iteration"][-1]) == (0, result.nit)
    start = objective.objective(np.zeros(9))
    assert history["objective"][0] == start if solver in FIRST_ORDER else history["objective"][0] <= start
    assert history["objective"][-1] == result.fun == pytest.approx(min(history["objective"]), rel=1e-14)
    assert history["duality_gap"][-1] == result.duality_gap
    assert history["support"][-1] == np.count_nonzero(result.x[:8])
    assert np.all(history["objective"] - result.fun <= history["duality_gap"] + 1e-12)


def test_ista_never_goes_uphill():
    history = fl.minimize(lasso(lam=0.01), solver="ista", tol=1e-10).history
    assert np.all(np.diff(history["objective"]) <= 1e-14)


def test_the_callback_sees_every_look():
    seen = []
    result = fl.minimize(lasso(lam=0.01), tol=1e-10, callback=seen.append)
    assert all(isinstance(x, fl.Result) for x in seen)
    assert [x.nit for x in seen] == list(result.history["iteration"])
    assert [x.fun for x in seen] == list(result.history["objective"])
    assert [x.success for x in seen] == [False] * (len(seen) - 1) + [True]
    assert bits(seen[-1].x) == bits(result.x)


def test_the_callback_cannot_disturb_the_run():
    def spoil(result):
        result.x[:] = np.nan
        result.history["objective"][:] = 0

    assert bits(fl.minimize(lasso(), callback=spoil).x) == bits(fl.minimize(lasso()).x)


def test_the_callback_stops_the_run():
    def stop(result):
        if result.nit >= 10:
            raise StopIteration

    with pytest.warns(fl.ConvergenceWarning, match="callback"):
        result = fl.minimize(lasso(lam=0.001), solver="fista", tol=0, callback=stop)
    assert (result.nit, result.success) == (10, False)
    assert "callback" in result.message
    assert fl.minimize(lasso(), tol=1e9, callback=stop).success  # it stopped there anyway


def test_what_else_a_callback_raises_comes_through():
    with pytest.raises(ZeroDivisionError):
        fl.minimize(lasso(), callback=lambda result: 1 / 0)


@solver
def test_verbose_prints_the_progress(solver, capfd):
    result = fl.minimize(lasso(), solver=solver, verbose=True)
    lines = capfd.readouterr().out.splitlines()
    assert re.match(rf"{solver}: 120 samples, 8 features", lines[0])
    assert lines[1].split() == ["iteration", "seconds", "objective", "gap", "support"]
    assert [int(line.split()[0]) for line in lines[2:-1]] == list(result.history["iteration"])
    assert result.message in lines[-1]
    fl.minimize(lasso(), solver=solver)
    assert capfd.readouterr() == ("", "")


@first_order
@pytest.mark.parametrize("max_iter", [0, 1, 3, 10, np.int64(11)])
def test_too_few_iterations(solver, max_iter):
    with pytest.warns(fl.ConvergenceWarning, match=f"{solver}.*{max_iter} iterations") as caught:
        result = fl.minimize(lasso(lam=1e-4), solver=solver, tol=1e-14, max_iter=max_iter)
    assert caught[0].filename == __file__  # the caller's line, where something can be changed
    assert not result.success
    assert result.nit == max_iter == result.history["iteration"][-1]
    assert result.duality_gap > 0
    assert "success=False" in repr(result)


@solver
def test_a_warm_start(solver):
    objective = lasso(lam=0.01)
    solution = fl.minimize(objective, tol=1e-10, solver=solver)
    w0 = solution.x.copy()
    again = fl.minimize(objective, w0, tol=1e-9, solver=solver)
    assert (again.nit, bits(again.x)) == (0, bits(w0))
    near, far = (fl.minimize(lasso(lam=0.0099), start, tol=1e-3, solver=solver) for start in (w0, None))
    assert near.nit < far.nit
    assert bits(w0) == bits(solution.x)
    assert not np.shares_memory(again.x, w0)
    assert fl.minimize(objective, w0.tolist(), tol=1e-9, solver=solver).nit == 0


@solver
@pytest.mark.parametrize("weighted", [False, True])
def test_without_a_penalty_the_gradient_decides(solver, weighted):
    X, y = data()
    s = np.random.default_rng(1).integers(1, 4, len(y)).astype(float) if weighted else np.ones(len(y))
    result = fl.minimize(fl.LinearObjective(X, y, fl.SquaredError(), sample_weight=s), solver=solver, tol=1e-9)
    design = np.column_stack([X, np.ones(len(y))]) * np.sqrt(s)[:, None]
    np.testing.assert_allclose(result.x, np.linalg.lstsq(design, y * np.sqrt(s), rcond=None)[0], atol=1e-6)
    assert result.success
    assert np.isnan(result.duality_gap)
    assert np.isnan(result.history["duality_gap"]).all()


def test_auto_chooses_by_loss_and_shape(capfd):
    rng = np.random.default_rng(0)

    def chosen(X, loss, penalty=None):
        y = rng.integers(0, 2, X.shape[0])
        fl.minimize(fl.LinearObjective(X, y, loss, penalty or fl.L1(0.1)), tol=1e-3, verbose=True)
        return capfd.readouterr().out.split(":")[0]

    tall, wide = rng.normal(size=(3000, 5)), rng.normal(size=(40, 50))
    classes = fl.CategoricalCrossEntropy(from_logits=True)
    for loss in (fl.SquaredError(), fl.Huber(), LOGISTIC, fl.Poisson(), classes):
        assert chosen(tall, loss) == "gram_newton"
        assert {chosen(wide, loss), chosen(sparse.csr_array(tall), loss)} == {"prox_newton"}
    assert chosen(rng.normal(size=(40, 150)), classes, fl.L2(0.1)) == "lbfgs"


def test_momentum_pays():
    X, y = data(200, 10)
    objective = fl.LinearObjective(X * np.logspace(0, -0.8, 10), y, fl.SquaredError(), fl.L1(1e-3))
    fast, slow = (fl.minimize(objective, solver=solver, tol=1e-5, max_iter=50_000).nit for solver in FIRST_ORDER)
    assert 4 * fast < slow


@solver
@pytest.mark.parametrize("setting", FEW, ids=str)
def test_identical_for_any_number_of_threads(solver, setting, dtype):
    problem = Problem.draw(SMOOTH[-2], setting, n=4001, p=11, dtype=dtype)
    runs = [fl.minimize(problem.objective(k, fl.L1(0.01)), solver=solver, tol=1e-4) for k in (1, 2, 3, 8)]
    assert len({bits(run.x, run.fun, run.duality_gap, run.nit, run.history["objective"]) for run in runs}) == 1
