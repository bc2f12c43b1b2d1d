"""A DAVE delivery service for tests, and members of a group that are not the recorder: real `davey` sessions.

Framing after RFC 9420: proposals of an external sender are signed here with `cryptography`.
"""

from collections.abc import Collection, Iterable
from typing import Protocol

import davey
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from discord_recorder.voice.dave import BinaryMessage, DaveSession, JsonMessage, Message

CHANNEL = 4242
RECORDER = 9
OPUS = bytes.fromhex("fc") + b"sound"


def vector(data: bytes) -> bytes:
    """RFC 9420 section 2.1.2."""
    if len(data) < 1 << 6:
        return bytes((len(data),)) + data
    if len(data) < 1 << 14:
        return (len(data) | 1 << 14).to_bytes(2) + data
    return (len(data) | 2 << 30).to_bytes(4) + data


class Reader:
    """Walks over MLS structures."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        assert self.at + count <= len(self.data)
        self.at += count
        return self.data[self.at - count : self.at]

    def vector(self) -> bytes:
        first = self.data[self.at]
        size = 1 << (first >> 6)
        length = int.from_bytes(self.take(size)) & ((1 << (8 * size - 2)) - 1)
        return self.take(length)

    def vectors(self, count: int) -> None:
        for _ in range(count):
            self.vector()


def split_commit(body: bytes) -> tuple[bytes, bytes]:
    """The commit and the welcome of an op 28."""
    reader = Reader(body)
    assert reader.take(4) == bytes.fromhex("00010001")
    reader.vector()  # group id
    reader.take(8 + 1 + 4)  # epoch, member, leaf
    reader.vector()  # authenticated data
    assert reader.take(1) == b"\x03"  # commit
    reader.vector()  # proposals
    if reader.take(1) == b"\x01":  # update path
        reader.vectors(2)  # encryption key, signature key
        reader.take(2)
        reader.vectors(1 + 5)  # identity, capabilities
        assert reader.take(1) == b"\x03"  # source: commit
        reader.vectors(1 + 2)  # parent hash, extensions, signature
        reader.vector()  # nodes
    reader.vectors(3)  # signature, confirmation tag, membership tag
    return body[: reader.at], body[reader.at :]


class Member(Protocol):
    """One who can be in a group."""

    user_id: int

    def key_package(self) -> bytes: ...

    def give(self, op: int, body: bytes) -> bytes | None:
        """Process a binary message; gives the body of an op 28."""


class Peer:
    """Somebody else."""

    def __init__(self, user_id: int, channel_id: int = CHANNEL) -> None:
        self.user_id = user_id
        self.session = davey.DaveSession(1, user_id, channel_id)
        self.count = 0

    def renew(self) -> None:
        """Begin anew, in no group."""
        self.session = davey.DaveSession(1, self.user_id, self.session.channel_id)

    def key_package(self) -> bytes:
        return self.session.get_serialized_key_package()

    def give(self, op: int, body: bytes) -> bytes | None:
        if op == 25:
            self.session.set_external_sender(body)
        elif op == 27:
            kind = davey.ProposalsOperationType.revoke if body[0] else davey.ProposalsOperationType.append
            made = self.session.process_proposals(kind, body[1:])
            return None if made is None else made.commit + (made.welcome or b"")
        elif op == 29:
            self.session.process_commit(body[2:])
        elif op == 30:
            self.session.process_welcome(body[2:])
        return None

    def thinks(self) -> bytes:
        """An Opus packet that nobody else says."""
        self.count += 1
        return OPUS + self.user_id.to_bytes(8) + self.count.to_bytes(4)

    def says(self) -> tuple[bytes, bytes]:
        """Such a packet, and the frame it is sent in."""
        packet = self.thinks()
        return packet, self.session.encrypt_opus(packet)


class Recorder:
    """The session under test."""

    def __init__(self, version: int = 1) -> None:
        self.user_id = RECORDER
        self.dave = DaveSession(RECORDER, CHANNEL)
        self.members: set[int] | None = None
        self.sent: list[Message] = self.dave.start(version)

    def key_package(self) -> bytes:
        """The last one sent."""
        return next(
            message.body for message in reversed(self.sent) if isinstance(message, BinaryMessage) and message.op == 26
        )

    def give(self, op: int, body: bytes) -> bytes | None:
        messages = self.dave.on_binary(op, body, self.members)
        self.sent += messages
        return next((it.body for it in messages if isinstance(it, BinaryMessage) and it.op == 28), None)

    def json(self, op: int) -> list[JsonMessage]:
        """What was sent with an op."""
        return [message for message in self.sent if isinstance(message, JsonMessage) and message.op == op]


class Delivery:
    """The server's part: one group."""

    def __init__(self, channel_id: int = CHANNEL) -> None:
        self.channel_id = channel_id
        self.members: dict[int, Member] = {}
        self.leaves: dict[int, int] = {}
        self.epoch = 0
        self.transition = 0
        self.late: set[int] = set()
        """Members who get messages only when `deliver_late` is called."""

        self.committer: int | None = None
        """Whose commit is chosen; the first one's that came if None."""

        self._key = ec.generate_private_key(ec.SECP256R1())
        self.waiting: list[tuple[Member, int, bytes]] = []

    def external_sender(self) -> bytes:
        public = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return vector(public) + b"\x00\x01" + vector(b"the voice server")

    def proposal(self, content: bytes, *, epoch: int | None = None) -> bytes:
        """A signed proposal as an MLSMessage."""
        epoch = self.epoch if epoch is None else epoch
        framed = vector(self.channel_id.to_bytes(8)) + epoch.to_bytes(8) + b"\x02" + bytes(4) + vector(b"")
        framed += b"\x02" + content
        head = bytes.fromhex("00010001")
        signed = vector(b"MLS 1.0 FramedContentTBS") + vector(head + framed)
        return head + framed + vector(self._key.sign(signed, ec.ECDSA(SHA256())))

    def add(self, member: Member) -> bytes:
        return self.proposal(b"\x00\x01" + member.key_package())

    def remove(self, user_id: int) -> bytes:
        return self.proposal(b"\x00\x03" + self.leaves[user_id].to_bytes(4))

    @staticmethod
    def appended(proposals: Iterable[bytes]) -> bytes:
        """The body of an op 27."""
        return b"\x00" + vector(b"".join(proposals))

    def begin(self, *members: Member) -> None:
        """The first group."""
        adds = {member.user_id: self.add(member) for member in members}
        made: dict[int, bytes] = {}
        for member in members:
            member.give(25, self.external_sender())
            others = [add for user_id, add in adds.items() if user_id != member.user_id]
            body = member.give(27, self.appended(others))
            assert body is not None
            made[member.user_id] = body
        author = members[0] if self.committer is None else next(m for m in members if m.user_id == self.committer)
        commit, welcome = split_commit(made[author.user_id])
        self.members = {member.user_id: member for member in members}
        self.epoch = 1
        for member in members:
            if member is author:
                self._send(member, 29, commit)
            else:
                self._send(member, 30, welcome)
        self._find_leaves()

    def change(self, *, joining: Collection[Member] = (), leaving: Collection[int] = ()) -> None:
        """The next epoch."""
        proposals = [self.remove(user_id) for user_id in leaving]
        for member in joining:
            member.give(25, self.external_sender())
            proposals.append(self.add(member))
        staying = [member for user_id, member in self.members.items() if user_id not in leaving]
        made = {member.user_id: self._give(member, 27, self.appended(proposals)) for member in staying}
        body = made[self.committer] if self.committer is not None else next(filter(None, made.values()))
        assert body is not None
        self.announce(body, staying, joining)

    def announce(self, body: bytes, staying: Collection[Member], joining: Collection[Member]) -> None:
        commit, welcome = split_commit(body)
        assert bool(welcome) == bool(joining)
        self.members = {member.user_id: member for member in (*staying, *joining)}
        self.epoch += 1
        for member in staying:
            self._send(member, 29, commit)
        for member in joining:
            self._send(member, 30, welcome)
        self._find_leaves()

    def deliver_late(self) -> None:
        """What was held back comes now."""
        self.late.clear()
        waiting, self.waiting = self.waiting, []
        for member, op, body in waiting:
            member.give(op, body)

    def _send(self, member: Member, op: int, message: bytes) -> None:
        self._give(member, op, self.transition.to_bytes(2) + message)

    def _give(self, member: Member, op: int, body: bytes) -> bytes | None:
        if member.user_id not in self.late:
            return member.give(op, body)
        self.waiting.append((member, op, body))
        return None

    def _find_leaves(self) -> None:
        """Peers know where they are; the recorder, of which there is one, kept its leaf or took the first free one."""
        known = {}
        for user_id, member in self.members.items():
            if isinstance(member, Peer) and user_id not in self.late and member.session.own_leaf_index is not None:
                known[user_id] = member.session.own_leaf_index
            elif user_id in self.leaves:
                known[user_id] = self.leaves[user_id]
        for user_id in self.members:
            if user_id not in known:
                known[user_id] = next(leaf for leaf in range(1000) if leaf not in known.values())
        self.leaves = known
