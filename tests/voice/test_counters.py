"""The packet ledger."""

import pytest

from discord_recorder.errors import VoiceError
from discord_recorder.voice import counters
from discord_recorder.voice.counters import Outcome, PacketLedger


def filled() -> PacketLedger:
    ledger = PacketLedger()
    ledger.received = 10
    ledger.nobody.drop(Outcome.RTCP)
    ledger.nobody.drop(Outcome.FORGED)
    one, two = ledger.tally(1), ledger.tally(2)
    one.stored = 4
    one.plain = 1
    one.drop(Outcome.DUPLICATE)
    two.stored = 1
    two.parked = 2
    return ledger


def test_it_counts_in_total() -> None:
    ledger = filled()
    counts = ledger.counts()
    assert (counts.received, counts.stored, counts.plain, counts.parked) == (10, 5, 1, 2)
    assert counts.dropped == {Outcome.RTCP: 1, Outcome.FORGED: 1, Outcome.DUPLICATE: 1}
    assert (counts.dropped_total, counts.lost) == (3, 2)
    assert {outcome: ledger.count(outcome) for outcome in Outcome if ledger.count(outcome)} == {
        Outcome.STORED: 4,
        Outcome.STORED_PLAIN: 1,
        Outcome.RTCP: 1,
        Outcome.FORGED: 1,
        Outcome.DUPLICATE: 1,
    }


def test_it_counts_for_each_user() -> None:
    ledger = filled()
    assert ledger.users == [1, 2]
    assert ledger.user_counts(1).dropped == {Outcome.DUPLICATE: 1}
    assert [ledger.user_counts(user).received for user in (1, 2, 3)] == [5, 3, 0]
    assert all(ledger.user_counts(user).balanced for user in (1, 2, 3))
    assert ledger.users == [1, 2]


def test_the_check_finds_a_datagram_that_is_missing_or_counted_twice() -> None:
    ledger = filled()
    ledger.check()
    ledger.received += 1
    with pytest.raises(VoiceError, match="does not add up"):
        ledger.check()
    ledger.nobody.drop(Outcome.EMPTY)
    ledger.check()
    ledger.nobody.drop(Outcome.EMPTY)
    with pytest.raises(VoiceError):
        ledger.check()


def test_what_the_kernel_dropped_was_never_received() -> None:
    ledger = filled()
    ledger.add_kernel_dropped(3)
    ledger.add_kernel_dropped(2)
    assert ledger.kernel_dropped == 5
    ledger.check()


def test_a_flood_of_users_takes_no_more_memory_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "MAX_USERS", 2)
    ledger = PacketLedger()
    assert ledger.tally(1) is not ledger.nobody
    assert ledger.tally(2) is not ledger.nobody
    assert ledger.tally(3) is ledger.nobody
    assert ledger.tally(1) is ledger.tally(1)
