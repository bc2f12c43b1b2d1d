"""End-to-end encryption changes while people talk: late commits, other versions, joins and leaves without end."""

import asyncio

import pytest

from tests.e2e.call import Call, Person
from tests.support.waiting import until

COMMIT_DELAY_SECONDS = 0.4


async def test_commits_that_come_late(call: Call) -> None:
    """Everybody else is in the next epoch already, and speaks in it."""
    call.server.delay_websocket(call.bot.id, COMMIT_DELAY_SECONDS)
    chris = Person(call, "Chris", call.ada.hertz)
    call.ada.begin()
    await call.ada.said(10)
    await chris.join()
    await call.together(call.ada.id, call.ben.id, chris.id)
    await call.ada.said(10)
    await chris.leave()
    await call.together(call.ada.id, call.ben.id)
    await call.ada.said(10)
    await call.ada.end()
    await call.tail()
    assert call.missing(call.ada) == []
    assert await call.gaps() == []
    await call.stop()


async def test_down_to_no_encryption_and_up_again(call: Call) -> None:
    call.ada.begin()
    for version in (0, 1):
        await call.ada.said(15)
        call.server.change_version(call.channel.id, version)
        await call.at_version(version)
    await call.together(call.ada.id, call.ben.id)
    await call.ada.said(15)
    await call.ada.end()
    await call.tail()
    assert call.missing(call.ada) == []
    assert {frame.encrypted for frame in call.ada.spoken} == {True, False}
    await call.stop()


async def test_churn(call: Call) -> None:
    await _churn(call, changes=40, a_second=4)


@pytest.mark.slow
async def test_churn_for_a_minute(call: Call) -> None:
    await _churn(call, changes=120, a_second=2)


async def _churn(call: Call, *, changes: int, a_second: float) -> None:
    """Join or leave, so often a second at the most, each an epoch; one who talks all the time loses nothing."""
    guests = [Person(call, f"Guest {number}", call.ben.hertz) for number in range(4)]
    inside: list[Person] = []
    call.ada.begin()
    for change in range(changes):
        epoch = call.epoch
        pause = asyncio.create_task(asyncio.sleep(1 / a_second))
        if len(inside) < len(guests) and (change % 8 < 4 or not inside):
            guest = next(guest for guest in guests if guest not in inside)
            await guest.join()
            inside.append(guest)
        else:
            await inside.pop(0).leave()
        await until(lambda before=epoch: call.epoch > before)  # type: ignore[misc]
        await pause
    for guest in inside:
        await guest.leave()
    await call.together(call.ada.id, call.ben.id)
    await call.ada.end()
    await call.tail()
    assert call.missing(call.ada) == []
    assert await call.gaps() == []
    await call.stop()
