"""The memory that a call needs beside its inputs and its results, measured in a process of its own.

``python -m bench.memory last-layer torch 8192 512 32000 --dtype float32`` prints it in bytes.

Counted is the peak of resident memory during the call, less what was resident before it and less the arrays that it
returns (the gradients), for everybody. Before, the inputs exist, a small call has loaded code and started threads, and
NumPy's BLAS has the buffers that it keeps for ever.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import os
import re
import subprocess
import sys
from pathlib import Path

from bench import machine
from bench.linear import MODELS

SMALL = (1024, 512, 256)  # at most
# Memory that was freed is resident no longer, and pages are small; else the small call's would serve the large one, and
# a peak would be a multiple of 2 MiB. An explicit threshold is one that malloc does not raise by itself.
ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "NUMPY_MADVISE_HUGEPAGE": "0"}


def peak() -> int:
    """The largest resident memory of this process so far, or since the last `restart`, in bytes."""
    status = Path("/proc/self/status")
    # Where there is this, not `ru_maxrss`: that of a new process begins with what its parent had.
    if status.exists() and (found := re.search(r"VmHWM:\s*(\d+) kB", status.read_text())):
        return 1024 * int(found[1])
    import resource  # Windows has none

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def restart() -> int:
    """Let the peak be what is resident now, without what was freed, and return it.

    Where the system does not let us it stays what it was, and the call may seem to need less than it does.
    """
    with contextlib.suppress(AttributeError):  # of glibc
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak()


def extra(model: str, library: str, sizes: tuple[int, int, int], dtype: str, threads: int) -> int:
    """Bytes of one call in this process; to be asked for once."""
    small = (min(size, most) for size, most in zip(sizes, SMALL, strict=True))
    MODELS[model](*small, dtype).call(library, threads)()
    full = MODELS[model](*sizes, dtype)
    full.X @ full.W[: SMALL[2]].T  # BLAS touches the more of its buffers, the more rows there are
    call = full.call(library, threads)
    gc.collect()
    before = restart()
    _, gradients = call()
    return max(0, peak() - before - sum(gradient.nbytes for gradient in gradients))


def measure(model: str, library: str, sizes: tuple[int, int, int], dtype: str, threads: int) -> int:
    """The same in a new process."""
    arguments = [model, library, *map(str, sizes), "--dtype", dtype, "--threads", str(threads)]
    child = subprocess.run(
        [sys.executable, "-m", "bench.memory", *arguments],
        env=os.environ | ENVIRONMENT,
        cwd=Path(__file__).resolve().parent.parent,
        stdout=subprocess.PIPE,
        check=True,
    )
    return int(child.stdout)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("library")
    parser.add_argument("sizes", nargs=3, type=int, metavar=("ROWS", "COLUMNS", "CLASSES"))
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--threads", type=int, default=min(2, machine.cores()))
    options = parser.parse_args(argv)
    here = ENVIRONMENT.items() <= os.environ.items()
    function = extra if here else measure
    print(function(options.model, options.library, tuple(options.sizes), options.dtype, options.threads))


if __name__ == "__main__":
    main()
