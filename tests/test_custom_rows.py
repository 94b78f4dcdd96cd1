"""Losses of the user's own over rows of predictions obey the laws that need no second derivative."""

import numpy as np
import pytest
import scipy.sparse as sp
from custom_losses import CUSTOM_CASES, softmax, softmax_of_rows
from test_laws import (  # noqa: F401
    test_gradient_is_the_slope_of_the_value,
    test_integer_weights_are_repetitions,
    test_reductions_agree,
    test_value_is_that_of_numpy,
)

import fastloss as fl

pytest.importorskip("numba", reason="custom_loss needs Numba")

CROSS_ENTROPY = fl.CategoricalCrossEntropy(from_logits=True)


@pytest.fixture(params=[case for case in CUSTOM_CASES if case.outputs], ids=str)
def case(request):
    return request.param


@pytest.mark.parametrize("n", [10, 30_000])
def test_the_gradient_may_take_the_place_of_the_predictions(case, dtype, n):
    y, z = case.sample(n, dtype)
    loss = case.make()
    value, gradient = loss.value_and_grad(y, z)
    for n_threads in (1, 2):
        out = z.copy()
        assert loss.value_and_grad(y, out, out=out, n_threads=n_threads)[0] == pytest.approx(value, rel=1e-12)
        np.testing.assert_array_equal(out, gradient)


def make(function):
    return fl.custom_loss(function, many_outputs=True, row_labels=function is softmax_of_rows)


LAYOUTS = {"C": np.ascontiguousarray, "F": np.asfortranarray, "csr": sp.csr_array, "csc": sp.csc_array}


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    X, W = rng.standard_normal((200, 5)), rng.standard_normal((3, 5))
    return X, (X @ W.T + rng.gumbel(size=(200, 3))).argmax(axis=1).astype(float), rng.integers(0, 3, 200).astype(float)


@pytest.mark.parametrize("function", [softmax, softmax_of_rows])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_linear_objective_is_that_of_the_built_in_loss(function, layout, problem, dtype):
    X, y, weight = problem
    X = LAYOUTS[layout](X.astype(dtype))
    labels = np.eye(3)[y.astype(int)] if function is softmax_of_rows else y
    ours, built_in = (
        fl.LinearObjective(X, labels, loss, fl.ElasticNet(0.01, 0.001), sample_weight=weight)
        for loss in (make(function), CROSS_ENTROPY)
    )
    w = np.random.default_rng(1).standard_normal(ours.size)
    accuracy = {"rtol": 1e-12, "atol": 1e-13} if dtype == np.float64 else {"rtol": 1e-5, "atol": 1e-6}
    for a, b in zip(ours.value_and_grad(w), built_in.value_and_grad(w), strict=True):
        np.testing.assert_allclose(a, b, **accuracy)
    if dtype == np.float64:
        np.testing.assert_allclose(fl.minimize(ours, tol=1e-9).fun, fl.minimize(built_in, tol=1e-9).fun, rtol=1e-9)


def test_the_number_of_outputs_may_be_more_than_the_labels_say(problem):
    X, y, _ = problem
    objective = fl.LinearObjective(X, y, make(softmax), n_outputs=4)
    assert objective.n_outputs == 4
    assert np.isfinite(objective.value(np.zeros(objective.size)))


@pytest.mark.parametrize(("wrong", "message"), [(0, "positive integer"), (1.5, "positive integer"), (True, "positive")])
def test_a_wrong_number_of_outputs(wrong, message, problem):
    X, y, _ = problem
    with pytest.raises(ValueError, match=message):
        fl.LinearObjective(X, y, CROSS_ENTROPY, n_outputs=wrong)


def test_a_number_of_outputs_that_contradicts(problem):
    X, y, _ = problem
    with pytest.raises(ValueError, match="n_outputs must be 3"):
        fl.LinearObjective(X, np.eye(3)[y.astype(int)], CROSS_ENTROPY, n_outputs=4)
    with pytest.raises(ValueError, match="n_outputs must be 1"):
        fl.LinearObjective(X, y, fl.SquaredError(), n_outputs=2)


def test_an_index_outside_a_row_is_an_error(problem):
    X, y, _ = problem
    with pytest.raises(IndexError) as caught:
        make(softmax).value_and_grad(y, X[:, :2])
    assert "softmax" in str(getattr(caught.value, "__notes__", "softmax"))
    with pytest.raises(IndexError):
        fl.LinearObjective(X, y, make(softmax), n_outputs=2).value_and_grad(np.ones(12))


def test_what_needs_second_derivatives_says_so(problem):
    X, y, _ = problem
    objective = fl.LinearObjective(X, y, make(softmax), fl.L1(0.1))
    with pytest.raises(TypeError, match="no second derivative"):
        make(softmax).grad_and_hess(y, X)
    for solver in ("prox_newton", "gram_newton", "lbfgs"):
        with pytest.raises(TypeError, match="fista"):
            fl.minimize(objective, solver=solver)
    for method in (objective.lambda_max, lambda: objective.hessp(np.zeros(18), np.zeros(18))):
        with pytest.raises(TypeError, match="softmax"):
            method()


def test_labels_of_the_other_kind_are_refused(problem):
    X, y, _ = problem
    with pytest.raises(ValueError, match=r"y_true must have one label for each row"):
        make(softmax)(X, X)
    with pytest.raises(ValueError, match=r"y_true must have a row for each"):
        make(softmax_of_rows)(y, X)


def test_a_wrong_gradient_is_found():
    def wrong(y, z, gradient):
        gradient[:] = 1
        return (z * z).sum()

    with pytest.raises(ValueError, match="finite difference"):
        fl.custom_loss(wrong, many_outputs=True)
