"""Linear problems for the tests of objectives and solvers, over every loss that takes any one real prediction."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from reference import CASES, REAL

import fastloss as fl

LINEAR = [case for case in CASES if case.reference.predictions is REAL and not case.outputs]
SMOOTH = [case for case in LINEAR if case.make().smooth]
PENALTIES = [None, fl.L1(0.03), fl.L2(0.1), fl.ElasticNet(0.02, 0.05)]


class Setting(NamedTuple):
    """What an objective may have besides X, y and a loss."""

    weighted: bool
    offset: bool
    intercept: bool
    penalty: Any

    def __str__(self):
        words = [name for name, there in zip(self._fields, self, strict=True) if there is True]
        return "-".join([*words, repr(self.penalty)])


SETTINGS = [Setting(*x) for x in product((False, True), (False, True), (False, True), PENALTIES)]
PENALISED = [setting for setting in SETTINGS if setting.penalty]
# Where the penalty and the offset make no difference.
FEW = [setting for setting in SETTINGS if not setting.offset and setting.penalty in (None, PENALTIES[-1])]


@dataclass
class Problem:
    """The arguments of a `LinearObjective`; its arrays may be replaced."""

    case: Any
    setting: Setting
    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None
    offset: np.ndarray | None

    @classmethod
    def draw(cls, case, setting=SETTINGS[0], n=200, p=6, dtype=np.float64, seed=0):
        rng = np.random.default_rng(seed)
        X = rng.normal(scale=0.5, size=(n, p)) + 0.3
        y = case.sample(n, seed=seed + 1)[0]
        weight = rng.integers(0, 4, n) + (np.arange(n) == 0) if setting.weighted else None
        offset = rng.normal(scale=0.5, size=n) if setting.offset else None
        arrays = [None if x is None else x.astype(dtype) for x in (X, y, weight, offset)]
        return cls(case, setting, *arrays)

    def objective(self, n_threads=None, penalty=..., loss=None):
        return fl.LinearObjective(
            self.X,
            self.y,
            loss or self.case.make(),
            self.setting.penalty if penalty is ... else penalty,
            sample_weight=self.weight,
            fit_intercept=self.setting.intercept,
            offset=self.offset,
            n_threads=n_threads,
        )

    def rows(self, index):
        """The problem of the chosen rows, without their weights."""
        offset = None if self.offset is None else self.offset[index]
        return Problem(self.case, self.setting, self.X[index], self.y[index], None, offset)

    def point(self, seed=2, scale=0.4):
        size = self.X.shape[1] + self.setting.intercept
        return np.random.default_rng(seed).normal(scale=scale, size=size)

    def oracle(self, w):
        """The smooth part and its gradient in NumPy, float64; the loss's own derivative is tested elsewhere."""
        X, y = self.X.astype(np.float64), self.y.astype(np.float64)
        p = X.shape[1]
        coefficients, intercept = w[:p], w[p:].sum()
        z = X @ coefficients + intercept + (0 if self.offset is None else self.offset.astype(np.float64))
        s = np.ones(len(y)) if self.weight is None else self.weight.astype(np.float64)
        l2 = self.setting.penalty.l2 if self.setting.penalty else 0.0
        r = self.case.make().value_and_grad(y, z, reduction="none")[1] * s / s.sum()
        gradient = X.T @ r + 2 * l2 * coefficients
        value = s @ self.case.value(y, z) / s.sum() + l2 * coefficients @ coefficients
        return value, np.append(gradient, r.sum()) if self.setting.intercept else gradient


def bits(*results):
    """Results as bytes: equal only if they are equal to the last bit."""
    return b"".join(np.asarray(x, np.float64).tobytes() for x in results)
