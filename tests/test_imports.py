"""The layers: imports point one way, and each extra is imported by its own module alone."""

import ast
import re
import shutil
import sys
from pathlib import Path

import pytest

import fastloss as fl

PACKAGE = Path(fl.__file__).parent

# From below to above; who stands in one line knows nobody of a later line. Modules that are not named here are free, as
# long as there is no cycle.
LAYERS = [
    {"_runtime", "_arrays", "_version", "_quota", "_checks"},
    {"_blocks"},
    {"_reduce", "_linear", "_compressed", "_outputs", "_points", "_gram", "_costs", "_columns"},
    {"_factor", "_elimination", "_bfgs", "_conjugate_gradients"},
    {"_descent"},
    {"_multiclass", "_strengths", "_statistics"},
    {"_selection"},
    {"_design", "_rows", "penalties"},
    {"losses"},
    {"_logits"},
    {"_single_output", "_many_outputs"},
    {"_samples"},
    {"objective"},
    {"solvers"},
    {"path"},
    {"linear_model"},
]
# Extras and who may import them; the starred ones inside functions only.
EXTRAS = {
    "sklearn": {"linear_model", "interop", "*demo", "*cli"},
    "joblib": {"linear_model"},
    "threadpoolctl": {"linear_model"},
    "numba": {"_numba"},
    "llvmlite": {"_numba"},
    "matplotlib": {"plotting"},
    "torch": {"interop"},
    "xgboost": {"interop"},
    "lightgbm": {"interop"},
    "jax": {"interop"},
    "scipy": {"linear_model", "*"},
}


def part(name):
    """The module of the package that a dotted name belongs to: fastloss.solvers.fista -> solvers."""
    pieces = name.split(".")
    return pieces[1] if len(pieces) > 1 else "__init__"


def python_imports(path):
    """(dotted name, whether inside a function) of every import of a source file but those for type checkers."""
    found = []

    def visit(node, inside):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            return
        if isinstance(node, ast.Import):
            found.extend((alias.name, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports are not used here"
            # `from fastloss import likelihood` imports the module of that name, if there is one.
            found.extend((_submodule(node.module, alias.name), inside) for alias in node.names)
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(ast.parse(path.read_text()), False)
    return found


def _submodule(package, name):
    inner = PACKAGE.parent.joinpath(*package.split("."), name)
    is_module = inner.is_dir() or any(inner.parent.glob(f"{name}.py*"))
    return f"{package}.{name}" if is_module and package.startswith("fastloss") else package


def cython_imports(path):
    pattern = re.compile(r"^(\s*)(?:from\s+([\w.]+)\s+c?import\s+(\w+)|c?import\s+([\w.]+))", re.MULTILINE)
    for indent, package, name, plain in pattern.findall(path.read_text()):
        yield plain or (_submodule(package, name) if package == "fastloss" else package), bool(indent)


def all_imports():
    """(module, imported name, whether inside a function) for the whole package."""
    for path in sorted(PACKAGE.rglob("*")):
        if path.suffix == ".py":
            imports = python_imports(path)
        elif path.suffix in (".pyx", ".pxd"):
            imports = cython_imports(path)
        else:
            continue
        relative = path.relative_to(PACKAGE.parent).with_suffix("")
        module = part(".".join(relative.parts))
        for name, inside in imports:
            yield module, name, inside


IMPORTS = list(all_imports())
INTERNAL = {(module, part(name)) for module, name, _ in IMPORTS if name.split(".")[0] == "fastloss"}


def test_the_reading_of_imports_works():
    assert {("losses", "_reduce"), ("_reduce", "_runtime"), ("__init__", "likelihood")} <= INTERNAL
    assert ("losses", "numpy", False) in IMPORTS
    assert ("_quota", "math", False) in IMPORTS


def test_imports_point_one_way():
    level = {module: i for i, layer in enumerate(LAYERS) for module in layer}
    upward = {(a, b) for a, b in INTERNAL if a in level and b in level and level[a] < level[b]}
    assert not upward


def test_there_is_no_cycle():
    edges = {(a, b) for a, b in INTERNAL if a != b}
    while edges:
        importing = {a for a, _ in edges}
        removable = {(a, b) for a, b in edges if b not in importing}
        assert removable, f"a cycle is among {sorted(edges)}"
        edges -= removable


@pytest.mark.parametrize("module", ["penalties", "solvers"])
def test_penalties_and_solvers_need_no_compiled_loss(module):
    assert not {b for a, b in INTERNAL if a == module} & {"losses", "_reduce"}


def test_passes_and_descent_know_no_loss():
    passes = {
        "_linear",
        "_compressed",
        "_outputs",
        "_points",
        "_gram",
        "_factor",
        "_conjugate_gradients",
        "_descent",
        "_bfgs",
        "_elimination",
        "_strengths",
        "_multiclass",
        "_selection",
        "_design",
        "_rows",
    }
    assert passes <= {a for a, _ in INTERNAL}
    assert not {a for a, b in INTERNAL if a in passes and b == "losses"}


def test_pictures_are_made_on_demand():
    asked = {inside for who, name, inside in IMPORTS if name == "fastloss.plotting" and who != "displays"}
    assert asked == {True}


def test_extras_are_imported_by_their_own_modules():
    wrong = []
    for module, name, inside in IMPORTS:
        top = name.split(".")[0]
        if (
            top in ("fastloss", "numpy", "libc", "cpython", "cython", "cpython.buffer")
            or top in sys.stdlib_module_names
        ):
            continue
        allowed = EXTRAS.get(top, set())
        if not (module in allowed or (inside and {"*", f"*{module}"} & allowed)):
            wrong.append((module, name, "in a function" if inside else "when imported"))
    assert not wrong


def test_importing_the_package_imports_no_extra(python):
    program = "import sys, fastloss; print(sorted({name.split('.')[0] for name in sys.modules} & {*%r}))"
    assert python(program % ({*EXTRAS, "pandas", "threadpoolctl", "mpmath"},)) == "[]"


def test_sources_that_are_not_compiled_say_so(python, tmp_path):
    """As in the folder of the sources, which Python finds before the package that is installed."""
    shutil.copytree(PACKAGE, tmp_path / "fastloss", ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__"))
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import fastloss"
    done = python(program, flags=["-S"], check=False)  # without what finds an editable installation
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert str(tmp_path) in last
    assert "pip install -e ." in last


def test_every_public_name_exists():
    assert len(set(fl.__all__)) == len(fl.__all__)
    for name in fl.__all__:
        assert getattr(fl, name) is not None
