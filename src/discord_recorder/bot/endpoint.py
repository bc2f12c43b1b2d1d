"""Which Discord the program talks to: for bots that are pointed elsewhere by code."""

from discord_recorder.services.discord_api import use_discord_api

__all__ = ["use_discord_api"]
