"""The `logging_service` of the API: awaitable lines to the program's log."""

import logging

log = logging.getLogger("discord_recorder")


class LoggingService:
    """Writes to the `discord_recorder` logger of the standard library; handlers and levels are the program's choice."""

    async def info(self, text: str) -> None:
        """Log what happened."""
        log.info("%s", text)

    async def warning(self, text: str) -> None:
        """Log what somebody should look at."""
        log.warning("%s", text)

    async def error(self, text: str) -> None:
        """Log what went wrong."""
        log.error("%s", text)
