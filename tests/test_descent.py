"""Descent on a model by its Hessian: sweeps, and steps to the minimum over the coordinates that are not 0."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_active_set import draw, models

from fastloss._costs import Costs
from fastloss._descent import GramModel

pytestmark = pytest.mark.usefixtures("isa")

KINDS = ["plain", "positive", "free", "ridge", "duplicates"]
PLENTY = 1 << 60


def spectra(seed, n, p, width=8.0):
    """Smooth features: neighbours are all but one."""
    noise = np.random.default_rng(seed).standard_normal((n, p + 60))
    kernel = np.exp(-0.5 * (np.arange(-30, 31) / width) ** 2)
    X = np.array([np.convolve(row, kernel, "valid") for row in noise])
    return X / X.std(axis=0)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(3, 150),
    st.integers(1, 130),
    st.sampled_from(KINDS),
    st.floats(0, 3),
    st.booleans(),
)
def test_a_finished_descent_is_at_the_minimum(seed, n, p, kind, likeness, rough):
    X, _, c, costs = draw(seed, n, p, kind)
    rng = np.random.default_rng(seed)
    X = 10.0**-likeness * X + rng.standard_normal((n, 1))
    model = models(X, -X.T @ (X @ rng.standard_normal(p) + rng.standard_normal(n)) / n, c, costs)["gram"]
    model.move(np.abs(rng.standard_normal(p)) * (rng.random(p) < 0.7))
    before = model.objective()
    for _ in range(200):
        model.descend(before, 1.0, 1e-10, PLENTY, rough)
        assert model.objective() <= before + 1e-14 * abs(before)
        before = model.objective()
        if model.finished:
            break
    bound = costs.bound(model.c, -model.gradient(), model.curvature, 1.0)
    assert rough or model.stalled or bound <= 1e-10
    # What moves with the point is what the point says, but for the rounding of all steps (up to 1e-9 seen).
    np.testing.assert_allclose(
        model.gradient(),
        model.slope + model.matrix @ (model.c - model.start),
        rtol=0,
        atol=1e-8 * abs(model.matrix).max(),
    )


@pytest.mark.parametrize("cost", [1e-1, 1e-2, 1e-3])
def test_features_much_alike_take_few_operations(cost):
    """Sweeps and extrapolation alone took 2, 250 and 30 million, and rounding stopped them short of the bound."""
    X = spectra(0, 200, 40)
    y = X[:, ::7] @ np.ones(6) + np.random.default_rng(1).standard_normal(200)
    hessian, slope = X.T @ X / 200, -X.T @ y / 200
    each = np.full(40, cost * abs(slope).max())
    model = GramModel(hessian, slope, np.zeros(40), Costs(each, each, np.zeros(40)))
    spent = model.descend(model.objective(), 1.0, 1e-12, PLENTY)
    assert model.finished
    assert not model.stalled
    assert model.penalty.residual(model.c, -model.gradient()) < 1e-9
    assert spent < 1_000_000


def test_a_large_model_knows_where_it_ends():
    """Its sweeps read the Hessian in single precision; the bound is of what moves in double."""
    X, slope, c, costs = draw(0, 700, 520, "plain")
    model = models(X, slope, c, costs)["gram"]
    model.descend(model.objective(), 1.0, 1e-5, PLENTY)
    assert model.finished
    assert not model.stalled
    exact = model.slope + model.matrix @ (model.c - model.start)
    np.testing.assert_allclose(model.gradient(), exact, rtol=0, atol=1e-12)
    assert costs.bound(model.c, -exact, model.curvature, 1.0) <= 1e-5
    assert 0 < np.count_nonzero(model.c) < 520


def test_coordinates_that_depend_on_others_do_not_keep_these_from_their_minimum():
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((100, 12))
    X = np.column_stack([Z, Z[:, :6], Z[:, 2] + Z[:, 3], np.zeros(100)])
    slope = -X.T @ (Z @ np.arange(12.0)) / 100
    each = np.full(20, 0.1)
    start = np.where(np.arange(20) < 19, 1.0, 0.0)
    model = GramModel(X.T @ X / 100, slope, np.zeros(20), Costs(each, each, np.zeros(20)))
    model.move(start)
    model.descend(model.objective(), 1.0, 1e-12, PLENTY)
    assert model.finished
    assert model.penalty.residual(model.c, -model.gradient()) < 1e-10


def test_what_costs_nothing_changes_its_sign():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((100, 6))
    slope = -X.T @ (X @ np.array([-3.0, 2.0, -1.0, 0.0, 0.0, 0.5])) / 100
    each = np.array([0.0, 0.1, 0.0, 0.1, 0.1, 0.1])
    model = GramModel(X.T @ X / 100, slope, np.zeros(6), Costs(each, each, np.zeros(6)))
    model.move(np.array([3.0, -2.0, 1.0, 1.0, 1.0, -1.0]))
    model.descend(model.objective(), 1.0, 1e-14, PLENTY)
    assert model.finished
    assert model.penalty.residual(model.c, -model.gradient()) < 1e-10
    assert np.sign(model.c[[0, 1, 2, 5]]).tolist() == [-1, 1, -1, 1]
