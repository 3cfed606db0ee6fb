# -*- test-case-name: tests.test_alerts -*-
"""
TLS alerts: their numbers, their names, and the one kind of alert that we write ourselves.

OpenSSL writes the alerts of a handshake that it takes part in.  A client that is refused before OpenSSL has seen its
hello gets L{alert_record} from us.  Source: RFC 8446 section 6 and its appendix B.2; behaviour 6.3.
"""

from typing import Final

from atstls.errors import LocalError

CLOSE_NOTIFY: Final = 0
UNEXPECTED_MESSAGE: Final = 10
BAD_RECORD_MAC: Final = 20
RECORD_OVERFLOW: Final = 22
HANDSHAKE_FAILURE: Final = 40
BAD_CERTIFICATE: Final = 42
UNSUPPORTED_CERTIFICATE: Final = 43
CERTIFICATE_REVOKED: Final = 44
CERTIFICATE_EXPIRED: Final = 45
CERTIFICATE_UNKNOWN: Final = 46
ILLEGAL_PARAMETER: Final = 47
UNKNOWN_CA: Final = 48
ACCESS_DENIED: Final = 49
"""The certificate, or the client, is fine, but it may not come in: the alert of access lists and of hooks."""
DECODE_ERROR: Final = 50
DECRYPT_ERROR: Final = 51
PROTOCOL_VERSION: Final = 70
INSUFFICIENT_SECURITY: Final = 71
INTERNAL_ERROR: Final = 80
INAPPROPRIATE_FALLBACK: Final = 86
USER_CANCELED: Final = 90
NO_RENEGOTIATION: Final = 100
"""RFC 5246 only; always a warning."""
MISSING_EXTENSION: Final = 109
UNSUPPORTED_EXTENSION: Final = 110
UNRECOGNIZED_NAME: Final = 112
BAD_CERTIFICATE_STATUS_RESPONSE: Final = 113
UNKNOWN_PSK_IDENTITY: Final = 115
CERTIFICATE_REQUIRED: Final = 116
NO_APPLICATION_PROTOCOL: Final = 120

_NAMES: Final = {value: name.lower() for name, value in list(globals().items()) if name.isupper()}

_ALERT: Final = 21
_WARNING, _FATAL = 1, 2


def alert_name(description: int) -> str:
    """What RFC 8446 calls C{description}, such as C{"handshake_failure"}; the number itself where it has no name."""
    return _NAMES.get(description, str(description))


def alert_record(description: int, *, fatal: bool = True) -> bytes:
    """
    A whole plaintext record with one alert, to be sent before a ServerHello and never after one.

    @param description: one of this module's numbers; any from 0 to 255 is taken.
    @param fatal: C{False} for the level "warning", as C{close_notify} and C{user_canceled} want it.
    @raise LocalError: C{description} does not fit into its byte.
    """
    if not 0 <= description <= 255:
        raise LocalError(f"an alert is a number from 0 to 255, not {description}")
    # 0x0301 is the record version that every client takes while nothing is agreed upon (RFC 8446 section 5.1 and
    # appendix D); OpenSSL writes the same.
    return bytes((_ALERT, 3, 1, 0, 2, _FATAL if fatal else _WARNING, description))
