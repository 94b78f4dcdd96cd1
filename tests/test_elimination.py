"""Quadratic models without the coordinates that cost nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastloss._elimination import Elimination


def draw(m, f, seed):
    """A Hessian of full rank, a gradient, and which coordinates are free."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(2 * m, m)) * 10.0 ** rng.uniform(-3, 3, m)
    free = np.sort(rng.permutation(m)[:f])
    return A.T @ A, A.T @ rng.normal(size=2 * m), free, np.setdiff1d(np.arange(m), free)


def model(hessian, gradient, step):
    return float(gradient @ step + 0.5 * step @ hessian @ step)


@given(m=st.integers(2, 30), share=st.floats(0.01, 0.99), seed=st.integers(0, 10**6))
def test_what_is_left_is_the_least_over_the_free_coordinates(m, share, seed):
    hessian, gradient, free, kept = draw(m, max(1, int(share * m)), seed)
    before = hessian.copy(), gradient.copy()
    left = Elimination(hessian, gradient, free, kept)
    assert (hessian == before[0]).all()
    assert (gradient == before[1]).all()
    unit = 1 / np.sqrt(hessian.diagonal())
    for seed_of_part in range(3):
        part = unit[kept] * np.random.default_rng(seed_of_part).normal(size=len(kept)) * (seed_of_part > 0)
        step = left.step(part)
        np.testing.assert_array_equal(step[kept], part)
        # The slopes of the free coordinates are 0, next to what they sum.
        slopes = (gradient + hessian @ step)[free]
        assert (np.abs(slopes) <= 1e-9 * (np.abs(gradient) + np.abs(hessian) @ np.abs(step))[free]).all()
        expected = model(hessian, gradient, step)
        size = left.fall + abs(expected)
        assert model(left.hessian, left.gradient, part) - left.fall == pytest.approx(expected, abs=1e-9 * size)


def test_coordinates_that_depend_on_others():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(50, 5))
    A[:, 1] = A[:, 0]  # free, both
    A[:, 4] = 3 * A[:, 0] + 2 * A[:, 2]  # does what the free ones do
    hessian, gradient = A.T @ A, A.T @ rng.normal(size=50)
    left = Elimination(hessian, gradient, np.array([0, 1, 2]), np.array([3, 4]))
    assert np.isfinite(left.hessian).all()
    assert 0 < left.hessian[1, 1] <= 1e-12 * hessian[4, 4]
    assert left.hessian[0, 1] == left.hessian[1, 0] == 0
    assert left.gradient[1] == pytest.approx(0, abs=1e-10 * np.abs(gradient).sum())
    step = left.step(np.array([0.5, 0.0]))
    np.testing.assert_allclose((gradient + hessian @ step)[[0, 1, 2, 4]], 0, atol=1e-10 * np.abs(gradient).sum())
    none = Elimination(np.zeros((2, 2)), np.zeros(2), np.array([0]), np.array([1]))  # nothing curves
    np.testing.assert_array_equal(none.step(np.array([2.0])), [0, 2])


def test_shapes_must_fit():
    with pytest.raises(ValueError, match="must fit"):
        Elimination(np.eye(3), np.zeros(3), np.array([0]), np.array([1]))
