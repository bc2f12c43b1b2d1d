"""Free space: sessions are warned, and end while there is room to finish them."""

import logging
import shutil
from typing import Final

from discord_recorder.config import Settings
from discord_recorder.errors import StorageError

log = logging.getLogger(__name__)

CHECK_SECONDS: Final = 5.0
"""How often a session looks."""

_MIB: Final = 1024 * 1024


class DiskWatch:
    """Looks at the disk of the data directory; `warning` is what a person should know, None while there is room."""

    def __init__(self, settings: Settings) -> None:
        self.warning: str | None = None
        self._settings = settings

    def require_room(self) -> None:
        """Raise `StorageError` when there is too little room to begin to record."""
        if reason := self.look():
            raise StorageError(
                f"{reason[0].upper()}{reason[1:]} ({self._settings.data_dir}). "
                "Make room, or choose another data directory."
            )

    def look(self) -> str | None:
        """Why recording has to end, None while it can go on."""
        settings = self._settings
        free_mib = shutil.disk_usage(settings.data_dir).free // _MIB
        if free_mib < settings.disk_stop_mib:
            return f"the disk is full: {free_mib} MiB are left, fewer than disk_stop_mib = {settings.disk_stop_mib}"
        if free_mib >= settings.disk_warn_mib:
            self.warning = None
            return None
        if self.warning is None:
            log.warning("The disk is nearly full", extra={"free_mib": free_mib})
        self.warning = (
            f"Only {free_mib} MiB are free in {settings.data_dir}. Recording ends at {settings.disk_stop_mib} MiB."
        )
        return None
