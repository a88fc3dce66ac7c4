"""Percentiles by nearest rank."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.bench.figures import percentile

NUMBERS = st.lists(st.integers(-1000, 1000), min_size=1, max_size=300)


@given(values=NUMBERS, share=st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]))
def test_as_many_as_asked_do_not_exceed_it_and_no_smaller_value_will_do(
    values: list[int], share: float
) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values)


def test_of_few_the_99th_is_the_largest() -> None:
    assert percentile([3, 1, 2], 0.99) == 3
    assert percentile([3, 1, 2], 0.5) == 2


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1], 0), ([1], 1.1)])
def test_of_nothing_there_is_none(values: list[float], share: float) -> None:
    with pytest.raises(ValueError, match="percentile"):
        percentile(values, share)
