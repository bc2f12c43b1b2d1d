from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.audio.stretches import Stretch, between, joined, split, total, within, without

STRETCHES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda pair: (min(pair), max(pair))))


def moments(stretches: list[Stretch]) -> set[int]:
    return {moment for start, end in stretches for moment in range(start, end)}


def are_apart(stretches: list[Stretch]) -> bool:
    return all(start < end for start, end in stretches) and all(
        before[1] < after[0] for before, after in pairwise(stretches)
    )


@given(STRETCHES)
def test_joined_is_the_same_time_in_the_fewest_pieces(stretches: list[Stretch]) -> None:
    result = joined(stretches)
    assert moments(result) == moments(stretches)
    assert are_apart(result)
    assert total(result) == len(moments(stretches))


@given(STRETCHES, STRETCHES)
def test_without_is_the_difference(some: list[Stretch], others: list[Stretch]) -> None:
    result = list(without(joined(some), joined(others)))
    assert moments(result) == moments(some) - moments(others)
    assert are_apart(result)


@given(STRETCHES, st.integers(0, 60), st.integers(0, 60))
def test_within_is_the_part_between(stretches: list[Stretch], start: int, end: int) -> None:
    assert moments(list(within(joined(stretches), start, end))) == moments(stretches) & set(range(start, end))


@given(STRETCHES, STRETCHES)
def test_split_is_what_is_in_others_and_what_is_not(some: list[Stretch], others: list[Stretch]) -> None:
    covered, left = split(joined(some), joined(others))
    assert moments(covered) == moments(some) & moments(others)
    assert moments(left) == moments(some) - moments(others)
    assert are_apart(covered)
    assert are_apart(left)


@given(STRETCHES)
def test_between_is_the_rest(stretches: list[Stretch]) -> None:
    result = between(joined(stretches), 60)
    assert moments(result) == set(range(60)) - moments(stretches)
    assert are_apart(result)
