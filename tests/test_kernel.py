"""The public C interface of a loss, `fastloss/simd/kernel.h`, called through ctypes."""

import ctypes
from ctypes import POINTER, c_double, c_int32, c_int64, c_void_p
from pathlib import Path

import numpy as np
import pytest
from reference import CASES

import fastloss as fl

BAD_LABEL, BAD_PREDICTION, BAD_WEIGHT = 1, 2, 4


class Kernel(ctypes.Structure):
    _fields_ = (
        ("version", c_int32),
        ("label_width", c_int32),
        ("outputs", c_int64),
        ("n_params", c_int64),
        ("params", POINTER(c_double)),
        ("f32", c_void_p),
        ("f64", c_void_p),
        ("weigh_f32", c_void_p),
        ("weigh_f64", c_void_p),
    )


# A loss of several outputs has another kernel for rows of probabilities, whose address is not public.
@pytest.fixture(params=[case for case in CASES if not case.reference.soft], ids=str)
def case(request):
    return request.param


def kernel_of(loss):
    return Kernel.from_address(loss.kernel_address)


def call(loss, y, z, weight=None, scale=1.0, outputs=("value", "gradient", "hessian"), gradient=None):
    """Runs the block function: the sum, the status and the arrays that were asked for."""
    kernel = kernel_of(loss)
    single = z.dtype == np.float32
    arrays = [c_void_p] * 3
    signature = [POINTER(c_double), c_int64, c_int64, *arrays, c_double, *arrays, POINTER(c_int32)]
    block = ctypes.CFUNCTYPE(c_double, *signature)(kernel.f32 if single else kernel.f64)
    shapes = {"value": z.shape[:1], "gradient": z.shape, "hessian": z.shape}
    results = {name: np.full(shapes[name], np.nan, z.dtype) for name in outputs}
    if gradient is not None:
        results["gradient"] = gradient
    pointers = [results[name].ctypes.data if name in results else None for name in shapes]
    inputs = [None if x is None else x.ctypes.data for x in (y, z, weight)]
    status = c_int32(0)
    k = int(np.prod(z.shape[1:]))
    total = block(kernel.params, len(z), k, *inputs, scale, *pointers, ctypes.byref(status))
    return total, status.value, results


pytestmark = pytest.mark.usefixtures("isa")


def test_what_the_struct_says(case):
    y, z = case.sample(3)
    loss = case.make()
    kernel = kernel_of(loss)
    assert kernel.version == 1
    assert kernel.label_width == (1 if y.ndim == 1 else 0)
    assert kernel.outputs == (1 if z.ndim == 1 else 0)
    assert kernel.n_params >= 0
    assert kernel.f32
    assert kernel.f64
    weighs = (case.shares(y, z) != 1).any()
    assert bool(kernel.weigh_f32) == bool(kernel.weigh_f64) == weighs


@pytest.mark.parametrize(
    ("loss", "values"), [(fl.SquaredError(), []), (fl.Huber(1.5), [1.5]), (fl.Quantile(0.9), [0.9])]
)
def test_the_parameters_are_in_the_struct(loss, values):
    kernel = kernel_of(loss)
    assert kernel.params[: kernel.n_params] == values


def test_what_a_mean_divides_by(case, dtype, weighted):
    y, z = case.sample(100, dtype)
    w = np.random.default_rng(0).integers(0, 3, 100).astype(dtype) if weighted else None
    loss = case.make()
    kernel = kernel_of(loss)
    if not kernel.weigh_f64:
        return
    arrays = [POINTER(c_double), c_int64, c_int64, c_void_p, c_void_p, POINTER(c_int32)]
    address = kernel.weigh_f32 if dtype == np.float32 else kernel.weigh_f64
    k, status = z.shape[1], c_int32(0)
    pointers = [None if x is None else x.ctypes.data for x in (y, w)]
    total = ctypes.CFUNCTYPE(c_double, *arrays)(address)(kernel.params, 100, k, *pointers, ctypes.byref(status))
    assert status.value == 0
    assert total == pytest.approx((case.shares(y, z) * (1 if w is None else w)).sum(), rel=1e-12)


@pytest.mark.parametrize("n", [1, 3, 64, 511])
def test_a_block_gives_what_the_methods_give(case, dtype, weighted, n):
    n = case.rows(n)
    y, z = case.sample(n, dtype)
    w = np.random.default_rng(0).integers(0, 3, n).astype(dtype) if weighted else None
    loss = case.make()
    values, gradients = loss.value_and_grad(y, z, w, reduction="none")
    total, gradient = loss.value_and_grad(y, z, w, reduction="sum")
    hessian = loss.grad_and_hess(y, z, w)[1]
    got = call(loss, y, z, w, outputs=("value", "gradient"))
    assert got[1] == 0
    np.testing.assert_array_equal(got[2]["value"], values)
    np.testing.assert_array_equal(got[2]["gradient"], gradients)
    got = call(loss, y, z, w, outputs=("gradient",))
    assert got[0] == total
    np.testing.assert_array_equal(got[2]["gradient"], gradient)
    np.testing.assert_array_equal(call(loss, y, z, w, outputs=("gradient", "hessian"))[2]["hessian"], hessian)


def test_scale_multiplies_derivatives_alone(case, dtype):
    y, z = case.sample(100, dtype)
    w = np.full(100, 2, dtype)
    loss = case.make()
    (total, _, plain), (scaled_total, _, scaled) = call(loss, y, z, w), call(loss, y, z, w, scale=0.25)
    assert total == scaled_total
    np.testing.assert_array_equal(plain["value"], scaled["value"])
    np.testing.assert_array_equal(plain["gradient"] / 4, scaled["gradient"])
    np.testing.assert_array_equal(plain["hessian"] / 4, scaled["hessian"])


@pytest.mark.parametrize(
    "outputs", [(), ("value",), ("gradient",), ("value", "gradient"), ("gradient", "hessian")], ids="+".join
)
def test_what_is_not_asked_for_is_not_needed(case, dtype, weighted, outputs):
    y, z = case.sample(100, dtype)
    w = np.full(100, 2, dtype) if weighted else None
    loss = case.make()
    total, status, results = call(loss, y, z, w, outputs=outputs)
    everything = call(loss, y, z, w)
    assert status == 0
    np.testing.assert_allclose(total, everything[0], rtol=1e-6 if dtype == np.float32 else 1e-13)
    for name in outputs:
        np.testing.assert_allclose(results[name], everything[2][name], rtol=1e-6 if dtype == np.float32 else 1e-13)


@pytest.mark.parametrize("outputs", [("hessian",), ("value", "hessian")], ids="+".join)
def test_a_hessian_without_a_gradient(outputs, python):
    # kernel.h: "where the pointers are not NULL". In a Python of its own, for it may write through the null pointer.
    program = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import numpy as np, fastloss as fl, test_kernel
        y, z = np.zeros(3), np.array([0.5, -3.0, 0.0])
        print(test_kernel.call(fl.Huber(), y, z, outputs={outputs!r})[2]["hessian"].tolist())
    """
    assert python("if True:" + program) == "[1.0, 0.0, 1.0]"


def test_the_gradient_may_be_written_over_an_input(case, dtype):
    y, z = case.sample(300, dtype)
    loss = case.make()
    expected = call(loss, y, z, outputs=("gradient",))[2]["gradient"]
    for i in (0, 1):
        arguments = [y.copy(), z.copy()]
        if arguments[i].shape == z.shape and arguments[i].dtype == z.dtype:
            call(loss, *arguments, outputs=(), gradient=arguments[i])
            np.testing.assert_array_equal(arguments[i], expected)


def test_status_says_what_is_outside_its_domain(case, dtype):
    loss = case.make()
    for n in (1, 20, 511):
        for bit, domain in ((BAD_LABEL, case.reference.labels), (BAD_PREDICTION, case.reference.predictions)):
            for bad in domain.invalid:
                if bit == BAD_PREDICTION and np.isnan(bad):
                    continue
                y, z = case.sample(n, dtype)
                (y if bit == BAD_LABEL else z).reshape(n, -1)[n // 2, 0] = bad
                assert call(loss, y, z)[1] == bit
                w = np.ones(n, dtype)
                w[n // 2] = 0
                assert call(loss, y, z, w)[1] == 0  # a weight of 0 removes the sample
                w[n // 2] = -1
                assert call(loss, y, z, w)[1] & BAD_WEIGHT


def test_an_empty_block(case, dtype):
    y, z = case.sample(1, dtype)
    assert call(case.make(), y[:0], z[:0])[:2] == (0.0, 0)


def test_the_struct_is_that_of_the_loss_whose_address_it_is():
    losses = [fl.Huber(delta) for delta in (1.0, 2.0, 3.0)]
    assert [kernel_of(loss).params[0] for loss in losses] == [1.0, 2.0, 3.0]
    assert len({loss.kernel_address for loss in losses}) == 3
