"""XGBoost with our losses against XGBoost with its own."""

import math
import pickle

import numpy as np
import pytest

import fastloss as fl

xgb = pytest.importorskip("xgboost", reason="XGBoost is not installed")
from fastloss.interop.xgboost import metric, objective  # noqa: E402

BINARY = fl.BinaryCrossEntropy(from_logits=True)
CLASSES = fl.CategoricalCrossEntropy(from_logits=True)

rng = np.random.default_rng(0)
X = rng.standard_normal((600, 5)).astype(np.float32)
SIGNAL = X[:, 0] - X[:, 1] * X[:, 2]
LABELS = {
    "binary": (rng.standard_normal(600) + SIGNAL > 0).astype(np.float32),
    "regression": (SIGNAL + 0.3 * rng.standard_normal(600)).astype(np.float32),
    "classes": np.digitize(SIGNAL, [-1, 0.5]).astype(np.float32),
    "counts": rng.poisson(np.exp(SIGNAL / 2)).astype(np.float32),
}
WEIGHTS = rng.random(600).astype(np.float32) + 0.5

# (labels, loss, options of our objective, parameters of ours, of theirs, their metric, its value of ours)
BUILTIN = {
    "binary:logistic": ("binary", BINARY, {}, {"base_score": 0}, {"base_score": 0.5}, "logloss", lambda v: v),
    "reg:squarederror": (
        "regression",
        fl.SquaredError(),
        {"scale": 0.5},
        {"base_score": 0.5},
        {"base_score": 0.5},
        "rmse",
        math.sqrt,
    ),
    "multi:softprob": (
        "classes",
        CLASSES,
        {},
        {"base_score": 0, "num_class": 3},
        {"base_score": 0, "num_class": 3},
        "mlogloss",
        lambda v: v,
    ),
    "count:poisson": (
        "counts",
        fl.Poisson(),
        {},
        {"base_score": 0, "max_delta_step": 0.7},
        {"base_score": 1},
        None,  # theirs has the constant
        None,
    ),
}


def train(labels, weight, parameters, obj=None, custom_metric=None):
    """Margins of the training data, and the curves of the metrics."""
    data = xgb.DMatrix(X, LABELS[labels], weight=weight)
    curves = {}
    booster = xgb.train(
        {"max_depth": 3, "nthread": 1, **parameters},
        data,
        15,
        obj=obj,
        custom_metric=custom_metric,
        evals=[(data, "train")],
        evals_result=curves,
        verbose_eval=False,
    )
    return booster.predict(data, output_margin=True), curves["train"]


@pytest.mark.parametrize("weight", [None, WEIGHTS], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("builtin", BUILTIN)
def test_native_training_is_that_of_the_builtin(builtin, weight):
    labels, loss, options, parameters, theirs, their_metric, as_theirs = BUILTIN[builtin]
    expected, their_curve = train(labels, weight, {"objective": builtin, **theirs})
    found, curve = train(labels, weight, parameters, objective(loss, **options), metric(loss, "ours"))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    if their_metric is not None:
        np.testing.assert_allclose([as_theirs(v) for v in curve["ours"]], their_curve[their_metric], rtol=1e-4)


@pytest.mark.parametrize("weight", [None, WEIGHTS], ids=["unweighted", "weighted"])
@pytest.mark.parametrize(("labels", "loss"), [("binary", BINARY), ("classes", CLASSES)])
def test_classifier_is_that_of_the_builtin(labels, loss, weight):
    options = {"n_estimators": 15, "max_depth": 3, "n_jobs": 1, "base_score": 0.5}
    y = LABELS[labels].astype(int)
    expected = xgb.XGBClassifier(**options).fit(X, y, sample_weight=weight)
    model = xgb.XGBClassifier(objective=objective(loss), eval_metric=metric(loss), **options)
    model.fit(X, y, sample_weight=weight, eval_set=[(X, y)], verbose=False)
    np.testing.assert_allclose(
        model.predict(X, output_margin=True), expected.predict(X, output_margin=True), rtol=1e-5, atol=1e-5
    )
    curve = model.evals_result()["validation_0"][type(loss).__name__]
    assert curve[-1] == pytest.approx(loss(y, model.predict(X, output_margin=True)), rel=1e-5)


def test_regressor_is_that_of_the_builtin():
    options = {"n_estimators": 15, "max_depth": 3, "n_jobs": 1, "base_score": 0.5}
    y = LABELS["regression"]
    expected = xgb.XGBRegressor(**options).fit(X, y, sample_weight=WEIGHTS)
    model = xgb.XGBRegressor(objective=objective(fl.SquaredError(), scale=0.5), **options)
    model.fit(X, y, sample_weight=WEIGHTS)
    np.testing.assert_allclose(model.predict(X), expected.predict(X), rtol=1e-5, atol=1e-5)


def test_metric_beside_a_builtin_objective_sees_probabilities():
    loss = fl.BinaryCrossEntropy()
    _, curve = train("binary", None, {"objective": "binary:logistic"}, custom_metric=metric(loss, "ours"))
    np.testing.assert_allclose(curve["ours"], curve["logloss"], rtol=1e-4)


@pytest.mark.parametrize("loss", [fl.AbsoluteError(), fl.Quantile(0.5), fl.Huber(0.3)], ids=repr)
def test_losses_without_curvature_are_trained(loss):
    with_error = metric(fl.AbsoluteError(), "mae")
    _, curve = train("regression", WEIGHTS, {"base_score": 0, "lambda": 0}, objective(loss), with_error)
    assert curve["mae"][-1] < 0.7 * curve["mae"][0]


def test_second_derivatives_of_losses_without_curvature_are_the_weights():
    y, z, w = np.array([0.0, 1.0, 5.0]), np.array([0.0, 0.0, 0.0]), np.array([1.0, 2.0, 0.5])
    assert objective(fl.AbsoluteError(), scale=3)(y, z, w)[1].tolist() == [3, 6, 1.5]
    assert objective(fl.Huber(2.0))(y, z)[1].tolist() == [1, 1, 1]
    assert objective(fl.SquaredError())(y, z, w)[1].tolist() == [2, 4, 1]


def test_several_targets():
    loss, targets = fl.SquaredError(), np.stack([SIGNAL, X[:, 0]], axis=1)
    options = {"n_estimators": 5, "max_depth": 3, "n_jobs": 1, "base_score": 0.5}
    expected = xgb.XGBRegressor(**options).fit(X, targets, sample_weight=WEIGHTS)
    model = xgb.XGBRegressor(objective=objective(loss, scale=0.5), **options).fit(X, targets, sample_weight=WEIGHTS)
    np.testing.assert_allclose(model.predict(X), expected.predict(X), rtol=1e-5, atol=1e-5)


def test_losses_of_the_users_own():
    pytest.importorskip("numba", reason="Numba is not installed")

    @fl.custom_loss(check=False, cache=False)
    def square(y, z):
        return (y - z) ** 2, 2 * (z - y), 2.0

    parameters = {"base_score": 0}
    found, curve = train("regression", WEIGHTS, parameters, objective(square), metric(square))
    expected, _ = train("regression", WEIGHTS, parameters, objective(fl.SquaredError()))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert set(curve) == {"rmse", "square"}


def test_factors():
    y, z = np.array([0, 2]), np.zeros((2, 3), np.float32)
    gradient, hessian = objective(CLASSES)(y, z)
    exact = objective(CLASSES, hessian_factor=1.0, scale=10)(y, z)
    assert gradient.dtype == hessian.dtype == np.float32
    np.testing.assert_allclose(exact[0], 10 * gradient)
    np.testing.assert_allclose(exact[1], 5 * hessian)
    np.testing.assert_allclose(hessian, 2 * 2 / 9, rtol=1e-6)


def test_objectives_and_metrics_can_be_pickled():
    y, z = np.array([0.0, 1.0]), np.array([0.5, 0.5])
    for made in (objective(BINARY, scale=2.0), metric(BINARY, "name")):
        again = pickle.loads(pickle.dumps(made))
        np.testing.assert_array_equal(again(y, z), made(y, z))
        assert repr(again) == repr(made)


def test_bad_arguments():
    with pytest.raises(TypeError, match=r"BinaryCrossEntropy\(from_logits=True\)"):
        objective(fl.BinaryCrossEntropy())
    with pytest.raises(TypeError, match="loss must be a loss"):
        objective("binary:logistic")
    with pytest.raises(TypeError, match="loss must be a loss"):
        metric(fl.mse)
    with pytest.raises(ValueError, match="scale must be in"):
        objective(BINARY, scale=0)
    with pytest.raises(ValueError, match="hessian_factor must be in"):
        objective(BINARY, hessian_factor=-1)
    with pytest.raises(ValueError, match=r"y_true must hold numbers in \[0, 1\]"):
        train("classes", None, {}, objective(BINARY))
