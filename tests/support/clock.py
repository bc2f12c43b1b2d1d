"""Time that stands still until a test moves it."""

import asyncio
from datetime import UTC, datetime, timedelta

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class FakeClock:
    """A `Clock` in virtual time: `advance` moves it and wakes the sleepers that became due."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return START + timedelta(seconds=self.elapsed)

    def monotonic(self) -> float:
        return self.elapsed

    async def sleep(self, seconds: float) -> None:
        sleeper = (self.elapsed + seconds, asyncio.get_running_loop().create_future())
        self._sleepers.append(sleeper)
        try:
            await sleeper[1]
        finally:
            self._sleepers.remove(sleeper)

    @property
    def sleeping(self) -> int:
        """How many tasks sleep now."""
        return len(self._sleepers)

    async def pass_by(self, seconds: float, step: float = 0.1) -> None:
        """Move the time on in steps, and let what sleeps do its work at each, until it sleeps again."""
        for _ in range(round(seconds / step)):
            sleeping = self.sleeping
            self.advance(step)
            await asyncio.sleep(0)
            while self.sleeping < sleeping:  # noqa: ASYNC110 - nothing tells when a task sleeps again
                await asyncio.sleep(0.0005)

    def advance(self, seconds: float) -> None:
        """Move the time on; who is due goes on at the next turn of the event loop."""
        self.elapsed += seconds
        for due, wake in self._sleepers:
            if due <= self.elapsed and not wake.done():
                wake.set_result(None)
