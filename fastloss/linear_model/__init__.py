"""Estimators with scikit-learn's names, parameters, attributes and scaling: change the import and get the same model.

Each, but for `LossRegressor`, is a subclass of scikit-learn's class of its name, which it fits by `fastloss.minimize`
or `fastloss.regularization_path`; the docstrings say where they differ. Needs ``pip install 'fastloss[sklearn]'``.
"""

try:
    import sklearn  # noqa: F401
except ImportError:
    raise ImportError("fastloss.linear_model needs scikit-learn: pip install 'fastloss[sklearn]'") from None

from fastloss.linear_model._logistic import LogisticRegression, LogisticRegressionCV
from fastloss.linear_model._loss import LossRegressor
from fastloss.linear_model._regression import ElasticNet, HuberRegressor, Lasso, PoissonRegressor
from fastloss.linear_model._selection import ElasticNetCV, LassoCV

__all__ = [
    "ElasticNet",
    "ElasticNetCV",
    "HuberRegressor",
    "Lasso",
    "LassoCV",
    "LogisticRegression",
    "LogisticRegressionCV",
    "LossRegressor",
    "PoissonRegressor",
]
