# -*- test-case-name: tests.test_endpoints -*-
# ruff: noqa: N802, N803  # what Twisted calls, and passes by name, is spelled as Twisted spells it
"""
L{SSLServerEndpoint}: a port for TLS.

A context that was used cannot be changed any more (pyOpenSSL 26.2), so that a plain context factory's context gets ALPN
when the port is opened, if it is still unused.

Source: C{twisted.internet.endpoints}.
"""

from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakSet

from attrs import frozen
from OpenSSL import SSL
from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    ILoggingContext,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from zope.interface import implementer

from atstls.endpoints.created import CreatedNetVConnection, MakeConnection
from atstls.endpoints.settings import HANDSHAKE_SECONDS, CertificateFolder, ServerTLS, names_of
from atstls.endpoints.shared import handler_for
from atstls.endpoints.starttls import UpgradableNetVConnection, transport_for
from atstls.errors import ConfigurationError
from atstls.interfaces import IContinuation
from atstls.net.accept import NetAccept
from atstls.net.connection import AcceptOptions
from atstls.net.handler import NetHandler
from atstls.session.nextprotocol import SSLNextProtocolAccept
from atstls.session.protocol import ProtocolSessionAccept
from atstls.ssl.sslvc import SSLNetVConnection, select_alpn
from atstls.tls.contexts import CertificateTable
from atstls.tls.policy import ServerPolicy


@frozen(eq=False)
class _Serving:
    """
    How a port makes connections.

    @ivar make: a connection, for the handler that it is called with.
    @ivar protocols: what is offered by ALPN, best first, and who speaks it; C{None}: the factory that listens.
    @ivar allow_plain: clients that do not begin with TLS are served too.
    """

    make: Callable[[NetHandler], SSLNetVConnection]
    protocols: Mapping[bytes, IProtocolFactory | None]
    allow_plain: bool = False


def _serve_settings(tls: ServerTLS, factory: Any) -> _Serving:
    policy = tls.policy()
    folder = tls.certificates if isinstance(tls.certificates, CertificateFolder) else None

    def make(nh: NetHandler) -> SSLNetVConnection:
        nonlocal policy
        if folder is not None:
            policy = folder.current(tls, policy, nh.now)
        vc = UpgradableNetVConnection(nh, factory, policy) if tls.allow_plain else SSLNetVConnection(nh, policy)
        vc.hooks = tls.hooks
        return vc

    return _Serving(make, tls.alpn or dict.fromkeys(names_of(factory)), tls.allow_plain)


def _serve_context_factory(context_factory: Any, factory: Any) -> _Serving:
    protocols: Mapping[bytes, IProtocolFactory | None] = {}
    make_connection: MakeConnection
    if IOpenSSLServerConnectionCreator.providedBy(context_factory):
        make_connection = context_factory.serverConnectionForTLS
    else:
        context = context_factory.getContext()
        if not isinstance(context, SSL.Context):
            raise TypeError(f"{context_factory} gives no OpenSSL.SSL.Context, but {context!r}")
        names = names_of(factory)
        if names and _prepare_alpn(context):
            protocols = dict.fromkeys(names)

        def make_connection(_vc: Any) -> SSL.Connection:
            return SSL.Connection(context_factory.getContext(), None)

    # The creator chooses the certificate; a table is there because a policy has one.
    nobody = SSL.Context(SSL.TLS_SERVER_METHOD)
    table = CertificateTable()
    table.default = nobody
    policy = ServerPolicy(nobody, table, handshake_timeout_seconds=HANDSHAKE_SECONDS)
    return _Serving(lambda nh: CreatedNetVConnection(nh, policy, make_connection, factory), protocols)


_prepared: WeakSet[SSL.Context] = WeakSet()
"""Contexts of others that ask us for ALPN."""


def _prepare_alpn(context: SSL.Context) -> bool:
    """Let C{context} choose what our connections offer.  False: it was used before, and stays without ALPN."""
    if context not in _prepared:
        try:
            context.set_alpn_select_callback(select_alpn)
        except ValueError:
            return False
        _prepared.add(context)
    return True


@implementer(IListeningPort)
class TCPListeningPort:
    """
    A port of a L{TCPServerEndpoint}.

    @ivar factory: whose protocols get the connections.
    """

    def __init__(self, reactor: Any, factory: IProtocolFactory, serving: _Serving, options: AcceptOptions) -> None:
        self.factory = factory
        self._shared = handler_for(reactor)
        self._serving = serving
        self._options = options
        self._accept: NetAccept | None = None
        self._host: Any = None
        others = [other for other in serving.protocols.values() if other is not None and other is not factory]
        self._factories = list(dict.fromkeys([factory, *others]))
        self._acceptor = self._make_acceptor(reactor)

    def _make_acceptor(self, reactor: Any) -> IContinuation:
        return ProtocolSessionAccept(self.factory, reactor, transport_for)

    def _log_prefix(self) -> str:
        """Who "starting on" a port is, in Twisted's line in the log."""
        factory = self.factory
        return factory.logPrefix() if ILoggingContext.providedBy(factory) else type(factory).__name__

    def _allocate(self, _accept: NetAccept) -> SSLNetVConnection:
        shared = self._shared
        vc = self._serving.make(shared.handler)
        shared.hold()
        vc.on_free = shared.release
        return vc

    def startListening(self) -> None:
        """
        Open the port, and start the factory.

        @raise CannotListenError: it cannot be opened.
        """
        if self._accept is not None:
            return
        shared = self._shared
        accept = NetAccept(shared.handler, self._allocate, self._acceptor, self._options, shared.throttle)
        accept.log_prefix = self._log_prefix()
        shared.hold()
        try:
            accept.listen()
        except BaseException:
            shared.release()
            raise
        self._accept = accept
        self._host = accept.get_host()
        shared.ports.add(self)
        for factory in self._factories:
            factory.doStart()

    @property
    def connected(self) -> bool:
        """Is it open?"""
        return self._accept is not None

    @property
    def disconnected(self) -> bool:
        """Was it open, and is closed?"""
        return self._host is not None and self._accept is None

    def stopListening(self) -> Deferred[None]:
        """
        Close the port, at once, and stop the factory.  Connections that are there go on.

        @return: a Deferred that has its result already: a failure if the factory could not be stopped.
        """
        return execute(self._close)

    def _close(self) -> None:
        accept, self._accept = self._accept, None
        if accept is not None:
            self._shared.ports.discard(self)
            try:
                accept.cancel()
                for factory in self._factories:
                    factory.doStop()
            finally:
                self._shared.release()

    loseConnection = stopListening  # noqa: N815

    def connectionLost(self, reason: Any = None) -> None:
        """The same at once, as Twisted's ports have it: what stopping the factory raises is raised."""
        self._close()

    def getHost(self) -> IAddress:
        """Where it listens; once closed, where it did."""
        host: IAddress = self._host
        return host

    def __repr__(self) -> str:
        where = f"on {self._host}" if self._accept is not None else "not listening"
        return f"<{type(self).__name__} of {self.factory} {where}>"


class TLSListeningPort(TCPListeningPort):
    """
    A port of an L{SSLServerEndpoint}.

    @ivar factory: whose protocols get the connections.
    """

    def _make_acceptor(self, reactor: Any) -> IContinuation:
        serving = self._serving
        sessions = {factory: ProtocolSessionAccept(factory, reactor, transport_for) for factory in self._factories}
        acceptor = SSLNextProtocolAccept(sessions[self.factory], allow_plain=serving.allow_plain)
        # What is registered last is preferred most.
        for name, factory in reversed(list(serving.protocols.items())):
            if not acceptor.register_endpoint(name, sessions[self.factory if factory is None else factory]):
                raise ConfigurationError(f"alpn {name!r}: a protocol name has 1 to 255 bytes")
        return acceptor

    def _log_prefix(self) -> str:
        return f"{super()._log_prefix()} (atstls)"


@implementer(IStreamServerEndpoint)
class SSLServerEndpoint:
    """
    Listens for TLS.  The arguments are those of C{twisted.internet.endpoints.SSL4ServerEndpoint}.

    A protocol is built when the handshake is done, and knows its peer then.  A client that fails is told so by an alert
    and costs a line in the log.
    """

    def __init__(self, reactor: Any, port: int, sslContextFactory: Any, backlog: int = 50, interface: str = "") -> None:
        """
        @param port: 0 for any that is free.
        @param sslContextFactory: a L{ServerTLS}; or what Twisted takes: C{CertificateOptions}, a creator of server
            connections, or anything with C{getContext}.
        @param interface: the address to listen on: empty for all of IPv4, C{"::"} for all of IPv6.
        """
        self._reactor = reactor
        self._options = AcceptOptions(local_ip=interface, local_port=port, backlog=backlog)
        self._tls = sslContextFactory

    @classmethod
    def on_socket(cls, reactor: Any, options: AcceptOptions, sslContextFactory: Any) -> "SSLServerEndpoint":
        """
        The same on another kind of socket.

        @param options: say which: a UNIX socket's path, or the descriptor of a socket that listens already, as systemd
            and other supervisors hand it over.
        """
        endpoint = cls(reactor, 0, sslContextFactory)
        endpoint._options = options
        return endpoint

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """
        Open the port for C{protocolFactory}.

        @return: a Deferred of an C{IListeningPort}; fails with C{CannotListenError}, or what is wrong with the
            settings.
        """
        return execute(self._listen, protocolFactory)

    def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        tls = self._tls
        serve = _serve_settings if isinstance(tls, ServerTLS) else _serve_context_factory
        port = TLSListeningPort(self._reactor, factory, serve(tls, factory), self._options)
        port.startListening()
        return port


@implementer(IStreamServerEndpoint)
class TCPServerEndpoint:
    """
    Listens in clear.  The arguments are those of C{twisted.internet.endpoints.TCP4ServerEndpoint}.

    Its transports can start TLS, see L{PlainTransport<atstls.endpoints.starttls.PlainTransport>}.
    """

    def __init__(self, reactor: Any, port: int, backlog: int = 50, interface: str = "") -> None:
        """See L{SSLServerEndpoint}."""
        self._reactor = reactor
        self._options = AcceptOptions(local_ip=interface, local_port=port, backlog=backlog)

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """See L{SSLServerEndpoint.listen}."""
        return execute(self._listen, protocolFactory)

    def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        serving = _Serving(lambda nh: UpgradableNetVConnection(nh, factory), {})
        port = TCPListeningPort(self._reactor, factory, serving, self._options)
        port.startListening()
        return port
