# -*- test-case-name: tests.test_ways -*-
"""
An edge made in Python: L{atstls.edge.ways}, and the parts of L{atstls.edge.service} that need no configuration.
"""

import gc
import os
import select
import shutil
import socket
import tempfile
import weakref
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.internet.protocol import Factory
from twisted.logger import formatEvent, globalLogPublisher
from twisted.protocols.wire import Echo
from twisted.python.systemd import ListenFDs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from atstls.edge.listeners import Listener
from atstls.edge.original import ORIGINAL_DESTINATION
from atstls.edge.service import CannotStart, TLSEdgeService
from atstls.edge.ways import Forward, Reencrypt, Refuse, Serve, Tunnel
from atstls.endpoints import CertificateFolder, ClientTLS, ServerTLS
from atstls.errors import ConfigurationError
from atstls.events import EVENT_CONT, NET_EVENT_ACCEPT
from atstls.eventsystem.continuation import Continuation
from atstls.interfaces import IContinuation
from atstls.net.proxyheader import ProxyHeader
from atstls.session.tunnel import OneWayTunnel
from atstls.tls import alerts
from atstls.tls.contexts import ClientSettings, ClientVerification, ServerSettings
from atstls.tls.hooks import HookPoint, HookSet
from tests.support import HandReactor, received
from tests.tlssupport import OTHER_CA, TLSPeer, alert_in_clear, ca_file, issue, peer_client_context

NOBODY = ListenFDs([])
VERSIONS = ("TLSv1.2", "TLSv1.3")


class EchoFactory(Factory):
    """Sends back what comes, and knows how often it was started."""

    protocol = Echo
    noisy = False

    def __init__(self) -> None:
        self.began = 0
        self.ended = 0

    def startFactory(self) -> None:
        self.began += 1

    def stopFactory(self) -> None:
        self.ended += 1


@implementer(IProtocolNegotiationFactory)
class ChoosyFactory(EchoFactory):
    """One that says what it speaks."""

    def acceptableProtocols(self) -> list[bytes]:
        return [b"http/1.1"]


def own(*names: str, **more: Any) -> ServerTLS:
    """What a server shows, with a certificate for C{names}."""
    return ServerTLS([issue(*names or ("a.example",))], **more)


class WaysTestCase(SynchronousTestCase):
    """Tests with an edge and its clients, over the loopback, each turn made by hand."""

    def setUp(self) -> None:
        self.reactor = HandReactor()
        self.directory = tempfile.mkdtemp()  # trial's own have paths that are too long for a UNIX socket
        self.addCleanup(shutil.rmtree, self.directory)
        self.edge = TLSEdgeService(self.reactor, passed=NOBODY)
        handler = self.edge.machinery.handler
        handler.seconds, handler.now = self.reactor.seconds, self.reactor.seconds()
        self.events: list[Any] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        self.addCleanup(self.finish)
        self.factory = EchoFactory()

    def finish(self) -> None:
        """Everything is given back."""
        stopped = self.edge.stopService()
        self.edge.stop_at_once()
        self.successResultOf(stopped)
        self.reactor.settle()
        self.assertEqual((set(), set()), (self.reactor.readers, self.reactor.writers))
        self.assertEqual([], self.reactor.getDelayedCalls())
        self.assertEqual(self.factory.began, self.factory.ended)

    def lines(self) -> list[str]:
        """What the log says."""
        return [formatEvent(event) for event in self.events]

    def start(self) -> None:
        self.edge.privilegedStartService()
        self.edge.startService()

    def port(self, name: str) -> int:
        listener: Any = self.edge.getServiceNamed(name)
        port: int = listener.accept.get_host().port
        return port

    def client(self, listener: str, name: str | None = "a.example", version: str | None = None, **more: Any) -> TLSPeer:
        sock = socket.create_connection(("127.0.0.1", self.port(listener)))
        sock.setblocking(False)
        self.addCleanup(sock.close)
        return TLSPeer(sock, more.pop("context", None) or peer_client_context(version, **more), name=name)

    def run_until(self, true: Any, *peers: TLSPeer) -> None:
        def step() -> bool:
            for peer in peers:
                peer.pump()
            return bool(true())

        self.reactor.turn_until(step)

    def echoes(self, peer: TLSPeer, data: bytes = b"ping") -> None:
        """C{peer} gets back what it sends."""
        self.run_until(lambda: peer.done or peer.end or peer.reason, peer)
        self.assertTrue(peer.done, peer.reason or peer.end)
        peer.write(data)
        self.run_until(lambda: len(peer.plain) >= len(data) or peer.end or peer.reason, peer)
        self.assertEqual(data, bytes(peer.plain))

    def refused(self, peer: TLSPeer, alert: int) -> None:
        """C{peer} is told C{alert}, and nothing more."""
        self.run_until(lambda: peer.end, peer)
        self.assertFalse(peer.done)
        self.assertEqual(alert, alert_in_clear(peer.raw))

    def shown(self, peer: TLSPeer) -> x509.Certificate:
        certificate = peer.connection.get_peer_certificate()
        assert certificate is not None
        return certificate.to_cryptography()

    def lookups(self) -> int:
        return len(self.edge.machinery.handler.open_list)


class WayTests(WaysTestCase):
    """Where connections go."""

    def origins(self) -> None:
        """Two hosts behind the edge, which are this edge too: one in clear, one with a certificate for c.example."""
        self.edge.listen("plain", None, Serve(self.factory), port=0)
        self.edge.listen("origin", own("c.example"), Serve(self.factory), port=0)

    def test_each_way(self) -> None:
        """By name, by wildcard, without a name, and for all others; in both versions of TLS."""
        self.start()
        self.origins()
        trusting = ClientTLS(ClientSettings(ca_file=ca_file()))
        self.edge.listen(
            "https",
            own("a.example"),
            {
                "a.example": self.factory,
                "b.example": Forward(f"127.0.0.1:{self.port('plain')}"),
                "c.example": Reencrypt(f"127.0.0.1:{self.port('origin')}", trusting),
                "*.d.example": Tunnel(f"127.0.0.1:{self.port('origin')}"),
                "e.example": Refuse("it has not paid", alerts.ACCESS_DENIED),
                "": Serve(self.factory),
            },
            port=0,
        )
        for version in VERSIONS:
            for name in ("a.example", "b.example", "c.example", "x.d.example", None):
                peer = self.client("https", name, version)
                self.echoes(peer)
                whose = "c.example" if name == "x.d.example" else "a.example"
                self.assertEqual(issue(whose).leaf, self.shown(peer), name)
            self.refused(self.client("https", "e.example", version), alerts.ACCESS_DENIED)
            self.refused(self.client("https", "x.y.d.example", version), alerts.UNRECOGNIZED_NAME)
        self.assertEqual(1, self.factory.began)

    def test_everybody_one_way(self) -> None:
        """One way in the place of a table, or a table with a star."""
        self.edge.listen("one", own(), self.factory, port=0)
        self.edge.listen("star", own(), {"*": Serve(self.factory), "b.example": Refuse()}, port=0)
        self.start()
        for listener, name in (("one", "whoever.example"), ("one", None), ("star", "a.example"), ("star", None)):
            self.echoes(self.client(listener, name))
        self.refused(self.client("star", "b.example"), alerts.UNRECOGNIZED_NAME)

    def test_the_other_host_is_told_of_the_client(self) -> None:
        """Each way that goes on may say whom it brings, by the PROXY protocol, which the other side may ask for."""
        told: list[Any] = []

        def accepted(event: int, vc: Any) -> int:
            told.append(vc.proxy_header)
            OneWayTunnel(vc, vc)
            return EVENT_CONT

        way = Serve(Continuation(accepted))
        self.start()
        self.edge.listen("plain", None, way, port=0, flags=["pp"])
        self.edge.listen("origin", own("c.example", "d.example"), way, port=0, flags=["pp"])
        plain, origin = (f"127.0.0.1:{self.port(name)}" for name in ("plain", "origin"))
        ways = {
            "b.example": Forward(plain, proxy_out=1),
            "c.example": Reencrypt(origin, ClientTLS(ClientSettings(ca_file=ca_file())), proxy_out=2),
            "d.example": Tunnel(origin, proxy_out=2),
            "e.example": Forward(plain),
        }
        self.edge.listen("https", own(), ways, port=0)
        for version in VERSIONS:
            for name, number in (("b.example", 1), ("c.example", 2), ("d.example", 2), ("e.example", None)):
                peer = self.client("https", name, version)
                self.echoes(peer)
                header = told.pop()
                if number is None:
                    self.assertIsNone(header)
                    continue
                ends = peer.sock.getsockname(), peer.sock.getpeername()
                self.assertEqual(ProxyHeader(number, *ends), header)

    def test_a_state_machine(self) -> None:
        """A continuation of ours may be who is served by; it gets connections whose handshake is done."""

        def accepted(event: int, vc: Any) -> int:
            self.assertEqual((NET_EVENT_ACCEPT, True), (event, vc.get_ssl_handshake_complete()))
            OneWayTunnel(vc, vc)
            return EVENT_CONT

        self.edge.listen("https", own(), {"a.example": Continuation(accepted), "*": self.factory}, port=0)
        self.edge.listen("other", own(), Serve(Continuation(accepted)), port=0)
        self.start()
        for listener, name in (("https", "a.example"), ("https", "b.example"), ("other", None)):
            self.echoes(self.client(listener, name))

    def test_reencrypting_verifies(self) -> None:
        """The other host has to be who was asked for, and the client is not told that all is well."""
        self.start()
        self.origins()
        to = f"127.0.0.1:{self.port('origin')}"
        self.edge.listen("strict", own(), Reencrypt(to, ClientTLS(ClientSettings(ca_file=ca_file(OTHER_CA)))), port=0)
        peer = self.client("strict", "c.example")
        self.run_until(lambda: peer.end, peer)
        self.assertEqual((b"", "reset"), (bytes(peer.plain), peer.end))

    def test_protocols(self) -> None:
        """Offered is what the listener has and the destination speaks; a host that h2 is passed on to comes last."""
        self.start()
        self.origins()
        choosy = ChoosyFactory()
        ways = {
            "a.example": choosy,
            "b.example": Forward(f"127.0.0.1:{self.port('plain')}"),
            "c.example": self.factory,
        }
        self.edge.listen("https", own(), ways, port=0)
        self.edge.listen("own", own(alpn={b"echo": None}), {"a.example": self.factory, "b.example": choosy}, port=0)
        both = (b"h2", b"http/1.1")
        for listener, name, offered, chosen in (
            ("https", "a.example", both, b"http/1.1"),
            ("https", "b.example", both, b"http/1.1"),
            ("https", "c.example", both, b"h2"),
            ("own", "a.example", (b"echo", b"h2"), b"echo"),
        ):
            peer = self.client(listener, name, alpn=offered)
            self.echoes(peer)
            self.assertEqual(chosen, peer.connection.get_alpn_proto_negotiated(), name)
        self.refused(self.client("https", "a.example", alpn=(b"h2",)), alerts.NO_APPLICATION_PROTOCOL)

    def test_demands_of_one_name(self) -> None:
        """A name may have demands of its own: here, that clients show a certificate."""
        settings = ServerSettings(client_verification=ClientVerification.REQUIRED, client_ca_file=ca_file())
        strict = own("b.example", settings=settings)
        self.edge.listen("https", own(), {"a.example": self.factory, "b.example": Serve(self.factory, strict)}, port=0)
        self.start()
        for version in VERSIONS:
            self.echoes(self.client("https", "a.example", version))
            peer = self.client("https", "b.example", version)
            self.run_until(lambda peer=peer: peer.end, peer)
            # TLS 1.2 has no alert of its own for that (RFC 8446, section 6.2, has).
            self.assertIn("certificate" if version == "TLSv1.3" else "handshake failure", peer.reason)
            self.assertEqual(b"", bytes(peer.plain))

    def test_without_tls(self) -> None:
        """A listener without TLS has one way, and a UNIX socket will do."""
        path = os.path.join(self.directory, "edge.sock")
        self.edge.listen("plain", None, self.factory, unix=path)
        self.edge.listen("onward", None, Forward(f"unix:{path}"), port=0)
        self.edge.listen("shut", None, Refuse(), port=0)
        self.start()
        for listener, answer in (("onward", b"ping"), ("shut", b"")):
            client = socket.create_connection(("127.0.0.1", self.port(listener)))
            client.setblocking(False)
            self.addCleanup(client.close)
            client.send(b"ping")
            self.reactor.turn_until(lambda client=client: came(client))
            self.assertEqual(answer, received(client) if answer else reset(client))

    def test_introduced_clients(self) -> None:
        """Who is introduced by a header of the PROXY protocol is who it says, where that may be said."""
        asked: list[Any] = []

        def look_up(vc: Any) -> Any:
            asked.append(vc.get_remote_addr()[0])
            return self.factory

        self.edge.listen(
            "https",
            own(),
            look_up,
            port=0,
            flags=["pp", "pp-clnt"],
            proxy_protocol_allowlist=(ip_network("127.0.0.0/8"),),
        )
        self.start()
        peer = self.client("https")
        peer.sock.send(b"PROXY TCP4 192.0.2.9 192.0.2.1 4711 443\r\n")
        self.echoes(peer)
        self.assertEqual(["192.0.2.9"], asked)

    def test_a_new_table(self) -> None:
        """A listener's ways can be exchanged while it listens."""
        listener = self.edge.listen("https", own(), Refuse(), port=0)
        self.start()
        self.refused(self.client("https"), alerts.UNRECOGNIZED_NAME)
        listener.plan = self.edge.plan_for(listener.plan.config, own(), {"a.example": self.factory})
        self.echoes(self.client("https"))
        self.refused(self.client("https", "b.example"), alerts.UNRECOGNIZED_NAME)

    def test_a_folder_of_certificates(self) -> None:
        """What a folder holds now is shown, also where listeners share it, or their settings."""
        folder = Path(self.mktemp())
        folder.mkdir(parents=True)
        write_pem(folder / "a.pem", "a.example")
        tls = ServerTLS(CertificateFolder(str(folder)))
        self.edge.listen("one", tls, self.factory, port=0)
        self.edge.listen("two", tls, self.factory, port=0)
        self.edge.listen("three", evolve(tls, handshake_timeout_seconds=9), self.factory, port=0)
        self.start()
        names = ("one", "two", "three")
        for peer in map(self.client, names):
            self.echoes(peer)
            self.assertEqual(issue("a.example").leaf, self.shown(peer))
        os.remove(folder / "a.pem")
        write_pem(folder / "b.pem", "b.example")
        self.reactor.turn(11)
        for peer in map(self.client, names):
            self.echoes(peer)
            self.assertEqual(issue("b.example").leaf, self.shown(peer))


def came(sock: socket.socket) -> bool:
    """Is there anything to be read, be it the end?"""
    return bool(select.select([sock], [], [], 0)[0])


def reset(sock: socket.socket) -> bytes:
    """What a connection gives that was reset: nothing."""
    try:
        return sock.recv(1)
    except ConnectionResetError:
        return b""


def write_pem(path: Path, *names: str) -> None:
    """A file with a certificate, its chain and its key."""
    certificate = issue(*names)
    key = certificate.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    links = (certificate.leaf, *certificate.chain)
    path.write_bytes(key + b"".join(link.public_bytes(Encoding.PEM) for link in links))


class LookUpTests(WaysTestCase):
    """Ways that are not known before somebody asks for them."""

    def test_at_once_or_later(self) -> None:
        """A value, a Deferred, a coroutine; each told of the connection, and asked once."""
        asked: list[str] = []

        def plain(vc: Any) -> Any:
            asked.append(vc.server_name)
            return self.factory

        async def coroutine(vc: Any) -> Any:
            return await succeed(plain(vc))

        ways = {
            "a.example": plain,
            "b.example": lambda vc: succeed(Serve(plain(vc))),
            "c.example": coroutine,
            "d.example": lambda vc: Refuse("not today", alerts.ACCESS_DENIED),
            "e.example": lambda vc: None,
        }
        self.edge.listen("https", own(), ways, port=0)
        self.start()
        for version in VERSIONS:
            for name in ("a.example", "b.example", "c.example"):
                self.echoes(self.client("https", name, version))
            self.refused(self.client("https", "d.example", version), alerts.ACCESS_DENIED)
            self.refused(self.client("https", "e.example", version), alerts.UNRECOGNIZED_NAME)
        self.assertEqual(["a.example", "b.example", "c.example"] * 2, asked)
        self.assertEqual(1, self.factory.began)

    def test_waiting(self) -> None:
        """While somebody waits for his way, others go theirs; and a tunnel may be the answer."""
        answer: Deferred[Any] = Deferred()
        asked: list[Any] = []

        def look_up(vc: Any) -> Any:
            asked.append(vc.server_name)
            return answer

        self.edge.listen("origin", own("c.example"), self.factory, port=0)
        self.edge.listen("https", own(), {"a.example": self.factory, "*": look_up}, port=0)
        self.start()
        waiting = self.client("https", "c.example")
        self.run_until(lambda: asked, waiting)
        self.echoes(self.client("https"))
        self.assertFalse(waiting.done)
        answer.callback(Tunnel(f"127.0.0.1:{self.port('origin')}"))
        self.echoes(waiting)
        self.assertEqual(issue("c.example").leaf, self.shown(waiting))

    def test_it_never_answers(self) -> None:
        """The handshake's deadline holds."""
        asked: list[Any] = []

        def look_up(vc: Any) -> Any:
            asked.append(vc.server_name)
            return Deferred()

        self.edge.listen("https", own(handshake_timeout_seconds=5), look_up, port=0)
        self.start()
        peer = self.client("https")
        self.run_until(lambda: asked, peer)
        for _ in range(7):
            self.reactor.turn(1)
        self.run_until(lambda: peer.end, peer)
        self.assertFalse(peer.done)

    def test_who_asked_has_left(self) -> None:
        """The answer comes too late: nothing is done with it, and nothing is kept of the connection."""
        answer: Deferred[Any] = Deferred()
        seen: list[Any] = []

        def look_up(vc: Any) -> Any:
            seen.append(weakref.ref(vc))
            return answer

        self.edge.listen("https", own(handshake_timeout_seconds=5), look_up, port=0)
        self.start()
        peer = self.client("https")
        self.run_until(lambda: seen, peer)
        for _ in range(7):
            self.reactor.turn(1)
        self.reactor.turn_until(lambda: not self.lookups())
        answer.callback(Serve(self.factory))
        self.reactor.settle()
        self.assertEqual(0, self.factory.began)
        self.events.clear()  # they name the connection
        gc.collect()
        self.assertIsNone(seen[0]())

    def test_what_goes_wrong(self) -> None:
        """One that raises or answers nonsense refuses its own connection, and the log has it."""

        def broken(vc: Any) -> Any:
            raise ZeroDivisionError

        ways = {
            "a.example": broken,
            "b.example": lambda vc: fail(ZeroDivisionError()),
            "c.example": lambda vc: "c.example:80",
            "d.example": lambda vc: broken,
            "e.example": self.factory,
        }
        self.edge.listen("https", own(), ways, port=0)
        self.start()
        for name in ways:
            peer = self.client("https", name)
            if name == "e.example":
                self.echoes(peer)
            else:
                self.run_until(lambda peer=peer: peer.end, peer)
                self.assertFalse(peer.done, name)
        self.assertEqual(2, len(self.flushLoggedErrors(ZeroDivisionError)))
        for answer in ("'c.example:80'", "broken at"):
            self.assertEqual(1, len([line for line in self.lines() if answer in line and "not a way" in line]))

    def test_without_a_hello(self) -> None:
        """Bytes that are no TLS ask for no name: there is nobody to look it up for."""
        asked: list[Any] = []
        self.edge.listen("https", own(), asked.append, port=0, flags=["allow-plain"])
        self.start()
        client = socket.create_connection(("127.0.0.1", self.port("https")))
        client.setblocking(False)
        self.addCleanup(client.close)
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        self.reactor.turn_until(lambda: came(client))
        self.assertEqual((b"", []), (reset(client), asked))


class MistakeTests(WaysTestCase):
    """What cannot be."""

    def wrong(self, words: str, *arguments: Any, **more: Any) -> None:
        more = more or {"port": 0}
        exc = self.assertRaises(ConfigurationError, self.edge.listen, *arguments, **more)
        self.assertIn(words, str(exc))
        self.assertEqual([], self.edge.listeners)

    def test_mistakes(self) -> None:
        """They are told in words, before anything listens."""
        fac = self.factory
        self.wrong("'a b' is no server name", "x", own(), {"a b": fac})
        self.wrong("nobody asks for a name", "x", None, {"a.example": fac})
        self.wrong("12 is not a way", "x", own(), {"a.example": 12})
        self.wrong("exactly one of port, unix, fd, systemd", "x", own(), fac, port=0, fd=3)
        self.wrong("exactly one of port, unix, fd, systemd", "x", own(), fac, interface="::1")
        self.wrong("needs a certificate", "x", ServerTLS([]), fac)
        self.wrong("who speaks a protocol is said by the ways", "x", own(alpn={b"echo": fac}), fac)
        hooked = own(hooks=HookSet([(HookPoint.CERT, print)]))
        self.wrong("not those of one way", "x", own(), Serve(fac, hooked))
        for to in ("b.example", "b.example:0", "unix:", "::1:80", ""):
            for way in (Forward, Reencrypt, Tunnel):
                self.assertRaises(ConfigurationError, way, to)
        for to in ("$1.internal:80", "b.example:{inbound_local_port}"):
            error = self.assertRaises(ConfigurationError, Forward, to)
            self.assertIn("a part of it is a variable", str(error))
        self.assertEqual(("b.example", 80), Forward("B.example:80").address)
        self.assertEqual("/a/b", Tunnel("unix:/a/b").address)
        self.assertIs(ORIGINAL_DESTINATION, Tunnel("{original_destination}").address)

    def test_said_elsewhere(self) -> None:
        """What a section of the configuration would say, and a way or the settings of TLS say here."""
        for key, words in (("site", "the ways"), ("forward_route", "the ways"), ("alpn", "tls"), ("hook_cert", "tls")):
            self.wrong(f"x: {key}: it is said by {words}", "x", own(), self.factory, port=0, **{key: None})
        self.assertRaises(TypeError, self.edge.listen, "x", own(), self.factory, port=0, nonsense=1)

    def test_ports_in_use(self) -> None:
        """Before the start they are told together; afterwards at once, and nothing is left."""
        with socket.create_server(("127.0.0.1", 0)) as one:
            port = one.getsockname()[1]
            self.edge.listen("taken", own(), self.factory, port=port)
            self.edge.listen("free", own(), self.factory, port=0)
            exc = self.assertRaises(CannotStart, self.edge.privilegedStartService)
            self.assertEqual([f"[listen taken] port: 127.0.0.1:{port}: the port is in use"], exc.lines)
            self.assertEqual((set(), set()), (self.reactor.readers, self.reactor.writers))
            self.edge.getServiceNamed("taken").disownServiceParent()
            self.start()
            self.assertRaises(ConfigurationError, self.edge.listen, "late", own(), self.factory, port=port)
        self.assertEqual(["free"], [listener.name for listener in self.edge.listeners])


class ServiceTests(WaysTestCase):
    """An edge among Twisted's services."""

    def test_parts(self) -> None:
        """It is made of services, and is one; listeners are found by name, come and go while it runs."""
        above = MultiService()
        self.edge.setServiceParent(above)
        listener = self.edge.listen("https", own(), self.factory, port=0)
        self.assertIsInstance(listener, Listener)
        self.assertIs(listener, self.edge.getServiceNamed("https"))
        self.assertEqual([listener], self.edge.listeners)
        above.privilegedStartService()
        above.startService()
        self.echoes(self.client("https"))
        more = self.edge.listen("more", own(), self.factory, port=0)
        self.echoes(self.client("more"))
        port = self.port("more")
        more.disownServiceParent()
        self.assertRaises(ConnectionRefusedError, socket.create_connection, ("127.0.0.1", port))
        self.assertEqual([listener], self.edge.listeners)
        self.assertEqual(1, self.factory.began)

    def test_what_stands_below_it(self) -> None:
        """Services that others put below it are stopped when the last connection is gone, and waited for."""
        events: list[str] = []
        done: Deferred[None] = Deferred()

        class Pool(Service):
            def privilegedStartService(self) -> None:
                events.append("privileged")

            def startService(self) -> None:
                events.append("start")

            def stopService(self) -> Deferred[None]:
                events.append("stop")
                return done

        class Broken(Service):
            def stopService(self) -> None:
                raise ZeroDivisionError

        Pool().setServiceParent(self.edge)
        Broken().setServiceParent(self.edge)
        self.edge.listen("https", own(), self.factory, port=0)
        self.start()
        peer = self.client("https")
        self.echoes(peer)
        stopped = self.edge.stopService()
        self.assertEqual(["privileged", "start"], events)
        peer.sock.close()
        self.reactor.turn_until(lambda: not self.lookups())
        self.reactor.turn(0.1)
        self.assertEqual(["privileged", "start", "stop"], events)
        self.assertNoResult(stopped)
        done.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_hooks(self) -> None:
        """Those of the listener's settings are asked, after the way was found."""
        seen: list[Any] = []
        other = issue("other.example")

        def certificate(vc: Any) -> None:
            seen.append(vc.server_name)
            vc.ssl_context_set(evolve(tls).table([other]).default)

        tls = own(hooks=HookSet([(HookPoint.CERT, certificate)]))
        self.edge.listen("https", tls, self.factory, port=0)
        self.start()
        peer = self.client("https")
        self.echoes(peer)
        self.assertEqual((["a.example"], other.leaf), (seen, self.shown(peer)))

    def test_interfaces(self) -> None:
        """What gets connections is a continuation."""
        plan = self.edge.plan_for(self.edge.listen("x", own(), Refuse(), port=0).plan.config, own(), Refuse())
        verifyObject(IContinuation, plan.table.default.destination)
