"""The pass over a dense X for many outputs: any shape, beyond every size at which it changes what it does."""

import numpy as np
import pytest

import fastloss as fl
from fastloss import _outputs
from fastloss._many_outputs import ManyOutputs

# Rows, columns, outputs: one register and less, whole tiles and a few more, a panel of 24 or 48 outputs and its rest,
# more columns than are multiplied at a time, more rows than a block has; so few outputs that X is read where it is.
SHAPES = [
    (1, 1, 2),
    (7, 3, 2),
    (64, 24, 24),
    (65, 49, 25),
    (300, 130, 49),
    (40, 1100, 3),
    (3000, 5, 60),
    (1700, 300, 11),
    (1700, 50, 8),
]


def draw(shape, dtype, seed=0):
    n, p, k = shape
    rng = np.random.default_rng(seed)
    X = np.ascontiguousarray(rng.standard_normal((n, p + 3)), dtype)[:, 1 : p + 1]  # rows are further apart than long
    return X, rng.integers(0, k, n), rng.standard_normal(k * (p + 1)) / np.sqrt(p), rng


def by_numpy(X, y, w, weight, offset):
    n, p = X.shape
    W = w.reshape(-1, p + 1)
    z = X.astype(np.float64) @ W[:, :-1].T + W[:, -1] + (0 if offset is None else offset)
    z -= z.max(axis=1, keepdims=True)
    q = np.exp(z)
    q /= q.sum(axis=1, keepdims=True)
    a = np.eye(W.shape[0])[y] if y.ndim == 1 else y
    s = (np.ones(n) if weight is None else weight)[:, None]
    value = -(s * a * np.log(q)).sum() / s.sum()
    r = s * (q - a) / s.sum()
    return value, np.column_stack([r.T @ X, r.sum(axis=0)]).ravel()


@pytest.mark.parametrize("more", ["plain", "weighted", "offset", "soft"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_shape_is_as_by_numpy(shape, more, dtype, isa):
    X, y, w, rng = draw(shape, dtype)
    n, _, k = shape
    weight = rng.uniform(0.5, 2, n).astype(dtype) if more == "weighted" else None
    offset = rng.standard_normal((n, k)).astype(dtype) if more == "offset" else None
    if more == "soft":
        y = rng.dirichlet(np.ones(k), n).astype(dtype)
    objective = fl.LinearObjective(
        X, y, fl.CategoricalCrossEntropy(from_logits=True), sample_weight=weight, offset=offset, n_outputs=k
    )
    value, gradient = objective.value_and_grad(w)
    wanted = by_numpy(X, y, w, weight, offset)
    rough = dtype == np.float32
    assert value == pytest.approx(wanted[0], rel=1e-5 if rough else 1e-12)
    np.testing.assert_allclose(gradient, wanted[1], rtol=1e-4 if rough else 1e-10, atol=3e-6 if rough else 1e-13)
    assert objective.value(w) == value


@pytest.mark.parametrize("shape", [(3000, 300, 30), (5000, 40, 5)], ids=str)
def test_threads_do_not_show(shape, dtype, isa):
    X, y, w, _ = draw(shape, dtype)
    results = []
    for n_threads in (1, 2, 3, 8):
        loss = fl.CategoricalCrossEntropy(from_logits=True)
        results.append(fl.LinearObjective(X, y, loss, n_outputs=shape[2], n_threads=n_threads).value_and_grad(w))
    for value, gradient in results[1:]:
        assert value == results[0][0]
        np.testing.assert_array_equal(gradient, results[0][1])


def test_rows_that_count_for_nothing_are_not_read(dtype, isa):
    X, y, w, _ = draw((200, 10, 4), dtype)
    weight = np.ones(200, dtype)
    weight[50:60] = 0
    X[50:60] = np.nan
    loss = fl.CategoricalCrossEntropy(from_logits=True)
    value, gradient = fl.LinearObjective(X, y, loss, sample_weight=weight, n_outputs=4).value_and_grad(w)
    wanted = by_numpy(*(a[weight > 0] for a in (X, y)), w, None, None)
    assert value == pytest.approx(wanted[0], rel=1e-5)
    np.testing.assert_allclose(gradient, wanted[1], rtol=1e-4, atol=3e-6)


@pytest.mark.usefixtures("isa")
def test_it_is_taken_where_it_is(monkeypatch, dtype):
    if not _outputs.are_here():
        pytest.skip("this instruction set leaves products to BLAS")
    X, y, w, _ = draw((100, 10, 4), dtype)
    monkeypatch.setattr(ManyOutputs, "_blocks", lambda *_: pytest.fail("went through BLAS"))
    fl.LinearObjective(X, y, fl.CategoricalCrossEntropy(from_logits=True), n_outputs=4).value_and_grad(w)
