# -*- test-case-name: tests.test_routes -*-
"""
Which way a connection goes: by the server name that its client asked for, or else its listener's way.

A listener has a L{RouteTable}, made once from the configuration and then only read.  It is asked twice.  When the
ClientHello was read and nothing is decided yet, a hook (L{RouteTable.decide}) finds the rule for the name, turns away
clients that may not come in, and puts what the rule demands of TLS in place, or makes the connection a blind tunnel.
When the handshake is done L{RouteAccept} gives the connection to the rule's destination.  What a destination does, such
as dialling an origin, therefore never happens for a client that was refused.

Names are compared as wholes: C{*.example.com} covers one label in the place of the star, and nothing that merely ends
in the same letters.

Source: behaviour 1.24, 6.3 (2); rows A001-A003, A010, A016, A020, A022-A026.
"""

import errno
import ipaddress
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from attrs import frozen
from twisted.logger import Logger
from zope.interface import implementer

from atstls.edge.places import RouteKind
from atstls.edge.values import IPNetwork
from atstls.events import EVENT_DONE, EVENT_ERROR, NET_EVENT_ACCEPT, event_name
from atstls.interfaces import IContinuation
from atstls.net.connection import Address
from atstls.net.unixvc import TRANSPORT_BLIND_TUNNEL
from atstls.tls import alerts
from atstls.tls.phases import Phase
from atstls.tls.policy import ServerPolicy

PortRanges: TypeAlias = tuple[tuple[int, int], ...]
"""Local ports, both ends of each range included."""

_REQUESTS_ARE_COUNTED: Final = (RouteKind.SITE, RouteKind.WELCOME)

ROUTE: Final = "route"
"""The argument of a connection under which its L{Rule} is kept."""


@frozen(eq=False)
class Rule:
    """
    What holds for the connections of one listener that ask for one name, or for all that have no rule of their own.

    @ivar section: the section of the configuration that says so, as it is written there.
    @ivar kind: what becomes of the connections.
    @ivar destination: gets them by NET_EVENT_ACCEPT, when they are established.
    @ivar blind: gets those whose bytes are passed on untouched; C{None}: there is no host to pass them on to.
    @ivar in_clear: whether they may come without TLS, on a listener that allows it.
    @ivar policy: what is demanded of TLS; C{None} on a listener without it.
    @ivar offered: the protocols to choose from by ALPN, the preferred one first.
    @ivar ip_allow: the networks from which clients may come; C{None}: from everywhere.
    """

    section: str
    kind: RouteKind
    destination: IContinuation
    policy: ServerPolicy | None = None
    offered: tuple[bytes, ...] = ()
    ip_allow: tuple[IPNetwork, ...] | None = None
    blind: IContinuation | None = None
    in_clear: bool = True

    def admits(self, address: Address | None) -> bool:
        """
        May a client at C{address} come in?

        Who has no IP address is in no network: a rule about addresses keeps out those who come over a UNIX socket.
        """
        if self.ip_allow is None:
            return True
        if not isinstance(address, tuple):
            return False
        try:
            host = ipaddress.ip_address(address[0].partition("%")[0])
        except ValueError:
            return False
        if isinstance(host, ipaddress.IPv6Address) and host.ipv4_mapped is not None:
            # So a socket for both families tells of IPv4 clients.
            host = host.ipv4_mapped
        return any(host in network for network in self.ip_allow)


class RouteTable:
    """
    The rules of one listener.  Does not change: a reload makes another one.

    @ivar default: for clients for whose name there is no rule.
    """

    __slots__ = ("_by_name", "_by_port", "default")

    def __init__(
        self,
        default: Rule,
        by_name: Mapping[str, Rule],
        by_port: Iterable[tuple[str, PortRanges, Rule]] = (),
    ) -> None:
        """
        @param by_name: by names and wildcards as L{atstls.edge.places.server_pattern} spells them; the empty one is for
            clients that send no name.
        @param by_port: the same for some local ports only.  Where both are for a name, these count.
        """
        self.default = default
        self._by_port: dict[str, list[tuple[PortRanges, Rule]]] = {}
        for name, ranges, rule in by_port:
            self._by_port.setdefault(name, []).append((ranges, rule))
        self._by_name = dict(by_name)

    def find(self, name: str | None) -> Rule:
        """The rule for this very name; for a wildcard in the place of its first label; or the default."""
        if not name:
            return self._by_name.get("", self.default)
        rule = self._by_name.get(name)
        if rule is None:
            label, _, rest = name.partition(".")
            if label and rest:
                rule = self._by_name.get(f"*.{rest}")
        return rule or self.default

    def find_for(self, vc: Any, name: str | None) -> Rule:
        """The rule for C{name} where C{vc} came in."""
        if not self._by_port:
            return self.find(name)
        address = vc.get_local_addr()
        port = address[1] if isinstance(address, tuple) else 0
        label, _, rest = (name or "").partition(".")
        for candidate in (name or "", f"*.{rest}" if label and rest else None):
            if candidate is None:
                continue
            for ranges, rule in self._by_port.get(candidate, ()):
                if any(first <= port <= last for first, last in ranges):
                    return rule
            found = self._by_name.get(candidate)
            if found is not None:
                return found
        return self.default

    def decide(self, vc: Any) -> Any:
        """A hook at CLIENT_HELLO: find the way of C{vc}, and L{take} it."""
        name = vc.server_name
        self.take(vc, self.find_for(vc, name) if self._by_port else self.find(name))

    def take(self, vc: Any, rule: Rule) -> None:
        """
        C{rule} holds for C{vc}, and is kept with it.

        A client that may not come in is refused before anything is done for it.
        """
        if rule.ip_allow is not None and not rule.admits(vc.get_remote_addr()):
            vc.refuse(alerts.ACCESS_DENIED, f"its address is not in ip_allow of {rule.section}")
            return
        vc.set_arg(ROUTE, rule)
        if rule.kind is RouteKind.TUNNEL:
            vc.tunnel()
            return
        vc.policy = rule.policy
        vc.offered = rule.offered


@implementer(IContinuation)
class RouteAccept:
    """Who is given the established connections of one listener, and passes each on to where its rule says."""

    _log = Logger()

    def __init__(self, table: Callable[[], RouteTable]) -> None:
        """
        @param table: asked for each connection that did not come by way of L{RouteTable.decide}: those without TLS.
        """
        self._table = table

    def handle_event(self, event: int, data: Any) -> int:
        """NET_EVENT_ACCEPT: a connection.  EVENT_ERROR: the port is lost, which its owner has logged."""
        if event == NET_EVENT_ACCEPT:
            if data.attributes == TRANSPORT_BLIND_TUNNEL:
                self._without_tls(data)
            else:
                rule: Rule = data.get_arg(ROUTE) or self._table().default
                self._give(rule, rule.destination, data)
        elif event != EVENT_ERROR:
            self._log.error("a listener was told of {event}, which it does not know", event=event_name(event))
        return EVENT_DONE

    def _give(self, rule: Rule, destination: IContinuation, vc: Any) -> None:
        """
        C{destination} gets C{vc}, which is counted: see L{atstls.net.queues}.

        Where we speak HTTP the requests say when the connection is busy (L{atstls.edge.welcome}).  Of others nobody
        knows, so they are.
        """
        if rule.kind in _REQUESTS_ARE_COUNTED:
            destination.handle_event(NET_EVENT_ACCEPT, vc)
            vc.add_to_keep_alive_queue()
        elif vc.add_to_active_queue():
            destination.handle_event(NET_EVENT_ACCEPT, vc)
        else:
            self._log.debug("{section}: {peer} is refused: max_requests_in", section=rule.section, peer=vc.peer_name())
            vc.do_io_close(errno.EBUSY)

    def _without_tls(self, vc: Any) -> None:
        """A connection that came to a TLS port, and of whose bytes none are ours to decrypt."""
        rule: Rule | None = vc.get_arg(ROUTE)
        refusal = None
        if rule is None:
            # It has sent no hello, so it has asked for no name.
            rule = self._table().find_for(vc, None)
            if not rule.admits(vc.get_remote_addr()):
                refusal = "its address is not in ip_allow"
        destination: IContinuation | None = rule.blind
        if vc.phase is Phase.PLAIN:
            destination = rule.destination
            if not rule.in_clear:
                refusal = refusal or "clients need a certificate, and it speaks no TLS"
        elif destination is None:
            refusal = refusal or "there is no host to pass it on to"
        if refusal is None:
            assert destination is not None
            self._give(rule, destination, vc)
            return
        self._log.info(
            "{section}: {peer} is refused: {reason}", section=rule.section, peer=vc.peer_name(), reason=refusal
        )
        vc.do_io_close(errno.EACCES)
