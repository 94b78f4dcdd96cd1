"""Compiled kernels on disk, beside those of Numba: under ``__pycache__`` of the user's file, or ``NUMBA_CACHE_DIR``.

Numba's own cache knows the bytecode of one function. The key here holds all that goes into the machine code: the
functions that are called, the constants they see, and this package.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import warnings
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
from numba.core.caching import CompileResultCacheImpl, IndexDataCacheFile
from numba.core.dispatcher import Dispatcher
from numba.core.registry import cpu_target


class NotCacheable(Exception):
    """A function uses what cannot be compared with what it was in another process."""


def fingerprint(thing: Any, seen: tuple[Any, ...] = ()) -> str:
    """A text that is equal for equal functions and constants, in every process."""
    if any(thing is other for other in seen):
        return "recursion"
    seen = (*seen, thing)
    if isinstance(thing, Dispatcher):
        thing = thing.py_func
    if isinstance(thing, FunctionType):
        module = thing.__module__ or ""
        if module.split(".")[0] in ("fastloss", "numba", "numpy", "math"):
            return f"{module}.{thing.__qualname__}"
        cells = [cell.cell_contents for cell in thing.__closure__ or ()]
        used = [thing.__globals__[name] for name in _names(thing.__code__) if name in thing.__globals__]
        parts = [thing.__code__, *cells, *used, *(thing.__defaults__ or ())]
        return f"function({', '.join(fingerprint(part, seen) for part in parts)})"
    if isinstance(thing, CodeType):
        constants = ", ".join(fingerprint(constant, seen) for constant in thing.co_consts)
        return f"code({thing.co_code!r}, {thing.co_names}, {thing.co_varnames}, {thing.co_freevars}, {constants})"
    if isinstance(thing, tuple | list):
        return f"{type(thing).__name__}({', '.join(fingerprint(part, seen) for part in thing)})"
    if isinstance(thing, np.ndarray):
        return f"array({thing.dtype.str}, {thing.shape}, {hashlib.sha256(thing.tobytes()).hexdigest()})"
    if thing is None or isinstance(thing, bool | int | float | complex | str | bytes | np.generic):
        return f"{type(thing).__name__}({thing!r})"
    if isinstance(thing, ModuleType):
        return f"module({thing.__name__})"
    if isinstance(thing, type | BuiltinFunctionType | np.ufunc):
        return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', thing.__name__)}"
    raise NotCacheable(repr(type(thing)))


def _names(code: CodeType) -> list[str]:
    inner = [name for constant in code.co_consts if isinstance(constant, CodeType) for name in _names(constant)]
    return [*code.co_names, *inner]


@functools.cache
def _package() -> str:
    """What this package makes of a function changes with its files."""
    files = [*Path(__file__).parent.glob("*.py"), Path(__file__).parents[1] / "vmath.py"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(files))).hexdigest()


class KernelCache:
    """The place of one kernel of a function; without a file where there can be none, as for one typed into a shell.

    Safe under concurrent processes: files are written beside their place and moved there.
    """

    def __init__(self, function: FunctionType, key: tuple[Any, ...]) -> None:
        self._file = None
        try:
            self._implementation = CompileResultCacheImpl(function)
            locator = self._implementation.locator
            self._key = (
                "fastloss",
                _package(),
                cpu_target.target_context.codegen().magic_tuple(),
                hashlib.sha256(repr(key).encode()).hexdigest(),
            )
            locator.ensure_cache_path()
            self._file = IndexDataCacheFile(
                locator.get_cache_path(), f"{self._implementation.filename_base}.fastloss", locator.get_source_stamp()
            )
        except (RuntimeError, OSError):  # Numba raises RuntimeError where it knows no place
            pass

    def load(self) -> tuple[Any, Any] | None:
        """What was saved: a description, and a compiled kernel; None if there is nothing."""
        if self._file is None:
            return None
        context = cpu_target.target_context
        context.refresh()
        try:
            found = self._file.load(self._key)
            if found is None:
                return None
            description, kernel = found
            return description, self._implementation.rebuild(context, kernel)
        except Exception:  # a damaged file is as good as none
            return None

    def save(self, description: Any, kernel: Any) -> None:
        """Save it, if it can be."""
        if self._file is None:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not self._implementation.check_cachable(kernel):
                return
        with contextlib.suppress(OSError):  # a full disk, or Windows where another process reads the file
            self._file.save(self._key, (description, self._implementation.reduce(kernel)))
