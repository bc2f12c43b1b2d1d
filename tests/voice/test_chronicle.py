"""What the sink is told, and in what order."""

import logging
from collections.abc import Sequence

import pytest

from discord_recorder.voice.chronicle import Chronicle
from discord_recorder.voice.counters import Outcome, PacketLedger
from discord_recorder.voice.frames import OpusFrame
from discord_recorder.voice.sink import Ended, EndReason, GapReason, Segment
from tests.voice.discord_side import Heard

FRAME = OpusFrame(1, 2, 3, 4, b"opus", 5.0)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def story(heard: Heard) -> Chronicle:
    made = Chronicle(heard, PacketLedger())
    made.segment(20, 1.0, heard_until=None)
    return made


class TestGaps:
    def test_a_lost_connection_leaves_one_from_the_first_doubt(self, story: Chronicle, heard: Heard) -> None:
        story.doubt(10.0)
        story.doubt(11.0)
        story.gap(GapReason.CONNECTION_LOST)
        story.gap(GapReason.SESSION_ENDED)
        story.segment(20, 12.0, heard_until=8.0)
        assert heard.gaps == [(10.0, 12.0, GapReason.CONNECTION_LOST)]
        assert heard.segments[1] == Segment(number=2, channel_id=20, started=12.0)

    def test_what_the_old_connection_still_heard_shortens_it(self, story: Chronicle, heard: Heard) -> None:
        story.gap(GapReason.SERVER_MOVED, 10.0)
        story.segment(20, 12.0, heard_until=11.5)
        assert heard.gaps == [(11.5, 12.0, GapReason.SERVER_MOVED)]

    def test_silence_frames_do_not_shorten_deafness(self, story: Chronicle, heard: Heard) -> None:
        story.doubt(3.0)
        story.gap(GapReason.DEAF)
        story.segment(20, 12.0, heard_until=11.0)
        assert heard.gaps == [(3.0, 12.0, GapReason.DEAF)]

    def test_there_is_none_when_the_session_was_resumed(self, story: Chronicle, heard: Heard) -> None:
        story.doubt(10.0)
        story.resumed()
        story.gap(GapReason.SERVER_MOVED, 50.0)
        story.segment(20, 51.0, heard_until=None)
        assert heard.gaps == [(50.0, 51.0, GapReason.SERVER_MOVED)]

    def test_there_is_none_before_the_first_segment(self, heard: Heard) -> None:
        story = Chronicle(heard, PacketLedger())
        story.doubt(1.0)
        story.gap(GapReason.CONNECTION_LOST)
        story.segment(20, 5.0, heard_until=None)
        assert heard.gaps == []

    def test_the_end_closes_it(self, story: Chronicle, heard: Heard) -> None:
        story.deafened(True, 4.0)
        story.deafened(True, 5.0)
        story.doubt(6.0)
        story.gap(GapReason.SESSION_ENDED)
        story.ended(Ended(reason=EndReason.GAVE_UP), 9.0, heard_until=None)
        assert heard.gaps == [(6.0, 9.0, GapReason.SESSION_ENDED), (4.0, 9.0, GapReason.DEAFENED)]
        assert heard.ended == [Ended(reason=EndReason.GAVE_UP)]


def test_speakers_are_told_once(story: Chronicle, heard: Heard) -> None:
    for user_id in (1, 2, 1):
        story.speaker(user_id, joined=True)
    story.only_present({2, 3})
    story.speaker(1, joined=False)
    assert heard.speakers == [(1, True), (2, True), (1, False)]
    assert story.speakers == {2}


def test_a_sink_that_fails_is_logged_and_told_on(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Heard):
        def on_segment(self, segment: Segment) -> None:
            raise RuntimeError("no")

    broken = Broken()
    story = Chronicle(broken, PacketLedger())
    with caplog.at_level(logging.ERROR):
        story.segment(20, 1.0, heard_until=None)
    story.frames([FRAME])
    assert broken.frames == [FRAME]
    assert [record.message for record in caplog.records] == ["voice_sink_failed"]


def test_frames_that_the_sink_failed_on_are_not_stored() -> None:
    class Broken(Heard):
        def on_frames(self, frames: Sequence[OpusFrame]) -> None:
            if len(frames) > 1:
                raise RuntimeError("no")
            super().on_frames(frames)

    broken, ledger = Broken(), PacketLedger()
    story = Chronicle(broken, ledger)
    other = FRAME._replace(user_id=7)
    for batch in ([FRAME], [FRAME, other, FRAME], [other]):
        for frame in batch:
            ledger.received += 1
            ledger.tally(frame.user_id).stored += 1
        story.frames(batch)
        ledger.check()
    assert broken.frames == [FRAME, other]
    assert [ledger.user_counts(user_id).stored for user_id in (1, 7)] == [1, 1]
    assert [ledger.user_counts(user_id).dropped for user_id in (1, 7)] == [
        {Outcome.NOT_RECORDED: 2},
        {Outcome.NOT_RECORDED: 1},
    ]


def test_nobody_need_listen() -> None:
    story = Chronicle(None, PacketLedger())
    story.segment(20, 1.0, heard_until=None)
    story.frames([FRAME])
    story.speaker(1, joined=True)
    story.gap(GapReason.DEAF, 2.0)
    story.ended(Ended(reason=EndReason.LEFT), 3.0, heard_until=None)
    assert story.speakers == {1}
