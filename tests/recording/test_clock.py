import asyncio
from datetime import timedelta

from discord_recorder.recording.clock import SystemClock
from tests.support.clock import FakeClock


async def test_the_machines_clock_goes_on() -> None:
    clock = SystemClock()
    moment, start = clock.now(), clock.monotonic()
    assert moment.utcoffset() == timedelta(0)
    await clock.sleep(0.01)
    assert clock.monotonic() - start >= 0.009
    assert clock.now() >= moment


async def test_virtual_time_moves_when_told() -> None:
    clock = FakeClock()
    woken: list[float] = []

    async def sleep(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(seconds)

    sleepers = [asyncio.create_task(sleep(seconds)) for seconds in (3, 1, 2)]
    await asyncio.sleep(0)
    assert clock.sleeping == 3
    clock.advance(2)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert sorted(woken) == [1, 2]
    assert clock.sleeping == 1
    sleepers[0].cancel()
    await asyncio.gather(*sleepers, return_exceptions=True)
    assert clock.sleeping == 0
