"""Each operation against its meaning: a set of samples."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.recording.intervals import between, run, split, total
from discord_recorder.storage.stretches import Stretch

UNTIL = 40
PLACES = st.integers(0, UNTIL + 10)
STRETCHES = st.lists(st.tuples(PLACES, PLACES).map(lambda pair: (min(pair), max(pair))), max_size=8)


def samples(stretches: Iterable[Stretch]) -> set[int]:
    return {sample for start, end in stretches for sample in range(start, end)}


def is_run(stretches: list[Stretch]) -> bool:
    places = [place for stretch in stretches for place in stretch]
    return places == sorted(set(places))


@given(STRETCHES)
def test_a_run_is_all_that_is_covered(stretches: list[Stretch]) -> None:
    made = run(stretches, until=UNTIL)
    assert is_run(made)
    assert samples(made) == samples(stretches) & set(range(UNTIL))
    assert total(made) == len(samples(made))


@given(STRETCHES)
def test_what_is_between(stretches: list[Stretch]) -> None:
    made = run(stretches, until=UNTIL)
    left = between(made, until=UNTIL)
    assert is_run(left)
    assert samples(left) == set(range(UNTIL)) - samples(made)


@given(STRETCHES, STRETCHES)
def test_splitting_one_run_by_another(one: list[Stretch], other: list[Stretch]) -> None:
    stretches, by = run(one, until=UNTIL), run(other, until=UNTIL)
    covered, left = split(stretches, by)
    assert samples(covered) == samples(stretches) & samples(by)
    assert samples(left) == samples(stretches) - samples(by)
    assert covered == sorted(covered)
    assert is_run(left)
