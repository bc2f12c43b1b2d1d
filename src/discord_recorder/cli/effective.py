"""The settings in force, and where each of them comes from."""

import os
import tomllib
from dataclasses import asdict, dataclass
from typing import Any

from discord_recorder.cli.options import Options
from discord_recorder.config import ENV_PREFIX, Settings, config_file


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveSetting:
    """One setting as it is in force; `source` is "default", an option, a variable or a file."""

    name: str
    value: Any
    source: str

    def as_dict(self) -> dict[str, Any]:
        """For scripts."""
        return asdict(self)


def effective_settings(settings: Settings, options: Options) -> list[EffectiveSetting]:
    """All settings in the order in which they are documented."""
    sources = _sources(options)
    return [
        EffectiveSetting(
            name=name,
            value=_value(settings, name),
            source=sources.get(name, "code") if name in settings.model_fields_set else "default",
        )
        for name in Settings.model_fields
    ]


def _sources(options: Options) -> dict[str, str]:
    file = config_file()
    found: dict[str, str] = {}
    if file is not None:
        found |= dict.fromkeys(tomllib.loads(file.read_text(encoding="utf-8")), str(file))
    found |= {
        variable.upper().removeprefix(ENV_PREFIX).lower(): variable
        for variable in os.environ
        if variable.upper().startswith(ENV_PREFIX)
    }
    return found if options.data_dir is None else found | {"data_dir": "--data-dir"}


def _value(settings: Settings, name: str) -> Any:
    """The value that is used where the setting itself only says "the default place"."""
    if name == "database_url" and not settings.database_url:
        return f"sqlite:///{settings.database_file}"
    if name == "storage_url" and not settings.storage_url:
        return f"file://{settings.recordings_dir}"
    return getattr(settings, name)
