"""
What peers do who mean harm, or who are broken: each of them ends itself, cheaply, and nobody else notices.
"""

import random
import socket
from typing import Any

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import AccumulatingProtocol

from atstls.errors import HandshakeFailed, PeerError
from atstls.events import ENET_SSL_FAILED
from atstls.eventsystem.iobuffer import BUFFER_SIZE_INDEX_4K, MIOBuffer
from atstls.net.handler import WIRE_BYTES
from atstls.session.protocol import connect_protocol
from atstls.ssl.sslvc import BATCH_BYTES, RECEIVE_BYTES, SSLNetVConnection
from atstls.tls import alerts
from atstls.tls.engine import BULKY_BYTES
from atstls.tls.hooks import HookSet
from tests.support import RecordingContinuation, received, tcp_pair
from tests.tlssupport import (
    ALERT,
    APPLICATION_DATA,
    OverTLS,
    RecordForger,
    TLSPeer,
    alert_in_clear,
    cuts,
    hook_set,
    protocol_set,
    records,
    server_policy,
)


def kept_bytes(vc: SSLNetVConnection) -> int:
    """The ciphertext that waits with C{vc} to be sent: what the kernel did not take, and what OpenSSL still has."""
    waiting = vc._unsent_end - vc._unsent_at if vc._unsent is not None else 0
    assert vc.engine is not None
    found = 0
    while True:
        try:
            found += len(vc.engine.connection.bio_read(1 << 20))
        except SSL.WantReadError:
            return waiting + found


class GarbageTests(OverTLS):
    """What is not a handshake ends at once: ERROR once, one line, an alert where one is due."""

    versions = ("TLSv1.3",)

    def refused(self, data: bytes, *words: str, alert: int | None = None, at_once: bool = True) -> bytes:
        """C{data} ends a connection; what the peer got."""
        vc, sock = self.accept(pair=tcp_pair())
        cont = RecordingContinuation()
        vc.do_io_read(cont, 0, MIOBuffer())
        self.reactor.settle()
        self.logged.clear()
        sent = 0
        while sent < len(data):
            try:
                sent += sock.send(data[sent : sent + 65536])
            except BlockingIOError:
                pass
            except OSError:
                break
            self.reactor.turn()
        self.reactor.settle()
        self.assertEqual(["ERROR"], cont.events)
        self.assertEqual(ENET_SSL_FAILED, vc.lerrno)
        self.assertIsInstance(vc.error, PeerError)
        self.assert_one_line("192.0.2.9:4711", *words)
        answer = received(sock)
        if alert is not None:
            self.assertEqual(alert, alert_in_clear(answer), alerts.alert_name(alert))
        sock.close()
        self.reactor.settle()
        self.assert_gone(vc)
        return answer

    def test_plain_http(self) -> None:
        """A browser that was sent to the wrong port: the log says what it was."""
        self.refused(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "http request")

    def test_plain_http_by_hand(self) -> None:
        """The same a letter at a time: refused at the first."""
        self.refused(b"G", "no name")

    def test_garbage(self) -> None:
        """Random bytes of any beginning."""
        generator = random.Random(7)
        for first in (0x00, 0x14, 0x15, 0x17, 0x80, 0xFF):
            self.refused(bytes((first,)) + generator.randbytes(300), "failed")

    def test_other_handshake_message(self) -> None:
        """A TLS record, but no hello: unexpected_message."""
        self.refused(b"\x16\x03\x01\0\x04\x02\0\0\0", alert=alerts.UNEXPECTED_MESSAGE)

    def test_record_too_long(self) -> None:
        """A record longer than TLS has: record_overflow."""
        self.refused(b"\x16\x03\x01\xff\xff\x01" + bytes(300), alert=alerts.RECORD_OVERFLOW)

    def test_hello_of_16_megabytes(self) -> None:
        """A hello that announces more than 64 KiB is refused when it says so, not when it is there."""
        self.refused(b"\x16\x03\x01\x40\0\x01\xff\xff\xff" + bytes(0x3FFC), "hello", alert=alerts.ILLEGAL_PARAMETER)

    def test_hello_that_never_ends(self) -> None:
        """Empty records for ever are no hello: refused after 64 KiB."""
        self.refused(b"\x16\x03\x01\0\0" * 20000, "no end", alert=alerts.ILLEGAL_PARAMETER)

    def test_others_do_not_notice(self) -> None:
        """While one connection sends garbage, another one works."""
        vc, peer, _cont = self.established()
        self.refused(b"\0" * 100, "failed")
        self.logged.clear()
        _cont2, found = self.read_all(vc)
        peer.write(b"still here")
        self.run_peers(peer)
        self.assertEqual(b"still here", found)

    def test_second_name(self) -> None:
        """A hello with the server name twice is read in no way at all."""
        name = b"\0\x0a\0\0\x07a.xyzzy"
        twice = b"\0\0" + len(name).to_bytes(2, "big") + name
        body = b"\x03\x03" + bytes(32) + b"\0" + b"\0\x02\x13\x01" + b"\x01\0" + (2 * len(twice)).to_bytes(2, "big")
        body += twice * 2
        message = b"\x01" + len(body).to_bytes(3, "big") + body
        answer = self.refused(b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message, "failed")
        self.assertIsNotNone(alert_in_clear(answer))

    def test_name_read_in_two_ways(self) -> None:
        """What OpenSSL reads as another name than we did is refused before OpenSSL's answer goes out."""
        vc, sock = self.accept(hooks=self.rename())
        cont = RecordingContinuation()
        vc.do_io_read(cont, 0, MIOBuffer())
        peer = self.client(sock)
        self.run_peers(peer)
        self.assertEqual(["ERROR"], cont.events)
        self.assertIsInstance(vc.error, HandshakeFailed)
        self.assertIn("two ways", str(vc.error))
        self.assertEqual([(ALERT, bytes((2, alerts.ILLEGAL_PARAMETER)))], records(peer.raw))

    def rename(self) -> HookSet:
        def hook(vc: SSLNetVConnection) -> None:
            assert vc.hello is not None
            vc.hello = vc.hello._replace(server_name_bytes=b"z.example")

        return hook_set(client_hello=hook)


globals().update(GarbageTests.make_test_case_classes())


class Forging(OverTLS):
    """Connections whose peer sends any record that it likes."""

    def forged(self) -> "tuple[SSLNetVConnection, TLSPeer, RecordForger]":
        vc, peer, _ = self.established()
        return vc, peer, RecordForger(peer)

    def pour(self, vc: SSLNetVConnection, peer: TLSPeer, data: bytes) -> None:
        """Send all of C{data}, or as much as the connection lives for."""
        at = 0
        for _ in range(20000):
            if at >= len(data) or vc.closed or vc.error:
                break
            try:
                at += peer.sock.send(data[at : at + 65536])
            except BlockingIOError:
                pass
            except OSError:
                break
            self.reactor.turn()
        self.reactor.settle()


class FloodTests(Forging):
    """More of something than anybody needs: memory stays flat, or the connection ends."""

    def test_empty_records(self) -> None:
        """Empty records: ended by OpenSSL after a few, or digested; never a READ_READY of nothing."""
        vc, peer, forger = self.forged()
        cont, _found = self.read_all(vc)
        self.pour(vc, peer, b"".join(forger.record(APPLICATION_DATA, b"") for _ in range(1000)))
        self.assertNotIn("READ_READY", cont.events)
        self.assertIn(cont.events, ([], ["ERROR"]))

    def test_warning_alerts(self) -> None:
        """Warnings without end are the end."""
        vc, peer, forger = self.forged()
        cont, _found = self.read_all(vc)
        self.pour(vc, peer, b"".join(forger.record(ALERT, bytes((1, 90))) for _ in range(100)))
        self.assertEqual(["ERROR"], cont.events)
        self.assertEqual(ENET_SSL_FAILED, vc.lerrno)

    def test_fatal_alert(self) -> None:
        """A fatal alert from the peer is an ERROR that says which."""
        vc, peer, forger = self.forged()
        cont, _found = self.read_all(vc)
        self.pour(vc, peer, forger.record(ALERT, bytes((2, alerts.INTERNAL_ERROR))))
        self.assertEqual(["ERROR"], cont.events)
        self.assertIn("internal error", str(vc.error))

    def test_one_byte_records(self) -> None:
        """Two thousand records of one byte arrive, each byte once."""
        vc, peer, forger = self.forged()
        _cont, found = self.read_all(vc)
        data = random.Random(3).randbytes(2000)
        self.pour(vc, peer, b"".join(forger.record(APPLICATION_DATA, data[i : i + 1]) for i in range(len(data))))
        self.assertEqual(data, found)


globals().update(FloodTests.make_test_case_classes())


class KeyUpdateTests(Forging):
    """TLS 1.3: a peer may change its keys as often as it likes, and ask us to do so too."""

    versions = ("TLSv1.3",)

    def test_answered(self) -> None:
        """Asked for new keys we change them, and both directions go on."""
        vc, peer, forger = self.forged()
        _cont, found = self.read_all(vc)
        peer.sock.send(forger.record(APPLICATION_DATA, b"one") + forger.key_update())
        self.reactor.settle()
        peer.sock.send(forger.record(APPLICATION_DATA, b"two"))
        self.reactor.settle()
        self.write(vc, b"answer")
        self.run_peers(peer)
        self.assertEqual((b"onetwo", b"answer", ""), (found, peer.plain, peer.reason))

    def test_answer_outlives_silence(self) -> None:
        """An answer that nothing has sent yet is not lost when a silent connection gives memory back."""
        vc, peer, forger = self.forged()
        _cont, found = self.read_all(vc)
        bulk = bytes(16000)
        peer.sock.send(b"".join(forger.record(APPLICATION_DATA, bulk) for _ in range(4)))
        self.reactor.settle()
        peer.sock.send(forger.key_update() + forger.record(APPLICATION_DATA, b"x"))
        self.reactor.settle()
        self.assertEqual(64001, len(found))
        vc.compact()
        self.write(vc, b"answer")
        self.run_peers(peer)
        self.assertEqual((b"answer", ""), (peer.plain, peer.reason))

    def test_asked_behind_the_end(self) -> None:
        """Asked when we have said our last word and ended TCP too, we do not answer, and hear the rest all the same."""
        vc, peer, forger = self.forged()
        vc.do_io_read(None, 0, None)
        protocol = AccumulatingProtocol()
        connect_protocol(vc, protocol).loseConnection()
        self.run_peers(peer)
        self.assertEqual("close_notify", peer.end)
        pieces = (b"one", b"two")
        one, two = (forger.record(APPLICATION_DATA, piece) + forger.key_update() for piece in pieces)
        peer.sock.send(one + two + forger.record(ALERT, b"\x01\x00"))
        self.run_peers(peer)
        self.assertEqual(b"onetwo", protocol.data)
        assert protocol.closedReason is not None
        protocol.closedReason.trap(ConnectionDone)

    def flood(self, with_data: bool, count: int = 14000) -> int:
        """
        So many updates against a connection that writes nothing; the peer does not read.

        @return: the bytes that the connection keeps.
        """
        vc, peer, forger = self.forged()
        self.read_all(vc)
        peer.paused = True
        vc.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        pieces = []
        for i in range(count):
            pieces.append(forger.key_update())
            if with_data and i % 40 == 0:
                pieces.append(forger.record(APPLICATION_DATA, b"x"))
        self.pour(vc, peer, b"".join(pieces))
        return 0 if vc.engine is None else kept_bytes(vc)

    def test_flood(self) -> None:
        """Updates without end from a peer that does not read our answers: what waits for it is bounded."""
        self.assertLess(self.flood(False), WIRE_BYTES + 4096)

    def test_flood_among_data(self) -> None:
        """The same with a byte of data among them now and then."""
        self.assertLess(self.flood(True), WIRE_BYTES + 4096)


globals().update(KeyUpdateTests.make_test_case_classes())


class RenegotiationTests(OverTLS):
    """TLS 1.2: a client that asks for a new handshake within the connection is refused, at once."""

    versions = ("TLSv1.2",)

    def ask(self, peer: TLSPeer) -> None:
        peer.connection.renegotiate()
        try:
            peer.connection.do_handshake()
        except SSL.WantReadError:
            pass
        peer._take()

    def test_refused(self) -> None:
        """ERROR within one turn of the request, the alert no_renegotiation, and no goodbye."""
        vc, peer, _ = self.established()
        cont, found = self.read_all(vc)
        self.ask(peer)
        self.reactor.settle()
        peer.pump()
        self.assertEqual([], cont.events)
        self.assertGreater(self.reactor.turn(), 0)
        self.assertEqual((["ERROR"], b""), (cont.events, found))
        self.assertEqual(ENET_SSL_FAILED, vc.lerrno)
        self.assertIn("renegotiate", str(vc.error))
        vc.do_io_close()
        self.run_peers(peer)
        self.assertEqual("no renegotiation", peer.reason)
        self.assert_gone(vc)

    def test_refused_behind_data(self) -> None:
        """Data that came before the request is delivered and counted before the ERROR."""
        vc, peer, _ = self.established()
        cont, found = self.read_all(vc)
        peer.write(b"data first")
        self.ask(peer)
        self.run_peers(peer)
        self.assertEqual(b"data first", found)
        self.assertEqual(["READ_READY", "ERROR"], cont.events)
        self.assertEqual(10, cont.log[-1][1])

    def test_refused_behind_data_though_silent(self) -> None:
        """The ERROR needs no word of a peer that has asked and then says nothing more."""
        vc, peer, _ = self.established()
        cont, found = self.read_all(vc)
        peer.write(b"data first")
        self.ask(peer)
        peer._send()
        self.reactor.settle()
        self.assertEqual((["READ_READY", "ERROR"], b"data first"), (cont.events, found))

    def allowed(self, **more: Any) -> tuple[Any, TLSPeer]:
        policy = server_policy(
            self.version, settings={"allow_client_renegotiation": True}, allow_client_renegotiation=True
        )
        vc, peer, _ = self.established(policy, **more)
        return vc, peer

    def test_allowed(self) -> None:
        """Where it is allowed it is answered at once, though the user writes nothing, and the next one too (S064)."""
        for number, cut in enumerate(cuts().values()):
            vc, peer = self.allowed(protocols=protocol_set(b"h2", b"http/1.1"), alpn=(b"http/1.1",), cut=cut)
            cont, found = self.read_all(vc)
            for times in (1, 2):
                peer.write(b"before ")
                self.ask(peer)
                self.run_peers(peer)
                self.assertEqual(times, peer.connection.total_renegotiations(), number)
                peer.write(b"after ")
                self.run_peers(peer)
            self.assertEqual(b"before after " * 2, found)
            self.assertEqual({"READ_READY"}, set(cont.events))
            self.assertEqual(b"http/1.1", vc.negotiated_protocol)
            writer = self.write(vc, b"answer")
            self.run_peers(peer)
            self.assertEqual((["WRITE_COMPLETE"], b"answer"), (writer.events, peer.plain))
            vc.do_io_close()
            self.run_peers(peer)
            self.assertEqual("close_notify", peer.end)

    def test_allowed_while_we_send(self) -> None:
        """What is on its way to the client arrives whole, before the new handshake or after it."""
        vc, peer = self.allowed()
        vc.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        cont, _found = self.read_all(vc)
        data = bytes(range(256)) * 4096
        writer = self.write(vc, data)
        self.ask(peer)
        self.run_peers(peer)
        self.assertEqual("", peer.reason)
        self.assertEqual(1, peer.connection.total_renegotiations())
        self.assertEqual((["WRITE_COMPLETE"], True), (writer.events[-1:], data == bytes(peer.plain)))
        self.assertEqual([], cont.events)

    def test_writing_waits_for_the_new_handshake(self) -> None:
        """What is to be sent in the middle of it waits, at no cost, and goes when it is done."""
        for ends in (False, True):
            vc, peer = self.allowed()
            cont, _found = self.read_all(vc)
            peer.paused = True
            self.ask(peer)
            self.run_peers(peer)
            writer = self.write(vc, b"answer" * 100)
            self.reactor.settle()
            self.assertEqual([], writer.events)
            self.assertEqual(0, self.reactor.turn())
            if ends:
                peer.sock.close()
                self.reactor.settle()
                self.assertEqual(1, len(cont.events))
                vc.do_io_close()
                self.reactor.settle()
                self.assert_gone(vc)
                continue
            peer.paused = False
            self.run_peers(peer)
            self.assertEqual((["WRITE_COMPLETE"], b"answer" * 100), (writer.events, peer.plain))

    def test_refused_while_the_peer_does_not_read(self) -> None:
        """A peer that does not read what we owe it is refused all the same, and costs no more."""
        vc, peer, _ = self.established()
        cont, _found = self.read_all(vc)
        peer.paused = True
        vc.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        self.write(vc, bytes(4 << 20))
        self.run_peers(peer)
        self.assertIsNotNone(vc._unsent)
        self.ask(peer)
        self.run_peers(peer)
        self.assertEqual(["ERROR"], cont.events)
        self.assertIn("renegotiate", str(vc.error))
        peer.sock.close()


globals().update(RenegotiationTests.make_test_case_classes())


class MemoryTests(OverTLS):
    """What one connection may cost, whatever its peer and its user do."""

    BOUND = BATCH_BYTES + 8192

    def test_peer_that_does_not_read(self) -> None:
        """We encrypt one batch more than the kernel takes, whatever our user has to send and in what pieces."""
        for piece, total in ((100, 1 << 19), (5000, 1 << 20), (100000, 1 << 20), (4 << 20, 4 << 20)):
            vc, peer, _ = self.established()
            vc.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
            peer.paused = True
            buffer = MIOBuffer()
            reader = buffer.alloc_reader()
            data = random.Random(piece).randbytes(piece)
            count = total // piece
            for _ in range(count):
                buffer.append(data)
            total = reader.avail
            cont = RecordingContinuation()
            vc.do_io_write(cont, total, reader)
            self.run_peers(peer)
            held = vc._unsent_end - vc._unsent_at
            self.assertIsNotNone(vc._unsent)
            self.assertLessEqual(held, self.BOUND)
            consumed = total - reader.avail
            outside = bytes(received(peer.sock))
            self.assertLessEqual(consumed, held + len(outside))
            peer.raw += outside
            peer.connection.bio_write(outside)
            # Nothing more came into being behind our back.
            assert vc.engine is not None
            self.assertRaises(SSL.WantReadError, vc.engine.connection.bio_read, 1)
            peer.paused = False
            self.run_peers(peer, until=lambda peer=peer, total=total: len(peer.plain) == total)
            self.assertTrue(data * count == peer.plain, "bytes were changed")
            self.assertEqual("WRITE_COMPLETE", cont.events[-1])
            vc.do_io_close()
            self.run_peers(peer)

    def test_user_that_does_not_consume(self) -> None:
        """Of a peer that sends without end we take one buffer, and one piece of the kernel's; its window closes."""
        vc, peer, _ = self.established()
        cont, reader = self.read(vc, size_index=BUFFER_SIZE_INDEX_4K)
        data = random.Random(5).randbytes(8 << 20)
        peer.write(data)
        self.run_peers(peer)
        self.assertFalse(peer.sent_all)
        self.assertEqual(4096, reader.avail)
        self.assertEqual([], [name for name in cont.events if name != "READ_READY"])
        self.assert_idle()
        found = bytearray()
        for _ in range(100000):
            found += reader.read()
            vc.read.vio.reenable()
            if len(found) == len(data):
                break
            self.reactor.turn()
            peer.pump()
        self.assertEqual(data, found)

    def test_silence_gives_memory_back(self) -> None:
        """After bulk and a second of silence the BIOs are new, and the connection works on."""
        vc, peer, _ = self.established()
        _cont, found = self.read_all(vc)
        for direction in range(3):
            peer.write(bytes(BULKY_BYTES * 4))
            self.write(vc, bytes(BULKY_BYTES * 4))
            self.run_peers(peer)
            if vc.bulky:
                self.reactor.turn(2)
                vc.compact()
            self.assertFalse(vc.bulky)
            self.assertEqual(BULKY_BYTES * 4 * (direction + 1), len(found))
            self.assertEqual(BULKY_BYTES * 4 * (direction + 1), len(peer.plain))

    def test_no_compacting_while_something_waits(self) -> None:
        """What the kernel has not taken, or OpenSSL not digested, stays where it is."""
        vc, peer, _ = self.established()
        vc.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        peer.paused = True
        data = random.Random(6).randbytes(2 << 20)
        self.write(vc, data)
        _cont, reader = self.read(vc)
        peer.write(data[:100000])
        self.run_peers(peer)
        vc.compact()
        peer.paused = False
        found = bytearray()

        def all_there() -> bool:
            found.extend(reader.read())
            vc.read.vio.reenable()
            return len(found) == 100000 and len(peer.plain) == len(data)

        self.run_peers(peer, until=all_there)
        self.assertTrue(data[:100000] == found and data == peer.plain)


globals().update(MemoryTests.make_test_case_classes())


class TurnTests(OverTLS):
    """No peer holds the turn: others are served in between."""

    versions = ("TLSv1.3",)

    def test_change_cipher_spec_flood(self) -> None:
        """Records that TLS 1.3 ignores in a handshake are ignored a few times, not for ever."""
        vc, sock = self.accept(pair=tcp_pair())
        cont = RecordingContinuation()
        vc.do_io_read(cont, 0, MIOBuffer())
        peer = self.client(sock)
        peer.pump()
        self.run_peers_once(peer)
        sock.send(b"\x14\x03\x03\0\x01\x01" * 1000)
        self.reactor.settle()
        self.assertEqual(["ERROR"], cont.events)

    def run_peers_once(self, peer: TLSPeer) -> None:
        for _ in range(2):
            peer._send()
            self.reactor.settle()

    def test_one_piece_a_turn(self) -> None:
        """A peer with megabytes waiting moves one piece a turn; the others are not kept waiting."""
        vc, peer, _ = self.established()
        other, other_peer, _ = self.established()
        _cont, found = self.read_all(vc)
        _cont, others = self.read_all(other)
        peer.write(bytes(1 << 20))
        while peer.to_send and peer._send():
            pass
        self.assertLess(RECEIVE_BYTES * 2, (1 << 20) - len(peer.to_send))
        other_peer.write(b"me too")
        other_peer.pump()
        before = len(found)
        while not others:
            self.reactor.turn()
        # A turn of the reactor may be two of the handler's, and the other may be found in the second.
        self.assertLessEqual(len(found) - before, RECEIVE_BYTES * 4)


globals().update(TurnTests.make_test_case_classes())
