# -*- test-case-name: tests.test_config -*-
"""
Values of the configuration that only OpenSSL can judge: cipher lists, authorities, certificates with their keys.

Each is tried as it will be used, by making of it what the program will make; what is made is thrown away.
"""

from pathlib import Path

import attrs

from atstls.edge.places import File, check_readable
from atstls.edge.values import FileFault, Text, shown
from atstls.errors import ConfigurationError
from atstls.tls.certificates import Certificate, load_certificate
from atstls.tls.contexts import ClientSettings, ServerSettings, certificate_context, client_context, front_context


@attrs.frozen
class Ciphers(Text):
    """
    A cipher list, or nothing.

    @ivar tls13: whether it is for TLS 1.3, or for TLS 1.2 and older; OpenSSL keeps the two apart.
    """

    tls13: bool
    span = "names of ciphers with colons between, as the command openssl ciphers takes them"

    def check(self, value: str) -> None:
        if not value:
            return
        settings = ServerSettings(tls13_cipher_suites=value) if self.tls13 else ServerSettings(cipher_suite=value)
        try:
            front_context(settings, select_alpn=None, check_server_name=None)
        except ConfigurationError as exc:
            raise ValueError(f"{shown(value)} has no cipher that this OpenSSL knows") from exc


class Authorities(File):
    """Certificates of authorities."""

    span = "PEM, with certificates of authorities"

    def check(self, value: Path) -> None:
        check_readable(value)
        try:
            client_context(ClientSettings(ca_file=str(value)))
        except ConfigurationError as exc:
            raise FileFault(str(exc)) from exc


def check_certificates(files: tuple[tuple[Path, Path | None], ...]) -> None:
    """
    Can these certificates be shown to peers, all of them for the same names?

    @param files: each certificate's file with its key's, C{None} when the key is in the same one; all of them readable.
    @raise FileFault: a file has not what it should have, a key does not fit its certificate, or two are of one kind.
    """
    try:
        certificates = [_loaded(*pair) for pair in files]
        certificate_context(ServerSettings(), certificates, select_alpn=None)
    except ConfigurationError as exc:
        raise FileFault(str(exc)) from exc


def _loaded(certificate: Path, key: Path | None) -> Certificate:
    return load_certificate(str(certificate), None if key is None else str(key))
