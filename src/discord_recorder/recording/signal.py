"""A signal that any number of tasks can wait for without missing one."""

import asyncio


class Signal:
    """Take a `ticket`, look at the state, then `wait` with the ticket: a signal in between is not lost."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ticket(self) -> asyncio.Event:
        """Stands for all signals from now on."""
        return self._event

    def send(self) -> None:
        """Wake everybody who holds a ticket."""
        spent, self._event = self._event, asyncio.Event()
        spent.set()

    async def wait(self, ticket: asyncio.Event, seconds: float) -> None:
        """Return at the first signal since the ticket was taken, or after that time."""
        try:
            async with asyncio.timeout(seconds):
                await ticket.wait()
        except TimeoutError:
            pass
