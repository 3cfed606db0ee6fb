# -*- test-case-name: tests.test_endpoints -*-
# ruff: noqa: N802  # what Twisted calls, and passes by name, is spelled as Twisted spells it
"""
L{CreatedNetVConnection}: a connection whose pyOpenSSL connection an object of Twisted's makes.

Twisted's objects make pyOpenSSL's connection themselves, and their call-backs look at what TLS in Twisted is: a
protocol wrapped around another one.  This is a connection of ours that shows them as much of one as they look at; all
else about it is as with any L{SSLNetVConnection}.

Source: C{twisted.internet.ssl}, C{twisted.protocols.tls}.
"""

from collections.abc import Callable
from typing import Any, Final

from attrs import frozen
from OpenSSL import SSL
from twisted.python.failure import Failure

from atstls.errors import AtsTlsError, HandshakeFailed, LocalError, VerifyFailed
from atstls.net.handler import NetHandler
from atstls.ssl.sslvc import SSLNetVConnection
from atstls.tls.engine import DefaultEngine, Engine
from atstls.tls.phases import Move
from atstls.tls.policy import ClientPolicy, ServerPolicy

MakeConnection = Callable[[Any], SSL.Connection]
"""Gives a pyOpenSSL connection over memory; called with what looks like a C{TLSMemoryBIOProtocol}."""


@frozen(eq=False)
class _Wrapping:
    """What Twisted calls the factory of a TLS protocol, for those who ask it for the factory inside."""

    wrappedFactory: Any  # noqa: N815


_NOTHING: Final = _Wrapping(None)


def _nothing_made(_vc: Any) -> SSL.Connection:
    raise LocalError("the connection is closed")


class CreatedNetVConnection(SSLNetVConnection):
    """
    A connection whose pyOpenSSL connection is made by an object of Twisted's.

    To call-backs of its context it looks like the TLS protocol that they expect: it has C{factory.wrappedFactory},
    C{failVerification} and C{abortConnection}.

    @ivar factory: has the factory of the application as C{wrappedFactory}.
    """

    __slots__ = ("_make_connection", "_not_verified", "factory")

    def __init__(
        self,
        nh: NetHandler,
        policy: ServerPolicy | ClientPolicy | None,
        make_connection: MakeConnection,
        factory: Any,
    ) -> None:
        super().__init__(nh, policy)
        self.factory = _Wrapping(factory)
        self._make_connection = make_connection
        self._not_verified: BaseException | None = None

    # What a context's call-backs call.

    def failVerification(self, reason: Failure) -> None:
        """The peer is not who was meant, and why; the handshake is about to fail."""
        why = reason.value
        assert why is not None
        self._not_verified = why.with_traceback(None)  # whose frames would refer to this connection

    def abortConnection(self) -> None:
        """A call-back has failed, which it has logged."""
        self.refusal = HandshakeFailed("a call-back of the TLS context failed")

    # What differs from other connections.

    def _successor(self, nh: NetHandler) -> "CreatedNetVConnection":
        return CreatedNetVConnection(nh, None, _nothing_made, self.factory.wrappedFactory)

    def _made_engine(self) -> Engine:
        connection = self._make_connection(self)
        connection.set_app_data(self)
        if self.is_client:
            connection.set_connect_state()
        else:
            # It costs a server much and a client little.
            connection.set_options(SSL.OP_NO_RENEGOTIATION)
            connection.set_accept_state()
        return (self.engine_kind or DefaultEngine)(connection)

    def _open_engine(self) -> None:
        reader = self._hello_reader
        assert reader is not None
        self.engine = self._made_engine()
        self._begin_trace()
        self.engine.feed(reader.raw, len(reader.raw))
        self._hello_reader = None

    def _begin_as_client(self) -> None:
        self._move(Move.CONNECTED)
        try:
            self.engine = self._made_engine()
        except Exception as exc:
            self._log.failure("the TLS connection for {vc} could not be made", vc=self)
            self._fail(HandshakeFailed(f"the TLS connection could not be made: {exc}"))
            return
        self._begin_trace()
        self._shake_hands()

    def _handshake_error(self, tls: Engine) -> AtsTlsError:
        why = self._not_verified
        if why is not None:
            error = VerifyFailed(f"the certificate is not for who we meant: {str(why) or type(why).__name__}")
            error.__cause__ = why
            return error
        return super()._handshake_error(tls)

    def _open(self) -> None:
        assert self.engine is not None
        self.negotiated_protocol = self.engine.connection.get_alpn_proto_negotiated() or None
        super()._open()

    def free(self) -> None:
        """See L{UnixNetVConnection.free<atstls.net.unixvc.UnixNetVConnection.free>}."""
        super().free()
        # A factory may know its protocols, and they know us.
        self.factory = _NOTHING
        self._make_connection = _nothing_made
