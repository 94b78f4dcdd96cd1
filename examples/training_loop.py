"""Mini-batch gradient descent, written out: logistic regression trained on batches with reused buffers.

Run ``python examples/training_loop.py``: it shows a progress bar and saves the loss curve as ``training_loop.png``.
"""

import argparse

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from tqdm import tqdm

import fastloss as fl


def make_data(n, p, seed):
    """Features, labels drawn from a logistic model, and the loss of that model: none can do better on average."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p), dtype=np.float32)
    logits = X @ (rng.standard_normal(p, dtype=np.float32) / np.sqrt(p)) * 3
    y = (rng.random(n, dtype=np.float32) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    return X, y, fl.binary_cross_entropy(y, logits, from_logits=True)


def train(X, y, *, batch=4096, epochs=5, rate=1.0, seed=0):
    """Gradient descent on the mean loss of one batch after another; returns the weights and the loss of every step."""
    loss = fl.BinaryCrossEntropy(from_logits=True)
    rng = np.random.default_rng(seed)
    w = np.zeros(X.shape[1], dtype=X.dtype)
    # Buffers, made once and reused by every step.
    X_batch = np.empty((batch, X.shape[1]), dtype=X.dtype)
    y_batch = np.empty(batch, dtype=y.dtype)
    logits = np.empty(batch, dtype=X.dtype)
    gradient = np.empty_like(w)
    history = []
    steps = len(y) // batch
    with tqdm(total=epochs * steps, desc="training", unit="step") as bar:
        for epoch in range(epochs):
            order = rng.permutation(len(y))
            for step in range(steps):
                chosen = order[step * batch : (step + 1) * batch]
                np.take(X, chosen, axis=0, out=X_batch)
                np.take(y, chosen, out=y_batch)
                # 1. Forward: the model's predictions.
                np.matmul(X_batch, w, out=logits)
                # 2. Loss and its gradient in one call; the gradient takes the place of the logits.
                value, residual = loss.value_and_grad(y_batch, logits, out=logits)
                # 3. Backward through the linear model, then the update; later epochs take shorter steps.
                np.matmul(residual, X_batch, out=gradient)
                gradient *= rate / (1 + epoch)
                w -= gradient
                history.append(value)
                bar.update()
            bar.set_postfix(loss=f"{np.mean(history[-steps:]):.4f}")
    return w, np.array(history)


def plot(history, floor, path):
    """The loss of every step, a running mean, and the loss of the model that drew the labels."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    steps = np.arange(1, len(history) + 1)
    axes.plot(steps, history, color="0.75", linewidth=0.8, label="each batch")
    window = max(1, len(history) // 50)
    mean = np.convolve(history, np.ones(window) / window, mode="valid")
    axes.plot(steps[window - 1 :], mean, color="C0", label=f"mean of {window} batches")
    axes.axhline(floor, color="C3", linestyle="--", label="the model that drew the labels")
    axes.set(xlabel="step", ylabel="binary cross-entropy (mean of a batch)", title="Mini-batch gradient descent")
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(arguments=None):
    """The command; returns the mean loss of the last tenth of the steps and that of the model itself."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=400_000)
    parser.add_argument("--features", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--output", default="training_loop.png")
    options = parser.parse_args(arguments)
    X, y, floor = make_data(options.samples, options.features, seed=0)
    w, history = train(X, y, epochs=options.epochs)
    plot(history, floor, options.output)
    reached = float(np.mean(history[-max(1, len(history) // 10) :]))
    print(f"loss {history[0]:.4f} at the start, {reached:.4f} at the end; the model that drew the labels {floor:.4f}")
    print(f"accuracy on the training data {np.mean((X @ w > 0) == y):.4f}; curve saved to {options.output}")
    return reached, floor


if __name__ == "__main__":
    main()
