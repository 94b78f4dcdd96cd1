"""Every loss x dtype x size x method, ours and each peer's, one thread and all."""

from __future__ import annotations

import pytest

import fastloss as fl
from bench import peers

SIZES = (100, 10**4, 10**6, 10**7)
QUICK_SIZES = (100, 10**4)

# A peer's own warnings are not ours to fail on.
pytestmark = pytest.mark.filterwarnings("default")


def pytest_generate_tests(metafunc):
    """All combinations that exist; the ones that share arrays stand together."""
    sizes = QUICK_SIZES if metafunc.config.getoption("quick") else SIZES
    everyone = sorted({1, fl.get_num_threads()})
    combinations = [
        (name, dtype, n, method, library, threads)
        for name, case in peers.CASES.items()
        for dtype in peers.DTYPES
        for n in sizes
        if n >= 10 * case.outputs  # 10 samples at least
        for method in peers.METHODS
        for library in ("fastloss", *case.peers)
        for peer in [peers.peer(case, library)]
        if method in peer.methods and dtype in peer.dtypes
        for threads in (everyone if peer.threaded else [1])
    ]
    metafunc.parametrize(
        ("name", "dtype", "n", "method", "library", "threads"),
        combinations,
        ids=["-".join(map(str, combination)) for combination in combinations],
    )


def test_loss(benchmark, name, dtype, n, method, library, threads):
    peer = peers.peer(peers.CASES[name], library)
    pytest.importorskip(peer.module)
    benchmark.group = f"{name} {dtype} n={n} {method}"
    benchmark.extra_info.update(
        loss=name,
        dtype=dtype,
        n=n,
        method=method,
        library=library,
        threads=threads if peer.threaded else None,  # None: its own choice, measured once
    )
    benchmark(peers.checked_call(name, library, dtype, n, method, threads))
