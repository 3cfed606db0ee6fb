# -*- test-case-name: tests.test_endpoints -*-
# ruff: noqa: N802, N803  # what Twisted calls, and passes by name, is spelled as Twisted spells it
"""
L{SSLServerEndpoint} and L{SSLClientEndpoint}: the way to move a Twisted application here by changing one line.

They take the arguments of C{SSL4ServerEndpoint} and C{SSL4ClientEndpoint}.  What stands in the place of the context
factory may be Twisted's, and then says all about TLS that Twisted lets it say, or may be ours: L{ServerTLS} and
L{ClientTLS}, which know of certificates by name, a factory for each protocol of ALPN, hooks, and bounds.

Twisted's objects make pyOpenSSL's connection themselves, and their call-backs look at what TLS in Twisted is: a
protocol wrapped around another one.  L{CreatedNetVConnection} is a connection of ours that shows them as much of one as
they look at; all else about it is as with any L{SSLNetVConnection}.  A context that was used cannot be changed any more
(pyOpenSSL 26.2), so that a plain context factory's context gets ALPN when the port is opened, if it is still unused.

All endpoints of a reactor share one L{SharedHandler}.  It works for as long as there is a port, an attempt or a
connection, and then leaves nothing behind in the reactor: a test that has closed what it opened finds it clean.

Source: C{twisted.internet.endpoints}, C{twisted.internet.ssl}, C{twisted.protocols.tls}.
"""

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Final
from weakref import WeakSet

from attrs import evolve, field, frozen
from cryptography import x509
from OpenSSL import SSL
from twisted.internet import error
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, execute, fail, succeed
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IProtocolNegotiationFactory,
    IReactorCore,
    IStreamClientEndpoint,
    IStreamClientEndpointStringParserWithReactor,
    IStreamServerEndpoint,
    IStreamServerEndpointStringParser,
)
from twisted.logger import Logger
from twisted.plugin import IPlugin
from twisted.python.failure import Failure
from zope.interface import implementer

from atstls.errors import (
    AtsTlsError,
    ConfigurationError,
    HandshakeFailed,
    LocalError,
    NameNotFound,
    OpenFailed,
    PeerVanished,
    TimedOut,
    VerifyFailed,
)
from atstls.events import (
    ENET_CONNECT_TIMEOUT,
    ENET_SSL_CONNECT_FAILED,
    ENET_SSL_FAILED,
    ENET_THROTTLING,
    EVENT_CONT,
    NET_EVENT_OPEN,
)
from atstls.interfaces import IContinuation
from atstls.net.accept import NetAccept
from atstls.net.connection import AcceptOptions, NetVCOptions, is_ip
from atstls.net.cop import InactivityCop
from atstls.net.handler import NetHandler
from atstls.net.poll import EdgePollDescriptor, ReactorPollDescriptor, make_poll_descriptor
from atstls.net.processor import NetProcessor
from atstls.net.throttle import Throttle
from atstls.session.nextprotocol import SSLNextProtocolAccept
from atstls.session.protocol import ProtocolSessionAccept, connect_protocol, twisted_address
from atstls.ssl.sslvc import NO_HOOKS, SSLNetVConnection, check_server_name, select_alpn
from atstls.tls.certificates import UNREADABLE, Certificate, dns_name, load_certificate, read_file
from atstls.tls.contexts import (
    CertificateTable,
    ClientSettings,
    ClientVerification,
    ServerSettings,
    certificate_context,
    client_context,
    front_context,
)
from atstls.tls.engine import DefaultEngine, Engine
from atstls.tls.hooks import HookSet
from atstls.tls.phases import Move
from atstls.tls.policy import ClientPolicy, ServerPolicy
from atstls.tls.verify import VerifyPolicy

HANDSHAKE_SECONDS: Final = 30.0
"""How long a client's handshake may take where a context factory is used, which cannot say so (Twisted: no limit)."""


# What moves the bytes.


class SharedHandler:
    """
    What moves the bytes of all endpoints of one reactor: a handler, a poll descriptor and a cop.

    @ivar handler: lives as long as the reactor; is watched by a poll descriptor and a cop while it is in use.
    @ivar throttle: how many connections there may be: as many as the process may have descriptors, but for some.
    """

    _log = Logger()

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.handler = NetHandler(reactor)
        self.throttle = Throttle(-1)
        self._uses = 0
        self._poll: EdgePollDescriptor | ReactorPollDescriptor | None = None
        self._cop: InactivityCop | None = None
        self._trigger: Any = None

    @property
    def in_use(self) -> bool:
        """Does anybody hold it?"""
        return self._uses > 0

    def hold(self) -> None:
        """Somebody needs it, and will call L{release}: a port, an attempt to connect, a connection."""
        if not self._uses:
            self._start()
        self._uses += 1

    def _start(self) -> None:
        poll = self._poll = make_poll_descriptor(self.reactor, self.handler)
        self.handler.set_poll(poll, tell_rest=isinstance(poll, ReactorPollDescriptor))
        self._cop = InactivityCop(self.handler, self.reactor)
        self._cop.startService()
        if IReactorCore.providedBy(self.reactor):
            self._trigger = self.reactor.addSystemEventTrigger("during", "shutdown", self._end_connections)

    def release(self) -> None:
        """Somebody needs it no longer.  After the last one the reactor has nothing of ours."""
        self._uses -= 1
        if self._uses:
            return
        cop, self._cop = self._cop, None
        poll, self._poll = self._poll, None
        trigger, self._trigger = self._trigger, None
        assert cop is not None and poll is not None
        cop.stopService()
        poll.close()
        self.handler.stop()
        if trigger is not None:
            self.reactor.removeSystemEventTrigger(trigger)

    def _end_connections(self) -> None:
        """The reactor stops: as Twisted does it, protocols that have a connection lose it."""
        self._trigger = None
        for vc in list(self.handler.open_list):
            try:
                if not vc.closed:
                    state = vc.read if vc.read.vio.cont is not None else vc.write
                    vc.signal_error(state, errno.ECONNABORTED, AtsTlsError("the reactor stops"))
            except Exception:
                self._log.failure("a connection could not be ended: {vc}", vc=vc)
            self.handler.end(vc)


_SHARED: Final = "_atstls_shared_handler"


def handler_for(reactor: Any) -> SharedHandler:
    """The one L{SharedHandler} of C{reactor}, made when it is first asked for.  It goes when the reactor goes."""
    shared: SharedHandler | None = getattr(reactor, _SHARED, None)
    if shared is None:
        shared = SharedHandler(reactor)
        # A weak dictionary would keep the reactor: its value refers to its key.
        setattr(reactor, _SHARED, shared)
    return shared


# What is said about TLS.


def _names_of(factory: Any) -> tuple[bytes, ...]:
    """The protocols that C{factory} speaks, as far as it says so, best first."""
    if IProtocolNegotiationFactory.providedBy(factory):
        return tuple(factory.acceptableProtocols())
    return ()


@frozen(eq=False)
class ServerTLS:
    """
    What a server demands and shows, in the place of a context factory.

    @ivar certificates: the first is shown to who asks for a name that none is for.  Several for the same names have
        different kinds of key.  In the place of a list, a L{CertificateFolder}.
    @ivar alpn: the protocols to offer, best first, and who speaks each; C{None} stands for the factory that listens.
        Empty: what that factory says that it speaks (C{IProtocolNegotiationFactory}).
    @ivar hooks: who is asked about each connection.
    @ivar handshake_timeout_seconds: from accept to the end of the handshake, hooks included; 0: no limit.
    @ivar max_record_size: -1: small records first; 0: as large as TLS has them; else plaintext bytes at the most.
    @ivar strict_server_name: refuse a name that no certificate is for.
    @ivar settings: versions, ciphers, sessions, clients' certificates.
    """

    certificates: "Sequence[Certificate] | CertificateFolder"
    alpn: Mapping[bytes, IProtocolFactory | None] = field(factory=dict)
    hooks: HookSet = NO_HOOKS
    handshake_timeout_seconds: float = HANDSHAKE_SECONDS
    max_record_size: int = 0
    strict_server_name: bool = False
    settings: ServerSettings = field(factory=ServerSettings)

    def policy(self) -> ServerPolicy:
        """
        The policy, with new contexts.

        @raise ConfigurationError: there is no certificate, or one or a setting cannot be used.
        """
        source = self.certificates
        return ServerPolicy(
            front_context(self.settings, select_alpn=select_alpn, check_server_name=check_server_name),
            self.table(source.load() if isinstance(source, CertificateFolder) else source),
            handshake_timeout_seconds=self.handshake_timeout_seconds,
            max_record_size=self.max_record_size,
            strict_server_name=self.strict_server_name,
        )

    def table(self, certificates: Sequence[Certificate]) -> CertificateTable:
        """
        New contexts for C{certificates}, by their names.

        @raise ConfigurationError: there is no certificate, or one cannot be used.
        """
        if not certificates:
            raise ConfigurationError("a server needs a certificate")
        same: dict[tuple[str, ...], list[Certificate]] = {}
        for certificate in certificates:
            same.setdefault(certificate.names, []).append(certificate)
        table = CertificateTable()
        for names, alike in same.items():
            context = certificate_context(self.settings, alike, select_alpn=select_alpn)
            table.add(context, names, default=table.default is None)
        return table


@frozen(eq=False)
class ClientTLS:
    """
    What a client demands and shows, in the place of a context factory.  How long it waits is the endpoint's C{timeout}.

    @ivar settings: versions, ciphers, roots, our certificate, what follows when the peer is not who we meant.  With no
        C{alpn}, what the factory says that it speaks is offered.
    @ivar server_name: the name to ask for and to look for in the certificate; C{None}: the endpoint's host.
    @ivar roots: a folder of PEM files, or one such file, with the roots that we trust; C{None}: those of C{settings}.
    @ivar hooks: who is asked about each connection.
    @ivar max_record_size: as in L{ServerTLS}.
    """

    settings: ClientSettings = field(factory=ClientSettings)
    server_name: str | None = None
    roots: str | None = None
    hooks: HookSet = NO_HOOKS
    max_record_size: int = 0

    def context(self, alpn: tuple[bytes, ...]) -> SSL.Context:
        """
        A new context that offers C{alpn}, unless the settings say what is offered.

        @raise ConfigurationError: a setting cannot be used.
        """
        settings = evolve(self.settings, alpn=self.settings.alpn or alpn)
        if self.roots is None:
            return client_context(settings)
        if not os.path.isdir(self.roots):
            return client_context(evolve(settings, ca_file=self.roots))
        # OpenSSL wants hashed names in a folder, Twisted's users have names that end in .pem.
        with NamedTemporaryFile(suffix=".pem") as file:
            for _path, data in _pem_files(self.roots):
                file.write(data + b"\n")
            file.flush()
            try:
                return client_context(evolve(settings, ca_file=file.name))
            except ConfigurationError as exc:
                raise ConfigurationError(str(exc).replace(file.name, self.roots)) from exc


def _pem_files(folder: str) -> list[tuple[str, bytes]]:
    """
    The files of C{folder} whose names end in .pem, in the order of their names.

    @raise ConfigurationError: the folder or a file cannot be read.
    """
    try:
        paths = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() == ".pem")
    except OSError as exc:
        raise ConfigurationError(f"{folder}: it cannot be read: {exc.strerror}") from exc
    return [(str(path), read_file(str(path))) for path in paths if path.is_file()]


def load_folder(folder: str) -> tuple[Certificate, ...]:
    """
    The certificates in a folder of PEM files, as Twisted's C{tls:} endpoint has it.

    A certificate's key may be in its own file or in another one; behind the certificate in its file may stand its
    chain.  Of two for the same names with the same kind of key the younger one counts.

    @raise ConfigurationError: the folder cannot be read, or there is no certificate with a key in it.
    """
    files = _pem_files(folder)
    keys = [path for path, data in files if b"PRIVATE KEY-----" in data]
    found: dict[tuple[object, ...], Certificate] = {}
    for path, data in files:
        if b"-----BEGIN CERTIFICATE-----" not in data:
            continue
        certificate = _with_its_key(path, [path, *keys] if path in keys else keys)
        if certificate is None:
            continue  # a chain's, whose key is somebody else's
        kind = (certificate.names, type(certificate.key))
        other = found.get(kind)
        if other is None or other.leaf.not_valid_before_utc < certificate.leaf.not_valid_before_utc:
            found[kind] = certificate
    if not found:
        raise ConfigurationError(f"{folder}: there is no certificate with its private key in a file *.pem")
    return tuple(found.values())


def _with_its_key(path: str, keys: Sequence[str]) -> Certificate | None:
    for key in keys:
        try:
            return load_certificate(path, key)
        except ConfigurationError:
            pass  # Another one's key.
    return None


LOOK_SECONDS: Final = 10.0
"""How old what we know of a folder may be when somebody connects."""


class CertificateFolder:
    """
    A folder of PEM files, which is read again when something in it has changed.

    It is looked at when somebody connects, and not more often than each L{LOOK_SECONDS}.  What cannot be read is
    logged, and the certificates from before go on to be shown.
    """

    _log = Logger()

    def __init__(self, path: str) -> None:
        self.path = path
        self._seen: object = None
        self._looked_at = 0.0

    def load(self) -> tuple[Certificate, ...]:
        """See L{load_folder}."""
        self._seen = self._signature()
        return load_folder(self.path)

    def changed(self, now: float) -> bool:
        """
        Has something changed since it was read?  True only once for each change.

        @param now: by a clock that goes forward.
        """
        if now - self._looked_at < LOOK_SECONDS:
            return False
        self._looked_at = now
        seen, self._seen = self._seen, self._signature()
        return seen != self._seen

    def current(self, tls: ServerTLS, policy: ServerPolicy, now: float) -> ServerPolicy:
        """C{policy}, or one with the certificates that there are now.  Its tickets stay good."""
        if not self.changed(now):
            return policy
        try:
            table = tls.table(self.load())
        except ConfigurationError as exc:
            self._log.error("the certificates from before are kept: {reason}", reason=str(exc))
            return policy
        self._log.info("the certificates of {folder} were read again", folder=self.path)
        return evolve(policy, certificates=table)

    def _signature(self) -> object:
        try:
            entries = [(entry.name, entry.stat()) for entry in os.scandir(self.path)]
        except OSError as exc:
            return str(exc)
        return sorted((name, stat.st_mtime_ns, stat.st_size, stat.st_ino) for name, stat in entries)


# Connections whose pyOpenSSL connection somebody else makes.

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
        self, nh: NetHandler, policy: ServerPolicy | ClientPolicy, make_connection: MakeConnection, factory: Any
    ) -> None:
        super().__init__(nh, policy)
        self.factory = _Wrapping(factory)
        self._make_connection = make_connection
        self._not_verified: str | None = None

    # What a context's call-backs call.

    def failVerification(self, reason: Failure) -> None:
        """The peer is not who was meant, and why; the handshake is about to fail."""
        self._not_verified = reason.getErrorMessage() or type(reason.value).__name__

    def abortConnection(self) -> None:
        """A call-back has failed, which it has logged."""
        self.refusal = HandshakeFailed("a call-back of the TLS context failed")

    # What differs from other connections.

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
        self._shake_hands()

    def _handshake_error(self, tls: Engine) -> AtsTlsError:
        if self._not_verified is not None:
            return VerifyFailed(f"the certificate is not for who we meant: {self._not_verified}")
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


# Serving.


@frozen(eq=False)
class _Serving:
    """
    How a port makes connections.

    @ivar make: a connection, for the handler that it is called with.
    @ivar protocols: what is offered by ALPN, best first, and who speaks it; C{None}: the factory that listens.
    """

    make: Callable[[NetHandler], SSLNetVConnection]
    protocols: Mapping[bytes, IProtocolFactory | None]


def _serve_settings(tls: ServerTLS, factory: Any) -> _Serving:
    policy = tls.policy()
    folder = tls.certificates if isinstance(tls.certificates, CertificateFolder) else None

    def make(nh: NetHandler) -> SSLNetVConnection:
        nonlocal policy
        if folder is not None:
            policy = folder.current(tls, policy, nh.now)
        vc = SSLNetVConnection(nh, policy)
        vc.hooks = tls.hooks
        return vc

    return _Serving(make, tls.alpn or dict.fromkeys(_names_of(factory)))


def _serve_context_factory(context_factory: Any, factory: Any) -> _Serving:
    protocols: Mapping[bytes, IProtocolFactory | None] = {}
    make_connection: MakeConnection
    if IOpenSSLServerConnectionCreator.providedBy(context_factory):
        make_connection = context_factory.serverConnectionForTLS
    else:
        context = context_factory.getContext()
        if not isinstance(context, SSL.Context):
            raise TypeError(f"{context_factory} gives no OpenSSL.SSL.Context, but {context!r}")
        names = _names_of(factory)
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
class TLSListeningPort:
    """
    A port of an L{SSLServerEndpoint}.

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

    def _make_acceptor(self, reactor: Any) -> SSLNextProtocolAccept:
        sessions = {factory: ProtocolSessionAccept(factory, reactor) for factory in self._factories}
        acceptor = SSLNextProtocolAccept(sessions[self.factory])
        # What is registered last is preferred most.
        for name, factory in reversed(list(self._serving.protocols.items())):
            if not acceptor.register_endpoint(name, sessions[self.factory if factory is None else factory]):
                raise ConfigurationError(f"alpn {name!r}: a protocol name has 1 to 255 bytes")
        return acceptor

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
        shared.hold()
        try:
            accept.listen()
        except BaseException:
            shared.release()
            raise
        self._accept = accept
        self._host = accept.get_host()
        for factory in self._factories:
            factory.doStart()

    def stopListening(self) -> Deferred[None]:
        """Close the port, at once, and stop the factory.  Connections that are there go on."""
        accept, self._accept = self._accept, None
        if accept is not None:
            try:
                accept.cancel()
                for factory in self._factories:
                    factory.doStop()
            finally:
                self._shared.release()
        return succeed(None)

    loseConnection = stopListening  # noqa: N815

    def getHost(self) -> IAddress:
        """Where it listens; once closed, where it did."""
        host: IAddress = self._host
        return host

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.factory} on {self._host}{'' if self._accept else ', closed'}>"


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


# Connecting.


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


def _failure_words(exc: OpenFailed) -> Exception:
    """What Twisted's users, or ours, would catch, for what a processor says of a connection that failed."""
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

    def begin(self, processor: NetProcessor, address: tuple[str, int], timeout: float, options: NetVCOptions) -> None:
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
            reason = _failure_words(data)
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
        connect_protocol(vc, protocol, self._shared.reactor)
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
        port: int,
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
        self._contexts: dict[tuple[bytes, ...], SSL.Context] = {}

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Connect, shake hands, and only then build a protocol.

        @return: a Deferred of the protocol, which may be cancelled.  It fails with Twisted's errors where the TCP
            connection fails: C{ConnectionRefusedError}, C{TimeoutError}, C{DNSLookupError} and others that are a
            C{ConnectError}; with L{HandshakeFailed} or L{VerifyFailed} where TLS does.
        """
        try:
            shared = handler_for(self._reactor)
            kind = IPv6Address if ":" in self._host else IPv4Address
            attempt = _Attempt(shared, protocolFactory, kind("TCP", self._host, self._port))
            options = NetVCOptions(local_ip=self._bind[0], local_port=self._bind[1])
            tls = self._tls
            if isinstance(tls, ClientTLS):
                make = self._make_by_settings(tls, protocolFactory, options)
            else:
                make = self._make_by_context_factory(tls, protocolFactory)
            processor = _ClientProcessor(shared, make)
            attempt.begin(processor, (self._host, self._port), self._timeout, options)
        except Exception:
            return fail()
        return attempt.deferred

    def _make_by_settings(
        self, tls: ClientTLS, factory: Any, options: NetVCOptions
    ) -> Callable[[NetHandler], SSLNetVConnection]:
        alpn = tls.settings.alpn or _names_of(factory)
        context = self._contexts.get(alpn)
        if context is None:
            context = self._contexts[alpn] = tls.context(alpn)
        policy = ClientPolicy(
            context,
            handshake_timeout_seconds=self._timeout,
            max_record_size=tls.max_record_size,
            verify=tls.settings.policy,
            properties=tls.settings.properties,
        )
        host = tls.server_name or self._host
        name = host if is_ip(host) else dns_name(host) or host
        options.set_sni_servername(name)

        def make(nh: NetHandler) -> SSLNetVConnection:
            vc = SSLNetVConnection(nh, policy)
            vc.hooks = tls.hooks
            vc.server_name = None if is_ip(name) else name
            return vc

        return make

    def _make_by_context_factory(self, context_factory: Any, factory: Any) -> Callable[[NetHandler], SSLNetVConnection]:
        make_connection: MakeConnection
        if IOpenSSLClientConnectionCreator.providedBy(context_factory):
            make_connection = context_factory.clientConnectionForTLS
        else:

            def make_connection(_vc: Any) -> SSL.Connection:
                connection = SSL.Connection(context_factory.getContext(), None)
                names = _names_of(factory)
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


# Strings.


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8")


def _optional(value: bytes | str | None) -> str | None:
    return None if value is None else _text(value)


def _choice(argument: str, value: bytes | str, allowed: type[Any]) -> Any:
    try:
        return allowed(_text(value))
    except ValueError:
        names = ", ".join(choice.value for choice in allowed)
        raise ConfigurationError(f"{argument}={_text(value)}: allowed are {names}") from None


def _protocol_names(value: bytes | str | None) -> tuple[bytes, ...]:
    """C{h2,http/1.1} as names."""
    return tuple(name.strip().encode("ascii") for name in (_optional(value) or "").split(",") if name.strip())


def _parse_server(
    reactor: Any,
    port: str,
    folder: str | None = None,
    backlog: str = "50",
    interface: str = "",
    *,
    privateKey: str | None = None,
    certKey: str | None = None,
    extraCertChain: str | None = None,
    sslmethod: str | None = None,
    dhParameters: str | None = None,
    alpn: str | None = None,
    handshakeTimeout: str | None = None,
    clientCA: str | None = None,
    verify: str | None = None,
) -> SSLServerEndpoint:
    if sslmethod is not None:
        raise ConfigurationError(f"sslmethod={sslmethod}: versions are not chosen here; TLS 1.2 and 1.3 are spoken")
    if dhParameters is not None:
        read_file(dhParameters)  # No suite with it is offered, but a name that is wrong should be told.
    certificates: tuple[Certificate, ...] | CertificateFolder
    if folder is not None:
        if privateKey is not None or certKey is not None or extraCertChain is not None:
            raise ConfigurationError(
                f"{folder}: a folder has certificates and keys; privateKey and its kin are too much"
            )
        load_folder(folder)  # What is wrong is told when the string is read.
        certificates = CertificateFolder(folder)
    else:
        certificates = (_load_pair(privateKey or "server.pem", certKey, extraCertChain),)
    if verify is not None:
        verification = _choice("verify", verify, ClientVerification)
    else:
        verification = ClientVerification.NONE if clientCA is None else ClientVerification.REQUIRED
    return SSLServerEndpoint(
        reactor,
        int(port),
        ServerTLS(
            certificates,
            alpn=dict.fromkeys(_protocol_names(alpn)),
            handshake_timeout_seconds=HANDSHAKE_SECONDS if handshakeTimeout is None else float(handshakeTimeout),
            settings=ServerSettings(client_verification=verification, client_ca_file=clientCA),
        ),
        int(backlog),
        interface,
    )


def _load_pair(private_key: str, certificate: str | None, chain: str | None) -> Certificate:
    """As Twisted's C{ssl:} has it: the certificate may be in the file of the key, and its chain in a third one."""
    loaded = load_certificate(certificate or private_key, private_key)
    if chain is None:
        return loaded
    try:
        more = x509.load_pem_x509_certificates(read_file(chain))
    except UNREADABLE as exc:
        raise ConfigurationError(f"{chain}: there is no certificate in it that can be read: {exc}") from exc
    return evolve(loaded, chain=(*loaded.chain, *more))


def _parse_client(
    reactor: Any,
    host: bytes | str,
    port: bytes | str,
    timeout: bytes | str = "30",
    bindAddress: bytes | str | None = None,
    certificate: bytes | str | None = None,
    privateKey: bytes | str | None = None,
    trustRoots: bytes | str | None = None,
    *,
    certKey: bytes | str | None = None,
    caCertsDir: bytes | str | None = None,
    hostname: bytes | str | None = None,
    alpn: bytes | str | None = None,
    verify: bytes | str | None = None,
) -> SSLClientEndpoint:
    shown = _optional(certificate) or _optional(certKey)
    settings = ClientSettings(
        certificate=None if shown is None else load_certificate(shown, _optional(privateKey)),
        alpn=_protocol_names(alpn),
        policy=VerifyPolicy.ENFORCED if verify is None else _choice("verify", verify, VerifyPolicy),
    )
    tls = ClientTLS(settings, server_name=_optional(hostname), roots=_optional(trustRoots) or _optional(caCertsDir))
    return SSLClientEndpoint(reactor, _text(host), int(port), tls, float(timeout), _optional(bindAddress))


@implementer(IPlugin, IStreamServerEndpointStringParser)
class ServerEndpointParser:
    """Makes an L{SSLServerEndpoint} of C{atstls:8443:...}; which arguments there are is in C{docs/endpoints.rst}."""

    prefix = "atstls"

    def parseStreamServer(self, reactor: Any, *args: Any, **kwargs: Any) -> SSLServerEndpoint:
        """
        See C{IStreamServerEndpointStringParser.parseStreamServer}.

        @raise ConfigurationError: an argument cannot be used; says which, and why.
        @raise TypeError: there is no such argument.
        """
        return _parse_server(reactor, *args, **kwargs)


@implementer(IPlugin, IStreamClientEndpointStringParserWithReactor)
class ClientEndpointParser:
    """Makes an L{SSLClientEndpoint} of C{atstls:www.example.com:443:...}."""

    prefix = "atstls"

    def parseStreamClient(self, reactor: Any, *args: Any, **kwargs: Any) -> SSLClientEndpoint:
        """
        See C{IStreamClientEndpointStringParserWithReactor.parseStreamClient}.

        @raise ConfigurationError: an argument cannot be used; says which, and why.
        @raise TypeError: there is no such argument.
        """
        return _parse_client(reactor, *args, **kwargs)
