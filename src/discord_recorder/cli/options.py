"""The options that stand before every command."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was typed before the command's name; `data_dir` as typed, for the settings to judge."""

    data_dir: str | None = None
    verbose: bool = False
