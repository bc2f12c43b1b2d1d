from pathlib import Path

from tests.cli.runs import MEETING, UNKNOWN, Cli


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
