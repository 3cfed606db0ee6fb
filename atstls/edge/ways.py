# -*- test-case-name: tests.test_ways -*-
"""
What becomes of connections, said in Python: L{Serve}, L{Forward}, L{Reencrypt}, L{Tunnel}, L{Refuse}, or who knows.

A listener has a way for each server name, as a configuration has its sections C{[sni NAME]}, and both become the same
L{ListenerPlan}: the same table, the same destinations, the same policies.  What a program can say beyond a file is that
it does not know yet.  In the place of a way may stand a callable, which is given the connection when its ClientHello
has been read and gives a way, a Deferred of one, or a coroutine; meanwhile nothing is read, and the deadline of the
handshake goes on.

Source: behaviour 1.18, 1.24; rows A001-A003, A016, A020-A026.
"""

import errno
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, TypeAlias
from weakref import WeakKeyDictionary

from attrs import evolve, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory
from zope.interface import implementer

from atstls.edge.build import ListenerPlan, Machinery, offered_names, origin_options
from atstls.edge.config import EdgeConfig, ListenConfig, NetConfig
from atstls.edge.onward import HTTP2, Onward, OnwardTLS
from atstls.edge.original import ORIGINAL_DESTINATION
from atstls.edge.places import Onward as OnwardPlace
from atstls.edge.places import RouteKind, server_pattern
from atstls.edge.proxyout import PROXY_OUT_NONE
from atstls.edge.routes import RouteTable, Rule
from atstls.endpoints import ClientTLS, ServerTLS
from atstls.errors import ConfigurationError
from atstls.events import EVENT_DONE
from atstls.interfaces import IContinuation
from atstls.net.connection import Address
from atstls.session.protocol import ProtocolSessionAccept
from atstls.tls import alerts
from atstls.tls.contexts import ClientVerification
from atstls.tls.hooks import HookPoint
from atstls.tls.policy import ClientPolicy, ServerPolicy

OTHERS: Final = "*"
"""In the place of a name: everybody for whom there is no other way."""

OFFERED: Final = (HTTP2, b"http/1.1")
"""What is offered by ALPN where C{ServerTLS} says nothing; of these, what a factory speaks."""


def _address(to: str) -> Address:
    """@raise ConfigurationError: it is no address."""
    kind = OnwardPlace(RouteKind.FORWARD)
    try:
        route = kind.convert(to)
    except ValueError as exc:
        raise ConfigurationError(f"{exc}, allowed: {kind.allowed}") from exc
    if route.label or route.port_variable is not None:
        raise ConfigurationError(f"{to}: a part of it is a variable, allowed: a callable that gives the way")
    if route.original:
        return ORIGINAL_DESTINATION
    return str(route.path) if route.target is None else route.target


@frozen(eq=False)
class Serve:
    """
    TLS ends here, and what is inside is for a protocol of Twisted's, or for a state machine of ours.

    @ivar factory: makes the protocols.  It is started and stopped with the edge; so whoever is asked for a way gives
        the same factory each time, and not a new one for each connection.  Or an L{IContinuation}: told of each
        connection by NET_EVENT_ACCEPT.
    @ivar tls: what holds for these connections instead of what holds for the listener; has no hooks of its own.
    """

    factory: Any
    tls: ServerTLS | None = None


@frozen(eq=False)
class Forward:
    """
    TLS ends here, and plain text goes on over TCP.

    @ivar address: given as C{HOST:PORT}, C{[V6]:PORT}, C{unix:PATH} or, on a transparent port,
        C{{original_destination}}.
    @ivar tls: as in L{Serve}.
    @ivar proxy_out: tell the other host of the client by a header of the PROXY protocol: 1 or 2, its version; 0: that
        in which we were told; -1: do not.
    """

    address: Address = field(converter=_address)
    tls: ServerTLS | None = None
    proxy_out: int = PROXY_OUT_NONE


@frozen(eq=False)
class Reencrypt:
    """
    TLS ends here, and the bytes go on in a new TLS connection, in which the same name is asked for.

    @ivar address: as in L{Forward}.
    @ivar origin: what we demand of the other side and show to it; its C{server_name} counts for clients that ask for
        none.  The protocol offered there is the one that was agreed on here.
    @ivar tls: as in L{Serve}.
    @ivar proxy_out: as in L{Forward}.
    """

    address: Address = field(converter=_address)
    origin: ClientTLS = field(factory=ClientTLS)
    tls: ServerTLS | None = None
    proxy_out: int = PROXY_OUT_NONE


@frozen(eq=False)
class Tunnel:
    """
    The bytes go on untouched, the ClientHello first.

    @ivar address: as in L{Forward}.
    @ivar proxy_out: as in L{Forward}.
    """

    address: Address = field(converter=_address)
    proxy_out: int = PROXY_OUT_NONE


@frozen(eq=False)
class Refuse:
    """
    The handshake ends with an alert.

    @ivar reason: for our log.
    @ivar alert: one of L{atstls.tls.alerts}.
    """

    reason: str = "nobody serves this name"
    alert: int = alerts.UNRECOGNIZED_NAME


Way: TypeAlias = Serve | Forward | Reencrypt | Tunnel | Refuse

LookUp: TypeAlias = Callable[[Any], Any]
"""Called with a connection; gives a L{Way}, a Deferred or a coroutine of one, or C{None}: nobody serves this name."""

_KINDS: Final = {
    Serve: RouteKind.FACTORY,
    Forward: RouteKind.FORWARD,
    Reencrypt: RouteKind.PARTIAL_BLIND,
    Tunnel: RouteKind.TUNNEL,
    Refuse: RouteKind.REFUSE,
}


@implementer(IContinuation)
class _Nobody:
    """Where connections go that have no way and no handshake in which that could be said."""

    def handle_event(self, event: int, data: Any) -> int:
        data.do_io_close(errno.EACCES)
        return EVENT_DONE


@frozen(eq=False)
class WayRule(Rule):
    """
    A L{Rule} that a program has given.

    @ivar tls: what C{policy} was made of; its certificates may have been read again since.
    @ivar refusal: these connections are refused.
    @ivar look_up: who knows the way; the rest is for connections of which it cannot be asked, without a ClientHello.
    """

    tls: ServerTLS | None = None
    refusal: Refuse | None = None
    look_up: LookUp | None = None


class Policies:
    """
    What is dear to make, policies with their contexts: made once for each C{ServerTLS} and C{ClientTLS}, and kept for
    as long as these are.
    """

    def __init__(self, machinery: Machinery, connect_seconds: float) -> None:
        """@param connect_seconds: how long a handshake with another host may take."""
        self._machinery = machinery
        self._connect_seconds = connect_seconds
        self._clients: WeakKeyDictionary[ClientTLS, dict[bytes | None, ClientPolicy]] = WeakKeyDictionary()

    def of_server(self, tls: ServerTLS) -> ServerPolicy:
        """
        That of C{tls}, with the certificates that there are now.

        @raise ConfigurationError: it cannot be made.
        """
        return tls.kept_policy(self._machinery.handler.now)

    def of_client(self, tls: ClientTLS, names: tuple[bytes, ...]) -> Mapping[bytes | None, ClientPolicy]:
        """
        Those of C{tls}: one for each protocol, which offers it alone, and one under C{None} for who agreed on none.

        @raise ConfigurationError: they cannot be made.
        """
        policies = self._clients.setdefault(tls, {})
        for name in (None, *names):
            if name not in policies:
                policies[name] = self._client_policy(tls, name)
        return policies

    def _client_policy(self, tls: ClientTLS, name: bytes | None) -> ClientPolicy:
        asked = tls if name is None else evolve(tls, settings=evolve(tls.settings, alpn=(name,)))
        return ClientPolicy(
            asked.context(()),
            handshake_timeout_seconds=self._connect_seconds,
            max_record_size=tls.max_record_size,
            verify=tls.settings.policy,
            properties=tls.settings.properties,
            hooks=tls.hooks,
            sessions=tls.sessions,
        )


class Rules:
    """Makes rules of ways, for one listener."""

    def __init__(
        self,
        machinery: Machinery,
        net: NetConfig,
        policies: Policies,
        add_factory: Callable[[Any], None],
        tls: ServerTLS | None,
    ) -> None:
        """
        @param add_factory: told of each factory, every time.
        @param tls: what holds unless a way says otherwise; C{None}: a listener without TLS.
        """
        self._machinery = machinery
        self._net = net
        self._policies = policies
        self._options = origin_options(net)
        self._add_factory = add_factory
        self._tls = tls
        self._names = OFFERED if tls is None or not tls.alpn else tuple(tls.alpn)
        if tls is not None and any(factory is not None for factory in tls.alpn.values()):
            raise ConfigurationError("alpn: who speaks a protocol is said by the ways; None is what may stand here")

    def policy(self, tls: ServerTLS) -> ServerPolicy:
        """See L{Policies.of_server}."""
        if tls is not self._tls and any(tls.hooks.at(point) for point in HookPoint):
            raise ConfigurationError("hooks: they are the listener's, and not those of one way")
        return self._policies.of_server(tls)

    def rule(self, place: str, way: Any) -> WayRule:
        """
        What C{way} means.

        @param place: who says so, for the log.
        @param way: a L{Way}; a L{LookUp}; a protocol factory or an L{IContinuation}, which mean to L{Serve} by it;
            C{None}, which means to L{Refuse}.
        @raise ConfigurationError: it is something else, or cannot be made.
        """
        if way is None:
            way = Refuse()
        elif IProtocolFactory.providedBy(way) or IContinuation.providedBy(way):
            way = Serve(way)
        kind = _KINDS.get(type(way))
        if kind is None:
            if not callable(way):
                raise ConfigurationError(f"{place}: {way!r} is not a way, nor can it be asked for one")
            return WayRule(place, RouteKind.LOOK_UP, _Nobody(), look_up=way, in_clear=False, **self._demands(None))
        if isinstance(way, Refuse):
            return WayRule(place, kind, _Nobody(), refusal=way, in_clear=False, **self._demands(None))
        demands = self._demands(None if isinstance(way, Tunnel) else way.tls)
        tls = demands["tls"]
        destination = self._destination(place, way)
        return WayRule(
            place,
            kind,
            destination,
            offered=offered_names(self._names, None, kind, destination) if tls is not None else (),
            blind=self._blind(place, way, destination),
            in_clear=tls is None or tls.settings.client_verification is not ClientVerification.REQUIRED,
            **demands,
        )

    def _demands(self, tls: ServerTLS | None) -> dict[str, Any]:
        if self._tls is None:
            return {"tls": None}
        tls = tls or self._tls
        return {"tls": tls, "policy": self.policy(tls)}

    def _destination(self, place: str, way: Serve | Forward | Reencrypt | Tunnel) -> IContinuation:
        if isinstance(way, Serve):
            if IContinuation.providedBy(way.factory):
                taker: IContinuation = way.factory
                return taker
            self._add_factory(way.factory)
            return ProtocolSessionAccept(way.factory, self._machinery.reactor)
        if isinstance(way, Reencrypt):
            name = way.origin.server_name
            if name is None and isinstance(way.address, tuple):
                name = way.address[0]
            return OnwardTLS(
                place,
                self._machinery.tls,
                way.address,
                self._options,
                self._net.connect_timeout,
                EdgeConfig().half_close_timeout,
                proxy_out=way.proxy_out,
                policies=self._policies.of_client(way.origin, (HTTP2, *self._names)),
                name=name,
            )
        return self._onward(place, way, blind=self._tls is None)

    def _onward(self, place: str, way: Forward | Reencrypt | Tunnel, blind: bool) -> IContinuation:
        return Onward(
            place,
            self._machinery.plain,
            way.address,
            self._options,
            self._net.connect_timeout,
            EdgeConfig().half_close_timeout,
            blind=blind,
            proxy_out=way.proxy_out,
        )

    def _blind(self, place: str, way: Way, destination: IContinuation) -> IContinuation | None:
        """Who passes on what is not to be touched."""
        if isinstance(way, Reencrypt):
            return self._onward(place, way, blind=True)
        return destination if isinstance(way, Forward | Tunnel) else None


class WayTable(RouteTable):
    """The rules of a listener, where a program gives them.  Some of them have to be asked for."""

    __slots__ = ("_rules",)

    def __init__(self, rules: Rules, default: WayRule, by_name: Mapping[str, WayRule]) -> None:
        super().__init__(default, by_name)
        self._rules = rules

    def decide(self, vc: Any) -> Any:
        """See L{RouteTable.decide}.  Gives a Deferred where the way is not known at once."""
        rule = self.find(vc.server_name)
        if not isinstance(rule, WayRule) or rule.look_up is None:
            self.take(vc, rule)
            return None
        found = rule.look_up(vc)
        if isinstance(found, Coroutine):
            found = Deferred.fromCoroutine(found)
        if isinstance(found, Deferred):
            return found.addCallback(self._found, vc, rule.section)
        self._found(found, vc, rule.section)
        return None

    def _found(self, way: Any, vc: Any, place: str) -> None:
        if vc.closed:
            return  # It did not wait.
        rule = self._rules.rule(place, way)
        if rule.look_up is not None:
            raise ConfigurationError(f"{place}: {way!r} is not a way")
        self.take(vc, rule)

    def take(self, vc: Any, rule: Rule) -> None:
        """See L{RouteTable.take}."""
        if isinstance(rule, WayRule) and rule.refusal is not None:
            vc.refuse(rule.refusal.alert, f"{rule.section}: {rule.refusal.reason}")
            return
        super().take(vc, rule)
        if isinstance(rule, WayRule) and rule.tls is not None and rule.kind is not RouteKind.TUNNEL:
            vc.policy = self._rules.policy(rule.tls)


def listener_plan(config: ListenConfig, rules: Rules, tls: ServerTLS | None, ways: Any) -> ListenerPlan:
    """
    What a listener does.

    @param config: where it listens, and how; where its connections go is said by C{ways}.
    @param ways: names and wildcards, and what becomes of those who ask for them; the empty name is for those who ask
        for none, L{OTHERS} for all others, who are refused where it says nothing.  Or a single way, for everybody.
    @raise ConfigurationError: something of it cannot be used.
    """
    by_pattern: dict[str, Any] = dict(ways) if isinstance(ways, Mapping) else {OTHERS: ways}
    otherwise = by_pattern.pop(OTHERS, None)
    by_name = {}
    for name, way in by_pattern.items():
        pattern = server_pattern(name)
        if pattern is None:
            raise ConfigurationError(f"{name!r} is no server name, nor *. and one")
        if tls is None:
            raise ConfigurationError(f"{name!r}: without TLS nobody asks for a name")
        by_name[pattern] = rules.rule(f"{config.name}, {name or 'without a name'}", way)
    table = WayTable(rules, rules.rule(config.name, otherwise), by_name)
    hooks = () if tls is None else tuple((point, hook) for point in HookPoint for hook in tls.hooks.at(point))
    return ListenerPlan(config, table, hooks)
