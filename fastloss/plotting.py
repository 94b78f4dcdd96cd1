"""Pictures of results; the one module that knows matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from fastloss.path import Path

__all__ = ["plot_path"]


def plot_path(path: Path, ax: Any = None) -> Any:
    """Draw the coefficients of a path against the strength of the penalty.

    Parameters
    ----------
    path : Path
        From `fastloss.regularization_path`.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If matplotlib is missing; ``pip install matplotlib`` brings it.
    """
    ax = new_axes() if ax is None else ax
    # Only features that are ever used: a sparse X may have a million others.
    models = [path.used_coefficients(i) for i in range(len(path.alphas))]
    ever = np.unique(np.concatenate([used for used, _ in models]))
    lines = np.zeros((len(models), len(ever)))
    for line, (used, values) in zip(lines, models, strict=True):
        line[np.searchsorted(ever, used)] = values
    ax.plot(path.alphas, lines, linewidth=1, marker="o" if len(models) == 1 else None)
    scale = "log" if path.alphas.min() > 0 else "linear"
    ax.set(xscale=scale, xlabel=f"alpha ({scale} scale, penalty weaker to the right)", ylabel="coefficient")
    if path.alphas.max() > path.alphas.min():
        ax.invert_xaxis()
    ax.axhline(0, color="0.7", linewidth=0.8, zorder=0)
    ax.set_title(f"{len(ever)} of {path.n_coefficients} coefficients are used along the path")
    return ax


def new_axes(columns: int = 1) -> Any:
    """Axes of a new figure, or so many side by side.

    Raises
    ------
    ImportError
        If matplotlib is missing; ``pip install matplotlib`` brings it.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise ImportError("plotting needs matplotlib: pip install matplotlib") from None
    return plt.subplots(1, columns, figsize=(7, 4.5) if columns == 1 else (4.5 * columns, 4), layout="constrained")[1]
