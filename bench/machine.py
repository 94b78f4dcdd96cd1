"""What a figure was measured on: no figure is printed without it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

# Some are published under several names.
DISTRIBUTIONS = ("fastloss", "numpy", "scipy", "scikit-learn", "torch", "xgboost", "xgboost-cpu", "lightgbm", "numba")


def cpu_model() -> str:
    """The CPU's name as the system tells it; with family and model, since a virtual one may be called "AMD EPYC"."""
    try:
        lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
    except OSError:
        lines = []
    facts = {name.strip(): value.strip() for name, _, value in reversed(lines)}  # of the first one
    if "model name" in facts:
        numbers = [f"{name.split()[-1]} {facts[name]}" for name in ("cpu family", "model") if name in facts]
        return facts["model name"] + (f" ({', '.join(numbers)})" if numbers else "")
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
        if asked.stdout.strip():
            return asked.stdout.strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def held_to(isa: str) -> dict[str, str]:
    """An environment in which nobody uses more than an instruction set: as on a CPU that has no more.

    fastloss and NumPy, OpenBLAS, PyTorch with oneDNN, and the C library's exp and log, which scikit-learn calls.
    """
    environment = {"FASTLOSS_ISA": isa}
    if isa not in ("baseline", "avx2"):
        return environment
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    disabled = [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]
    glibc = ["AVX512F", "AVX512VL", "AVX512BW", "AVX512DQ", "AVX512CD"]
    if isa == "avx2":
        disabled = [name for name in disabled if name.startswith(("AVX512", "X86_V4"))]
    else:
        glibc += ["AVX", "AVX2", "FMA"]
    return environment | {
        "NPY_DISABLE_CPU_FEATURES": " ".join(disabled),
        "OPENBLAS_CORETYPE": "Haswell" if isa == "avx2" else "Nehalem",
        "ATEN_CPU_CAPABILITY": "avx2" if isa == "avx2" else "default",
        "ONEDNN_MAX_CPU_ISA": "AVX2" if isa == "avx2" else "SSE41",
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=" + ",".join(f"-{name}" for name in glibc),
    }


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def describe() -> dict[str, Any]:
    """Machine, instruction set in use and versions, for JSON."""
    from fastloss import _runtime

    return {
        "cpu_model": cpu_model(),
        "cores": cores(),
        "instruction_set": _runtime.instruction_set(),
        "compiler": _runtime.compiler()[0],
        "versions": versions(),
    }
