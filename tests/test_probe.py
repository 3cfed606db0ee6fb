"""
Tests for L{atstls.session.probe}: whose is a connection, by its first bytes?
"""

from typing import Any

from twisted.internet import reactor
from twisted.internet.protocol import Factory
from zope.interface import implementer
from zope.interface.verify import verifyObject

from atstls.errors import LocalError
from atstls.events import NET_EVENT_ACCEPT, VC_EVENT_EOS
from atstls.eventsystem.vio import INT64_MAX
from atstls.interfaces import IContinuation, ISessionAccept
from atstls.net.cop import InactivityCop
from atstls.session.nextprotocol import SSLNextProtocolAccept
from atstls.session.probe import ACCEPT_NO_ACTIVITY_SECONDS, PREFACE, ProtocolProbeSessionAccept, _Probe
from atstls.session.protocol import ProtocolSessionAccept
from atstls.tls.engine import CffiEngine
from tests.support import OverBothPolls, reset, tcp_pair
from tests.test_session_protocol import Recorder
from tests.tlssupport import OverTLS

# A LoopingCall looks for the global reactor: now, so that no test finds its descriptors left over.
assert reactor


@implementer(ISessionAccept)
class Endpoint:
    """
    Takes connections, and reads on.

    @ivar accepted: the connections.
    @ivar data: what was read before it came, and since.
    """

    def __init__(self, answer: bool = True) -> None:
        self.answer = answer
        self.accepted: list[Any] = []
        self.data = bytearray()
        self.events: list[int] = []
        self.reader: Any = None

    def accept(self, vc: Any, buffer: Any, reader: Any) -> bool:
        self.accepted.append(vc)
        assert reader.buffer is buffer
        if self.answer:
            self.reader = reader
            self.data += reader.read()
            vc.do_io_read(self, INT64_MAX, buffer)
        return self.answer

    def handle_event(self, event: int, data: Any) -> int:
        self.events.append(event)
        self.data += self.reader.read()
        return 0


class ProbeCase(OverBothPolls):
    """Has a probe with somebody for each protocol."""

    def setUp(self) -> None:
        super().setUp()
        self.http, self.http2 = Endpoint(), Endpoint()
        self.probe = ProtocolProbeSessionAccept()
        self.probe.register_http(self.http)
        self.probe.register_http2(self.http2)

    def accepted(self, pair: Any = None) -> tuple[Any, Any]:
        """A connection that the probe was told of, and its peer's socket."""
        vc, sock = self.connection(pair)
        self.probe.handle_event(NET_EVENT_ACCEPT, vc)
        self.reactor.settle()
        return vc, sock


class ProbeTests(ProbeCase):
    """Connections in clear."""

    def test_interfaces(self) -> None:
        """It can stand wherever an acceptor is wanted."""
        self.assertTrue(verifyObject(ISessionAccept, self.probe))
        vc, _ = self.connection()
        self.assertTrue(verifyObject(IContinuation, _Probe(self.probe, vc)))

    def test_whose(self) -> None:
        """The first bytes tell, whatever follows them; the bytes go along, all of them, once."""
        for first, http2 in (
            (b"GET / HTTP/1.1\r\n", False),
            (b"G", False),
            (b"\x80\x01", False),  # SPDY, once
            (b"\0", False),
            (b"POST", False),
            (b"PUT ", False),
            (b"PRX", False),
            (b"PRI ", True),
            (b"PRI * HTTP/2", True),
            (b"PRI *X", False),
            (b"PRI * HTTP/1.1\r\n", False),
            (PREFACE, True),
            (PREFACE + b"\0\0\0\4\0\0\0\0\0", True),
            (b"x" * 4096, False),  # all that the probe takes
            (b"x" * 5000, False),
        ):
            self.http.data.clear()
            self.http2.data.clear()
            vc, sock = self.accepted()
            sock.send(first)
            self.reactor.settle()
            taken, other = (self.http2, self.http) if http2 else (self.http, self.http2)
            self.assertIs(vc, taken.accepted.pop(), first)
            self.assertEqual((first, b""), (taken.data, other.data))
            sock.send(b" and more")
            self.reactor.settle()
            self.assertEqual(first + b" and more", taken.data)
        self.assertEqual([], self.http.accepted + self.http2.accepted)

    def test_dribble(self) -> None:
        """A preface in pieces is a preface; until it can be told from HTTP/1, nobody has the connection."""
        for pieces, http2 in (
            ((b"P", b"RI "), True),
            ((b"P", b"R", b"I", b" ", b"* HTTP/2.0\r\n"), True),
            ((b"P", b"OST / HTTP/1.1\r\n"), False),
            ((b"PR", b"OPFIND / HTTP/1.1\r\n"), False),
        ):
            self.http.data.clear()
            self.http2.data.clear()
            vc, sock = self.accepted()
            for piece in pieces:
                self.assertEqual(b"", self.http.data[4:] + self.http2.data[4:])
                sock.send(piece)
                self.reactor.settle()
            taken = self.http2 if http2 else self.http
            self.assertEqual(b"".join(pieces), taken.data)
            self.assertEqual([vc], taken.accepted)
            taken.accepted.clear()

    def test_undecided(self) -> None:
        """Nobody has a connection of which only the beginning of a word is known."""
        for beginning in (b"P", b"PR", b"PRI"):
            vc, sock = self.accepted()
            sock.send(beginning)
            self.reactor.settle()
            self.assertEqual([], self.http.accepted + self.http2.accepted)
            self.assertFalse(vc.closed)

    def test_nobody(self) -> None:
        """A protocol that nobody speaks is an operator's mistake: it is said, and the connection closed."""
        self.probe.http = self.probe.http2 = None
        with self.assertLogged("HTTP/1", "HTTP/2"):
            for first in (b"GET / HTTP/1.1\r\n", PREFACE):
                vc, sock = self.accepted()
                sock.send(first)
                self.reactor.settle()
                self.assertTrue(vc.closed)
                self.assertEqual(b"", sock.recv(100))

    def test_refused(self) -> None:
        """A connection that its endpoint does not want is closed."""
        self.http.answer = False
        vc, sock = self.accepted()
        sock.send(b"GET")
        self.reactor.settle()
        self.assertEqual([vc], self.http.accepted)
        self.assertTrue(vc.closed)

    def test_closed_by_endpoint(self) -> None:
        """An endpoint that takes a connection may close it at once."""

        class Closing(Endpoint):
            def accept(self, vc: Any, buffer: Any, reader: Any) -> bool:
                vc.do_io_close()
                return True

        self.probe.register_http(Closing())
        vc, sock = self.accepted()
        sock.send(b"GET")
        self.reactor.settle()
        self.assertTrue(vc.closed)

    def test_silence(self) -> None:
        """A client that says nothing, or not enough, is not waited for forever."""
        for first in (b"", b"PR"):
            vc, sock = self.accepted()
            sock.send(first)
            self.reactor.settle()
            cop = InactivityCop(self.handler, self.reactor)
            self.reactor.turn(ACCEPT_NO_ACTIVITY_SECONDS - 1)
            cop.patrol()
            self.assertFalse(vc.closed)
            self.reactor.turn(2)
            cop.patrol()
            self.assertTrue(vc.closed)

    def test_other_timeout(self) -> None:
        """The limit can be set, and does not go on for the session."""
        self.probe.accept_no_activity_timeout = 5
        vc, sock = self.accepted()
        self.assertEqual(5, vc.get_inactivity_timeout())
        sock.send(b"GET")
        self.reactor.settle()
        self.assertEqual(0, vc.get_inactivity_timeout())

    def test_end(self) -> None:
        """A client that leaves before it is known what it speaks is let go."""
        for first in (b"", b"PRI"):
            vc, sock = self.accepted()
            sock.send(first)
            sock.close()
            self.reactor.settle()
            self.assertTrue(vc.closed)
        vc, sock = self.accepted(tcp_pair())
        reset(sock)
        self.reactor.settle()
        self.assertTrue(vc.closed)
        self.assertEqual([], self.http.accepted + self.http2.accepted)

    def test_other_events(self) -> None:
        """An event that makes no sense is logged, and closes the connection if there is one."""
        vc, _ = self.connection()
        with self.assertLogged("VC_EVENT_EOS", "VC_EVENT_EOS"):
            self.probe.handle_event(VC_EVENT_EOS, vc)
            self.probe.handle_event(VC_EVENT_EOS, None)
        self.assertTrue(vc.closed)

    def test_accept(self) -> None:
        """Who has bytes in hand does not ask a probe."""
        vc, _ = self.connection()
        self.assertRaises(LocalError, self.probe.accept, vc, None, None)

    def test_protocol_behind(self) -> None:
        """A Twisted protocol behind the probe gets every byte, once."""
        protocol = Recorder()
        self.probe.register_http(ProtocolSessionAccept(Factory.forProtocol(lambda: protocol), self.reactor))
        _, sock = self.accepted()
        sock.send(b"P")
        self.reactor.settle()
        sock.send(b"OST / ")
        self.reactor.settle()
        sock.send(b"HTTP/1.1")
        self.reactor.settle()
        self.assertEqual(b"POST / HTTP/1.1", protocol.data)

    def assertLogged(self, *words: str) -> "Logged":
        """As many lines are logged as there are words, each with its own."""
        return Logged(self, words)


class Logged:
    """Looks at what is logged while it is entered."""

    def __init__(self, case: Any, words: tuple[str, ...]) -> None:
        self.case = case
        self.words = words
        self.lines: list[str] = []

    def __enter__(self) -> None:
        from twisted.logger import globalLogPublisher

        globalLogPublisher.addObserver(self)

    def __call__(self, event: Any) -> None:
        from twisted.logger import formatEvent

        if str(event.get("log_namespace", "")).startswith("atstls"):
            self.lines.append(formatEvent(event))

    def __exit__(self, *exc: object) -> None:
        from twisted.logger import globalLogPublisher

        globalLogPublisher.removeObserver(self)
        if exc[0] is None:
            self.case.assertEqual(len(self.words), len(self.lines), self.lines)
            for word, line in zip(self.words, self.lines, strict=True):
                self.case.assertIn(word, line)


globals().update(ProbeTests.make_test_case_classes())


class ProbeOverTLSTests(OverTLS):
    """Connections over TLS on which no protocol was agreed."""

    engines = (CffiEngine,)

    def test_preface_is_http_1(self) -> None:
        """Over TLS HTTP/2 is agreed on by ALPN; a bare preface goes to HTTP/1, which refuses it, at the first byte."""
        for first in (PREFACE, b"P", b"GET / HTTP/1.1\r\n"):
            http, http2 = Endpoint(), Endpoint()
            probe = ProtocolProbeSessionAccept()
            probe.register_http(http)
            probe.register_http2(http2)
            port = SSLNextProtocolAccept(probe)
            vc, sock = self.accept()
            port.handle_event(NET_EVENT_ACCEPT, vc)
            peer = self.client(sock)
            peer.connection.set_connect_state()
            self.run_peers(peer)
            peer.write(first)
            self.run_peers(peer)
            self.assertEqual(([vc], []), (http.accepted, http2.accepted))
            self.assertEqual(first, http.data)


globals().update(ProbeOverTLSTests.make_test_case_classes())
