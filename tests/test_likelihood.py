"""Likelihoods equal those of scipy.stats, and fall and rise with their losses."""

import inspect
import math

import numpy as np
import pytest
from scipy import stats

import fastloss as fl
from fastloss import likelihood

# What each is made with; labels drawn at a parameter; predictions; log-densities in SciPy.
CASES = {
    "Gaussian": (
        [{}, {"scale": 2.5}],
        lambda rng: (rng.normal(1, 2, 200), rng.normal(1, 1, 200)),
        lambda y, p, scale=1.0: stats.norm.logpdf(y, p, scale),
    ),
    "Laplace": (
        [{}, {"scale": 0.3}],
        lambda rng: (rng.laplace(1, 2, 200), rng.normal(1, 1, 200)),
        lambda y, p, scale=1.0: stats.laplace.logpdf(y, p, scale),
    ),
    "Bernoulli": (
        [{}],
        lambda rng: (rng.integers(0, 2, 200), rng.uniform(0.01, 0.99, 200)),
        stats.bernoulli.logpmf,
    ),
    "Categorical": (
        [{}],
        lambda rng: (rng.integers(0, 3, 200), rng.dirichlet(np.full(3, 2.0), 200)),
        lambda y, p: stats.multinomial.logpmf(np.eye(3, dtype=int)[y], 1, p / p.sum(axis=1, keepdims=True)),
    ),
    "Poisson": (
        [{}],
        lambda rng: (rng.poisson(3, 200), rng.normal(1, 0.5, 200)),
        lambda y, z: stats.poisson.logpmf(y, np.exp(z)),
    ),
}
MADE = [pytest.param(name, kw, id=f"{name}{kw}") for name, (parameters, *_) in CASES.items() for kw in parameters]


def test_every_likelihood_is_tested():
    assert set(CASES) == set(likelihood.__all__)
    assert fl.likelihood is likelihood


@pytest.mark.parametrize(("name", "parameters"), MADE)
def test_nll_is_that_of_scipy(name, parameters, dtype):
    y, p = CASES[name][1](np.random.default_rng(0))
    p = p.astype(dtype)
    expected = -CASES[name][2](y, p.astype(np.float64), **parameters).sum()
    made = getattr(likelihood, name)(**parameters)
    assert made.nll(y, p) == pytest.approx(expected, rel=1e-12 if dtype == np.float64 else 1e-5)
    assert made.nll(y.tolist(), p.tolist()) == pytest.approx(expected, rel=1e-5)
    assert isinstance(made.nll(y, p), float)
    assert made.nll(y[:0], p[:0]) == 0


@pytest.mark.parametrize(("name", "parameters"), MADE)
def test_nll_grows_with_the_loss_and_with_nothing_else(name, parameters):
    # A constant and a positive factor are all that is between them: hence the same minimiser.
    draw = CASES[name][1]
    y, _ = draw(np.random.default_rng(0))
    made = getattr(likelihood, name)(**parameters)
    predictions = [draw(np.random.default_rng(seed))[1] for seed in range(1, 6)]
    nlls = np.array([made.nll(y, p) for p in predictions])
    losses = np.array([made.loss(y, p) for p in predictions])
    slope = np.diff(nlls) / np.diff(losses)
    assert slope[0] > 0
    np.testing.assert_allclose(slope, slope[0], rtol=1e-9)


def test_certain_predictions_that_are_wrong_are_impossible():
    assert fl.likelihood.Bernoulli().nll([1, 0], [0.0, 0.0]) == math.inf
    assert fl.likelihood.Bernoulli().nll([1, 0], [1.0, 0.0]) == 0
    assert fl.likelihood.Categorical().nll([1, 0], [[1.0, 0.0], [0.5, 0.5]]) == math.inf
    assert fl.likelihood.Categorical().nll([1, 0], [[0.0, 1.0], [1.0, 0.0]]) == 0


@pytest.mark.parametrize(("name", "parameters"), MADE)
def test_repr_makes_it_again(name, parameters):
    made = getattr(likelihood, name)(**parameters)
    again = eval(repr(made), vars(likelihood))
    assert vars(again) == vars(made)
    assert repr(again) == repr(made)


@pytest.mark.parametrize("name", [n for n in CASES if "scale" in inspect.signature(getattr(likelihood, n)).parameters])
@pytest.mark.parametrize("wrong", [0, -1, math.inf, math.nan, "1", None])
def test_a_scale_is_a_positive_number(name, wrong):
    with pytest.raises((TypeError, ValueError), match="scale must be"):
        getattr(likelihood, name)(wrong)


@pytest.mark.parametrize(("name", "parameters"), MADE)
def test_arguments_are_checked_like_those_of_a_loss(name, parameters):
    made = getattr(likelihood, name)(**parameters)
    with pytest.raises(ValueError, match=r"y_true must have .*shape"):
        made.nll([1, 0], [0.5])
    with pytest.raises(TypeError, match="y_true must hold real numbers"):
        made.nll(["a"], [0.5])
    with pytest.raises(ValueError, match="y_true"):
        made.nll([np.nan], [0.5])
