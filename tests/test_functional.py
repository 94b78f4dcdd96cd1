"""The losses as functions: each is the mean of the class that its docstring points to, with the same parameters."""

import inspect
import re

import numpy as np
import pytest
from reference import CASES

import fastloss as fl
from fastloss import functional

metrics = pytest.importorskip("sklearn.metrics")


def class_of(function):
    return re.search(r"See `fastloss\.(\w+)`", function.__doc__)[1]


@pytest.fixture(params=functional.__all__)
def function(request):
    return getattr(functional, request.param)


def test_is_public(function):
    assert getattr(fl, function.__name__) is function


def test_has_the_parameters_of_its_class(function):
    arguments = list(inspect.signature(function).parameters.values())
    assert [p.name for p in arguments[:3]] == ["y_true", "y_pred", "sample_weight"]
    assert arguments[2].default is None
    of_class = inspect.signature(getattr(fl, class_of(function))).parameters.values()
    assert [(p.name, p.default) for p in arguments[3:]] == [(p.name, p.default) for p in of_class]


def test_is_the_mean_of_its_class(function, dtype, weighted):
    cases = [case for case in CASES if case.name == class_of(function)]
    assert cases
    for case in cases:
        y, z = case.sample(100, dtype)
        w = np.arange(100, dtype=dtype) if weighted else None
        expected = case.make()(y, z, w)
        got = function(y, z, w, **case.parameters)
        assert isinstance(got, float)
        assert got == (np.sqrt(expected) if function is fl.rmse else expected)


@pytest.mark.parametrize(
    ("function", "metric", "parameters"),
    [
        (fl.mse, metrics.mean_squared_error, {}),
        (fl.rmse, metrics.root_mean_squared_error, {}),
        (fl.mae, metrics.mean_absolute_error, {}),
        (fl.quantile_loss, metrics.mean_pinball_loss, {"q": 0.9}),
        (fl.binary_cross_entropy, metrics.log_loss, {}),
    ],
)
def test_agrees_with_scikit_learn(function, metric, parameters, weighted):
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 2, 200), rng.uniform(0.01, 0.99, 200)
    w = rng.random(200) if weighted else None
    theirs = {{"q": "alpha"}[name]: value for name, value in parameters.items()}
    assert function(y, p, w, **parameters) == pytest.approx(metric(y, p, sample_weight=w, **theirs), rel=1e-13)


def test_categorical_cross_entropy_agrees_with_scikit_learn(weighted):
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 5, 200), rng.dirichlet(np.ones(5), 200)
    w = rng.random(200) if weighted else None
    expected = metrics.log_loss(y, p, sample_weight=w, labels=range(5))
    assert fl.categorical_cross_entropy(y, p, w) == pytest.approx(expected, rel=1e-13)


def test_errors_name_the_parameter():
    with pytest.raises(ValueError, match="delta"):
        fl.huber([1], [1], delta=0)
    with pytest.raises(ValueError, match="y_true"):
        fl.rmse([1], [[1]])
