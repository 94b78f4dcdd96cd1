"""Duality gaps and the path's start: the certificates of a solution."""

import numpy as np
import pytest
from problems import PENALISED, SETTINGS, SMOOTH, Problem, bits
from scipy import optimize

import fastloss as fl

CERTIFIED = [case for case in SMOOTH if Problem.draw(case, PENALISED[0]).objective().has_duality_gap]
certified = pytest.mark.parametrize("case", CERTIFIED, ids=str)
penalised = pytest.mark.parametrize("setting", PENALISED, ids=str)
LOGISTIC = fl.BinaryCrossEntropy(from_logits=True)
UNPENALISED = [setting for setting in SETTINGS if setting.penalty is None]


def test_the_losses_with_a_gap():
    assert {"SquaredError", "Huber", "BinaryCrossEntropy", "Poisson"} <= {case.name for case in CERTIFIED}


@certified
@penalised
def test_the_gap_bounds_the_distance_to_the_minimum(case, setting):
    objective = Problem.draw(case, setting, n=80, p=5).objective()
    solution = fl.minimize(objective, tol=1e-9)
    scale = 1 + abs(solution.fun)
    assert -1e-12 * scale <= objective.duality_gap(solution.x) <= 1e-9 * objective.value(np.zeros(objective.size))
    for seed in range(12):
        # From next to the solution to far away from it; zeros too, where the dual point of L1 is scaled most.
        direction = np.random.default_rng(seed).normal(size=objective.size)
        w = solution.x + 10.0 ** (seed % 6 - 4) * direction if seed else np.zeros(objective.size)
        gap = objective.duality_gap(w)
        assert gap >= objective.objective(w) - solution.fun - 1e-12 * (1 + abs(objective.objective(w)))
        assert gap >= -1e-12 * scale


WITH_INTERCEPT = [setting for setting in PENALISED if setting.intercept]


@certified
@pytest.mark.parametrize("setting", WITH_INTERCEPT, ids=str)
def test_a_gap_by_the_second_derivatives_of_another_point(case, setting):
    """What saves a pass over X is a bound as well, and about as good; or it is not known."""
    objective = Problem.draw(case, setting, n=80, p=5).objective()
    solution = fl.minimize(objective, tol=1e-9)
    known = 0
    for seed in range(24):
        direction = np.random.default_rng(seed).normal(size=(2, objective.size))
        w, other = solution.x + 10.0 ** (seed % 6 - 6) * direction
        point = objective.point(w)
        gap = objective.gap_by(point, objective.balance_at(objective.predict(other)))
        assert gap >= objective.objective(w) - solution.fun - 1e-12 * (1 + abs(solution.fun))
        known += gap <= 10 * objective.duality_gap(w) + 1e-9
    if case.name != "Huber":
        assert known == 24
    elif case.make().delta >= 1:  # samples come and go where it is linear; a small delta makes it so almost everywhere
        assert known >= 15


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("delta", [0.01, 0.3])
def test_a_gap_with_free_features_where_few_samples_curve(delta, weighted, intercept):
    """Second derivatives say too little there to balance the features that cost nothing."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        n, p = int(rng.integers(4, 40)), int(rng.integers(2, 10))
        X = rng.normal(size=(n, p))
        y = X @ rng.normal(size=p) + rng.standard_t(2, size=n)
        weight = rng.integers(0, 3, n) + (np.arange(n) == 0) if weighted else None
        penalty = fl.L1(0.01, (np.arange(p) % 3 > 0).astype(float))
        objective = fl.LinearObjective(X, y, fl.Huber(delta), penalty, sample_weight=weight, fit_intercept=intercept)
        solution = fl.minimize(objective, solver="fista", tol=1e-8, max_iter=100_000)
        assert 0 <= solution.duality_gap + 1e-12 <= 1e-8 * objective.gap_unit + 1e-12
        for size in (1e-4, 1e-2, 1.0, 30.0):
            w = solution.x + size * rng.normal(size=objective.size)
            assert objective.duality_gap(w) >= objective.objective(w) - solution.fun - 1e-12


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", [fl.SquaredError(), fl.Huber(0.5), LOGISTIC, fl.Poisson()], ids=repr)
def test_a_gap_with_free_features_that_are_all_but_one(loss, weighted, intercept):
    """Measured by the same problem with free features that are orthogonal."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        n, p = 80, 5
        X = rng.normal(size=(n, p))
        X[:, 1] = X[:, 0] + 10.0 ** -(seed % 3 + 1) * X[:, 1]
        X = np.asfortranarray(X * 10.0 ** rng.uniform(-2, 2, p) + 50 * (seed % 2))
        z = (X - X.mean(axis=0)) / X.std(axis=0) @ rng.normal(size=p)
        y = rng.poisson(np.exp(np.clip(z, -3, 3))).astype(float)
        if loss == LOGISTIC:
            y = np.minimum(y, 1)
        s, scale = rng.integers(0, 3, n).astype(float) if weighted else None, X[:, 2:].std(axis=0)
        weights = np.append([0, 0], scale)
        objective = fl.LinearObjective(X, y, loss, fl.L1(0.01, weights), sample_weight=s, fit_intercept=intercept)
        A = np.column_stack([X[:, :2], np.ones((n, int(intercept)))])
        U = np.linalg.svd(A / np.linalg.norm(A, axis=0), full_matrices=False)[0] * np.sqrt(n)
        same = np.column_stack([U, (X[:, 2:] - U @ (U.T @ X[:, 2:]) / n) / scale])
        penalty = fl.L1(0.01, np.append(np.zeros(U.shape[1]), np.ones(p - 2)))
        easy = fl.LinearObjective(same, y, loss, penalty, sample_weight=s, fit_intercept=False)
        least = fl.minimize(easy, tol=1e-10, solver="prox_newton")
        assert least.success
        before, unit = X.copy(), objective.gap_unit
        solution = fl.minimize(objective, tol=1e-5)
        for k in range(8):
            x = solution.x * (1 + 10.0 ** -(k + 1) * rng.normal(size=objective.size) * (k > 0))
            gap = objective.duality_gap(x)
            assert gap >= objective.objective(x) - least.fun - 1e-8 * unit
        # And next to nothing at the minimum: the same predictions by the features that there are.
        c = least.x[U.shape[1] :] / scale
        free = np.linalg.lstsq(A / np.linalg.norm(A, axis=0), same @ least.x - X[:, 2:] @ c, rcond=None)[0]
        free /= np.linalg.norm(A, axis=0)
        assert -1e-9 * unit <= objective.duality_gap(np.concatenate([free[:2], c, free[2:]])) <= 1e-6 * unit
        np.testing.assert_array_equal(X, before)


@certified
@pytest.mark.parametrize("weighted", [False, True])
def test_the_sum_of_conjugates_is_that_of_each(case, weighted):
    loss, y = case.make(), case.sample(20_001)[0]
    weight = np.random.default_rng(1).uniform(0.1, 3, len(y)) if weighted else None
    s = np.ones(len(y)) if weight is None else weight
    for size in (0.0, 1.0, 30.0):  # at the ends of the domain too
        z = size * np.random.default_rng(2).normal(size=len(y))
        u = loss.value_and_grad(y, z, weight, reduction="sum")[1]
        found = [loss._sum_of_conjugates(y, u, weight, k) for k in (1, 2, 3)]
        assert len(set(found)) == 1
        assert found[0] == pytest.approx(float(s @ loss.conjugate(y, u / s)), rel=1e-12, abs=1e-9)
        beyond = np.where(np.arange(len(y)) == 20_000, -1e3 * s, u)
        assert loss._sum_of_conjugates(y, beyond, weight, 2) == pytest.approx(float(s @ loss.conjugate(y, beyond / s)))


@certified
@penalised
def test_the_gap_closes_in_float32(case, setting):
    objective = Problem.draw(case, setting, n=80, p=5, dtype=np.float32).objective()
    solution = fl.minimize(objective, tol=2e-5)
    assert -1e-6 <= solution.duality_gap <= 2e-5 * max(1.0, objective.value(np.zeros(objective.size)))
    for seed in range(5):
        w = np.random.default_rng(seed).normal(size=objective.size)
        assert objective.duality_gap(w) >= (objective.objective(w) - solution.fun) * (1 - 1e-5) - 2e-5


@certified
@penalised
def test_the_gap_is_identical_for_any_number_of_threads(case, setting):
    problem = Problem.draw(case, setting, n=4001, p=11)
    w = problem.point()
    found = [(problem.objective(k), k) for k in (1, 2, 3, 8)]
    assert len({bits(objective.duality_gap(w), objective.lambda_max()) for objective, _ in found}) == 1


@certified
@pytest.mark.parametrize("penalty", [fl.L1(0.05), fl.ElasticNet(0.02, 0.1)], ids=repr)
@pytest.mark.parametrize("offset", [False, True])
def test_the_gap_of_integer_weights_is_that_of_repetitions(case, penalty, offset):
    problem = Problem.draw(case, SETTINGS[0]._replace(weighted=True, offset=offset, intercept=True, penalty=penalty))
    repeated = problem.rows(np.repeat(np.arange(200), problem.weight.astype(int)))
    w = problem.point()
    for method in (lambda x: x.duality_gap(w), lambda x: x.lambda_max()):
        assert method(problem.objective()) == pytest.approx(method(repeated.objective()), rel=1e-9, abs=1e-12)


@certified
@pytest.mark.parametrize("setting", UNPENALISED, ids=str)
def test_from_lambda_max_on_all_coefficients_are_zero(case, setting):
    problem = Problem.draw(case, setting)
    largest = problem.objective().lambda_max()
    assert largest > 0
    above, below = (problem.objective(penalty=fl.L1(k * largest)) for k in (1.0001, 0.99))
    np.testing.assert_array_equal(fl.minimize(above, tol=1e-11).x[:6], 0)
    assert np.count_nonzero(fl.minimize(below, tol=1e-8).x[:6]) > 0


@pytest.mark.parametrize("case", SMOOTH, ids=str)
@pytest.mark.parametrize("setting", UNPENALISED, ids=str)
def test_lambda_max_is_the_largest_slope_at_the_best_intercept(case, setting, dtype):
    problem = Problem.draw(case, setting, dtype=dtype)

    def gradient(intercept):
        return problem.oracle(np.append(np.zeros(6), [intercept] * setting.intercept))[1]

    best = optimize.brentq(lambda b: gradient(b)[-1], -20, 20, xtol=1e-14) if setting.intercept else 0.0
    slopes = gradient(best)
    tolerance = 1e-6 if dtype == np.float64 else 1e-3
    assert problem.objective().lambda_max() == pytest.approx(abs(slopes[:6]).max(), rel=tolerance)


@pytest.mark.parametrize("y", [0.0, 1.0, 1e6, -1e-6])
@pytest.mark.parametrize("case", CERTIFIED, ids=str)
def test_labels_that_are_all_the_same(case, y):
    problem = Problem.draw(case, SETTINGS[0]._replace(intercept=True, penalty=fl.L1(0.1)), n=50, p=3)
    problem.y[:] = y
    try:
        objective = problem.objective()
    except ValueError:  # not a label of this loss
        return
    # With an intercept there is nothing left for the coefficients, nor for the logit of the only class but to grow.
    assert objective.lambda_max() == pytest.approx(0, abs=1e-6 * max(1.0, abs(y)))
    assert objective.duality_gap(np.zeros(4)) >= 0
