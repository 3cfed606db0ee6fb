# -*- test-case-name: tests.test_sslvc_handshake -*-
"""
Tests for L{atstls.ssl.sslvc}: all that comes before the first byte of the application.
"""

import errno
import socket
import threading
import weakref
from collections.abc import Callable
from typing import Any

from attrs import evolve
from cryptography import x509
from OpenSSL import SSL
from OpenSSL._util import lib
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from atstls.errors import HandshakeFailed, HandshakeTimeout, LocalError, PeerError, PeerVanished, VerifyFailed
from atstls.events import ENET_SSL_CONNECT_FAILED, ENET_SSL_FAILED, VC_EVENT_READ_COMPLETE
from atstls.eventsystem.iobuffer import MIOBuffer
from atstls.eventsystem.vio import SHUTDOWN_WRITE
from atstls.net.cop import InactivityCop
from atstls.net.unixvc import TRANSPORT_BLIND_TUNNEL
from atstls.ssl.sslvc import SSLNetVConnection, select_alpn
from atstls.tls import alerts
from atstls.tls.contexts import CertificateTable, ServerSettings, certificate_context
from atstls.tls.engine import CffiEngine
from atstls.tls.hooks import PARKED, TERMINATE_OP, HookPoint
from atstls.tls.phases import Phase
from atstls.tls.verify import VerifyPolicy, VerifyProperties
from tests.support import RecordingContinuation, received, reset, tcp_pair
from tests.tlssupport import (
    OTHER_CA,
    OverTLS,
    TLSPeer,
    alert_in_clear,
    ca_file,
    client_policy,
    cuts,
    hook_set,
    issue,
    peer_client_context,
    protocol_set,
    server_policy,
    whole,
)

TIMEOUT = 5.0


def names_of(peer: TLSPeer) -> list[str]:
    """Whose certificate C{peer} was shown."""
    certificate = peer.connection.get_peer_certificate(as_cryptography=True)
    assert certificate is not None
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.DNSName
    )


class Handshaking(OverTLS):
    """What the tests of handshakes have in common."""

    def waiting(self, vc: Any) -> RecordingContinuation:
        """Who waits for the handshake."""
        cont = RecordingContinuation()
        vc.do_io_read(cont, 0, MIOBuffer())
        return cont

    def patrol(self, seconds: float) -> None:
        """The cop walks once a second, for C{seconds}."""
        cop = InactivityCop(self.handler, self.reactor)
        for _ in range(int(seconds)):
            self.reactor.turn(1)
            cop.patrol()
            self.reactor.settle()

    def assert_failed(
        self, vc: Any, cont: RecordingContinuation, kind: type[Exception], lerrno: int, *words: str
    ) -> None:
        """ERROR once, why, one line, and nothing is left."""
        self.assertEqual(["ERROR"], cont.events)
        self.assertIsInstance(vc.error, kind)
        self.assertEqual(lerrno, vc.lerrno)
        self.assert_one_line(vc.peer_name(), str(vc.error), *words)

    def up_to(self, phase: Phase, sock: socket.socket, vc: Any) -> TLSPeer:
        """A client that goes on until the connection is in C{phase}, and then says no more."""
        peer = self.client(sock)
        self.reactor.settle()
        if phase is Phase.HELLO:
            peer._step()
            sock.send(peer.to_send[:20])
        elif phase is Phase.HANDSHAKE:
            peer.pump()
            peer._send()
        self.reactor.settle()
        self.assertIs(phase, vc.phase)
        return peer


class ServerHandshakeTests(Handshaking):
    """A peer connects to us."""

    def test_every_cut(self) -> None:
        """However the client's bytes come, a read of zero bytes completes once, with the handshake."""
        for name, cut in cuts().items():
            vc, peer, cont = self.established(cut=cut)
            self.assertEqual([], cont.log, name)
            self.assertIs(Phase.OPEN, vc.phase)
            self.assertEqual((self.version, True), (vc.get_ssl_protocol(), vc.get_ssl_handshake_complete()), name)
            self.assertEqual(peer.connection.get_cipher_name(), vc.get_ssl_cipher_suite())
            self.assertEqual("a.example", vc.server_name)
            self.assertIsNone(vc.hello)
            self.assertIsNone(vc.get_peer_certificate())
            self.assertEqual([], self.lines())
            self.assert_idle()

    def test_read_of_some_bytes(self) -> None:
        """Who asks for bytes hears nothing of the handshake: the first event is READ_READY with data (O1, S052)."""
        vc, sock = self.accept()
        cont, reader = self.read(vc)
        peer = self.client(sock)
        self.run_peers(peer)
        self.assertEqual([], cont.events)
        self.assertTrue(vc.get_ssl_handshake_complete())
        peer.write(b"first")
        self.run_peers(peer)
        self.assertEqual((["READ_READY"], b"first"), (cont.events, reader.read()))

    def test_write_before_the_handshake(self) -> None:
        """What is asked to be sent before the handshake goes out after it, encrypted (S046)."""
        vc, sock = self.accept()
        writer = self.write(vc, b"welcome")
        peer = self.client(sock)
        self.run_peers(peer)
        self.assertEqual((b"welcome", ["WRITE_COMPLETE"]), (peer.plain, writer.events))
        self.assertNotIn(b"welcome", peer.raw)

    def test_both_sides_wait(self) -> None:
        """The handshake completes for the connection: each side that waited for it is told once (O17)."""
        vc, sock = self.accept()
        reader, writer = self.waiting(vc), RecordingContinuation()
        vc.do_io_write(writer, 0, MIOBuffer().alloc_reader())
        vc.enable_read()
        self.run_peers(self.client(sock))
        self.assertEqual((["READ_COMPLETE"], ["WRITE_COMPLETE"]), (reader.events, writer.events))

    def test_close_when_told(self) -> None:
        """Who closes when the handshake completes is told nothing more, on either side."""
        for event_of in ("read", "write"):
            vc, sock = self.accept()
            reader, writer = RecordingContinuation(), RecordingContinuation()
            vc.do_io_read(reader, 0, MIOBuffer())
            vc.do_io_write(writer, 0, MIOBuffer().alloc_reader())
            script = {VC_EVENT_READ_COMPLETE: lambda vio: vio.vc_server.do_io_close()}
            if event_of == "read":
                reader.script.update(script)
            else:
                writer.script[103] = script[VC_EVENT_READ_COMPLETE]
            peer = self.client(sock)
            self.run_peers(peer)
            self.assertEqual("close_notify", peer.end)
            self.assertEqual([], writer.events if event_of == "read" else [])
            self.assert_gone(vc)

    def is_resumed(self, session: Any) -> bool:
        """Does the next connection resume C{session}?"""
        vc, sock = self.accept()
        self.waiting(vc)
        peer = self.client(sock, session=session)
        self.run_peers(peer)
        return bool(lib.SSL_session_reused(peer.connection._ssl))

    def test_tickets_with_the_answer(self) -> None:
        """Where the request came with the end of the handshake, tickets go out with its answer, in one piece (D21)."""
        kept: list[Any] = []

        def prepare(vc: Any) -> Any:
            kept.append(vc)
            return self.waiting(vc)

        self.glued(prepare)
        peer = self.peers[-1]
        if self.version == "TLSv1.3":
            self.assertEqual(self.engine_kind is CffiEngine, not peer._receive())
        self.read_all(kept[0])
        self.write(kept[0], b"answer")
        self.reactor.settle()
        peer._receive()
        peer._step()
        self.assertEqual(b"answer", peer.plain)
        self.assertTrue(self.is_resumed(peer.connection.get_session()))

    def test_tickets_of_a_question_without_an_answer(self) -> None:
        """They go out with the goodbye at the latest."""
        kept: list[Any] = []

        def prepare(vc: Any) -> Any:
            kept.append(vc)
            return self.waiting(vc)

        self.glued(prepare)
        kept[0].do_io_close()
        peer = self.peers[-1]
        self.run_peers(peer)
        self.assertEqual("close_notify", peer.end)
        self.assertTrue(self.is_resumed(peer.connection.get_session()))

    def glued(self, prepare: Callable[[Any], Any]) -> Any:
        """A client whose request comes in one segment with its last message of the handshake, and who then waits."""
        vc, sock = self.accept()
        got = prepare(vc)
        peer = self.client(sock)
        for _ in range(10):
            peer._step()
            if peer.done:
                break
            peer._send()
            self.reactor.settle()
            peer._receive()
        # Over TLS 1.3 this goes out with the client's last message; over 1.2 the server has the last word.
        peer.write(b"GET /")
        peer._send()
        self.reactor.settle()
        return got

    def test_glued_first_request(self) -> None:
        """It is served without another word from the kernel (TS-3714, O9, S053)."""

        def prepare(vc: Any) -> Any:
            got: list[Any] = []
            first = RecordingContinuation({VC_EVENT_READ_COMPLETE: lambda vio: got.append(self.read_all(vc))})
            vc.do_io_read(first, 0, MIOBuffer())
            return got

        got = self.glued(prepare)
        self.assertEqual(b"GET /", got[0][1])

    def test_glued_first_request_taken_late(self) -> None:
        """The same when the connection's user asks for it much later."""
        kept: list[Any] = []

        def prepare(vc: Any) -> Any:
            kept.append(vc)
            return self.waiting(vc)

        self.glued(prepare)
        self.assert_idle()
        self.reactor.turn(100)
        _cont, found = self.read_all(kept[0])
        self.reactor.settle()
        self.assertEqual(b"GET /", found)

    def test_no_version_in_common(self) -> None:
        """The client is told by an alert, the user by ERROR, the operator by one line."""
        other = {"TLSv1.2": "TLSv1.3", "TLSv1.3": "TLSv1.2"}[self.version]
        vc, sock = self.accept()
        cont = self.waiting(vc)
        peer = self.client(sock, context=peer_client_context(other))
        self.run_peers(peer)
        self.assertIn("protocol version", peer.reason)
        self.assertEqual(alerts.PROTOCOL_VERSION, alert_in_clear(peer.raw))
        self.assert_failed(vc, cont, HandshakeFailed, ENET_SSL_FAILED, "a.example")
        self.peers[0].sock.close()
        self.reactor.settle()
        self.assert_gone(vc)

    def test_writer_is_told_when_nobody_reads(self) -> None:
        """Without a reader the ERROR is the writer's; without either the connection just goes."""
        vc, sock = self.accept()
        writer = self.write(vc, b"never")
        sock.close()
        self.reactor.settle()
        self.assertEqual(["ERROR"], writer.events)
        vc, sock = self.accept()
        sock.close()
        self.reactor.settle()
        self.assert_gone(vc)

    def test_peer_leaves_in_every_phase(self) -> None:
        """Gone is gone, by FIN or by reset: ERROR once, ECONNRESET, one line, and nothing is left."""
        for leave in (socket.socket.close, reset):
            for phase, where in (
                (Phase.START, "before it said"),
                (Phase.HELLO, "before it said"),
                (Phase.HANDSHAKE, "during the handshake"),
            ):
                self.logged.clear()
                vc, sock = self.accept(pair=tcp_pair())
                cont = self.waiting(vc)
                if phase is not Phase.START:
                    self.up_to(phase, sock, vc)
                leave(sock)
                self.reactor.settle()
                self.assert_failed(vc, cont, PeerVanished, errno.ECONNRESET, where)
                self.assert_gone(vc)

    def test_collected(self) -> None:
        """A connection that failed is no more: nothing knows it."""
        for phase in (Phase.HELLO, Phase.HANDSHAKE):
            vc, sock = self.accept()
            cont = self.waiting(vc)
            self.up_to(phase, sock, vc)
            reference = weakref.ref(vc)
            sock.close()
            self.reactor.settle()
            self.assertEqual(["ERROR"], cont.events)
            del vc, cont
            self.assert_collected(reference)

    # Deadlines.

    def late(self, phase: Phase, drip: bool, **hooks: Any) -> str:
        """A connection that gets no further than C{phase}; the line that tells of it."""
        self.logged.clear()
        policy = server_policy(self.version, handshake_timeout_seconds=TIMEOUT)
        vc, sock = self.accept(policy, hooks=hook_set(**hooks))
        cont = self.waiting(vc)
        peer = self.client(sock)
        if drip:
            peer._step()
            for byte in peer.to_send[:4]:
                sock.send(bytes((byte,)))
                self.patrol(1)
        elif phase is Phase.HANDSHAKE:
            peer.pump()
            peer._send()
            self.patrol(4)
        elif phase is not Phase.HELLO:
            self.run_peers(peer)
            self.patrol(4)
        else:
            self.patrol(4)
        self.assertIs(phase, vc.phase)
        self.assertEqual([], cont.events)
        self.patrol(2)
        self.assert_failed(vc, cont, HandshakeTimeout, errno.ETIMEDOUT, "5 s", phase.value)
        self.assert_gone(vc)
        return self.lines()[0]

    def test_silent_peer(self) -> None:
        """A peer that says nothing is late after the time that the policy gives (S056)."""
        self.late(Phase.HELLO, drip=False)

    def test_bytes_do_not_renew_the_deadline(self) -> None:
        """A byte a second buys no time (O10)."""
        self.late(Phase.HELLO, drip=True)

    def test_peer_stops_in_the_middle(self) -> None:
        """The same when the peer stops later."""
        self.late(Phase.HANDSHAKE, drip=False)

    def test_hook_is_late(self) -> None:
        """Time that a hook takes counts, and the line says which hook it was."""
        for point, phase in (
            ("vconn_start", Phase.START),
            ("client_hello", Phase.ROUTE),
            ("servername", Phase.ROUTE),
            ("cert", Phase.ROUTE),
            ("verify_client", Phase.VERIFY),
        ):
            line = self.late(phase, drip=False, **{point: lambda vc: PARKED})
            self.assertIn(f"waiting for a {point} hook", line)

    def test_no_deadline(self) -> None:
        """0 switches it off; and a handshake that is done has none."""
        vc, sock = self.accept(server_policy(self.version, handshake_timeout_seconds=0))
        cont = self.waiting(vc)
        self.patrol(1000)
        self.assertEqual([], cont.events)
        self.run_peers(self.client(sock))
        self.assertEqual(["READ_COMPLETE"], cont.events)
        vc, _peer, cont = self.established(server_policy(self.version, handshake_timeout_seconds=TIMEOUT))
        self.patrol(20)
        self.assertEqual([], cont.events)

    # Names and certificates.

    def shown(self, name: str | None, policy: Any = None) -> TLSPeer:
        vc, sock = self.accept(policy)
        self.waiting(vc)
        peer = self.client(sock, name=name)
        self.run_peers(peer)
        return peer

    def test_certificate_by_name(self) -> None:
        """Each name gets its certificate; wildcards stand for one label; others, and nobody, get the default one."""
        for name, expected in (
            ("a.example", "a.example"),
            ("x.b.example", "*.b.example"),
            ("c.example", "c.example"),
            ("C.EXAMPLE", "c.example"),
            ("x.y.b.example", "a.example"),
            ("unknown.example", "a.example"),
            (None, "a.example"),
        ):
            self.assertEqual([expected], names_of(self.shown(name)), name)

    def test_strict_names(self) -> None:
        """A strict policy refuses a name that no certificate is for; no name at all is another matter."""
        policy = server_policy(self.version, strict_server_name=True)
        peer = self.shown("unknown.example", policy)
        self.assertEqual(alerts.UNRECOGNIZED_NAME, alert_in_clear(peer.raw))
        self.assert_one_line("no certificate for unknown.example")
        self.assertEqual(["a.example"], names_of(self.shown(None, policy)))
        self.assertEqual(["c.example"], names_of(self.shown("c.example", policy)))

    def test_no_certificate_at_all(self) -> None:
        """Without a default certificate a client without a name is refused in words."""
        policy = evolve(server_policy(self.version), certificates=CertificateTable())
        peer = self.shown(None, policy)
        self.assertEqual(alerts.UNRECOGNIZED_NAME, alert_in_clear(peer.raw))
        self.assert_one_line("a client that sends no name")

    def test_context_set(self) -> None:
        """A hook may show another certificate, until the handshake begins (S030, S082)."""
        other = server_policy(self.version).certificates.find_by_name("c.example")
        answers = []

        def hook(vc: SSLNetVConnection) -> None:
            answers.append(vc.ssl_context_set(other))

        for point in ("vconn_start", "client_hello", "servername", "cert"):
            vc, sock = self.accept(hooks=hook_set(**{point: hook}))
            self.waiting(vc)
            peer = self.client(sock)
            self.run_peers(peer)
            self.assertEqual(["c.example"], names_of(peer), point)
        self.assertEqual([True] * 4, answers)
        assert other is not None
        self.assertFalse(vc.ssl_context_set(other))

    # ALPN.

    def agreed(self, ours: tuple[bytes, ...], theirs: tuple[bytes, ...], **more: Any) -> tuple[Any, TLSPeer, Any]:
        vc, sock = self.accept(protocols=protocol_set(*ours) if ours else None, **more)
        cont = self.waiting(vc)
        peer = self.client(sock, alpn=theirs)
        self.run_peers(peer)
        return vc, peer, cont

    def test_alpn(self) -> None:
        """Our order counts; the endpoint is the one that was registered for what was agreed."""
        vc, peer, cont = self.agreed((b"h2", b"http/1.1"), (b"http/1.1", b"h2"))
        self.assertEqual((b"h2", b"h2"), (vc.negotiated_protocol, vc.endpoint()))
        self.assertEqual(b"h2", peer.connection.get_alpn_proto_negotiated())
        vc, peer, cont = self.agreed((b"h2", b"http/1.1"), (b"other", b"http/1.1"))
        self.assertEqual((b"http/1.1", b"http/1.1"), (vc.negotiated_protocol, vc.endpoint()))
        self.assertEqual(["READ_COMPLETE"], cont.events)

    def test_alpn_without(self) -> None:
        """Who offers nothing, or is offered nothing, goes on without."""
        for ours, theirs in (((b"h2",), ()), ((), (b"h2",)), ((), ())):
            vc, peer, cont = self.agreed(ours, theirs)
            self.assertEqual((None, None, ["READ_COMPLETE"]), (vc.negotiated_protocol, vc.endpoint(), cont.events))
            self.assertEqual(b"", peer.connection.get_alpn_proto_negotiated())

    def test_alpn_nothing_in_common(self) -> None:
        """Nothing in common is the end, with the alert that says so; the line tells what was offered, harmlessly."""
        vc, peer, cont = self.agreed((b"h2",), (b"spdy/3", b"\xff\x1b[31m"))
        self.assertIn("no application protocol", peer.reason)
        self.assertEqual(alerts.NO_APPLICATION_PROTOCOL, alert_in_clear(peer.raw))
        self.assert_failed(vc, cont, HandshakeFailed, ENET_SSL_FAILED, "spdy/3")
        self.assertNotIn("\x1b", self.lines()[0])

    def test_alpn_by_hook(self) -> None:
        """A hook may offer less than the port does, or nothing."""

        def hook(vc: SSLNetVConnection) -> None:
            vc.offered = (b"http/1.1",)

        def nothing(vc: SSLNetVConnection) -> None:
            vc.offered = ()

        vc, _peer, _cont = self.agreed((b"h2", b"http/1.1"), (b"h2", b"http/1.1"), hooks=hook_set(client_hello=hook))
        self.assertEqual(b"http/1.1", vc.negotiated_protocol)
        vc, _peer, _cont = self.agreed((b"h2",), (b"h2",), hooks=hook_set(client_hello=nothing))
        self.assertIsNone(vc.negotiated_protocol)

    def test_one_set_for_a_connection(self) -> None:
        """A second set is a mistake (S120)."""
        vc, _sock = self.accept(protocols=protocol_set(b"h2"))
        self.assertRaises(AssertionError, vc.register_next_protocol_set, protocol_set(b"h2"))

    def test_alpn_of_nobody(self) -> None:
        """The contexts' call-back goes on without where there is no connection of ours."""
        self.assertIs(SSL.NO_OVERLAPPING_PROTOCOLS, select_alpn(SSL.Connection(peer_client_context()), [b"h2"]))

    # Sessions.

    def session_of(self, peer: TLSPeer) -> Any:
        self.run_peers(peer)
        return peer.connection.get_session()

    def test_resumption(self) -> None:
        """A session is resumed, with ALPN agreed on anew (S019, S129)."""
        protocols = protocol_set(b"h2", b"http/1.1")
        context = peer_client_context(self.version)
        vc, peer, _ = self.established(protocols=protocols, context=context)
        self.assertFalse(vc.get_ssl_session_cache_hit())
        session = self.session_of(peer)
        peer.shutdown()
        vc.do_io_close()
        self.run_peers(peer)
        vc, sock = self.accept(protocols=protocols)
        cont = self.waiting(vc)
        peer = self.client(sock, context=context, session=session)
        peer.connection.set_alpn_protos([b"http/1.1"])
        self.run_peers(peer)
        self.assertEqual(["READ_COMPLETE"], cont.events)
        self.assertTrue(lib.SSL_session_reused(peer.connection._ssl))
        self.assertEqual(self.engine_kind is CffiEngine, vc.get_ssl_session_cache_hit())
        self.assertEqual((b"http/1.1", b"http/1.1"), (vc.negotiated_protocol, vc.endpoint()))

    def test_resumption_after_any_end(self) -> None:
        """However a connection ended on our side, its session stays good."""
        context = peer_client_context(self.version)

        def abort(vc: Any, peer: TLSPeer) -> None:
            vc.do_io_close(errno.ECONNABORTED)

        def close(vc: Any, peer: TLSPeer) -> None:
            vc.do_io_close()

        def left_without_a_word(vc: Any, peer: TLSPeer) -> None:
            peer.sock.close()
            self.reactor.settle()
            vc.do_io_close()

        def unclean(vc: Any, peer: TLSPeer) -> None:
            vc.end_unclean()
            vc.do_io_close()

        for end in (abort, close, left_without_a_word, unclean):
            vc, peer, _ = self.established(context=context, tcp=True)
            session = self.session_of(peer)
            end(vc, peer)
            self.reactor.settle()
            peer.connection.set_shutdown(SSL.SENT_SHUTDOWN)  # the client's own half of the session
            vc, peer, _ = self.established(context=context, session=session)
            self.assertTrue(lib.SSL_session_reused(peer.connection._ssl), end.__name__)

    # Odds and ends.

    def test_shutdown_before_the_handshake(self) -> None:
        """Who ends the writing direction too early ends it as soon as there is one: handshake, then close_notify."""
        for phase in (Phase.START, Phase.HELLO, Phase.HANDSHAKE):
            vc, sock = self.accept()
            cont = self.waiting(vc)
            peer = self.client(sock) if phase is Phase.START else self.up_to(phase, sock, vc)
            if phase is Phase.HELLO:
                del peer.to_send[:20]
            vc.do_io_shutdown(SHUTDOWN_WRITE)
            self.run_peers(peer)
            self.assertEqual((["READ_COMPLETE"], "close_notify"), (cont.events, peer.end), phase)
            _cont, found = self.read_all(vc)
            peer.write(b"still listening?")
            self.run_peers(peer)
            self.assertEqual(b"still listening?", found)

    def test_closed_before_the_handshake(self) -> None:
        """Who closes an unfinished handshake says no goodbye: the peer sees an end and no byte of ours (S012)."""
        for phase in (Phase.START, Phase.HELLO):
            for why, end in ((-1, "fin"), (errno.ECONNABORTED, "reset")):
                vc, sock = self.accept(pair=tcp_pair())
                if phase is not Phase.START:
                    self.reactor.settle()
                vc.do_io_close(why)
                peer = self.client(sock)
                peer._receive()
                self.assertEqual((end, b""), (peer.end, peer.raw))
                self.assert_gone(vc)

    def test_alert_that_has_to_wait(self) -> None:
        """A peer that reads slowly still gets the alert that tells it why, before the end."""
        vc, sock = self.accept()
        cont = self.waiting(vc)
        self.reactor.settle()
        vc.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        filler = 0
        try:
            while True:
                filler += vc.socket.send(b"\x16\x03\x03" + bytes(997))
        except BlockingIOError:
            pass
        sock.send(b"\x16\x03\x01\0\x04\x01\xff\xff\xff")
        self.reactor.settle()
        self.assertEqual(["ERROR"], cont.events)
        self.assertIs(Phase.LINGER, vc.phase)
        got = bytearray()
        for _ in range(100):
            got += received(sock)
            self.reactor.settle()
        self.assertEqual(alerts.alert_record(alerts.ILLEGAL_PARAMETER), bytes(got[filler:]))
        sock.close()
        self.reactor.settle()
        self.assert_gone(vc)

    def test_server_speaks_into_a_full_pipe(self) -> None:
        """A handshake whose messages the kernel takes a few at a time comes to its end all the same (S048)."""
        vc, sock = self.accept()
        vc.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.reactor.settle()
        filler = 0
        try:
            while True:
                filler += vc.socket.send(bytes(1000))
        except BlockingIOError:
            pass
        cont = self.waiting(vc)
        peer = self.client(sock)
        peer.paused = True
        self.run_peers(peer)
        self.assertEqual([], cont.events)
        self.assertIsNotNone(vc._unsent)
        while filler:
            filler -= len(sock.recv(filler))
        peer.paused = False
        self.run_peers(peer)
        self.assertEqual((["READ_COMPLETE"], True), (cont.events, peer.done))
        self.assertIsNone(vc._unsent)

    def test_peer_vanishes_while_we_speak(self) -> None:
        """What cannot be sent in the handshake is its end."""
        vc, sock = self.accept(hooks=hook_set(cert=lambda vc: PARKED), pair=tcp_pair())
        cont = self.waiting(vc)
        peer = self.client(sock)
        self.run_peers(peer)
        reset(sock)
        vc.reenable_hook()
        self.reactor.settle()
        self.assertEqual(["ERROR"], cont.events)
        self.assertIsInstance(vc.error, PeerVanished)
        self.assert_gone(vc)


globals().update(ServerHandshakeTests.make_test_case_classes())


class HookTests(Handshaking):
    """Others are asked about a connection while it comes into being."""

    POINTS = ("vconn_start", "client_hello", "servername", "cert", "verify_client")

    def test_order(self) -> None:
        """Every hook of every point, once, in order; the first before any byte, the second with the hello."""
        notes: list[Any] = []

        def hook(name: str) -> Callable[[SSLNetVConnection], None]:
            def ask(vc: SSLNetVConnection) -> None:
                notes.append((name, vc.server_name, vc.hello is not None, vc.certificate is not None))
                self.assertTrue(vc.called_hooks(HookPoint(name[:-1])))
                self.assertFalse(vc.called_hooks(HookPoint.OUTBOUND_START))

            return ask

        hooks = hook_set(**{point: [hook(point + "1"), hook(point + "2")] for point in self.POINTS})
        vc, _peer, _cont = self.established(hooks=hooks)
        self.assertEqual([point + n for point in self.POINTS for n in "12"], [note[0] for note in notes])
        self.assertEqual((None, False, False), notes[0][1:])
        self.assertEqual([("a.example", True, False)] * 4, [note[1:] for note in notes[2:6]])
        self.assertEqual([("a.example", True, True)] * 4, [note[1:] for note in notes[6:]])
        self.assertFalse(vc.called_hooks(HookPoint.CERT))

    def answer_later(self, answer: Callable[[Any], None], waits: Callable[[Any], Any]) -> None:
        """At each point, a hook that waits; nothing happens, then the answer, then all goes on."""
        for point in self.POINTS:
            asked: list[Any] = []

            def hook(vc: Any, asked: list[Any] = asked) -> Any:
                waiting = waits(vc)
                asked.append((vc, waiting))
                return waiting

            vc, sock = self.accept(hooks=hook_set(**{point: [hook, lambda vc, asked=asked: asked.append("next")]}))
            cont = self.waiting(vc)
            peer = self.client(sock)
            self.run_peers(peer)
            self.assertEqual(1, len(asked), point)
            self.assert_idle()
            self.assertEqual(0, self.reactor.turn())
            self.assertEqual([], cont.events)
            answer(asked[0])
            self.run_peers(peer)
            self.assertEqual((["READ_COMPLETE"], "next", 2), (cont.events, asked[-1], len(asked)), point)

    def test_deferred(self) -> None:
        """A Deferred holds a connection up at no cost until it fires."""
        self.answer_later(lambda asked: asked[1].callback(None), lambda vc: Deferred())

    def test_parked(self) -> None:
        """So does PARKED, until reenable_hook; twice is once."""

        def twice(asked: Any) -> None:
            asked[0].reenable_hook()
            asked[0].reenable_hook()

        self.answer_later(twice, lambda vc: PARKED)

    def test_parked_and_answered_by_a_thread(self) -> None:
        """The answer may come from another thread."""

        def from_thread(asked: Any) -> None:
            thread = threading.Thread(target=asked[0].reenable_hook)
            thread.start()
            thread.join()

        self.answer_later(from_thread, lambda vc: PARKED)

    def test_handle(self) -> None:
        """So does what park() gives, from here or from another thread; used again it says nothing for the next hook."""

        def from_thread(asked: Any) -> None:
            thread = threading.Thread(target=asked[1].reenable)
            thread.start()
            thread.join()

        self.answer_later(lambda asked: asked[1].reenable(), lambda vc: vc.park())
        self.answer_later(from_thread, lambda vc: vc.park())
        handles: list[Any] = []

        def keep(vc: Any) -> Any:
            handles.append(vc.park())
            return handles[-1]

        vc, sock = self.accept(hooks=hook_set(client_hello=[keep, keep]))
        self.assertRaises(LocalError, vc.park)
        cont = self.waiting(vc)
        peer = self.client(sock)
        self.run_peers(peer)
        handles[0].reenable()
        self.run_peers(peer)
        handles[0].reenable()
        self.run_peers(peer)
        self.assertEqual((2, []), (len(handles), cont.events))
        handles[1].reenable(Failure(HandshakeFailed("no", alerts.ACCESS_DENIED)))
        self.run_peers(peer)
        self.assertEqual(["ERROR"], cont.events)
        handles[1].reenable()
        self.assert_one_line("no")

    def test_a_refusal_stands(self) -> None:
        """A hook cannot make a tunnel of what it has refused; and no hook behind it is asked."""
        asked: list[Any] = []

        def hook(vc: SSLNetVConnection) -> None:
            vc.refuse(alerts.ACCESS_DENIED, "not you")
            vc.tunnel()

        vc, sock = self.accept(hooks=hook_set(client_hello=[hook, asked.append], servername=asked.append))
        cont = self.waiting(vc)
        peer = self.client(sock)
        self.run_peers(peer)
        self.assertEqual(["ERROR"], cont.events)
        self.assertEqual(alerts.ACCESS_DENIED, alert_in_clear(peer.raw))
        self.assertEqual([], asked)

    def test_parked_and_answered_from_within(self) -> None:
        """An answer before PARKED is returned is an answer at once."""

        def hook(vc: Any) -> Any:
            vc.reenable_hook()
            return PARKED

        _vc, _peer, cont = self.established(hooks=hook_set(**dict.fromkeys(self.POINTS, hook)))
        self.assertEqual([], cont.log)

    def test_coroutine(self) -> None:
        """Coroutines will do."""
        gate: Deferred[None] = Deferred()

        async def hook(vc: Any) -> None:
            await gate

        vc, sock = self.accept(hooks=hook_set(client_hello=hook))
        cont = self.waiting(vc)
        peer = self.client(sock)
        self.run_peers(peer)
        gate.callback(None)
        self.run_peers(peer)
        self.assertEqual(["READ_COMPLETE"], cont.events)

    def test_bytes_that_come_while_parked(self) -> None:
        """They wait, and no turn is spent on each of them once the kernel has spoken."""
        vc, sock = self.accept(hooks=hook_set(client_hello=lambda vc: PARKED))
        cont = self.waiting(vc)
        peer = self.client(sock)
        self.run_peers(peer)
        self.assertEqual([], cont.events)
        sock.send(b"\x14\x03\x03\0\x01\x01")
        self.reactor.settle(10)
        self.assert_idle()
        vc.reenable_hook()
        self.run_peers(peer)
        # Over TLS 1.3 it is ignored, before it is an error: either is told once.
        self.assertEqual(1, len(cont.events))

    def test_peer_leaves_while_parked(self) -> None:
        """It is found out when the hook has answered, and not under its hands (TS-4075, O11, S081)."""
        for leave in (socket.socket.close, reset):
            for point in self.POINTS[:4]:
                vc, sock = self.accept(hooks=hook_set(**{point: lambda vc: PARKED}), pair=tcp_pair())
                cont = self.waiting(vc)
                peer = self.client(sock)
                self.run_peers(peer)
                leave(sock)
                self.reactor.settle()
                self.assertEqual(([], 0), (cont.events, vc.closed))
                vc.reenable_hook()
                self.reactor.settle()
                self.assertEqual(["ERROR"], cont.events, point)
                self.assert_gone(vc)
                vc.reenable_hook()

    def test_told_of_the_close(self) -> None:
        """Hooks of the close are told once, in order, however it ends, and nobody waits for them (S081)."""
        for point in (None, *self.POINTS[:4]):
            told: list[str] = []

            def first(vc: Any, told: list[str] = told) -> Any:
                told.append("first")
                return Deferred()

            async def second(vc: Any, told: list[str] = told) -> None:
                told.append("second")

            parked = {} if point is None else {point: lambda vc: PARKED}
            vc, sock = self.accept(hooks=hook_set(vconn_close=[first, second], **parked))
            self.waiting(vc)
            self.run_peers(self.client(sock))
            self.assertEqual([], told)
            vc.do_io_close()
            self.reactor.settle()
            self.assertEqual(["first", "second"], told, point)
            self.assert_gone(vc)

    def test_broken_hooks_of_the_close(self) -> None:
        """A bug in one is told to us, and keeps neither the next from being told nor the connection from its end."""
        told: list[Any] = []

        def broken(vc: Any) -> None:
            raise RuntimeError("a bug")

        async def broken_later(vc: Any) -> None:
            raise RuntimeError("another")

        vc, sock = self.accept(hooks=hook_set(vconn_close=[broken, broken_later, told.append]))
        self.waiting(vc)
        self.run_peers(self.client(sock))
        vc.do_io_close()
        self.reactor.settle()
        self.assertEqual([vc], told)
        self.assert_gone(vc)
        self.assertEqual(2, len(self.flushLoggedErrors(RuntimeError)))

    def test_answer_after_the_end(self) -> None:
        """An answer for a connection that is gone is nothing at all, and keeps nothing alive."""
        for point in self.POINTS:
            answers: list[Deferred[None]] = []

            def hook(vc: Any, answers: list[Deferred[None]] = answers) -> Any:
                answers.append(Deferred())
                return answers[0]

            vc, sock = self.accept(hooks=hook_set(**{point: hook}))
            cont = self.waiting(vc)
            self.run_peers(self.client(sock))
            vc.do_io_close()
            vc.reenable_hook()
            self.reactor.settle()
            self.assert_gone(vc)
            answers[0].callback(None)
            self.reactor.settle()
            self.assertEqual([], cont.events)
            reference = weakref.ref(vc)
            del vc, cont
            answers.clear()
            self.assert_collected(reference)

    def test_thread_answers_after_the_end(self) -> None:
        """The same from another thread, on its way while the connection was closed."""
        vc, sock = self.accept(hooks=hook_set(client_hello=lambda vc: PARKED))
        self.waiting(vc)
        self.run_peers(self.client(sock))
        thread = threading.Thread(target=vc.reenable_hook)
        thread.start()
        thread.join()
        vc.do_io_close()
        self.reactor.settle()
        self.assert_gone(vc)

    def test_closed_between_answer_and_turn(self) -> None:
        """Closed after the answer and before the turn that would go on: nothing goes on."""
        vc, sock = self.accept(hooks=hook_set(client_hello=lambda vc: PARKED))
        cont = self.waiting(vc)
        self.run_peers(self.client(sock))
        vc.reenable_hook()
        vc.do_io_close()
        self.reactor.settle()
        self.assertEqual([], cont.events)
        self.assert_gone(vc)

    def test_hook_closes(self) -> None:
        """A hook may close the connection under its own feet."""
        for point in self.POINTS:
            for answer in (None, PARKED):

                def hook(vc: Any, answer: Any = answer) -> Any:
                    vc.do_io_close()
                    return answer

                vc, sock = self.accept(hooks=hook_set(**{point: [hook, lambda vc: self.fail("asked")]}))
                cont = self.waiting(vc)
                peer = self.client(sock)
                self.run_peers(peer)
                self.assertEqual([], cont.events)
                self.assert_gone(vc)

    def test_refuse(self) -> None:
        """A hook refuses with an alert and words of its choice."""
        for point in self.POINTS[:4]:
            self.logged.clear()

            def hook(vc: SSLNetVConnection) -> None:
                vc.refuse(alerts.ACCESS_DENIED, "not on the list")

            vc, sock = self.accept(hooks=hook_set(**{point: hook}))
            cont = self.waiting(vc)
            peer = self.client(sock)
            self.run_peers(peer)
            self.assert_failed(vc, cont, HandshakeFailed, ENET_SSL_FAILED, "not on the list")
            self.assertEqual(alerts.ACCESS_DENIED, alert_in_clear(peer.raw), point)

    def test_refuse_when_it_is_late(self) -> None:
        """After the handshake there is no alert of ours; the user hears ERROR, and never that it was done."""
        vc, sock = self.accept(hooks=hook_set(verify_client=lambda vc: vc.refuse(alerts.ACCESS_DENIED, "no")))
        cont = self.waiting(vc)
        peer = self.client(sock)
        self.run_peers(peer)
        self.assert_failed(vc, cont, HandshakeFailed, ENET_SSL_FAILED, "no")
        self.assertEqual("fin", peer.end)

    def test_terminate(self) -> None:
        """TERMINATE refuses in general words (O14, S080)."""

        def hook(vc: SSLNetVConnection) -> None:
            vc.hook_op = TERMINATE_OP

        vc, sock = self.accept(hooks=hook_set(cert=hook))
        cont = self.waiting(vc)
        peer = self.client(sock)
        self.run_peers(peer)
        self.assert_failed(vc, cont, HandshakeFailed, ENET_SSL_FAILED, "refused by a hook")
        self.assertEqual(alerts.HANDSHAKE_FAILURE, alert_in_clear(peer.raw))

    def test_hook_fails(self) -> None:
        """A hook with a bug refuses its connection, in words for the client and with a traceback for us."""
        for point in self.POINTS[:4]:
            self.logged.clear()

            def hook(vc: Any) -> None:
                raise ZeroDivisionError("a bug")

            vc, sock = self.accept(hooks=hook_set(**{point: hook}))
            cont = self.waiting(vc)
            peer = self.client(sock)
            self.run_peers(peer)
            self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
            self.assertEqual((["ERROR"], 2), (cont.events, len(self.lines())))
            self.assertEqual(alerts.INTERNAL_ERROR, alert_in_clear(peer.raw))

    def test_hook_fails_for_a_reason(self) -> None:
        """A failure in words of ours is the peer's doing, and no traceback."""
        for answer in ("raise", "deferred", "reenable"):
            self.logged.clear()
            failure = Failure(HandshakeFailed("too many of you", alerts.ACCESS_DENIED))

            def hook(vc: Any, answer: str = answer, failure: Failure = failure) -> Any:
                if answer == "raise":
                    failure.raiseException()
                if answer == "deferred":
                    waiting: Deferred[None] = Deferred()
                    waiting.errback(failure)
                    return waiting
                vc.reenable_hook(failure)
                return PARKED

            vc, sock = self.accept(hooks=hook_set(client_hello=hook))
            cont = self.waiting(vc)
            peer = self.client(sock)
            self.run_peers(peer)
            self.assert_failed(vc, cont, HandshakeFailed, ENET_SSL_FAILED, "too many of you")
            self.assertEqual(alerts.ACCESS_DENIED, alert_in_clear(peer.raw))

    def test_other_policy(self) -> None:
        """A hook may put another policy in the place of the listener's."""
        other = {"TLSv1.2": "TLSv1.3", "TLSv1.3": "TLSv1.2"}[self.version]

        def hook(vc: SSLNetVConnection) -> None:
            vc.policy = server_policy(self.version)

        _vc, _peer, cont = self.established(server_policy(other), hooks=hook_set(client_hello=hook))
        self.assertEqual([], cont.log)

    # Blind tunnels.

    def tunnelled(self, point: str, cut: Any, answer: Any = None) -> tuple[Any, TLSPeer, Any, bytearray]:
        def hook(vc: SSLNetVConnection) -> Any:
            vc.tunnel()
            return answer

        vc, sock = self.accept(hooks=hook_set(**{point: hook}))
        found: list[Any] = []
        first = RecordingContinuation({VC_EVENT_READ_COMPLETE: lambda vio: found.append(self.read_all(vc))})
        vc.do_io_read(first, 0, MIOBuffer())
        peer = self.client(sock, cut=cut)
        peer._step()
        hello = bytes(peer.to_send)
        self.run_peers(peer)
        self.assertEqual(["READ_COMPLETE"], first.events)
        owner, got = found[0]
        self.assertEqual(bytes(hello), bytes(got), point)
        self.assertEqual({"READ_READY"}, set(owner.events))
        return vc, peer, owner, got

    def test_tunnel(self) -> None:
        """TUNNEL in each hook: the hello arrives whole, once, in order, in READ_READY, then what follows (D3, S078)."""
        for point in ("vconn_start", "client_hello", "servername", "cert"):
            for cut in cuts().values():
                vc, peer, owner, got = self.tunnelled(point, cut)
                self.assertEqual((TRANSPORT_BLIND_TUNNEL, Phase.TUNNEL), (vc.attributes, vc.phase))
                self.assertEqual((None, None), (vc.get_ssl_protocol(), vc.get_ssl_cipher_suite()))
                self.assertFalse(vc.get_ssl_session_cache_hit())
                self.assertIsNone(vc.get_peer_certificate())
                self.assertTrue(vc.get_ssl_handshake_complete())
                hello = bytes(got)
                peer.sock.send(b"more")
                self.reactor.settle()
                self.assertEqual(hello + b"more", got)
                writer = self.write(vc, b"raw answer")
                self.reactor.settle()
                self.assertEqual((["WRITE_COMPLETE"], b"raw answer"), (writer.events, received(peer.sock)))
                vc.do_io_shutdown(SHUTDOWN_WRITE)
                peer._receive()
                self.assertEqual("fin", peer.end)
                peer.send_fin()
                self.reactor.settle()
                self.assertEqual("EOS", owner.events[-1])
                self.assertTrue(vc.clean_shutdown)
                vc.do_io_close()

    def test_tunnel_for_a_reader(self) -> None:
        """Somebody who asked for bytes from the start gets those of the tunnel, and no other event."""
        vc, sock = self.accept(hooks=hook_set(client_hello=lambda vc: vc.tunnel()))
        cont, found = self.read_all(vc)
        peer = self.client(sock)
        peer._step()
        hello = bytes(peer.to_send)
        self.run_peers(peer)
        self.assertEqual((hello, {"READ_READY"}), (bytes(found), set(cont.events)))

    def test_tunnel_piece_by_piece(self) -> None:
        """The hello fits no buffer: it comes as there is room, and then what the kernel has."""
        vc, sock = self.accept(hooks=hook_set(client_hello=lambda vc: vc.tunnel()))
        self.waiting(vc)
        peer = self.client(sock)
        peer._step()
        hello = bytes(peer.to_send)
        self.run_peers(peer)
        sock.send(b"behind it")
        cont, reader = self.read(vc, nbytes=len(hello) + 4, size_index=0)
        got = b""
        for _ in range(100):
            self.reactor.settle()
            got += reader.read()
            if "READ_COMPLETE" in cont.events:
                break
            vc.read.vio.reenable()
        self.assertEqual(hello + b"behi", got)
        _cont, rest = self.read_all(vc)
        self.reactor.settle()
        self.assertEqual(b"nd it", rest)

    def test_tunnel_too_late(self) -> None:
        """When the handshake is done, TUNNEL changes nothing."""
        vc, _peer, _cont = self.established(hooks=hook_set(verify_client=lambda vc: vc.tunnel()))
        self.assertIs(Phase.OPEN, vc.phase)

    def test_closed_tunnel(self) -> None:
        """A tunnel that nobody reads is closed with its hello in it."""
        vc, _peer, _owner, _got = self.tunnelled("client_hello", whole)
        vc._holder = bytearray(b"left")
        vc.do_io_close()
        self.assertIsNone(vc._holder)


globals().update(HookTests.make_test_case_classes())


class ClientHandshakeTests(Handshaking):
    """We connect to an origin."""

    def fail_to(self, policy: Any, certificate: Any = None, name: str | None = "a.example", **more: Any) -> Any:
        """A connection to an origin that is not who we meant."""
        vc, sock = self.connect(policy, name, **more)
        cont = self.waiting(vc)
        peer = self.server(sock, certificate)
        self.run_peers(peer)
        self.assertEqual(["ERROR"], cont.events)
        self.assertIsInstance(vc.error, VerifyFailed)
        self.assertEqual(ENET_SSL_CONNECT_FAILED, vc.lerrno)
        self.assert_one_line("192.0.2.1:443", str(vc.error))
        sock.close()
        self.reactor.settle()
        self.assert_gone(vc)
        return vc.error, peer

    def test_good(self) -> None:
        """A good origin: the name is asked for, the handshake completes from either side, whatever the cuts."""
        for _name, cut in cuts().items():
            vc, sock = self.connect()
            cont = self.waiting(vc)
            peer = self.server(sock, cut=cut)
            self.run_peers(peer)
            self.assertEqual(["READ_COMPLETE"], cont.events)
            self.assertEqual(b"a.example", peer.connection.get_servername())
            self.assertTrue(vc.is_client)
            self.assertIsNotNone(vc.get_peer_certificate())
            writer = self.write(vc, b"request")
            _cont, found = self.read_all(vc)
            peer.write(b"answer")
            self.run_peers(peer)
            self.assertEqual((b"request", b"answer", ["WRITE_COMPLETE"]), (peer.plain, found, writer.events))

    def test_write_before_the_handshake(self) -> None:
        """A request that was there first goes out when the handshake is done, without another word (O16)."""
        vc, sock = self.connect()
        writer = self.write(vc, b"early")
        peer = self.server(sock)
        self.run_peers(peer)
        self.assertEqual((b"early", ["WRITE_COMPLETE"]), (peer.plain, writer.events))

    def test_zero_length_write(self) -> None:
        """A write of zero bytes waits for the handshake too."""
        vc, sock = self.connect()
        cont = RecordingContinuation()
        vc.do_io_write(cont, 0, MIOBuffer().alloc_reader())
        self.run_peers(self.server(sock))
        self.assertEqual(["WRITE_COMPLETE"], cont.events)

    def test_wrong_name(self) -> None:
        """The certificate of somebody else: the words say who was expected and who it is."""
        error, peer = self.fail_to(None, issue("other.example"))
        self.assertIn("a.example", str(error))
        self.assertIn("other.example", str(error))
        self.assertEqual("close_notify", peer.end)
        self.assertEqual(b"", peer.plain)

    def test_wrong_ca(self) -> None:
        """A chain that leads nowhere we trust: the origin is told by an alert."""
        error, peer = self.fail_to(None, issue("a.example", ca=OTHER_CA))
        self.assertIn("unknown ca", peer.reason)
        if self.engine_kind is CffiEngine:
            self.assertIn("not", str(error))

    def test_expired(self) -> None:
        """A certificate that was good once."""
        error, peer = self.fail_to(None, issue("a.example", expired=True))
        self.assertIn("expired", peer.reason)
        if self.engine_kind is CffiEngine:
            self.assertIn("expired", str(error))

    def test_no_name_to_look_for(self) -> None:
        """Who must check names and has none trusts nobody."""
        error, peer = self.fail_to(None, name=None)
        self.assertIn("no name", str(error))
        self.assertIsNone(peer.connection.get_servername())

    def test_address(self) -> None:
        """An origin that is meant by its address shows it, and is not asked for it by name."""
        vc, sock = self.connect(name="192.0.2.1")
        vc.server_name = None
        cont = self.waiting(vc)
        peer = self.server(sock, issue("192.0.2.1"))
        self.run_peers(peer)
        self.assertEqual(["READ_COMPLETE"], cont.events)
        self.assertIsNone(peer.connection.get_servername())

    def test_permissive(self) -> None:
        """A permissive policy warns, in words, and goes on."""
        policy = client_policy(self.version, {"policy": VerifyPolicy.PERMISSIVE})
        for certificate, word in ((issue("other.example"), "other.example"), (issue("a.example", ca=OTHER_CA), "not")):
            self.logged.clear()
            vc, sock = self.connect(policy)
            cont = self.waiting(vc)
            self.run_peers(self.server(sock, certificate))
            self.assertEqual(["READ_COMPLETE"], cont.events)
            if self.engine_kind is CffiEngine or word != "not":
                self.assert_one_line("PERMISSIVE", word, "192.0.2.1:443")

    def test_disabled(self) -> None:
        """A disabled one does not look."""
        policy = client_policy(self.version, {"policy": VerifyPolicy.DISABLED})
        vc, sock = self.connect(policy)
        cont = self.waiting(vc)
        self.run_peers(self.server(sock, issue("other.example", ca=OTHER_CA, expired=True)))
        self.assertEqual((["READ_COMPLETE"], []), (cont.events, self.lines()))

    def test_one_property(self) -> None:
        """Only the name, or only the signature, may be looked at."""
        for properties, good, bad in (
            (VerifyProperties.NAME, issue("a.example", ca=OTHER_CA), issue("other.example")),
            (VerifyProperties.SIGNATURE, issue("other.example"), issue("a.example", ca=OTHER_CA)),
        ):
            self.logged.clear()
            policy = client_policy(self.version, {"properties": properties})
            vc, sock = self.connect(policy)
            cont = self.waiting(vc)
            self.run_peers(self.server(sock, good))
            self.assertEqual((["READ_COMPLETE"], []), (cont.events, self.lines()))
            self.fail_to(policy, bad)

    def test_other_root(self) -> None:
        """Another root is trusted if that is the one that the policy names."""
        policy = client_policy(self.version, {"ca_file": ca_file(OTHER_CA)})
        vc, sock = self.connect(policy)
        cont = self.waiting(vc)
        self.run_peers(self.server(sock, issue("a.example", ca=OTHER_CA)))
        self.assertEqual(["READ_COMPLETE"], cont.events)

    def test_name_that_cannot_be_asked_for(self) -> None:
        """ERROR before a byte is sent."""
        vc, sock = self.connect(name="b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example")
        cont = self.waiting(vc)
        self.reactor.settle()
        self.assertEqual((["ERROR"], b""), (cont.events, received(sock)))
        self.assertIsInstance(vc.error, HandshakeFailed)

    def test_not_a_tls_server(self) -> None:
        """An origin that speaks something else: ERROR, one line with its name."""
        vc, sock = self.connect()
        cont = self.waiting(vc)
        self.reactor.settle()
        sock.send(b"SSH-2.0-OpenSSH_9.2\r\n")
        self.reactor.settle()
        self.assert_failed(vc, cont, HandshakeFailed, ENET_SSL_CONNECT_FAILED, "a.example", "origin")

    def test_origin_leaves(self) -> None:
        """An origin that ends instead of answering, before or after our hello."""
        for early in (True, False):
            for leave in (socket.socket.close, reset):
                self.logged.clear()
                vc, sock = self.connect(pair=tcp_pair())
                cont = self.waiting(vc)
                if not early:
                    self.reactor.settle()
                leave(sock)
                self.reactor.settle()
                self.assertEqual((["ERROR"], errno.ECONNRESET), (cont.events, vc.lerrno))
                self.assertIsInstance(vc.error, PeerError)
                self.assert_gone(vc)

    def test_refused(self) -> None:
        """Nobody listens there: ERROR, in words, whether or not somebody reads; no hook was asked."""
        for reads in (True, False):
            self.logged.clear()
            with socket.socket() as listener:
                listener.bind(("127.0.0.1", 0))
                sock = socket.socket()
                sock.setblocking(False)
                sock.connect_ex(listener.getsockname())
            asked: list[Any] = []
            vc, _ = self.connect(hooks=hook_set(outbound_start=asked.append), pair=(sock, tcp_pair()[0]))
            cont = self.read(vc)[0] if reads else self.write(vc, b"x")
            self.reactor.turn_until(lambda cont=cont: cont.events)
            self.assertEqual((["ERROR"], []), (cont.events, asked))
            self.assertEqual(errno.ECONNREFUSED, vc.lerrno)
            self.assert_one_line("Connection refused")
            self.assert_gone(vc)

    def test_late(self) -> None:
        """The deadline holds for origins too, from the connection's begin."""
        policy = client_policy(self.version, handshake_timeout_seconds=TIMEOUT)
        vc, _sock = self.connect(policy)
        cont = self.waiting(vc)
        self.patrol(4)
        self.assertEqual([], cont.events)
        self.patrol(2)
        self.assert_failed(vc, cont, HandshakeTimeout, errno.ETIMEDOUT, "5 s")

    def test_hooks(self) -> None:
        """OUTBOUND_START before a byte is sent, VERIFY_SERVER when the origin was accepted; both may wait or refuse."""
        for point in ("outbound_start", "verify_server"):
            vc, sock = self.connect(hooks=hook_set(**{point: lambda vc: PARKED}))
            cont = self.waiting(vc)
            self.reactor.settle()
            self.assertEqual(point == "outbound_start", received(sock) == b"" and vc.phase is Phase.START)
            vc.do_io_close()
            for refuse in (False, True):
                vc, sock = self.connect(hooks=hook_set(**{point: lambda vc: PARKED}))
                cont = self.waiting(vc)
                peer = self.server(sock)
                self.run_peers(peer)
                self.assertEqual([], cont.events)
                self.assert_idle()
                vc.reenable_hook(Failure(HandshakeFailed("no")) if refuse else None)
                self.run_peers(peer)
                self.assertEqual(["ERROR" if refuse else "READ_COMPLETE"], cont.events)

    def test_alpn(self) -> None:
        """What the origin chose of our offer is known."""
        vc, sock = self.connect(client_policy(self.version, {"alpn": (b"h2", b"http/1.1")}))
        cont = self.waiting(vc)
        context = certificate_context(
            ServerSettings(), [issue("a.example")], select_alpn=lambda connection, offered: b"http/1.1"
        )
        self.run_peers(TLSPeer(sock, context, server=True))
        self.assertEqual((["READ_COMPLETE"], b"http/1.1"), (cont.events, vc.negotiated_protocol))


globals().update(ClientHandshakeTests.make_test_case_classes())
