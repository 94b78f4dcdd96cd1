"""Laws of `LinearObjective` with K classes: its value, gradient, duality gap and what the solvers make of it."""

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from problems import bits
from scipy import optimize

import fastloss as fl
from fastloss import _many_outputs

# Of the loss: None stands for a class weight for each class.
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "smoothing": {"label_smoothing": 0.2},
    "class_weight": {"class_weight": None},
    "ignored": {"ignore_index": -7},
    "all": {"label_smoothing": 0.1, "class_weight": None, "ignore_index": -7},
}
PENALTIES = [fl.L1(0.03), fl.L2(0.1), fl.ElasticNet(0.02, 0.05)]
options = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
soft = pytest.mark.parametrize("soft", [False, True], ids=["indices", "soft"])
offset = pytest.mark.parametrize("offset", [False, True], ids=["", "offset"])
intercept = pytest.mark.parametrize("intercept", [False, True], ids=["", "intercept"])
penalty = pytest.mark.parametrize("penalty", PENALTIES, ids=repr)


@dataclass
class Softmax:
    """The arguments of an objective; its arrays may be replaced."""

    X: np.ndarray
    y: np.ndarray
    k: int
    options: dict = field(default_factory=dict)
    weight: np.ndarray | None = None
    offset: np.ndarray | None = None
    intercept: bool = True
    penalty: Any = None

    @classmethod
    def draw(cls, n=60, p=4, k=3, *, options=(), soft=False, weighted=False, offset=False, dtype=np.float64, **more):
        rng = np.random.default_rng(n + p + k)
        X = rng.normal(size=(n, p)) + 0.3
        options = dict(options)
        if "class_weight" in options:
            options["class_weight"] = np.linspace(0.5, 2, k)
        y = (X[:, : min(p, k)] @ np.ones((min(p, k), k)) + X[:, :1] * np.arange(k) + rng.normal(size=(n, k))).argmax(1)
        y[-k:] = np.arange(k)[::-1][: len(y[-k:])][::-1]  # every class, or at least the last
        weight = None
        if weighted:
            weight = rng.integers(0, 4, n).astype(dtype)
            weight[-1] = 1
        if soft:
            y = rng.dirichlet(np.ones(k), n).astype(dtype)
        elif "ignore_index" in options:
            y[: n // 4] = options["ignore_index"]
        shift = rng.normal(scale=0.5, size=(n, k)).astype(dtype) if offset else None
        return cls(X.astype(dtype), y, k, options, weight, shift, **more)

    @property
    def loss(self):
        return fl.CategoricalCrossEntropy(from_logits=True, **self.options)

    @property
    def used(self):
        used = np.ones(len(self.y), bool) if self.weight is None else self.weight != 0
        return (
            used & (self.y != self.options["ignore_index"])
            if self.y.ndim == 1 and "ignore_index" in self.options
            else used
        )

    def objective(self, n_threads=None):
        return fl.LinearObjective(
            self.X,
            self.y,
            self.loss,
            self.penalty,
            sample_weight=self.weight,
            fit_intercept=self.intercept,
            offset=self.offset,
            n_threads=n_threads,
        )

    def rows(self, index):
        arrays = {name: getattr(self, name) for name in ("X", "y", "weight", "offset")}
        return replace(self, **{name: x if x is None else x[index] for name, x in arrays.items()})

    def point(self, seed=2, scale=0.4):
        size = self.k * (self.X.shape[1] + self.intercept)
        return np.random.default_rng(seed).normal(scale=scale, size=size)

    def oracle(self, w):
        """The smooth part and its gradient from the loss of all logits, in float64."""
        kept = self.rows(self.used)
        W = w.reshape(self.k, -1)
        design = np.column_stack([kept.X.astype(np.float64), np.ones(len(kept.X))])[:, : W.shape[1]]
        z = design @ W.T + (0 if kept.offset is None else kept.offset)
        value, g = self.loss.value_and_grad(kept.y, z, kept.weight)
        l2 = self.penalty.l2 if self.penalty else 0.0
        flat = W.copy()
        flat[:, self.X.shape[1] :] = 0
        return value + l2 * (flat**2).sum(), (g.T @ design + 2 * l2 * flat).ravel()


def accuracy(dtype):
    return {"rtol": 1e-5, "atol": 1e-5} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-13}


def assert_same(found, expected, dtype=np.float64):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, **accuracy(dtype))


@pytest.fixture
def small_blocks(monkeypatch):
    """Sets the rows of a block, for objectives that are made from then on."""

    def use(rows):
        monkeypatch.setattr(_many_outputs, "BLOCK_NUMBERS", 1)
        monkeypatch.setattr(_many_outputs, "LEAST_ROWS", rows)

    return use


@options
@soft
@offset
@intercept
@pytest.mark.parametrize("penalty", [None, PENALTIES[2]], ids=repr)
def test_value_and_gradient_are_those_of_the_loss(options, soft, weighted, offset, intercept, penalty, dtype):
    problem = Softmax.draw(
        options=options, soft=soft, weighted=weighted, offset=offset, dtype=dtype, intercept=intercept, penalty=penalty
    )
    problem.X[~problem.used] = np.nan
    objective, w = problem.objective(), problem.point()
    value, gradient = objective.value_and_grad(w)
    assert_same((value, gradient), problem.oracle(w), dtype)
    assert type(value) is float
    assert (gradient.shape, gradient.dtype) == ((objective.size,), np.float64)
    assert bits(objective.value(w)) == bits(value)
    l1 = penalty.l1 if penalty else 0.0
    assert objective.objective(w) == pytest.approx(value + l1 * abs(objective.coefficients(w)).sum(), rel=1e-14)


@pytest.mark.parametrize("k", [1, 2, 3, 20])
@pytest.mark.parametrize(("n", "p"), [(1, 1), (1, 5), (7, 1), (257, 3), (3, 300)])
@soft
def test_every_shape(n, p, k, soft, dtype):
    problem = Softmax.draw(n, p, k, soft=soft, dtype=dtype, penalty=PENALTIES[2])
    objective, w = problem.objective(), problem.point(scale=0.4 / np.sqrt(p))
    assert (objective.n_outputs, objective.size) == (k, k * (p + 1))
    np.testing.assert_array_equal(objective.coefficients(w), w.reshape(k, p + 1)[:, :p])
    assert_same(objective.value_and_grad(w), problem.oracle(w), dtype)


@options
@pytest.mark.parametrize("rows", [2, 7, 23])
def test_blocks_do_not_show(small_blocks, options, rows, weighted, dtype):
    problem = Softmax.draw(24, options=options, weighted=weighted, offset=True, dtype=dtype, penalty=PENALTIES[0])
    problem.X[~problem.used] = np.nan
    w, whole = problem.point(), problem.objective()
    small_blocks(rows)
    cut = problem.objective()
    assert_same(cut.value_and_grad(w), problem.oracle(w), dtype)
    for method in ("duality_gap", "objective"):
        assert getattr(cut, method)(w) == pytest.approx(getattr(whole, method)(w), rel=accuracy(dtype)["rtol"])
    if dtype == np.float64:
        assert cut.lambda_max() == pytest.approx(whole.lambda_max(), rel=1e-12)


@options
@soft
def test_gradient_is_the_slope_of_the_value(options, soft):
    problem = Softmax.draw(options=options, soft=soft, weighted=True, offset=True, penalty=PENALTIES[1])
    objective, w = problem.objective(), problem.point()
    assert optimize.check_grad(objective.value, lambda w: objective.value_and_grad(w)[1], w) < 1e-6


@options
def test_weights_that_are_integers_are_repetitions(options):
    problem = Softmax.draw(options=options, weighted=True, offset=True, penalty=PENALTIES[0])
    repeated = replace(problem.rows(np.repeat(np.arange(60), problem.weight.astype(int))), weight=None)
    w, ours, theirs = problem.point(), problem.objective(), repeated.objective()
    assert_same(ours.value_and_grad(w), theirs.value_and_grad(w))
    assert ours.duality_gap(w) == pytest.approx(theirs.duality_gap(w), rel=1e-10)
    assert ours.lambda_max() == pytest.approx(theirs.lambda_max(), rel=1e-10)


@pytest.mark.parametrize("power", [-100, 100])
def test_the_scale_of_the_weights_does_not_matter(power, dtype):
    problem = Softmax.draw(options=OPTIONS["all"], weighted=True, dtype=dtype, penalty=PENALTIES[0])
    scaled = replace(problem, weight=np.ldexp(problem.weight, power))
    w = problem.point()
    assert_same(scaled.objective().value_and_grad(w), problem.objective().value_and_grad(w), dtype)
    assert scaled.objective().duality_gap(w) == pytest.approx(problem.objective().duality_gap(w), rel=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["X", "y"])
@pytest.mark.parametrize("options", [{}, OPTIONS["class_weight"]], ids=["plain", "class_weight"])
@soft
def test_weight_zero_removes_a_row(bad, where, options, soft):
    problem = Softmax.draw(options=options, soft=soft, weighted=True, penalty=PENALTIES[0])
    problem.y = problem.y.astype(float)
    kept = problem.rows(problem.used)
    getattr(problem, where)[~problem.used] = bad
    w, ours, theirs = problem.point(), problem.objective(), kept.objective()
    assert_same(ours.value_and_grad(w), theirs.value_and_grad(w))
    assert ours.duality_gap(w) == pytest.approx(theirs.duality_gap(w), rel=1e-10)
    assert ours.lambda_max() == pytest.approx(theirs.lambda_max(), rel=1e-10)


def test_labels_of_any_kind(dtype):
    problem = Softmax.draw(options=OPTIONS["class_weight"], dtype=dtype, penalty=PENALTIES[0])
    w, y = problem.point(), problem.y
    expected = problem.objective().value_and_grad(w)
    for labels in (y.tolist(), y.astype(np.int8), y.astype(np.float32), y.astype(">u2"), np.repeat(y, 2)[::2]):
        assert bits(*replace(problem, y=labels).objective().value_and_grad(w)) == bits(*expected)
    for labels in (np.eye(3)[y], np.eye(3, dtype=int)[y], np.asfortranarray(np.eye(3, dtype=bool)[y])):
        assert_same(replace(problem, y=labels).objective().value_and_grad(w), expected, dtype)
        assert replace(problem, y=labels).objective().duality_gap(w) == pytest.approx(
            problem.objective().duality_gap(w), rel=1e-5
        )


def test_the_number_of_classes():
    X, y, loss = np.ones((4, 2)), [0, 2, 1, 0], fl.CategoricalCrossEntropy
    for k, options, more in (
        (3, {}, {}),
        (5, {"class_weight": np.ones(5)}, {}),
        (4, {}, {"offset": np.zeros((4, 4))}),
        (6, {}, {"y": np.full((4, 6), 1 / 6)}),
        (3, {"ignore_index": 9}, {"y": [0, 2, 9, 1]}),
    ):
        objective = fl.LinearObjective(X, more.pop("y", y), loss(from_logits=True, **options), **more)
        assert (objective.n_outputs, objective.size) == (k, 3 * k)


def test_shifts_and_the_order_of_classes():
    problem = Softmax.draw(k=4)
    objective, w = problem.objective(), problem.point()
    value, gradient = objective.value_and_grad(w)
    np.testing.assert_allclose(gradient.reshape(4, -1).sum(axis=0), 0, atol=1e-15)
    shift = np.tile(np.arange(5.0), 4)
    assert_same(objective.value_and_grad(w + shift), (value, gradient))
    order = np.array([2, 0, 3, 1])  # class c becomes order[c]
    W, G = (x.reshape(4, -1)[np.argsort(order)].ravel() for x in (w, gradient))
    assert_same(replace(problem, y=order[problem.y]).objective().value_and_grad(W), (value, G))


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.2}, {"class_weight": [1.0, 2.5]}], ids=repr)
def test_two_classes_are_one_logit(options, weighted, dtype):
    problem = Softmax.draw(k=2, weighted=weighted, dtype=dtype)
    problem.options = options
    v = np.array(options.get("class_weight", [1.0, 1.0]))
    binary = fl.BinaryCrossEntropy(True, label_smoothing=options.get("label_smoothing", 0.0), pos_weight=v[1])
    theirs = fl.LinearObjective(problem.X, problem.y, binary, sample_weight=problem.weight)
    w = problem.point()
    value, gradient = theirs.value_and_grad(np.subtract(*w.reshape(2, -1)[::-1]))
    share = np.average(v[problem.y], weights=problem.weight)
    expected = value / share, np.concatenate([-gradient, gradient]) / share
    assert_same(problem.objective().value_and_grad(w), expected, dtype)


@pytest.mark.parametrize(("ours", "theirs"), [(fl.L1(0.02), fl.L1(0.02)), (fl.L2(0.1), fl.L2(0.05))], ids=repr)
def test_two_classes_have_the_minimum_of_one_logit(ours, theirs):
    problem = Softmax.draw(k=2, penalty=ours)
    binary = fl.LinearObjective(problem.X, problem.y, fl.BinaryCrossEntropy(from_logits=True), theirs)
    found, expected = (fl.minimize(objective, tol=1e-11) for objective in (problem.objective(), binary))
    assert found.fun == pytest.approx(expected.fun, rel=1e-10)
    np.testing.assert_allclose(np.subtract(*found.x.reshape(2, -1)[::-1]), expected.x, atol=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_shows(bad):
    problem = Softmax.draw()
    w = problem.point()
    w[1] = bad
    value, gradient = problem.objective().value_and_grad(w)
    assert not np.isfinite(value)
    assert not np.isfinite(gradient).any()


def test_the_gradient_goes_to_out():
    problem = Softmax.draw(penalty=PENALTIES[1])
    objective, w = problem.objective(), problem.point()
    expected = objective.value_and_grad(w)
    for out in (np.empty(objective.size), np.empty(2 * objective.size)[::2], w):  # at last the point itself
        value, same = objective.value_and_grad(w, out=out)
        assert same is out
        assert bits(value, same) == bits(*expected)


@intercept
def test_prox_leaves_the_intercepts(intercept):
    problem = Softmax.draw(penalty=PENALTIES[2], intercept=intercept)
    objective, w = problem.objective(), problem.point()
    W, result = w.reshape(3, -1), objective.prox(w, 5.0).reshape(3, -1)
    np.testing.assert_allclose(result[:, :4], np.sign(W[:, :4]) * np.maximum(abs(W[:, :4]) - 0.1, 0), atol=1e-16)
    assert bits(result[:, 4:]) == bits(W[:, 4:])
    assert np.count_nonzero(result == 0)
    np.testing.assert_array_equal(objective.coefficients(w), W[:, :4])


@soft
def test_arguments_are_left_alone(soft, dtype):
    problem = Softmax.draw(
        options=OPTIONS["class_weight"], soft=soft, weighted=True, offset=True, dtype=dtype, penalty=PENALTIES[0]
    )
    w = problem.point()
    arrays = [problem.X, problem.y, problem.weight, problem.offset, w]
    before = bits(*arrays)
    for array in arrays:
        array.flags.writeable = False
    objective = problem.objective()
    objective.value_and_grad(w)
    objective.prox(w, 0.1)
    objective.duality_gap(w)
    objective.lambda_max()
    assert bits(*arrays) == before
    assert np.shares_memory(objective.X, problem.X)


@pytest.mark.parametrize("layout", [np.s_[::2], np.s_[::-1], np.s_[:, 3:6]], ids=str)
def test_rows_that_are_apart(layout, dtype):
    problem = Softmax.draw(n=80, p=8, dtype=dtype)
    problem.X = problem.X[layout]
    problem.y = problem.y[-len(problem.X) :]
    copied = replace(problem, X=np.array(problem.X, order="C"))
    w = problem.point()
    assert_same(problem.objective().value_and_grad(w), copied.objective().value_and_grad(w), dtype)


@soft
def test_identical_for_any_number_of_threads(soft, dtype):
    problem = Softmax.draw(4001, 5, 20, options=OPTIONS["all"], soft=soft, weighted=True, dtype=dtype)
    problem.penalty = PENALTIES[0]
    w, found = problem.point(), set()
    for n_threads in (1, 2, 3, 8):
        objective = problem.objective(n_threads)
        value, gradient = objective.value_and_grad(w)
        assert bits(objective.value(w)) == bits(value)
        found.add(bits(value, gradient, objective.duality_gap(w), objective.lambda_max()))
    assert len(found) == 1


def test_solutions_are_identical_for_any_number_of_threads():
    problem = Softmax.draw(2000, 5, 20, penalty=fl.L1(0.01))
    runs = [fl.minimize(problem.objective(k), tol=1e-3) for k in (1, 2, 3, 8)]
    assert len({bits(run.x, run.fun, run.duality_gap, run.nit, run.history["objective"]) for run in runs}) == 1


def test_identical_in_concurrent_calls():
    problem = Softmax.draw(2000, 5, 10, weighted=True)
    objective = problem.objective()
    points = [problem.point(seed) for seed in range(20)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(objective.value_and_grad, points))
    assert [bits(*x) for x in found] == [bits(*objective.value_and_grad(w)) for w in points]


def test_the_logits_never_exist(small_blocks, weighted, dtype):
    small_blocks(64)
    n, k = 6000, 30
    objective = Softmax.draw(n, 4, k, weighted=weighted, dtype=dtype, penalty=PENALTIES[0]).objective()
    w = np.zeros(objective.size)
    block = 64 * k * 8
    for call in (objective.value, objective.value_and_grad, objective.duality_gap, lambda w: objective.lambda_max()):
        tracemalloc.start()
        call(w)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 10 * block < n * k  # bytes: nor does anything else of n numbers


# Certificates and solutions


@options
@offset
@intercept
@penalty
def test_the_gap_bounds_the_distance_to_the_minimum(options, weighted, offset, intercept, penalty):
    problem = Softmax.draw(
        40, 3, options=options, weighted=weighted, offset=offset, intercept=intercept, penalty=penalty
    )
    problem.X[~problem.used] = np.nan
    objective = problem.objective()
    assert objective.has_duality_gap
    solution = fl.minimize(objective, tol=1e-8)
    assert solution.success
    assert -1e-12 <= objective.duality_gap(solution.x) <= 1e-8 * objective.value(np.zeros(objective.size))
    for seed in range(12):
        # From next to the solution to far away from it, where probabilities underflow.
        direction = np.random.default_rng(seed).normal(size=objective.size)
        w = solution.x + 10.0 ** (seed % 7 - 4) * direction if seed else np.zeros(objective.size)
        fun, gap = objective.objective(w), objective.duality_gap(w)
        assert np.isfinite(gap)
        assert gap >= max(0.0, fun - solution.fun) - 1e-12 * (1 + fun)


@soft
@penalty
def test_the_gap_of_other_labels_and_classes(soft, penalty, weighted):
    for k in (1, 2, 5):
        objective = Softmax.draw(30, 3, k, soft=soft, weighted=weighted, offset=True, penalty=penalty).objective()
        solution = fl.minimize(objective, tol=1e-7)
        assert -1e-12 <= solution.duality_gap <= 1e-7 * objective.value(np.zeros(objective.size))
        w = solution.x + np.random.default_rng(k).normal(size=objective.size)
        assert objective.duality_gap(w) >= objective.objective(w) - solution.fun - 1e-12


@options
@intercept
@penalty
def test_the_gap_closes_in_float32(options, intercept, penalty):
    problem = Softmax.draw(40, 3, options=options, dtype=np.float32, intercept=intercept, penalty=penalty)
    objective = problem.objective()
    solution = fl.minimize(objective, tol=2e-5)
    assert -1e-6 <= solution.duality_gap <= 2e-5 * objective.value(np.zeros(objective.size))
    for seed in range(5):
        w = np.random.default_rng(seed).normal(size=objective.size)
        assert objective.duality_gap(w) >= (objective.objective(w) - solution.fun) * (1 - 1e-5) - 2e-5


@options
@offset
@intercept
def test_from_lambda_max_on_all_coefficients_are_zero(options, weighted, offset, intercept):
    problem = Softmax.draw(options=options, weighted=weighted, offset=offset, intercept=intercept)
    largest = problem.objective().lambda_max()
    for factor in (1.0001, 0.98):
        objective = replace(problem, penalty=fl.L1(factor * largest)).objective()
        found = objective.coefficients(fl.minimize(objective, tol=1e-11).x)
        assert np.any(found) == (factor < 1)


def test_lambda_max_takes_few_passes(monkeypatch, dtype):
    passes, blocks = [], _many_outputs.blocks
    monkeypatch.setattr(_many_outputs, "blocks", lambda *args: passes.append(args) or blocks(*args))
    assert Softmax.draw(offset=True, dtype=dtype).objective().lambda_max() > 0
    assert len(passes) < 60


@intercept
@pytest.mark.parametrize("offset", [None, 0.0, 1.0], ids=["", "offset zero", "offset"])
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}, {"class_weight": [1.0, 0.0, 2.0]}], ids=repr)
def test_a_class_that_never_counts(intercept, offset, options):
    problem = Softmax.draw(40, 3, intercept=intercept)
    problem.options = options
    if "class_weight" not in options:  # there the class occurs, and counts nothing
        problem.y = 2 * (problem.y > 0)
    if offset is not None:
        problem.offset = offset * np.random.default_rng(0).normal(size=(40, 3))
    objective, w = problem.objective(), problem.point()
    assert_same(objective.value_and_grad(w), problem.oracle(w))
    largest = objective.lambda_max()
    assert 0 < largest < 1
    objective = replace(problem, penalty=fl.L1(0.3 * largest)).objective()
    # The intercept of that class has nowhere to stop: the minimum is approached, and so the gap must close.
    solution = fl.minimize(objective, tol=1e-3, max_iter=500)
    for seed in range(5):
        w = solution.x + np.random.default_rng(seed).normal(scale=10.0 ** (seed - 3), size=objective.size)
        assert objective.duality_gap(w) >= objective.objective(w) - solution.fun - 1e-12


@intercept
@pytest.mark.parametrize("options", [OPTIONS["plain"], OPTIONS["all"]], ids=["plain", "all"])
def test_scipy_reaches_the_same_minimum(options, weighted, intercept):
    objective = Softmax.draw(options=options, weighted=weighted, intercept=intercept, penalty=fl.L2(0.1)).objective()
    theirs = optimize.minimize(objective.value_and_grad, np.zeros(objective.size), jac=True, tol=1e-12)
    ours = fl.minimize(objective, tol=1e-11)
    assert ours.fun == pytest.approx(theirs.fun, rel=1e-10)
    np.testing.assert_allclose(ours.x, theirs.x, atol=1e-4)


def test_without_a_penalty_no_gap_is_known():
    objective = Softmax.draw().objective()
    assert not objective.has_duality_gap
    with pytest.raises(ValueError, match=r"^penalty must not be 0"):
        objective.duality_gap(np.zeros(objective.size))
    result = fl.minimize(objective, tol=1e-5)
    assert result.success
    assert np.isnan(result.duality_gap)
    np.testing.assert_allclose(objective.value_and_grad(result.x)[1], 0, atol=1e-4)


@intercept
@pytest.mark.parametrize("l1_ratio", [0, 1])
def test_agrees_with_scikit_learn(l1_ratio, weighted, intercept):
    sklearn = pytest.importorskip("sklearn", reason="needs scikit-learn")
    linear_model = pytest.importorskip("sklearn.linear_model")
    problem = Softmax.draw(90, 6, weighted=weighted, intercept=intercept)
    problem.X = (problem.X - problem.X.mean(axis=0)) / problem.X.std(axis=0)
    strength, total = 0.03, len(problem.X) if problem.weight is None else problem.weight.sum()
    problem.penalty = fl.L1(strength) if l1_ratio else fl.L2(strength / 2)
    old = tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 8)
    named = {"penalty": "elasticnet"} if old and l1_ratio else {}
    model = linear_model.LogisticRegression(
        solver="saga" if l1_ratio else "lbfgs",
        l1_ratio=l1_ratio,
        C=1 / (strength * total),
        fit_intercept=intercept,
        tol=1e-10,
        max_iter=100_000,
        random_state=0,
        **named,
    ).fit(problem.X, problem.y, problem.weight)
    ours = fl.minimize(problem.objective(), tol=1e-11).x.reshape(3, -1)
    np.testing.assert_allclose(ours[:, :6], model.coef_, atol=1e-4)
    np.testing.assert_array_equal(ours[:, :6] == 0, model.coef_ == 0)
    if l1_ratio:
        assert 0 < np.count_nonzero(ours[:, :6]) < 18
    if intercept:
        b = ours[:, 6] - ours[:, 6].mean()
        np.testing.assert_allclose(b, model.intercept_ - model.intercept_.mean(), atol=1e-4)
