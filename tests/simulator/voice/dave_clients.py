"""Real davey sessions around a delivery service, with every message's turn drawn by lot."""

import random
from collections import deque
from collections.abc import Callable

import davey

from discord_recorder.simulator.voice.dave_service import DaveService
from discord_recorder.simulator.voice.outgoing import Op, Outgoing

CHANNEL_ID = 613_425_648_685_547_541
MAX_TURNS = 20_000


class DaveClient:
    """What a bot on davey does with op 21 to 30; its answers wait in `outbox`."""

    def __init__(self, user_id: int, version: int = 1) -> None:
        self.user_id = user_id
        self.session = davey.DaveSession(max(version, 1), user_id, CHANNEL_ID)
        self.version = version
        self.inbox: deque[Outgoing] = deque()
        self.outbox: deque[tuple[Op, bytes | int]] = deque()
        self.pending: dict[int, int] = {}
        self.executed: list[int] = []
        self.resets = 0
        self.flagged = False
        self.keep_welcome: Callable[[bytes | None], bytes | None] = lambda welcome: welcome
        self.break_commits = 0
        if version:
            self.make_key_package()

    def make_key_package(self) -> None:
        self.outbox.append((Op.KEY_PACKAGE, self.session.get_serialized_key_package()))

    def reset(self) -> None:
        self.resets += 1
        self.session.reinit(1, self.user_id, CHANNEL_ID)
        self.make_key_package()

    def receive(self) -> None:
        message = self.inbox.popleft()
        if isinstance(message.content, bytes):
            self._receive_binary(message.op, message.content)
            return
        match message.op:
            case Op.PREPARE_EPOCH:
                assert message.content["epoch"] == 1
                self.version = message.content["protocol_version"]
                self.reset()
            case Op.PREPARE_TRANSITION:
                self.pending[message.content["transition_id"]] = message.content["protocol_version"]
                self._prepared(message.content["transition_id"])
            case Op.EXECUTE_TRANSITION:
                self._execute(message.content["transition_id"])
            case _:
                raise AssertionError(message)

    def _receive_binary(self, op: Op, body: bytes) -> None:
        match op:
            case Op.EXTERNAL_SENDER:
                self.session.set_external_sender(body)
            case Op.PROPOSALS:
                kind = davey.ProposalsOperationType.revoke if body[0] else davey.ProposalsOperationType.append
                try:
                    made = self.session.process_proposals(kind, body[1:])
                except ValueError as error:
                    if not self.flagged or "WrongEpoch" not in str(error):
                        raise
                    return  # sent before the server could know of our op 31
                if made is not None:
                    self.outbox.append((Op.COMMIT_WELCOME, made.commit + (self.keep_welcome(made.welcome) or b"")))
            case Op.ANNOUNCE_COMMIT | Op.WELCOME:
                transition_id = int.from_bytes(body[:2])
                try:
                    if self.break_commits:
                        self.break_commits -= 1
                        raise ValueError
                    process = self.session.process_commit if op == Op.ANNOUNCE_COMMIT else self.session.process_welcome
                    process(body[2:])
                except ValueError:
                    self.flagged = True
                    self.outbox.append((Op.INVALID_COMMIT, transition_id))
                    self.reset()
                    return
                self.flagged = False
                self.pending[transition_id] = self.version
                self._prepared(transition_id)
            case _:
                raise AssertionError(op)

    def _prepared(self, transition_id: int) -> None:
        if transition_id:
            self.outbox.append((Op.TRANSITION_READY, transition_id))
        else:
            self._execute(0)

    def _execute(self, transition_id: int) -> None:
        self.version = self.pending.pop(transition_id)
        self.executed.append(transition_id)

    def hears(self, speaker: "DaveClient", opus: bytes) -> bool:
        sealed = speaker.session.encrypt_opus(opus)
        assert sealed != opus
        return self.session.decrypt(speaker.user_id, davey.MediaType.audio, sealed) == opus


class Call:
    """A service and its clients; `settle` delivers everything, in an order that the seed decides."""

    def __init__(self, seed: int = 0, version: int = 1, batch_seconds: float = 0.0) -> None:
        self.service = DaveService(CHANNEL_ID, version=version, batch_seconds=batch_seconds)
        self.clients: dict[int, DaveClient] = {}
        self.random = random.Random(seed)
        self.now = 0.0

    def join(self, user_id: int) -> DaveClient:
        client = self.clients[user_id] = DaveClient(user_id, self.service.version)
        self.route(self.service.connect(user_id))
        return client

    def leave(self, user_id: int) -> None:
        del self.clients[user_id]
        self.route(self.service.leave(user_id, self.now))

    def route(self, messages: list[Outgoing]) -> None:
        for message in messages:
            self.clients[message.user_id].inbox.append(message)  # never one to a client that is gone

    def step(self) -> bool:
        """Let one message arrive; False when there is none."""
        ways = [(c, "in") for c in self.clients.values() if c.inbox]
        ways += [(c, "out") for c in self.clients.values() if c.outbox]
        if not ways:
            return False
        client, way = self.random.choice(ways)
        if way == "in":
            client.receive()
        else:
            self.send(client.user_id, *client.outbox.popleft())
        return True

    def send(self, user_id: int, op: Op, content: bytes | int) -> None:
        if isinstance(content, bytes):
            handle = self.service.key_package if op == Op.KEY_PACKAGE else self.service.commit
            self.route(handle(user_id, content, self.now))
        elif op == Op.TRANSITION_READY:
            self.route(self.service.ready(user_id, content))
        else:
            self.route(self.service.invalid(user_id, self.now))

    def settle(self) -> None:
        for _ in range(MAX_TURNS):
            if not self.step():
                return
        raise AssertionError("the call does not settle")

    def check_all_hear_all(self) -> None:
        """One group, of exactly those who are there, in which everybody opens everybody's frames."""
        members = set(self.clients)
        assert set(self.service.members) == members
        assert {c.session.epoch for c in self.clients.values()} == {self.service.epoch}
        for client in self.clients.values():
            assert {int(user) for user in client.session.get_user_ids()} == members
        for number, speaker in enumerate(self.clients.values()):
            for listener in self.clients.values():
                if listener is not speaker:
                    assert listener.hears(speaker, bytes((number,)) * 40)
