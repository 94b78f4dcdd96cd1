"""What is decided once for the process: the instruction set and the number of threads."""

import importlib
import importlib.util
import os

from operator import index

from cpython.pycapsule cimport PyCapsule_GetPointer

import numpy as np

cdef extern from "_cpu.hpp" nogil:
    bint fastloss_cpu_has_avx2()
    bint fastloss_cpu_has_avx512()
    const char *FASTLOSS_COMPILER
    int fastloss_openmp()
    int fastloss_max_threads()


# From the plainest to the widest.
INSTRUCTION_SETS = ("baseline", "avx2", "avx512")

# Of simd/kernel.h, for kernels that are made or called in Python.
KERNEL_VERSION = FASTLOSS_KERNEL_VERSION
BAD_LABEL, BAD_PREDICTION = FASTLOSS_BAD_LABEL, FASTLOSS_BAD_PREDICTION
BAD_WEIGHT, RAISED = FASTLOSS_BAD_WEIGHT, FASTLOSS_RAISED

cdef const Table *chosen_table = NULL
cdef str chosen_name = None
cdef object loaded = []  # the modules that own the tables

cdef int initial_threads = fastloss_max_threads()
cdef int asked_threads = 0  # by set_num_threads; 0: nothing asked
cdef int quota_threads = 0  # the container's quota; 0: not looked up yet
cdef bint in_forked_child = False


cdef const Table *table() noexcept nogil:
    return chosen_table


def cpu_supports(str name):
    """Whether this CPU runs the instruction set."""
    return name == "baseline" or (
        fastloss_cpu_has_avx2() if name == "avx2" else fastloss_cpu_has_avx512())


def compiled_instruction_sets():
    """Names of the instruction sets that this build contains."""
    found = []
    for name in INSTRUCTION_SETS:
        if importlib.util.find_spec(f"fastloss._isa_{name}") is not None:
            found.append(name)
    return tuple(found)


def use_instruction_set(str name=None):
    """Choose the table of kernels: the named one, or the widest that is compiled and that this CPU runs.

    Losses keep the kernels of the table that was chosen when they were made.
    """
    global chosen_table, chosen_name
    if name is not None:
        if name not in INSTRUCTION_SETS:
            raise RuntimeError(
                f"FASTLOSS_ISA must be one of {', '.join(INSTRUCTION_SETS)}; got {name!r}")
        if not cpu_supports(name):
            raise RuntimeError(
                f"FASTLOSS_ISA={name}: this CPU does not support {name}; unset FASTLOSS_ISA to let fastloss choose")
    for candidate in (name,) if name is not None else reversed(INSTRUCTION_SETS):
        if not cpu_supports(candidate):
            continue
        try:
            module = importlib.import_module(f"fastloss._isa_{candidate}")
        except ModuleNotFoundError as error:
            if name is not None:
                raise RuntimeError(f"FASTLOSS_ISA={name}: this build of fastloss does not contain {name}") from error
            continue
        loaded.append(module)
        chosen_table = <const Table *>PyCapsule_GetPointer(module.table, "fastloss.table")
        chosen_name = candidate
        return
    raise ImportError("this build of fastloss contains no kernels; install it again")


def instruction_set():
    """The name of the instruction set in use."""
    return chosen_name


def compiler():
    """Name and version of the compiler that built the package, and the OpenMP version it used (0: none)."""
    return FASTLOSS_COMPILER.decode(), fastloss_openmp()


cdef int as_count(object value, str name) except -1:
    try:
        count = index(value)
    except TypeError:
        raise TypeError(f"{name} must be a positive integer, got {value!r}") from None
    if isinstance(value, bool):
        raise TypeError(f"{name} must be a positive integer, got {value!r}")
    if count < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}")
    return min(count, 1 << 16)


def set_num_threads(n_threads):
    """Set how many threads fastloss uses from now on, where a call does not say.

    Parameters
    ----------
    n_threads : int or None
        At least 1. None goes back to the default: ``OMP_NUM_THREADS``, or else every CPU that the process may use.

    Raises
    ------
    TypeError, ValueError
        If ``n_threads`` is not a positive integer.

    Notes
    -----
    An ``n_threads=`` argument of a call beats this setting, and this setting beats ``OMP_NUM_THREADS``. Results do not
    depend on the number of threads, to the last bit.
    """
    global asked_threads
    asked_threads = 0 if n_threads is None else as_count(n_threads, "n_threads")


def get_num_threads():
    """The number of threads that a call uses when it does not say.

    Returns
    -------
    int
        What `set_num_threads` set, or ``OMP_NUM_THREADS``, or the CPUs that the process may use (affinity and container
        quota); lowered by a limit of ``threadpoolctl``. 1 in a forked child and in a build without OpenMP.
    """
    return resolve_threads(None)


cdef int read_quota() except -1:
    if os.environ.get("OMP_NUM_THREADS"):
        return 1 << 16  # asked for: it beats the quota
    from fastloss._quota import cpu_quota
    return cpu_quota() or 1 << 16


cdef int resolve_threads(object n_threads) except -1:
    global quota_threads
    cdef int count, limit = fastloss_max_threads()
    if n_threads is not None:
        count = as_count(n_threads, "n_threads")
    elif asked_threads:
        count = asked_threads
    else:
        if quota_threads == 0:
            quota_threads = read_quota()
        count = min(limit, quota_threads)
    if limit < initial_threads:  # only threadpoolctl lowers it, and its limits hold for everybody
        count = min(count, limit)
    # libgomp's pool does not survive a fork, whoever in the process started it: the child would wait for it forever.
    return 1 if in_forked_child or not fastloss_openmp() else count


def _after_fork_in_child():
    global in_forked_child
    in_forked_child = True


def _vmath(str name, x):
    """exp, log, log1p or sigmoid of a contiguous float32 or float64 array, as the kernels compute them: for tests."""
    cdef int i = ("exp", "log", "log1p", "sigmoid").index(name)
    result = np.empty_like(x)
    cdef const float[::1] x32
    cdef const double[::1] x64
    cdef float[::1] out32
    cdef double[::1] out64
    if x.dtype == np.float32:
        x32, out32 = x, result
        table().f32.vmath[i](x32.shape[0], &x32[0], &out32[0])
    else:
        x64, out64 = x, result
        table().f64.vmath[i](x64.shape[0], &x64[0], &out64[0])
    return result


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
use_instruction_set(os.environ.get("FASTLOSS_ISA") or None)
