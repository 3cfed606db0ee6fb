# -*- test-case-name: tests.test_sessions -*-
"""
L{OriginSessions}: sessions with origins, kept so that the next connection need not shake hands in full.

When is there a session to keep?  Over TLS 1.2 when the handshake is done.  Over TLS 1.3 at any time after it: tickets
come with what the origin sends, and pyOpenSSL tells nobody of them.  To look for them at each read would cost every
connection, so nobody looks: the cache remembers the I{connection}, and asks it for its session when the next one is
about to be made.  What a connection has when it ends is kept as bytes.

What a session proves is that the origin, or somebody who shares its keys, once showed a certificate.  OpenSSL does not
verify that certificate again.  Therefore:

  - a session is found only under the very key under which it was earned: the context (roots, versions, protocols, our
    own certificate), what is verified and how strictly, whose name was asked for and whose was looked for, and the
    address.  Another context is another key, even when it is made from equal settings;
  - a connection counts when it was verified and nobody has objected, and not before;
  - how long it serves is counted from the handshake in which the certificate was shown, and not from the last ticket,
    of which there may be new ones for ever; and it ends with the certificate;
  - each connection is judged anew: OpenSSL keeps the result of its verification in the session, and the certificate,
    in which the name is looked for as always.

The bytes have the session's secret in them; nothing here prints them.  They are about a kilobyte, most of which is the
origin's certificate; OpenSSL's own object is many times as large.

Source: behaviour 1.29, 6.1, A063; ATS C{SSLOriginSessionCache}; RFC 8446, 4.6.1.
"""

from collections.abc import Hashable, Iterator
from typing import Any, Final
from weakref import ReferenceType, ref

from OpenSSL import SSL

from atstls.statistics import counters
from atstls.tls.engine import FAILED, Engine

SESSIONS: Final = 10240
"""How many are kept (ATS: origin_session_cache.size)."""

LIFETIME_SECONDS: Final = 7200.0
"""How long one serves, from the handshake in full on: as long as OpenSSL's servers let theirs."""

LARGEST_BYTES: Final = 16384
"""One that is larger, which only an enormous certificate makes it, is not kept."""

_TLS13: Final = b"\x03\x04"
_LIFETIME_HINT: Final = 0xA9
"""The tag [9]."""


def offer_seconds(session: Any) -> float | None:
    """
    How long a session may be offered from when it came.

    @param session: what L{Engine.session_of} gave.
    @return: what the server has said; C{inf} when it did not say; C{None}: it cannot be resumed, as it has neither
        ticket nor session id, or is to be thrown away at once (RFC 8446, 4.6.1).
    """
    if not isinstance(session, bytes):
        return float("inf")  # pyOpenSSL's object has nothing that could be asked.
    # SSL_SESSION_ASN1: version, ssl_version, cipher, session_id, master_key, then what has a tag.  A ticket has a
    # session id too, which OpenSSL makes up.
    parts = [part for _, content in _elements(session) for part in _elements(content)]
    if len(parts) < 4 or not parts[3][1]:
        return None
    for tag, content in parts:
        if tag == _LIFETIME_HINT:
            return float(int.from_bytes(next(_elements(content))[1], "big"))
    return None if parts[1][1] == _TLS13 else float("inf")


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """The tag and the content of each element of C{der}, which OpenSSL has written."""
    at = 0
    while at < len(der):
        tag, length = der[at], der[at + 1]
        at += 2
        if length & 0x80:
            begin, at = at, at + (length & 0x7F)
            length = int.from_bytes(der[begin:at], "big")
        yield tag, der[at : at + length]
        at += length


class _Entry:
    """
    What is known of one key.

    @ivar began: when the connection was opened.
    @ivar until: when it serves no longer, whatever the ticket says.
    @ivar session: what was kept, or C{None}.
    @ivar live: the connection that may know better.
    """

    __slots__ = ("began", "live", "session", "until")

    def __init__(self, began: float, until: float) -> None:
        self.began = began
        self.until = until
        self.session: Any = None
        self.live: tuple[ReferenceType[SSL.Connection], type[Engine]] | None = None

    def take(self) -> None:
        """Ask the connection."""
        if self.live is not None:
            connection = self.live[0]()
            if connection is not None:
                self.keep(self.live[1].session_of(connection))

    def keep(self, session: Any) -> None:
        seconds = offer_seconds(session) if session is not None and _small(session) else None
        if seconds is None:
            self.session = None
            return
        self.session = session
        self.until = min(self.until, self.began + seconds)


def _small(session: Any) -> bool:
    return not isinstance(session, bytes) or len(session) <= LARGEST_BYTES


class OriginSessions:
    """
    The sessions of one plan, or of one settings object.

    @ivar hits: how often there was one to offer.
    @ivar misses: how often there was none.
    @ivar timeouts: how many of the misses were sessions whose time was up.
    @ivar reused: how often an origin has resumed what was offered.
    """

    __slots__ = ("_entries", "_seconds", "_size", "hits", "misses", "reused", "timeouts")

    def __init__(self, size: int = SESSIONS, seconds: float = LIFETIME_SECONDS) -> None:
        """
        @param size: how many are kept at the most; the oldest goes first.
        @param seconds: how long one serves after the handshake in full.
        """
        self._entries: dict[Hashable, _Entry] = {}
        self._size = size
        self._seconds = seconds
        self.hits = self.misses = self.timeouts = self.reused = 0

    def __len__(self) -> int:
        return len(self._entries)

    def offer(self, key: Hashable, engine: Engine, now: float) -> "OriginSession":
        """
        Offer what there is for C{key} in the handshake of C{engine}, which has not begun.

        @param key: all that the connection is held to, and with whom it is made.
        @param now: by a clock that only goes forward.
        @return: to be told how it went on.
        """
        until = None
        entry = self._entries.get(key)
        if entry is not None:
            entry.take()
            if now >= entry.until:
                del self._entries[key]
                self.timeouts += 1
                counters.ssl_origin_session_cache_timeout += 1
            elif entry.session is not None and engine.offer(entry.session):
                until = entry.until
        if until is None:
            self.misses += 1
            counters.ssl_origin_session_cache_miss += 1
        else:
            self.hits += 1
            counters.ssl_origin_session_cache_hit += 1
        return OriginSession(self, key, until)

    def _opened(self, key: Hashable, engine: Engine, now: float, until: float) -> None:
        entries = self._entries
        entries.pop(key, None)
        entry = entries[key] = _Entry(now, until)
        entry.live = ref(engine.connection), type(engine)
        while len(entries) > self._size:
            del entries[next(iter(entries))]

    def _ended(self, key: Hashable, engine: Engine) -> None:
        entry = self._entries.get(key)
        if entry is None or entry.live is None or entry.live[0]() is not engine.connection:
            return  # A younger connection has taken its place.
        if engine.condition != FAILED:
            entry.take()
            entry.live = None
            if entry.session is not None:
                return
        del self._entries[key]

    def _failed(self, key: Hashable) -> None:
        self._entries.pop(key, None)


class OriginSession:
    """One connection's part in it."""

    __slots__ = ("_key", "_sessions", "_until")

    def __init__(self, sessions: OriginSessions, key: Hashable, until: float | None) -> None:
        """
        @param until: how long what was offered serves; C{None}: nothing was.
        """
        self._sessions = sessions
        self._key = key
        self._until = until

    def opened(self, engine: Engine, now: float, certificate_seconds: float) -> None:
        """
        The handshake is done, and the origin is accepted.

        @param certificate_seconds: how long its certificate is still good.
        """
        sessions = self._sessions
        until = now + min(sessions._seconds, certificate_seconds)
        if self._until is not None and (engine.session_reused or not engine.tells_reuse):
            # Who cannot tell takes it for resumed: so nothing is prolonged.
            until = min(until, self._until)
            sessions.reused += engine.tells_reuse
        sessions._opened(self._key, engine, now, until)

    def failed(self) -> None:
        """The handshake came to nothing: what was offered may be why, and is not offered again."""
        self._sessions._failed(self._key)

    def ended(self, engine: Engine) -> None:
        """The connection is about to be freed."""
        self._sessions._ended(self._key, engine)
