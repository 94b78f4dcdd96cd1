"""A class a solver: which problems suit it, its favourite layout of X, and how it is asked for a model.

All find the model of `gap`, no intercept. Limits on iterations are out of the way: the tolerance decides.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from bench.solvers.gap import LOSSES, Vector, lambda_max
from bench.solvers.problems import Problem

COLUMNS, ROWS = ("F", "csc"), ("C", "csr")  # layouts of dense X, of sparse X
SMALL = 2_000_000  # entries of X that the slowest solvers are given, at most
MANY = 1_000_000  # iterations


def decades(first: int, last: int) -> tuple[float, ...]:
    """10**first, and so on down to 10**last."""
    return tuple(10.0**k for k in range(first, last - 1, -1))


class Solver:
    """One solver of one library, with the data of one problem."""

    library: ClassVar[str]  # as it is called in tables; one may have several solvers, of which its best counts
    modules: ClassVar[tuple[str, ...]]  # imported before anything is timed
    layouts: ClassVar[tuple[str, str]] = COLUMNS
    tolerances: ClassVar[tuple[float, ...]] = decades(-2, -12)
    losses: ClassVar[tuple[str, ...]] = LOSSES
    paths: ClassVar[tuple[str, ...]] = ()  # losses of which it finds a path

    @classmethod
    def layout(cls, problem: Problem) -> str:
        return cls.layouts[problem.data.sparse]

    @classmethod
    def suits(cls, problem: Problem) -> bool:
        return problem.loss in (cls.losses if problem.fraction else cls.paths)

    def __init__(self, X: Any, y: Vector, loss: str, threads: int) -> None:
        self.X, self.y, self.loss, self.threads = X, y, loss, threads
        self.sign = 2 * y - 1 if loss == "logistic" else y  # labels -1 and 1
        self.n = len(y)

    def solve(self, lam: float, tol: float) -> Any:
        """The coefficients for one penalty."""
        raise NotImplementedError

    def path(self, alphas: Vector, tol: float) -> Any:
        """The coefficients for descending penalties, a row each."""
        raise NotImplementedError


class FastLoss(Solver):
    library, modules = "fastloss", ("fastloss",)
    paths = LOSSES

    @classmethod
    def layout(cls, problem):
        return problem.data.layout

    def loss_and_scale(self):
        """Our loss, and its ratio to that of `gap`: our squared error has no half."""
        import fastloss as fl

        return (fl.SquaredError(), 2) if self.loss == "lasso" else (fl.BinaryCrossEntropy(from_logits=True), 1)

    def solve(self, lam, tol):
        import fastloss as fl

        loss, scale = self.loss_and_scale()
        objective = fl.LinearObjective(
            self.X, self.y, loss, fl.L1(scale * lam), fit_intercept=False, n_threads=self.threads
        )
        return fl.minimize(objective, tol=tol).x

    def path(self, alphas, tol):
        import fastloss as fl

        loss, scale = self.loss_and_scale()
        eps = alphas[-1] / alphas[0]
        path = fl.regularization_path(
            self.X, self.y, loss, l1_ratio=1.0, n_alphas=len(alphas), eps=eps, fit_intercept=False, tol=tol
        )
        np.testing.assert_allclose(path.alphas, scale * alphas, rtol=1e-6)
        return path.coefs


class Descent(Solver):
    """scikit-learn's coordinate descent."""

    library, modules = "scikit-learn", ("sklearn.linear_model",)
    losses = paths = ("lasso",)
    gram: ClassVar[bool] = False

    def solve(self, lam, tol):
        from sklearn.linear_model import Lasso

        model = Lasso(alpha=lam, fit_intercept=False, tol=tol, max_iter=MANY, precompute=self.gram)
        return model.fit(self.X, self.y).coef_

    def path(self, alphas, tol):
        from sklearn.linear_model import lasso_path

        return lasso_path(self.X, self.y, alphas=alphas, tol=tol, max_iter=MANY, precompute=self.gram)[1].T


class GramDescent(Descent):
    """The same on X'X, which it computes in the timed region as well."""

    gram = True

    @classmethod
    def suits(cls, problem):
        n, p = (*problem.data.size, 0, 0)[:2]
        return super().suits(problem) and not problem.data.sparse and n >= p


class LibLinear(Solver):
    library, modules = "scikit-learn", ("sklearn.linear_model",)
    layouts = ROWS
    losses = ("logistic",)
    name: ClassVar[str] = "liblinear"
    iterations: ClassVar[int] = 1000  # of Newton: near the limits of precision it would go on for ever

    def solve(self, lam, tol):
        from sklearn.linear_model import LogisticRegression

        options = {"l1_ratio": 1.0, "solver": self.name, "fit_intercept": False, "max_iter": self.iterations}
        return LogisticRegression(C=1 / (self.n * lam), tol=tol, random_state=0, **options).fit(self.X, self.y).coef_[0]


class Saga(LibLinear):
    name = "saga"
    iterations = MANY

    @classmethod
    def suits(cls, problem):
        # It takes minutes on anything larger. Real data have no size here: all of them are small.
        return super().suits(problem) and np.prod(problem.data.size[:2]) <= SMALL and not problem.data.sparse


class Celer(Solver):
    library, modules = "celer", ("celer",)
    paths = LOSSES

    def solve(self, lam, tol):
        from celer import Lasso, LogisticRegression

        options = {"fit_intercept": False, "tol": tol, "max_iter": 1000, "max_epochs": MANY}
        if self.loss == "lasso":
            return Lasso(alpha=lam, **options).fit(self.X, self.y).coef_
        return LogisticRegression(C=1 / (self.n * lam), **options).fit(self.X, self.sign).coef_[0]

    def path(self, alphas, tol):
        from celer import celer_path

        kind, scale = ("lasso", 1) if self.loss == "lasso" else ("logreg", self.n)
        options = {"max_iter": 1000, "max_epochs": MANY, "prune": 1, "use_PN": kind == "logreg"}
        return celer_path(self.X, self.sign, kind, alphas=scale * alphas, tol=tol, **options)[1].T


class SkGLM(Solver):
    """Its estimators: coordinate descent for the lasso, proximal Newton for logistic regression."""

    library, modules = "skglm", ("skglm",)
    paths = LOSSES

    def model(self, lam, tol, **options):
        from skglm import Lasso, SparseLogisticRegression

        if self.loss == "lasso":
            return Lasso(lam, max_iter=1000, max_epochs=MANY, tol=tol, fit_intercept=False, **options)
        return SparseLogisticRegression(lam, max_iter=1000, tol=tol, fit_intercept=False, **options)

    def solve(self, lam, tol):
        return self.model(lam, tol).fit(self.X, self.sign).coef_.ravel()

    def path(self, alphas, tol):
        # Not its `path`, which the estimator for logistic regression does not have.
        model, coefs = self.model(alphas[0], tol, warm_start=True), []
        for lam in alphas:
            model.alpha = lam
            coefs.append(model.fit(self.X, self.sign).coef_.ravel().copy())
        return np.array(coefs)


class SkGLMAnderson(Solver):
    """Its extrapolated coordinate descent on the logistic loss itself: often the faster one."""

    library, modules = "skglm", ("skglm",)
    losses = ("logistic",)

    def solve(self, lam, tol):
        from skglm import GeneralizedLinearEstimator
        from skglm.datafits import Logistic
        from skglm.penalties import L1
        from skglm.solvers import AndersonCD

        solver = AndersonCD(max_iter=1000, max_epochs=MANY, tol=tol, fit_intercept=False)
        return GeneralizedLinearEstimator(Logistic(), L1(lam), solver).fit(self.X, self.sign).coef_.ravel()


class Adelie(Solver):
    library, modules = "adelie", ("adelie",)
    tolerances = decades(-4, -20)  # of squared changes
    paths: ClassVar[tuple[str, ...]] = LOSSES

    def __init__(self, X, y, loss, threads):
        import adelie as ad

        super().__init__(X, y, loss, threads)
        wrap = ad.matrix.dense if isinstance(X, np.ndarray) else ad.matrix.sparse
        self.matrix = wrap(X, method="naive", n_threads=threads)
        self.largest = lambda_max(X, y, loss)

    def path(self, alphas, tol):
        import adelie as ad

        family = ad.glm.gaussian if self.loss == "lasso" else ad.glm.binomial
        # Tolerances of the explained deviance at 1 and 0 do not end a path before its last penalty.
        options = {"early_exit": False, "adev_tol": 1.0, "ddev_tol": 0.0, "intercept": False, "progress_bar": False}
        options |= {"max_iters": MANY, "irls_max_iters": MANY, "n_threads": self.threads}
        state = ad.grpnet(self.matrix, family(self.y), lmda_path=alphas, tol=tol, irls_tol=tol, **options)
        return state.betas.toarray()

    def solve(self, lam, tol):
        return self.path(np.array([lam]), tol)[-1]


class AdelieWarm(Adelie):
    """By way of larger penalties, as it is meant to be used."""

    paths = ()
    steps: ClassVar[int] = 10

    def solve(self, lam, tol):
        return self.path(np.geomspace(self.largest, lam, self.steps), tol)[-1]


class Glum(Solver):
    library, modules = "glum", ("glum",)

    @classmethod
    def suits(cls, problem):
        # Its Hessian is dense, p by p: where columns are many it is not meant to be used.
        n, p = (*problem.data.size, 1, 0)[:2]
        return super().suits(problem) and not problem.data.sparse and n >= 100 * p

    def solve(self, lam, tol):
        from glum import GeneralizedLinearRegressor

        family = "normal" if self.loss == "lasso" else "binomial"
        options = {"alpha": lam, "l1_ratio": 1, "fit_intercept": False, "gradient_tol": tol, "max_iter": 10_000}
        return GeneralizedLinearRegressor(family=family, **options).fit(self.X, self.y).coef_


#: By name; ours first.
SOLVERS: dict[str, type[Solver]] = {
    "fastloss": FastLoss,
    "sklearn": Descent,
    "sklearn-gram": GramDescent,
    "liblinear": LibLinear,
    "saga": Saga,
    "celer": Celer,
    "skglm": SkGLM,
    "skglm-anderson": SkGLMAnderson,
    "adelie": Adelie,
    "adelie-warm": AdelieWarm,
    "glum": Glum,
}
LIBRARIES = tuple(dict.fromkeys(solver.library for solver in SOLVERS.values()))
