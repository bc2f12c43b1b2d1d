"""Placement in virtual time: arrivals and timestamps are numbers."""

import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.audio.opus import SILENCE
from discord_recorder.recording.live.placement import BEGUN, MISSING, SETTLED, UNTRUE_SAMPLES, StreamPlacement
from discord_recorder.recording.tracks.opus_track import MOVABLE_SECONDS
from discord_recorder.voice.counters import Outcome

FRAME = 960
RATE = 48_000
WRAP = 2**32
START_TIMES = [0, 5, WRAP - 4800, WRAP // 2 - 2400, 3_000_000_017]


class Track:
    """One track and its streams; keeps what was placed."""

    def __init__(self) -> None:
        self.end = 0
        self.places: list[int | None] = []
        self.missing: list[tuple[int, int]] = []
        self.left_out = 0
        self._spurt: list[int] = []
        self._spurt_from = 0
        self._spurt_began = 0.0

    def hears(
        self, stream: StreamPlacement, sequence: int, timestamp: int, arrived: float, *, silent: bool = False
    ) -> int | None:
        place = stream.place(
            sequence % 2**16,
            timestamp % WRAP,
            SILENCE if silent else bytes(80),
            FRAME,
            arrived_sample=round(arrived * RATE),
            free_from=self.end,
        )
        if stream.news & MISSING:
            start, samples = stream.missing
            self.missing.append(stream.missing)
            self.end = max(self.end, start + samples)
        if stream.news & BEGUN:
            self._spurt, self._spurt_from, self._spurt_began = [], self.end, arrived
        self.left_out += place is Outcome.CLOCK_STEP
        at = place if isinstance(place, int) else None
        self._spurt.append(len(self.places))
        self.places.append(at)
        if at is not None:
            self.end = max(self.end, at + FRAME)
        if stream.news & SETTLED:
            room = (self.places[self._spurt[0]] or 0) - self._spurt_from
            shift = min(stream.shift, room if arrived - self._spurt_began <= MOVABLE_SECONDS else 0)
            for number in self._spurt:
                self.places[number] = (self.places[number] or 0) - shift
            self.end -= shift
            stream.moved(shift)
        return at


def spurt(
    track: Track,
    stream: StreamPlacement,
    *,
    sequence: int,
    timestamp: int,
    at: float,
    delays: Iterable[float],
    silences: int = 0,
) -> list[int | None]:
    """Frames sent every 20 ms from `at` on, each with its delay; the last ones are silence."""
    delays = list(delays)
    return [
        track.hears(
            stream,
            sequence + n,
            timestamp + n * FRAME,
            at + n * 0.02 + delay,
            silent=n >= len(delays) - silences,
        )
        for n, delay in enumerate(delays)
    ]


@pytest.mark.parametrize("timestamp", START_TIMES)
@pytest.mark.parametrize("sequence", [0, 65_500, 32_760])
def test_within_a_spurt_timestamps_are_exact(timestamp: int, sequence: int) -> None:
    chance = random.Random(1)
    track, stream = Track(), StreamPlacement()
    delays = [0.0, *(chance.uniform(0, 0.3) for _ in range(99))]
    places = spurt(track, stream, sequence=sequence, timestamp=timestamp, at=1.0, delays=delays)
    assert places == [RATE + n * FRAME for n in range(100)]


@pytest.mark.parametrize("runs_on", [True, False])
@pytest.mark.parametrize("timestamp", START_TIMES)
@pytest.mark.parametrize("pause", [0.12, 0.5, 3.0, 3600.0])
def test_a_new_spurt_begins_where_it_arrives_or_its_timestamps_say(runs_on: bool, timestamp: int, pause: float) -> None:
    track, stream = Track(), StreamPlacement()
    spurt(track, stream, sequence=7, timestamp=timestamp, at=1.0, delays=[0.0] * 30, silences=5)
    again = 1.6 + pause
    timestamp += 30 * FRAME + (round(pause * RATE) if runs_on else 0)
    places = spurt(track, stream, sequence=37, timestamp=timestamp, at=again, delays=[0.003] * 10)
    assert places[0] is not None
    known = runs_on and pause < 30  # then the delay is known to be one
    assert abs(places[0] - (again + (0 if known else 0.003)) * RATE) <= 120
    assert places == [places[0] + n * FRAME for n in range(10)]


@pytest.mark.parametrize("runs_on", [True, False])
def test_a_pause_whose_silence_frames_were_lost(runs_on: bool) -> None:
    track, stream = Track(), StreamPlacement()
    spurt(track, stream, sequence=0, timestamp=0, at=0.0, delays=[0.0] * 20)
    timestamp = 25 * FRAME + (RATE // 2 if runs_on else 0)  # five frames lost, half a second of silence
    (place,) = spurt(track, stream, sequence=25, timestamp=timestamp, at=1.0, delays=[0.0])
    assert place is not None
    assert abs(place - RATE) <= 120


def test_a_loss_is_a_gap_of_its_length() -> None:
    track, stream = Track(), StreamPlacement()
    spurt(track, stream, sequence=0, timestamp=100, at=0.0, delays=[0.0] * 10)
    places = spurt(track, stream, sequence=13, timestamp=100 + 13 * FRAME, at=0.26, delays=[0.05, 0.0])
    assert places == [13 * FRAME, 14 * FRAME]


def stall(seconds: float) -> list[float]:
    """Delays of frames of which those of a while come all at once, at its end."""
    return [0.0] * 10 + [seconds - n * 0.02 for n in range(round(seconds / 0.02))] + [0.0] * 10


@pytest.mark.parametrize("seconds", [0.2, 0.9, 1.8])
def test_a_stall_of_the_network_moves_nothing(seconds: float) -> None:
    track, stream = Track(), StreamPlacement()
    delays = stall(seconds)
    places = spurt(track, stream, sequence=0, timestamp=9, at=2.0, delays=delays)
    assert places == [2 * RATE + n * FRAME for n in range(len(delays))]


@pytest.mark.parametrize("seconds", [3.0, 9.0])
def test_a_long_stall_moves_nothing_either(seconds: float) -> None:
    track, stream = Track(), StreamPlacement()
    delays = stall(seconds)
    spurt(track, stream, sequence=0, timestamp=9, at=2.0, delays=[*delays, *[0.0] * 10])
    assert track.places == [2 * RATE + n * FRAME for n in range(len(delays) + 10)]


def test_after_a_stall_that_is_no_burst_all_is_kept() -> None:
    track, stream = Track(), StreamPlacement()
    delays = [0.0] * 10 + [3.0] * 40
    places = spurt(track, stream, sequence=0, timestamp=9, at=2.0, delays=delays)
    assert places[:10] == [2 * RATE + n * FRAME for n in range(10)]
    assert places[10:] == [round(5.2 * RATE) + n * FRAME for n in range(40)]


@pytest.mark.parametrize("sequence", [0, 65_533])
def test_overtaken_frames_get_their_own_place(sequence: int) -> None:
    track, stream = Track(), StreamPlacement()
    order = [0, 2, 1, 3, 7, 6, 5, 4, 8]
    places = [track.hears(stream, sequence + n, WRAP - 2000 + n * FRAME, 1 + n * 0.02) for n in order]
    assert places == [RATE + n * FRAME for n in order]


def test_frames_that_the_first_one_overtook_come_before_it() -> None:
    track, stream = Track(), StreamPlacement()
    assert [track.hears(stream, n, n * FRAME, 1.04) for n in (2, 1, 0)] == [RATE + n * FRAME for n in (2, 1, 0)]


@pytest.mark.parametrize("runs_on", [True, False])
def test_a_late_frame_of_the_spurt_before(runs_on: bool) -> None:
    track, stream = Track(), StreamPlacement()
    spurt(track, stream, sequence=0, timestamp=0, at=1.0, delays=[0.0] * 8, silences=3)
    spurt(track, stream, sequence=9, timestamp=9 * FRAME, at=1.18, delays=[0.0], silences=1)
    timestamp = 10 * FRAME + (RATE if runs_on else 0)
    spurt(track, stream, sequence=10, timestamp=timestamp, at=2.23, delays=[0.0])
    assert track.hears(stream, 8, 8 * FRAME, 2.24) == RATE + 8 * FRAME


def test_a_duplicate_has_the_place_of_its_twin() -> None:
    track, stream = Track(), StreamPlacement()
    first = track.hears(stream, 5, 500, 1.0)
    assert track.hears(stream, 5, 500, 1.3) == first


@pytest.mark.parametrize("timestamp", [0, 10 * FRAME, 3_000_000_000])
@pytest.mark.parametrize("sequence", [0, 9, 40_000])
def test_a_sender_that_begins_anew(sequence: int, timestamp: int) -> None:
    track, stream = Track(), StreamPlacement()
    spurt(track, stream, sequence=30_000, timestamp=2_000_000_000, at=0.0, delays=[0.0] * 10, silences=5)
    places = spurt(track, stream, sequence=sequence, timestamp=timestamp, at=60.0, delays=[0.0] * 3)
    assert places == [60 * RATE + n * FRAME for n in range(3)]


def test_timestamps_that_stand_still_do_not_stop_a_track() -> None:
    track, stream = Track(), StreamPlacement()
    places = [track.hears(stream, n, 77, n * 0.02) for n in range(50)]
    assert places == [n * FRAME for n in range(50)]


def test_a_new_stream_does_not_go_back_over_what_is_there() -> None:
    track = Track()
    spurt(track, StreamPlacement(), sequence=0, timestamp=0, at=1.0, delays=[0.1] + [0.0] * 9)
    end = track.end
    places = spurt(track, StreamPlacement(), sequence=9, timestamp=9, at=1.2, delays=[0.0] * 5)
    assert places == [end + n * FRAME for n in range(5)]


def test_two_streams_at_once_do_not_run_away_from_the_clock() -> None:
    track, one, two = Track(), StreamPlacement(), StreamPlacement()
    for n in range(1000):
        track.hears(one, n, n * FRAME, n * 0.02)
        track.hears(two, n, 50 + n * FRAME, n * 0.02)
        assert track.end <= n * FRAME + UNTRUE_SAMPLES + 2 * FRAME
    assert None in track.places


@pytest.mark.parametrize("first_delay", [0.003, 0.04, 0.15])
def test_a_spurt_whose_first_frame_was_late_is_moved_back(first_delay: float) -> None:
    track, stream = Track(), StreamPlacement()
    chance = random.Random(3)
    delays = [first_delay, *(chance.uniform(0, 0.06) for _ in range(19)), 0.0, *(0.02 for _ in range(30))]
    spurt(track, stream, sequence=0, timestamp=500, at=1.0, delays=delays)
    assert track.places == [RATE + n * FRAME for n in range(len(delays))]


def test_a_spurt_is_moved_again_when_it_turns_out_that_all_was_late_at_first() -> None:
    track, stream = Track(), StreamPlacement()
    delays = [*[0.03] * 60, *[0.0] * 150]
    spurt(track, stream, sequence=0, timestamp=500, at=1.0, delays=delays)
    assert track.places == [RATE + n * FRAME for n in range(len(delays))]


def test_a_short_spurt_settles_with_its_silence_frames() -> None:
    track, stream = Track(), StreamPlacement()
    spurt(track, stream, sequence=0, timestamp=500, at=1.0, delays=[0.03, 0.02, 0.0, 0.0, 0.0, 0.0], silences=3)
    assert track.places == [RATE + n * FRAME for n in range(6)]


def test_what_is_missing_is_told() -> None:
    track, stream = Track(), StreamPlacement()
    spurt(track, stream, sequence=0, timestamp=0, at=0.0, delays=[0.0] * 10)
    spurt(track, stream, sequence=13, timestamp=13 * FRAME, at=0.26, delays=[0.0] * 2)
    spurt(track, stream, sequence=16, timestamp=16 * FRAME + RATE, at=1.32, delays=[0.0])
    assert track.missing == [(10 * FRAME, 3 * FRAME), (15 * FRAME, FRAME)]


def test_what_is_missing_before_a_pause_is_told() -> None:
    track, stream = Track(), StreamPlacement()
    spurt(track, stream, sequence=0, timestamp=0, at=0.0, delays=[0.0] * 10)
    spurt(track, stream, sequence=15, timestamp=15 * FRAME, at=3.0, delays=[0.0])
    assert track.missing == [(10 * FRAME, 5 * FRAME)]


def test_a_stream_that_begins_anew_misses_nothing() -> None:
    track, stream = Track(), StreamPlacement()
    spurt(track, stream, sequence=0, timestamp=0, at=0.0, delays=[0.0] * 10)
    spurt(track, stream, sequence=20_000, timestamp=77, at=30.0, delays=[0.0])
    assert track.missing == []


@pytest.mark.parametrize("ppm", [100, -100, 30, -30])
@pytest.mark.parametrize("jitter", [0.0, 0.04])
def test_who_never_pauses_is_followed_by_small_steps(ppm: int, jitter: float) -> None:
    track, stream, chance = Track(), StreamPlacement(), random.Random(4)
    frames = 30 * 60 * 50
    for n in range(frames):
        sent = 1 + n * 0.02 * (1 + ppm * 1e-6)
        at = track.hears(stream, n, n * FRAME, sent + chance.uniform(0, jitter))
        assert at is None or abs(at / RATE - sent) < 0.0095 or (n < 25 and jitter)
    drift_seconds = 30 * 60 * ppm * 1e-6
    steps = drift_seconds / 0.01
    assert abs(track.left_out - max(0, -steps)) <= 1
    assert abs(len(track.missing) - abs(steps)) <= 1
    assert all(samples == FRAME // 2 for _, samples in track.missing)


def test_a_step_is_made_in_a_quiet_frame() -> None:
    track, stream = Track(), StreamPlacement()
    for n in range(5_000):
        opus = bytes(20 if n % 37 == 0 else 80)
        before = len(track.missing)
        place = stream.place(
            n % 2**16, n * FRAME, opus, FRAME, arrived_sample=round(n * FRAME * 1.0001), free_from=track.end
        )
        assert isinstance(place, int)
        if stream.news & MISSING:
            track.missing.append(stream.missing)
        track.end = place + FRAME
        assert len(track.missing) == before or len(opus) == 20
    assert len(track.missing) == 1


@pytest.mark.parametrize("ppm", [100, -100])
@pytest.mark.parametrize("runs_on", [True, False])
def test_drift_is_put_right_between_spurts(ppm: int, runs_on: bool) -> None:
    track, stream, chance = Track(), StreamPlacement(), random.Random(6)
    sequence = timestamp = 0
    now, sent = 1.0, []
    for _ in range(300):
        length, pause = chance.randint(30, 600), chance.uniform(0.3, 40)
        for n in range(length):
            track.hears(stream, sequence, timestamp, now + chance.uniform(0, 0.015), silent=n >= length - 5)
            sent.append(now)
            sequence, timestamp = sequence + 1, timestamp + FRAME
            now += 0.02 * (1 + ppm * 1e-6)
        now += pause
        if runs_on:
            timestamp += round(pause * RATE / (1 + ppm * 1e-6))
    errors = [place / RATE - at for place, at in zip(track.places, sent, strict=True) if place is not None]
    assert len(errors) == len(sent)
    assert max(map(abs, errors)) < 0.0095
    assert track.left_out == 0
    assert track.missing == []


@given(
    steps=st.lists(
        st.tuples(st.integers(0, 2**16 - 1), st.integers(0, WRAP - 1), st.floats(0, 0.5), st.booleans(), st.booleans()),
        max_size=60,
    )
)
def test_whatever_comes_places_are_on_the_grid_and_newer_frames_never_go_back(
    steps: list[tuple[int, int, float, bool, bool]],
) -> None:
    track, stream, now = Track(), StreamPlacement(), 0.0
    sequence = timestamp = 0
    for other_sequence, other_timestamp, wait, silent, regular in steps:
        now += wait
        sequence, timestamp = (sequence + 1, timestamp + FRAME) if regular else (other_sequence, other_timestamp)
        before = track.end
        at = track.hears(stream, sequence, timestamp, now, silent=silent)
        assert at is None or at % 120 == 0
        assert at is None or at <= max(before, now * RATE + UNTRUE_SAMPLES) + 120
