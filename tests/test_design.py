"""X in every layout: dense and compressed agree, nothing is copied or changed, and what is malformed is refused."""

import gc
import tracemalloc

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from problems import SETTINGS, SMOOTH, Problem, Setting, bits
from scipy import sparse

import fastloss as fl

LOSSES = list({case.name: case for case in SMOOTH}.values())
PLAIN = SETTINGS[0]
ALL = Setting(True, True, True, fl.ElasticNet(0.02, 0.05))


def apart(X, order):
    """X with a gap after each row (C) or column (F)."""
    n, p = X.shape
    wide = np.full((n, p + 3) if order == "C" else (n + 3, p), np.nan, X.dtype, order=order)
    wide[:n, :p] = X
    return wide[:n, :p]


def compressed(kind, index=np.int32, matrix=False, full=False):
    """Makes a layout; with all zeros stored, if it is to be full."""

    def make(X):
        lines = X if kind == "csr" else X.T
        there = np.ones_like(lines, bool) if full else lines != 0
        starts = np.append(0, np.cumsum(there.sum(axis=1)))
        cls = getattr(sparse, f"{kind}_{'matrix' if matrix else 'array'}")
        result = cls(X.shape, dtype=X.dtype)
        result.data = np.ascontiguousarray(lines[there])
        result.indices, result.indptr = np.nonzero(there)[1].astype(index), starts.astype(index)
        return result

    return make


def shuffled(kind, index=np.int32, twice=False):
    """Compressed, the numbers of a line in any order; each of them in two parts, if twice."""

    def make(X):
        result = compressed(kind, index)(X)
        keys = np.random.default_rng(0).random(result.nnz * (1 + twice))
        if twice:
            result.data = np.concatenate([2 * result.data, -result.data])
            result.indices = np.concatenate([result.indices] * 2)
        lines = np.tile(np.repeat(np.arange(len(result.indptr) - 1), np.diff(result.indptr)), 1 + twice)
        order = np.lexsort((keys, lines))
        result.data, result.indices = result.data[order], result.indices[order]
        result.indptr = (result.indptr * (1 + twice)).astype(index)
        return result

    return make


LAYOUTS = {
    "C, rows apart": lambda X: apart(X, "C"),
    "C, rows backwards": lambda X: np.array(X[::-1], order="C")[::-1],
    "F": np.asfortranarray,
    "F, columns apart": lambda X: apart(X, "F"),
    "F, columns backwards": lambda X: np.array(X[:, ::-1], order="F")[:, ::-1],
    "CSR": sparse.csr_array,
    "CSR matrix, 64 bits": compressed("csr", np.int64, matrix=True),
    "CSR, all stored": compressed("csr", full=True),
    "CSR, unsorted": shuffled("csr"),
    "CSR, each twice, 64 bits": shuffled("csr", np.int64, twice=True),
    "CSC": sparse.csc_array,
    "CSC matrix, 64 bits": compressed("csc", np.int64, matrix=True),
    "CSC, all stored": compressed("csc", full=True),
    "CSC, unsorted, 64 bits": shuffled("csc", np.int64),
    "CSC, each twice": shuffled("csc", twice=True),
}
layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


def draw(case=LOSSES[0], setting=ALL, n=90, p=7, dtype=np.float64):
    """A problem whose X is mostly 0, in rows and columns as well; predictions of moderate size."""
    problem = Problem.draw(case, setting, n, p, dtype)
    X = problem.X
    X[np.random.default_rng(3).random(X.shape) < 0.7] = 0
    if n > 2 and p > 2:
        X[n // 2] = X[-1] = 0
        X[:, p // 2] = X[:, -1] = 0
    X *= min(1, 4 / np.sqrt(p))
    return problem


def tolerance(dtype):
    return {"rtol": 2e-5, "atol": 1e-5} if dtype == np.float32 else {"rtol": 1e-11, "atol": 1e-12}


def everything(problem, w, n_threads=None):
    """What an objective says at w; the predictions of rows that count."""
    objective = problem.objective(n_threads)
    counts = slice(None) if problem.weight is None else problem.weight > 0
    selected = np.arange(0, objective.n_features, 2, dtype=np.int64)
    facts = [*objective.value_and_grad(w), objective.value(w), objective.objective(w), objective.lambda_max()]
    facts += [objective.predict(w)[counts], objective.select(selected).columns.to_dense()]
    return [*facts, objective.duality_gap(w)] if objective.has_duality_gap else facts


def assert_like_dense(problem, layout, w):
    dense = everything(problem, w)
    problem.X = layout(problem.X)
    for got, expected in zip(everything(problem, w), dense, strict=True):
        np.testing.assert_allclose(got, expected, **tolerance(problem.y.dtype))


@layout
@pytest.mark.parametrize("case", LOSSES, ids=str)
@pytest.mark.parametrize("setting", [PLAIN, PLAIN._replace(intercept=True, penalty=fl.L1(0.05)), ALL], ids=str)
def test_layouts_agree(layout, case, setting, dtype):
    problem = draw(case, setting, dtype=dtype)
    assert_like_dense(problem, layout, problem.point())


# 512 and 1024: Fortran order in float64 and float32 goes by pieces of rows up to here, by columns beyond.
SHAPES = [(1, 1), (1, 5), (5, 1), (7, 3), (64, 2), (65, 9), (513, 17), (130, 512), (65, 513), (67, 1025), (3, 2000)]
LARGE = [(4001, 40), (1, 120_000), (120_000, 1), (33, 3001), (301, 513)]  # more than 2^15 numbers, sparse ones as well


@layout
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_shape(layout, shape, dtype, isa):
    problem = draw(LOSSES[-1], ALL, *shape, dtype)
    assert_like_dense(problem, layout, problem.point())


@layout
@pytest.mark.parametrize("shape", LARGE, ids=str)
@pytest.mark.parametrize("setting", [PLAIN, ALL], ids=str)
def test_identical_for_any_number_of_threads(layout, shape, setting, dtype):
    problem = draw(LOSSES[0], setting, *shape, dtype)
    w = problem.point(scale=0.1)
    dense = problem.objective().value_and_grad(w)
    problem.X = layout(problem.X)
    one = everything(problem, w, 1)
    for n_threads in (2, 3):
        for a, b in zip(everything(problem, w, n_threads), one, strict=True):
            np.testing.assert_array_equal(a, b)
    for got, expected in zip(one, dense, strict=False):
        np.testing.assert_allclose(got, expected, rtol=1e-4 if dtype == np.float32 else 1e-10, atol=1e-5)


@layout
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("case", LOSSES, ids=str)
def test_weight_zero_removes_a_row(layout, bad, case, dtype):
    problem = draw(case, dtype=dtype)
    gone, w = problem.weight == 0, problem.point()
    expected = everything(problem, w)
    problem.X[gone, 1:5] = bad
    problem.X = layout(problem.X)
    for got, right in zip(everything(problem, w), expected, strict=True):
        got, right = (x[~gone] if np.ndim(x) == 2 else x for x in (got, right))
        np.testing.assert_allclose(got, right, **tolerance(dtype))
    copied = problem.objective().select(np.arange(7)).columns.to_dense()
    np.testing.assert_array_equal(copied[gone], 0)


@layout
@pytest.mark.parametrize("selected", [[], [0], [6], [1, 3, 4], list(range(7))], ids=str)
def test_columns_are_copied_exactly(layout, selected, dtype):
    problem = draw(setting=PLAIN, dtype=dtype)
    dense, problem.X = problem.X, layout(problem.X)
    columns = problem.objective().select(np.array(selected, dtype=np.int64)).columns
    got = columns.to_dense()
    np.testing.assert_array_equal(got, dense[:, selected])
    assert got.dtype == np.float64
    X = dense[:, selected].astype(np.float64)
    r, c = np.random.default_rng(1).normal(size=90), np.arange(1.0, len(selected) + 1)
    np.testing.assert_allclose(columns.transposed_product(r, None), X.T @ r, atol=1e-12)
    np.testing.assert_allclose(columns.squares, (X * X).sum(axis=0), atol=1e-12)
    np.testing.assert_allclose(columns.gram(np.arange(len(selected))), X.T @ X, atol=1e-12)
    np.testing.assert_allclose(columns.scaled(r).to_dense(), r[:, None] * X, atol=1e-12)
    v = r.copy()
    columns.combine(c, v)
    np.testing.assert_allclose(v, r + X @ c, atol=1e-12)


@hypothesis.given(st.data())
@hypothesis.settings(max_examples=100, deadline=None)
def test_compressed_by_hand(data):
    """Any valid matrix: empty lines, entries in any order and any number of times, zeros stored."""
    kind, index = data.draw(st.sampled_from(["csr", "csc"])), data.draw(st.sampled_from([np.int32, np.int64]))
    lines, width = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    entry = st.tuples(st.integers(0, width - 1), st.integers(-8, 8))
    rows = data.draw(st.lists(st.lists(entry, max_size=9), min_size=lines, max_size=lines))
    flat = [e for row in rows for e in row]
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    dense = np.zeros((lines, width), dtype)
    for i, row in enumerate(rows):
        for j, x in row:
            dense[i, j] += x / 4
    dense = dense if kind == "csr" else dense.T.copy()
    X = getattr(sparse, f"{kind}_array")(dense.shape, dtype=dtype)
    X.data, X.indices = np.array([x / 4 for _, x in flat], dtype), np.array([j for j, _ in flat], index)
    X.indptr = np.append(0, np.cumsum([len(row) for row in rows])).astype(index)
    problem = Problem.draw(LOSSES[0], PLAIN._replace(intercept=True, penalty=fl.L1(0.1)), *dense.shape, dtype)
    problem.X = dense
    assert_like_dense(problem, lambda _: X, problem.point())


@hypothesis.given(
    st.tuples(st.integers(1, 40), st.integers(1, 12)),
    st.sampled_from([-3, -2, -1, 1, 2, 5]),
    st.integers(0, 3),
    st.sampled_from("CF"),
    st.sampled_from([np.float32, np.float64]),
)
@hypothesis.settings(max_examples=100, deadline=None)
def test_slices_of_dense_arrays(shape, step, skip, order, dtype):
    big = np.random.default_rng(0).normal(size=(skip + abs(step) * 40, skip + 60)).astype(dtype)
    lines = big[skip:, skip : skip + (shape[1] if order == "C" else shape[0])]
    lines = lines[::step][: shape[0] if order == "C" else shape[1]]
    X = lines if order == "C" else lines.T
    assert X.shape == shape
    problem = Problem.draw(LOSSES[0], ALL, *shape, dtype)
    problem.X = np.array(X, order="C")
    assert_like_dense(problem, lambda _: X, problem.point())
    assert np.shares_memory(problem.objective().X, big)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_memmap_is_read_in_place(tmp_path, order, dtype):
    problem = draw(n=700, p=60, dtype=dtype)
    written = np.memmap(tmp_path / "X", dtype, "w+", shape=problem.X.shape, order=order)
    written[:] = problem.X
    written.flush()
    X = np.memmap(tmp_path / "X", dtype, "r", shape=problem.X.shape, order=order)
    assert_like_dense(problem, lambda _: X, problem.point())
    assert problem.objective().X is X


def parts(X):
    return [X] if isinstance(X, np.ndarray) else [X.data, X.indices, X.indptr]


@layout
def test_x_is_left_alone(layout, dtype):
    problem = draw(dtype=dtype)
    problem.X = layout(problem.X)
    arrays = parts(problem.X)
    before = [x.tobytes() for x in arrays]
    for x in arrays:
        x.flags.writeable = False
    everything(problem, problem.point())
    assert problem.objective().X is problem.X
    assert [x.tobytes() for x in parts(problem.X)] == before
    assert all(a is b for a, b in zip(parts(problem.X), arrays, strict=True))


@pytest.mark.parametrize("name", ["F", "F, columns apart", "CSR", "CSR matrix, 64 bits", "CSC", "CSC matrix, 64 bits"])
def test_x_is_never_copied(name, dtype):
    n, p = 20_000, 100
    problem = Problem.draw(LOSSES[0], PLAIN._replace(penalty=fl.L1(0.1)), n, p, dtype)
    problem.X = LAYOUTS[name](problem.X)
    w = problem.point()
    gc.collect()
    tracemalloc.start()
    objective = problem.objective()
    objective.value_and_grad(w)
    objective.duality_gap(w)
    objective.lambda_max()
    objective.predict(w)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < n * p * np.dtype(dtype).itemsize / 4  # a few vectors of n numbers; X has 100


@pytest.mark.parametrize("kind", ["csr", "csc"])
def test_the_numbers_live_as_long_as_the_objective(kind):
    problem = draw()
    problem.X = getattr(sparse, f"{kind}_array")(problem.X)
    objective, w = problem.objective(), problem.point()
    before = bits(*objective.value_and_grad(w))
    for name in ("data", "indices", "indptr"):
        setattr(problem.X, name, np.zeros(1, getattr(problem.X, name).dtype))
    gc.collect()
    assert bits(*objective.value_and_grad(w)) == before


@pytest.mark.parametrize("kind", ["csr", "csc"])
def test_nothing_is_stored(kind, dtype):
    problem = draw(dtype=dtype)
    problem.X = np.zeros_like(problem.X)
    assert_like_dense(problem, getattr(sparse, f"{kind}_array"), problem.point())


@pytest.mark.parametrize("name", ["F", "CSR", "CSC"])
def test_classes(name, dtype):
    """Several outputs a sample: the same results, or a refusal that names X."""
    X = draw(dtype=dtype).X
    y, w = np.arange(90) % 3, np.random.default_rng(0).normal(size=24)
    dense, other = X, LAYOUTS[name](X)
    loss = fl.CategoricalCrossEntropy(from_logits=True)
    expected = fl.LinearObjective(dense, y, loss, fl.L1(0.1))
    try:
        objective = fl.LinearObjective(other, y, loss, fl.L1(0.1))
    except TypeError as error:
        assert sparse.issparse(other)
        assert str(error).startswith("X must")  # noqa: PT017
        return
    for a, b in zip(objective.value_and_grad(w), expected.value_and_grad(w), strict=True):
        np.testing.assert_allclose(a, b, **tolerance(dtype))
    assert objective.duality_gap(w) == pytest.approx(expected.duality_gap(w), rel=1e-5)


def put(name, place, value):
    def damage(X):
        getattr(X, name)[place] = value

    return damage


def cast(name, change):
    return lambda X: setattr(X, name, change(getattr(X, name)))


MALFORMED = {
    "an index below 0": put("indices", 3, -1),
    "an index beyond": put("indices", -1, 9),
    "an index far beyond": put("indices", 0, 2**31 - 1),
    "starts that decrease": put("indptr", 4, 0),
    "a start beyond": put("indptr", 3, 10**6),
    "a start below 0": put("indptr", 2, -5),
    "a first start that is not 0": put("indptr", 0, 1),
    "an end beyond": put("indptr", -1, 10**6),
    "an end below 0": put("indptr", -1, -1),
    "a start too few": cast("indptr", lambda x: x[:-1]),
    "a start too many": cast("indptr", lambda x: np.append(x, x[-1])),
    "no starts": cast("indptr", lambda x: x[:0]),
    "starts of two axes": cast("indptr", lambda x: x[:, None]),
    "too few indices": cast("indices", lambda x: x[:-1]),
    "too few numbers": cast("data", lambda x: x[:-1]),
    "numbers of two axes, empty": cast("data", lambda x: np.empty((len(x), 0))),
    "indices of two axes, empty": cast("indices", lambda x: np.empty((len(x), 0), x.dtype)),
    "indices of 16 bits": cast("indices", lambda x: x.astype(np.int16)),
    "indices without a sign": cast("indices", lambda x: x.astype(np.uint32)),
    "indices of floats": cast("indices", lambda x: x.astype(float)),
    "indices of the other byte order": cast("indices", lambda x: x.astype(x.dtype.newbyteorder())),
    "numbers of the other byte order": cast("data", lambda x: x.astype(x.dtype.newbyteorder())),
    "integers": cast("data", lambda x: x.astype(int)),
    "float16": cast("data", lambda x: x.astype(np.float16)),
    "complex": cast("data", lambda x: x.astype(complex)),
    "booleans": cast("data", lambda x: x != 0),
}


@pytest.mark.parametrize("kind", ["csr", "csc"])
@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("damage", MALFORMED.values(), ids=MALFORMED)
def test_what_is_malformed_is_refused(kind, index, damage):
    problem = draw(n=9, p=9)
    problem.X = compressed(kind, index)(problem.X)
    problem.objective()
    damage(problem.X)
    with pytest.raises((TypeError, ValueError), match=r"^X must"):
        problem.objective()


OTHERS = {
    "COO": sparse.coo_array,
    "LIL": sparse.lil_array,
    "DOK": sparse.dok_array,
    "DIA": sparse.dia_array,
    "BSR": sparse.bsr_array,
    "masked": lambda X: np.ma.masked_array(np.asfortranarray(X), X > 0),
    "one axis": lambda X: np.asfortranarray(X)[:, 0],
    "no rows, CSR": lambda X: sparse.csr_array((0, 7)),
    "no columns, CSC": lambda X: sparse.csc_array((90, 0)),
    "Fortran order, rows apart": lambda X: np.asfortranarray(np.repeat(X, 2, axis=0))[::2],
    "Fortran order, rows backwards": lambda X: np.asfortranarray(X)[::-1],
    "Fortran order, integers": lambda X: np.asfortranarray(X).astype(int),
}


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_other_layouts_are_refused(make):
    problem = draw()
    problem.X = make(problem.X)
    with pytest.raises((TypeError, ValueError), match=r"^X must"):
        problem.objective()


@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray])
@pytest.mark.parametrize("case", [*LOSSES, None], ids=str)
def test_rows_are_an_objective_of_their_own(layout, case, dtype):
    """Every third sample, as if there were no others; the last case is that of classes."""
    rng = np.random.default_rng(0)
    if case is None:
        X, y, offset = rng.normal(size=(90, 7)).astype(dtype), np.arange(90) % 4, rng.normal(size=(90, 4))
        loss, weight = fl.CategoricalCrossEntropy(from_logits=True), rng.integers(0, 3, 90).astype(dtype)
    else:
        problem = draw(case, ALL, dtype=dtype)
        X, y, offset, loss, weight = problem.X, problem.y, problem.offset, case.make(), problem.weight
    X = layout(X)
    whole = fl.LinearObjective(X, y, loss, fl.L1(0.1), sample_weight=weight, offset=offset)
    part = whole.rows(slice(None, None, 3))
    alone = fl.LinearObjective(
        np.ascontiguousarray(X[::3]), y[::3], loss, fl.L1(0.1), sample_weight=weight[::3], offset=offset[::3]
    )
    w = rng.normal(size=whole.size) / 4
    np.testing.assert_array_equal(part.value_and_grad(w)[1], alone.value_and_grad(w)[1])
    np.testing.assert_array_equal(part.hessian(w), alone.hessian(w))
    assert part.loss_at_zero == alone.loss_at_zero
