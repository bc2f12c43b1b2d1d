"""Each operation against its meaning: a set of samples."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.audio.stretches import Stretch, between, joined, split, total, within, without

UNTIL = 40
PLACES = st.integers(0, UNTIL + 10)
STRETCHES = st.lists(st.tuples(PLACES, PLACES).map(lambda pair: (min(pair), max(pair))), max_size=8)


def samples(stretches: Iterable[Stretch]) -> set[int]:
    return {sample for start, end in stretches for sample in range(start, end)}


def is_run(stretches: list[Stretch]) -> bool:
    places = [place for stretch in stretches for place in stretch]
    return places == sorted(set(places))


def in_order(stretches: list[Stretch]) -> list[Stretch]:
    return list(within(joined(stretches), 0, UNTIL))


@given(STRETCHES)
def test_joined_they_are_all_that_is_covered(stretches: list[Stretch]) -> None:
    made = joined(stretches)
    assert is_run(made)
    assert samples(made) == samples(stretches)
    assert total(made) == len(samples(made))


@given(STRETCHES, PLACES, PLACES)
def test_what_is_within(stretches: list[Stretch], start: int, end: int) -> None:
    assert samples(within(joined(stretches), start, end)) == samples(stretches) & set(range(start, end))


@given(STRETCHES)
def test_what_is_between(stretches: list[Stretch]) -> None:
    made = in_order(stretches)
    left = between(made, UNTIL)
    assert is_run(left)
    assert samples(left) == set(range(UNTIL)) - samples(made)


@given(STRETCHES, STRETCHES)
def test_split_by_others(one: list[Stretch], other: list[Stretch]) -> None:
    stretches, by = in_order(one), in_order(other)
    covered, left = split(stretches, by)
    assert samples(covered) == samples(stretches) & samples(by)
    assert samples(left) == samples(stretches) - samples(by)
    assert covered == sorted(covered)
    assert is_run(left)
    assert list(without(stretches, by)) == left
