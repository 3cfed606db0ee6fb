# -*- test-case-name: tests.test_verify -*-
"""
Is this the peer that we meant?

A chain of signatures up to a root that we trust is OpenSSL's business, during the handshake.  That the certificate is
for the name we wanted to reach is checked here, when the handshake is done and before anybody is told of it.  What
either finding means is a matter of policy, and is one small table for both (L{judge}).

Source: behaviour 1.19; RFC 9525 (service identity) through C{service_identity}.
"""

from enum import Enum, Flag, auto
from ipaddress import ip_address
from typing import NamedTuple

from cryptography import x509
from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from service_identity.pyopenssl import verify_hostname, verify_ip_address

from atstls.errors import VerifyFailed
from atstls.tls.certificates import UNREADABLE, printable

MAX_NAMES_SHOWN = 5
"""A certificate may have thousands of names; a line of a log has no room for them."""


class VerifyPolicy(Enum):
    """What follows when the peer is not the one that we meant."""

    DISABLED = "disabled"
    """We do not look."""

    PERMISSIVE = "permissive"
    """We warn and go on."""

    ENFORCED = "enforced"
    """The connection fails."""


class VerifyProperties(Flag):
    """What we look at."""

    NONE = 0
    SIGNATURE = auto()
    """The certificate leads to a root that we trust, is within its dates and may be used for this."""

    NAME = auto()
    """The certificate is for the name, or the address, that we meant to reach."""

    ALL = SIGNATURE | NAME


class Verdict(NamedTuple):
    """
    What L{judge} found.

    @ivar accept: whether the connection may go on.
    @ivar warning: what was wrong, in words, also when it may not; C{None} for nothing.
    """

    accept: bool
    warning: str | None


def judge(
    policy: VerifyPolicy, properties: VerifyProperties, signature_error: str | None, name_error: str | None
) -> Verdict:
    """
    What the findings mean under C{policy}.

    @param properties: findings about others are left out.
    @param signature_error: what OpenSSL found, in words; C{None} for nothing.
    @param name_error: what L{check_peer} found, in words; C{None} for nothing.
    Source: behaviour 1.19, "policy x properties".
    """
    if policy is VerifyPolicy.DISABLED:
        return Verdict(True, None)
    wrong = []
    if signature_error is not None and VerifyProperties.SIGNATURE in properties:
        wrong.append(signature_error)
    if name_error is not None and VerifyProperties.NAME in properties:
        wrong.append(name_error)
    if not wrong:
        return Verdict(True, None)
    return Verdict(policy is VerifyPolicy.PERMISSIVE, "; ".join(wrong))


def check_peer(connection: SSL.Connection, name: str) -> None:
    """
    Fail unless the peer's certificate is for C{name}.  Says nothing of who signed it.

    @param connection: with its handshake done.
    @param name: the host name, or the IP address in its usual form, that we meant to reach.
    @raise VerifyFailed: with what we expected and what the certificate is for.
    """
    expected = name.removesuffix(".")
    try:
        certificate = connection.get_peer_certificate(as_cryptography=True)
        if certificate is None:
            raise VerifyFailed(f"expected a certificate for {name}, and the peer sent none")
        found = _names(certificate)
        if _is_address(expected):
            verify_ip_address(connection, expected)
        else:
            verify_hostname(connection, expected)
    except VerificationError as exc:
        raise VerifyFailed(f"expected a certificate for {name}, and this one is for {found}") from exc
    except CertificateError as exc:
        # It has no names, or one among them that is not allowed; then the others do not count either.
        why = printable(str(exc))
        raise VerifyFailed(f"expected a certificate for {name}, and this one is for {found}: {why}") from exc
    except UNREADABLE as exc:
        # Our name is not a host name, or the certificate breaks the rules of X.509.
        raise VerifyFailed(f"the certificate cannot be compared with {name!r}: {printable(str(exc))}") from exc


def verify_words(code: int) -> str:
    """
    What an error of OpenSSL's certificate verification means.

    @param code: a number of L{SSL.X509VerificationCodes}, as a verify callback gets it.
    """
    return _WORDS.get(code) or f"the certificate cannot be verified (X.509 error {code})"


_Codes = SSL.X509VerificationCodes

_WORDS: dict[int, str] = {
    _Codes.OK: "the certificate is good",
    _Codes.ERR_UNABLE_TO_GET_ISSUER_CERT: "the issuer of a certificate in the chain is not known",
    _Codes.ERR_UNABLE_TO_DECRYPT_CERT_SIGNATURE: "the signature of the certificate cannot be read",
    _Codes.ERR_UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY: "the public key of the issuer cannot be read",
    _Codes.ERR_CERT_SIGNATURE_FAILURE: "the signature of the certificate is wrong",
    _Codes.ERR_CERT_NOT_YET_VALID: "the certificate is not valid yet",
    _Codes.ERR_CERT_HAS_EXPIRED: "the certificate has expired",
    _Codes.ERR_ERROR_IN_CERT_NOT_BEFORE_FIELD: "the date from which the certificate is valid cannot be read",
    _Codes.ERR_ERROR_IN_CERT_NOT_AFTER_FIELD: "the date until which the certificate is valid cannot be read",
    _Codes.ERR_DEPTH_ZERO_SELF_SIGNED_CERT: "the certificate is self-signed and not one that we trust",
    _Codes.ERR_SELF_SIGNED_CERT_IN_CHAIN: "the chain leads to a root that we do not trust",
    _Codes.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "the issuer of the certificate is not one that we trust",
    _Codes.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE: "the peer sent no chain to an issuer that we trust",
    _Codes.ERR_CERT_CHAIN_TOO_LONG: "the chain of certificates is longer than we allow",
    _Codes.ERR_CERT_REVOKED: "the certificate was revoked",
    _Codes.ERR_INVALID_CA: "a certificate in the chain may not issue others",
    _Codes.ERR_PATH_LENGTH_EXCEEDED: "the chain of certificates is longer than its issuer allows",
    _Codes.ERR_INVALID_PURPOSE: "the certificate is not meant for this purpose",
    _Codes.ERR_CERT_UNTRUSTED: "the root is not trusted for this purpose",
    _Codes.ERR_CERT_REJECTED: "the root is marked as one to be rejected",
    _Codes.ERR_UNHANDLED_CRITICAL_EXTENSION: "the certificate demands something that we do not know",
}


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _names(certificate: x509.Certificate) -> str:
    """The names of a certificate as they may stand in a message: not too many, and nothing that harms a terminal."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        # A common name alone has not counted as an identity for years (RFC 9525, section 2).
        return "no name at all"
    texts = [name.value if isinstance(name, x509.DNSName) else str(name.value) for name in names]
    shown = [printable(text) for text in texts[:MAX_NAMES_SHOWN]]
    if len(texts) > MAX_NAMES_SHOWN:
        shown.append(f"{len(texts) - MAX_NAMES_SHOWN} more")
    return ", ".join(shown)
