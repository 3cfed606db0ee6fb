# -*- test-case-name: tests.test_routes -*-
"""
L{loops}: routes by which a connection would come back to where it started.

Such a connection makes another, and that one the next, until there are no descriptors left.  What can be seen of it in
the configuration is refused there; a name that leads here is noticed when it was dialled (L{atstls.edge.onward}).

A listener is known by its port and address, or by the path of its socket.  One that listens on all addresses is met at
each address that this machine has.

Source: row A110.
"""

import ipaddress
import socket
from collections.abc import Iterator, Sequence

from atstls.edge.places import Route, RouteKind
from atstls.edge.rules import ListenConfig, SNIConfig

_STAYS_TLS = (RouteKind.TUNNEL, RouteKind.PARTIAL_BLIND)


def loops(listens: Sequence[ListenConfig], snis: Sequence[SNIConfig]) -> Iterator[tuple[str, str]]:
    """
    Find them.

    @return: the section and key of each, C{[listen a] forward_route}, and what is wrong with it.
    """
    for listen in listens:
        seen = [listen]
        following = _target(listen.route, listens)
        while following is not None:
            if following is listen:
                by_way = "".join(f" by way of [listen {other.name}]" for other in seen[1:])
                yield f"[listen {listen.name}] {listen.route.kind.value}", f"leads back to this listener{by_way}"
            if following in seen:
                break
            seen.append(following)
            following = _target(following.route, listens)
    tls = [listen for listen in listens if "ssl" in listen.flags]
    for sni in snis:
        # What stays TLS asks for the same name again, and so meets the same rule.
        if sni.route is not None and sni.route.kind in _STAYS_TLS:
            listen_there = _target(sni.route, [listen for listen in tls if sni.holds_at(listen)])
            if listen_there is not None:
                yield (
                    f"[{f'sni {sni.pattern}'.rstrip()}] {sni.route.kind.value}",
                    f"leads back to [listen {listen_there.name}], for which this rule holds as well",
                )


def _target(route: Route, listens: Sequence[ListenConfig]) -> ListenConfig | None:
    """The listener of ours to which C{route} leads."""
    if route.kind in (RouteKind.FORWARD, RouteKind.TUNNEL, RouteKind.PARTIAL_BLIND):
        for listen in listens:
            if _leads_to(route, listen):
                return listen
    return None


def _leads_to(route: Route, listen: ListenConfig) -> bool:
    if route.target is None:
        return listen.unix is not None and route.path == listen.unix
    host, port = route.target
    if not port or port != listen.port:
        return False
    if host == "localhost":
        return any(_answers(address, listen.interface) for address in ("127.0.0.1", "::1"))
    return _answers(host, listen.interface)


def _answers(host: str, interface: str) -> bool:
    """Does a socket that listens on C{interface} answer at C{host}?"""
    try:
        address, ours = ipaddress.ip_address(host), ipaddress.ip_address(interface)
    except ValueError:
        return False  # A name: only resolving tells, and the answer may change.
    if address.is_unspecified:
        # To connect to no address in particular is to connect to this machine.
        return ours.is_unspecified or ours.is_loopback
    if not ours.is_unspecified:
        return address == ours
    if address.version != ours.version and ours.version == 4:
        return False
    return is_here(host)


def is_here(host: str) -> bool:
    """Is C{host} an IP address of this machine?  Only such a one can be bound."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True
