"""
One test for each oddity that the documents tell of: a place where Traffic Server does something that nobody would ask
for, by its own issue tracker, by its annotators or on reading.  The name says which; L{tests.features} has the words.

They show what a user or a peer can notice.  What lies behind is tested in more detail where the code has its tests.
"""

import errno
import ipaddress
import os
import random
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from attrs import evolve
from OpenSSL import SSL
from twisted.internet import tcp
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from atstls.errors import HandshakeFailed, OpenFailed, PeerVanished
from atstls.events import (
    ENET_SSL_FAILED,
    ENET_THROTTLING,
    NET_EVENT_ACCEPT,
    VC_EVENT_EOS,
    VC_EVENT_INACTIVITY_TIMEOUT,
    VC_EVENT_READ_COMPLETE,
    VC_EVENT_READ_READY,
    VC_EVENT_WRITE_COMPLETE,
    VC_EVENT_WRITE_READY,
    event_name,
)
from atstls.eventsystem.iobuffer import MIOBuffer
from atstls.eventsystem.vio import INT64_MAX
from atstls.net import throttle as throttle_module
from atstls.net.accept import _NoFactory
from atstls.net.connection import AcceptOptions
from atstls.net.cop import InactivityCop
from atstls.net.perclient import ClientLimit
from atstls.net.processor import NetProcessor
from atstls.net.throttle import WARNING_SECONDS, Throttle
from atstls.net.unixvc import TRANSPORT_BLIND_TUNNEL
from atstls.session.nextprotocol import SSLNextProtocolAccept
from atstls.session.probe import ProtocolProbeSessionAccept
from atstls.session.tunnel import OneWayTunnel, TwoWayTunnel
from atstls.ssl.accept import SSLNetAccept
from atstls.tls.contexts import ClientSettings, ServerSettings, certificate_context, client_context, front_context
from atstls.tls.engine import FAILED, CffiEngine
from atstls.tls.hooks import TERMINATE_OP, HookPoint
from atstls.tls.nextprotocol import SSLNextProtocolSet
from atstls.tls.phases import Phase
from atstls.tls.recordsize import DEFAULT_RECORD_BYTES, MAX_RECORD_BYTES, RECORD_BYTE_THRESHOLD
from atstls.tls.sessions import OriginSessions
from tests.support import (
    HandReactor,
    Moved,
    OverBothPolls,
    RecordingContinuation,
    make_handler,
    received,
    reset,
    tcp_pair,
)
from tests.tlssupport import (
    VERSIONS,
    OverTLS,
    TLSPeer,
    hook_set,
    issue,
    peer_client_context,
    protocol_set,
    records,
    server_policy,
)

OVERHEAD = {"TLSv1.2": 24, "TLSv1.3": 17}
"""What a record is longer than its plaintext (AES-128-GCM)."""


def failing_socket(sock: Any, **calls: Any) -> Any:
    """C{sock}, some of whose methods do what the test says."""

    class Socket:
        def __getattr__(self, name: str) -> Any:
            return calls.get(name) or getattr(sock, name)

    return Socket()


def fail_with(number: int | None) -> Callable[..., int]:
    """What a system call does that fails with the error C{number}; C{None}: with none at all."""

    def call(*args: Any) -> int:
        raise OSError() if number is None else OSError(number, os.strerror(number))

    return call


class Odd(OverTLS):
    """What the tests below have in common."""

    engines = (CffiEngine,)

    def waiting(self, vc: Any) -> RecordingContinuation:
        """Who waits for the handshake."""
        cont = RecordingContinuation()
        vc.do_io_read(cont, 0, MIOBuffer())
        return cont

    def patrol(self, seconds: int, cop: InactivityCop | None = None) -> None:
        """So many seconds pass, and the cop walks in each."""
        cop = cop or InactivityCop(self.handler, self.reactor)
        for _ in range(seconds):
            self.reactor.turn(1)
            cop.patrol()
            self.reactor.settle()

    def refusing_engine(self, refused: int, result: int) -> None:
        """Connections from now on have an engine that answers C{result} to the so-maniest write; a failure sticks."""

        class Refusing(CffiEngine):
            __slots__ = ("asked",)

            def __init__(self, connection: SSL.Connection) -> None:
                super().__init__(connection)
                self.asked = 0

            def write(self, block: Any, offset: int, count: int) -> int:
                self.asked += 1
                if self.asked == refused or (result < 0 and self.asked > refused):
                    return result
                return super().write(block, offset, count)

        self.engine_kind = Refusing

    def up_to_last_word(self, sock: socket.socket, client: TLSPeer) -> None:
        """C{client} shakes hands until all that is missing is what it has still to send."""
        for _ in range(10):
            client._step()
            last = client.done if self.version == "TLSv1.3" else b"\x14\x03\x03" in client.to_send
            if last:
                return
            client._send()
            self.reactor.settle()
            client._receive()
        self.fail("the handshake does not get on")


class HandshakeOddityTests(Odd):
    """From the first byte to the last message of the handshake."""

    def test_o1_only_a_read_of_zero_bytes_waits_for_the_handshake(self) -> None:
        """A request of some bytes that wants no more by done() is told nothing; one of none is told once."""
        vc, sock = self.accept()
        reader, writer = RecordingContinuation(), RecordingContinuation()
        buffer = MIOBuffer()
        vc.do_io_read(reader, 100, MIOBuffer()).done()
        vc.do_io_write(writer, 100, buffer.alloc_reader()).done()
        peer = self.client(sock)
        self.run_peers(peer)
        self.assertEqual((True, [], []), (vc.ready, reader.events, writer.events))
        peer.write(b"data")
        self.run_peers(peer)
        self.assertEqual([], reader.events)
        # And the direction can be used again.
        _cont, found = self.read_all(vc)
        writer = self.write(vc, b"answer")
        self.run_peers(peer)
        self.assertEqual((b"data", b"answer", ["WRITE_COMPLETE"]), (found, peer.plain, writer.events))
        self.established()  # which looks for exactly one READ_COMPLETE

    def test_o9_what_comes_with_the_last_message_is_all_told(self) -> None:
        """Bytes, an end or damage behind the Finished are found by the first read, without a word of the kernel."""
        for extra, expected in (
            ("bytes", ["READ_READY"]),
            ("bytes end", ["READ_READY", "EOS"]),
            ("end", ["EOS"]),
            ("bytes damage", ["READ_READY", "ERROR"]),
        ):
            vc, sock = self.accept()
            cont = self.waiting(vc)
            peer = self.client(sock)
            self.up_to_last_word(sock, peer)
            if self.version == "TLSv1.2":
                # Here the server has the last word, and a client without a false start says nothing before it.
                peer._send()
                self.reactor.settle()
                peer._receive()
                peer._step()
            if "bytes" in extra:
                peer.write(b"GET /")
            if "end" in extra:
                peer.shutdown()
            if "damage" in extra:
                peer.write(b"bad")
                peer.to_send[-1] ^= 1
            peer._send()
            self.reactor.settle()
            self.assertEqual(["READ_COMPLETE"], cont.events)
            self.assert_idle()
            reader, found = self.read_all(vc)
            self.handler.turn()
            self.handler.turn()
            self.reactor.settle()
            self.assertEqual((expected, b"GET /" if "bytes" in extra else b""), (reader.events, bytes(found)), extra)
            vc.do_io_close()

    def test_o10_the_deadline_of_the_handshake_is_one(self) -> None:
        """Silence, bytes now and then, and a hook that waits: ETIMEDOUT; 0 is off; the user's timers are his own."""
        policy = server_policy(self.version, handshake_timeout_seconds=4)
        for what in ("silence", "bytes", "hook"):
            hooks = hook_set(client_hello=lambda vc: Deferred()) if what == "hook" else hook_set()
            vc, sock = self.accept(policy, hooks=hooks)
            cont = self.waiting(vc)
            if what == "hook":
                self.run_peers(self.client(sock))
            for second in range(3):
                if what == "bytes":
                    sock.send(b"\x16\x03\x01\x02\0\x01"[second : second + 1])
                self.patrol(1)
            self.assertEqual([], cont.events, what)
            self.patrol(2)
            self.assertEqual((["ERROR"], errno.ETIMEDOUT), (cont.events, vc.lerrno), what)
            sock.close()
            self.reactor.settle()
        vc, sock = self.accept(server_policy(self.version, handshake_timeout_seconds=0))
        cont = self.waiting(vc)
        vc.set_inactivity_timeout(5000)
        vc.set_active_timeout(9000)
        self.patrol(60)
        self.run_peers(self.client(sock))
        self.assertEqual(["READ_COMPLETE"], cont.events)
        self.assertEqual((5000, 9000), (vc.get_inactivity_timeout(), vc.get_active_timeout()))
        self.assertEqual((0.0, True), (vc.deadline, vc.next_activity_timeout_at > 0))
        vc.do_io_read(cont, INT64_MAX, MIOBuffer())
        self.reactor.turn(4990)
        self.patrol(1)
        self.assertEqual(1, len(cont.events))
        self.patrol(20)
        self.assertEqual("INACTIVITY_TIMEOUT", cont.events[-1])

    def test_o11_nothing_is_read_while_a_hook_waits(self) -> None:
        """A client that leaves is not noticed under the hook's hands; its answer afterwards is inert."""
        for leave in (socket.socket.close, reset):
            handles: list[Any] = []

            def park(vc: Any, handles: list[Any] = handles) -> Any:
                handles.append(vc.park())
                return handles[-1]

            vc, sock = self.accept(hooks=hook_set(client_hello=park), pair=tcp_pair())
            cont = self.waiting(vc)
            self.run_peers(self.client(sock))
            leave(sock)
            self.reactor.settle()
            self.assertEqual((1, [], 0), (len(handles), cont.events, vc.closed))
            self.assertIsNotNone(vc.socket)
            handles[0].reenable()
            self.reactor.settle()
            self.assertEqual(["ERROR"], cont.events)
            self.assert_gone(vc)
            gone = weakref.ref(vc)
            del vc
            cont.given.clear()
            handles[0].reenable()
            self.reactor.settle()
            self.assert_collected(gone)

    def test_o12_every_hook_is_called_once(self) -> None:
        """Whether it answers at once, from within, or later: every hook of every point, once, in order."""
        points = ("vconn_start", "client_hello", "servername", "cert", "verify_client")
        notes: list[str] = []
        later: list[Any] = []

        def at_once(vc: Any) -> None:
            notes.append("at once")

        def from_within(vc: Any) -> Any:
            notes.append("from within")
            handle = vc.park()
            handle.reenable()
            return handle

        def answers_later(vc: Any) -> Any:
            notes.append("later")
            later.append(vc.park())
            return later[-1]

        three = [at_once, from_within, answers_later, at_once]
        vc, sock = self.accept(hooks=hook_set(**dict.fromkeys(points, three)))
        cont = self.waiting(vc)
        peer = self.client(sock)
        for number in range(len(points)):
            self.run_peers(peer)
            self.assertEqual(["at once", "from within", "later"], notes[4 * number :])
            later[-1].reenable()
        self.run_peers(peer)
        self.assertEqual(["at once", "from within", "later", "at once"] * len(points), notes)
        self.assertEqual(["READ_COMPLETE"], cont.events)

    def test_o13_called_hooks_is_asked_by_point(self) -> None:
        """It answers for the point that it is asked about; an answer at once and one from within lead to the same."""
        seen: list[tuple[HookPoint, ...]] = []

        def look(vc: Any) -> None:
            seen.append(tuple(point for point in HookPoint if vc.called_hooks(point)))

        def look_and_park(vc: Any) -> Any:
            look(vc)
            handle = vc.park()
            handle.reenable()
            return handle

        turns = []
        for hook in (look, look_and_park):
            seen.clear()
            vc, sock = self.accept(hooks=hook_set(vconn_start=hook, client_hello=hook, cert=hook))
            cont = self.waiting(vc)
            peer = self.client(sock)
            turns.append(self.reactor.settle())
            self.run_peers(peer)
            self.assertEqual(
                [(HookPoint.VCONN_START,), (HookPoint.CLIENT_HELLO,), (HookPoint.CERT,)], seen, hook.__name__
            )
            self.assertEqual((["READ_COMPLETE"], False), (cont.events, vc.called_hooks(HookPoint.CERT)))
        self.assertEqual(turns[0], turns[1], "an answer from within costs another pass")

    def test_o14_a_connection_that_a_hook_refuses_ends(self) -> None:
        """No ACCEPT and no READ_COMPLETE: ERROR, an alert for the client, and the hook of the close is told."""

        def refuse(vc: Any) -> None:
            vc.refuse(49, "not you")

        def terminate(vc: Any) -> None:
            vc.hook_op = TERMINATE_OP

        for hook, words in ((refuse, "access denied"), (terminate, "handshake failure")):
            for point in ("vconn_start", "client_hello", "servername", "cert"):
                closed: list[Any] = []
                sessions = RecordingContinuation()
                port = SSLNextProtocolAccept(sessions)
                vc, sock = self.accept(hooks=hook_set(**{point: hook}, vconn_close=closed.append))
                port.handle_event(NET_EVENT_ACCEPT, vc)
                peer = self.client(sock)
                self.run_peers(peer)
                self.assertEqual(([], False, 1), (sessions.events, peer.done, len(closed)), point)
                self.assertIn(words, peer.reason)
                self.assertEqual((1, ENET_SSL_FAILED), (vc.closed, vc.lerrno))
                self.assertIsInstance(vc.error, HandshakeFailed)
                peer.sock.close()
                self.reactor.settle()
                self.assert_gone(vc)

    def test_o15_lerrno_says_what_happened(self) -> None:
        """ECONNRESET for who left, at any time, and ENET_SSL_FAILED for what is no TLS."""
        for said in (b"", b"\x16\x03\x01", None):
            vc, sock = self.accept(pair=tcp_pair())
            cont = self.waiting(vc)
            if said is None:
                peer = self.client(sock)
                peer.pump()
                peer.pump()
                self.reactor.settle()
                self.assertIs(Phase.HANDSHAKE, vc.phase)
            else:
                sock.send(said)
            sock.close()
            # Something else that fails meanwhile, and leaves its own errno.
            self.assertRaises(OSError, os.close, 1 << 20)
            self.reactor.settle()
            self.assertEqual((["ERROR"], errno.ECONNRESET), (cont.events, vc.lerrno))
            self.assertIsInstance(vc.error, PeerVanished)
        vc, sock = self.accept()
        cont = self.waiting(vc)
        sock.send(b"GET / HTTP/1.1\r\n\r\n")
        self.reactor.settle()
        self.assertEqual((["ERROR"], ENET_SSL_FAILED), (cont.events, vc.lerrno))
        self.assertIsInstance(vc.error, HandshakeFailed)

    def test_o16_a_handshake_with_an_origin_wakes_both_directions(self) -> None:
        """A request that was there before goes out, and its answer comes in, without another word of the user."""
        vc, sock = self.connect()
        reader, found = self.read_all(vc)
        writer = self.write(vc, b"request")
        peer = self.server(sock)
        self.run_peers(peer)
        self.assertEqual((b"request", ["WRITE_COMPLETE"], []), (peer.plain, writer.events, reader.events))
        peer.write(b"answer")
        self.run_peers(peer)
        self.assertEqual(b"answer", found)
        # An answer that comes with the last message of the handshake, and was asked for before.
        if self.version == "TLSv1.2":
            return  # Over TLS 1.2 the origin speaks last, and has seen no request by then.
        vc, sock = self.connect()
        reader, found = self.read_all(vc)
        peer = self.server(sock)
        for _ in range(6):
            self.reactor.settle()
            peer.pump()
        self.assertTrue(peer.done)
        peer.write(b"unasked")
        self.run_peers(peer)
        self.assertEqual(b"unasked", found)

    def test_o17_the_handshake_is_done_for_both_directions(self) -> None:
        """Whichever direction drives its last step: each that waits with a request of zero bytes is told, once."""
        for side in ("read", "write"):
            for asked in ("read", "write", "both"):
                vc, sock = self.accept()
                reader, writer = RecordingContinuation(), RecordingContinuation()
                if asked != "write":
                    vc.do_io_read(reader, 0, MIOBuffer())
                if asked != "read":
                    vc.do_io_write(writer, 0, MIOBuffer().alloc_reader())
                peer = self.client(sock)
                self.up_to_last_word(sock, peer)
                peer._send()
                self.assertEqual(([], [], False), (reader.events, writer.events, vc.ready))
                # The kernel has the last message.  One direction alone gets a pass.
                vc.read.polled = True
                (vc.net_read_io if side == "read" else vc.net_write_io)()
                self.assertTrue(vc.ready, side)
                self.run_peers(peer)
                expected = (
                    ["READ_COMPLETE"] if asked != "write" else [],
                    ["WRITE_COMPLETE"] if asked != "read" else [],
                )
                self.assertEqual(expected, (reader.events, writer.events), (side, asked))
                vc.do_io_close()

    def test_o42_a_tunnel_is_one_however_it_was_chosen(self) -> None:
        """By name or by address, before the hello or behind it: whoever asks for a tunnel gets it, the hello whole."""
        for where in ("vconn_start", "client_hello", "servername", "cert"):

            def by_name(vc: Any) -> None:
                if vc.server_name == "a.example":
                    vc.tunnel()

            def by_address(vc: Any) -> None:
                if vc.get_local_addr() == ("192.0.2.7", 443):
                    vc.tunnel()

            for choose in (by_address, by_name):
                if where == "vconn_start" and choose is by_name:
                    continue  # Nobody knows the name yet.
                vc, sock = self.accept(
                    hooks=hook_set(**{where: choose}), prepare=lambda vc: vc.set_local_addr(("192.0.2.7", 443))
                )
                cont = self.waiting(vc)
                peer = self.client(sock)
                peer._step()
                hello = bytes(peer.to_send)
                self.run_peers(peer)
                self.assertEqual(
                    (["READ_COMPLETE"], TRANSPORT_BLIND_TUNNEL, None), (cont.events, vc.attributes, vc.engine)
                )
                _cont, found = self.read_all(vc)
                self.reactor.settle()
                self.assertEqual((hello, b""), (bytes(found), bytes(peer.raw)), where)

    def test_o48_the_first_byte_decides(self) -> None:
        """Before TLS has seen it: 0x16 is TLS, anything else, SSLv2's 0x80 included, is not; no byte is no decision."""
        for first in (0x00, 0x15, 0x17, 0x47, 0x80, 0xFF):
            vc, sock = self.accept(prepare=lambda vc: vc.set_transparent_pass_through(True))
            cont = self.waiting(vc)
            self.reactor.settle()
            self.assertEqual((Phase.HELLO, []), (vc.phase, cont.events))
            sock.send(bytes((first,)))
            self.reactor.settle()
            self.assertEqual((Phase.TUNNEL, ["READ_COMPLETE"], None), (vc.phase, cont.events, vc.engine))
            _cont, found = self.read_all(vc)
            sock.send(b"more")
            self.reactor.settle()
            self.assertEqual((bytes((first,)) + b"more", b""), (bytes(found), received(sock)))
        vc, sock = self.accept(prepare=lambda vc: vc.set_transparent_pass_through(True))
        cont = self.waiting(vc)
        sock.send(b"\x16")
        self.reactor.settle()
        self.assertEqual((Phase.HELLO, []), (vc.phase, cont.events))
        # What begins like TLS and is none is a failed handshake, and is not passed on.
        sock.send(b"SH-2.0-x\r\n")
        self.reactor.settle()
        self.assertEqual((["ERROR"], 1), (cont.events, vc.closed))
        self.assertNotEqual(TRANSPORT_BLIND_TUNNEL, vc.attributes)

    def test_o45_nothing_depends_on_who_reads_the_log(self) -> None:
        """Without any observer and with one that formats each line at once: the same events, records and ends."""

        def run() -> list[Any]:
            notes: list[Any] = []
            for client in (True, False):
                if client:
                    vc, sock = self.connect()
                    peer = self.server(sock)
                else:
                    vc, sock = self.accept()
                    peer = self.client(sock)
                reader, found = self.read_all(vc)
                writer = self.write(vc, b"request")
                self.run_peers(peer)
                peer.write(b"answer")
                peer.shutdown()
                self.run_peers(peer)
                kinds = [kind for kind, _ in records(peer.raw)]
                notes.append((reader.log, writer.log, bytes(found), bytes(peer.plain), kinds))
                vc.do_io_close()
                self.run_peers(peer)
                notes.append(peer.end)
            vc, sock = self.accept()
            cont = self.waiting(vc)
            sock.send(b"nonsense")
            self.reactor.settle()
            notes.append((cont.log, received(sock)))
            return notes

        globalLogPublisher.removeObserver(self._observe)
        silent = run()
        told: list[str] = []

        def observe(event: dict[str, Any]) -> None:
            told.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)
        try:
            self.assertEqual(silent, run())
        finally:
            globalLogPublisher.removeObserver(observe)
            globalLogPublisher.addObserver(self._observe)
        self.assertTrue(told)


globals().update(HandshakeOddityTests.make_test_case_classes())


class DataOddityTests(Odd):
    """Bytes, records and ends."""

    def test_o2_a_write_says_what_was_written(self) -> None:
        """When the third of five records cannot be written now, or ever, ndone counts the two that were."""
        policy = evolve(server_policy(self.version), max_record_size=1000)
        for result in (0, -FAILED):
            self.refusing_engine(3, result)
            vc, peer, _ = self.established(policy)
            at_the_third: list[int] = []
            cont = RecordingContinuation({VC_EVENT_WRITE_READY: lambda vio, at=at_the_third: at.append(vio.ndone)})
            self.write(vc, bytes(5000), cont)
            self.run_peers(peer)
            self.assertEqual([2000], at_the_third)
            if result:
                self.assertEqual((["WRITE_READY", "ERROR"], 2000), (cont.events, cont.log[-1][1]))
                self.assertEqual((2000, 3000), (len(peer.plain), vc.write.vio.reader.avail))
            else:
                self.assertEqual((["WRITE_READY", "WRITE_COMPLETE"], 5000), (cont.events, len(peer.plain)))
            vc.do_io_close()

    def test_o3_no_more_is_written_than_was_asked(self) -> None:
        """Whatever the blocks, the sizes of records and the bytes asked for: these bytes, and the others stay."""
        generator = random.Random(3)
        for max_record_size in (0, 7, 1300, 16383, -1):
            vc, peer, _ = self.established(evolve(server_policy(self.version), max_record_size=max_record_size))
            expected = b""
            for _ in range(6):
                buffer = MIOBuffer(generator.choice((0, 1, 5)))
                reader = buffer.alloc_reader()
                data = b"".join(generator.randbytes(generator.randint(1, 700)) for _ in range(5))
                for at in range(0, len(data), 333):
                    (buffer.append if generator.random() < 0.5 else buffer.write)(data[at : at + 333])
                skipped = generator.randint(0, 200)
                reader.consume(min(skipped, len(data)))
                wanted = generator.randint(1, reader.avail) if reader.avail else 0
                if not wanted:
                    continue
                left = reader.avail - wanted
                expected += reader.memcpy(wanted)
                cont = RecordingContinuation()
                vc.do_io_write(cont, wanted, reader)
                self.run_peers(peer)
                self.assertEqual(("WRITE_COMPLETE", wanted), (cont.events[-1], cont.log[-1][1]))
                self.assertEqual(left, reader.avail)
            self.assertEqual(expected, peer.plain)

    def test_o4_drained_blocks_are_skipped(self) -> None:
        """A reader that stands behind the first of its blocks is no end of a healthy connection."""
        for max_record_size in (0, 100):
            vc, peer, _ = self.established(evolve(server_policy(self.version), max_record_size=max_record_size))
            buffer = MIOBuffer(0)
            reader, other = buffer.alloc_reader(), buffer.alloc_reader()
            buffer.write(bytes(128))
            reader.consume(128)  # all of the first block, which the other reader still has
            buffer.write(b"y" * 128)
            buffer.append(b"x" * 1000)
            self.assertEqual(reader.offset, reader.block.end)
            cont = RecordingContinuation()
            vc.do_io_write(cont, 1128, reader)
            self.run_peers(peer)
            self.assertEqual((["WRITE_COMPLETE"], 1256), (cont.events, other.avail))
            self.assertEqual(b"y" * 128 + b"x" * 1000, bytes(peer.plain))

    def test_o5_record_sizes_are_counted_by_what_was_written(self) -> None:
        """Within one large request records grow at the threshold; the counters are the records, slow peer or not."""
        vc, peer, _ = self.established(evolve(server_policy(self.version), max_record_size=-1))
        vc.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        self.reactor.turn(5)
        before = len(peer.raw)
        total = RECORD_BYTE_THRESHOLD + 300_000
        cont = self.write(vc, bytes(total))
        for _ in range(20):  # It stops and goes, so that writes meet a kernel that takes nothing.
            peer.paused = True
            self.run_peers(peer)
            peer.paused = False
            peer.pump()
        self.run_peers(peer)
        self.assertEqual((["WRITE_COMPLETE"], total), (cont.events[-1:], len(peer.plain)))
        sizes = [len(body) - OVERHEAD[self.version] for _, body in records(peer.raw[before:])]
        sent = small = 0
        for size in sizes:
            limit = DEFAULT_RECORD_BYTES if sent < RECORD_BYTE_THRESHOLD else MAX_RECORD_BYTES
            self.assertLessEqual(size, limit)
            small += sent < RECORD_BYTE_THRESHOLD
            sent += size
        self.assertEqual((small, len(sizes) - small), (vc._sizer.default_records, vc._sizer.max_records))
        self.assertGreater(max(sizes), DEFAULT_RECORD_BYTES)

    def test_o6_a_blind_tunnel_has_no_records(self) -> None:
        """Nothing is counted and nothing is cut, whatever max_record_size says: the bytes as they are."""
        for max_record_size in (-1, 100):
            policy = evolve(server_policy(self.version), max_record_size=max_record_size)
            vc, sock = self.accept(policy, hooks=hook_set(vconn_start=lambda vc: vc.tunnel()))
            self.waiting(vc)
            self.reactor.settle()
            sent = []

            def send(data: Any, vc: Any = vc, sock: Any = vc.socket, sent: list[int] = sent) -> int:
                sent.append(len(data))
                return sock.send(data)

            vc.socket = failing_socket(vc.socket, send=send)
            cont = self.write(vc, b"x" * 5000)
            self.reactor.settle()
            self.assertEqual((["WRITE_COMPLETE"], b"x" * 5000), (cont.events, received(sock)))
            self.assertEqual(([5000], None), (sent, vc._sizer))

    def test_o8_a_failed_write_is_an_error(self) -> None:
        """Also where TLS or the kernel gives no reason: EPIPE, ERROR, and never EOS."""
        for what in ("engine", "kernel without a number", errno.EPIPE, errno.ECONNRESET, errno.ENOBUFS):
            if what == "engine":
                self.refusing_engine(1, -FAILED)
            else:
                self.engine_kind = CffiEngine
            vc, peer, _ = self.established()
            if what != "engine":
                vc.socket = failing_socket(vc.socket, send=fail_with(what if isinstance(what, int) else None))
            cont = self.write(vc, b"data")
            self.run_peers(peer)
            expected = what if isinstance(what, int) else errno.EPIPE
            self.assertEqual((["ERROR"], expected), (cont.events, vc.lerrno), what)
            self.assertIsNotNone(vc.error)
            vc.do_io_close()

    def test_o18_a_read_gets_what_it_asked_for(self) -> None:
        """Of a record of 100 bytes ten are ten, and the others need no word of the kernel."""
        vc, peer, _ = self.established()
        peer.write(bytes(range(100)))
        taken = b""
        for nbytes in (10, 1, 0, 88, 1):
            cont, reader = self.read(vc, nbytes)
            if not taken:
                self.run_peers(peer)
            else:
                self.handler.turn()
                self.handler.turn()
            self.assertEqual([("VC_EVENT_READ_COMPLETE", nbytes, nbytes)] if nbytes else [], cont.log)
            self.assertEqual(nbytes, reader.avail)
            taken += reader.read()
        self.assertEqual(bytes(range(100)), taken)

    def test_o19_what_a_read_leaves_to_say_goes_out(self) -> None:
        """Without a word of the user: the answer to a new handshake over TLS 1.2, the alert that says what is wrong."""
        policy = server_policy(
            self.version, settings={"allow_client_renegotiation": True}, allow_client_renegotiation=True
        )
        vc, peer, _ = self.established(policy)
        cont, found = self.read_all(vc)
        if self.version == "TLSv1.2":
            peer.connection.renegotiate()
            with self.assertRaises(SSL.WantReadError):
                peer.connection.do_handshake()
            peer._take()
            self.run_peers(peer)
            self.assertEqual(1, peer.connection.total_renegotiations())
        self.run_peers(peer)
        self.assertEqual(([], b"", ""), (cont.events, bytes(found), peer.reason))
        self.assert_idle()
        peer.write(b"damaged")
        peer.to_send[-1] ^= 1
        self.run_peers(peer)
        self.assertEqual(["ERROR"], cont.events)
        self.assertIn("bad record mac", peer.reason)

    def test_o20_a_pass_tells_one_thing(self) -> None:
        """Bytes, else an end, else an error; nothing of half a record, and never READ_READY without a byte."""
        vc, peer, _ = self.established()
        cont, found = self.read_all(vc)
        peer.write(b"half")
        sent = bytes(peer.to_send)
        peer.to_send.clear()
        peer.sock.send(sent[:-1])
        self.reactor.settle()
        self.assertEqual([], cont.log)
        peer.sock.send(sent[-1:])
        self.reactor.settle()
        self.assertEqual([("VC_EVENT_READ_READY", 4, INT64_MAX)], cont.log)
        peer.write(b"last")
        peer.shutdown()
        self.run_peers(peer)
        self.assertEqual(["READ_READY", "READ_READY", "EOS"], cont.events)
        self.assertEqual([4, 8, 8], [entry[1] for entry in cont.log])
        self.assertEqual(b"halflast", found)
        # A closed connection is not read, whatever comes for it.
        vc, peer, _ = self.established()
        cont, found = self.read_all(vc)
        peer.write(b"late")
        peer.pump()
        vc.do_io_close()
        vc.net_read_io()
        self.reactor.settle()
        self.assertEqual([], cont.log)

    def test_o21_after_each_call_back_the_connection_is_looked_at_again(self) -> None:
        """Within any event its user may close, take back, shut down, switch off, hand over or ask anew."""

        others: list[RecordingContinuation] = []

        def other(vc: Any) -> RecordingContinuation:
            return self.read(vc)[0]

        deeds: dict[str, Callable[[Any], Any]] = {
            "close": lambda vc: vc.do_io_close(),
            "close with a reason": lambda vc: vc.do_io_close(errno.EIO),
            "take back the read": lambda vc: vc.do_io_read(None, 0, None),
            "take back the write": lambda vc: vc.do_io_write(None, 0, None),
            "shut down": lambda vc: vc.do_io_shutdown(7),
            "switch off": lambda vc: (vc.read.vio.disable(), vc.write.vio.disable()),
            "read anew": other,
            "write anew": lambda vc: self.write(vc, b"anew"),
            "reenable": lambda vc: (vc.read.vio.reenable_re(), vc.write.vio.reenable_re()),
            "done": lambda vc: (vc.read.vio.done(), vc.write.vio.done()),
            "hand over": lambda vc: [state.vio.set_continuation(others[-1]) for state in (vc.read, vc.write)],
        }
        events = (
            VC_EVENT_READ_READY,
            VC_EVENT_READ_COMPLETE,
            VC_EVENT_WRITE_READY,
            VC_EVENT_WRITE_COMPLETE,
            VC_EVENT_EOS,
        )
        unsent = ("close", "close with a reason", "take back the write", "shut down", "switch off")
        for event in events:
            for name, do in deeds.items():
                vc, peer, _ = self.established()
                done: list[Any] = []
                others.append(RecordingContinuation())

                def once(vio: Any, vc: Any = vc, do: Any = do, done: list[Any] = done) -> None:
                    if not done:
                        done.append(vc.closed)
                        do(vc)

                cont = RecordingContinuation({event: once})
                read_buffer, write_buffer = MIOBuffer(), MIOBuffer()
                read_buffer.alloc_reader()
                vc.do_io_read(cont, 4 if event == VC_EVENT_READ_COMPLETE else INT64_MAX, read_buffer)
                reader = write_buffer.alloc_reader()
                write_buffer.write(b"request")
                vc.do_io_write(cont, 7 if event == VC_EVENT_WRITE_COMPLETE else 5000, reader)
                peer.write(b"data")
                self.run_peers(peer)
                peer.write(b"more")
                peer.shutdown()
                self.run_peers(peer)
                self.assertEqual([0], done, (event, name))
                if event == VC_EVENT_WRITE_READY and name in unsent:
                    self.assertEqual(b"", bytes(peer.plain), name)
                if name == "write anew":
                    self.assertIn(bytes(peer.plain), (b"anew", b"requestanew"))
                    self.assertEqual(event != VC_EVENT_WRITE_READY, peer.plain.startswith(b"request"), event)
                if name == "hand over":
                    self.assertEqual(1, len([told for told in cont.log if told[0] == event_name(event)]))
                if name.startswith("close"):
                    self.assertTrue(vc.closed)
                self.assertEqual([], self.flush_failures(), (event, name))
                vc.do_io_close()
                self.run_peers(peer)
                peer.sock.close()
                self.reactor.settle()
                self.assert_gone(vc)
                self.assert_idle()

    def test_o39_nothing_is_said_to_who_has_left(self) -> None:
        """A close says close_notify to a peer that is there, silent or speaking; none after its FIN or its reset."""
        for what in ("silent", "speaking", "fin", "reset"):
            vc, peer, _ = self.established(tcp=True)
            said: list[str] = []
            engine = vc.engine
            with patch.object(CffiEngine, "shutdown", lambda tls, said=said: said.append("close_notify")):
                if what == "speaking":
                    peer.write(b"unread")
                    peer.pump()
                elif what == "fin":
                    peer.send_fin()
                elif what == "reset":
                    reset(peer.sock)
                before = len(peer.raw)
                vc.do_io_close()
                self.assertIsNotNone(engine)
            self.assertEqual(["close_notify"] if what in ("silent", "speaking") else [], said, what)
            if what == "fin":
                self.run_peers(peer)
                self.assertEqual((before, "fin"), (len(peer.raw), peer.end))
            if what != "reset":
                peer.sock.close()
            self.reactor.settle()
            self.assert_gone(vc)

    def test_o41_a_write_that_is_taken_back_knows_no_buffer(self) -> None:
        """do_io_write without a reader: nothing of the former buffer is sent, or held."""
        vc, peer, _ = self.established()
        buffer = MIOBuffer()
        reader = buffer.alloc_reader()
        buffer.write(b"secret")
        cont = RecordingContinuation()
        vio = vc.do_io_write(cont, 6, reader)
        self.assertIs(vio, vc.do_io_write(cont, 6, None))
        self.assertEqual((None, None), (vio.writer, vio.reader))
        vio.reenable()
        self.run_peers(peer)
        self.assertEqual((b"", [], 6), (bytes(peer.plain), cont.events, reader.avail))

    def test_o43_is_client_is_true_when_we_connected(self) -> None:
        """For connections of either kind, from the beginning."""
        accepted, _ = self.accept()
        made, _ = self.connect()
        self.assertEqual((False, True), (accepted.is_client, made.is_client))
        processor = NetProcessor(self.handler)
        ours, theirs = tcp_pair()
        self.keep(theirs)
        self.assertTrue(processor.adopt(ours).is_client)
        self.assertFalse(processor.allocate_vc().is_client)

    def test_o46_a_writer_is_told_error_and_never_eos(self) -> None:
        """A peer that resets while we write: ERROR for the writer; EOS is the reader's word."""
        for over in ("TLS", "plain"):
            if over == "TLS":
                vc, peer, _ = self.established(tcp=True)
                sock = peer.sock
            else:
                vc, sock = self.connection(tcp_pair())
            writer = self.write(vc, bytes(1 << 22))
            self.reactor.turn()
            reset(sock)
            self.reactor.turn_until(lambda writer=writer: "ERROR" in writer.events)
            self.reactor.settle()
            self.assertEqual("ERROR", writer.events[-1])
            self.assertEqual({"WRITE_READY", "ERROR"} | set(writer.events), {"WRITE_READY", "ERROR"}, over)
            self.assertIn(vc.lerrno, (errno.ECONNRESET, errno.EPIPE))
            vc.do_io_close()

    def test_o47_a_request_is_never_overdone(self) -> None:
        """Whatever is glued to the handshake, and whatever is asked: ntodo() is 0 or more, always."""
        vc, sock = self.accept()
        least: list[int] = []
        buffer = MIOBuffer()
        buffer.alloc_reader()

        def note(vio: Any) -> None:
            least.append(vio.ntodo())

        cont = RecordingContinuation(dict.fromkeys((VC_EVENT_READ_READY, VC_EVENT_READ_COMPLETE), note))
        vc.do_io_read(cont, 0, buffer)
        peer = self.client(sock)
        self.up_to_last_word(sock, peer)
        peer._send()
        self.reactor.settle()
        peer.pump()
        peer.write(bytes(5000))
        self.run_peers(peer)
        for nbytes in (1, 99, 4000, 1000):
            vc.do_io_read(cont, nbytes, buffer)
            self.run_peers(peer)
            self.assertLessEqual(0, vc.read.vio.ntodo())
        self.assertEqual(0, min(least))
        self.assertEqual(5000, buffer.max_read_avail())

    def test_o49_a_stream_that_was_cut_off_is_known_as_such(self) -> None:
        """FIN without close_notify is EOS, with clean_shutdown False; with it, True."""
        for how, clean in ((TLSPeer.shutdown, True), (TLSPeer.send_fin, False)):
            vc, peer, _ = self.established()
            cont, found = self.read_all(vc)
            peer.write(b"data")
            self.run_peers(peer)
            how(peer)
            self.run_peers(peer)
            self.assertEqual((["READ_READY", "EOS"], b"data"), (cont.events, found))
            self.assertEqual((clean, True), (vc.clean_shutdown, vc.is_eos_received()))


globals().update(DataOddityTests.make_test_case_classes())


class RenegotiationOddityTests(Odd):
    """TLS 1.2."""

    versions = ("TLSv1.2",)

    def test_o7_a_write_that_had_to_wait_may_be_another_one(self) -> None:
        """In the middle of a new handshake: the request is put off, then replaced by a shorter one, elsewhere."""
        policy = server_policy(
            self.version, settings={"allow_client_renegotiation": True}, allow_client_renegotiation=True
        )
        for replacement in (b"short", b"much longer than the first " * 50):
            vc, peer, _ = self.established(policy)
            self.read_all(vc)
            peer.paused = True
            peer.connection.renegotiate()
            with self.assertRaises(SSL.WantReadError):
                peer.connection.do_handshake()
            peer._take()
            self.run_peers(peer)
            first = self.write(vc, b"first " * 100)
            self.run_peers(peer)
            self.assertEqual([], first.events)
            second = self.write(vc, replacement)
            self.run_peers(peer)
            peer.paused = False
            self.run_peers(peer)
            self.assertEqual(([], ["WRITE_COMPLETE"]), (first.events, second.events))
            self.assertEqual((replacement, ""), (bytes(peer.plain), peer.reason))

    def test_o7_write_modes(self) -> None:
        """OpenSSL may not hold us to the address of a write's bytes, by whatever contexts the connection came."""
        made: list[int] = []
        settings = ServerSettings()
        front = front_context(settings, select_alpn=None, check_server_name=None)
        for context in (front, certificate_context(settings, [issue("a.example")], select_alpn=None)):
            made.append(context.set_mode(0))
        made.append(client_context(ClientSettings()).set_mode(0))
        wanted = 0x2  # SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
        self.assertEqual([wanted] * 3, [modes & wanted for modes in made])


globals().update(RenegotiationOddityTests.make_test_case_classes())


class SessionOddityTests(Odd):
    """Who gets a connection, and its first bytes."""

    def test_o23_an_event_that_nobody_expects_ends_the_connection(self) -> None:
        """Trampoline, acceptors, probe, tunnel: a line in the log, and the connection is closed, not forgotten."""
        port, probing = SSLNextProtocolAccept(None), ProtocolProbeSessionAccept()

        def probe(vc: Any) -> Any:
            probing.handle_event(NET_EVENT_ACCEPT, vc)
            return vc.read.vio.cont

        def trampoline(vc: Any) -> Any:
            port.handle_event(NET_EVENT_ACCEPT, vc)
            return vc.read.vio.cont

        def tunnel(vc: Any) -> Any:
            other, _ = self.connection()
            return OneWayTunnel(vc, other)

        for make in (trampoline, probe, tunnel, lambda vc: port, lambda vc: probing):
            self.logged.clear()
            vc, _ = self.accept()
            cont = make(vc)
            # The acceptors are told of connections, who waits for one of its VIO.
            cont.handle_event(4242, vc if cont in (port, probing) else vc.read.vio)
            self.assertTrue(vc.closed)
            self.assert_one_line("4242")
            self.assertNotIn(vc, self.handler.open_list)
            gone = weakref.ref(vc)
            del vc, cont
            self.reactor.settle()
            self.assert_collected(gone)
        for cont in (port, probing):
            cont.handle_event(VC_EVENT_EOS, None)  # There is no connection to be closed.

    def test_o25_the_shared_buffer_never_gets_a_byte(self) -> None:
        """The first bytes of a tunnel wait in the connection until its owner reads, into his own buffer."""
        owner = RecordingContinuation()
        port = SSLNextProtocolAccept(owner)
        for _ in range(2):
            vc, sock = self.accept(hooks=hook_set(client_hello=lambda vc: vc.tunnel()))
            port.handle_event(NET_EVENT_ACCEPT, vc)
            self.assertIs(port._empty, vc.read.vio.writer)
            peer = self.client(sock)
            peer._step()
            hello = bytes(peer.to_send)
            self.run_peers(peer)
            sock.send(b"behind it")
            self.patrol(5)
            self.assertEqual((None, 0), (port._empty.tail, port._empty.max_read_avail()))
            _cont, found = self.read_all(vc)
            self.reactor.settle()
            self.assertEqual(hello + b"behind it", bytes(found))
            self.assertIsNone(port._empty.tail)
        self.assertEqual(["ACCEPT"] * 2, owner.events)

    def test_o26_the_owner_of_a_tunnel_is_told_of_bytes(self) -> None:
        """One READ_COMPLETE for who waited for the handshake; READ_READY for the owner, COMPLETE at his own count."""
        hellos = []
        for nbytes in (INT64_MAX, 11):
            log: list[Any] = []
            owner = RecordingContinuation(shared_log=log)
            found: list[Any] = []

            def own(vc: Any, owner: Any = owner, found: Any = found, nbytes: int = nbytes) -> None:
                found.append(self.read(vc, nbytes, 8, owner)[1])

            owner.script[NET_EVENT_ACCEPT] = own
            port = SSLNextProtocolAccept(owner)
            vc, sock = self.accept(hooks=hook_set(client_hello=lambda vc: vc.tunnel()))
            port.handle_event(NET_EVENT_ACCEPT, vc)
            peer = self.client(sock)
            peer._step()
            hellos.append(bytes(peer.to_send))
            self.run_peers(peer)
            self.assertEqual(["ACCEPT", "READ_READY" if nbytes == INT64_MAX else "READ_COMPLETE"], owner.events)
            self.assertEqual(hellos[-1][: min(nbytes, 1 << 20)], found[0].read())
            self.assertEqual(min(nbytes, len(hellos[-1])), log[-1][1])
            if nbytes == 11:
                _cont, rest = self.read_all(vc)
                self.reactor.settle()
                self.assertEqual(hellos[-1][11:], bytes(rest))

    def test_o36_a_tunnel_tells_its_owner_with_itself(self) -> None:
        """And carries half an end through, over one buffer that both sides share."""
        a, peer_a, _ = self.established()
        b, peer_b, _ = self.connected()
        cont = RecordingContinuation()
        tunnel = TwoWayTunnel(a, b, cont)
        self.assertIs(tunnel.there.source_vio.writer, tunnel.there.target_vio.reader.buffer)
        peer_a.write(b"question")
        peer_a.shutdown()
        self.run_peers(peer_a, peer_b)
        self.assertEqual((b"question", "close_notify", [], None), (peer_b.plain, peer_b.end, cont.events, peer_a.end))
        peer_b.write(b"a long answer" * 10_000)
        peer_b.shutdown()
        self.run_peers(peer_a, peer_b)
        self.assertEqual((130_000, "close_notify"), (len(peer_a.plain), peer_a.end))
        self.assertEqual((["EOS"], [tunnel]), (cont.events, cont.given))
        # Who does not want to wait for the other direction bounds it.
        a, peer_a, _ = self.established()
        b, peer_b, _ = self.connected()
        cont = RecordingContinuation()
        tunnel = TwoWayTunnel(a, b, cont, half_close_seconds=2)
        peer_a.shutdown()
        self.run_peers(peer_a, peer_b)
        self.patrol(4)
        self.assertEqual((["ERROR"], [tunnel]), (cont.events, cont.given))
        self.run_peers(peer_a, peer_b)

    def test_o40_another_thread_asks_the_loop(self) -> None:
        """reenable() from a thread touches no list: the loop does, and the event comes in its own thread."""
        vc, peer, _ = self.established()
        threads: list[int] = []
        cont = RecordingContinuation({VC_EVENT_READ_READY: lambda vio: threads.append(threading.get_ident())})
        buffer = MIOBuffer()
        buffer.alloc_reader()
        vio = vc.do_io_read(cont, INT64_MAX, buffer)
        vio.disable()
        self.run_peers(peer)
        peer.write(b"data")
        self.run_peers(peer)
        vio.disabled = False
        thread = threading.Thread(target=vio.reenable)
        thread.start()
        thread.join()
        self.assertEqual(
            (False, False, [], 1), (vc.read.queued, vc.read.enabled, cont.log, len(self.reactor._from_threads))
        )
        self.reactor.settle()
        self.assertEqual((["READ_READY"], [threading.get_ident()]), (cont.events, threads))


globals().update(SessionOddityTests.make_test_case_classes())


class SessionCacheOddityTests(Odd):
    """The sessions that are kept for connections to origins."""

    def test_o37_any_session_can_be_taken_out(self) -> None:
        """The first, the last and those between: by a failure or when their time is up, once, and the others stay."""
        vc, _, _ = self.connected()
        for way in ("failed", "late"):
            for order in ((0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (2, 0, 4, 1, 3)):
                sessions = OriginSessions(seconds=100)
                kept = []
                for key in range(5):
                    # One that is to be late first was opened first.
                    now = 10.0 * order.index(key)
                    part = sessions.offer(key, vc.engine, now)
                    part.opened(vc.engine, now, 1e9)
                    kept.append(part)
                self.assertEqual(5, len(sessions))
                for at, key in enumerate(order):
                    for _ in range(2):
                        if way == "failed":
                            kept[key].failed()
                        else:
                            sessions.offer(key, vc.engine, 100.0 + 10 * at)
                        self.assertEqual(4 - at, len(sessions), (way, order, key))
                self.assertEqual(0 if way == "failed" else 5, sessions.timeouts)
                self.assertEqual(0, sessions.hits)


globals().update(SessionCacheOddityTests.make_test_case_classes())


class SessionTimeOddityTests(Odd):
    """OpenSSL has a clock of its own, so this takes as long as it says: once is enough."""

    versions = ("TLSv1.3",)

    def come_back(self, policy: Any, context: SSL.Context, session: Any) -> tuple[bool, Any]:
        """A client with C{session}: is it resumed, and with what can it come back?"""
        vc, peer, _ = self.established(policy, context=context, session=session)
        resumed, session = vc.get_ssl_session_cache_hit(), peer.connection.get_session()
        peer.shutdown()
        vc.do_io_close()
        self.run_peers(peer)
        return resumed, session

    def test_o38_a_session_that_is_over_is_not_used(self) -> None:
        """Kept here or in a ticket: a client that comes back too late shakes hands in full; in time it need not."""
        kept = []
        for self.version in VERSIONS:
            for ticket in (True, False):
                for seconds in (1, 1000):
                    policy = server_policy(self.version, {"session_timeout_seconds": seconds, "session_ticket": ticket})
                    context = peer_client_context(self.version)
                    _, session = self.come_back(policy, context, None)
                    kept.append((self.version, policy, context, session, seconds > 1))
        time.sleep(1.05)
        for self.version, policy, context, session, expected in kept:
            resumed, _ = self.come_back(policy, context, session)
            self.assertEqual(expected, resumed, self.version)


globals().update(
    {name: case for name, case in SessionTimeOddityTests.make_test_case_classes().items() if "OverEdge" in name}
)


class NetOddityTests(OverBothPolls):
    """What TLS has no part in."""

    def setUp(self) -> None:
        LoopingCall(int)  # The first one opens the process's own reactor: let its descriptors be there before.
        reactor = HandReactor()
        tcp.Port(0, _NoFactory(), reactor=reactor).startListening()  # And the first port opens one of Twisted's.
        reactor.removeAll()[0].connectionLost(None)
        super().setUp()
        self.moved = Moved()
        self.throttle = Throttle(0, self.reactor.seconds)
        self.processor = NetProcessor(self.handler, self.throttle)
        self.cont = RecordingContinuation()

    @contextmanager
    def listening(self, cont: Any = None) -> Iterator[Any]:
        """A port on the loopback."""
        accept = self.processor.accept(cont or self.cont, AcceptOptions(local_ip="127.0.0.1"))
        try:
            yield accept
        finally:
            accept.cancel()

    def dial(self, accept: Any) -> socket.socket:
        """Somebody who connects."""
        client = socket.create_connection(accept.port.socket.getsockname(), 5)
        return self.keep(client)

    def user(self, **more: Any) -> tuple[Any, socket.socket, RecordingContinuation]:
        """A connection whose user waits for bytes; its peer."""
        vc, sock = self.connection()
        cont = RecordingContinuation(more.get("script"))
        buffer = MIOBuffer()
        buffer.alloc_reader()
        vc.do_io_read(cont, INT64_MAX, buffer)
        self.reactor.settle()
        return vc, sock, cont

    def patrol(self, seconds: int, default: float = 0) -> None:
        """So many seconds pass, and the cop walks in each."""
        cop = InactivityCop(self.handler, self.reactor, default_inactivity_seconds=default)
        for _ in range(seconds):
            self.reactor.turn(1)
            cop.patrol()

    def test_o27_the_active_timeout_fires(self) -> None:
        """However busy the connection is; and when both are due inactivity is told first."""
        vc, sock, cont = self.user()
        vc.set_active_timeout(3)
        vc.set_inactivity_timeout(100)
        for _ in range(5):
            sock.send(b"busy")
            self.reactor.settle()
            self.patrol(1)
        self.assertEqual(1, cont.events.count("ACTIVE_TIMEOUT"))
        self.assertEqual(0, vc.closed)
        vc, sock, cont = self.user()
        vc.set_active_timeout(3)
        vc.set_inactivity_timeout(3)
        self.reactor.turn(10)
        self.patrol(1)
        self.assertEqual(["INACTIVITY_TIMEOUT"], cont.events)
        self.patrol(1)
        self.assertEqual(["INACTIVITY_TIMEOUT", "ACTIVE_TIMEOUT"], cont.events)

    def test_o28_no_timeout_is_no_time_that_has_passed(self) -> None:
        """When there are too many requests, a connection without a timeout is not one that is late."""
        self.handler.queues.max_requests_in = 1
        vc, _, cont = self.user()
        self.assertTrue(vc.add_to_active_queue())
        self.reactor.turn(1e6)
        other, _, _ = self.user()
        self.assertEqual((False, []), (other.add_to_active_queue(), cont.events))
        vc.set_inactivity_timeout(5)
        vc.cancel_inactivity_timeout()
        vc.set_active_timeout(5)
        vc.set_active_timeout(0)
        self.reactor.turn(1e6)
        self.assertEqual((False, []), (other.add_to_active_queue(), cont.events))

    def test_o29_the_default_is_the_cops(self) -> None:
        """It counts while bytes are wanted, is no period of the connection's, and cancelling leads back to it."""
        vc, _, cont = self.user()
        self.patrol(9, default=10)
        self.assertEqual((0.0, []), (vc.get_inactivity_timeout(), cont.events))
        self.patrol(2, default=10)
        self.assertEqual((["INACTIVITY_TIMEOUT"], 0.0), (cont.events, vc.inactivity_timeout_in))
        self.assertEqual(1, self.moved.default_inactivity_timeout_count)
        # A period of his own takes its place, shorter or longer; taken back, it is the default's again.
        cont.log.clear()
        vc.set_inactivity_timeout(50)
        self.patrol(45, default=10)
        self.assertEqual([], cont.events)
        vc.cancel_inactivity_timeout()
        self.patrol(1, default=10)
        self.assertEqual(["INACTIVITY_TIMEOUT"], cont.events)
        # Nothing is wanted: nothing is late.
        cont.log.clear()
        vc.read.vio.disable()
        self.patrol(100, default=10)
        self.assertEqual([], cont.events)
        vc.read.vio.enable()

    def test_o30_nobody_is_told_whether_it_is_gone(self) -> None:
        """What delivers a timeout says nothing; who delivered it looks at the connection itself, and carries on."""
        for close in (True, False):
            vc, _, cont = self.user()
            if close:
                cont.script[VC_EVENT_INACTIVITY_TIMEOUT] = lambda vio: vio.vc_server.do_io_close()
            self.assertIsNone(vc.main_event(VC_EVENT_INACTIVITY_TIMEOUT))
            self.assertEqual((int(close), close), (vc.closed, vc.socket is None))
        first, _, cont = self.user()
        second, _, other = self.user()
        for vc, told in ((first, cont), (second, other)):
            vc.set_inactivity_timeout(1)
            told.script[VC_EVENT_INACTIVITY_TIMEOUT] = lambda vio: (first.do_io_close(), second.do_io_close())
        self.patrol(3)
        self.assertEqual(1, len(cont.log) + len(other.log))
        self.assertEqual([], self.flushLoggedErrors())

    def test_o31_a_new_limit_applies_at_once(self) -> None:
        """To the next connection in either direction, and those who are in stay."""
        with self.listening() as accept:
            self.throttle.change(100)
            self.dial(accept)
            self.reactor.turn_until(lambda: self.cont.log)
            self.throttle.change(1)
            refused = self.dial(accept)
            self.reactor.turn_until(lambda: self.moved.connections_throttled_in)
            self.assertEqual(b"", refused.recv(1))
            self.processor.connect_re(self.cont, accept.port.socket.getsockname())
            self.assertEqual(["ACCEPT", "OPEN_FAILED"], self.cont.events)
            self.throttle.change(100)
            self.dial(accept)
            self.reactor.turn_until(lambda: len(self.cont.log) == 3)
            self.assertEqual((["ACCEPT", "OPEN_FAILED", "ACCEPT"], 2), (self.cont.events, len(self.handler.open_list)))

    def test_o33_what_was_closed_for_want_of_descriptors_is_not_used(self) -> None:
        """One that comes in is closed, and nobody is told of it; one of ours is said to have failed."""
        with self.listening() as accept:
            self.throttle.highest_in = self.throttle.highest_out = 2
            client = self.dial(accept)
            self.reactor.turn_until(lambda: self.moved.connections_throttled_in)
            self.assertEqual(b"", client.recv(1))
            self.assertEqual(([], set(), 0), (self.cont.log, self.handler.open_list, accept.accepted))
            action = self.processor.connect_re(self.cont, accept.port.socket.getsockname())
            self.assertEqual([("NET_EVENT_OPEN_FAILED", ENET_THROTTLING)], self.cont.log)
            self.assertIsInstance(self.cont.given[0], OpenFailed)
            self.assertEqual(set(), self.handler.open_list)
            action.cancel()
            # The one that was closed was never watched, so its number can come again in peace.
            self.throttle.change(0)
            again = self.dial(accept)
            self.reactor.turn_until(lambda: len(self.cont.log) == 2)
            buffer = MIOBuffer()
            reader = buffer.alloc_reader()
            self.cont.given[1].do_io_read(self.cont, INT64_MAX, buffer)
            again.send(b"data")
            self.reactor.turn_until(lambda: reader.avail)

    def test_o34_a_closed_acceptor_leaves_nothing(self) -> None:
        """No connection kept for the next client, nothing with the reactor, and the port is free at once."""
        made: list[Any] = []
        allocate = self.processor.allocate_vc

        def count() -> Any:
            made.append(weakref.ref(vc := allocate()))
            return vc

        self.patch(self.processor, "allocate_vc", count)
        with self.listening() as accept:
            self.assertEqual([], made)
            self.dial(accept)
            self.reactor.turn_until(lambda: self.cont.log)
            self.reactor.settle()
            self.assertEqual(1, len(made))
            address = accept.port.socket.getsockname()
            port = accept.listening_port()
            self.assertIn(port, self.reactor.readers)
            accept.cancel()
            self.assertNotIn(port, self.reactor.readers)
            with socket.socket() as again:
                again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                again.bind(address)
                again.listen()
        self.cont.given.pop().do_io_close()
        self.assertEqual(1, len(made))
        self.assertIsNone(made[0]())

    def test_o35_connections_belong_to_the_handler_that_was_asked_for(self) -> None:
        """What an event type is to Traffic Server is a handler here: each acceptor keeps to the one it was given."""
        reactor = HandReactor()
        other, poll = make_handler(self.kind, reactor)
        policy = server_policy()
        ports = []
        try:
            for handler in (self.handler, other):
                cont = RecordingContinuation()
                port = SSLNetAccept(
                    handler, cont, AcceptOptions(local_ip="127.0.0.1"), self.throttle, lambda: policy, hook_set()
                )
                port.listen()
                ports.append(port)
                self.dial(port)
                handler.reactor.turn_until(lambda cont=cont: cont.log)
                (vc,) = cont.given
                self.assertIs(handler, vc.nh)
                self.assertEqual({vc}, handler.open_list)
                vc.do_io_close()
                handler.reactor.settle()
        finally:
            for port in ports:
                port.cancel()
            poll.close()

    def test_o50_who_is_exempt_is_not_limited(self) -> None:
        """However many of an exempt network there are, they come in; and a slot is given back by who had one alone."""
        networks = (ipaddress.ip_network("127.0.0.2/32"),)
        clients = self.throttle.clients = ClientLimit(1, networks, seconds=self.reactor.seconds)

        def arrive(accept: Any, host: str, count: int) -> list[socket.socket]:
            dialled = []
            for _ in range(count):
                client = self.keep(socket.socket())
                client.bind((host, 0))
                client.connect(accept.port.socket.getsockname())
                dialled.append(client)
            return dialled

        with self.listening() as accept:
            arrive(accept, "127.0.0.2", 5)
            self.reactor.turn_until(lambda: len(self.cont.log) == 5)
            self.assertEqual((5, 0), (clients.connections["127.0.0.2"], self.moved.per_client_connections_throttled_in))
            for expected in (1, 2, 3):
                refused = arrive(accept, "127.0.0.3", 1 + (expected == 1))[-1]
                self.reactor.turn_until(lambda n=expected: self.moved.per_client_connections_throttled_in == n)
                self.assertEqual(b"", refused.recv(1))
            self.assertEqual({"127.0.0.2": 5, "127.0.0.3": 1}, clients.connections)
            for vc in self.cont.given:
                vc.do_io_close()
            self.assertEqual({}, clients.connections)

    def test_o44_one_that_always_has_more_starves_nobody(self) -> None:
        """A turn is one pass over those that were ready: others are read in it, and answered in it."""
        _, flooder, flood = self.user()
        _, asker, cont = self.user(script={VC_EVENT_READ_READY: lambda vio: vio.vc_server.do_io_write(cont, 6, answer)})
        buffer = MIOBuffer()
        answer = buffer.alloc_reader()
        buffer.write(b"answer")
        # Its user takes each piece and asks for more at once, and there is always more.
        flood.script[VC_EVENT_READ_READY] = lambda vio: (vio.writer.sole.read(), vio.reenable())
        for _ in range(50):
            try:
                flooder.send(bytes(1 << 16))
            except BlockingIOError:
                break
        asker.send(b"?")
        self.reactor.turn()
        self.assertEqual((["READ_READY", "WRITE_COMPLETE"], b"answer"), (cont.events, received(asker)))
        self.assertLessEqual(len(flood.log), 4)


globals().update(NetOddityTests.make_test_case_classes())


class TableOddityTests(SynchronousTestCase):
    """What needs no connection."""

    def test_o22_a_protocol_that_was_taken_back_is_not_offered(self) -> None:
        """Neither in the wire form, nor in what a handshake may choose; whichever of three it was."""
        for gone in (b"h2", b"http/1.1", b"echo"):
            protocols = protocol_set(b"h2", b"http/1.1", b"echo")
            self.assertTrue(protocols.unregister_endpoint(gone, gone))
            left = [name for name in (b"h2", b"http/1.1", b"echo") if name != gone]
            self.assertEqual(b"".join(bytes((len(name),)) + name for name in left), protocols.advertise_protocols())
            self.assertEqual((None, None), (protocols.find_endpoint(gone), protocols.select([gone])))
            self.assertFalse(protocols.unregister_endpoint(gone, gone))
        one = protocol_set(b"h2")
        one.unregister_endpoint(b"h2", b"h2")
        self.assertEqual(b"", one.advertise_protocols())

    def test_o24_who_is_registered_last_is_preferred(self) -> None:
        """In the wire form and in what is chosen, whatever the client prefers."""
        protocols = SSLNextProtocolSet()
        for name in (b"http/1.0", b"http/1.1", b"h2"):
            protocols.register_endpoint(name, object())
        self.assertEqual(b"\x02h2\x08http/1.1\x08http/1.0", protocols.advertise_protocols())
        self.assertEqual(b"h2", protocols.select([b"http/1.0", b"http/1.1", b"h2"]))
        self.assertEqual(b"http/1.1", protocols.select([b"http/1.0", b"http/1.1"]))

    def test_o32_how_often_is_warned_is_one_number(self) -> None:
        """The documents, the constant and the log say the same: once in ten minutes."""
        self.assertEqual(600, WARNING_SECONDS)
        now = [0.0]
        throttle = Throttle(1, lambda: now[0])
        warned: list[float] = []
        self.patch(Throttle, "_log", type("Log", (), {"warn": lambda self, *a, **k: warned.append(now[0])})())
        for second in range(1900):
            now[0] = float(second)
            throttle.refuses_accept(5)
        self.assertEqual([0.0, 600.0, 1200.0, 1800.0], warned)
        warned.clear()
        self.patch(throttle_module, "WARNING_SECONDS", 10.0)
        for second in range(1900, 1930):
            now[0] = float(second)
            throttle.refuses_accept(5)
        self.assertEqual([1900.0, 1910.0, 1920.0], warned)
