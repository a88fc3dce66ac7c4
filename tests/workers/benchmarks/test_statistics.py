"""Means, differences and ratios over pieces."""

import numpy as np
import pytest

from workers.benchmarks.statistics import difference, mean, ratio


def drawn(pieces: int, of_each: int = 1, seed: int = 0) -> dict[str, list[float]]:
    rng = np.random.default_rng(seed)
    return {
        str(piece): rng.normal(rng.normal(0.5, 0.2), 1e-3, of_each).tolist()
        for piece in range(pieces)
    }


def width(values: dict[str, list[float]]) -> float:
    estimate = mean(values)
    assert estimate.low < estimate.mean < estimate.high
    return estimate.high - estimate.low


def test_more_pieces_narrow_the_interval_and_more_generations_of_a_piece_do_not() -> None:
    assert width(drawn(200)) < 0.5 * width(drawn(8))
    # Ten generations that agree with each other are no ten pieces.
    assert width(drawn(8, of_each=10)) == pytest.approx(width(drawn(8)), rel=0.5)


def test_every_piece_weighs_the_same_however_often_it_was_generated() -> None:
    assert mean({"a": [1.0] * 9, "b": [0.0]}).mean == 0.5


def test_the_same_values_give_the_same_interval() -> None:
    assert mean(drawn(20)) == mean(drawn(20))


def test_differences_are_paired() -> None:
    a = drawn(20)
    b = {piece: [value[0] - 0.05] for piece, value in a.items()}
    lost = difference(a, b)
    assert lost.mean == pytest.approx(0.05)
    assert lost.high - lost.low < 1e-9
    assert difference(a, {**b, "more": [9.0]}).pieces == 20


def test_a_ratio_is_of_totals() -> None:
    made, own = {"a": [20.0], "b": [1.0]}, {"a": [10.0], "b": [10.0]}
    assert ratio(made, own).mean == pytest.approx(21 / 20)


def test_nothing_measured_is_an_error_and_not_a_figure() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        mean({})
    with pytest.raises(ValueError, match="nothing was measured"):
        difference({"a": [1.0]}, {"b": [1.0]})
    with pytest.raises(ValueError, match="ratio to nothing"):
        ratio({"a": [1.0]}, {"a": [0.0]})
