"""The estimators: scikit-learn's own checks, the same models as scikit-learn's, and what is ours alone."""

import contextlib
import pickle
import warnings

import numpy as np
import pytest
from scipy import sparse

theirs = pytest.importorskip("sklearn.linear_model")
ours = pytest.importorskip("fastloss.linear_model")
joblib = pytest.importorskip("joblib")
datasets = pytest.importorskip("sklearn.datasets")
selection = pytest.importorskip("sklearn.model_selection")
clone = pytest.importorskip("sklearn.base").clone
CalibratedClassifierCV = pytest.importorskip("sklearn.calibration").CalibratedClassifierCV
ConvergenceWarning = pytest.importorskip("sklearn.exceptions").ConvergenceWarning
make_pipeline = pytest.importorskip("sklearn.pipeline").make_pipeline
StandardScaler = pytest.importorskip("sklearn.preprocessing").StandardScaler
compute_sample_weight = pytest.importorskip("sklearn.utils.class_weight").compute_sample_weight
checks = pytest.importorskip("sklearn.utils.estimator_checks")

LOGISTIC_CV = {"l1_ratios": (0.0,), "use_legacy_attributes": False, "scoring": "accuracy", "Cs": 3, "cv": 3}
CHECKED = [
    ours.Lasso(),
    ours.ElasticNet(),
    ours.ElasticNet(positive=True),
    ours.LogisticRegression(),
    ours.LogisticRegression(l1_ratio=0.5),
    ours.HuberRegressor(),
    ours.HuberRegressor(l1_ratio=0.5),
    ours.PoissonRegressor(),
    ours.PoissonRegressor(l1_ratio=0.5),
    ours.LassoCV(cv=3, alphas=10),
    ours.ElasticNetCV(cv=3, alphas=10),
    ours.LogisticRegressionCV(**LOGISTIC_CV),
    ours.LossRegressor(alpha=0.1),
]


@pytest.mark.parametrize("estimator", CHECKED, ids=repr)
def test_scikit_learns_checks(estimator):
    """All of them, with no expected failures."""
    failed, count = [], 0
    for model, check in checks.estimator_checks_generator(estimator):
        count += 1
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                check(model)
        except pytest.skip.Exception:
            pass
        except Exception as error:
            if type(error).__name__ != "SkipTest":
                failed.append((getattr(check, "func", check).__name__, repr(error)[:300]))
    assert not failed
    assert count > 50


def data_sets():
    X, y = datasets.load_diabetes(return_X_y=True)
    yield "diabetes", X, y
    X, y = datasets.make_regression(80, 200, n_informative=15, noise=3, bias=40, random_state=0)
    yield "wide", X, y
    X, y = datasets.make_regression(1500, 12, noise=20, bias=-7, random_state=1)
    yield "tall", X + 3, y


REGRESSION = list(data_sets())
regression = pytest.mark.parametrize(
    ("X", "y"), [data[1:] for data in REGRESSION], ids=[data[0] for data in REGRESSION]
)


def close(mine, other, tolerance=1e-6):
    scale = np.abs(other).max()
    np.testing.assert_allclose(mine, other, atol=tolerance * scale, rtol=0)


def least_squares(model, X, y, weight=None):
    weight = np.ones(len(y)) if weight is None else weight
    r = y - X @ model.coef_ - model.intercept_
    ratio = getattr(model, "l1_ratio", 1.0)
    w = model.coef_
    penalty = model.alpha * (ratio * np.abs(w).sum() + (1 - ratio) / 2 * w @ w)
    return weight @ (r * r) / (2 * weight.sum()) + penalty


@regression
@pytest.mark.parametrize(
    "parameters",
    [
        {"alpha": 1.0},
        {"alpha": 0.05, "l1_ratio": 0.9},
        {"alpha": 0.3, "l1_ratio": 0.1, "positive": True},
        {"alpha": 0.2, "fit_intercept": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("weighted", [False, True])
def test_elastic_net_is_the_same_model(X, y, parameters, weighted):
    weight = np.random.default_rng(0).integers(0, 3, len(y)).astype(float) if weighted else None
    tight = theirs.ElasticNet(tol=1e-13, max_iter=1_000_000, **parameters).fit(X, y, weight)
    mine = ours.ElasticNet(tol=1e-9, **parameters).fit(X, y, weight)
    close(mine.coef_, tight.coef_)
    assert mine.intercept_ == pytest.approx(tight.intercept_, rel=1e-6, abs=1e-6)
    default, loose = ours.ElasticNet(**parameters).fit(X, y, weight), theirs.ElasticNet(**parameters).fit(X, y, weight)
    least = least_squares(tight, X, y, weight)
    assert least_squares(default, X, y, weight) <= least_squares(loose, X, y, weight) + 1e-10 * least
    assert 0 <= least_squares(default, X, y, weight) - least + 1e-11 * least <= default.dual_gap_ + 2e-11 * least


@regression
@pytest.mark.parametrize("alpha", [3.0, 0.1])
def test_lasso_is_the_same_model(X, y, alpha):
    tight = theirs.Lasso(alpha=alpha, tol=1e-13, max_iter=1_000_000).fit(X, y)
    for layout in (np.ascontiguousarray, np.asfortranarray, sparse.csr_array, sparse.csc_matrix):
        close(ours.Lasso(alpha=alpha, tol=1e-9).fit(layout(X), y).coef_, tight.coef_)


def binary():
    X, y = datasets.load_breast_cancer(return_X_y=True)
    return StandardScaler().fit_transform(X), y


def digits():
    X, y = datasets.load_digits(return_X_y=True)
    return X[:600] / 16, y[:600]


def log_loss(model, X, y):
    """The objective: C times the sum over samples, and the penalty."""
    own = model.predict_proba(X)[np.arange(len(y)), np.searchsorted(model.classes_, y)]
    weight = compute_sample_weight(model.class_weight, y)
    ratio, w = model.l1_ratio or 0.0, model.coef_
    return -model.C * weight @ np.log(own) + ratio * np.abs(w).sum() + (1 - ratio) / 2 * (w**2).sum()


@pytest.mark.parametrize("data", [binary, digits])
@pytest.mark.parametrize(
    "parameters", [{"C": 1.0}, {"C": 0.05, "class_weight": "balanced"}, {"C": 0.3, "fit_intercept": False}], ids=str
)
def test_ridge_logistic_regression_is_the_same_model(data, parameters):
    X, y = data()
    tight = theirs.LogisticRegression(tol=1e-12, max_iter=10_000, solver="newton-cholesky", **parameters).fit(X, y)
    mine = ours.LogisticRegression(tol=1e-13, max_iter=1000, **parameters).fit(X, y)
    close(mine.coef_, tight.coef_)
    np.testing.assert_allclose(mine.predict_proba(X), tight.predict_proba(X), atol=1e-6)
    default, loose = ours.LogisticRegression(**parameters).fit(X, y), theirs.LogisticRegression(**parameters).fit(X, y)
    assert log_loss(default, X, y) <= log_loss(loose, X, y) + 1e-10 * log_loss(tight, X, y)


@pytest.mark.parametrize("data", [binary, digits])
@pytest.mark.parametrize("ratio", [1.0, 0.4])
def test_sparse_logistic_regression_is_the_same_model(data, ratio):
    X, y = data()
    X, y = X[:200], y[:200]
    parameters = {"C": 0.2, "l1_ratio": ratio}
    tight = theirs.LogisticRegression(tol=1e-10, max_iter=300_000, solver="saga", **parameters).fit(X, y)
    for Z in (X, sparse.csr_array(X)):
        mine = ours.LogisticRegression(tol=1e-9, **parameters).fit(Z, y)
        close(mine.coef_, tight.coef_)
        np.testing.assert_array_equal(mine.coef_ == 0, np.abs(tight.coef_) < 1e-12)
    default = ours.LogisticRegression(**parameters).fit(X, y)
    loose = theirs.LogisticRegression(solver="saga", max_iter=10_000, **parameters).fit(X, y)
    assert log_loss(default, X, y) <= log_loss(loose, X, y) + 1e-10 * log_loss(tight, X, y)


def huber_objective(model, X, y):
    r, s, e = np.abs(y - X @ model.coef_ - model.intercept_), model.scale_, model.epsilon
    terms = np.where(r <= e * s, r * r / s, 2 * e * r - e * e * s)
    return float((s + terms).sum() + model.alpha * model.coef_ @ model.coef_)


@pytest.mark.parametrize("alpha", [1e-4, 1.0])
@pytest.mark.parametrize("epsilon", [1.1, 1.35, 3.0])
def test_huber_is_the_same_model(alpha, epsilon):
    X, y = datasets.make_regression(200, 20, noise=5, random_state=0, bias=50)
    y[:20] += 500
    tight = theirs.HuberRegressor(alpha=alpha, epsilon=epsilon, tol=1e-10, max_iter=100_000, warm_start=True)
    with contextlib.suppress(ValueError):  # it ends long before its tolerance, and in the end finds nothing lower
        for _ in range(30):
            tight.fit(X, y)
    mine = ours.HuberRegressor(alpha=alpha, epsilon=epsilon).fit(X, y)
    close(mine.coef_, tight.coef_)
    assert huber_objective(mine, X, y) <= huber_objective(tight, X, y) * (1 + 1e-13)
    assert mine.scale_ == pytest.approx(tight.scale_, rel=1e-6)
    np.testing.assert_array_equal(mine.outliers_, tight.outliers_)


ALPHA = 20.0


def test_huber_with_l1_is_at_its_minimum():
    X, y = datasets.make_regression(150, 30, n_informative=5, noise=5, random_state=0)
    y[::10] -= 300
    model = ours.HuberRegressor(alpha=ALPHA, l1_ratio=1.0).fit(X, y)
    assert 0 < np.count_nonzero(model.coef_) < 30

    def objective(w, b, s):
        r = np.abs(y - X @ w - b)
        terms = np.where(r <= 1.35 * s, r * r / s, 2 * 1.35 * r - 1.35**2 * s)
        return (s + terms).sum() + ALPHA * np.abs(w).sum()

    least, rng = objective(model.coef_, model.intercept_, model.scale_), np.random.default_rng(0)
    for _ in range(200):
        step = rng.normal(size=32) * rng.choice([1e-3, 1e-1, 1])
        near = objective(model.coef_ + step[:30], model.intercept_ + step[30], model.scale_ * np.exp(step[31] / 10))
        assert near >= least * (1 - 1e-12)


def test_huber_of_a_perfect_fit():
    X = np.random.default_rng(0).normal(size=(30, 3))
    model = ours.HuberRegressor().fit(X, X @ [1.0, 2.0, 3.0] + 4)
    np.testing.assert_allclose(model.coef_, [1, 2, 3], rtol=1e-5)
    assert model.intercept_ == pytest.approx(4, rel=1e-5)


@pytest.mark.parametrize("alpha", [0.01, 1.0])
def test_poisson_is_the_same_model(alpha):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 8))
    y = rng.poisson(np.exp(X[:, 0] * 0.4 - X[:, 1] * 0.2 + 1))
    tight = theirs.PoissonRegressor(alpha=alpha, tol=1e-12, max_iter=10_000, solver="newton-cholesky").fit(X, y)
    mine = ours.PoissonRegressor(alpha=alpha, tol=1e-8).fit(X, y)
    close(mine.coef_, tight.coef_)
    assert mine.score(X, y) == pytest.approx(tight.score(X, y), rel=1e-9)

    def objective(model):
        z = X @ model.coef_ + model.intercept_
        return (np.exp(z) - y * z).mean() + alpha / 2 * model.coef_ @ model.coef_

    default, loose = (theirs_or_ours.PoissonRegressor(alpha=alpha).fit(X, y) for theirs_or_ours in (ours, theirs))
    assert objective(default) <= objective(loose) + 1e-12
    few = ours.PoissonRegressor(alpha=0.2, l1_ratio=1.0).fit(X, y)
    assert 0 < np.count_nonzero(few.coef_) < 8


FOLDS = [
    selection.KFold(5),
    selection.KFold(4, shuffle=True, random_state=0),
    selection.ShuffleSplit(3, test_size=0.3, random_state=0),
]


@regression
@pytest.mark.parametrize("cv", FOLDS, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_lasso_cv_chooses_the_same(X, y, cv, weighted):
    weight = np.random.default_rng(0).integers(1, 4, len(y)).astype(float) if weighted else None
    options = {"cv": cv, "alphas": 30, "eps": 1e-2}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        tight = theirs.LassoCV(tol=1e-9, max_iter=100_000, **options).fit(X, y, sample_weight=weight)
    mine = ours.LassoCV(tol=1e-6, **options).fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(mine.alphas_, tight.alphas_, rtol=1e-9)
    np.testing.assert_allclose(mine.mse_path_, tight.mse_path_, rtol=2e-3)
    assert mine.alpha_ == pytest.approx(tight.alpha_, rel=1e-9)
    close(mine.coef_, tight.coef_, 1e-4)
    for layout in (sparse.csr_array, np.asfortranarray):
        again = ours.LassoCV(tol=1e-6, n_jobs=2, **options).fit(layout(X), y, sample_weight=weight)
        np.testing.assert_allclose(again.mse_path_, mine.mse_path_, rtol=1e-4)


@pytest.mark.parametrize(
    "model", [ours.LassoCV(alphas=30), ours.ElasticNetCV(alphas=10, l1_ratio=[0.3, 0.9])], ids=["lasso", "elastic net"]
)
@regression
def test_jobs_change_no_bit(model, X, y):
    one, two = (clone(model).set_params(n_jobs=n).fit(X, y) for n in (1, 2))
    np.testing.assert_array_equal(one.coef_, two.coef_)
    np.testing.assert_array_equal(one.mse_path_, two.mse_path_)


def test_elastic_net_cv_chooses_the_same():
    X, y = REGRESSION[2][1:]
    options = {"l1_ratio": [0.2, 0.7, 1.0], "alphas": 20, "cv": 4}
    tight, mine = theirs.ElasticNetCV(tol=1e-9, **options).fit(X, y), ours.ElasticNetCV(**options).fit(X, y)
    assert (mine.alpha_, mine.l1_ratio_) == (pytest.approx(tight.alpha_), tight.l1_ratio_)
    assert mine.mse_path_.shape == tight.mse_path_.shape
    assert mine.alphas_.shape == tight.alphas_.shape
    np.testing.assert_allclose(mine.mse_path_, tight.mse_path_, rtol=1e-3)


@regression
@pytest.mark.parametrize(("name", "ratio"), [("LassoCV", {}), ("ElasticNetCV", {"l1_ratio": [0.5, 0.9]})])
def test_what_cross_validation_chose_is_the_same_model(X, y, name, ratio):
    options = {"cv": 5, "alphas": 30, "eps": 1e-2, **ratio}
    tight = getattr(theirs, name)(tol=1e-13, max_iter=1_000_000, **options).fit(X, y)
    close(getattr(ours, name)(tol=1e-10, **options).fit(X, y).coef_, tight.coef_)


@pytest.mark.parametrize(("data", "tol"), [(binary, 1e-9), (digits, 1e-12)])
def test_logistic_regression_that_was_chosen_is_the_same_model(data, tol):
    X, y = data()
    X, y = X[:300], y[:300]
    options = {"Cs": [0.01, 0.1, 1.0], "cv": 3, "l1_ratios": (0.0,), "use_legacy_attributes": False}
    options["scoring"] = "neg_log_loss"
    tight = theirs.LogisticRegressionCV(tol=1e-12, max_iter=10_000, solver="newton-cholesky", **options).fit(X, y)
    mine = ours.LogisticRegressionCV(tol=tol, **options).fit(X, y)
    close(mine.coef_, tight.coef_)
    np.testing.assert_allclose(mine.scores_, tight.scores_, atol=1e-5)


@pytest.mark.parametrize(
    "model", [ours.Lasso(0.1), ours.LassoCV(alphas=5), ours.HuberRegressor(), ours.LogisticRegression(l1_ratio=1.0)]
)
def test_constant_features_change_nothing(model):
    X, y = binary()
    X = X[:, :5]
    X_constant = np.column_stack([X, np.full(len(X), 3.0)])
    with_it, without = clone(model).fit(X_constant, y), clone(model).fit(X, y)
    np.testing.assert_allclose(with_it.coef_[..., :5], without.coef_, atol=1e-4)
    np.testing.assert_allclose(with_it.coef_[..., 5], 0, atol=1e-6)


def test_one_standard_error():
    X, y = REGRESSION[1][1:]
    least, model = ours.LassoCV().fit(X, y), ours.LassoCV(one_standard_error=True).fit(X, y)
    mean = least.mse_path_.mean(axis=1)
    best = mean.argmin()
    error = least.mse_path_[best].std(ddof=1) / np.sqrt(5)
    assert model.alpha_ == least.alphas_[np.flatnonzero(mean <= mean[best] + error)[0]] > least.alpha_


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_partial_fit_is_a_fit_to_all(weighted, container):
    X, y = REGRESSION[2][1:]
    weight = np.random.default_rng(0).integers(0, 3, len(y)).astype(float) if weighted else None
    whole, parts = ours.Lasso(alpha=2.0, tol=1e-9).fit(X, y, weight), ours.Lasso(alpha=2.0, tol=1e-9)
    for rows in (slice(0, 1), slice(1, 700), slice(700, None)):
        parts.partial_fit(container(X[rows]), y[rows], None if weight is None else weight[rows])
    close(parts.coef_, whole.coef_, 1e-7)
    assert parts.intercept_ == pytest.approx(whole.intercept_, rel=1e-9)
    parts.fit(X[:50], y[:50])
    close(parts.coef_, ours.Lasso(alpha=2.0, tol=1e-9).fit(X[:50], y[:50]).coef_)


@pytest.mark.parametrize("data", [binary, digits])
@pytest.mark.parametrize("scoring", ["neg_log_loss", "accuracy"])
@pytest.mark.parametrize("legacy", [True, False])
def test_logistic_cv_chooses_the_same(data, scoring, legacy):
    X, y = data()
    X, y = X[:300], y[:300]
    options = {
        "Cs": [0.01, 0.1, 1.0],
        "cv": 3,
        "l1_ratios": (0.0,),
        "scoring": scoring,
        "use_legacy_attributes": legacy,
    }
    tight = theirs.LogisticRegressionCV(tol=1e-7, max_iter=10_000, **options).fit(X, y)
    mine = ours.LogisticRegressionCV(**options).fit(X, y)
    np.testing.assert_array_equal(mine.C_, tight.C_)
    np.testing.assert_array_equal(mine.l1_ratio_, tight.l1_ratio_)
    close(mine.coef_, tight.coef_, 2e-2)
    if legacy:
        assert list(mine.scores_) == list(tight.scores_)
        for label in tight.scores_:
            np.testing.assert_allclose(mine.scores_[label], tight.scores_[label], atol=0.011)
            assert mine.coefs_paths_[label].shape == tight.coefs_paths_[label].shape
    else:
        np.testing.assert_allclose(mine.scores_, tight.scores_, atol=0.011)
        assert mine.coefs_paths_.shape == tight.coefs_paths_.shape
    assert mine.n_iter_.shape == tight.n_iter_.shape
    assert mine.score(X, y) == pytest.approx(tight.score(X, y), abs=0.02)


def test_a_rare_class_missing_from_a_fold():
    X, y = digits()
    y = np.where(y == 9, np.where(np.arange(len(y)) < 40, 9, 0), y)
    folds = [(np.arange(100, 600), np.arange(100)), (np.arange(500), np.arange(500, 600))]
    model = ours.LogisticRegressionCV(Cs=[0.1], cv=folds, l1_ratios=(1.0,), scoring="accuracy").fit(X, y)
    assert np.isfinite(model.coef_).all()
    assert model.coef_.shape == (10, 64)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("container", [np.ascontiguousarray, np.asfortranarray, sparse.csr_array, sparse.csc_array])
@pytest.mark.parametrize("weighted", [False, True])
def test_dtypes_layouts_and_weights(dtype, container, weighted):
    """Where every peer breaks somewhere: weights x sparse x float32, for every estimator."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 6)) * (rng.random((120, 6)) < 0.6)
    z = X[:, 0] - X[:, 1] + 0.3 * rng.normal(size=120)
    weight = rng.integers(0, 3, 120).astype(float) if weighted else None
    targets = {
        ours.Lasso(0.01): z,
        ours.ElasticNet(0.01): z,
        ours.LassoCV(alphas=5): z,
        ours.HuberRegressor(): z,
        ours.PoissonRegressor(alpha=0.1): rng.poisson(np.exp(z)),
        ours.LogisticRegression(l1_ratio=1.0): z > 0,
        ours.LogisticRegression(): np.digitize(z, [-0.5, 0.5]),
        ours.LogisticRegressionCV(**LOGISTIC_CV): z > 0,
    }
    for model, y in targets.items():
        expected = clone(model).fit(X, y, sample_weight=weight)
        fitted = model.fit(container(X.astype(dtype)), y, sample_weight=weight)
        np.testing.assert_allclose(fitted.coef_, expected.coef_, atol=2e-2 if dtype == np.float32 else 1e-4)
        assert fitted.coef_.dtype == dtype or "CV" in repr(model)


def test_in_scikit_learns_tools():
    X, y = binary()
    grid = selection.GridSearchCV(
        make_pipeline(StandardScaler(with_mean=False), ours.LogisticRegression(l1_ratio=1.0)),
        {"logisticregression__C": [0.01, 1.0]},
    )
    assert grid.fit(sparse.csr_array(X), y).best_score_ > 0.95
    calibrated = CalibratedClassifierCV(ours.LogisticRegression(), cv=3).fit(X, y)
    assert calibrated.score(X, y) > 0.95
    X, y = REGRESSION[0][1:]
    scores = selection.cross_val_score(ours.LassoCV(), X, y, n_jobs=2)
    np.testing.assert_allclose(scores, selection.cross_val_score(theirs.LassoCV(), X, y), atol=1e-3)
    model = ours.Lasso(0.1).fit(X, y)
    for again in (
        pickle.loads(pickle.dumps(model)),
        clone(model).fit(X, y),
        joblib.Parallel(2)([joblib.delayed(model.fit)(X, y)])[0],
    ):
        np.testing.assert_array_equal(again.coef_, model.coef_)


def test_pandas_and_names():
    pandas = pytest.importorskip("pandas")
    X, y = datasets.load_diabetes(return_X_y=True, as_frame=True)
    model = ours.LassoCV(alphas=5).fit(X, y)
    np.testing.assert_array_equal(model.feature_names_in_, X.columns)
    scaled = StandardScaler().set_output(transform="pandas")
    assert isinstance(make_pipeline(scaled, model).fit(X, y)[:-1].transform(X), pandas.DataFrame)


def test_warm_starts():
    X, y = binary()
    model = ours.LogisticRegression(C=0.05, l1_ratio=1.0, warm_start=True).fit(X, y)
    coef = model.coef_
    np.testing.assert_allclose(model.fit(X, y).coef_, coef, atol=1e-4)
    assert model.n_iter_[0] <= 2


@pytest.mark.parametrize("name", sorted({*ours.__all__} - {"LossRegressor"}))
def test_the_parameters_are_scikit_learns(name):
    mine, other = getattr(ours, name), getattr(theirs, name)
    assert issubclass(mine, other)
    parameters = mine().get_params()
    assert set(other().get_params()) <= set(parameters)
    assert all(parameters[key] is value or parameters[key] == value for key, value in other().get_params().items())
    assert mine.__doc__ != other.__doc__


@pytest.mark.parametrize("name", ours.__all__)
@pytest.mark.parametrize("what", ["X", "y", "weight", "length", "class"])
def test_bad_input_is_refused(name, what):
    X, y = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2.0
    weight, model = np.ones(40), getattr(ours, name)()
    if what == "X":
        X[3, 1] = np.nan
    elif what == "y":
        y[3] = np.inf
    elif what == "weight":
        weight[2] = -1
    elif what == "length":
        y = y[:-1]
    else:
        y[:] = 1
        if "Logistic" not in name:
            model.set_params(**{"tol": "much"})
    if name == "LogisticRegressionCV":
        model.set_params(**LOGISTIC_CV)
    with pytest.raises(ValueError, match=r"NaN|infinity|[Nn]egative|inconsistent|class|tol"):
        model.fit(X, y, sample_weight=weight)


def test_labels_of_any_type():
    X, y = binary()
    names = np.array(["no", "yes"])[y]
    model = ours.LogisticRegression().fit(X, names)
    np.testing.assert_array_equal(model.classes_, ["no", "yes"])
    assert set(model.predict(X)) == {"no", "yes"}
    np.testing.assert_array_equal(model.coef_, ours.LogisticRegression().fit(X, y).coef_)


def test_fewer_samples_than_folds():
    with pytest.raises(ValueError, match="n_splits"):
        ours.LassoCV().fit(np.eye(3), [1.0, 2.0, 3.0])


def test_a_warning_where_it_did_not_converge():
    X, y = digits()
    with pytest.warns(ConvergenceWarning, match="ended early"):
        ours.LogisticRegression(C=1e4, max_iter=2).fit(X, y)


def test_X_is_not_changed():
    X, y = REGRESSION[0][1:]
    X, y = X.copy(), y.copy()
    X.flags.writeable = y.flags.writeable = False
    for model in (ours.Lasso(), ours.LassoCV(alphas=3), ours.HuberRegressor()):
        model.fit(X, y)


def test_a_regressor_of_any_loss():
    import fastloss as fl

    X, y = datasets.load_diabetes(return_X_y=True)
    y = y / y.std()
    lasso = ours.Lasso(alpha=0.05, tol=1e-8).fit(X, y)
    same = ours.LossRegressor(alpha=0.1, tol=1e-10).fit(X, y)  # its loss is not halved
    np.testing.assert_allclose(same.coef_, lasso.coef_, rtol=1e-6, atol=1e-6)
    assert same.dual_gap_ <= 1e-10 * (y**2).mean()
    huber = ours.LossRegressor(fl.Huber(0.5), alpha=0.01, l1_ratio=0.5)
    assert -huber.fit(X, y).score(X, y) == pytest.approx(fl.Huber(0.5)(y, huber.predict(X)), rel=1e-14)
    again = pickle.loads(pickle.dumps(clone(huber).fit(X, y)))
    np.testing.assert_array_equal(again.coef_, huber.coef_)
    with pytest.raises(TypeError, match="loss must be of one output"):
        ours.LossRegressor(fl.CategoricalCrossEntropy(from_logits=True)).fit(X, y)


def test_a_regressor_of_a_loss_of_the_users_own():
    import fastloss as fl

    pytest.importorskip("numba", reason="custom_loss needs Numba")
    X, y = datasets.load_diabetes(return_X_y=True)
    y = y / y.std()

    @fl.custom_loss
    def squares(y, z):
        return (z - y) ** 2, 2 * (z - y)

    model = ours.LossRegressor(squares, alpha=0.1, tol=1e-9)
    np.testing.assert_allclose(model.fit(X, y).coef_, ours.Lasso(alpha=0.05).fit(X, y).coef_, atol=1e-5)
    search = selection.GridSearchCV(model, {"alpha": [0.01, 0.1], "loss": [squares, fl.Huber(0.5)]}, cv=3, n_jobs=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # loky's own
        assert search.fit(X, y).best_score_ > -1
