"""Handler classes that override `push_audio_data`: what they hand on is recorded, on the right speaker's track."""

import asyncio
from typing import Any, ClassVar

import numpy as np
import pytest

from discord_recorder import DiscordSessionHandler, InvalidAudioError, ServicesManager
from tests.audio.signals import dbfs, snr_db, to_pcm, tone
from tests.support.recorder import ALICE, BOB, CHANNEL, MEETING, recording_of, sound_of, started, stopped

CAROL = 444444444444444444
SIGNALS = {ALICE: tone(9600, hertz=500), BOB: tone(9600, hertz=800), CAROL: tone(9600, hertz=1100)}


def inverted(pcm: bytes) -> bytes:
    return (-np.frombuffer(pcm, "<i2")).tobytes()


class OneArgument(DiscordSessionHandler):
    async def push_audio_data(self, pcm_data: bytes) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        await super().push_audio_data(inverted(pcm_data))


class Keywords(DiscordSessionHandler):
    async def push_audio_data(
        self, pcm_data: bytes, *, user_id: int | str | None = None, at_ms: float | None = None
    ) -> None:
        await super().push_audio_data(inverted(pcm_data), user_id=user_id, at_ms=at_ms)


class AnyKeywords(DiscordSessionHandler):
    async def push_audio_data(self, pcm_data: bytes, **keywords: Any) -> None:
        await super().push_audio_data(inverted(pcm_data), **keywords)


class OnlyTheUser(DiscordSessionHandler):
    async def push_audio_data(self, pcm: bytes, user_id: int | str | None = None) -> None:  # type: ignore[override]
        await super().push_audio_data(inverted(pcm), user_id=user_id)


class UserUnused(DiscordSessionHandler):
    async def push_audio_data(self, pcm: bytes, *, user_id: int | str | None = None) -> None:  # type: ignore[override]
        await super().push_audio_data(inverted(pcm))


class Halves(DiscordSessionHandler):
    """Hands on in two calls."""

    async def push_audio_data(self, pcm_data: bytes) -> None:  # type: ignore[override]
        middle = len(pcm_data) // 8 * 4
        await super().push_audio_data(inverted(pcm_data[:middle]))
        await asyncio.sleep(0)
        await super().push_audio_data(inverted(pcm_data[middle:]))


class InATask(DiscordSessionHandler):
    async def push_audio_data(self, pcm_data: bytes) -> None:  # type: ignore[override]
        await asyncio.create_task(super().push_audio_data(inverted(pcm_data)))


class TwiceInverted(OneArgument):
    """An override of an override; two inversions and a third."""

    async def push_audio_data(self, pcm_data: bytes) -> None:  # type: ignore[override]
        await super().push_audio_data(inverted(inverted(pcm_data)))


class UserOverOneArgument(OneArgument):
    async def push_audio_data(self, pcm: bytes, user_id: int | str | None = None) -> None:  # type: ignore[override]
        await super().push_audio_data(inverted(inverted(pcm)), user_id=user_id)  # type: ignore[call-arg]


class KeywordsOverOneArgument(OneArgument):
    async def push_audio_data(
        self, pcm_data: bytes, *, user_id: int | str | None = None, at_ms: float | None = None
    ) -> None:
        twice = inverted(inverted(pcm_data))
        await super().push_audio_data(twice, user_id=user_id, at_ms=at_ms)  # type: ignore[call-arg]


class OneArgumentOverKeywords(Keywords):
    async def push_audio_data(self, pcm_data: bytes) -> None:  # type: ignore[override]
        await super().push_audio_data(inverted(inverted(pcm_data)))


class HalvesOverUser(OnlyTheUser):
    async def push_audio_data(self, pcm_data: bytes) -> None:  # type: ignore[override]
        await super().push_audio_data(inverted(inverted(pcm_data[:4000])))
        await super().push_audio_data(inverted(inverted(pcm_data[4000:])))


class Mixin:
    """Not a handler by itself."""

    async def push_audio_data(self, pcm_data: bytes) -> None:
        await super().push_audio_data(inverted(pcm_data))  # type: ignore[misc]


class WithMixin(Mixin, DiscordSessionHandler):  # type: ignore[misc]
    pass


class Inheriting(OneArgument):
    """Overrides something else only."""

    note: ClassVar[str] = ""


HANDLERS = [
    OneArgument,
    Keywords,
    AnyKeywords,
    OnlyTheUser,
    UserUnused,
    Halves,
    InATask,
    TwiceInverted,
    UserOverOneArgument,
    KeywordsOverOneArgument,
    OneArgumentOverKeywords,
    HalvesOverUser,
    WithMixin,
    Inheriting,
]


@pytest.mark.parametrize("handler", HANDLERS, ids=lambda handler: handler.__name__)
async def test_every_kind_keeps_speaker_and_place(
    services: ServicesManager, handler: type[DiscordSessionHandler]
) -> None:
    """Three speakers at once, the session's own one without naming it; each begins late and makes a pause."""
    session = await started(services, session_handler_class=handler)

    async def speak(user: int) -> None:
        whose = {} if user == ALICE else {"user_id": user}
        pieces = [to_pcm(SIGNALS[user][start : start + 960]) for start in range(0, 9600, 960)]
        for number, piece in enumerate(pieces):
            place = {0: {"at_ms": 200}, 5: {"at_ms": 500}}.get(number, {})
            await session.push_audio_data(piece, **whose, **place)

    await asyncio.gather(*(speak(user) for user in SIGNALS))
    recording = await stopped(services)
    speakers = {track["user_id"] for track in recording["tracks"] if track["kind"] == "speaker"}
    assert speakers == {str(user) for user in SIGNALS}
    for user, signal in SIGNALS.items():
        expected = np.zeros((600 * 48, 2))
        expected[200 * 48 : 300 * 48] = -signal[:4800]
        expected[500 * 48 : 600 * 48] = -signal[4800:]
        sound = sound_of(recording, user)
        assert len(sound) == len(expected)
        assert snr_db(expected, sound) > 20, "inverted, and of this speaker"
        assert dbfs(sound[340 * 48 : 460 * 48]) < -80, "nothing before its place"


async def test_an_override_may_choose_the_speaker_itself(services: ServicesManager) -> None:
    class Swapping(DiscordSessionHandler):
        async def push_audio_data(self, pcm_data: bytes) -> None:  # type: ignore[override]
            await super().push_audio_data(pcm_data, user_id=BOB, at_ms=100)

    session = await started(services, session_handler_class=Swapping)
    await session.push_audio_data(to_pcm(SIGNALS[ALICE]), user_id=ALICE, at_ms=0)
    (track,) = (await stopped(services))["tracks"]
    assert (track["user_id"], track["duration_ms"]) == (str(BOB), 300)


async def test_an_override_may_drop_audio(services: ServicesManager) -> None:
    class Gate(DiscordSessionHandler):
        async def push_audio_data(self, pcm_data: bytes) -> None:  # type: ignore[override]
            if any(pcm_data):
                await super().push_audio_data(pcm_data)

    session = await started(services, session_handler_class=Gate)
    for pcm in (bytes(9600), to_pcm(SIGNALS[ALICE]), bytes(9600)):
        await session.push_audio_data(pcm)
    assert len(sound_of(await stopped(services))) == len(SIGNALS[ALICE])


async def test_an_override_that_fails_tells_the_pusher(services: ServicesManager) -> None:
    class Fragile(DiscordSessionHandler):
        async def push_audio_data(self, pcm_data: bytes) -> None:  # type: ignore[override]
            if not any(pcm_data):
                raise RuntimeError("I need sound")
            await super().push_audio_data(pcm_data)

    session = await started(services, session_handler_class=Fragile)
    with pytest.raises(RuntimeError, match="I need sound"):
        await session.push_audio_data(bytes(9600), user_id=BOB)
    await session.push_audio_data(to_pcm(SIGNALS[ALICE]))
    (track,) = (await stopped(services))["tracks"]
    assert track["user_id"] == str(ALICE), "the failed push's speaker is forgotten"


async def test_what_goes_to_another_session_is_its_own(services: ServicesManager) -> None:
    recorder = services.discord_recorder_service
    assert await recorder.start_session(CHANNEL + 1, "0" * 16, user_id=CAROL)
    copy = recorder.sessions[CHANNEL + 1]

    class Copying(DiscordSessionHandler):
        async def push_audio_data(self, pcm_data: bytes) -> None:  # type: ignore[override]
            await copy.push_audio_data(pcm_data)
            await super().push_audio_data(pcm_data)

    session = await started(services, session_handler_class=Copying)
    await session.push_audio_data(to_pcm(SIGNALS[BOB]), user_id=BOB)
    await recorder.stop_session(CHANNEL + 1)
    await stopped(services)
    for meeting_id, user in ((MEETING, BOB), ("0" * 16, CAROL)):
        (track,) = (await recording_of(services, meeting_id))["tracks"]
        assert (track["user_id"], track["duration_ms"]) == (str(user), 200)


async def test_a_task_that_outlives_its_push_has_to_name_the_speaker(services: ServicesManager) -> None:
    late: list[asyncio.Task[None]] = []
    go_on = asyncio.Event()

    class Later(DiscordSessionHandler):
        async def push_audio_data(self, pcm_data: bytes) -> None:  # type: ignore[override]
            late.append(asyncio.create_task(self.record(pcm_data)))
            late.append(asyncio.create_task(self.record(pcm_data, user_id=CAROL)))

        async def record(self, pcm_data: bytes, **whose: int) -> None:
            await go_on.wait()
            await super().push_audio_data(pcm_data, **whose)

    session = await started(services, session_handler_class=Later)
    await session.push_audio_data(to_pcm(SIGNALS[BOB]), user_id=BOB)
    go_on.set()
    with pytest.raises(InvalidAudioError, match=r"Push it with user_id=, or await the task"):
        await late[0]
    await late[1]
    (track,) = (await stopped(services))["tracks"]
    assert (track["user_id"], track["duration_ms"]) == (str(CAROL), 200)


async def test_two_sessions_may_have_two_classes(services: ServicesManager) -> None:
    recorder = services.discord_recorder_service
    recorder.session_handler_class = OneArgument
    await started(services)
    assert await recorder.start_session(CHANNEL + 1, session_handler_class=DiscordSessionHandler)
    assert type(recorder.sessions[CHANNEL]) is OneArgument
    assert type(recorder.sessions[CHANNEL + 1]) is DiscordSessionHandler
