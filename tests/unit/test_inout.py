"""Which arguments `inout=` means, however the caller passes them."""

from __future__ import annotations

import pytest

from cyray._api.task import inout_slots


def kernel(rows, result, *, log=None):
    result[:] = rows


@pytest.mark.parametrize("inout", ["result", 1, ("result",), [1]])
def test_a_name_and_a_position_mean_the_same_argument(inout):
    assert set(inout_slots(inout, kernel)) == {"result", 1}


def test_an_argument_that_goes_by_keyword_alone_has_no_position():
    assert inout_slots("log", kernel) == ("log",)


def test_a_name_that_is_no_argument_is_refused():
    with pytest.raises(ValueError, match="no argument of kernel"):
        inout_slots("rezult", kernel)
    assert inout_slots("rezult", lambda *args, **kwargs: None) == ("rezult",)


def test_a_position_that_no_argument_has_is_refused():
    with pytest.raises(ValueError, match=r"position 2 .* kernel takes 2 positional"):
        inout_slots(2, kernel)
    assert inout_slots(2, lambda *args: None) == (2,)


def test_a_function_without_a_signature_takes_what_is_given():
    assert inout_slots((0, "out"), dict.update) == (0, "out")
