"""The search for a minimum from sign to sign, for features that are much alike."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_active_set import draw, models

import fastloss as fl
from fastloss.solvers import _model
from fastloss.solvers._sign_search import SignSearch, search_cost, search_signs

KINDS = ["plain", "positive", "free", "ridge", "duplicates"]
PLENTY = 10**9


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["gram", "residual"])
@pytest.mark.parametrize("begin", ["zero", "anywhere"])
def test_the_minimum_is_where_nothing_moves(kind, form, begin):
    X, slope, c, costs = draw(3, 120, 40, kind)
    model = models(X, slope, c, costs)[form]
    if begin == "anywhere":
        model.move(np.abs(np.random.default_rng(0).standard_normal(40)))
    start = model.objective()
    assert search_signs(model, 1.0, 1e-12, PLENTY, 1)
    assert model.objective() < start
    force = -model.gradient()
    assert costs.residual(model.c, force) < 1e-10
    assert costs.bound(model.c, force, model.curvature, 1.0) <= 1e-12
    assert 0 < np.count_nonzero(model.c) < 40


@given(
    st.integers(0, 2**32 - 1),
    st.integers(3, 40),
    st.integers(3, 60),
    st.sampled_from(KINDS),
    st.sampled_from(["gram", "residual"]),
    st.floats(0, 4),
)
def test_each_turn_goes_down_and_the_last_is_the_minimum(seed, n, p, kind, form, likeness):
    """From points with more coordinates than there are samples, too, and with features that are all but one."""
    X, _, c, costs = draw(seed, n, p, kind)
    rng = np.random.default_rng(seed)
    X = 10.0**-likeness * X + rng.standard_normal((n, 1))
    y = X @ rng.standard_normal(p) + rng.standard_normal(n)
    slope = -X.T @ y / n
    model = models(X, slope, c, costs)[form]
    model.move(np.abs(rng.standard_normal(p)) * (rng.random(p) < 0.7))
    size = float(y @ y) / n

    def value():
        residuals = y - X @ model.c
        return float(residuals @ residuals) / (2 * n) + costs.value(model.c)

    values = [value()]
    search = SignSearch(model, 1)
    go = search.go

    def watched(*args):
        went = go(*args)
        values.append(value())
        return went

    search.go = watched
    found = search.run(size, 1e-7 * size, PLENTY)
    assert (np.diff(values) <= 1e-9 * (values[0] + size)).all()
    if kind != "positive":
        assert len(values) < 40 * p
    if found:
        force = -model.gradient()
        assert costs.bound(model.c, force, model.curvature, size) <= 1e-7 * size
    elif likeness < 3 and kind == "plain":
        pytest.fail("the minimum was not found")


def test_what_it_may_spend_is_not_exceeded_by_much():
    X, slope, c, costs = draw(0, 60, 50, "plain")
    model = models(X, slope, c, costs)["gram"]
    assert search_cost(model) > 0
    before = model.objective()
    assert not search_signs(model, 1.0, 0.0, 1, 1)
    assert model.objective() <= before
    search = SignSearch(model, 1)
    assert not search.run(1.0, 1e-12, 2_000_000)
    assert search.spent < 3_000_000


def spectra(n, p, seed=0):
    """Smooth curves, as spectrometers give them: neighbouring features are all but the same."""
    rng = np.random.default_rng(seed)
    grid, centre, width = np.linspace(0, 1, p), rng.uniform(0, 1, 12), rng.uniform(0.05, 0.3, 12)
    bumps = np.exp(-0.5 * ((grid - centre[:, None]) / width[:, None]) ** 2)
    amount = rng.gamma(2.0, 0.5, (n, 12))
    X = amount @ bumps + 1e-3 * rng.normal(size=(n, p)) + 0.5
    return X, amount[:, 0] - amount[:, 1] + 0.05 * rng.normal(size=n)


@pytest.mark.parametrize("loss", [fl.SquaredError(), fl.BinaryCrossEntropy(from_logits=True), fl.Huber(0.05)], ids=repr)
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("shape", [(60, 300), (600, 60)])
def test_spectra(loss, intercept, shape, monkeypatch):
    searches = []

    def watched(model, *args):
        searches.append(search_signs(model, *args))
        return searches[-1]

    monkeypatch.setattr(_model, "search_signs", watched)
    X, y = spectra(*shape)
    if isinstance(loss, fl.BinaryCrossEntropy):
        y = (y > np.median(y)).astype(float)
    found = []
    for threads in (1, 2, 3):
        objective = fl.LinearObjective(X, y, loss, fl.L1(1.0), fit_intercept=intercept, n_threads=threads)
        objective = objective.with_penalty(fl.L1(0.002 * objective.lambda_max()))
        result = fl.minimize(objective)
        assert result.success
        assert objective.duality_gap(result.x) <= 1.01e-6 * objective.gap_unit
        found.append(result.x)
    for x in found[1:]:
        np.testing.assert_array_equal(x, found[0])
    if shape == (60, 300) and not intercept:
        assert any(searches)
