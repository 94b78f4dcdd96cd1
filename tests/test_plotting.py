"""Pictures: what is drawn, and what is said where matplotlib is missing."""

import sys
import tracemalloc

import numpy as np
import pytest
from scipy import sparse
from test_path import CATEGORICAL, data

import fastloss as fl


@pytest.fixture
def pyplot(tmp_path):
    """Matplotlib without a screen; each picture is drawn to the end."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    yield plt
    try:
        for number in plt.get_fignums():
            plt.figure(number).savefig(tmp_path / "picture.png")
            assert (tmp_path / "picture.png").stat().st_size > 5000
    finally:
        plt.close("all")


def lines_of(axes, path):
    """(x, y) of every line that has a point for each model."""
    return [line.get_xydata().T for line in axes.lines if len(line.get_xdata()) == len(path.alphas)]


@pytest.mark.parametrize(("loss", "y"), [(fl.SquaredError(), "squared"), (CATEGORICAL, "categorical")], ids=["1", "K"])
def test_a_line_for_each_feature_that_is_used(pyplot, loss, y):
    X, y = data(y)
    path = fl.regularization_path(X, y, loss, n_alphas=9, eps=0.05, tol=1e-4)
    coefficients = path.coefs.reshape(9, -1)
    used = coefficients[:, coefficients.any(axis=0)]
    assert 1 < used.shape[1] < coefficients.shape[1] + (loss is not CATEGORICAL)
    axes = path.plot()
    drawn = lines_of(axes, path)
    assert len(drawn) == used.shape[1]
    for (x, y), expected in zip(drawn, used.T, strict=True):
        np.testing.assert_array_equal(x, path.alphas)
        np.testing.assert_array_equal(y, expected)
    assert f"{used.shape[1]} of {coefficients.shape[1]} coefficients" in axes.get_title()


def test_the_axes(pyplot):
    X, y = data("squared")
    axes = fl.regularization_path(X, y, fl.SquaredError(), n_alphas=9).plot()
    assert axes.get_xscale() == "log"
    left, right = axes.get_xlim()
    assert left > right > 0  # as the path goes, from the strongest penalty
    assert "alpha" in axes.get_xlabel()
    assert "coefficient" in axes.get_ylabel()


def test_into_given_axes(pyplot):
    X, y = data("squared")
    path = fl.regularization_path(X, y, fl.SquaredError(), n_alphas=5)
    _, (one, other) = pyplot.subplots(1, 2)
    assert path.plot(other) is other
    assert path.plot(ax=one) is one
    assert len(one.lines) == len(other.lines) > 1
    assert len(pyplot.get_fignums()) == 1


@pytest.mark.parametrize(
    "alphas",
    [[0.1, 0.01, 0], [0], [0.1], [100.0, 10.0], [0.1, 0.1]],
    ids=["down to 0", "0 alone", "one", "nothing used", "one twice"],
)
def test_paths_with_little_to_draw(pyplot, alphas):
    X, y = data("squared")
    path = fl.regularization_path(X, y, fl.SquaredError(), alphas=alphas)
    axes = path.plot()
    used = np.count_nonzero(path.coefs.any(axis=0))
    assert f"{used} of 12" in axes.get_title()
    if len(alphas) > 1:
        assert len(lines_of(axes, path)) == used + (len(alphas) == 2)  # the line at 0 has two points as well


def test_features_that_are_never_used_take_no_memory(pyplot):
    rng = np.random.default_rng(0)
    n, p, m = 50, 100_000, 30
    X = sparse.random_array((n, p), density=2e-4, rng=rng, format="csc")
    path = fl.regularization_path(X, rng.normal(size=n), fl.SquaredError(), n_alphas=m, eps=0.5, tol=1e-3)
    path.plot()
    tracemalloc.start()
    path.plot()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.2 * 8 * m * p  # all coefficients: 24 MB


def test_without_matplotlib(monkeypatch):
    X, y = data("squared")
    path = fl.regularization_path(X, y, fl.SquaredError(), n_alphas=3)
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match="plotting needs matplotlib: pip install matplotlib"):
        path.plot()
