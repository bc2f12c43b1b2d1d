"""IP discovery over a network that loses datagrams, in virtual time."""

from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.voice.address import RETRY_SECONDS, TRIES, AddressFinder
from discord_recorder.voice.discovery import DiscoveryAnswer

SSRC = 5
ANSWER = bytes.fromhex("00020046") + SSRC.to_bytes(4) + b"203.0.113.4".ljust(64, b"\0") + (4000).to_bytes(2)


def test_it_asks_until_it_is_answered() -> None:
    finder, asked = AddressFinder(SSRC, 0.0), []
    for tick in range(100):
        now = tick / 10
        if (request := finder.request(now)) is not None:
            assert (len(request), request[:8]) == (74, bytes.fromhex("00010046") + SSRC.to_bytes(4))
            asked.append(now)
        if now == 1.2:
            assert finder.take(ANSWER)
        assert not finder.has_failed(now)
    assert asked == [0.0, RETRY_SECONDS, 2 * RETRY_SECONDS]
    assert finder.answer == DiscoveryAnswer(ssrc=SSRC, address="203.0.113.4", port=4000)


def test_it_gives_up() -> None:
    finder = AddressFinder(SSRC, 0.0)
    asked = [tick for tick in range(100) if finder.request(tick / 10) is not None]
    assert len(asked) == TRIES
    assert not finder.has_failed(asked[-1] / 10)
    assert finder.has_failed(asked[-1] / 10 + RETRY_SECONDS)


def test_answers_to_others_and_broken_ones_are_taken_and_mean_nothing() -> None:
    finder = AddressFinder(SSRC, 0.0)
    for bad in (ANSWER[:-1], ANSWER.replace(SSRC.to_bytes(4), b"\0\0\0\6", 1), ANSWER[:-2] + b"\0\0"):
        assert finder.take(bad)
        assert finder.answer is None
    assert finder.take(ANSWER)
    assert finder.answer is not None


@given(datagram=st.binary(max_size=100) | st.binary(max_size=100).map(lambda tail: ANSWER[:8] + tail))
def test_nothing_escapes(datagram: bytes) -> None:
    finder = AddressFinder(SSRC, 0.0)
    assert finder.take(datagram) == (datagram[:4] == ANSWER[:4])
