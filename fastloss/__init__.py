"""Fused, compiled kernels for losses and their gradients, and L1 models fitted on them.

>>> import fastloss as fl
>>> loss = fl.BinaryCrossEntropy(from_logits=True)
>>> value, gradient = loss.value_and_grad([1, 0], [0.0, 0.0])
>>> round(value, 6), gradient.tolist()
(0.693147, [-0.25, 0.25])
"""

# First: it loads OpenMP.
from fastloss import _openmp  # noqa: F401 # isort: skip
from fastloss import likelihood, losses, vmath
from fastloss._config import show_config
from fastloss._include import get_include
from fastloss._linear_cross_entropy import linear_cross_entropy
from fastloss._runtime import get_num_threads, set_num_threads
from fastloss._version import __version__
from fastloss.custom import CustomLoss, custom_loss
from fastloss.functional import (
    binary_cross_entropy,
    categorical_cross_entropy,
    huber,
    mae,
    mse,
    poisson_nll,
    quantile_loss,
    rmse,
)
from fastloss.losses import *  # noqa: F403 -- so that a new loss is exported by its own file
from fastloss.objective import LinearObjective
from fastloss.path import Path, regularization_path
from fastloss.penalties import L1, L2, ElasticNet
from fastloss.solvers import ConvergenceWarning, NonConvexWarning, Result, minimize

__all__ = [
    "L1",
    "L2",
    "ConvergenceWarning",
    "CustomLoss",
    "ElasticNet",
    "LinearObjective",
    "NonConvexWarning",
    "Path",
    "Result",
    "__version__",
    "binary_cross_entropy",
    "categorical_cross_entropy",
    "custom_loss",
    "get_include",
    "get_num_threads",
    "huber",
    "likelihood",
    "linear_cross_entropy",
    "mae",
    "minimize",
    "mse",
    "poisson_nll",
    "quantile_loss",
    "regularization_path",
    "rmse",
    "set_num_threads",
    "show_config",
    "vmath",
]
__all__ += losses.__all__
