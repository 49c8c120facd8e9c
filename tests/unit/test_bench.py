"""What `make bench` makes of its times."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.pairs import Bench, Figure, Goal, percentile


@given(st.lists(st.floats(0, 1000), min_size=1), st.integers(1, 100))
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(values: list[float], percent: int) -> None:
    found = percentile(values, percent)

    below = sum(value < found for value in values)
    assert found in values
    assert sum(value <= found for value in values) * 100 >= len(values) * percent > below * 100


def test_a_pair_is_timed_in_turn_and_the_round_before_does_not_count() -> None:
    played: list[str] = []
    seconds = {"ours": count(100), "alone": count(10)}

    def play(name: str) -> float:
        played.append(name)
        return next(seconds[name])

    figure = Bench(rounds=3).paired("told", lambda: play("ours"), lambda: play("alone"), Goal(9))

    assert played == ["alone", "ours", "ours", "alone", "alone", "ours", "ours", "alone"]
    assert figure.values == [101 / 11, 102 / 12, 103 / 13]


@pytest.mark.parametrize(("goal", "verdict"), [(Goal(0.5), "met"), (Goal(0.8, at_least=True), "missed")])
def test_a_goal_is_an_upper_or_a_lower_bound_of_the_median(goal: Goal, verdict: str) -> None:
    assert Figure("told", [0.1, 0.5, 99], goal).verdict == verdict


def test_what_takes_half_as_long_again_is_two_thirds_as_fast() -> None:
    assert Bench(rounds=1).paired("told", lambda: 3.0, lambda: 2.0, Goal(0.8, at_least=True)).values == [2 / 3]
