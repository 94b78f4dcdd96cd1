"""Categorical cross-entropy: the numerical cases of the design, and what only a loss of several outputs has."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

import fastloss as fl
from fastloss import CategoricalCrossEntropy as Loss

pytestmark = pytest.mark.usefixtures("isa")

LOGITS = {"from_logits": True}
inf, nan = math.inf, math.nan
# Of each way in which rows are computed: by columns, several rows at once, in pieces.
WIDTHS = [3, 16, 17, 40, 2048, 2049, 5000]


def one(loss, label, row, dtype):
    """Value and gradient of one sample; its hessian too must exist."""
    y, z = np.array([label], dtype), np.array([row], dtype)
    value, gradient = loss.value_and_grad(y, z, reduction="none")
    assert loss.grad_and_hess(y, z)[1].shape == z.shape
    return value[0], gradient[0]


def draw(n, k, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, k, n), rng.normal(scale=2, size=(n, k)).astype(dtype)


def one_hot(y, k, dtype=np.float64):
    rows = np.zeros((*np.shape(y), k), dtype)
    np.put_along_axis(rows, np.expand_dims(y, -1), 1, axis=-1)
    return rows


def close(got, expected, dtype, size=1.0):
    accuracy = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(got, expected, rtol=accuracy, atol=accuracy * size)


def everything(loss, *arguments, **options):
    results = (
        loss(*arguments, reduction="none", **options),
        *loss.value_and_grad(*arguments, **options),
        *loss.grad_and_hess(*arguments, **options),
    )
    return b"".join(np.asarray(x).tobytes() for x in results)


# --- Numerical cases ---


@pytest.mark.parametrize(
    ("row", "value"),
    [
        ([1000, 980, 0], 2.0611536203143807e-9),
        ([1e4, 1e4 - 30, 0], 9.357622968839737e-14),
        ([-1000, -1001, -1002], 0.4076059644443803),
    ],
)
def test_nothing_cancels(row, value, dtype):
    got, gradient = one(Loss(**LOGITS), 0, row, dtype)
    accuracy = 1e-6 if dtype == np.float32 else 1e-15
    assert got == pytest.approx(value, rel=accuracy, abs=0)
    assert gradient[0] == pytest.approx(math.expm1(-value), rel=accuracy, abs=0)


@pytest.mark.parametrize("k", WIDTHS)
@pytest.mark.parametrize("soft", [False, True])
def test_nothing_cancels_wherever_the_largest_logit_stands(k, soft, dtype):
    for place in {0, k // 2, 511, 512, 2047, 2048, k - 1}:
        if place < k:
            z = np.full(k, -40)
            z[place] = 0
            rest = (k - 1) * math.exp(-40)
            value, gradient = one(Loss(**LOGITS), one_hot(place, k) if soft else place, z, dtype)
            accuracy = 2e-6 if dtype == np.float32 else 1e-14
            assert value == pytest.approx(math.log1p(rest), rel=accuracy, abs=0)
            assert gradient[place] == pytest.approx(-rest / (1 + rest), rel=accuracy, abs=0)
            np.testing.assert_allclose(np.delete(gradient, place), math.exp(-40) / (1 + rest), rtol=accuracy)


@pytest.mark.parametrize("k", WIDTHS)
@pytest.mark.parametrize("soft", [False, True])
def test_a_class_that_is_impossible(k, soft, dtype):
    z = np.linspace(-1, 1, k)
    z[-1] = -inf
    label = one_hot(1, k) if soft else 1
    value, gradient = one(Loss(**LOGITS), label, z, dtype)
    close(value, special.logsumexp(z) - z[1], dtype)
    assert gradient[-1] == 0
    assert np.isfinite(gradient).all()
    label = one_hot(k - 1, k) if soft else k - 1
    value, gradient = one(Loss(**LOGITS), label, z, dtype)
    assert value == inf
    close(gradient, special.softmax(z) - one_hot(k - 1, k), dtype)


@pytest.mark.parametrize("k", WIDTHS)
@pytest.mark.parametrize("row", [-inf, inf, nan])
def test_rows_without_a_distribution_are_nan(k, row, dtype):
    z = np.full(k, -inf) if row == -inf else np.linspace(-1, 1, k)
    z[k // 2] = row
    for parameters in ({}, {"label_smoothing": 0.1}):
        for label in (0, k // 2, one_hot(0, k)):
            value, gradient = one(Loss(**LOGITS, **parameters), label, z, dtype)
            assert math.isnan(value)
            assert np.isnan(gradient).any()


@pytest.mark.parametrize("z", [0, -1e4, 1e30, -1e-30])
def test_a_single_class(z, dtype):
    for label in (0, [1]):
        assert one(Loss(**LOGITS), label, [z], dtype) == (0, 0)


@pytest.mark.parametrize("k", [1, *WIDTHS, 100_000])
@pytest.mark.parametrize("z", [0, 1.7, -1e30])
def test_equal_logits(k, z, dtype):
    value, gradient = one(Loss(**LOGITS), k - 1, np.full(k, z), dtype)
    eps = float(np.finfo(dtype).eps)
    assert value == pytest.approx(math.log(k), rel=2 * eps)
    np.testing.assert_allclose(gradient, 1 / k - one_hot(k - 1, k), rtol=4 * eps)


@pytest.mark.parametrize("k", WIDTHS)
@pytest.mark.parametrize("ignored", [-100, 1, 2**24 + 1, 2**31 - 1])
@pytest.mark.parametrize("from_logits", [False, True])
def test_an_ignored_row_counts_as_nothing(k, ignored, from_logits, dtype):
    y = np.array([0, ignored, 2, ignored])
    z = np.random.default_rng(0).uniform(0.1, 0.9, (4, k)).astype(dtype)
    z[1], z[3] = nan, inf
    kept = np.array([0, 2])
    loss = Loss(from_logits, ignore_index=ignored, class_weight=np.arange(1, k + 1), label_smoothing=0.1)
    values, gradient = loss.value_and_grad(y, z, reduction="none")
    hessian = loss.grad_and_hess(y, z)[1]
    for result in (values, gradient, hessian):
        np.testing.assert_array_equal(result[[1, 3]], 0)
        assert np.isfinite(result).all()
    for reduction in ("mean", "sum"):
        value, gradient = loss.value_and_grad(y, z, reduction=reduction)
        without, gradient_without = loss.value_and_grad(y[kept], z[kept], reduction=reduction)
        close(value, without, dtype)
        close(gradient[kept], gradient_without, dtype)


@pytest.mark.parametrize("k", [3, 20])
def test_every_row_ignored(k, dtype):
    z = np.full((5, k), 0.5, dtype)
    for parameters in ({}, LOGITS):
        loss = Loss(ignore_index=-1, **parameters)
        value, gradient = loss.value_and_grad([-1] * 5, z)
        assert math.isnan(value)
        np.testing.assert_array_equal(gradient, 0)
        assert loss([-1] * 5, z, reduction="sum") == 0


@pytest.mark.parametrize("k", [1, *WIDTHS])
@pytest.mark.parametrize("parameters", [{}, LOGITS, {"class_weight": ...}, {"ignore_index": -100}], ids=repr)
def test_labels_that_are_no_class(k, parameters, dtype):
    z = np.full((4, k), 0.5, dtype)
    weights = {"class_weight": np.ones(k)} if "class_weight" in parameters else {}
    loss = Loss(**{**parameters, **weights})
    for bad in (-1, k, 0.7, k - 0.5, -0.5, nan, inf, -inf, 1e30):
        y = np.zeros(4)
        y[2] = bad
        for method in (loss, loss.value_and_grad, loss.grad_and_hess):
            with pytest.raises(ValueError, match=r"^y_true must hold class indices.*; got .* at index 2$"):
                method(y, z)


@pytest.mark.parametrize("k", WIDTHS)
def test_rows_that_are_no_probabilities(k, dtype):
    z = np.full((4, k), 0.5, dtype)
    for bad in (-1e-30, 1.0000002, nan, inf):
        y = np.zeros((4, k), dtype)
        y[2, k - 1] = bad
        for loss in (Loss(), Loss(**LOGITS), Loss(class_weight=np.ones(k))):
            with pytest.raises(
                ValueError, match=rf"^y_true must hold probabilities.*; got .* at index \(2, {k - 1}\)$"
            ):
                loss.value_and_grad(y, z)


@pytest.mark.parametrize(
    "labels", [np.uint8, np.int8, np.int32, np.int64, np.uint64, np.float16, np.float64, bool, ">i4"]
)
@pytest.mark.parametrize("k", [2, 20])
def test_labels_of_any_dtype(labels, k, dtype):
    _, z = draw(50, k, dtype)
    y = np.arange(50) % 2
    np.testing.assert_array_equal(
        Loss(**LOGITS).value_and_grad(y.astype(labels), z, reduction="none")[1],
        Loss(**LOGITS).value_and_grad(y.astype(float), z, reduction="none")[1],
    )
    assert Loss(**LOGITS)(y.astype(labels).tolist(), z.tolist()) == pytest.approx(Loss(**LOGITS)(y, z), rel=1e-6)


@pytest.mark.parametrize("k", [1, *WIDTHS])
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("parameters", [{}, {"label_smoothing": 0.1}, {"class_weight": ...}], ids=repr)
def test_one_hot_labels_are_indices(k, from_logits, parameters, dtype):
    y, z = draw(30, k, dtype)
    z = z if from_logits else special.softmax(z, axis=1)
    if "class_weight" in parameters:
        parameters = {"class_weight": np.random.default_rng(1).uniform(0.5, 2, k)}
    loss = Loss(from_logits, **parameters)
    w = np.random.default_rng(2).random(30)
    # Sums over many classes differ by more. Where two terms cancel, relative to the larger one.
    accuracy = (8 + k / 256) * float(np.finfo(dtype).eps)
    cancels = loss.targets(y, k).max() if loss.label_smoothing else 0.0
    for reduction in ("none", "mean", "sum"):
        hard = loss.value_and_grad(y, z, w, reduction=reduction)
        soft = loss.value_and_grad(one_hot(y, k), z, w, reduction=reduction)
        for a, b in zip(hard, soft, strict=True):
            np.testing.assert_allclose(b, a, rtol=accuracy, atol=accuracy * cancels)


# --- Predictions ---


@pytest.mark.parametrize("k", [1, *WIDTHS])
@pytest.mark.parametrize("soft", [False, True])
def test_nan_flows_through_probabilities(k, soft, dtype):
    for place in {0, k - 1}:
        p = np.full(k, 0.5)
        p[place] = nan
        for parameters in ({}, {"eps": 0.0}, {"label_smoothing": 0.1}, {"class_weight": np.zeros(k)}):
            value, gradient = one(Loss(**parameters), one_hot(0, k) if soft else 0, p, dtype)
            assert math.isnan(value)
            assert math.isnan(gradient[place])


@pytest.mark.parametrize("bad", [-1e-30, 1.0000002, inf, -inf])
@pytest.mark.parametrize("soft", [False, True])
def test_what_is_no_probability_is_refused(bad, soft, dtype):
    for k in WIDTHS:
        p = np.full((3, k), 0.5, dtype)
        p[1, k - 1] = bad
        y = np.zeros(3, int)
        with pytest.raises(ValueError, match=rf"^y_pred must hold probabilities .*; got .* at index \(1, {k - 1}\)"):
            Loss()(one_hot(y, k) if soft else y, p)


def test_probabilities_are_clipped(dtype):
    accuracy = 3e-7 if dtype == np.float32 else 1e-15
    for label in (0, [1, 0, 0]):
        value, gradient = one(Loss(), label, [0, 1, 0.5], dtype)
        assert value == pytest.approx(34.538776394910684, rel=accuracy)
        np.testing.assert_array_equal(gradient, 0)
        value, gradient = one(Loss(), label, [1, 0, 0], dtype)
        assert 0 < value < 1e-6
        np.testing.assert_array_equal(gradient, 0)
        value, gradient = one(Loss(eps=0.25), label, [0.25, 0, 0.9], dtype)
        assert value == pytest.approx(math.log(4), rel=accuracy)
        np.testing.assert_array_equal(gradient, [-4, 0, 0])
        assert one(Loss(eps=0), label, [0, 1, 0], dtype)[0] == inf
        assert one(Loss(eps=0), label, [1, 0, 0], dtype)[0] == 0


def test_rows_need_not_sum_to_one(dtype):
    rng = np.random.default_rng(0)
    for k in WIDTHS:
        y, z = rng.random((20, k)).astype(dtype), rng.normal(size=(20, k)).astype(dtype)
        y64 = y.astype(np.float64)
        values, gradient = Loss(**LOGITS).value_and_grad(y, z, reduction="none")
        close(values, -(y64 * special.log_softmax(z.astype(np.float64), axis=1)).sum(axis=1), dtype)
        p = special.softmax(z.astype(np.float64), axis=1)
        close(gradient, y64.sum(axis=1, keepdims=True) * p - y, dtype)
        values, gradient = Loss().value_and_grad(y, y, reduction="none")
        close(values, -(y64 * np.log(y64)).sum(axis=1), dtype)
        close(gradient, np.full_like(y, -1), dtype)


@pytest.mark.parametrize("k", [1, 2, 15, 16, 17, 2047, 2048, 2049, 5000, 100_000])
@pytest.mark.parametrize("soft", [False, True])
def test_rows_of_any_length(k, soft, dtype):
    n = 3 if k > 2000 else 100
    y, z = draw(n, k, dtype)
    z64 = z.astype(np.float64)
    target = one_hot(y, k)
    if soft:
        target = special.softmax(np.random.default_rng(1).normal(size=(n, k)), axis=1)
        y = target
    values, gradient = Loss(**LOGITS).value_and_grad(y, z, reduction="none")
    expected = -(target * special.log_softmax(z64, axis=1)).sum(axis=1)
    accuracy = 5e-6 if dtype == np.float32 else 1e-14
    np.testing.assert_allclose(values, expected, rtol=accuracy, atol=accuracy)
    p = special.softmax(z64, axis=1)
    np.testing.assert_allclose(gradient, p - target, rtol=accuracy, atol=accuracy * (p + target).max())
    np.testing.assert_allclose(
        Loss(**LOGITS).grad_and_hess(y, z)[1], p * (1 - p), rtol=accuracy, atol=accuracy * p.max()
    )
    np.testing.assert_array_equal(Loss(**LOGITS)(y, z, reduction="none"), values)


# --- Shapes, layouts, outputs, threads ---


def test_the_last_axis_holds_the_classes(dtype):
    for k in (3, 20):
        y, z = draw(42, k, dtype)
        w = np.random.default_rng(1).random(6)
        loss = Loss(**LOGITS)
        expected = loss.value_and_grad(y, z, np.repeat(w, 7))
        for labels, shape in ((y, (6, 7)), (one_hot(y, k), (6, 7, k))):
            value, gradient = loss.value_and_grad(labels.reshape(shape), z.reshape(6, 7, k), w)
            close(value, expected[0], dtype)
            close(gradient, expected[1].reshape(6, 7, k), dtype)
            assert loss(labels.reshape(shape), z.reshape(6, 7, k), reduction="none").shape == (6, 7)
        value, gradient = loss.value_and_grad(y[0], z[0])
        assert isinstance(value, float)
        np.testing.assert_array_equal(gradient, loss.value_and_grad(y[:1], z[:1])[1][0])
        assert loss(y[0], z[0], reduction="none").shape == ()


@pytest.mark.parametrize("k", [3, 16, 17, 40, 700, 2100])
@pytest.mark.parametrize("soft", [False, True])
def test_layouts(k, soft, dtype):
    n = 70
    y, z = draw(n, k, dtype)
    y = one_hot(y, k, dtype) if soft else y
    loss = Loss(**LOGITS, label_smoothing=0.1)
    values, gradient = loss.value_and_grad(y, z, reduction="none")
    unaligned = np.empty(z.nbytes + 1, np.uint8)[1:].view(dtype).reshape(z.shape)
    unaligned[...] = z
    wide = np.empty((n, k, 2), dtype)
    wide[..., 1] = z
    tall = np.repeat(z, 2, axis=0)
    views = [z.copy("F"), z[::-1].copy()[::-1], unaligned, wide[..., 1], tall[::2], z.astype(z.dtype.newbyteorder())]
    for view in views:
        for labels in (y, np.asfortranarray(y), y.astype(">f8")):
            got, slope = loss.value_and_grad(labels, view, reduction="none")
            close(got, values, dtype)
            close(slope, gradient, dtype)
        if view.dtype.isnative:
            got = loss.value_and_grad(y, view, reduction="sum", out=view)
            assert got[1] is view
            close(view, gradient, dtype)
    if soft:
        labels = y.copy("F")
        assert loss.value_and_grad(labels, z, reduction="sum", out=labels)[1] is labels
        close(labels, gradient, dtype)
    labels = y.copy() if soft else one_hot(y, k, dtype)
    hessian = np.asfortranarray(z)
    expected = loss.grad_and_hess(y, z)
    for got, wanted in zip(loss.grad_and_hess(labels, hessian, out=(labels, hessian)), expected, strict=True):
        close(got, wanted, dtype)


@pytest.mark.parametrize(("n", "k"), [(20_000, 3), (2000, 17), (500, 100), (40, 2049), (7, 20_000)])
@pytest.mark.parametrize("soft", [False, True])
def test_identical_for_any_number_of_threads(n, k, soft, dtype):
    y, z = draw(n, k, dtype)
    y = special.softmax(z[::-1], axis=1) if soft else np.where(np.arange(n) % 5 == 4, -1, y)
    w = np.random.default_rng(1).random(n).astype(dtype)
    loss = Loss(**LOGITS, class_weight=np.linspace(0.5, 1.5, k), ignore_index=-1)
    for weight in (None, w):
        one_thread = everything(loss, y, z, weight, n_threads=1)
        for n_threads in (2, 3, 8):
            assert everything(loss, y, z, weight, n_threads=n_threads) == one_thread


# --- Errors ---


def test_shapes_that_do_not_fit(dtype):
    z = np.full((4, 3), 0.5, dtype)
    y = np.zeros(4, int)
    out = np.full((4, 3), 7, dtype)
    loss = Loss(class_weight=[1, 2, 3])
    wrong = {
        "y_true": [
            (np.zeros(shape), z, None) for shape in [(), (3,), (5,), (4, 1), (4, 2), (3, 4), (4, 3, 1), (1, 4, 3)]
        ],
        "y_pred": [(y, z[:, :0], None), (0, 0.5, None)],
        "class_weight": [(y, z[:, :2].copy(), None), (y, np.full((4, 5), 0.5, dtype), None)],
        "sample_weight": [(y, z, np.ones(shape)) for shape in [(3,), (5,), (4, 1), (4, 3), (1, 4)]],
        "out": [(y, z, None)],
    }
    for name, calls in wrong.items():
        for arguments in calls:
            for method in (loss.value_and_grad, lambda *a, out: loss.grad_and_hess(*a, out=(out, None))):
                target = out if name != "out" else out[:, :2]
                with pytest.raises(ValueError, match=rf"^{name}\b.* must .*"):
                    method(*arguments, out=target)
    np.testing.assert_array_equal(out, 7)


@pytest.mark.parametrize(
    "wrong", ["1", b"1", 1.0, 1j, {}, object, [], [[1.0]], ["a"], [1, -1], [nan], [1, inf], [1j]], ids=repr
)
def test_class_weights_are_numbers_one_for_each_class(wrong):
    with pytest.raises((TypeError, ValueError), match=r"^class_weight must"):
        Loss(class_weight=wrong)


@pytest.mark.parametrize("wrong", ["1", 1.0, True, np.True_, [1], np.array([1]), np.array([1, 2]), 1j, nan], ids=repr)
def test_an_ignored_label_is_an_integer(wrong):
    with pytest.raises(TypeError, match=r"^ignore_index must be an integer"):
        Loss(ignore_index=wrong)


@pytest.mark.parametrize("ignored", [0, -(10**30), 10**400, np.int8(-1), np.uint64(2**64 - 1), np.array(3)], ids=repr)
def test_any_integer_may_be_ignored(ignored):
    loss = Loss(ignore_index=ignored)
    assert loss.ignore_index == int(ignored)
    assert type(loss.ignore_index) is int
    assert loss([1], [[0.5, 0.5]]) == pytest.approx(math.log(2))


def test_class_weights_become_a_tuple():
    loss = Loss(class_weight=np.array([1, 2], np.float32))
    assert loss.class_weight == (1.0, 2.0)
    assert loss == Loss(class_weight=[1, 2]) != Loss(class_weight=[1, 3])
    assert hash(loss) == hash(Loss(class_weight=(1, 2)))


def test_a_class_of_weight_zero_is_left_out(dtype):
    for k in WIDTHS:
        y, z = draw(200, k, dtype)
        y %= 3
        weights = np.ones(k)
        weights[1] = 0
        loss = Loss(**LOGITS, class_weight=weights)
        kept = y != 1
        value, gradient = loss.value_and_grad(y, z)
        expected, gradient_kept = Loss(**LOGITS).value_and_grad(y[kept], z[kept])
        close(value, expected, dtype)
        np.testing.assert_array_equal(gradient[~kept], 0)
        close(gradient[kept], gradient_kept, dtype)


# --- Conjugate ---


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_fenchel_young(data):
    k, n = data.draw(st.sampled_from([1, 2, 5, 20])), 30
    rng = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    parameters = {"label_smoothing": data.draw(st.sampled_from([0.0, 0.2]))}
    if data.draw(st.booleans()):
        parameters["class_weight"] = rng.uniform(0, 2, k)
    if data.draw(st.booleans()):
        parameters["ignore_index"] = 0
    loss = Loss(**LOGITS, **parameters)
    y = rng.integers(0, k, n).astype(float) if data.draw(st.booleans()) else rng.dirichlet(np.ones(k), n)
    z, other = rng.normal(scale=data.draw(st.sampled_from([0.1, 3, 30])), size=(2, n, k))
    value, u = loss.value_and_grad(y, z, reduction="none")
    conjugate = loss.conjugate(y, u)
    # Equality at the gradient, an inequality anywhere else; also for a dual point that is shrunk.
    np.testing.assert_allclose(value + conjugate, (u * z).sum(axis=1), rtol=1e-10, atol=1e-10)
    for s in (0.0, 0.5, 1.0):
        gap = loss(y, other, reduction="none") + loss.conjugate(y, s * u) - (s * u * other).sum(axis=1)
        assert np.all(gap >= -1e-10)


def test_the_conjugate_is_infinite_outside_its_domain():
    loss, y = Loss(**LOGITS), np.array([0.0])
    for u in ([0.5, 0.5, 0.5], [-1.5, 1.0, 0.5], [0.5, -0.25, -0.25], [-1, 0, 0]):
        assert loss.conjugate(y, np.array([u])) == inf
    for u in ([0, 0, 0], [-1, 0.5, 0.5], [-0.5, 0.5, 0]):
        assert np.isfinite(loss.conjugate(y, np.array([u], float)))
    with pytest.raises(TypeError, match="conjugate"):
        Loss().conjugate(y, np.zeros((1, 3)))


# --- Others' ---


@pytest.mark.parametrize("k", [3, 17, 40, 3000])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("class_weight", [False, True])
@pytest.mark.parametrize("labels", ["indices", "ignored", "soft"])
def test_agrees_with_pytorch(k, reduction, label_smoothing, class_weight, labels, dtype):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    y, z = draw(60, k, dtype)
    ignored = -100
    if labels == "ignored":
        y[::3] = ignored
    elif labels == "soft":
        y = special.softmax(np.random.default_rng(1).normal(size=(60, k)), axis=1).astype(dtype)
    weight = np.linspace(0.5, 2, k) if class_weight else None
    if labels == "soft" and class_weight and reduction == "mean":
        reduction = "sum"  # PyTorch divides by n here, whatever the weights
    ours = Loss(**LOGITS, label_smoothing=label_smoothing, class_weight=weight, ignore_index=ignored)
    theirs = torch.nn.CrossEntropyLoss(
        weight=None if weight is None else torch.tensor(weight.astype(dtype)),
        ignore_index=ignored,
        label_smoothing=label_smoothing,
        reduction=reduction,
    )
    logits = torch.tensor(z, requires_grad=True)
    expected = theirs(logits, torch.tensor(y))
    expected.sum().backward()
    value, gradient = ours.value_and_grad(y, z, reduction=reduction)
    close(value, expected.detach().numpy(), dtype)
    close(gradient, logits.grad.numpy(), dtype)


@pytest.mark.parametrize("k", [3, 17, 40])
def test_agrees_with_scikit_learn(k, weighted, dtype):
    module = pytest.importorskip("sklearn._loss", reason="compares with scikit-learn, which is not installed")
    y, z = draw(200, k, dtype)
    w = np.random.default_rng(1).random(200).astype(dtype) if weighted else None
    theirs = module.HalfMultinomialLoss(n_classes=k)
    value, gradient = theirs.loss_gradient(y.astype(dtype), z, sample_weight=w)
    # Up to a term that does not depend on the predictions, which here is 0.
    close(Loss(**LOGITS)(y, z, w, reduction="none"), value, dtype)
    close(Loss(**LOGITS).value_and_grad(y, z, w, reduction="sum")[1], gradient, dtype)


def test_the_function_is_the_mean_of_the_class():
    y, z = draw(50, 4)
    parameters = {"from_logits": True, "class_weight": [1, 2, 3, 4], "ignore_index": 2}
    assert fl.categorical_cross_entropy(y, z, **parameters) == Loss(**parameters)(y, z)
