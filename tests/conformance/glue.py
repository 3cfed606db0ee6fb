# ruff: noqa: N803  # what Twisted calls, and passes by name, is spelled as Twisted spells it
"""
What stands between Twisted's own tests and our endpoints.

Twisted's tests of reactors (C{twisted.internet.test}) make a reactor for each test and ask it for ports and
connections, by C{listenTCP} and C{connectTCP} and their kin, or ask an C{EndpointCreator} for endpoints.  Here an
L{EndpointCreator} gives ours, and L{move_over} puts ours in the place of the reactor's methods, so that tests that were
written for TCP run over TLS, and tests that were written for Twisted's TLS run over ours.

C{TCP}, C{TLS12}, C{TLS13} and so on are the ways in which two sides can be joined, see L{Way}.
"""

import socket
import ssl as stdlib_ssl
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

from attrs import evolve, frozen
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet import error, ssl
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.endpoints import SSL4ClientEndpoint, SSL4ServerEndpoint
from twisted.internet.interfaces import IConnector, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.test.connectionmixins import EndpointCreator
from twisted.python.failure import Failure
from zope.interface import implementer

from atstls.endpoints import (
    ClientTLS,
    ServerTLS,
    SSLClientEndpoint,
    SSLServerEndpoint,
    TCPClientEndpoint,
    TCPServerEndpoint,
)
from atstls.tls.contexts import ClientSettings, ServerSettings
from atstls.tls.verify import VerifyPolicy
from tests.tlssupport import issue

REACTORS = [
    "atstls.net.reactor.NetReactor",
    "twisted.internet.epollreactor.EPollReactor",
    "twisted.internet.pollreactor.PollReactor",
    "twisted.internet.selectreactor.SelectReactor",
    "twisted.internet.test.reactormixins.AsyncioSelectorReactor",
]
"""Ours, and those that a UNIX system has without more libraries."""

LOCALHOST = ("localhost", "127.0.0.1", "::1")


@cache
def certificate_pem() -> bytes:
    """A key and its certificate for this host."""
    certificate = issue(*LOCALHOST)
    key = certificate.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return key + certificate.leaf.public_bytes(Encoding.PEM)


def twisteds_server() -> Any:
    """A context factory as applications of Twisted have it."""
    return ssl.PrivateCertificate.loadPEM(certificate_pem()).options()


def twisteds_client() -> Any:
    """The same for clients; it trusts anybody."""
    return ssl.CertificateOptions()


@cache
def our_server(version: str | None = None) -> ServerTLS:
    """Settings of ours, for one version of TLS or both."""
    limits = {} if version is None else {"version_min": version, "version_max": version}
    # As one that was read from a file: its addresses are no host names.
    certificate = evolve(issue(*LOCALHOST), names=("localhost",))
    return ServerTLS([certificate], settings=ServerSettings(**limits))


@cache
def our_client() -> ClientTLS:
    """Settings of ours that trust anybody."""
    return ClientTLS(ClientSettings(policy=VerifyPolicy.DISABLED))


class Unmoved:
    """A reactor with the methods that it had before L{move_over}, of which one calls another."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def __getattr__(self, name: str) -> Any:
        if name not in MOVED:
            return getattr(self._reactor, name)

        def call(*arguments: Any, **named: Any) -> Any:
            reactor = self._reactor
            ours = {name: reactor.__dict__.pop(name) for name in MOVED if name in reactor.__dict__}
            try:
                return getattr(reactor, name)(*arguments, **named)
            finally:
                reactor.__dict__.update(ours)

        return call


MOVED = ("listenTCP", "connectTCP", "listenSSL", "connectSSL")


# Ways to join two sides.


@frozen
class Way:
    """
    How a server and a client are joined.

    @ivar listen: C{(reactor, port, interface, backlog)}: an endpoint of a server.
    @ivar connect: C{(reactor, host, port, timeout, bind)}: an endpoint of a client.
    """

    listen: Callable[..., Any]
    connect: Callable[..., Any]


def _over(server: Callable[[], Any], client: Callable[[], Any]) -> Way:
    return Way(
        lambda reactor, port, interface, backlog: SSLServerEndpoint(reactor, port, server(), backlog, interface),
        lambda reactor, host, port, timeout, bind: SSLClientEndpoint(reactor, host, port, client(), timeout, bind),
    )


@implementer(IStreamClientEndpoint)
class StartingEndpoint:
    """One whose connections begin in clear, and start TLS before their protocol is told of them."""

    def __init__(self, endpoint: Any, tls: Any) -> None:
        self.endpoint = endpoint
        self.tls = tls

    def connect(self, factory: Any) -> Any:
        return self.endpoint.connect(starting(factory, self.tls))

    def listen(self, factory: Any) -> Any:
        return self.endpoint.listen(starting(factory, self.tls))


def starting(factory: Any, tls: Any) -> Any:
    """C{factory}, whose protocols start TLS first of all."""

    class Starting(Factory):
        noisy = False

        def logPrefix(self) -> str:
            prefix: str = factory.logPrefix()
            return prefix

        def doStart(self) -> None:
            factory.doStart()

        def doStop(self) -> None:
            factory.doStop()

        def buildProtocol(self, addr: Any) -> Any:
            protocol = factory.buildProtocol(addr)
            if protocol is not None:
                make = protocol.makeConnection

                def make_connection(transport: Any) -> None:
                    del protocol.makeConnection
                    transport.startTLS(tls)
                    make(transport)

                protocol.makeConnection = make_connection
            return protocol

    return Starting()


TCP = Way(
    lambda reactor, port, interface, backlog: TCPServerEndpoint(reactor, port, backlog, interface),
    lambda reactor, host, port, timeout, bind: TCPClientEndpoint(reactor, host, port, timeout, bind),
)
TLS13 = _over(lambda: our_server("TLSv1.3"), our_client)
TLS12 = _over(lambda: our_server("TLSv1.2"), our_client)
CONTEXT_FACTORIES = _over(twisteds_server, twisteds_client)
STARTED = Way(
    lambda *a: StartingEndpoint(TCP.listen(*a), our_server()),
    lambda *a: StartingEndpoint(TCP.connect(*a), our_client()),
)
STARTED_BY_CONTEXT_FACTORIES = Way(
    lambda *a: StartingEndpoint(TCP.listen(*a), twisteds_server()),
    lambda *a: StartingEndpoint(TCP.connect(*a), twisteds_client()),
)
OUR_SERVER = Way(
    TLS13.listen,
    lambda reactor, host, port, timeout, bind: SSL4ClientEndpoint(
        Unmoved(reactor), host, port, twisteds_client(), timeout, bind
    ),
)
OUR_CLIENT = Way(
    lambda reactor, port, interface, backlog: SSL4ServerEndpoint(
        Unmoved(reactor), port, twisteds_server(), backlog, interface
    ),
    TLS13.connect,
)
TWISTEDS = Way(OUR_CLIENT.listen, OUR_SERVER.connect)
"""Nothing of ours: what needs an exemption here as well is Twisted's affair."""

WAYS = {
    "TCP": TCP,
    "TLS13": TLS13,
    "TLS12": TLS12,
    "ContextFactories": CONTEXT_FACTORIES,
    "Started": STARTED,
    "StartedByContextFactories": STARTED_BY_CONTEXT_FACTORIES,
    "OurServer": OUR_SERVER,
    "OurClient": OUR_CLIENT,
}


class Endpoints(EndpointCreator):
    """Gives endpoints to tests that ask for them."""

    interface = "127.0.0.1"

    def __init__(self, way: Way) -> None:
        self.way = way

    def server(self, reactor: Any) -> Any:
        return self.way.listen(reactor, 0, self.interface, 50)

    def client(self, reactor: Any, serverAddress: Any) -> Any:
        return self.way.connect(reactor, self.interface, serverAddress.port, 30, None)


# In the place of the reactor's own methods.


@implementer(IConnector)
class Connector:
    """
    What C{connectTCP} gives, over an endpoint: a factory is told of its connection, as before there were endpoints.
    """

    def __init__(self, reactor: Any, endpoint: Any, factory: Any, destination: Any) -> None:
        self.reactor = reactor
        self.factory = factory
        self.state = "disconnected"
        self.transport: Any = None
        self._endpoint = endpoint
        self._destination = destination
        self._deferred: Any = None
        self.reason: Failure | None = None

    def connect(self) -> None:
        if self.state != "disconnected":
            raise RuntimeError("can't connect in this state")
        self.state = "connecting"
        self.factory.doStart()
        self.factory.startedConnecting(self)
        self._deferred = self._endpoint.connect(self._Joined(self))
        self._deferred.addErrback(self._failed)

    class _Joined(Factory):
        """Builds the protocol, and hears when its connection is lost."""

        noisy = False

        def __init__(self, connector: "Connector") -> None:
            self.connector = connector

        def logPrefix(self) -> str:
            prefix: str = self.connector.factory.logPrefix()
            return prefix

        def buildProtocol(self, addr: Any) -> Any:
            connector = self.connector
            connector.state = "connected"
            protocol = connector.factory.buildProtocol(addr)
            if protocol is not None:
                connector.transport = protocol
                lost = protocol.connectionLost

                def connection_lost(reason: Failure) -> None:
                    del protocol.connectionLost
                    connector.transport = None
                    lost(reason)
                    connector._lost(reason)

                protocol.connectionLost = connection_lost
            return protocol

    def _failed(self, reason: Failure) -> None:
        if self.state == "connected":  # and nobody wanted it
            self._lost(Failure(error.ConnectionDone()))
            return
        self.state = "disconnected"
        self.reason = reason
        self.factory.clientConnectionFailed(self, reason)
        if self.state == "disconnected":
            self.factory.doStop()

    def _lost(self, reason: Failure) -> None:
        self.state = "disconnected"
        self.factory.clientConnectionLost(self, reason)
        if self.state == "disconnected":
            self.factory.doStop()

    def disconnect(self) -> None:
        if self.state == "connecting":
            self.stopConnecting()
        elif self.transport is not None:
            self.transport.transport.loseConnection()

    def stopConnecting(self) -> None:
        if self.state != "connecting":
            raise error.NotConnectingError("we're not trying to connect")
        self._deferred.cancel()

    def getDestination(self) -> Any:
        return self._destination


def move_over(reactor: Any, way: Way) -> None:
    """
    Let C{reactor}'s own methods make ports and connections of ours; it is thrown away after the test.

    @param way: for C{listenTCP} and C{connectTCP}; C{listenSSL} and C{connectSSL} take their context factories.
    """

    def now(deferred: Any) -> Any:
        results: list[Any] = []
        deferred.addBoth(results.append)
        (result,) = results
        if isinstance(result, Failure):
            result.raiseException()
        return result

    def listen(port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        return now(way.listen(reactor, port, interface, backlog).listen(factory))

    def connect(host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None) -> Connector:
        kind = IPv6Address if ":" in host else IPv4Address
        endpoint = way.connect(reactor, host, port, timeout, bindAddress)
        connector = Connector(reactor, endpoint, factory, kind("TCP", host, port))
        connector.connect()
        if connector.reason is not None and connector.reason.check(error.ServiceNameUnknownError):
            connector.reason.raiseException()
        return connector

    reactor.listenTCP = listen
    reactor.connectTCP = connect

    def listen_ssl(port: int, factory: Any, contextFactory: Any, backlog: int = 50, interface: str = "") -> Any:
        return now(SSLServerEndpoint(reactor, port, contextFactory, backlog, interface).listen(factory))

    def connect_ssl(
        host: str, port: int, factory: Any, contextFactory: Any, timeout: float = 30, bindAddress: Any = None
    ) -> Connector:
        endpoint = SSLClientEndpoint(reactor, host, port, contextFactory, timeout, bindAddress)
        connector = Connector(reactor, endpoint, factory, IPv4Address("TCP", host, port))
        connector.connect()
        if connector.reason is not None and not connector.reason.check(error.ConnectError):
            connector.reason.raiseException()
        return connector

    reactor.listenSSL = listen_ssl
    reactor.connectSSL = connect_ssl


# The other side of tests that have a socket for it.


class ShakingSocket(socket.socket):
    """
    A client's socket that does the handshake that a server of TLS waits for.

    It is done by a thread, on a duplicate, since nothing in the test turns a reactor for it.
    """

    _peer: Any = None
    _thread: threading.Thread | None = None

    def getpeername(self) -> Any:
        """Also when the server has gone, and OpenSSL has answered that with an alert, and that was a reset."""
        return self._peer

    def shake_hands(self) -> None:
        """It is connected."""
        self._peer = super().getpeername()
        other = self.dup()
        other.settimeout(10)
        self._thread = threading.Thread(target=_shake_hands, args=(other,), daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """The test is over."""
        try:
            self.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # It is over on the other side too.
        self.close()
        if self._thread is not None:
            self._thread.join(10)


def _shake_hands(sock: socket.socket) -> None:
    context = stdlib_ssl.SSLContext(stdlib_ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = stdlib_ssl.CERT_NONE
    try:
        with context.wrap_socket(sock) as wrapped:
            wrapped.recv(1)
    except OSError:
        pass  # The test is over.
