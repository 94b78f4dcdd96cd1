"""Print the ratios of a run of the suite as Markdown: ``python -m bench.report results.json``."""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from typing import Any


def header(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return f"{machine['cpu_model']}, {machine['cores']} cores; {machine['instruction_set']}; {versions}."


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}" if seconds < 1 else f"{seconds * 1e3:.0f}"


def tables(benchmarks: list[dict[str, Any]]) -> list[str]:
    """One table for each number of threads: our median time, and each peer's as a multiple of it."""
    medians: dict[tuple[Any, ...], dict[tuple[str, int | None], float]] = defaultdict(dict)
    libraries, threads = {}, set()  # a dict keeps the order of first appearance
    for benchmark in benchmarks:
        info = benchmark["extra_info"]
        row = (info["loss"], info["method"], info["dtype"], info["n"])
        medians[row][info["library"], info["threads"]] = benchmark["stats"]["median"]
        if info["library"] == "fastloss":
            threads.add(info["threads"])
        else:
            libraries[info["library"]] = True
    lines = []
    for count in sorted(threads):
        lines += [
            "",
            f"### {count} thread{'s' if count > 1 else ''}",
            "",
            "| loss | method | dtype | n | fastloss, ms | " + " | ".join(f"{name}, ×" for name in libraries) + " |",
            "|---|---|---|---:|---:|" + "---:|" * len(libraries),
        ]
        for row, times in medians.items():
            ours = times.get(("fastloss", count))
            if ours is None:
                continue
            # What has no threads to choose was measured once.
            theirs = [times.get((name, count), times.get((name, None))) for name in libraries]
            ratios = [f"{time / ours:.3g}" if time is not None else "–" for time in theirs]
            lines.append("| " + " | ".join([*map(str, row), milliseconds(ours), *ratios]) + " |")
    return lines


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", help="JSON of pytest-benchmark: --benchmark-json=results.json")
    with open(parser.parse_args(argv).results, encoding="utf-8") as file:
        results = json.load(file)
    print(header(results["machine_info"]))
    print("\nMedians of one run; × is the peer's time / ours: above 1, fastloss is faster.")
    print("\n".join(tables(results["benchmarks"])))


if __name__ == "__main__":
    sys.exit(main())
