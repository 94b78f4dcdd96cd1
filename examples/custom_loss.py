"""A loss of one's own: a robust regression with an L1 penalty, by a loss that is written in five lines.

    python examples/custom_loss.py --output custom_loss.png

Fits sparse coefficients to data of which a tenth of the labels is far off, with the squared error, Huber's loss and
Barron's general robust loss, which no library has built in, and draws that family.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np

import fastloss as fl


@fl.custom_loss
def general(y, z, alpha=1.0, scale=1.0):
    """J. T. Barron (2019), "A general and adaptive robust loss function", for alpha < 2 other than 0.

    2: squares; 1: about Huber's; -2: Geman and McClure's, to which outliers are no more than a constant. Its value is
    all that is written here: the derivatives are found.
    """
    r = (z - y) / scale
    distance = abs(alpha - 2)
    return distance / alpha * ((r * r / distance + 1) ** (alpha / 2) - 1)


def data(n: int = 2000, p: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ten coefficients that are not 0, and labels of which a tenth is off by 20 or so."""
    rng = np.random.default_rng(seed)
    X, w = rng.standard_normal((n, p)), np.zeros(p)
    w[:10] = rng.choice([-2, -1, 1, 2], 10)
    y = X @ w + 0.3 * rng.standard_normal(n)
    bad = rng.random(n) < 0.1
    return X, y + bad * rng.normal(20, 5, n), w


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Run the example; returns the error of the coefficients by the name of the loss."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="custom_loss.png", help="the picture")
    options = parser.parse_args(arguments)
    X, y, true = data()
    losses = {
        "squared error": fl.SquaredError(),
        "Huber": fl.Huber(1.0),
        "general, alpha = 1": general,
        "general, alpha = -2": general.replace(alpha=-2),
    }
    errors, start = {}, None
    for name, loss in losses.items():
        objective = fl.LinearObjective(X, y, loss, fl.L1(0.02))
        begin = time.perf_counter()
        with warnings.catch_warnings():
            # alpha = -2 is not convex: we start it from the solution before, which is near.
            warnings.simplefilter("ignore", fl.NonConvexWarning)
            result = fl.minimize(objective, start)
        start = result.x
        w = objective.coefficients(result.x)
        errors[name] = float(np.linalg.norm(w - true))
        print(
            f"{name:20} error {errors[name]:6.3f}, {np.count_nonzero(w):3} of {len(w)} coefficients, "
            f"{1000 * (time.perf_counter() - begin):6.1f} ms"
        )
    draw(options.output)
    print(f"picture: {options.output}")
    return errors


def draw(path: str) -> None:
    """The family of losses and their gradients."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    r = np.linspace(-5, 5, 401)
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for alpha in (1.5, 1.0, -0.5, -2.0):
        value, gradient = general.replace(alpha=alpha).value_and_grad(0 * r, r, reduction="none")
        axes[0].plot(r, value, label=f"alpha = {alpha:g}")
        axes[1].plot(r, gradient, label=f"alpha = {alpha:g}")
    for ax, title in zip(axes, ("loss", "gradient"), strict=True):
        ax.set(title=title, xlabel="residual")
        ax.legend()
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
