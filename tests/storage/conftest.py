from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from discord_recorder.storage.database import Database


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """A new database."""
    database = Database(tmp_path / "recorder.sqlite3")
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def same_database(database: Database) -> AsyncIterator[Database]:
    """The same file as another process sees it."""
    same = Database(database.file)
    await same.open()
    yield same
    await same.close()
