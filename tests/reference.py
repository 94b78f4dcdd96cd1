"""What every loss must give, written without the package's code: each class of `fastloss.losses` has its entry here.

An entry says what to make the class with, where its labels and predictions are drawn from, the loss in NumPy or SciPy
(float64), and the loss with both derivatives in mpmath. The tests run over `CASES`, so a loss that is entered in
`REFERENCES` is tested by all of them.
"""

from __future__ import annotations

import math
import reprlib
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

    draw: Callable  # (rng, shape) -> numbers of moderate size, inside the domain
    wide: Callable  # (rng, shape) -> numbers over many orders of magnitude
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


def _classes(k, ignored=None):
    """Class indices; if a label is ignored, every seventh sample from the sixth on has it."""

    def draw(rng, n):
        y = rng.integers(0, k, n)
        y[5::7] = y[5::7] if ignored is None else ignored
        return y

    return Domain(draw, draw, lambda f: [0, k // 2, k - 1], (np.nan, -1, k, 1.7, np.inf, -np.inf))


def _rows(concentration):
    """Rows of probabilities, every other one one-hot."""

    def draw(rng, shape):
        y = rng.dirichlet(np.full(shape[-1], concentration), shape[:-1])
        y[::2] = np.eye(shape[-1])[rng.integers(0, shape[-1], len(y[::2]))]
        return np.where(y < 1e-30, 0, y)  # weights times denormals are not worth their precision

    return draw


DISTRIBUTION = UNIT._replace(draw=_rows(1.0), wide=_rows(0.05))


class Reference(NamedTuple):
    """The entry of a class: it may have several, for parameters that change the domain."""

    name: str
    parameters: list[dict[str, Any]]  # of the constructor
    labels: Domain
    predictions: Domain
    value: Callable  # (y, z, **parameters) -> loss of each sample, float64
    # (y, z, dtype, **parameters) of mpmath numbers -> value, gradient, hessian. Where exact terms cancel, they are
    # given as a tuple: what can be asked of a computation is then an error in ulp of the larger term. nan: undefined.
    # Where a sample has several numbers of y, z, gradient or hessian, each of them is a list.
    exact: Callable
    outputs: tuple[int, ...] = ()  # the shape of one sample's predictions
    soft: bool = False  # whether its label has that shape too, or is one number
    share: Callable | None = None  # (y, z, **parameters) -> what samples count in a mean, if it is not 1


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


def _probabilities_of_label(y, z):
    return y if y.ndim == z.ndim else 1.0 * (y[..., None] == np.arange(z.shape[-1]))


def _class_targets(y, z, label_smoothing=0.0, class_weight=None, ignore_index=None):
    """The weights of -log p of all classes."""
    k = z.shape[-1]
    rows = _probabilities_of_label(y, z) * (1 - label_smoothing) + label_smoothing / k
    kept = y[..., None] != ignore_index if y.ndim < z.ndim else True
    return np.where(kept, rows * np.array(class_weight or [1] * k), 0.0)


def _class_share(y, z, class_weight=None, ignore_index=None, **_):
    share = _class_targets(y, z, 0.0, class_weight, ignore_index).sum(axis=-1)
    if y.ndim < z.ndim:
        return share
    whole = y.sum(axis=-1)  # the mean weight of a row's classes
    return np.divide(share, whole, out=np.ones_like(share), where=whole > 0)


def _softmax_value(y, z, from_logits, **target):
    return -(_class_targets(y, z, **target) * special.log_softmax(z, axis=-1)).sum(axis=-1)


def _class_probabilities_value(y, z, eps=1e-15, **target):
    return -special.xlogy(_class_targets(y, z, **target), np.clip(z, eps, 1 - eps)).sum(axis=-1)


def _exact_targets(y, k, label_smoothing=0.0, class_weight=None, ignore_index=None):
    if y == ignore_index:
        return [mp.mpf(0)] * k
    s = mp.mpf(label_smoothing)
    rows = y if isinstance(y, list) else [mp.mpf(c == y) for c in range(k)]
    return [mp.mpf(v) * (x * (1 - s) + s / k) for v, x in zip(class_weight or [1] * k, rows, strict=True)]


def _softmax(y, z, dtype, from_logits, **target):
    """The difference d of a logit to the largest one is rounded, and exp(d) then wrong by d / 2 ulp at most: `moved` is
    what that does, to first order, to the results. As a pair of terms it is allowed for; and so is `lost`: half a
    denormal number for each exponential that underflows.
    """
    a = _exact_targets(y, len(z), **target)
    total, top = mp.fsum(a), max(z)
    d = [x - top for x in z]
    e = [mp.exp(x) for x in d]
    rest = mp.fsum(e[: e.index(1)] + e[e.index(1) + 1 :])
    p = [x / (1 + rest) for x in e]
    q = [(rest if x == 1 else 1 + rest - x) / (1 + rest) for x in e]
    shift = -mp.fdot(p, d)
    lost = total * len(z) * float(np.finfo(dtype).tiny) / 16  # its ulp is what matters
    moved = [total * pc * (shift - dc * (1 - 2 * pc)) for pc, dc in zip(p, d, strict=True)]
    value = total * mp.log1p(rest), -mp.fdot(a, d), total * shift, -total * shift
    gradient = [
        (*((total * pc, -ac) if 0 < ac < total else ((total - ac) * pc, -ac * qc)), m, -m)
        for ac, pc, qc, m in zip(a, p, q, moved, strict=True)
    ]
    return value, gradient, [(total * pc * qc, m, -m, lost, -lost) for pc, qc, m in zip(p, q, moved, strict=True)]


def _class_probabilities(y, z, dtype, eps=1e-15, **target):
    # Each class is the positive side of a binary cross-entropy.
    first = [[x[0] if isinstance(x, tuple) else x for x in _probabilities(1, p, dtype, eps)] for p in z]
    a = _exact_targets(y, len(z), **target)
    value, *derivatives = [
        [ac * x if ac else 0 for ac, x in zip(a, xs, strict=True)] for xs in zip(*first, strict=True)
    ]
    return tuple(value), *derivatives


def _class_weights(k):
    return tuple(0.5 + 0.75 * (c % 4) for c in range(k))


def _categorical(k, parameters, soft=False):
    labels = DISTRIBUTION if soft else _classes(k, parameters.get("ignore_index"))
    functions = (
        (_softmax_value, _softmax)
        if "from_logits" in parameters
        else (_class_probabilities_value, _class_probabilities)
    )
    predictions = REAL if "from_logits" in parameters else PROBABILITY
    name = "CategoricalCrossEntropy"
    return Reference(name, [parameters], labels, predictions, *functions, (k,), soft, _class_share)


_TARGETS = [{}, {"label_smoothing": 0.1}, {"pos_weight": 3.0}]
_LOGITS = {"from_logits": True}

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
    Reference("BinaryCrossEntropy", [{**_LOGITS, **x} for x in _TARGETS], UNIT, REAL, _logits_value, _logits),
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
    # Up to 16 classes are computed by columns, more by rows.
    _categorical(1, _LOGITS),
    _categorical(3, _LOGITS),
    _categorical(3, _LOGITS, soft=True),
    _categorical(16, {**_LOGITS, "label_smoothing": 0.1, "class_weight": _class_weights(16), "ignore_index": -100}),
    _categorical(16, _LOGITS, soft=True),
    _categorical(17, _LOGITS),
    _categorical(17, {**_LOGITS, "label_smoothing": 0.1, "class_weight": _class_weights(17)}, soft=True),
    _categorical(40, {**_LOGITS, "class_weight": _class_weights(40), "ignore_index": -100}),
    _categorical(3, {}),
    _categorical(3, {"eps": 0.0}, soft=True),
    _categorical(17, {"label_smoothing": 0.1, "class_weight": _class_weights(17), "ignore_index": -100}),
    _categorical(40, {"eps": 1e-7, "class_weight": _class_weights(40)}, soft=True),
]
# Rows that are computed in pieces: for tests of single samples alone.
LONG_ROWS = [
    _categorical(2049, _LOGITS),
    _categorical(2049, _LOGITS, soft=True),
    _categorical(4100, {**_LOGITS, "label_smoothing": 0.1, "class_weight": _class_weights(4100)}),
]


@dataclass(frozen=True, eq=False)
class Case:
    """One loss with one set of parameters and one kind of label: what the tests run over."""

    name: str
    parameters: dict[str, Any]
    reference: Reference

    def __str__(self):
        parameters = ", ".join(f"{name}={reprlib.repr(x)}" for name, x in self.parameters.items())
        kind = "".join(f" of {k}{' soft' * self.reference.soft}" for k in self.outputs)
        return f"{self.name}({parameters}){kind}"

    @property
    def outputs(self):
        """The shape of one sample's predictions."""
        return self.reference.outputs

    def make(self):
        """The loss, over the instruction set in use."""
        return REGISTRY[self.name](**self.parameters)

    def rows(self, numbers):
        """How many samples have so many predictions."""
        return -(-numbers // math.prod(self.outputs))

    def shapes(self, *samples):
        """The shapes of labels and predictions of so many samples."""
        return (*samples, *(self.outputs if self.reference.soft else ())), (*samples, *self.outputs)

    def sample(self, n, dtype=np.float64, seed=0, wide=False):
        """Labels and predictions."""
        rng = np.random.default_rng(seed)
        domains = self.reference.labels, self.reference.predictions
        return tuple(
            (domain.wide if wide else domain.draw)(rng, shape if len(shape) > 1 else n).astype(dtype)
            for domain, shape in zip(domains, self.shapes(n), strict=True)
        )

    def extremes(self, dtype):
        """Every extreme label with every extreme prediction; where a sample has several, at random."""
        finfo = np.finfo(dtype)
        ends = [np.array(d.extremes(finfo), dtype) for d in (self.reference.labels, self.reference.predictions)]
        ends = [np.unique(x[np.isfinite(x)]) for x in ends]
        if self.outputs:
            n = self.rows(600)
            return self.sample(n, dtype)[0], np.random.default_rng(0).choice(ends[1], (n, *self.outputs))
        y, z = np.meshgrid(*ends)
        return y.ravel(), z.ravel()

    def value(self, y, z):
        """The loss of each sample, in float64."""
        return self.reference.value(np.asarray(y, np.float64), np.asarray(z, np.float64), **self.parameters)

    def shares(self, y, z):
        """What each sample counts in a mean, beside its weight."""
        if self.reference.share is None:
            return np.ones(np.shape(z))
        return self.reference.share(np.asarray(y, np.float64), np.asarray(z, np.float64), **self.parameters)

    def exact(self, y, z, dtype):
        """Value, gradient and hessian of one sample, each number as a tuple of the terms whose sum it is."""
        results = self.reference.exact(_exactly(y), _exactly(z), dtype, **self.parameters)
        return [[_terms(x) for x in result] if isinstance(result, list) else _terms(result) for result in results]


def _exactly(x):
    return [mp.mpf(e) for e in x.tolist()] if np.ndim(x) else mp.mpf(float(x))


def _terms(x):
    return x if isinstance(x, tuple) else (x,)


CASES = [Case(r.name, parameters, r) for r in REFERENCES for parameters in r.parameters]
LONG_CASES = [Case(r.name, parameters, r) for r in LONG_ROWS for parameters in r.parameters]
