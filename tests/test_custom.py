"""Losses of the user's own: how they are made, what they refuse, and where else they go."""

import math
import pickle
import sys
import threading
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from custom_losses import huber, logistic, logistic_value

import fastloss as fl
from fastloss._custom_check import check_derivatives

numba = pytest.importorskip("numba", reason="custom_loss needs Numba")
BUILT_IN = fl.BinaryCrossEntropy(from_logits=True)
LAYOUTS = {"C": np.ascontiguousarray, "F": np.asfortranarray, "csr": sp.csr_array, "csc": sp.csc_array}


@fl.custom_loss
def cauchy(y, z, scale=1.0):
    r = (z - y) / scale
    return math.log1p(r * r), 2 * r / (scale * (1 + r * r))


def raising(y, z):
    if y < 0:
        raise ArithmeticError("y must not be negative")
    return (z - y) ** 2, 2 * (z - y)


@pytest.fixture(scope="module")
def raises():
    return fl.custom_loss(raising)


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, 20))
    y = (rng.random(500) < 1 / (1 + np.exp(-X[:, :3].sum(axis=1)))).astype(float)
    return X, y, rng.integers(0, 3, 500).astype(float)


# How it is made.


def test_parameters_are_by_name_and_checked():
    assert repr(cauchy) == "cauchy(scale=1.0)"
    assert cauchy.scale == 1.0
    assert cauchy.replace(scale=2) == fl.custom_loss(cauchy._function, scale=2.0)
    assert cauchy.replace(scale=2)([0.0], [2.0]) == pytest.approx(math.log(2), rel=1e-15)
    assert cauchy != cauchy.replace(scale=2)
    assert len({cauchy, cauchy.replace(scale=1.0)}) == 1
    for wrong, error, message in (
        ({"scale": "1"}, TypeError, "scale must be a number"),
        ({"scale": np.nan}, ValueError, "scale must be in"),
        ({"width": 1.0}, TypeError, "width is not a parameter of cauchy; it has scale"),
    ):
        with pytest.raises(error, match=message):
            cauchy.replace(**wrong)
    with pytest.raises(AttributeError, match="immutable"):
        cauchy.scale = 3.0


def test_a_parameter_without_a_default_must_be_given():
    def scaled(y, z, factor):
        return factor * (z - y) ** 2

    with pytest.raises(TypeError, match="factor is a parameter of scaled without a default"):
        fl.custom_loss(scaled)
    assert fl.custom_loss(factor=3.0)(scaled)([0.0], [2.0]) == 12


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (3, "must be a Python function"),
        (lambda y: y, r"must be of the form <lambda>\(y, z, \.\.\.\)"),
        (lambda *a: a, "with parameters that have names"),
        (lambda y, z, out=1.0: (z, 1), "out cannot be the name of a parameter"),
        (cauchy, "is a loss already"),
        (lambda y, z: [z], r"cannot be compiled: it must return value, \(value, gradient\)"),
        (lambda y, z: (z, z, z, z), "cannot be compiled: it must return"),
        (lambda y, z: (z, "a"), "cannot be compiled"),
        (lambda y, z: (no_such_name, z), "cannot be compiled: .*no_such_name"),  # noqa: F821
        (lambda y, z: math.gamma(z), r"cannot be differentiated; return \(value, gradient\)"),
    ],
)
def test_what_is_no_loss(function, message):
    with pytest.raises(TypeError, match=message):
        fl.custom_loss(function)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"check": 1}, TypeError, "check must be True or False"),
        ({"many_outputs": None}, TypeError, "many_outputs must be True or False"),
        ({"row_labels": True}, ValueError, "row_labels is for losses of many outputs"),
        ({"curvature": -1.0}, ValueError, "curvature must be in"),
    ],
)
def test_options_are_checked(options, error, message):
    with pytest.raises(error, match=message):
        fl.custom_loss(cauchy._function, **options)


def test_derivatives_that_are_wrong_are_found_unless_not_looked_for():
    def wrong_gradient(y, z):
        return (z - y) ** 2, z - y

    def wrong_hessian(y, z):
        return (z - y) ** 2, 2 * (z - y), 1

    with pytest.raises(ValueError, match=r"the gradient of the loss wrong_gradient\(\) is .* finite difference"):
        fl.custom_loss(wrong_gradient)
    with pytest.raises(ValueError, match="the hessian of the loss wrong_hessian"):
        fl.custom_loss(wrong_hessian)
    assert fl.custom_loss(wrong_gradient, check=False).value_and_grad([0.0], [1.0])[1] == 1


def test_convexity_is_seen_and_warned_of(problem):
    X, y, _ = problem
    assert cauchy.convex is False
    assert fl.custom_loss(logistic).convex is True
    assert fl.custom_loss(logistic, check=False).convex is None
    objective = fl.LinearObjective(X, y, cauchy, fl.L1(0.01))
    with pytest.warns(fl.NonConvexWarning, match=r"cauchy\(scale=1.0\) is not convex"):
        result = fl.minimize(objective)
    assert result.success
    declared = fl.LinearObjective(X, y, fl.custom_loss(cauchy._function, convex=True), fl.L1(0.01))
    fl.minimize(declared)  # warnings are errors


def test_derivatives_of_pieces_are_those_to_the_right():
    @fl.custom_loss
    def pieces(y, z):
        r = z - y
        return max(r, 0) - min(r, 0) + abs(r) + (3 * r if r >= 0 else 2 * r)

    np.testing.assert_array_equal(pieces.value_and_grad([1.0] * 3, [0.0, 1.0, 2.0], reduction="sum")[1], [0, 5, 5])


def elementary(y, z, which):
    """One of many functions, so that all of them are compiled at once."""
    x = z - y
    values = (
        math.exp(x / 3),
        np.log(x * x + 1.5),
        math.log2(x * x + 1.5) + math.log10(x * x + 1.5),
        np.log1p(x * x),
        math.expm1(x / 3),
        math.sinh(x / 3) * np.cosh(x / 2),
        math.tanh(x),
        fl.vmath.sigmoid(x),
        fl.vmath.softplus(x),
        math.sqrt(1 + x * x),
        math.sin(x) + np.cos(2 * x),
        math.tan(x / 5),
        np.arctan(x),
        math.asinh(x),
        math.erf(x) + math.erfc(2 * x),
        (1 + x * x) ** 1.5 + x**3,
        (1 - x) / (2 + x * x) - 1 / (3 + x * x) + (-x) / 2,
        min(max(x, -1.0), x * x) + abs(x + 0.25),
    )
    return values[int(which)]


@pytest.fixture(scope="module")
def of_tuple():
    return fl.custom_loss(elementary, which=0.0)


@pytest.mark.parametrize("which", range(18))
def test_forward_mode_differentiates(which, of_tuple):
    loss = of_tuple.replace(which=which)
    check_derivatives(loss)  # with finite differences
    z = np.linspace(-2, 2, 9)
    np.testing.assert_allclose(loss(0 * z, z, reduction="none"), [elementary(0, x, which) for x in z], rtol=1e-13)


# What it computes.


@pytest.mark.parametrize("function", [logistic, logistic_value])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("weighted", [False, True])
def test_a_linear_objective_and_its_minimum_are_those_of_the_built_in_loss(function, layout, weighted, problem, dtype):
    X, y, weight = problem
    X = LAYOUTS[layout](X.astype(dtype))
    settings = {"sample_weight": weight if weighted else None, "offset": 0.1 * weight}
    ours, built_in = (
        fl.LinearObjective(X, y, loss, fl.ElasticNet(0.01, 0.001), **settings)
        for loss in (fl.custom_loss(function), BUILT_IN)
    )
    w = np.random.default_rng(1).standard_normal(ours.size)
    accuracy = {"rtol": 1e-12, "atol": 1e-13} if dtype == np.float64 else {"rtol": 1e-5, "atol": 1e-6}
    for a, b in zip(ours.value_and_grad(w), built_in.value_and_grad(w), strict=True):
        np.testing.assert_allclose(a, b, **accuracy)
    np.testing.assert_allclose(ours.hessp(w, w), built_in.hessp(w, w), **accuracy)
    if dtype == np.float32:
        return
    solvers = ("auto", "fista", "prox_newton", "gram_newton") if layout in "CF" else ("auto", "fista", "prox_newton")
    expected = fl.minimize(built_in, tol=1e-12).x
    for solver in solvers:
        result = fl.minimize(ours, solver=solver, tol=1e-9)
        assert result.success
        assert math.isnan(result.duality_gap)
        np.testing.assert_allclose(result.x, expected, atol=1e-7)
    np.testing.assert_allclose(ours.lambda_max(), built_in.lambda_max(), rtol=1e-12)


def test_a_path_is_that_of_the_built_in_loss(problem):
    X, y, _ = problem
    paths = [fl.regularization_path(X, y, loss, n_alphas=8, tol=1e-9) for loss in (fl.custom_loss(logistic), BUILT_IN)]
    np.testing.assert_allclose(paths[0].alphas, paths[1].alphas, rtol=1e-10)
    np.testing.assert_allclose(paths[0].coefs, paths[1].coefs, atol=1e-6)


def test_huber_with_its_second_derivative(problem):
    X, y, weight = problem
    objectives = [
        fl.LinearObjective(X, 3 * y, loss, fl.L1(0.01), sample_weight=weight)
        for loss in (fl.custom_loss(huber, delta=0.5), fl.Huber(0.5))
    ]
    results = [fl.minimize(objective, tol=1e-9) for objective in objectives]
    np.testing.assert_allclose(results[0].x, results[1].x, atol=1e-6)


def test_a_bound_on_the_curvature_is_enough_for_newton(problem):
    def of_gamma(y, z):  # nothing here differentiates gamma
        return fl.vmath.softplus(z) - y * z, fl.vmath.sigmoid(z) - y + 0 * math.gamma(abs(z) + 1)

    X, y, weight = problem
    loss, without = fl.custom_loss(of_gamma, curvature=0.25), fl.custom_loss(of_gamma)
    with pytest.raises(TypeError, match="no second derivative"):
        loss.grad_and_hess(y, y)
    objective = fl.LinearObjective(X, y, loss, fl.L1(0.01), sample_weight=weight)
    expected = fl.minimize(fl.LinearObjective(X, y, BUILT_IN, fl.L1(0.01), sample_weight=weight), tol=1e-12).x
    for solver in ("auto", "prox_newton", "fista"):
        np.testing.assert_allclose(fl.minimize(objective, solver=solver, tol=1e-9).x, expected, atol=1e-6)
    alone = fl.LinearObjective(X, y, without, fl.L1(0.01), sample_weight=weight)
    np.testing.assert_allclose(fl.minimize(alone, tol=1e-9).x, expected, atol=1e-6)
    with pytest.raises(TypeError, match="give custom_loss a curvature"):
        fl.minimize(alone, solver="prox_newton")


def test_float32_stays_in_float32():
    @fl.custom_loss(check=False)
    def overflows(y, z, half=0.5):
        x = 1e30 * z * half  # literals and parameters are float32 there as well
        return 2 * x * x / 1e38, x

    assert overflows(np.float32([0]), np.float32([1])) == np.inf
    assert np.isfinite(overflows([0.0], [1.0]))


def test_helpers_may_be_plain_or_compiled_functions():
    def square(x):
        return x * x

    root = numba.njit(lambda x: math.sqrt(1 + x))

    @fl.custom_loss
    def pseudo_huber(y, z):
        return root(square(z - y)) - 1

    r = np.linspace(-3, 3, 7)
    np.testing.assert_allclose(pseudo_huber(0 * r, r, reduction="none"), np.sqrt(1 + r * r) - 1, rtol=1e-14)
    np.testing.assert_allclose(pseudo_huber.grad_and_hess(0 * r, r)[1], (1 + r * r) ** -1.5, rtol=1e-13)


# What goes wrong inside.


def test_division_by_zero_and_nan_flow_through():
    @fl.custom_loss(check=False)
    def reciprocal(y, z):
        return 1 / z, -1 / (z * z)

    value, gradient = reciprocal.value_and_grad([0.0] * 3, [0.0, np.nan, -0.0], reduction="none")
    np.testing.assert_array_equal(value, [np.inf, np.nan, -np.inf])
    np.testing.assert_array_equal(gradient, [-np.inf, np.nan, -np.inf])
    assert reciprocal([0.0] * 3, [0.0, np.nan, 2.0], [0, 0, 1]) == 0.5


@pytest.mark.parametrize("n", [3, 2000, 200_000])
def test_an_exception_is_raised_with_the_sample_that_it_is_of(n, raises, dtype):
    y = np.ones(n, dtype)
    y[n // 2] = -2
    z = y.copy()
    for call in (raises, raises.value_and_grad, raises.grad_and_hess):
        with pytest.raises(ArithmeticError, match="y must not be negative") as caught:
            call(y, z)
        if sys.version_info >= (3, 11):
            assert f"at index {n // 2}" in caught.value.__notes__[0]
    weight = (y > 0).astype(dtype)
    assert raises(y, z, weight) == 0
    with pytest.raises(RuntimeError, match="without out= it says for which"):
        raises.value_and_grad(y, z, out=z)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_exception_inside_a_linear_objective(layout, raises, problem):
    X, y, _ = problem
    objective = fl.LinearObjective(LAYOUTS[layout](X), y, _far(raises))
    with pytest.raises(ArithmeticError, match="too far"):
        objective.value_and_grad(np.full(21, 1e6))


def _far(raises):
    def far(y, z):
        if z > 1e3:
            raise ArithmeticError("too far")
        return (z - y) ** 2, 2 * (z - y)

    return fl.custom_loss(far)


@pytest.mark.parametrize("where", ["y_true", "sample_weight"])
def test_domains_are_those_of_every_loss(where):
    arrays = {"y_true": np.zeros(700), "y_pred": np.zeros(700), "sample_weight": np.ones(700)}
    arrays[where][600] = np.nan
    with pytest.raises(ValueError, match=rf"{where} must hold .* at index 600"):
        cauchy(**arrays)


# Where else it goes.


def test_pickles_are_the_same_loss():
    loss = cauchy.replace(scale=2.5)
    again = pickle.loads(pickle.dumps(loss))
    assert again == loss
    assert hash(again) == hash(loss)
    assert again.convex is False
    assert again([0.0, 1.0], [3.0, 1.5]) == loss([0.0, 1.0], [3.0, 1.5])


def test_workers_of_joblib_give_the_same_numbers():
    joblib = pytest.importorskip("joblib")
    rng = np.random.default_rng(0)
    samples = [(rng.normal(size=5000), rng.normal(size=5000)) for _ in range(4)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # loky's own
        results = joblib.Parallel(n_jobs=2)(joblib.delayed(_evaluate)(cauchy, y, z) for y, z in samples)
    for (y, z), (value, gradient) in zip(samples, results, strict=True):
        expected = cauchy.value_and_grad(y, z)
        assert value == expected[0]
        np.testing.assert_array_equal(gradient, expected[1])


def _evaluate(loss, y, z):
    return loss.value_and_grad(y, z)


def test_eight_threads_at_once():
    rng = np.random.default_rng(0)
    y, z = rng.normal(size=(2, 50_000))
    expected, results = cauchy.value_and_grad(y, z), {}

    def work(i):
        for _ in range(5):
            results[i] = cauchy.value_and_grad(y, z)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    for value, gradient in results.values():
        assert value == expected[0]
        np.testing.assert_array_equal(gradient, expected[1])


MODULE = """
import math, sys
import fastloss as fl

FACTOR = {factor}

def helper(r):
    return math.log1p(r * r) * FACTOR

@fl.custom_loss
def loss(y, z):
    return helper(z - y)

if __name__ == "__main__":
    print(loss.value_and_grad([0.0, 0.0], [1.0, 2.0])[0].hex())
"""


def test_two_processes_compile_the_same_loss_at_once_and_a_third_loads_it(tmp_path, python):
    path = tmp_path / "users.py"
    path.write_text(MODULE.format(factor="1.0"))
    program = f"import runpy; runpy.run_path({str(path)!r}, run_name='__main__')"
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(python(program, timeout=120, **environment))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(results)) == 1
    assert len(results) == 2
    files = list((tmp_path / "cache").rglob("*.nbc"))
    assert files
    # A third one compiles nothing: were it to, Numba would run its front end on the function.
    watched = (
        "import numba.core.compiler as c\n"
        "def fail(*a, **k): raise AssertionError('compiled again')\n"
        "import fastloss._numba.kernel as kernel; kernel.describe = fail\n"
    )
    assert python(watched + program, **environment) == results[0]
    # Another constant is another loss: the key holds what the function uses.
    path.write_text(MODULE.format(factor="2.0"))
    assert float.fromhex(python(program, timeout=120, **environment)) == 2 * float.fromhex(results[0])


def test_without_numba_the_message_names_the_extra(python):
    program = (
        "import sys; sys.modules['numba'] = None\n"
        "import fastloss as fl\n"
        "try: fl.custom_loss(lambda y, z: (z - y) ** 2)\n"
        "except ImportError as error: print(error)"
    )
    assert "pip install 'fastloss[numba]'" in python(program)


def test_no_layer_of_threads_of_numba_is_started(tmp_path, python):
    path = tmp_path / "users.py"
    path.write_text(MODULE.format(factor="1.0"))
    program = (
        f"import runpy; loss = runpy.run_path({str(path)!r})['loss']\n"
        "import numba, numpy as np\n"
        "loss.value_and_grad(np.zeros(100_000), np.ones(100_000), n_threads=2)\n"
        "try: print(numba.threading_layer())\n"
        "except ValueError: print('none')"
    )
    assert python(program, timeout=120, NUMBA_CACHE_DIR=str(tmp_path / "cache")) == "none"
