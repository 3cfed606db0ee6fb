# -*- test-case-name: tests.test_config -*-
"""
Values of the configuration that only OpenSSL can judge: cipher lists, authorities, certificates with their keys.

Each is tried as it will be used, by making of it what the program will make; what is made is thrown away.
"""

import shlex
import subprocess
from pathlib import Path
from typing import Final

import attrs

from atstls.edge.places import File, check_readable
from atstls.edge.values import FileFault, Text, shown
from atstls.errors import ConfigurationError
from atstls.tls.certificates import Certificate, load_certificate, load_chain
from atstls.tls.contexts import ClientSettings, ServerSettings, certificate_context, client_context, front_context

DIALOG_SECONDS: Final = 30
"""How long a command may take that says a pass phrase."""


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


@attrs.frozen
class KeyDialog(Text):
    """A command that says the pass phrase of a key."""

    noun = "exec:COMMAND"
    span = "a program with its arguments, which writes the pass phrase"

    def convert(self, text: str) -> str:
        command = super().convert(text)
        if command == "builtin":
            raise ValueError("builtin would ask at a terminal, where a service has none")
        try:
            words = shlex.split(command.removeprefix("exec:"))
        except ValueError:
            words = []
        if not command.startswith("exec:") or not words:
            raise ValueError(f"{shown(text)} is no command")
        return command


def pass_phrase(dialog: str) -> bytes:
    """
    What the command in C{dialog} says: the first line that it writes.

    @raise ConfigurationError: it could not be run, has failed, has said nothing, or has taken longer than
        L{DIALOG_SECONDS}.
    """
    words = shlex.split(dialog.removeprefix("exec:"))
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=DIALOG_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise ConfigurationError(f"ssl_key_dialog: {words[0]} has not answered in {DIALOG_SECONDS} s") from None
    except OSError as exc:
        raise ConfigurationError(f"ssl_key_dialog: {words[0]} cannot be run: {exc.strerror}") from None
    if done.returncode:
        raise ConfigurationError(f"ssl_key_dialog: {words[0]} has failed, with status {done.returncode}")
    line = done.stdout.partition(b"\n")[0].rstrip(b"\r")
    if not line:
        raise ConfigurationError(f"ssl_key_dialog: {words[0]} has said nothing")
    return line


@attrs.frozen
class CertificateFiles:
    """
    Where certificates for the same names are.

    @ivar pairs: each certificate's file with its key's, C{None} when the key is in the same one.
    @ivar chains: files with more of the chain: none, one for all, or one for each.
    @ivar dialog: as L{KeyDialog} has it; C{None}: no key is encrypted.
    """

    pairs: tuple[tuple[Path, Path | None], ...]
    chains: tuple[Path, ...] = ()
    dialog: str | None = None

    def load(self) -> tuple[Certificate, ...]:
        """
        Read them.

        @raise ConfigurationError: a file has not what it should have, or a key does not fit its certificate.
        """
        phrase = None if self.dialog is None else pass_phrase(self.dialog)
        loaded = []
        for number, (path, key) in enumerate(self.pairs):
            certificate = load_certificate(str(path), None if key is None else str(key), passphrase=phrase)
            if self.chains:
                more = load_chain(str(self.chains[number % len(self.chains)]))
                certificate = attrs.evolve(certificate, chain=(*certificate.chain, *more))
            loaded.append(certificate)
        return tuple(loaded)


def check_certificates(files: CertificateFiles) -> None:
    """
    Can these certificates be shown to peers, all of them for the same names?

    @param files: all of them readable.
    @raise FileFault: a file has not what it should have, a key does not fit its certificate, or two are of one kind.
    """
    try:
        certificate_context(ServerSettings(), files.load(), select_alpn=None)
    except ConfigurationError as exc:
        raise FileFault(str(exc)) from exc
