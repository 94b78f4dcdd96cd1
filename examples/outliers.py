"""Choosing a loss under outliers: squared, absolute and Huber errors on data of which some labels are far off.

    python examples/outliers.py --share 0.15 --output outliers.png

Fits a line with each loss to more and more contaminated data, prints how far the coefficients are from the true ones,
and draws the losses, the fits and the errors.
"""

from __future__ import annotations

import argparse

import numpy as np

import fastloss as fl
from fastloss.linear_model import HuberRegressor

TRUE = np.array([2.0, 1.0])  # slope, intercept


def contaminated(share: float, n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A line with Gaussian noise of 0.5; a share of the labels at large x is 15 too low. Also says which."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-3, 3, n)
    y = TRUE[0] * x + TRUE[1] + 0.5 * rng.standard_normal(n)
    bad = np.zeros(n, bool)
    bad[np.argsort(-x)[rng.choice(n // 2, int(share * n), replace=False)]] = True
    return x[:, None], y - 15 * bad, bad


def fit(X: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Slope and intercept by each loss, without a penalty."""

    def line(loss: fl.losses.Loss) -> np.ndarray:
        return fl.minimize(fl.LinearObjective(X, y, loss), tol=1e-8).x

    huber = HuberRegressor(alpha=0.0).fit(X, y)  # it finds the scale of the noise by itself
    return {
        "squared error": line(fl.SquaredError()),
        # The absolute error has no continuous gradient; a Huber loss with a small delta is as near as one likes.
        "absolute error": line(fl.Huber(delta=0.01)),
        "Huber": np.array([huber.coef_[0], huber.intercept_]),
    }


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Returns the error of each loss at the share of outliers that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.15, help="of the labels that are far off")
    parser.add_argument("--output", default="outliers.png", help="the picture; '' for none")
    options = parser.parse_args(arguments)
    shares = np.array([0.0, 0.05, 0.1, 0.15, 0.2, 0.3])
    print("largest error of slope and intercept\n")
    print(f"{'outliers':>9} {'squared error':>15} {'absolute error':>15} {'Huber':>15}")
    errors = []
    for share in shares:
        lines = fit(*contaminated(share)[:2])
        errors.append([float(np.abs(line - TRUE).max()) for line in lines.values()])
        print(f"{share:>9.0%} " + " ".join(f"{error:>15.3f}" for error in errors[-1]))
    X, y, bad = contaminated(options.share)
    lines = fit(X, y)
    if options.output:
        draw(X, y, bad, lines, shares, np.array(errors), options.output)
        print(f"\npicture: {options.output}")
    return {name: float(np.abs(line - TRUE).max()) for name, line in lines.items()}


def draw(X, y, bad, lines, shares, errors, output) -> None:
    """The losses and their gradients above, the fits and their errors below."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from fastloss.displays import LossDisplay

    figure, axes = plt.subplots(2, 2, figsize=(10, 8), layout="constrained")
    LossDisplay([fl.SquaredError(), fl.AbsoluteError(), fl.Huber()], predictions=np.linspace(-3, 3, 301)).plot(axes[0])
    axes[0, 0].set_ylim(0, 5)
    left, right = axes[1]
    left.scatter(X[~bad, 0], y[~bad], s=8, color="0.6", label="samples")
    left.scatter(X[bad, 0], y[bad], s=12, color="tab:red", marker="x", label="outliers")
    ends = np.array([-3.0, 3.0])
    for name, line in lines.items():
        left.plot(ends, line[0] * ends + line[1], label=name, linewidth=2)
    left.plot(ends, TRUE[0] * ends + TRUE[1], color="black", linestyle=":", label="truth")
    left.set(xlabel="x", ylabel="y", title=f"{bad.mean():.0%} of the labels are far off")
    left.legend(frameon=False, fontsize=8)
    for name, error in zip(lines, errors.T, strict=True):
        right.plot(100 * shares, error, marker="o", label=name)
    right.set(xlabel="outliers (%)", ylabel="largest error of slope and intercept", title="What outliers cost")
    right.legend(frameon=False)
    figure.savefig(output, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
