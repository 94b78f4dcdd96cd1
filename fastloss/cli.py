"""The command ``fastloss``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with the given arguments (those of the process by default); returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="fastloss", description="Losses and their gradients in one pass, and L1 models with a certificate."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="worked examples, L1 and L2 fits on real data, and timings")
    demo.add_argument(
        "--samples", type=int, default=10_000_000, help="samples of the timings (default: %(default)s)", metavar="N"
    )
    commands.add_parser("info", help="version, compiler, instruction sets and threads")
    options = parser.parse_args(arguments)
    if options.command == "info":
        from fastloss._config import show_config

        show_config()
        return 0
    if options.samples < 1:
        demo.error(f"--samples must be at least 1, got {options.samples}")
    try:
        import sklearn  # noqa: F401
    except ImportError:
        print(
            "fastloss demo fits scikit-learn's data beside scikit-learn itself, which is not installed.\n"
            "Install it with the extra:  pip install 'fastloss[sklearn]'",
            file=sys.stderr,
        )
        return 1
    from fastloss.demo import run

    return run(options.samples)
