"""Results as Markdown: seconds on each problem, and how we do against the fastest of the others."""

from __future__ import annotations

import math
import statistics
from typing import Any

from bench.solvers.peers import LIBRARIES, SOLVERS
from bench.solvers.problems import EPS, N_ALPHAS
from bench.solvers.protocol import OURS, TARGET

Results = dict[str, Any]  # as in the JSON file


def fastest(solvers: dict[str, Any], library: str | None = None) -> str | None:
    """The name of the fastest solver of a library; without one, of all but ours."""
    names = [
        name
        for name, outcome in solvers.items()
        if outcome["seconds"] and (SOLVERS[name].library == library if library else name != OURS)
    ]
    return min(names, key=lambda name: statistics.median(solvers[name]["seconds"]), default=None)


def ratio(solvers: dict[str, Any]) -> float | None:
    """The time of the fastest other solver over ours: the median over the rounds in which both had a turn."""
    best = fastest(solvers)
    if best is None or not solvers.get(OURS, {}).get("seconds"):
        return None
    times: list[list[float]] = [solvers[name]["seconds"] for name in (best, OURS)]
    return float(statistics.median(theirs / ours for theirs, ours in zip(*times, strict=False)))


def cell(solvers: dict[str, Any], library: str, best: str | None) -> str:
    name = fastest(solvers, library)
    if name is not None:
        text = seconds(statistics.median(solvers[name]["seconds"]))
        return f"**{text}**" if name == best else text
    failed = [outcome["points"] for name, outcome in solvers.items() if SOLVERS[name].library == library]
    least = min((point["gap"] for points in failed for point in points), default=math.inf)
    if math.isfinite(least) and failed:
        return f"gap {least:.0e}"
    return "✗" if failed else "–"


def seconds(value: float) -> str:
    """Three digits, never an exponent."""
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}" if value > 0 else "0"


def header(results: Results) -> list[str]:
    machine, options = results["machine"], results["options"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return [
        f"{machine['cpu_model']}, {machine['cores']} cores; {machine['instruction_set']}; {versions}; "
        f"{results['date']}; `python -m bench.solvers`{' with small data: no figures' * options['quick']}.",
        f"Seconds to a duality gap of {TARGET:g} of the loss at w = 0, {options['threads']} threads, medians of up to "
        f"{options['rounds']} rounds; for each solver its loosest tolerance that reaches it. **Bold**: the fastest but "
        f"us; faster: its time / ours. "
        f"“gap”: not reached, or a run took more than {options['limit']:g} s; ✗: no result; –: not asked.",
    ]


def markdown(results: Results) -> str:
    problems = results["problems"]
    libraries = [x for x in LIBRARIES if any(SOLVERS[s].library == x for p in problems.values() for s in p["solvers"])]
    lines = [*header(results), "", "| problem | " + " | ".join(libraries) + " | faster |"]
    lines.append("|---|" + "---:|" * (len(libraries) + 1))
    for name, problem in problems.items():
        best, factor = fastest(problem["solvers"]), ratio(problem["solvers"])
        cells = [cell(problem["solvers"], library, best) for library in libraries]
        lines.append(f"| {name} | " + " | ".join(cells) + (f" | {factor:.2f} × |" if factor else " | – |"))
    return "\n".join([*lines, "", *summary(problems)])


def summary(problems: dict[str, Any]) -> list[str]:
    """Geometric means, of single models and of paths."""
    lines = []
    for kind, paths in (("problems", False), ("paths", True)):
        chosen = {name: problem["solvers"] for name, problem in problems.items() if problem["path"] == paths}
        factors = {name: factor for name, solvers in chosen.items() if (factor := ratio(solvers)) is not None}
        # Where we have no time and another has, there is no ratio: it is said, not left out.
        lost = [name for name, solvers in chosen.items() if fastest(solvers) and name not in factors]
        if factors:
            mean, worst = statistics.geometric_mean(factors.values()), min(factors, key=lambda name: factors[name])
            slower = sum(factor < 1 for factor in factors.values())
            lines.append(
                f"{len(factors)} {kind}: {mean:.2f} × as fast as the fastest of the others in the geometric mean, "
                f"slower on {slower}, the least {factors[worst]:.2f} × ({worst})."
            )
            lines.append("")
        if lost:
            lines += [f"No time of ours on {len(lost)} {kind}: {', '.join(lost)}.", ""]
    return [*lines, *last_models(problems)]


def last_models(problems: dict[str, Any]) -> list[str]:
    """A path's time over that of its last model alone: ours, and that of the fastest of the others."""
    rows = []
    for name, problem in problems.items():
        alone = problems.get(name.replace(" path", f" {EPS:g}"))
        if not (problem["path"] and alone and (path := median(problem["solvers"], OURS))):
            continue
        times = (median(alone["solvers"], OURS), median(alone["solvers"], fastest(alone["solvers"])))
        rows.append(f"| {name} | " + " | ".join(f"{path / time:.2g}" if time else "–" for time in times) + " |")
    if not rows:
        return []
    head = f"| our path of {N_ALPHAS} / its last model alone | ours | the fastest other's |"
    return [head, "|---|---:|---:|", *rows]


def median(solvers: dict[str, Any], name: str | None) -> float | None:
    """The median time of a solver; None where there is none."""
    times = solvers.get(name or "", {}).get("seconds")
    return float(statistics.median(times)) if times else None
