# -*- test-case-name: tests.test_config -*-
"""
L{load}: from the operator's file to a L{Configuration}, or to all that is wrong with it.

Whoever mends a file wants all of its mistakes at once.  So nothing here stops at one: a value that cannot be used is
complained about and counts as not written, and the rest is looked at all the same.  In the end there is either a whole
L{Configuration} or L{ConfigurationErrors}, and never a part of one.

What a single value may be stands with its key, in L{atstls.edge.settings} and L{atstls.edge.rules}; here is what holds
between keys and between sections.

Source: behaviour 1.27, 1.35; rows A001-A006, A040-A051, N141.
"""

import difflib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs

from atstls.edge.hookkeys import OUTBOUND_POINTS
from atstls.edge.inifile import Complaint, Section, read
from atstls.edge.places import ROUTES_ONWARD, Route, RouteKind, server_pattern
from atstls.edge.rules import ROUTE_KEYS, CertificateConfig, ListenConfig, SNIConfig
from atstls.edge.settings import LATER, SECTIONS_LATER, EdgeConfig, NetConfig, SSLConfig
from atstls.edge.tlsfiles import CertificateFiles, check_certificates
from atstls.edge.values import FileFault, keys_of
from atstls.errors import ConfigurationError
from atstls.tls.contexts import VERSIONS, ClientVerification

__all__ = [
    "CertificateConfig",
    "Configuration",
    "ConfigurationErrors",
    "EdgeConfig",
    "ListenConfig",
    "NetConfig",
    "Route",
    "RouteKind",
    "SNIConfig",
    "SSLConfig",
    "default_configuration",
    "load",
]

S = TypeVar("S", bound=attrs.AttrsInstance)

HEADERS: Final = {
    "edge": "[edge]",
    "net": "[net]",
    "ssl": "[ssl]",
    "listen": "[listen NAME]",
    "certificate": "[certificate NAME]",
    "sni": "[sni PATTERN]",
}
"""The sections that there are, and how the header of each is written."""

_PORTS: Final = "inbound_port_ranges"
_PLACES = ("port", "unix", "fd", "systemd")
_VERSION_ORDER = tuple(VERSIONS)
_NEAR_CHARACTERS = 100


class ConfigurationErrors(ConfigurationError):
    """
    All that is wrong with a configuration.

    @ivar lines: C{FILE: [section] key: what is wrong, what is allowed}, in the order of the file.
    """

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def default_listens() -> tuple[ListenConfig, ...]:
    """What listens when the operator said nothing about it: the welcome page, for this host alone."""
    return (ListenConfig(name="https", port=8443),)


@attrs.frozen(kw_only=True)
class Configuration:
    """
    All that an operator decided; never changed, a reload makes another one.

    @ivar path: the file, absolute, so that it is found again after a change of the working directory; C{None} for the
        built-in default.
    @ivar warnings: lines for the log, of the form that L{ConfigurationErrors} has: what was left out, since
        C{server.multicert.exit_on_load_fail} is 0.
    """

    edge: EdgeConfig = attrs.field(factory=EdgeConfig)
    net: NetConfig = attrs.field(factory=NetConfig)
    ssl: SSLConfig = attrs.field(factory=SSLConfig)
    listens: tuple[ListenConfig, ...] = attrs.field(factory=default_listens)
    certificates: tuple[CertificateConfig, ...] = ()
    snis: tuple[SNIConfig, ...] = ()
    path: Path | None = None
    warnings: tuple[str, ...] = ()


def default_configuration() -> Configuration:
    """What holds without a file: the welcome page on 127.0.0.1:8443."""
    return Configuration()


def load(path: str | Path) -> Configuration:
    """
    Read a configuration file and everything that it names.

    @param path: the file; relative paths in it are relative to its directory.
    @raise ConfigurationErrors: something is wrong, in which case nothing of it holds.
    """
    where = Path(os.path.abspath(path))
    sections, complaints = read(where)
    loader = _Loader(where.parent, complaints)
    configuration = loader.configuration(sections)
    if complaints:
        raise ConfigurationErrors(_lines(path, complaints))
    return attrs.evolve(configuration, path=where, warnings=tuple(_lines(path, loader.warnings)))


def _lines(path: str | Path, complaints: list[Complaint]) -> list[str]:
    return [f"{path}: {complaint.text}" for complaint in sorted(complaints, key=lambda complaint: complaint.line)]


class _Loader:
    """
    Makes settings of sections.

    @ivar base: the directory of relative paths.
    @ivar complaints: what is wrong so far.
    @ivar warnings: what is wrong and does not matter.
    """

    def __init__(self, base: Path, complaints: list[Complaint]) -> None:
        self.base = base
        self.complaints = complaints
        self.warnings: list[Complaint] = []
        self.ssl = SSLConfig()
        self._passes_on = False
        self._ports: dict[str, list[tuple[int, int, Section]]] = {}
        self._taken: dict[tuple[object, ...], Section] = {}

    def configuration(self, sections: Iterable[Section]) -> Configuration:
        by_kind: dict[str, list[Section]] = {kind: [] for kind in HEADERS}
        for section in sections:
            if self._is_known(section):
                by_kind[section.kind].append(section)
        # First of all [ssl]: what it says counts for other sections.
        for section in by_kind["ssl"]:
            self._load_ssl(section)
        return Configuration(
            edge=self._single(EdgeConfig, by_kind["edge"]),
            net=self._single(NetConfig, by_kind["net"]),
            ssl=self.ssl,
            listens=tuple(map(self._listen, by_kind["listen"])) or default_listens(),
            certificates=tuple(filter(None, map(self._certificate, by_kind["certificate"]))),
            snis=tuple(map(self._sni, by_kind["sni"])),
        )

    # What holds for every section.

    def _complain(self, section: Section, wrong: str, key: str | None = None, *, allowed: str) -> None:
        self.complaints.append(section.complaint(f"{wrong}, allowed: {allowed}", key))

    def _is_known(self, section: Section) -> bool:
        header = HEADERS.get(section.kind)
        if section.kind in SECTIONS_LATER:
            self._complain(section, "section not available in this version", allowed="to leave it out")
        elif header is None:
            self._complain(section, "unknown section", allowed=", ".join(HEADERS.values()))
        elif section.name is not None and " " not in header:
            self._complain(section, "this section has no name", allowed=header)
        elif section.name is None and header.endswith("NAME]"):
            self._complain(section, "this section needs a name", allowed=header)
        elif section.kind == "sni" and _PORTS in section.entries:
            return True  # There may be several for a name: _check_ports().
        else:
            return self._is_first(section, (section.kind, _identity(section)))
        return False

    def _is_first(self, section: Section, thing: tuple[object, ...], key: str | None = None) -> bool:
        """Complains when C{thing}, of which there may be one, was in another section already."""
        first = self._taken.setdefault(thing, section)
        if first is section:
            return True
        self._complain(section, f"is the same as in {first.header} on line {first.line}", key, allowed="once")
        return False

    def _values(self, section: Section, settings: type[attrs.AttrsInstance]) -> dict[str, Any]:
        """The values in C{section} that can be used, by the names of their attributes."""
        known = {key.name: (key.kind, attribute.name) for key, attribute in keys_of(settings)}
        values = {}
        for name, entry in section.entries.items():
            reason = LATER.get(section.kind, {}).get(name)
            if reason is not None:
                because = f" ({reason})" if reason else ""
                self._complain(section, f"not available in this version{because}", name, allowed="to leave it out")
                continue
            if name not in known:
                self._complain(section, "unknown key", name, allowed=_nearest(name, list(known)))
                continue
            kind, attribute = known[name]
            try:
                value = kind.locate(kind.convert(entry.text), self._base_of(name))
                kind.check(value)
            except ValueError as exc:
                self._fault(section, exc, name, kind.allowed)
            else:
                values[attribute] = value
        return values

    def _base_of(self, key: str) -> Path:
        """From where relative paths of C{key} count."""
        if key == "ssl_cert_name":
            return self.ssl.server_cert_path or self.base
        if key == "ssl_key_name":
            return self.ssl.server_private_key_path or self.base
        return self.base

    def _fault(self, section: Section, exc: ValueError, key: str, allowed: str) -> None:
        forgiven = section.kind == "certificate" and not self.ssl.multicert_exit_on_load_fail
        complaint = section.complaint(f"{exc}, allowed: {allowed}", key)
        (self.warnings if forgiven and isinstance(exc, FileFault) else self.complaints).append(complaint)

    # The sections.

    def _single(self, settings: type[S], sections: list[Section]) -> S:
        return _made(settings, self._values(sections[0], settings) if sections else {})

    def _load_ssl(self, section: Section) -> None:
        values = self._values(section, SSLConfig)
        self.ssl = _made(SSLConfig, values)
        for side in ("server", "client"):
            lowest: str = getattr(self.ssl, f"{side}_version_min")
            highest: str = getattr(self.ssl, f"{side}_version_max")
            self._check_versions(section, (f"{side}.version.min", lowest), (f"{side}.version.max", highest))
        if self.ssl.client_certification_level and "CA.cert.filename" not in section.entries:
            wrong = "there are no authorities to trust"
            self._complain(section, wrong, "client.certification_level", allowed="with CA.cert.filename")
        self._check_client_pair(
            section,
            values,
            ("client.cert.filename", "client_cert_filename"),
            ("client.private_key.filename", "client_private_key_filename"),
        )

    def _check_versions(self, section: Section, lowest: tuple[str, str], highest: tuple[str, str]) -> None:
        written = [key for key, _ in (lowest, highest) if key in section.entries]
        if written and _VERSION_ORDER.index(lowest[1]) > _VERSION_ORDER.index(highest[1]):
            wrong = f"there is no version from {lowest[1]} to {highest[1]}"
            self._complain(section, wrong, written[0], allowed="a minimum that is no younger than the maximum")

    def _check_client_pair(
        self, section: Section, values: dict[str, Any], certificate: tuple[str, str], private_key: tuple[str, str]
    ) -> None:
        """C{certificate} and C{private_key} are each a key and its attribute."""
        if any(key in section.entries and attribute not in values for key, attribute in (certificate, private_key)):
            return
        path, key_path = values.get(certificate[1]), values.get(private_key[1])
        if path is not None:
            self._check_certificates(section, CertificateFiles(((path, key_path),)), certificate[0])
        elif key_path is not None:
            self._complain(section, "is the key of no certificate", private_key[0], allowed=f"with {certificate[0]}")

    def _check_ports(self, section: Section, sni: SNIConfig) -> None:
        """Of the rules for one name, each port has one."""
        others = self._ports.setdefault(sni.pattern, [])
        for low, high in sni.inbound_port_ranges or ():
            for first, last, other in others:
                if low <= last and first <= high:
                    wrong = f"port {max(low, first)} is in {other.header} on line {other.line} as well"
                    self._complain(section, wrong, _PORTS, allowed="one rule for a name and a port")
                    return
        others.extend((low, high, section) for low, high in sni.inbound_port_ranges or ())

    def _check_verification(self, section: Section, sni: SNIConfig) -> None:
        asked = sni.verify_client is not None and sni.verify_client is not ClientVerification.NONE
        if asked and "verify_client_ca_certs" not in section.entries and self.ssl.ca_cert_filename is None:
            allowed = "with verify_client_ca_certs, or with CA.cert.filename in [ssl]"
            self._complain(section, "there are no authorities to trust", "verify_client", allowed=allowed)
        if asked and sni.route is not None and sni.route.kind is RouteKind.TUNNEL:
            wrong = "nobody looks at certificates in a blind tunnel"
            self._complain(section, wrong, "verify_client", allowed="with a route on which TLS ends here")
        by_default = sni.verify_client is None and self.ssl.client_certification_level
        if "verify_client_ca_certs" in section.entries and "verify_client" not in section.entries and not by_default:
            wrong = "no certificate is asked for"
            self._complain(section, wrong, "verify_client_ca_certs", allowed="with verify_client = MODERATE or STRICT")

    def _check_certificates(self, section: Section, files: CertificateFiles, key: str) -> bool:
        try:
            check_certificates(files)
        except FileFault as exc:
            self._fault(section, exc, key, "PEM, a certificate with its chain, and the key that fits it")
            return False
        return True

    def _check_routes(self, section: Section) -> None:
        first, *others = [name for name in section.entries if name in ROUTE_KEYS] or [""]
        for name in others:
            wrong = f"is a second route, beside {first}"
            self._complain(section, wrong, name, allowed=f"at most one of {', '.join(ROUTE_KEYS)}")

    def _check_label(self, section: Section, route: Route | None, wildcard: bool) -> None:
        if route is not None and route.label and not wildcard:
            wrong = "there is nothing for $1 here"
            self._complain(section, wrong, route.kind.value, allowed="in a section [sni *.NAME]")

    def _listen(self, section: Section) -> ListenConfig:
        assert section.name is not None  # _is_known() saw to it
        values = self._values(section, ListenConfig)
        self._check_routes(section)
        one_of = f"exactly one of {', '.join(_PLACES)}"
        first, *others = [name for name in section.entries if name in _PLACES] or [""]
        if not first:
            self._complain(section, "there is nothing to listen on", allowed=one_of)
        for name in others:
            self._complain(section, f"is a second place to listen on, beside {first}", name, allowed=one_of)
        if first != "port" and first and "interface" in section.entries:
            self._complain(section, f"has no use with {first}", "interface", allowed="with port")
        listen = _made(ListenConfig, values, name=section.name)
        self._check_label(section, listen.chosen, False)
        # As it is written, whatever else is wrong there.
        self._passes_on |= "flags" in section.entries and "tr-pass" in section.entries["flags"].text
        if "plain" in listen.flags:
            for point, _ in listen.hook_names():
                if point not in OUTBOUND_POINTS:
                    wrong = "has no use on a listener without TLS"
                    self._complain(section, wrong, f"hook.{point.value}", allowed="with flags = ssl")
        if "tr-pass" in listen.flags and listen.route.kind not in ROUTES_ONWARD:
            onward = ", ".join(kind.value for kind in ROUTES_ONWARD)
            self._complain(section, "tr-pass without a host to pass on to", "flags", allowed=f"with one of {onward}")
        if listen.transparent_in and first == "unix":
            self._complain(section, "a UNIX socket is not transparent", "flags", allowed="tr-in, tr-full with port")
        if listen.route.original and not listen.transparent_in:
            wrong = "there is no original destination here"
            self._complain(section, wrong, listen.route.kind.value, allowed="with flags = ..., tr-in")
        if "proxy_protocol_allowlist" in section.entries and not listen.proxied:
            wrong = "no PROXY header is read here"
            self._complain(section, wrong, "proxy_protocol_allowlist", allowed="with flags = ..., pp or pp-clnt")
        if first in values and first != "port":
            self._is_first(section, (first, values[first]), first)
        # Port 0 is another port each time; and of an interface that cannot be read nothing is known.
        elif values.get("port") and ("interface" in values or "interface" not in section.entries):
            self._is_first(section, ("port", listen.interface, listen.port), "port")
        return listen

    def _certificate(self, section: Section) -> CertificateConfig | None:
        assert section.name is not None  # _is_known() saw to it
        values = self._values(section, CertificateConfig)
        if "dest_ip" in values:
            self._is_first(section, ("dest_ip", values["dest_ip"]), "dest_ip")
        certs, keys = values.get("ssl_cert_name"), values.get("ssl_key_name", ())
        tunnel = values.get("action") is not None
        if tunnel:
            self._check_tunnel(section, values)
        if certs == () or "ssl_cert_name" not in section.entries:
            if tunnel and "dest_ip" in values and "ssl_key_name" not in section.entries:
                return _made(CertificateConfig, values, name=section.name)
            self._complain(section, "there is no certificate", "ssl_cert_name", allowed="one file or more")
        elif keys and certs and len(keys) != len(certs):
            wrong = f"{len(keys)} for {len(certs)} in ssl_cert_name"
            self._complain(section, wrong, "ssl_key_name", allowed="as many, or none")
        elif certs and len(values.get("ssl_ca_name", ())) not in (0, 1, len(certs)):
            wrong = f"{len(values['ssl_ca_name'])} for {len(certs)} in ssl_cert_name"
            self._complain(section, wrong, "ssl_ca_name", allowed="as many, one, or none")
        elif certs and not self._unread(section, values):
            made = _made(CertificateConfig, values, name=section.name)
            if self._check_certificates(section, made.sources, "ssl_cert_name"):
                return made
        return None

    def _unread(self, section: Section, values: dict[str, Any]) -> bool:
        """Is there anything without which the certificate cannot be looked at, and that was complained about?"""
        needed = ("ssl_key_name", "ssl_ca_name", "ssl_key_dialog")
        return any(key in section.entries and key not in values for key in needed)

    def _check_tunnel(self, section: Section, values: dict[str, Any]) -> None:
        if values.get("dest_ip") == "*":
            wrong = "is every address"
            self._complain(section, wrong, "dest_ip", allowed="one address, or none, with action = tunnel")
        if not self._passes_on:
            wrong = "nothing is passed on untouched"
            self._complain(section, wrong, "action", allowed="with flags = ssl, tr-pass in a [listen NAME]")

    def _sni(self, section: Section) -> SNIConfig:
        values = self._values(section, SNIConfig)
        self._check_routes(section)
        pattern = server_pattern(section.name or "")
        if pattern is None:
            self._complain(section, "is no name", allowed="[sni NAME], [sni *.NAME] or [sni]")
        sni = _made(SNIConfig, values, pattern=pattern or "")
        self._check_ports(section, sni)
        self._check_label(section, sni.route, sni.pattern.startswith("*."))
        self._check_versions(
            section,
            ("valid_tls_version_min_in", sni.valid_tls_version_min_in or self.ssl.server_version_min),
            ("valid_tls_version_max_in", sni.valid_tls_version_max_in or self.ssl.server_version_max),
        )
        self._check_verification(section, sni)
        self._check_client_pair(section, values, ("client_cert", "client_cert"), ("client_key", "client_key"))
        return sni


def _identity(section: Section) -> str | None:
    """What two sections of one kind must not have in common."""
    if section.kind == "sni":
        return server_pattern(section.name or "") or section.name
    return section.name


def _made(settings: type[S], values: dict[str, Any], **names: str) -> S:
    # The values were checked one by one.  To check them again would read each file twice, and might find it changed.
    with attrs.validators.disabled():
        return settings(**values, **names)


def _nearest(name: str, known: list[str]) -> str:
    # The first letters are enough to guess from, and to compare texts takes the product of their lengths.
    near = difflib.get_close_matches(name[:_NEAR_CHARACTERS], known, 1)
    return f"{near[0]} (the nearest)" if near else ", ".join(sorted(known))
