"""Settings: one validated, frozen object that holds every choice an operator has.

Sources, the first that names a setting wins: arguments in code, environment variables with the prefix
`DISCORD_RECORDER_`, a TOML file (`DISCORD_RECORDER_CONFIG_FILE`, else `discord-recorder.toml` in the current directory
if there is one), the defaults below.
"""

import os
import tomllib
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from discord_recorder.errors import SettingsError

ENV_PREFIX: Final = "DISCORD_RECORDER_"
CONFIG_FILE_VARIABLE: Final = ENV_PREFIX + "CONFIG_FILE"
DEFAULT_CONFIG_FILE: Final = Path("discord-recorder.toml")

FLUSH_INTERVAL_SECONDS: Final = (0.1, 300.0)
"""The least and the greatest length of a chunk."""

_MIB: Final = 1024 * 1024


class Settings(BaseSettings):
    """All settings of one recorder; raises `SettingsError` that names the setting, its value and what is allowed."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="forbid", validate_default=True)

    data_dir: Path = Field(
        Path("discord-recorder-data"),
        description="Folder for everything the program writes: database, chunks in work, recordings.",
    )
    database_url: str = Field(
        "",
        description="Where the state is kept: sqlite:///FILE. Default: recorder.sqlite3 in the data directory.",
    )
    storage_url: str = Field(
        "",
        description="Where finished recordings are kept: file:///FOLDER. Default: recordings/ in the data directory.",
    )
    discord_api_url: str = Field(
        "",
        description="Another Discord-compatible service, for bots that are attached: https://HOST[:PORT]/api/v10.",
    )
    ffmpeg_path: str | None = Field(
        None,
        description="FFmpeg program, a path or a name on PATH. Default: the one of the imageio-ffmpeg wheel.",
    )
    flush_interval_seconds: float = Field(
        10.0,
        ge=FLUSH_INTERVAL_SECONDS[0],
        le=FLUSH_INTERVAL_SECONDS[1],
        description="Length of a chunk, and how often chunks are sealed, in seconds.",
    )
    pause_keeps_time: bool = Field(
        False, description="Let session time run on in a pause, as silence. Default: a pause is cut out of all tracks."
    )
    transcode_wait_seconds: float = Field(
        300.0, ge=0, le=86_400, description="How long `stop` waits for the last transcodes; they go on after it."
    )
    transcode_workers: int = Field(
        default_factory=lambda: max(1, min(os.cpu_count() or 1, 8)),
        ge=1,
        le=64,
        description="How many FFmpeg runs at once. Default: one a processor, at most 8.",
    )
    transcode_attempts: int = Field(3, ge=1, le=20, description="Tries before a chunk is FAILED.")
    transcode_backoff_seconds: float = Field(
        2.0, ge=0, le=3600, description="Pause before the second try; each further one waits four times as long."
    )
    transcode_time_limit_seconds: float = Field(
        60.0, gt=0, le=3600, description="An FFmpeg run that takes longer is killed with all its children."
    )
    lease_seconds: float = Field(
        150.0, gt=0, le=86_400, description="How long a worker owns a job before others may take it over."
    )
    mp3_quality: int = Field(
        4,
        ge=0,
        le=9,
        description="LAME's VBR quality: 0 is the best (245 kbit/s), 4 about 85 kbit/s for speech, 9 least.",
    )
    level_mix: bool = Field(
        False, description="Bring all speakers to one loudness in the mix (EBU R128). Their tracks stay as they are."
    )
    keep_master: bool = Field(False, description="Keep a lossless FLAC of each track of pushed PCM beside its MP3.")
    keep_opus: bool = Field(
        True,
        description="Keep the Opus of live calls as it was received, a file for each track beside its MP3: 10 to 30 MB "
        "an hour of speech, and as much again in the temp folder until the recording is finished.",
    )
    temp_ttl_hours: float = Field(
        24.0, ge=0, le=87_600, description="Age at which the cleanup removes temp recordings."
    )
    cleanup_interval_seconds: float = Field(3600.0, gt=0, le=604_800, description="How often the cleanup runs.")
    disk_warn_mib: int = Field(2048, ge=0, description="Free space in MiB under which a warning is given.")
    disk_stop_mib: int = Field(
        256, ge=0, description="Free space in MiB under which sessions end, while there is room to finish them."
    )
    database_busy_seconds: float = Field(
        10.0, gt=0, le=600, description="How long a statement waits for another process's write lock."
    )
    shutdown_grace_seconds: float = Field(
        30.0, ge=0, le=3600, description="How long closing waits for work in progress; the next start goes on with it."
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingsError(_explain(error)) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{config_file()} is not valid TOML: {error}") from None
        except OSError as error:
            raise SettingsError(f"{config_file()} cannot be read: {error.strerror}") from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: code, environment, TOML file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=config_file())

    @field_validator("data_dir", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if isinstance(value, str) and not value.strip():
            raise ValueError("a folder must be named")
        return value

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @model_validator(mode="before")
    @classmethod
    def _blank_means_default(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {
            key: value
            for key, value in values.items()
            if not (isinstance(value, str) and not value.strip() and key != "data_dir")
        }

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        if value and urlsplit(value).scheme != "sqlite":
            raise ValueError("only sqlite:///FILE is supported in this version")
        if value and urlsplit(value).netloc:
            raise ValueError("sqlite:///FILE takes three slashes, or four for an absolute path")
        if value and not urlsplit(value).path.strip("/"):
            raise ValueError("sqlite:///FILE must name a file; an in-memory database would not survive a crash")
        return value

    @field_validator("storage_url")
    @classmethod
    def _known_storage(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (
            parts.scheme != "file" or parts.netloc not in ("", "localhost") or not parts.path.startswith("/")
        ):
            raise ValueError("only file:///FOLDER (an absolute path) is supported in this version")
        return value

    @field_validator("discord_api_url")
    @classmethod
    def _known_api(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in ("http", "https") or not parts.netloc):
            raise ValueError("it takes https://HOST[:PORT]/api/v10")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        if self.lease_seconds <= self.transcode_time_limit_seconds:
            raise ValueError(
                f"lease_seconds ({self.lease_seconds:g}) must be greater than transcode_time_limit_seconds "
                f"({self.transcode_time_limit_seconds:g}), or a running job would be taken over"
            )
        if self.disk_stop_mib > self.disk_warn_mib:
            raise ValueError(
                f"disk_stop_mib ({self.disk_stop_mib}) must not be greater than disk_warn_mib ({self.disk_warn_mib})"
            )
        return self

    @property
    def database_file(self) -> Path:
        """The SQLite file."""
        if not self.database_url:
            return self.data_dir / "recorder.sqlite3"
        return Path(unquote(urlsplit(self.database_url).path)[1:]).absolute()

    @property
    def recordings_dir(self) -> Path:
        """The folder of finished recordings."""
        if not self.storage_url:
            return self.data_dir / "recordings"
        return Path(unquote(urlsplit(self.storage_url).path))

    @property
    def temp_dir(self) -> Path:
        """The folder of chunks in work."""
        return self.data_dir / "temp"

    @property
    def run_dir(self) -> Path:
        """The folder of the lock files that tell which processes are alive."""
        return self.data_dir / "run"


def config_file() -> Path | None:
    """The TOML file that `Settings` reads, None when there is none; a named file that is missing is an error."""
    named = os.environ.get(CONFIG_FILE_VARIABLE, "").strip()
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise SettingsError(
                f"{CONFIG_FILE_VARIABLE}={named}: there is no such file. Create it or unset the variable."
            )
        return path
    return DEFAULT_CONFIG_FILE if DEFAULT_CONFIG_FILE.is_file() else None


def unknown_variables() -> list[str]:
    """Environment variables with our prefix that no setting reads: most likely typing errors."""
    known = {CONFIG_FILE_VARIABLE, *((ENV_PREFIX + name).upper() for name in Settings.model_fields)}
    return sorted(name for name in os.environ if name.startswith(ENV_PREFIX) and name not in known)


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"])
        reason = problem["msg"].removeprefix("Value error, ")
        if not name:
            lines.append(reason)
        elif problem["type"] == "extra_forbidden":
            lines.append(f"{name} is not a setting. Settings: {', '.join(Settings.model_fields)}")
        else:
            lines.append(f"{name} = {problem['input']!r} ({ENV_PREFIX}{name.upper()}): {reason}")
    return "; ".join(lines)
