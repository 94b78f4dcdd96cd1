"""The duality gap against time: a panel a problem, a line a solver, a point a tolerance."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from bench.solvers.peers import LIBRARIES, SOLVERS
from bench.solvers.protocol import OURS, TARGET

COLUMNS = 4  # of panels
FLOOR = 1e-13  # of gaps: below is rounding, and may be negative


def style(name: str) -> dict[str, Any]:
    """A colour a library, a marker a solver of it; ours stands out."""
    mates = [other for other in SOLVERS if SOLVERS[other].library == SOLVERS[name].library]
    k = mates.index(name)
    ours = {"linewidth": 2.2, "zorder": 3, "color": "black"} if name == OURS else {"linewidth": 1.2}
    colour = f"C{LIBRARIES.index(SOLVERS[name].library)}"
    return {"color": colour, "marker": "os^D"[k], "linestyle": ("-", "--", ":", "-.")[k], "markersize": 4} | ours


def draw(problems: dict[str, Any], path: Path) -> None:
    """Write the picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    shown = {name: problem for name, problem in problems.items() if any_points(problem)}
    if not shown:
        raise ValueError("there is nothing to draw: no solver gave a result")
    columns = min(COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(4.0 * columns, 3.0 * rows + 0.8), squeeze=False, layout="constrained"
    )
    handles: dict[str, Any] = {}
    for panel, (name, problem) in zip(axes.flat, shown.items(), strict=False):
        for solver, outcome in problem["solvers"].items():
            # In the order of their tolerances, not of time: the timer's noise shows as such.
            points = [(point["seconds"], max(point["gap"], FLOOR)) for point in outcome["points"]]
            if points:
                (handles[solver],) = panel.loglog(*zip(*points, strict=True), label=solver, **style(solver))
        panel.axhline(TARGET, color="0.6", linewidth=0.8, linestyle=":", zorder=0)
        decades(panel)
        panel.set_title(name, fontsize=10)
        panel.grid(alpha=0.25)
        panel.tick_params(labelsize=8)
    for panel in axes.flat[len(shown) :]:
        panel.set_axis_off()
    for panel in axes[:, 0]:
        panel.set_ylabel("gap / loss at w = 0", fontsize=9)
    for panel in list(axes.flat[: len(shown)])[-columns:]:
        panel.set_xlabel("seconds", fontsize=9)
    order = [solver for solver in SOLVERS if solver in handles]
    figure.legend(
        [handles[s] for s in order], order, loc="outside upper center", ncols=min(len(order), 2 * columns), fontsize=9
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def decades(panel: Any) -> None:
    """Let the axis of time go from a power of ten to another, with no labels between."""
    from matplotlib.ticker import NullFormatter

    low, high = panel.get_xlim()
    panel.set_xlim(10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high)))
    panel.xaxis.set_minor_formatter(NullFormatter())


def any_points(problem: dict[str, Any]) -> bool:
    return any(outcome["points"] for outcome in problem["solvers"].values())
