"""
Tests for L{atstls.ssl.sslvc.SSLNetVConnection}: the rest of a record is waited for in the kernel.
"""

import fcntl
import random
import socket
import struct
import time

from atstls.net import poll as poll_module
from atstls.net.cop import InactivityCop
from atstls.ssl.sslvc import (
    HEEDS_LOW_WATER,
    PACKET_BYTES,
    RECEIVE_MORE_BYTES,
    SMALL_PACKET_BYTES,
    SSLNetVConnection,
)
from atstls.tls.engine import CffiEngine
from tests.support import Moved, tcp_pair
from tests.tlssupport import APPLICATION_DATA, Cut, OverTLS, RecordForger, TLSPeer, cuts

RECORD = bytes(range(256)) * 64

SIOCOUTQNSD = 0x894B
"""How much the kernel has not sent yet (tcp(7))."""


class RestOfARecord(OverTLS):
    def low_water(self, vc: SSLNetVConnection) -> int:
        """What the kernel was asked for; 1: any byte."""
        return vc.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)

    def give(self, peer: TLSPeer, count: int) -> None:
        """Let the peer send exactly so many bytes."""
        self.assertEqual(count, peer.sock.send(bytes(peer.to_send[:count])))
        del peer.to_send[:count]
        self.arrives(peer)

    def arrives(self, peer: TLSPeer) -> None:
        """What the peer has written is here: its kernel may hold back small packets until others are acknowledged."""
        deadline = time.monotonic() + 10
        while fcntl.ioctl(peer.sock, SIOCOUTQNSD, bytes(4)) != bytes(4) and time.monotonic() < deadline:
            self.reactor.settle()
        self.reactor.settle()


class KernelWaitsTests(RestOfARecord):
    """Over the engine that can tell."""

    engines = (CffiEngine,)
    skip = None if HEEDS_LOW_WATER else "this kernel tells of every byte"

    def test_woken_once(self) -> None:
        """A record that comes in packets is looked at when its header is there, and when all of it is."""
        vc, peer, _ = self.established(tcp=True)
        _, found = self.read_all(vc)
        for _ in range(3):
            found.clear()
            peer.write(RECORD)
            self.give(peer, 3000)
            self.assertEqual(len(peer.to_send), self.low_water(vc))
            moved = Moved()
            while len(peer.to_send) > 1:
                self.give(peer, min(1000, len(peer.to_send) - 1))
            self.assertEqual((0, b""), (moved.calls_to_readfromnet, bytes(found)))
            self.give(peer, 1)
            self.assertEqual((1, RECORD), (moved.calls_to_readfromnet, bytes(found)))
            self.assertEqual(1, self.low_water(vc))
            self.assert_idle()

    def test_a_stream(self) -> None:
        """What ends one record begins the next: one look for each record."""
        vc, peer, _ = self.established(tcp=True)
        _, found = self.read_all(vc)
        count = 10
        peer.write(RECORD * count)
        moved = Moved()
        while peer.to_send:
            self.give(peer, min(1448, len(peer.to_send)))
        self.assertEqual(RECORD * count, found)
        # The first packet tells how long the first record is.
        self.assertLessEqual(moved.calls_to_readfromnet, 2 * count + 1)

    def test_one_packet_is_not_waited_for(self) -> None:
        """What one packet will bring is not worth a system call."""
        vc, peer, _ = self.established(tcp=True)
        self.read_all(vc)
        peer.write(RECORD)
        self.give(peer, len(peer.to_send) - PACKET_BYTES)
        self.assertEqual(1, self.low_water(vc))
        self.give(peer, PACKET_BYTES)

    def test_bit_by_bit(self) -> None:
        """Who sends so is read so: the kernel would be slow to acknowledge what nobody reads."""
        vc, peer, _ = self.established(tcp=True)
        _, found = self.read_all(vc)
        peer.write(RECORD)
        while len(peer.to_send) > 12000:
            self.give(peer, SMALL_PACKET_BYTES - 1)
            self.assertEqual(1, self.low_water(vc))
        self.give(peer, len(peer.to_send))
        self.assertEqual(RECORD, found)

    def test_small_ones(self) -> None:
        """Whole records cost nothing: nobody follows them."""
        vc, peer, _ = self.established(tcp=True)
        _, found = self.read_all(vc)
        for size in (1, 100, 16384, 5):
            peer.write(RECORD[:size])
            self.give(peer, len(peer.to_send))
            self.assertIsNone(vc._tail)
        self.assertEqual(16490, len(found))

    def test_with_the_handshake(self) -> None:
        """What came along with the end of the handshake counts."""
        vc, sock = self.accept(pair=tcp_pair())
        _, found = self.read_all(vc)
        peer = self.client(sock)
        while not peer.done:
            peer.pump()
            self.reactor.settle()
        peer.write(RECORD * 2)
        self.give(peer, len(peer.to_send) - 9000)
        before = len(found)
        self.give(peer, 1448)
        # Over TLS 1.2 it came behind, and 9000 was known.
        self.assertIn(self.low_water(vc), (9000 - 1448, 9000))
        self.assertLess(before, len(RECORD * 2))
        self.give(peer, 9000 - 1448)
        self.assertEqual(RECORD * 2, found)

    def test_more_than_is_taken(self) -> None:
        """After more than what is taken from the kernel at a time it is still known where the records end."""
        vc, peer, _ = self.established(tcp=True)
        vc.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        cont, found = self.read_all(vc)
        vc.read.vio.disable()
        count = RECEIVE_MORE_BYTES * 3 // len(RECORD)
        peer.write(RECORD * count)
        while len(peer.to_send) > 5000:
            self.give(peer, min(20000, len(peer.to_send) - 5000))
        vc.read.vio.enable()
        self.reactor.settle()
        self.assertEqual((5000, len(RECORD) * (count - 1)), (self.low_water(vc), len(found)))
        self.give(peer, 5000)
        self.assertEqual((1, RECORD * count), (self.low_water(vc), bytes(found)))
        self.assertEqual({"READ_READY"}, set(cont.events))

    def test_given_away(self) -> None:
        """Whoever gets the socket hears of every byte."""
        vc, peer, _ = self.established(tcp=True)
        self.read_all(vc)
        peer.write(RECORD)
        self.give(peer, 3000)
        self.assertLess(1, self.low_water(vc))
        vc.do_io_read(None, 0, None)
        held = vc.release()
        assert held.sock is not None
        self.addCleanup(held.sock.close)
        self.assertEqual(1, held.sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT))


globals().update(KernelWaitsTests.make_test_case_classes())


class NothingIsLateTests(RestOfARecord):
    """Over both engines."""

    def test_every_cut(self) -> None:
        """However the stream is cut, all is told of every record that is there."""
        for name, cut in cuts().items():
            if name != "one at a time":
                for _ in range(5):
                    vc, peer, _ = self.established(tcp=True)
                    pieces = self.forged(peer, (1, 16384, 16384, 300, -1, 16384, 7, -1, 1448, 1))
                    self.all_is_told(vc, peer, pieces, cut)

    def test_every_byte(self) -> None:
        """The same, a byte at a time."""
        vc, peer, _ = self.established(tcp=True)
        self.all_is_told(vc, peer, self.forged(peer, (2, 4000, 1, -1, 2500)), lambda waiting: 1)

    def test_as_client(self) -> None:
        """The same where we are the client, and tickets come first."""
        generator = random.Random(7)
        vc, peer, _ = self.connected(tcp=True)
        self.run_peers(peer)
        pieces = []
        for size in (100, 16384, 9000, 16384):
            peer.write(RECORD[:size])
            pieces.append((bytes(peer.to_send), RECORD[:size]))
            peer.to_send.clear()
        self.all_is_told(vc, peer, pieces, lambda waiting: generator.randint(1, 3000))

    def forged(self, peer: TLSPeer, sizes: tuple[int, ...]) -> list[tuple[bytes, bytes]]:
        """Records, and what is in them.  Less than 0: new keys, over TLS 1.3."""
        forger = RecordForger(peer)
        if self.version != "TLSv1.3":
            sizes = tuple(size for size in sizes if size >= 0)
        return [
            (forger.record(APPLICATION_DATA, RECORD[:size]), RECORD[:size]) if size >= 0 else (forger.key_update(), b"")
            for size in sizes
        ]

    def all_is_told(self, vc: SSLNetVConnection, peer: TLSPeer, pieces: list[tuple[bytes, bytes]], cut: Cut) -> None:
        _, found = self.read_all(vc)
        stream, plain = b"", b""
        told = [(0, b"")]
        for sealed, content in pieces:
            stream += sealed
            plain += content
            told.append((len(stream), plain))
        at = 0
        while at < len(stream):
            at += peer.sock.send(stream[at : at + cut(len(stream) - at)])
            self.arrives(peer)
            self.assertEqual([what for end, what in told if end <= at][-1], found)
        self.assert_idle()

    def test_the_end(self) -> None:
        """TCP's end and a reset are told of at once, whatever is missing."""
        for reset in (False, True):
            vc, peer, _ = self.established(tcp=True)
            cont, _found = self.read_all(vc)
            peer.write(RECORD)
            self.give(peer, 3000)
            if reset:
                peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                peer.sock.close()
            else:
                peer.send_fin()
            self.reactor.settle()
            self.assertEqual(1, len(cont.events))
            self.assertIn(cont.events[0], ("EOS", "ERROR") if reset else ("EOS",))
            self.assertFalse(vc.clean_shutdown)

    def test_never_finished(self) -> None:
        """Who begins a record and goes on with it too slowly runs into the timeout all the same."""
        vc, peer, _ = self.established(tcp=True)
        cont, _found = self.read_all(vc)
        cop = InactivityCop(self.handler, self.reactor)
        vc.set_inactivity_timeout(3)
        peer.write(RECORD)
        self.give(peer, 3000)
        seconds = 0
        while not cont.events and seconds < 10:
            seconds += 1
            self.give(peer, 600)
            self.reactor.advance(1)
            cop.patrol()
        self.assertEqual((3, ["INACTIVITY_TIMEOUT"]), (seconds, cont.events))

    def test_who_pauses(self) -> None:
        """A user that wants nothing while the rest comes gets it when it asks again."""
        vc, peer, _ = self.established(tcp=True)
        _, found = self.read_all(vc)
        peer.write(RECORD + b"more")
        self.give(peer, 3000)
        vc.read.vio.disable()
        self.give(peer, len(peer.to_send))
        self.assertEqual(b"", found)
        vc.read.vio.enable()
        self.reactor.settle()
        self.assertEqual(RECORD + b"more", found)


globals().update(NothingIsLateTests.make_test_case_classes())


class WatchedDirectlyTests(NothingIsLateTests):
    """The same where a reactor watches levels of each connection that alone has news, from its first byte on."""

    def setUp(self) -> None:
        self.patch(poll_module, "TIMES_IN_A_ROW", 1)
        super().setUp()


globals().update(WatchedDirectlyTests.make_test_case_classes())
