"""Losses as objects: immutable values whose parameters are checked."""

import copy
import inspect
import math
import pickle

import numpy as np
import pytest
from reference import CASES

import fastloss as fl
from fastloss.losses import REGISTRY, Loss

CROSS_ENTROPIES = [fl.BinaryCrossEntropy, fl.CategoricalCrossEntropy]
PARAMETERS = [
    pytest.param(cls, name, id=f"{cls.__name__}.{name}")
    for cls in REGISTRY.values()
    for name, parameter in inspect.signature(cls).parameters.items()
    if "ArrayLike" not in str(parameter.annotation)
]


def test_the_registry_is_public():
    assert {"Loss", *REGISTRY} == set(fl.losses.__all__)
    for name, cls in REGISTRY.items():
        assert getattr(fl, name) is cls
        assert cls.__doc__


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_are_equal_and_compute_the_same(case, clone, dtype):
    loss = case.make()
    other = clone(loss)
    assert type(other) is type(loss)
    assert other == loss
    assert hash(other) == hash(loss)
    y, z = case.sample(100, dtype)
    assert other(y, z) == loss(y, z)
    del loss  # the parameters of the copy are its own
    np.testing.assert_allclose(other(y, z, reduction="sum"), case.value(y, z).sum(), rtol=1e-5)


def test_repr_makes_it_again(case):
    loss = case.make()
    assert eval(repr(loss), vars(fl)) == loss
    for name, value in case.parameters.items():
        assert f"{name}={value!r}" in repr(loss)


def test_parameters_are_attributes_that_cannot_be_set(case):
    loss = case.make()
    for name in inspect.signature(type(loss)).parameters:
        value = getattr(loss, name)
        if name in case.parameters:
            assert value == case.parameters[name]
        with pytest.raises(AttributeError, match=name):
            setattr(loss, name, value)
        with pytest.raises(AttributeError):
            delattr(loss, name)
    with pytest.raises(AttributeError, match="immutable"):
        loss.anything = 1
    with pytest.raises(AttributeError, match="anything"):
        _ = loss.anything


def test_equality_is_that_of_class_and_parameters():
    made = [(case.name, case.parameters) for case in CASES]
    losses = [case.make() for case in CASES]
    again = [case.make() for case in CASES]
    for loss, how in zip(losses, made, strict=True):
        assert [loss == other for other in again] == [how == other for other in made]
        assert loss != str(loss)
    assert len(set(losses + again)) == len({repr(how) for how in made})


@pytest.mark.parametrize("wrong", ["1", b"1", [1.0], {}, object, 1j, np.array([1.0]), np.array([1.0, 2.0])], ids=repr)
@pytest.mark.parametrize(("cls", "name"), PARAMETERS)
def test_parameters_of_a_wrong_type_are_named(cls, name, wrong):
    with pytest.raises((TypeError, ValueError), match=name):
        cls(**{name: wrong})


@pytest.mark.parametrize(
    ("cls", "name", "wrong"),
    [
        *[(fl.Huber, "delta", x) for x in (0, -1, math.inf, math.nan)],
        *[(fl.Quantile, "q", x) for x in (0, 1, -0.5, 2, math.nan)],
        *[(cls, "eps", x) for cls in CROSS_ENTROPIES for x in (-1e-9, 0.5, 1, math.nan)],
        *[(cls, "label_smoothing", x) for cls in CROSS_ENTROPIES for x in (-0.1, 1.1, math.nan)],
        *[(fl.BinaryCrossEntropy, "pos_weight", x) for x in (-1, math.inf, math.nan)],
    ],
)
def test_parameters_outside_their_domain_are_named(cls, name, wrong):
    with pytest.raises(ValueError, match=rf"{name} must be in .*, got {wrong:g}"):
        cls(**{name: wrong})


@pytest.mark.parametrize("cls", CROSS_ENTROPIES)
@pytest.mark.parametrize("wrong", [1, 0, None, "yes"])
def test_from_logits_is_a_truth_value(cls, wrong):
    with pytest.raises(TypeError, match="from_logits must be True or False"):
        cls(from_logits=wrong)


def test_parameters_of_numpy_become_plain():
    assert fl.Huber(np.float32(0.5)) == fl.Huber(0.5)
    assert fl.Huber(np.array(2)) == fl.Huber(2.0)
    assert repr(fl.BinaryCrossEntropy(np.True_)) == repr(fl.BinaryCrossEntropy(True))


@pytest.mark.parametrize(
    "make", ["fl.Loss()", "fl.Huber.__new__(fl.Huber)", "type('Mine', (fl.Loss,), {})()", "fl._reduce.BlockLoss()"]
)
def test_a_loss_without_a_kernel_does_not_crash(make, python):
    # In a Python of its own: what this guards against is a call of a null pointer.
    program = f"""
        import fastloss as fl
        try:
            loss = {make}
            loss([1.0], [2.0])
        except (TypeError, ValueError, RuntimeError) as error:
            print(type(error).__name__)
    """
    assert python("if True:" + program).endswith("Error")


def test_the_base_class_documents_its_methods():
    for method in (Loss.__call__, Loss.value_and_grad, Loss.grad_and_hess, Loss.conjugate):
        assert "Parameters" in method.__doc__
        assert "Raises" in method.__doc__
