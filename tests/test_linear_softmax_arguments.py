"""What `LinearObjective` with K classes refuses, naming the argument."""

import re

import numpy as np
import pytest

import fastloss as fl


def make(n=20, **arguments):
    given = {"y": np.arange(n) % 3, "loss": fl.CategoricalCrossEntropy(from_logits=True), "penalty": fl.L1(0.1)}
    return fl.LinearObjective(np.random.default_rng(0).normal(size=(n, 2)), **{**given, **arguments})


def refuses(name, call, *args, **kwargs):
    with pytest.raises((TypeError, ValueError), match=rf"^{name}\b"):
        call(*args, **kwargs)


def with_label(bad, shape=None):
    y = (np.arange(20) % 3).astype(float) if shape is None else np.full((20, shape), 1 / shape)
    y.flat[7] = bad
    return y


@pytest.mark.parametrize("bad", [-1, 1.5, 3, 1e9, np.nan, np.inf, -np.inf])
def test_bad_indices_with_class_weights(bad):
    weigh = fl.CategoricalCrossEntropy(from_logits=True, class_weight=np.ones(3))
    with pytest.raises(ValueError, match=rf"^y must hold .*got {re.escape(f'{bad:g}')} at index 7"):
        make(y=with_label(bad), loss=weigh)


@pytest.mark.parametrize("bad", [-1, 1.5, np.nan, np.inf])
def test_bad_indices(bad):
    with pytest.raises(ValueError, match=rf"^y must hold .*got {re.escape(f'{bad:g}')} at index 7"):
        make(y=with_label(bad))


@pytest.mark.parametrize("bad", [-0.1, 1.1, np.nan, np.inf])
def test_bad_probabilities(bad):
    with pytest.raises(ValueError, match=r"^y must hold .* at index \(1, 3\)"):
        make(y=with_label(bad, 4))


RAGGED = [[1.0], [1.0, 2.0]]
BAD_ARGUMENTS = {
    "y": [None, 1, np.zeros(19), np.zeros((19, 3)), np.zeros((20, 0)), np.zeros((20, 3, 1)), ["a"] * 20, RAGGED],
    "offset": [1.0, np.zeros(20), np.zeros((20, 2)), np.zeros((20, 0)), np.zeros((19, 3)), np.full((20, 3), np.nan)],
    "sample_weight": [1.0, np.ones(19), np.ones((20, 3)), -np.ones(20), np.full(20, np.nan), np.zeros(20), RAGGED],
    "n_threads": [0, 1.5, "2"],
}


@pytest.mark.parametrize(
    ("name", "bad"),
    [(name, bad) for name, values in BAD_ARGUMENTS.items() for bad in values],
    ids=lambda x: re.sub(r"\s+", " ", f"{np.shape(x)} {x}")[:30] if isinstance(x, np.ndarray) else str(x)[:20],
)
def test_bad_arguments(name, bad):
    # Where labels are probabilities, they say how many classes there are.
    y = {} if name == "y" else {"y": np.full((20, 3), 1 / 3)}
    refuses(name, make, **{**y, name: bad})


def test_class_weights_of_other_classes():
    weigh = fl.CategoricalCrossEntropy(from_logits=True, class_weight=np.ones(4))
    refuses("class_weight", make, y=np.full((20, 3), 1 / 3), loss=weigh)
    refuses("class_weight", make, offset=np.zeros((20, 3)), loss=weigh)


def test_where_no_sample_counts():
    ignoring = fl.CategoricalCrossEntropy(from_logits=True, ignore_index=2)
    with pytest.raises(ValueError, match="y must hold a label that counts"):
        make(y=np.full(20, 2), loss=ignoring)
    with pytest.raises(ValueError, match="positive sum"):
        make(loss=ignoring, sample_weight=(np.arange(20) % 3 == 2) * 1.0)


@pytest.mark.parametrize("bad", [None, 1.0, np.zeros(8), np.zeros(10), np.zeros((3, 3)), ["a"] * 9, RAGGED], ids=str)
@pytest.mark.parametrize("method", ["value", "value_and_grad", "objective", "duality_gap", "coefficients"])
def test_bad_points(method, bad):
    refuses("w", getattr(make(), method), bad)


@pytest.mark.parametrize("bad", [np.zeros(8), np.zeros((3, 3)), np.zeros(9, np.float32), [0.0] * 9], ids=str)
def test_bad_out(bad):
    refuses("out", make().value_and_grad, np.ones(9), out=bad)
    assert not np.any(bad)


@pytest.mark.parametrize("method", ["value", "value_and_grad"])
def test_a_loss_of_probabilities_does_not_fit(method):
    objective = make(loss=fl.CategoricalCrossEntropy())
    with pytest.raises(ValueError, match=r"predictions X @ w .*from_logits=True"):
        getattr(objective, method)(np.full(9, 100.0))
