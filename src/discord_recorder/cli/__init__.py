"""The command line: what a person, or a script, types."""

from discord_recorder.cli.app import main

__all__ = ["main"]
