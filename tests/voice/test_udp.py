"""The drained socket, against a plain one on loopback."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import pytest

from discord_recorder.voice import udp as udp_module
from discord_recorder.voice.udp import DRAIN_SECONDS, Batch, UdpSocket
from tests.support.waiting import until


@dataclass
class Listener:
    batches: list[Batch] = field(default_factory=list)
    kernel_dropped: int = 0

    def on_datagrams(self, batch: Batch) -> None:
        self.batches.append(batch)

    def on_kernel_dropped(self, count: int) -> None:
        self.kernel_dropped += count

    @property
    def datagrams(self) -> list[bytes]:
        return [datagram for batch in self.batches for datagram, _ in batch]

    @property
    def arrivals(self) -> list[float]:
        return [arrived for batch in self.batches for _, arrived in batch]


def address(of: socket.socket) -> tuple[str, int]:
    ip, port = of.getsockname()
    return ip, port


@pytest.fixture
def far_end() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        made.setblocking(False)
        yield made


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture(params=["with arrival times", "plain", "polling"])
async def near_end(
    request: pytest.FixtureRequest, far_end: socket.socket, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[UdpSocket]:
    if request.param != "with arrival times":
        monkeypatch.setattr(udp_module, "_ask_for_ancillary", lambda _: False)
    if request.param == "polling":

        def refuse(*_: object) -> None:
            raise NotImplementedError

        monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", refuse)
    made = UdpSocket(*address(far_end), listener)
    made.send(b"hello")
    far_end.connect(made._socket.getsockname())
    yield made
    made.close()


class TestDraining:
    async def test_takes_what_came_within_the_interval_at_once(
        self, near_end: UdpSocket, far_end: socket.socket, listener: Listener
    ) -> None:
        for number in range(50):
            far_end.send(bytes((number,)))
        await until(lambda: len(listener.datagrams) == 50)
        assert listener.datagrams == [bytes((number,)) for number in range(50)]
        assert len(listener.batches) <= 2

    async def test_goes_on_after_a_pause(self, near_end: UdpSocket, far_end: socket.socket, listener: Listener) -> None:
        for number in range(3):
            far_end.send(bytes((number,)))
            await until(lambda: listener.datagrams[-1:] == [bytes((number,))])  # noqa: B023 - waited for here
            await asyncio.sleep(3 * DRAIN_SECONDS)
        assert listener.datagrams == [b"\0", b"\1", b"\2"]

    async def test_tells_arrivals_in_order_and_not_in_the_future(
        self, near_end: UdpSocket, far_end: socket.socket, listener: Listener
    ) -> None:
        before = time.monotonic()
        for number in range(20):
            far_end.send(bytes((number,)))
        await until(lambda: len(listener.datagrams) == 20)
        assert listener.arrivals == sorted(listener.arrivals)
        assert before - 0.01 <= listener.arrivals[0]
        assert listener.arrivals[-1] <= time.monotonic()

    async def test_survives_a_far_end_that_refuses(self, near_end: UdpSocket, far_end: socket.socket) -> None:
        far_end.close()
        for _ in range(5):
            near_end.send(b"anybody?")
            await asyncio.sleep(DRAIN_SECONDS)
        assert near_end.is_open

    async def test_takes_a_flood_in_pieces(
        self, near_end: UdpSocket, far_end: socket.socket, listener: Listener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(udp_module, "MAX_BATCH", 10)
        for number in range(95):
            far_end.send(bytes((number,)))
        await until(lambda: len(listener.datagrams) == 95)
        assert max(map(len, listener.batches)) == 10


class TestClosing:
    async def test_hands_over_what_is_still_there(
        self, near_end: UdpSocket, far_end: socket.socket, listener: Listener
    ) -> None:
        far_end.send(b"the last word")
        near_end.close()
        assert listener.datagrams == [b"the last word"]
        assert not near_end.is_open
        assert not near_end.send(b"too late")
        assert near_end.drain() == 0
        near_end.close()

    async def test_by_the_listener_in_the_middle_of_a_batch(self, far_end: socket.socket) -> None:
        class Closing(Listener):
            def on_datagrams(self, batch: Batch) -> None:
                super().on_datagrams(batch)
                made.close()

        listener = Closing()
        made = UdpSocket(*address(far_end), listener)
        made.send(b"hello")
        far_end.connect(made._socket.getsockname())
        far_end.send(b"a word")
        await until(lambda: not made.is_open)
        assert listener.datagrams == [b"a word"]


async def test_what_others_send_is_refused_by_the_kernel(far_end: socket.socket, listener: Listener) -> None:
    near_end = UdpSocket(*address(far_end), listener)
    near_end.send(b"hello")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"psst", near_end._socket.getsockname())
    far_end.connect(near_end._socket.getsockname())
    far_end.send(b"a word")
    await until(lambda: listener.datagrams)
    assert listener.datagrams == [b"a word"]
    near_end.close()


async def test_no_way_there_is_an_error(listener: Listener) -> None:
    with pytest.raises(OSError):  # noqa: PT011 - which one is the system's choice
        UdpSocket("no address", 5, listener)


@pytest.mark.skipif(not udp_module._LINUX, reason="only Linux tells")
class TestLinux:
    async def test_arrival_times_are_the_kernels(self, far_end: socket.socket, listener: Listener) -> None:
        near_end = UdpSocket(*address(far_end), listener)
        near_end.send(b"hello")
        far_end.connect(near_end._socket.getsockname())
        apart = 0.0
        for _ in range(50):  # the kernel begins to stamp some time after the first socket asks for it
            for _ in range(2):
                far_end.send(b"word")
                time.sleep(0.05)  # noqa: ASYNC251 - the event loop hangs while datagrams come
            await until(lambda: len(listener.datagrams) == 2)
            first, second = listener.arrivals
            apart = second - first
            if apart:
                break
            listener.batches.clear()
        near_end.close()
        assert apart > 0.04

    async def test_kernel_drops_are_counted(
        self, far_end: socket.socket, listener: Listener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(udp_module, "_grow_receive_buffer", lambda _: 0)
        near_end = UdpSocket(*address(far_end), listener)
        near_end._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        near_end.send(b"hello")
        far_end.connect(near_end._socket.getsockname())
        for _ in range(200):
            far_end.send(bytes(1000))
        await until(lambda: listener.datagrams)
        far_end.send(b"after")  # the count comes with the next datagram that fits
        await until(lambda: listener.datagrams[-1] == b"after")
        assert len(listener.datagrams) + listener.kernel_dropped == 201
        assert listener.kernel_dropped > 100
        near_end.close()

    async def test_the_receive_buffer_is_larger_than_the_systems_default(
        self, far_end: socket.socket, listener: Listener
    ) -> None:
        near_end = UdpSocket(*address(far_end), listener)
        default = far_end.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        assert near_end.receive_buffer_bytes >= default
        near_end.close()

    @pytest.mark.parametrize("step", [-3600.0, 3600.0])
    async def test_a_clock_that_is_set_moves_no_arrival(
        self, step: float, far_end: socket.socket, listener: Listener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        near_end = UdpSocket(*address(far_end), listener)
        near_end.send(b"hello")
        far_end.connect(near_end._socket.getsockname())
        far_end.send(b"before")
        real = time.time
        before = time.monotonic()
        monkeypatch.setattr(time, "time", lambda: real() + step)
        await until(lambda: listener.datagrams)
        assert before - 1 < listener.arrivals[0] <= time.monotonic()
        near_end.close()
