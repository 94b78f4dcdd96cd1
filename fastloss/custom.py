"""Losses of the user's own: a Python function of one sample, compiled by Numba into a block kernel like the built-in.

Numba is imported when the first such loss is made, not before.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from fastloss._checks import check_number
from fastloss.losses import Loss

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["CustomLoss", "custom_loss"]

# Keywords of custom_loss and of a loss's methods that no loss has as an attribute.
RESERVED = ("row_labels", "curvature", "check", "cache", "reduction", "out", "n_threads")


class CustomLoss(Loss):
    """A loss whose arithmetic a user wrote: what `fastloss.custom_loss` makes. Its methods are those of all losses."""

    class_weight = ignore_index = None  # for LinearObjective: no label counts otherwise than another

    _function: Callable[..., Any]
    _options: dict[str, Any]
    _kernels: Any

    def __init__(self, function: Callable[..., Any], options: dict[str, Any], parameters: dict[str, float]) -> None:
        compile_kernels = _numba().compile_kernels
        kernels = compile_kernels(
            function,
            len(parameters),
            rows=options["many_outputs"],
            row_labels=options["row_labels"],
            cache=options["cache"],
        )
        for name, value in {
            "_function": function,
            "_options": options,
            "_parameters": parameters,
            "_kernels": kernels,
            "__name__": function.__name__,
            "__doc__": function.__doc__,
        }.items():
            object.__setattr__(self, name, value)
        self._bind_function(
            kernels.address("f64"), list(parameters.values()), options["many_outputs"], options["row_labels"]
        )

    @property
    def many_outputs(self) -> bool:  # noqa: D102
        return bool(self._options["many_outputs"])

    @property
    def convex(self) -> bool | None:  # noqa: D102
        return self._options["convex"]  # type: ignore[no-any-return]

    @property
    def has_hessian(self) -> bool:  # noqa: D102
        return bool(self._kernels.curved)

    @property
    def has_curvature(self) -> bool:  # noqa: D102
        return not self.many_outputs and (self.has_hessian or self._options["curvature"] is not None)

    def replace(self, **parameters: float) -> CustomLoss:
        """The same loss with other parameters; nothing is compiled again.

        Parameters
        ----------
        **parameters : float
            By the names that the function gives them.

        Raises
        ------
        TypeError, ValueError
            For a name that is none of its parameters, or a value that is not a number.
        """
        _refuse_unknown(self._function, parameters, self._parameters)
        given = {name: _check_parameter(name, value) for name, value in parameters.items()}
        return CustomLoss(self._function, self._options, {**self._parameters, **given})

    def targets(self, y_true: NDArray[Any], k: int) -> NDArray[Any]:  # noqa: D102
        raise TypeError(f"what is asked for is known of cross-entropy, not of {self!r}; fista needs the gradient alone")

    def grad_and_hess(self, *args: Any, **kwargs: Any) -> tuple[NDArray[Any], NDArray[Any]]:  # noqa: D102
        if not self.has_hessian:
            raise TypeError(
                f"{self!r} has no second derivative: its function cannot be differentiated here; "
                "let it return (value, gradient, hessian)"
            )
        return super().grad_and_hess(*args, **kwargs)

    def _derivatives(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None, n_threads: int | None
    ) -> tuple[float, NDArray[Any], NDArray[Any]]:
        value, first, second = super()._derivatives(y_true, y_pred, sample_weight, n_threads)
        if not self.has_hessian:
            second[:] = self._options["curvature"] or 0.0
            if sample_weight is not None:
                second *= sample_weight
        return value, first, second

    def _function_for_float32(self) -> int:
        return int(self._kernels.address("f32"))

    def _reraise(self, label: Any, prediction: Any, place: str) -> None:
        """Raise what the function raises for a sample, in Python, where it can say more."""
        arguments = (prediction, np.empty_like(prediction)) if self.many_outputs else (prediction,)
        try:
            self._function(label, *arguments, *self._parameters.values())
        except Exception as error:
            if hasattr(error, "add_note"):
                error.add_note(f"in the loss {self!r}, of y_true = {label!r} and y_pred = {prediction!r}{place}")
            raise
        raise RuntimeError(
            f"the loss {self!r} raised an exception for y_true = {label!r} and y_pred = {prediction!r}{place}, "
            "which its Python function does not"
        )

    def __repr__(self) -> str:
        return f"{self.__name__}({', '.join(f'{name}={value!r}' for name, value in self._parameters.items())})"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, CustomLoss)
            and (self._kernels is other._kernels or self._function is other._function)
            and self._parameters == other._parameters
            and self._options == other._options
        )

    def __hash__(self) -> int:
        return hash((self.__name__, *self._parameters.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (_numba().dump_function(self._function), self._options, self._parameters)


def _rebuild(function: bytes, options: dict[str, Any], parameters: dict[str, float]) -> CustomLoss:
    return CustomLoss(_numba().load_function(function), options, parameters)


def _numba() -> Any:
    try:
        from fastloss._numba import kernel
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in ("numba", "llvmlite"):
            raise
        raise ImportError("custom_loss needs Numba, which is not installed: pip install 'fastloss[numba]'") from error
    return kernel


@overload
def custom_loss(
    function: Callable[..., Any],
    /,
    *,
    many_outputs: bool = False,
    row_labels: bool = False,
    curvature: float | None = None,
    convex: bool | None = None,
    check: bool = True,
    cache: bool = True,
    **parameters: float,
) -> CustomLoss: ...
@overload
def custom_loss(
    function: None = None,
    /,
    *,
    many_outputs: bool = False,
    row_labels: bool = False,
    curvature: float | None = None,
    convex: bool | None = None,
    check: bool = True,
    cache: bool = True,
    **parameters: float,
) -> Callable[[Callable[..., Any]], CustomLoss]: ...


def custom_loss(
    function: Callable[..., Any] | None = None,
    /,
    *,
    many_outputs: bool = False,
    row_labels: bool = False,
    curvature: float | None = None,
    convex: bool | None = None,
    check: bool = True,
    cache: bool = True,
    **parameters: float,
) -> CustomLoss | Callable[[Callable[..., Any]], CustomLoss]:
    r"""Make a loss of a Python function of one sample. Needs the ``[numba]`` extra.

    A decorator, ``@custom_loss`` or ``@custom_loss(delta=2.0)``, or a function, ``custom_loss(f, delta=2.0)``.

    Parameters
    ----------
    function : callable
        ``function(y, z, *parameters)`` of a label and a prediction, two numbers, that returns one of

        * ``value, gradient``: the loss and its derivative by z; the second derivative is found by differentiating the
          gradient, if that can be done;
        * ``value, gradient, hessian``;
        * ``value``: both derivatives are found by differentiating it (forward mode; at a kink those to the
          right).

        It is compiled by Numba in nopython mode, strictly in IEEE arithmetic: for float64 at once, for float32 when
        such predictions first come, all of its arithmetic being in float32 then. Division by zero gives inf or NaN as
        in NumPy. exp, expm1, log, log1p, log2, log10, sinh, cosh and tanh of `math` and NumPy become functions that
        vectorise, within a few ulp; see `fastloss.vmath` for softplus and sigmoid. Helpers may be plain Python
        functions.
    many_outputs : bool
        Whether it is ``function(y, z, gradient, *parameters)`` instead, of a row z of predictions, an array, which
        writes their derivatives to the array ``gradient`` and returns the value.
    row_labels : bool
        With `many_outputs`, whether y is a row as long as z, not a number.
    curvature : float, optional
        A bound on the second derivative, > 0, for second-order solvers; used where there is no second derivative.
    convex : bool, optional
        Whether the loss is convex in z. By default the check looks. Solvers warn where it is not.
    check : bool
        Whether to compare derivatives with finite differences, at a few labels and predictions.
    cache : bool
        Whether to keep the compiled code on disk, beside Numba's own: see ``NUMBA_CACHE_DIR``. A function that was
        typed into a shell cannot be kept.
    **parameters : float
        Values of the function's parameters after z; those with a default may be left out.

    Returns
    -------
    CustomLoss
        A loss like any other. Its parameters are attributes; ``loss.replace(delta=3.0)`` is the same with another.

    Raises
    ------
    ImportError
        If Numba is not installed.
    TypeError
        If the function cannot be compiled or differentiated, or a parameter is missing, unknown or not a number.
    ValueError
        If a derivative is not that of the value.

    Notes
    -----
    An exception that the function raises for a sample is raised by the call that computes the loss, unless the sample's
    weight is 0. NaN is never a label.

    Examples
    --------
    >>> import math
    >>> import fastloss as fl
    >>> @fl.custom_loss
    ... def cauchy(y, z, scale=1.0):
    ...     r = (z - y) / scale
    ...     return math.log1p(r * r), 2 * r / (scale * (1 + r * r))
    >>> value, gradient = cauchy.value_and_grad([0.0, 1.0], [1.0, 1.0])
    >>> round(value, 6), gradient.tolist()
    (0.346574, [0.5, 0.0])
    """
    options: dict[str, Any] = {
        "many_outputs": many_outputs,
        "row_labels": row_labels,
        "convex": convex,
        "check": check,
        "cache": cache,
    }
    for name, value in options.items():
        if not isinstance(value, bool | np.bool_) and not (name == "convex" and value is None):
            raise TypeError(f"{name} must be True or False, got {value!r}")
    options["curvature"] = None if curvature is None else check_number("curvature", curvature, 0, math.inf)
    if row_labels and not many_outputs:
        raise ValueError("row_labels is for losses of many outputs; give many_outputs=True too")
    del options["check"]

    def make(function: Callable[..., Any]) -> CustomLoss:
        chosen = _choose_parameters(function, parameters, many_outputs)
        try:
            loss = CustomLoss(function, dict(options), chosen)
        except TypeError as error:
            raise TypeError(f"the loss {function.__name__} cannot be compiled: {error}") from error.__cause__
        if check:
            from fastloss._custom_check import check_derivatives

            seen_convex = check_derivatives(loss)
            if loss.convex is None:
                loss._options["convex"] = seen_convex
        return loss

    return make if function is None else make(function)


def _choose_parameters(function: Any, given: dict[str, Any], many_outputs: bool) -> dict[str, float]:
    """The value of each parameter of a function after its first arguments, in order."""
    if isinstance(function, CustomLoss):
        raise TypeError(f"{function!r} is a loss already; use its method replace for other parameters")
    function = getattr(function, "py_func", function)
    if not isinstance(function, FunctionType):
        raise TypeError(f"function must be a Python function, got {function!r}")
    signature = inspect.signature(function)
    arguments = list(signature.parameters.values())
    first = ("y", "z", "gradient") if many_outputs else ("y", "z")
    if len(arguments) < len(first) or any(
        p.kind not in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in arguments
    ):
        raise TypeError(
            f"function must be of the form {function.__name__}({', '.join(first)}, ...) with parameters that have "
            f"names, got {function.__name__}{signature}"
        )
    values = {p.name: given.get(p.name, p.default) for p in arguments[len(first) :]}
    _refuse_unknown(function, given, values)
    for name, value in values.items():
        if hasattr(Loss, name) or name in RESERVED:
            raise TypeError(f"{name} cannot be the name of a parameter: all losses have something of that name")
        if value is inspect.Parameter.empty:
            raise TypeError(f"{name} is a parameter of {function.__name__} without a default: give its value")
    return {name: _check_parameter(name, value) for name, value in values.items()}


def _refuse_unknown(function: Callable[..., Any], given: dict[str, Any], known: dict[str, Any]) -> None:
    for name in given:
        if name not in known:
            raise TypeError(f"{name} is not a parameter of {function.__name__}; it has {', '.join(known) or 'none'}")


def _check_parameter(name: str, value: Any) -> float:
    return check_number(name, value, -math.inf, math.inf, "[]")
