"""Every refused input is named, with what it was and what it may be; nothing is written and nothing crashes."""

import datetime
import re
from itertools import cycle

import numpy as np
import pytest
from scipy import sparse

import fastloss as fl
from fastloss import _runtime

ARGUMENTS = ("y_true", "y_pred", "sample_weight")
N = 6
ONES = {name: np.ones(N) for name in ARGUMENTS}

# What holds no real numbers, or no numbers for every sample.
NO_NUMBERS = {
    "str": "abc",
    "strings": ["a"] * N,
    "bytes": np.array([b"1"] * N),
    "None": None,
    "Nones": [None] * N,
    "objects": np.array([1.0] * N, object),
    "complex": np.ones(N, complex),
    "complex scalar": 1j,
    "datetime": np.array(["2020-01-01"] * N, "M8[D]"),
    "timedelta": np.ones(N, "m8[s]"),
    "dates": [datetime.date(2020, 1, 1)] * N,
    "structured": np.ones(N, [("a", float), ("b", float)]),
    "void": np.ones(N, "V8"),
    "dict": {1: 2},
    "set": {1.0},
    "generator": (x for x in [1.0] * N),
    "function": len,
    "sparse": sparse.csr_array(np.eye(N)),
    "ragged": [[1.0], [1.0, 2.0]],
    "huge integers": [10**400] * N,
}

WRONG_SHAPES = [(N - 1,), (N + 1,), (0,), (N, 1), (1, N), (N, 2), (1, 1, N)]


@pytest.fixture
def good(case, dtype):
    """Arguments that are right."""
    y, z = case.sample(N, dtype)
    return {"y_true": y, "y_pred": z, "sample_weight": np.ones(N, dtype)}


def refused(loss, arguments, kind, message, **options):
    """Each method raises; what was given is not touched."""
    before = {name: x.copy() for name, x in arguments.items() if isinstance(x, np.ndarray)}
    plain = {name: x for name, x in options.items() if name != "out"}
    calls = [lambda: loss.value_and_grad(**arguments, **options)]
    if "out" not in options:
        calls.append(lambda: loss(**arguments, **plain))
        if "reduction" not in options:
            calls.append(lambda: loss.grad_and_hess(**arguments, **plain))
    for call in calls:
        with pytest.raises(kind, match=message):
            call()
    for name, x in before.items():
        np.testing.assert_array_equal(arguments[name], x)


@pytest.mark.parametrize("argument", ARGUMENTS)
@pytest.mark.parametrize("bad", NO_NUMBERS.values(), ids=list(NO_NUMBERS))
def test_what_holds_no_real_numbers(argument, bad):
    if bad is None and argument == "sample_weight":
        return
    refused(fl.SquaredError(), ONES | {argument: bad}, (TypeError, ValueError), argument)


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_masked_entries_are_not_silently_used(argument):
    # NumPy's own functions leave them out; a result that includes them would be wrong without a word.
    masked = np.ma.masked_array(np.ones(N), mask=[True] + [False] * (N - 1))
    refused(
        fl.SquaredError(),
        ONES | {argument: masked},
        (TypeError, ValueError),
        argument,
    )


@pytest.mark.parametrize("shape", WRONG_SHAPES, ids=str)
def test_a_wrong_shape(case, good, shape):
    loss = case.make()
    if shape != good["y_pred"].shape:
        refused(loss, good | {"y_true": np.ones(shape)}, ValueError, r"y_true must .* shape")
    refused(loss, good | {"sample_weight": np.ones(shape)}, ValueError, r"sample_weight must .* shape")


@pytest.mark.parametrize("bad", ["Mean", "", "average", None, 0, True, ["mean"], np.array(["mean", "sum"])], ids=repr)
def test_a_wrong_reduction(bad):
    refused(fl.Huber(), ONES, (TypeError, ValueError), "reduction must be 'mean', 'sum' or 'none'", reduction=bad)


@pytest.mark.parametrize("bad", [0, -1, 1.0, 2.5, "2", True, [2], np.array([2]), np.nan, -(10**30)], ids=repr)
def test_a_wrong_number_of_threads(bad):
    refused(fl.Huber(), ONES, (TypeError, ValueError), "n_threads must be a positive integer", n_threads=bad)
    with pytest.raises((TypeError, ValueError), match="n_threads must be a positive integer"):
        fl.set_num_threads(bad)


# In the first and last sample, about the end of a block, in a later chunk of a call that uses threads.
PLACES = [(1, 0), (5, 0), (5, 4), (600, 511), (600, 512), (20000, 19999)]


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("argument", ["y_true", "y_pred"])
def test_values_outside_their_domain(case, dtype, argument):
    domain = case.reference.labels if argument == "y_true" else case.reference.predictions
    # A NaN prediction flows through.
    invalid = [bad for bad in domain.invalid if argument == "y_true" or bad == bad]
    for (n, place), bad in zip(PLACES, cycle(invalid), strict=False):
        arguments = dict(zip(ARGUMENTS, case.sample(n, dtype), strict=False))
        arguments[argument].reshape(n, -1)[place, 0] = bad
        refused(case.make(), arguments, ValueError, rf"{argument} must hold .*; got .* at index \(?{place}\b")


@pytest.mark.usefixtures("isa")
def test_weights_outside_their_domain(case, dtype):
    for (n, place), bad in zip(PLACES, [np.nan, np.inf, -np.inf, -1e-30, -1, -1], strict=True):
        w = np.ones(n, dtype)
        w[place] = bad
        arguments = dict(zip(ARGUMENTS, (*case.sample(n, dtype), w), strict=True))
        message = rf"sample_weight must hold finite numbers >= 0; got .* at index {place}\b"
        refused(case.make(), arguments, ValueError, message)


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_index_has_as_many_numbers_as_the_shape(order):
    y = np.zeros((3, 4, 5), order=order)
    p = np.full((3, 4, 5), 0.5, order=order)
    y[1, 2, 3] = 2
    for array in (p, p[...].copy("C"), np.repeat(p, 2, axis=1)[:, ::2]):
        with pytest.raises(ValueError, match=r"y_true .* got 2 at index \(1, 2, 3\)"):
            fl.BinaryCrossEntropy()(y, array)
    with pytest.raises(ValueError, match=r"y_true must hold numbers in \[0, 1\]; got 2$"):
        fl.BinaryCrossEntropy()(2, 0.5)


def test_the_domain_is_said_in_words():
    words = {
        "y_true must hold numbers in [0, 1]": (fl.BinaryCrossEntropy(), [2.0], [0.5]),
        "y_pred must hold probabilities in [0, 1]": (fl.BinaryCrossEntropy(), [1.0], [1.5]),
        "y_true must hold finite numbers >= 0": (fl.Poisson(), [-1.0], [0.0]),
        "y_true must hold numbers, not NaN": (fl.SquaredError(), [np.nan], [0.0]),
    }
    for text, (loss, y, z) in words.items():
        with pytest.raises(ValueError, match=f"^{re.escape(text)}"):
            loss(y, z)


def test_unknown_names_of_kernels_are_refused():
    class Mine(fl.Loss):
        def __init__(self):
            self._setup("no such kernel", ())

    with pytest.raises(ValueError, match="no such kernel"):
        Mine()
    with pytest.raises(RuntimeError, match="FASTLOSS_ISA must be one of"):
        _runtime.use_instruction_set("sse9")
