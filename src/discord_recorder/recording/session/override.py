"""How a handler class overrides `push_audio_data` with one argument, and its audio stays on the right track.

The override names what it takes; the rest (whose audio it is, and its place) is remembered for the duration of the
call, also in tasks that the override starts and awaits, and used by the push of the base class that it ends in.
"""

import contextvars
import functools
import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from discord_recorder.errors import InvalidAudioError

Push = Callable[..., Coroutine[Any, Any, None]]


@dataclass(slots=True)
class Placement:
    """Whose audio an override of that session is working on, and from when."""

    session: object
    user_id: int | str | None
    at_ms: float | None
    ended: bool = False

    def take_at_ms(self) -> float | None:
        """The place, once: what the override pushes after that is contiguous."""
        at_ms, self.at_ms = self.at_ms, None
        return at_ms


@dataclass(slots=True)
class LivePermit:
    """Lets an override record the frame of a live call that it was called with; revoked when it has taken too long."""

    is_revoked: bool = False


_permit: Final = contextvars.ContextVar[LivePermit | None]("discord_recorder_permit", default=None)


async def permitted(permit: LivePermit, push: Coroutine[Any, Any, None]) -> None:
    """Await a push under a permit; to be run as a task of its own."""
    _permit.set(permit)
    await push


def check_permit() -> None:
    """Raise `InvalidAudioError` for what comes from an override of a live call whose permit was revoked."""
    permit = _permit.get()
    if permit is not None and permit.is_revoked:
        raise InvalidAudioError(
            "Audio of a live call was pushed after push_audio_data had ended or taken too long for it; it was recorded "
            "as it came. Push it from within push_audio_data."
        )


def has_permit() -> bool:
    """Whether what is pushed now comes from an override of a live call, so that it arrived before any pause of now."""
    return _permit.get() is not None


_current: Final = contextvars.ContextVar[Placement | None]("discord_recorder_placement", default=None)


def current_placement(session: object, user_id: int | str | None) -> Placement | None:
    """What an override of this session was called with, for a push with that `user_id`; None outside of an override.

    Raises `InvalidAudioError` in a task that outlived the override which started it and names no user: whose audio it
    has is not known.
    """
    placement = _current.get()
    if placement is None or placement.session is not session or (placement.ended and user_id is not None):
        return None
    if placement.ended:
        raise InvalidAudioError(
            "Audio was pushed by a task that outlived the push_audio_data which started it, so its speaker is not "
            "known. Push it with user_id=, or await the task in push_audio_data."
        )
    return placement


def remembering_placement(override: Push) -> Push:
    """Wrap an override so that it can be called as the base class's `push_audio_data` is."""
    parameters = inspect.signature(override).parameters.values()
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    names = {parameter.name for parameter in parameters}

    @functools.wraps(override)
    async def push_audio_data(
        self: object, pcm_data: bytes, *, user_id: int | str | None = None, at_ms: float | None = None
    ) -> None:
        outer = current_placement(self, user_id)
        nested = outer is not None and user_id is None and at_ms is None  # an override of an override
        if outer is not None and not nested:
            user_id = outer.user_id if user_id is None else user_id
            at_ms = outer.take_at_ms() if at_ms is None else at_ms
        placed = {"user_id": user_id, "at_ms": at_ms}
        understood = {name: value for name, value in placed.items() if takes_all or name in names}
        if nested:
            await override(self, pcm_data, **understood)
            return
        placement = Placement(session=self, user_id=user_id, at_ms=None if "at_ms" in understood else at_ms)
        token = _current.set(placement)
        try:
            await override(self, pcm_data, **understood)
        finally:
            placement.ended = True
            _current.reset(token)

    return push_audio_data
