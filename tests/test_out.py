"""Outputs: what `out` may share with inputs, what it must be, and what a call leaves behind."""

import math
import sys

import numpy as np
import pytest

import fastloss as fl


def overlapping(dtype, shape):
    """Memory, and two views of it that are an entry apart."""
    memory = np.full(math.prod(shape) + 1, 0.5, dtype)
    return memory, memory[:-1].reshape(shape), memory[1:].reshape(shape)


@pytest.mark.parametrize("argument", ["y_true", "y_pred", "sample_weight"])
@pytest.mark.parametrize("weights", [False, True])
def test_an_output_that_overlaps_an_input_is_refused(case, dtype, argument, weights):
    y, z = case.sample(700, dtype)
    arguments = {"y_true": y, "y_pred": z} | ({"sample_weight": np.ones(700, dtype)} if weights else {})
    if argument not in arguments:
        return
    memory, view, shifted = overlapping(dtype, z.shape)
    arguments[argument] = memory[: arguments[argument].size].reshape(arguments[argument].shape)
    loss = case.make()
    for call in (
        lambda: loss.value_and_grad(**arguments, out=shifted),
        lambda: loss.value_and_grad(**arguments, out=view[::-1]),
        lambda: loss.grad_and_hess(**arguments, out=(shifted, np.empty_like(z))),
        lambda: loss.grad_and_hess(**arguments, out=(np.empty_like(z), shifted)),
    ):
        with pytest.raises(ValueError, match=f"^out.* must not share memory with {argument}"):
            call()
    np.testing.assert_array_equal(memory, dtype(0.5))


@pytest.mark.parametrize("weights", [None, np.ones(4)])
def test_two_outputs_that_overlap_are_refused(weights):
    y, z, out = np.zeros(4), np.ones(4), np.zeros(5)
    for pair in ((out[1:], out[:-1]), (out[1:], out[1:])):
        with pytest.raises(ValueError, match=r"^out.* must not share memory with the other output"):
            fl.Huber().grad_and_hess(y, z, weights, out=pair)
    assert not out.any()


def test_interleaved_views_do_not_overlap(dtype):
    memory = np.full((500, 2), 0.5, dtype)
    y = np.zeros(500, dtype)
    expected = fl.Huber().value_and_grad(y, memory[:, 0].copy())
    value, gradient = fl.Huber().value_and_grad(y, memory[:, 0], out=memory[:, 1])
    assert value == expected[0]
    np.testing.assert_array_equal(gradient, expected[1])
    np.testing.assert_array_equal(memory[:, 0], dtype(0.5))


def test_any_input_may_be_the_output(case, dtype):
    y, z = case.sample(3000, dtype)
    w = np.ones(3000, dtype)
    loss = case.make()
    expected = loss.grad_and_hess(y, z, w)
    for i in range(3):
        arguments = [y.copy(), z.copy(), w.copy()]
        if arguments[i].shape == z.shape and arguments[i].dtype == z.dtype:
            loss.value_and_grad(*arguments, reduction="sum", out=arguments[i])
            np.testing.assert_array_equal(arguments[i], expected[0])
            arguments = [y.copy(), z.copy(), w.copy()]
            for got, wanted in zip(loss.grad_and_hess(*arguments, out=(None, arguments[i])), expected, strict=True):
                np.testing.assert_array_equal(got, wanted)
    both = y.copy(), z.copy()
    if y.shape == z.shape and y.dtype == z.dtype:
        for got, wanted in zip(loss.grad_and_hess(*both, w, out=both), expected, strict=True):
            np.testing.assert_array_equal(got, wanted)


WRONG_OUTPUTS = {
    "other precision": (TypeError, lambda z: np.zeros(z.shape, np.float32 if z.dtype == np.float64 else np.float64)),
    "integers": (TypeError, lambda z: np.zeros(z.shape, np.int64)),
    "byte-swapped": (TypeError, lambda z: np.zeros(z.shape, z.dtype.newbyteorder())),
    "objects": (TypeError, lambda z: np.zeros(z.shape, object)),
    "list": (TypeError, lambda z: z.tolist()),
    "number": (TypeError, lambda z: 0.0),
    "buffer": (TypeError, lambda z: memoryview(z.copy())),
    "longer": (ValueError, lambda z: np.zeros((z.shape[0] + 1, *z.shape[1:]), z.dtype)),
    "axis after": (ValueError, lambda z: np.zeros((*z.shape, 1), z.dtype)),
    "axis before": (ValueError, lambda z: np.zeros((1, *z.shape), z.dtype)),
    "no axis": (ValueError, lambda z: np.zeros((), z.dtype)),
    "read-only": (ValueError, lambda z: np.broadcast_to(z.dtype.type(0), z.shape)),
}


@pytest.mark.parametrize(("kind", "wrong"), WRONG_OUTPUTS.values(), ids=list(WRONG_OUTPUTS))
def test_an_output_that_does_not_fit_is_refused(case, dtype, kind, wrong):
    y, z = case.sample(9, dtype)
    loss = case.make()
    out, right = wrong(z), np.full_like(z, 7)
    inputs = y.copy(), z.copy()
    for call in (
        lambda: loss.value_and_grad(y, z, out=out),
        lambda: loss.grad_and_hess(y, z, out=(out, right)),
        lambda: loss.grad_and_hess(y, z, out=(right, out)),
    ):
        with pytest.raises(kind, match=r"^out"):
            call()
    np.testing.assert_array_equal(right, 7)
    np.testing.assert_array_equal(y, inputs[0])
    np.testing.assert_array_equal(z, inputs[1])


@pytest.mark.parametrize("wrong", [np.zeros((2, 4)), [np.zeros(4), np.zeros(4)], (np.zeros(4),), (np.zeros(4),) * 3, 1])
def test_two_outputs_are_a_tuple(wrong):
    with pytest.raises(TypeError, match=r"^out must be a tuple of two arrays"):
        fl.Huber().grad_and_hess(np.zeros(4), np.ones(4), out=wrong)


def test_one_of_two_outputs_may_be_left_out():
    y, z, out = np.zeros(4), np.array([0.5, 2, -3, 0]), np.empty(4)
    gradient, hessian = fl.Huber().grad_and_hess(y, z, out=(None, out))
    assert hessian is out
    assert gradient.tolist() == [0.5, 1, -1, 0]
    assert hessian.tolist() == [1, 0, 0, 1]


def test_large_outputs(dtype, isa):
    # 32 MiB and more is written past the caches; also where the memory starts inside a cache line and ends in one.
    n = (1 << 25) // np.dtype(dtype).itemsize + 37
    z = np.linspace(-3, 3, n, dtype=dtype)
    y = np.zeros(n, dtype)
    memory = np.full(n + 7, 9, dtype)
    out = memory[3:-4]
    fl.Huber().value_and_grad(y, z, reduction="sum", out=out)
    np.testing.assert_array_equal(out, np.clip(z, -1, 1))
    assert memory[[0, 1, 2, -4, -3, -2, -1]].tolist() == [9] * 7
    fl.Huber().value_and_grad(y, z, reduction="sum", out=z)
    np.testing.assert_array_equal(out, z)


@pytest.mark.parametrize(("weighted", "first"), [(False, 0), (True, 3)])
def test_large_gradients_are_those_of_small_ones(case, dtype, isa, weighted, first):
    n = case.rows(1000)
    y, z = case.sample(n, dtype)
    w = np.linspace(0, 2, n, dtype=dtype) if weighted else None
    loss = case.make()
    value, gradient = loss.value_and_grad(y, z, w, reduction="sum")
    times = (1 << 25) // z.nbytes + 1
    many = [None if x is None else np.tile(x, (times,) + (1,) * (x.ndim - 1)) for x in (y, z, w)]
    out = np.empty(first + times * z.size, dtype)[first:].reshape(-1, *z.shape[1:])
    assert loss.value_and_grad(*many, reduction="sum", out=out)[0] == pytest.approx(times * value, rel=1e-6)
    # Not to the last bit: blocks of labels 0 and 1 have arithmetic of their own.
    found = out.reshape(times, *z.shape)
    for extreme in (found.min(axis=0), found.max(axis=0)):
        np.testing.assert_allclose(extreme, gradient, rtol=4 * np.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("weighted", [False, True])
def test_large_inputs(case, dtype, isa, weighted):
    # 12 MiB and more is read in short turns, with what comes next asked for; labels also where they are not contiguous.
    y, z = case.sample(1000, dtype)
    w = np.linspace(0, 2, 1000, dtype=dtype) if weighted else None
    times = 1 + (12 << 20) // (y.nbytes + z.nbytes)
    many = [None if x is None else np.tile(x, (times,) + (1,) * (x.ndim - 1)) for x in (y, z, w)]
    loss = case.make()
    value, gradient = loss.value_and_grad(y, z, w, reduction="sum")
    for labels in (many[0], many[0][::-1].copy()[::-1]):
        large_value, large_gradient = loss.value_and_grad(labels, *many[1:], reduction="sum")
        np.testing.assert_array_equal(
            large_gradient.reshape(times, *z.shape), np.broadcast_to(gradient, (times, *z.shape))
        )
        assert large_value == pytest.approx(times * value, rel=1e-6 if dtype == np.float32 else 1e-12)
    assert loss(*many, reduction="sum") == pytest.approx(large_value, rel=1e-12)


def test_no_reference_is_kept(case, dtype):
    y, z = case.sample(50, dtype)
    w, out = np.ones(50, dtype), np.empty_like(z)
    loss = case.make()
    arrays = (y, z, w, out)
    before = [sys.getrefcount(x) for x in arrays]
    for _ in range(10):
        loss(y, z, w)
        loss.value_and_grad(y, z, w, reduction="none", out=out)
        loss.grad_and_hess(y, z, w, out=(out, None))
        with pytest.raises(ValueError, match="sample_weight"):
            loss.value_and_grad(y, z, -w, out=out)
        with pytest.raises(ValueError, match="out"):
            loss.value_and_grad(y, z, w, out=out[1:])
        with pytest.raises(ValueError, match="y_true"):
            loss.value_and_grad(y[1:], z, w, out=out)
    assert [sys.getrefcount(x) for x in arrays] == before
