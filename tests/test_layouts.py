"""Arrays of any shape, dtype and layout give what contiguous float64 arrays give, and outputs go where asked."""

from functools import partial

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference import CASES

import fastloss as fl

REALS = ["f2", "f4", "f8", "g"]
INTEGERS = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]
# The same examples in every run, and none kept on disk.
hypothetical = settings(
    max_examples=400, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)

shapes = st.one_of(
    st.lists(st.integers(0, 5), max_size=4).map(tuple),
    st.sampled_from(
        [(), (1,), (0,), (7, 1), (1, 7), (511,), (512,), (513,), (1025,), (37, 29), (0, 3), (3, 0), (*[1] * 20, 2, 3)]
    ),
)


def place(values, order, steps, offset):
    """`values` in other memory: axes in this order, entries these steps apart, so many bytes after its start."""
    shape = [n * abs(step) for n, step in zip(values.shape, steps, strict=True)]
    memory = np.full(offset + values.itemsize * int(np.prod(shape)), 0x55, np.uint8)
    base = np.ndarray([shape[axis] for axis in order], values.dtype, memory, offset)
    view = base.transpose(np.argsort(order).astype(int))[(..., *(slice(None, None, step) for step in steps))]
    view[...] = values
    return view, memory


@st.composite
def layouts(draw, ndim):
    """Arguments for `place`."""
    order = draw(st.permutations(range(ndim)))
    steps = draw(st.lists(st.sampled_from([1, 1, 2, -1, -3]), min_size=ndim, max_size=ndim))
    return order, steps, draw(st.sampled_from([0, 0, 1, 4]))


def disguise(draw, numbers, shape, dtypes):
    """An array, or list, of the shape and one of the dtypes: entries from `numbers`, in some layout."""
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    seed = draw(st.integers(0, 2**16))
    # Axes of length 1 are stretched: zero strides.
    small = tuple(min(n, draw(st.sampled_from([1, n]))) for n in shape)
    values = np.random.default_rng(seed).choice(numbers, small).astype(dtype)
    array, _ = place(values, *draw(layouts(len(shape))))
    if small != shape:
        array = np.broadcast_to(array, shape)
    how = draw(st.sampled_from(["as it is", "as it is", "byte-swapped", "read-only", "list"]))
    if how == "byte-swapped":
        array = array.astype(dtype.newbyteorder())
    elif how == "read-only":
        array = array[...]
        array.flags.writeable = False
    elif how == "list" and (dtype.kind != "f" or dtype == np.float64) and 0 not in shape:
        return array.tolist()
    return array


def labels(case):
    return [label for label in (0, 1) if label not in case.reference.labels.invalid]


@hypothetical
@given(st.data(), st.sampled_from(CASES), shapes)
def test_any_layout_gives_what_numpy_gives(data, case, shape):
    draw = data.draw
    labels_shape, predictions_shape = case.shapes(*shape)
    y = disguise(draw, labels(case), labels_shape, REALS + INTEGERS)
    if draw(st.booleans()):
        z = disguise(draw, [0.25, 0.5, 0.75], predictions_shape, REALS)
    else:
        z = disguise(draw, [0, 1], predictions_shape, INTEGERS)
    weights = draw(st.sampled_from([None, shape, (), shape[:1]]))
    w = None if weights is None else disguise(draw, [0, 1, 2, 3], weights, REALS + INTEGERS)

    loss = case.make()
    dtype = np.float32 if np.asarray(z).dtype.newbyteorder("=") == np.float32 else np.float64
    y64, z64 = np.asarray(y, np.float64), np.asarray(z, np.float64)
    if w is None:
        w64 = np.ones(shape)
    else:
        w64 = np.asarray(w, np.float64)
        w64 = np.broadcast_to(w64.reshape(w64.shape + (1,) * (len(shape) - w64.ndim) if w64.ndim else ()), shape)
    expected = np.where(w64 == 0, 0, case.value(y64, z64)) * w64
    divisor = (case.shares(y64, z64) * w64).sum()

    close = partial(np.testing.assert_allclose, rtol=1e-5 if dtype == np.float32 else 1e-12, atol=1e-7)
    values, gradients = loss.value_and_grad(y, z, w, reduction="none")
    assert values.dtype == gradients.dtype == dtype
    assert values.shape == shape
    assert gradients.shape == predictions_shape
    close(values, expected)
    total, gradient = loss.value_and_grad(y, z, w, reduction="sum")
    close(total, expected.sum())
    plain = [np.array(x, dtype, order="C") for x in (y64, z64, w64)]
    close(gradients, loss.value_and_grad(*plain, reduction="none")[1])
    np.testing.assert_array_equal(gradient, gradients)
    mean, gradient = loss.value_and_grad(y, z, w)
    if divisor > 0:
        close(mean, expected.sum() / divisor)
        close(gradient, gradients / divisor)
    else:
        assert np.isnan(mean)
        assert not gradient.any()
    for got, wanted in zip(loss.grad_and_hess(y, z, w), loss.grad_and_hess(*plain), strict=True):
        assert got.dtype == dtype
        close(got, wanted)


@hypothetical
@given(st.data(), st.sampled_from(CASES), shapes, st.sampled_from([np.float32, np.float64]))
def test_outputs_of_any_layout(data, case, shape, dtype):
    rng = np.random.default_rng(0)
    labels_shape, shape = case.shapes(*shape)
    y = rng.choice(labels(case), labels_shape).astype(dtype)
    values = rng.choice([0.25, 0.5, 0.75], shape).astype(dtype)
    z, z_memory = place(values, *data.draw(layouts(len(shape))))
    out, out_memory = place(np.full(shape, np.nan, dtype), *data.draw(layouts(len(shape))))
    hessian, _ = place(np.full(shape, np.nan, dtype), *data.draw(layouts(len(shape))))
    loss = case.make()
    value, gradient = loss.value_and_grad(y, values)
    close = partial(np.testing.assert_allclose, rtol=1e-6 if dtype == np.float32 else 1e-14)

    before = out_memory.copy(), z_memory.copy()
    again, returned = loss.value_and_grad(y, z, out=out)
    assert returned is out
    close(again, value)
    close(out, gradient)
    assert np.array_equal(z_memory, before[1])
    out[...] = np.nan
    assert np.array_equal(out_memory, before[0])  # nothing beside `out` was written

    both = loss.grad_and_hess(y, z, out=(out, hessian))
    assert both[0] is out
    assert both[1] is hessian
    for got, wanted in zip(both, loss.grad_and_hess(y, values), strict=True):
        close(got, wanted)

    # In place, also under the name of another view of the same entries.
    target = z if data.draw(st.booleans()) else z[...]
    again, returned = loss.value_and_grad(y, z, out=target)
    assert returned is target
    close(again, value)
    close(z, gradient)
    z[...] = values
    assert np.array_equal(z_memory, before[1])


def test_as_many_axes_as_numpy_has():
    axes = 64 if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else 32
    z = np.arange(8.0).reshape((2,) * 3 + (1,) * (axes - 3))
    for view in (z, z.T, z[::-1], z.astype(">f4")):
        value, gradient = fl.SquaredError().value_and_grad(np.zeros(view.shape), view, reduction="sum")
        assert value == 140
        np.testing.assert_array_equal(gradient, 2 * view)


def test_subclasses_are_read_and_results_are_plain(tmp_path):
    class Mine(np.ndarray):
        def __mul__(self, other):
            raise AssertionError("nobody asks a subclass to compute")

    x = np.arange(6.0)
    mapped = np.memmap(tmp_path / "x", np.float64, "w+", shape=6)
    mapped[:] = x
    for z in (x.view(Mine), mapped):
        for result in (*fl.Huber().grad_and_hess(x, z, x), fl.Huber()(z, x, z, reduction="none")):
            assert type(result) is np.ndarray
    np.testing.assert_array_equal(
        fl.Huber().value_and_grad(mapped * 0, mapped, reduction="sum", out=mapped)[1], x.clip(0, 1)
    )


def test_more_than_2_to_31_samples():
    # Two rows that are one number each in memory. A 32-bit index would see fewer of them, or the first row only.
    columns = (1 << 30) + 1
    p = np.broadcast_to(np.array([[1], [2]], np.float32), (2, columns))
    assert fl.SquaredError()(np.broadcast_to(np.float32(0), p.shape), p, reduction="sum") == 5 * columns
