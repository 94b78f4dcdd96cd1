"""Losses of the user's own, beside the built-in ones that they are: each as users may write it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from reference import CASES, Case

import fastloss as fl
from fastloss import vmath

LOG_2PI = math.log(2 * math.pi)


def squared_error(y, z):
    """By its value alone: both derivatives come from forward mode."""
    return (y - z) ** 2


def absolute_error(y, z):
    r = z - y
    if r > 0:
        return r, 1
    if r < 0:
        return -r, -1
    return abs(r), r  # NaN stays NaN


def huber(y, z, delta=1.0):
    r = z - y
    if abs(r) <= delta:
        return 0.5 * r * r, r, 1
    return delta * (abs(r) - 0.5 * delta), math.copysign(delta, r) + 0 * r, 0 * r


def logistic(y, z, label_smoothing=0.0, pos_weight=1.0):
    """As in a textbook, stable; its second derivative comes from forward mode."""
    a = pos_weight * (y * (1 - label_smoothing) + label_smoothing / 2)
    b = (1 - y) * (1 - label_smoothing) + label_smoothing / 2
    e = math.exp(-abs(z))
    p = 1 / (1 + e)
    q = e * p
    if z < 0:
        p, q = q, p
    slope = b if z > 0 else a
    return (a + b) * math.log1p(e) + slope * abs(z), b * p - a * q


def logistic_value(y, z, pos_weight=1.0):
    return pos_weight * y * vmath.softplus(-z) + (1 - y) * vmath.softplus(z)


def poisson(y, z):
    mean = np.exp(z)
    return mean - y * z, mean - y, mean


def softmax(y, z, gradient):
    top = z.max()
    total = 0.0
    for j in range(len(z)):
        gradient[j] = math.exp(z[j] - top)
        total += gradient[j]
    for j in range(len(z)):
        gradient[j] /= total
    label = int(y)
    gradient[label] -= 1
    return math.log(total) + (top - z[label])


def softmax_of_rows(y, z, gradient):
    top = z.max()
    total = 0.0
    value = 0.0
    whole = 0.0
    for j in range(len(z)):
        gradient[j] = math.exp(z[j] - top)
        total += gradient[j]
        whole += y[j]
        value += y[j] * (top - z[j])
    for j in range(len(z)):
        gradient[j] = whole * gradient[j] / total - y[j]
    return value + whole * math.log(total)


# Name of the built-in loss and its parameters' names -> the function and its options.
WRITTEN = {
    ("SquaredError",): (squared_error, {}),
    ("AbsoluteError",): (absolute_error, {}),
    ("Huber", "delta"): (huber, {}),
    ("BinaryCrossEntropy", "from_logits"): (logistic, {}),
    ("BinaryCrossEntropy", "from_logits", "label_smoothing"): (logistic, {}),
    ("BinaryCrossEntropy", "from_logits", "pos_weight"): (logistic_value, {}),
    ("Poisson",): (poisson, {}),
}
ROWS = {
    ("CategoricalCrossEntropy", False): (softmax, {"many_outputs": True}),
    ("CategoricalCrossEntropy", True): (softmax_of_rows, {"many_outputs": True, "row_labels": True}),
}


@dataclass(frozen=True, eq=False)
class CustomCase(Case):
    """A case whose loss is written by a user; the reference is that of the built-in one."""

    def __str__(self):
        return f"custom {super().__str__()}"

    def make(self):
        """The loss. It is compiled once in a process, and once on disk."""
        if self.outputs:
            function, options = ROWS[self.name, self.reference.soft]
        else:
            function, options = WRITTEN[(self.name, *self.parameters)]
        own = {name: x for name, x in self.parameters.items() if name != "from_logits"}
        return fl.custom_loss(function, check=False, **options, **own)


def _is_written(case):
    if case.outputs:
        return case.parameters == {"from_logits": True} and (case.name, case.reference.soft) in ROWS
    return (case.name, *case.parameters) in WRITTEN


CUSTOM_CASES = [CustomCase(c.name, c.parameters, c.reference) for c in CASES if _is_written(c)]
SCALAR_CASES = [case for case in CUSTOM_CASES if not case.outputs]
