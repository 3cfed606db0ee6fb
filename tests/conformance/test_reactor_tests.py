# ruff: noqa: N815  # what Twisted calls, and passes by name, is spelled as Twisted spells it
"""
C{twisted.internet.test}, over our endpoints, on each reactor.

Tests that were written for C{listenTCP} and C{connectTCP} run over TLS as well.  What is left out is in L{EXEMPT}, with
the reason; L{ExemptionTests} looks whether Twisted's own TLS needs it too.
"""

import unittest
from typing import Any

from twisted.internet.test import test_tcp, test_tls
from twisted.internet.test.connectionmixins import ConnectableProtocol, ConnectionTestsMixin, StreamClientTestsMixin
from twisted.internet.test.reactormixins import ReactorBuilder
from twisted.python.runtime import platform
from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.glue import REACTORS, TWISTEDS, WAYS, Endpoints, ShakingSocket, Unmoved, Way, move_over

EXEMPT = {
    # What the reactor watches is a secret of Twisted's TCP transports: TLS's are not among getReaders().
    "test_resumeProducing": "it looks for the transport among the reactor's readers",
    "test_resumeProducingWhileDisconnected": "it calls connectionLost() of the transport, as a reactor does",
    # And so are some of their attributes.
    "test_serverAddressTCP4": "it compares str(transport) with what twisted.internet.tcp.Server has",
    "test_serverAddressTCP6": "the same",
    "test_addresses": "it compares repr(transport) with what twisted.internet.tcp.Client has",
}
"""Tests that are left out, and why.  Addresses are looked at by C{tests.test_endpoints}."""

SECONDS = 5.0
"""After so long a test that goes on has failed."""


def without(kind: type[Any], names: Any) -> type[Any]:
    """C{kind} without the tests of C{names}, wherever it has them from."""
    bases = tuple(without(base, names) for base in kind.__bases__)
    if bases == kind.__bases__ and not set(names) & set(vars(kind)):
        return kind
    kept = {name: value for name, value in vars(kind).items() if name not in (*names, "__dict__", "__weakref__")}
    return type(kind.__name__, bases, kept)


def over(base: type[Any], ways: dict[str, Way] = WAYS, reactors: list[str] = REACTORS) -> dict[str, type[Any]]:
    """Test cases of C{base}, for each way and each reactor."""
    made: dict[str, type[Any]] = {}
    for name, way in ways.items():
        attributes = {
            "__module__": __name__,
            "__doc__": base.__doc__,
            "_reactors": reactors,
            "requiredInterfaces": None,
            "endpoints": Endpoints(way),
            "way": way,
            "timeout": SECONDS,
        }
        kind = type(f"{base.__name__}Over{name}", (base, ReactorBuilder), attributes)
        made.update(kind.makeTestCaseClasses())
    return made


OURS = {name: way for name, way in WAYS.items() if name not in ("OurServer", "OurClient")}
"""Both sides are ours."""


class Connections(ConnectionTestsMixin):
    """What every transport does."""


class Patient:
    """
    Tests that wait for both sides of a connection to be lost.

    When one is, they let the other write something, since macOS needs it to notice.  Where the system does not need it,
    it would be a write behind the peer's end, after which what is read does not count.
    """

    def setUp(self) -> None:
        super().setUp()  # type: ignore[misc]
        write = getattr(ConnectableProtocol, "writeToDetectPeerDisconnection", None)
        if write is not None:
            needed = platform.isMacOSX()
            self.patch(  # type: ignore[attr-defined]
                ConnectableProtocol,
                "writeToDetectPeerDisconnection",
                lambda protocol: needed and protocol.transport is not None and write(protocol),
            )


class StopsByItself:
    """
    asyncio's reactor makes a call for itself when it is stopped, and leaves it behind when it was stopped by another.
    """

    def buildReactor(self) -> Any:
        reactor = super().buildReactor()  # type: ignore[misc]
        loop = getattr(reactor, "_asyncioEventloop", None)
        if loop is not None:
            stop = reactor.stop
            reactor.stop = lambda: loop.call_soon(stop)
        return reactor


class Aborting(StopsByItself, Patient, test_tcp.AbortConnectionMixin):
    """C{abortConnection}, wherever it may be called."""


class Moved(Patient):
    """The reactor's own methods give what is ours."""

    way: Way

    def buildReactor(self) -> Any:
        reactor = super().buildReactor()  # type: ignore[misc]
        move_over(reactor, self.way)
        return reactor


class Clients(Moved, StreamClientTestsMixin):
    """What the factory of a client is told."""

    port: Any = None

    def listen(self, reactor: Any, factory: Any) -> Any:
        self.port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        return self.port

    def connect(self, reactor: Any, factory: Any) -> Any:
        return reactor.connectTCP("127.0.0.1", self.port.getHost().port if self.port else 1, factory)


class TLSClients(Moved, without(test_tcp.TCPClientTestsBase, {*EXEMPT, "test_badContext"})):  # type: ignore[misc]
    """More of it: bad ports, factories that want nobody.  (The bad contexts are given to C{startTLS}.)"""

    fakeDomainName = "some-fake.domain.example.com"
    family = test_tcp.socket.AF_INET
    addressClass = test_tcp.IPv4Address


class TCPClients(TLSClients, without(test_tcp.TCPClientTestsBase, EXEMPT)):  # type: ignore[misc]
    """The same, and bad contexts."""


class TCPConnections(Moved, without(test_tcp.TCPConnectionTestsBuilder, EXEMPT)):  # type: ignore[misc]
    """Pausing, resuming, and half of a close."""


class TCPTransports(Moved, without(test_tcp.TCPTransportTestsBuilder, EXEMPT)):  # type: ignore[misc]
    """C{writeSequence}, and producers."""


class TCPPorts(Moved, test_tcp.ListenTCPMixin, test_tcp.TCPPortTestsMixin, test_tcp.StreamTransportTestsMixin):
    """Ports: addresses, what is logged, and no descriptors left."""

    def connectToListener(self, reactor: Any, address: Any, factory: Any) -> Any:
        # The port is what is looked at; who connects does so as it is.
        return Unmoved(reactor).connectTCP(self.LISTENER_HOST, address.port, factory)


class TLSPorts(TCPPorts):
    """The same over TLS.  Who connects has to shake hands before there is a protocol."""

    def setUp(self) -> None:
        super().setUp()
        connect = test_tcp.connect

        def create(test: Any, family: Any, kind: Any) -> ShakingSocket:
            sock = ShakingSocket(family, kind)
            test.addCleanup(sock.leave)
            return sock

        def connect_and_shake(client: ShakingSocket, destination: Any) -> None:
            client.setblocking(True)
            connect(client, destination)
            client.shake_hands()
            client.setblocking(False)

        self.patch(test_tcp, "createTestSocket", create)
        self.patch(test_tcp, "connect", connect_and_shake)

    def getExpectedStartListeningLogMessage(self, port: Any, factory: Any) -> str:
        return f"{factory} (atstls) starting on {port.getHost().port}"


class StartTLS(Moved, test_tls.SSLClientTestsMixin):
    """Twisted's tests of C{connectSSL} and of C{startTLS}, whose contexts are those that the tests give."""


_PLAIN = {name: OURS[name] for name in ("TCP",)}
_FROM_THE_START = {name: way for name, way in OURS.items() if name in ("TLS13", "TLS12", "ContextFactories")}

globals().update(over(Connections))
globals().update(over(Aborting, OURS))
globals().update(over(Clients, OURS))
globals().update(over(TLSClients, {name: way for name, way in OURS.items() if name != "TCP"}))
globals().update(over(TCPClients, _PLAIN))
globals().update(over(TCPConnections, OURS))
globals().update(over(TCPTransports, OURS))
globals().update(over(TCPPorts, _PLAIN))
globals().update(over(TLSPorts, _FROM_THE_START))
globals().update(over(StartTLS, _PLAIN))


class ExemptionTests(SynchronousTestCase):
    """What is left out is left out because Twisted's own TLS cannot do it either."""

    def test_twisteds_own_tls_needs_them_too(self) -> None:
        """When it does not any more, we do not either."""
        reactor = REACTORS[-2:-1]
        needed = set()
        builders = (test_tcp.TCPClientTestsBase, test_tcp.TCPConnectionTestsBuilder, test_tcp.TCPTransportTestsBuilder)
        for base in builders:
            kind = type("Theirs", (TCPClients, Moved, base), {"__module__": __name__})
            for case in over(kind, {"Twisteds": TWISTEDS}, reactor).values():
                case.timeout = 1.0
                for name in EXEMPT:
                    if hasattr(base, name):
                        result = unittest.TestResult()
                        case(name).run(result)
                        self.assertEqual(1, result.testsRun)
                        if not result.wasSuccessful():
                            needed.add(name)
        self.assertEqual(set(EXEMPT), needed)
