"""Objectives inside scipy.optimize, and arrays of other libraries by DLPack."""

import numpy as np
import pytest
from scipy import optimize, sparse

import fastloss as fl

LOSSES = {
    "logistic": fl.BinaryCrossEntropy(from_logits=True),
    "huber": fl.Huber(0.7),
    "squared": fl.SquaredError(),
    "poisson": fl.Poisson(),
    "softmax": fl.CategoricalCrossEntropy(from_logits=True),
}
LAYOUTS = {"C": np.ascontiguousarray, "F": np.asfortranarray, "csr": sparse.csr_array, "csc": sparse.csc_array}


@pytest.fixture(params=LOSSES)
def loss(request):
    return LOSSES[request.param]


@pytest.fixture(params=LAYOUTS)
def make(request):
    """The objective of a loss, over every layout of X."""
    rng = np.random.default_rng(0)
    X, weight = rng.standard_normal((200, 6)), rng.integers(0, 3, 200)
    X[rng.random(X.shape) < 0.3] = 0

    def make(loss, penalty=None, **settings):
        labels = rng.integers(0, 3 if loss.many_outputs else 2, 200)
        return fl.LinearObjective(LAYOUTS[request.param](X), labels, loss, penalty, sample_weight=weight, **settings)

    return make


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_hessp_is_the_slope_of_the_gradient(loss, make, fit_intercept):
    rng = np.random.default_rng(1)
    k = 3 if loss.many_outputs else 1
    offset = rng.standard_normal((200, 3) if k > 1 else 200)
    objective = make(loss, fl.ElasticNet(0.1, 0.05), fit_intercept=fit_intercept, offset=offset)
    w, direction = 0.3 * rng.standard_normal((2, objective.size))
    h = 1e-5
    slope = (objective.value_and_grad(w + h * direction)[1] - objective.value_and_grad(w - h * direction)[1]) / (2 * h)
    np.testing.assert_allclose(objective.hessp(w, direction), slope, atol=1e-5, rtol=1e-4)


def test_hessp_of_a_point_that_does_not_fit(make, loss):
    objective = make(loss)
    with pytest.raises(ValueError, match="must be of shape"):
        objective.hessp(np.zeros(objective.size), np.zeros(2))


@pytest.mark.parametrize("method", ["L-BFGS-B", "trust-ncg", "Newton-CG", "trust-krylov"])
def test_methods_of_scipy_find_the_minimum(loss, make, method):
    objective = make(loss, fl.L2(0.01))
    hessian = {} if method == "L-BFGS-B" else {"hessp": objective.hessp}
    result = optimize.minimize(objective.value_and_grad, np.zeros(objective.size), jac=True, method=method, **hessian)
    assert result.fun == pytest.approx(fl.minimize(objective, tol=1e-10).fun, rel=1e-6)


def test_bounds_are_non_negativity(make):
    objective = make(LOSSES["logistic"], fl.L2(0.01))
    bounds = [(0, None)] * (objective.size - 1) + [(None, None)]
    result = optimize.minimize(
        objective.value_and_grad, np.zeros(objective.size), jac=True, method="L-BFGS-B", bounds=bounds
    )
    positive = fl.minimize(objective.with_penalty(fl.L2(0.01, positive=True)), tol=1e-10)
    assert result.fun == pytest.approx(positive.fun, rel=1e-6)
    np.testing.assert_allclose(result.x, positive.x, atol=1e-3)


class Elsewhere:
    """An array of a library that NumPy knows by DLPack alone."""

    def __init__(self, array, device=(1, 0)):
        self.array, self.device = array, device

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.device


def test_arrays_of_other_libraries_are_taken_as_they_are(dtype):
    y, z = np.random.default_rng(0).standard_normal((2, 1000)).astype(dtype)
    value, gradient = fl.SquaredError().value_and_grad(Elsewhere(y), Elsewhere(z))
    expected = fl.SquaredError().value_and_grad(y, z)
    assert value == expected[0]
    np.testing.assert_array_equal(gradient, expected[1])
    assert gradient.dtype == dtype


def test_a_matrix_of_another_library_is_not_copied(dtype):
    y, X = np.random.default_rng(0).standard_normal(100), np.random.default_rng(1).standard_normal((100, 10), dtype)
    for order in "CF":
        X = np.asarray(X, order=order)
        objective = fl.LinearObjective(Elsewhere(X), Elsewhere(y), fl.SquaredError(), fl.L1(0.1))
        assert np.shares_memory(objective.X, X)
        expected = fl.minimize(fl.LinearObjective(X, y, fl.SquaredError(), fl.L1(0.1)))
        np.testing.assert_array_equal(fl.minimize(objective).x, expected.x)
    with pytest.raises(TypeError, match=r"X must be on the CPU, got a Elsewhere on DLPack device \(2, 0\)"):
        fl.LinearObjective(Elsewhere(X, (2, 0)), y, fl.SquaredError())


def test_arrays_of_jax():
    jnp = pytest.importorskip("jax.numpy", reason="JAX is not installed")
    rng = np.random.default_rng(0)
    X, z = rng.standard_normal((100, 5), np.float32), rng.standard_normal(100, np.float32)
    y = (z > 0).astype(np.float32)
    loss = fl.BinaryCrossEntropy(from_logits=True)
    value, gradient = loss.value_and_grad(jnp.asarray(y), jnp.asarray(z))
    expected = loss.value_and_grad(y, z)
    assert (value, gradient.dtype) == (expected[0], np.float32)
    np.testing.assert_array_equal(gradient, expected[1])
    with pytest.raises(TypeError, match="out must be a numpy array"):
        loss.value_and_grad(y, z, out=jnp.asarray(z))
    ours = fl.minimize(fl.LinearObjective(X, y, loss, fl.L1(0.01)))
    theirs = fl.minimize(fl.LinearObjective(jnp.asarray(X), jnp.asarray(y), loss, fl.L1(0.01)))
    np.testing.assert_array_equal(theirs.x, ours.x)


@pytest.mark.parametrize("argument", ["y_true", "y_pred", "sample_weight"])
def test_arrays_that_are_not_on_the_cpu_are_refused(argument):
    arrays = {name: np.ones(3) for name in ("y_true", "y_pred", "sample_weight")}
    arrays[argument] = Elsewhere(np.ones(3), (2, 0))
    with pytest.raises(TypeError, match=rf"{argument} must be on the CPU, got a Elsewhere on DLPack device \(2, 0\)"):
        fl.SquaredError()(**arrays)
