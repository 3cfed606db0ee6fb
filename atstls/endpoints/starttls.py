# -*- test-case-name: tests.test_starttls -*-
# ruff: noqa: N802, N803  # what Twisted calls, and passes by name, is spelled as Twisted spells it
"""
C{startTLS}: a connection that begins in clear and goes on over TLS.

L{UpgradableNetVConnection} is a TLS connection in the phase I{plain}: its bytes are the application's as they are.
L{UpgradableNetVConnection.start_tls} moves it back to the start, from where it is like any other of its role; the
requests of its user stay where they are, and move again when the handshake is done.

L{PlainTransport} is the transport of a protocol over it, and sees to the order of bytes:

  - What was written before C{startTLS} goes out in clear, all of it, before the first byte of the handshake.  It may
    have to wait for the kernel; meanwhile what is written after goes into a buffer of its own.
  - What came from the peer and was not delivered before C{startTLS} is TLS.  A command that somebody has put behind
    the peer's last one in clear is never taken for one that came encrypted (CVE-2011-0411): it spoils the handshake.

Who calls C{startTLS} within C{dataReceived} has got all that had come by then; a peer that begins with TLS before it is
told to has spoken too early, as with Twisted's own transports.

Source: C{twisted.internet.interfaces.ITLSTransport}, C{twisted.internet._newtls}; RFC 3207, section 4.
"""

import errno
from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IProtocol,
    ITLSTransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from atstls.endpoints.created import CreatedNetVConnection, MakeConnection
from atstls.endpoints.settings import HANDSHAKE_SECONDS, ClientTLS, ServerTLS
from atstls.errors import LocalError
from atstls.eventsystem.iobuffer import BUFFER_SIZE_INDEX_32K, IOBufferReader, MIOBuffer
from atstls.net.connection import Address, NetVCOptions, is_ip
from atstls.net.handler import NetHandler
from atstls.net.unixvc import TRANSPORT_BLIND_TUNNEL, TRANSPORT_DEFAULT, WOULD_BLOCK, UnixNetVConnection
from atstls.session.protocol import NORMAL, NetVCTransport, TLSNetVCTransport, make_transport, speaks_tls
from atstls.ssl.sslvc import SSLNetVConnection
from atstls.tls.certificates import dns_name
from atstls.tls.contexts import CertificateTable
from atstls.tls.phases import Move, Phase
from atstls.tls.policy import ClientPolicy, ServerPolicy
from atstls.tls.verify import VerifyPolicy


def _nothing_made(_vc: Any) -> SSL.Connection:
    raise LocalError("TLS was not started")


class UpgradableNetVConnection(CreatedNetVConnection):
    """
    A connection that is plain until L{start_tls}; or, with a policy, that is if its peer begins in clear.

    @ivar when_open: called once, when the handshake is done.
    @ivar host: what we connected to, if anything: the name to ask for where nobody says another.
    """

    __slots__ = ("_by_settings", "host", "when_open")

    def __init__(self, nh: NetHandler, factory: Any, policy: ServerPolicy | None = None) -> None:
        """@param policy: speak TLS from the beginning, unless the peer does not; C{None}: begin in clear."""
        super().__init__(nh, policy, _nothing_made, factory)
        self._by_settings = True
        self.when_open: Callable[[], None] | None = None
        self.host: str | None = None
        if policy is None:
            self.phase = Phase.PLAIN
            self.attributes = TRANSPORT_BLIND_TUNNEL
            self.ready = True

    def start(self, sock: Any, remote: Address | None = None) -> None:
        """See L{UnixNetVConnection.start<atstls.net.unixvc.UnixNetVConnection.start>}."""
        if self.phase is Phase.PLAIN:
            UnixNetVConnection.start(self, sock, remote)  # Without a handshake there is no deadline.
        else:
            super().start(sock, remote)

    def begin_deadline(self, policy: ServerPolicy | ClientPolicy) -> None:
        """The handshake that C{policy} demands is to be done within its time from now, whatever it waits for."""
        self.policy = policy
        if policy.handshake_timeout_seconds > 0:
            self.deadline = self.nh.seconds() + policy.handshake_timeout_seconds

    def start_tls(
        self, policy: ServerPolicy | ClientPolicy, make_connection: MakeConnection | None, first: bytes
    ) -> None:
        """
        Speak TLS from here on.  Nobody is called back from within.

        The role is that of C{policy}.  Requests that were made stay, and go on when the handshake is done.

        @param make_connection: gives pyOpenSSL's connection; C{None}: it is made as C{policy} says.
        @param first: bytes that the peer has sent already, and nobody has got.
        """
        self._move(Move.TLS_STARTED)
        self.policy = policy
        self.is_client = isinstance(policy, ClientPolicy)
        self._by_settings = make_connection is None
        if make_connection is not None:
            self._make_connection = make_connection
        if first:
            self._holder = bytearray(first) + (self._holder or b"")
        self.attributes = TRANSPORT_DEFAULT
        self.ready = False
        nh = self.nh
        self.handshake_began = nh.seconds()
        if self.is_client:
            self.write.urgent = True
            if self.write.triggered:
                nh.queue_write(self)
        else:
            # What is held back makes no noise of its own: look once.
            self.read.urgent = self.read.triggered = self.read.polled = True
            nh.queue_read(self)

    def _receive(self) -> int:
        holder = self._holder
        if not holder:
            return super()._receive()
        wire = self.nh.wire
        n = min(len(holder), wire.size)
        wire.view[:n] = holder[:n]
        self._holder = holder[n:] or None
        return n

    def _push(self, reader: IOBufferReader, towrite: int) -> int:
        # Whoever was just asked for something to write may have started TLS instead.
        return super()._push(reader, towrite) if self.ready else WOULD_BLOCK

    def _begin_as_client(self) -> None:
        (SSLNetVConnection if self._by_settings else CreatedNetVConnection)._begin_as_client(self)

    def _open_engine(self) -> None:
        (SSLNetVConnection if self._by_settings else CreatedNetVConnection)._open_engine(self)

    def _open(self) -> None:
        holder, self._holder = self._holder, None
        if holder and self.engine is not None:
            self.engine.feed(holder, len(holder))
        super()._open()

    def _tell_established(self) -> None:
        when_open, self.when_open = self.when_open, None
        if when_open is not None:
            self.recursion += 1
            try:
                when_open()
            finally:
                self.recursion -= 1
            if self.closed:
                if not self.recursion:
                    self._leave()
                return
        super()._tell_established()

    def deadline_passed(self) -> None:
        """See L{SSLNetVConnection.deadline_passed<atstls.ssl.sslvc.SSLNetVConnection.deadline_passed>}."""
        if self.phase is Phase.PLAIN and not self.closed:
            self._move(Move.TLS_STARTED)  # What was written before is still here, and the time is up.
        super().deadline_passed()

    def free(self) -> None:
        """See L{UnixNetVConnection.free<atstls.net.unixvc.UnixNetVConnection.free>}."""
        super().free()
        self.when_open = None


class _Upgrade:
    """
    What C{startTLS} was asked for.  Everything that can be wrong with it is found when this is made.

    @ivar policy: with the role.
    """

    def __init__(self, vc: UpgradableNetVConnection, tls: Any, client: bool) -> None:
        """
        @param tls: whatever an endpoint takes in the place of a context factory.
        @raise TypeError: it is for the other role.
        @raise Exception: whatever a context factory raises.
        """
        self.policy: ServerPolicy | ClientPolicy
        self._vc = vc
        self._tls = tls
        self._make_connection: MakeConnection | None = None
        self._name: str | None = None
        if isinstance(tls, ClientTLS if client else ServerTLS):
            self._by_settings(tls)
        elif isinstance(tls, ServerTLS | ClientTLS):
            raise TypeError(f"{type(tls).__name__} is for the other side of a connection")
        else:
            self._by_context_factory(tls, client)

    def _by_settings(self, tls: Any) -> None:
        vc = self._vc
        if isinstance(tls, ServerTLS):
            self.policy = tls.kept_policy(vc.nh.seconds())
            return
        host = tls.server_name or vc.host
        if host is not None:
            self._name = host if is_ip(host) else dns_name(host) or host
        self.policy = ClientPolicy(
            tls.kept_context(()),
            handshake_timeout_seconds=HANDSHAKE_SECONDS,
            max_record_size=tls.max_record_size,
            verify=tls.settings.policy,
            properties=tls.settings.properties,
            sessions=tls.sessions,
        )

    def _by_context_factory(self, factory: Any, client: bool) -> None:
        looks_like_tls: Any = self._vc
        if client and IOpenSSLClientConnectionCreator.providedBy(factory):
            made = factory.clientConnectionForTLS(looks_like_tls)
        elif not client and IOpenSSLServerConnectionCreator.providedBy(factory):
            made = factory.serverConnectionForTLS(looks_like_tls)
        else:
            made = SSL.Connection(factory.getContext(), None)
        self._make_connection = lambda _vc: made
        if client:
            self.policy = ClientPolicy(
                SSL.Context(SSL.TLS_CLIENT_METHOD),
                handshake_timeout_seconds=HANDSHAKE_SECONDS,
                verify=VerifyPolicy.DISABLED,
            )
        else:
            nobody = SSL.Context(SSL.TLS_SERVER_METHOD)
            table = CertificateTable()
            table.default = nobody
            self.policy = ServerPolicy(nobody, table, handshake_timeout_seconds=HANDSHAKE_SECONDS)

    def begin(self, first: bytes) -> None:
        vc, tls = self._vc, self._tls
        if self._make_connection is None:
            vc.hooks = tls.hooks
        if isinstance(tls, ServerTLS):
            vc.offered = tuple(tls.alpn)
        if isinstance(tls, ClientTLS):
            name = self._name
            vc.server_name = None if name is None or is_ip(name) else name
            if vc.options is None:
                vc.options = NetVCOptions()
            vc.options.set_sni_servername(name)
        vc.start_tls(self.policy, self._make_connection, first)


@implementer(ITLSTransport)
class PlainTransport(NetVCTransport):
    """The transport of a protocol that may start TLS."""

    vc: UpgradableNetVConnection

    def startTLS(self, contextFactory: Any, normal: bool = True) -> None:
        """
        Go on over TLS.  Nobody is called back from within.

        From now on the transport is one of TLS, although the handshake is still to be done: what is written goes out
        behind it.  An C{IHandshakeListener} is told when it is; if it fails, C{connectionLost} tells why in words, and
        its reason has our own error, such as L{VerifyFailed<atstls.errors.VerifyFailed>}, as C{__cause__}.

        @param contextFactory: a L{ServerTLS} or a L{ClientTLS}, or what Twisted takes.  With a L{ClientTLS} that names
            nobody, the peer has to be the host that was connected to.
        @param normal: who connected is TLS's client, and who accepted its server; C{False}: the other way round.
        @raise LocalError: the connection is closed, or being closed.
        @raise TypeError: the settings are those of the other role.
        @raise Exception: what the context factory raises.
        """
        vc = self.vc
        if not self.connected or self._aborted or vc.closed:
            raise LocalError("TLS cannot be started on a connection that is closed")
        upgrade = _Upgrade(vc, contextFactory, client=vc.is_client is bool(normal))
        first, self._first = self._first, b""
        self.__class__ = StartedTLSTransport  # type: ignore[assignment]  # what it is from now on
        StartedTLSTransport._upgraded(self, upgrade, first)  # type: ignore[arg-type]


class StartedTLSTransport(TLSNetVCTransport):
    """What L{PlainTransport} is when TLS was started."""

    vc: UpgradableNetVConnection
    _upgrade: _Upgrade | None = None
    _in_clear: Any = None

    # No super() here: who has kept a method of this class may call it when the object is of the next one.

    def _upgraded(self, upgrade: _Upgrade, first: bytes) -> None:
        self._upgrade = upgrade
        self._early = first
        self.vc.when_open = self._opened
        self.vc.begin_deadline(upgrade.policy)
        self._read_vio.disable()
        if self._unsent():
            # The write VIO goes on with these, and tells when they are gone.
            self._write_vio.quiet = False
            self._in_clear = self._out
            self._out_buffer = MIOBuffer(BUFFER_SIZE_INDEX_32K)
            self._out = self._out_buffer.alloc_reader()
        else:
            self._begin_tls()

    def _begin_tls(self) -> None:
        upgrade, self._upgrade = self._upgrade, None
        in_clear, self._in_clear = self._in_clear, None
        assert upgrade is not None
        early, self._early = self._early, b""
        upgrade.begin(early)
        if in_clear is not None:
            in_clear.dealloc()
            vio = self.vc.do_io_write(self, self._out.avail, self._out)
            assert vio is not None
        if not self._paused():
            self._read_vio.enable()

    def _hold_back(self) -> None:
        """What comes now is TLS's, and TLS has not begun."""
        if self._in_clear is not None:
            self._read_vio.disable()

    def resumeProducing(self) -> None:
        """See L{NetVCTransport.resumeProducing<atstls.session.protocol.NetVCTransport.resumeProducing>}."""
        TLSNetVCTransport.resumeProducing(self)
        StartedTLSTransport._hold_back(self)

    def loseConnection(self) -> None:
        """See L{NetVCTransport.loseConnection<atstls.session.protocol.NetVCTransport.loseConnection>}."""
        TLSNetVCTransport.loseConnection(self)
        StartedTLSTransport._hold_back(self)

    def _tell_handshake(self, protocol: IProtocol) -> None:
        """Not when the connection is made: see L{_opened}."""

    def _opened(self) -> None:
        self.__class__ = TLSNetVCTransport  # There is nothing special about it any more.
        protocol = self.protocol
        if protocol is None or self._aborted:
            return
        try:
            TLSNetVCTransport._tell_handshake(self, protocol)
        except Exception:
            self._protocol_failed()

    def _unsent(self) -> bool:
        return self._in_clear is not None or TLSNetVCTransport._unsent(self)

    # As long as the peer has not shaken hands, nothing that it says is for the protocol.
    _all_is_said = NetVCTransport._all_is_said

    def _written(self) -> None:
        if self._in_clear is None:
            TLSNetVCTransport._written(self)
        elif self.producer is not None and self._is_flooded():
            self._pause_producer()  # What the write VIO has to do is something else.

    def _settle(self) -> None:
        if self.connected and self._in_clear is not None:
            if self._in_clear.avail or self._write_vio.owed:
                self._write_vio.reenable()
                return
            if self.disconnecting and not self._out.avail and self.producer is None:
                self._in_clear.dealloc()
                self._in_clear = None
            else:
                self._begin_tls()
                return
        TLSNetVCTransport._settle(self)

    def _failed(self) -> None:
        vc = self.vc
        if vc.phase is Phase.FAILED:
            # What was written is nobody's; the alert shall arrive.
            self._out.consume(self._out.avail)
            self._finish(self._why(), NORMAL)
        else:
            TLSNetVCTransport._failed(self)

    def _finish(self, reason: Failure, lerrno: int) -> None:
        in_clear, self._in_clear = self._in_clear, None
        if in_clear is not None:
            if lerrno == NORMAL:
                lerrno = errno.ECONNRESET
            in_clear.dealloc()
        self._upgrade = None
        TLSNetVCTransport._finish(self, reason, lerrno)


def transport_for(vc: UnixNetVConnection, protocol: IProtocol, reactor: Any) -> NetVCTransport:
    """As L{make_transport<atstls.session.protocol.make_transport>}; one that can start TLS where C{vc} can."""
    if isinstance(vc, UpgradableNetVConnection) and not speaks_tls(vc):
        return PlainTransport(vc, protocol, reactor)
    return make_transport(vc, protocol, reactor)
