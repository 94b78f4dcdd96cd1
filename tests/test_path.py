"""A path: each of its models is what minimising it alone gives, with a certificate, however X is stored."""

import functools
import pickle
import tracemalloc
import warnings

import numpy as np
import pytest
from problems import bits
from scipy import sparse
from test_prox_newton import LAYOUTS
from test_solvers import LOGISTIC

import fastloss as fl

N, P = 240, 12  # 20 rows a column: where "auto" goes from one solver to another
CATEGORICAL = fl.CategoricalCrossEntropy(from_logits=True)
LOSSES = {
    "squared": fl.SquaredError(),
    "Huber": fl.Huber(0.7),
    "logistic": LOGISTIC,
    "Poisson": fl.Poisson(),
    "categorical": CATEGORICAL,
}
WEIGHTS = np.random.default_rng(5).uniform(0.5, 2, P)
FREE = np.where(np.arange(P) % 5 == 2, 0, WEIGHTS)
KINDS = {
    "plain": {},
    "no intercept": {"fit_intercept": False},
    "sample weights": {"sample_weight": True},
    "offset": {"offset": True},
    "elastic net": {"l1_ratio": 0.5},
    "by features": {"weights": FREE},
    "positive": {"positive": True},
    "standardized": {"standardize": True},
    "all": {
        "sample_weight": True,
        "offset": True,
        "l1_ratio": 0.7,
        "weights": WEIGHTS,
        "positive": True,
        "standardize": True,
    },
}
loss = pytest.mark.parametrize("loss", LOSSES)
kind = pytest.mark.parametrize("kind", KINDS)
# A linear and a curved loss with every layout and dtype, the others with some.
RUNS = [(loss, *run) for loss in LOSSES for run in [*((name, "f8") for name in LAYOUTS), ("C", "f4"), ("CSC", "f4")]]
RUNS = [
    run for run in RUNS if run[0] in ("squared", "logistic") or run[1:] in (("C", "f8"), ("CSR", "f8"), ("CSC", "f4"))
]


def data(loss, n=N, p=P, seed=0):
    """X with many zeros, in numbers that float32 has too; labels that depend on a few columns."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * (rng.random((n, p)) < 0.6) * np.geomspace(0.5, 2, p) + 0.5 * (np.arange(p) == 3)
    z = X[:, 0] - X[:, 1 % p] + 0.5 * X[:, 2 % p] + 0.3 + 0.5 * rng.normal(size=n)
    y = {
        "logistic": z > 0,
        "Poisson": rng.poisson(np.exp(np.clip(z, -3, 2))),
        "categorical": (z > 0.2).astype(int) + (z > 0.9),
    }.get(loss, z)
    return X.astype(np.float32).astype(float), np.asarray(y, np.float32).astype(float)


def options_of(kind, loss, n=N):
    """The arguments of a path."""
    options, rng = dict(KINDS[kind]), np.random.default_rng(1)
    if "sample_weight" in options:
        options["sample_weight"] = (rng.integers(0, 4, n) + (np.arange(n) == 0)).astype(float)
    if "offset" in options:
        shape = (n, 3) if loss == "categorical" else n
        options["offset"] = rng.normal(scale=0.3, size=shape).astype(np.float32).astype(float)
    return options


def objective_of(X, y, loss, alpha, *, l1_ratio=1.0, weights=None, positive=False, **options):
    """What the model at one strength minimises."""
    penalty = fl.ElasticNet(alpha * l1_ratio, alpha * (1 - l1_ratio) / 2, weights, positive)
    return fl.LinearObjective(X, y, LOSSES[loss], penalty, **options)


def points(path, fit_intercept=True):
    """The models as `LinearObjective` takes them."""
    parts = [path.coefs, path.intercepts[..., np.newaxis]] if fit_intercept else [path.coefs]
    return np.concatenate(parts, axis=-1).reshape(len(path.alphas), -1)


@functools.cache
def alone(loss, kind):
    """For some strengths, the objective, the loss at zero, and the minimum as `minimize` finds it."""
    (X, y), options = data(loss), options_of(kind, loss)
    unit = objective_of(X, y, loss, 1.0, **options)
    largest = unit.lambda_max() / options.get("l1_ratio", 1.0)
    models = []
    for alpha in np.geomspace(largest, 0.03 * largest, 4):
        objective = objective_of(X, y, loss, alpha, **options)
        result = fl.minimize(objective, solver="prox_newton", tol=1e-11)
        assert result.success
        models.append((alpha, objective, result))
    return models, unit.value(np.zeros(unit.size))


@pytest.mark.parametrize(("loss", "layout", "dtype"), RUNS)
@kind
def test_each_model_is_what_it_is_alone(loss, layout, kind, dtype):
    models, zero = alone(loss, kind)
    (X, y), options = data(loss), options_of(kind, loss)
    if "sample_weight" in options:
        X[options["sample_weight"] == 0, :3] = np.nan
    tol = 1e-5 if dtype == "f4" else 1e-9
    rounding = 1e-6 if dtype == "f4" else 1e-12
    alphas = [alpha for alpha, _, _ in models]
    path = fl.regularization_path(LAYOUTS[layout](X.astype(dtype)), y, LOSSES[loss], alphas=alphas, tol=tol, **options)

    assert path.success is True
    np.testing.assert_array_equal(path.alphas, alphas)
    if models[0][1].has_duality_gap:
        assert np.all(path.duality_gaps <= tol * zero * (1 + rounding))
        assert np.all(path.duality_gaps >= -rounding * zero)
        gaps = path.duality_gaps
    else:  # as with classes and features that are free
        assert np.isnan(path.duality_gaps).all()
        gaps = np.full(len(alphas), 10 * tol * zero)
    rows = points(path, options.get("fit_intercept", True))
    for i, (_, objective, best) in enumerate(models):
        above = objective.objective(rows[i]) - best.fun
        assert -np.nan_to_num(best.duality_gap) - rounding * zero <= above <= gaps[i] + rounding * zero
        assert path.objectives[i] == pytest.approx(best.fun + above, rel=rounding, abs=rounding * zero)
        # The distance goes with the root of the gap.
        np.testing.assert_allclose(rows[i], best.x, atol=10 * np.sqrt(tol))
        assert path.supports[i] == np.count_nonzero(path.coef(i))


@loss
@pytest.mark.parametrize("kind", ["plain", "no intercept", "elastic net", "by features", "all"])
@pytest.mark.parametrize("layout", ["C", "CSC"])
def test_the_strengths_begin_where_all_that_costs_is_zero(loss, layout, kind, dtype):
    (X, y), options = data(loss), options_of(kind, loss)
    models, _ = alone(loss, kind)
    path = fl.regularization_path(
        LAYOUTS[layout](X.astype(dtype)), y, LOSSES[loss], n_alphas=4, eps=0.1, tol=1e-5, **options
    )
    costs = options.get("weights", np.ones(P)) > 0
    rounding = 1e-4 if dtype == np.float32 else 1e-6
    np.testing.assert_allclose(path.alphas, models[0][0] * np.array([1, 10 ** (-1 / 3), 10 ** (-2 / 3), 0.1]), rounding)
    np.testing.assert_allclose(path.alphas[-1] / path.alphas[0], 0.1, rtol=1e-12)
    if costs.all() or loss != "categorical":  # of several outputs, lambda_max is without those that cost nothing
        assert not path.coef(0)[..., costs].any()
    assert path.coef(1)[..., costs].any()


SOLVERS = [(solver, layout) for solver in ("prox_newton", "fista") for layout in ("C", "F", "CSR")]
SOLVERS += [("gram_newton", "C"), ("gram_newton", "F"), ("ista", "C")]


@pytest.mark.parametrize("loss", ["squared", "Huber", "logistic", "Poisson"])
@pytest.mark.parametrize(("solver", "layout"), SOLVERS)
@pytest.mark.parametrize("kind", ["plain", "all"])
def test_every_solver(loss, solver, layout, kind):
    models, zero = alone(loss, kind)
    (X, y), options = data(loss), options_of(kind, loss)
    tol = 1e-7 if "newton" in solver else 1e-5
    path = fl.regularization_path(
        LAYOUTS[layout](X), y, LOSSES[loss], alphas=[m[0] for m in models], solver=solver, tol=tol, **options
    )
    assert path.success
    assert np.all(path.duality_gaps <= tol * zero * (1 + 1e-12))
    np.testing.assert_allclose(path.objectives, [m[2].fun for m in models], atol=2 * tol * zero)
    assert path.n_iters.sum() > 0


@pytest.mark.parametrize("loss", ["squared", "logistic"])
@pytest.mark.parametrize("layout", ["F", "CSC"])
@pytest.mark.parametrize("shape", [(50, 400), (400, 50), (1000, 8), (30, 1), (1, 5), (2, 3)], ids=str)
def test_every_shape(loss, layout, shape):
    X, y = data(loss, *shape)
    if len(y) < 3:  # both labels, or there is nothing to find
        y = np.arange(len(y)) + 1.0 - (loss == "logistic")
        X += 1
    intercept = len(y) > 1
    path = fl.regularization_path(
        LAYOUTS[layout](X), y, LOSSES[loss], n_alphas=15, eps=0.01, tol=1e-7, fit_intercept=intercept
    )
    assert path.success
    assert path.supports.max() <= min(shape)
    assert np.all(np.diff(path.objectives) <= 1e-7 * path.objectives[0])  # a smaller penalty costs less
    for i in (0, 7, 14):
        objective = objective_of(X, y, loss, path.alphas[i], fit_intercept=intercept)
        gap = objective.duality_gap(points(path, intercept)[i])
        assert gap <= 1.01e-7 * objective.value(np.zeros(objective.size))


@pytest.mark.parametrize("l1_ratio", [1.0, 0.4])
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("layout", ["C", "CSC"])
@pytest.mark.parametrize("shape", [(80, 30), (40, 120)], ids=str)
def test_agrees_with_their_paths(l1_ratio, positive, layout, shape):
    """Their objective has 1/2 before the squares, so that our alpha is twice theirs."""
    theirs = pytest.importorskip("sklearn.linear_model")
    X, y = data("squared", *shape)
    # They fit no intercept, which is the same on columns that are centred.
    alphas, coefs, _ = theirs.enet_path(
        X - X.mean(axis=0), y - y.mean(), l1_ratio=l1_ratio, eps=0.05, alphas=8, positive=positive, tol=1e-12
    )
    path = fl.regularization_path(
        LAYOUTS[layout](X),
        y,
        fl.SquaredError(),
        l1_ratio=l1_ratio,
        eps=0.05,
        n_alphas=8,
        positive=positive,
        tol=1e-11,
    )
    np.testing.assert_allclose(path.alphas, 2 * alphas, rtol=1e-10)
    np.testing.assert_allclose(path.coefs, coefs.T, atol=1e-5)
    np.testing.assert_array_equal(path.coefs[1:] != 0, coefs.T[1:] != 0)
    np.testing.assert_allclose(path.intercepts, y.mean() - coefs.T @ X.mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("loss", [fl.SquaredError(), LOGISTIC], ids=["squared", "logistic"])
@pytest.mark.parametrize("l1_ratio", [1.0, 0.6])
@pytest.mark.parametrize("options", [{}, {"positive": True}, {"standardize": True}, {"weights": True}], ids=str)
def test_long_paths_of_few_features_are_those_by_working_sets(loss, l1_ratio, options):
    # They keep one Hessian, and, where the loss is quadratic, its factors from model to model.
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 30)) + 0.5 * rng.normal(size=(150, 1))
    X[:, 7], X[:, 8], X[:, 9] = X[:, 6], 0, 3  # a duplicate; what is of no use
    y = X @ np.where(np.arange(30) % 3, 0, rng.normal(size=30)) + rng.normal(size=150)
    y = (y > 0) * 1.0 if loss is LOGISTIC else y
    if "weights" in options:
        options = {"weights": np.where(np.arange(30) < 2, 0, rng.uniform(0.5, 2, 30))}
    by_hessian, by_sets = (
        fl.regularization_path(X, y, loss, l1_ratio=l1_ratio, n_alphas=40, tol=1e-8, solver=solver, **options)
        for solver in ("auto", "prox_newton")
    )
    assert by_hessian.success
    assert by_sets.success
    np.testing.assert_allclose(by_hessian.objectives, by_sets.objectives, rtol=1e-7)
    for i in range(40):
        np.testing.assert_allclose(by_hessian.coef(i) @ X.T, by_sets.coef(i) @ X.T, atol=2e-3 * np.abs(X).max())


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("loss", ["logistic", "Huber", "categorical"])
@pytest.mark.parametrize("n_alphas", [12, 300])
def test_where_a_path_goes_on_as_it_did(n_alphas, loss, intercept):
    """Steps between models of any width: what is foreseen of the next may be all wrong, or as good as solved."""
    X, y = data(loss, n=60, p=150)
    options = {"fit_intercept": intercept, "tol": 1e-7}
    path = fl.regularization_path(X, y, LOSSES[loss], n_alphas=n_alphas, eps=0.05, solver="prox_newton", **options)
    assert path.success
    assert n_alphas < 300 or (path.n_iters == 0).any()
    for i in range(0, n_alphas, max(1, n_alphas // 12)):
        objective = fl.LinearObjective(X, y, LOSSES[loss], fl.L1(float(path.alphas[i])), fit_intercept=intercept)
        parts = [path.coef(i), path.intercepts[i, ..., np.newaxis]] if intercept else [path.coef(i)]
        point = np.concatenate(parts, axis=-1).ravel()
        assert objective.duality_gap(point) <= 1e-7 * objective.loss_at_zero


@pytest.mark.parametrize("tol", [1e-6, 1e-9])
@pytest.mark.parametrize("layout", ["C", "F", "CSR", "CSC"])
def test_almost_as_many_features_in_use_as_samples(layout, tol):
    X, y = data("squared", 40, 120)
    path = fl.regularization_path(LAYOUTS[layout](X), y, fl.SquaredError(), eps=0.01, n_alphas=12, tol=tol)
    assert path.success
    assert 30 < path.supports.max() < 40


@pytest.mark.parametrize("loss", ["squared", "Huber", "logistic", "Poisson"])
@pytest.mark.parametrize("layout", ["C", "CSR"])
@pytest.mark.parametrize("intercept", [True, False])
def test_float32_reaches_the_default_tolerance(loss, layout, intercept):
    """Rounding of the predictions leaves the gap far below it."""
    X, y = data(loss, 2000)
    path = fl.regularization_path(
        LAYOUTS[layout](X.astype(np.float32)), y, LOSSES[loss], n_alphas=8, eps=0.01, fit_intercept=intercept
    )
    assert path.success
    for i in (2, 5, 7):
        objective = objective_of(X, y, loss, path.alphas[i], fit_intercept=intercept)
        gap = objective.duality_gap(points(path, intercept)[i])
        assert gap <= 1.5e-6 * objective.value(np.zeros(objective.size))


def test_agrees_with_their_lasso_path():
    theirs = pytest.importorskip("sklearn.linear_model")
    X, y = data("squared")
    alphas, coefs, _ = theirs.lasso_path(X, y, alphas=20, tol=1e-13)
    path = fl.regularization_path(X, y, fl.SquaredError(), alphas=2 * alphas, fit_intercept=False, tol=1e-12)
    np.testing.assert_allclose(path.coefs, coefs.T, atol=1e-5)
    assert not path.intercepts.any()


@loss
@pytest.mark.parametrize("layout", ["C", "CSR"])
def test_strengths_of_ones_own(loss, layout):
    """In any order, twice, and 0 among them."""
    X, y = data(loss)
    given = [0.02, 0, 0.3, 0.1, 0.02]
    tol = 1e-6 if loss == "categorical" else 1e-9
    path = fl.regularization_path(
        LAYOUTS[layout](X), y, LOSSES[loss], alphas=given, tol=tol, max_iter=5000 if loss == "categorical" else None
    )
    assert given == [0.02, 0, 0.3, 0.1, 0.02]
    np.testing.assert_array_equal(path.alphas, [0.3, 0.1, 0.02, 0.02, 0])
    assert path.success
    np.testing.assert_array_equal(np.isnan(path.duality_gaps), path.alphas == 0)
    assert path.objectives[2] == pytest.approx(path.objectives[3], rel=1e-6)
    last = objective_of(X, y, loss, 0.0)
    best = fl.minimize(last, tol=tol, max_iter=5000 if loss == "categorical" else None)
    assert last.objective(points(path)[-1]) == pytest.approx(best.fun, rel=1e-6)
    assert path.supports[-1] == path.coef(0).size


@pytest.mark.parametrize("layout", ["C", "CSC"])
@pytest.mark.parametrize("unit", [1e-8, 1.0, 1e8])
def test_no_penalty_at_last_in_any_unit(layout, unit):
    """The tolerance of a model without a gap is relative as well."""
    X, y = data("squared")
    path = fl.regularization_path(LAYOUTS[layout](X), unit * y, fl.SquaredError(), alphas=[0.1 * unit, 0])
    expected = np.linalg.lstsq(np.column_stack([X, np.ones(N)]), y, rcond=None)[0]
    np.testing.assert_allclose(points(path)[-1] / unit, expected, atol=1e-4)


def test_one_strength():
    X, y = data("logistic")
    path = fl.regularization_path(X, y, LOGISTIC, n_alphas=1)
    assert path.alphas.tolist() == [fl.LinearObjective(X, y, LOGISTIC).lambda_max()]
    assert path.coefs.shape == (1, P)
    share = y.mean()
    assert path.intercepts[0] == pytest.approx(np.log(share / (1 - share)), rel=1e-3)


def test_the_defaults():
    X, y = data("squared")
    path = fl.regularization_path(X, y, fl.SquaredError())
    assert path.alphas.shape == (100,)
    assert path.alphas[-1] == pytest.approx(1e-3 * path.alphas[0])
    assert path.l1_ratio == 1.0
    assert np.all(np.diff(path.alphas) < 0)


@pytest.mark.parametrize(
    ("loss", "layout"), [("squared", "C"), ("squared", "CSC"), ("logistic", "F"), ("logistic", "CSR"), ("Poisson", "C")]
)
@pytest.mark.parametrize("shape", [(4001, 15), (60, 1200)], ids=str)
def test_identical_for_any_number_of_threads(loss, layout, shape, dtype):
    X, y = data(loss, *shape)
    X = LAYOUTS[layout](X.astype(dtype))
    options = {"n_alphas": 3, "eps": 0.2, "tol": 1e-4, "standardize": True}
    paths = [fl.regularization_path(X, y, LOSSES[loss], n_threads=k, **options) for k in (1, 2, 3)]
    assert len({bits(x.alphas, x.coefs, x.intercepts, x.objectives, x.duality_gaps, x.n_iters) for x in paths}) == 1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_arguments_are_left_alone(layout):
    X, y = data("squared")
    X = LAYOUTS[layout](X)
    arrays = [y, np.arange(N) % 3.0, np.full(N, 0.1), WEIGHTS.copy()]
    memory = [X.data, X.indices, X.indptr] if sparse.issparse(X) else [X]
    for array in [*arrays, *memory]:
        if isinstance(array, np.ndarray):
            array.flags.writeable = False
    before = [np.array(x).tobytes() for x in arrays + memory]
    y, sample_weight, offset, weights = arrays
    fl.regularization_path(
        X,
        y,
        fl.SquaredError(),
        n_alphas=3,
        standardize=True,
        sample_weight=sample_weight,
        offset=offset,
        weights=weights,
    )
    assert [np.array(x).tobytes() for x in arrays + memory] == before


def test_shapes_and_types():
    for name, k in (("squared", ()), ("categorical", (3,))):
        X, y = data(name)
        path = fl.regularization_path(X.astype(np.float32), y, LOSSES[name], n_alphas=4, tol=1e-4)
        assert path.coef(0).shape == path.coef(-1).shape == (*k, P)
        assert path.coefs.shape == (4, *k, P)
        assert path.intercepts.shape == (4, *k)
        for values in (path.alphas, path.objectives, path.duality_gaps, path.times, path.n_iters, path.supports):
            assert values.shape == (4,)
        assert path.coefs.dtype == path.intercepts.dtype == path.alphas.dtype == np.float64
        assert path.n_iters.dtype.kind == path.supports.dtype.kind == "i"
        assert np.all(path.times >= 0)
        np.testing.assert_array_equal(path.coefs[2], path.coef(2))
        np.testing.assert_array_equal(path.supports, np.count_nonzero(path.coefs.reshape(4, -1), axis=1))
        for i in (4, -5):
            with pytest.raises(IndexError):
                path.coef(i)
        again = pickle.loads(pickle.dumps(path))
        np.testing.assert_array_equal(again.coefs, path.coefs)
        path.coef(3)[...] = np.nan  # a copy
        assert np.isfinite(path.coefs).all()


def test_without_an_intercept_it_is_zero():
    for name, k in (("squared", ()), ("categorical", (3,))):
        X, y = data(name)
        path = fl.regularization_path(X, y, LOSSES[name], n_alphas=3, tol=1e-4, fit_intercept=False)
        np.testing.assert_array_equal(path.intercepts, np.zeros((3, *k)))


def test_its_words():
    X, y = data("squared")
    path = fl.regularization_path(X, y, fl.SquaredError(), alphas=[10, 0.5, 0.001])
    assert repr(path) == f"Path(3 models, alpha 10 to 0.001, support 0 to {path.supports[2]} of 12, success=True)"


@pytest.mark.parametrize("layout", ["CSR", "CSC"])
def test_only_what_is_not_zero_is_kept(layout):
    n, p, m = 60, 30_000, 6
    rng = np.random.default_rng(0)
    X = sparse.random_array((n, p), density=2e-4, rng=rng, format=layout.lower())
    y = rng.normal(size=n)
    fl.regularization_path(X, y, fl.SquaredError(), n_alphas=2)  # what is made once
    tracemalloc.start()
    path = fl.regularization_path(X, y, fl.SquaredError(), n_alphas=m, eps=0.3, tol=1e-4)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0 < path.supports[-1] <= n
    assert kept < 16 * (path.supports.sum() + 100 * m)  # dense: 1.4 MB
    assert peak < 100 * 8 * p  # some vectors of p numbers, not n
    assert path.coef(m - 1).shape == (p,)


@pytest.mark.parametrize("loss", ["squared", "logistic", "categorical"])
def test_models_are_the_same_however_many_are_gathered(loss, monkeypatch):
    X, y = data(loss)
    paths = []
    for gathered in (1, 50, 1 << 16):
        monkeypatch.setattr("fastloss.path.GATHERED", gathered)
        paths.append(fl.regularization_path(X, y, LOSSES[loss], n_alphas=9))
    for path in paths[1:]:
        for name in ("coefs", "intercepts", "objectives", "duality_gaps", "n_iters", "supports", "success", "missed"):
            np.testing.assert_array_equal(getattr(path, name), getattr(paths[0], name), err_msg=name)
        assert path.times.shape == (9,)
        assert (path.times > 0).all()


@pytest.mark.parametrize("loss", ["squared", "categorical"])
def test_verbose_prints_a_line_for_each_model(loss, capsys):
    X, y = data(loss)
    path = fl.regularization_path(X, y, LOSSES[loss], n_alphas=7, tol=1e-4, verbose=True)
    first, names, *lines = capsys.readouterr().out.splitlines()
    assert first == "240 samples, 12 features, 7 models"
    assert names.split() == ["model", "alpha", "seconds", "objective", "gap", "support"]
    assert [int(line.split()[0]) for line in lines] == list(range(1, 8))
    assert [int(line.split()[-1]) for line in lines] == path.supports.tolist()
    np.testing.assert_allclose([float(line.split()[1]) for line in lines], path.alphas, rtol=1e-3)
    np.testing.assert_allclose([float(line.split()[3]) for line in lines], path.objectives, rtol=1e-8)
    fl.regularization_path(X, y, LOSSES[loss], n_alphas=2, tol=1e-4)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("solver", ["prox_newton", "gram_newton", "fista", "ista"])
@pytest.mark.parametrize("limit", [{"max_iter": 1, "tol": 1e-10}, {"max_iter": 0}, {"tol": 0, "max_iter": 12}], ids=str)
def test_one_warning_where_the_tolerance_is_not_reached(solver, limit):
    X, y = data("logistic")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        path = fl.regularization_path(X, y, LOGISTIC, n_alphas=5, eps=0.01, solver=solver, **limit)
    (warning,) = caught
    assert warning.category is fl.ConvergenceWarning
    assert warning.filename == __file__
    missed = int(str(warning.message).split()[0])
    assert f"{missed} of 5 models did not reach the tolerance" in str(warning.message)
    zero = np.log(2)
    beyond = np.sum(path.duality_gaps > limit.get("tol", 1e-6) * zero)
    assert missed == beyond or (limit["tol"] == 0 and missed >= beyond)  # gaps of rounding may be negative
    assert path.success is False
    assert np.all(path.n_iters <= limit["max_iter"])
    assert np.isfinite(path.coefs).all()


def test_the_warning_of_several_outputs():
    X, y = data("categorical")
    with pytest.warns(fl.ConvergenceWarning, match="of 5 models") as caught:
        path = fl.regularization_path(X, y, CATEGORICAL, n_alphas=5, max_iter=1)
    assert len(caught) == 1
    assert not path.success


X, Y = data("squared")
WRONG = {
    "l1_ratio": [0, -0.5, 1.5, np.nan, "a", None, True, [0.5]],
    "n_alphas": [0, -3, 2.5, "5", None, True],
    "eps": [0, 1, 2.0, -1, np.nan, "a", None],
    "alphas": [[], [np.nan], [np.inf], [0.1, -0.1], [[0.1]], 0.1, "a", ["a"], [1j]],
    "weights": [-np.ones(P), np.full(P, np.nan), np.ones((P, 1)), "a", ["a"] * P],
    "positive": [1, None, "yes"],
    "standardize": [1, None, "yes"],
    "fit_intercept": [1, None, "yes"],
    "solver": ["newton", "Fista", None, 3],
    "tol": [-1e-6, np.nan, np.inf, "a", None, True],
    "max_iter": [-1, 1.5, "a", True],
    "n_threads": [0, -1, 1.5, "a"],
    "sample_weight": [np.ones(3), -np.ones(N), np.zeros(N), np.full(N, np.nan), "a"],
    "offset": [np.ones(3), np.full(N, np.inf), "a"],
    "X": [None, X.tolist(), X.astype(int), X[0], X[:, :0], X[:0], sparse.coo_array(X), X[:, ::2]],
    "y": [None, Y[:5], np.full(N, np.nan), Y[:, np.newaxis], "a"],
    "loss": [None, "squared", fl.SquaredError, np.square],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_wrong_arguments_are_refused_by_name(name, value):
    arguments = {"X": X, "y": Y, "loss": fl.SquaredError(), name: value}
    with pytest.raises((TypeError, ValueError), match=rf"^{name} must"):
        fl.regularization_path(**arguments)


def test_weights_of_another_length():
    with pytest.raises(ValueError, match="one weight for each of 12 features, got 2"):
        fl.regularization_path(X, Y, fl.SquaredError(), weights=[1, 2])


@pytest.mark.parametrize("loss", [fl.AbsoluteError(), fl.Quantile(0.3)], ids=repr)
@pytest.mark.parametrize("solver", ["auto", "prox_newton", "gram_newton", "fista"])
def test_a_loss_without_a_gradient_everywhere(loss, solver):
    with pytest.raises(TypeError, match=r"needs a loss with.*continuous gradient"):
        fl.regularization_path(X, Y, loss, solver=solver)


def test_a_loss_that_does_not_take_every_number():
    with pytest.raises(ValueError, match="linear model wants a loss of any real number"):
        fl.regularization_path(X, Y > 0, fl.BinaryCrossEntropy())


@pytest.mark.parametrize("solver", ["prox_newton", "gram_newton"])
def test_a_loss_without_a_continuous_gradient(solver):
    with pytest.raises(TypeError, match=f"{solver} needs a loss with a continuous gradient"):
        fl.regularization_path(X, Y, fl.AbsoluteError(), solver=solver, alphas=[0.1])


TOO_WIDE = np.resize(X, (N, 2001))


@pytest.mark.parametrize("X", [sparse.csr_array(X), sparse.csc_array(X), TOO_WIDE], ids=["CSR", "CSC", "wide"])
def test_what_gram_newton_cannot_take(X):
    with pytest.raises(TypeError, match="gram_newton needs a dense X and at most 2000 coefficients"):
        fl.regularization_path(X, Y, fl.SquaredError(), solver="gram_newton", n_alphas=1)


def test_where_no_strength_can_be_found():
    """Nothing to explain; nothing that costs; numbers that are none; coefficients free to rise."""
    refused = pytest.raises(ValueError, match="alphas must be given")
    with refused:
        fl.regularization_path(X, np.ones(N), fl.SquaredError())
    with refused:
        fl.regularization_path(X, Y, fl.SquaredError(), weights=np.zeros(P))
    with refused:
        fl.regularization_path(np.where(np.arange(P) == 3, np.nan, X), Y, fl.SquaredError())
    with pytest.raises(ValueError, match="weights > 0 where coefficients must be positive"):
        fl.regularization_path(X, Y, fl.SquaredError(), weights=FREE, positive=True)
    # With strengths there are models of all of them but where X is not finite.
    for options in ({"weights": np.zeros(P)}, {"weights": FREE, "positive": True}):
        assert fl.regularization_path(X, Y, fl.SquaredError(), alphas=[0.1, 0.01], **options).success
