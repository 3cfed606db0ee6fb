# -*- test-case-name: tests.test_routes -*-
"""
L{build}: from a L{Configuration} to all that serves it: contexts, rules and destinations, complete and not yet in use.

Nothing is opened here and nothing changes, so a reload can build beside what runs, and swap when all of it could be
built.  What cannot be built is complained about with all the rest of it, as the loader does.

Which certificate a client gets: the one with the name that it asks for; else the one whose C{dest_ip} it came to; else
the default.  That is the one with C{dest_ip = *}, and when no section says so, the first: somebody who has written
one certificate expects it to be shown, and a client that sends no name gets an answer.

Which protocols a client can choose: those of the listener's C{alpn}, with C{h2} taken away or put in by C{http2} of a
rule, and of these, what the destination speaks, where it says so.  Where the bytes go on to another host, C{h2} goes to
the end: that host would have to speak it unasked, so a client that knows something else as well should choose that.
C{http2 = on} says that the host does.

Source: behaviour 1.25, 1.27; rows A001-A003, A016, A020, A022-A027, A040-A051, A110.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any, TypeAlias, TypeVar

from attrs import evolve, field, frozen
from OpenSSL import SSL
from twisted.internet.interfaces import IProtocolFactory, IProtocolNegotiationFactory
from twisted.logger import Logger

from atstls.edge.certtunnels import CertificateTunnels
from atstls.edge.config import (
    CertificateConfig,
    Configuration,
    ConfigurationErrors,
    ListenConfig,
    NetConfig,
    SNIConfig,
)
from atstls.edge.hookkeys import OUTBOUND_POINTS, load_hook
from atstls.edge.keylog import KeyLog
from atstls.edge.loops import loops
from atstls.edge.onward import HTTP2, Onward, OnwardTLS
from atstls.edge.original import ORIGINAL_DESTINATION
from atstls.edge.places import ROUTES_ONWARD, Route, RouteKind, load_factory
from atstls.edge.routes import RouteTable, Rule
from atstls.edge.tunnels import look_at_tunnels
from atstls.edge.values import shown
from atstls.edge.variables import VariableAddress
from atstls.edge.welcome import files_site, welcome_site
from atstls.errors import ConfigurationError
from atstls.interfaces import IContinuation
from atstls.net.connection import Address, NetVCOptions
from atstls.net.handler import NetHandler
from atstls.net.perclient import ClientLimit
from atstls.net.processor import NetProcessor
from atstls.net.throttle import Throttle
from atstls.session.protocol import ProtocolSessionAccept
from atstls.ssl.fronts import fronts
from atstls.ssl.processor import SSLNetProcessor
from atstls.ssl.sslvc import check_server_name, select_alpn
from atstls.statistics import registry
from atstls.tls.certificates import Certificate, load_certificate, self_signed
from atstls.tls.contexts import (
    CertificateTable,
    ClientSettings,
    ClientVerification,
    ServerSettings,
    certificate_context,
    client_context,
    front_context,
)
from atstls.tls.hooks import Hook, HookPoint, HookSet
from atstls.tls.policy import ClientPolicy, ServerPolicy
from atstls.tls.renewal import RenewedFront
from atstls.tls.sessions import OriginSessions
from atstls.tls.trace import WireTrace

T = TypeVar("T")

Fronts: TypeAlias = tuple[SSL.Context, RenewedFront | None]
"""What L{fronts} gives."""

Hooks: TypeAlias = tuple[tuple[HookPoint, Hook], ...]

_CERTIFICATION_LEVELS = (ClientVerification.NONE, ClientVerification.OPTIONAL, ClientVerification.REQUIRED)

_GOES_ON = (RouteKind.FORWARD, RouteKind.PARTIAL_BLIND)


class Machinery:
    """
    What moves the bytes of every listener and every connection.

    @ivar handler: the one of this reactor.
    @ivar throttle: how many connections there may be, in and out together.
    @ivar plain: makes connections without TLS.
    @ivar tls: makes those with it.
    """

    _log = Logger()

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.handler = NetHandler(reactor)
        registry.watch(self.handler, look_at_tunnels)
        self.throttle = Throttle()
        self.plain = NetProcessor(self.handler, self.throttle)
        self.tls = SSLNetProcessor(self.handler, self.throttle)

    def limit(self, net: NetConfig) -> None:
        """Let the limits of C{net} hold, from now on, for who is here as well."""
        throttle, queues = self.throttle, self.handler.queues
        throttle.change(net.connections_throttle)
        if net.connections_throttle > throttle.limit:
            self._log.info(
                "connections_throttle is {limit}, not {wanted}: the limit of descriptors (ulimit -n) allows no more",
                limit=throttle.limit, wanted=net.connections_throttle,
            )  # fmt: skip
        throttle.message = net.throttle_message
        queues.max_connections_in = net.max_connections_in
        queues.max_requests_in = net.max_requests_in
        clients = throttle.clients
        if clients is None and net.per_client_max_connections_in:
            clients = throttle.clients = ClientLimit(seconds=self.handler.seconds)
        if clients is not None:
            clients.limit = net.per_client_max_connections_in
            clients.exempt = net.per_client_exempt_list or ()
            clients.alert_seconds = net.per_client_alert_delay


@frozen(eq=False)
class ListenerPlan:
    """
    What one listener does.

    @ivar config: its section.
    @ivar table: the rules for its connections.
    @ivar hooks: who else is asked about them, in order.
    """

    config: ListenConfig
    table: RouteTable
    hooks: Hooks = ()


@frozen(eq=False)
class Plan:
    """
    All that serves a configuration.

    @ivar file: where it was written, for messages.
    @ivar listeners: in the order of the file.
    @ivar factories: those of Twisted protocols, to be started before use and stopped after.
    @ivar warnings: lines for the log.
    @ivar keylog: where the secrets of connections are written; to be opened before use.
    @ivar fronts: the contexts from which connections start, and which have the keys of tickets, by what they demand: of
        these a plan that follows can use what does not depend on files.
    """

    configuration: Configuration
    file: str
    listeners: tuple[ListenerPlan, ...]
    factories: tuple[Any, ...]
    warnings: tuple[str, ...]
    keylog: KeyLog | None = None
    fronts: Mapping[ServerSettings, Fronts] = field(factory=dict)


def build(
    configuration: Configuration, machinery: Machinery, file: str = "", previous: Plan | None = None
) -> Plan:
    """
    Make all that C{configuration} asks for.

    @param file: what messages call the file; empty for its path.
    @param previous: the plan that is in force: sessions of clients that have met it can be resumed where the same is
        demanded still.
    @raise ConfigurationErrors: something cannot be made; with a line for each.
    """
    fronts = {} if previous is None or previous.keylog is not None else previous.fronts
    return _Builder(configuration, machinery, file or str(configuration.path or "built-in default"), fronts).plan()


def plain_policy(handshake_timeout_seconds: float = 30) -> ServerPolicy:
    """For who says by a header whom he passes on, and then speaks no TLS: all that is asked of him is that in time."""
    context = front_context(ServerSettings(), select_alpn=select_alpn, check_server_name=check_server_name)
    return ServerPolicy(context, CertificateTable(), handshake_timeout_seconds)


def origin_options(net: NetConfig) -> NetVCOptions:
    """What connections to other hosts should be."""
    return NetVCOptions(
        sockopt_flags=net.sock_option_flag_out,
        recv_buffer_bytes=net.sock_recv_buffer_size_out,
        send_buffer_bytes=net.sock_send_buffer_size_out,
        packet_mark=net.sock_packet_mark_out,
        packet_tos=net.sock_packet_tos_out,
    )


def offered_names(
    names: tuple[bytes, ...], http2: bool | None, kind: RouteKind, destination: IContinuation
) -> tuple[bytes, ...]:
    """
    What is offered to clients that go one way.

    @param names: of the listener, the best first.
    @param http2: whether C{h2} is to be among them; C{None}: as they say.
    """
    others = tuple(name for name in names if name != HTTP2)
    if http2 is False:
        names = others
    elif http2 and HTTP2 not in names:
        names = (HTTP2, *names)
    elif http2 is None and HTTP2 in names and kind in _GOES_ON:
        names = (*others, HTTP2)
    factory = getattr(destination, "factory", None)
    if IProtocolNegotiationFactory.providedBy(factory):
        spoken = factory.acceptableProtocols()
        names = tuple(name for name in names if name in spoken)
    return names


class _Builder:
    """
    @ivar lines: what is wrong so far.
    """

    def __init__(
        self, configuration: Configuration, machinery: Machinery, file: str, fronts: Mapping[ServerSettings, Fronts]
    ) -> None:
        self._previous_fronts = fronts
        self._fronts: dict[ServerSettings, Fronts] = {}
        self.configuration = configuration
        self.machinery = machinery
        self.file = file
        self.lines: list[str] = []
        self.warnings = list(configuration.warnings)
        self.certificates: list[tuple[CertificateConfig | None, tuple[Certificate, ...]]] = []
        self.factories: list[Any] = []
        self._destinations: dict[object, IContinuation | None] = {}
        self._policies: dict[tuple[ServerSettings, bool], ServerPolicy | None] = {}
        self._client_policies: dict[tuple[ClientSettings, Hooks], ClientPolicy] = {}
        self._hooks: dict[str, Hooks] = {}
        self._shown_to_origins: dict[object, Certificate] = {}
        self._origin_sessions: OriginSessions | None = None
        if configuration.ssl.origin_session_cache_enabled:
            self._origin_sessions = OriginSessions(
                configuration.ssl.origin_session_cache_size, configuration.ssl.origin_session_cache_timeout
            )
        self.keylog: KeyLog | None = None
        path = configuration.ssl.keylog_file
        if path is not None:
            self.keylog = KeyLog(path)
            self.warnings.append(
                f"{file}: [ssl] keylog_file: the secrets of all connections are written to {path}, and who has it can "
                "read them"
            )
        self.wire_trace = self._new_wire_trace()
        self._client_options = origin_options(configuration.net)

    def plan(self) -> Plan:
        configuration = self.configuration
        for place, wrong in loops(configuration.listens, configuration.snis):
            self._complain(place, f"{wrong}, allowed: another host or port")
        self._load_certificates()
        listeners = tuple(filter(None, map(self._listener, configuration.listens)))
        if self.lines:
            raise ConfigurationErrors(list(dict.fromkeys(self.lines)))
        warnings = tuple(dict.fromkeys(self.warnings))
        return Plan(configuration, self.file, listeners, tuple(self.factories), warnings, self.keylog, self._fronts)

    def _complain(self, place: str, wrong: str) -> None:
        self.lines.append(f"{self.file}: {place}: {wrong}")

    def _tried(self, place: str, make: Callable[[], T]) -> T | None:
        """What C{make} gives; C{None} when it cannot, which has been complained about."""
        try:
            return make()
        except ConfigurationError as exc:
            self._complain(place, str(exc))
            return None

    def _new_wire_trace(self) -> WireTrace | None:
        ssl = self.configuration.ssl
        if not ssl.wire_trace_enabled:
            return None
        if ssl.wire_trace_percentage:
            what = "wire_trace_enabled: what is said inside TLS is written to the log, for all who read it"
        else:
            what = "wire_trace_percentage: it is 0, so that nothing is traced"
        self.warnings.append(f"{self.file}: [ssl] {what}")
        return WireTrace(ssl.wire_trace_percentage, ssl.wire_trace_server_name, ssl.wire_trace_addr)

    def _watched(self, context: SSL.Context) -> SSL.Context:
        if self.keylog is not None:
            self.keylog.watch(context)
        return context

    # Certificates.

    def _load_certificates(self) -> None:
        now = datetime.now(timezone.utc)
        for config in self.configuration.certificates:
            loaded = self._tried(f"[certificate {config.name}]", lambda config=config: _loaded(config))  # type: ignore[misc]
            for certificate in loaded or ():
                warning = certificate.expiry_warning(now)
                if warning is not None:
                    self.warnings.append(warning)
            if loaded:
                self.certificates.append((config, loaded))
        written = any(config.ssl_cert_name for config in self.configuration.certificates)
        if not written and any("ssl" in listen.flags for listen in self.configuration.listens):
            names = self._own_names()
            self.certificates.append((None, (self_signed(names),)))
            self.warnings.append(
                f"{self.file}: there is no [certificate], so one that nobody trusts was made for {', '.join(names)}"
            )

    def _own_names(self) -> list[str]:
        """What the listeners are called, as far as the configuration tells."""
        names = ["localhost"]
        for listen in self.configuration.listens:
            if listen.port is not None:
                own = {"0.0.0.0": ("127.0.0.1",), "::": ("127.0.0.1", "::1")}
                names.extend(own.get(listen.interface, (listen.interface,)))
        names.extend(sni.pattern for sni in self.configuration.snis if sni.pattern)
        return list(dict.fromkeys(names))

    def _table(self, settings: ServerSettings) -> tuple[CertificateTable, frozenset[SSL.Context]]:
        """The certificates, and those whose clients get tickets unless a rule for the name says otherwise."""
        table = CertificateTable()
        tickets = []
        first = None
        for config, certificates in self.certificates:
            context = self._watched(certificate_context(settings, certificates, select_alpn=select_alpn))
            names = list(dict.fromkeys(name for certificate in certificates for name in certificate.names))
            addresses = [config.dest_ip] if config is not None and config.dest_ip is not None else []
            taken = table.add(context, names, addresses=addresses)
            first = first or context
            wanted = None if config is None else config.ssl_ticket_enabled
            if settings.session_ticket if wanted is None else wanted:
                tickets.append(context)
            if taken and config is not None:
                self.warnings.append(
                    f"{self.file}: [certificate {config.name}]: another certificate before it serves {', '.join(taken)}"
                )
        if table.default is None:
            table.default = first
        return table, frozenset(tickets)

    def _policy(self, place: str, settings: ServerSettings, tickets_by_certificate: bool) -> ServerPolicy | None:
        # Rules that say it themselves and rules that leave it to the certificates differ where a certificate says it.
        by_certificate = tickets_by_certificate and any(
            config is not None and config.ssl_ticket_enabled is not None for config, _ in self.certificates
        )
        key = (settings, by_certificate)
        if key not in self._policies:
            self._policies[key] = self._tried(place, lambda: self._new_policy(settings, by_certificate))
        return self._policies[key]

    def _new_policy(self, settings: ServerSettings, tickets_by_certificate: bool) -> ServerPolicy:
        ssl = self.configuration.ssl
        table, tickets = self._table(settings)
        if tickets_by_certificate:
            # The front context gives them, or nobody can have one; who must not is told so by the connection.
            settings = evolve(settings, session_ticket=bool(tickets))
        front, renewal = self._fronts_of(settings)
        return ServerPolicy(
            front,
            table,
            handshake_timeout_seconds=ssl.handshake_timeout_in,
            strict_server_name=ssl.server_strict_sni,
            allow_client_renegotiation=settings.renegotiable,
            max_record_size=ssl.max_record_size,
            wire_trace=self.wire_trace,
            renewal=renewal,
            tickets=tickets if tickets_by_certificate else None,
        )

    def _fronts_of(self, settings: ServerSettings) -> Fronts:
        if self.keylog is not None:
            return fronts(settings, self.keylog.watch)
        if settings.client_ca_file is not None:
            return fronts(settings, None)  # Who is trusted is to be read again.
        if settings not in self._fronts:
            self._fronts[settings] = self._previous_fronts.get(settings) or fronts(settings, None)
        return self._fronts[settings]

    def _server_settings(self, listen: ListenConfig) -> ServerSettings:
        ssl = self.configuration.ssl
        return ServerSettings(
            version_min=ssl.server_version_min,
            version_max=ssl.server_version_max,
            cipher_suite=ssl.server_cipher_suite or None,
            tls13_cipher_suites=ssl.server_tls13_cipher_suites or None,
            group=ssl.server_groups_list,
            prioritize_chacha=ssl.server_prioritize_chacha,
            honor_cipher_order=ssl.server_honor_cipher_order,
            session_ticket=ssl.server_session_ticket_enable,
            session_cache=ssl.session_cache != 0,
            session_timeout_seconds=ssl.session_cache_timeout,
            session_key_seconds=ssl.server_session_ticket_key_lifetime,
            session_auto_clear=ssl.session_cache_auto_clear,
            allow_client_renegotiation=ssl.allow_client_renegotiation,
            name=listen.name,
        )

    # Listeners and their rules.

    def _listener(self, listen: ListenConfig) -> ListenerPlan | None:
        section = f"[listen {listen.name}]"
        self._hooks[listen.name] = hooks = self._load_hooks(listen)
        if "plain" in listen.flags:
            destination = self._destination(section, listen.route, listen, plain=True)
            if destination is None:
                return None
            policy = None
            if listen.proxied:
                policy = plain_policy(self.configuration.ssl.handshake_timeout_in)
            return ListenerPlan(listen, RouteTable(Rule(section, listen.route.kind, destination, policy), {}))
        settings = self._server_settings(listen)
        default = self._rule(section, listen, None, settings)
        rules = [
            (sni, self._rule(f"[{f'sni {sni.pattern}'.rstrip()}]", listen, sni, settings))
            for sni in self.configuration.snis
            if sni.holds_at(listen)
        ]
        by_name, by_port = {}, []
        for sni, rule in rules:
            if rule is None:
                return None
            if sni.inbound_port_ranges is None:
                by_name[sni.pattern] = rule
            else:
                by_port.append((sni.pattern, sni.inbound_port_ranges, rule))
        if default is None:
            return None
        table = RouteTable(default, by_name, by_port)
        passed_on = self._certificate_tunnels(listen) if "tr-pass" in listen.flags else ()
        return ListenerPlan(listen, table, (*passed_on, *(pair for pair in hooks if pair[0] not in OUTBOUND_POINTS)))

    def _certificate_tunnels(self, listen: ListenConfig) -> Hooks:
        """What is asked on listeners that pass connections on for their certificates' sake."""
        if all(config.action is None for config in self.configuration.certificates):
            return ()
        loaded = {config.name: certificates for config, certificates in self.certificates if config is not None}
        entries = (
            (config, [name for certificate in loaded.get(config.name, ()) for name in certificate.names])
            for config in self.configuration.certificates
        )
        return CertificateTunnels(entries, proxied=listen.proxied).hooks

    def _load_hooks(self, listen: ListenConfig) -> Hooks:
        """Those of all listeners, and then those of this one."""
        found = []
        for place, config in (("[ssl]", self.configuration.ssl), (f"[listen {listen.name}]", listen)):
            for point, name in config.hook_names():
                try:
                    found.append((point, load_hook(name)))
                except ValueError as exc:
                    self._complain(f"{place} hook.{point.value}", str(exc))
        return tuple(found)

    def _rule(self, section: str, listen: ListenConfig, sni: SNIConfig | None, settings: ServerSettings) -> Rule | None:
        route = listen.route
        if sni is not None:
            route = sni.route or route
            settings = evolve(
                settings,
                version_min=sni.valid_tls_version_min_in or settings.version_min,
                version_max=sni.valid_tls_version_max_in or settings.version_max,
            )
            if sni.server_cipher_suite is not None:
                settings = evolve(settings, cipher_suite=sni.server_cipher_suite or None)
            if sni.ssl_ticket_enabled is not None:
                settings = evolve(settings, session_ticket=sni.ssl_ticket_enabled)
        settings = self._verification(settings, sni)
        if route.original and not listen.transparent_in:
            wrong = f"{section} {route.kind.value}"
            self._complain(wrong, f"[listen {listen.name}] is not transparent, allowed: with flags = ..., tr-in there")
            return None
        # The section that names the route is the one to tell about it.
        whose = section if sni is None or sni.route is not None else f"[listen {listen.name}]"
        destination = self._destination(whose, route, listen, sni=sni)
        policy = self._policy(section, settings, sni is None or sni.ssl_ticket_enabled is None)
        if destination is None or policy is None:
            return None
        return Rule(
            section,
            route.kind,
            destination,
            policy,
            offered_names(listen.alpn, None if sni is None else sni.http2, route.kind, destination),
            None if sni is None else sni.ip_allow,
            self._blind(whose, route, listen, sni, destination),
            in_clear=settings.client_verification is not ClientVerification.REQUIRED,
        )

    def _verification(self, settings: ServerSettings, sni: SNIConfig | None) -> ServerSettings:
        """C{settings} with what they demand of the certificates of clients."""
        ssl = self.configuration.ssl
        wanted = _CERTIFICATION_LEVELS[ssl.client_certification_level]
        authorities = ssl.ca_cert_filename
        if sni is not None:
            wanted = sni.verify_client or wanted
            authorities = sni.verify_client_ca_certs or authorities
        if wanted is ClientVerification.NONE:
            return settings
        if settings.allow_client_renegotiation:
            self.warnings.append(
                f"{self.file}: [ssl] allow_client_renegotiation: it does not hold for clients that are asked for a "
                "certificate, since who they are would be lost"
            )
        return evolve(
            settings, client_verification=wanted, client_ca_file=None if authorities is None else str(authorities)
        )

    def _blind(
        self, section: str, route: Route, listen: ListenConfig, sni: SNIConfig | None, destination: IContinuation
    ) -> IContinuation | None:
        """Who passes on what is not to be touched: tunnels that hooks have asked for, and what is not TLS."""
        if route.kind is RouteKind.PARTIAL_BLIND:
            return self._destination(section, route, listen, sni=sni, plain=True, through=True)
        return destination if route.kind in ROUTES_ONWARD else None

    # Destinations.

    def _destination(
        self,
        section: str,
        route: Route,
        listen: ListenConfig,
        *,
        sni: SNIConfig | None = None,
        plain: bool = False,
        through: bool = False,
    ) -> IContinuation | None:
        # Rules for several listeners share their destinations.  What holds towards origins is part of it.
        proxy_out = listen.proxy_protocol_out
        if sni is not None and sni.proxy_protocol_out is not None:
            proxy_out = sni.proxy_protocol_out
        key: tuple[object, ...] = (section, route, plain, through)
        if route.kind in ROUTES_ONWARD:
            key += (proxy_out, listen.transparent_out)
        hooks: Hooks = ()
        if route.kind is RouteKind.PARTIAL_BLIND and not through:
            hooks = tuple(pair for pair in self._hooks[listen.name] if pair[0] in OUTBOUND_POINTS)
            if sni is not None:
                key += (sni.verify_server_policy, sni.verify_server_properties, sni.client_cert, sni.client_key)
            key += (hooks,)
        if key not in self._destinations:
            place = f"{section} {route.kind.value}" if route.kind is not RouteKind.WELCOME else section
            self._destinations[key] = self._tried(
                place, lambda: self._new_destination(place, route, listen, sni, plain, hooks, through, proxy_out)
            )
        return self._destinations[key]

    def _new_destination(
        self,
        place: str,
        route: Route,
        listen: ListenConfig,
        sni: SNIConfig | None,
        plain: bool,
        hooks: Hooks,
        through: bool,
        proxy_out: int,
    ) -> IContinuation:
        reactor = self.machinery.reactor
        if route.kind is RouteKind.WELCOME:
            return self._protocol(welcome_site(reactor))
        if route.kind is RouteKind.SITE:
            assert route.path is not None
            return self._protocol(files_site(route.path, reactor))
        if route.kind is RouteKind.FACTORY:
            assert route.factory is not None
            return self._protocol(_factory(route.factory, reactor))
        address: Address | VariableAddress = (
            ORIGINAL_DESTINATION if route.original else route.target or str(route.path)
        )
        if route.target is not None and (route.label or route.port_variable is not None):
            host, port = route.target
            address = VariableAddress(host, route.port_variable or port, self.configuration.net.connect_ports)
        connect_seconds = self.configuration.net.connect_timeout
        half_close_seconds = self.configuration.edge.half_close_timeout
        if route.kind is RouteKind.PARTIAL_BLIND and not through:
            return OnwardTLS(
                place,
                self.machinery.tls,
                address,
                self._client_options,
                connect_seconds,
                half_close_seconds,
                proxy_out=proxy_out,
                as_client=listen.transparent_out,
                policies=self._policies_for_origins(sni, hooks),
                name=None if route.target is None else route.target[0],
            )
        return Onward(
            place,
            self.machinery.plain,
            address,
            self._client_options,
            connect_seconds,
            half_close_seconds,
            blind=plain,
            proxy_out=proxy_out,
            as_client=listen.transparent_out,
        )

    def _protocol(self, factory: Any) -> IContinuation:
        self.factories.append(factory)
        return ProtocolSessionAccept(factory, self.machinery.reactor)

    def _policies_for_origins(self, sni: SNIConfig | None, hooks: Hooks) -> dict[bytes | None, ClientPolicy]:
        ssl = self.configuration.ssl
        policy, properties = ssl.client_verify_server_policy, ssl.client_verify_server_properties
        if sni is not None and sni.verify_server_policy is not None:
            policy = sni.verify_server_policy
        if sni is not None and sni.verify_server_properties is not None:
            properties = sni.verify_server_properties
        settings = ClientSettings(
            version_min=ssl.client_version_min,
            version_max=ssl.client_version_max,
            cipher_suite=ssl.client_cipher_suite or None,
            tls13_cipher_suites=ssl.client_tls13_cipher_suites or None,
            ca_dir=None if ssl.client_ca_cert_path is None else str(ssl.client_ca_cert_path),
            ca_file=None if ssl.client_ca_cert_filename is None else str(ssl.client_ca_cert_filename),
            certificate=self._client_certificate(sni),
            alpn=ssl.client_alpn_protocols,
            policy=policy,
            properties=properties,
        )
        policies: dict[bytes | None, ClientPolicy] = {None: self._client_policy(settings, hooks)}
        names = {HTTP2} | {name for listen in self.configuration.listens for name in listen.alpn}
        for name in sorted(names):
            policies[name] = self._client_policy(evolve(settings, alpn=(name,)), hooks)
        return policies

    def _client_certificate(self, sni: SNIConfig | None) -> Certificate | None:
        ssl = self.configuration.ssl
        pair = ssl.client_cert_filename, ssl.client_private_key_filename
        if sni is not None and sni.client_cert is not None:
            pair = sni.client_cert, sni.client_key
        if pair[0] is None:
            return None
        if pair not in self._shown_to_origins:
            self._shown_to_origins[pair] = _load_pair(*pair)
        return self._shown_to_origins[pair]

    def _client_policy(self, settings: ClientSettings, hooks: Hooks) -> ClientPolicy:
        key = (settings, hooks)
        if key not in self._client_policies:
            ssl = self.configuration.ssl
            # The time to connect is the bound of the handshake too: connect_s() gives up then.
            self._client_policies[key] = ClientPolicy(
                self._watched(client_context(settings)),
                handshake_timeout_seconds=self.configuration.net.connect_timeout,
                max_record_size=ssl.max_record_size,
                verify=settings.policy,
                properties=settings.properties,
                hooks=HookSet(hooks) if hooks else None,
                sessions=self._origin_sessions,
            )
        return self._client_policies[key]


def _load_pair(path: Any, key: Any) -> Certificate:
    return load_certificate(str(path), None if key is None else str(key))


def _loaded(config: CertificateConfig) -> tuple[Certificate, ...]:
    return config.sources.load()


def _factory(name: str, reactor: Any) -> Any:
    """
    The protocol factory that C{package.module:NAME} names or makes.

    @raise ConfigurationError: there is none.
    """
    try:
        factory = load_factory(name)
    except ValueError as exc:
        raise ConfigurationError(str(exc)) from exc
    if IProtocolFactory.providedBy(factory):
        return factory
    try:
        factory = factory(reactor)
    except Exception as exc:  # the operator's code may raise whatever it likes
        raise ConfigurationError(f"{name} failed: {type(exc).__name__}: {exc}") from exc
    if not IProtocolFactory.providedBy(factory):
        raise ConfigurationError(f"{name} made {shown(repr(factory))}, allowed: a protocol factory")
    return factory
