"""What this installation is made of."""

from __future__ import annotations

import platform

from fastloss import _runtime
from fastloss._version import __version__


def show_config() -> None:
    """Print version, compiler, instruction sets compiled and chosen, and threads.

    ``FASTLOSS_ISA`` chooses the instruction set when the package is imported; `set_num_threads`, ``OMP_NUM_THREADS``
    and ``threadpoolctl`` the number of threads.
    """
    import numpy as np

    compiler, openmp = _runtime.compiler()
    compiled = _runtime.compiled_instruction_sets()
    usable = [name for name in compiled if _runtime.cpu_supports(name)]
    rows = {
        "fastloss": __version__,
        "Python, NumPy": f"{platform.python_version()}, {np.__version__} on {platform.system()} {platform.machine()}",
        "compiler": compiler,
        "instruction sets": f"{', '.join(compiled)} compiled; this CPU runs {', '.join(usable)}",
        "in use": _runtime.instruction_set(),
        "OpenMP": str(openmp) if openmp else "none: one thread",
        "threads": str(_runtime.get_num_threads()),
    }
    width = max(map(len, rows))
    for name, text in rows.items():
        print(f"{name:<{width}}  {text}")
