"""Deaf or just silent: virtual time, a quarter of a second at a time."""

from collections.abc import Callable

import pytest

from discord_recorder.voice.frames import OpusFrame
from discord_recorder.voice.health import KEEPALIVE_SECONDS, Deafness, DeafnessWatch
from discord_recorder.voice.opus import SILENCE

TICK = 0.25
SPEECH = b"\x78speech"


def frames(opus: bytes, *user_ids: int) -> list[OpusFrame]:
    return [OpusFrame(user_id, user_id, 0, 0, opus, 0.0) for user_id in user_ids]


Act = Callable[[DeafnessWatch], None]


def first_alarm(
    watch: DeafnessWatch,
    seconds: float,
    each_tick: Callable[[float], None] = lambda _: None,
    *,
    start: float = 0.0,
    answers: bool = False,
) -> tuple[float, Deafness] | None:
    """Let time pass and tell when the watch gives alarm, and why."""
    for tick in range(1, round(seconds / TICK) + 1):
        now = start + tick * TICK
        each_tick(now)
        if watch.keepalive_due(now) and answers:
            watch.keepalive_answered()
        if alarm := watch.check(now):
            assert start - KEEPALIVE_SECONDS < alarm.since < now
            return now - start, alarm.deafness
    return None


class TestDeaf:
    def test_datagrams_come_and_none_opens(self) -> None:
        watch = DeafnessWatch(0.0)
        alarm = first_alarm(watch, 30, lambda now: watch.unopened(12, now))
        assert alarm is not None
        assert alarm[1] is Deafness.NOTHING_OPENS
        assert alarm[0] < 10

    def test_none_opens_of_what_is_said_with_pauses(self) -> None:
        watch = DeafnessWatch(0.0)
        alarm = first_alarm(watch, 30, lambda now: watch.unopened(12 if now % 5 < 1 else 0, now))
        assert alarm is not None
        assert alarm[1] is Deafness.NOTHING_OPENS
        assert alarm[0] < 15

    def test_silence_frames_prove_nothing_about_keys(self) -> None:
        watch = DeafnessWatch(0.0)

        def talk(now: float) -> None:
            watch.unopened(12, now)
            watch.heard(frames(SILENCE, 1), now)

        alarm = first_alarm(watch, 30, talk)
        assert alarm is not None
        assert alarm[0] < 10

    def test_speaking_is_announced_and_nothing_comes(self) -> None:
        watch = DeafnessWatch(0.0)
        watch.announced(1, speaking=True, now=0.0)
        alarm = first_alarm(watch, 30)
        assert alarm is not None
        assert alarm[1] is Deafness.NOTHING_COMES
        assert alarm[0] < 10

    def test_everybody_breaks_off_in_mid_word(self) -> None:
        watch = DeafnessWatch(0.0)
        assert first_alarm(watch, 20, lambda now: watch.heard(frames(SPEECH, 1, 2), now)) is None
        alarm = first_alarm(watch, 30, start=20)
        assert alarm is not None
        assert alarm[1] is Deafness.BROKE_OFF
        assert alarm[0] < 10

    @pytest.mark.parametrize("black_from", [20.0, 21.25, 24.75])
    def test_the_server_stops_answering_keepalives(self, black_from: float) -> None:
        watch = DeafnessWatch(0.0)
        assert first_alarm(watch, black_from, answers=True) is None
        alarm = first_alarm(watch, 30, start=black_from)
        assert alarm is not None
        assert alarm[1] is Deafness.KEEPALIVE_UNANSWERED
        assert alarm[0] < 10


class TestNotDeaf:
    def test_an_hour_of_silence(self) -> None:
        assert first_alarm(DeafnessWatch(0.0), 3600) is None
        assert first_alarm(DeafnessWatch(0.0), 3600, answers=True) is None

    def test_an_hour_of_talk_with_pauses(self) -> None:
        watch = DeafnessWatch(0.0)

        def talk(now: float) -> None:
            second = now % 60
            if second < 20:
                watch.heard(frames(SPEECH, 1, 2), now)
                watch.announced(1, speaking=True, now=now)
            elif second == 20:
                watch.heard(frames(SILENCE, 1, 2), now)
                watch.announced(1, speaking=False, now=now)

        assert first_alarm(watch, 3600, talk) is None

    def test_an_announcement_that_audio_follows(self) -> None:
        watch = DeafnessWatch(0.0)
        watch.announced(1, speaking=True, now=0.0)
        watch.heard(frames(SILENCE, 1), 0.2)
        assert first_alarm(watch, 60) is None

    def test_an_announcement_that_comes_after_its_audio(self) -> None:
        watch = DeafnessWatch(0.0)
        watch.heard(frames(SILENCE, 1), 10.0)
        watch.announced(1, speaking=True, now=10.5)
        assert first_alarm(watch, 60, start=10.5) is None

    def test_an_announcement_that_is_taken_back(self) -> None:
        ways: list[Act] = [
            lambda watch: watch.announced(1, speaking=False, now=3.0),
            lambda watch: watch.gone(1),
            lambda watch: watch.voice_states(muted={1}, server_deafened=False),
        ]
        for take_back in ways:
            watch = DeafnessWatch(0.0)
            watch.announced(1, speaking=True, now=0.0)
            take_back(watch)
            assert first_alarm(watch, 60) is None

    def test_one_who_leaves_or_mutes_in_mid_word(self) -> None:
        ways: list[Act] = [
            lambda watch: watch.gone(1),
            lambda watch: watch.voice_states(muted={1}, server_deafened=False),
        ]
        for stop in ways:
            watch = DeafnessWatch(0.0)
            watch.heard(frames(SPEECH, 1), 1.0)
            stop(watch)
            assert first_alarm(watch, 60, start=1.0) is None

    def test_one_who_broke_off_while_others_went_on(self) -> None:
        watch = DeafnessWatch(0.0)
        watch.heard(frames(SPEECH, 1, 2), 1.0)
        watch.heard(frames(SPEECH, 2), 5.0)
        watch.heard(frames(SILENCE, 2), 5.2)
        assert first_alarm(watch, 60, start=5.2) is None

    def test_a_re_key(self) -> None:
        watch = DeafnessWatch(0.0)
        assert first_alarm(watch, 2, lambda now: watch.unopened(100, now)) is None
        watch.heard(frames(SPEECH, 1), 2.1)
        watch.heard(frames(SILENCE, 1), 2.2)
        assert first_alarm(watch, 60, start=2.2) is None

    def test_a_newcomer_heard_before_our_welcome_who_then_is_silent(self) -> None:
        watch = DeafnessWatch(0.0)
        assert first_alarm(watch, 2, lambda now: watch.unopened(13, now)) is None
        assert first_alarm(watch, 60, start=2.0) is None

    def test_words_that_wait_for_a_key_long_after_a_newcomer_was_heard(self) -> None:
        watch = DeafnessWatch(0.0)
        assert first_alarm(watch, 2, lambda now: watch.unopened(13, now)) is None
        assert first_alarm(watch, 60, start=2.0) is None
        watch.unopened(12, 62.0)
        assert watch.check(62.0) is None
        watch.heard(frames(SPEECH, 1), 62.1)
        watch.heard(frames(SILENCE, 1), 62.2)
        assert first_alarm(watch, 60, start=62.2) is None

    def test_a_little_garbage(self) -> None:
        watch = DeafnessWatch(0.0)
        assert first_alarm(watch, 20, lambda now: watch.unopened(1 if now % 1 == 0 else 0, now)) is None

    def test_deafened_by_a_moderator(self) -> None:
        watch = DeafnessWatch(0.0)
        watch.heard(frames(SPEECH, 1), 1.0)
        watch.announced(2, speaking=True, now=4.0)
        watch.voice_states(muted=(), server_deafened=True)
        assert first_alarm(watch, 60, start=4.0) is None

    def test_allowed_to_listen_again(self) -> None:
        """What was going on when we were deafened, or announced meanwhile, is over."""
        watch = DeafnessWatch(0.0)
        watch.heard(frames(SPEECH, 1), 1.0)
        watch.voice_states(muted=(), server_deafened=True)
        assert first_alarm(watch, 30, lambda now: watch.announced(2, speaking=True, now=now), start=1.0) is None
        watch.voice_states(muted=(), server_deafened=False)
        assert first_alarm(watch, 60, start=31.0) is None

    def test_some_keepalives_get_lost(self) -> None:
        watch, asked = DeafnessWatch(0.0), 0
        for tick in range(4 * 600):
            if watch.keepalive_due(tick * TICK):
                asked += 1
                if asked % 3 == 0:
                    watch.keepalive_answered()
            assert watch.check(tick * TICK) is None


def test_whoever_stops_without_silence_frames_alarms_once() -> None:
    careless: set[int] = set()
    first = DeafnessWatch(0.0, careless=careless)
    first.heard(frames(SPEECH, 1), 0.0)
    assert first_alarm(first, 30) is not None
    second = DeafnessWatch(30.0, careless=careless)
    second.heard(frames(SPEECH, 1), 31.0)
    assert first_alarm(second, 60, start=31.0) is None
    second.heard(frames(SPEECH, 1), 100.0)
    second.heard(frames(SILENCE, 1), 100.2)  # but can end properly
    second.heard(frames(SPEECH, 1), 101.0)
    assert first_alarm(second, 60, start=101.0) is not None


def test_keepalives_are_five_seconds_apart() -> None:
    watch = DeafnessWatch(0.0)
    sent = []
    for tick in range(400):
        if watch.keepalive_due(tick * TICK):
            sent.append(tick * TICK)
            watch.keepalive_answered()
    assert sent == [KEEPALIVE_SECONDS * number for number in range(len(sent))]
    assert len(sent) == 20


def test_memory_is_bounded() -> None:
    watch = DeafnessWatch(0.0)
    for user_id in range(1, 5000):
        watch.announced(user_id, speaking=True, now=5.0)
    watch.heard(frames(SPEECH, *range(1, 5000)), 6.0)
    assert first_alarm(watch, 60, start=6.0) is not None
    assert all(len(kept) <= 1024 for kept in (watch._announced, watch._talking, watch._careless))
