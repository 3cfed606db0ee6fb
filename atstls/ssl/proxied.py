# -*- test-case-name: tests.test_proxied -*-
"""
L{ProxiedSSLNetVConnection}: a connection that a load balancer has passed on, and says so first.

Before the client's first byte stands a header of the PROXY protocol (L{atstls.net.proxyheader}), in clear, also where
TLS follows.  It belongs to the phase HELLO: the same deadline holds, and nobody was asked anything yet but the hooks at
VCONN_START.  When it has come it is taken out, kept with the connection (C{proxy_header}), and what is behind it is
read as if it had come first.

Who may send one is said by networks; from elsewhere it is a lie, and the connection is closed.  Who sends none is
served as on any other port, and one that is wrong is an end without an alert: its sender does not speak TLS yet.

A port without TLS has the same: there such a connection becomes one in clear, by the move that allow-plain makes.

Source: behaviour 1.28, A092.
"""

import ipaddress
from collections.abc import Callable

from attrs import frozen

from atstls.errors import PeerError
from atstls.interfaces import IContinuation
from atstls.net.accept import NetAccept
from atstls.net.connection import AcceptOptions, Address
from atstls.net.handler import NetHandler
from atstls.net.proxyheader import ProxyHeader, ProxyReader, ProxyState
from atstls.net.throttle import Throttle
from atstls.net.unixvc import WOULD_BLOCK
from atstls.ssl.accept import SSLNetAccept
from atstls.ssl.sslvc import SSLNetVConnection
from atstls.tls.hooks import TUNNEL_OP, HookSet
from atstls.tls.phases import Move
from atstls.tls.policy import ServerPolicy

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


@frozen
class ProxyDemands:
    """
    What holds for the headers of one port.

    @ivar allow: the networks from which they may come; C{None}: from everywhere.
    @ivar believe: the client is who the header says: for lists of addresses, for logs, for protocols.  Else it is the
        peer of the socket, and the header is for who asks for it.
    @ivar plain: there is no TLS behind them.
    """

    allow: tuple[IPNetwork, ...] | None = None
    believe: bool = False
    plain: bool = False

    def allows(self, address: Address | None) -> bool:
        """May a header come from C{address}?  Over a UNIX socket only where no network is named."""
        if self.allow is None:
            return True
        if not isinstance(address, tuple):
            return False
        host = ipaddress.ip_address(address[0].partition("%")[0])
        if isinstance(host, ipaddress.IPv6Address) and host.ipv4_mapped is not None:
            # So a socket for both families tells of IPv4 clients.
            host = host.ipv4_mapped
        return any(host in network for network in self.allow)


class ProxiedSSLNetVConnection(SSLNetVConnection):
    """A connection to a port where a header of the PROXY protocol may come first."""

    __slots__ = ("_behind", "_demands", "_proxy_reader", "proxy_header")

    def __init__(self, nh: NetHandler, policy: ServerPolicy | None, demands: ProxyDemands) -> None:
        super().__init__(nh, policy)
        self.proxy_header: ProxyHeader | None = None
        self._demands = demands
        self._proxy_reader: ProxyReader | None = ProxyReader()
        self._behind: bytes | None = None

    def certificate_addr(self) -> Address | None:
        """See L{SSLNetVConnection.certificate_addr}: where the client has connected to."""
        header = self.proxy_header
        return self.get_local_addr() if header is None or header.destination is None else header.destination

    def _successor(self, nh: NetHandler) -> "ProxiedSSLNetVConnection":
        successor = ProxiedSSLNetVConnection(nh, None, self._demands)
        successor.proxy_header = self.proxy_header
        return successor

    def _begin_as_server(self) -> None:
        if self.hook_op != TUNNEL_OP:
            super()._begin_as_server()
            return
        # It becomes one, but what the header says is not for the host behind the tunnel.
        self._move(Move.ACCEPTED)
        self._await_hello()

    def _collect_hello(self) -> None:
        reader = self._proxy_reader
        if reader is None:
            super()._collect_hello()
            return
        n = self._receive()
        if n <= 0:
            if n != WOULD_BLOCK:
                self._fail(self._vanished("the client left before it said what it wants", n))
            return
        state = reader.feed(self.nh.wire.view[:n])
        if state is ProxyState.NEED_MORE:
            if self.read.triggered:
                self.nh.queue_read(self)
            return
        self._proxy_reader = None
        if state is not ProxyState.ABSENT:
            if not self._demands.allows(self.get_remote_addr()):
                self._fail(PeerError("it sent a PROXY header, and is not in proxy_protocol_allowlist"))
                return
            if state is ProxyState.MALFORMED:
                self._fail(PeerError(reader.reason))
                return
            self._introduced(reader.header)
        if self._demands.plain:
            self._become_tunnel(bytearray(reader.rest), Move.CLEAR_TEXT)
        elif self.hook_op == TUNNEL_OP:
            self._become_tunnel(bytearray(reader.rest))
        elif reader.rest:
            self._behind = reader.rest
            super()._collect_hello()
        elif self.read.triggered:
            self.nh.queue_read(self)

    def _introduced(self, header: ProxyHeader | None) -> None:
        self.proxy_header = header
        if self._demands.believe and header is not None and header.source is not None:
            self.set_remote_addr(header.source)

    def _receive(self) -> int:
        behind, self._behind = self._behind, None
        if behind is None:
            return super()._receive()
        # It came behind the header, in one piece with it, so there is room.
        n = len(behind)
        self.nh.wire.view[:n] = behind
        return n


class ProxiedNetAccept(SSLNetAccept):
    """Makes connections that may begin with a header."""

    def __init__(
        self,
        nh: NetHandler,
        continuation: IContinuation,
        options: AcceptOptions,
        throttle: Throttle,
        policy: Callable[[], ServerPolicy],
        hooks: HookSet,
        demands: ProxyDemands,
    ) -> None:
        """@param demands: of the headers; may be exchanged, for those who come after that."""
        super().__init__(nh, continuation, options, throttle, policy, hooks)
        self.demands = demands
        self.speaks_first = demands.plain

    def _make(self, accept: NetAccept) -> SSLNetVConnection:
        vc = ProxiedSSLNetVConnection(self.nh, self._policy(), self.demands)
        vc.hooks = self.hooks
        return vc
