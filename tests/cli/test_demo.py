"""The demo: a short cast for speed, and the real one when asked for."""

from collections.abc import Sequence
from pathlib import Path

import discord.gateway
import discord.http
import pytest

from discord_recorder.cli import demo, demo_people, packets
from discord_recorder.cli.demo_people import Part
from discord_recorder.cli.packets import PacketReport
from discord_recorder.simulator.voice.opus_source import TalkSpurt, tone
from discord_recorder.simulator.voice.speakers import Habit
from discord_recorder.voice.counters import Outcome, PacketLedger
from tests.cli.runs import Cli

CAST = (
    Part(name="Ada"),
    Part(name="Ben", away=(0.9, 1.1), habit=Habit.STOPPING),
    Part(name="Chris", joins_at=0.4),
)


def spurts(hertz: float, *begins: float) -> list[TalkSpurt]:
    return [TalkSpurt(begin_seconds=begin, frames=tone(hertz, 0.5)) for begin in begins]


def short_speech(parts: Sequence[Part], until_seconds: float) -> list[list[TalkSpurt]]:
    return [spurts(300, 0.1, 1.5), spurts(500, 0.3, 1.3), spurts(700, 0.8)]


@pytest.fixture(autouse=True)
def _pointed_back(monkeypatch: pytest.MonkeyPatch) -> None:
    route, socket = discord.http.Route, discord.gateway.DiscordWebSocket
    monkeypatch.setattr(route, "BASE", route.BASE)
    monkeypatch.setattr(socket, "DEFAULT_GATEWAY", socket.DEFAULT_GATEWAY)


@pytest.fixture
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "CAST", CAST)
    monkeypatch.setattr(demo_people, "CAST", CAST)
    monkeypatch.setattr(demo, "speech_of", short_speech)


@pytest.mark.usefixtures("_short")
def test_records_a_call_and_accounts_for_every_packet(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    del cli.env["DISCORD_RECORDER_DATA_DIR"]
    printed = cli.ok("demo").stdout
    for happening in ("Ada speaks", "Chris joins", "Ben leaves", "Ben joins", "keepalive answers: no sound"):
        assert happening in printed
    [mix] = (tmp_path / "discord-recorder-demo" / "recordings").glob("*/mix.mp3")
    assert str(mix) in printed
    assert "--data-dir discord-recorder-demo show" in printed
    assert sorted(path.suffix for path in mix.parent.iterdir()) == [".json", *[".mp3"] * 4, *[".opus"] * 3]
    cli.env["DISCORD_RECORDER_DATA_DIR"] = str(tmp_path / "discord-recorder-demo")
    [entry] = cli.json("recordings")
    assert sorted(entry["speakers"]) == ["Ada", "Ben", "Chris"]


@pytest.mark.usefixtures("_short")
def test_for_scripts(cli: Cli) -> None:
    result = cli.json("demo")
    assert result["recording"]["status"] == "complete"
    counted = result["packets"]
    assert counted["problems"] == []
    assert counted["received"] == counted["stored"] + sum(counted["dropped"].values())
    assert counted["stored"] == sum(counted["sent"].values())
    assert len(counted["sent"]) == 3


@pytest.mark.slow
def test_the_real_one(cli: Cli) -> None:
    assert cli.json("demo")["packets"]["problems"] == []


class TestReport:
    ADA = 5

    @pytest.fixture
    def ledger(self) -> PacketLedger:
        ledger = PacketLedger()
        ledger.received = 10
        ledger.tally(self.ADA).stored = 9
        ledger.nobody.drop(Outcome.KEEPALIVE)
        return ledger

    def problems(self, ledger: PacketLedger, sent: int = 9) -> list[str]:
        return PacketReport(ledger=ledger, sent={self.ADA: sent}, names={self.ADA: "Ada"}).problems

    def test_all_is_well(self, ledger: PacketLedger) -> None:
        assert self.problems(ledger) == []

    def test_one_was_not_counted(self, ledger: PacketLedger) -> None:
        ledger.received += 1
        assert self.problems(ledger) == ["The ledger does not balance: 11 packets were received."]

    def test_one_did_not_come(self, ledger: PacketLedger) -> None:
        assert self.problems(ledger, sent=10) == ["Ada sent 10 packets, 9 were received."]

    def test_the_kernel_dropped_some(self, ledger: PacketLedger) -> None:
        ledger.add_kernel_dropped(3)
        [problem] = self.problems(ledger)
        assert problem.startswith("The kernel dropped 3 packets")

    @pytest.mark.parametrize("reason", sorted(set(Outcome) - set(packets.REASONS) - {"stored", "stored_plain"}))
    def test_a_drop_that_cost_sound(self, ledger: PacketLedger, reason: Outcome) -> None:
        ledger.received += 1
        ledger.nobody.drop(reason)
        assert self.problems(ledger) == [f"1 packets were dropped, and nothing explains it: {reason}."]

    def test_one_is_still_parked(self, ledger: PacketLedger) -> None:
        ledger.received += 1
        ledger.tally(self.ADA).parked = 1
        assert self.problems(ledger, sent=10) == ["The ledger does not balance: 11 packets were received."]
