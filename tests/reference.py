"""What every loss must give, written without the package's code: each class of `fastloss.losses` has its entry here.

An entry says what to make the class with, where its labels and predictions are drawn from, the loss in NumPy or SciPy
(float64), and the loss with both derivatives in mpmath. The tests run over `CASES`, so a loss that is entered in
`REFERENCES` is tested by all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import mpmath as mp
import numpy as np
from scipy import special

from fastloss.losses import REGISTRY

mp.mp.prec = 200


class Domain(NamedTuple):
    """Where labels or predictions come from."""

    draw: Callable  # (rng, n) -> numbers of moderate size, inside the domain
    wide: Callable  # (rng, n) -> numbers over many orders of magnitude
    extremes: Callable  # finfo -> the ends of the domain, and where the arithmetic changes course
    invalid: tuple[float, ...]  # numbers that are refused


# 17 and 37: 1 + exp(-x) rounds to 1; 88 and 709: exp overflows; 104 and 746: exp(-x) underflows; max / 4: residuals of
# two such numbers and twice their size are still numbers.
_MAGNITUDES = (
    0,
    1e-30,
    1e-8,
    0.35,
    0.42,
    1,
    1.35,
    2.5,
    17,
    37,
    88.5,
    88.8,
    103.5,
    105,
    709.5,
    709.9,
    745,
    747,
    1e4,
    1e18,
)

REAL = Domain(
    lambda rng, n: rng.normal(scale=2, size=n),
    lambda rng, n: rng.choice([-1, 1], n) * np.exp(rng.uniform(-25, 7, n)),
    lambda f: [s * x for x in (*_MAGNITUDES, f.smallest_subnormal, f.tiny, f.eps, f.max / 4) for s in (1, -1)],
    (np.nan,),
)
# Half of the labels are hard, 0 or 1: then nothing may cancel. The predictions stay away from the clip.
UNIT = Domain(
    lambda rng, n: np.where(rng.random(n) < 0.5, rng.integers(0, 2, n), rng.random(n)),
    lambda rng, n: np.where(rng.random(n) < 0.5, rng.integers(0, 2, n), np.exp(rng.uniform(-40, 0, n))),
    lambda f: [0, 1, 0.5, 0.1],
    (np.nan, -0.1, 1.1, np.inf, -np.inf),
)
PROBABILITY = Domain(
    lambda rng, n: rng.uniform(0.02, 0.98, n),
    lambda rng, n: np.where(rng.random(n) < 0.5, np.exp(rng.uniform(-60, 0, n)), -np.expm1(-rng.exponential(0.01, n))),
    lambda f: [0, f.smallest_subnormal, f.tiny, 1e-15, 1e-7, f.eps, 0.25, 0.5, 0.75, 1 - f.eps, 1 - f.epsneg, 1],
    (-1e-30, 1.0000002, np.inf, -np.inf),
)
COUNT = Domain(
    lambda rng, n: rng.poisson(3, n),
    lambda rng, n: np.exp(rng.uniform(-2, 14, n)),
    lambda f: [0, 1, 3, 0.5, 1e6, 1e18],
    (np.nan, -1, np.inf),
)


class Reference(NamedTuple):
    """The entry of a class: it may have several, for parameters that change the domain."""

    name: str
    parameters: list[dict[str, Any]]  # of the constructor
    labels: Domain
    predictions: Domain
    value: Callable  # (y, z, **parameters) -> loss of each sample, float64
    # (y, z, dtype, **parameters) of mpmath numbers -> value, gradient, hessian. Where exact terms cancel, they are
    # given as a tuple: what can be asked of a computation is then an error in ulp of the larger term. nan: undefined.
    exact: Callable


def _huber(y, z, dtype, delta):
    r = z - y
    kink = abs(abs(r) - delta) <= delta * np.finfo(dtype).eps
    if abs(r) <= delta:
        return r * r / 2, r, mp.nan if kink else 1
    return delta * (abs(r) - mp.mpf(delta) / 2), mp.sign(r) * delta, mp.nan if kink else 0


def _quantile(y, z, dtype, q):
    slope = -mp.mpf(q) if z < y else 1 - mp.mpf(q) if z > y else mp.mpf(0)
    return slope * (z - y), slope, 0


def _target(y, label_smoothing=0.0, pos_weight=1.0):
    """The weights of -log p and -log(1 - p)."""
    s = label_smoothing
    return pos_weight * (y * (1 - s) + s / 2), (1 - y) * (1 - s) + s / 2


def _logits(y, z, dtype, from_logits, **target):
    a, b = _target(y, **{name: mp.mpf(x) for name, x in target.items()})
    p, q = 1 / (1 + mp.exp(-z)), 1 / (1 + mp.exp(z))
    return (a * mp.log1p(mp.exp(-z)), b * mp.log1p(mp.exp(z))), (b * p, -a * q), (a + b) * p * q


def _probabilities(y, z, dtype, eps=1e-15, **target):
    a, b = _target(y, **{name: mp.mpf(x) for name, x in target.items()})
    # As documented: the ends are numbers of the dtype, the upper one below 1.
    low, high = dtype(eps), min(dtype(1 - eps), np.nextafter(dtype(1), dtype(0))) if eps else 1
    p = min(max(z, mp.mpf(float(low))), mp.mpf(float(high)))
    if p != z:
        gradient, hessian = 0, 0
    else:
        gradient, hessian = (-_ratio(a, p), _ratio(b, 1 - p)), (_ratio(a, p * p), _ratio(b, (1 - p) ** 2))
    return (-a * mp.log(p) if a else 0, -b * mp.log1p(-p) if b else 0), gradient, hessian


def _ratio(x, y):
    return mp.mpf(0) if x == 0 else mp.inf if y == 0 else x / y


def _logits_value(y, z, from_logits, **target):
    a, b = _target(y, **target)
    return -a * special.log_expit(z) - b * special.log_expit(-z)


def _probabilities_value(y, z, eps=1e-15, **target):
    a, b = _target(y, **target)
    p = np.clip(z, eps, 1 - eps)
    return -special.xlogy(a, p) - special.xlog1py(b, -p)


_TARGETS = [{}, {"label_smoothing": 0.1}, {"pos_weight": 3.0}]

REFERENCES = [
    Reference(
        "SquaredError", [{}], REAL, REAL, lambda y, z: (y - z) ** 2, lambda y, z, _: ((z - y) ** 2, 2 * (z - y), 2)
    ),
    Reference(
        "AbsoluteError", [{}], REAL, REAL, lambda y, z: abs(y - z), lambda y, z, _: (abs(z - y), mp.sign(z - y), 0)
    ),
    Reference(
        "Huber",
        [{"delta": x} for x in (1.0, 1.35, 1e-3)],
        REAL,
        REAL,
        lambda y, z, delta: special.huber(delta, z - y),
        _huber,
    ),
    Reference(
        "Quantile",
        [{"q": x} for x in (0.5, 0.1, 0.99)],
        REAL,
        REAL,
        lambda y, z, q: np.maximum(q * (y - z), (q - 1) * (y - z)),
        _quantile,
    ),
    Reference("BinaryCrossEntropy", [{"from_logits": True, **x} for x in _TARGETS], UNIT, REAL, _logits_value, _logits),
    Reference(
        "BinaryCrossEntropy",
        [*_TARGETS, {"eps": 0.0}, {"eps": 1e-7}],
        UNIT,
        PROBABILITY,
        _probabilities_value,
        _probabilities,
    ),
    Reference(
        "Poisson",
        [{}],
        COUNT,
        REAL,
        lambda y, z: np.exp(z) - y * z,
        lambda y, z, _: ((mp.exp(z), -y * z), (mp.exp(z), -y), mp.exp(z)),
    ),
]


@dataclass(frozen=True, eq=False)
class Case:
    """One loss with one set of parameters: what the tests run over."""

    name: str
    parameters: dict[str, Any]
    reference: Reference

    def __str__(self):
        return f"{self.name}({', '.join(f'{name}={x}' for name, x in self.parameters.items())})"

    def make(self):
        """The loss, over the instruction set in use."""
        return REGISTRY[self.name](**self.parameters)

    def sample(self, n, dtype=np.float64, seed=0, wide=False):
        """Labels and predictions."""
        rng = np.random.default_rng(seed)
        domains = self.reference.labels, self.reference.predictions
        return tuple((domain.wide if wide else domain.draw)(rng, n).astype(dtype) for domain in domains)

    def extremes(self, dtype):
        """Every extreme label with every extreme prediction."""
        finfo = np.finfo(dtype)
        ends = [np.array(d.extremes(finfo), dtype) for d in (self.reference.labels, self.reference.predictions)]
        y, z = np.meshgrid(*[np.unique(x[np.isfinite(x)]) for x in ends])
        return y.ravel(), z.ravel()

    def value(self, y, z):
        """The loss of each sample, in float64."""
        return self.reference.value(np.asarray(y, np.float64), np.asarray(z, np.float64), **self.parameters)

    def exact(self, y, z, dtype):
        """Value, gradient and hessian of one sample, each as a tuple of the terms whose sum it is."""
        results = self.reference.exact(mp.mpf(float(y)), mp.mpf(float(z)), dtype, **self.parameters)
        return [x if isinstance(x, tuple) else (x,) for x in results]


CASES = [Case(r.name, parameters, r) for r in REFERENCES for parameters in r.parameters]
