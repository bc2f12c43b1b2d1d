"""A program as people write it, that is interrupted with Ctrl-C while it records: `interrupted.py DATA_DIR`."""

import asyncio
import sys
from pathlib import Path

from discord_recorder import ServicesManager
from tests.faults import voices
from tests.support.recorder import MEETING, quick_settings

PIECE = voices.samples(0.02)


async def main(data_dir: Path) -> None:
    async with ServicesManager(quick_settings(data_dir, flush_interval_seconds=0.5)) as services:
        service = services.discord_recorder_service
        await service.start_session(1, MEETING, user_id=voices.ADA)
        session, position = service.sessions[1], 0
        while True:
            await session.push_audio_data(voices.said(voices.ADA, position, PIECE))
            position += PIECE
            sys.stdout.write(f"{position}\n")
            sys.stdout.flush()
            await asyncio.sleep(0.001)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
