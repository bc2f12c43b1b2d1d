"""What the main gateway's messages amount to, in whatever order they come."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discord_recorder.voice.signals import LONE_SERVER_SECONDS, Signal, Signals


def signals() -> Signals:
    return Signals(guild_id=1, user_id=2, channel_id=3)


def state(channel_id: int | None = 3, session_id: str = "session", **more: Any) -> dict[str, Any]:
    return {"channel_id": channel_id and str(channel_id), "session_id": session_id, **more}


def server(endpoint: str | None = "voice:443", token: str = "token") -> dict[str, Any]:
    return {"token": token, "endpoint": endpoint, "guild_id": "1"}


class TestNewTicket:
    def test_takes_both_in_either_order(self) -> None:
        for server_first in (False, True):
            known = signals()
            known.requested(leaving=False)
            if server_first:
                known.server(server(), 0.0)
                assert known.new_ticket(10.0) is None
                known.state(state())
            else:
                known.state(state())
                assert known.new_ticket(10.0) is None
                known.server(server(), 0.0)
            ticket = known.new_ticket(0.0)
            assert ticket is not None
            assert (ticket.endpoint, ticket.token, ticket.session_id) == ("voice:443", "token", "session")
            assert (ticket.guild_id, ticket.user_id, ticket.channel_id) == (1, 2, 3)

    def test_is_not_made_of_what_came_before_the_request(self) -> None:
        known = signals()
        known.state(state())
        known.server(server(), 0.0)
        known.requested(leaving=True)
        assert known.new_ticket(100.0) is None
        known.state(state(None))
        known.server(server(token="new"), 101.0)
        assert known.new_ticket(200.0) is None  # we have left, and are not in again
        known.state(state(session_id="new session"))
        ticket = known.new_ticket(200.0)
        assert ticket is not None
        assert (ticket.token, ticket.session_id) == ("new", "new session")

    def test_a_server_without_a_state_is_enough_after_a_while(self) -> None:
        known = signals()
        known.state(state())
        known.requested(leaving=False)
        known.server(server(), 5.0)
        assert known.new_ticket(5.0) is None
        assert known.new_ticket(5.1 + LONE_SERVER_SECONDS) is not None

    def test_waits_for_an_endpoint(self) -> None:
        known = signals()
        known.requested(leaving=False)
        known.state(state())
        known.server(server(None), 0.0)
        assert known.new_ticket(100.0) is None
        known.server(server("wss://voice.example/"), 100.0)
        ticket = known.new_ticket(100.0)
        assert ticket is not None
        assert ticket.endpoint == "voice.example"


class TestSignal:
    @pytest.fixture
    def known(self) -> Signals:
        made = signals()
        made.state(state())
        made.server(server(), 0.0)
        return made

    def test_nothing_has_changed_after_duplicates(self, known: Signals) -> None:
        ticket = known.ticket()
        assert ticket is not None
        known.state(state())
        known.server(server(), 5.0)
        known.state(state(session_id="of a resumed main gateway"))
        assert known.signal(ticket) is Signal.NOTHING

    def test_what_has_changed(self, known: Signals) -> None:
        ticket = known.ticket()
        assert ticket is not None
        known.state(state(4))
        assert known.signal(ticket) is Signal.OTHER_CHANNEL
        known.server(server(token="other"), 1.0)
        assert known.signal(ticket) is Signal.OTHER_SERVER
        known.server(server(None), 2.0)
        assert known.signal(ticket) is Signal.NO_ENDPOINT
        known.state(state(None))
        assert known.signal(ticket) is Signal.REMOVED
        assert known.removed

    def test_leaving_on_purpose_is_no_removal(self, known: Signals) -> None:
        known.requested(leaving=True)
        known.state(state(None))
        assert not known.removed
        known.state(state())
        known.state(state(None))
        assert known.removed

    def test_deafness_is_told(self, known: Signals) -> None:
        known.state(state(deaf=True))
        assert known.deafened
        known.state(state(deaf=False))
        assert not known.deafened


NONSENSE = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.none())
DATA = st.dictionaries(st.sampled_from(["channel_id", "session_id", "token", "endpoint", "deaf"]), NONSENSE)


@given(messages=st.lists(st.tuples(st.booleans(), DATA)))
def test_nonsense_is_ignored(messages: list[tuple[bool, dict[str, Any]]]) -> None:
    known = signals()
    for of_state, data in messages:
        if of_state:
            known.state(data)
        else:
            known.server(data, 0.0)
        ticket = known.new_ticket(10.0)
        if ticket is not None:
            values: list[object] = [ticket.channel_id, ticket.token, ticket.endpoint, ticket.session_id]
            assert [type(value) for value in values] == [int, str, str, str]


def test_a_server_is_known_to_have_been_announced_again() -> None:
    known = signals()
    known.state(state())
    known.server(server(), 5.0)
    assert known.was_announced(4.0)
    assert not known.was_announced(5.0)
    known.server(server(), 6.0)
    assert known.was_announced(5.0)
    known.server(server(None), 7.0)
    assert not known.was_announced(5.0)
