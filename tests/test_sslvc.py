# -*- test-case-name: tests.test_sslvc -*-
"""
Tests for L{atstls.ssl.sslvc}: the connection as an object.

The handshake is in C{test_sslvc_handshake}, the data in C{test_sslvc_data}, those who mean harm in C{test_attacks},
everything in any order in C{test_life}.
"""

import copy
import errno
import gc
import random
import socket
import weakref
from typing import Any
from unittest import mock

from zope.interface.verify import verifyObject

from atstls.errors import LocalError
from atstls.eventsystem.iobuffer import MIOBuffer
from atstls.eventsystem.vio import (
    ABORT,
    CLOSE,
    INT64_MAX,
    READ,
    SHUTDOWN_READ,
    WRITE,
)
from atstls.interfaces import INetVConnection, ISSLNetVConnection
from atstls.net.cop import InactivityCop
from atstls.net.unixvc import TRANSPORT_DEFAULT
from atstls.ssl.sslvc import DEFAULT_OP, NO_HOOKS, SSLNetVConnection
from atstls.tls.engine import CffiEngine
from atstls.tls.hooks import PARKED
from atstls.tls.phases import Phase
from tests.support import RecordingContinuation, tcp_pair
from tests.tlssupport import OverTLS, hook_set, server_policy

TERMINAL = ("READ_COMPLETE", "WRITE_COMPLETE", "EOS", "ERROR")


class ObjectTests(OverTLS):
    """What a connection is when nothing has happened yet, and when all has."""

    versions = ("TLSv1.3",)
    engines = (CffiEngine,)

    def test_interfaces(self) -> None:
        """A connection over TLS is used like any other (S001)."""
        vc = SSLNetVConnection(self.handler, server_policy())
        verifyObject(INetVConnection, vc)
        verifyObject(ISSLNetVConnection, vc)
        self.assertRaises(LocalError, copy.copy, vc)
        self.assertIn("SSLNetVConnection", repr(vc))

    def test_fresh(self) -> None:
        """Every field has its first value (S003)."""
        vc = SSLNetVConnection(self.handler)
        for name, value in {
            "phase": Phase.START, "engine": None, "hello": None, "certificate": None, "hook_op": DEFAULT_OP,
            "refusal": None, "server_name": None, "offered": None, "next_protocol_set": None, "policy": None,
            "negotiated_protocol": None, "npn_endpoint": None, "session_accept": None, "eos_received": False,
            "hooks": NO_HOOKS, "ready": False, "closed": 0, "attributes": TRANSPORT_DEFAULT, "is_client": False,
        }.items():  # fmt: skip
            self.assertEqual(value, getattr(vc, name), name)
        for fact in (vc.get_ssl_protocol, vc.get_ssl_cipher_suite, vc.get_peer_certificate, vc.endpoint):
            self.assertIsNone(fact())
        for fact in (vc.get_ssl_handshake_complete, vc.get_ssl_session_cache_hit, vc.is_eos_received):
            self.assertFalse(fact())
        vc.do_io_close()

    def test_never_started(self) -> None:
        """A connection that never got a socket can be closed and asked, like any other that is closed."""
        vc = SSLNetVConnection(self.handler, server_policy())
        vc.do_io_close()
        vc.do_io_close()
        vc.free()
        vc.reenable_hook()
        self.assertIsNone(vc.do_io_read(RecordingContinuation(), 1, MIOBuffer()))
        self.assertEqual(-1, vc.get_socket())

    def test_freed(self) -> None:
        """After the end nothing is left of what belonged to the connection (S004)."""
        vc, peer, _cont = self.established()
        connection = weakref.ref(vc.engine.connection)
        vc.session_accept = object()
        vc.do_io_close()
        self.assert_gone(vc)
        for name in ("engine", "hello", "next_protocol_set", "npn_endpoint", "session_accept", "_unsent", "_sizer"):
            self.assertIsNone(getattr(vc, name), name)
        self.assertIs(Phase.CLOSED, vc.phase)
        gc.collect()
        self.assertIsNone(connection())
        peer.sock.close()

    def test_by_number(self) -> None:
        """do_io does each request by its number."""
        for last, end in ((CLOSE, "close_notify"), (ABORT, "reset")):
            vc, peer, cont = self.established(tcp=True)
            buffer = MIOBuffer()
            reader = buffer.alloc_reader()
            buffer.write(b"x")
            vc.do_io(READ, cont, INT64_MAX, MIOBuffer())
            vc.do_io(WRITE, cont, 1, reader)
            self.run_peers(peer)
            self.assertEqual(b"x", peer.plain)
            if last == CLOSE:
                vc.do_io(SHUTDOWN_READ)
            self.assertIsNone(vc.do_io(last))
            self.run_peers(peer, until=lambda peer=peer: peer.fin)
            self.assertEqual(end, peer.end)
            peer.sock.close()
            self.reactor.settle()

    def test_flush_of_more_than_a_wire(self) -> None:
        """What OpenSSL has to say goes out however much it is."""
        vc, peer, _cont = self.established()
        data = random.Random(1).randbytes(600_000)
        for at in range(0, len(data), 16384):
            vc.engine.connection.send(data[at : at + 16384])
        vc._flush()
        self.run_peers(peer)
        self.assertTrue(peer.plain == data)

    def test_hundred_at_once(self) -> None:
        """A hundred connections shake hands at once, each finds its own (S062)."""
        names = ("a.example", "x.b.example", "c.example", None)
        pairs = []
        for n in range(100):
            vc, sock = self.accept()
            cont = RecordingContinuation()
            vc.do_io_read(cont, 0, MIOBuffer())
            pairs.append((vc, self.client(sock, name=names[n % 4]), cont))
        self.run_peers()
        for n, (vc, peer, cont) in enumerate(pairs):
            self.assertEqual((names[n % 4], ["READ_COMPLETE"], True), (vc.server_name, cont.events, peer.done))


globals().update(ObjectTests.make_test_case_classes())


class CornerTests(OverTLS):
    """Where something waits on one side while the other goes on."""

    engines = (CffiEngine,)

    def fill(self, sock: socket.socket) -> int:
        """Send until the kernel takes no more; the bytes."""
        total = 0
        try:
            while True:
                total += sock.send(bytes(1000))
        except BlockingIOError:
            return total

    def unfill(self, sock: socket.socket, nbytes: int) -> None:
        while nbytes:
            nbytes -= len(sock.recv(nbytes))

    def parked_with_unsent(self) -> tuple[Any, Any, RecordingContinuation, int]:
        """The handshake is done, a hook has the connection, and the kernel does not take our last messages."""
        vc, sock = self.accept(hooks=hook_set(verify_client=lambda vc: PARKED))
        cont = RecordingContinuation()
        vc.do_io_read(cont, 0, MIOBuffer())
        vc.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        peer = self.client(sock)
        while not (peer.done or (self.version == "TLSv1.2" and b"\x14\x03\x03" in peer.to_send)):
            peer._step()
            if not peer.done and b"\x14\x03\x03" not in peer.to_send:
                peer._send()
            self.reactor.settle()
            peer._receive()
        filled = self.fill(vc.socket)
        peer.paused = True
        self.run_peers(peer)
        self.assertIs(Phase.VERIFY, vc.phase)
        self.assertIsNotNone(vc._unsent)
        return vc, peer, cont, filled

    def test_last_messages_go_out_while_parked(self) -> None:
        """A hook that takes its time does not hold up what the peer waits for."""
        vc, peer, cont, filled = self.parked_with_unsent()
        self.unfill(peer.sock, filled)
        peer.paused = False
        self.run_peers(peer)
        self.assertIsNone(vc._unsent)
        self.assertTrue(peer.done)
        vc.reenable_hook()
        self.run_peers(peer)
        self.assertEqual(["READ_COMPLETE"], cont.events)

    def test_write_behind_last_messages(self) -> None:
        """What is written when the hook has answered goes out behind them, when there is room."""
        vc, peer, cont, filled = self.parked_with_unsent()
        vc.reenable_hook()
        writer = self.write(vc, b"data")
        self.run_peers(peer)
        self.assertEqual((["READ_COMPLETE"], []), (cont.events, writer.events))
        self.unfill(peer.sock, filled)
        peer.paused = False
        self.run_peers(peer)
        self.assertEqual((b"data", ["WRITE_COMPLETE"]), (peer.plain, writer.events))

    def test_full_to_the_last_byte(self) -> None:
        """The kernel takes nothing at all: it waits, and goes out later."""
        vc, peer, _ = self.established()
        peer.paused = True
        filled = self.fill(vc.socket)
        writer = self.write(vc, b"data")
        self.run_peers(peer)
        self.assertEqual([], writer.events)
        self.unfill(peer.sock, filled)
        peer.paused = False
        self.run_peers(peer)
        self.assertEqual((b"data", ["WRITE_COMPLETE"]), (peer.plain, writer.events))

    def test_more_than_a_wire(self) -> None:
        """What was encrypted already goes out before what is written now, however much it is."""
        vc, peer, _ = self.established()
        vc.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        data = random.Random(2).randbytes(700_000)
        for at in range(0, len(data), 16384):
            vc.engine.connection.send(data[at : at + 16384])
        self.write(vc, b"behind")
        self.run_peers(peer)
        self.assertTrue(peer.plain == data + b"behind")
        for at in range(0, len(data), 16384):
            vc.engine.connection.send(data[at : at + 16384])
        self.assertIn(vc._flush(), (True, False))
        self.run_peers(peer)
        self.assertTrue(peer.plain == data + b"behind" + data)

    def test_blocks_that_others_read_too(self) -> None:
        """A buffer with a second reader keeps its blocks; those that we have passed are skipped (O4)."""
        vc, peer, _ = self.established()
        buffer = MIOBuffer(0)
        reader = buffer.alloc_reader()
        other = buffer.alloc_reader()
        cont = RecordingContinuation()
        buffer.write(b"a" * 128)
        vio = vc.do_io_write(cont, 400, reader)
        self.run_peers(peer)
        buffer.write(b"b" * 128)
        buffer.write(b"c" * 144)
        vio.reenable()
        self.run_peers(peer)
        self.assertEqual(b"a" * 128 + b"b" * 128 + b"c" * 144, bytes(peer.plain))
        self.assertEqual((400, "WRITE_COMPLETE"), (other.avail, cont.events[-1]))

    def test_false_alarms(self) -> None:
        """A kernel that speaks without need, or a level that nothing stands behind, is no harm and no spin."""
        vc, peer, _ = self.established()
        cont, found = self.read_all(vc)
        self.run_peers(peer)
        self.handler.mark_read(vc)
        self.handler.turn()
        self.assert_idle()
        vc.read.triggered = True
        self.handler.queue_read(vc)
        self.reactor.settle()
        self.assertFalse(vc.read.triggered)
        self.assert_idle()
        peer.write(b"x")
        self.run_peers(peer)
        self.assertEqual((["READ_READY"], b"x"), (cont.events, found))

    def test_accepted_before_a_byte(self) -> None:
        """A connection that was not said to be readable waits until it is."""

        def unread(vc: Any) -> None:
            vc.read.polled = vc.read.triggered = False

        vc, sock = self.accept(hooks=hook_set(vconn_start=unread))
        cont = RecordingContinuation()
        vc.do_io_read(cont, 0, MIOBuffer())
        self.handler.turn()
        self.assertIs(Phase.HELLO, vc.phase)
        if self.kind == "reactor":
            self.poll.rest(vc, vc.read)
        self.run_peers(self.client(sock))
        self.assertEqual(["READ_COMPLETE"], cont.events)

    def test_half_a_hello_and_the_end_at_once(self) -> None:
        """Both in one turn: no spin, and the end is found."""
        vc, sock = self.accept(pair=tcp_pair())
        cont = RecordingContinuation()
        vc.do_io_read(cont, 0, MIOBuffer())
        sock.send(b"\x16\x03\x01")
        sock.close()
        self.reactor.settle()
        self.assertEqual((["ERROR"], errno.ECONNRESET), (cont.events, vc.lerrno))
        self.assert_gone(vc)

    def test_end_that_the_kernel_tells_with_the_bytes(self) -> None:
        """Bytes and the end behind them in one word of the kernel, in every step: the end is found at once (S050)."""
        for step, said in enumerate((b"\x16\x03\x01", None, None)):
            vc, sock = self.accept(pair=tcp_pair())
            cont = RecordingContinuation()
            vc.do_io_read(cont, 0, MIOBuffer())
            self.reactor.settle()
            peer = self.client(sock)
            peer._step()
            if step:
                said = bytes(peer.to_send)
            if step == 2:
                sock.send(said or b"")
                self.reactor.turn_until(lambda vc=vc: vc.phase is Phase.HANDSHAKE)
                self.reactor.settle()
                said = b"\x14\x03\x03\0\x01"  # the beginning of a record
            sock.send(said or b"")
            sock.shutdown(socket.SHUT_WR)
            self.reactor.turn_until(lambda cont=cont: cont.events)
            self.reactor.settle()
            self.assertEqual((["ERROR"], errno.ECONNRESET), (cont.events, vc.lerrno), step)
            self.assertTrue(vc.closed)
            sock.close()
            self.peers.clear()
            self.reactor.settle()
            self.logged.clear()

    def test_handshake_is_no_silence(self) -> None:
        """What a handshake takes does not count as silence of the connection that it makes."""
        cop = InactivityCop(self.handler, self.reactor, default_inactivity_seconds=0)
        vc, sock = self.accept()
        cont = RecordingContinuation()
        vc.do_io_read(cont, INT64_MAX, MIOBuffer())
        vc.set_inactivity_timeout(10)
        peer = self.client(sock)
        self.reactor.turn(9)
        self.run_peers(peer)
        self.assertTrue(vc.ready)
        for seconds, expected in ((5, []), (4, []), (3, ["INACTIVITY_TIMEOUT"])):
            self.reactor.turn(seconds)
            cop.patrol()
            self.assertEqual(expected, cont.events)

    def test_slow_peer_is_no_silent_one(self) -> None:
        """A peer that takes what we had encrypted, little by little, is not silent, though the writer hears nothing."""
        cop = InactivityCop(self.handler, self.reactor, default_inactivity_seconds=0)
        vc, peer, _ = self.established()
        vc.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        peer.paused = True
        cont = self.write(vc, bytes(150_000))
        self.reactor.settle()
        self.assertIsNotNone(vc._unsent)
        told = len(cont.events)
        vc.set_inactivity_timeout(10)
        for _ in range(6):
            peer.sock.recv(8192)
            self.reactor.turn(6)
            self.reactor.settle()
            cop.patrol()
            self.assertIsNotNone(vc._unsent)
            self.assertEqual(told, len(cont.events))
        self.reactor.turn(11)
        cop.patrol()
        self.assertEqual("INACTIVITY_TIMEOUT", cont.events[-1])
        vc.do_io_close(errno.ECONNABORTED)

    def test_goodbye_after_goodbye_and_end(self) -> None:
        """A peer that has ended in order, TCP's end behind its close_notify, may still read, and gets ours."""
        vc, peer, _ = self.established(tcp=True)
        cont, _ = self.read_all(vc)
        peer.shutdown()
        peer.pump()
        peer.send_fin()
        self.reactor.turn_until(lambda: cont.events)
        vc.do_io_close()
        self.run_peers(peer, until=lambda: peer.end)
        self.assertEqual("close_notify", peer.end)

    def test_one_piece_one_pass(self) -> None:
        """Bytes that are all there are read in one pass, and none is made to see that there are no more."""
        vc, peer, _ = self.established()
        _, got = self.read_all(vc)
        self.run_peers(peer)
        read = SSLNetVConnection.net_read_io
        for number in range(1, 4):
            peer.write(b"x" * number)
            peer._send()
            with mock.patch.object(SSLNetVConnection, "net_read_io", autospec=True, side_effect=read) as passes:
                self.reactor.settle()
            self.assertEqual((number * (number + 1) // 2, 1), (len(got), passes.call_count))

    def test_kernel_fails_in_the_handshake(self) -> None:
        """An error of the kernel that is no end says what it was."""
        vc, _sock = self.accept()
        cont = RecordingContinuation()
        vc.do_io_read(cont, 0, MIOBuffer())
        broken = vc.socket

        class Socket:
            def __getattr__(self, name: str) -> Any:
                return getattr(broken, name)

            def recv_into(self, *args: Any) -> int:
                raise OSError(errno.ENOMEM, "no memory")

        vc.socket = Socket()
        self.reactor.settle()
        self.assertEqual(["ERROR"], cont.events)
        self.assert_one_line("no memory")

    def test_bug_while_parked(self) -> None:
        """A connection that a bug ended while a hook had it is gone, and the hook's answer harmless."""
        vc, sock = self.accept(hooks=hook_set(vconn_start=lambda vc: PARKED))
        cont = RecordingContinuation()
        vc.do_io_read(cont, 0, MIOBuffer())
        self.reactor.settle()
        self.handler.end(vc)
        vc.reenable_hook()
        self.reactor.settle()
        self.assertEqual([], cont.events)
        self.assert_gone(vc)
        sock.close()

    def test_write_that_has_to_wait(self) -> None:
        """A write for which OpenSSL needs a message first is no failure, moves nothing, and goes when one has come."""
        vc, peer, _ = self.established()
        self.read_all(vc)
        with mock.patch.object(type(vc.engine), "write", return_value=0):
            writer = self.write(vc, b"x")
            self.reactor.turn()
        self.assertEqual([], writer.events)
        peer.write(b"message")
        self.run_peers(peer)
        self.assertEqual((b"x", ["WRITE_COMPLETE"]), (peer.plain, writer.events))


globals().update(CornerTests.make_test_case_classes())
