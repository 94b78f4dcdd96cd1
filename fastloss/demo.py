"""``fastloss demo``: the main job, on real data, beside what others give."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastloss as fl

Array = NDArray[np.float64]


def run(samples: int) -> int:
    """Run all parts; 0 if everything agreed, else 1."""
    start = time.perf_counter()
    _rents()
    _spam()
    agree = [_likelihoods(), _breast_cancer(), _digits(), _speed(samples)]
    print(f"\nDone in {time.perf_counter() - start:.1f} s.", end=" ")
    print("Everything agrees." if all(agree) else "SOMETHING DISAGREES: see above.")
    return 0 if all(agree) else 1


def _heading(text: str) -> None:
    print(f"\n{text}\n{'-' * len(text)}")


def _rents() -> None:
    _heading("1. Rents: mean squared error, step by step")
    y = np.array([1200.0, 850, 2000, 950, 1500])
    p = np.array([1150.0, 900, 1700, 940, 1520])
    squares = fl.SquaredError()(y, p, reduction="none")
    print(f"{'rent y':>10} {'predicted p':>12} {'y - p':>8} {'(y - p)^2':>10} {'share':>7}")
    for rent, guess, square in zip(y, p, squares, strict=True):
        print(f"{rent:>10.0f} {guess:>12.0f} {rent - guess:>8.0f} {square:>10.0f} {square / squares.sum():>7.1%}")
    mse = fl.mse(y, p)
    print(f"sum {squares.sum():.1f}, n = {len(y)}:  MSE = {mse},  RMSE = {fl.rmse(y, p):.4f}")
    w = np.array([0.5, -0.3, 1.2, 0.8])
    print(f"penalties on w = {w.tolist()}: sum w^2 = {w @ w:.2f}, sum |w| = {np.abs(w).sum():.2f}")
    print(f"  J = MSE + 0.01 sum w^2 = {mse + fl.L2(0.01)(w):.4f}")
    print(f"  J = MSE + 0.01 sum |w| = {mse + fl.L1(0.01)(w):.3f}")


def _spam() -> None:
    _heading("2. Spam: binary cross-entropy, step by step")
    y = np.array([1.0, 0, 1, 0])
    p = np.array([0.90, 0.05, 0.10, 0.60])
    losses = fl.BinaryCrossEntropy()(y, p, reduction="none")
    print(f"{'spam y':>8} {'predicted p':>12} {'what is charged':>16} {'loss':>10}")
    for label, guess, loss in zip(y, p, losses, strict=True):
        print(f"{label:>8.0f} {guess:>12.2f} {f'-log {guess if label else 1 - guess:.2f}':>16} {loss:>10.6f}")
    print(f"mean = {fl.binary_cross_entropy(y, p)!r}")
    sure, even = fl.binary_cross_entropy([1], [0.01]), fl.binary_cross_entropy([1], [0.5])
    print(f"-log 0.01 = {sure:.6f}, -log 0.5 = {even:.6f}")


def _likelihoods() -> bool:
    _heading("3. Likelihoods: why each loss is what it is")
    from scipy import stats

    rng = np.random.default_rng(0)
    real, count, binary = rng.normal(1.0, 2.0, 500), rng.poisson(3.0, 500), rng.integers(0, 2, 500)
    # likelihood, loss, labels, log-density at a constant prediction, range of the predictions
    cases: list[tuple[Any, Any, Any, Callable[[float], Any], tuple[float, float]]] = [
        (fl.likelihood.Gaussian(2.0), "squared error", real, lambda c: stats.norm.logpdf(real, c, 2.0), (-1, 3)),
        (fl.likelihood.Laplace(2.0), "absolute error", real, lambda c: stats.laplace.logpdf(real, c, 2.0), (-1, 3)),
        (
            fl.likelihood.Bernoulli(),
            "binary cross-entropy",
            binary,
            lambda c: stats.bernoulli.logpmf(binary, c),
            (0.2, 0.8),
        ),
        (
            fl.likelihood.Categorical(),
            "categorical cross-entropy",
            binary,
            lambda c: stats.bernoulli.logpmf(binary, c),
            (0.2, 0.8),
        ),
        (fl.likelihood.Poisson(), "exp(z) - y z", count, lambda c: stats.poisson.logpmf(count, math.exp(c)), (0, 2)),
    ]
    print(
        f"{'likelihood':<22} {'loss':<25} {'nll':>12} {'scipy':>12} {'best constant by nll':>21} {'by loss':>8}  agree"
    )
    agree = True
    for likelihood, name, y, log_density, (low, high) in cases:
        constants = np.linspace(low, high, 401)
        several = isinstance(likelihood, fl.likelihood.Categorical)  # a probability for each of two classes
        predictions = [np.full((500, 2), (1 - c, c)) if several else np.full(500, c) for c in constants]
        nlls = [likelihood.nll(y, p) for p in predictions]
        losses = [likelihood.loss(y, p) for p in predictions]
        nll, expected = nlls[100], -log_density(constants[100]).sum()
        by_nll, by_loss = constants[np.argmin(nlls)], constants[np.argmin(losses)]
        good = math.isclose(nll, expected, rel_tol=1e-12) and by_nll == by_loss
        agree &= good
        print(
            f"{likelihood!r:<22} {name:<25} {nll:>12.6f} {expected:>12.6f} {by_nll:>21.3f} {by_loss:>8.3f}  "
            f"{'yes' if good else 'NO'}"
        )
    return agree


def _breast_cancer() -> bool:
    _heading("4. Breast cancer (scikit-learn's data): logistic regression with L2 and with L1, C = 1")
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    X, y = load_breast_cancer(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=42)
    scaler = StandardScaler().fit(X_train)
    X_train, X_test = scaler.transform(X_train, copy=True), scaler.transform(X_test, copy=True)
    X_train, X_test = np.ascontiguousarray(X_train), np.ascontiguousarray(X_test)
    n = len(y_train)
    print(f"{n} samples to fit, {len(y_test)} to test, {X.shape[1]} standardised features; intercept not penalised")
    # scikit-learn's C multiplies the sum of the losses: divided by C n it is our mean plus penalty.
    cases = [("L2", fl.L2(1 / (2 * n)), "lbfgs"), ("L1", fl.L1(1 / n), "saga")]
    agree = True
    for name, penalty, solver in cases:
        objective = fl.LinearObjective(X_train, y_train, fl.BinaryCrossEntropy(from_logits=True), penalty)
        begin = time.perf_counter()
        result = fl.minimize(objective, tol=1e-12, max_iter=100_000)
        ours_time = time.perf_counter() - begin
        begin = time.perf_counter()
        model = _sklearn_logistic(name, solver).fit(X_train, y_train)
        their_time = time.perf_counter() - begin
        theirs = np.append(model.coef_, model.intercept_)
        print(
            f"\n{name + ', by':<24} {'accuracy':>9} {'log loss':>9} {'zeros of 30':>12} {'objective':>15} {'time':>10}"
        )
        fits = [("fastloss", result.x, ours_time), (f"scikit-learn {solver}", theirs, their_time)]
        for who, w, seconds in fits:
            z = X_test @ w[:-1] + w[-1]
            print(
                f"{who:<24} {np.mean((z > 0) == y_test):>9.4f} "
                f"{fl.binary_cross_entropy(y_test, z, from_logits=True):>9.5f} {np.sum(w[:-1] == 0):>12} "
                f"{objective.objective(w):>15.12f} {seconds * 1e3:>7.0f} ms"
            )
        difference = float(np.abs(result.x - theirs).max())
        same_zeros = bool(((result.x[:-1] == 0) == (theirs[:-1] == 0)).all())
        good = difference <= 1e-4 and same_zeros
        agree &= good
        print(
            f"largest coefficient difference {difference:.1e}, zeros {'the same' if same_zeros else 'DIFFER'}; "
            f"duality gap {result.duality_gap:.1e}: {'agree' if good else 'DISAGREE'}"
        )
    return agree


def _digits() -> bool:
    _heading("5. Digits (scikit-learn's data): multinomial logistic regression with L1, C = 0.1")
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=0.2, random_state=42)
    n, C = len(y_train), 0.1
    print(f"{n} images of 8 x 8 pixels to fit, {len(y_test)} to test, 10 classes; intercepts not penalised")
    loss = fl.CategoricalCrossEntropy(from_logits=True)
    objective = fl.LinearObjective(np.ascontiguousarray(X_train), y_train, loss, fl.L1(1 / (C * n)))
    begin = time.perf_counter()
    result = fl.minimize(objective, tol=1e-10, max_iter=100_000)
    ours_time = time.perf_counter() - begin
    begin = time.perf_counter()
    model = _sklearn_logistic("L1", "saga", C).fit(X_train, y_train)
    their_time = time.perf_counter() - begin
    ours, theirs = result.x.reshape(10, -1), np.column_stack([model.coef_, model.intercept_])
    print(f"\n{'L1, by':<24} {'accuracy':>9} {'log loss':>9} {'zeros of 640':>12} {'objective':>15} {'time':>10}")
    for who, W, seconds in (("fastloss", ours, ours_time), ("scikit-learn saga", theirs, their_time)):
        z = X_test @ W[:, :-1].T + W[:, -1]
        print(
            f"{who:<24} {np.mean(z.argmax(axis=1) == y_test):>9.4f} "
            f"{fl.categorical_cross_entropy(y_test, z, from_logits=True):>9.5f} {np.sum(W[:, :-1] == 0):>12} "
            f"{objective.objective(W.ravel()):>15.12f} {seconds * 1e3:>7.0f} ms"
        )
    difference = float(np.abs(ours - theirs).max())
    same_zeros = bool(((ours[:, :-1] == 0) == (theirs[:, :-1] == 0)).all())
    good = difference <= 1e-4 and same_zeros
    print(
        f"largest coefficient difference {difference:.1e}, zeros {'the same' if same_zeros else 'DIFFER'}; "
        f"duality gap {result.duality_gap:.1e}: {'agree' if good else 'DISAGREE'}"
    )
    return good


def _sklearn_logistic(name: str, solver: str, C: float = 1.0) -> Any:
    """scikit-learn's model, solved tightly; from 1.8 on ``l1_ratio`` says what ``penalty`` said before."""
    import sklearn
    from sklearn.linear_model import LogisticRegression

    major, minor = map(int, sklearn.__version__.split(".")[:2])
    if (major, minor) >= (1, 8):
        kind: dict[str, Any] = {"l1_ratio": float(name == "L1")}
    else:
        kind = {"penalty": name.lower()}
    return LogisticRegression(C=C, solver=solver, tol=1e-8, max_iter=200_000, random_state=0, **kind)


def _speed(samples: int) -> bool:
    _heading(f"6. Speed: value and gradient, {samples:,} samples, float64, labels and predictions in random order")
    from sklearn._loss import HalfBinomialLoss, HalfSquaredError

    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, samples).astype(np.float64)
    z = rng.normal(0, 2, samples)
    out, spare = np.empty_like(z), np.empty_like(z)
    threads = fl.get_num_threads()
    bce, squared = fl.BinaryCrossEntropy(from_logits=True), fl.SquaredError()

    def numpy_bce() -> tuple[float, Array]:
        e = np.exp(-np.abs(z))
        value = float(np.mean(np.maximum(z, 0) - y * z + np.log1p(e)))
        return value, (np.where(z >= 0, 1.0, e) / (1 + e) - y) / samples

    def numpy_mse() -> tuple[float, Array]:
        r = z - y
        return float(np.mean(r * r)), 2 * r / samples

    def sklearn_bce() -> tuple[float, Array]:
        value, gradient = HalfBinomialLoss().loss_gradient(y, z, loss_out=spare, gradient_out=out, n_threads=threads)
        return float(value.mean()), gradient  # the gradient is of the sum

    def sklearn_mse() -> tuple[float, Array]:
        value, gradient = HalfSquaredError().loss_gradient(y, z, loss_out=spare, gradient_out=out, n_threads=threads)
        return 2 * float(value.mean()), gradient

    rows: list[tuple[str, Callable[[], Any], Callable[[], Any], Callable[[], Any]]] = [
        ("binary cross-entropy of logits", lambda: bce.value_and_grad(y, z, out=out), numpy_bce, sklearn_bce),
        ("squared error", lambda: squared.value_and_grad(y, z, out=out), numpy_mse, sklearn_mse),
    ]
    print(f"{threads} threads (NumPy has one); medians of 5 after a warm-up, each peer in turn")
    print(
        f"{'loss':<32} {'fastloss':>10} {'NumPy':>10} {'scikit-learn':>13} "
        f"{'NumPy / ours':>13} {'scikit-learn / ours':>20}"
    )
    agree = True
    for name, *functions in rows:
        values = [function()[0] for function in functions]  # the warm-up
        times: list[list[float]] = [[], [], []]
        for _ in range(5):
            for function, record in zip(functions, times, strict=True):
                begin = time.perf_counter()
                function()
                record.append(time.perf_counter() - begin)
        ours, numpy, sklearn = (float(np.median(record)) for record in times)
        print(
            f"{name:<32} {ours * 1e3:>7.1f} ms {numpy * 1e3:>7.1f} ms {sklearn * 1e3:>10.1f} ms "
            f"{numpy / ours:>12.1f}x {sklearn / ours:>19.1f}x"
        )
        good = all(math.isclose(value, values[0], rel_tol=1e-10) for value in values)
        agree &= good
        if not good:
            print(f"  the values DISAGREE: {values}")
    return agree
