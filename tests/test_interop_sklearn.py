"""Losses with scikit-learn's private interface against scikit-learn's own."""

import pickle

import numpy as np
import pytest

import fastloss as fl

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
from scipy.optimize import minimize
from sklearn._loss import loss as theirs
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model._linear_loss import LinearModelLoss

from fastloss.interop.sklearn import sklearn_loss

BINARY = fl.BinaryCrossEntropy(from_logits=True)
CLASSES = fl.CategoricalCrossEntropy(from_logits=True)

rng = np.random.default_rng(0)
N = 400
Z = 2 * rng.standard_normal(N)
ROWS = 2 * rng.standard_normal((N, 3))
WEIGHTS = rng.random(N) + 0.5
X = rng.standard_normal((N, 4))
SIGNAL = X[:, 0] - X[:, 1] * X[:, 2]
NOISE = rng.standard_normal(N)

# (ours, theirs, labels, predictions, ours / theirs)
PAIRS = {
    "binary": (sklearn_loss(BINARY), theirs.HalfBinomialLoss(), rng.integers(0, 2, N), Z, 1),
    "classes": (sklearn_loss(CLASSES, 3), theirs.HalfMultinomialLoss(n_classes=3), rng.integers(0, 3, N), ROWS, 1),
    "squared": (sklearn_loss(fl.SquaredError()), theirs.HalfSquaredError(), NOISE, Z, 2),
    "absolute": (sklearn_loss(fl.AbsoluteError()), theirs.AbsoluteError(), NOISE, Z, 1),
    "quantile": (sklearn_loss(fl.Quantile(0.3)), theirs.PinballLoss(quantile=0.3), NOISE, Z, 1),
    "huber": (sklearn_loss(fl.Huber(0.7)), theirs.HuberLoss(delta=0.7), NOISE, Z, 1),
    "poisson": (sklearn_loss(fl.Poisson()), theirs.HalfPoissonLoss(), rng.poisson(1.0, N), Z, 1),
}


@pytest.fixture
def one_thread():
    """Beside other processes scikit-learn's threads wait for each other, longer than they work."""
    threadpoolctl = pytest.importorskip("threadpoolctl", reason="threadpoolctl is not installed")
    with threadpoolctl.threadpool_limits(1):
        yield


@pytest.fixture(params=PAIRS)
def pair(request):
    return PAIRS[request.param]


@pytest.mark.parametrize("weight", [None, WEIGHTS], ids=["unweighted", "weighted"])
def test_methods_agree(pair, weight, dtype):
    ours, expected, y, z, factor = pair
    y, z = y.astype(dtype), z.astype(dtype)
    weight = None if weight is None else weight.astype(dtype)
    rtol = 1e-4 if dtype == np.float32 else 1e-9

    def check(found, wanted):
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, factor * wanted, rtol=rtol, atol=rtol * 1e-2)

    check(ours.loss(y, z, weight), expected.loss(y, z, weight))
    for found, wanted in zip(
        ours.loss_gradient(y, z, weight), expected.loss_gradient(y, z, weight, n_threads=2), strict=True
    ):
        check(found, wanted)
    check(ours.gradient(y, z, weight, n_threads=2), expected.gradient(y, z, weight))
    gradient, hessian = ours.gradient_hessian(y, z, weight)
    wanted = expected.gradient_hessian(y, z, weight)
    check(gradient, wanted[0])
    if isinstance(expected, theirs.HuberLoss):  # theirs is 0 where it is linear
        wanted[1][wanted[1] == 0] = 1 if weight is None else weight[wanted[1] == 0]
    if not expected.constant_hessian:  # theirs leaves those as they are
        check(hessian, wanted[1])
    assert ours(y, z, weight) == pytest.approx(factor * expected(y, z, weight), rel=rtol)


@pytest.mark.parametrize("out_dtype", [np.float32, np.float64])
def test_results_go_where_they_are_asked_for(pair, out_dtype):
    ours, _, y, z, _ = pair
    y = y.astype(float)
    value, gradient, hessian = np.empty(N, out_dtype), np.empty_like(z, out_dtype), np.empty_like(z, out_dtype)
    assert ours.loss(y, z, loss_out=value) is value
    np.testing.assert_allclose(value, ours.loss(y, z), rtol=1e-6)
    found = ours.loss_gradient(y, z, loss_out=value, gradient_out=gradient)
    assert found[0] is value
    assert found[1] is gradient
    np.testing.assert_allclose(gradient, ours.gradient(y, z), rtol=1e-6)
    found = ours.gradient_hessian(y, z, None, gradient, hessian)
    assert found[0] is gradient
    assert found[1] is hessian
    np.testing.assert_allclose(hessian, ours.gradient_hessian(y, z)[1], rtol=1e-6)


def test_a_column_is_taken_as_a_vector():
    loss, _, y, z, _ = PAIRS["binary"]
    column, out = z[:, None], np.empty((N, 1))
    np.testing.assert_array_equal(loss.loss(y, column), loss.loss(y, z))
    assert loss.gradient(y, column, gradient_out=out) is out
    np.testing.assert_array_equal(out[:, 0], loss.gradient(y, z))


def test_gradient_proba():
    ours, expected, y, z, _ = PAIRS["classes"]
    for found, wanted in zip(
        ours.gradient_proba(y.astype(float), z, WEIGHTS),
        expected.gradient_proba(y.astype(float), z, WEIGHTS),
        strict=True,
    ):
        np.testing.assert_allclose(found, wanted, atol=1e-12)


@pytest.mark.parametrize("which", ["binary", "classes"])
def test_linear_model_loss(which):
    ours, expected, y, _, _ = PAIRS[which]
    y = y.astype(float)
    shape = (5,) if which == "binary" else (3, 5)
    objectives = [LinearModelLoss(loss, fit_intercept=True) for loss in (ours, expected)]
    w = rng.standard_normal(shape)
    for method in ("loss", "loss_gradient", "gradient", "gradient_hessian"):
        found, wanted = (
            getattr(one, method)(np.asfortranarray(w), X, y, sample_weight=WEIGHTS, l2_reg_strength=0.1)
            for one in objectives
        )
        if not isinstance(wanted, tuple):
            found, wanted = (found,), (wanted,)
        for a, b in zip(found[:2], wanted[:2], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_logistic_regression_by_linear_model_loss():
    y = (SIGNAL + NOISE > 0).astype(float)
    objective = LinearModelLoss(sklearn_loss(BINARY), fit_intercept=True)
    found = minimize(
        objective.loss_gradient,
        np.zeros(5),
        args=(X, y, None, 1 / N),
        jac=True,
        method="L-BFGS-B",
        options={"gtol": 1e-9, "ftol": 1e-14},
    )
    model = LogisticRegression(C=1.0, tol=1e-10, solver="newton-cholesky").fit(X, y)
    np.testing.assert_allclose(found.x, [*model.coef_[0], *model.intercept_], rtol=1e-4, atol=1e-6)


def test_boosting_is_that_of_the_builtin(one_thread):
    options = {"max_iter": 10, "early_stopping": False}
    y = np.digitize(SIGNAL + 0.5 * NOISE, [-1, 1])
    for labels, loss in ((y > 0, BINARY), (y, CLASSES)):
        expected = HistGradientBoostingClassifier(**options).fit(X, labels)
        model = HistGradientBoostingClassifier(loss=sklearn_loss(loss, 3), **options).fit(X, labels)
        np.testing.assert_allclose(model.predict_proba(X), expected.predict_proba(X), rtol=1e-5)
    counts = np.round(np.exp(SIGNAL / 2))
    for name, labels, loss in (
        ("poisson", counts, fl.Poisson()),
        ("absolute_error", SIGNAL, fl.AbsoluteError()),
        ("quantile", SIGNAL, fl.Quantile(0.3)),
    ):
        extra = {"quantile": 0.3} if name == "quantile" else {}
        expected = HistGradientBoostingRegressor(loss=name, **extra, **options).fit(X, labels)
        model = HistGradientBoostingRegressor(loss=sklearn_loss(loss), **options).fit(X, labels)
        errors = [np.abs(one.predict(X) - labels).mean() for one in (model, expected)]
        assert errors[0] == pytest.approx(errors[1], rel=0.05)


def test_starts_of_boosting(pair):
    ours, expected, y, _, _ = pair
    for weight in (None, WEIGHTS):
        y = y.astype(float)
        # Medians of theirs are interpolated, and Huber's goes a step further.
        rtol = 0.2 if isinstance(expected, theirs.HuberLoss) else 0.05 if ours.wrapped.smooth is False else 1e-12
        np.testing.assert_allclose(
            ours.fit_intercept_only(y, weight), expected.fit_intercept_only(y, weight), rtol=rtol, atol=rtol
        )


def test_losses_can_be_pickled():
    loss, _, y, z, _ = PAIRS["classes"]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(loss)).loss(y, z), loss.loss(y, z))


def test_bad_arguments():
    with pytest.raises(TypeError, match=r"BinaryCrossEntropy\(from_logits=True\)"):
        sklearn_loss(fl.BinaryCrossEntropy())
    with pytest.raises(TypeError, match="n_classes must be given"):
        sklearn_loss(CLASSES)
    with pytest.raises(TypeError, match="loss must be a loss"):
        sklearn_loss("log_loss")
