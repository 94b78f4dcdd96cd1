"""Passes at several points at once, and paths whose passes look at the models to come."""

import importlib

import numpy as np
import pytest
from conftest import RUNNABLE
from custom_losses import squared_error
from problems import bits
from test_solvers import LOGISTIC

import fastloss as fl
from fastloss import _points, _runtime
from fastloss._single_output import SingleOutput

module = importlib.import_module("fastloss.solvers.gram_newton")  # fastloss.solvers.gram_newton is the function
LOSSES = {"squared": fl.SquaredError(), "Huber": fl.Huber(0.7), "logistic": LOGISTIC, "Poisson": fl.Poisson()}
LOSSES["quantile"] = fl.Quantile(0.3)
SMOOTH = [name for name in LOSSES if name != "quantile"]
# Rows and columns: less than a register, whole turns and chunks and a few rows more, several panels and a rest.
SHAPES = [(1, 1), (7, 3), (256, 24), (1500, 49), (3001, 130), (40, 1100)]
COUNTS = [1, 3, 8, 9, 16]
loss = pytest.mark.parametrize("loss", LOSSES)


def problem(loss, n, p, kind="plain", **options):
    rng = np.random.default_rng(n + p)
    X = np.ascontiguousarray(rng.standard_normal((n, p + 3)))[:, 1 : p + 1]  # rows are further apart than long
    z = X[:, : min(p, 3)].sum(axis=1) / 2 + rng.standard_normal(n)
    y = {"logistic": z > 0, "Poisson": rng.poisson(np.exp(np.minimum(z, 3)))}.get(loss, z).astype(float)
    if kind == "all":
        options |= {"sample_weight": rng.uniform(0.5, 2, n), "offset": rng.standard_normal(n) / 4}
    return fl.LinearObjective(X, y, LOSSES[loss], fl.L1(0.01), **options)


def draw(objective, count):
    return list(np.random.default_rng(count).standard_normal((count, objective.size)) / np.sqrt(objective.size))


@pytest.fixture(params=[name for name in RUNNABLE if name != "baseline"])
def at_several(request, isas):
    """Every instruction set that has passes at several points, in use while the test runs."""
    _runtime.use_instruction_set(request.param)


@pytest.mark.parametrize("intercept", [False, True], ids=["", "intercept"])
@pytest.mark.parametrize("kind", ["plain", "all"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@loss
def test_each_is_as_alone(loss, shape, kind, intercept, at_several):
    objective = problem(loss, *shape, kind, fit_intercept=intercept)
    for count in COUNTS:
        xs = draw(objective, count)
        found = objective.points(xs, 4)
        assert len(found) == count
        for i, (x, point) in enumerate(zip(xs, found, strict=True)):
            alone = objective.point(x)
            assert point.x is x
            assert point.loss == pytest.approx(alone.loss, rel=1e-12)
            np.testing.assert_allclose(point.gradient, alone.gradient, rtol=1e-9, atol=1e-12)
            if i < 4:
                np.testing.assert_allclose(point.z, alone.z, rtol=1e-12, atol=1e-13)
            else:
                assert point.z is None


@pytest.mark.parametrize("count", [3, 8])
def test_threads_do_not_show(count, at_several):
    results = []
    for n_threads in (1, 2, 3, 8):
        objective = problem("logistic", 9001, 30, "all", n_threads=n_threads)
        results.append([bits(part) for point in objective.points(draw(objective, count), 8) for part in point])
    assert results[1:] == results[:1] * 3


def test_a_loss_of_ones_own(at_several):
    pytest.importorskip("numba")
    own = fl.custom_loss(squared_error)
    theirs = problem("squared", 500, 10)
    objective = fl.LinearObjective(theirs.X, theirs.y, own, fl.L1(0.01))
    xs = draw(objective, 8)
    for point, other in zip(objective.points(xs, 0), theirs.points(xs, 0), strict=True):
        assert point.loss == pytest.approx(other.loss, rel=1e-13)


def test_a_loss_that_refuses_predictions(at_several):
    pytest.importorskip("numba")

    def far(y, z):
        if z > 1e6:
            raise ArithmeticError("too far")
        return (z - y) ** 2, 2 * (z - y)

    theirs = problem("squared", 500, 10)
    objective = fl.LinearObjective(theirs.X, theirs.y, fl.custom_loss(far), fl.L1(0.01))
    near, beyond = np.zeros(11), np.full(11, 1e9)
    first, *others = objective.points([near, beyond, near], 0)
    assert first.loss == objective.point(near).loss
    assert [point.loss for point in others] == [np.inf, np.inf]
    with pytest.raises(ArithmeticError, match="too far"):
        objective.points([beyond, near], 0)


def test_where_there_is_no_way_to_several(isa):
    plain = problem("logistic", 200, 5)
    assert plain.most_points == _points.most()
    X, y = plain.X, plain.y
    weight = np.ones(200)
    weight[7] = 0
    for other in (
        fl.LinearObjective(X.astype(np.float32), y, LOGISTIC),
        fl.LinearObjective(np.asfortranarray(X), y, LOGISTIC),
        fl.LinearObjective(X, y, LOGISTIC, sample_weight=weight),
        fl.LinearObjective(X, y.astype(int), fl.CategoricalCrossEntropy(from_logits=True)),
    ):
        assert other.most_points == 0


@pytest.fixture
def passes(monkeypatch):
    """How many points each pass looked at; Hessians count as dear, however small."""
    counts = []
    evaluate = SingleOutput.evaluate_several

    def counted(self, X, W, b, Z):
        counts.append(len(W))
        return evaluate(self, X, W, b, Z)

    monkeypatch.setattr(SingleOutput, "evaluate_several", counted)
    monkeypatch.setattr(module, "FEW_PRODUCTS", 0)
    monkeypatch.setattr(module, "FEW_FEATURES", 0)
    return counts


@pytest.mark.parametrize("options", [{}, {"fit_intercept": False}, {"l1_ratio": 0.5, "positive": True}], ids=str)
@pytest.mark.parametrize("kind", ["plain", "all"])
@pytest.mark.parametrize("loss", SMOOTH)
def test_a_path_that_looks_ahead(loss, kind, options, at_several, passes):
    objective = problem(loss, 3000, 20, kind)
    args = {"sample_weight": objective.sample_weight, "offset": objective.offset, "n_alphas": 30, **options}
    path = fl.regularization_path(objective.X, objective.y, objective.loss, tol=1e-8, solver="gram_newton", **args)
    assert path.success
    if objective.loss.quadratic:
        assert passes == []  # its Hessian says all
    else:
        assert max(passes) == module.AHEAD
        assert len(passes) < 2 * len(path.alphas)
    theirs = fl.regularization_path(objective.X, objective.y, objective.loss, tol=1e-8, solver="prox_newton", **args)
    slack = path.duality_gaps + theirs.duality_gaps + 1e-14
    assert (np.abs(path.objectives - theirs.objectives) <= slack).all()
    np.testing.assert_allclose(path.coefs, theirs.coefs, atol=1e-3)


def test_a_path_of_jumps(at_several, passes):
    """Strengths so far apart that the models to come are badly guessed."""
    objective = problem("logistic", 3000, 20)
    alphas = [1e-1, 3e-2, 1e-2, 1e-4, 1e-5, 0]
    path = fl.regularization_path(objective.X, objective.y, objective.loss, alphas=alphas, solver="gram_newton")
    assert path.success
    for i, alpha in enumerate(alphas[:-1]):
        alone = fl.minimize(objective.with_penalty(fl.L1(alpha)), solver="prox_newton")
        assert abs(path.objectives[i] - alone.fun) <= path.duality_gaps[i] + alone.duality_gap


@pytest.mark.parametrize("loss", ["logistic", "Poisson", "Huber"])
def test_models_that_lead_each_other_astray(loss, at_several, passes):
    """Strengths far apart, samples unlike each other: what models share suits none of them, so they go on alone."""
    rng = np.random.default_rng(4)
    X = rng.normal(size=(2500, 20)) * 10 ** rng.uniform(-3, 3, 20) * (rng.random((2500, 20)) < 0.1)
    z = 3 * (X / X.std(axis=0)) @ rng.normal(size=20)
    y = {"logistic": z > 0, "Poisson": rng.poisson(np.exp(np.clip(z, -5, 4)))}.get(loss, z).astype(float)
    args = {"n_alphas": 12, "eps": 1e-4, "standardize": True, "fit_intercept": False}
    path = fl.regularization_path(X, y, LOSSES[loss], solver="gram_newton", **args)
    assert path.success
    theirs = fl.regularization_path(X, y, LOSSES[loss], solver="prox_newton", **args)
    assert (np.abs(path.objectives - theirs.objectives) <= path.duality_gaps + theirs.duality_gaps + 1e-12).all()


def test_a_path_does_not_depend_on_threads(at_several, passes):
    objective = problem("Huber", 9001, 20)
    run = [
        fl.regularization_path(
            objective.X, objective.y, objective.loss, n_alphas=25, solver="gram_newton", n_threads=n_threads
        )
        for n_threads in (1, 2, 8)
    ]
    assert max(passes) == module.AHEAD
    for other in run[1:]:
        assert bits(other.coefs) == bits(run[0].coefs)
        assert bits(other.objectives) == bits(run[0].objectives)
