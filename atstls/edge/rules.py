# -*- test-case-name: tests.test_config -*-
# ruff: noqa: RUF009 (key() makes an attrs field, as attrs.field() does; ruff knows only the latter)
"""
The sections of the configuration of which there may be many: listeners, certificates, and rules for server names.

As in L{atstls.edge.settings}, all that there is to know about a key stands in its field.

Source: behaviour 1.27; rows A001-A006, A010-A026, A030, A032, A040-A051, A090.
"""

from pathlib import Path
from typing import ClassVar, Final

import attrs

from atstls.edge.hookkeys import HookKeys
from atstls.edge.places import (
    Destination,
    Directory,
    Factory,
    File,
    Files,
    Interface,
    Onward,
    Route,
    RouteKind,
    SocketPath,
)
from atstls.edge.settings import POLICY, PROPERTIES, VERSION
from atstls.edge.tlsfiles import Authorities, CertificateFiles, Ciphers, KeyDialog
from atstls.edge.values import (
    PORT_MAX,
    Choice,
    Flags,
    IPNetwork,
    Networks,
    OrNothing,
    PortRanges,
    ProtocolNames,
    Switch,
    Whole,
    Word,
    key,
)
from atstls.tls.contexts import ClientVerification
from atstls.tls.verify import VerifyPolicy, VerifyProperties

PROXY_OUT: Final = Whole(-1, 2)

CLIENT_VERIFICATIONS: Final = {
    "NONE": ClientVerification.NONE,
    "MODERATE": ClientVerification.OPTIONAL,
    "STRICT": ClientVerification.REQUIRED,
}


@attrs.frozen(kw_only=True)
class Routes:
    """What a connection is for: at most one of these."""

    site: Route | None = key(
        "site", Directory(), None, "Static files of this directory, over HTTP/1.1 and HTTP/2. Ours."
    )
    forward_route: Route | None = key(
        "forward_route", Onward(RouteKind.FORWARD), None, "TLS ends here, and plain text goes on over TCP."
    )
    partial_blind_route: Route | None = key(
        "partial_blind_route",
        Onward(RouteKind.PARTIAL_BLIND),
        None,
        "TLS ends here, and the bytes go on in a new TLS connection.",
    )
    tunnel_route: Route | None = key(
        "tunnel_route", Onward(RouteKind.TUNNEL), None, "The bytes go on untouched, the ClientHello first."
    )
    factory: Route | None = key(
        "factory", Factory(), None, "A Twisted protocol factory, or a callable that makes one of the reactor. Ours."
    )

    @property
    def chosen(self) -> Route | None:
        """The route that was written, if one was."""
        routes = (self.site, self.forward_route, self.partial_blind_route, self.tunnel_route, self.factory)
        return next((route for route in routes if route is not None), None)


ROUTE_KEYS: Final = tuple(attribute.name for attribute in attrs.fields(Routes))
"""The keys of L{Routes}: each is spelt as its attribute."""


@attrs.frozen(kw_only=True)
class ListenConfig(Routes, HookKeys):
    """
    A listener.

    @ivar name: what stands behind C{listen} in the section's header.
    """

    section: ClassVar[str] = "listen"

    name: str
    interface: str = key("interface", Interface(), "127.0.0.1", "The address on which to listen; goes with port.")
    port: int | None = key("port", Whole(0, PORT_MAX), None, "The port; 0 is any that is free, told in the log.")
    unix: Path | None = key("unix", SocketPath(), None, "The UNIX socket on which to listen, in place of a port. Ours.")
    fd: int | None = key(
        "fd", Whole(0), None, "A listening socket that the program was started with, by its descriptor. Ours."
    )
    systemd: str | None = key(
        "systemd", Word(), None, "A listening socket passed by systemd, by its FileDescriptorName or number. Ours."
    )
    backlog: int = key("backlog", Whole(1), 4096, "How many connections may wait to be accepted. Ours.")
    flags: frozenset[str] = key(
        "flags",
        Flags(("ssl", "plain"), ("tr-pass", "allow-plain"), ("pp", "pp-clnt", "tr-in", "tr-out", "tr-full")),
        frozenset(("ssl",)),
        "What comes in: TLS, or bytes that are not encrypted. With ssl, what does not begin as TLS is refused; with "
        "tr-pass it is passed on untouched to where the route leads; with allow-plain it is served in clear. With pp a "
        "header of the PROXY protocol may come first; with pp-clnt the client is who that says, also for ip_allow and "
        "in the log. With tr-in connections to other addresses are taken that the system's rules send here (Linux); "
        "with tr-out the next host sees the client's address in the place of ours; tr-full is both.",
    )
    proxy_protocol_allowlist: tuple[IPNetwork, ...] | None = key(
        "proxy_protocol_allowlist",
        OrNothing(Networks()),
        None,
        "The addresses from which a header of the PROXY protocol may come, with pp or pp-clnt; who sends one from "
        "elsewhere is closed. Empty is everywhere. From http.proxy_protocol_allowlist.",
    )
    proxy_protocol_out: int = key(
        "proxy_protocol_out",
        PROXY_OUT,
        -1,
        "Whether the next host is told of the client by a header of the PROXY protocol, before anything else: -1 is "
        "no; 1 and 2 are the versions; 0 is the version in which we were told, and no when we were not. From "
        "http.proxy_protocol_out.",
    )
    alpn: tuple[bytes, ...] = key(
        "alpn",
        ProtocolNames(),
        (b"h2", b"http/1.1"),
        "The protocols spoken inside TLS, the preferred one first; empty is no ALPN. Ours.",
    )

    @property
    def transparent_in(self) -> bool:
        """Do connections come that were made to others?"""
        return not self.flags.isdisjoint(("tr-in", "tr-full"))

    @property
    def transparent_out(self) -> bool:
        """Does the next host see the client's address?"""
        return not self.flags.isdisjoint(("tr-out", "tr-full"))

    @property
    def proxied(self) -> bool:
        """May a header of the PROXY protocol come first?"""
        return not self.flags.isdisjoint(("pp", "pp-clnt"))

    @property
    def route(self) -> Route:
        """What its connections are for, unless a rule for the server's name says otherwise."""
        return self.chosen or Route.welcome()


@attrs.frozen(kw_only=True)
class CertificateConfig:
    """
    A certificate, or two for the same names with keys of two sorts.

    @ivar name: what stands behind C{certificate} in the section's header.
    """

    section: ClassVar[str] = "certificate"

    name: str
    ssl_cert_name: tuple[Path, ...] = key(
        "ssl_cert_name",
        Files(),
        (),
        "PEM files, each with a certificate and then its chain; two for an RSA and an ECDSA certificate.",
    )
    ssl_key_name: tuple[Path, ...] = key(
        "ssl_key_name",
        Files(),
        (),
        "PEM files with the keys, in the order of the certificates; empty when each is in the certificate's file.",
    )
    ssl_ca_name: tuple[Path, ...] = key(
        "ssl_ca_name",
        Files(),
        (),
        "PEM files with more of the chain, to be shown behind what stands in the certificate's file: one for each, in "
        "their order, or one for all.",
    )
    ssl_key_dialog: str | None = key(
        "ssl_key_dialog",
        OrNothing(KeyDialog()),
        None,
        "What says the pass phrase of the keys: a program, run whenever the keys are checked or read.",
    )
    dest_ip: str | None = key(
        "dest_ip",
        Destination(),
        None,
        "The local address for which it is when no name matches; * is every one: the default certificate. When no "
        "certificate is that, the first one is.",
    )
    action: str | None = key(
        "action",
        OrNothing(Choice({"tunnel": "tunnel"})),
        None,
        "tunnel: on listeners with the flag tr-pass, connections that come to dest_ip, or that ask for a name in the "
        "certificate, are passed on untouched to where the route leads. With dest_ip no certificate is needed.",
    )

    ssl_ticket_enabled: bool | None = key(
        "ssl_ticket_enabled",
        Switch(),
        None,
        "As server.session_ticket.enable of [ssl], for who is shown this certificate; a rule for the name counts more.",
    )

    @property
    def files(self) -> tuple[tuple[Path, Path | None], ...]:
        """Each certificate's file with its key's, C{None} when the key is in the same one."""
        if not self.ssl_key_name:
            return tuple((path, None) for path in self.ssl_cert_name)
        return tuple(zip(self.ssl_cert_name, self.ssl_key_name, strict=True))

    @property
    def sources(self) -> CertificateFiles:
        """Those, and what else it takes to load them."""
        return CertificateFiles(self.files, self.ssl_ca_name, self.ssl_key_dialog)


@attrs.frozen(kw_only=True)
class SNIConfig(Routes):
    """
    What holds for clients that ask for one name; what is not written is as without this rule.

    @ivar pattern: a name in lower case, C{*.} and a name, or empty for clients that ask for none.
    """

    section: ClassVar[str] = "sni"

    pattern: str
    valid_tls_version_min_in: str | None = key(
        "valid_tls_version_min_in", VERSION, None, "The oldest version spoken with these clients."
    )
    valid_tls_version_max_in: str | None = key(
        "valid_tls_version_max_in", VERSION, None, "The youngest version spoken with these clients."
    )
    http2: bool | None = key("http2", Switch("on", "off"), None, "Whether h2 is among the protocols of ALPN.")
    verify_server_policy: VerifyPolicy | None = key(
        "verify_server_policy", POLICY, None, "As client.verify.server.policy of [ssl]."
    )
    verify_server_properties: VerifyProperties | None = key(
        "verify_server_properties", PROPERTIES, None, "As client.verify.server.properties of [ssl]."
    )
    ip_allow: tuple[IPNetwork, ...] | None = key(
        "ip_allow", Networks(), None, "The addresses from which clients may come; the others are refused."
    )
    verify_client: ClientVerification | None = key(
        "verify_client",
        Choice(CLIENT_VERIFICATIONS),
        None,
        "Whether clients are asked for a certificate, and must have one: NONE, they are not; MODERATE, one that is "
        "shown must be good; STRICT, none is refused.",
    )
    verify_client_ca_certs: Path | None = key(
        "verify_client_ca_certs",
        Authorities(),
        None,
        "The authorities trusted to sign certificates of clients, in PEM, in the place of CA.cert.filename of [ssl].",
    )
    server_cipher_suite: str | None = key(
        "server_cipher_suite", Ciphers(tls13=False), None, "As server.cipher_suite of [ssl]."
    )
    ssl_ticket_enabled: bool | None = key(
        "ssl_ticket_enabled", Switch(), None, "As server.session_ticket.enable of [ssl]."
    )
    client_cert: Path | None = key("client_cert", File(), None, "As client.cert.filename of [ssl].")
    client_key: Path | None = key("client_key", File(), None, "As client.private_key.filename of [ssl].")
    proxy_protocol_out: int | None = key("proxy_protocol_out", PROXY_OUT, None, "As in [listen].")
    inbound_port_ranges: tuple[tuple[int, int], ...] | None = key(
        "inbound_port_ranges",
        PortRanges(),
        None,
        "The local ports for which this rule is; without it, all for which no other rule for the name is.",
    )

    def holds_at(self, listen: ListenConfig) -> bool:
        """May connections of C{listen} come by a port for which this rule is?  True where that only shows later."""
        if self.inbound_port_ranges is None or not listen.port:
            return True
        return any(first <= listen.port <= last for first, last in self.inbound_port_ranges)

    @property
    def route(self) -> Route | None:
        """What these connections are for; C{None} leaves it to the listener."""
        return self.chosen
