"""Train PyTorch models on the CPU with our losses: a small classifier, then a last layer of many classes.

    python examples/torch_training.py --epochs 5

The first loop is any PyTorch loop with another loss in it. In the second the model ends in `LinearCrossEntropy`, the
last layer and its loss in one: its 20,000 logits a sample never exist as a whole. Prints the loss of every epoch.
"""

from __future__ import annotations

import argparse
import math
import time

import torch

import fastloss as fl
from fastloss.interop import torch as interop


def train(step, parameters, samples: int, epochs: int, batch: int, rate: float) -> list[float]:
    """Adam on one batch after another; returns the mean loss of each epoch."""
    optimizer = torch.optim.Adam(parameters, lr=rate)
    history = []
    for epoch in range(epochs):
        total, started = 0.0, time.perf_counter()
        for chosen in torch.randperm(samples).split(batch):
            optimizer.zero_grad()
            loss = step(chosen)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(chosen)
        history.append(total / samples)
        print(f"epoch {epoch + 1}: loss {history[-1]:.4f} ({time.perf_counter() - started:.2f} s)")
    return history


def binary(samples: int, epochs: int) -> list[float]:
    """Is a point inside a circle? With weights that make both answers count the same."""
    X = torch.randn(samples, 2)
    y = X.norm(dim=1) < 0.7
    share = y.float().mean()
    weight = torch.where(y, 0.5 / share, 0.5 / (1 - share))
    model = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1), torch.nn.Flatten(0))
    criterion = interop.loss(fl.BinaryCrossEntropy(from_logits=True))
    # Predictions first, then labels (of any dtype), as in PyTorch; weights are optional.
    return train(
        lambda chosen: criterion(model(X[chosen]), y[chosen], weight[chosen]),
        model.parameters(),
        samples,
        epochs,
        batch=256,
        rate=1e-2,
    )


def vocabulary(samples: int, classes: int, epochs: int) -> list[float]:
    """Each word is followed by one that depends on it."""
    words = torch.randint(0, classes, (samples,))
    following = (7 * words + 3) % classes
    embedding = torch.nn.Embedding(classes, 32)
    head = interop.LinearCrossEntropy(32, classes)
    return train(
        lambda chosen: head(embedding(words[chosen]), following[chosen]),
        [*embedding.parameters(), *head.parameters()],
        samples,
        epochs,
        batch=1024,
        rate=3e-2,
    )


def main(arguments: list[str] | None = None) -> tuple[list[float], list[float], float]:
    """Returns the losses of both models by epoch, and where the second starts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--classes", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    print("inside the circle?")
    first = binary(options.samples, options.epochs)
    print(f"\nthe next of {options.classes} words")
    second = vocabulary(options.samples, options.classes, options.epochs)
    return first, second, math.log(options.classes)


if __name__ == "__main__":
    main()
