import json
import resource
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.audio.programs import script
from tests.cli.runs import MEETING, Cli
from tests.support.ffmpeg import FFMPEG

CHECKS = ["settings", "environment", "sqlite", "open files", "ffmpeg", "encoder", "data directory"]


def execute(cli: Cli, statement: str) -> None:
    with closing(sqlite3.connect(cli.data_dir / "recorder.sqlite3")) as connection, connection:
        connection.execute(statement)


def examined(cli: Cli, *, healthy: bool) -> dict[str, Any]:
    """All that it tells for scripts, the checks by name."""
    result = cli.run("doctor", "--json")
    assert (result.exit_code, result.stderr) == (0 if healthy else 1, "")
    told: dict[str, Any] = json.loads(result.stdout)
    assert told["ok"] is healthy
    return {**told, "checks": {check["check"]: check for check in told["checks"]}}


def finding(cli: Cli, check: str, verdict: str) -> str:
    """What a check found, after seeing that it ended like that."""
    found = examined(cli, healthy=verdict != "fail")["checks"][check]
    assert found["verdict"] == verdict
    assert bool(found["fix"]) is (verdict != "ok")
    return str(found["found"])


def test_a_healthy_recorder(recorded: Cli) -> None:
    checks = examined(recorded, healthy=True)["checks"]
    assert list(checks) == [*CHECKS, "data directory: space", "database", "migrations", "meetings"]
    assert {check["verdict"] for check in checks.values()} == {"ok"}
    assert "ffmpeg version" in checks["ffmpeg"]["found"]


def test_a_program_that_is_not_ffmpeg(cli: Cli, tmp_path: Path) -> None:
    cli.env["DISCORD_RECORDER_FFMPEG_PATH"] = script(tmp_path, "exit 0")
    assert "does not say that it is FFmpeg" in finding(cli, "ffmpeg", "fail")


def test_it_makes_nothing(cli: Cli) -> None:
    assert "made at the first use" in finding(cli, "database", "ok")
    assert not cli.data_dir.exists()


def test_for_people(cli: Cli) -> None:
    lines = cli.ok("doctor").stdout.splitlines()
    assert lines[-1] == "Ready to record."
    assert f"sqlite:///{cli.data_dir}/recorder.sqlite3" in "\n".join(lines)
    cli.env["DISCORD_RECORDER_FFMPEG_PATH"] = "/nowhere/ffmpeg"
    result = cli.run("doctor")
    assert result.exit_code == 1
    assert result.stdout.endswith("1 check failed.\n")
    assert "fail: ffmpeg: Unset DISCORD_RECORDER_FFMPEG_PATH" in result.stdout


def test_settings_and_where_they_come_from(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("mp3_quality = 2\ntranscode_workers = 3\n")
    cli.env |= {"DISCORD_RECORDER_CONFIG_FILE": str(file), "DISCORD_RECORDER_TRANSCODE_WORKERS": "4"}
    result = cli.run("--data-dir", tmp_path / "elsewhere", "doctor", "--json")
    assert result.exit_code == 0
    settings = {each["name"]: (each["value"], each["source"]) for each in json.loads(result.stdout)["settings"]}
    assert settings["mp3_quality"] == (2, str(file))
    assert settings["transcode_workers"] == (4, "DISCORD_RECORDER_TRANSCODE_WORKERS")
    assert settings["data_dir"] == (str(tmp_path / "elsewhere"), "--data-dir")
    assert settings["lease_seconds"][1] == "default"


def test_invalid_settings_are_a_finding(cli: Cli) -> None:
    cli.env["DISCORD_RECORDER_MP3_QUALITY"] = "12"
    found = finding(cli, "settings", "fail")
    assert "mp3_quality" in found
    assert "DISCORD_RECORDER_MP3_QUALITY" in found
    assert "sqlite" in examined(cli, healthy=False)["checks"]


def test_a_settings_file_that_is_not_there(cli: Cli) -> None:
    cli.env["DISCORD_RECORDER_CONFIG_FILE"] = "/nowhere/settings.toml"
    assert "/nowhere/settings.toml" in finding(cli, "settings", "fail")


def test_a_variable_that_no_setting_reads(cli: Cli) -> None:
    cli.env["DISCORD_RECORDER_MP3_QALITY"] = "1"
    assert "DISCORD_RECORDER_MP3_QALITY" in finding(cli, "environment", "warn")


def test_a_missing_ffmpeg(cli: Cli) -> None:
    cli.env["DISCORD_RECORDER_FFMPEG_PATH"] = "/nowhere/ffmpeg"
    assert "/nowhere/ffmpeg" in finding(cli, "ffmpeg", "fail")


def test_an_ffmpeg_without_the_encoder(cli: Cli, tmp_path: Path) -> None:
    lacks = 'case "$*" in *libmp3lame*) echo "Unknown encoder" >&2; exit 1;; esac'
    cli.env["DISCORD_RECORDER_FFMPEG_PATH"] = script(tmp_path, f'{lacks}\nexec "{FFMPEG}" "$@"')
    assert "Unknown encoder" in finding(cli, "encoder", "fail")


def test_a_database_of_a_newer_version(recorded: Cli) -> None:
    execute(recorded, "UPDATE alembic_version SET version_num = '9999'")
    assert "newer version" in finding(recorded, "migrations", "fail")
    assert "newer version of discord-recorder" in recorded.refused("recordings")
    assert "newer version of discord-recorder" in recorded.refused("cleanup")


def test_a_file_that_is_no_database(cli: Cli) -> None:
    cli.data_dir.mkdir()
    (cli.data_dir / "recorder.sqlite3").write_text("something else entirely, and long enough to be looked at" * 20)
    assert "is not an SQLite database" in finding(cli, "database", "fail")
    assert "is not an SQLite database" in cli.refused("recordings")


def test_a_damaged_database(recorded: Cli) -> None:
    file = recorded.data_dir / "recorder.sqlite3"
    content = file.read_bytes()
    file.write_bytes(content[:4096] + b"\xaa" * (len(content) - 4096))
    checks = examined(recorded, healthy=False)["checks"]
    assert any("malformed" in check["found"] for check in checks.values())


def test_a_locked_database(recorded: Cli) -> None:
    recorded.env["DISCORD_RECORDER_DATABASE_BUSY_SECONDS"] = "0.1"
    with closing(sqlite3.connect(recorded.data_dir / "recorder.sqlite3")) as other:
        other.execute("BEGIN IMMEDIATE")
        assert "locked by another program" in finding(recorded, "database", "fail")
        assert "locked by another program" in recorded.refused("cleanup")


def test_a_data_directory_that_is_a_file(cli: Cli) -> None:
    cli.data_dir.write_text("mine")
    assert "is not a folder" in finding(cli, "data directory", "fail")


def test_folders_elsewhere_are_looked_at_too(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cli.env["DISCORD_RECORDER_STORAGE_URL"] = f"file://{tmp_path}/file/recordings"
    assert "is not a folder" in finding(cli, "recordings", "fail")


@pytest.mark.parametrize(("setting", "verdict"), [("WARN", "warn"), ("STOP", "fail")])
def test_little_room(cli: Cli, setting: str, verdict: str) -> None:
    cli.env["DISCORD_RECORDER_DISK_WARN_MIB"] = "999999999"
    cli.env[f"DISCORD_RECORDER_DISK_{setting}_MIB"] = "999999999"
    assert f"disk_{setting.lower()}_mib" in finding(cli, "data directory: space", verdict)


@pytest.mark.parametrize(("limit", "verdict"), [(10, "fail"), (128, "warn"), (1024, "ok")])
def test_open_files(cli: Cli, limit: int, verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, 4096))
    assert str(limit) in finding(cli, "open files", verdict)


def test_a_meeting_that_a_dead_recorder_left(recorded: Cli) -> None:
    execute(recorded, "UPDATE meetings SET status = 'processing', owner = 'nobody'")
    assert f"1 left by a recorder that ended: {MEETING}" in finding(recorded, "meetings", "warn")
    assert recorded.json("show", MEETING)["status"] == "processing"


def test_a_meeting_with_failed_parts(broken: Cli) -> None:
    assert f"1 with failed parts: {MEETING}" in finding(broken, "meetings", "warn")
