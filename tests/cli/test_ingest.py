import json
import shutil
import wave
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.audio.programs import script
from tests.audio.signals import clicks, offset_of, played, tone
from tests.cli.conftest import ADA_SAMPLES, BEN_SAMPLES
from tests.cli.runs import MEETING, Cli, write_wav
from tests.support.ffmpeg import FFMPEG, UnreliableFfmpeg

FRAME_SAMPLES = 1152


def test_every_file_becomes_a_speaker_of_one_meeting(cli: Cli, tones: list[Path]) -> None:
    told = cli.json("ingest", *tones, "--title", "Stand-up")
    recording = told["recording"]
    assert told["status"] == recording["status"] == "complete"
    assert (told["problem"], told["interrupted"]) == (None, False)
    assert recording["title"] == "Stand-up"
    tracks = {track["name"]: track for track in recording["tracks"] if track["kind"] == "speaker"}
    assert {name: track["user_id"] for name, track in tracks.items()} == {"Ada": "1", "Ben": "2"}
    assert [(source["name"], source["error"]) for source in told["sources"]] == [("Ada", None), ("Ben", None)]
    assert [source["recorded_ms"] for source in told["sources"]] == [round(ADA_SAMPLES / 48), BEN_SAMPLES // 48]


def test_what_comes_out_is_what_went_in(cli: Cli, tones: list[Path]) -> None:
    tracks = {track["name"]: track for track in cli.json("ingest", *tones)["recording"]["tracks"]}
    for name, samples, hertz in (("Ada", ADA_SAMPLES, 440.0), ("Ben", BEN_SAMPLES, 997.0)):
        sound = played(Path(tracks[name]["path"]))
        assert abs(len(sound) - ADA_SAMPLES) <= FRAME_SAMPLES, "all last as long as the longest"
        assert not sound[samples + 2 * FRAME_SAMPLES :].any()
        assert offset_of(tone(samples, hertz=hertz)[:48_000], sound[:48_000]) == 0
        assert clicks(sound[4800 : samples - 4800], hertz).max() < 0.01


def test_the_table_names_the_meeting_and_every_file(cli: Cli, tones: list[Path]) -> None:
    printed = cli.ok("ingest", *tones, "--meeting-id", MEETING, "--title", "Stand-up").stdout
    lines = [line.split() for line in printed.splitlines()]
    assert ["Meeting", MEETING] in lines
    assert ["Length", "0:00:12"] in lines
    assert ["Status", "complete"] in lines
    for name, file in (("Ada", "1.mp3"), ("Ben", "2.mp3"), ("mix", "mix.mp3")):
        [line] = [line for line in lines if line[:1] == [name]]
        assert line[-1] == str(cli.data_dir / "recordings" / MEETING / file)


def test_names_and_ids_can_be_given(cli: Cli, tones: list[Path]) -> None:
    given = ("--name", "Ada [bold]L.", "--user-id", "111", "--user-id", "222")
    tracks = cli.json("ingest", *tones, *given)["recording"]["tracks"]
    assert {track["user_id"]: track["name"] for track in tracks if track["kind"] == "speaker"} == {
        "111": "Ada [bold]L.",
        "222": "Ben",
    }
    assert "Ada [bold]L." in cli.ok("recordings").stdout


def test_a_name_cannot_command_the_terminal(cli: Cli, tones: list[Path]) -> None:
    printed = cli.ok("ingest", tones[1], "--name", "\x1b[31mEve\n", "--title", "a\rb").stdout
    assert "\x1b" not in printed
    assert "\r" not in printed
    assert "\ufffd[31mEve" in printed


def test_a_file_name_that_is_no_text(cli: Cli, tones: list[Path], tmp_path: Path) -> None:
    odd = tmp_path / "Zo\udcff.flac"
    odd.write_bytes(tones[1].read_bytes())
    assert cli.json("ingest", odd)["recording"]["tracks"][0]["name"] == "Zo?"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--name", "a", "--name", "b", "--name", "c"), "more names than files"),
        (("--user-id", "1"), "once for each file"),
        (("--user-id", "1", "--user-id", "01"), "another speaker"),
    ],
)
def test_what_does_not_fit_the_files_is_a_usage_error(
    cli: Cli, tones: list[Path], arguments: tuple[str, ...], complaint: str
) -> None:
    assert complaint in cli.failed("ingest", *tones, *arguments, code=2)
    assert not cli.data_dir.exists()


def test_malformed_ids_are_told_before_anything_starts(cli: Cli, tones: list[Path]) -> None:
    assert "'no' is not a meeting id" in cli.refused("ingest", *tones, "--meeting-id", "no")
    assert "'x' is not a user id" in cli.refused("ingest", tones[0], "--user-id", "x")
    assert not cli.data_dir.exists()


def test_a_meeting_id_is_used_once(recorded: Cli, tones: list[Path]) -> None:
    assert f"{MEETING} was used before" in recorded.refused("ingest", *tones, "--meeting-id", MEETING)


def test_nothing_is_recorded_when_one_file_is_no_audio(cli: Cli, tones: list[Path], tmp_path: Path) -> None:
    text, empty = tmp_path / "notes.txt", tmp_path / "empty.wav"
    text.write_text("not audio")
    empty.touch()
    complaint = cli.refused("ingest", tones[0], text, empty)
    assert "'notes.txt' holds no audio" in complaint
    assert "'empty.wav' holds no audio" in complaint
    assert cli.json("recordings") == []


def test_missing_files_and_folders_are_named(cli: Cli, tones: list[Path], tmp_path: Path) -> None:
    complaint = cli.refused("ingest", tones[0], tmp_path / "gone.wav", tmp_path)
    assert f"'{tmp_path / 'gone.wav'}' does not exist" in complaint
    assert f"'{tmp_path}' is a folder" in complaint
    assert cli.json("recordings") == []


def test_a_file_that_ends_in_the_middle_costs_the_others_nothing(cli: Cli, tones: list[Path], tmp_path: Path) -> None:
    dies = 'case "$*" in *Torn*) head -c 500000 /dev/zero | tr "\\\\0" "\\\\7"; echo torn >&2; exit 1;; esac'
    cli.env["DISCORD_RECORDER_FFMPEG_PATH"] = script(tmp_path, f'{dies}\nexec "{FFMPEG}" "$@"')
    torn = tmp_path / "Torn.wav"
    torn.write_bytes(tones[0].read_bytes())
    result = cli.run("ingest", torn, tones[1], "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == 1
    assert "only the first 0:00:03 of" in result.stderr
    assert "Torn.wav" in told["sources"][0]["error"]
    assert told["sources"][0]["recorded_ms"] == pytest.approx(500_000 / 192, abs=1)
    assert told["sources"][1]["error"] is None
    lengths = {track["name"]: track["heard_ms"] for track in told["recording"]["tracks"]}
    assert lengths["Ben"] == BEN_SAMPLES // 48
    assert lengths["Torn"] == pytest.approx(500_000 / 192, abs=1)


def test_a_disk_that_fills_up_ends_the_meeting_and_keeps_what_was_stored(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless = 'case "$*" in *Endless*s16le*) while head -c 192000 /dev/zero | tr "\\0" "\\7"; do sleep .05; done;; esac'
    cli.env["DISCORD_RECORDER_FFMPEG_PATH"] = script(tmp_path, f'{endless}\nexec "{FFMPEG}" "$@"')
    cli.env |= {"DISCORD_RECORDER_DISK_STOP_MIB": "100", "DISCORD_RECORDER_DISK_WARN_MIB": "100"}
    (tmp_path / "Endless.wav").touch()
    seen: list[object] = []

    def disk_usage(path: object) -> SimpleNamespace:
        seen.append(path)
        return SimpleNamespace(free=1 << 40 if len(seen) == 1 else 0)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    result = cli.run("ingest", tmp_path / "Endless.wav", "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == 1
    assert "The session ended by itself; what was stored by then is kept. Reason: the disk is full" in result.stderr
    assert told["recording"]["duration_ms"] > 0
    assert told["recording"]["status"] == "complete"


def test_two_at_once_share_a_data_directory(cli: Cli, tones: list[Path]) -> None:
    with cli.process("ingest", *tones) as one, cli.process("ingest", *tones) as other:
        assert [(code, stderr) for code, _, stderr in (one.result(), other.result())] == [(0, ""), (0, "")]
    assert [entry["status"] for entry in cli.json("recordings")] == ["complete", "complete"]


def test_a_full_disk_is_told_before_anything_is_recorded(cli: Cli, tones: list[Path]) -> None:
    cli.env |= {"DISCORD_RECORDER_DISK_STOP_MIB": "999999999", "DISCORD_RECORDER_DISK_WARN_MIB": "999999999"}
    assert "The disk is full" in cli.refused("ingest", *tones)
    assert cli.json("recordings") == []


def test_what_could_not_be_transcoded_is_told_with_the_way_out(
    cli: Cli, flawed: Path, tones: list[Path], unreliable: UnreliableFfmpeg
) -> None:
    cli.env |= {"DISCORD_RECORDER_FFMPEG_PATH": str(unreliable.path), "DISCORD_RECORDER_TRANSCODE_ATTEMPTS": "1"}
    unreliable.fail_on_bad_pcm()
    result = cli.run("ingest", flawed, tones[1], "--meeting-id", MEETING)
    assert result.exit_code == 1
    assert ["Status", "incomplete"] in [line.split() for line in result.stdout.splitlines()]
    assert f"retry {MEETING}" in result.stderr


def test_a_meeting_of_which_nothing_could_be_transcoded(
    cli: Cli, flawed: Path, tmp_path: Path, unreliable: UnreliableFfmpeg
) -> None:
    cli.env |= {"DISCORD_RECORDER_FFMPEG_PATH": str(unreliable.path), "DISCORD_RECORDER_TRANSCODE_ATTEMPTS": "1"}
    unreliable.fail_on_bad_pcm()
    with wave.open(str(flawed), "rb") as file:
        file.setpos(5 * 48_000 - 1000)
        short = write_wav(tmp_path / "short.wav", file.readframes(48_000))
    result = cli.run("ingest", short, "--meeting-id", MEETING)
    assert result.exit_code == 1
    assert "Traceback" not in result.stderr
    assert ["Status", "failed"] in [
        line.split() for line in result.stdout.splitlines()
    ] or "incomplete" in result.stdout
    assert MEETING in result.stderr


def test_a_missing_ffmpeg_is_told(cli: Cli, tones: list[Path]) -> None:
    cli.env["DISCORD_RECORDER_FFMPEG_PATH"] = "/nowhere/ffmpeg"
    assert "/nowhere/ffmpeg" in cli.refused("ingest", *tones)
