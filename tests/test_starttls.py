"""
Tests for L{atstls.endpoints.starttls}: connections that begin in clear.

The peers are not ours.  Bytes in clear and bytes over TLS have an order, and nobody gets the one for the other.
"""

import gc
import random
import socket
import weakref
from functools import partial
from typing import Any

from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from OpenSSL._util import lib
from twisted.internet import reactor, ssl
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHandshakeListener, ISSLTransport, ITLSTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from atstls.endpoints import ClientTLS, ServerTLS, TCPClientEndpoint, TCPServerEndpoint, UpgradableNetVConnection
from atstls.endpoints.settings import HANDSHAKE_SECONDS
from atstls.endpoints.starttls import transport_for
from atstls.errors import LocalError, VerifyFailed
from atstls.eventsystem.iobuffer import new_MIOBuffer
from atstls.net.cop import InactivityCop
from atstls.tls import alerts
from atstls.tls.contexts import ClientSettings, ServerSettings
from atstls.tls.engine import CffiEngine
from tests.test_endpoints import EndpointTestCase, TalkerFactory, local, options, roots, trusting
from tests.test_session_protocol import Recorder, Script, narrow_pair
from tests.tlssupport import OTHER_CA, OverTLS, TLSPeer, alert_in_clear, ca_file, hook_set, issue

assert reactor  # now, so that no test finds its descriptors left over

MUCH = bytes(range(256)) * 4096
"""1 MiB: more than a narrow pair takes."""


@implementer(IHandshakeListener)
class Listener(Recorder):
    """Is told of the handshake."""

    def handshakeCompleted(self) -> None:
        self._did("handshake")


class ClearPeer:
    """Reads so many bytes in clear, and not one more."""

    def __init__(self, sock: socket.socket, wanted: int) -> None:
        self.sock = sock
        self.wanted = wanted
        self.data = bytearray()

    def pump(self) -> int:
        left = self.wanted - len(self.data)
        if not left:
            return 0
        try:
            self.data += self.sock.recv(left)
        except BlockingIOError:
            return 0
        return 1


class StartTLSTests(OverTLS):
    """C{startTLS}, in both roles."""

    def begin(
        self,
        script: Script | None = None,
        *,
        client: bool = False,
        pair: tuple[socket.socket, socket.socket] | None = None,
        first: bytes = b"",
        host: str | None = None,
    ) -> tuple[Listener, socket.socket]:
        """A protocol over a connection in clear, and the peer's socket."""
        ours, theirs = pair or narrow_pair()
        module = UpgradableNetVConnection.__module__
        attributes = {"__slots__": (), "engine_kind": self.engine_kind, "__module__": module}
        vc = type("UpgradableNetVConnection", (UpgradableNetVConnection,), attributes)(self.handler, None)
        vc.is_client = client
        vc.host = host
        vc.start(ours, ("192.0.2.9", 4711))
        protocol = Listener(script)
        self.addCleanup(protocol.script.clear)
        reader = None
        if first:
            buffer = new_MIOBuffer()
            reader = buffer.alloc_reader()
            buffer.write(first)
        transport_for(vc, protocol, self.reactor).begin(reader)
        return protocol, self.keep(theirs)

    def server_tls(self, **more: Any) -> ServerTLS:
        """What we show as a server."""
        settings = ServerSettings(version_min=self.version, version_max=self.version)
        return ServerTLS([issue("a.example")], settings=settings, **more)

    def client_tls(self, name: str | None = "a.example", ca: Any = None) -> ClientTLS:
        """What we demand as a client."""
        return ClientTLS(ClientSettings(ca_file=ca_file() if ca is None else ca_file(ca)), server_name=name)

    def tls_of(self, client: bool) -> Any:
        return self.client_tls() if client else self.server_tls()

    def peer_of(self, client: bool, sock: socket.socket, **more: Any) -> TLSPeer:
        """The other side of one that is (or is not) the client."""
        peer = self.server(sock, **more) if client else self.client(sock, **more)
        peer.answers = True
        return peer

    # In order.

    def test_a_reply_and_then_tls(self) -> None:
        """What is written before is in clear, and what is written after is not; the protocol hears of the handshake."""
        for client in (False, True):

            def go(protocol: Recorder, client: bool = client) -> None:
                if protocol.data == b"STARTTLS\r\n":
                    protocol.call("write", b"220 go ahead\r\n")
                    protocol.call("startTLS", self.tls_of(client))
                    protocol.call("write", b"after")

            protocol, sock = self.begin({"data": go}, client=client)
            self.assertTrue(verifyObject(ITLSTransport, protocol.transport))
            self.assertFalse(ISSLTransport.providedBy(protocol.transport))
            sock.send(b"STARTTLS\r\n")
            clear = ClearPeer(sock, len(b"220 go ahead\r\n"))
            self.run_peers(clear)  # type: ignore[arg-type]
            self.assertEqual(b"220 go ahead\r\n", clear.data)
            self.assertTrue(ISSLTransport.providedBy(protocol.transport))
            self.assertNotIn("handshake", protocol.log)
            peer = self.peer_of(client, sock)
            self.run_peers(peer)
            peer.write(b"hello")
            self.run_peers(peer)
            self.assertEqual(["made", "data", "handshake", "data"], protocol.log)
            self.assertEqual(b"STARTTLS\r\nhello", protocol.data)
            self.assertEqual(b"after", peer.plain)
            self.assertEqual(self.version, protocol.transport.getHandle().get_protocol_version_name())
            self.assertEqual(client, protocol.transport.getPeerCertificate() is not None)
            self.assertIsNone(protocol.transport.negotiatedProtocol)
            protocol.transport.loseConnection()
            self.run_peers(peer)
            self.assertIsInstance(protocol.reason.value, ConnectionDone)
            self.assertEqual("close_notify", peer.end)

    def test_sessions(self) -> None:
        """As a client, with the same settings object, it resumes (A063)."""
        tls = self.client_tls()
        found = []
        for _ in range(2):
            protocol, sock = self.begin({"made": lambda protocol: protocol.call("startTLS", tls)}, client=True)
            peer = self.server(sock)
            self.run_peers(peer)
            peer.write(b"hello")
            self.run_peers(peer)
            self.assertEqual(b"hello", protocol.data)
            found.append(protocol.transport.sessionReused)
            protocol.transport.loseConnection()
            peer.shutdown()
            self.run_peers(peer)
            self.assertIsInstance(protocol.reason.value, ConnectionDone)
        self.assertEqual([False, self.engine_kind is CffiEngine], found)
        assert tls.sessions is not None
        self.assertEqual(1, tls.sessions.hits)

    def test_much_in_clear_before(self) -> None:
        """However long the kernel takes for what was written before: all of it goes before the handshake."""
        for client in (False, True):
            protocol, sock = self.begin(client=client)
            protocol.call("write", MUCH)
            protocol.call("startTLS", self.tls_of(client))
            protocol.call("write", b"behind")
            protocol.call("writeSequence", [b" and", b" more", b"!" * 10000])
            clear = ClearPeer(sock, len(MUCH))
            self.run_peers(clear)  # type: ignore[arg-type]
            self.assertEqual(MUCH, clear.data)
            peer = self.peer_of(client, sock)
            self.run_peers(peer)
            self.assertEqual(b"behind and more" + b"!" * 10000, peer.plain)
            peer.write(b"yes")
            self.run_peers(peer)
            self.assertEqual(b"yes", protocol.data)

    def test_a_peer_that_begins_while_we_still_send(self) -> None:
        """Its hello waits in the kernel: it is nobody's data, whatever the protocol does with its reading side."""
        for meddle in ("resumeProducing", "pauseProducing"):
            protocol, sock = self.begin()
            protocol.call("write", MUCH)
            protocol.call("startTLS", self.server_tls())
            clear, peer = ClearPeer(sock, len(MUCH)), self.client(sock)
            peer.paused = True
            self.run_peers(peer)  # It has said its hello.
            protocol.call("pauseProducing")
            protocol.call(meddle)
            self.run_peers(peer)
            self.run_peers(clear)  # type: ignore[arg-type]
            peer.paused = False
            protocol.call("resumeProducing")
            self.run_peers(peer)
            peer.write(b"hello")
            self.run_peers(peer)
            self.assertEqual((MUCH, b"hello"), (clear.data, protocol.data))

    def test_paused_all_along(self) -> None:
        """A protocol that wants nothing gets nothing; the handshake is done all the same."""
        protocol, sock = self.begin()
        protocol.call("pauseProducing")
        protocol.call("startTLS", self.server_tls())
        peer = self.client(sock)
        peer.write_later = b"hello"  # type: ignore[attr-defined]
        self.run_peers(peer)
        peer.write(b"hello")
        self.run_peers(peer)
        self.assertEqual(["made"], [what for what in protocol.log if what != "handshake"])
        protocol.call("resumeProducing")
        self.run_peers(peer)
        self.assertEqual(b"hello", protocol.data)

    def test_bytes_that_came_with_the_connection(self) -> None:
        """Where the hello was read before anybody was asked, it is not lost: it is TLS's."""
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        ours, theirs = narrow_pair()
        peer = self.client(theirs, context=context)
        peer._step()
        hello, peer.to_send = bytes(peer.to_send), bytearray()
        protocol, _ = self.begin(
            {"made": lambda p: p.transport.startTLS(self.server_tls())}, pair=(ours, theirs), first=hello
        )
        self.run_peers(peer)
        peer.write(b"hello")
        self.run_peers(peer)
        self.assertEqual((["made", "handshake", "data"], b"hello"), (protocol.log, protocol.data))

    def test_the_other_way_round(self) -> None:
        """With normal=False who accepted is TLS's client."""
        protocol, sock = self.begin()
        protocol.call("startTLS", self.client_tls(), False)
        peer = self.server(sock)
        self.run_peers(peer)
        self.assertEqual(["made", "handshake"], protocol.log)
        protocol, sock = self.begin(client=True)
        protocol.call("startTLS", self.server_tls(), False)
        peer = self.client(sock)
        self.run_peers(peer)
        self.assertEqual(["made", "handshake"], protocol.log)

    def test_producers(self) -> None:
        """One that was registered in clear goes on over TLS, and is paused in between like at any time."""

        class Producer:
            told: list[str] = []

            def pauseProducing(self) -> None:
                self.told.append("pause")

            def resumeProducing(self) -> None:
                self.told.append("resume")

            def stopProducing(self) -> None:
                self.told.append("stop")

        producer = Producer()
        protocol, sock = self.begin()
        protocol.transport.registerProducer(producer, True)
        protocol.transport.write(MUCH)
        self.assertEqual(["pause"], producer.told)
        protocol.transport.startTLS(self.server_tls())
        protocol.transport.write(MUCH)
        clear = ClearPeer(sock, len(MUCH))
        self.run_peers(clear)  # type: ignore[arg-type]
        self.assertEqual(["pause"], producer.told)
        peer = self.client(sock)
        self.run_peers(peer)
        self.assertEqual((MUCH, MUCH), (bytes(clear.data), bytes(peer.plain)))
        self.assertEqual(["pause", "resume"], producer.told)
        protocol.transport.unregisterProducer()

    def test_half_a_close_before_the_handshake(self) -> None:
        """It is said when the handshake is done."""
        protocol, sock = self.begin()
        protocol.call("startTLS", self.server_tls())
        protocol.call("write", b"all of it")
        protocol.call("loseWriteConnection")
        peer = self.client(sock)
        self.run_peers(peer)
        self.assertEqual((b"all of it", "close_notify"), (peer.plain, peer.end))
        peer.write(b"still listening?")
        self.run_peers(peer)
        self.assertEqual(b"still listening?", protocol.data)

    # What the settings say.

    def test_hooks(self) -> None:
        """Those of the settings are asked, from the first on, and may wait; one that says no ends it with its alert."""
        asked: list[str] = []
        waiting: list[Any] = []

        def note(vc: Any, point: str) -> None:
            asked.append(point)

        def wait(vc: Any) -> Any:
            waiting.append(Deferred())
            return waiting[-1]

        hooks = hook_set(
            vconn_start=partial(note, point="start"), servername=wait, cert=lambda vc: asked.append(vc.server_name)
        )
        protocol, sock = self.begin()
        protocol.call("startTLS", self.server_tls(hooks=hooks))
        protocol.call("write", b"behind")
        peer = self.client(sock)
        self.run_peers(peer)
        self.assertEqual((["start"], ["made"]), (asked, protocol.log))
        waiting[0].callback(None)
        self.run_peers(peer)
        self.assertEqual((["start", "a.example"], ["made", "handshake"]), (asked, protocol.log))
        self.assertEqual(b"behind", peer.plain)

        protocol, sock = self.begin()
        hooks = hook_set(client_hello=lambda vc: vc.refuse(alerts.ACCESS_DENIED, "not on the list"))
        protocol.call("startTLS", self.server_tls(hooks=hooks))
        peer = self.client(sock)
        self.run_peers(peer)
        self.assertIn("not on the list", str(protocol.reason.value))
        self.assertEqual(alerts.ACCESS_DENIED, alert_in_clear(peer.raw))

    def test_certificates_by_name_and_alpn(self) -> None:
        """The certificate is that of the name that is asked for, and the protocol is one that the settings have."""
        tls = evolve(self.server_tls(), certificates=[issue("a.example"), issue("c.example")], alpn={b"x": None})
        protocol, sock = self.begin()
        protocol.call("startTLS", tls)
        peer = self.client(sock, name="c.example", alpn=(b"y", b"x"))
        self.run_peers(peer)
        shown = peer.connection.get_peer_certificate(as_cryptography=True)
        self.assertEqual(issue("c.example").leaf, shown)
        agreed = peer.connection.get_alpn_proto_negotiated()
        self.assertEqual((b"x", b"x"), (protocol.transport.negotiatedProtocol, agreed))

    def test_sessions_of_a_server(self) -> None:
        """Settings that are used for one connection after another let their sessions be resumed."""
        tls = self.server_tls()
        session = None
        for _ in range(2):
            protocol, sock = self.begin()
            protocol.call("startTLS", tls)
            peer = self.client(sock, session=session)
            self.run_peers(peer)
            peer.write(b"hello")
            self.run_peers(peer)
            if self.engine_kind is CffiEngine:  # the other one cannot tell
                self.assertEqual(session is not None, protocol.transport.vc.get_ssl_session_cache_hit())
            self.assertEqual(session is not None, bool(lib.SSL_session_reused(peer.connection._ssl)))
            session = peer.connection.get_session()
            protocol.transport.loseConnection()
            self.run_peers(peer)

    # Whatever happens.

    @given(st.integers(0, 1 << 32), st.booleans())
    @settings(max_examples=10, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def test_any_order(self, seed: int, client: bool) -> None:
        """Random writes, pauses and waits around startTLS: each byte once, in order, and on its side of it."""
        chance = random.Random(seed)
        protocol, sock = self.begin(client=client)
        clear, secret = bytearray(), bytearray()
        peer: TLSPeer | None = None
        reader = ClearPeer(sock, 1 << 40)
        started = False
        for step in range(30):
            if step == 12:
                protocol.call("startTLS", self.tls_of(client))
                started = True
            data = chance.randbytes(chance.choice((0, 1, 100, 9000, 200000)))
            action = chance.randrange(4)
            if action == 0:
                protocol.call("write", data)
                (secret if started else clear).extend(data)
            elif action == 1:
                protocol.call("writeSequence", [data, b"and", data])
                (secret if started else clear).extend(data + b"and" + data)
            elif action == 2:
                protocol.call(chance.choice(("pauseProducing", "resumeProducing")))
            elif started and peer is None and len(reader.data) < len(clear):
                reader.wanted = len(clear)
                self.run_peers(reader)  # type: ignore[arg-type]
            elif not started:
                reader.wanted = min(len(clear), len(reader.data) + chance.randrange(100000))
                self.run_peers(reader)  # type: ignore[arg-type]
            if started and peer is None and len(reader.data) == len(clear):
                peer = self.peer_of(client, sock)
            if peer is not None and chance.random() < 0.5:
                self.run_peers(peer)
        reader.wanted = len(clear)
        self.run_peers(reader)  # type: ignore[arg-type]
        peer = peer or self.peer_of(client, sock)
        protocol.call("resumeProducing")
        self.run_peers(peer)
        theirs = chance.randbytes(100000)
        peer.write(theirs)
        self.run_peers(peer)
        self.assertEqual((bytes(clear), bytes(secret)), (bytes(reader.data), bytes(peer.plain)))
        self.assertEqual(theirs, bytes(protocol.data))
        protocol.transport.loseConnection()
        self.run_peers(peer)
        self.assertIsInstance(protocol.reason.value, ConnectionDone)
        sock.close()
        self.reactor.settle()

    # Attacks.

    def test_a_command_behind_the_last_one_in_clear(self) -> None:
        """
        What somebody has put behind the client's STARTTLS is not taken for something that came over TLS.

        CVE-2011-0411: it is TLS's first byte, and a bad one.
        """
        protocol, sock = self.begin(
            {"data": lambda p: p.transport.startTLS(self.server_tls()) if p.data == b"STARTTLS\r\n" else None}
        )
        sock.send(b"STARTTLS\r\n")
        self.reactor.settle()
        sock.send(b"RCPT TO:<attacker@example.com>\r\n")
        self.reactor.settle()
        self.assertEqual(b"STARTTLS\r\n", protocol.data)
        self.assertIsInstance(protocol.reason.value, ConnectionLost)
        self.assertNotIn("handshake", protocol.log)

    def test_who_is_not_who_we_meant(self) -> None:
        """The reason has our own error, and nothing was written to him but an alert."""
        protocol, sock = self.begin(client=True)
        protocol.call("startTLS", self.client_tls(ca=OTHER_CA))
        protocol.call("write", b"a secret")
        peer = self.server(sock)
        self.run_peers(peer)
        self.assertIsInstance(protocol.reason.value, ConnectionLost)
        self.assertIsInstance(protocol.reason.value.__cause__, VerifyFailed)
        self.assertEqual(b"", peer.plain)
        self.assertNotIn(b"a secret", peer.raw)
        self.assertIn("unknown ca", peer.reason)

    def test_the_host_is_who_is_meant(self) -> None:
        """With settings that name nobody it is the host that was connected to; where there is none, nobody is good."""
        for host, good in (("a.example", True), ("b.example", False), (None, False)):
            protocol, sock = self.begin(client=True, host=host)
            protocol.call("startTLS", self.client_tls(None))
            peer = self.server(sock)
            self.run_peers(peer)
            self.assertEqual(good, "handshake" in protocol.log, host)

    def test_a_peer_that_says_nothing(self) -> None:
        """The handshake has a deadline, which runs from startTLS on, also while it could not even begin."""
        for before in (b"", MUCH):
            cop = InactivityCop(self.handler, self.reactor)
            protocol, _sock = self.begin()
            protocol.call("write", before)
            protocol.call("startTLS", self.server_tls())
            self.reactor.settle()
            self.reactor.advance(HANDSHAKE_SECONDS - 1)
            cop.patrol()
            self.assertIsNone(protocol.reason)
            self.reactor.advance(2)
            cop.patrol()
            self.reactor.settle()
            self.assertIsInstance(protocol.reason.value, ConnectionLost)
            self.assertIn("not done after 30 s", str(protocol.reason.value))

    def test_a_peer_that_leaves(self) -> None:
        """Before a byte, or in the middle."""
        for says in (b"", b"\x16\x03\x01\x02"):
            protocol, sock = self.begin()
            protocol.call("startTLS", self.server_tls())
            sock.send(says)
            sock.close()
            self.reactor.settle()
            self.assertIsInstance(protocol.reason.value, ConnectionLost)

    # Ends.

    def test_methods_that_were_kept(self) -> None:
        """A method that somebody has kept from before the handshake does the same after it."""
        for name in ("loseConnection", "abortConnection"):
            kept = []

            def go(protocol: Recorder, kept: list[Any] = kept, name: str = name) -> None:
                protocol.call("startTLS", self.server_tls())
                kept += [getattr(protocol.transport, name), protocol.transport.resumeProducing]

            protocol, sock = self.begin({"made": go})
            peer = self.peer_of(False, sock)
            self.run_peers(peer)
            self.assertIn("handshake", protocol.log)
            protocol.call("pauseProducing")
            kept[1]()
            kept[0]()
            self.run_peers(peer)
            self.assertIsInstance(protocol.reason.value, (ConnectionDone, ConnectionAborted))

    def test_lose_connection_before_the_handshake(self) -> None:
        """With nothing to say, it ends at once; with something, when that is said."""
        protocol, sock = self.begin()
        protocol.call("startTLS", self.server_tls())
        protocol.call("loseConnection")
        self.reactor.settle()
        self.assertIsInstance(protocol.reason.value, ConnectionDone)
        self.assertEqual(b"", sock.recv(10))
        protocol, sock = self.begin()
        protocol.call("startTLS", self.server_tls())
        protocol.call("write", b"goodbye")
        protocol.call("loseConnection")
        peer = self.peer_of(False, sock)
        self.run_peers(peer)
        self.assertEqual((b"goodbye", "close_notify"), (peer.plain, peer.end))
        self.assertIsInstance(protocol.reason.value, ConnectionDone)

    def test_lose_connection_while_we_still_send(self) -> None:
        """What was written in clear goes out first; then there is nothing to speak TLS for."""
        protocol, sock = self.begin()
        protocol.call("write", MUCH)
        protocol.call("startTLS", self.server_tls())
        protocol.call("loseConnection")
        clear = ClearPeer(sock, len(MUCH))
        self.run_peers(clear)  # type: ignore[arg-type]
        self.assertEqual(MUCH, clear.data)
        self.assertEqual(b"", sock.recv(10))
        self.assertIsInstance(protocol.reason.value, ConnectionDone)

    def test_lose_connection_with_something_behind(self) -> None:
        """The same with something to say over TLS: nothing is lost."""
        protocol, sock = self.begin()
        protocol.call("write", MUCH)
        protocol.call("startTLS", self.server_tls())
        protocol.call("write", b"behind")
        protocol.call("loseConnection")
        clear, peer = ClearPeer(sock, len(MUCH)), self.client(sock)
        peer.paused = True
        self.run_peers(peer)
        self.run_peers(clear)  # type: ignore[arg-type]
        peer.paused = False
        self.run_peers(peer)
        self.assertEqual((b"behind", "close_notify"), (peer.plain, peer.end))

    def test_abort(self) -> None:
        """At any moment."""
        for before in (b"", MUCH):
            protocol, _sock = self.begin()
            protocol.call("write", before)
            protocol.call("startTLS", self.server_tls())
            protocol.call("write", b"more")
            protocol.call("abortConnection")
            self.assertIsNone(protocol.reason)
            self.reactor.settle()
            self.assertIsInstance(protocol.reason.value, ConnectionAborted)
            self.assertEqual(b"", protocol.data)

    def test_nothing_is_left(self) -> None:
        """When it is over nothing refers to the connection."""
        protocol, sock = self.begin()
        protocol.call("startTLS", self.server_tls())
        vc = weakref.ref(protocol.transport.vc)
        peer = self.peer_of(False, sock)
        self.run_peers(peer)
        protocol.transport.loseConnection()
        self.run_peers(peer)
        protocol.transport = None
        gc.collect()
        self.assertIsNone(vc())

    # Mistakes.

    def test_mistakes_change_nothing(self) -> None:
        """What cannot be used is refused at once, and the connection goes on in clear."""
        protocol, sock = self.begin()

        class Broken:
            def getContext(self) -> Any:
                return 1 / 0

        self.assertRaises(TypeError, protocol.transport.startTLS, self.client_tls())
        self.assertRaises(TypeError, protocol.transport.startTLS, self.server_tls(), False)
        self.assertRaises(ZeroDivisionError, protocol.transport.startTLS, Broken())
        self.assertRaises(AttributeError, protocol.transport.startTLS, object())
        sock.send(b"still in clear")
        self.reactor.settle()
        self.assertEqual(b"still in clear", protocol.data)
        transport = protocol.transport
        transport.loseConnection()
        self.reactor.settle()
        self.assertRaises(LocalError, transport.startTLS, self.server_tls())

    def test_once(self) -> None:
        """TLS within TLS is not spoken: there is no such method any more."""
        protocol, _sock = self.begin()
        protocol.transport.startTLS(self.server_tls())
        self.assertFalse(ITLSTransport.providedBy(protocol.transport))
        self.assertFalse(hasattr(protocol.transport, "startTLS"))

    def test_a_listener_that_fails(self) -> None:
        """A bug in handshakeCompleted ends its connection."""
        protocol, sock = self.begin({"handshake": lambda p: 1 / 0})
        protocol.transport.startTLS(self.server_tls())
        peer = self.client(sock)
        self.run_peers(peer)
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.assertIsInstance(protocol.reason.value, ZeroDivisionError)


globals().update(StartTLSTests.make_test_case_classes())
del StartTLSTests


class EndpointTests(EndpointTestCase):
    """Endpoints in clear, with Twisted's own and with whatever stands in the place of a context factory."""

    @inlineCallbacks
    def _talk_tls(self, server: Any, client: Any, server_tls: Any, client_tls: Any) -> Any:
        """Talk in clear, and then over TLS."""
        factory = TalkerFactory(echoes=True)
        port = yield server.listen(factory)
        self.addCleanup(port.stopListening)
        self.factories.append(factory)
        protocol = yield self.talk(client(port))
        protocol.transport.startTLS(client_tls)
        factory.built[0].transport.startTLS(server_tls)
        protocol.transport.write(b" world")
        got = yield protocol.got(11)
        self.assertEqual(b"hello world", got)
        for talker in (protocol, factory.built[0]):
            self.assertTrue(ISSLTransport.providedBy(talker.transport))

    @inlineCallbacks
    def test_all_pairs(self) -> Any:
        """Ours with ours, with Twisted's, and the other way round; their settings and ours."""
        creator = ssl.optionsForClientTLS("localhost", trustRoot=roots())

        def ours(port: Any) -> Any:
            return TCPClientEndpoint(self.reactor, "127.0.0.1", port.getHost().port)

        def theirs(port: Any) -> Any:
            return TCP4ClientEndpoint(self.reactor, "127.0.0.1", port.getHost().port)

        for server_tls, client_tls in ((ServerTLS([local()]), trusting()), (options(), creator)):
            yield self._talk_tls(TCPServerEndpoint(self.reactor, 0), ours, server_tls, client_tls)
            yield self._talk_tls(TCPServerEndpoint(self.reactor, 0), theirs, server_tls, creator)
            yield self._talk_tls(TCP4ServerEndpoint(self.reactor, 0), ours, options(), client_tls)

    @inlineCallbacks
    def test_a_tls_port_that_takes_both(self) -> Any:
        """With allow_plain a client may begin with TLS, or in clear, and start TLS later."""
        port = yield self.serve(ServerTLS([local()], allow_plain=True))
        yield self.talk(self.client(port, trusting()))
        self.assertFalse(ITLSTransport.providedBy(self.factories[0].built[0].transport))
        plain = yield self.talk(TCPClientEndpoint(self.reactor, "127.0.0.1", port.getHost().port))
        server = self.factories[0].built[1]
        self.assertFalse(ISSLTransport.providedBy(server.transport))
        server.transport.startTLS(ServerTLS([local()]))
        plain.transport.startTLS(trusting())
        plain.transport.write(b" world")
        got = yield plain.got(11)
        self.assertEqual(b"hello world", got)


class KeptTests(SynchronousTestCase):
    """Settings that are used for one connection after another."""

    def test_contexts_are_made_once(self) -> None:
        """And are forgotten with the settings."""
        tls = ServerTLS([local()])
        self.assertIs(tls.kept_policy(0), tls.kept_policy(1))
        client = trusting()
        self.assertIs(client.kept_context(()), client.kept_context(()))
        self.assertIsNot(client.kept_context(()), client.kept_context((b"h2",)))
        policy = weakref.ref(tls.kept_policy(2).front)
        del tls
        gc.collect()
        self.assertIsNone(policy())
