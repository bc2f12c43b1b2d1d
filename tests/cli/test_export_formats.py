import json
import signal
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.audio.signals import played
from tests.cli.conftest import ADA_SAMPLES
from tests.cli.runs import MEETING, Cli
from tests.cli.test_export import names_in
from tests.support.ffmpeg import UnreliableFfmpeg

STEM = "Stand-up_ a_b"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_several_formats_at_once(recorded: Cli, out: Path) -> None:
    recorded.ok("export", MEETING, "--to", out, "--format", "wav", "--format", "mp3", "--format", "flac")
    names = [f"{STEM} - {who}.{kind}" for who in ("Ada", "Ben", "mix") for kind in ("flac", "mp3", "wav")]
    assert names_in(out) == [*names, f"{STEM}.json"]
    assert {len(played(path)) for path in out.iterdir() if path.suffix != ".json"} == {ADA_SAMPLES}


def test_opus_of_pushed_audio_is_encoded_and_that_is_told(recorded: Cli, out: Path) -> None:
    result = recorded.run("export", MEETING, "--to", out, "--format", "opus")
    assert result.exit_code == 0
    assert result.stderr == (
        "Not Opus as it was received, of which there is none, but encoded: Ada (from MP3), Ben (from MP3), "
        "mix (from MP3)\n"
    )
    assert {len(played(path)) for path in out.glob("*.opus")} == {ADA_SAMPLES}


@pytest.mark.parametrize("tracks", ["mp3", "flac"])
def test_a_zip(recorded: Cli, out: Path, tracks: str) -> None:
    told = recorded.json("export", MEETING, "--to", out, "--format", "zip", "--tracks", tracks)
    assert names_in(out) == [f"{STEM}.zip"]
    assert (told["description_file"], told["files"]) == (None, [])
    with ZipFile(out / told["zip_file"]) as file:
        assert file.namelist() == [*(track["file"] for track in told["zipped"]), "labels.txt", "manifest.json"]
        assert json.loads(file.read("manifest.json"))["files"] == told["zipped"]
    assert {track["format"] for track in told["zipped"]} == {tracks}
    assert "is already there" in recorded.refused("export", MEETING, "--to", out, "--format", "zip")
    printed = recorded.ok("export", MEETING, "--to", out, "--format", "zip", "--force").stdout
    assert "Ada, Ben, mix" in printed
    assert str(out / told["zip_file"]) in printed


def test_zips_of_another_meeting_of_that_day_and_title(recorded: Cli, out: Path, tones: list[Path]) -> None:
    other = "0000000000000000"
    recorded.ok("ingest", tones[1], "--meeting-id", other, "--title", "Stand-up: a/b")
    for meeting in (MEETING, other):
        recorded.ok("export", meeting, "--to", out, "--format", "zip", "--force")
    assert names_in(out) == [f"{STEM} {other}.zip", f"{STEM}.zip"]


def test_an_unknown_format(recorded: Cli, out: Path) -> None:
    assert "ogg" in recorded.failed("export", MEETING, "--to", out, "--format", "ogg", code=2)
    assert "zip" in recorded.failed("export", MEETING, "--to", out, "--format", "zip", "--tracks", "zip", code=2)
    assert not out.exists()


def test_no_ffmpeg_is_needed_for_what_is_only_copied(recorded: Cli, out: Path) -> None:
    recorded.env["DISCORD_RECORDER_FFMPEG_PATH"] = "/nowhere/ffmpeg"
    recorded.ok("export", MEETING, "--to", out, "--format", "mp3", "--format", "zip")
    assert "'/nowhere/ffmpeg'" in recorded.refused("export", MEETING, "--to", out / "more", "--format", "flac")
    assert names_in(out / "more") == []


def test_an_ffmpeg_that_fails(recorded: Cli, out: Path, unreliable: UnreliableFfmpeg) -> None:
    recorded.env["DISCORD_RECORDER_FFMPEG_PATH"] = str(unreliable.path)
    unreliable.fail_on_flac()
    assert "this chunk cannot be encoded" in recorded.refused("export", MEETING, "--to", out, "--format", "flac")
    assert names_in(out) == []


def test_a_terminal_gets_a_bar(recorded: Cli, out: Path) -> None:
    _, shown = recorded.on_a_terminal("export", MEETING, "--to", out, "--format", "wav")
    assert "Exporting" in shown
    assert "mix, wav" in shown


@pytest.mark.parametrize("kind", ["flac", "zip"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_while_ffmpeg_works(
    recorded: Cli, out: Path, unreliable: UnreliableFfmpeg, kind: str, number: signal.Signals, code: int
) -> None:
    recorded.env["DISCORD_RECORDER_FFMPEG_PATH"] = str(unreliable.path)
    unreliable.hold()
    with recorded.process("export", MEETING, "--to", out, "--format", kind, "--tracks", "flac") as process:
        process.until(lambda: unreliable.living)
        process.signal(number)
        exit_code, stdout, stderr = process.result()
    assert (exit_code, stdout) == (code, "")
    assert stderr.splitlines()[-1].startswith("error: interrupted")
    assert list(out.iterdir()) == []
    assert not unreliable.living
