# -*- test-case-name: tests.test_certificates -*-
"""
L{Certificate}: a certificate with its chain and its key, read from PEM files or made in memory.

A reload reads all files first and swaps afterwards, so everything that can be wrong with a file is found here, before
any context is made of it, and said in words that an operator can act upon.  Reading is done with C{cryptography}
and not by OpenSSL's own file functions: those tell a missing file from a bad one only by error queues, and would
ask the terminal for a pass phrase.

Source: behaviour 1.27, A042, A044, A050, A051.
"""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address

import idna
from attrs import field, frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from atstls.errors import ConfigurationError

PrivateKey = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
    | dsa.DSAPrivateKey
)
"""The kinds of key that a TLS certificate may have and that pyOpenSSL takes."""

SELF_SIGNED_DAYS = 365
"""How long L{self_signed} lasts. Apple's systems refuse leaves that are good for more than 825 days; a year is enough
for something that is made anew at each start."""

UNREADABLE = (ValueError, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
"""What C{cryptography} raises, early or late, over a certificate that breaks the rules of X.509."""

_KEY = re.compile(rb"-----BEGIN ((?:[A-Z0-9]+ )*PRIVATE KEY)-----.*?-----END \1-----", re.DOTALL)

# Underscores are not allowed in host names, but internal ones have them and browsers send them. The last label is not
# a number, or 192.0.2.1 would be a name (RFC 1123, section 2.1).
_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_DNS_NAME = re.compile(rf"(?:\*\.)?(?:{_LABEL}\.)*(?![0-9]+\Z){_LABEL}")


def dns_name(text: str) -> str | None:
    """
    The one spelling of a host name, or of a wildcard for the left-most label, under which we look for it.

    @param text: as somebody wrote it; in any case, with or without a final dot, international names in either form.
    @return: lower-case ASCII without a final dot; C{None} when it is not a host name.
    """
    star, rest = ("*.", text[2:]) if text.startswith("*.") else ("", text)
    rest = rest.removesuffix(".")
    if not rest.isascii():
        try:
            rest = idna.encode(rest, uts46=True).decode("ascii")
        except idna.IDNAError:
            return None
    name = star + rest.lower()
    # 253 characters are what fits the 255 bytes that DNS has for a name (RFC 1035, section 2.3.4).
    return name if len(name) <= 253 and _DNS_NAME.fullmatch(name) else None


@frozen(eq=False)
class Certificate:
    """
    What is needed to show a certificate to a peer.  Two of them are equal only if they are the same object.

    @ivar leaf: the certificate itself.
    @ivar chain: the certificates that a peer needs to get from the leaf to a root, in the order to be sent.
    @ivar key: the leaf's private key.
    @ivar names: the DNS names that it is for, wildcards included, each as L{dns_name} spells it; those that cannot be
        host names are left out.
    @ivar source: where it came from, for messages: a path, or C{"self-signed"}.
    """

    leaf: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    key: PrivateKey = field(repr=False)
    names: tuple[str, ...]
    source: str

    def expiry_warning(self, now: datetime) -> str | None:
        """
        What is wrong with its dates at C{now}, or C{None}.  A peer will refuse it, but it is served all the same: that
        is more use to an operator than no certificate at all.

        @param now: with a time zone.
        """
        for certificate in (self.leaf, *self.chain):
            which = self.source
            if certificate is not self.leaf:
                which += f", chain certificate {printable(certificate.subject.rfc4514_string())}"
            if now > certificate.not_valid_after_utc:
                return f"{which}: expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
            if now < certificate.not_valid_before_utc:
                return f"{which}: not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        return None


def load_certificate(
    cert_file: str, key_file: str | None = None, *, passphrase: str | bytes | None = None
) -> Certificate:
    """
    Read a certificate, the chain behind it and its key.

    @param cert_file: PEM; the leaf first, then its chain; the key may be in it too.
    @param key_file: PEM with the key; C{None} when it is in C{cert_file}.
    @param passphrase: of the key; not looked at when the key is not encrypted.
    @raise ConfigurationError: with the file and the reason, when a file cannot be read or is not what it should be.
    """
    data = read_file(cert_file)
    leaf, *chain = _certificates(cert_file, data)
    if key_file is None:
        key = _key(cert_file, data, passphrase)
    else:
        key = _key(key_file, read_file(key_file), passphrase)
    if not _fits(key, leaf):
        hint = ""
        if any(_fits(key, certificate) for certificate in chain):
            hint = "; it fits a later one in that file, but the certificate for the key must come first"
        raise ConfigurationError(f"{key_file or cert_file}: the key does not fit the certificate in {cert_file}{hint}")
    try:
        names = _names(leaf)
    except UNREADABLE as exc:
        raise ConfigurationError(f"{cert_file}: the names in the certificate cannot be read: {exc}") from exc
    return Certificate(leaf, tuple(chain), key, names, cert_file)


def load_chain(file: str) -> tuple[x509.Certificate, ...]:
    """
    Read the certificates in a file that stand between a leaf and its root.

    @raise ConfigurationError: with the file and the reason, when it cannot be read or has none.
    """
    return tuple(_certificates(file, read_file(file)))


def self_signed(names: Sequence[str], *, now: datetime | None = None) -> Certificate:
    """
    Make a certificate that nobody trusts, for trying things out and for a listener that has no other.

    @param names: host names, wildcards and IP addresses that it is for; at least one.
    @param now: when it begins to be valid (an hour earlier, in fact, for peers whose clocks are late), with a time
        zone; C{None} for the time of day. This one date is no business of a reactor's clock.
    @raise ConfigurationError: there are no names, or one is neither a host name nor an address.
    """
    if not names:
        raise ConfigurationError("a certificate needs at least one name")
    dns: list[str] = []
    alternatives: list[x509.GeneralName] = []
    for text in names:
        try:
            alternatives.append(x509.IPAddress(ip_address(text)))
        except ValueError:
            name = dns_name(text)
            if name is None:
                raise ConfigurationError(f"{text!r} is neither a host name nor an IP address") from None
            dns.append(name)
            alternatives.append(x509.DNSName(name))
    # X.520 gives a common name 64 characters; the alternative names are what counts.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    key = ec.generate_private_key(ec.SECP256R1())
    start = (now or datetime.now(timezone.utc)) - timedelta(hours=1)
    leaf = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=SELF_SIGNED_DAYS))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Certificate(leaf, (), key, tuple(dict.fromkeys(dns)), "self-signed")


def read_file(path: str) -> bytes:
    """
    The contents of a file that an operator named.

    @raise ConfigurationError: it is not there, or may not be read; with the path and the reason.
    """
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError as exc:
        raise ConfigurationError(f"{path}: there is no such file") from exc
    except PermissionError as exc:
        raise ConfigurationError(f"{path}: we have no permission to read it") from exc
    except OSError as exc:
        raise ConfigurationError(f"{path}: it cannot be read: {exc.strerror}") from exc


def printable(text: str) -> str:
    """C{text} as it may go into a message: what is in a certificate was written by anybody."""
    return text if text.isprintable() else ascii(text)


def _certificates(path: str, data: bytes) -> list[x509.Certificate]:
    if b"-----BEGIN " not in data:
        raise ConfigurationError(f"{path}: it is not PEM, which has lines like -----BEGIN CERTIFICATE-----")
    if b"-----BEGIN CERTIFICATE-----" not in data:
        raise ConfigurationError(f"{path}: there is no certificate in it")
    try:
        return x509.load_pem_x509_certificates(data)
    except UNREADABLE as exc:
        raise ConfigurationError(f"{path}: the certificate in it cannot be read: {exc}") from exc


def _key(path: str, data: bytes, passphrase: str | bytes | None) -> PrivateKey:
    match = _KEY.search(data)
    if match is None:
        raise ConfigurationError(f"{path}: there is no private key in it")
    block = match.group()
    encrypted = match[1] == b"ENCRYPTED PRIVATE KEY" or b"Proc-Type: 4,ENCRYPTED" in block
    if encrypted and not passphrase:
        raise ConfigurationError(f"{path}: the private key is encrypted and there is no pass phrase for it")
    password = passphrase.encode() if isinstance(passphrase, str) else passphrase
    try:
        key = load_pem_private_key(block, password if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        if encrypted:
            # Not told apart: what comes out under a wrong pass phrase now and then looks like a damaged key.
            reason = "the pass phrase is wrong, or the private key is damaged"
        else:
            reason = f"the private key cannot be read: {exc}"
        raise ConfigurationError(f"{path}: {reason}") from exc
    if not isinstance(key, PrivateKey):
        raise ConfigurationError(f"{path}: a private key of this kind cannot be used for TLS")
    return key


def _fits(key: PrivateKey, certificate: x509.Certificate) -> bool:
    try:
        public = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        # A kind of key that the library does not know; ours it knew.
        return False
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(*form) == public.public_bytes(*form)


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    """The alternative names, and the common name in front if it is a host name."""
    try:
        alternatives = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        texts = []
    else:
        texts = alternatives.get_values_for_type(x509.DNSName)
    for attribute in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME):
        text = str(attribute.value)
        # "Bob" has the form of a host name and is none; we take it for one only if nothing else names the certificate.
        if "." in text or not texts:
            texts = [text, *texts]
    return tuple(dict.fromkeys(name for name in map(dns_name, texts) if name is not None))
