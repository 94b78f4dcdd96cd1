"""LightGBM with our losses against LightGBM with its own."""

import pickle

import numpy as np
import pytest

import fastloss as fl

lgb = pytest.importorskip("lightgbm", reason="LightGBM is not installed")
from fastloss.interop.lightgbm import metric, objective  # noqa: E402

BINARY = fl.BinaryCrossEntropy(from_logits=True)
CLASSES = fl.CategoricalCrossEntropy(from_logits=True)

rng = np.random.default_rng(0)
X = rng.standard_normal((600, 5))
SIGNAL = X[:, 0] - X[:, 1] * X[:, 2]
LABELS = {
    "binary": (rng.standard_normal(600) + SIGNAL > 0).astype(np.float32),
    "regression": (SIGNAL + 0.3 * rng.standard_normal(600)).astype(np.float32),
    "classes": np.digitize(SIGNAL, [-1, 0.5]).astype(np.float32),
    "counts": rng.poisson(np.exp(SIGNAL / 2)).astype(np.float32),
}
WEIGHTS = rng.random(600) + 0.5
COMMON = {"num_leaves": 8, "verbose": -1, "num_threads": 1, "boost_from_average": False}

# (labels, loss, options of our objective, parameters of both, their metric)
BUILTIN = {
    "binary": ("binary", BINARY, {}, {}, "binary_logloss"),
    "regression": ("regression", fl.SquaredError(), {"scale": 0.5}, {}, "l2"),
    "huber": ("regression", fl.Huber(0.9), {}, {"alpha": 0.9}, "huber"),
    "poisson": ("counts", fl.Poisson(), {}, {}, None),  # theirs is of the mean, not of its logarithm
    "multiclass": ("classes", CLASSES, {}, {"num_class": 3}, "multi_logloss"),
}


def train(labels, weight, parameters, feval=None):
    """Raw scores of the training data, and the curves of the metrics."""
    data, curves = lgb.Dataset(X, LABELS[labels], weight=weight), {}
    booster = lgb.train(
        COMMON | parameters, data, 15, valid_sets=[data], feval=feval, callbacks=[lgb.record_evaluation(curves)]
    )
    return booster.predict(X, raw_score=True), curves["training"]


@pytest.mark.parametrize("weight", [None, WEIGHTS], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("builtin", BUILTIN)
def test_native_training_is_that_of_the_builtin(builtin, weight):
    labels, loss, options, parameters, their_metric = BUILTIN[builtin]
    expected, their_curve = train(labels, weight, {"objective": builtin, **parameters})
    ours = {"objective": objective(loss, **options), "metric": "None", **parameters}
    found, curve = train(labels, weight, ours, metric(loss, "ours"))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    if their_metric is not None:
        np.testing.assert_allclose(curve["ours"], their_curve[their_metric], rtol=1e-6)


@pytest.mark.filterwarnings("ignore:The argument 'eval_set' is deprecated")  # older versions have no other
@pytest.mark.parametrize("weight", [None, WEIGHTS], ids=["unweighted", "weighted"])
@pytest.mark.parametrize(("labels", "loss"), [("binary", BINARY), ("classes", CLASSES)])
def test_classifier_is_that_of_the_builtin(labels, loss, weight):
    options = {**COMMON, "n_estimators": 15}
    y = LABELS[labels].astype(int)
    expected = lgb.LGBMClassifier(**options).fit(X, y, sample_weight=weight)
    model = lgb.LGBMClassifier(objective=objective(loss), **options)
    model.fit(X, y, sample_weight=weight, eval_set=[(X, y)], eval_metric=metric(loss))
    scores = model.predict(X, raw_score=True)
    np.testing.assert_allclose(scores, expected.predict(X, raw_score=True), rtol=1e-6, atol=1e-6)
    assert model.evals_result_["training"][type(loss).__name__][-1] == pytest.approx(loss(y, scores, weight))


def test_regressor_is_that_of_the_builtin():
    options = {**COMMON, "n_estimators": 15}
    y = LABELS["regression"]
    expected = lgb.LGBMRegressor(**options).fit(X, y, sample_weight=WEIGHTS)
    model = lgb.LGBMRegressor(objective=objective(fl.SquaredError(), scale=0.5), **options)
    model.fit(X, y, sample_weight=WEIGHTS)
    np.testing.assert_allclose(model.predict(X), expected.predict(X), rtol=1e-6, atol=1e-6)


def test_metric_beside_a_builtin_objective_sees_probabilities():
    loss = fl.CategoricalCrossEntropy()
    _, curve = train("classes", WEIGHTS, {"objective": "multiclass", "num_class": 3}, metric(loss, "ours"))
    np.testing.assert_allclose(curve["ours"], curve["multi_logloss"], rtol=1e-6)


@pytest.mark.parametrize("loss", [fl.AbsoluteError(), fl.Quantile(0.5)], ids=repr)
def test_losses_without_curvature_are_trained(loss):
    parameters = {"objective": objective(loss), "metric": "None"}
    _, curve = train("regression", WEIGHTS, parameters, metric(fl.AbsoluteError(), "mae"))
    assert curve["mae"][-1] < 0.8 * curve["mae"][0]


def test_losses_of_the_users_own():
    pytest.importorskip("numba", reason="Numba is not installed")

    @fl.custom_loss(many_outputs=True, check=False, cache=False)
    def squares(y, z, gradient):  # of three scores, that of the class to be 1, the others 0
        value = 0.0
        for k in range(len(z)):
            r = z[k] - (1.0 if k == y else 0.0)
            value += 0.5 * r * r
            gradient[k] = r
        return value

    parameters = {"objective": objective(squares), "metric": "None", "num_class": 3}
    found, curve = train("classes", WEIGHTS, parameters, metric(squares))
    # Without a second derivative it is boosted with 1: what it is.
    for k in range(3):
        labels = (LABELS["classes"] == k).astype(float)
        one = lgb.train(COMMON | {"objective": "regression"}, lgb.Dataset(X, labels, weight=WEIGHTS), 15)
        np.testing.assert_allclose(found[:, k], one.predict(X), rtol=1e-5, atol=1e-5)
    assert curve["squares"][-1] < curve["squares"][0]


def test_classes_go_in_blocks():
    y, z = rng.integers(0, 3, 70_000), np.asfortranarray(rng.standard_normal((70_000, 3)))
    weight = rng.random(70_000)
    gradient, hessian = objective(CLASSES)(y, z, weight)
    expected = CLASSES.grad_and_hess(y, z, weight)
    for found, wanted in ((gradient, expected[0]), (hessian, 1.5 * expected[1])):
        assert found.dtype == np.float32
        assert found.flags.f_contiguous  # LightGBM's ravel is a view, and its cast nothing
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
    y[65_000] = 7
    with pytest.raises(ValueError, match="got 7 at index 65000"):
        objective(CLASSES)(y, z, weight)


def test_objectives_and_metrics_can_be_pickled():
    y, z = np.array([0.0, 1.0]), np.array([0.5, 0.5])
    made = objective(BINARY, scale=2.0)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(made))(y, z), made(y, z))
    assert pickle.loads(pickle.dumps(metric(BINARY, "name")))(y, z) == ("name", BINARY(y, z), False)


def test_bad_arguments():
    with pytest.raises(TypeError, match=r"CategoricalCrossEntropy\(from_logits=True\)"):
        objective(fl.CategoricalCrossEntropy())
    with pytest.raises(TypeError, match="loss must be a loss"):
        objective("binary")
    with pytest.raises(ValueError, match=r"y_true must hold numbers in \[0, 1\]"):
        train("classes", None, {"objective": objective(BINARY)})


def test_an_exception_says_for_which_row():
    pytest.importorskip("numba", reason="custom_loss needs Numba")

    def picky(y, z_row, grad_row):
        if z_row[0] > 5:
            raise OverflowError("too large")
        grad_row[:] = z_row
        return 0.5 * (z_row * z_row).sum()

    z = np.asfortranarray(np.zeros((40_000, 3)))
    z[39_000, 0] = 6
    with pytest.raises(OverflowError, match="too large") as caught:
        objective(fl.custom_loss(picky, many_outputs=True, check=False))(np.zeros(40_000), z)
    if hasattr(caught.value, "__notes__"):
        assert "at index (39000, 0)" in caught.value.__notes__[0]
