# ruff: noqa: N803  # what Twisted calls is spelled as Twisted spells it
"""
C{twisted.protocols.test.test_tls}, with our transports in the place of C{TLSMemoryBIOProtocol}.

Twisted's TLS is a protocol over any transport; ours has a socket.  A L{Wired} has one end of a pair of sockets for a
transport of ours, which begins in clear and starts TLS first of all, and carries bytes between the other end and the
transport that the test gives.  What it cannot be is in L{EXEMPT}, with the reason.
"""

import socket
import sys
from collections.abc import Callable
from typing import Any

import twisted
from incremental import Version
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.protocols.policies import WrappingFactory
from twisted.protocols.test import test_tls
from twisted.python.failure import Failure
from twisted.test import test_sslverify

from atstls.endpoints.starttls import PlainTransport, UpgradableNetVConnection
from atstls.errors import VerifyFailed
from atstls.net.handler import NetHandler
from atstls.net.poll import ReactorPollDescriptor
from tests.conformance.test_reactor_tests import without
from tests.support import HandReactor, unix_pair

OLD = twisted.version < Version("Twisted", 26, 10, 0)

_ITSELF = "it is about the class TLSMemoryBIOProtocol or TLSMemoryBIOFactory itself"
_PRIVATE = "it puts something in the place of a private part of TLSMemoryBIOProtocol"
_BELOW = "it looks at what Twisted's TLS registers with the transport below it; ours is the lowest"

EXEMPT = {
    "test_interfaces": _ITSELF,
    "test_wrappedProtocolInterfaces": _ITSELF,
    "test_makeConnection": _ITSELF,
    "test_noCircularReferences": _ITSELF,
    "test_brokenContextFactoryErrors": _ITSELF,
    "test_maximumCompatibilityWarning": _ITSELF,
    "test_connectionLostOnlyAfterUnderlyingCloses": _PRIVATE,
    "test_errorWriting": _PRIVATE,
    "test_loseConnectionTwice": _PRIVATE,
    "test_loseConnectionAfterConnectionLost": _PRIVATE,
    "test_streamingProducerBothTransportsDecideToPause": _PRIVATE,
    "test_nonStreamingProducer": _BELOW,
    "test_streamingProducerLoseConnectionWithProducer": _BELOW,
    "test_streamingProducerLoseConnectionWithProducerWBOR": _BELOW,
    "test_streamingProducerPausedInNormalMode": _BELOW,
    "test_streamingProducerPausedInWriteBlockedOnReadMode": _BELOW,
    "test_streamingProducerResumedInNormalMode": _BELOW,
    "test_streamingProducerResumedInWriteBlockedOnReadMode": _BELOW,
    "test_streamingProducerStopProducing": _BELOW,
    "test_streamingProducerTwice": _BELOW,
    "test_streamingProducerUnregister": _BELOW,
    "test_streamingProducerUnregisterTwice": _BELOW,
    **({"test_writeUnicodeRaisesTypeError": "it counts errors that are logged where they are none"} if OLD else {}),
}
"""
Tests that are left out, and why.  Producers, wrong settings, what refers to what, and ends are the affair of
C{tests.test_session_protocol}, C{tests.test_endpoints} and C{tests.test_starttls}.
"""


class WireReactor(HandReactor):
    """Turned by hand; asks for that when something is to be done."""

    def __init__(self, wanted: Callable[[], object]) -> None:
        super().__init__()
        self._wanted = wanted

    def callLater(self, *arguments: Any, **named: Any) -> Any:
        call = super().callLater(*arguments, **named)
        self._wanted()
        return call


class Below:
    """What tests look at below a transport: has that been closed?"""

    def __init__(self, vc: UpgradableNetVConnection) -> None:
        self._vc = vc

    @property
    def disconnect(self) -> bool:
        return bool(self._vc.closed)


class Wired(Protocol):
    """
    What looks like a C{TLSMemoryBIOProtocol}.

    @ivar ours: the transport.
    """

    def __init__(self, factory: Any, wrappedProtocol: Any, _connectWrapped: bool = True) -> None:
        self.factory = factory
        self.wrappedProtocol = wrappedProtocol
        self.ours: Any = None
        self._wire: Any = None
        self._to_wire = bytearray()
        self._turning = False
        self._asked = False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or self.ours is None:
            raise AttributeError(name)
        return getattr(self.ours, name)

    def logPrefix(self) -> str:
        return "Wired"

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        self.connected = 1
        self._reactor = WireReactor(self._turn_later)
        handler = NetHandler(self._reactor, seconds=self._reactor.seconds)
        handler.set_poll(ReactorPollDescriptor(self._reactor, handler), tell_rest=True)
        mine, self._wire = unix_pair()
        vc = UpgradableNetVConnection(handler, self.factory.wrappedFactory)
        vc.is_client = self.factory.is_client
        vc.start(mine)
        self.ours = PlainTransport(vc, self.wrappedProtocol, self._reactor)
        self.ours.q = Below(vc)
        self.ours.startTLS(self.factory.context_factory)
        self.ours.begin()
        self._turn()

    def _turn_later(self) -> None:
        if not self._turning and not self._asked:
            self._asked = True
            self.factory.clock.callLater(0, self._turn)

    def _turn(self) -> None:
        self._asked = False
        if self._turning or self._wire is None:
            return
        self._turning = True
        try:
            while self._wire is not None and (self._reactor.turn() or self._carry()):
                pass
        finally:
            self._turning = False

    def _carry(self) -> int:
        done = 0
        if self._to_wire:
            try:
                n = self._wire.send(self._to_wire)
                del self._to_wire[:n]
                done += n
            except BlockingIOError:
                pass
            except OSError:
                self._to_wire.clear()
        try:
            data = self._wire.recv(1 << 18)
        except BlockingIOError:
            return done
        except OSError:
            data = b""
        if data:
            self.transport.write(data)
            return 1
        if self.ours.connected:
            return done  # TCP's end, behind close_notify: it still listens.
        self._cut()
        self.transport.loseConnection()
        return done

    def _cut(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    def dataReceived(self, data: bytes) -> None:
        self._to_wire += data
        self._turn()

    def connectionLost(self, reason: Failure) -> None:
        if self._wire is not None:
            self._turn()
        if self._wire is not None:
            try:
                self._wire.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            self._turn()
        self._cut()
        self._reactor.settle()
        self.connected = 0


class WiredFactory(WrappingFactory):
    """What looks like a C{TLSMemoryBIOFactory}."""

    protocol = Wired
    noisy = False

    def __init__(self, contextFactory: Any, isClient: bool, wrappedFactory: Any, clock: Any = None) -> None:
        from twisted.internet import reactor

        super().__init__(wrappedFactory)
        self.context_factory = contextFactory
        self.is_client = isClient
        self.clock = self._clock = reactor if clock is None else clock

    def buildProtocol(self, addr: Any) -> Any:
        return Wired(self, self.wrappedFactory.buildProtocol(addr))


def wired(case: type[Any]) -> type[Any]:
    """C{case}, over our transports."""
    module = sys.modules[case.__module__]

    class Case(without(case, EXEMPT)):  # type: ignore[misc]
        timeout = 5

        def assertEqual(self, first: Any, second: Any, msg: Any = None) -> Any:
            # Where Twisted has an SSL.Error, ours is a kind of it that is a ConnectionLost as well.
            if isinstance(first, type) and second is SSL.Error and issubclass(first, second):
                first = second
            return super().assertEqual(first, second, msg)

        def setUp(self) -> Any:
            self.patch(module, "TLSMemoryBIOFactory", WiredFactory)
            self.patch(module, "TLSMemoryBIOProtocol", Wired)
            return super().setUp()

    Case.__name__ = Case.__qualname__ = f"{case.__name__}OverOurs"
    Case.__doc__ = case.__doc__
    return Case


DeterministicTests = wired(test_tls.DeterministicTLSMemoryBIOTests)
TLSTests = wired(test_tls.TLSMemoryBIOTests)
ProducerTests = wired(test_tls.TLSProducerTests)
if not OLD:  # whose tests make keys for minutes
    ServiceIdentityTests = wired(test_sslverify.ServiceIdentityTests)
    ALPNTests = wired(test_sslverify.ALPNTests)
    ALPNOptionsTests = wired(test_sslverify.ALPNOptionsForClientTLSTests)
    TrustRootTests = wired(test_sslverify.TrustRootTests)
    RootsTests = wired(test_sslverify.MultipleCertificateTrustRootTests)


_IDENTITY = test_sslverify.ServiceIdentityTests
_Setup = wired(without(_IDENTITY, [name for name in dir(_IDENTITY) if name.startswith("test_")]))


class ReasonTests(_Setup):  # type: ignore[valid-type,misc]
    """What the reasons are besides what Twisted's tests look for."""

    def test_wrong_host(self) -> None:
        """Who is not who was meant loses the connection, with what service-identity found, and in words."""
        names = ("wrong-host.example.com", "correct-host.example.com")
        _, _, client, server, _ = self.serviceIdentitySetup(*names)
        reason = client.lostReason
        self.assertTrue(reason.check(ConnectionLost) and reason.check(SSL.Error) and reason.check(VerificationError))
        self.assertIn("the certificate is not for who we meant", str(reason.value))
        cause = reason.value.__cause__
        self.assertIsInstance(cause, VerifyFailed)
        self.assertEqual(cause.__cause__.errors, reason.value.errors)
        self.assertTrue(server.lostReason.check(ConnectionLost))
        self.assertEqual(b"", server.data)


del _Setup
