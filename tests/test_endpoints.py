"""
Endpoints, over the loopback and the reactor that trial runs: nothing here waits for more than a handshake.

After each test the reactor has to be clean: no port, no connection, no call and no descriptor of ours is left.
"""

import gc
import inspect
import re
import shutil
import socket
import tempfile
import textwrap
import weakref
from pathlib import Path
from typing import Any

import trustme
from attrs import evolve
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from OpenSSL import SSL
from twisted.internet import error, ssl
from twisted.internet.defer import CancelledError, Deferred, gatherResults, inlineCallbacks
from twisted.internet.endpoints import (
    HostnameEndpoint,
    SSL4ClientEndpoint,
    SSL4ServerEndpoint,
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    UNIXClientEndpoint,
    clientFromString,
    serverFromString,
    wrapClientTLS,
)
from twisted.internet.interfaces import (
    IListeningPort,
    IOpenSSLClientConnectionCreator,
    IProtocolNegotiationFactory,
    ISSLTransport,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.plugin import IPlugin
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from atstls.endpoints import (
    ClientEndpointParser,
    ClientTLS,
    ServerEndpointParser,
    ServerTLS,
    SharedHandler,
    SSLClientEndpoint,
    SSLServerEndpoint,
    handler_for,
    load_folder,
    settings,
    strings,
)
from atstls.endpoints.client import port_number
from atstls.errors import ConfigurationError, HandshakeFailed, VerifyFailed
from atstls.net.connection import AcceptOptions
from atstls.session.protocol import TLSNetVCTransport
from atstls.tls.certificates import Certificate
from atstls.tls.contexts import ClientSettings, ClientVerification, ServerSettings
from atstls.tls.hooks import HookPoint, HookSet
from atstls.tls.sessions import OriginSessions
from atstls.tls.verify import VerifyPolicy
from tests.support import HandReactor
from tests.tlssupport import CA, OTHER_CA, ca_file, issue

LOCAL = ("localhost", "127.0.0.1", "::1")


def local(ca: trustme.CA = CA) -> Certificate:
    """A certificate for this host, as one that was read from a file: its addresses are no host names."""
    return evolve(issue(*LOCAL, ca=ca), names=("localhost",))


def pem_of(certificate: Certificate) -> bytes:
    """The key, the certificate and its chain."""
    key = certificate.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return key + b"".join(link.public_bytes(Encoding.PEM) for link in (certificate.leaf, *certificate.chain))


def options(*names: str, **more: Any) -> ssl.CertificateOptions:
    """Twisted's own settings of a server, with a certificate for C{names}."""
    certificate: ssl.CertificateOptions = ssl.PrivateCertificate.loadPEM(pem_of(issue(*(names or LOCAL)))).options(
        *more.pop("authorities", ())
    )
    return certificate


def roots(ca: trustme.CA = CA) -> Any:
    """Twisted's way to trust C{ca}."""
    return ssl.Certificate.loadPEM(ca.cert_pem.bytes())


class Talker(Protocol):
    """
    Sends back what comes.

    @ivar received: what came.
    @ivar lost: fires with the reason when the connection is lost.
    """

    def __init__(self) -> None:
        self.received = b""
        self.made = 0
        self.lost: Deferred[Any] = Deferred()
        self.waiting: list[tuple[int, Deferred[bytes]]] = []
        self.echoes = False

    def connectionMade(self) -> None:
        self.made += 1

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if self.echoes:
            assert self.transport is not None
            self.transport.write(data)
        waiting, self.waiting = self.waiting, []
        for nbytes, deferred in waiting:
            if len(self.received) >= nbytes:
                deferred.callback(self.received)
            else:
                self.waiting.append((nbytes, deferred))

    def connectionLost(self, reason: Any = None) -> None:
        self.lost.callback(reason.value)

    def got(self, nbytes: int) -> "Deferred[bytes]":
        """All that came, when it is C{nbytes}."""
        deferred: Deferred[bytes] = Deferred()
        if len(self.received) >= nbytes:
            deferred.callback(self.received)
        else:
            self.waiting.append((nbytes, deferred))
        return deferred


class TalkerFactory(Factory):
    """
    @ivar built: the protocols.
    @ivar peers: the addresses that C{buildProtocol} was called with.
    @ivar running: how often it was started and not stopped.
    """

    noisy = False

    def __init__(self, echoes: bool = False, refuses: bool = False) -> None:
        self.built: list[Talker] = []
        self.peers: list[Any] = []
        self.running = 0
        self.echoes = echoes
        self.refuses = refuses

    def startFactory(self) -> None:
        self.running += 1

    def stopFactory(self) -> None:
        self.running -= 1

    def buildProtocol(self, addr: Any) -> Any:
        self.peers.append(addr)
        if self.refuses:
            return None
        protocol = Talker()
        protocol.echoes = self.echoes
        self.built.append(protocol)
        return protocol


@implementer(IProtocolNegotiationFactory)
class SpeakingFactory(TalkerFactory):
    """One that says what it speaks."""

    def __init__(self, *names: bytes, echoes: bool = False) -> None:
        super().__init__(echoes)
        self.names = list(names)

    def acceptableProtocols(self) -> list[bytes]:
        return self.names


class EndpointTestCase(TestCase):
    """Tests over the loopback."""

    timeout = 20

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self._protocols: list[Talker] = []

    @inlineCallbacks
    def tearDown(self) -> Any:
        # trial's cleanups come before: no port is open any more.
        for protocol in self._protocols:
            if protocol.made and not protocol.lost.called:
                assert protocol.transport is not None
                protocol.transport.loseConnection()
                yield protocol.lost
        for factory in self.factories:
            for protocol in factory.built:
                if not protocol.lost.called:
                    yield protocol.lost
        shared = handler_for(self.reactor)
        for _ in range(200):
            if not shared.in_use:
                break
            yield self.wait(0.01)
        self.assertFalse(shared.in_use, shared.handler.open_list)
        self.assertEqual([0] * len(self.factories), [factory.running for factory in self.factories])

    @property
    def factories(self) -> list[TalkerFactory]:
        """The factories of servers."""
        return self.__dict__.setdefault("_factories", [])

    def wait(self, seconds: float) -> "Deferred[None]":
        """Let the reactor turn."""
        deferred: Deferred[None] = Deferred()
        self.reactor.callLater(seconds, deferred.callback, None)
        return deferred

    @inlineCallbacks
    def serve(self, tls: Any, factory: TalkerFactory | None = None, interface: str = "127.0.0.1") -> Any:
        """A port that echoes, until the end of the test."""
        factory = factory or TalkerFactory(echoes=True)
        self.factories.append(factory)
        port = yield SSLServerEndpoint(self.reactor, 0, tls, interface=interface).listen(factory)
        self.addCleanup(port.stopListening)
        return port

    def client(self, port: Any, tls: Any, host: str = "127.0.0.1", **more: Any) -> SSLClientEndpoint:
        """Who connects to C{port}."""
        return SSLClientEndpoint(self.reactor, host, port.getHost().port, tls, **more)

    @inlineCallbacks
    def talk(self, endpoint: Any, factory: TalkerFactory | None = None) -> Any:
        """Connect, send, and get it back.  The protocol."""
        protocol = yield endpoint.connect(factory or TalkerFactory())
        self._protocols.append(protocol)
        protocol.transport.write(b"hello")
        got = yield protocol.got(5)
        self.assertEqual(b"hello", got)
        return protocol


def trusting(name: str | None = "localhost") -> ClientTLS:
    """A client that trusts L{CA} and means C{name}."""
    return ClientTLS(ClientSettings(ca_file=ca_file()), server_name=name)


class BothSidesTests(EndpointTestCase):
    """Whatever stands in the place of the context factory, on either side, two ends find each other."""

    @inlineCallbacks
    def test_settings_of_ours(self) -> Any:
        """With our own settings on both sides the bytes go there and back, and the transport is one of TLS."""
        port = yield self.serve(ServerTLS([local()]))
        protocol = yield self.talk(self.client(port, trusting()))
        self.assertIsInstance(protocol.transport, TLSNetVCTransport)
        self.assertTrue(ISSLTransport.providedBy(protocol.transport))
        self.assertEqual(port.getHost().port, protocol.transport.getPeer().port)

    @inlineCallbacks
    def test_certificate_options_and_options_for_client(self) -> Any:
        """What people have in their programs now works as it stands, and verifies the name."""
        port = yield self.serve(options())
        creator = ssl.optionsForClientTLS("localhost", trustRoot=roots())
        protocol = yield self.talk(self.client(port, creator))
        self.assertIn(
            b"localhost", protocol.transport.getPeerCertificate().to_cryptography().public_bytes(Encoding.DER)
        )

    @inlineCallbacks
    def test_plain_context_factories(self) -> Any:
        """Objects with getContext() alone, the oldest way of all."""
        path = self.mktemp()
        Path(path).write_bytes(pem_of(issue(*LOCAL)))
        port = yield self.serve(ssl.DefaultOpenSSLContextFactory(path, path))
        for context_factory in (ssl.ClientContextFactory(), ssl.CertificateOptions()):
            yield self.talk(self.client(port, context_factory))

    @inlineCallbacks
    def test_twisteds_client_and_our_server(self) -> Any:
        """One side may be moved before the other."""
        port = yield self.serve(ServerTLS([local()]))
        creator = ssl.optionsForClientTLS("localhost", trustRoot=roots())
        yield self.talk(SSL4ClientEndpoint(self.reactor, "127.0.0.1", port.getHost().port, creator))
        yield self.talk(wrapClientTLS(creator, HostnameEndpoint(self.reactor, b"127.0.0.1", port.getHost().port)))

    @inlineCallbacks
    def test_our_client_and_twisteds_server(self) -> Any:
        """And the other way round."""
        factory = TalkerFactory(echoes=True)
        port = yield SSL4ServerEndpoint(self.reactor, 0, options(), interface="127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        protocol = yield self.talk(self.client(port, trusting()))
        protocol.transport.loseConnection()
        yield factory.built[0].lost

    @inlineCallbacks
    def test_ipv6(self) -> Any:
        """The same over IPv6, and the addresses say so."""
        port = yield self.serve(ServerTLS([local()]), interface="::1")
        protocol = yield self.talk(self.client(port, trusting(), host="::1"))
        self.assertEqual(("::1", "TCP"), (protocol.transport.getPeer().host, protocol.transport.getPeer().type))
        self.assertEqual("::1", self.factories[0].peers[0].host)

    @inlineCallbacks
    def test_names_are_resolved(self) -> Any:
        """A host may be a name, which is asked for and looked for in the certificate."""
        port = yield self.serve(ServerTLS([local()]))
        tls = trusting(None)
        yield self.talk(self.client(port, tls, host="localhost"))

    @inlineCallbacks
    def test_an_address_is_looked_for_in_the_certificate(self) -> Any:
        """Who connects to an address may have a certificate for it."""
        port = yield self.serve(ServerTLS([local()]))
        yield self.talk(self.client(port, trusting(None)))

    @inlineCallbacks
    def test_unix_socket(self) -> Any:
        """The same endpoint on a UNIX socket; its peers have no name."""
        directory = tempfile.mkdtemp(prefix="atstls")  # trial's own names are too long for a socket's
        self.addCleanup(shutil.rmtree, directory)
        path = f"{directory}/socket"
        factory = TalkerFactory(echoes=True)
        self.factories.append(factory)
        endpoint = SSLServerEndpoint.on_socket(self.reactor, AcceptOptions(unix_path=path), options())
        port = yield endpoint.listen(factory)
        self.addCleanup(port.stopListening)  # before the directory goes
        self.assertEqual(path.encode(), port.getHost().name)
        creator = ssl.optionsForClientTLS("localhost", trustRoot=roots())
        yield self.talk(wrapClientTLS(creator, UNIXClientEndpoint(self.reactor, path)))
        self.assertIsNone(factory.peers[0].name)

    @inlineCallbacks
    def test_inherited_socket(self) -> Any:
        """The same on a socket that somebody else has opened."""
        with socket.create_server(("127.0.0.1", 0)) as opened:
            factory = TalkerFactory(echoes=True)
            self.factories.append(factory)
            inherited = AcceptOptions(fd=opened.fileno())
            port = yield SSLServerEndpoint.on_socket(self.reactor, inherited, options()).listen(factory)
        self.addCleanup(port.stopListening)
        yield self.talk(self.client(port, trusting()))

    @inlineCallbacks
    def test_bind_address(self) -> Any:
        """Where the connection comes from can be said."""
        port = yield self.serve(ServerTLS([local()]))
        yield self.talk(self.client(port, trusting(), bindAddress=("127.0.0.5", 0)))
        self.assertEqual("127.0.0.5", self.factories[0].peers[0].host)


class ServerTests(EndpointTestCase):
    """What a port does."""

    @inlineCallbacks
    def test_the_port(self) -> Any:
        """It is an IListeningPort: it can be closed and opened again; the factory is started and stopped with it."""
        factory = TalkerFactory()
        self.factories.append(factory)
        port = yield SSLServerEndpoint(self.reactor, 0, options(), interface="127.0.0.1").listen(factory)
        self.assertTrue(verifyObject(IListeningPort, port))
        self.assertEqual(("127.0.0.1", 1), (port.getHost().host, factory.running))
        self.assertTrue(handler_for(self.reactor).in_use)
        yield port.stopListening()
        yield port.stopListening()
        self.assertEqual(0, factory.running)
        self.assertFalse(handler_for(self.reactor).in_use)
        port.startListening()
        self.assertEqual(1, factory.running)
        yield port.stopListening()

    @inlineCallbacks
    def test_a_port_in_use(self) -> Any:
        """It cannot be opened, which the Deferred tells, and nothing is left behind."""
        port = yield self.serve(options())
        number = port.getHost().port
        factory = TalkerFactory()
        again = SSLServerEndpoint(self.reactor, number, options(), interface="127.0.0.1").listen(factory)
        yield self.assertFailure(again, error.CannotListenError)
        self.assertEqual(0, factory.running)

    @inlineCallbacks
    def test_a_protocol_is_built_after_the_handshake(self) -> Any:
        """Who only connects, or says nonsense, costs the application nothing."""
        port = yield self.serve(options())
        silent = yield TCP4ClientEndpoint(self.reactor, "127.0.0.1", port.getHost().port).connect(TalkerFactory())
        silent.transport.write(b"GET / HTTP/1.0\r\n\r\n")
        yield silent.lost
        self.assertEqual([], self.factories[0].peers)

    @inlineCallbacks
    def test_the_peer_is_right(self) -> Any:
        """buildProtocol and the transport know who it is."""
        port = yield self.serve(options())
        client = yield self.talk(self.client(port, trusting()))
        host = client.transport.getHost()
        (peer,) = self.factories[0].peers
        self.assertEqual(host, peer)
        server = self.factories[0].built[0].transport
        assert server is not None
        self.assertEqual((host, port.getHost()), (server.getPeer(), server.getHost()))

    @inlineCallbacks
    def test_a_factory_may_refuse(self) -> Any:
        """buildProtocol that gives None closes the connection."""
        port = yield self.serve(options(), TalkerFactory(refuses=True))
        protocol = yield self.client(port, trusting()).connect(TalkerFactory())
        yield protocol.lost
        self.assertEqual([], self.factories[0].built)

    @inlineCallbacks
    def test_alpn_of_the_factory(self) -> Any:
        """What a factory says that it speaks is offered, whichever way the TLS settings are given."""
        path = self.mktemp()
        Path(path).write_bytes(pem_of(issue(*LOCAL)))
        for tls in (ServerTLS([local()]), options(), ssl.DefaultOpenSSLContextFactory(path, path)):
            port = yield self.serve(tls, SpeakingFactory(b"two", b"one", echoes=True))
            for client in (
                trusting(),
                ssl.optionsForClientTLS("localhost", trustRoot=roots()),
                ssl.ClientContextFactory(),
            ):
                protocol = yield self.talk(self.client(port, client), SpeakingFactory(b"one", b"two"))
                self.assertEqual(b"two", protocol.transport.negotiatedProtocol, (tls, client))
                server = self.factories[-1].built[-1].transport
                self.assertEqual(b"two", server.negotiatedProtocol)  # type: ignore[union-attr]

    @inlineCallbacks
    def test_a_context_that_was_used_stays_without_alpn(self) -> Any:
        """It cannot be changed any more; the connection works all the same."""
        path = self.mktemp()
        Path(path).write_bytes(pem_of(issue(*LOCAL)))
        contexts = ssl.DefaultOpenSSLContextFactory(path, path)
        SSL.Connection(contexts.getContext(), None)
        port = yield self.serve(contexts, SpeakingFactory(b"one", echoes=True))
        protocol = yield self.talk(self.client(port, trusting()), SpeakingFactory(b"one"))
        self.assertIsNone(protocol.transport.negotiatedProtocol)

    @inlineCallbacks
    def test_a_factory_for_each_protocol(self) -> Any:
        """With our settings each protocol may have a factory, which is started and stopped too."""
        special = TalkerFactory(echoes=True)
        self.factories.append(special)
        port = yield self.serve(ServerTLS([local()], alpn={b"special": special, b"general": None}))
        self.assertEqual(1, special.running)
        yield self.talk(self.client(port, trusting()), SpeakingFactory(b"general", b"special"))
        self.assertEqual([1, 0], [len(factory.built) for factory in self.factories])
        yield self.talk(self.client(port, trusting()), SpeakingFactory(b"general"))
        self.assertEqual([1, 1], [len(factory.built) for factory in self.factories])
        nobody = self.client(port, trusting()).connect(SpeakingFactory(b"other"))
        failure = yield self.assertFailure(nobody, HandshakeFailed)
        self.assertIn("no application protocol", str(failure))

    @inlineCallbacks
    def test_certificates_by_name(self) -> Any:
        """The name that is asked for chooses the certificate, by our settings and by a creator's call-back."""
        port = yield self.serve(ServerTLS([local(), issue("a.example"), issue("*.b.example")]))
        for name in ("localhost", "a.example", "x.b.example"):
            yield self.talk(self.client(port, trusting(name)))
        by_name = {b"a.example": options("a.example").getContext()}
        creator = options()
        creator._contextForServerName = by_name.get  # what the argument contextForServerName sets
        port = yield self.serve(creator)
        for name in ("localhost", "a.example"):
            yield self.talk(self.client(port, trusting(name)))

    @inlineCallbacks
    def test_hooks(self) -> Any:
        """Hooks are asked about each connection, and can refuse it."""
        asked = []

        def hook(vc: Any) -> None:
            asked.append(vc.server_name)
            if vc.server_name == "a.example":
                vc.refuse(49, "not you")

        tls = ServerTLS([local(), issue("a.example")], hooks=HookSet([(HookPoint.SERVERNAME, hook)]))
        port = yield self.serve(tls)
        yield self.talk(self.client(port, trusting()))
        refused = self.client(port, trusting("a.example"))
        failure = yield self.assertFailure(refused.connect(TalkerFactory()), HandshakeFailed)
        self.assertIn("access denied", str(failure))
        self.assertEqual(["localhost", "a.example"], asked)

    @inlineCallbacks
    def test_mutual_tls(self) -> Any:
        """A client's certificate can be demanded, by our settings and by Twisted's."""
        settings = ServerSettings(client_verification=ClientVerification.REQUIRED, client_ca_file=ca_file())
        twisteds = ssl.PrivateCertificate.loadPEM(pem_of(issue(*LOCAL))).options(roots())
        for tls in (ServerTLS([local()], settings=settings), twisteds):
            port = yield self.serve(tls)
            shown = ClientSettings(ca_file=ca_file(), certificate=issue("client.example"))
            yield self.talk(self.client(port, ClientTLS(shown, server_name="localhost")))
            server: Any = self.factories[-1].built[0].transport
            self.assertIsNotNone(server.getPeerCertificate())
            theirs = ssl.PrivateCertificate.loadPEM(pem_of(issue("client.example")))
            yield self.talk(self.client(port, ssl.optionsForClientTLS("localhost", roots(), theirs)))
            built = len(self.factories[-1].built)
            # Over TLS 1.3 a client hears of it after its own handshake.
            older = ClientSettings(ca_file=ca_file(), version_max="TLSv1.2")
            nobody = self.client(port, ClientTLS(older, server_name="localhost"))
            yield self.assertFailure(nobody.connect(TalkerFactory()), HandshakeFailed)
            self.assertEqual(built, len(self.factories[-1].built))

    @inlineCallbacks
    def test_a_slow_handshake_has_an_end(self) -> Any:
        """Who connects and says nothing is closed after the time that was set."""
        port = yield self.serve(ServerTLS([local()], handshake_timeout_seconds=0.1))
        silent = yield TCP4ClientEndpoint(self.reactor, "127.0.0.1", port.getHost().port).connect(TalkerFactory())
        yield silent.lost
        self.assertEqual([], self.factories[0].peers)

    def test_settings_that_cannot_be_used(self) -> None:
        """They fail the Deferred of listen()."""
        for wrong, kind in (
            (ServerTLS([]), ConfigurationError),
            (ServerTLS([issue("a.example")], alpn={b"": None}), ConfigurationError),
            (object(), AttributeError),
        ):
            self.failureResultOf(SSLServerEndpoint(self.reactor, 0, wrong).listen(TalkerFactory()), kind)


class ClientTests(EndpointTestCase):
    """What becomes of attempts to connect."""

    def _fails(self, endpoint: Any, *kinds: type[BaseException]) -> "Deferred[Any]":
        """C{endpoint} does not connect, and nobody is told but the Deferred."""
        factory = TalkerFactory()

        def look(exc: Any) -> Any:
            self.assertEqual(([], 0), (factory.peers, factory.running))
            return exc

        return self.assertFailure(endpoint.connect(factory), *kinds).addCallback(look)

    @inlineCallbacks
    def test_refused(self) -> Any:
        """Nobody listens there: Twisted's own error."""
        port = yield self.serve(options())
        number = port.getHost().port
        yield port.stopListening()
        refused = SSLClientEndpoint(self.reactor, "127.0.0.1", number, trusting())
        yield self._fails(refused, error.ConnectionRefusedError)

    @inlineCallbacks
    def test_a_name_that_is_not_there(self) -> Any:
        """It has no address: Twisted's own error again."""
        yield self._fails(SSLClientEndpoint(self.reactor, "no.such.host.invalid", 1, trusting()), error.DNSLookupError)

    @inlineCallbacks
    def test_a_silent_server(self) -> Any:
        """Who accepts and says nothing is given up after the timeout."""
        factory = TalkerFactory()
        port = yield TCP4ServerEndpoint(self.reactor, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        for tls in (trusting(), ssl.optionsForClientTLS("localhost")):
            failure = yield self._fails(self.client(port, tls, timeout=0.1), error.TimeoutError)
            self.assertIn("0.1 s", str(failure))
        for protocol in factory.built:
            yield protocol.lost

    @inlineCallbacks
    def test_the_wrong_name(self) -> Any:
        """The certificate is for somebody else: the failure says for whom, and the server has no connection either."""
        port = yield self.serve(ServerTLS([local()]))
        tls = trusting("a.example")
        failure = yield self._fails(self.client(port, tls), VerifyFailed)
        self.assertIn("expected a certificate for a.example, and this one is for localhost", str(failure))
        creator = ssl.optionsForClientTLS("a.example", trustRoot=roots())
        failure = yield self._fails(self.client(port, creator), VerifyFailed)
        self.assertIn("a.example", str(failure))

    @inlineCallbacks
    def test_the_wrong_root(self) -> Any:
        """Somebody whom we do not trust has signed."""
        port = yield self.serve(ServerTLS([local(OTHER_CA)]))
        for tls in (trusting(), ssl.optionsForClientTLS("localhost", trustRoot=roots())):
            failure = yield self._fails(self.client(port, tls), VerifyFailed)
            self.assertIn("not", str(failure))
        forgiving = ClientSettings(ca_file=ca_file(), policy=VerifyPolicy.PERMISSIVE)
        yield self.talk(self.client(port, ClientTLS(forgiving, server_name="localhost")))

    @inlineCallbacks
    def test_no_tls_at_all(self) -> Any:
        """A server that speaks something else, or leaves, is a failure of the handshake."""
        for says in (b"220 mail.example ESMTP\r\n", b""):
            factory = TalkerFactory()
            factory.buildProtocol = lambda addr, says=says: Rude(says)  # type: ignore[method-assign, assignment]
            port = yield TCP4ServerEndpoint(self.reactor, 0, interface="127.0.0.1").listen(factory)
            self.addCleanup(port.stopListening)
            for tls in (trusting(), ssl.optionsForClientTLS("localhost")):
                yield self._fails(self.client(port, tls), HandshakeFailed)

    @inlineCallbacks
    def test_cancelled(self) -> Any:
        """Who does not want to wait any more cancels; nothing is left, and nobody is told later."""
        factory = TalkerFactory()
        port = yield TCP4ServerEndpoint(self.reactor, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        mine = TalkerFactory()
        attempt = self.client(port, trusting()).connect(mine)
        while not factory.built:
            yield self.wait(0.01)
        attempt.cancel()
        failure = yield self.assertFailure(attempt, error.ConnectingCancelledError, CancelledError)
        self.assertEqual(port.getHost().port, failure.address.port)
        self.assertEqual(([], 0), (mine.peers, mine.running))
        yield factory.built[0].lost
        at_once = self.client(port, trusting(), host="localhost").connect(mine)
        at_once.cancel()
        yield self.assertFailure(at_once, error.ConnectingCancelledError)

    @inlineCallbacks
    def test_a_factory_that_refuses(self) -> Any:
        """It is told of the peer and gives nothing, or fails: so does the Deferred, and the server loses its peer."""
        port = yield self.serve(options())
        refusing = TalkerFactory(refuses=True)
        yield self.assertFailure(self.client(port, trusting()).connect(refusing), error.NoProtocol)
        broken = TalkerFactory()
        broken.buildProtocol = lambda addr: 1 / 0  # type: ignore[method-assign, assignment, misc]
        yield self.assertFailure(self.client(port, trusting()).connect(broken), ZeroDivisionError)
        self.assertEqual((0, 0), (refusing.running, broken.running))

    @inlineCallbacks
    def test_the_factory_is_stopped_after_its_connection(self) -> Any:
        """It is started by the attempt and stopped when the connection is closed."""
        port = yield self.serve(options())
        mine = TalkerFactory()
        protocol = yield self.talk(self.client(port, trusting()), mine)
        self.assertEqual(1, mine.running)
        protocol.transport.loseConnection()
        reason = yield protocol.lost
        self.assertIsInstance(reason, error.ConnectionDone)
        yield self.wait(0.05)
        self.assertEqual(0, mine.running)

    @inlineCallbacks
    def test_a_creator_that_fails(self) -> Any:
        """Its exception is logged, and the Deferred says that the connection could not be made."""
        port = yield self.serve(options())

        @implementer(IOpenSSLClientConnectionCreator)
        class Broken:
            def clientConnectionForTLS(self, tlsProtocol: Any) -> Any:  # noqa: N803 (Twisted's name)
                return 1 / 0

        failure = yield self._fails(self.client(port, Broken()), HandshakeFailed)
        self.assertIn("division by zero", str(failure))
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_a_context_factory_that_fails(self) -> None:
        """It is asked at once, so its exception fails the Deferred as it is."""

        class Broken:
            def getContext(self) -> Any:
                return 1 / 0

        endpoint = SSLClientEndpoint(self.reactor, "127.0.0.1", 1, Broken())
        self.failureResultOf(endpoint.connect(TalkerFactory()), ZeroDivisionError)

    def test_services_by_name(self) -> None:
        """A port may be a service's name, as with Twisted's own; one that nobody knows fails in words."""
        endpoint = SSLClientEndpoint(self.reactor, "127.0.0.1", "no-such-service", trusting())
        failure = self.failureResultOf(endpoint.connect(TalkerFactory()), error.ServiceNameUnknownError)
        self.assertIn("no-such-service", str(failure.value))
        self.assertEqual(443, port_number("https"))

    def test_settings_that_cannot_be_used(self) -> None:
        """They fail the Deferred of connect(), before anything is sent."""
        tls = ClientTLS(ClientSettings(ca_file="/no/such/file"))
        self.failureResultOf(
            SSLClientEndpoint(self.reactor, "127.0.0.1", 1, tls).connect(TalkerFactory()), ConfigurationError
        )


class SessionTests(EndpointTestCase):
    """Those who come back."""

    @inlineCallbacks
    def speak(self, port: Any, tls: Any) -> Any:
        """One connection from its beginning to its end; was its session resumed?"""
        talker = yield self.talk(self.client(port, tls))
        reused = talker.transport.sessionReused
        talker.transport.loseConnection()
        yield talker.lost
        return reused

    @inlineCallbacks
    def test_the_same_settings(self) -> Any:
        """Who connects again with the same L{ClientTLS}, by the same endpoint or another, resumes (both versions)."""
        server = yield self.serve(ServerTLS([local()]))
        for version in ("TLSv1.2", "TLSv1.3"):
            tls = ClientTLS(
                ClientSettings(ca_file=ca_file(), version_min=version, version_max=version), server_name="localhost"
            )
            found = []
            for _ in range(3):
                found.append((yield self.speak(server, tls)))
            self.assertEqual([False, True, True], found, version)
            assert tls.sessions is not None
            self.assertEqual((2, 2), (tls.sessions.hits, tls.sessions.reused))

    @inlineCallbacks
    def test_other_settings(self) -> Any:
        """Another settings object, no place for sessions, and another port: nothing is resumed."""
        server = yield self.serve(ServerTLS([local()]))
        other = yield self.serve(ServerTLS([local()]))
        settings = ClientSettings(ca_file=ca_file())
        tls = ClientTLS(settings, server_name="localhost")
        without = evolve(tls, sessions=None)
        yield self.speak(server, tls)
        for port, more in (
            (server, evolve(tls, sessions=OriginSessions())),
            (other, tls),
            (server, without),
            (server, without),
        ):
            self.assertFalse((yield self.speak(port, more)))
        self.assertTrue((yield self.speak(server, tls)))
        # What goes into the cache of one object is of use with its contexts alone.
        self.assertFalse((yield self.speak(server, evolve(tls))))

    @inlineCallbacks
    def test_who_is_not_trusted_any_more(self) -> Any:
        """A session does not get a server past roots that it has not been measured by."""
        server = yield self.serve(ServerTLS([local()]))
        lax = ClientTLS(ClientSettings(policy=VerifyPolicy.DISABLED))
        yield self.speak(server, lax)
        self.assertTrue((yield self.speak(server, lax)))
        strict = ClientTLS(ClientSettings(ca_file=ca_file(OTHER_CA)), sessions=lax.sessions)
        yield self.assertFailure(self.speak(server, strict), VerifyFailed)


class Rude(Protocol):
    """Says something that is not TLS, or nothing, and leaves."""

    def __init__(self, says: bytes) -> None:
        self.says = says

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self.says)
        self.transport.loseConnection()


class EndTests(EndpointTestCase):
    """What is left of a connection."""

    @inlineCallbacks
    def test_nothing_is_left(self) -> Any:
        """A connection that is closed is freed at once, without the collector, whoever made it."""
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        for tls in (options(), ServerTLS([local()])):
            port = yield self.serve(tls)
            for client in (trusting(), ssl.optionsForClientTLS("localhost", trustRoot=roots())):
                protocol = yield self.talk(self.client(port, client))
                vcs = [weakref.ref(vc) for vc in handler_for(self.reactor).handler.open_list]
                lost = [protocol.lost, self.factories[-1].built[-1].lost]
                protocol.transport.loseConnection()
                self._protocols.clear()
                self.factories[-1].built.clear()
                del protocol
                yield gatherResults(lost)
                yield self.wait(0.05)
                self.assertEqual([None, None], [vc() for vc in vcs])

    @inlineCallbacks
    def test_the_reactor_stops(self) -> Any:
        """Who is connected then is told that his connection is lost, and why."""
        port = yield self.serve(options())
        client = yield self.talk(self.client(port, trusting()))
        server = self.factories[0].built[0]
        shared = handler_for(self.reactor)
        trigger = shared._trigger
        shared._end_all()
        self.reactor.removeSystemEventTrigger(trigger)
        for protocol in (client, server):
            reason = yield protocol.lost
            self.assertIsInstance(reason, error.ConnectionLost)
            self.assertIn("the reactor stops", str(reason))


    @inlineCallbacks
    def test_the_reactor_stops_with_a_bug(self) -> Any:
        """A factory that cannot be stopped keeps nobody else's port open; the bug is logged."""

        class Buggy(TalkerFactory):
            def stopFactory(self) -> None:
                super().stopFactory()
                raise ZeroDivisionError

        shared = handler_for(self.reactor)
        for factory in (Buggy(), TalkerFactory(), Buggy()):
            yield self.serve(ServerTLS([local()]), factory)
        trigger = shared._trigger
        shared._end_all()
        self.reactor.removeSystemEventTrigger(trigger)
        self.assertEqual(2, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.assertEqual((set(), False), (shared.ports, shared.in_use))


class SharedHandlerTests(SynchronousTestCase):
    """One handler for all endpoints of a reactor."""

    def test_one_for_a_reactor(self) -> None:
        """It is made once, and another reactor has another one; it does not keep a reactor alive."""
        first, second = HandReactor(), HandReactor()
        self.assertIs(handler_for(first), handler_for(first))
        self.assertIsNot(handler_for(first), handler_for(second))

    def test_the_reactor_is_clean_when_nobody_holds_it(self) -> None:
        """The first who needs it starts it, the last who does not stops it, as often as you like."""
        reactor = HandReactor()
        shared = SharedHandler(reactor)
        for _ in range(2):
            shared.hold()
            shared.hold()
            self.assertTrue(reactor.readers and reactor.getDelayedCalls())
            shared.release()
            self.assertTrue(shared.in_use)
            shared.release()
            self.assertEqual((set(), []), (reactor.readers, reactor.getDelayedCalls()))


class PageTests(SynchronousTestCase):
    """C{docs/endpoints.rst} says what is so."""

    page = (Path(__file__).resolve().parent.parent / "docs" / "endpoints.rst").read_text(encoding="utf-8")

    def test_its_program_runs(self) -> None:
        """What it shows of our settings can be typed as it stands, and be used."""
        (block,) = re.findall(r"^\.\. code-block:: python\n\n((?:    .*\n|\n)+)", self.page, re.MULTILINE)
        names: dict[str, Any] = {}
        exec(textwrap.dedent(block), names)
        self.assertEqual(10, names["server"].policy().handshake_timeout_seconds)
        self.assertIsInstance(names["client"].context(()), SSL.Context)

    def test_every_argument_is_told(self) -> None:
        """Nobody has to read the code to know what a string may say."""
        for parse in (strings._parse_server, strings._parse_client):
            for name in inspect.signature(parse).parameters:
                if name not in ("reactor", "port", "host", "folder"):
                    self.assertIn(f"``{name}", self.page)


class StringTests(EndpointTestCase):
    """Endpoints from strings."""

    def setUp(self) -> None:
        super().setUp()
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.pem = self._write("both.pem", pem_of(issue(*LOCAL)))
        self.ca = self._write("ca.crt", CA.cert_pem.bytes())

    def _write(self, name: str, data: bytes) -> str:
        path = self.directory / name
        path.write_bytes(data)
        return str(path)

    @inlineCallbacks
    def _listen(self, arguments: str, factory: TalkerFactory | None = None) -> Any:
        factory = factory or TalkerFactory(echoes=True)
        self.factories.append(factory)
        port = yield serverFromString(self.reactor, f"atstls:0:{arguments}:interface=127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        return port

    def _client(self, port: Any, arguments: str = "") -> Any:
        text = f"atstls:127.0.0.1:{port.getHost().port}:hostname=localhost:trustRoots={self.ca}{arguments}"
        return clientFromString(self.reactor, text)

    def test_plugins(self) -> None:
        """They are what Twisted looks for."""
        for parser in (ServerEndpointParser(), ClientEndpointParser()):
            self.assertTrue(verifyObject(IPlugin, parser))
            self.assertEqual("atstls", parser.prefix)
        server = serverFromString(self.reactor, f"atstls:0:privateKey={self.pem}")
        self.assertTrue(verifyObject(IStreamServerEndpoint, server))
        self.assertIsInstance(server, SSLServerEndpoint)
        client = clientFromString(self.reactor, "atstls:www.example.com:443")
        self.assertTrue(verifyObject(IStreamClientEndpoint, client))
        self.assertIsInstance(client, SSLClientEndpoint)

    @inlineCallbacks
    def test_arguments_of_ssl(self) -> Any:
        """Key and certificate in one file, in two, and with a chain in a third one."""
        certificate = issue(*LOCAL)
        key = certificate.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        key_path = self._write("a.key", key)
        leaf = self._write("a.crt", certificate.leaf.public_bytes(Encoding.PEM))
        for arguments in (
            f"privateKey={self.pem}",
            f"privateKey={key_path}:certKey={leaf}:backlog=10",
            f"privateKey={key_path}:certKey={leaf}:extraCertChain={self.ca}:dhParameters={self.ca}",
        ):
            port = yield self._listen(arguments)
            yield self.talk(self._client(port))

    @inlineCallbacks
    def test_a_folder(self) -> Any:
        """The arguments of tls:, a certificate for each name in a folder; roots may be in a folder too."""
        folder = self.directory / "pems"
        folder.mkdir()
        (folder / "one.pem").write_bytes(pem_of(issue("a.example")))
        (folder / "two.pem").write_bytes(pem_of(issue(*LOCAL)))
        (folder / "ca.pem").write_bytes(CA.cert_pem.bytes())
        port = yield self._listen(str(folder))
        yield self.talk(self._client(port))
        text = f"atstls:127.0.0.1:{port.getHost().port}:caCertsDir={folder}:hostname=a.example:timeout=5"
        yield self.talk(clientFromString(self.reactor, text + ":bindAddress=127.0.0.6"))
        self.assertEqual("127.0.0.6", self.factories[-1].peers[-1].host)

    def test_what_is_in_a_folder(self) -> None:
        """Keys may be in files of their own, chains and rubbish are passed over, the younger certificate counts."""
        folder = self.directory / "pems"
        folder.mkdir()
        self.assertRaises(ConfigurationError, load_folder, str(folder))
        self.assertRaises(ConfigurationError, load_folder, str(folder / "none"))
        certificate = issue("a.example")
        key = certificate.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / "key.pem").write_bytes(key)
        (folder / "leaf.pem").write_bytes(certificate.leaf.public_bytes(Encoding.PEM))
        (folder / "ca.pem").write_bytes(CA.cert_pem.bytes())
        (folder / "rubbish.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n")
        (folder / "not-a-pem.txt").write_bytes(b"-----BEGIN")
        (loaded,) = load_folder(str(folder))
        self.assertEqual(("a.example",), loaded.names)
        other = trustme.CA().issue_cert("a.example", key_type=trustme.KeyType.ECDSA)
        (folder / "zz.pem").write_bytes(other.private_key_and_cert_chain_pem.bytes())
        self.assertEqual(1, len(load_folder(str(folder))))

    @inlineCallbacks
    def test_a_folder_that_changes(self) -> Any:
        """A renewed certificate is shown to who connects after it was put there; a broken one changes nothing."""
        self.patch(settings, "LOOK_SECONDS", 0.0)
        folder = self.directory / "pems"
        folder.mkdir()
        (folder / "www.pem").write_bytes(pem_of(local()))
        port = yield self._listen(str(folder))
        old = yield self.talk(self._client(port))
        renewed = CA.issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
        (folder / "www.pem").write_bytes(renewed.private_key_and_cert_chain_pem.bytes())
        new = yield self.talk(self._client(port))
        shown = [talker.transport.getPeerCertificate().get_serial_number() for talker in (old, new)]
        self.assertEqual(local().leaf.serial_number, shown[0])
        self.assertNotEqual(*shown)
        (folder / "www.pem").write_bytes(b"rubbish")
        still = yield self.talk(self._client(port))
        self.assertEqual(shown[1], still.transport.getPeerCertificate().get_serial_number())

    @inlineCallbacks
    def test_alpn_in_the_string(self) -> Any:
        """alpn= says what is offered, on either side, whatever the factory says."""
        port = yield self._listen(f"privateKey={self.pem}:alpn=one,two", SpeakingFactory(b"other", echoes=True))
        protocol = yield self.talk(self._client(port, ":alpn=two"))
        self.assertEqual(b"two", protocol.transport.negotiatedProtocol)

    @inlineCallbacks
    def test_client_certificates_in_the_string(self) -> Any:
        """clientCA= demands one, verify=optional takes who has none."""
        port = yield self._listen(f"privateKey={self.pem}:clientCA={self.ca}:handshakeTimeout=5")
        shown = self._write("client.pem", pem_of(issue("client.example")))
        yield self.talk(self._client(port, f":certificate={shown}"))
        yield self.talk(self._client(port, f":certKey={shown}:privateKey={shown}"))
        port = yield self._listen(f"privateKey={self.pem}:clientCA={self.ca}:verify=optional")
        yield self.talk(self._client(port))

    @inlineCallbacks
    def test_verify_in_a_clients_string(self) -> Any:
        """Who must, can leave out the check of the server."""
        port = yield self._listen(f"privateKey={self.pem}")
        text = f"atstls:127.0.0.1:{port.getHost().port}"
        yield self.assertFailure(clientFromString(self.reactor, text).connect(TalkerFactory()), VerifyFailed)
        yield self.talk(clientFromString(self.reactor, f"{text}:verify=disabled"))

    def test_mistakes(self) -> None:
        """They are told when the string is read, in words."""
        for text, words in (
            (f"atstls:0:privateKey={self.pem}:sslmethod=SSLv3_METHOD", "sslmethod=SSLv3_METHOD"),
            (f"atstls:0:privateKey={self.directory}/none", "there is no such file"),
            (f"atstls:0:privateKey={self.pem}:dhParameters={self.directory}/none", "there is no such file"),
            (f"atstls:0:{self.directory}:privateKey={self.pem}", "too much"),
            (f"atstls:0:privateKey={self.pem}:verify=maybe", "allowed are none, optional, required"),
            (f"atstls:0:privateKey={self.pem}:extraCertChain={self._write('x', b'-')}", "no certificate"),
        ):
            exc = self.assertRaises(ConfigurationError, serverFromString, self.reactor, text)
            self.assertIn(words, str(exc))
        self.assertRaises(TypeError, serverFromString, self.reactor, f"atstls:0:privateKey={self.pem}:colour=red")
        exc = self.assertRaises(ConfigurationError, clientFromString, self.reactor, "atstls:localhost:1:verify=maybe")
        self.assertIn("allowed are disabled, permissive, enforced", str(exc))
