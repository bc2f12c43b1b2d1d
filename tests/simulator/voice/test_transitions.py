"""When a transition is executed, and by whom."""

from discord_recorder.simulator.voice.transitions import TRANSITION_SECONDS, Transitions

A, B, C = 1, 2, 3


def test_it_is_due_when_the_last_member_is_ready() -> None:
    transitions = Transitions()
    number = transitions.begin((A, B), 0.0)
    assert transitions.ready(A, number) == transitions.ready(A, number) == []
    assert transitions.ready(C, number) == []
    assert transitions.ready(B, number + 1) == []
    assert transitions.ready(B, number) == [(number, (A, B))]
    assert not transitions
    assert transitions.ready(B, number) == []


def test_who_leaves_is_not_waited_for_and_not_told() -> None:
    transitions = Transitions()
    first, second = transitions.begin((A, B), 0.0), transitions.begin((A, B, C), 0.0)
    assert transitions.ready(A, first) == []
    assert transitions.leave(B) == [(first, (A,))]
    assert transitions.ready(B, second) == []
    assert transitions.late(TRANSITION_SECONDS - 0.01) == []
    assert transitions.late(TRANSITION_SECONDS) == [(second, (A, C))]


def test_ids_never_are_zero() -> None:
    transitions = Transitions()
    numbers = []
    for _ in range(65_537):
        numbers.append(transitions.begin((A,), 0.0))
        transitions.leave(A)
    assert numbers[:65_535] == list(range(1, 65_536))
    assert numbers[65_535:] == [1, 2]
