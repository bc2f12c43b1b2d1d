"""Live frames become recordings: real Opus in, the real writer, workers and FFmpeg, measured in the final file."""

import random
from pathlib import Path

import pytest

from discord_recorder import DiscordSessionHandler, InvalidAudioError, ServicesManager
from discord_recorder.audio.opus_reader import read_ogg_opus
from discord_recorder.recording.live.capture import LiveCapture
from discord_recorder.voice.counters import Outcome
from discord_recorder.voice.frames import OpusFrame
from discord_recorder.voice.sink import Ended, EndReason, GapReason, Segment
from tests.audio.opus_signals import ENCODER_DELAY_SAMPLES
from tests.audio.signals import to_pcm, tone
from tests.recording.live_frames import RATE, Sender, hear, hear_all, tone_packets
from tests.recording.live_sound import ALICE_HERTZ, BOB_HERTZ, assert_heard, balanced, level
from tests.support.ffmpeg import UnreliableFfmpeg
from tests.support.recorder import (
    ALICE,
    BOB,
    CHANNEL,
    OpenServices,
    chunks_of,
    recording_of,
    sound_of,
    started,
    stopped,
    track_of,
)
from tests.support.waiting import until


async def live_session(services: ServicesManager) -> tuple[DiscordSessionHandler, LiveCapture]:
    session = await started(services)
    live = session.go_live()
    assert session.live is live
    return session, live


def pushed_files(data_dir: Path) -> list[Path]:
    return list(data_dir.rglob("*.pcm"))


def opus_files(data_dir: Path) -> list[Path]:
    return sorted(data_dir.rglob("*.ogg"))


@pytest.mark.parametrize("runs_on", [True, False])
async def test_two_speakers_are_at_their_places(services: ServicesManager, runs_on: bool) -> None:
    _, live = await live_session(services)
    alice, bob = Sender(ALICE, 10, runs_on=runs_on), Sender(BOB, 11, runs_on=runs_on)
    frames_a = alice.says(tone_packets(1.5, ALICE_HERTZ), 0.4) + alice.says(tone_packets(1.0, ALICE_HERTZ), 3.0)
    frames_b = bob.says(tone_packets(2.0, BOB_HERTZ), 1.0) + bob.says(tone_packets(0.5, BOB_HERTZ), 3.2)
    hear_all(live, frames_a, frames_b)
    recording = await stopped(services)
    assert_heard(sound_of(recording, ALICE), [(0.4, 1.9), (3.0, 4.0)], ALICE_HERTZ)
    assert_heard(sound_of(recording, BOB), [(1.0, 3.0), (3.2, 3.7)], BOB_HERTZ)
    mix = sound_of(recording, None)
    assert level(mix[round(1.2 * RATE) : round(1.8 * RATE)], ALICE_HERTZ) > 0.2
    assert level(mix[round(1.2 * RATE) : round(1.8 * RATE)], BOB_HERTZ) > 0.2
    assert recording["status"] == "complete"
    balanced(live)
    assert live.ledger.counts().stored == len(frames_a) + len(frames_b)


async def test_only_opus_is_stored(open_services: OpenServices, unreliable: UnreliableFfmpeg, data_dir: Path) -> None:
    unreliable.hold()
    packets = tone_packets(3.5)
    async with open_services(ffmpeg_path=str(unreliable.path)) as services:
        session, live = await live_session(services)
        hear_all(live, Sender(ALICE).says(packets, 0.4, then_silence=False))
        await session.flush()
        rows = await chunks_of(services)
        sources = [Path(row["source_path"]) for row in rows]
        assert [source.suffix for source in sources] == [".ogg"] * 4
        places = [(row["start_ms"], row["duration_ms"]) for row in rows]
        assert places == [(300, 1000), (1300, 1000), (2300, 1000), (3300, 600)]
        stored = []
        for row, source in zip(rows, sources, strict=True):
            stream = read_ogg_opus(source.read_bytes())
            assert stream.dropped_bytes == 0
            stored += [packet for packet in stream.packets if packet.at_sample >= row["start_ms"] * 48]
        assert [packet.opus for packet in stored] == packets
        assert [packet.at_sample for packet in stored] == [round(0.4 * RATE) + n * 960 for n in range(len(packets))]
        assert not pushed_files(data_dir)
        unreliable.hold(False)
        await stopped(services)


async def test_frames_are_in_the_file_a_moment_after_they_came(services: ServicesManager, data_dir: Path) -> None:
    _, live = await live_session(services)
    packets = tone_packets(0.1)
    hear_all(live, Sender(ALICE).says(packets, 0.2, then_silence=False))

    def stored() -> bool:
        (path,) = data_dir.rglob("*.ogg")
        data = path.read_bytes()
        return bool(data) and [packet.opus for packet in read_ogg_opus(data).packets] == packets

    await until(stored)


async def test_a_long_loss_fades_to_silence_of_its_length(services: ServicesManager) -> None:
    _, live = await live_session(services)
    frames = Sender(ALICE).says(tone_packets(3.0, ALICE_HERTZ), 0.5)
    hear_all(live, frames[:60] + frames[75:])
    sound = sound_of(await stopped(services))
    assert abs(sound[round(1.85 * RATE) : round(1.98 * RATE)]).max() < 0.001
    sound[round(1.7 * RATE) + ENCODER_DELAY_SAMPLES : round(1.85 * RATE)] = 0  # what is concealed fades
    assert_heard(sound, [(0.5, 1.7), (2.0, 3.5)], ALICE_HERTZ)


async def test_whatever_the_order_and_however_often_everything_is_stored_once(services: ServicesManager) -> None:
    _, live = await live_session(services)
    chance = random.Random(5)
    frames = Sender(ALICE).says(tone_packets(4.0, ALICE_HERTZ), 0.5)
    sent = [frame.arrived for frame in frames]
    shuffled = [
        OpusFrame(f.user_id, f.ssrc, f.sequence, f.timestamp, f.opus, f.arrived + chance.uniform(0, 0.08))
        for f in frames
    ]
    hear_all(live, shuffled, chance.sample(shuffled, 40))
    sound = sound_of(await stopped(services))
    assert_heard(sound, [(0.5, 4.5)], ALICE_HERTZ)
    counts = live.ledger.counts()
    assert counts.stored == len(sent)
    assert counts.dropped_total == 40
    balanced(live)


async def test_a_frame_that_was_overtaken_over_a_border_comes_into_its_chunk(services: ServicesManager) -> None:
    session, live = await live_session(services)
    frames = Sender(ALICE).says(tone_packets(2.0, ALICE_HERTZ), 0.5)
    border = 45  # the first chunk begins 100 ms before the first frame and lasts a second
    for frame in (*frames[: border - 2], *frames[border : border + 3], *frames[border - 2 : border], *frames[48:]):
        hear(live, [frame])
    await session.flush()
    assert live.ledger.counts().dropped_total == 0
    assert_heard(sound_of(await stopped(services)), [(0.5, 2.5)], ALICE_HERTZ)


async def test_no_file_stands_for_a_long_gap(services: ServicesManager) -> None:
    session, live = await live_session(services)
    alice = Sender(ALICE)
    first, second = alice.says(tone_packets(0.4, ALICE_HERTZ), 0.5), alice.says(tone_packets(0.4, ALICE_HERTZ), 60.0)
    hear_all(live, first, second)
    await session.flush()
    places = [(row["start_ms"], row["duration_ms"]) for row in await chunks_of(services)]
    assert places == [(400, 600), (59_900, 600)]
    assert_heard(sound_of(await stopped(services)), [(0.5, 0.9), (60.0, 60.4)], ALICE_HERTZ)


async def test_frames_of_a_pause_are_not_recorded_and_counted(services: ServicesManager) -> None:
    session, live = await live_session(services)
    frames = Sender(ALICE).says(tone_packets(3.0, ALICE_HERTZ), 0.5, then_silence=False)
    hear_all(live, frames[:50])
    assert await services.discord_recorder_service.pause_session(CHANNEL)
    hear_all(live, frames[50:100])
    status = await services.discord_recorder_service.get_session_status(CHANNEL)
    assert status is not None
    assert (status["packets"]["received"], status["packets"]["stored"]) == (100, 50)
    assert status["packets"]["dropped"] == {"paused": 50}
    assert await services.discord_recorder_service.resume_session(CHANNEL)
    hear_all(live, frames[100:])
    assert_heard(sound_of(await stopped(services)), [(0.5, 1.5), (2.5, 3.5)], ALICE_HERTZ)
    assert session.duration_ms > 0
    balanced(live)


async def test_the_track_goes_on_after_a_reconnect_and_a_rejoin(services: ServicesManager) -> None:
    _, live = await live_session(services)
    live.on_segment(Segment(number=1, channel_id=CHANNEL, started=live.started + 0.1))
    hear_all(live, Sender(ALICE, 1).says(tone_packets(0.5, ALICE_HERTZ), 0.5))
    live.on_gap(live.started + 1.1, live.started + 1.5, GapReason.CONNECTION_LOST)
    live.on_segment(Segment(number=2, channel_id=CHANNEL, started=live.started + 1.5))
    hear_all(live, Sender(ALICE, 1, sequence=9, timestamp=77).says(tone_packets(0.5, ALICE_HERTZ), 1.6))
    hear_all(live, Sender(ALICE, 2, sequence=9, timestamp=77).says(tone_packets(0.5, ALICE_HERTZ), 2.8))
    status = await services.discord_recorder_service.get_session_status(CHANNEL)
    assert status is not None
    assert status["events"] == [
        {"kind": "connected", "at_ms": 100, "ends_ms": None, "channel_id": str(CHANNEL), "reason": None},
        {
            "kind": "gap",
            "at_ms": 1100,
            "ends_ms": 1500,
            "channel_id": None,
            "reason": "the connection to the voice server was lost",
        },
        {"kind": "connected", "at_ms": 1500, "ends_ms": None, "channel_id": str(CHANNEL), "reason": None},
    ]
    assert_heard(sound_of(await stopped(services)), [(0.5, 1.0), (1.6, 2.1), (2.8, 3.3)], ALICE_HERTZ)


async def test_an_ssrc_that_becomes_somebody_elses(services: ServicesManager) -> None:
    _, live = await live_session(services)
    hear_all(live, Sender(ALICE, 1).says(tone_packets(0.5, ALICE_HERTZ), 0.5))
    hear_all(live, Sender(BOB, 1).says(tone_packets(0.5, BOB_HERTZ), 1.5))
    recording = await stopped(services)
    assert_heard(sound_of(recording, ALICE), [(0.5, 1.0)], ALICE_HERTZ)
    assert_heard(sound_of(recording, BOB), [(1.5, 2.0)], BOB_HERTZ)


@pytest.mark.parametrize("frame_ms", [10, 40, 60])
async def test_senders_of_other_frame_sizes(services: ServicesManager, frame_ms: int) -> None:
    _, live = await live_session(services)
    packets = tone_packets(2.4, ALICE_HERTZ, mode="silk", frame_ms=frame_ms)
    hear_all(live, Sender(ALICE).says(packets, 0.5))
    assert_heard(sound_of(await stopped(services)), [(0.5, 2.9)], ALICE_HERTZ)


async def test_what_is_no_opus_is_dropped_and_costs_nobody_anything(services: ServicesManager) -> None:
    _, live = await live_session(services)
    frames = Sender(ALICE).says(tone_packets(1.0, ALICE_HERTZ), 0.5)
    hear_all(live, frames[:20])
    for bad in (b"", b"\x03", b"\xff" * 3, b"\x00" * 70_000):
        hear(live, [OpusFrame(ALICE, 1, 7, 7, bad, 0.9)])
    hear_all(live, frames[20:])
    assert live.ledger.counts().dropped == {"not_opus": 4}
    assert_heard(sound_of(await stopped(services)), [(0.5, 1.5)], ALICE_HERTZ)


async def test_a_damaged_page_costs_only_itself(
    services: ServicesManager, data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, live = await live_session(services)
    frames = Sender(ALICE).says(tone_packets(1.0, ALICE_HERTZ), 0.5, then_silence=False)
    for batch in (frames[:20], frames[20:22], frames[22:]):
        begins = sum(path.stat().st_size for path in opus_files(data_dir))
        hear_all(live, batch)
        live.flush()
        if batch[0] is frames[20]:
            (path,) = opus_files(data_dir)
            with path.open("r+b") as file:
                file.seek(begins + 40)
                file.write(b"damage")
    recording = await stopped(services)
    assert recording["status"] == "complete"
    (record,) = (record for record in caplog.records if "could not be decoded" in record.message)
    assert vars(record)["damaged_bytes"] > 100
    assert_heard(sound_of(recording), [(0.5, 0.9), (0.94, 1.5)], ALICE_HERTZ)


async def test_pushed_audio_and_a_voice_channel_in_one_session(services: ServicesManager) -> None:
    session, live = await live_session(services)
    await session.push_audio_data(to_pcm(tone(RATE // 2, hertz=BOB_HERTZ)), user_id=BOB)
    await session.push_audio_data(to_pcm(tone(RATE // 2, hertz=ALICE_HERTZ)), user_id=ALICE)
    hear_all(live, Sender(ALICE).says(tone_packets(0.5, ALICE_HERTZ), 1.5))
    with pytest.raises(InvalidAudioError, match="recorded from the voice channel"):
        await session.push_audio_data(bytes(4), user_id=ALICE)
    recording = await stopped(services)
    assert level(sound_of(recording, ALICE)[4800:19_200], ALICE_HERTZ) > 0.2
    assert level(sound_of(recording, ALICE)[round(1.6 * RATE) : round(1.9 * RATE)], ALICE_HERTZ) > 0.2
    assert level(sound_of(recording, BOB)[4800:19_200], BOB_HERTZ) > 0.2
    assert {track["duration_ms"] for track in recording["tracks"]} == {recording["duration_ms"]}


async def test_frames_after_the_end_are_counted(services: ServicesManager) -> None:
    _, live = await live_session(services)
    frames = Sender(ALICE).says(tone_packets(0.5, ALICE_HERTZ), 0.5)
    hear_all(live, frames[:20])
    await stopped(services)
    hear_all(live, frames[20:])
    assert live.ledger.counts().dropped == {"not_recorded": len(frames) - 20}
    balanced(live)


async def test_a_disk_that_takes_nothing_ends_the_session_and_keeps_what_there_is(
    services: ServicesManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, live = await live_session(services)
    frames = Sender(ALICE).says(tone_packets(0.5, ALICE_HERTZ), 0.5)
    hear_all(live, frames[:20])
    live.flush()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("os.pwrite", full)
        hear_all(live, frames[20:])
        live.flush()
    hear_all(live, [frames[-1]])
    await until(lambda: not services.discord_recorder_service.sessions)
    assert live.ledger.counts().dropped == {"not_recorded": 1}
    recording = await recording_of(services)
    assert_heard(sound_of(recording), [(0.5, 1.0)], ALICE_HERTZ)
    meeting = await services.sql_recording_service.get_meeting(recording["meeting_id"])
    assert meeting is not None
    assert "No space left on device" in str(meeting["end_reason"])


async def test_the_status_of_each_speaker(services: ServicesManager) -> None:
    session, live = await live_session(services)
    await session.set_speaker_name(ALICE, "Ada")
    hear_all(live, Sender(ALICE, 1).says(tone_packets(0.5), 0.5), Sender(BOB, 2).says(tone_packets(1.0), 0.5))
    live.ledger.add_kernel_dropped(3)
    status = await services.discord_recorder_service.get_session_status(CHANNEL)
    assert status is not None
    tracks = {track["user_id"]: track for track in status["tracks"]}
    assert (tracks[str(ALICE)]["name"], tracks[str(ALICE)]["duration_ms"]) == ("Ada", 1100)
    assert tracks[str(ALICE)]["packets"]["stored"] == 30
    assert tracks[str(BOB)]["packets"] == {"received": 55, "stored": 55, "plain": 0, "parked": 0, "dropped": {}}
    assert status["packets"]["kernel_dropped"] == 3
    assert status["buffer_size_bytes"] > 0


async def test_the_end_of_the_voice_connection_stops_the_session(services: ServicesManager) -> None:
    _, live = await live_session(services)
    hear_all(live, Sender(ALICE).says(tone_packets(0.5, ALICE_HERTZ), 0.5))
    live.on_ended(Ended(reason=EndReason.REMOVED))
    live.on_ended(Ended(reason=EndReason.REMOVED))
    await until(lambda: not services.discord_recorder_service.sessions)
    assert_heard(sound_of(await recording_of(services)), [(0.5, 1.0)], ALICE_HERTZ)
    meeting = await services.sql_recording_service.get_meeting((await recording_of(services))["meeting_id"])
    assert meeting is not None
    assert meeting["end_reason"] == "removed from the channel"


async def test_tracks_of_many_speakers_do_not_mingle(services: ServicesManager) -> None:
    _, live = await live_session(services)
    pitches = {1000 + n: 300.0 + 170.0 * n for n in range(8)}
    streams = [
        Sender(user, user, sequence=user, timestamp=user * 99_999_999).says(tone_packets(1.2, hertz), 0.3 + n * 0.05)
        for n, (user, hertz) in enumerate(pitches.items())
    ]
    hear_all(live, *streams)
    recording = await stopped(services)
    for n, (user, hertz) in enumerate(pitches.items()):
        sound = sound_of(recording, user)
        assert_heard(sound, [(0.3 + n * 0.05, 1.5 + n * 0.05)], hertz)
        others = [level(sound, other) for other in pitches.values() if other != hertz]
        assert max(others) < 0.02


async def test_lossless_masters_of_live_tracks(open_services: OpenServices) -> None:
    async with open_services(keep_master=True) as services:
        _, live = await live_session(services)
        hear_all(live, Sender(ALICE).says(tone_packets(2.5, ALICE_HERTZ), 0.5))
        assert track_of(await stopped(services), ALICE)["master_path"]


async def test_what_could_not_be_opened_is_a_gap_of_that_reason(services: ServicesManager) -> None:
    session, live = await live_session(services)
    frames = Sender(ALICE).says(tone_packets(3.0, ALICE_HERTZ), 0.5)
    hear_all(live, frames[10:60])
    live.ledger.received += 25
    for _ in range(10):
        live.ledger.tally(ALICE).drop(Outcome.UNDECRYPTABLE)
    hear_all(live, frames[75:100])
    for _ in range(15):
        live.ledger.tally(ALICE).drop(Outcome.NOT_A_MEMBER)
    live._monotonic = lambda: live.started + 4.0
    recording = await stopped(services)
    manifest = await services.sql_recording_service.get_manifest(session.meeting_id)
    assert manifest is not None
    (track,) = manifest["tracks"]
    told = [(gap["at_ms"], gap["duration_ms"]) for gap in track["gaps"] if gap["reason"] == "undecryptable"]
    assert told == [(1700, 200), (2500, 300)]
    assert recording["duration_ms"] >= 2500
    balanced(live)
