"""The floors in `loops.c`, compiled at run time; in NumPy where there is no compiler."""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

SOURCE = Path(__file__).with_name("loops.c")
FLAGS = ("-O3", "-march=native", "-fopenmp", "-shared", "-fPIC")


@lru_cache
def library() -> ctypes.CDLL | None:
    """The compiled loops; None without a compiler that knows OpenMP."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        target = str(Path(folder) / "loops.so")
        for compiler in filter(None, (os.environ.get("CC"), "cc", "gcc", "clang")):
            command = [*compiler.split(), *FLAGS, str(SOURCE), "-o", target]
            try:
                subprocess.run(command, check=True, capture_output=True)
                loops = ctypes.CDLL(target)  # stays loaded when the file is gone
            except (OSError, subprocess.CalledProcessError):
                continue
            loops.sum.restype = ctypes.c_double
            return loops
    return None


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)  # keeps the array alive


def _slices(array: np.ndarray, threads: int) -> list[np.ndarray]:
    return np.array_split(array, threads)  # views


def subtractions(a: np.ndarray, b: np.ndarray, out: np.ndarray, threads: int) -> dict[str, Callable[[], object]]:
    """Loops that read two arrays of float64 and write a third, by name."""
    loops = library()
    if loops:
        arguments = (_pointer(a), _pointer(b), _pointer(out), ctypes.c_int64(len(a)), ctypes.c_int(threads))
        return {name: partial(getattr(loops, f"subtract_{name}"), *arguments) for name in ("stream", "plain")}
    pool = ThreadPoolExecutor(threads)
    parts = [_slices(array, threads) for array in (a, b, out)]
    return {"numpy": lambda: list(pool.map(np.subtract, *parts))}  # the third positional argument is out


def summation(x: np.ndarray, threads: int) -> Callable[[], float]:
    """A loop that reads all of a C-contiguous array of float64."""
    loops = library()
    if loops:
        return partial(loops.sum, _pointer(x), ctypes.c_int64(x.size), ctypes.c_int(threads))
    pool = ThreadPoolExecutor(threads)
    return lambda: sum(pool.map(np.sum, _slices(x.ravel(), threads)))
