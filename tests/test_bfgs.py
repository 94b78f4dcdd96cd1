"""What a step teaches an approximate Hessian."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastloss._bfgs import update

pytestmark = pytest.mark.usefixtures("isa")


def positive_definite(rng, m):
    Z = rng.standard_normal((2 * m + 2, m))
    return Z.T @ Z / len(Z)


@given(st.integers(0, 2**32 - 1), st.integers(1, 70))
def test_the_hessian_agrees_with_the_step(seed, m):
    rng = np.random.default_rng(seed)
    hessian, true, step = positive_definite(rng, m), positive_definite(rng, m), rng.standard_normal(m)
    before, change = hessian.copy(), true @ step
    turned = before @ step
    expected = before + np.outer(change, change) / (step @ change) - np.outer(turned, turned) / (step @ turned)
    assert update(hessian, step, change, 0.0) == (step @ change < 30 * (step @ turned))
    if step @ change < 30 * (step @ turned):
        scale = np.abs(before).max() + np.abs(expected).max()
        np.testing.assert_allclose(hessian, expected, rtol=0, atol=1e-12 * scale)
        np.testing.assert_allclose(hessian @ step, change, rtol=0, atol=1e-10 * scale * np.abs(step).sum())
        assert np.linalg.eigvalsh((hessian + hessian.T) / 2)[0] > -1e-12 * scale


@pytest.mark.parametrize(
    ("change", "least", "agrees"),
    [
        ([1e-9, 0.0, 0.0], 1e-8, True),  # rounding
        ([-1.0, 0.0, 0.0], 0.0, True),  # not convex there
        ([31.0, 0.0, 0.0], 0.0, False),  # another order
        ([np.nan, 0.0, 0.0], 0.0, True),  # not even a change that is larger
        ([np.inf, 0.0, 0.0], 0.0, False),
    ],
)
def test_what_teaches_nothing_changes_nothing(change, least, agrees):
    hessian = np.eye(3)
    assert update(hessian, np.array([1.0, 0.0, 0.0]), np.array(change), least) == agrees
    np.testing.assert_array_equal(hessian, np.eye(3))


def test_a_step_of_nothing():
    hessian = np.eye(2)
    assert update(hessian, np.zeros(2), np.ones(2), 0.0)
    np.testing.assert_array_equal(hessian, np.eye(2))


@pytest.mark.parametrize("shapes", [((3, 3), 2, 2), ((2, 3), 2, 2), ((2, 2), 2, 3)])
def test_what_does_not_fit_is_refused(shapes):
    square, step, change = shapes
    with pytest.raises(ValueError, match="hessian, step and change must fit each other"):
        update(np.ones(square), np.ones(step), np.ones(change), 0.0)
