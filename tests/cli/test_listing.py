import asyncio
import re
from pathlib import Path

from discord_recorder import ServicesManager
from discord_recorder.voice.sink import GapReason
from tests.audio.signals import to_pcm, tone
from tests.cli.runs import MEETING, UNKNOWN, Cli
from tests.support.recorder import BOB, CHANNEL, quick_settings, started
from tests.support.recorder import MEETING as ABC


def test_recordings_are_listed_newest_first(recorded: Cli, tones: list[Path]) -> None:
    recorded.ok("ingest", tones[1], "--meeting-id", "0000000000000000", "--title", "Later")
    header, later, earlier = recorded.ok("recordings").stdout.splitlines()
    assert header.split() == ["MEETING", "WHEN", "TITLE", "LENGTH", "SPEAKERS", "STATUS"]
    assert later.startswith("0000000000000000  20")
    assert later.endswith("Later          0:00:05  Ben       complete")
    assert earlier.endswith("Stand-up: a/b  0:00:12  Ada, Ben  complete")


def test_recordings_for_scripts(recorded: Cli) -> None:
    [entry] = recorded.json("recordings")
    assert (entry["meeting_id"], entry["status"], entry["title"]) == (MEETING, "complete", "Stand-up: a/b")
    assert entry["duration_ms"] == entry["recording"]["duration_ms"]
    assert entry["speakers"] == ["Ada", "Ben"]
    assert entry["started_at"].startswith("20")


def test_nothing_recorded_yet_is_no_error_and_makes_no_folder(cli: Cli) -> None:
    result = cli.run("recordings")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no recordings" in result.stderr
    assert cli.json("recordings") == []
    assert not cli.data_dir.exists()


def test_show_a_finished_meeting(recorded: Cli) -> None:
    printed = recorded.ok("show", MEETING).stdout
    assert "Stand-up: a/b" in printed
    assert str(recorded.data_dir / "recordings" / MEETING / "mix.mp3") in printed
    told = recorded.json("show", MEETING)
    assert told["chunks"] == []
    assert len(told["recording"]["tracks"]) == 3


def test_show_tells_of_each_speaker_what_is_missing(broken: Cli) -> None:
    lines = broken.ok("show", MEETING).stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("SPEAKER"))
    assert lines[at].split() == ["SPEAKER", "HEARD", "LOST", "CONCEALED", "UNDECRYPTABLE", "LONGEST", "GAP"]
    assert re.split(r" {2,}", lines[at + 1])[1:] == ["10.0 s", "0 ms", "0 ms", "0 ms", "2.0 s"]
    told = broken.json("show", MEETING)
    [speaker, *_] = told["figures"]
    assert (speaker["lost_ms"], speaker["longest_gap_ms"]) == (0, 2000)
    assert {track["heard_ms"] for track in told["recording"]["tracks"] if track["kind"] == "mix"} == {None}
    assert (told["notes"], told["events"]) == ([], [])


def test_show_tells_what_happened_meanwhile(cli: Cli) -> None:
    async def record() -> None:
        async with ServicesManager(quick_settings(cli.data_dir)) as services:
            recorder = services.discord_recorder_service
            session = await started(services)
            await session.set_speaker_name(BOB, "Ben")
            await session.push_audio_data(to_pcm(tone(48_000)), user_id=BOB)
            await recorder.pause_session(CHANNEL)
            await recorder.resume_session(CHANNEL)
            assert await recorder.add_note(CHANNEL, "Budget, approved", BOB)
            session.go_live().on_gap(0, 1e6, GapReason.DEAF)
            await recorder.stop_session(CHANNEL)

    asyncio.run(record())
    printed = cli.ok("show", ABC).stdout
    assert re.search(r"^AT +NOTE BY +TEXT\n0:00:01 +Ben +Budget, approved$", printed, re.MULTILINE)
    assert re.search(r"^AT +WHEN +EVENT +LASTED +REASON$", printed, re.MULTILINE)
    assert re.search(r"^0:00:01 .* paused +[0-9.]+ m?s +-$", printed, re.MULTILINE)
    assert re.search(r" disconnected +.* audio stopped arriving", printed)
    told = cli.json("show", ABC)
    assert [(note["text"], note["at_ms"]) for note in told["notes"]] == [("Budget, approved", 1000)]
    assert {event["kind"] for event in told["events"]} == {"paused", "disconnected"}


def test_show_a_meeting_with_failed_chunks(broken: Cli) -> None:
    printed = broken.ok("show", MEETING).stdout
    assert "1 chunk in work: 1 failed" in printed
    assert "this chunk cannot be encoded" in printed
    assert f"retry {MEETING}" in printed
    told = broken.json("show", MEETING)
    assert told["status"] == "incomplete"
    [chunk] = told["chunks"]
    assert (chunk["transcode_status"], chunk["start_ms"], chunk["user_id"]) == ("failed", 4000, "1")


def test_unknown_and_malformed_meetings(recorded: Cli) -> None:
    for command in (["show"], ["retry"], ["delete", "--yes"], ["export", "--to", recorded.data_dir / "out"]):
        assert f"There is no meeting {UNKNOWN} in {recorded.data_dir}" in recorded.refused(*command, UNKNOWN)
        assert "'../../etc' is not a meeting id" in recorded.refused(*command, "../../etc")


def test_a_wrong_data_directory_is_told_and_not_made(cli: Cli) -> None:
    assert str(cli.data_dir) in cli.refused("show", MEETING)
    assert not cli.data_dir.exists()
