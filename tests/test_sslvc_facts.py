# -*- test-case-name: tests.test_sslvc_facts -*-
"""
Tests for L{atstls.ssl.sslvc}: what a connection tells of itself, what it makes of each answer of TLS, and that its
user need not know that it is one of TLS.
"""

import errno
import inspect
import random
from typing import Any

from OpenSSL import SSL

from atstls.errors import HandshakeFailed, PeerError, PeerVanished, VerifyFailed
from atstls.events import (
    ENET_SSL_CONNECT_FAILED,
    ENET_SSL_FAILED,
    VC_EVENT_EOS,
    VC_EVENT_READ_READY,
    VC_EVENT_WRITE_READY,
)
from atstls.eventsystem.iobuffer import MIOBuffer
from atstls.eventsystem.vio import INT64_MAX
from atstls.net.cop import InactivityCop
from atstls.net.unixvc import TRANSPORT_BLIND_TUNNEL, UnixNetVConnection
from atstls.ssl.processor import SSLNetProcessor
from atstls.ssl.sslvc import SSLNetVConnection
from atstls.tls import alerts
from atstls.tls.engine import CLOSED, DONE, FAILED, OPEN, WANT_READ, CffiEngine, Engine
from atstls.tls.phases import Phase
from atstls.tls.verify import VerifyPolicy
from tests.support import RecordingContinuation, received
from tests.tlssupport import OverTLS, TLSPeer, client_policy, hook_set


class Echo:
    """A state machine that sends back what comes, and closes when its peer has ended.  Of TLS it knows nothing."""

    def __init__(self, vc: Any) -> None:
        self.vc = vc
        source, target = MIOBuffer(), MIOBuffer()
        self.reader, self.target = source.alloc_reader(), target
        self.write = vc.do_io_write(self, INT64_MAX, target.alloc_reader())
        self.read = vc.do_io_read(self, INT64_MAX, source)
        self.log: list[int] = []

    def handle_event(self, event: int, data: Any) -> int:
        self.log.append(event)
        if event == VC_EVENT_READ_READY:
            self.target.write(self.reader)
            self.reader.consume(self.reader.avail)
            self.write.reenable()
            self.read.reenable()
        elif event == VC_EVENT_EOS:
            self.vc.do_io_close()
        elif event != VC_EVENT_WRITE_READY:
            raise AssertionError(event)
        return 0


class OneOfTwoTests(OverTLS):
    """A connection over TLS is used like one over TCP."""

    engines = (CffiEngine,)

    def test_one_echo_for_both(self) -> None:
        """The same state machine serves a client over TCP and one over TLS, and is told the same (S001)."""
        told = []
        for over in ("TCP", "TLS"):
            if over == "TLS":
                vc, peer, _ = self.established()
                echo = Echo(vc)
                self.run_peers(peer)
                for piece in (b"one", b"two" * 1000):
                    peer.write(piece)
                    self.run_peers(peer)
                self.assertEqual(b"one" + b"two" * 1000, bytes(peer.plain))
                peer.shutdown()
                self.run_peers(peer)
            else:
                vc, sock = self.connection()
                echo = Echo(vc)
                self.reactor.settle()
                answer = b""
                for piece in (b"one", b"two" * 1000):
                    sock.send(piece)
                    self.reactor.settle()
                    answer += received(sock)
                self.assertEqual(b"one" + b"two" * 1000, answer)
                sock.close()
                self.reactor.settle()
            self.assert_gone(vc)
            told.append(echo.log)
        self.assertEqual(told[0], told[1])

    def test_requests_are_inherited(self) -> None:
        """All requests and timeouts are those of every connection: TLS fills in the steps below, and no more (S011)."""
        public = [
            name
            for name, _ in inspect.getmembers(UnixNetVConnection, inspect.isfunction)
            if name.startswith(
                (
                    "do_io",
                    "set_",
                    "cancel_",
                    "get_inactivity",
                    "get_active",
                    "add_to_active",
                    "add_to_keep",
                    "remove_from",
                )
            )
        ]
        self.assertGreater(len(public), 12)
        for name in (*public, "reenable", "reenable_re", "net_read_io", "net_write_io", "main_event", "signal"):
            self.assertIs(getattr(UnixNetVConnection, name), getattr(SSLNetVConnection, name), name)

    def test_allocated_afresh(self) -> None:
        """A processor makes connections of its kind, and none of them was another's before (S006)."""
        processor = SSLNetProcessor(self.handler)
        first = processor.allocate_vc()
        first.set_arg("mine", 1)
        first.server_name = "mine"
        first.do_io_close()
        second = processor.allocate_vc()
        self.assertIsNot(first, second)
        self.assertEqual((SSLNetVConnection, None, None), (type(second), second.get_arg("mine"), second.server_name))

    def test_queues(self) -> None:
        """It stands in the queues of its handler like any other, and in none when it is closed (S015)."""
        vc, peer, _ = self.established()
        queues = self.handler.queues
        self.assertTrue(vc.add_to_active_queue())
        self.assertEqual(([vc], []), (list(queues.active), list(queues.keep_alive)))
        vc.add_to_keep_alive_queue()
        self.assertEqual(([], [vc]), (list(queues.active), list(queues.keep_alive)))
        vc.remove_from_keep_alive_queue()
        self.assertEqual(([], []), (list(queues.active), list(queues.keep_alive)))
        self.assertTrue(vc.add_to_active_queue())
        vc.do_io_close()
        self.run_peers(peer)
        self.assertEqual(([], []), (list(queues.active), list(queues.keep_alive)))

    def test_active_timeout(self) -> None:
        """An active timeout comes whatever moves, and leaves the connection usable (S014)."""
        vc, peer, _ = self.established()
        cont, found = self.read_all(vc)
        vc.set_active_timeout(3)
        self.assertEqual(3, vc.get_active_timeout())
        cop = InactivityCop(self.handler, self.reactor)
        for _ in range(5):
            peer.write(b"x")
            self.run_peers(peer)
            self.reactor.turn(1)
            cop.patrol()
        self.assertEqual((1, 0), (cont.events.count("ACTIVE_TIMEOUT"), vc.closed))
        peer.write(b"y")
        self.run_peers(peer)
        self.assertEqual(b"xxxxxy", bytes(found))
        vc.set_active_timeout(1)
        vc.cancel_active_timeout()
        self.reactor.turn(5)
        cop.patrol()
        self.assertEqual(1, cont.events.count("ACTIVE_TIMEOUT"))

    def test_close_of_a_tunnel(self) -> None:
        """A blind tunnel has no goodbye of ours: TCP's end, and not a byte before it (S012)."""
        vc, sock = self.accept(hooks=hook_set(vconn_start=lambda vc: vc.tunnel()))
        vc.do_io_read(RecordingContinuation(), 0, MIOBuffer())
        self.reactor.settle()
        vc.do_io_close()
        self.assertEqual((b"", b""), (received(sock), sock.recv(1)))
        self.assert_gone(vc)


globals().update(OneOfTwoTests.make_test_case_classes())


class FactTests(OverTLS):
    """What can be asked of it."""

    engines = (CffiEngine,)

    def facts(self, vc: Any) -> tuple[Any, ...]:
        return vc.get_ssl_handshake_complete(), vc.get_ssl_protocol(), vc.get_ssl_cipher_suite(), vc.engine is None

    def test_before_in_between_and_after(self) -> None:
        """Nothing is known before the handshake; TLS is there from its first step to the end (S017, S027, S032)."""
        vc, sock = self.accept()
        vc.do_io_read(RecordingContinuation(), 0, MIOBuffer())
        self.assertEqual((False, None, None, True), self.facts(vc))
        peer = self.client(sock)
        peer._step()
        sock.send(peer.to_send[:30])
        self.reactor.settle()
        self.assertEqual((False, None, None, True), self.facts(vc))
        sock.send(peer.to_send[30:])
        peer.to_send.clear()
        self.reactor.settle()
        self.assertEqual((False, False), (vc.get_ssl_handshake_complete(), vc.engine is None))
        self.run_peers(peer)
        self.assertEqual((True, self.version, peer.connection.get_cipher_name(), False), self.facts(vc))
        vc.do_io_close()
        self.run_peers(peer)
        self.assertEqual((None, None, True), self.facts(vc)[1:])

    def test_of_a_tunnel(self) -> None:
        """A blind tunnel is complete and has no TLS; a plain connection always is (S017, S027, S028, S032)."""
        vc, sock = self.accept(hooks=hook_set(client_hello=lambda vc: vc.tunnel()))
        vc.do_io_read(RecordingContinuation(), 0, MIOBuffer())
        self.run_peers(self.client(sock))
        self.assertEqual((True, None, None, True), self.facts(vc))
        plain, _ = self.connection()
        self.assertTrue(plain.get_ssl_handshake_complete())

    def test_when_it_began(self) -> None:
        """The handshake begins with the connection, once, and lasts to its end, hooks included (S033, S040)."""
        handles: list[Any] = []

        def park(vc: Any) -> Any:
            handles.append(vc.park())
            return handles[-1]

        self.reactor.turn(100)
        self.handler.now = self.handler.seconds()  # as who accepts connections does
        vc, sock = self.accept(hooks=hook_set(client_hello=park))
        cont = RecordingContinuation()
        vc.do_io_read(cont, 0, MIOBuffer())
        began = vc.handshake_began
        self.assertEqual((self.reactor.seconds(), 0.0, None), (began, vc.handshake_seconds, vc.engine))
        self.reactor.turn(2)
        peer = self.client(sock)
        self.run_peers(peer)
        self.assertEqual((began, began + 30), (vc.handshake_began, vc.deadline))
        self.reactor.turn(3)
        handles[0].reenable()
        self.run_peers(peer)
        self.assertEqual((["READ_COMPLETE"], began, 5.0), (cont.events, vc.handshake_began, vc.handshake_seconds))
        self.assertEqual(0.0, vc.deadline)

    def test_the_hello_is_kept_for_who_may_need_it(self) -> None:
        """At each hook behind it all that the client has said is there, as it came; afterwards it is let go (S035)."""
        kept: list[bytes] = []

        def look(vc: Any) -> None:
            kept.append(bytes(vc._hello_reader.raw))
            self.assertIn(vc.hello.raw, kept[-1])

        points = ("client_hello", "servername", "cert")
        vc, sock = self.accept(hooks=hook_set(**dict.fromkeys(points, look)))
        vc.do_io_read(RecordingContinuation(), 0, MIOBuffer())
        peer = self.client(sock)
        peer._step()
        said = bytes(peer.to_send)
        for at in range(0, len(said), 100):
            sock.send(said[at : at + 100])
            self.reactor.settle()
        peer.to_send.clear()
        self.assertEqual([said] * 3, kept)
        self.run_peers(peer)
        self.assertEqual((True, None, None, None), (peer.done, vc._hello_reader, vc._holder, vc.hello))

    def test_a_lot_behind_the_last_message(self) -> None:
        """100 KB that come with the end of the handshake arrive, in order, before what comes later (S058)."""
        vc, sock = self.accept()
        cont = RecordingContinuation()
        vc.do_io_read(cont, 0, MIOBuffer())
        peer = self.client(sock)
        for _ in range(10):
            peer._step()
            if peer.done:
                break
            peer._send()
            self.reactor.settle()
            peer._receive()
        data = random.Random(58).randbytes(150_000)
        peer.write(data[:100_000])
        self.run_peers(peer)
        self.assertEqual(["READ_COMPLETE"], cont.events)
        self.assertIsNone(vc._hello_reader)
        reader, found = self.read_all(vc)
        peer.write(data[100_000:])
        self.run_peers(peer)
        self.assertTrue(data == found, len(found))
        self.assertEqual({"READ_READY"}, set(reader.events))

    def test_enable_read(self) -> None:
        """It lets both directions go on that were switched off (S016)."""
        vc, peer, _ = self.established()
        cont, found = self.read_all(vc)
        writer = self.write(vc, b"out")
        vc.read.enabled = vc.write.enabled = False
        peer.write(b"in")
        self.run_peers(peer)
        self.assertEqual((b"", b""), (bytes(found), bytes(peer.plain)))
        vc.enable_read()
        self.assertEqual((True, True), (vc.read.enabled, vc.write.enabled))
        self.run_peers(peer)
        self.assertEqual((b"in", b"out"), (bytes(found), bytes(peer.plain)))
        self.assertEqual((["READ_READY"], ["WRITE_COMPLETE"]), (cont.events, writer.events))


globals().update(FactTests.make_test_case_classes())


class ScriptedEngine(Engine):
    """
    TLS that answers what the test says.

    @cvar answers_to_handshake: what L{handshake} answers, and what it leaves to be sent.
    @cvar reads: what L{receive} brings, and the condition after it.
    @cvar writes: what L{write} answers; C{None}: all of it.
    @cvar why: the reason that it gives.
    """

    answers_to_handshake: list[tuple[int, bytes]]
    reads: list[tuple[bytes, int]]
    writes: list[int | None]
    why: str

    def __init__(self, connection: SSL.Connection) -> None:
        super().__init__(connection)
        self.out = b""
        self.news = True
        self.reason = self.why

    def feed(self, data: Any, count: int) -> None:
        self.news = True
        self.starved = False

    def feed_block(self, block: Any, count: int) -> None:
        self.feed(block.memory, count)

    def handshake(self) -> int:
        self.starved = True
        if not self.news:
            return WANT_READ  # It is asked again, and nothing has come.
        self.news = False
        result, out = self.answers_to_handshake.pop(0)
        self.out += out
        return result

    def receive(self, wire: Any, count: int, block: Any, limit: int) -> int:
        if count:
            self.feed_block(wire, count)
        if not self.reads:
            self.starved = True
            return 0
        data, condition = self.reads.pop(0)
        self.starved = not self.reads
        self.condition = condition
        block.view[block.end : block.end + len(data)] = data
        return len(data)

    def write(self, block: Any, offset: int, count: int) -> int:
        result = self.writes.pop(0) if self.writes else None
        n = count if result is None else min(result, count)
        if n > 0:
            self.out += bytes(block.view[offset : offset + n])
        return n

    def drain(self, block: Any) -> int:
        out, self.out = self.out, b""
        block.view[: len(out)] = out
        return len(out)

    def shutdown(self) -> None:
        self.out += b"<goodbye>"

    def settled(self) -> None:
        pass

    @property
    def session_reused(self) -> bool:
        return False

    @property
    def verify_result(self) -> int:
        return 0


class EngineAnswerTests(OverTLS):
    """Each answer that TLS may give has one consequence, and nothing that is scheduled in vain."""

    engines = (CffiEngine,)
    versions = ("TLSv1.3",)

    def script(
        self,
        *handshake: tuple[int, bytes],
        reads: list[tuple[bytes, int]] | None = None,
        writes: list[int | None] | None = None,
        why: str = "as scripted",
    ) -> None:
        self.engine_kind = type(
            "Scripted",
            (ScriptedEngine,),
            {"answers_to_handshake": list(handshake), "reads": reads or [], "writes": writes or [], "why": why},
        )

    def served(self) -> tuple[Any, Any, RecordingContinuation]:
        """A connection that a client made, whose hello has come."""
        vc, sock = self.accept()
        cont = RecordingContinuation()
        vc.do_io_read(cont, 0, MIOBuffer())
        peer = TLSPeer(sock, SSL.Context(SSL.TLS_CLIENT_METHOD))
        peer._step()
        sock.send(peer.to_send)
        self.reactor.settle()
        return vc, sock, cont

    def made(self) -> tuple[Any, Any, RecordingContinuation]:
        """A connection that we make."""
        vc, sock = self.connect(client_policy(self.version, {"policy": VerifyPolicy.DISABLED}))
        cont = RecordingContinuation()
        vc.do_io_read(cont, 0, MIOBuffer())
        self.reactor.settle()
        return vc, sock, cont

    def both(self) -> "list[tuple[Any, int]]":
        """How either kind of connection begins, and its number for a handshake that failed."""
        return [(self.served, ENET_SSL_FAILED), (self.made, ENET_SSL_CONNECT_FAILED)]

    def test_done(self) -> None:
        """DONE: what it leaves to say goes out, and who waited for the handshake is told, once (S043, S044)."""
        for begin, _ in self.both():
            self.script((DONE, b"last"))
            vc, sock, cont = begin()
            self.assertEqual((["READ_COMPLETE"], b"last", Phase.OPEN), (cont.events, received(sock), vc.phase))
            self.assert_idle()

    def test_wants_more(self) -> None:
        """WANT_READ: what it has to say goes out, and nothing happens until the peer speaks (S043, S044, S047)."""
        for begin, _ in self.both():
            self.script((WANT_READ, b"first"), (WANT_READ, b""), (WANT_READ, b"third"), (DONE, b""))
            vc, sock, cont = begin()
            self.assertEqual(([], b"first", False), (cont.events, received(sock), vc.ready))
            for expected in (b"", b"third"):
                self.reactor.settle()
                self.assert_idle()
                self.assertEqual(0, self.reactor.turn(1))
                sock.send(b"x")
                self.reactor.settle()
                self.assertEqual(([], expected), (cont.events, received(sock)))
            sock.send(b"x")
            self.reactor.settle()
            self.assertEqual(["READ_COMPLETE"], cont.events)

    def test_failed(self) -> None:
        """FAILED: ERROR, once, with number and reason; its alert goes out, and no goodbye (S043, S044, S049)."""
        for begin, lerrno in self.both():
            self.script((-FAILED, b"<alert>"))
            vc, sock, cont = begin()
            self.assertEqual((["ERROR"], lerrno, b"<alert>"), (cont.events, vc.lerrno, received(sock)))
            self.assertIsInstance(vc.error, HandshakeFailed)
            self.assertEqual("as scripted", str(vc.error))
            self.assertEqual((1, False), (vc.closed, vc.read.triggered and vc.read.enabled))
            sock.close()
            self.reactor.settle()
            self.assert_gone(vc)

    def test_not_trusted(self) -> None:
        """A certificate that OpenSSL does not take is a failure of its own kind (S044)."""
        for begin, lerrno in self.both():
            self.script((-FAILED, b"<alert>"), why="certificate verify failed")
            vc, _sock, cont = begin()
            self.assertEqual((["ERROR"], lerrno), (cont.events, vc.lerrno))
            self.assertIsInstance(vc.error, VerifyFailed)

    def test_refused_meanwhile(self) -> None:
        """Who was refused while OpenSSL answered gets our alert, and nothing of its answer (S043)."""
        self.script((DONE, b"its answer"))
        vc, sock = self.accept()
        cont = RecordingContinuation()
        vc.do_io_read(cont, 0, MIOBuffer())
        vc.refusal = HandshakeFailed("no", alerts.ILLEGAL_PARAMETER)
        peer = TLSPeer(sock, SSL.Context(SSL.TLS_CLIENT_METHOD))
        peer._step()
        sock.send(peer.to_send)
        self.reactor.settle()
        self.assertEqual((["ERROR"], alerts.alert_record(alerts.ILLEGAL_PARAMETER)), (cont.events, received(sock)))

    def test_left(self) -> None:
        """An end in the middle of it: ERROR, ECONNRESET, in either role (S043, S044, S050)."""
        for begin, _ in self.both():
            self.script((WANT_READ, b""), (WANT_READ, b""))
            vc, sock, cont = begin()
            sock.close()
            self.reactor.settle()
            self.assertEqual((["ERROR"], errno.ECONNRESET), (cont.events, vc.lerrno))
            self.assertIsInstance(vc.error, PeerVanished)
            self.assert_gone(vc)

    def reading(
        self, reads: list[tuple[bytes, int]], nbytes: int = INT64_MAX
    ) -> tuple[Any, Any, RecordingContinuation, bytearray]:
        self.script((DONE, b""), reads=reads)
        vc, sock, _ = self.served()
        cont, found = self.read_all(vc, nbytes)
        sock.send(b"ciphertext")
        self.reactor.settle()
        return vc, sock, cont, found

    def test_reads(self) -> None:
        """Bytes; so many bytes as were asked for; nothing; an end; a failure; and bytes before either (S093, S094)."""
        for said, nbytes, expected in (
            ([(b"data", OPEN)], INT64_MAX, ["READ_READY"]),
            ([(b"data", OPEN), (b"more", OPEN)], INT64_MAX, ["READ_READY"] * 2),
            ([(b"data", OPEN)], 4, ["READ_COMPLETE"]),
            ([(b"", OPEN)], INT64_MAX, []),
            ([(b"", OPEN), (b"", OPEN)], INT64_MAX, []),
            ([(b"", CLOSED)], INT64_MAX, ["EOS"]),
            ([(b"", FAILED)], INT64_MAX, ["ERROR"]),
            ([(b"data", OPEN), (b"", CLOSED)], INT64_MAX, ["READ_READY", "EOS"]),
            ([(b"data", OPEN), (b"", FAILED)], INT64_MAX, ["READ_READY", "ERROR"]),
            ([(b"data", CLOSED), (b"", CLOSED)], INT64_MAX, ["READ_READY", "EOS"]),
        ):
            vc, _sock, cont, found = self.reading(list(said), nbytes)
            self.assertEqual((expected, b"".join(data for data, _ in said)), (cont.events, bytes(found)), said)
            ended, failed = "EOS" in expected, "ERROR" in expected
            self.assertEqual((ended, ended), (vc.eos_received, vc.clean_shutdown))
            self.assertEqual(ENET_SSL_FAILED if failed else 0, vc.lerrno)
            if failed:
                self.assertIsInstance(vc.error, PeerError)
            self.assert_idle()
            vc.do_io_close()

    def test_writes(self) -> None:
        """All of it; a part, and the rest later; not now; a failure, before and behind a part (S107 to S109)."""
        for writes, expected, sent in (
            ([None], ["WRITE_COMPLETE"], 100),
            ([30, None], ["WRITE_READY", "WRITE_COMPLETE"], 100),
            ([0, None], ["WRITE_COMPLETE"], 100),
            ([30, 0, None], ["WRITE_READY", "WRITE_COMPLETE"], 100),
            ([-FAILED], ["ERROR"], 0),
            ([30, -FAILED, -FAILED], ["WRITE_READY", "ERROR"], 30),
        ):
            self.script((DONE, b""), writes=list(writes))
            vc, sock, _ = self.served()
            received(sock)
            cont = self.write(vc, bytes(range(100)))
            self.reactor.settle()
            self.assertEqual((expected, bytes(range(sent))), (cont.events, received(sock)), writes)
            self.assertEqual(sent, cont.log[-1][1])
            if "ERROR" in expected:
                self.assertEqual(errno.EPIPE, vc.lerrno)
            vc.do_io_close()

    def test_guards(self) -> None:
        """Which of several states counts: a tunnel, then closed, then broken, then what its user wants (S090)."""
        # A tunnel is one whatever TLS would say: the engine is not asked.
        self.script(reads=[(b"", FAILED)])
        vc, sock = self.accept(hooks=hook_set(vconn_start=lambda vc: vc.tunnel()))
        vc.do_io_read(RecordingContinuation(), 0, MIOBuffer())
        self.reactor.settle()
        cont, found = self.read_all(vc)
        sock.send(b"bytes")
        self.reactor.settle()
        self.assertEqual((["READ_READY"], b"bytes"), (cont.events, bytes(found)))
        self.assertEqual(TRANSPORT_BLIND_TUNNEL, vc.attributes)
        # Closed, and broken as well: nobody is told.
        self.script((DONE, b""), reads=[(b"", FAILED)])
        vc, sock, _ = self.served()
        cont, _found = self.read_all(vc)
        sock.send(b"ciphertext")
        vc.do_io_close()
        vc.net_read_io()
        self.reactor.settle()
        self.assertEqual([], cont.events)
        # Broken, and nothing wanted: nobody is told before he asks.
        self.script((DONE, b""), reads=[(b"", FAILED)])
        vc, sock, _ = self.served()
        cont, _found = self.read_all(vc)
        vc.read.vio.disable()
        sock.send(b"ciphertext")
        self.reactor.settle()
        self.assertEqual(([], False), (cont.events, vc.read.enabled))
        self.assert_idle()
        vc.read.vio.enable()
        self.reactor.settle()
        self.assertEqual(["ERROR"], cont.events)
        # Wanted, and no room: nothing is taken of it.
        self.script((DONE, b""), reads=[(b"data", OPEN)])
        vc, sock, _ = self.served()
        buffer = MIOBuffer(0)
        reader = buffer.alloc_reader()
        buffer.write(bytes(128))
        cont = RecordingContinuation()
        vc.do_io_read(cont, INT64_MAX, buffer)
        sock.send(b"ciphertext")
        self.reactor.settle()
        self.assertEqual(([], False, 128), (cont.events, vc.read.enabled, reader.avail))
        reader.consume(128)
        vc.read.vio.reenable()
        self.reactor.settle()
        self.assertEqual((["READ_READY"], b"data"), (cont.events, reader.read()))


globals().update(EngineAnswerTests.make_test_case_classes())
