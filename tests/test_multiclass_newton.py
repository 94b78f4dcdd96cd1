"""Second-order solvers on losses with K outputs a sample: against FISTA, scikit-learn and the laws of the minimum."""

import numpy as np
import pytest
from scipy import sparse

import fastloss as fl
from fastloss._columns import Columns
from fastloss._costs import Costs
from fastloss._multiclass import MulticlassModel

N, P, K = 120, 9, 5  # with an even number of classes there may be many L1 solutions
LAYOUTS = {"C": np.ascontiguousarray, "F": np.asfortranarray, "CSR": sparse.csr_array, "CSC": sparse.csc_array}
LOSSES = {
    "plain": {},
    "smoothed": {"label_smoothing": 0.1},
    "class weights": {"class_weight": [1.0, 2.0, 0.5, 3.0, 1.0]},
    "ignored": {"ignore_index": 2},
}
PENALTIES = {
    "l1": fl.L1(0.01),
    "elastic net": fl.ElasticNet(0.01, 0.02),
    "weights": fl.L1(0.01, weights=np.linspace(0.5, 2, P)),
    "positive": fl.L1(0.01, positive=True),
}
NEWTON = ["prox_newton", "gram_newton"]


def data(seed=0, n=N, p=P, k=K):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * np.exp(rng.normal(size=p)) + rng.normal(size=p)
    X[rng.random((n, p)) < 0.3] = 0
    z = (X - X.mean(axis=0)) / X.std(axis=0) @ rng.normal(size=(p, k)) / 2
    y = (z + rng.gumbel(size=(n, k))).argmax(axis=1)
    return X, y, rng


def objective(X, y, penalty, parameters=None, **options):
    return fl.LinearObjective(
        X, y, fl.CategoricalCrossEntropy(from_logits=True, **(parameters or {})), penalty, **options
    )


def assert_minimal(obj, result, tol=1e-9):
    """The gap is proof enough, and is one of the objective's own, which knows no solver."""
    assert result.success
    assert result.fun == pytest.approx(obj.objective(result.x), rel=1e-12)
    assert -1e-12 <= obj.duality_gap(result.x) <= tol * obj.loss_at_zero


@pytest.mark.parametrize("solver", NEWTON)
@pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES)
@pytest.mark.parametrize("parameters", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("intercept", [True, False])
def test_minimum(solver, penalty, parameters, intercept):
    X, y, rng = data()
    obj = objective(X, y, penalty, parameters, fit_intercept=intercept, sample_weight=rng.integers(0, 3, N) * 0.5)
    assert_minimal(obj, fl.minimize(obj, solver=solver, tol=1e-8), 1e-8)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("standardize", [False, True])
def test_layouts_and_threads(layout, dtype, standardize):
    X, y, rng = data()
    weight = rng.integers(0, 3, N).astype(float)
    expected = fl.minimize(objective(X, y, fl.L1(0.02), sample_weight=weight, standardize=standardize), tol=1e-10)
    X[weight == 0] = np.nan  # must not be looked at
    X = LAYOUTS[layout](X.astype(dtype))
    runs = [
        objective(X, y, fl.L1(0.02), sample_weight=weight, standardize=standardize, n_threads=threads)
        for threads in (1, 3)
    ]
    one, three = (fl.minimize(obj, solver="prox_newton", tol=1e-10 if dtype == np.float64 else 1e-5) for obj in runs)
    if layout.startswith("CS"):  # dense products are BLAS's
        np.testing.assert_array_equal(one.x, three.x)
    assert one.fun == pytest.approx(expected.fun, rel=1e-5 if dtype == np.float32 else 1e-9)
    np.testing.assert_allclose(one.x, expected.x, atol=2e-2 if dtype == np.float32 else 1e-4)


@pytest.mark.parametrize("solver", NEWTON)
def test_two_classes_are_logistic_regression(solver):
    # With L1 the optimal coefficients of two classes may be split in any way: their difference is that of one output.
    X, y, _ = data(k=2)
    two = fl.minimize(objective(X, y, fl.L2(0.02)), solver=solver, tol=1e-10, max_iter=100_000)
    one = fl.minimize(fl.LinearObjective(X, y, fl.BinaryCrossEntropy(from_logits=True), fl.L2(0.01)), tol=1e-10)
    W = two.x.reshape(2, -1)
    np.testing.assert_allclose(W[1] - W[0], one.x, atol=1e-4)
    assert two.fun == pytest.approx(one.fun, rel=1e-9)


def test_as_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    X, y, _ = data()
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    for solver in NEWTON:
        ours = fl.minimize(objective(X, y, fl.L2(1 / (2 * N))), solver=solver, tol=1e-10)
        theirs = linear_model.LogisticRegression(tol=1e-10, max_iter=1000).fit(X, y)
        np.testing.assert_allclose(ours.x.reshape(K, -1)[:, :-1], theirs.coef_, atol=1e-5)
        ours = fl.minimize(objective(X, y, fl.L1(1 / (0.1 * N))), solver=solver, tol=1e-10)
        saga = linear_model.LogisticRegression(solver="saga", l1_ratio=1, C=0.1, tol=1e-8, max_iter=20_000).fit(X, y)
        np.testing.assert_allclose(ours.x.reshape(K, -1)[:, :-1], saga.coef_, atol=1e-4)


def test_soft_labels_and_offset():
    X, _, rng = data()
    labels, offset = rng.dirichlet(np.ones(K), N), rng.normal(size=(N, K))
    obj = objective(X, labels, fl.L1(0.005), offset=offset)
    for solver in NEWTON:
        assert_minimal(obj, fl.minimize(obj, solver=solver, tol=1e-9))


@pytest.mark.parametrize("solver", NEWTON)
def test_classes_that_never_occur(solver):
    X, y, _ = data()
    y[y == 1] = 0
    obj = objective(X, y, fl.L1(0.01), {"class_weight": np.ones(K)})
    result = fl.minimize(obj, solver=solver, tol=1e-7)
    assert_minimal(obj, result, 1e-7)
    assert not obj.coefficients(result.x)[1].any()


@pytest.mark.parametrize("solver", NEWTON)
def test_one_class(solver):
    X, y, _ = data()
    result = fl.minimize(objective(X, np.zeros_like(y), fl.L1(0.01)), solver=solver)
    assert result.success
    assert result.fun == 0


@pytest.mark.parametrize("solver", NEWTON)
def test_free_coefficients_and_no_penalty(solver):
    X, y, _ = data(n=400)
    for penalty in (fl.L1(0.01, weights=np.arange(P) > 2), None):
        obj = objective(X, y, penalty)
        result = fl.minimize(obj, solver=solver, tol=1e-8)
        assert result.success
        gradient = obj.loss_and_gradient(result.x)[1].reshape(K, -1)
        still = slice(None) if penalty is None else [0, 1, 2, P]
        np.testing.assert_allclose(gradient[:, still], 0, atol=1e-6)


@pytest.mark.parametrize("solver", NEWTON)
def test_separable(solver):
    X = np.repeat(np.eye(3), 20, axis=0)
    obj = objective(X, np.repeat([0, 1, 2], 20), fl.L1(1e-4))
    assert_minimal(obj, fl.minimize(obj, solver=solver, tol=1e-7), 1e-7)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scales(scale):
    X, y, _ = data()
    X = (X - X.mean(axis=0)) / X.std(axis=0) * scale
    for solver in NEWTON:
        obj = objective(X, y, fl.L1(0.01 * scale))
        assert_minimal(obj, fl.minimize(obj, solver=solver, tol=1e-7), 1e-7)


def test_strength_of_which_all_are_0():
    X, y, _ = data()
    obj = objective(X, y, fl.L1(1.0))
    for solver in NEWTON:
        above = fl.minimize(obj.with_penalty(fl.L1(1.001 * obj.lambda_max())), solver=solver)
        below = fl.minimize(obj.with_penalty(fl.L1(0.98 * obj.lambda_max())), solver=solver)
        assert not obj.coefficients(above.x).any()
        assert obj.coefficients(below.x).any()


def test_wide():
    X, y, _ = data(n=60, p=800)
    obj = objective(sparse.csc_array(X), y, fl.L1(0.01))
    ours, theirs = fl.minimize(obj, tol=1e-8), fl.minimize(obj, solver="fista", tol=1e-5)
    assert_minimal(obj, ours, 1e-8)
    assert 0 <= theirs.fun - ours.fun <= 1e-5 * obj.loss_at_zero
    # The coefficients need not be unique, the probabilities are.
    first, second = (obj.n_samples * obj.derivatives(obj.predict(x))[1] for x in (ours.x, theirs.x))
    np.testing.assert_allclose(first, second, atol=1e-2)


@pytest.mark.parametrize("layout", ["C", "CSC"])
def test_path(layout):
    X, y, _ = data(n=300)
    loss = fl.CategoricalCrossEntropy(from_logits=True)
    path = fl.regularization_path(LAYOUTS[layout](X), y, loss, n_alphas=8, eps=1e-2, tol=1e-8)
    assert path.success
    for i in (2, 7):
        alone = fl.minimize(objective(X, y, fl.L1(path.alphas[i])), tol=1e-10)
        assert path.objectives[i] == pytest.approx(alone.fun, rel=1e-8)


@pytest.mark.parametrize("layout", ["F", "CSC"])
@pytest.mark.parametrize("intercept", [True, False])
def test_the_model_is_the_second_order_one(layout, intercept):
    """Against dense matrices: value, slope, Hessian, and descent to the minimum."""
    X, _, rng = data()
    p, a = rng.dirichlet(np.ones(K), N).T.copy(), rng.random(N)
    places, classes = np.divmod(np.arange(P * K), K)
    order = np.argsort(classes, kind="stable")
    places, classes = places[order], classes[order]
    columns = np.asfortranarray(X)
    source = sparse.csc_array(X)
    columns = (
        Columns(columns, None, None, N)
        if layout == "F"
        else Columns(source.data, source.indices.astype(np.int32), source.indptr.astype(np.int64), N)
    )
    D = np.array([a[i] * (np.diag(p[:, i]) - np.outer(p[:, i], p[:, i])) for i in range(N)])
    Z = np.zeros((N, K, P * K))
    Z[:, classes, np.arange(P * K)] = X[:, places]
    H = np.einsum("iak,iab,ibl->kl", Z, D, Z)
    t = rng.normal(size=K) * 0.01
    t -= t.mean()
    Q, T = np.einsum("iak,iab->kb", Z, D), np.linalg.pinv(D.sum(axis=0), hermitian=True)
    g, c0 = rng.normal(size=P * K) * 0.01, rng.normal(size=P * K)
    model = MulticlassModel(
        columns,
        places,
        classes,
        p,
        a,
        columns.squares_by(places, classes, a * p * (1 - p)),
        g,
        c0,
        Costs(*(np.full(P * K, x) for x in (0.003, 0.003, 0.01))),
        (t, Q, T) if intercept else None,
    )
    G = H - Q @ T @ Q.T if intercept else H
    slope = g - Q @ T @ t if intercept else g
    np.testing.assert_allclose(model.hessian(np.arange(P * K)), G, atol=1e-12)
    np.testing.assert_allclose(model.curvature, G.diagonal(), atol=1e-12)
    np.testing.assert_allclose(model.profiled_slope, slope, atol=1e-13)
    start = model.objective()
    c = c0 + rng.normal(size=P * K)
    model.move(c)
    np.testing.assert_allclose(model.gradient(2), slope + G @ (c - c0), atol=1e-11)

    def value(c):
        return slope @ (c - c0) + (c - c0) @ G @ (c - c0) / 2 + 0.003 * np.abs(c).sum() + 0.01 * c @ c

    assert model.objective() - start == pytest.approx(value(c) - value(c0), rel=1e-10)
    model.descend(start, 1.0, 1e-12, 1 << 40)
    assert model.finished
    force, c = -(slope + G @ (model.c - c0)), model.c
    np.testing.assert_allclose(model.gradient(), -force, atol=1e-8)
    moving = c != 0
    np.testing.assert_allclose(force[moving], (0.003 * np.sign(c) + 0.02 * c)[moving], atol=1e-6)
    assert np.abs(force[~moving]).max(initial=0) <= 0.003 + 1e-6


def test_the_hessian_of_all_coordinates():
    X, y, rng = data()
    obj = objective(X, y, fl.L1(0.1), {"class_weight": [1, 2, 3, 4.0, 5]}, sample_weight=rng.integers(0, 3, N))
    x = rng.normal(size=obj.size)
    hessian = obj.hessian(x)
    for i in range(0, obj.size, 7):
        step = np.zeros(obj.size)
        step[i] = 1e-5
        change = obj.loss_and_gradient(x + step)[1] - obj.loss_and_gradient(x - step)[1]
        np.testing.assert_allclose(hessian[i], change / 2e-5, atol=1e-8)
    places = np.array([0, P - 1, P + 1, 3 * (P + 1)])
    np.testing.assert_allclose(obj.hessian_diagonal(x, places), hessian.diagonal()[places], rtol=1e-12)
