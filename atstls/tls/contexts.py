# -*- test-case-name: tests.test_contexts -*-
"""
OpenSSL contexts made from settings, and the table that finds the one for a server name or an address.

A server connection has two contexts.  It is made from the I{front context}, of which there is one per listener and
policy, and is then moved by C{Connection.set_context} to the I{certificate context} that L{CertificateTable} finds.
OpenSSL's C{SSL_set_SSL_CTX} moves less than its name says, and not the same things for each purpose:

  - from the front context come, for good: versions, groups, options and modes, verify mode and depth, the ticket keys
    and the session cache;
  - from the certificate context come, after the move: certificates and chains, both cipher lists, the ALPN callback,
    the session id context, and what client certificates are judged by, namely the trusted CAs and the list of them
    that clients are sent.

So tickets outlive any number of new certificate contexts, as long as the front one stays.  And so a certificate
context is made from the same L{ServerSettings} as the front context before it: one made without the CA file would
refuse every client certificate, one made with another CA file would let other clients in.  A listener that has several
policies has a table for each.  (Measured, and kept by the tests; the manual says none of it.)

A session must not carry a client past a check that it never passed (A065).  Between policies this holds twice: each
front context has ticket keys of its own, and the session id context is a hash of everything that a client was held
to when it earned the session.  OpenSSL also resumes under another server name without a murmur (measured, in TLS 1.2
and 1.3); RFC 6066, section 3, forbids it.  Hence the names of the certificate are in the hash too: a session serves the
names of one certificate, and goes on to do so when that certificate is renewed.

Contexts are complete when they leave this module: pyOpenSSL refuses to change one that was used.  A change of settings
or certificates is a new context.

Source: behaviour 1.27, 1.29, 6.1, A040-A051, A060-A077.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address
from tempfile import NamedTemporaryFile
from typing import Any

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from atstls.errors import ConfigurationError
from atstls.tls.certificates import Certificate, dns_name, read_file
from atstls.tls.renewal import KEY_SECONDS
from atstls.tls.verify import VerifyPolicy, VerifyProperties, verify_words

VERSIONS = {
    "TLSv1": SSL.TLS1_VERSION,
    "TLSv1.1": SSL.TLS1_1_VERSION,
    "TLSv1.2": SSL.TLS1_2_VERSION,
    "TLSv1.3": SSL.TLS1_3_VERSION,
}
"""The versions by the names that settings have, oldest first."""

CURVES: dict[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
"""The groups for the key exchange that can be asked for by name."""

DEFAULT_CIPHERS = ":".join(
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
    )
)
"""What TLS 1.2 may use. Only ECDHE, so that a stolen key opens no old recording; only AEAD, since the CBC suites gave
us Lucky 13 and its kin; all of it fit for HTTP/2 (RFC 9113, appendix A). It is RFC 9325's advice, section 4.2, with
the faster AES first. TLS 1.0 and 1.1 have no such suite: who allows them names ciphers, with C{@SECLEVEL=0}."""

DEFAULT_TLS13_CIPHERS = ":".join(
    [
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
    ]
)
"""What TLS 1.3 may use: all that the library has, the cheapest first, which is as good as the others for as long as a
certificate's key of 256 bits is. The library's own order begins with AES-256; Mozilla's recommendation with AES-128."""

# Numbers from openssl/ssl.h that pyOpenSSL does not export.
_OP_ALLOW_CLIENT_RENEGOTIATION = 1 << 8
_OP_PRIORITIZE_CHACHA = 1 << 21
_MODE_NO_AUTO_CHAIN = 0x8

_HOST_AND_PORT = re.compile(r"(?:\[([^\[\]]+)\]|([^:\[\]]+))(?::([0-9]{1,5}))?")

SelectALPN = Callable[[SSL.Connection, list[bytes]], Any]
"""
Chooses among what a client offers: gives one of the offered names, or C{SSL.NO_OVERLAPPING_PROTOCOLS} to go on without.
What it raises ends the handshake with the alert C{no_application_protocol} and comes out of C{do_handshake}.  (To give
C{b""}, which pyOpenSSL names as the way to refuse, ends it with C{internal_error}.)
"""

CheckServerName = Callable[[SSL.Connection], None]
"""
Told when OpenSSL has read the server name.  It should note what is wrong rather than raise: pyOpenSSL prints a
traceback of what it raises to stderr, which is nothing that a client should be able to cause.
"""

SignatureFailed = Callable[[SSL.Connection, str], None]
"""Told, in words, of each thing that OpenSSL found wrong with a chain, whether or not the handshake goes on."""


class ClientVerification(Enum):
    """Whether clients show a certificate."""

    NONE = "none"
    """They are not asked."""

    OPTIONAL = "optional"
    """They are asked and may decline; one that is shown must be good."""

    REQUIRED = "required"
    """No certificate, no connection."""


_VERIFY_MODES = {
    ClientVerification.NONE: SSL.VERIFY_NONE,
    ClientVerification.OPTIONAL: SSL.VERIFY_PEER | SSL.VERIFY_CLIENT_ONCE,
    ClientVerification.REQUIRED: SSL.VERIFY_PEER | SSL.VERIFY_CLIENT_ONCE | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
}


@frozen
class ServerSettings:
    """
    A policy towards clients.  May be the key of a dictionary.

    @ivar version_min: one of L{VERSIONS}.
    @ivar version_max: one of L{VERSIONS}.
    @ivar cipher_suite: for TLS 1.2 and older, as C{openssl ciphers} understands it; C{None} for L{DEFAULT_CIPHERS}.
    @ivar tls13_cipher_suites: for TLS 1.3, names with colons between; C{None} for
        L{DEFAULT_TLS13_CIPHERS}.
    @ivar group: the only group for the key exchange, one of L{CURVES}; C{None} for the library's list, which begins
        with X25519 joined to a post-quantum one where it has that. pyOpenSSL can set no other list.
    @ivar honor_cipher_order: whether our order of ciphers counts, not the client's.
    @ivar prioritize_chacha: with C{honor_cipher_order}: whether a client that puts ChaCha20 first, as those without
        AES in hardware do, gets it all the same.
    @ivar session_ticket: whether sessions are given to clients as tickets.  Without, they are kept in the cache.
    @ivar session_cache: whether sessions are kept here for clients without tickets.  No resumption at all needs both
        off.
    @ivar session_timeout_seconds: how long a session may be resumed; 0 for the library's default.
    @ivar session_key_seconds: how long tickets are sealed with the same key, and other sessions kept; 0 for ever.  For
        whoever makes the policy: see L{atstls.tls.renewal}.
    @ivar session_auto_clear: whether the library now and then looks through the cache for sessions that are too old.
    @ivar allow_client_renegotiation: whether a TLS 1.2 client may begin a new handshake within the connection; but see
        L{renegotiable}.
    @ivar client_verification: whether clients show a certificate.
    @ivar client_ca_file: PEM with the CAs that client certificates must lead to, whose names are sent to clients;
        needed to ask for one.  There is no default: all the world's public CAs are no check at all.
    @ivar verify_depth: how many CA certificates may stand between a client's and the root.
    @ivar name: tells apart policies that are otherwise alike; no session goes from one to the other.
    """

    version_min: str = "TLSv1.2"
    version_max: str = "TLSv1.3"
    cipher_suite: str | None = None
    tls13_cipher_suites: str | None = None
    group: str | None = None
    honor_cipher_order: bool = True
    prioritize_chacha: bool = False
    session_ticket: bool = True
    session_cache: bool = True
    session_timeout_seconds: int = 0
    session_key_seconds: float = KEY_SECONDS
    session_auto_clear: bool = True
    allow_client_renegotiation: bool = False
    client_verification: ClientVerification = ClientVerification.NONE
    client_ca_file: str | None = None
    verify_depth: int = 7
    name: str = ""

    @property
    def renegotiable(self) -> bool:
        """
        May a client begin a new handshake within the connection?  None that is asked for a certificate may.

        After the second handshake OpenSSL knows no longer who the client is, or knows it as somebody else, whom nobody
        here has looked at.
        """
        return self.allow_client_renegotiation and self.client_verification is ClientVerification.NONE


@frozen
class ClientSettings:
    """
    A policy towards origins.  May be the key of a dictionary, and should be part of one for kept sessions.

    @ivar version_min: one of L{VERSIONS}.
    @ivar version_max: one of L{VERSIONS}.
    @ivar cipher_suite: as in L{ServerSettings}.
    @ivar tls13_cipher_suites: as in L{ServerSettings}.
    @ivar group: as in L{ServerSettings}.
    @ivar ca_file: PEM with the roots that we trust.
    @ivar ca_dir: a directory of them with hashed names, as C{openssl rehash} makes it.  With neither this nor
        C{ca_file}, the roots of the system.
    @ivar certificate: what we show to an origin that asks.
    @ivar alpn: protocols to offer, the best first; none for not offering any.
    @ivar policy: what follows when the origin is not the one that we meant.
    @ivar properties: what is looked at to find that out.
    @ivar verify_depth: how many CA certificates may stand between the origin's and the root.
    """

    version_min: str = "TLSv1.2"
    version_max: str = "TLSv1.3"
    cipher_suite: str | None = None
    tls13_cipher_suites: str | None = None
    group: str | None = None
    ca_file: str | None = None
    ca_dir: str | None = None
    certificate: Certificate | None = None
    alpn: tuple[bytes, ...] = ()
    policy: VerifyPolicy = VerifyPolicy.ENFORCED
    properties: VerifyProperties = VerifyProperties.ALL
    verify_depth: int = 7


def front_context(
    settings: ServerSettings, *, select_alpn: SelectALPN | None, check_server_name: CheckServerName | None
) -> SSL.Context:
    """
    The context from which each connection under C{settings} is made.  Keep it while the policy lasts: with it go all
    tickets.

    @param select_alpn: asked for connections that were not moved; C{None} for no ALPN.
    @param check_server_name: see L{CheckServerName}; C{None} for no check.
    @raise ConfigurationError: a setting cannot be used; says which, and what is allowed.
    """
    context = _server_context(settings, (), select_alpn)
    if check_server_name is not None:
        context.set_tlsext_servername_callback(check_server_name)
    return context


def certificate_context(
    settings: ServerSettings, certificates: Sequence[Certificate], *, select_alpn: SelectALPN | None
) -> SSL.Context:
    """
    The context to which connections for some names are moved.  Good also as the only one of a connection.

    @param settings: those of the front context before it (the top of this module says why).
    @param certificates: for the same names, one for each kind of key, such as RSA and ECDSA; a client gets one that it
        can use.
    @param select_alpn: asked for connections that were moved here; C{None} for no ALPN.
    @raise ConfigurationError: a setting or a certificate cannot be used.
    """
    names = sorted({name for certificate in certificates for name in certificate.names})
    context = _server_context(settings, names, select_alpn)
    _use_certificates(context, certificates)
    return context


def session_id_context(settings: ServerSettings, names: Iterable[str] = ()) -> bytes:
    """
    What a session was earned under, in 32 bytes, the most that OpenSSL takes.  The same at each start and in each
    process.

    @param names: those of the certificate that the session belongs to.
    @raise ConfigurationError: the CA file cannot be read.
    """
    # All that a client is held to. How long and in what form sessions are kept is no such thing.
    held_to = (
        settings.name,
        settings.version_min,
        settings.version_max,
        settings.cipher_suite,
        settings.tls13_cipher_suites,
        settings.group,
        settings.client_verification.value,
        settings.verify_depth,
        None if settings.client_ca_file is None else read_file(settings.client_ca_file),
        tuple(names),
    )
    return hashlib.sha256(repr(held_to).encode()).digest()


def client_context(settings: ClientSettings, *, signature_failed: SignatureFailed | None = None) -> SSL.Context:
    """
    The context of connections to origins.  Whether the certificate has the right name depends on the connection, and
    is for L{atstls.tls.verify.check_peer} when the handshake is done.

    @param signature_failed: see L{SignatureFailed}. C{None} for those who ask OpenSSL for its verify result when the
        handshake is over; given a callback, that result is C{X509_V_OK} for all that the policy lets pass.
    @raise ConfigurationError: a setting cannot be used.
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    _set_protocol(context, settings)
    # An origin that asks for a new handshake gets the alert no_renegotiation, and the connection ends.
    context.set_options(SSL.OP_NO_RENEGOTIATION)
    if settings.alpn:
        if not all(0 < len(name) <= 255 for name in settings.alpn):
            raise ConfigurationError("alpn: a protocol name has 1 to 255 bytes")
        context.set_alpn_protos(list(settings.alpn))
    if settings.certificate is not None:
        _use_certificates(context, [settings.certificate])
    if settings.policy is VerifyPolicy.DISABLED:
        # Reading all the roots of a system costs some 10 ms and a megabyte, for nothing.
        context.set_verify(SSL.VERIFY_NONE)
        return context
    _trust(context, settings.ca_file, settings.ca_dir)
    _set_verify_depth(context, settings.verify_depth)
    # To fail within the handshake, and not after it, sends the origin the alert that says why.
    forgiving = settings.policy is VerifyPolicy.PERMISSIVE or VerifyProperties.SIGNATURE not in settings.properties
    if signature_failed is None:
        # With VERIFY_NONE a client's OpenSSL looks all the same, remembers what it found and goes on. A callback that
        # lets things pass would make it forget: pyOpenSSL sets the result to X509_V_OK then.
        context.set_verify(SSL.VERIFY_NONE if forgiving else SSL.VERIFY_PEER)
    else:
        context.set_verify(SSL.VERIFY_PEER, _tell(signature_failed, forgiving))
    return context


class CertificateTable:
    """
    Which context serves a connection, by the name that the client asked for or the address that it came to.

    Filled once and then only read; a reload fills another one.
    """

    __slots__ = ("_addresses", "_names", "_wildcards", "default")

    def __init__(self) -> None:
        self._names: dict[str, SSL.Context] = {}
        self._wildcards: dict[str, SSL.Context] = {}
        """By what stands behind C{*.}"""
        self._addresses: dict[tuple[IPv4Address | IPv6Address, int | None], SSL.Context] = {}
        self.default: SSL.Context | None = None

    def add(
        self, context: SSL.Context, names: Iterable[str], *, addresses: Iterable[str] = (), default: bool = False
    ) -> tuple[str, ...]:
        """
        Have C{context} serve these names and addresses.

        @param names: host names; C{*.} in front stands for one whole label; C{*} alone means C{default}.
        @param addresses: of this host: C{192.0.2.1}, C{192.0.2.1:443}, C{2001:db8::1}, C{[2001:db8::1]:443}; C{*} alone
            means C{default}.
        @param default: whether it serves what nothing else does.
        @return: those that an earlier context serves already and goes on to serve; worth a warning.
        @raise ConfigurationError: one is neither, or a wildcard is not the whole left-most label.  Then none was added.
        """
        names, addresses = list(names), list(addresses)
        hosts = [(name, _host_name(name)) for name in names if name != "*"]
        places = [(text, _address(text)) for text in addresses if text != "*"]
        taken = []
        for written, name in hosts:
            table, key = (self._wildcards, name[2:]) if name.startswith("*.") else (self._names, name)
            if table.setdefault(key, context) is not context:
                taken.append(written)
        for written, place in places:
            if self._addresses.setdefault(place, context) is not context:
                taken.append(written)
        if default or "*" in names or "*" in addresses:
            if self.default not in (None, context):
                taken.append("*")
            else:
                self.default = context
        return tuple(taken)

    def find(self, name: str | None, address: tuple[str, int] | None) -> SSL.Context | None:
        """
        The context for a connection: by exact name, by wildcard, by address and port, by address, or the default one.

        @param name: what the client asked for, in any case; C{None} or empty for nothing.
        @param address: where the connection came to, on this host; C{None} when it has none that matters.
        @return: C{None} when nothing fits and there is no default.
        """
        return self.find_by_name(name) or self.find_by_address(address) or self.default

    def find_by_name(self, name: str | None) -> SSL.Context | None:
        """The context for this very name, or for a wildcard that covers it, and no other."""
        if not name:
            return None
        name = name.removesuffix(".").lower()
        context = self._names.get(name)
        if context is None:
            label, _, rest = name.partition(".")
            if label:
                context = self._wildcards.get(rest)
        return context

    def find_by_address(self, address: tuple[str, int] | None) -> SSL.Context | None:
        """The context for this address and port, or for this address, and no other."""
        if address is None or not self._addresses:
            return None
        try:
            host = _plain(ip_address(address[0]))
        except ValueError:
            return None
        return self._addresses.get((host, address[1])) or self._addresses.get((host, None))


def _server_context(settings: ServerSettings, names: Iterable[str], select_alpn: SelectALPN | None) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    _set_protocol(context, settings)
    options = 0
    if settings.honor_cipher_order:
        options |= SSL.OP_CIPHER_SERVER_PREFERENCE
    if settings.prioritize_chacha:
        options |= _OP_PRIORITIZE_CHACHA
    if not settings.session_ticket:
        options |= SSL.OP_NO_TICKET
    options |= _OP_ALLOW_CLIENT_RENEGOTIATION if settings.renegotiable else SSL.OP_NO_RENEGOTIATION
    context.set_options(options)
    kept = SSL.SESS_CACHE_SERVER | (0 if settings.session_auto_clear else SSL.SESS_CACHE_NO_AUTO_CLEAR)
    context.set_session_cache_mode(kept if settings.session_cache else SSL.SESS_CACHE_OFF)
    context.set_session_id(session_id_context(settings, names))
    if settings.session_timeout_seconds < 0:
        raise ConfigurationError(f"session_timeout_seconds {settings.session_timeout_seconds}: it must not be negative")
    if settings.session_timeout_seconds:
        context.set_timeout(settings.session_timeout_seconds)
    if settings.client_ca_file is not None:
        _trust(context, settings.client_ca_file, None)
        _name_client_cas(context, settings.client_ca_file)
    elif settings.client_verification is not ClientVerification.NONE:
        raise ConfigurationError(
            f"client_verification {settings.client_verification.value} needs client_ca_file, with the CAs to trust"
        )
    _set_verify_depth(context, settings.verify_depth)
    context.set_verify(_VERIFY_MODES[settings.client_verification])
    if select_alpn is not None:
        context.set_alpn_select_callback(select_alpn)
    return context


def _set_protocol(context: SSL.Context, settings: ServerSettings | ClientSettings) -> None:
    """What is the same on both sides."""
    lowest, highest = _version("version_min", settings.version_min), _version("version_max", settings.version_max)
    if lowest > highest:
        raise ConfigurationError(
            f"version_min {settings.version_min} is newer than version_max {settings.version_max}: no version is left"
        )
    context.set_min_proto_version(lowest)
    context.set_max_proto_version(highest)
    _set_ciphers("cipher_suite", context.set_cipher_list, settings.cipher_suite or DEFAULT_CIPHERS)
    suites = DEFAULT_TLS13_CIPHERS if settings.tls13_cipher_suites is None else settings.tls13_cipher_suites
    _set_ciphers("tls13_cipher_suites", context.set_tls13_ciphersuites, suites)
    if settings.group is not None:
        _set_group(context, settings.group)
    # A server's compression of secrets next to what an attacker chooses gives the secrets away (CRIME, 2012).
    context.set_options(SSL.OP_NO_COMPRESSION)
    # RELEASE_BUFFERS gives back the record buffers while a connection is idle, and most are ("around 34k", OpenSSL's
    # manual says). NO_AUTO_CHAIN: we send the chain that the operator gave, and build none from the CAs that we trust.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS | _MODE_NO_AUTO_CHAIN)


def _version(setting: str, name: str) -> int:
    try:
        return VERSIONS[name]
    except KeyError:
        raise ConfigurationError(f"{setting} {name!r}: allowed are {', '.join(VERSIONS)}") from None


def _set_ciphers(setting: str, setter: Callable[[bytes], None], ciphers: str) -> None:
    # OpenSSL takes an empty list for TLS 1.3, and fails each handshake afterwards.
    try:
        if not ciphers.strip(": "):
            raise ValueError("it is empty")
        setter(ciphers.encode("ascii"))
    except (SSL.Error, ValueError) as exc:
        what = "the TLS 1.3 names" if setting.startswith("tls13") else "what the command `openssl ciphers` understands"
        raise ConfigurationError(
            f"{setting} {ciphers!r} has no cipher that this OpenSSL knows: allowed is {what}, with colons between"
        ) from exc


def _set_group(context: SSL.Context, name: str) -> None:
    # For a list of groups, or X25519 alone, pyOpenSSL has no public call.
    curve = CURVES.get(name)
    if curve is None:
        raise ConfigurationError(f"group {name!r}: allowed are {', '.join(CURVES)}, and leaving the setting out")
    context.set_tmp_ecdh(curve)


def _set_verify_depth(context: SSL.Context, depth: int) -> None:
    if depth < 0:
        raise ConfigurationError(f"verify_depth {depth}: it must not be negative")
    context.set_verify_depth(depth)


def _trust(context: SSL.Context, ca_file: str | None, ca_dir: str | None) -> None:
    if ca_file is None and ca_dir is None:
        context.set_default_verify_paths()
        return
    if ca_file is not None:
        # Read here as well, since OpenSSL's reasons for not reading a file are hard to understand.
        if b"-----BEGIN " not in read_file(ca_file):
            raise ConfigurationError(f"{ca_file}: there is no CA certificate in it; PEM is needed")
        try:
            context.load_verify_locations(ca_file)
        except SSL.Error as exc:
            raise ConfigurationError(f"{ca_file}: the CA certificates in it cannot be read: {exc}") from exc
    if ca_dir is not None:
        # OpenSSL looks into it at the first handshake and says nothing of what it does not find.
        if not os.path.isdir(ca_dir):
            raise ConfigurationError(f"{ca_dir}: there is no such directory")
        if not os.access(ca_dir, os.R_OK | os.X_OK):
            raise ConfigurationError(f"{ca_dir}: we have no permission to read it")
        context.load_verify_locations(None, ca_dir)


def _tell(
    signature_failed: SignatureFailed, forgiving: bool
) -> Callable[[SSL.Connection, object, int, int, int], bool]:
    """A verify callback that tells what is wrong, and lets it pass or not."""

    def verify(connection: SSL.Connection, certificate: object, code: int, depth: int, good: int) -> bool:
        if good:
            return True
        signature_failed(connection, verify_words(code))
        return forgiving

    return verify


def _name_client_cas(context: SSL.Context, ca_file: str) -> None:
    try:
        context.load_client_ca(os.fsencode(ca_file))
    except SSL.Error as exc:
        # What is in it was good enough for the trust store, which takes revocation lists too.
        raise ConfigurationError(f"{ca_file}: there is no CA certificate in it") from exc


def _use_certificates(context: SSL.Context, certificates: Sequence[Certificate]) -> None:
    kinds: dict[type, Certificate] = {}
    for certificate in certificates:
        other = kinds.setdefault(type(certificate.key), certificate)
        if other is not certificate:
            # OpenSSL would keep the last one and say nothing.
            raise ConfigurationError(f"{certificate.source}: it has the same kind of key as {other.source}")
    for certificate in certificates:
        try:
            if len(certificates) == 1:
                context.use_certificate(certificate.leaf)
                for link in certificate.chain:
                    context.add_extra_chain_cert(link)
            else:
                _use_chain(context, certificate)
            context.use_privatekey(certificate.key)
            context.check_privatekey()
        except SSL.Error as exc:
            raise ConfigurationError(f"{certificate.source}: OpenSSL cannot use this certificate: {exc}") from exc


def _use_chain(context: SSL.Context, certificate: Certificate) -> None:
    # What add_extra_chain_cert adds is sent with every certificate of the context. The only call of pyOpenSSL that
    # gives a certificate a chain of its own wants a file, so there is one for a moment; nothing in it is secret.
    with NamedTemporaryFile(suffix=".pem") as file:
        file.writelines(link.public_bytes(Encoding.PEM) for link in (certificate.leaf, *certificate.chain))
        file.flush()
        context.use_certificate_chain_file(file.name)


def _host_name(written: str) -> str:
    name = dns_name(written)
    if name is None:
        raise ConfigurationError(
            f"{written!r} is not a host name; a wildcard stands for the whole left-most label, as in *.example.com"
        )
    return name


def _address(written: str) -> tuple[IPv4Address | IPv6Address, int | None]:
    """Reads an address with or without a port; an IPv6 address is in brackets if it has one."""
    host, port = written, None
    if match := _HOST_AND_PORT.fullmatch(written):
        host, port = match[1] or match[2], match[3]
    try:
        address = _plain(ip_address(host))
    except ValueError:
        address = None
    if address is None or (port is not None and not 0 < int(port) < 65536):
        raise ConfigurationError(
            f"{written!r} is not an address; allowed are 192.0.2.1, 192.0.2.1:443, 2001:db8::1 and [2001:db8::1]:443"
        )
    return address, None if port is None else int(port)


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """A socket for both families tells IPv4 addresses as ::ffff:192.0.2.1; to an operator they are IPv4."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
