"""Losses of the user's own obey the laws of the built-in ones: the same tests, over functions written in Python."""

import pytest
from custom_losses import SCALAR_CASES
from test_kernel import (  # noqa: F401
    test_a_block_gives_what_the_methods_give,
    test_an_empty_block,
    test_scale_multiplies_derivatives_alone,
    test_the_gradient_may_be_written_over_an_input,
    test_what_is_not_asked_for_is_not_needed,
)
from test_laws import (  # noqa: F401
    test_gradient_is_the_slope_of_the_value,
    test_integer_weights_are_repetitions,
    test_reductions_agree,
    test_value_is_that_of_numpy,
    test_value_is_the_same_with_and_without_gradient,
    test_weight_zero_removes_a_sample,
)
from test_out import test_an_output_that_overlaps_an_input_is_refused, test_any_input_may_be_the_output  # noqa: F401
from test_threads import (  # noqa: F401
    test_calls_from_many_threads_at_once,
    test_results_do_not_depend_on_the_number_of_threads,
)

pytest.importorskip("numba", reason="custom_loss needs Numba")


@pytest.fixture(params=SCALAR_CASES, ids=str)
def case(request):
    return request.param
