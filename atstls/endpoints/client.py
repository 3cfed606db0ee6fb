# -*- test-case-name: tests.test_endpoints -*-
# ruff: noqa: N803  # what Twisted calls, and passes by name, is spelled as Twisted spells it
"""
L{SSLClientEndpoint}: a connection by TLS.

Source: C{twisted.internet.endpoints}.
"""

import errno
import os
import socket
from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from twisted.internet import error
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import (
    IAddress,
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from atstls.endpoints.created import CreatedNetVConnection, MakeConnection
from atstls.endpoints.settings import ClientTLS, names_of
from atstls.endpoints.shared import SharedHandler, handler_for
from atstls.endpoints.starttls import UpgradableNetVConnection, transport_for
from atstls.errors import HandshakeFailed, NameNotFound, OpenFailed, PeerVanished, TimedOut
from atstls.events import (
    ENET_CONNECT_TIMEOUT,
    ENET_SSL_CONNECT_FAILED,
    ENET_SSL_FAILED,
    ENET_THROTTLING,
    EVENT_CONT,
    NET_EVENT_OPEN,
)
from atstls.interfaces import IContinuation
from atstls.net.connection import Address, NetVCOptions, is_ip
from atstls.net.handler import NetHandler
from atstls.net.processor import NetProcessor
from atstls.session.protocol import twisted_address
from atstls.ssl.sslvc import SSLNetVConnection
from atstls.tls.certificates import dns_name
from atstls.tls.policy import ClientPolicy
from atstls.tls.verify import VerifyPolicy


class _ClientProcessor(NetProcessor):
    """Makes one kind of connection."""

    def __init__(self, shared: SharedHandler, make: Callable[[NetHandler], SSLNetVConnection]) -> None:
        super().__init__(shared.handler, shared.throttle)
        self._shared = shared
        self._make = make

    def allocate_client_vc(self, options: NetVCOptions) -> SSLNetVConnection:
        vc = self._make(self.nh)
        vc.is_client = True
        vc.options = options
        self._shared.hold()
        vc.on_free = self._shared.release
        return vc


def port_number(port: int | str) -> int:
    """
    C{port}, which may be a service's name, such as C{"https"}.

    @raise ServiceNameUnknownError: there is no such service.
    """
    if not isinstance(port, str):
        return port
    try:
        return socket.getservbyname(port, "tcp")
    except OSError as exc:
        raise error.ServiceNameUnknownError(string=f"{exc} ({port!r})") from exc


def _failure_words(exc: OpenFailed, bound: bool) -> Exception:
    """
    What Twisted's users, or ours, would catch, for what a processor says of a connection that failed.

    @param bound: somebody has said which address to connect from.
    """
    cause = exc.__cause__
    if isinstance(cause, HandshakeFailed):
        return cause
    if isinstance(exc, NameNotFound):
        return error.DNSLookupError(str(exc))
    if exc.lerrno == ENET_CONNECT_TIMEOUT or isinstance(cause, TimedOut):
        return error.TimeoutError(string=str(cause or exc))
    if isinstance(cause, PeerVanished) or exc.lerrno in (ENET_SSL_FAILED, ENET_SSL_CONNECT_FAILED):
        return HandshakeFailed(str(cause or exc))
    if exc.lerrno >= ENET_THROTTLING:
        return error.ConnectError(string=str(exc))
    if bound and exc.lerrno in (errno.EADDRINUSE, errno.EADDRNOTAVAIL):
        return error.ConnectBindError(exc.lerrno, os.strerror(exc.lerrno))
    connect_error: Exception = error.getConnectError((exc.lerrno, os.strerror(exc.lerrno)))
    return connect_error


@implementer(IContinuation)
class _Attempt:
    """
    One call of C{connect}.

    @ivar deferred: what it gave.
    """

    def __init__(self, shared: SharedHandler, factory: IProtocolFactory, destination: IAddress) -> None:
        self.deferred: Deferred[IProtocol] = Deferred(self._cancelled)
        self._shared = shared
        self._factory = factory
        self._destination = destination
        self._action: Any = None
        self._over = False
        self._bound = False

    def begin(self, processor: NetProcessor, address: Address, timeout: float, options: NetVCOptions) -> None:
        self._bound = bool(options.local_ip or options.local_port)
        self._shared.hold()
        try:
            self._factory.doStart()
            action = processor.connect_s(self, address, timeout, options)
        except BaseException:
            if not self._over:
                self._end(stop=True)
            raise
        if not self._over:
            self._action = action

    def handle_event(self, event: int, data: Any) -> int:
        """NET_EVENT_OPEN or NET_EVENT_OPEN_FAILED."""
        if event == NET_EVENT_OPEN:
            self._opened(data)
        else:
            self._end(stop=True)
            reason = _failure_words(data, self._bound)
            if reason is not data.__cause__:
                reason.__cause__ = data.__cause__
            self.deferred.errback(Failure(reason))
        return EVENT_CONT

    def _opened(self, vc: SSLNetVConnection) -> None:
        factory = self._factory
        try:
            protocol = factory.buildProtocol(twisted_address(vc.get_remote_addr()))
            if protocol is None:
                raise error.NoProtocol
        except Exception:
            failure = Failure()
            vc.do_io_close()
            self._end(stop=True)
            self.deferred.errback(failure)
            return
        release = vc.on_free

        def freed() -> None:
            factory.doStop()
            if release is not None:
                release()

        vc.on_free = freed
        transport_for(vc, protocol, self._shared.reactor).begin()
        self._end(stop=False)
        self.deferred.callback(protocol)

    def _end(self, stop: bool) -> None:
        """@param stop: there is no connection, which would stop the factory at its own end."""
        self._over = True
        self._action = None
        if stop:
            self._factory.doStop()
        self._shared.release()

    def _cancelled(self, deferred: Deferred[IProtocol]) -> None:
        action = self._action
        if action is not None:
            action.cancel()
            self._end(stop=True)
        deferred.errback(error.ConnectingCancelledError(self._destination))


@implementer(IStreamClientEndpoint)
class SSLClientEndpoint:
    """
    Connects by TLS.  The arguments are those of C{twisted.internet.endpoints.SSL4ClientEndpoint}.

    Names are resolved by the reactor, to addresses of both families, which are tried in turn.
    """

    def __init__(
        self,
        reactor: Any,
        host: str,
        port: int | str,
        sslContextFactory: Any,
        timeout: float = 30,
        bindAddress: tuple[str, int] | str | None = None,
    ) -> None:
        """
        @param host: a name or an IP address.
        @param sslContextFactory: a L{ClientTLS}; or what Twisted takes: what C{optionsForClientTLS} gives,
            C{CertificateOptions}, or anything with C{getContext}, which as with Twisted checks no name.
        @param timeout: seconds for each address, from the first packet to the end of the handshake; 0: no limit.
        @param bindAddress: the address, or address and port, to connect from.
        """
        self._reactor = reactor
        self._host = host
        self._port = port
        self._tls = sslContextFactory
        self._timeout = timeout
        self._bind = (bindAddress, 0) if isinstance(bindAddress, str) else (bindAddress or ("", 0))

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Connect, shake hands, and only then build a protocol.

        @return: a Deferred of the protocol, which may be cancelled.  It fails with Twisted's errors where the TCP
            connection fails: C{ConnectionRefusedError}, C{TimeoutError}, C{DNSLookupError} and others that are a
            C{ConnectError}; with L{HandshakeFailed} or L{VerifyFailed} where TLS does.
        """
        try:
            shared = handler_for(self._reactor)
            address, destination = self._destination()
            attempt = _Attempt(shared, protocolFactory, destination)
            options = NetVCOptions(local_ip=self._bind[0], local_port=self._bind[1])
            tls = self._tls
            if isinstance(tls, ClientTLS):
                make = self._make_by_settings(tls, protocolFactory, options)
            else:
                make = self._make_by_context_factory(tls, protocolFactory)
            processor = _ClientProcessor(shared, make)
            attempt.begin(processor, address, self._timeout, options)
        except Exception:
            return fail()
        return attempt.deferred

    def _destination(self) -> tuple[Address, IAddress]:
        """Where to, for us and for Twisted."""
        port = port_number(self._port)
        kind = IPv6Address if ":" in self._host else IPv4Address
        return (self._host, port), kind("TCP", self._host, port)

    def _make_by_settings(
        self, tls: ClientTLS, factory: Any, options: NetVCOptions
    ) -> Callable[[NetHandler], SSLNetVConnection]:
        alpn = tls.settings.alpn or names_of(factory)
        policy = ClientPolicy(
            tls.kept_context(alpn),
            handshake_timeout_seconds=self._timeout,
            max_record_size=tls.max_record_size,
            verify=tls.settings.policy,
            properties=tls.settings.properties,
            sessions=tls.sessions,
        )
        host = tls.server_name or self._host
        name = (host if is_ip(host) else dns_name(host) or host) if host else None
        options.set_sni_servername(name)

        def make(nh: NetHandler) -> SSLNetVConnection:
            vc = SSLNetVConnection(nh, policy)
            vc.hooks = tls.hooks
            vc.server_name = None if name is None or is_ip(name) else name
            return vc

        return make

    def _make_by_context_factory(self, context_factory: Any, factory: Any) -> Callable[[NetHandler], SSLNetVConnection]:
        make_connection: MakeConnection
        if IOpenSSLClientConnectionCreator.providedBy(context_factory):
            make_connection = context_factory.clientConnectionForTLS
        else:
            context = context_factory.getContext()

            def make_connection(_vc: Any) -> SSL.Connection:
                connection = SSL.Connection(context, None)
                names = names_of(factory)
                if names:
                    connection.set_alpn_protos(list(names))
                return connection

        # Whoever makes the connection has said what is verified, and OpenSSL does it during the handshake.
        policy = ClientPolicy(
            SSL.Context(SSL.TLS_CLIENT_METHOD),
            handshake_timeout_seconds=self._timeout,
            verify=VerifyPolicy.DISABLED,
        )
        return lambda nh: CreatedNetVConnection(nh, policy, make_connection, factory)


@implementer(IStreamClientEndpoint)
class TCPClientEndpoint:
    """
    Connects in clear.  The arguments are those of C{twisted.internet.endpoints.TCP4ClientEndpoint}.

    Its transports can start TLS, see L{PlainTransport<atstls.endpoints.starttls.PlainTransport>}.  Names are resolved
    as with L{SSLClientEndpoint}.
    """

    def __init__(
        self,
        reactor: Any,
        host: str,
        port: int | str,
        timeout: float = 30,
        bindAddress: tuple[str, int] | str | None = None,
    ) -> None:
        """See L{SSLClientEndpoint}."""
        self._reactor = reactor
        self._host = host
        self._port = port
        self._timeout = timeout
        self._bind = (bindAddress, 0) if isinstance(bindAddress, str) else (bindAddress or ("", 0))

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """See L{SSLClientEndpoint.connect}; there is no TLS that could fail."""
        try:
            shared = handler_for(self._reactor)
            port = port_number(self._port)
            kind = IPv6Address if ":" in self._host else IPv4Address
            attempt = _Attempt(shared, protocolFactory, kind("TCP", self._host, port))

            def make(nh: NetHandler) -> SSLNetVConnection:
                vc = UpgradableNetVConnection(nh, protocolFactory)
                vc.host = self._host
                return vc

            options = NetVCOptions(local_ip=self._bind[0], local_port=self._bind[1])
            attempt.begin(_ClientProcessor(shared, make), (self._host, port), self._timeout, options)
        except Exception:
            return fail()
        return attempt.deferred
