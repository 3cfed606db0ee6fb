# -*- test-case-name: tests.test_statistics_tls -*-
"""
What a TLS connection tells the statistics: how its handshake went, and why it broke.

A handshake that was begun ends in one of these ways, each of which is counted: it succeeds, it fails, its peer takes
too long, it is passed on without us (a blind tunnel, clear text), or it is abandoned, closed from this side.  So of
those that were attempted, what is not in one of the five counts is going on.

Why a peer's handshake failed is told by Traffic Server's names for it, of which each failure has one.  They are
OpenSSL's reasons: an alert that the peer sent (C{bad_cert}: it did not like our certificate), or what OpenSSL found
wrong itself.  Reasons without a name, and our own, are C{other_errors}.

Source: behaviour 1.34, S114; ATS C{SSLUtils.cc}, C{increment_ssl_client_error}, C{increment_ssl_server_error}.
"""

from typing import Final

from atstls.errors import AtsTlsError, HandshakeTimeout, PeerVanished, VerifyFailed
from atstls.statistics import HandshakeKind, counters
from atstls.tls.clienthello import ClientHello
from atstls.tls.engine import Engine

_TLS1_3: Final = 0x0304

_BOTH: Final = {
    "alert bad certificate": "bad_cert",
    "alert certificate expired": "expired_cert",
    "alert certificate revoked": "revoked_cert",
    "alert certificate unknown": "unknown_cert",
    "alert unknown ca": "unknown_ca",
    "alert decryption failed": "decryption_failed",
    "certificate verify failed": "cert_verify_failed",
    "wrong version number": "wrong_version",
    # Traffic Server has these two among the others: no version in common is what it comes to.
    "unsupported protocol": "wrong_version",
    "alert protocol version": "wrong_version",
}

_CLIENTS: Final = {
    "decryption failed or bad record mac": "decryption_failed_or_bad_record_mac",
    # What OpenSSL 4 says first, over TLS 1.2, where it goes on to say the other.
    "cipher operation failed": "decryption_failed_or_bad_record_mac",
    "http request": "http_request",
    "inappropriate fallback": "inappropriate_fallback",
    "no shared cipher": "no_shared_cipher",
    "version too low": "version_too_low",
}
"""OpenSSL's words for a reason, and the end of the name; the second: of clients only."""

_OTHER: Final = "other_errors"


def tally_success(tls: Engine, outbound: bool, seconds: float, hello: ClientHello | None) -> None:
    """
    A handshake is done.

    @param seconds: since it began.
    @param hello: what the client said first.
    """
    agreed = tls.agreed()
    counters.handshake_done(HandshakeKind(outbound, *agreed), seconds)
    if not tls.tells_reuse:
        return
    reused = tls.session_reused
    if outbound:
        if reused:
            counters.origin_session_reused += 1
    elif hello is not None:
        brings_ticket = hello.has_psk if agreed[0] == "TLSv1.3" else hello.has_session_ticket
        if reused:
            counters.user_agent_session_hit += 1
            if brings_ticket:
                counters.total_tickets_verified += 1
        elif brings_ticket:
            counters.user_agent_session_miss += 1
            counters.total_tickets_not_found += 1
        elif _TLS1_3 not in hello.supported_versions and hello.session_id:
            # Who offers TLS 1.3 fills the session id in any case, with what means nothing (RFC 8446, appendix D.4).
            counters.user_agent_session_miss += 1


def tally_failure(error: AtsTlsError, outbound: bool) -> None:
    """A handshake has ended with C{error}."""
    if isinstance(error, HandshakeTimeout):
        if outbound:
            counters.total_timed_out_handshake_count_out += 1
        else:
            counters.total_timed_out_handshake_count_in += 1
        return
    if outbound:
        counters.total_failed_handshake_count_out += 1
    else:
        counters.total_failed_handshake_count_in += 1
    if isinstance(error, PeerVanished):
        counters.ssl_error_syscall += 1
    else:
        tally_reason("certificate verify failed" if isinstance(error, VerifyFailed) else str(error), outbound)


def tally_reason(reason: str, outbound: bool) -> None:
    """The TLS stream is broken, for C{reason}, in OpenSSL's words or in ours."""
    # In front of "alert" stands where it was defined, for which OpenSSL changes its words: sslv3, ssl/tls, tls, tlsv1.
    _, found, alert = reason.partition(" alert ")
    if found:
        reason = f"alert {alert}"
    word = _BOTH.get(reason)
    if outbound:
        name = f"origin_server_{word or _OTHER}"
    else:
        name = f"user_agent_{word or _CLIENTS.get(reason, _OTHER)}"
    setattr(counters, name, getattr(counters, name) + 1)


def tally_abandoned(outbound: bool) -> None:
    """A connection was closed from this side while its handshake went on."""
    if outbound:
        counters.total_abandoned_handshake_count_out += 1
    else:
        counters.total_abandoned_handshake_count_in += 1
