"""L-BFGS: the minimum of smooth objectives, whatever the number of outputs and the layout of X."""

import numpy as np
import pytest
from scipy import sparse

import fastloss as fl

N, P = 150, 7
LOSSES = {
    "squared": fl.SquaredError(),
    "Huber": fl.Huber(),
    "logistic": fl.BinaryCrossEntropy(from_logits=True),
    "Poisson": fl.Poisson(),
    "classes": fl.CategoricalCrossEntropy(from_logits=True),
}
LAYOUTS = {"C": np.ascontiguousarray, "F": np.asfortranarray, "CSR": sparse.csr_array, "CSC": sparse.csc_array}


def data(loss):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, P)) * np.geomspace(0.2, 5, P) + 1
    X[rng.random((N, P)) < 0.3] = 0
    z = (X - X.mean(axis=0)) / X.std(axis=0) @ rng.normal(size=P) / 2 + 0.5 * rng.normal(size=N)
    labels = {
        "logistic": z > 0,
        "Poisson": rng.poisson(np.exp(np.clip(z, -3, 3))),
        "classes": np.digitize(z, [-1, 0, 1]),
    }
    return X, labels.get(loss, z), rng.integers(0, 3, N)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("loss", LOSSES)
def test_minimum(loss, intercept, layout):
    X, y, weight = data(loss)
    X = LAYOUTS[layout](X)
    obj = fl.LinearObjective(X, y, LOSSES[loss], fl.L2(0.01), sample_weight=weight, fit_intercept=intercept)
    result = fl.minimize(obj, solver="lbfgs", tol=1e-9)
    assert result.success
    assert -1e-13 <= obj.duality_gap(result.x) <= 1e-9 * obj.loss_at_zero
    other = fl.minimize(obj, solver="prox_newton", tol=1e-11)
    np.testing.assert_allclose(result.x, other.x, atol=2e-3)
    assert result.fun == pytest.approx(other.fun, abs=1e-9)


def test_no_penalty_and_float32():
    X, y, _ = data("logistic")
    obj = fl.LinearObjective(X.astype(np.float32), y, LOSSES["logistic"])
    result = fl.minimize(obj, solver="lbfgs", tol=1e-4)
    assert result.success
    assert np.isnan(result.duality_gap)
    assert np.abs(obj.value_and_grad(result.x)[1]).max() < 1e-3


def test_each_step_goes_down_and_the_preconditioner_saves_steps():
    X, y, _ = data("classes")
    dense = fl.LinearObjective(X, y, LOSSES["classes"], fl.L2(1e-4))
    runs = [
        fl.minimize(obj, solver="lbfgs", tol=1e-8)
        for obj in (dense, fl.LinearObjective(sparse.csr_array(X), y, LOSSES["classes"], fl.L2(1e-4)))
    ]
    assert 2 * runs[0].nit < runs[1].nit  # a sparse X has none
    for run in runs:
        assert (np.diff(run.history["objective"]) <= 1e-14).all()


def test_what_changes_no_probability_stays_out():
    X, y, _ = data("classes")
    result = fl.minimize(fl.LinearObjective(X, y, LOSSES["classes"], fl.L2(1e-3)), solver="lbfgs", tol=1e-9)
    np.testing.assert_allclose(result.x.reshape(4, -1).sum(axis=0), 0, atol=1e-6)


@pytest.mark.parametrize("penalty", [fl.L1(0.1), fl.ElasticNet(0.1, 0.1), fl.L2(0.1, positive=True)], ids=repr)
def test_penalties_that_it_cannot_handle(penalty):
    X, y, _ = data("logistic")
    with pytest.raises(TypeError, match=r"lbfgs needs a penalty without L1 and sign.*prox_newton"):
        fl.minimize(fl.LinearObjective(X, y, LOSSES["logistic"], penalty), solver="lbfgs")


def test_it_says_so_where_it_stops_early():
    X, y, _ = data("classes")
    obj = fl.LinearObjective(X, y, LOSSES["classes"], fl.L2(1e-4))
    with pytest.warns(fl.ConvergenceWarning, match="stopped after 3 iterations"):
        assert not fl.minimize(obj, solver="lbfgs", max_iter=3).success

    def stop(result):
        if result.nit == 2:
            raise StopIteration

    with pytest.warns(fl.ConvergenceWarning, match="callback"):
        assert fl.minimize(obj, solver="lbfgs", callback=stop).nit == 2
