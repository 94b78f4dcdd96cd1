"""PyTorch with our losses against PyTorch with its own."""

import pickle

import numpy as np
import pytest

import fastloss as fl

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
import torch.nn.functional as F  # noqa: E402

from fastloss.interop import torch as interop  # noqa: E402

BINARY = fl.BinaryCrossEntropy(from_logits=True)
CLASSES = fl.CategoricalCrossEntropy(from_logits=True)
REDUCTIONS = ["mean", "sum", "none"]
FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def predictions(*shape, dtype=torch.float64):
    return torch.randn(*shape, dtype=torch.float64).to(dtype).requires_grad_()


def compare(ours, theirs, input, tolerance, weight=None):
    """Values and gradients of two functions of the input; where they are many, by a random direction."""
    found, expected = ours(input), theirs(input)
    assert found.dtype == input.dtype
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected.to(found.dtype), rtol=tolerance, atol=tolerance)
    above = torch.rand_like(found) if weight is None else weight
    (gradient,) = torch.autograd.grad(found, input, above)
    (wanted,) = torch.autograd.grad(expected, input, above.to(expected.dtype))
    assert gradient.dtype == input.dtype
    torch.testing.assert_close(gradient, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_binary(dtype, reduction):
    z, y = predictions(40, 3, dtype=dtype), torch.rand(40, 3).to(dtype)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-6}.get(dtype, 2e-2)
    compare(
        lambda z: interop.loss(BINARY, reduction)(z, y),
        lambda z: F.binary_cross_entropy_with_logits(z.double(), y.double(), reduction=reduction),
        z,
        tolerance,
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_classes(dtype, reduction):
    loss = fl.CategoricalCrossEntropy(
        from_logits=True, class_weight=[1, 2, 0.5], ignore_index=-100, label_smoothing=0.1
    )
    z, y = predictions(40, 3, dtype=dtype), torch.randint(0, 3, (40,))
    y[::7] = -100
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-6}.get(dtype, 2e-2)
    weight = torch.tensor([1, 2, 0.5], dtype=torch.float64)
    compare(
        lambda z: interop.loss(loss, reduction)(z, y),
        lambda z: F.cross_entropy(z.double(), y, weight, reduction=reduction, label_smoothing=0.1),
        z,
        tolerance,
    )


@pytest.mark.parametrize(
    ("loss", "theirs"),
    [
        (fl.SquaredError(), F.mse_loss),
        (fl.AbsoluteError(), F.l1_loss),
        (fl.Huber(0.7), lambda z, y, **k: F.huber_loss(z, y, delta=0.7, **k)),
    ],
    ids=["squared", "absolute", "huber"],
)
def test_regression(loss, theirs):
    z, y = predictions(50), torch.randn(50, dtype=torch.float64)
    compare(interop_call(loss, y), lambda z: theirs(z, y), z, 1e-12)


def interop_call(loss, y, weight=None, reduction="mean"):
    return lambda z: interop.loss(loss, reduction)(z, y, weight)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(), (8,), (8, 5)], ids=str)
@pytest.mark.parametrize("loss", [BINARY, CLASSES], ids=["binary", "classes"])
def test_weights_mean_the_same_as_in_numpy(loss, shape, dtype, reduction):
    """Of any shape and in half precision, in blocks too."""
    rows = loss is CLASSES
    z, y = predictions(8, 5, *[3] * rows, dtype=dtype), torch.randint(0, 2, (8, 5))
    weight = torch.rand(shape).to(dtype)
    found = interop.loss(loss, reduction)(z, y, weight)
    found.sum().backward()
    value, gradient = loss.value_and_grad(y, z.detach().double(), weight.double(), reduction=reduction)
    tolerance = 1e-12 if dtype == torch.float64 else 2e-2
    np.testing.assert_allclose(found.detach().double(), value, rtol=tolerance)
    np.testing.assert_allclose(z.grad.double(), gradient, rtol=tolerance, atol=1e-3 * tolerance)


def test_half_precision_goes_in_blocks(monkeypatch):
    monkeypatch.setattr(interop, "BLOCK", 16)
    z, y, weight = predictions(25, 3, dtype=torch.bfloat16), torch.randint(0, 3, (25,)), torch.rand(25)
    for reduction in REDUCTIONS:
        ours = interop.loss(CLASSES, reduction)
        in_float = z.detach().float().requires_grad_()
        found, expected = ours(z, y, weight), ours(in_float, y, weight)
        torch.testing.assert_close(found, expected.bfloat16())
        gradients = torch.autograd.grad(found.sum(), z)[0], torch.autograd.grad(expected.sum(), in_float)[0]
        torch.testing.assert_close(gradients[0], gradients[1].bfloat16())
        assert not ours(z.detach(), y, weight).requires_grad
    y[20] = 9
    with pytest.raises(ValueError, match="got 9 at index 20"):
        interop.loss(CLASSES)(z, y)
    with pytest.raises(ValueError, match="y_true must have"):
        interop.loss(CLASSES)(z, y[:3])
    with pytest.raises(ValueError, match="sample_weight must have"):
        interop.loss(CLASSES)(z, y.clamp(max=2), weight[:3])


def test_single_samples_and_none():
    for dtype in (torch.float32, torch.bfloat16):
        for loss, shape, y in ((BINARY, (), torch.tensor(1.0)), (CLASSES, (3,), torch.tensor(2))):
            for reduction in REDUCTIONS:
                z = torch.zeros(shape, dtype=dtype, requires_grad=True)
                value = interop.loss(loss, reduction)(z, y)
                assert value.shape == ()
                value.backward()
                torch.testing.assert_close(z.grad.sum().item(), 0.0 if shape else -0.5, atol=1e-2, rtol=0)
        empty = torch.zeros((0, 3), dtype=dtype, requires_grad=True)
        assert interop.loss(CLASSES, "sum")(empty, torch.zeros(0, dtype=torch.int64)).item() == 0
        assert interop.loss(CLASSES)(empty, torch.zeros(0, dtype=torch.int64)).isnan()


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    ("loss", "shape"), [(BINARY, (6,)), (fl.Poisson(), (2, 3)), (fl.SquaredError(), (6,)), (CLASSES, (4, 3))], ids=repr
)
def test_gradcheck(loss, shape, reduction):
    z, y = predictions(*shape), torch.randint(0, 2, shape[:1] if loss is CLASSES else shape)
    weight = torch.rand(shape[0], dtype=torch.float64) + 0.5
    assert torch.autograd.gradcheck(interop_call(loss, y, weight, reduction), (z,))


def test_differentiating_twice_is_refused():
    for value in (
        interop.loss(BINARY)(predictions(5), torch.ones(5)),
        interop.linear_cross_entropy(predictions(5, 2), predictions(3, 2), torch.zeros(5, dtype=torch.int64)),
    ):
        with pytest.raises(RuntimeError, match="cannot be differentiated again"):
            value.backward(create_graph=True)


def test_nothing_is_copied():
    z, y, seen = predictions(100, dtype=torch.float32), torch.ones(100), []

    class Spy(fl.BinaryCrossEntropy):
        def value_and_grad(self, y, z, weight, *, out, **options):
            seen.extend(array.ctypes.data for array in (y, z, out))
            return super().value_and_grad(y, z, weight, out=out, **options)

    h = z * 1  # that its gradient comes to a hook as it is
    h.register_hook(lambda gradient: seen.append(gradient.data_ptr()))
    interop.loss(Spy(from_logits=True))(h, y).backward()
    assert seen == [y.data_ptr(), h.data_ptr(), seen[2], seen[2]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_strides(dtype):
    whole = torch.randn(6, 8, 4, dtype=dtype)
    y = torch.randint(0, 3, (8,))
    for view in (whole[2, :, :3], whole[::2, 1, 1].expand(8, 3), whole[0, :, 1:].t().contiguous().t()):
        z = view.detach().requires_grad_()
        dense = view.detach().contiguous().requires_grad_()
        interop.loss(CLASSES)(z, y).backward()
        interop.loss(CLASSES)(dense, y).backward()
        torch.testing.assert_close(z.grad, dense.grad)


def test_a_graph_can_be_gone_through_again():
    z, y = predictions(10), torch.ones(10, dtype=torch.float64)
    value = interop.loss(BINARY)(z, y)
    (first,) = torch.autograd.grad(3 * value, z, retain_graph=True)
    value.backward(retain_graph=True)
    value.backward()
    torch.testing.assert_close(z.grad, first * 2 / 3)


def test_without_a_gradient_only_the_value_is_computed(monkeypatch):
    monkeypatch.setattr(interop, "_empty_like", None)  # nobody asks for a buffer
    z, y = predictions(10), torch.ones(10)
    with torch.no_grad():
        assert not interop.loss(BINARY)(z, y).requires_grad
    assert not interop.loss(BINARY)(z.detach(), y).requires_grad


def test_labels_of_any_dtype():
    z, y = predictions(10), torch.arange(10) % 2
    expected = interop.loss(BINARY)(z, y.double())
    for dtype in (torch.bool, torch.uint8, torch.int32, torch.int64, torch.float32, torch.float16, torch.bfloat16):
        assert interop.loss(BINARY)(z, y.to(dtype)) == expected


def test_module():
    module = interop.loss(CLASSES, "sum")
    assert isinstance(module, torch.nn.Module)
    assert repr(module) == f"LossModule({CLASSES!r}, reduction='sum')"
    z, y = predictions(10, 3), torch.zeros(10)
    assert pickle.loads(pickle.dumps(module))(z, y) == module(z, y)


def test_bad_arguments():
    loss, z, y = interop.loss(BINARY), predictions(3), torch.ones(3)
    with pytest.raises(TypeError, match="loss must be a loss"):
        interop.loss("mse")
    with pytest.raises(ValueError, match="reduction must be 'mean'"):
        interop.loss(BINARY, reduction="average")
    with pytest.raises(TypeError, match=r"input must be a torch\.Tensor, got ndarray"):
        loss(np.zeros(3), y)
    with pytest.raises(TypeError, match=r"target must be a torch\.Tensor"):
        loss(z, [1, 0, 1])
    with pytest.raises(TypeError, match=r"input must be a dense tensor on the CPU, got torch\.strided on meta"):
        loss(z.to("meta"), y)
    with pytest.raises(TypeError, match=r"input must be a dense tensor on the CPU, got torch\.sparse_coo"):
        loss(torch.zeros(3).to_sparse(), y)
    with pytest.raises(ValueError, match=r"target must not require a gradient: .* use target.detach\(\)"):
        loss(y, z)  # the order of the rest of the package
    with pytest.raises(ValueError, match="sample_weight must not require a gradient"):
        loss(z, y, predictions(3))
    with pytest.raises(TypeError, match=r"input must be of a floating dtype, got torch\.int64"):
        loss(torch.ones(3, dtype=torch.int64), y)
    with pytest.raises(ValueError, match="y_true must have the shape of y_pred"):
        loss(z, torch.ones(4))
    with pytest.raises(ValueError, match=r"y_true must hold numbers in \[0, 1\]; got 2 at index 0"):
        loss(z, 2 * y)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_linear_cross_entropy(dtype, reduction):
    X, W, b = predictions(4, 5, 6, dtype=dtype), predictions(7, 6, dtype=dtype), predictions(7, dtype=dtype)
    y = torch.randint(0, 7, (4, 5))
    y[0, 1] = -100
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5}.get(dtype, 5e-2)

    def theirs(X, W, b):
        return F.cross_entropy(F.linear(X, W, b).flatten(0, 1).double(), y.flatten(), reduction=reduction)

    found = interop.linear_cross_entropy(X, W, y, b, reduction=reduction)
    expected = theirs(X.double(), W.double(), b.double())
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=tolerance)
    pairs = torch.autograd.grad(2 * found, (X, W, b)), torch.autograd.grad(2 * expected, (X, W, b))
    for a, b in zip(*pairs, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=10 * tolerance)


def test_linear_cross_entropy_gradcheck():
    X, W, b, y = predictions(5, 2), predictions(3, 2), predictions(3), torch.randint(0, 3, (5,))
    assert torch.autograd.gradcheck(lambda X, W, b: interop.linear_cross_entropy(X, W, y, b), (X, W, b))


def test_linear_cross_entropy_computes_only_the_gradients_needed(monkeypatch):
    asked, original = [], interop._linear_cross_entropy

    def spy(*args, return_grads, **options):
        asked.append(list(return_grads))
        return original(*args, return_grads=return_grads, **options)

    monkeypatch.setattr(interop, "_linear_cross_entropy", spy)
    module = interop.LinearCrossEntropy(4, 3)
    X, y = torch.randn(5, 4), torch.tensor([0, 1, 2, 0, -100])
    module(X, y).backward()
    module.bias.requires_grad_(False)
    module(X.requires_grad_(), y).backward()
    with torch.no_grad():
        module(X, y)
    assert asked == [["W", "bias"], ["X", "W"], []]


def test_linear_cross_entropy_module_is_a_linear_layer():
    module = interop.LinearCrossEntropy(4, 3, label_smoothing=0.1, class_weight=[1, 2, 3])
    layer = torch.nn.Linear(4, 3)
    module.load_state_dict(layer.state_dict())
    X, y = torch.randn(5, 4), torch.randint(0, 3, (5,))
    torch.testing.assert_close(module.logits(X), layer(X))
    expected = F.cross_entropy(layer(X), y, torch.tensor([1.0, 2, 3]), label_smoothing=0.1)
    torch.testing.assert_close(module(X, y), expected)
    weight = torch.tensor([1.0, 0, 1, 1, 1])
    kept = weight > 0
    torch.testing.assert_close(module(X, y, weight), module(X[kept], y[kept]))
    assert [name for name, _ in interop.LinearCrossEntropy(4, 3, bias=False).named_parameters()] == ["weight"]


def test_linear_cross_entropy_under_autocast():
    layer, module = torch.nn.Linear(4, 6), interop.LinearCrossEntropy(6, 3)
    X, y = torch.randn(5, 4), torch.randint(0, 3, (5,))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = module(layer(X), y)
    value.backward()
    assert value.dtype == torch.bfloat16
    torch.testing.assert_close(value.float(), module(layer(X), y), rtol=2e-2, atol=0)
    assert {parameter.grad.dtype for parameter in (*layer.parameters(), *module.parameters())} == {torch.float32}


def test_linear_cross_entropy_bad_arguments():
    X, W, y = torch.zeros(5, 2), torch.zeros(3, 2), torch.zeros(5)
    with pytest.raises(TypeError, match="W must have the dtype of X"):
        interop.linear_cross_entropy(X, W.double(), y)
    with pytest.raises(TypeError, match="weight must be a dense tensor on the CPU"):
        interop.linear_cross_entropy(X, W.to("meta"), y)
    with pytest.raises(ValueError, match="target must not require a gradient"):
        interop.linear_cross_entropy(X, W, y.requires_grad_())
    with pytest.raises(ValueError, match="reduction must be"):
        interop.linear_cross_entropy(X, W, y.detach(), reduction="none")
