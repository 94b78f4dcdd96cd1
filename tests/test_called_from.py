"""Losses called from code that users compile: with Numba, and with Cython."""

import gc
import importlib.util
import math
import os
import re
import subprocess
import sys
import threading
from importlib.metadata import entry_points

import numpy as np
import pytest
from building import ROOT
from reference import CASES

import fastloss as fl

PAGE = (ROOT / "docs" / "compiled_code.md").read_text()
# A loss of several outputs has another kernel for rows of probabilities, which is not public.
HARD = [case for case in CASES if not case.reference.soft]


def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def snippets(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.M | re.S)


@pytest.fixture(scope="module")
def numba():
    numba = pytest.importorskip("numba", reason="Numba is not installed: nothing can be compiled with it")
    pytest.importorskip("fastloss._numba.nopython")
    return numba


@pytest.fixture(scope="module")
def functions(numba):
    """Compiled functions that are given a loss."""

    @numba.njit
    def value(loss, y, z):
        return loss(y, z)

    @numba.njit
    def weighted_value(loss, y, z, weight):
        return loss(y, z, weight)

    @numba.njit(nogil=True)
    def gradient(loss, y, z, out):
        return loss.value_and_grad(y, z, out=out)

    @numba.njit
    def weighted_gradient(loss, y, z, weight, out):
        return loss.value_and_grad(y, z, weight, out=out)

    @numba.njit
    def total(loss, y, z):
        return loss(y, z, reduction="sum"), loss.value_and_grad(y, z, reduction="sum")

    class Functions:
        pass

    for name, function in list(locals().items()):
        if hasattr(function, "py_func"):
            setattr(Functions, name, staticmethod(function))
    return Functions


def close(found, expected, dtype):
    """Equal but for the last bits, of sums that were added in another order."""
    # A mean may cancel; a gradient of float32 is rounded by a scale that differs in its last bit.
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(found, expected, rtol=4 * eps, atol=np.finfo(dtype).tiny)


def custom():
    pytest.importorskip("numba", reason="custom losses need Numba")

    @fl.custom_loss
    def cauchy(y, z, scale=1.0):
        r = (z - y) / scale
        if r > 1e6:
            raise OverflowError("too far")
        return math.log1p(r * r), 2 * r / (scale * (1 + r * r))

    return cauchy


@pytest.mark.parametrize("case", HARD, ids=str)
def test_numba_gives_what_python_gives(functions, case, dtype):
    loss = case.make()
    for n in (1, 300, case.rows(5000)):
        y, z = case.sample(n, dtype)
        weight = np.random.default_rng(0).integers(0, 3, n).astype(dtype)
        weight[0] = 1
        out = np.full_like(z, np.nan)
        expected, slope = loss.value_and_grad(y, z)
        np.testing.assert_allclose(functions.value(loss, y, z), loss(y, z), rtol=1e-13)
        found, same = functions.gradient(loss, y, z, out)
        assert np.shares_memory(same, out)
        np.testing.assert_allclose(found, expected, rtol=1e-13)
        close(out, slope, dtype)
        expected, slope = loss.value_and_grad(y, z, weight)
        np.testing.assert_allclose(functions.weighted_value(loss, y, z, weight), expected, rtol=1e-13)
        np.testing.assert_allclose(functions.weighted_gradient(loss, y, z, weight, out)[0], expected, rtol=1e-13)
        close(out, slope, dtype)


def test_sums_and_gradients_that_are_allocated(functions, dtype):
    y, z = (np.random.default_rng(i).standard_normal(100).astype(dtype) for i in range(2))
    loss = fl.Huber(0.5)
    total, (again, gradient) = functions.total(loss, y, z)
    expected, slope = loss.value_and_grad(y, z, reduction="sum")
    assert total == pytest.approx(expected, rel=1e-14)
    assert again == total
    np.testing.assert_array_equal(gradient, slope)


def test_no_samples_and_no_weight(functions):
    y, z, weight = np.empty(0), np.ones(3), np.zeros(3)
    loss = fl.SquaredError()
    assert math.isnan(functions.value(loss, y, y))
    out = np.full(3, np.nan)
    assert math.isnan(functions.weighted_gradient(loss, z, z, weight, out)[0])
    assert (out == 0).all()


def test_a_gradient_in_place(functions):
    y, z = np.random.default_rng(0).standard_normal((2, 1000))
    loss = fl.BinaryCrossEntropy(from_logits=True)
    y = (y > 0).astype(float)
    expected = loss.value_and_grad(y, z)[1]
    for i in range(2):
        arrays = [y.copy(), z.copy()]
        functions.gradient(loss, *arrays, arrays[i])
        np.testing.assert_array_equal(arrays[i], expected)


def test_a_custom_loss(functions, dtype):
    loss = custom().replace(scale=2.0)
    y, z = (np.random.default_rng(i).standard_normal(3000).astype(dtype) for i in range(2))
    weight = np.random.default_rng(2).random(3000).astype(dtype)
    out = np.empty_like(z)
    value, slope = loss.value_and_grad(y, z, weight)
    assert functions.weighted_gradient(loss, y, z, weight, out)[0] == pytest.approx(value, rel=1e-13)
    close(out, slope, dtype)
    with pytest.raises(ValueError, match="raised an exception"):
        functions.value(loss, y, z + dtype(1e8))


@pytest.mark.parametrize("row_labels", [False, True])
def test_a_custom_loss_of_many_outputs(functions, row_labels):
    pytest.importorskip("numba", reason="custom losses need Numba")

    def to_first(y, z, gradient):
        gradient[:] = 0.0
        gradient[0] = 2 * (z[0] - y)
        return (z[0] - y) ** 2

    def to_row(y, z, gradient):
        total = 0.0
        for j in range(len(z)):
            gradient[j] = 2 * (z[j] - y[j])
            total += (z[j] - y[j]) ** 2
        return total

    loss = fl.custom_loss(to_row if row_labels else to_first, many_outputs=True, row_labels=row_labels)
    z = np.random.default_rng(0).standard_normal((50, 3))
    y = np.random.default_rng(1).standard_normal((50, 3) if row_labels else 50)
    out = np.empty_like(z)
    value, slope = loss.value_and_grad(y, z)
    assert functions.gradient(loss, y, z, out)[0] == pytest.approx(value, rel=1e-14)
    close(out, slope, np.float64)
    with pytest.raises(ValueError, match="y_true must have"):
        functions.gradient(loss, y[:-1], z, out)


@pytest.mark.parametrize(
    ("loss", "y", "z", "message"),
    [
        (fl.BinaryCrossEntropy(from_logits=True), [0, 2, 1], [0, 0, 0], "y_true holds a label outside"),
        (fl.BinaryCrossEntropy(), [0, 1, 1], [0.5, 0.5, 2], "y_pred holds a prediction outside"),
        (fl.SquaredError(), [0, 1], [0, 0, 0], "y_true must have one entry"),
        (fl.CategoricalCrossEntropy(), [0, 5], [[0.5, 0.5]] * 2, "y_true holds a label outside"),
        (fl.CategoricalCrossEntropy(class_weight=[1, 2, 3]), [0, 1], [[0.5, 0.5]] * 2, "class_weight must have"),
        (fl.CategoricalCrossEntropy(), [0, 1], np.empty((2, 0)), "at least one class"),
    ],
    ids=lambda x: repr(x)[:40],
)
def test_errors_in_compiled_code(functions, loss, y, z, message):
    y, z = np.array(y, float), np.array(z, float)
    with pytest.raises(ValueError, match=message):
        functions.value(loss, y, z)
    with pytest.raises(ValueError, match=message):
        functions.gradient(loss, y, z, np.empty_like(z))


def test_arrays_that_do_not_fit(functions):
    loss = fl.SquaredError()
    memory = np.zeros(5)
    y, z = np.ones(4), np.zeros(4)
    with pytest.raises(ValueError, match="out must have the shape"):
        functions.gradient(loss, y, z, memory)
    with pytest.raises(ValueError, match="out must not share memory with y_pred"):
        functions.gradient(loss, y, memory[:4], memory[1:])
    with pytest.raises(ValueError, match="out must not share memory with y_true"):
        functions.gradient(loss, memory[1:], z, memory[:4])
    with pytest.raises(ValueError, match="out must not share memory with sample_weight"):
        functions.weighted_gradient(loss, y, z, memory[1:], memory[1:])
    with pytest.raises(ValueError, match="sample_weight must have one entry"):
        functions.weighted_value(loss, y, z, np.ones(3))
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="sample_weight must hold finite"):
            functions.weighted_value(loss, y, z, np.array([1, bad, 1, 1]))
    rows = np.full((2, 3), 1 / 3)
    with pytest.raises(ValueError, match="out must not share memory with y_pred"):
        functions.gradient(fl.CategoricalCrossEntropy(), np.zeros(2), rows, rows)


def test_types_that_do_not_fit(numba, functions):
    y, z = np.ones(4), np.zeros(4)
    loss = fl.SquaredError()
    for arguments, message in [
        ((y[::2], z[::2]), "y_pred must be a C-contiguous 1-d array of float32 or float64"),
        ((y.astype(np.float32), z), "y_true must be .* of float64, as y_pred is; got .*float32"),
        ((y, z.astype(int)), "y_pred must be .* got .*int"),
        ((y.reshape(2, 2), z.reshape(2, 2)), "y_pred must be .* 1-d array"),
        ((1.0, z), "y_true must be"),
    ]:
        with pytest.raises(numba.TypingError, match=message):
            functions.value(loss, *arguments)
    read_only = z.copy()
    read_only.flags.writeable = False
    assert functions.value(loss, y, read_only) == 1
    with pytest.raises(numba.TypingError, match="out must be a writable"):
        functions.gradient(loss, y, z, read_only)

    @numba.njit
    def choose(loss, y, z, reduction):
        return loss(y, z, reduction=reduction)

    with pytest.raises(numba.TypingError, match="reduction must be the constant"):
        choose(loss, y, z, "none")
    with pytest.raises(numba.TypingError):
        functions.value(fl.losses.Loss(), y, z)  # has no kernel


@pytest.mark.filterwarnings("error")
def test_a_loss_as_a_constant_lives_as_long_as_the_code(numba):
    y, z = np.zeros(3), np.array([0.5, 2.0, -4.0])

    def using(delta):
        loss = fl.Huber(delta)

        @numba.njit
        def value():
            return loss(y, z), loss

        return value

    compiled = [using(delta) for delta in (1.0, 2.0)]
    for function in compiled:
        function()
    gc.collect()
    others = [fl.Huber(100.0 + i) for i in range(100)]  # where they were, if they were freed
    for function, delta in zip(compiled, (1.0, 2.0), strict=True):
        value, loss = function()
        assert loss == fl.Huber(delta)
        assert value == pytest.approx(loss(y, z), rel=1e-15)
    del others


def test_references_to_an_argument(numba):
    @numba.njit
    def keep(loss, y):
        kept = [loss, loss]
        pair = (loss, y)
        return kept[1], pair[0](y, y), pair

    loss, y = fl.Huber(3.0), np.zeros(2)
    keep(loss, y)
    before = sys.getrefcount(loss)
    for _ in range(10):
        back, value, pair = keep(loss, y)
        assert back is loss
        assert pair[0] is loss
        assert value == 0
    del back, pair
    gc.collect()
    assert sys.getrefcount(loss) == before


def test_a_loss_made_anew_for_each_call(functions):
    y, z = np.zeros(3), np.array([0.5, 2.0, -4.0])
    for i in range(1000):
        delta = 1.0 + i % 7
        assert functions.value(fl.Huber(delta), y, z) == pytest.approx(fl.Huber(delta)(y, z), rel=1e-15)


def test_threads_at_once(functions):
    losses = [fl.Huber(1.0), fl.SquaredError(), fl.Quantile(0.3), fl.AbsoluteError()]
    y, z = np.random.default_rng(0).standard_normal((2, 20_000))
    expected = [loss.value_and_grad(y, z) for loss in losses]
    functions.gradient(losses[0], y, z, np.empty_like(z))  # compiled
    wrong = []

    def work(loss, value, slope):
        out = np.empty_like(z)
        for _ in range(200):
            found, _ = functions.gradient(loss, y, z, out)
            if abs(found - value) > 1e-13 * value or abs(out - slope).max() > 1e-18:
                wrong.append(loss)

    threads = [threading.Thread(target=work, args=(loss, *e)) for loss, e in zip(losses, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_parallel_loop(numba):
    @numba.njit(parallel=True)
    def batches(loss, y, z, size):
        values = np.empty(len(y) // size)
        for i in numba.prange(len(values)):
            values[i] = loss(y[i * size : (i + 1) * size], z[i * size : (i + 1) * size])
        return values

    y, z = np.random.default_rng(0).standard_normal((2, 6400))
    loss = fl.Huber(0.7)
    expected = [loss(a, b) for a, b in zip(y.reshape(-1, 64), z.reshape(-1, 64), strict=True)]
    np.testing.assert_allclose(batches(loss, y, z, 64), expected, rtol=1e-14)


def test_vmath_in_any_function(numba):
    @numba.njit
    def softplus(x):
        out = np.empty_like(x)
        for i in range(len(x)):
            out[i] = fl.vmath.softplus(x[i])
        return out

    x = np.linspace(-50, 50, 101)
    np.testing.assert_allclose(softplus(x), np.logaddexp(0, x), rtol=1e-14)


def test_numba_finds_losses_by_itself(numba, python):
    if not any(point.value.startswith("fastloss.") for point in entry_points(group="numba_extensions")):
        pytest.skip("fastloss was installed before its entry point for Numba was declared")
    program = """if True:
        from numba import njit
        import fastloss as fl, numpy as np
        print(njit(lambda loss, y: loss(y, y + fl.vmath.exp(0.0)))(fl.SquaredError(), np.zeros(3)))
    """
    assert python(program) == "1.0"


CACHED = """
import sys, warnings
import numpy as np
from numba import njit
import fastloss as fl
import fastloss._numba.nopython

padding = [fl.Huber(9.0) for _ in range(int(sys.argv[1]))]  # so that addresses differ
constant = fl.Huber(2.0)

@njit(cache=True)
def argument(loss, y, z):
    return loss.value_and_grad(y, z)[0]

@njit(cache=True)
def of_a_global(y, z):
    return constant(y, z)

y, z = np.zeros(4), np.array([0.5, 2.0, -4.0, 8.0])
for delta in (1.0, 3.0):
    assert abs(argument(fl.Huber(delta), y, z) - fl.Huber(delta)(y, z)) < 1e-14
with warnings.catch_warnings(record=True) as found:
    warnings.simplefilter("always")
    assert abs(of_a_global(y, z) - constant(y, z)) < 1e-14
print(sum(argument.stats.cache_hits.values()), sum(of_a_global.stats.cache_hits.values()), len(found))
"""


def test_functions_that_numba_keeps_on_disk(numba, tmp_path):
    program = tmp_path / "cached.py"
    program.write_text(CACHED)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": os.pathsep.join(sys.path)}
    printed = [
        subprocess.run([sys.executable, program, padding], env=environment, capture_output=True, text=True, check=False)
        for padding in ("0", "1000")
    ]
    assert [done.returncode for done in printed] == [0, 0], [done.stderr for done in printed]
    # An argument's code is kept; that with the address of a global is not, and Numba says so.
    assert [done.stdout.split() for done in printed] == [["0", "0", "1"], ["1", "0", "1"]]


def test_the_numba_example(numba, monkeypatch, tmp_path):
    pytest.importorskip("scipy", reason="Numba's matrix products need SciPy")
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    example = load("from_numba", ROOT / "examples" / "from_numba.py")
    w, true, losses = example.main(["--samples", "10000", "--epochs", "3"])
    assert losses == sorted(losses, reverse=True)
    assert abs(w - true).max() < 0.2


def test_the_page_on_numba(numba):
    pytest.importorskip("scipy", reason="Numba's matrix products need SciPy")
    names = {}
    numba_part = PAGE.partition("## Cython")[0]
    for snippet in snippets(numba_part, "python"):
        exec(snippet, names)
    assert "attention" in names


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of what Cython and a C compiler make of the example and of the page."""
    pytest.importorskip("Cython", reason="Cython is not installed: its example cannot be built")
    pytest.importorskip("setuptools", reason="setuptools is not installed: the Cython example cannot be built")
    from setuptools._distutils.ccompiler import new_compiler
    from setuptools._distutils.errors import CompileError, DistutilsPlatformError
    from setuptools._distutils.sysconfig import customize_compiler

    folder = tmp_path_factory.mktemp("from_cython")
    (folder / "trial.c").write_text("int trial;\n")
    compiler = new_compiler()
    try:
        customize_compiler(compiler)
        compiler.compile([str(folder / "trial.c")], output_dir=str(folder))
    except (CompileError, DistutilsPlatformError) as error:
        pytest.skip(f"no C compiler works: {error}")

    for source in (ROOT / "examples" / "from_cython").glob("*.py*"):
        (folder / source.name).write_bytes(source.read_bytes())
    (snippet,) = snippets(PAGE, "cython")
    (folder / "mine.pyx").write_text("# cython: language_level=3\n" + snippet)
    (setup,) = snippets(PAGE.partition("## Cython")[2], "python")
    (folder / "setup_page.py").write_text(setup)
    for script in ("setup.py", "setup_page.py"):
        done = subprocess.run(
            [sys.executable, script, "build_ext", "--inplace"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout
    return folder


def compiled(name, folder):
    (path,) = [path for suffix in ("so", "pyd") for path in folder.glob(f"{name}.*{suffix}")]
    return load(name, path)


def steps_in_python(loss, X, y, w, step, batch):
    total = 0.0
    for start in range(0, len(X), batch):
        rows = X[start : start + batch]
        value, gradient = loss.value_and_grad(y[start : start + batch], rows @ w)
        total += value * len(rows)
        w -= step * (rows.T @ gradient)
    return total / len(X)


@pytest.mark.build
def test_the_cython_example(built, monkeypatch):
    online = compiled("online", built)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1000, 4))
    y = X @ np.arange(4.0)
    for loss in (fl.SquaredError(), fl.Huber(0.3), fl.Quantile(0.2)):
        w, expected = np.zeros(4), np.zeros(4)
        found = online.train(loss, X, y, w, step=0.05, batch=48, epochs=2)
        values = [steps_in_python(loss, X, y, expected, 0.05, 48) for _ in range(2)]
        np.testing.assert_allclose(found, values, rtol=1e-10)
        np.testing.assert_allclose(w, expected, rtol=1e-10)
    with pytest.raises(ValueError, match="outside the domain"):
        online.train(fl.Poisson(), X, -np.ones(1000), np.zeros(4))
    with pytest.raises(ValueError, match="one output"):
        online.train(fl.CategoricalCrossEntropy(), X, y, np.zeros(4))
    with pytest.raises(AttributeError):
        online.train("a loss", X, y, np.zeros(4))

    monkeypatch.setitem(sys.modules, "online", online)
    w, true, losses = load("run", built / "run.py").main()
    assert losses == sorted(losses, reverse=True)
    assert abs(w - true).max() < 0.2


@pytest.mark.build
def test_the_cython_example_with_a_custom_loss(built):
    online = compiled("online", built)
    loss = custom()
    X = np.random.default_rng(0).standard_normal((1000, 4))
    y = X @ np.arange(4.0)
    w, expected = np.zeros(4), np.zeros(4)
    found = online.train(loss, X, y, w, step=0.05, batch=48)
    np.testing.assert_allclose(found, [steps_in_python(loss, X, y, expected, 0.05, 48)], rtol=1e-10)
    np.testing.assert_allclose(w, expected, rtol=1e-10)


@pytest.mark.build
def test_the_page_on_cython(built):
    mine = compiled("mine", built)
    y, z = np.random.default_rng(0).standard_normal((2, 100))
    gradient = np.empty(100)
    loss = fl.Huber(0.5)
    value, slope = loss.value_and_grad(y, z)
    assert mine.mean_and_gradient(loss, y, z, gradient) == pytest.approx(value, rel=1e-14)
    np.testing.assert_array_equal(gradient, slope)
