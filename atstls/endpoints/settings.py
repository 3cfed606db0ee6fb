# -*- test-case-name: tests.test_endpoints -*-
"""
L{ServerTLS} and L{ClientTLS}: what is said about TLS in the place of a context factory; L{CertificateFolder}.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Final
from weakref import WeakKeyDictionary

from attrs import evolve, field, frozen
from OpenSSL import SSL
from twisted.internet.interfaces import IProtocolFactory, IProtocolNegotiationFactory
from twisted.logger import Logger

from atstls.errors import ConfigurationError
from atstls.ssl.fronts import fronts
from atstls.ssl.sslvc import NO_HOOKS, select_alpn
from atstls.tls.certificates import Certificate, load_certificate, read_file
from atstls.tls.contexts import (
    CertificateTable,
    ClientSettings,
    ServerSettings,
    certificate_context,
    client_context,
)
from atstls.tls.hooks import HookSet
from atstls.tls.policy import ServerPolicy
from atstls.tls.sessions import OriginSessions
from atstls.tls.trace import WireTrace

HANDSHAKE_SECONDS: Final = 30.0
"""How long a client's handshake may take where a context factory is used, which cannot say so (Twisted: no limit)."""


def names_of(factory: Any) -> tuple[bytes, ...]:
    """The protocols that C{factory} speaks, as far as it says so, best first."""
    if IProtocolNegotiationFactory.providedBy(factory):
        return tuple(factory.acceptableProtocols())
    return ()


@frozen(eq=False)
class ServerTLS:
    """
    What a server demands and shows, in the place of a context factory.

    @ivar certificates: the first is shown to who asks for a name that none is for.  Several for the same names have
        different kinds of key.  In the place of a list, a L{CertificateFolder}.
    @ivar alpn: the protocols to offer, best first, and who speaks each; C{None} stands for the factory that listens.
        Empty: what that factory says that it speaks (C{IProtocolNegotiationFactory}).
    @ivar hooks: who is asked about each connection.
    @ivar handshake_timeout_seconds: from accept to the end of the handshake, hooks included; 0: no limit.
    @ivar max_record_size: -1: small records first; 0: as large as TLS has them; else plaintext bytes at the most.
    @ivar strict_server_name: refuse a name that no certificate is for.
    @ivar allow_plain: serve a client whose first byte is not TLS's as well, in clear.  Its transport can start TLS.
    @ivar wire_trace: which connections are written to the log, as they are spoken; C{None}: none.
    @ivar settings: versions, ciphers, sessions, clients' certificates.
    """

    certificates: "Sequence[Certificate] | CertificateFolder"
    alpn: Mapping[bytes, IProtocolFactory | None] = field(factory=dict)
    hooks: HookSet = NO_HOOKS
    handshake_timeout_seconds: float = HANDSHAKE_SECONDS
    max_record_size: int = 0
    strict_server_name: bool = False
    allow_plain: bool = False
    wire_trace: WireTrace | None = None
    settings: ServerSettings = field(factory=ServerSettings)

    def policy(self) -> ServerPolicy:
        """
        The policy, with new contexts.

        @raise ConfigurationError: there is no certificate, or one or a setting cannot be used.
        """
        source = self.certificates
        front, renewal = fronts(self.settings)
        policy = ServerPolicy(
            front,
            self.table(source.load() if isinstance(source, CertificateFolder) else source),
            handshake_timeout_seconds=self.handshake_timeout_seconds,
            max_record_size=self.max_record_size,
            strict_server_name=self.strict_server_name,
            allow_client_renegotiation=self.settings.renegotiable,
            renewal=renewal,
            wire_trace=self.wire_trace,
        )
        if isinstance(source, CertificateFolder):
            source.was_read_for(policy)
        return policy

    def kept_policy(self, now: float) -> ServerPolicy:
        """
        The policy, with contexts that are made once, and its certificates as they are now.

        @param now: by a clock that goes forward.
        @raise ConfigurationError: see L{policy}.
        """
        policy = _policies.get(self)
        if policy is None:
            policy = self.policy()
        elif isinstance(self.certificates, CertificateFolder):
            policy = self.certificates.current(self, policy, now)
        _policies[self] = policy
        return policy

    def table(self, certificates: Sequence[Certificate]) -> CertificateTable:
        """
        New contexts for C{certificates}, by their names.

        @raise ConfigurationError: there is no certificate, or one cannot be used.
        """
        if not certificates:
            raise ConfigurationError("a server needs a certificate")
        same: dict[tuple[str, ...], list[Certificate]] = {}
        for certificate in certificates:
            same.setdefault(certificate.names, []).append(certificate)
        table = CertificateTable()
        for names, alike in same.items():
            context = certificate_context(self.settings, alike, select_alpn=select_alpn)
            table.add(context, names, default=table.default is None)
        return table


@frozen(eq=False)
class ClientTLS:
    """
    What a client demands and shows, in the place of a context factory.  How long it waits is the endpoint's C{timeout}.

    @ivar settings: versions, ciphers, roots, our certificate, what follows when the peer is not who we meant.  With no
        C{alpn}, what the factory says that it speaks is offered.
    @ivar server_name: the name to ask for and to look for in the certificate; C{None}: the endpoint's host.
    @ivar roots: a folder of PEM files, or one such file, with the roots that we trust; C{None}: those of C{settings}.
    @ivar hooks: who is asked about each connection.
    @ivar max_record_size: as in L{ServerTLS}.
    @ivar sessions: where sessions are kept, so that the next connection with this object, to the same host, need not
        shake hands in full; C{None}: nowhere.
    """

    settings: ClientSettings = field(factory=ClientSettings)
    server_name: str | None = None
    roots: str | None = None
    hooks: HookSet = NO_HOOKS
    max_record_size: int = 0
    sessions: OriginSessions | None = field(factory=OriginSessions)

    def kept_context(self, alpn: tuple[bytes, ...]) -> SSL.Context:
        """
        The same as L{context}, made once for each C{alpn}: a session is resumed only with the context it came from.

        @raise ConfigurationError: a setting cannot be used.
        """
        kept = _contexts.setdefault(self, {})
        context = kept.get(alpn)
        if context is None:
            context = kept[alpn] = self.context(alpn)
        return context

    def context(self, alpn: tuple[bytes, ...]) -> SSL.Context:
        """
        A new context that offers C{alpn}, unless the settings say what is offered.

        @raise ConfigurationError: a setting cannot be used.
        """
        settings = evolve(self.settings, alpn=self.settings.alpn or alpn)
        if self.roots is None:
            return client_context(settings)
        if not os.path.isdir(self.roots):
            return client_context(evolve(settings, ca_file=self.roots))
        # OpenSSL wants hashed names in a folder, Twisted's users have names that end in .pem.
        with NamedTemporaryFile(suffix=".pem") as file:
            for _path, data in _pem_files(self.roots):
                file.write(data + b"\n")
            file.flush()
            try:
                return client_context(evolve(settings, ca_file=file.name))
            except ConfigurationError as exc:
                raise ConfigurationError(str(exc).replace(file.name, self.roots)) from exc


def _pem_files(folder: str) -> list[tuple[str, bytes]]:
    """
    The files of C{folder} whose names end in .pem, in the order of their names.

    @raise ConfigurationError: the folder or a file cannot be read.
    """
    try:
        paths = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() == ".pem")
    except OSError as exc:
        raise ConfigurationError(f"{folder}: it cannot be read: {exc.strerror}") from exc
    return [(str(path), read_file(str(path))) for path in paths if path.is_file()]


def load_folder(folder: str) -> tuple[Certificate, ...]:
    """
    The certificates in a folder of PEM files, as Twisted's C{tls:} endpoint has it.

    A certificate's key may be in its own file or in another one; behind the certificate in its file may stand its
    chain.  Of two for the same names with the same kind of key the younger one counts.

    @raise ConfigurationError: the folder cannot be read, or there is no certificate with a key in it.
    """
    files = _pem_files(folder)
    keys = [path for path, data in files if b"PRIVATE KEY-----" in data]
    found: dict[tuple[object, ...], Certificate] = {}
    for path, data in files:
        if b"-----BEGIN CERTIFICATE-----" not in data:
            continue
        certificate = _with_its_key(path, [path, *keys] if path in keys else keys)
        if certificate is None:
            continue  # a chain's, whose key is somebody else's
        kind = (certificate.names, type(certificate.key))
        other = found.get(kind)
        if other is None or other.leaf.not_valid_before_utc < certificate.leaf.not_valid_before_utc:
            found[kind] = certificate
    if not found:
        raise ConfigurationError(f"{folder}: there is no certificate with its private key in a file *.pem")
    return tuple(found.values())


def _with_its_key(path: str, keys: Sequence[str]) -> Certificate | None:
    for key in keys:
        try:
            return load_certificate(path, key)
        except ConfigurationError:
            pass  # Another one's key.
    return None


_policies: WeakKeyDictionary[ServerTLS, ServerPolicy] = WeakKeyDictionary()
_contexts: WeakKeyDictionary[ClientTLS, dict[tuple[bytes, ...], SSL.Context]] = WeakKeyDictionary()
"""What was made of settings that are used for one connection after another."""

LOOK_SECONDS: Final = 10.0
"""How old what we know of a folder may be when somebody connects."""


class CertificateFolder:
    """
    A folder of PEM files, which is read again when something in it has changed.

    It is looked at when somebody connects, and not more often than each L{LOOK_SECONDS}.  What cannot be read is
    logged, and the certificates from before go on to be shown.  Several may share it, each with its own settings.
    """

    _log = Logger()

    def __init__(self, path: str) -> None:
        self.path = path
        self._seen: object = None
        self._looked_at = 0.0
        self._changes = 0
        # Which change each policy knows of.
        self._known: WeakKeyDictionary[ServerPolicy, int] = WeakKeyDictionary()

    def load(self) -> tuple[Certificate, ...]:
        """See L{load_folder}."""
        self._look()
        return load_folder(self.path)

    def _look(self) -> None:
        seen, self._seen = self._seen, self._signature()
        if seen != self._seen:
            self._changes += 1

    def was_read_for(self, policy: ServerPolicy) -> None:
        """C{policy} has just got what there is."""
        self._known[policy] = self._changes

    def current(self, tls: ServerTLS, policy: ServerPolicy, now: float) -> ServerPolicy:
        """
        C{policy}, or one with the certificates that there are now.  Its tickets stay good.

        @param now: by a clock that goes forward.
        """
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            self._look()
        if self._known.get(policy) == self._changes:
            return policy
        try:
            policy = evolve(policy, certificates=tls.table(load_folder(self.path)))
        except ConfigurationError as exc:
            self._log.error("the certificates from before are kept: {reason}", reason=str(exc))
        else:
            self._log.info("the certificates of {folder} were read again", folder=self.path)
        self.was_read_for(policy)
        return policy

    def _signature(self) -> object:
        try:
            entries = [(entry.name, entry.stat()) for entry in os.scandir(self.path)]
        except OSError as exc:
            return str(exc)
        return sorted((name, stat.st_mtime_ns, stat.st_size, stat.st_ino) for name, stat in entries)
