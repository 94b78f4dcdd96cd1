"""The data, and what is asked of it. Data are made once, in a folder, from where each solver reads its own layout."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.signal import lfilter

from bench.solvers.gap import LOSSES, Vector, lambda_max

SEED = 20240229
FRACTIONS = (0.1, 0.01, 0.001)  # of lambda_max, one model each
N_ALPHAS, EPS = 100, 1e-3  # of a path; the last penalty over the first
RELEVANT = 20  # entries that a column has at least for the truth to use it
Design = Any  # a NumPy array or a SciPy sparse array


@dataclass(frozen=True)
class Data:
    """Numbers to fit; ``make(random generator, *size)`` returns X and a vector of labels for each loss."""

    name: str
    make: Callable[..., tuple[Design, dict[str, Vector]]]
    size: tuple[int, ...]
    small: tuple[int, ...]  # with --quick
    layout: str  # for us: "C", "F", "csr" or "csc"
    losses: tuple[str, ...] = LOSSES
    fractions: tuple[float, ...] = FRACTIONS
    paths: tuple[str, ...] = ()  # losses with which a path is asked as well

    @property
    def sparse(self) -> bool:
        return self.layout in ("csr", "csc")

    def save(self, folder: Path, *, quick: bool) -> dict[str, float]:
        """Make them and write them; returns lambda_max for each loss."""
        X, labels = self.make(np.random.default_rng(SEED), *(self.small if quick else self.size))
        if self.sparse:
            X = sp.csc_array(X)
            X.sort_indices()
            np.savez(folder / "X.npz", shape=X.shape, data=X.data, indices=X.indices, indptr=X.indptr)
        else:
            np.save(folder / "X.npy", X)
        for loss in self.losses:
            np.save(folder / f"{loss}.npy", labels[loss])
        limits = {loss: lambda_max(X, labels[loss], loss) for loss in self.losses}
        (folder / "shape.json").write_text(json.dumps(X.shape))
        return limits


def load(folder: Path, loss: str, layout: str) -> tuple[Design, Vector]:
    """X in one of the four layouts, and y: float64, sparse indices int32."""
    y = np.load(folder / f"{loss}.npy")
    if layout in ("C", "F"):
        return np.array(np.load(folder / "X.npy", mmap_mode="r"), order="C" if layout == "C" else "F"), y
    with np.load(folder / "X.npz") as parts:
        indices, indptr = parts["indices"].astype(np.int32), parts["indptr"].astype(np.int32)
        # Matrices, not arrays: what every library takes.
        X = sp.csc_matrix((parts["data"], indices, indptr), shape=tuple(parts["shape"]))
    return (X if layout == "csc" else X.tocsr()), y


@dataclass(frozen=True)
class Problem:
    """A model, or a path of models, to be found."""

    data: Data
    loss: str
    fraction: float | None  # lambda / lambda_max; None: a path

    @property
    def name(self) -> str:
        return f"{self.data.name} {self.loss} " + ("path" if self.fraction is None else f"{self.fraction:g}")

    def alphas(self, largest: float, *, quick: bool) -> list[float]:
        """The penalties, given lambda_max; a path has several."""
        path = np.geomspace(1, 0.1, 10) if quick else np.geomspace(1, EPS, N_ALPHAS)
        return [largest * fraction for fraction in ([self.fraction] if self.fraction else path.tolist())]


def labels_of(rng: np.random.Generator, z: Vector) -> dict[str, Vector]:
    """For predictions of a true model: with noise of a third of their size; and classes."""
    z = z / z.std()
    noisy = z + rng.standard_normal(len(z)) / 3
    return {"lasso": noisy - noisy.mean(), "logistic": (rng.random(len(z)) < 1 / (1 + np.exp(-2 * z))).astype(float)}


def dense(rng: np.random.Generator, n: int, p: int, relevant: int, correlation: float = 0.6) -> Any:
    """Normal columns, each correlated with the one before it: an autoregressive process along the rows."""
    X = rng.standard_normal((n, p))
    X[:, 0] /= np.sqrt(1 - correlation**2)
    X = np.ascontiguousarray(lfilter([np.sqrt(1 - correlation**2)], [1, -correlation], X, axis=1))
    truth = np.zeros(p)
    truth[rng.choice(p, relevant, replace=False)] = rng.standard_normal(relevant)
    return X, labels_of(rng, X @ truth)


def sparse_truth(rng: np.random.Generator, X: Any, relevant: int) -> Vector:
    """Coefficients on columns that are not all but empty, if there are such."""
    counts = np.diff(X.indptr)
    often = np.flatnonzero(counts >= min(RELEVANT, np.sort(counts)[-relevant]))
    truth = np.zeros(X.shape[1])
    chosen = rng.choice(often, relevant, replace=False)
    truth[chosen] = rng.standard_normal(relevant) / np.sqrt(X[:, chosen].power(2).sum(axis=0))
    return truth


def text(rng: np.random.Generator, n: int, p: int, words: int, relevant: int) -> Any:
    """Documents of so many words, of which the k-th most popular is 1 / k as frequent; tf-idf, rows of norm 1."""
    popularity = np.cumsum(1 / np.arange(1, p + 1))
    columns = np.searchsorted(popularity, rng.random(n * words) * popularity[-1])
    columns = rng.permutation(p)[columns]
    X = sp.coo_array((np.ones(n * words), (np.repeat(np.arange(n), words), columns)), shape=(n, p)).tocsc()
    X.data = np.log1p(X.data) * np.repeat(np.log((n + 1) / (np.diff(X.indptr) + 1)) + 0.1, np.diff(X.indptr))
    X = sp.csc_array(X.multiply(1 / np.sqrt(X.power(2).sum(axis=1))[:, None]))
    return X, labels_of(rng, X @ sparse_truth(rng, X, relevant))


def scattered(rng: np.random.Generator, n: int, p: int, nonzeros: int, relevant: int) -> Any:
    """Normal entries, so many a row, in any columns."""
    columns = rng.integers(0, p, n * nonzeros)
    rows = np.repeat(np.arange(n), nonzeros)
    X = sp.coo_array((rng.standard_normal(n * nonzeros), (rows, columns)), shape=(n, p)).tocsc()
    return X, labels_of(rng, X @ sparse_truth(rng, X, relevant))


def spectra(rng: np.random.Generator, n: int, p: int, substances: int) -> Any:
    """Mixtures of so many smooth curves and a little noise, standardised: neighbours are all but the same."""
    place, centre = np.linspace(0, 1, p), rng.uniform(0, 1, (substances, 1))
    curves = np.exp(-0.5 * ((place - centre) / rng.uniform(0.05, 0.3, (substances, 1))) ** 2)
    amounts = rng.gamma(2.0, 0.5, (n, substances))
    X = amounts @ curves + 1e-3 * rng.standard_normal((n, p))
    return (X - X.mean(axis=0)) / X.std(axis=0), labels_of(rng, amounts[:, 0] - amounts[:, 1])


def real(name: str, rng: np.random.Generator) -> Any:
    """One of scikit-learn's, standardised; of the digits, whether they are odd."""
    from sklearn import datasets

    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    X = X - X.mean(axis=0)
    X = np.ascontiguousarray(X[:, X.std(axis=0) > 0])
    return X / X.std(axis=0), {"lasso": y - y.mean(), "logistic": (y % 2).astype(float)}


# Sizes: rows, columns, (entries a row,) columns that matter. Quick ones are small enough for any solver.
DATA = (
    Data("tall", dense, (200_000, 100, 20), (1000, 20, 5), "C", paths=LOSSES),
    Data("wide", dense, (1000, 5000, 50), (60, 150, 5), "F", paths=LOSSES),
    Data("widest", dense, (500, 20_000, 25), (40, 300, 5), "F"),
    Data("square", dense, (2000, 2000, 100), (100, 100, 10), "F", paths=("lasso",)),
    Data("text", text, (20_000, 100_000, 60, 300), (200, 500, 10, 10), "csc", paths=LOSSES),
    Data("sparse", scattered, (5000, 500_000, 500, 100), (100, 2000, 30, 10), "csc"),
    Data("news20", text, (20_000, 1_300_000, 455, 300), (200, 2000, 40, 10), "csc", fractions=(0.1, 0.02)),
    Data("spectra", spectra, (300, 1000, 12), (40, 60, 4), "F", paths=LOSSES),
    Data("breast cancer", partial(real, "breast_cancer"), (), (), "C", losses=("logistic",), paths=("logistic",)),
    Data("digits", partial(real, "digits"), (), (), "C", losses=("logistic",)),
    Data("diabetes", partial(real, "diabetes"), (), (), "C", losses=("lasso",), paths=("lasso",)),
)


def problems() -> Iterator[Problem]:
    """All, in the order in which they are measured: those with the same data in a row."""
    for data in DATA:
        for loss in data.losses:
            yield from (Problem(data, loss, fraction) for fraction in data.fractions)
        yield from (Problem(data, loss, None) for loss in data.paths)
