"""A live call that was recorded, to be exported."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from discord_recorder import ServicesManager
from discord_recorder.audio.opus import missing_packet
from discord_recorder.recording.live.capture import LiveCapture
from discord_recorder.voice.frames import OpusFrame
from tests.audio.opus_signals import encoded, speech
from tests.recording.live_frames import Sender, by_arrival
from tests.support.clock import FakeClock
from tests.support.recorder import ALICE, BOB, CHANNEL, MEETING, quick_settings, started

TITLE: Final = "Stand-up: a/b"
SAID: Final = tuple(encoded(speech("Ada", 3.0)))
LOST: Final = range(100, 104)
"""The packets of Alice's that are lost."""
SPURTS: Final = ((0.5, 2.4), (2.7, 3.4), (4.5, 6.4))
"""Where both are heard, in seconds of session time; between the first two is the loss."""


def hear(live: LiveCapture, *streams: Iterable[OpusFrame]) -> None:
    """Frames whose arrival is in monotonic time, which is 0 at the session's start."""
    for batch in by_arrival(*streams):
        for frame in batch:
            live.ledger.received += 1
            live.ledger.tally(frame.user_id).stored += 1
        live.on_frames(batch)


async def record_call(data_dir: Path) -> None:
    """Ada and Ben say the same at the same times; a pause of a minute is between, and two notes."""
    clock = FakeClock()
    async with ServicesManager(quick_settings(data_dir), clock=clock) as services:
        recorder = services.discord_recorder_service
        session = await started(services, title=TITLE)
        await session.set_speaker_name(ALICE, "Ada")
        await session.set_speaker_name(BOB, "Ben")
        live = session.go_live()
        alice, bob = Sender(ALICE, 1), Sender(BOB, 2)
        first = alice.says(SAID, 0.5)
        for number in LOST:
            first[number] = first[number]._replace(opus=missing_packet(SAID[0], 960))
        hear(live, first, bob.says(SAID, 0.5))
        clock.advance(1)
        assert await recorder.add_note(CHANNEL, "Budget:\n20\t% \U0001f389", BOB)
        clock.advance(3)
        assert await recorder.pause_session(CHANNEL)
        clock.advance(60)
        assert await recorder.resume_session(CHANNEL)
        hear(live, alice.says(SAID[:95], 64.5), bob.says(SAID[:95], 64.5))
        clock.advance(3)
        assert await recorder.add_note(CHANNEL, "x" * 2000)
        assert await recorder.stop_session(CHANNEL)
        assert await recorder.wait_until_ended(MEETING, 60)
