"""Squared errors by their sums over samples: the same models and certificates as from X, which is read once."""

import numpy as np
import pytest

import fastloss as fl
from fastloss._descent import GramModel
from fastloss._single_output import SingleOutput
from fastloss._strengths import descend_along
from fastloss.solvers import quadratic

N, P = 400, 12
PENALTIES = {
    "L1": {},
    "elastic net": {"l1_ratio": 0.3},
    "positive": {"positive": True},
    "weights": {"weights": np.linspace(0.5, 2, P)},
    "free features": {"weights": np.where(np.arange(P) < 3, 0.0, 1.0)},
    "standardised": {"standardize": True},
    "all": {"l1_ratio": 0.6, "positive": True, "weights": np.linspace(0.5, 2, P), "standardize": True},
}
penalty = pytest.mark.parametrize("penalty", PENALTIES)
intercept = pytest.mark.parametrize("intercept", [True, False])


def data(seed=0, n=N, p=P, mean=1.0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) @ (np.eye(p) + 0.6 * np.eye(p, k=1)) + mean * np.arange(p)
    return X, X[:, :4] @ [1.0, -2.0, 0.5, 1.0] + rng.normal(size=n)


def path_of(X, y, **options):
    return fl.regularization_path(X, y, fl.SquaredError(), **{"n_alphas": 30, **options})


@pytest.fixture
def passes(monkeypatch):
    """The passes over X for values and gradients."""
    found = []
    evaluate = SingleOutput.evaluate
    monkeypatch.setattr(SingleOutput, "evaluate", lambda *args, **kw: found.append(1) or evaluate(*args, **kw))
    return found


@pytest.mark.parametrize("samples", [{}, {"sample_weight": True, "offset": True}], ids=["plain", "weights, offset"])
@pytest.mark.parametrize("order", ["C", "F"])
@intercept
@penalty
def test_certificates_are_those_of_x(penalty, intercept, order, samples, passes):
    X, y = data()
    rng = np.random.default_rng(1)
    if samples:
        samples = {"sample_weight": rng.integers(0, 3, N).astype(float), "offset": rng.normal(size=N)}
        X[samples["sample_weight"] == 0] = np.nan  # not read
    X = np.asarray(X, order=order)
    options = PENALTIES[penalty]
    path = path_of(X, y, fit_intercept=intercept, tol=1e-7, **samples, **options)
    assert path.success
    assert passes == []
    ratio = options.get("l1_ratio", 1.0)
    for i in range(0, len(path.alphas), 5):
        alpha = path.alphas[i]
        costs = fl.ElasticNet(
            ratio * alpha, (1 - ratio) * alpha / 2, options.get("weights"), options.get("positive", False)
        )
        objective = fl.LinearObjective(
            X,
            y,
            fl.SquaredError(),
            costs,
            fit_intercept=intercept,
            standardize=penalty in ("standardised", "all"),
            **samples,
        )
        point = np.append(path.coef(i), path.intercepts[i]) if intercept else path.coef(i)
        rounding = 1e-12 * objective.loss_at_zero
        assert abs(objective.objective(point) - path.objectives[i]) <= rounding
        assert abs(objective.duality_gap(point) - path.duality_gaps[i]) <= rounding
        assert path.duality_gaps[i] <= 1e-7 * objective.loss_at_zero


@intercept
def test_the_same_models_as_by_working_sets(intercept):
    X, y = data(2)
    ours, theirs = (path_of(X, y, fit_intercept=intercept, solver=s, tol=1e-9) for s in ("auto", "prox_newton"))
    np.testing.assert_allclose(ours.coefs, theirs.coefs, atol=1e-3)
    np.testing.assert_allclose(ours.intercepts, theirs.intercepts, atol=1e-2)
    assert (np.abs(ours.objectives - theirs.objectives) <= ours.duality_gaps + theirs.duality_gaps + 1e-12).all()


@pytest.mark.parametrize("order", ["C", "F"])
def test_columns_far_from_zero(order):
    X, y = data(3)
    near = path_of(X, y, tol=1e-9, alphas=np.geomspace(1, 1e-3, 30))
    far = path_of(np.asarray(X + 1e7, order=order), y, tol=1e-9, alphas=np.geomspace(1, 1e-3, 30))
    assert far.success
    np.testing.assert_allclose(far.objectives, near.objectives, rtol=1e-7)
    np.testing.assert_allclose(far.coefs, near.coefs, atol=1e-4)


def test_a_free_feature_that_the_intercept_has_already():
    X, y = data(4)
    X[:, 0], X[:, 1] = 2.0, X[:, 2]
    path = path_of(X, y, weights=np.where(np.arange(P) < 3, 0.0, 1.0), alphas=[1.0, 0.1, 0.01])
    assert path.success
    theirs = path_of(X, y, weights=np.where(np.arange(P) < 3, 0.0, 1.0), alphas=[1.0, 0.1, 0.01], solver="prox_newton")
    np.testing.assert_allclose(path.objectives, theirs.objectives, rtol=1e-5)


@pytest.mark.parametrize("budget", [0, 3000, 1_000_000])
@pytest.mark.parametrize("positive", [False, True])
@intercept
def test_where_descent_takes_long(intercept, positive, budget, monkeypatch):
    """Columns that are sums of others: models need more than the loop over all of them is given."""
    rng = np.random.default_rng(5)
    X = np.cumsum(rng.normal(size=(600, 150)), axis=1)
    y = X[:, ::10] @ rng.normal(size=15) + rng.normal(size=600)
    alone, run = [], quadratic.QuadraticRun.run
    monkeypatch.setattr(quadratic.QuadraticRun, "run", lambda *args: alone.append(1) or run(*args))
    monkeypatch.setattr(quadratic, "CALLS", budget)
    options = {"fit_intercept": intercept, "positive": positive, "tol": 1e-7, "eps": 1e-5}
    path = path_of(X, y, **options)
    assert path.success
    assert alone or budget == 1_000_000
    theirs = path_of(X, y, solver="prox_newton", **options)
    assert (np.abs(path.objectives - theirs.objectives) <= path.duality_gaps + theirs.duality_gaps + 1e-12).all()


@intercept
@pytest.mark.parametrize("alphas", [[1, 0.5, 0.5, 0.5, 0.1, 0, 0], [0], [0.1]], ids=str)
def test_strengths_that_repeat_or_are_zero(alphas, intercept):
    X, y = data(6)
    path = path_of(X, y, alphas=np.repeat(alphas, 5), fit_intercept=intercept)
    assert path.success
    design = np.column_stack([X, np.ones(N)]) if intercept else X
    if alphas[-1] == 0:
        exact = np.linalg.lstsq(design, y, rcond=None)[0]
        np.testing.assert_allclose(path.coef(-1), exact[:P], atol=1e-5)


@pytest.mark.parametrize("limit", [0, 1])
def test_a_limit_of_steps(limit):
    X, y = data(7)
    with pytest.warns(fl.ConvergenceWarning) if limit == 0 else np.errstate():
        path = path_of(X, y, max_iter=limit)
    assert path.success == (limit > 0)
    assert (path.n_iters <= limit).all()


@pytest.mark.parametrize("order", ["C", "F"])
def test_more_features_than_one_loop_is_for(order):
    X, y = data(8, 1200, 520, mean=0.1)
    path = path_of(np.asarray(X, order=order), y, alphas=np.geomspace(3, 0.02, 20))
    assert path.success
    theirs = path_of(X, y, alphas=path.alphas, solver="prox_newton")
    assert (np.abs(path.objectives - theirs.objectives) <= path.duality_gaps + theirs.duality_gaps + 1e-12).all()


class TestDescendAlong:
    """The loop itself."""

    strengths = np.geomspace(2.0, 0.01, 40)

    def model(self, options):
        X, y = data(9)
        A, q = X.T @ X / N, X.T @ y / N
        unit = fl.LinearObjective(
            X, y, fl.SquaredError(), fl.ElasticNet(0.6, 0.2, **options), fit_intercept=False
        ).costs
        return GramModel(2 * A, -2 * q, np.zeros(P), unit), unit, float(y @ y) / N

    def run(self, options, budget=1_000_000, wanted=1e-9, first=0, found=None):
        model, unit, loss = self.model(options)
        k = len(self.strengths)
        points, objectives, gaps = found or (np.zeros((k, P)), np.full(k, np.nan), np.full(k, np.nan))
        done = descend_along(model, unit, self.strengths, loss, wanted, budget, points, objectives, gaps, first)
        return done, (points, objectives, gaps)

    @pytest.mark.parametrize("options", [{}, {"positive": True}, {"weights": np.linspace(0.2, 3, P)}], ids=str)
    def test_minima(self, options):
        done, (points, objectives, gaps) = self.run(options)
        assert done == len(self.strengths)
        assert ((gaps <= 1e-9) & (gaps >= -1e-12)).all()
        X, y = data(9)
        for s, point, value in zip(self.strengths, points, objectives, strict=True):
            costs = fl.ElasticNet(0.6 * s, 0.2 * s, **options)
            objective = fl.LinearObjective(X, y, fl.SquaredError(), costs, fit_intercept=False)
            assert abs(objective.objective(point) - value) <= 1e-12 * objective.loss_at_zero
            assert objective.duality_gap(point) <= 1e-9 + 1e-12 * objective.loss_at_zero

    def test_it_says_where_it_stopped_and_goes_on_from_there(self):
        done, found = self.run({}, budget=1, wanted=1e-13)
        assert done < len(self.strengths)
        assert found[0][done].any()
        assert found[2][done] > 1e-13
        assert np.isnan(found[2][done + 1 :]).all()
        done, found = self.run({}, first=done, found=found)
        assert done == len(self.strengths)
        whole = self.run({})[1]
        np.testing.assert_allclose(found[0], whole[0], atol=1e-4)

    def test_models_of_rounded_hessians_are_left_to_others(self):
        p = 500
        unit = fl.LinearObjective(np.eye(p), np.ones(p), fl.SquaredError(), fl.L1(1.0), fit_intercept=False).costs
        model = GramModel(np.eye(p), -np.ones(p), np.zeros(p), unit)
        assert descend_along(model, unit, np.ones(1), 1.0, 0.1, 100, np.zeros((1, p)), np.zeros(1), np.zeros(1)) == 0
