"""Finding out what address the voice server sees us at, over a network that loses datagrams. No I/O."""

from typing import Final

from discord_recorder.errors import ParseError
from discord_recorder.voice import discovery
from discord_recorder.voice.discovery import DiscoveryAnswer

RETRY_SECONDS: Final = 0.5
"""After so long without an answer it is asked again."""

TRIES: Final = 6


class AddressFinder:
    """Asks by IP discovery until there is an answer, a few times."""

    def __init__(self, ssrc: int, now: float) -> None:
        self._ssrc = ssrc
        self._next = now
        self._tries = 0
        self.answer: DiscoveryAnswer | None = None

    def request(self, now: float) -> bytes | None:
        """The datagram to send now, if one is due."""
        if self.answer is not None or now < self._next or self._tries >= TRIES:
            return None
        self._tries += 1
        self._next = now + RETRY_SECONDS
        return discovery.request(self._ssrc)

    def has_failed(self, now: float) -> bool:
        """Whether nobody has answered, and nobody will."""
        return self.answer is None and self._tries >= TRIES and now >= self._next

    def take(self, datagram: bytes) -> bool:
        """Take a datagram if it is an answer, of any kind; the first good one counts."""
        if not discovery.is_answer(datagram):
            return False
        try:
            answer = discovery.parse_answer(datagram)
        except ParseError:
            return True
        if self.answer is None and answer.ssrc == self._ssrc:
            self.answer = answer
        return True
