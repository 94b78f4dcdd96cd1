"""Active sets of quadratic models, and what solves their systems: factors with rows that come and go, and gradients."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastloss._columns import Columns
from fastloss._conjugate_gradients import conjugate_gradients
from fastloss._costs import Costs
from fastloss._descent import GramModel, ResidualModel
from fastloss._factor import Factor
from fastloss.solvers._active_set import Factors, Gradients, find_minimum

pytestmark = pytest.mark.usefixtures("isa")


def positive_definite(rng, m):
    Z = rng.standard_normal((2 * m + 2, m))
    return Z.T @ Z / len(Z)


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 12), min_size=1, max_size=12))
def test_factors_are_of_the_rows_that_are_left(seed, sizes):
    rng = np.random.default_rng(seed)
    A, factor, held = positive_definite(rng, 60), Factor(), np.empty(0, dtype=np.int64)
    for size in sizes:
        gone = np.sort(rng.choice(len(held), rng.integers(0, len(held) + 1), replace=False)) if len(held) else held
        factor.leave(gone)
        held = np.delete(held, gone)
        new = np.setdiff1d(rng.choice(60, size, replace=False), held)
        entered = factor.enter(A[np.ix_(new, held)], A[np.ix_(new, new)], np.zeros(len(new)))
        assert entered.all()
        held = np.concatenate([held, new])
        assert factor.count == len(held)
        b = rng.standard_normal(len(held))
        np.testing.assert_allclose(A[np.ix_(held, held)] @ factor.solve(b), b, rtol=0, atol=1e-9)


def test_factors_taken_whole_are_those_that_entered():
    rng = np.random.default_rng(0)
    A = positive_definite(rng, 40)
    whole, grown = Factor(), Factor()
    whole.set(A)
    grown.enter(np.empty((40, 0)), A, np.zeros(40))
    np.testing.assert_allclose(whole.pivots, grown.pivots, rtol=1e-12)
    np.testing.assert_allclose(whole.pivots, np.linalg.cholesky(A).diagonal() ** 2, rtol=1e-12)
    whole.clear()
    assert whole.count == 0
    assert len(whole.pivots) == 0


def test_rows_that_depend_on_others_do_not_enter():
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((50, 6))
    Z = np.column_stack([Z, Z[:, 1], Z[:, 2] + Z[:, 3], np.zeros(50), rng.standard_normal(50)])
    A, factor = Z.T @ Z, Factor()
    assert factor.enter(np.empty((4, 0)), A[:4, :4], 1e-10 * A.diagonal()[:4]).all()
    new = np.arange(4, 10)
    entered = factor.enter(A[4:, :4], A[4:, 4:], 1e-10 * A.diagonal()[4:])
    assert entered.tolist() == [True, True, False, False, False, True]
    held = np.concatenate([np.arange(4), new[entered]])
    b = rng.standard_normal(len(held))
    np.testing.assert_allclose(A[np.ix_(held, held)] @ factor.solve(b), b, atol=1e-10)


def test_bits_of_factors_do_not_depend_on_threads():
    rng = np.random.default_rng(0)
    A, found = positive_definite(rng, 400), []
    for threads in (1, 2, 3, 8):
        factor = Factor()
        factor.set(A[:300, :300])
        factor.enter(A[300:, :300], A[300:, 300:], np.zeros(100), threads)
        found.append(factor.solve(np.ones(400)))
    for one in found[1:]:
        np.testing.assert_array_equal(one, found[0])


def test_wrong_shapes_and_places_are_refused():
    factor = Factor()
    factor.set(np.eye(3))
    for rows, own, least in [((1, 2), (1, 1), 1), ((1, 3), (2, 2), 1), ((1, 3), (1, 1), 2)]:
        with pytest.raises(ValueError, match="rows, own and least"):
            factor.enter(np.ones(rows), np.eye(own[0]), np.zeros(least))
    for places in ([3], [-1], [1, 1], [2, 0]):
        with pytest.raises(ValueError, match="places"):
            factor.leave(np.array(places))
    with pytest.raises(ValueError, match="b must"):
        factor.solve(np.ones(4))
    with pytest.raises(np.linalg.LinAlgError):
        factor.set(-np.eye(2))
    assert factor.count == 0


def columns_of(X, dense):
    if dense:
        return Columns(np.asfortranarray(X), None, None, len(X))
    rows = [np.flatnonzero(x) for x in X.T]
    data = np.concatenate([x[r] for x, r in zip(X.T, rows, strict=True)])
    starts = np.concatenate([[0], np.cumsum([len(r) for r in rows])])
    return Columns(data, np.concatenate(rows).astype(np.int32), starts.astype(np.int64), len(X))


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("shape", [(40, 15), (300, 900)])
def test_conjugate_gradients_solve_what_numpy_does(dense, shape):
    rng = np.random.default_rng(0)
    n, p = shape
    X = rng.standard_normal(shape) * (rng.random(shape) < 0.5)
    places = np.sort(rng.choice(p, min(n, p) // 3, replace=False))
    q, total, d = 0.1 * rng.standard_normal(len(places)), float(n), rng.random(len(places))
    C = X[:, places]
    A = 0.5 * C.T @ C - np.outer(q, q) / total + np.diag(d)
    b, start = rng.standard_normal(len(places)), rng.standard_normal(len(places))
    given = columns_of(X, dense), places, 0.5, q, total, d, b, start, np.full(len(places), 1e-10), 0.0
    found = [conjugate_gradients(*given, 10**9, threads) for threads in (1, 2, 8)]
    np.testing.assert_allclose(found[0][0], np.linalg.solve(A, b), atol=1e-9)
    for one in found[1:]:
        np.testing.assert_array_equal(one[0], found[0][0])
        assert one[1] == found[0][1]
    rough, spent = conjugate_gradients(*given[:-1], 0.1, 10**9)
    assert np.abs(A @ rough - b).max() <= 0.1 * np.abs(A @ start - b).max() * (1 + 1e-9)
    assert spent < found[0][1]
    np.testing.assert_array_equal(conjugate_gradients(*given, 0)[0], start)


def draw(seed, n, p, kind):
    """X, and a quadratic loss where all coordinates are 0: its slope, the point, the penalty."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p))
    if kind == "duplicates":
        X[:, p // 2] = X[:, 0]
    y = X[:, : p // 3] @ rng.standard_normal(p // 3) + rng.standard_normal(n)
    strength = 0.05 * np.abs(X.T @ y).max() / n
    up = np.full(p, strength)
    down, ridge = up.copy(), np.zeros(p)
    if kind == "positive":
        down[:] = np.inf
    elif kind == "free":
        up[:3] = down[:3] = 0
    elif kind == "ridge":
        ridge[:] = strength
    c = np.zeros(p)
    return X, -X.T @ y / n, c, Costs(up, down, ridge)


def models(X, slope, c, costs):
    residual = ResidualModel(Columns(np.asfortranarray(X), None, None, len(X)), 1 / len(X), slope, c, costs, None)
    return {"gram": GramModel(X.T @ X / len(X), slope, c, costs), "residual": residual}


@pytest.mark.parametrize("kind", ["plain", "positive", "free", "ridge", "duplicates"])
@pytest.mark.parametrize(("form", "by"), [("gram", Factors), ("residual", Factors), ("residual", Gradients)])
def test_the_minimum_is_where_nothing_moves(kind, form, by):
    X, slope, c, costs = draw(3, 120, 40, kind)
    model, systems = models(X, slope, c, costs)[form], by()
    if by is Factors:
        systems.model_features = np.arange(40)
    start = model.objective()
    assert find_minimum(model, systems, 1.0, 1e-9, 1)
    assert model.objective() < start
    force = -model.gradient()
    assert costs.residual(model.c, force) < (1e-10 if by is Factors else 1e-3)
    assert costs.bound(model.c, force, model.curvature, 1.0) <= 1e-9
    assert 0 < np.count_nonzero(model.c) < 40


@given(st.integers(0, 2**32 - 1), st.integers(5, 60), st.integers(3, 80))
def test_a_search_that_fails_leaves_the_model_where_it_was_or_lower(seed, n, p):
    X, slope, c, costs = draw(seed, n, p, "plain")
    model, systems = models(X, slope, c, costs)["gram"], Factors()
    systems.model_features = np.arange(p)
    before = model.objective()
    if find_minimum(model, systems, 1.0, 1e-9, 1):
        assert costs.residual(model.c, -model.gradient()) < 1e-8 * max(1.0, np.abs(slope).max())
    assert model.objective() <= before + 1e-12 * abs(before)


def test_factors_go_on_from_model_to_model():
    """Strengths that fall, and working sets that grow: the factors are of features, not of places."""
    X, slope, _, costs = draw(5, 200, 60, "plain")
    G, systems, seen = X.T @ X / 200, Factors(), np.arange(0, 60, 2)
    w = np.zeros(60)
    for k, strength in enumerate(costs.up[0] * 0.8 ** np.arange(8)):
        seen = np.union1d(seen, np.arange(7 * k % 60, min(7 * k % 60 + 9, 60)))
        own = Costs(*(np.full(len(seen), x) for x in (strength, strength, 0.0 if k < 5 else 0.1)))
        gradient = slope + G @ w
        model = GramModel(G[np.ix_(seen, seen)], gradient[seen], w[seen], own)
        systems.model_features = seen
        assert find_minimum(model, systems, 1.0, 1e-9, 1)
        assert own.residual(model.c, -model.gradient()) < 1e-11
        assert set(systems.features) == set(seen[model.c != 0])
        w[seen] = model.c
