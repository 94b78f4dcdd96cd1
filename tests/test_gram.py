"""Weighted sums of (x, 1)(x, 1)' over rows, beyond every size at which the tiles change what they do."""

import numpy as np
import pytest

import fastloss as fl
from fastloss import _gram

pytestmark = pytest.mark.usefixtures("isa")

# Rows, columns: one register and less, one panel of tiles (12 or 24 columns), its rest by one and two registers, more
# rows than are copied at a time, several chunks, the widest that there is.
SHAPES = [(1, 1), (5, 3), (300, 9), (257, 22), (1000, 24), (257, 25), (700, 61), (2000, 127), (60, 256)]


def draw(shape, dtype, seed=0):
    n, p = shape
    rng = np.random.default_rng(seed)
    X = np.ascontiguousarray(rng.standard_normal((n, p + 3)), dtype)[:, 1 : p + 1]  # rows are further apart than long
    weight = rng.random(n) * (rng.random(n) < 0.8)
    return X, weight, rng.standard_normal(n) * (weight > 0), rng.standard_normal(p), rng.integers(0, n, n // 2 + 1)


def skip_without(p):
    if not _gram.are_here(p):
        pytest.skip("this instruction set leaves products to BLAS")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "given",
    [(), ("weight",), ("weight", "extra"), ("weight", "extra", "origin"), ("index", "weight", "extra"), ("index",)],
    ids="-".join,
)
def test_sums_are_those_of_numpy(shape, dtype, given):
    n, p = shape
    skip_without(p)
    X, *values = draw(shape, dtype)
    options = {k: v for k, v in zip(("weight", "extra", "origin", "index"), values, strict=True) if k in given}
    found, beside = _gram.weighted_gram(X, **options)
    rows = options.get("index", np.arange(n))
    Z = np.column_stack([X - options.get("origin", 0.0), np.ones(n)]).astype(np.float64)[rows]
    weight, extra = options.get("weight", np.ones(n))[rows], options.get("extra", np.zeros(n))[rows]
    size = np.abs(Z).T @ (weight[:, None] * np.abs(Z))
    assert (np.abs(found - Z.T @ (weight[:, None] * Z)) <= 1e-14 * n**0.5 * size + 1e-300).all()
    np.testing.assert_allclose(beside, (Z.T @ extra)[:p], rtol=0, atol=1e-13 * n)
    np.testing.assert_array_equal(found, found.T)
    for threads in (1, 2, 8):
        again, again_beside = _gram.weighted_gram(X, **options, n_threads=threads)
        np.testing.assert_array_equal(again, found)
        np.testing.assert_array_equal(again_beside, beside)


@pytest.mark.parametrize("p", [1, 3, 9, 30])
def test_what_lies_behind_a_row_changes_nothing(p, dtype):
    """Rows are copied by whole registers: that of the last of 256, with which a copy is full, reaches into the next."""
    skip_without(p)
    X, weight = np.random.default_rng(0).standard_normal((300, p)).astype(dtype), np.ones(300)
    wanted, _ = _gram.weighted_gram(X[:256].copy())
    X[256:], weight[256:] = np.nan, 0
    np.testing.assert_array_equal(_gram.weighted_gram(X, weight)[0], wanted)


def test_rows_of_weight_0_are_not_read(dtype):
    skip_without(30)
    X, weight, *_ = draw((500, 30), dtype)
    X[weight == 0] = np.nan
    found, _ = _gram.weighted_gram(X, weight)
    used = weight > 0
    wanted = X[used].astype(np.float64).T @ (weight[used, None] * X[used])
    np.testing.assert_allclose(found[:-1, :-1], wanted, rtol=0, atol=1e-12 * np.abs(wanted).max())


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("p", [3, 40, 300])
def test_hessians_are_the_same_in_both_orders(p, fit_intercept, dtype):
    rng = np.random.default_rng(1)
    X = rng.standard_normal((600, p)).astype(dtype)
    y, weight = rng.integers(0, 2, 600), rng.random(600)
    weight[:50] = 0
    point = rng.standard_normal(p + fit_intercept) / p

    def hessian(X):
        loss = fl.BinaryCrossEntropy(from_logits=True)
        return fl.LinearObjective(X, y, loss, sample_weight=weight, fit_intercept=fit_intercept).hessian(point)

    by_rows, by_columns = hessian(X), hessian(np.asfortranarray(X))  # the latter is BLAS's
    assert by_rows.shape == (p + fit_intercept,) * 2
    scale = np.sqrt(np.outer(by_columns.diagonal(), by_columns.diagonal()))
    assert (np.abs(by_rows - by_columns) <= (1e-5 if dtype == np.float32 else 1e-12) * scale).all()


def test_it_is_taken_where_it_is(monkeypatch, dtype):
    skip_without(20)
    X, *_ = draw((100, 20), dtype)
    calls = []
    monkeypatch.setattr(_gram, "weighted_gram", lambda *a, **k: calls.append(1) or (np.eye(21), np.zeros(20)))
    fl.LinearObjective(X, X[:, 0], fl.SquaredError()).hessian(np.zeros(21))
    assert calls == [1]
