import pytest
from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.recording.session.session_time import SessionTime

RATE = 48_000
START = 1000.0


def paused(*pauses: tuple[float, float | None], runs_on: bool = False) -> SessionTime:
    """Session time with pauses, in seconds after the start; the last one may go on."""
    time = SessionTime(START, runs_on=runs_on)
    for begin, end in pauses:
        time.pause(START + begin)
        if end is not None:
            time.resume(START + end)
    return time


def seconds(time: SessionTime, after_start: float) -> float:
    return time.sample_at(START + after_start) / RATE


@pytest.mark.parametrize("runs_on", [False, True])
def test_without_a_pause_it_is_the_time_since_the_start(runs_on: bool) -> None:
    time = paused(runs_on=runs_on)
    assert [seconds(time, at) for at in (-1, 0, 2.5)] == [0, 0, 2.5]
    assert time.recorded_arrival(START + 2) == START + 2
    assert not time.was_paused


def test_a_pause_stops_it() -> None:
    time = paused((2, 5), (7, None))
    assert time.is_paused
    places = {0: 0, 1.5: 1.5, 2: 2, 4: 2, 5: 2, 6: 3, 7: 4, 9: 4}
    assert {at: seconds(time, at) for at in places} == places
    time.resume(START + 10)
    assert {at: seconds(time, at) for at in (*places, 12)} == places | {12: 6}
    assert time.started == START + 6


def test_it_may_run_on() -> None:
    time = paused((2, 5), (7, None), runs_on=True)
    assert [seconds(time, at) for at in (1, 3, 6, 9)] == [1, 3, 6, 9]
    assert time.started == START


@pytest.mark.parametrize("runs_on", [False, True])
def test_what_arrived_in_a_pause_is_not_recorded_whenever_it_is_told(runs_on: bool) -> None:
    time = paused((2, 5), (7, None), runs_on=runs_on)
    arrivals = [1.9, 2.0, 4.9, 5.0, 6.9, 7.0, 99.0]
    recorded = [time.recorded_arrival(START + at) is not None for at in arrivals]
    assert recorded == [True, False, False, True, True, False, False]
    time.resume(START + 8)
    recorded = [time.recorded_arrival(START + at) is not None for at in (*arrivals, 7.9, 8.0)]
    assert recorded == [True, False, False, True, True, False, True, False, True]


@given(
    lengths=st.lists(st.integers(1, 1000), max_size=8),
    arrived=st.integers(0, 4000),
    runs_on=st.booleans(),
)
def test_an_arrival_keeps_its_session_time_through_all_pauses(lengths: list[int], arrived: int, runs_on: bool) -> None:
    time, now, before = SessionTime(START, runs_on=runs_on), START, None
    for number, length in enumerate(lengths):
        if now + length > START + arrived >= now and number % 2 == 0:
            before = time.sample_at(START + arrived)
        now += length
        if number % 2 == 0:
            time.pause(now)
        else:
            time.resume(now)
    place = time.recorded_arrival(START + arrived)
    if before is not None:
        assert place is not None
        assert round((place - time.started) * RATE) == before == time.sample_at(START + arrived)


def test_pausing_and_resuming_twice_changes_nothing() -> None:
    time = paused((2, None))
    time.pause(START + 3)
    time.resume(START + 5)
    time.resume(START + 9)
    assert seconds(time, 10) == 7
