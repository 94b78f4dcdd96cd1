"""Laws of `linear_cross_entropy`: the value and gradients of the logits that it never makes."""

import re
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import bits

import fastloss as fl
from fastloss import _linear_cross_entropy as module

ALL = ("X", "W", "bias")
K = 11
OPTIONS = {
    "plain": {},
    "smoothing": {"label_smoothing": 0.2},
    "class_weight": {"class_weight": np.linspace(0.5, 2, K)},
    "ignored": {"ignore_index": -100},
    "all": {"label_smoothing": 0.1, "class_weight": np.linspace(0.5, 2, K), "ignore_index": 4},
}
options = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
soft = pytest.mark.parametrize("soft", [False, True], ids=["indices", "soft"])
biased = pytest.mark.parametrize("biased", [False, True], ids=["", "bias"])
mean_or_sum = pytest.mark.parametrize("reduction", ["mean", "sum"])


def draw(shape=(3, 20), d=5, k=K, *, soft=False, weighted=False, biased=True, dtype=np.float64, seed=0, **options):
    """Arguments by name; rows that do not count hold NaN."""
    rng = np.random.default_rng(seed)
    X, W, b = (rng.normal(size=x).astype(dtype) for x in ((*shape, d), (k, d), k))
    y = rng.dirichlet(np.ones(k), shape).astype(dtype) if soft else rng.integers(0, k, shape)
    given = {"X": X, "W": W, "labels": y, **options}
    if options.get("ignore_index") is not None and not soft:
        given["labels"] = y = np.where(rng.random(shape) < 0.3, options["ignore_index"], y)
        X[y == options["ignore_index"]] = np.nan
    if weighted:
        given["sample_weight"] = rng.integers(0, 3, shape).astype(dtype)
        X[given["sample_weight"] == 0] = np.nan
    if biased:
        given["bias"] = b
    return given


def oracle(X, W, labels, bias=None, sample_weight=None, reduction="mean", **options):
    """All logits at once, in float64."""
    loss = fl.CategoricalCrossEntropy(from_logits=True, **options)
    d, k = X.shape[-1], len(W)
    rows = np.nan_to_num(X.astype(np.float64)).reshape(-1, d)  # NaN only where nothing counts
    y = np.reshape(labels, (-1, k) if np.ndim(labels) == X.ndim else -1)
    weight = None if sample_weight is None else sample_weight.reshape(-1)
    z = rows @ W.T.astype(np.float64) + (0 if bias is None else bias)
    value, g = loss.value_and_grad(y, z, weight, reduction=reduction)
    return value, {"X": (g @ W).reshape(X.shape), "W": g.T @ rows, "bias": g.sum(axis=0)}


def assert_same(found, expected, dtype=np.float64):
    tolerance = {"rtol": 2e-5, "atol": 2e-5} if dtype == np.float32 else {"rtol": 1e-11, "atol": 1e-12}
    np.testing.assert_allclose(found[0], expected[0], **tolerance)
    assert found[1].keys() == expected[1].keys()
    for name, gradient in found[1].items():
        np.testing.assert_allclose(gradient, expected[1][name], err_msg=name, **tolerance)


def same_bits(a, b):
    return bits(a[0], *(a[1][name] for name in sorted(a[1]))) == bits(b[0], *(b[1][name] for name in sorted(b[1])))


@pytest.fixture
def small_blocks(monkeypatch):
    def use(rows, tile):
        monkeypatch.setattr(module, "BLOCK_NUMBERS", 1)
        monkeypatch.setattr(module, "LEAST_ROWS", rows)
        monkeypatch.setattr(module, "TILE_BYTES", tile)

    return use


@options
@soft
@biased
@mean_or_sum
def test_value_and_gradients_are_those_of_the_logits(options, soft, weighted, biased, reduction, dtype):
    given = draw(soft=soft, weighted=weighted, biased=biased, dtype=dtype, **options)
    value, gradients = fl.linear_cross_entropy(**given, reduction=reduction)
    # Sums are as much larger as there are samples.
    scale = 60 if reduction == "sum" else 1
    expected, expected_gradients = oracle(**given, reduction=reduction)
    assert_same(
        (value / scale, {name: g / scale for name, g in gradients.items()}),
        (expected / scale, {name: g / scale for name, g in expected_gradients.items()}),
        dtype,
    )
    assert type(value) is float
    shapes = {"X": given["X"].shape, "W": given["W"].shape, "bias": (K,)}
    assert {name: (g.shape, g.dtype) for name, g in gradients.items()} == {x: (s, dtype) for x, s in shapes.items()}


@pytest.mark.parametrize("shape", [(), (1,), (7,), (2, 3), (2, 1, 3), (130,)], ids=str)
@pytest.mark.parametrize(("d", "k"), [(1, 1), (1, 4), (3, 2), (8, 33), (40, 3)])
@soft
def test_every_shape(shape, d, k, soft, dtype):
    given = draw(shape, d, k, soft=soft, dtype=dtype)
    assert_same(fl.linear_cross_entropy(**given), oracle(**given), dtype)


@pytest.mark.parametrize("shape", [(0,), (2, 0)], ids=str)
def test_no_rows(shape):
    given = draw(shape)
    value, gradients = fl.linear_cross_entropy(**given)
    assert np.isnan(value)  # as the loss itself
    assert {name: g.shape for name, g in gradients.items()} == {"X": (*shape, 5), "W": (K, 5), "bias": (K,)}
    assert not any(g.any() for g in gradients.values())
    assert fl.linear_cross_entropy(**given, reduction="sum")[0] == 0


@options
@soft
@pytest.mark.parametrize(("rows", "tile"), [(1, 1), (7, 100), (8, 1 << 20), (59, 250)])
def test_blocks_and_tiles_do_not_show(small_blocks, options, soft, weighted, rows, tile, dtype):
    given = draw(soft=soft, weighted=weighted, dtype=dtype, **options)
    small_blocks(rows, tile)
    assert_same(fl.linear_cross_entropy(**given), oracle(**given), dtype)


@pytest.mark.parametrize(
    "wanted",
    [(), ("X",), ("W",), ["bias"], ("W", "X"), ("bias", "W"), frozenset({"X", "bias"}), ALL],
    ids=lambda wanted: f"{type(wanted).__name__} {sorted(wanted)}",
)
def test_the_gradients_asked_for(wanted, dtype):
    given = draw(weighted=True, dtype=dtype, **OPTIONS["all"])
    value, gradients = fl.linear_cross_entropy(**given)
    found, some = fl.linear_cross_entropy(**given, return_grads=wanted)
    assert some.keys() == set(wanted)
    assert same_bits((found, some), (value, {name: gradients[name] for name in wanted}))


def test_no_bias_is_a_bias_of_zero():
    given = draw(biased=False)
    assert_same(fl.linear_cross_entropy(**given), fl.linear_cross_entropy(**given, bias=np.zeros(K)))


def test_one_hot_labels_are_indices(dtype):
    given = draw(weighted=True, dtype=dtype, **OPTIONS["class_weight"])
    rows = {**given, "labels": np.eye(K)[given["labels"]]}
    assert_same(fl.linear_cross_entropy(**given), fl.linear_cross_entropy(**rows), dtype)


@mean_or_sum
@pytest.mark.parametrize("how", ["ignored", "weights"])
def test_where_no_sample_counts(how, reduction):
    given = draw((4,))
    given["X"][:] = np.nan
    nothing = {"labels": np.full(4, -1), "ignore_index": -1} if how == "ignored" else {"sample_weight": np.zeros(4)}
    value, gradients = fl.linear_cross_entropy(**{**given, **nothing}, reduction=reduction)
    assert np.isnan(value) if reduction == "mean" else value == 0
    assert not any(g.any() for g in gradients.values())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("options", [{}, OPTIONS["class_weight"]], ids=["plain", "class_weight"])
@soft
def test_weight_zero_removes_any_label(bad, options, soft):
    given = draw((30,), soft=soft, weighted=True, **options)
    expected = fl.linear_cross_entropy(**given)
    given["labels"] = given["labels"].astype(float)
    given["labels"][given["sample_weight"] == 0] = bad
    assert_same(fl.linear_cross_entropy(**given), expected)


def test_rows_that_do_not_count_have_no_gradient():
    given = draw(weighted=True, **OPTIONS["ignored"])
    gone = (given["sample_weight"] == 0) | (given["labels"] == -100)
    gradient = fl.linear_cross_entropy(**given)[1]["X"]
    assert not gradient[gone].any()
    assert gradient[~gone].all()


@pytest.mark.parametrize("where", ["X", "W", "bias"])
def test_what_is_not_finite_shows(where):
    given = draw()
    given[where].flat[3] = np.nan
    value, gradients = fl.linear_cross_entropy(**given)
    assert np.isnan(value)
    assert all(np.isnan(g).any() for g in gradients.values())


LAYOUTS = {
    "Fortran order": np.asfortranarray,
    "every second": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "backwards": lambda x: x[::-1].copy()[::-1],
    "inside": lambda x: np.pad(x, 2)[(np.s_[2:-2],) * x.ndim],
    "other byte order": lambda x: x.astype(x.dtype.newbyteorder()),
    "unaligned": lambda x: np.frombuffer(b"0" + x.tobytes(), "u1")[1:].view(x.dtype).reshape(x.shape),
    "list": lambda x: x if x.dtype == np.float32 else x.tolist(),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@soft
def test_every_layout(layout, soft, dtype):
    given = draw(soft=soft, weighted=True, dtype=dtype)
    moved = {name: layout(x) for name, x in given.items()}
    assert_same(fl.linear_cross_entropy(**moved), oracle(**given), dtype)


@soft
def test_arguments_are_left_alone(soft, dtype):
    given = draw(soft=soft, weighted=True, dtype=dtype, **OPTIONS["all"])
    before = bits(*(x for x in given.values() if isinstance(x, np.ndarray)))
    for x in given.values():
        if isinstance(x, np.ndarray):
            x.flags.writeable = False
    _, gradients = fl.linear_cross_entropy(**given)
    assert bits(*(x for x in given.values() if isinstance(x, np.ndarray))) == before
    assert all(g.flags.writeable and not np.shares_memory(g, given[name]) for name, g in gradients.items())
    for x in given.values():
        if isinstance(x, np.ndarray):
            x.flags.writeable = True  # the options are shared


@pytest.mark.parametrize("kind", [int, np.float16, np.longdouble, bool])
def test_other_numbers_become_float64(kind):
    given = draw((6,))
    X, W = (np.round(given[name]).astype(kind) for name in ("X", "W"))
    _, gradients = found = fl.linear_cross_entropy(X, W, given["labels"])
    assert_same(found, oracle(X.astype(float), W.astype(float), given["labels"]))
    assert {g.dtype for g in gradients.values()} == {np.dtype(np.float64)}


def test_float32_stays_float32_whatever_the_rest_is():
    given = draw(dtype=np.float32, soft=True, weighted=True, **OPTIONS["class_weight"])
    wide = {name: x.astype(float) if name in ("labels", "sample_weight", "bias") else x for name, x in given.items()}
    found = fl.linear_cross_entropy(**wide)
    assert_same(found, oracle(**given), np.float32)
    assert {g.dtype for g in found[1].values()} == {np.dtype(np.float32)}


def test_float32_is_summed_in_float64():
    n = 1 << 18
    value, _ = fl.linear_cross_entropy(
        np.full((n, 1), 0.1, np.float32), np.array([[0.0], [1.0]], np.float32), np.zeros(n, int), return_grads=()
    )
    assert value == pytest.approx(np.log1p(np.exp(np.float64(np.float32(0.1)))), rel=2e-7)


def test_logits_far_apart():
    X, W = np.array([[1.0], [-1.0]]), np.array([[1e4], [0.0], [-1e4]])
    value, gradients = fl.linear_cross_entropy(X, W, [0, 0], reduction="sum")
    assert value == 2e4
    np.testing.assert_array_equal(gradients["X"], [[0], [-2e4]])
    np.testing.assert_array_equal(gradients["bias"], [-1, 0, 1])


@options
def test_identical_for_any_number_of_threads(small_blocks, options, dtype):
    given = draw((2500,), k=K * 5, soft=False, weighted=True, dtype=dtype, **options)
    if "class_weight" in options:
        given["class_weight"] = np.tile(options["class_weight"], 5)
    for blocks in (None, (1000, 1000)):
        if blocks:
            small_blocks(*blocks)
        one = fl.linear_cross_entropy(**given, n_threads=1)
        for n_threads in (2, 3, 8, None):
            assert same_bits(fl.linear_cross_entropy(**given, n_threads=n_threads), one)


@pytest.mark.parametrize("wanted", [(), ("bias",), ALL], ids=str)
def test_the_logits_never_exist(small_blocks, wanted, weighted, dtype):
    small_blocks(16, 1 << 14)
    n, d, k = 4000, 16, 600
    given = draw((n,), d, k, dtype=dtype)
    if weighted:
        given["sample_weight"] = np.arange(n, dtype=dtype) % 3
    tracemalloc.start()
    _, gradients = fl.linear_cross_entropy(**given, return_grads=wanted)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    extra = peak - sum(g.nbytes for g in gradients.values())
    assert extra < n * k * given["X"].itemsize / 20


@given(
    st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(1, 6)),
    st.fixed_dictionaries({}, optional={"label_smoothing": st.floats(0, 1), "ignore_index": st.integers(-1, 3)}),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_gradients_are_slopes(shape, options, soft, weighted, seed):
    n, d, k = shape
    arguments = draw((n,), d, k, soft=soft, weighted=weighted, seed=seed, **options)
    arguments["X"] = np.nan_to_num(arguments["X"])
    _, gradients = fl.linear_cross_entropy(**arguments, reduction="sum")
    rng = np.random.default_rng(seed)
    for name in ALL:
        direction = rng.normal(size=arguments[name].shape)
        up, down = (
            fl.linear_cross_entropy(
                **{**arguments, name: arguments[name] + h * direction}, reduction="sum", return_grads=()
            )[0]
            for h in (1e-5, -1e-5)
        )
        assert (up - down) / 2e-5 == pytest.approx((gradients[name] * direction).sum(), rel=1e-6, abs=1e-6)


@options
@soft
@biased
@mean_or_sum
def test_agrees_with_torch(options, soft, biased, reduction, dtype):
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    if soft and ((reduction == "mean" and "class_weight" in options) or "ignore_index" in options):
        return  # theirs divides by n; and theirs takes no ignored label with probabilities
    given = draw((60,), soft=soft, biased=biased, dtype=dtype, **options)
    given["X"] = np.nan_to_num(given["X"])
    named = {name: torch.tensor(given[name], requires_grad=True) for name in ALL if name in given}
    z = torch.nn.functional.linear(named["X"], named["W"], named.get("bias"))
    weight = options.get("class_weight")
    theirs = torch.nn.functional.cross_entropy(
        z,
        torch.tensor(given["labels"]),
        weight=None if weight is None else torch.tensor(weight, dtype=z.dtype),
        ignore_index=options.get("ignore_index", -100),
        label_smoothing=options.get("label_smoothing", 0.0),
        reduction=reduction,
    )
    theirs.backward()
    found = fl.linear_cross_entropy(**given, reduction=reduction, return_grads=tuple(named))
    assert_same(found, (theirs.item(), {name: x.grad.numpy() for name, x in named.items()}), dtype)


# Refusals

X, W, Y = np.random.default_rng(0).normal(size=(6, 4)), np.random.default_rng(1).normal(size=(3, 4)), np.arange(6) % 3
SOFT = np.full((6, 3), 1 / 3)
RAGGED = [[1.0], [1.0, 2.0]]
MASKED = np.ma.masked_array(X, X > 0)


def changed(x, value):
    x = x.astype(float)
    x.flat[4] = value
    return x


BAD = {
    "X": [None, 1.0, X[:, :3], X + 1j, "X", RAGGED, MASKED],
    "W": [None, W + 1j, W.astype(np.float32), W[:0], MASKED, RAGGED],
    "labels": [
        *(None, 1, Y[:5], Y[:, None], SOFT[:, :2], SOFT[:5], ["a"] * 6, RAGGED, MASKED[:, 0]),
        *(changed(Y, bad) for bad in (-1, 3, 1.5, np.nan, np.inf)),
        *(changed(SOFT, bad) for bad in (-0.1, 1.1, np.nan, np.inf)),
    ],
    "bias": [1.0, np.ones(2), np.ones((3, 1)), np.ones(3, complex), "b", RAGGED],
    "sample_weight": [1.0, np.ones(5), np.ones((6, 1)), *(changed(np.ones(6), x) for x in (-1, np.nan, np.inf)), "w"],
    "label_smoothing": [-0.1, 1.1, np.nan, "0.1", None],
    "class_weight": [1.0, np.ones(2), np.ones(4), np.ones((3, 1)), -np.ones(3), np.full(3, np.nan), "balanced"],
    "ignore_index": [1.5, True, "1"],
    "reduction": ["none", None, 0, "Mean", ["mean"]],
    "return_grads": ["X", "bias", ["Y"], ("X", 1), [None], None, 1, [["X"]]],
    "n_threads": [0, -1, 1.5, True, "2"],
}


@pytest.mark.parametrize(
    ("name", "bad"),
    [(name, bad) for name, values in BAD.items() for bad in values],
    ids=lambda x: re.sub(r"\s+", " ", repr(x))[:30],
)
def test_bad_arguments(name, bad):
    with pytest.raises((TypeError, ValueError), match=rf"^{name}\b"):
        fl.linear_cross_entropy(**{"X": X, "W": W, "labels": Y, name: bad})


def test_shapes_that_do_not_meet_are_both_shown():
    with pytest.raises(ValueError, match=r"^X must be .* and W of shape .*\(6, 4\) and W of \(3, 5\)"):
        fl.linear_cross_entropy(X, np.ones((3, 5)), Y)
    with pytest.raises(ValueError, match=r"W .*\(3,\)"):
        fl.linear_cross_entropy(X, np.ones(3), Y)


@pytest.mark.parametrize("bad", [-1, 3, 1.5])
def test_bad_labels_say_where(bad):
    with pytest.raises(ValueError, match=rf"^labels must hold .* from 0 to 2; got {bad} at index 4"):
        fl.linear_cross_entropy(X, W, changed(Y, bad))
    with pytest.raises(ValueError, match=rf"^labels must hold .*got {bad} at index \(1, 1\)"):
        fl.linear_cross_entropy(X, W, changed(SOFT, bad))
