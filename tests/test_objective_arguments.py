"""What `LinearObjective` and `minimize` refuse: every error names its argument, before anything is written."""

import re

import numpy as np
import pytest
from problems import SMOOTH, Problem
from scipy import sparse

import fastloss as fl

PROBLEM = Problem.draw(SMOOTH[0], n=20, p=3)
X, Y = PROBLEM.X, PROBLEM.y
RAGGED = [[1.0], [1.0, 2.0]]
MASKED = np.ma.masked_array(X, X > 0)


def make(X=X, y=Y, loss=fl.SquaredError(), penalty=fl.L1(0.1), **options):  # noqa: B008
    return fl.LinearObjective(X, y, loss, penalty, **options)


def refuses(name, call, *args, **kwargs):
    """The call fails with an error whose message names the argument, and no other one, first."""
    with pytest.raises((TypeError, ValueError)) as error:
        call(*args, **kwargs)
    named = re.match(r"\w+( needs)?", str(error.value))
    assert named, str(error.value)
    assert named[0] == name, str(error.value)


BAD_X = {
    "no contiguous axis": np.zeros((8, 6))[::2, ::2],
    "columns apart": X[:, ::2],
    "integers": X.astype(int),
    "float16": X.astype(np.float16),
    "long double": X.astype(np.longdouble),
    "complex": X.astype(complex),
    "objects": X.astype(object),
    "other byte order": X.astype(X.dtype.newbyteorder()),
    "unaligned": np.frombuffer(b"0" + X.tobytes(), "u1")[1:].view(np.float64).reshape(X.shape),
    "list": X.tolist(),
    "None": None,
    "COO": sparse.coo_array(X),
    "masked": MASKED,
    "one axis": X[:, 0],
    "three axes": X[:, :, None],
    "no rows": X[:0],
    "no columns": X[:, :0],
}


@pytest.mark.parametrize("bad", BAD_X.values(), ids=BAD_X)
def test_bad_x(bad):
    refuses("X", make, bad)


BAD_VECTORS = [None, 1.0, Y[:-1], Y[:, None], ["a"] * 20, RAGGED, Y + 1j, np.full(20, np.nan), MASKED[:, 0], "y"]


@pytest.mark.parametrize("bad", BAD_VECTORS, ids=lambda x: re.sub(r"\s+", " ", repr(x))[:30])
@pytest.mark.parametrize("name", ["y", "sample_weight", "offset"])
def test_bad_vectors(name, bad):
    if bad is None and name != "y":
        return
    refuses(name, make, **{name: bad})


@pytest.mark.parametrize("bad", [-1.0, np.inf, 0.0])
def test_bad_weights(bad):
    weight = np.zeros(20)
    weight[3] = bad
    refuses("sample_weight", make, sample_weight=weight)


LABELS = [(fl.BinaryCrossEntropy(from_logits=True), -1.0), (fl.Poisson(), -1.0), (fl.Poisson(), np.inf)]


@pytest.mark.parametrize(("loss", "bad"), LABELS, ids=repr)
def test_labels_outside_their_domain(loss, bad):
    y = np.ones(20)
    y[7] = bad
    refuses("y", make, y=y, loss=loss)


def test_a_loss_of_probabilities_does_not_fit():
    objective = make(y=np.ones(20), loss=fl.BinaryCrossEntropy())
    with pytest.raises(ValueError, match=r"predictions X @ w .*from_logits=True"):
        objective.value_and_grad(np.full(4, 100.0))


BAD_OPTIONS = [
    *(("loss", x) for x in (None, "huber", fl.Huber, fl.L1(1.0))),
    *(("penalty", x) for x in (0.1, "l1", fl.L1, fl.SquaredError())),
    *(("fit_intercept", x) for x in (None, 1, "yes")),
    *(("n_threads", x) for x in (0, -1, 1.5, True, "2", np.array([2]))),
]


@pytest.mark.parametrize(("name", "bad"), BAD_OPTIONS, ids=repr)
def test_bad_options(name, bad):
    refuses(name, make, **{name: bad})


BAD_POINTS = [None, 1.0, np.zeros(3), np.zeros(5), np.zeros((4, 1)), ["a"] * 4, np.zeros(4, complex), RAGGED]


@pytest.mark.parametrize("bad", BAD_POINTS, ids=lambda x: re.sub(r"\s+", " ", repr(x)))
@pytest.mark.parametrize("method", ["value", "value_and_grad", "objective", "duality_gap"])
def test_bad_points(method, bad):
    refuses("w", getattr(make(), method), bad)


@pytest.mark.parametrize("bad", BAD_POINTS, ids=lambda x: re.sub(r"\s+", " ", repr(x)))
def test_bad_points_of_prox_and_minimize(bad):
    refuses("w", make().prox, bad, 0.1)
    if bad is not None:
        refuses("w0", fl.minimize, make(), bad)


@pytest.mark.parametrize("bad", [0, -1.0, np.nan, "1", None, np.ones(4)], ids=repr)
def test_bad_steps(bad):
    refuses("step", make().prox, np.zeros(4), bad)


READ_ONLY = np.zeros(4)
READ_ONLY.flags.writeable = False
BAD_OUT = [np.zeros(3), np.zeros((4, 1)), np.zeros(4, np.float32), np.zeros(4, int), [0.0] * 4, READ_ONLY]


@pytest.mark.parametrize("bad", BAD_OUT, ids=lambda x: re.sub(r"\s+", " ", repr(x)))
def test_bad_out(bad):
    refuses("out", make().value_and_grad, np.ones(4), out=bad)
    assert not np.any(bad)


BAD_RUNS = [
    *(("obj", x) for x in (None, "objective", fl.SquaredError(), abs)),
    *(("solver", x) for x in ("newton", "FISTA", None, 1, ["fista"])),
    *(("tol", x) for x in (-1e-3, np.nan, "1e-3", None, True, [1e-3])),
    *(("max_iter", x) for x in (-1, 1.5, True, "3", np.nan)),
    *(("callback", x) for x in (1, "print")),
    *(("w0", x) for x in (np.full(4, np.nan), np.full(4, np.inf))),
]


@pytest.mark.parametrize(("name", "bad"), BAD_RUNS, ids=repr)
def test_bad_arguments_of_minimize(name, bad):
    refuses(name, fl.minimize, **{"obj": make(), name: bad})


@pytest.mark.parametrize("loss", [fl.AbsoluteError(), fl.Quantile(0.3)], ids=repr)
@pytest.mark.parametrize("solver", ["fista", "ista"])
def test_a_loss_with_kinks_is_refused(loss, solver):
    with pytest.raises(TypeError, match=rf"{solver} needs .* SquaredError, Huber .*{re.escape(repr(loss))}"):
        fl.minimize(make(loss=loss), solver=solver)


def test_no_gap_where_none_is_known():
    with pytest.raises(ValueError, match=r"^penalty must not be 0"):
        make(penalty=None).duality_gap(np.zeros(4))
    with pytest.raises(TypeError, match=r"AbsoluteError\(\) has no conjugate"):
        make(loss=fl.AbsoluteError()).duality_gap(np.zeros(4))
