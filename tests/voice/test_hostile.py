"""Whatever comes: nothing but counters move, memory stays bounded, and the others are heard."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from discord_recorder.errors import DaveError
from discord_recorder.voice import receiver as receiver_module
from discord_recorder.voice.dave import BINARY_OPS, JSON_OPS, DaveSession
from tests.voice.delivery import CHANNEL, RECORDER, Delivery, Peer, Recorder
from tests.voice.packets import AES, KEY, datagram, rtp_head, sealed
from tests.voice.wire import Scene

user_ids = st.integers(1, 6) | st.just(RECORDER) | st.integers(-1, 1 << 65)
ssrcs = st.sampled_from([1001, 5001, 5002, 5003]) | st.integers(0, (1 << 32) - 1).filter(lambda ssrc: ssrc != 1002)
sequences = st.sampled_from([0, 1, 2, 100, 101, 102, 5000, 40_000, 65_535]) | st.integers(0, 65_535)
trailers = st.binary(min_size=9, max_size=40).map(lambda data: data + bytes((len(data) + 3,)) + b"\xfa\xfa")
payloads = st.one_of(
    st.binary(max_size=300),
    st.just(b"\xf8\xff\xfe"),
    st.tuples(st.binary(max_size=60), trailers).map(b"".join),
    st.tuples(st.binary(max_size=20), st.integers(0, 255)).map(lambda it: it[0] + bytes((it[1],)) + b"\xfa\xfa"),
)

authentic = st.builds(
    lambda payload, ssrc, sequence, timestamp, kind: datagram(
        payload, ssrc=ssrc, sequence=sequence, timestamp=timestamp, payload_type=kind
    ),
    payloads,
    ssrcs,
    sequences,
    st.integers(0, (1 << 32) - 1),
    st.sampled_from([120, 120, 120, 101, 72]),
)
impossible = st.builds(
    lambda words, padded, body, ssrc: sealed(
        AES, KEY, rtp_head(extension_words=words, padded=padded, ssrc=ssrc), body, bytes(4)
    ),
    st.none() | st.integers(0, 0xFFFF),
    st.booleans(),
    st.binary(max_size=40),
    ssrcs,
)
forged = st.builds(
    lambda wire, at, bit: (
        wire[: at % len(wire)] + bytes((wire[at % len(wire)] ^ 1 << bit,)) + wire[at % len(wire) + 1 :]
    ),
    authentic,
    st.integers(0, 1000),
    st.integers(0, 7),
)
garbage = st.binary(max_size=120) | st.binary(max_size=60).map(lambda rest: b"\x90\x78" + rest)
datagrams = authentic | impossible | forged | garbage

deeds = st.one_of(
    st.tuples(st.just("hear"), st.lists(datagrams, min_size=1, max_size=20)),
    st.tuples(st.just("map"), st.tuples(ssrcs, user_ids)),
    st.tuples(st.just("forget"), user_ids.filter(lambda user_id: user_id != 2)),
    st.tuples(st.just("wait"), st.floats(0, 3)),
    st.tuples(st.just("anna"), st.integers(1, 4)),
    st.tuples(st.just("join"), st.none()),
)


def do(scene: Scene, deed: str, value: Any, newcomers: Iterable[int]) -> None:
    match deed:
        case "hear":
            scene.hear(*value)
        case "map":
            ssrc, user_id = value
            scene.keep(scene.receiver.map_ssrc(ssrc, user_id, scene.now))
        case "forget":
            scene.receiver.forget_user(value)
        case "wait":
            scene.later(value)
        case "anna":
            scene.hear(*scene.anna.speaks(value))
        case _:
            scene.delivery.change(joining=[Peer(next(iter(newcomers)))])


@settings(max_examples=30)
@given(st.lists(deeds, max_size=25))
def test_nothing_that_comes_to_a_receiver_harms_another_track(story: list[tuple[str, Any]]) -> None:
    scene = Scene()
    newcomers = iter(range(100, 200))
    for deed, value in story:
        do(scene, deed, value, newcomers)
        scene.hear(*scene.bert.speaks())
        assert scene.receiver.parked <= receiver_module.MAX_KNOWN_FRAMES + receiver_module.MAX_UNKNOWN_FRAMES
        assert len(scene.receiver.ssrcs) <= receiver_module.MAX_STREAMS
    scene.end()
    assert scene.got(scene.bert) == scene.bert.said
    assert not scene.got_of(RECORDER)


@settings(max_examples=30)
@given(st.lists(st.lists(datagrams, max_size=30), max_size=10), st.booleans(), st.sampled_from([0, 1]))
def test_any_datagrams_are_all_counted(batches: list[list[bytes]], accept_plain: bool, version: int) -> None:
    scene = Scene(version=version, accept_plain=accept_plain)
    for batch in batches:
        scene.hear(*batch)
        scene.later(0.5)
    scene.end()
    assert scene.counts.received == sum(map(len, batches))
    for user_id in scene.receiver.ledger.users:
        assert scene.receiver.ledger.user_counts(user_id).balanced


# the gateway's side

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
json_data = json_values | st.dictionaries(
    st.sampled_from(["transition_id", "protocol_version", "epoch"]), st.integers(-1, 3) | json_values, max_size=3
)


class Kept(Recorder):
    """Remembers the real messages, so that they can be spoiled."""

    def __init__(self) -> None:
        super().__init__()
        self.real: list[tuple[int, bytes]] = []

    def give(self, op: int, body: bytes) -> bytes | None:
        self.real.append((op, body))
        return super().give(op, body)


def real_messages() -> list[tuple[int, bytes]]:
    recorder, delivery, anna, bert = Kept(), Delivery(), Peer(1), Peer(2)
    delivery.committer = 1
    delivery.begin(anna, recorder)
    delivery.change(joining=[bert])
    delivery.change(leaving=[2])
    return recorder.real


REAL = real_messages()

spoiled = st.builds(
    lambda real, at, byte, cut: (
        real[0],
        (real[1][: at % len(real[1])] + bytes((byte,)) + real[1][at % len(real[1]) + 1 :])[
            : None if cut else -(at % 7) - 1
        ],
    ),
    st.sampled_from(REAL),
    st.integers(0, 5000),
    st.integers(0, 255),
    st.booleans(),
)
binary = spoiled | st.tuples(st.sampled_from(sorted(BINARY_OPS)) | st.integers(0, 255), st.binary(max_size=100))


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.just("binary"), binary)
        | st.tuples(st.just("json"), st.tuples(st.sampled_from(sorted(JSON_OPS)) | st.integers(), json_data)),
        max_size=8,
    ),
    st.none() | st.sets(user_ids, max_size=4),
)
def test_nothing_that_the_gateway_says_of_dave_is_an_error(
    story: list[tuple[str, tuple[int, Any]]], members: set[int] | None
) -> None:
    scene = Scene()
    dave = scene.recorder.dave
    frames = [scene.anna.peer.says()[1] for _ in range(3)]
    for kind, (op, body) in story:
        messages = dave.on_binary(op, body, members) if kind == "binary" else dave.on_json(op, body)
        assert len(messages) <= 2
        scene.hear(*scene.anna.speaks())
    for frame in frames:
        with suppress(DaveError):
            dave.decrypt(1, frame)
    scene.end()


@given(st.lists(binary, max_size=5))
def test_nothing_is_an_error_before_the_start_either(story: list[tuple[int, bytes]]) -> None:
    dave = DaveSession(RECORDER, CHANNEL)
    for op, body in story:
        assert dave.on_binary(op, body) == []
    [package] = dave.start(1)
    assert package.op == 26


@settings(max_examples=150)
@given(st.integers(0, 400), st.binary(min_size=1, max_size=4), st.integers(-2, 1 << 65))
def test_no_frame_is_an_error(at: int, noise: bytes, user_id: int) -> None:
    packet, frame = SPEAKER.says()
    at %= len(frame)
    spoilt = frame[:at] + noise + frame[at + len(noise) :]
    for sender in (user_id, SPEAKER.user_id):
        try:
            opened = HEARER.decrypt(sender, spoilt)
        except DaveError:
            continue
        assert opened == packet
        assert sender == SPEAKER.user_id


def a_pair() -> tuple[DaveSession, Peer]:
    recorder, anna = Recorder(), Peer(1)
    Delivery().begin(recorder, anna)
    return recorder.dave, anna


HEARER, SPEAKER = a_pair()
