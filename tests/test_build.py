"""Source distribution, wheel and installation; the build without OpenMP; what an import loads."""

import tarfile
import zipfile

import pytest
from building import copy_sources, run, skip_without_tools

SOURCES = ["fastloss", "setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md", "tests"]
# Prints its version, threads and instruction sets, after a computation.
USE = """
import fastloss, sys
from fastloss import _runtime
assert fastloss.__file__.startswith(sys.argv[1]), fastloss.__file__
value = fastloss.BinaryCrossEntropy(from_logits=True)([1] * 100_000, [0.0] * 100_000, n_threads=2)
assert abs(value - 0.6931471805599453) < 1e-12, value
print(fastloss.__version__, fastloss.get_num_threads(), *_runtime.compiled_instruction_sets())
"""


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """A source distribution of the sources alone, and a wheel built from it without OpenMP."""
    skip_without_tools()
    sources, out = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("dist")
    copy_sources(sources, *SOURCES)
    for built in [*sources.glob("fastloss/*.so"), *sources.glob("fastloss/*.pyd")]:
        built.unlink()
    backend = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"
    run("-c", backend, "build_sdist", out, cwd=sources)
    (archive,) = out.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(out / "unpacked", filter="data")
    (unpacked,) = (out / "unpacked").iterdir()
    run("-c", backend, "build_wheel", out, cwd=unpacked, FASTLOSS_NO_OPENMP="1")
    (wheel,) = out.glob("*.whl")
    return archive, wheel


def names(path):
    """What the archive contains, below its one folder if it has one."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as file:
            return set(file.namelist())
    with tarfile.open(path) as file:
        return {name.partition("/")[2] for name in file.getnames()}


SHARED = {
    "fastloss/__init__.py",
    "fastloss/__init__.pxd",
    "fastloss/py.typed",
    "fastloss/_reduce.pyi",
    "fastloss/_runtime.pxd",
    "fastloss/_reduce.pxd",
    "fastloss/simd/kernel.h",
    "fastloss/simd/table.hpp",
    "fastloss/solvers/fista.py",
}
ONLY_SOURCES = {
    "setup.py",
    "pyproject.toml",
    "LICENSE",
    "fastloss/_reduce.pyx",
    "fastloss/_isa_avx512.cpp",
    "tests/conftest.py",
}


@pytest.mark.build
def test_the_source_distribution_has_what_a_build_needs(distributions):
    found = names(distributions[0])
    assert found >= SHARED | ONLY_SOURCES
    compiled = [
        name for name in found if name.endswith((".so", ".pyd", ".o", ".pyc")) or name == "fastloss/_reduce.cpp"
    ]
    assert compiled == []


@pytest.mark.build
def test_the_wheel_has_what_users_need(distributions):
    found = names(distributions[1])
    assert found >= SHARED
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in found)
    # Sources would only be a second copy; tests are not a package of ours.
    assert [name for name in found if name.endswith((".cpp", ".pyx")) or name.startswith(("tests", "bench"))] == []
    modules = {name.split("/")[-1].split(".")[0] for name in found if name.endswith((".so", ".pyd"))}
    compiled = {
        "_arrays",
        "_blocks",
        "_columns",
        "_compressed",
        "_conjugate_gradients",
        "_costs",
        "_descent",
        "_bfgs",
        "_elimination",
        "_factor",
        "_gram",
        "_linear",
        "_multiclass",
        "_outputs",
        "_points",
        "_reduce",
        "_runtime",
        "_strengths",
    }
    assert modules == {*compiled, "_isa_baseline"}


@pytest.mark.build
def test_the_wheel_runs_without_openmp(distributions, tmp_path):
    run("-m", "pip", "install", "-q", "--no-index", "--no-deps", "-t", tmp_path, distributions[1], cwd=tmp_path)
    version, threads, *instruction_sets = run("-c", USE, tmp_path, cwd=tmp_path).split()
    assert distributions[1].name.startswith(f"fastloss-{version}-")
    assert (threads, instruction_sets) == ("1", ["baseline"])


def test_an_import_loads_numpy_alone(python):
    # Extras, and modules that are slow to load, are imported where they are used.
    program = """if True:
        import sys
        import numpy
        before = set(sys.modules)
        import fastloss
        print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before} - {"fastloss"}))
    """
    loaded = set(python(program, flags=["-I"]).split())
    assert not loaded & {"scipy", "sklearn", "numba", "matplotlib", "torch", "tqdm", "threadpoolctl", "setuptools"}
    assert not loaded & {"argparse", "asyncio", "concurrent", "dataclasses", "multiprocessing", "unittest"}


@pytest.mark.parametrize("module", ["scipy", "sklearn", "matplotlib", "tqdm"])
def test_nothing_but_numpy_is_needed(module, python):
    program = f"""if True:
        import sys
        sys.modules[{module!r}] = None
        import fastloss as fl, numpy as np
        X = np.eye(5)
        fl.minimize(fl.LinearObjective(X, X[0], fl.SquaredError(), fl.L1(0.01)))
        fl.likelihood.Poisson().nll([1, 2], [0.0, 0.5])
        fl.show_config()
    """
    python(program)
