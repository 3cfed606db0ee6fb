"""
Tests for L{atstls.session.protocol}.

Protocols of the tests speak over real sockets with a peer that is not ours: in clear, over TLS 1.2 and 1.3, and
over both kinds of poll descriptor.
"""

import gc
import socket
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from itertools import repeat
from typing import Any

import h2.config
import h2.connection
import h2.events
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost, TimeoutError
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IHandshakeListener,
    ILoggingContext,
    INegotiated,
    IProtocol,
    IPullProducer,
    IPushProducer,
    ISSLTransport,
    ISystemHandle,
    ITCPTransport,
    ITransport,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python import context
from twisted.python.log import ILogContext
from twisted.trial.unittest import SynchronousTestCase
from twisted.web import http
from twisted.web._http2 import H2Connection
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface import implementer
from zope.interface.verify import verifyClass, verifyObject

from atstls.errors import LocalError
from atstls.events import NET_EVENT_ACCEPT, VC_EVENT_EOS
from atstls.eventsystem.iobuffer import MIOBuffer
from atstls.eventsystem.vio import INT64_MAX
from atstls.interfaces import IContinuation, ISessionAccept
from atstls.net.cop import InactivityCop
from atstls.net.handler import RUN_SECONDS
from atstls.net.unixvc import UnixNetVConnection
from atstls.session.protocol import (
    ANSWER_BYTES,
    ANSWER_MOST_SECONDS,
    ANSWER_SECONDS,
    CLOSE_SECONDS,
    HIGH_WATER_BYTES,
    LARGE_BYTES,
    ConnectionTimedOut,
    NetVCTransport,
    ProtocolSessionAccept,
    TLSFailed,
    TLSNetVCTransport,
    connect_protocol,
    speaks_tls,
    twisted_address,
)
from atstls.ssl.sslvc import LINGER_SECONDS
from atstls.tls.engine import CffiEngine
from tests.support import RecordingContinuation, fill, reset, tcp_pair, unix_pair
from tests.tlssupport import APPLICATION_DATA, VERSIONS, OverTLS, client_policy, hook_set, issue, protocol_set, records

# A LoopingCall looks for the global reactor: now, so that no test finds its descriptors left over.
assert reactor

MUCH = bytes(range(256)) * 16384
"""4 MiB: more than any kernel keeps for a peer that does not read."""


def narrow_pair() -> tuple[socket.socket, socket.socket]:
    """UNIX sockets of which the first takes little at a time."""
    ours, theirs = unix_pair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return ours, theirs


class PlainPeer:
    """Whom a connection in clear speaks with: what a L{TLSPeer} is for one over TLS."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.plain = bytearray()
        self.to_send = bytearray()
        self.end: str | None = None
        self.fin = False
        self.paused = False
        self._ending = False

    def write(self, data: bytes) -> None:
        self.to_send += data

    def shutdown(self) -> None:
        """End in order, when all is sent."""
        self._ending = True

    def send_fin(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def pump(self) -> int:
        return self._send() + self._receive()

    def _send(self) -> int:
        if self.to_send:
            try:
                n = self.sock.send(self.to_send)
            except BlockingIOError:
                return 0
            except OSError:
                n = len(self.to_send)
            del self.to_send[:n]
            return 1
        if self._ending:
            self._ending = False
            try:
                self.send_fin()
            except OSError:
                pass
            return 1
        return 0

    def _receive(self) -> int:
        if self.paused or self.fin:
            return 0
        try:
            data = self.sock.recv(1 << 18)
        except BlockingIOError:
            return 0
        except OSError:
            self.fin, self.end = True, "reset"
            return 1
        self.plain += data
        if not data:
            self.fin, self.end = True, "close_notify"
        return 1


Script = dict[str, Callable[["Recorder"], object]]


class CountingSocket:
    """A connection's socket that tells how much it was given at a time."""

    def __init__(self, sock: socket.socket, sent: list[int]) -> None:
        self._sock = sock
        self._sent = sent

    def send(self, data: Any) -> int:
        self._sent.append(len(data))
        return self._sock.send(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class Recorder(Protocol):
    """
    Takes notes of what a transport tells it, and does what the test scripted.

    @ivar log: the names of calls in order.
    @ivar data: what was received.
    @ivar pieces: the same by call.
    @ivar reason: of C{connectionLost}.
    @ivar depth: calls of the protocol's own into its transport that have not returned.
    """

    transport: Any

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or {}
        self.log: list[str] = []
        self.data = bytearray()
        self.pieces: list[bytes] = []
        self.reason: Any = None
        self.depth = 0

    def _did(self, what: str) -> None:
        assert not self.depth, f"{what} from within a call of the protocol's"
        assert self.reason is None, f"{what} after connectionLost"
        self.log.append(what)
        step = self.script.get(what)
        if step is not None:
            step(self)

    def call(self, name: str, *args: Any) -> None:
        """Call a method of the transport; it must not call back."""
        self.depth += 1
        try:
            getattr(self.transport, name)(*args)
        finally:
            self.depth -= 1

    def connectionMade(self) -> None:
        self._did("made")

    def dataReceived(self, data: bytes) -> None:
        assert data
        self.data += data
        self.pieces.append(data)
        self._did("data")

    def connectionLost(self, reason: Any = None) -> None:
        self._did("lost")
        self.reason = reason


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Recorder):
    """One that wants to know of half an end."""

    def readConnectionLost(self) -> None:
        self._did("read lost")

    def writeConnectionLost(self) -> None:
        self._did("write lost")


@implementer(IHandshakeListener)
class Listener(Recorder):
    """One that wants to know of the handshake."""

    def handshakeCompleted(self) -> None:
        self._did("handshake")


@implementer(IPushProducer)
class Pusher:
    """Produces whenever it is not paused, up to a number of bytes at a time."""

    def __init__(self, transport: Any, data: bytes, piece: int = 10000) -> None:
        self.transport = transport
        self.left = data
        self.piece = piece
        self.log: list[str] = []
        self.paused = False
        self.most = 0

    def go(self) -> None:
        while self.left and not self.paused:
            piece, self.left = self.left[: self.piece], self.left[self.piece :]
            self.transport.write(piece)
            self.most = max(self.most, self.transport._out.avail)
        if not self.left and not self.paused:
            self.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        assert not self.paused
        self.log.append("pause")
        self.paused = True

    def resumeProducing(self) -> None:
        assert self.paused
        self.log.append("resume")
        self.paused = False
        self.go()

    def stopProducing(self) -> None:
        self.log.append("stop")
        self.paused = True


@implementer(IPullProducer)
class Puller:
    """Produces a piece when it is asked."""

    def __init__(self, transport: Any, pieces: Iterable[bytes]) -> None:
        self.transport = transport
        self.pieces = iter(pieces)
        self.asked = 0
        self.stopped = 0
        self.done = False

    def resumeProducing(self) -> None:
        self.asked += 1
        piece = next(self.pieces, None)
        if piece is None:
            self.done = True
            self.transport.unregisterProducer()
        else:
            self.transport.write(piece)

    def stopProducing(self) -> None:
        self.stopped += 1


class TransportCase(OverTLS):
    """Joins protocols and peers in each of the ways."""

    versions = ("plain", *VERSIONS)
    engines = (CffiEngine,)

    def setUp(self) -> None:
        super().setUp()
        self.plain_peers: list[PlainPeer] = []

    def run_peers(self, *peers: Any, turns: int = 20000, until: Any = None) -> None:
        super().run_peers(*(peers or (*self.peers, *self.plain_peers)), turns=turns, until=until)

    def joined(
        self, pair: tuple[socket.socket, socket.socket] | None = None, **more: Any
    ) -> tuple[UnixNetVConnection, Any]:
        """A connection that is established, and its peer."""
        if self.version == "plain":
            vc, sock = self.connection(pair)
            peer = PlainPeer(sock)
            self.plain_peers.append(peer)
            return vc, peer
        tls, tls_peer, _ = self.established(pair=pair, **more)
        tls.do_io_read(None, 0, None)
        tls_peer.answers = True
        return tls, tls_peer

    def speak(
        self, protocol: Any = None, pair: tuple[socket.socket, socket.socket] | None = None, **more: Any
    ) -> tuple[Any, Any, Any]:
        """A protocol over its transport, the transport, and the peer."""
        protocol = protocol or Recorder()
        vc, peer = self.joined(pair, **more)
        transport = connect_protocol(vc, protocol)
        return protocol, transport, peer

    def assert_lost(self, protocol: Any, reason: type[Exception], words: str = "") -> None:
        """C{connectionLost} came once, with C{reason}, and the connection is gone."""
        self.assertEqual(1, protocol.log.count("lost"), protocol.log)
        self.assertEqual("lost", protocol.log[-1])
        self.assertIs(reason, type(protocol.reason.value), protocol.reason)
        self.assertIn(words, str(protocol.reason.value))
        transport = protocol.transport
        self.assertEqual((False, True), (transport.connected, transport.disconnected))
        self.assertIsNone(transport.protocol)
        self.assertTrue(transport.vc.closed)

    def late(self, seconds: float) -> None:
        """Time passes without a byte, and the cop comes by."""
        self.reactor.turn(seconds)
        InactivityCop(self.handler, self.reactor).patrol()

    def one_failure(self, kind: type[Exception]) -> None:
        """A traceback was logged, and only one."""
        self.assertEqual(1, len(self.flushLoggedErrors(kind)))


class FaceTests(TransportCase):
    """What a protocol finds when it looks at its transport."""

    def test_interfaces(self) -> None:
        """The transport is whatever Twisted's own is: TCP, and secure if it is secure."""
        _, transport, _ = self.speak()
        twisted = (ITransport, ITCPTransport, IConsumer, IPushProducer, ILoggingContext, ISystemHandle)
        for interface in (*twisted, IContinuation):
            self.assertTrue(verifyObject(interface, transport), interface)
        secure = self.version != "plain"
        self.assertEqual(secure, speaks_tls(transport.vc))
        for interface in (ISSLTransport, INegotiated):
            self.assertEqual(secure, interface.providedBy(transport))
            if secure:
                self.assertTrue(verifyObject(interface, transport))

    def test_beginning(self) -> None:
        """The protocol knows its transport before the first byte, and the transport is connected."""
        protocol, transport, _ = self.speak()
        self.assertEqual(["made"], protocol.log)
        self.assertIs(transport, protocol.transport)
        self.assertEqual((True, False, False), (transport.connected, transport.disconnecting, transport.disconnected))
        self.assertIs(self.reactor, transport.reactor)

    def test_own_reactor(self) -> None:
        """Who has a clock of his own may give it."""
        vc, _ = self.joined()
        clock = object()
        self.assertIs(clock, connect_protocol(vc, Recorder(), clock).reactor)

    def test_handshake_listener(self) -> None:
        """Over TLS, a protocol that wants to know of the handshake is told that it is done."""
        protocol, _, _ = self.speak(Listener())
        self.assertEqual(["made"] if self.version == "plain" else ["made", "handshake"], protocol.log)

    def test_addresses(self) -> None:
        """Addresses are Twisted's, for every family, and stay when the connection is gone."""
        for host, kind in (("127.0.0.1", IPv4Address), ("::1", IPv6Address)):
            protocol, transport, peer = self.speak(pair=tcp_pair(host))
            self.assertEqual(kind("TCP", *peer.sock.getpeername()[:2]), transport.getHost())
            if self.version == "plain":  # over TLS the tests say who the peer is
                self.assertEqual(kind("TCP", *peer.sock.getsockname()[:2]), transport.getPeer())
            protocol.call("abortConnection")
            self.run_peers()
            self.assertIsInstance(transport.getHost(), kind)

    def test_unix_address(self) -> None:
        """A UNIX socket has a UNIX address."""
        _, transport, _ = self.speak()
        self.assertEqual(UNIXAddress(None), transport.getHost())

    def test_options(self) -> None:
        """TCP's options can be set and asked for; after the end both are harmless."""
        protocol, transport, _ = self.speak(pair=tcp_pair())
        for name in ("TcpNoDelay", "TcpKeepAlive"):
            for value in (True, False):
                getattr(transport, "set" + name)(value)
                self.assertIs(value, getattr(transport, "get" + name)())
        protocol.call("abortConnection")
        self.run_peers()
        transport.setTcpNoDelay(True)
        self.assertIs(False, transport.getTcpNoDelay())

    def test_options_without_tcp(self) -> None:
        """twisted.web sets TCP_NODELAY on everything; a UNIX socket does not mind."""
        _, transport, _ = self.speak()
        transport.setTcpNoDelay(True)
        self.assertIs(False, transport.getTcpNoDelay())

    def test_handle(self) -> None:
        """The handle is what Twisted's is, and none after the end."""
        protocol, transport, _ = self.speak()
        kind = socket.socket if self.version == "plain" else SSL.Connection
        self.assertIsInstance(transport.getHandle(), kind)
        protocol.call("abortConnection")
        self.run_peers()
        self.assertIsNone(transport.getHandle())

    def test_what_applications_read(self) -> None:
        """What applications read of Twisted's own transports is there, and still is after the end."""
        protocol, transport, _ = self.speak(pair=tcp_pair())
        address = transport.getPeer()
        peer = (address.host, address.port)
        self.assertEqual((peer, address.host), (transport.client, transport.hostname))
        self.assertIsInstance(transport.socket, socket.socket)
        self.assertEqual(transport.socket.fileno(), transport.fileno())
        transport.vc.id = 7  # which an acceptor counts
        protocol.call("abortConnection")
        self.run_peers()
        self.assertEqual((None, -1), (transport.socket, transport.fileno()))
        self.assertEqual((peer, address.host, 7), (transport.client, transport.hostname, transport.sessionno))

    def test_known_by_its_class(self) -> None:
        """Over TLS, and nowhere else, C{isinstance} takes it for Twisted's own; for all else it is what it is."""
        _, transport, _ = self.speak()
        secure = self.version != "plain"
        self.assertEqual(secure, isinstance(transport, TLSMemoryBIOProtocol))
        self.assertEqual(secure, hasattr(transport, "wrappedProtocol"))
        self.assertIsInstance(transport, NetVCTransport)
        self.assertIs(TLSNetVCTransport if secure else NetVCTransport, type(transport))
        self.assertTrue(ITCPTransport.providedBy(transport))
        self.assertFalse(IProtocol.providedBy(transport))
        self.assertEqual(secure, ISSLTransport.providedBy(transport))

    def test_another_protocol_takes_over(self) -> None:
        """
        A protocol may put another in its place, as they do for WebSockets (Daphne's way), and it gets all that comes
        and the end.
        """
        second = Recorder()

        def hand_over(first: Recorder) -> None:
            transport = first.transport
            if hasattr(transport, "wrappedProtocol"):
                transport.wrappedProtocol = second
            else:
                transport.protocol = second
            second.makeConnection(transport)
            second.dataReceived(b"upgraded, ")

        first, transport, peer = self.speak(Recorder({"data": hand_over}))
        peer.write(b"upgrade")
        self.run_peers()
        if self.version != "plain":
            self.assertIs(second, transport.wrappedProtocol)
        peer.write(b"hello")
        self.run_peers()
        peer.shutdown()
        self.run_peers()
        self.assertEqual((["made", "data"], b"upgraded, hello"), (first.log, second.data))
        self.assertEqual(["made", "data", "data", "lost"], second.log)

    def test_log_prefix(self) -> None:
        """A log line says which protocol it is about, and who its peer is."""
        protocol, transport, _ = self.speak()
        where = "0,unix" if self.version == "plain" else "0,192.0.2.9"
        self.assertEqual(f"Recorder,{where}", transport.logPrefix())
        protocol.call("abortConnection")
        self.run_peers()
        self.assertEqual(f"-,{where}", transport.logPrefix())

    def test_who_logs(self) -> None:
        """What is logged while the protocol is at work has its name, and what is logged after it has not."""
        seen: list[str] = []

        def note(protocol: Recorder) -> None:
            seen.append(context.get(ILogContext)["system"])
            if protocol.data == b"raise":
                raise ZeroDivisionError

        for data in (b"return", b"raise"):
            _, transport, peer = self.speak(Recorder({"data": note}))
            peer.write(data)
            self.run_peers()
            self.assertEqual(transport.logPrefix().partition(",")[2], seen[-1].partition(",")[2])
            self.assertTrue(seen[-1].startswith("Recorder,"), seen)
            self.assertNotIn("Recorder", context.get(ILogContext)["system"])
        self.one_failure(ZeroDivisionError)

    def test_log_prefix_of_other(self) -> None:
        """A protocol that is no Twisted Protocol has its class for a name."""

        class Bare:
            def makeConnection(self, transport: Any) -> None:
                pass

            def connectionLost(self, reason: Any) -> None:
                pass

        vc, _ = self.joined()
        transport = connect_protocol(vc, Bare())  # type: ignore[arg-type]  # all that is called here
        self.assertIn("Bare,", transport.logPrefix())

    def test_closed_connection(self) -> None:
        """A protocol over a connection that is closed is a mistake that is told at once."""
        vc, _ = self.joined()
        vc.do_io_close()
        self.assertRaises(LocalError, connect_protocol, vc, Recorder())


globals().update(FaceTests.make_test_case_classes())


class TLSFactsTests(OverTLS):
    """What only a transport over TLS can tell."""

    engines = (CffiEngine,)

    def test_negotiated_protocol(self) -> None:
        """The protocol can see what ALPN agreed on; C{None} where nothing was."""
        for offered in ((b"h2",), ()):
            vc, _, _ = self.established(protocols=protocol_set(b"h2"), alpn=offered)
            transport = connect_protocol(vc, Recorder())
            assert isinstance(transport, TLSNetVCTransport)
            self.assertEqual(offered[0] if offered else None, transport.negotiatedProtocol)

    def test_peer_certificate(self) -> None:
        """The peer's certificate is of the kind that Twisted's transports give; none from a client that shows none."""
        vc, _, _ = self.connected()
        transport = connect_protocol(vc, Recorder())
        assert isinstance(transport, TLSNetVCTransport)
        certificate = transport.getPeerCertificate()
        assert isinstance(certificate, X509)
        self.assertEqual(issue("a.example").leaf, certificate.to_cryptography())
        vc, _, _ = self.established()
        transport = connect_protocol(vc, Recorder())
        assert isinstance(transport, TLSNetVCTransport)
        self.assertIsNone(transport.getPeerCertificate())

    def test_not_before_the_handshake(self) -> None:
        """A protocol never has a connection whose peer is not known yet."""
        vc, _ = self.connect(client_policy(self.version))
        self.assertRaises(LocalError, connect_protocol, vc, Recorder())

    def test_blind_tunnel(self) -> None:
        """The bytes of a blind tunnel are none that we encrypt: its transport does not claim to be secure."""
        vc, sock = self.accept(hooks=hook_set(vconn_start=lambda vc: vc.tunnel()))
        cont = RecordingContinuation()
        vc.do_io_read(cont, 0, MIOBuffer())
        self.reactor.settle()
        self.assertEqual(["READ_COMPLETE"], cont.events)
        protocol = Recorder()
        transport = connect_protocol(vc, protocol)
        self.assertFalse(ISSLTransport.providedBy(transport))
        self.assertIs(NetVCTransport, type(transport))
        sock.send(b"any bytes")
        self.reactor.settle()
        self.assertEqual(b"any bytes", protocol.data)

    def test_one_record(self) -> None:
        """What is written in small pieces in one turn leaves as one record."""
        vc, peer, _ = self.established()
        transport = connect_protocol(vc, Recorder())
        before = len(peer.raw)
        for piece in (b"HTTP/1.1 200 OK\r\n", b"\r\n", b"body"):
            transport.write(piece)
        transport.writeSequence([b"more ", b"of it"])
        self.run_peers()
        self.assertEqual(b"HTTP/1.1 200 OK\r\n\r\nbodymore of it", peer.plain)
        self.assertEqual([APPLICATION_DATA], [kind for kind, _ in records(peer.raw[before:])])

    def test_cut_off(self) -> None:
        """A TLS stream that ends without close_notify may miss something: that is no end in order, as in Twisted."""
        for protocol in (Recorder(), HalfCloseable()):
            vc, peer, _ = self.established()
            connect_protocol(vc, protocol)
            peer.send_fin()
            self.run_peers()
            self.assertEqual(["made", "lost"], protocol.log)
            self.assertIs(ConnectionLost, type(protocol.reason.value))
            self.assertIn("cut off", str(protocol.reason.value))

    def test_broken_record(self) -> None:
        """A peer whose bytes are not TLS any more ends its connection, and the reason is in words."""
        vc, peer, _ = self.established()
        protocol = Recorder()
        connect_protocol(vc, protocol)
        peer.to_send += b"\x17\x03\x03\0\x20" + bytes(32)
        self.run_peers()
        self.assertEqual(["made", "lost"], protocol.log)
        self.assertIs(TLSFailed, type(protocol.reason.value))
        self.assertTrue(protocol.reason.check(ConnectionLost), "what Twisted's users catch")
        self.assertTrue(protocol.reason.check(SSL.Error), "what users of Twisted's TLS catch")
        self.assertEqual([("SSL routines", "", str(vc.error))], protocol.reason.value.args[0], "what they look into")
        self.assertIn(str(vc.error), str(protocol.reason.value))
        self.assertIs(vc.error, protocol.reason.value.__cause__)

    def test_close_notify(self) -> None:
        """A connection that is closed says so to its peer, behind the last byte."""
        vc, peer, _ = self.established()
        protocol = Recorder()
        transport = connect_protocol(vc, protocol)
        transport.write(MUCH)
        transport.loseConnection()
        self.run_peers()
        self.assertEqual((MUCH, "close_notify"), (peer.plain, peer.end))

    def test_slow_peer_gets_the_rest(self) -> None:
        """Closing waits for ciphertext that the kernel has not taken: it is bytes of the protocol's too."""
        vc, peer, _ = self.established(pair=narrow_pair())
        protocol = Recorder()
        transport = connect_protocol(vc, protocol)
        peer.paused = True
        data = MUCH[:100000]
        transport.write(data)
        self.run_peers()
        self.assertEqual((0, True), (transport._out.avail, transport._unsent()))
        transport.loseConnection()
        self.run_peers()
        self.assertEqual(["made"], protocol.log)
        self.reactor.turn(CLOSE_SECONDS - 1)
        peer.paused = False
        self.run_peers()
        self.assertEqual((data, "close_notify"), (peer.plain, peer.end))
        peer.shutdown()
        self.run_peers()
        self.assertIs(ConnectionDone, type(protocol.reason.value))

    def test_written_while_ciphertext_waits(self) -> None:
        """What is written while the kernel has yet to take what was encrypted goes out behind it."""
        vc, peer, _ = self.established(pair=narrow_pair())
        transport = connect_protocol(vc, Recorder())
        peer.paused = True
        transport.write(MUCH[:100000])
        self.run_peers()
        self.assertTrue(vc.write.owed)
        transport.write(b"and more")
        peer.paused = False
        self.run_peers()
        self.assertEqual(MUCH[:100000] + b"and more", peer.plain)
        self.assert_idle()


globals().update(TLSFactsTests.make_test_case_classes())


class AnswerTests(TransportCase):
    """What follows when a protocol has closed and all is said: the peer's own end."""

    versions = VERSIONS

    def awaits_answer(self) -> tuple[Any, Any, Any]:
        """A protocol that has closed, and a peer that knows it and does not answer."""
        protocol, transport, peer = self.speak(pair=tcp_pair())
        peer.answers = False
        protocol.call("write", b"good bye")
        protocol.call("loseConnection")
        self.run_peers(until=lambda: peer.fin)
        self.assertEqual((b"good bye", "close_notify"), (peer.plain, peer.end))
        self.assertEqual(["made"], protocol.log)
        return protocol, transport, peer

    def test_bytes_before_the_answer(self) -> None:
        """The protocol gets what the peer says before its own close_notify, and then the end."""
        protocol, _, peer = self.awaits_answer()
        peer.write(MUCH[:1000000])
        peer.shutdown()
        self.run_peers(until=lambda: protocol.reason)
        self.assertEqual(MUCH[:1000000], protocol.data)
        self.assert_lost(protocol, ConnectionDone)

    def test_no_answer(self) -> None:
        """A peer that never answers is not waited for for long (twisted#7926)."""
        protocol, _, _peer = self.awaits_answer()
        self.late(ANSWER_SECONDS - 1)
        self.assertEqual(["made"], protocol.log)
        self.late(2)
        self.assert_lost(protocol, ConnectionDone)

    def test_no_end_of_it(self) -> None:
        """A peer that goes on and on is not waited for for ever."""
        protocol, _, peer = self.awaits_answer()
        for second in range(int(ANSWER_MOST_SECONDS) - 1):
            peer.write(b"x")
            self.run_peers(until=lambda second=second: len(protocol.data) > second)  # type: ignore[misc]
            self.late(1)
        self.assertIsNone(protocol.reason)
        self.late(2)
        self.assert_lost(protocol, ConnectionDone)

    def test_too_much_of_it(self) -> None:
        """Nor one that sends as fast as it can: it hears of the end by a reset."""
        protocol, _, peer = self.awaits_answer()
        while not protocol.reason:
            peer.write(MUCH)
            self.run_peers(until=lambda: protocol.reason or peer.sent_all)
        self.assertLess(ANSWER_BYTES - (256 << 10), len(protocol.data))
        self.assertLessEqual(len(protocol.data), ANSWER_BYTES)
        self.assert_lost(protocol, ConnectionDone)

    def test_shorter_limits_while_closing(self) -> None:
        """Limits of the connection's own that are shorter stay."""
        for limit in ("set_inactivity_timeout", "set_active_timeout"):
            protocol, transport, peer = self.speak()
            peer.answers = False
            getattr(transport.vc, limit)(2)
            protocol.call("loseConnection")
            self.run_peers()
            self.late(3)
            self.assert_lost(protocol, ConnectionDone)

    def test_other_ends_while_closing(self) -> None:
        """When all is said, any end of the peer's is one in order: FIN without close_notify, and a reset."""
        for end in ("fin", "reset"):
            protocol, _, peer = self.awaits_answer()
            if end == "fin":
                peer.send_fin()
            else:
                reset(peer.sock)
                self.peers.remove(peer)
            self.run_peers(until=lambda protocol=protocol: protocol.reason)  # type: ignore[misc]
            self.assert_lost(protocol, ConnectionDone)

    def test_the_reactor_stops(self) -> None:
        """Nor is it lost when the reactor stops before the peer has answered."""
        protocol, transport, _ = self.awaits_answer()
        transport.reactor_stops()
        self.assert_lost(protocol, ConnectionDone)

    def test_the_peer_ends_first(self) -> None:
        """A peer that ends while a connection is being closed gets what is written, and no more of a producer."""
        for streaming in (True, False):
            protocol, transport, peer = self.speak()
            producer = Pusher(transport, b"") if streaming else Puller(transport, repeat(b"more "))
            protocol.call("write", b"written")
            transport.registerProducer(producer, streaming)
            protocol.call("loseConnection")
            peer.shutdown()
            peer.pump()
            self.run_peers()
            self.assertIn(b"written", bytes(peer.plain))
            self.assertEqual("close_notify", peer.end)
            self.assert_lost(protocol, ConnectionDone)
            self.assertEqual(1, producer.log.count("stop") if streaming else producer.stopped)  # type: ignore[union-attr]

    def test_pause_while_closing(self) -> None:
        """Who has closed and wants no more bytes gets none, and is told of the end."""
        protocol, _, peer = self.awaits_answer()
        protocol.call("pauseProducing")
        protocol.call("resumeProducing")
        peer.write(MUCH)
        peer.shutdown()
        self.run_peers(until=lambda: protocol.reason)
        self.assertEqual(b"", protocol.data)
        self.assert_lost(protocol, ConnectionDone)

    def test_close_while_paused(self) -> None:
        """A paused transport waits for nobody, and delivers nothing."""
        protocol, _, peer = self.speak()
        peer.answers = False
        protocol.call("pauseProducing")
        peer.write(b"unheard")
        self.run_peers()
        protocol.call("write", b"good bye")
        protocol.call("loseConnection")
        self.run_peers()
        self.assertEqual((b"good bye", b""), (peer.plain, protocol.data))
        self.assert_lost(protocol, ConnectionDone)

    def test_abort_before_the_answer(self) -> None:
        """Who does not want to wait for the answer may abort."""
        protocol, _, peer = self.awaits_answer()
        peer.write(b"unheard")
        protocol.call("abortConnection")
        self.run_peers(until=lambda: protocol.reason)
        self.assertEqual(b"", protocol.data)
        self.assert_lost(protocol, ConnectionAborted)


globals().update(AnswerTests.make_test_case_classes())


class ReadingTests(TransportCase):
    """Bytes and ends from the peer."""

    def test_pieces(self) -> None:
        """What the peer sends arrives once, in order; a piece that was read is one call."""
        protocol, _, peer = self.speak()
        for piece in (b"first", b"second"):
            peer.write(piece)
            self.run_peers()
        self.assertEqual([b"first", b"second"], protocol.pieces)
        peer.write(MUCH)
        self.run_peers()
        self.assertEqual(b"firstsecond" + MUCH, protocol.data)
        self.assert_idle()

    def test_end(self) -> None:
        """The peer ends in order: the protocol loses its connection, in order."""
        protocol, _, peer = self.speak()
        peer.write(b"all")
        peer.shutdown()
        self.run_peers()
        self.assertEqual(["made", "data", "lost"], protocol.log)
        self.assert_lost(protocol, ConnectionDone)

    def test_reset(self) -> None:
        """A reset is no end in order, for any protocol."""
        for protocol in (Recorder(), HalfCloseable()):
            _, _, peer = self.speak(protocol, pair=tcp_pair())
            peer.paused = True
            reset(peer.sock)
            self.reactor.settle()
            self.assert_lost(protocol, ConnectionLost, "reset")
            self.assertEqual(["made", "lost"], protocol.log)
            self.peers.clear()
            self.plain_peers.clear()

    def test_end_with_bytes_unsent(self) -> None:
        """Who leaves without reading everything cannot think that it was everything."""
        protocol, _, peer = self.speak(pair=tcp_pair(recv_buffer_bytes=4096))
        peer.paused = True
        protocol.call("write", MUCH)
        self.reactor.turn()
        peer.shutdown()
        self.run_peers()
        self.assert_lost(protocol, ConnectionDone)
        peer.paused = False
        self.run_peers()
        self.assertEqual("reset", peer.end)

    def test_half_close(self) -> None:
        """A protocol that understands half an end goes on writing, and closes when it likes."""
        protocol, transport, peer = self.speak(HalfCloseable())
        peer.write(b"question")
        peer.shutdown()
        self.run_peers()
        self.assertEqual(["made", "data", "read lost"], protocol.log)
        # Nothing of this may tell of the end again.
        transport.pauseProducing()
        transport.resumeProducing()
        self.run_peers()
        protocol.call("write", b"answer")
        self.run_peers()
        self.assertEqual(b"answer", peer.plain)
        protocol.call("loseConnection")
        self.run_peers()
        self.assert_lost(protocol, ConnectionDone)
        self.assertEqual(["made", "data", "read lost", "lost"], protocol.log)

    def test_half_close_times_out(self) -> None:
        """A connection that is half closed still has its timeouts."""
        protocol, transport, peer = self.speak(HalfCloseable())
        peer.shutdown()
        self.run_peers()
        transport.vc.set_inactivity_timeout(10)
        self.late(11)
        self.assert_lost(protocol, ConnectionTimedOut)

    def test_pause(self) -> None:
        """A paused transport delivers nothing, and the peer cannot go on sending; resumed, nothing is missing."""
        protocol, transport, peer = self.speak()
        transport.pauseProducing()
        transport.pauseProducing()
        peer.write(MUCH)
        self.run_peers()
        self.assertEqual(["made"], protocol.log)
        self.assertTrue(peer.to_send)
        self.assert_idle()
        protocol.call("resumeProducing")
        protocol.call("resumeProducing")
        self.run_peers()
        self.assertEqual(MUCH, protocol.data)

    def test_pause_within_a_call(self) -> None:
        """A protocol that pauses while it gets a piece gets no other until it resumes."""
        protocol, _, peer = self.speak(Recorder({"data": lambda p: p.call("pauseProducing")}))
        peer.write(MUCH[: 600 << 10])
        calls = 0
        while len(protocol.data) < 600 << 10:
            self.run_peers()
            calls += 1
            self.assertEqual(calls, len(protocol.pieces))
            protocol.call("resumeProducing")
        self.assertEqual(MUCH[: 600 << 10], protocol.data)
        self.assertGreater(calls, 1)

    def test_pause_hides_the_end(self) -> None:
        """An end comes behind the bytes before it, so a paused protocol does not see it either."""
        protocol, _, peer = self.speak()
        protocol.call("pauseProducing")
        peer.write(b"last words")
        peer.shutdown()
        self.run_peers()
        self.assertEqual(["made"], protocol.log)
        protocol.call("resumeProducing")
        self.run_peers()
        self.assertEqual(["made", "data", "lost"], protocol.log)

    def test_resume_after_the_end(self) -> None:
        """Resuming what is over, or is about to be, does nothing."""
        protocol, transport, peer = self.speak()
        transport.pauseProducing()
        protocol.call("loseConnection")
        protocol.call("resumeProducing")
        peer.write(b"too late")
        self.run_peers()
        protocol.call("resumeProducing")
        protocol.call("pauseProducing")
        self.assertEqual(["made", "lost"], protocol.log)

    def test_stop_producing(self) -> None:
        """To stop the reading side as a producer is to close."""
        protocol, _, _ = self.speak()
        protocol.call("stopProducing")
        self.run_peers()
        self.assert_lost(protocol, ConnectionDone)

    def test_timeouts(self) -> None:
        """A connection that times out is lost, and the protocol learns why; both kinds of except clause find it."""
        timeouts = {"set_inactivity_timeout": "no byte in 10 s", "set_active_timeout": "longer than 10 s"}
        for setting, words in timeouts.items():
            protocol, transport, _ = self.speak()
            getattr(transport.vc, setting)(10)
            self.late(11)
            self.assert_lost(protocol, ConnectionTimedOut, words)
            self.assertTrue(protocol.reason.check(ConnectionLost))
            self.assertTrue(protocol.reason.check(TimeoutError))

    def test_default_timeout(self) -> None:
        """The cop's own limit ends a connection too."""
        protocol, _, _ = self.speak()
        self.late(100000)
        self.assert_lost(protocol, ConnectionTimedOut, "too long")


globals().update(ReadingTests.make_test_case_classes())


class WritingTests(TransportCase):
    """Bytes to the peer."""

    def test_write(self) -> None:
        """What is written arrives, in order, whatever its size; afterwards nothing is left to do."""
        protocol, transport, peer = self.speak()
        expected = bytearray()
        for size in (1, 100, LARGE_BYTES - 1, LARGE_BYTES, 100, 100000, 0, 3):
            protocol.call("write", MUCH[:size])
            expected += MUCH[:size]
        self.assertEqual(b"", peer.plain)
        self.run_peers()
        self.assertEqual(expected, peer.plain)
        self.assertEqual(0, transport._out.avail)
        self.assert_idle()

    def test_large_pieces_are_not_copied(self) -> None:
        """A large piece goes to the kernel, or to OpenSSL, from where it is."""
        _, transport, peer = self.speak()
        large = MUCH[:50000]
        transport.write(b"small")
        transport.write(large)
        transport.writeSequence([b"s", large, b"t", b"u"])
        memories = []
        block = transport._out.block
        while block is not None:
            memories.append(block.memory)
            block = block.next
        self.assertEqual(2, sum(memory is large for memory in memories))
        self.run_peers()
        self.assertEqual(b"small" + large + b"s" + large + b"tu", peer.plain)

    def test_write_sequence(self) -> None:
        """A sequence arrives as it is, whether it is a list or not, and nothing comes of an empty one."""
        protocol, _, peer = self.speak()
        protocol.call("writeSequence", iter([b"a", b"", b"bc"]))
        protocol.call("writeSequence", [])
        protocol.call("writeSequence", [b"", b""])
        self.run_peers()
        self.assertEqual(b"abc", peer.plain)

    def test_only_bytes(self) -> None:
        """Text, and buffers that may change, are refused, and nothing of a sequence with one is sent."""
        _, transport, peer = self.speak()
        for wrong in ("text", bytearray(b"changes"), None):
            self.assertRaises(TypeError, transport.write, wrong)
            self.assertRaises(TypeError, transport.writeSequence, [b"right", wrong])
        self.run_peers()
        self.assertEqual(b"", peer.plain)

    def test_write_after_the_end(self) -> None:
        """What is written to a connection that is closing, or gone, is dropped without a word."""
        for ending in ("loseConnection", "abortConnection", "loseWriteConnection"):
            protocol, _, peer = self.speak()
            protocol.call(ending)
            protocol.call("write", b"late")
            protocol.call("writeSequence", [b"late"])
            self.run_peers()
            protocol.call("write", b"later")
            protocol.call("writeSequence", [b"later"])
            self.run_peers()
            self.assertEqual(b"", peer.plain)

    def test_peer_has_gone(self) -> None:
        """Writing to a peer that is gone costs the connection, not from within the call."""
        protocol, transport, peer = self.speak(pair=tcp_pair())
        transport.pauseProducing()  # so that only writing can find out
        reset(peer.sock)
        self.peers.clear()
        self.plain_peers.clear()
        protocol.call("write", b"anybody there?")
        self.reactor.settle()
        self.assert_lost(protocol, ConnectionLost)

    def test_slow_peer(self) -> None:
        """A peer that does not read costs no turns; when it does, it gets everything."""
        protocol, _, peer = self.speak()
        peer.paused = True
        protocol.call("write", MUCH)
        self.run_peers()
        self.assert_idle()
        peer.paused = False
        self.run_peers()
        self.assertEqual(MUCH, peer.plain)

    # Producers.

    def test_push_producer(self) -> None:
        """A streaming producer is paused when a slow peer has to be waited for, and resumed when all has gone."""
        _, transport, peer = self.speak()
        producer = Pusher(transport, MUCH)
        transport.registerProducer(producer, True)
        peer.paused = True
        producer.go()
        self.run_peers()
        self.assertEqual(["pause"], producer.log[-1:])
        self.assertTrue(producer.left)
        self.assert_idle()
        peer.paused = False
        self.run_peers()
        self.assertEqual(MUCH, peer.plain)
        self.assertLessEqual(producer.most, HIGH_WATER_BYTES + producer.piece)
        self.assertEqual(producer.log, ["pause", "resume"] * (len(producer.log) // 2))
        self.assertIsNone(transport.producer)

    def test_another_buffer_size(self) -> None:
        """An application may say when its producers are paused."""
        protocol, transport, peer = self.speak()
        producer = Pusher(transport, b"")
        transport.registerProducer(producer, True)
        transport.bufferSize = 100
        self.reactor.settle()
        self.reactor.advance(RUN_SECONDS)
        protocol.call("write", bytes(100))
        self.assertEqual([], producer.log)
        protocol.call("write", b"!")
        self.assertEqual(["pause"], producer.log)
        self.run_peers()
        self.assertEqual((101, ["pause", "resume"]), (len(peer.plain), producer.log))

    def test_producer_is_not_faster_than_the_peer(self) -> None:
        """It is not paused where the kernel takes at once what would be too much to keep."""
        _, transport, peer = self.speak(pair=tcp_pair())
        transport.vc.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.reactor.settle()
        produced = MUCH[: 2 * HIGH_WATER_BYTES]
        producer = Pusher(transport, produced, 40000)
        transport.registerProducer(producer, True)
        producer.go()
        self.assertEqual(([], b""), (producer.log, producer.left))
        self.assertLessEqual(transport._out.avail, HIGH_WATER_BYTES)
        self.run_peers()
        self.assertEqual(produced, peer.plain)
        self.assert_idle()

    def test_producer_lets_others_have_their_turn(self) -> None:
        """A while after the last turn nothing goes out but in the next one."""
        _, transport, peer = self.speak(pair=tcp_pair())
        producer = Pusher(transport, MUCH[: 2 * HIGH_WATER_BYTES])
        transport.registerProducer(producer, True)
        self.reactor.settle()
        self.reactor.advance(RUN_SECONDS)
        producer.go()
        self.assertEqual(["pause"], producer.log)
        self.assertGreater(transport._out.avail, HIGH_WATER_BYTES)
        self.run_peers()
        self.assertEqual(MUCH[: 2 * HIGH_WATER_BYTES], peer.plain)

    def test_producer_and_a_kernel_that_takes_a_part(self) -> None:
        """The rest goes out when there is room, and only then is the producer resumed."""
        _, transport, peer = self.speak(pair=narrow_pair())
        producer = Pusher(transport, MUCH[: 3 * HIGH_WATER_BYTES])
        transport.registerProducer(producer, True)
        producer.go()
        self.assertEqual(["pause"], producer.log)
        self.assertTrue(transport._unsent())
        self.reactor.settle()
        self.assertEqual(["pause"], producer.log)
        self.run_peers()
        self.assertEqual(MUCH[: 3 * HIGH_WATER_BYTES], peer.plain)
        self.assertEqual(["pause", "resume"], producer.log[:2])
        self.assertIsNone(transport.producer)
        self.assert_idle()

    def test_producer_finds_the_peer_gone(self) -> None:
        """That the connection is broken is told, also to who does not read, and not from within write."""
        for paused, aborts in ((False, False), (True, False), (False, True)):
            protocol, transport, peer = self.speak(pair=tcp_pair())
            if paused:
                protocol.call("pauseProducing")
            producer = Pusher(transport, MUCH[: 2 * HIGH_WATER_BYTES])
            transport.registerProducer(producer, True)
            self.reactor.settle()
            reset(peer.sock)
            producer.go()
            self.assertEqual(["pause"], producer.log)
            self.assertNotIn("lost", protocol.log)
            if aborts:
                transport.abortConnection()
            self.reactor.settle()
            self.assertEqual(["pause", "stop"], producer.log)
            self.assert_lost(protocol, ConnectionAborted if aborts else ConnectionLost)

    def test_producer_and_a_kernel_that_takes_nothing(self) -> None:
        """It is paused, and that is all for now."""
        protocol, transport, _ = self.speak()
        producer = Pusher(transport, MUCH[: 2 * HIGH_WATER_BYTES])
        transport.registerProducer(producer, True)
        self.reactor.settle()
        fill(transport.vc.socket)
        self.assertTrue(transport._write_vio.triggered)
        producer.go()
        self.assertEqual(["pause"], producer.log)
        self.assertTrue(transport._unsent())
        self.reactor.settle()
        self.assertEqual(["pause"], producer.log)
        self.assertNotIn("lost", protocol.log)

    def test_writing_is_activity_from_the_first_byte(self) -> None:
        """Whoever neither reads nor writes is not timed, and is again from when he writes."""
        protocol, transport, peer = self.speak()
        transport.vc.set_inactivity_timeout(10)
        transport.write(b"hello")
        self.run_peers()
        protocol.call("pauseProducing")
        transport.vc._disable(transport._read_vio)
        self.assertFalse(transport.vc.inactivity_running)
        self.reactor.advance(5)
        transport.write(b" again")
        self.assertTrue(transport.vc.inactivity_running)
        self.assertEqual(self.reactor.seconds(), transport.vc.last_activity)
        self.run_peers()
        self.assertEqual(b"hello again", peer.plain)

    def test_who_begins_to_wait_is_told(self) -> None:
        """While nobody waits for all to be sent, nobody is told; whoever begins to, is."""
        for wait in (
            lambda transport, producer: transport.loseConnection(),
            lambda transport, producer: transport.loseWriteConnection(),
            lambda transport, producer: transport.registerProducer(producer, False),
            lambda transport, producer: (
                transport.registerProducer(Pusher(transport, b""), True),
                transport.loseConnection(),
                transport.unregisterProducer(),
            ),
        ):
            for behind in (False, True):
                _protocol, transport, peer = self.speak(HalfCloseable())
                for piece in (b"one ", b"two "):
                    transport.write(piece)
                    self.run_peers(peer)
                self.assertTrue(transport._write_vio.quiet)
                producer = Puller(transport, [b"four"])
                if not behind:
                    transport.write(b"three ")
                wait(transport, producer)
                self.run_peers(peer)
                self.assertTrue(peer.plain.startswith(b"one two " + b"three " * (not behind)), peer.plain)
                self.assertTrue(peer.end or producer.done)

    def test_nobody_gets_the_bytes_of_another(self) -> None:
        """All protocols read by way of one block.  What one of them leaves there is not what the next one gets."""
        lazy, lazy_peer = self.joined()
        cont = RecordingContinuation()
        lazy.do_io_read(cont, INT64_MAX, self.handler.scratch)
        others = [self.speak() for _ in range(3)]
        for i in range(3):
            lazy_peer.write(b"a secret that nobody takes")
            self.run_peers()
            for number, (_, _, peer) in enumerate(others):
                peer.write(b"%d %d;" % (i, number))
            self.run_peers()
        self.assertEqual(["READ_READY"] * 3, cont.events)
        for number, (protocol, _, _) in enumerate(others):
            self.assertEqual(b"".join(b"%d %d;" % (i, number) for i in range(3)), protocol.data)
        lazy.do_io_close()

    def test_reading_by_other_names(self) -> None:
        """stopReading and startReading are what Twisted's own transports have."""
        protocol, _transport, peer = self.speak()
        protocol.call("stopReading")
        peer.write(b"hello")
        self.run_peers()
        self.assertEqual(b"", protocol.data)
        protocol.call("startReading")
        self.run_peers()
        self.assertEqual(b"hello", protocol.data)

    def test_pull_producer(self) -> None:
        """A pull producer is asked once at the beginning, and again each time when its piece has gone."""
        _, transport, peer = self.speak()
        pieces = [bytes([i]) * 30000 for i in range(20)]
        producer = Puller(transport, pieces)
        transport.registerProducer(producer, False)
        self.assertEqual(1, producer.asked)
        peer.paused = True
        self.run_peers()
        self.assertFalse(producer.done)
        self.assertLess(transport._out.avail, 40000)
        peer.paused = False
        self.run_peers()
        self.assertTrue(producer.done)
        self.assertEqual(21, producer.asked)
        self.assertEqual(b"".join(pieces), peer.plain)
        self.assert_idle()

    def test_second_producer(self) -> None:
        """There is one producer at a time."""
        _, transport, _ = self.speak()
        transport.registerProducer(Pusher(transport, b""), True)
        self.assertRaises(RuntimeError, transport.registerProducer, Pusher(transport, b""), True)
        transport.unregisterProducer()
        transport.registerProducer(Pusher(transport, b""), True)

    def test_producer_is_stopped(self) -> None:
        """A producer learns that nobody wants its bytes, before the protocol does; one that comes too late too."""
        protocol, transport, peer = self.speak()
        producer = Pusher(transport, b"")
        transport.registerProducer(producer, True)
        protocol.script["lost"] = lambda p: p.log.append(f"producer: {producer.log}")
        peer.shutdown()
        self.run_peers()
        self.assertEqual("producer: ['stop']", protocol.log[-1])
        late = Pusher(transport, b"")
        transport.registerProducer(late, True)
        self.assertEqual(["stop"], late.log)
        self.assertIsNone(transport.producer)

    def test_producer_cannot_be_stopped(self) -> None:
        """A producer that fails to stop is logged, and the protocol is told all the same."""
        protocol, transport, peer = self.speak()
        transport.registerProducer(object(), True)
        peer.shutdown()
        self.run_peers()
        self.assert_lost(protocol, ConnectionDone)
        self.one_failure(AttributeError)

    def test_producer_fails(self) -> None:
        """A producer that fails when it is asked costs its own connection."""
        protocol, transport, _ = self.speak()

        def raising() -> Iterable[bytes]:
            yield b"one"
            raise ZeroDivisionError

        transport.registerProducer(Puller(transport, raising()), False)
        self.run_peers()
        self.assert_lost(protocol, ZeroDivisionError)
        self.one_failure(ZeroDivisionError)

    def test_silent_pull_producer(self) -> None:
        """A pull producer that has nothing just now is not asked again and again."""
        _, transport, peer = self.speak()
        pieces = iter([b"one", b"", b"two"])
        producer = Puller(transport, pieces)
        transport.registerProducer(producer, False)
        self.run_peers()
        self.assertEqual((2, b"one"), (producer.asked, peer.plain))
        self.assert_idle()

    # Closing.

    def test_lose_connection(self) -> None:
        """Closing sends what was written, then ends in order, once."""
        protocol, transport, peer = self.speak()
        protocol.call("write", MUCH)
        protocol.call("loseConnection")
        self.assertTrue(transport.disconnecting)
        protocol.call("loseConnection")
        self.run_peers()
        self.assertEqual((MUCH, "close_notify"), (peer.plain, peer.end))
        self.assert_lost(protocol, ConnectionDone)
        protocol.call("loseConnection")
        self.run_peers()
        self.assertEqual(["made", "lost"], protocol.log)

    def test_the_end_goes_out_with_the_last_bytes(self) -> None:
        """Over TLS the last bytes and close_notify are one call of the system."""
        protocol, transport, peer = self.speak()
        self.run_peers()
        sent: list[int] = []
        transport.vc.socket = CountingSocket(transport.vc.socket, sent)
        protocol.call("write", b"good ")
        protocol.call("write", b"bye")
        protocol.call("loseConnection")
        self.run_peers()
        self.assertEqual((b"good bye", "close_notify", 1), (peer.plain, peer.end, len(sent)))
        self.assert_lost(protocol, ConnectionDone)

    def test_a_reason_for_each(self) -> None:
        """Nobody shares the reason of an end in order: who raises it leaves his frames in it."""
        reasons = []
        for _ in range(2):
            protocol, _, _ = self.speak()
            protocol.call("loseConnection")
            self.run_peers()
            reasons.append(protocol.reason.value)
        self.assertIsNot(*reasons)

    def test_producer_before_the_end_is_said(self) -> None:
        """Who registers while bytes wait may still write, and the end waits for it."""
        protocol, transport, peer = self.speak()
        protocol.call("write", b"first ")
        protocol.call("loseConnection")
        transport.registerProducer(Pusher(transport, b""), True)
        self.run_peers()
        self.assertEqual((b"first ", None), (peer.plain, peer.end))
        protocol.call("write", b"second")
        protocol.call("unregisterProducer")
        self.run_peers()
        self.assertEqual((b"first second", "close_notify"), (peer.plain, peer.end))
        self.assert_lost(protocol, ConnectionDone)

    def test_producer_after_the_end_was_said(self) -> None:
        """Over TLS the end may be encrypted already and not yet out: then it is too late, and the producer is told."""
        protocol, transport, peer = self.speak()
        peer.paused = True
        data = bytes(250_000)  # one batch, of which the kernel does not take all
        protocol.call("write", data)
        protocol.call("loseConnection")
        self.run_peers()
        self.assertTrue(transport.connected)
        late = Pusher(transport, b"")
        transport.registerProducer(late, True)
        self.assertEqual(transport.vc.write_shut, transport.producer is None)
        if transport.producer is not None:
            protocol.call("unregisterProducer")
        peer.paused = False
        self.run_peers()
        self.assertEqual((data, "close_notify"), (peer.plain, peer.end))
        self.assert_lost(protocol, ConnectionDone)

    def test_lose_connection_with_nothing_to_send(self) -> None:
        """Closing a silent connection does not call back from within."""
        protocol, _, peer = self.speak()
        protocol.call("loseConnection")
        self.assertEqual(["made"], protocol.log)
        self.run_peers()
        self.assert_lost(protocol, ConnectionDone)
        self.assertEqual("close_notify", peer.end)

    def test_bytes_while_closing(self) -> None:
        """What comes while the last bytes are going out is delivered over TLS, as in Twisted, and not in clear."""
        protocol, _, peer = self.speak()
        peer.paused = True
        protocol.call("write", MUCH)
        protocol.call("loseConnection")
        peer.write(b"anything else?")
        self.run_peers()
        peer.paused = False
        self.run_peers()
        self.assertEqual(b"" if self.version == "plain" else b"anything else?", protocol.data)
        self.assertEqual(MUCH, peer.plain)
        self.assert_lost(protocol, ConnectionDone)

    def test_close_waits_for_producer(self) -> None:
        """A producer's bytes are sent before the connection closes, however long it takes."""
        protocol, transport, peer = self.speak()
        producer = Pusher(transport, MUCH)
        transport.registerProducer(producer, True)
        producer.go()
        protocol.call("loseConnection")
        self.run_peers()
        self.assertEqual((MUCH, "close_notify"), (peer.plain, peer.end))
        self.assert_lost(protocol, ConnectionDone)

    def test_close_waits_for_silent_producer(self) -> None:
        """A producer that unregisters with nothing left to send lets the connection close."""
        protocol, transport, peer = self.speak()
        transport.registerProducer(Pusher(transport, b""), True)
        protocol.call("loseConnection")
        self.run_peers()
        self.assertEqual(["made"], protocol.log)
        protocol.call("write", b"still allowed")
        protocol.call("unregisterProducer")
        self.run_peers()
        self.assertEqual(b"still allowed", peer.plain)
        self.assert_lost(protocol, ConnectionDone)

    def test_unregister_while_closing(self) -> None:
        """The same without another byte, and never from within the call."""
        protocol, transport, _ = self.speak()
        transport.registerProducer(Pusher(transport, b""), True)
        protocol.call("loseConnection")
        protocol.call("unregisterProducer")
        self.assertEqual(["made"], protocol.log)
        self.run_peers()
        self.assert_lost(protocol, ConnectionDone)

    def test_stop_consuming(self) -> None:
        """A producer that gives up closes the connection, registered as it is."""
        protocol, transport, peer = self.speak()
        transport.registerProducer(Pusher(transport, b""), True)
        protocol.call("write", b"so far")
        protocol.call("stopConsuming")
        self.run_peers()
        self.assertEqual(b"so far", peer.plain)
        self.assert_lost(protocol, ConnectionDone)

    def test_close_is_limited(self) -> None:
        """A peer that never reads does not keep a connection that was closed, and what it got does not look whole."""
        protocol, _, peer = self.speak(pair=tcp_pair(recv_buffer_bytes=4096))
        peer.paused = True
        protocol.call("write", MUCH * 2)
        protocol.call("loseConnection")
        self.run_peers()
        self.late(CLOSE_SECONDS - 1)
        self.assertEqual(["made"], protocol.log)
        self.late(2)
        self.assert_lost(protocol, ConnectionTimedOut)
        peer.paused = False
        self.run_peers()
        self.assertEqual("reset", peer.end)

    def test_close_keeps_a_shorter_limit(self) -> None:
        """A limit of the connection's own that is shorter than ours stays."""
        protocol, transport, peer = self.speak()
        transport.vc.set_inactivity_timeout(5)
        peer.paused = True
        protocol.call("write", MUCH)
        protocol.call("loseConnection")
        self.run_peers()
        self.late(6)
        self.assert_lost(protocol, ConnectionTimedOut, "5 s")

    def test_progress_extends_the_close(self) -> None:
        """A peer that reads, however slowly, gets everything."""
        protocol, _, peer = self.speak()
        peer.paused = True
        protocol.call("write", MUCH)
        protocol.call("loseConnection")
        while not protocol.reason:
            peer.paused = False
            peer.pump()
            peer.paused = True
            self.run_peers()
            self.late(CLOSE_SECONDS - 5)
        peer.paused = False
        self.run_peers()
        self.assertEqual(MUCH, peer.plain)
        self.assert_lost(protocol, ConnectionDone)

    # Half a close.

    def test_lose_write_connection(self) -> None:
        """Half a close: what was written goes first, the peer sees the end, and it can still be heard."""
        protocol, _, peer = self.speak(HalfCloseable())
        peer.answers = False
        protocol.call("write", MUCH)
        protocol.call("loseWriteConnection")
        protocol.call("loseWriteConnection")
        self.run_peers()
        self.assertEqual((MUCH, "close_notify"), (peer.plain, peer.end))
        self.assertEqual(["made", "write lost"], protocol.log)
        peer.write(b"answer")
        self.run_peers()
        self.assertEqual(b"answer", protocol.data)
        protocol.call("loseConnection")
        self.assertEqual(["made", "write lost", "data"], protocol.log)
        peer.shutdown()
        self.run_peers()
        self.assert_lost(protocol, ConnectionDone)

    def test_lose_write_connection_silently(self) -> None:
        """A protocol that does not ask for it is not told that half a close is done."""
        protocol, _, peer = self.speak()
        peer.answers = False
        protocol.call("loseWriteConnection")
        self.run_peers()
        self.assertEqual((["made"], "close_notify"), (protocol.log, peer.end))

    def test_lose_write_connection_waits_for_producer(self) -> None:
        """Half a close too waits for the producer."""
        protocol, transport, peer = self.speak(HalfCloseable())
        peer.answers = False
        transport.registerProducer(Pusher(transport, b""), True)
        protocol.call("loseWriteConnection")
        protocol.call("write", b"the producer's")
        self.run_peers()
        self.assertEqual(["made"], protocol.log)
        protocol.call("unregisterProducer")
        self.run_peers()
        self.assertEqual(["made", "write lost"], protocol.log)
        self.assertEqual(b"the producer's", peer.plain)

    def test_lose_write_connection_after_close(self) -> None:
        """A connection that is being closed is not half closed as well."""
        protocol, _, _ = self.speak(HalfCloseable())
        protocol.call("loseConnection")
        protocol.call("loseWriteConnection")
        self.run_peers()
        self.assertEqual(["made", "lost"], protocol.log)

    def test_both_halves(self) -> None:
        """Closed half by half, a connection waits for its protocol to let go."""
        protocol, _, peer = self.speak(HalfCloseable())
        peer.shutdown()
        self.run_peers()
        protocol.call("loseWriteConnection")
        self.run_peers()
        self.assertEqual(["made", "read lost", "write lost"], protocol.log)
        protocol.call("loseConnection")
        self.run_peers()
        self.assert_lost(protocol, ConnectionDone)

    # Aborting.

    def test_abort(self) -> None:
        """An abort drops everything and is a reset for the peer; the protocol is told, not from within."""
        protocol, transport, peer = self.speak(pair=tcp_pair(recv_buffer_bytes=4096))
        peer.paused = True
        protocol.call("write", MUCH)
        self.run_peers()
        protocol.call("abortConnection")
        self.assertEqual(["made"], protocol.log)
        self.assertTrue(transport.disconnecting)
        for again in ("abortConnection", "loseConnection", "loseWriteConnection", "unregisterProducer"):
            protocol.call(again)
        protocol.call("resumeProducing")
        self.run_peers()
        self.assert_lost(protocol, ConnectionAborted)
        peer.paused = False
        self.run_peers()
        self.assertEqual("reset", peer.end)
        protocol.call("abortConnection")
        self.run_peers()
        self.assertEqual(["made", "lost"], protocol.log)

    def test_the_reactor_stops(self) -> None:
        """
        The protocol is told at once; the peer sees an end, but over TLS not one in order, as with Twisted.

        What is unsent cannot be sent any more, so that the end is a reset then.
        """
        for data, end in ((b"", "fin"), (MUCH, "reset")):
            protocol, transport, peer = self.speak(pair=tcp_pair(recv_buffer_bytes=4096))
            peer.paused = True
            protocol.call("write", data)
            self.run_peers()
            transport.reactor_stops()
            transport.reactor_stops()
            self.assert_lost(protocol, ConnectionLost, "the reactor stops")
            peer.paused = False
            self.run_peers()
            # A peer in clear cannot tell one end from another.
            self.assertIn(peer.end, (end,) if end == "reset" or hasattr(peer, "connection") else ("close_notify",))

    def test_abort_stops_the_producer(self) -> None:
        """An abort stops the producer, without asking it for more."""
        protocol, transport, _ = self.speak()
        producer = Puller(transport, [b"one", b"two", b"three"])
        transport.registerProducer(producer, False)
        protocol.call("abortConnection")
        self.run_peers()
        self.assertEqual((1, 1), (producer.asked, producer.stopped))

    def test_abort_while_closing(self) -> None:
        """Who has closed may still lose patience."""
        protocol, _, peer = self.speak()
        peer.paused = True
        protocol.call("write", MUCH)
        protocol.call("loseConnection")
        self.run_peers()
        protocol.call("abortConnection")
        self.run_peers()
        self.assert_lost(protocol, ConnectionAborted)


globals().update(WritingTests.make_test_case_classes())


ENDINGS = ("loseConnection", "abortConnection", "loseWriteConnection", "stopProducing", "stopConsuming")


class CallBackTests(TransportCase):
    """Anything may happen in a call-back."""

    def test_close_from_every_call_back(self) -> None:
        """Closing, in every way and from every call-back, ends the connection once, and nothing is left over."""
        for ending in ENDINGS:
            for where in ("made", "data", "read lost", "write lost", "lost"):
                protocol, transport, peer = self.speak(
                    HalfCloseable({where: lambda p, ending=ending: p.call(ending)})  # type: ignore[misc]
                )
                gone = weakref.ref(transport.vc)
                peer.write(b"question")
                protocol.call("write", b"answer")
                self.run_peers()
                protocol.call("loseWriteConnection")
                peer.shutdown()
                self.run_peers()
                protocol.call("loseConnection")
                self.run_peers()
                self.assertEqual(1, protocol.log.count("lost"), (ending, where, protocol.log))
                self.assertEqual(0, len(transport._first) + transport._out.avail)
                self.late(LINGER_SECONDS + 1)  # over TLS a close waits a moment for the peer's
                self.assert_idle()
                del protocol, transport, peer
                self.plain_peers.clear()
                self.assert_collected(gone)

    def test_bug_in_every_call_back(self) -> None:
        """A bug in any call-back is logged once, ends its connection once, and costs nobody else anything."""

        def fail(protocol: Recorder) -> None:
            raise ZeroDivisionError

        other, _, other_peer = self.speak()
        for where in ("made", "handshake", "data", "read lost", "write lost", "lost"):

            class Both(HalfCloseable, Listener):
                pass

            if where == "handshake" and self.version == "plain":
                continue
            protocol, _, peer = self.speak(Both({where: fail}))
            peer.write(b"question")
            self.run_peers()
            protocol.call("loseWriteConnection")
            peer.shutdown()
            self.run_peers()
            protocol.call("loseConnection")
            self.run_peers()
            self.one_failure(ZeroDivisionError)
            self.assertEqual(1, protocol.log.count("lost"), (where, protocol.log))
            if where != "lost":
                self.assert_lost(protocol, ZeroDivisionError)
        other_peer.write(b"and I?")
        self.run_peers()
        self.assertEqual(b"and I?", other.data)

    def test_bug_is_no_end_in_order(self) -> None:
        """The peer of a protocol that failed cannot take what it got for everything."""

        def fail(protocol: Recorder) -> None:
            protocol.transport.write(b"half an ans")
            raise ZeroDivisionError

        _, _, peer = self.speak(Recorder({"data": fail}), pair=tcp_pair())
        peer.write(b"question")
        self.run_peers()
        self.one_failure(ZeroDivisionError)
        self.assertEqual("reset", peer.end)

    def test_bug_after_abort(self) -> None:
        """A protocol that aborts and then fails is told once; the late call of the abort finds nothing to do."""

        def fail(protocol: Recorder) -> None:
            protocol.transport.abortConnection()
            raise ZeroDivisionError

        protocol, _, peer = self.speak(Recorder({"data": fail}))
        peer.write(b"question")
        self.run_peers()
        self.one_failure(ZeroDivisionError)
        self.assert_lost(protocol, ZeroDivisionError)

    def test_lost_before_the_close_comes(self) -> None:
        """A close that was about to happen finds the connection gone."""
        protocol, transport, _ = self.speak()
        protocol.call("loseConnection")
        transport.vc.set_inactivity_timeout(1)
        self.reactor.rightNow += 2
        InactivityCop(self.handler, self.reactor).patrol()
        self.assert_lost(protocol, ConnectionTimedOut)
        self.run_peers()
        self.assertEqual(["made", "lost"], protocol.log)

    def test_collected(self) -> None:
        """When the connection is over nothing refers in a circle: no collector is needed."""
        protocol, transport, peer = self.speak()
        peer.write(b"question")
        protocol.call("write", b"answer")
        protocol.call("loseConnection")
        self.run_peers()
        references = [weakref.ref(thing) for thing in (transport.vc, transport, protocol)]
        self.peers.clear()
        self.plain_peers.clear()
        self.logged.clear()
        gc.collect()
        gc.disable()
        try:
            protocol.transport = None  # as a protocol that cares would do
            del protocol, transport, peer
            self.assertEqual([None] * 3, [reference() for reference in references])
        finally:
            gc.enable()


globals().update(CallBackTests.make_test_case_classes())


class FirstBytesTests(TransportCase):
    """Connections of which something was read before, and factories."""

    def first(self, data: bytes) -> Any:
        buffer = MIOBuffer(5)
        reader = buffer.alloc_reader()
        buffer.write(data)
        return reader

    def factory(self, made: Any) -> ProtocolSessionAccept:
        """An acceptor with a factory that makes C{made}, or raises it."""

        class OneFactory(Factory):
            addresses: list[Any] = []

            def buildProtocol(self, addr: Any) -> Any:
                self.addresses.append(addr)
                if isinstance(made, Exception):
                    raise made
                return made

        return ProtocolSessionAccept(OneFactory(), self.reactor)

    def test_interface(self) -> None:
        """It can stand wherever a session acceptor is wanted."""
        self.assertTrue(verifyObject(ISessionAccept, self.factory(None)))
        self.assertTrue(verifyClass(IContinuation, ProtocolSessionAccept))

    def test_accept_event(self) -> None:
        """A connection that was accepted gets a protocol, made for its peer's address."""
        protocol = Recorder()
        endpoint = self.factory(protocol)
        vc, peer = self.joined(pair=tcp_pair())
        endpoint.handle_event(NET_EVENT_ACCEPT, vc)
        factory: Any = endpoint.factory
        self.assertEqual([twisted_address(vc.get_remote_addr())], factory.addresses)
        self.assertIsInstance(factory.addresses[0], IPv4Address)
        peer.write(b"hello")
        self.run_peers()
        self.assertEqual((["made", "data"], b"hello"), (protocol.log, protocol.data))

    def test_first_bytes(self) -> None:
        """Bytes that were read before come first, and once, and their buffer is let go."""
        protocol = Recorder()
        vc, peer = self.joined()
        reader = self.first(b"first, ")
        self.assertTrue(self.factory(protocol).accept(vc, reader.buffer, reader))
        self.assertEqual(b"first, ", protocol.data)
        self.assertEqual([], reader.buffer.readers)
        peer.write(b"second")
        self.run_peers()
        self.assertEqual(b"first, second", protocol.data)

    def test_empty_first_bytes(self) -> None:
        """A buffer with nothing in it is no piece."""
        protocol = Recorder()
        vc, peer = self.joined()
        reader = self.first(b"")
        self.factory(protocol).accept(vc, reader.buffer, reader)
        self.assertEqual(["made"], protocol.log)
        peer.write(b"now")
        self.run_peers()
        self.assertEqual([b"now"], protocol.pieces)

    def test_first_bytes_wait(self) -> None:
        """A protocol that pauses at once gets nothing until it resumes, then everything in order, not from within."""
        protocol = Recorder({"made": lambda p: p.call("pauseProducing")})
        vc, peer = self.joined()
        reader = self.first(b"first, ")
        self.factory(protocol).accept(vc, reader.buffer, reader)
        peer.write(b"second")
        self.run_peers()
        self.assertEqual(["made"], protocol.log)
        for name in ("resumeProducing", "pauseProducing", "resumeProducing", "pauseProducing"):
            protocol.call(name)
        self.run_peers()
        self.assertEqual(["made"], protocol.log)
        protocol.call("resumeProducing")
        self.assertEqual(["made"], protocol.log)
        self.run_peers()
        self.assertEqual([b"first, ", b"second"], protocol.pieces)

    def test_first_bytes_and_pause(self) -> None:
        """A protocol that pauses when it gets the first bytes gets no more."""
        protocol = Recorder({"data": lambda p: p.call("pauseProducing")})
        vc, peer = self.joined()
        reader = self.first(b"first, ")
        self.factory(protocol).accept(vc, reader.buffer, reader)
        peer.write(b"second")
        self.run_peers()
        self.assertEqual([b"first, "], protocol.pieces)
        protocol.call("resumeProducing")
        self.run_peers()
        self.assertEqual([b"first, ", b"second"], protocol.pieces)

    def test_protocol_that_cannot_take_the_first_bytes(self) -> None:
        """It loses its connection, as for any bytes that it cannot take."""

        def raising(_protocol: Any) -> None:
            raise ZeroDivisionError

        protocol = Recorder({"data": raising})
        vc, _ = self.joined()
        reader = self.first(b"first")
        self.factory(protocol).accept(vc, reader.buffer, reader)
        self.run_peers()
        self.assert_lost(protocol, ZeroDivisionError)
        self.one_failure(ZeroDivisionError)

    def test_closed_before_first_bytes(self) -> None:
        """A protocol that closes at once never sees them, unless it speaks TLS and waits for the peer's answer."""
        for ending in ("loseConnection", "abortConnection"):
            protocol = Recorder({"made": lambda p, ending=ending: p.call(ending)})  # type: ignore[misc]
            vc, _ = self.joined()
            reader = self.first(b"first")
            self.assertTrue(self.factory(protocol).accept(vc, reader.buffer, reader))
            self.run_peers()
            told = ["made", "data", "lost"] if protocol.transport.listens_to_the_end else ["made", "lost"]
            self.assertEqual(told if ending == "loseConnection" else ["made", "lost"], protocol.log)

    def test_failed_before_first_bytes(self) -> None:
        """Nor does one that fails at once."""

        def fail(protocol: Recorder) -> None:
            raise ZeroDivisionError

        protocol = Recorder({"made": fail})
        vc, _ = self.joined()
        reader = self.first(b"first")
        self.assertTrue(self.factory(protocol).accept(vc, reader.buffer, reader))
        self.one_failure(ZeroDivisionError)
        self.assert_lost(protocol, ZeroDivisionError)
        self.assertEqual(["made", "lost"], protocol.log)

    def test_refused(self) -> None:
        """A factory that makes no protocol refuses: the connection is closed by who has it."""
        vc, peer = self.joined()
        self.assertFalse(self.factory(None).accept(vc, None, None))
        self.assertFalse(vc.closed)
        self.factory(None).handle_event(NET_EVENT_ACCEPT, vc)
        self.assertTrue(vc.closed)
        self.run_peers()
        self.assertEqual("close_notify", peer.end)

    def test_factory_fails(self) -> None:
        """A bug in the factory is logged, and the connection closed."""
        vc, _ = self.joined()
        self.factory(ZeroDivisionError()).handle_event(NET_EVENT_ACCEPT, vc)
        self.assertTrue(vc.closed)
        self.one_failure(ZeroDivisionError)

    def test_other_events(self) -> None:
        """An event that makes no sense is logged, and closes the connection if there is one."""
        vc, _ = self.joined()
        endpoint = self.factory(None)
        endpoint.handle_event(VC_EVENT_EOS, vc)
        self.assertTrue(vc.closed)
        endpoint.handle_event(VC_EVENT_EOS, None)
        self.assertEqual(2, sum("VC_EVENT_EOS" in line for line in self.lines()))


globals().update(FirstBytesTests.make_test_case_classes())


class Hello(Resource):
    """Says hello, and how it was asked; or a lot."""

    isLeaf = True  # noqa: N815  # Twisted's

    def render_GET(self, request: Any) -> bytes:
        if request.path == b"/much":
            return MUCH[: 1 << 20]
        return b"hello, secure" if request.isSecure() else b"hello, plain"

    def render_POST(self, request: Any) -> bytes:
        return b"%d" % len(request.content.read())


class WebTests(TransportCase):
    """twisted.web serves over our transports as it does over its own."""

    def serve(self, **more: Any) -> tuple[Any, UnixNetVConnection]:
        site: Any = Site(Hello(), reactor=self.reactor)
        site.doStart = site.doStop = lambda: None
        vc, peer = self.joined(**more)
        ProtocolSessionAccept(site, self.reactor).handle_event(NET_EVENT_ACCEPT, vc)
        return peer, vc

    def test_http_1(self) -> None:
        """Several requests on one connection, small and large, then the close that the client asked for."""
        peer, vc = self.serve()
        greeting = b"hello, plain" if self.version == "plain" else b"hello, secure"
        peer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.run_peers()
        self.assertTrue(peer.plain.startswith(b"HTTP/1.1 200 OK\r\n"))
        self.assertTrue(peer.plain.endswith(b"\r\n\r\n" + greeting))
        peer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n" + bytes(500000))
        self.run_peers()
        self.assertTrue(peer.plain.endswith(b"\r\n\r\n500000"))
        peer.write(b"GET /much HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        self.run_peers()
        self.assertTrue(peer.plain.endswith(b"\r\n\r\n" + MUCH[: 1 << 20]))
        self.assertEqual("close_notify", peer.end)
        self.assertTrue(vc.closed)

    def test_http_1_idle(self) -> None:
        """The web server's own timeout closes a silent connection."""
        peer, vc = self.serve()
        self.reactor.turn(61)
        self.run_peers()
        self.assertTrue(vc.closed)
        self.assertEqual("close_notify", peer.end)
        for call in self.reactor.getDelayedCalls():
            call.cancel()  # its abort, which is for peers that do not let go

    def test_bad_request(self) -> None:
        """A bad request is answered before the connection is closed."""
        peer, vc = self.serve()
        peer.write(b"NONSENSE\r\n\r\n")
        self.run_peers()
        self.assertTrue(peer.plain.startswith(b"HTTP/1.1 400 Bad Request"))
        self.assertTrue(vc.closed)

    def test_http_2(self) -> None:
        """A client that agreed on HTTP/2 gets several answers at a time, as fast as its windows allow."""
        if self.version == "plain":
            return
        clock = self.reactor
        # It would take the global reactor.
        self.patch(http, "H2Connection", partial(H2Connection, reactor=clock))
        peer, vc = self.serve(protocols=protocol_set(b"h2"), alpn=(b"h2",))
        client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        client.initiate_connection()
        expected = {}
        small, large = ("/", b"hello, secure"), ("/much", MUCH[: 1 << 20])
        for stream, (path, body) in ((1, small), (3, large), (5, small)):
            expected[stream] = body
            headers = [(":method", "GET"), (":path", path), (":scheme", "https"), (":authority", "a.example")]
            client.send_headers(stream, headers, end_stream=True)
        bodies = {stream: bytearray() for stream in expected}
        ended = set()
        for _ in range(2000):
            peer.write(client.data_to_send())
            clock.turn()
            peer.pump()
            clock.turn()
            data, peer.plain = bytes(peer.plain), bytearray()
            for event in client.receive_data(data):
                if isinstance(event, h2.events.DataReceived):
                    bodies[event.stream_id] += event.data
                    client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    ended.add(event.stream_id)
            if len(ended) == 3:
                break
        self.assertEqual(expected, bodies)
        peer.shutdown()
        self.run_peers()
        self.assertTrue(vc.closed)
        for call in clock.getDelayedCalls():
            call.cancel()


globals().update(WebTests.make_test_case_classes())


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 70000)),
        st.tuples(st.just("sequence"), st.lists(st.integers(0, 20000), max_size=4)),
        st.tuples(st.just("peer writes"), st.integers(1, 70000)),
        st.tuples(st.sampled_from(("pause", "resume", "peer pauses", "peer resumes")), st.none()),
        st.tuples(st.sampled_from(("turn", "push", "pull")), st.none()),
    ),
    max_size=25,
)


class AnyOrderTests(TransportCase):
    """Each byte once and in order, whatever happens in between."""

    @given(STEPS)
    @settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def test_any_order(self, steps: list[tuple[str, Any]]) -> None:
        """Random writes, pauses and producers: what one side sent is what the other got, and then the end."""
        protocol, transport, peer = self.speak()
        sent, theirs = bytearray(), bytearray()
        at = 0

        def some(size: int) -> bytes:
            nonlocal at
            at = (at + 7919) % 100003
            return MUCH[at : at + size]

        for what, argument in steps:
            if what == "write":
                data = some(argument)
                sent += data
                protocol.call("write", data)
            elif what == "sequence":
                pieces = [some(size) for size in argument]
                sent += b"".join(pieces)
                protocol.call("writeSequence", pieces)
            elif what == "peer writes":
                data = some(argument)
                theirs += data
                peer.write(data)
            elif what == "pause":
                protocol.call("pauseProducing")
            elif what == "resume":
                protocol.call("resumeProducing")
            elif what in ("peer pauses", "peer resumes"):
                peer.paused = what == "peer pauses"
            elif what == "turn":
                self.reactor.turn()
                peer.pump()
            else:
                # A producer writes alone until it is done, as the interface wants it.
                peer.paused = False
                data = some(150000)
                sent += data
                if what == "push":
                    pusher = Pusher(transport, data)
                    transport.registerProducer(pusher, True)
                    pusher.go()
                else:
                    pieces = [data[i : i + 33333] for i in range(0, len(data), 33333)]
                    transport.registerProducer(Puller(transport, pieces), False)
                self.run_peers()
                self.assertIsNone(transport.producer)
        peer.paused = False
        protocol.call("resumeProducing")
        self.run_peers()
        self.assertEqual(theirs, protocol.data)
        protocol.call("loseConnection")
        self.run_peers()
        self.assertEqual((sent, "close_notify"), (peer.plain, peer.end))
        self.assert_lost(protocol, ConnectionDone)
        self.peers.clear()
        self.plain_peers.clear()


globals().update(AnyOrderTests.make_test_case_classes())


class WordsTests(SynchronousTestCase):
    """Names for Twisted."""

    def test_twisted_address(self) -> None:
        """Every address of ours has a name of Twisted's."""
        for address, expected in (
            (("192.0.2.1", 80), IPv4Address("TCP", "192.0.2.1", 80)),
            (("2001:db8::1", 80), IPv6Address("TCP", "2001:db8::1", 80)),
            (("fe80::1%lo", 80), IPv6Address("TCP", "fe80::1%lo", 80, scopeID=socket.if_nametoindex("lo"))),
            (("fe80::1%gone", 80), IPv6Address("TCP", "fe80::1%gone", 80)),
            ("/run/socket", UNIXAddress("/run/socket")),
            ("", UNIXAddress(None)),
            (None, UNIXAddress(None)),
        ):
            self.assertEqual(expected, twisted_address(address))
