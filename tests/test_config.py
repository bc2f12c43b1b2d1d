import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from discord_recorder import Settings, SettingsError, UserError
from discord_recorder.config import CONFIG_FILE_VARIABLE, ENV_PREFIX, config_file, unknown_variables


@pytest.fixture(autouse=True)
def _somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def toml(text: str, path: Path = Path("discord-recorder.toml")) -> None:
    path.write_text(text, encoding="utf-8")


class TestSources:
    def test_defaults_are_those_of_the_usage_document(self) -> None:
        settings = Settings()
        assert settings.flush_interval_seconds == 10
        assert settings.transcode_wait_seconds == 5 * 60
        assert settings.temp_ttl_hours == 24
        assert settings.cleanup_interval_seconds == 3600
        assert settings.keep_master is False
        assert 1 <= settings.transcode_workers <= 8

    def test_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DISCORD_RECORDER_DATA_DIR", str(tmp_path / "there"))
        monkeypatch.setenv("DISCORD_RECORDER_FLUSH_INTERVAL_SECONDS", "2.5")
        monkeypatch.setenv("DISCORD_RECORDER_KEEP_MASTER", "true")
        monkeypatch.setenv("DISCORD_RECORDER_STORAGE_URL", f"file://{tmp_path}/else%20where")
        monkeypatch.setenv("DISCORD_RECORDER_DATABASE_URL", f"sqlite:///{tmp_path}/my.db")
        settings = Settings()
        assert settings.data_dir == tmp_path / "there"
        assert settings.flush_interval_seconds == 2.5
        assert settings.keep_master is True
        assert settings.recordings_dir == tmp_path / "else where"
        assert settings.database_file == tmp_path / "my.db"

    def test_the_first_source_that_names_a_setting_wins(self, monkeypatch: pytest.MonkeyPatch) -> None:
        toml("mp3_quality = 1\ntranscode_attempts = 11\ntranscode_workers = 21")
        monkeypatch.setenv(ENV_PREFIX + "TRANSCODE_ATTEMPTS", "12")
        monkeypatch.setenv(ENV_PREFIX + "TRANSCODE_WORKERS", "22")
        settings = Settings(transcode_workers=23)
        assert (settings.mp3_quality, settings.transcode_attempts, settings.transcode_workers) == (1, 12, 23)

    def test_a_named_file_is_read_in_place_of_the_one_in_the_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        toml("mp3_quality = 1")
        toml("mp3_quality = 2", tmp_path / "mine.toml")
        monkeypatch.setenv(CONFIG_FILE_VARIABLE, str(tmp_path / "mine.toml"))
        assert config_file() == tmp_path / "mine.toml"
        assert Settings().mp3_quality == 2

    @pytest.mark.parametrize("blank", ["", "  "])
    def test_a_blank_variable_means_the_default(self, monkeypatch: pytest.MonkeyPatch, blank: str) -> None:
        for name in set(Settings.model_fields) - {"data_dir"}:
            monkeypatch.setenv(ENV_PREFIX + name.upper(), blank)
        assert Settings() == Settings(data_dir=Path("discord-recorder-data"))

    def test_a_relative_data_directory_is_fixed_at_start(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = Settings(data_dir=Path("mine"))
        monkeypatch.chdir("/")
        assert settings.data_dir == tmp_path / "mine"
        assert settings.database_file == tmp_path / "mine/recorder.sqlite3"

    def test_home_is_expanded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        assert Settings(data_dir="~/mine").data_dir == tmp_path / "mine"

    def test_everything_is_inside_the_data_directory(self, tmp_path: Path) -> None:
        settings = Settings(data_dir=tmp_path / "mine")
        for path in (settings.database_file, settings.recordings_dir, settings.temp_dir, settings.run_dir):
            assert path.is_relative_to(tmp_path / "mine")

    def test_they_cannot_be_changed(self) -> None:
        settings = Settings()
        with pytest.raises(ValidationError, match="frozen"):
            settings.mp3_quality = 1  # type: ignore[misc]

    def test_mistyped_variables_are_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(ENV_PREFIX + "MP3_QUALITY", "3")
        monkeypatch.setenv(CONFIG_FILE_VARIABLE, "")
        assert unknown_variables() == []
        monkeypatch.setenv(ENV_PREFIX + "MP3QUALITY", "3")
        assert unknown_variables() == [ENV_PREFIX + "MP3QUALITY"]

    def test_every_setting_is_explained(self) -> None:
        assert all(field.description for field in Settings.model_fields.values())


WRONG: dict[str, list[Any]] = {
    "data_dir": ["", "  "],
    "database_url": ["postgresql://host/db", "mine.db", "sqlite://", "sqlite:///"],
    "storage_url": ["s3://bucket", "file://", "file:relative", "recordings"],
    "flush_interval_seconds": [0, -1, 0.01, 301, "often", float("nan"), float("inf")],
    "transcode_wait_seconds": [-1, 1e9, float("nan")],
    "transcode_workers": [0, 65, 1.5, "many"],
    "transcode_attempts": [0, 21],
    "transcode_backoff_seconds": [-1, 3601],
    "transcode_time_limit_seconds": [0, 3601],
    "lease_seconds": [0, 86_401],
    "mp3_quality": [-1, 10, "best"],
    "keep_master": ["perhaps", 2],
    "temp_ttl_hours": [-1, float("nan"), float("inf"), 1e12],
    "cleanup_interval_seconds": [0, float("nan"), float("inf")],
    "disk_warn_mib": [-1],
    "disk_stop_mib": [-1],
    "database_busy_seconds": [0, 601],
    "shutdown_grace_seconds": [-1, 3601],
}


class TestWrongValues:
    @pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
    def test_names_itself_and_its_value(self, name: str, value: Any) -> None:
        with pytest.raises(SettingsError) as caught:
            Settings(**{name: value})
        message = str(caught.value)
        assert message.startswith(f"{name} = {value!r} ({ENV_PREFIX}{name.upper()}): ")
        assert "\n" not in message
        assert "pydantic" not in message
        assert isinstance(caught.value, UserError)
        assert isinstance(caught.value, ValueError)

    @pytest.mark.parametrize(
        ("name", "value", "allowed"),
        [
            ("flush_interval_seconds", 0, "greater than or equal to 0.1"),
            ("mp3_quality", 10, "less than or equal to 9"),
            ("keep_master", "perhaps", "valid boolean"),
            ("database_url", "postgresql://host/db", "only sqlite:///FILE"),
            ("storage_url", "s3://bucket", "only file:///FOLDER"),
            ("data_dir", "", "a folder must be named"),
        ],
    )
    def test_tells_what_is_allowed(self, name: str, value: Any, allowed: str) -> None:
        with pytest.raises(SettingsError, match=allowed):
            Settings(**{name: value})

    def test_every_wrong_value_is_told_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(ENV_PREFIX + "MP3_QUALITY", "best")
        with pytest.raises(SettingsError, match="transcode_attempts = 0 ") as caught:
            Settings(transcode_attempts=0)
        assert "; mp3_quality = 'best' " in f"; {caught.value}"

    def test_in_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(ENV_PREFIX + "TRANSCODE_WORKERS", "zero")
        with pytest.raises(SettingsError, match=r"transcode_workers = 'zero' \(DISCORD_RECORDER_TRANSCODE_WORKERS\)"):
            Settings()

    def test_a_lease_must_outlast_a_run(self) -> None:
        with pytest.raises(SettingsError, match=r"lease_seconds \(60\) must be greater than .* \(60\)"):
            Settings(lease_seconds=60, transcode_time_limit_seconds=60)

    def test_the_disk_is_warned_of_before_it_stops(self) -> None:
        with pytest.raises(SettingsError, match=r"disk_stop_mib \(3\) must not be greater than disk_warn_mib \(2\)"):
            Settings(disk_stop_mib=3, disk_warn_mib=2)

    def test_unknown_setting(self) -> None:
        with pytest.raises(SettingsError, match=r"mp3quality is not a setting\. Settings: data_dir, .*mp3_quality"):
            Settings(mp3quality=3)


class TestWrongFiles:
    def test_unknown_setting(self) -> None:
        toml("mp3quality = 3")
        with pytest.raises(SettingsError, match="mp3quality is not a setting"):
            Settings()

    def test_wrong_value(self) -> None:
        toml("mp3_quality = 'best'")
        with pytest.raises(SettingsError, match=r"mp3_quality = 'best'"):
            Settings()

    @pytest.mark.parametrize("content", [b"mp3_quality = ", b"\xff\xfe=1", b"mp3_quality = 1\nmp3_quality = 2"])
    def test_no_toml(self, content: bytes) -> None:
        Path("discord-recorder.toml").write_bytes(content)
        with pytest.raises(SettingsError, match=r"discord-recorder\.toml is not valid TOML"):
            Settings()

    def test_named_file_is_missing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(CONFIG_FILE_VARIABLE, str(tmp_path / "gone.toml"))
        with pytest.raises(SettingsError, match=r"gone\.toml: there is no such file"):
            Settings()

    @pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
    def test_unreadable(self) -> None:
        toml("mp3_quality = 1")
        Path("discord-recorder.toml").chmod(0)
        with pytest.raises(SettingsError, match=r"discord-recorder\.toml"):
            Settings()


@pytest.mark.parametrize("url", ["discord.test/api/v10", "ftp://discord.test/api", "https:///api/v10"])
def test_an_api_url_has_a_scheme_and_a_host(url: str) -> None:
    with pytest.raises(SettingsError, match=r"discord_api_url.*it takes https://HOST"):
        Settings(discord_api_url=url)
    assert (
        Settings(discord_api_url="https://localhost:8443/api/v10").discord_api_url == "https://localhost:8443/api/v10"
    )
