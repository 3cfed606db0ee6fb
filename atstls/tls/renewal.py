# -*- test-case-name: tests.test_renewal -*-
"""
L{RenewedFront}: the keys of tickets do not last for ever.

Whoever gets hold of the key by which tickets are sealed can read what was said over TLS 1.2 by all clients that had a
ticket of it, however secret the exchange of keys was; "the keys MUST be changed regularly" (RFC 9325, section 3.4).
OpenSSL makes a key when it makes a context, and pyOpenSSL has no call to make another one.  So now and then there is
another front context in the place of the first; the connections that began with the old one keep it.

There is no time in which both keys are good, since a context reads none but its own.  Clients that come back after the
change shake hands in full, once.
"""

from collections.abc import Callable
from typing import Final

from OpenSSL import SSL

from atstls.errors import ConfigurationError
from atstls.statistics import counters

KEY_SECONDS: Final = 86400.0
"""How long a key lasts, unless somebody says otherwise: most sessions are over after two hours (Caddy: 12 hours)."""


class RenewedFront:
    """The front context of one policy, at any time."""

    __slots__ = ("_failed", "_front", "_make", "_seconds", "_until")

    def __init__(
        self,
        front: SSL.Context,
        make: Callable[[], SSL.Context],
        seconds: float,
        failed: Callable[[str], None],
    ) -> None:
        """
        @param front: the first one.
        @param make: gives another one; may raise L{ConfigurationError}, when a file cannot be read any more.
        @param seconds: how long each one is used, from its first use on.
        @param failed: told, in words, why there is no other one; the one from before goes on.
        """
        self._front = front
        self._make = make
        self._seconds = seconds
        self._failed = failed
        self._until: float | None = None

    def at(self, now: float) -> SSL.Context:
        """
        The one for a connection that begins now.

        @param now: by a clock that only goes forward.
        """
        if self._until is None:
            self._until = now + self._seconds
        elif now >= self._until:
            self._until = now + self._seconds
            try:
                self._front = self._make()
            except ConfigurationError as exc:
                self._failed(str(exc))
            else:
                counters.total_ticket_keys_renewed += 1
        return self._front
