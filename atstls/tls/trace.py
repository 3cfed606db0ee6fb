# -*- test-case-name: tests.test_trace -*-
"""
L{WireTrace}: which connections are traced.  L{trace_engine}: an engine that tells what it decrypts and encrypts.

Tracing is for an operator who has to see what one client and one server say to each other.  Nobody else pays for it:
an engine that is traced is of another class, with the same slots, so that it can change over and back in
mid-connection; one that is not has nothing to look at.

What a traced engine has to say goes to the owner of its connection
(L{IWireTraced<atstls.interfaces.IWireTraced>}), who knows the addresses and has a
log; here is neither.

Source: the seed, "TraceIn", "TraceOut"; behaviour 1.31; ATS C{SSLNetVConnection::computeSSLTrace}.
"""

import ipaddress
import random
from collections.abc import Callable
from typing import Any, Final

from attrs import frozen
from OpenSSL import SSL

from atstls.tls.engine import CLOSED, Engine

RECEIVED: Final = "IN"
SENT: Final = "OUT"


def _percent() -> int:
    return random.randrange(100)


@frozen(eq=False)
class WireTrace:
    """
    Which connections are traced: those for which all conditions hold that there are.

    @ivar percentage: so many of a hundred of those; 0: none.
    @ivar server_name: the client asks for this name; C{None}: whatever it asks for.
    @ivar address: the client has this IP address, whatever its port; C{None}: wherever it comes from.
    @ivar draw: gives a whole number from 0 to 99; asked once for each connection for which the others hold.
    """

    percentage: int
    server_name: str | None = None
    address: ipaddress.IPv4Address | ipaddress.IPv6Address | None = None
    draw: Callable[[], int] = _percent

    def wants(self, server_name: str | None, address: object) -> bool:
        """
        Is this connection to be traced?

        @param server_name: what the client asked for, lower case; C{None} for nothing.
        @param address: the client's, as the socket module writes it.
        """
        if self.server_name is not None and server_name != self.server_name:
            return False
        if self.address is not None and _ip(address) != self.address:
            return False
        return self.draw() < self.percentage


def _ip(address: object) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    if not isinstance(address, tuple):
        return None
    try:
        host = ipaddress.ip_address(address[0].partition("%")[0])
    except ValueError:
        return None
    # So a socket for both families tells of IPv4 clients.
    return getattr(host, "ipv4_mapped", None) or host


class _TracedEngine(Engine):
    """What an engine's class is joined with while it is traced."""

    __slots__ = ()

    @property
    def _owner(self) -> Any:
        return self.connection.get_app_data()

    def _look(self, before: int) -> None:
        """Has the stream come to an end by what was just done?"""
        if self.condition != before:
            end = "close_notify received" if self.condition == CLOSED else f"failed: {self.reason}"
            self._owner.wire_said(end)

    def settled(self) -> None:
        super().settled()
        connection = self.connection
        name = connection.get_servername() or b""
        protocol = connection.get_alpn_proto_negotiated()
        kind = "resumed " if self.session_reused else "new " if self.tells_reuse else ""
        self._owner.wire_said(
            f"handshake done: {connection.get_protocol_version_name()} {connection.get_cipher_name()}, "
            f"{kind}session, "
            f"server name {escaped(name) or 'none'}, protocol {escaped(protocol) or 'none'}"
        )

    def receive(self, wire: Any, count: int, block: Any, limit: int) -> int:
        before = self.condition
        n = super().receive(wire, count, block, limit)
        if n:
            end = block.end
            self._owner.wire_moved(RECEIVED, block.view[end : end + n])
        self._look(before)
        return n

    def write(self, block: Any, offset: int, count: int) -> int:
        before = self.condition
        n = super().write(block, offset, count)
        if n > 0:
            self._owner.wire_moved(SENT, block.view[offset : offset + n])
        self._look(before)
        return n

    def shutdown(self) -> None:
        before = self.connection.get_shutdown() & SSL.SENT_SHUTDOWN
        super().shutdown()
        if not before and self.connection.get_shutdown() & SSL.SENT_SHUTDOWN:
            self._owner.wire_said("close_notify sent")

    def give_up(self, reason: str) -> None:
        before = self.condition
        super().give_up(reason)
        self._look(before)


_traced_kinds: dict[type[Engine], type[Engine]] = {}


def trace_engine(engine: Engine) -> None:
    """
    Have C{engine} tell its connection's owner, an L{IWireTraced<atstls.interfaces.IWireTraced>}, what goes through it.

    Harmless when it does so already.
    """
    kind = type(engine)
    if issubclass(kind, _TracedEngine):
        return
    traced = _traced_kinds.get(kind)
    if traced is None:
        traced = type(kind.__name__, (_TracedEngine, kind), {"__slots__": (), "__module__": kind.__module__})
        _traced_kinds[kind] = traced
    engine.__class__ = traced  # it has the same slots


def untrace_engine(engine: Engine) -> None:
    """Take L{trace_engine} back."""
    kind = type(engine)
    if issubclass(kind, _TracedEngine):
        engine.__class__ = kind.__bases__[1]  # what it was joined with


def escaped(data: Any) -> str:
    """
    Bytes as they may go into a log: on one line, in ASCII, and so that none looks like another.

    Line ends are C{\\r\\n}, what is no ASCII letter, digit or sign is C{\\xNN}, and a backslash is two.
    """
    return bytes(data).decode("latin-1").encode("unicode_escape").decode("ascii")
