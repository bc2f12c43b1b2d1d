"""What no good client sends: each frame is heard in its place, or counted with a reason; and memory is bounded."""

import asyncio
import tracemalloc
from itertools import islice

import pytest

from discord_recorder import ServicesManager
from discord_recorder.recording.live.capture import MAX_STREAMS, LiveCapture
from discord_recorder.voice.frames import OpusFrame
from tests.audio.opus_signals import encoded
from tests.audio.signals import to_pcm
from tests.listening.capture import FRAME_SECONDS, live_capture, said, spoken, verdicts
from tests.recording.live_frames import Sender, hear, hear_all
from tests.support.recorder import ALICE, BOB, OpenServices
from tests.support.tone_code import FRAME, packets, stereo, voice

ADA, BEN = ALICE, BOB
HOURS = 3600 * 48_000
MOST_MS = 20.0


def accounted(live: LiveCapture, frames: int, **dropped: int) -> None:
    """Every frame was stored, or dropped for the reason that is told."""
    live.ledger.check()
    counts = live.ledger.counts()
    assert counts.received == frames
    assert counts.dropped == dropped


@pytest.mark.parametrize("hours", [5, -5, 24.8, -0.001])
async def test_timestamps_that_jump(services: ServicesManager, hours: float) -> None:
    """In the middle of a sentence, and back again in the middle of the next."""
    live = await live_capture(services)
    sender, jump = Sender(ADA), round(hours * HOURS)
    first, second = sender.says(spoken(ADA, 0, 60), 0.5), sender.says(spoken(ADA, 60, 60), 2.5)
    sent = [*first, *second]
    for number in range(30, len(first) + 30):
        sent[number] = sent[number]._replace(timestamp=(sent[number].timestamp + jump) % 2**32)
    hear_all(live, sent)
    verdict = (await verdicts(services, {ADA: [*said(0, 60, 0.5), *said(60, 60, 2.5, 1)]}))[ADA]
    accounted(live, len(sent))
    assert verdict.missing == []
    assert verdict.worst_offset_ms <= MOST_MS
    assert verdict.is_in_order, verdict


async def test_another_user_with_the_same_ssrc(services: ServicesManager) -> None:
    """Again and again, as fast as may be; nobody is heard on the other's track."""
    live = await live_capture(services)
    truth = {ADA: said(0, 0, 0), BEN: said(0, 0, 0)}
    sent = 0
    for turn in range(8):
        user, at = (ADA, BEN)[turn % 2], 0.5 + turn * 0.5
        frames = Sender(user, 7, sequence=100 * turn, timestamp=99_999 * turn).says(spoken(user, turn * 20, 20), at)
        hear_all(live, frames)
        truth[user] += said(turn * 20, 20, at, turn)
        sent += len(frames)
    heard = await verdicts(services, truth)
    accounted(live, sent)
    for verdict in heard.values():
        assert verdict.missing == []
        assert verdict.is_clean, verdict
        assert verdict.worst_offset_ms <= MOST_MS


async def test_frames_of_one_byte(services: ServicesManager) -> None:
    """A TOC byte alone is a packet without sound; one of code 3 alone is none, and counted. Those around are heard."""
    live = await live_capture(services)
    sent = Sender(ADA).says(spoken(ADA, 0, 100), 0.5)
    for number in (20, 40, 41, 60):
        sent[number] = sent[number]._replace(opus=b"\xf8")
    for number in (30, 70):
        sent[number] = sent[number]._replace(opus=b"\x03")
    hear_all(live, sent)
    verdict = (await verdicts(services, {ADA: said(0, 100, 0.5)}))[ADA]
    accounted(live, len(sent), not_opus=2)
    assert verdict.missing == [20, 30, 40, 41, 60, 70]
    assert verdict.is_clean, verdict
    assert verdict.worst_offset_ms <= 3


async def test_frames_of_120_ms(services: ServicesManager) -> None:
    """Among others of 20 ms, over the borders of chunks."""
    live = await live_capture(services)
    long = encoded(to_pcm(stereo(voice(ADA, 60 * FRAME, 60 * FRAME))), frame_ms=120)
    sent = Sender(ADA).says([*spoken(ADA, 0, 60), *long, *spoken(ADA, 120, 30)], 0.5)
    hear_all(live, sent)
    verdict = (await verdicts(services, {ADA: said(0, 150, 0.5)}))[ADA]
    accounted(live, len(sent))
    assert set(verdict.missing) <= {60, 120}  # an encoder begins there, with silence
    assert verdict.is_in_order, verdict
    assert verdict.worst_offset_ms <= MOST_MS


async def test_mono_and_stereo_in_turns(services: ServicesManager) -> None:
    live = await live_capture(services)
    mono = list(islice(packets(ADA, channels=1), 120))
    both = list(islice(packets(ADA, channels=2), 120))
    assert {packet[0] & 4 for packet in mono} != {packet[0] & 4 for packet in both}
    sent = Sender(ADA).says([(mono, both)[number // 7 % 2][number] for number in range(120)], 0.5)
    hear_all(live, sent)
    verdict = (await verdicts(services, {ADA: said(0, 120, 0.5)}))[ADA]
    accounted(live, len(sent))
    assert verdict.missing == []
    assert verdict.is_in_order, verdict
    assert verdict.worst_offset_ms <= 3


async def test_someone_who_rejoins_fifty_times(services: ServicesManager) -> None:
    """Each time with another SSRC, sequence and timestamp."""
    live = await live_capture(services)
    truth, sent = said(0, 0, 0), 0
    for time in range(50):
        at = 0.5 + time * 0.3
        sender = Sender(ADA, time + 1, sequence=7919 * time % 2**16, timestamp=2_654_435_761 * time % 2**32)
        frames = sender.says(spoken(ADA, time * 8, 8), at)
        hear_all(live, frames)
        truth += said(time * 8, 8, at, time)
        sent += len(frames)
        await asyncio.sleep(0)
    verdict = (await verdicts(services, {ADA: truth}))[ADA]
    accounted(live, sent)
    assert verdict.missing == []
    assert verdict.is_clean, verdict
    assert verdict.worst_offset_ms <= MOST_MS


async def test_streams_without_end_take_no_more_memory(open_services: OpenServices) -> None:
    async with open_services(flush_interval_seconds=300.0) as services:
        live = await live_capture(services)
        packet = spoken(ADA, 0, 1)[0]
        after: list[int] = []
        tracemalloc.start()
        try:
            for ssrc in range(3 * MAX_STREAMS):
                at = ssrc * FRAME_SECONDS
                hear(live, [OpusFrame(ADA, ssrc, ssrc * 7919 % 2**16, ssrc * 99_991 % 2**32, packet, at)])
                if ssrc % MAX_STREAMS == MAX_STREAMS - 1:
                    live.flush()
                    after.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
        accounted(live, 3 * MAX_STREAMS)
        assert after[2] - after[0] < 0.2 * after[0]
