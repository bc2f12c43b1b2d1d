"""A call as the recorder's receiver meets it: real members, packets built apart, a clock that the test moves."""

from discord_recorder.voice.counters import Outcome, PacketCounts
from discord_recorder.voice.frames import OpusFrame
from discord_recorder.voice.receiver import Receiver
from discord_recorder.voice.transport import TransportCipher
from tests.voice.delivery import Delivery, Peer, Recorder
from tests.voice.packets import AES, KEY, SILENCE, datagram


class Voice:
    """A speaker on the wire: numbers the frames and makes datagrams of them."""

    def __init__(self, user_id: int, *, sequence: int = 100, timestamp: int = 5_000) -> None:
        self.peer = Peer(user_id)
        self.user_id = user_id
        self.ssrc = 1000 + user_id
        self.sequence = sequence
        self.timestamp = timestamp
        self.said: list[bytes] = []

    def packet(self, payload: bytes) -> bytes:
        wire = datagram(
            payload,
            nonce=self.sequence,
            sequence=self.sequence,
            timestamp=self.timestamp,
            ssrc=self.ssrc,
            extension=b"\x10\xff\x00\x00",
        )
        self.sequence = (self.sequence + 1) % (1 << 16)
        self.timestamp = (self.timestamp + 960) % (1 << 32)
        return wire

    def speaks(self, count: int = 1) -> list[bytes]:
        """Datagrams with encrypted sound."""
        wires = []
        for _ in range(count):
            packet, frame = self.peer.says()
            self.said.append(packet)
            wires.append(self.packet(frame))
        return wires

    def speaks_plainly(self, count: int = 1) -> list[bytes]:
        """Datagrams with sound in the clear."""
        wires = []
        for _ in range(count):
            packet = self.peer.thinks()
            self.said.append(packet)
            wires.append(self.packet(packet))
        return wires

    def is_silent(self, count: int = 1) -> list[bytes]:
        """Datagrams with frames of silence."""
        self.said += [SILENCE] * count
        return [self.packet(SILENCE) for _ in range(count)]


class Scene:
    """The recorder, Anna (1), Bert (2), and what the receiver gave."""

    def __init__(self, *, version: int = 1, mapped: bool = True, accept_plain: bool = True) -> None:
        self.now = 1000.0
        self.recorder = Recorder(version)
        self.anna, self.bert = Voice(1), Voice(2, sequence=65_530, timestamp=(1 << 32) - 3000)
        self.delivery = Delivery()
        self.delivery.committer = self.anna.user_id
        if version:
            self.delivery.begin(self.recorder, self.anna.peer, self.bert.peer)
        self.receiver = Receiver(
            TransportCipher(AES, KEY), self.recorder.dave, own_ssrc=1009, accept_plain=accept_plain
        )
        self.frames: list[OpusFrame] = []
        if mapped:
            self.map(self.anna)
            self.map(self.bert)

    def map(self, voice: Voice) -> None:
        self.keep(self.receiver.map_ssrc(voice.ssrc, voice.user_id, self.now))

    def hear(self, *wires: bytes) -> list[OpusFrame]:
        """Datagrams arrive, in one batch."""
        return self.keep(self.receiver.datagrams([(wire, self.now) for wire in wires]))

    def later(self, seconds: float) -> list[OpusFrame]:
        self.now += seconds
        return self.keep(self.receiver.expire(self.now))

    def keep(self, frames: list[OpusFrame]) -> list[OpusFrame]:
        self.receiver.ledger.check()
        self.frames += frames
        return frames

    def got(self, voice: Voice) -> list[bytes]:
        """What came out as a speaker's, in order."""
        return self.got_of(voice.user_id)

    def got_of(self, user_id: int) -> list[bytes]:
        """What came out as a user's, in order."""
        return [frame.opus for frame in self.frames if frame.user_id == user_id]

    @property
    def counts(self) -> PacketCounts:
        return self.receiver.ledger.counts()

    def end(self) -> dict[Outcome, int]:
        """Close; gives what was dropped."""
        self.keep(self.receiver.close())
        assert self.receiver.parked == self.counts.parked == 0
        assert self.counts.stored == len(self.frames)
        return dict(self.counts.dropped)
