# -*- test-case-name: tests.test_endpoints -*-
# ruff: noqa: N802, N803  # what Twisted calls, and passes by name, is spelled as Twisted spells it
"""
The C{atstls:} endpoint strings: L{ServerEndpointParser}, L{ClientEndpointParser}.
"""

import os
from typing import Any, Final

from attrs import evolve
from cryptography import x509
from twisted.internet.interfaces import IStreamClientEndpointStringParserWithReactor, IStreamServerEndpointStringParser
from twisted.plugin import IPlugin
from zope.interface import implementer

from atstls.endpoints.client import SSLClientEndpoint
from atstls.endpoints.server import SSLServerEndpoint
from atstls.endpoints.settings import HANDSHAKE_SECONDS, CertificateFolder, ClientTLS, ServerTLS, load_folder
from atstls.endpoints.sockets import SSLAdoptedServerEndpoint, SSLUNIXClientEndpoint, SSLUNIXServerEndpoint
from atstls.errors import ConfigurationError
from atstls.tls.certificates import UNREADABLE, Certificate, load_certificate, read_file
from atstls.tls.contexts import ClientSettings, ClientVerification, ServerSettings
from atstls.tls.verify import VerifyPolicy


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


_METHODS: Final = {
    "SSLv23_METHOD": "TLSv1.3",
    "TLS_METHOD": "TLSv1.3",
    "TLS_SERVER_METHOD": "TLSv1.3",
    "TLSv1_2_METHOD": "TLSv1.2",
}
"""C{sslmethod}, and the youngest version that it stands for.  Those for older ones than TLS 1.2 are not among them."""

_SSL_ORDER: Final = (
    "privateKey", "certKey", "sslmethod", "interface", "backlog", "extraCertChain", "dhParameters",
)  # fmt: skip
"""What C{ssl:} takes behind the port without a name."""


def _named(args: tuple[str, ...], kwargs: dict[str, str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """
    The arguments of a server's string; where they stand in the order of C{ssl:}, by their names.

    @raise TypeError: there are too many, or one is there twice, as Python has it.
    """
    if len(args) < 2 or not args[0].isdecimal() or os.path.isdir(args[1]):
        return args, kwargs
    if len(args) > 1 + len(_SSL_ORDER):
        raise TypeError(f"{':'.join(args)}: {len(args)} arguments without a name, allowed: {1 + len(_SSL_ORDER)}")
    named = dict(zip(_SSL_ORDER, args[1:], strict=False))
    for name in named.keys() & kwargs.keys():
        raise TypeError(f"{name} is there twice: {named[name]} and {kwargs[name]}")
    return args[:1], named | kwargs


def _parse_server(
    reactor: Any,
    port: str | None = None,
    folder: str | None = None,
    backlog: str = "50",
    interface: str | None = None,
    *,
    path: str | None = None,
    unix: str | None = None,
    mode: str = "666",
    lockfile: str = "1",
    fd: str | None = None,
    systemd: str | None = None,
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
    if path is not None or (port is not None and not port.isdecimal()):
        # As tls: has it, the folder first: its port and its addresses are those of tls: too.
        if path is None:
            path, port, folder = port, folder, None
        elif folder is not None:
            raise ConfigurationError(f"{folder}: one folder is enough, beside path={path}")
        folder = path
        if unix is None and fd is None and systemd is None:
            port = "443" if port is None else port
            interface = "::" if interface is None else interface
    settings = ServerSettings()
    if sslmethod is not None:
        if sslmethod not in _METHODS:
            raise ConfigurationError(f"sslmethod={sslmethod}: allowed are {', '.join(_METHODS)}")
        settings = evolve(settings, version_max=_METHODS[sslmethod])
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
    tls = ServerTLS(
        certificates,
        alpn=dict.fromkeys(_protocol_names(alpn)),
        handshake_timeout_seconds=HANDSHAKE_SECONDS if handshakeTimeout is None else float(handshakeTimeout),
        settings=evolve(settings, client_verification=verification, client_ca_file=clientCA),
    )
    _exactly_one({"a port": port, "unix": unix, "fd": fd, "systemd": systemd})
    if unix is not None:
        return SSLUNIXServerEndpoint(reactor, unix, tls, int(backlog), int(mode, 8), bool(int(lockfile)))
    if fd is not None:
        return SSLAdoptedServerEndpoint(reactor, int(fd), tls)
    if systemd is not None:
        return SSLAdoptedServerEndpoint.from_systemd(reactor, systemd, tls)
    assert port is not None  # one of them is there
    return SSLServerEndpoint(reactor, int(port), tls, int(backlog), interface or "")


def _exactly_one(places: dict[str, object]) -> None:
    if sum(place is not None for place in places.values()) != 1:
        raise ConfigurationError(f"an endpoint has exactly one of {', '.join(places)}")


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
    host: bytes | str | None = None,
    port: bytes | str | None = None,
    timeout: bytes | str = "30",
    bindAddress: bytes | str | None = None,
    certificate: bytes | str | None = None,
    privateKey: bytes | str | None = None,
    trustRoots: bytes | str | None = None,
    endpoint: bytes | str | None = None,
    *,
    unix: bytes | str | None = None,
    lockfile: bytes | str = "0",
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
    roots = _optional(trustRoots) or _optional(caCertsDir)
    tls = ClientTLS(settings, server_name=_optional(hostname), roots=roots)
    _exactly_one({"a host with its port": port, "unix": unix})
    if unix is not None:
        return SSLUNIXClientEndpoint(reactor, _text(unix), tls, float(timeout), bool(int(lockfile)))
    assert host is not None and port is not None  # the port is there, and stands behind the host
    if endpoint is None:
        return SSLClientEndpoint(reactor, _text(host), int(port), tls, float(timeout), _optional(bindAddress))
    # Who is meant is said by the host, and the way there by the other endpoint.
    tls = evolve(tls, server_name=tls.server_name or _text(host))
    kind, _, where = _text(endpoint).partition(":")
    to_host, _, to_port = where.rpartition(":")
    if kind == "unix" and where:
        return SSLUNIXClientEndpoint(reactor, where, tls, float(timeout))
    if kind == "tcp" and to_host and to_port.isdecimal():
        return SSLClientEndpoint(reactor, to_host, int(to_port), tls, float(timeout), _optional(bindAddress))
    raise ConfigurationError(f"endpoint={_text(endpoint)}: allowed are tcp:HOST:PORT and unix:PATH")


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
        args, kwargs = _named(args, kwargs)
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
