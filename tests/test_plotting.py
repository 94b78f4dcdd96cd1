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


def test_displays_of_estimators(pyplot):
    linear_model = pytest.importorskip("fastloss.linear_model")
    from fastloss.displays import ConvergenceDisplay, CrossValidationDisplay, RegularizationPathDisplay

    X, y = data("logistic")
    model = linear_model.LogisticRegression(C=1.0, l1_ratio=1.0)
    path = RegularizationPathDisplay.from_estimator(model, X, y, n_alphas=10)
    assert path.alpha == pytest.approx(1 / len(y))
    assert path.figure_ is path.ax_.figure
    assert len(path.path.alphas) == 10
    runs = ConvergenceDisplay.from_estimator(model, X, y, solvers=("prox_newton", "fista"), tol=1e-4)
    assert [line.get_label() for line in runs.ax_.lines] == ["prox_newton", "fista"]
    X, y = data("squared")
    for chosen in (
        linear_model.LassoCV(alphas=10).fit(X, y),
        linear_model.ElasticNetCV(alphas=10, l1_ratio=[0.5, 1.0]).fit(X, y),
        linear_model.LogisticRegressionCV(
            Cs=5, l1_ratios=(0.0, 1.0), scoring="neg_log_loss", use_legacy_attributes=False
        ).fit(X, y > 0),
    ):
        display = CrossValidationDisplay.from_estimator(chosen)
        assert display.chosen in display.strengths
        mean = display.scores.mean(axis=1)
        best = mean.argmin() if "squared" in display.score_name else mean.argmax()
        assert display.strengths[best] == display.chosen
    ridge = linear_model.LogisticRegression()
    with pytest.raises(ValueError, match="l1_ratio > 0"):
        RegularizationPathDisplay.from_estimator(ridge, X, y > 0)
    with pytest.raises(TypeError, match="estimator must be"):
        ConvergenceDisplay.from_estimator(linear_model.LassoCV(), X, y)
    with pytest.raises(ValueError, match="fitted"):
        CrossValidationDisplay.from_estimator(linear_model.Lasso())


def test_display_of_losses(pyplot):
    from fastloss.displays import LossDisplay

    display = LossDisplay.from_loss([fl.SquaredError(), fl.Huber()])
    values, gradients = display.ax_
    x, parabola = values.lines[0].get_data()
    np.testing.assert_allclose(parabola, x**2, atol=1e-12)
    np.testing.assert_allclose(gradients.lines[0].get_ydata(), 2 * x, atol=1e-12)
    entropy = LossDisplay.from_loss(fl.BinaryCrossEntropy(), 1.0)
    x, value = entropy.ax_[0].lines[0].get_data()
    np.testing.assert_allclose(value, -np.log(x), rtol=1e-9)
    with pytest.raises(ValueError, match=r"^ax must be two axes"):
        LossDisplay.from_loss(fl.Huber(), ax=values)
