"""The window over sequence numbers."""

from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.voice.replay import DUPLICATE, FAR_BEHIND, WINDOW, SequenceWindow


@given(st.integers(0, 0xFFFF), st.lists(st.integers(-200, 200), max_size=60))
def test_it_is_a_set_of_what_was_here(start: int, steps: list[int]) -> None:
    window = SequenceWindow()
    first = window.place(start)
    seen = {0}
    for step in steps:
        index = window.place((start + step) % 0x10000)
        assert index == (DUPLICATE if step in seen else first + step)
        seen.add(step)


def test_indices_go_on_over_many_wraps() -> None:
    window = SequenceWindow()
    first = window.place(65_000)
    for step in range(1, 200_000, 7):
        assert window.place((65_000 + step) % 0x10000) == first + step


def test_the_window_ends_where_it_says() -> None:
    window = SequenceWindow()
    index = window.place(5000)
    assert window.place(5000 - WINDOW) == FAR_BEHIND
    assert window.place(5000 - WINDOW + 1) == index - WINDOW + 1
    assert window.place(5000 - WINDOW + 1) == DUPLICATE


def test_a_jump_ahead_leaves_nothing_behind_it() -> None:
    window = SequenceWindow()
    index = window.place(10)
    assert window.place(10 + 20_000) == index + 20_000
    assert window.place(10 + 20_000 - 1) == index + 20_000 - 1
    assert window.place(10) == FAR_BEHIND


def test_a_new_run_is_after_the_old_one() -> None:
    window = SequenceWindow()
    index = window.place(60_000)
    window.restart()
    assert window.place(3) > index
    assert window.place(3) == DUPLICATE
    assert window.place(60_000) != DUPLICATE
