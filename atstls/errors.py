"""
What can go wrong, and whose fault it is.

Across the border to a continuation errors travel as events: C{VC_EVENT_ERROR} with C{vc.lerrno} (a number) and
C{vc.error} (one of these, or C{None}) set first.  Within a floor they are raised.
"""

import errno
import os

from atstls.events import (
    ENET_CONNECT_FAILED,
    ENET_CONNECT_TIMEOUT,
    ENET_SSL_CONNECT_FAILED,
    ENET_SSL_FAILED,
    ENET_THROTTLING,
)

_WORDS = {
    ENET_THROTTLING: "too many connections",
    ENET_CONNECT_TIMEOUT: "no answer in time",
    ENET_CONNECT_FAILED: "connect failed",
    ENET_SSL_CONNECT_FAILED: "the TLS handshake with the origin failed",
    ENET_SSL_FAILED: "TLS failed",
}


def lerrno_words(lerrno: int) -> str:
    """What C{lerrno}, an errno or one of the ENET numbers, means in words."""
    return _WORDS.get(lerrno) or os.strerror(lerrno)


class AtsTlsError(Exception):
    """The root of all errors of this package."""


class LocalError(AtsTlsError):
    """The caller broke a rule of this API.  Never caused by what a peer sent."""


class ConnectionClosedError(LocalError):
    """The connection was closed before the call."""


class ConfigurationError(AtsTlsError):
    """What an operator wrote cannot be used; C{str()} says what is wrong and what is allowed."""


class PeerError(AtsTlsError):
    """
    The peer did something that ends the connection.

    @ivar lerrno: the number that C{vc.lerrno} gets.
    @ivar alert: the TLS alert description that was or is to be sent, or C{None} for none.
    """

    lerrno = ENET_SSL_FAILED

    def __init__(self, reason: str, alert: int | None = None) -> None:
        super().__init__(reason)
        self.alert = alert


class HandshakeFailed(PeerError):
    """The TLS handshake came to nothing; C{str()} is the reason in words."""


class BadClientHello(HandshakeFailed):
    """The first message of a client cannot be read as a ClientHello, or is too large."""


class VerifyFailed(HandshakeFailed):
    """The peer's certificate is not one that we trust, or is not of the peer that we meant."""


class PeerVanished(PeerError):
    """The peer's end of the connection is gone: a reset, or its end in the middle of something."""

    lerrno = errno.ECONNRESET


class TimedOut(PeerError):
    """A state lasted longer than its deadline."""

    lerrno = errno.ETIMEDOUT


class HandshakeTimeout(TimedOut):
    """The TLS handshake was not done in time."""


class OpenFailed(AtsTlsError):
    """
    A connection that was asked for could not be made.

    @ivar lerrno: an errno, or one of the ENET numbers of L{atstls.events}.
    """

    def __init__(self, lerrno: int, reason: str = "") -> None:
        super().__init__(reason or lerrno_words(lerrno))
        self.lerrno = lerrno


class NameNotFound(OpenFailed):
    """The name of the host that was to be connected to has no address."""
