# -*- test-case-name: tests.test_recordsize -*-
"""
How many plaintext bytes the next TLS record may carry.

A peer can use nothing of a record before it has all of it.  Large records cost least; small ones, each of which fits
one TCP segment, let a browser begin to work while the connection's congestion window is still small, or has become
small again after a pause.  So there are three ways, by the setting C{max_record_size}:

  - 0: no clamp.  The library cuts at 16384 bytes, the most that TLS permits.
  - 1 to 16383: this many bytes.
  - -1: small records first, large ones after a while, and small ones again after a pause.

Only the last has something to remember.  L{record_sizer} therefore gives no object for 0, one object shared by all
connections for a fixed size, and one object per connection for -1.

Source: seed, load_buffer_and_write, "dynamic TLS record size"; behaviour 1.23, O5.
"""

from functools import cache

from atstls.errors import ConfigurationError

LIBRARY_RECORD_BYTES = 16384
"""The most plaintext that one TLS record carries (RFC 8446, section 5.1: 2^14)."""

DEFAULT_RECORD_BYTES = 1300
"""A record that, with its header, tag and the headers of TCP and IP, fits one segment of 1500 bytes (seed,
SSL_DEF_TLS_RECORD_SIZE)."""

MAX_RECORD_BYTES = 16383
"""The large record of the dynamic way (seed, SSL_MAX_TLS_RECORD_SIZE)."""

RECORD_BYTE_THRESHOLD = 1_000_000
"""Plaintext bytes sent before records become large (seed, SSL_DEF_TLS_RECORD_BYTE_THRESHOLD)."""

IDLE_SECONDS = 1.0
"""A pause longer than this makes records small again (seed, SSL_DEF_TLS_RECORD_MSEC_THRESHOLD)."""

DYNAMIC = -1
NO_CLAMP = 0


class RecordSizer:
    """
    Records of one fixed size.  It remembers nothing, so that all connections share one.

    @ivar default_records: small records made the dynamic way; always 0 here.
    @ivar max_records: large records made the dynamic way; always 0 here.
    """

    __slots__ = ("_limit_bytes",)

    default_records: int = 0
    max_records: int = 0

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes

    def limit(self, now: float) -> int:
        """
        Ask before each record: the answer may differ from one to the next.

        @param now: seconds, monotonic.
        @return: the most plaintext bytes that the next record may carry.
        """
        return self._limit_bytes

    def wrote(self, nbytes: int, now: float) -> None:
        """
        Tell after each record that the engine took; never for one that it refused.

        @param nbytes: plaintext bytes in it.
        @param now: seconds, monotonic.
        """


class DynamicRecordSizer(RecordSizer):
    """
    Small records until L{RECORD_BYTE_THRESHOLD} bytes were sent, then large ones; small again after L{IDLE_SECONDS}.

    The seed chose the size once for a whole call, counted bytes that were only attempted and counted retries as
    records.  Here each record is judged by what was sent before it (O5).

    @ivar default_records: small records made so far.
    @ivar max_records: large records made so far.
    """

    __slots__ = ("_last_write", "_sent_bytes", "default_records", "max_records")

    def __init__(self) -> None:
        super().__init__(DEFAULT_RECORD_BYTES)
        self.default_records = 0
        self.max_records = 0
        self._sent_bytes = 0
        self._last_write = 0.0

    def limit(self, now: float) -> int:
        if now - self._last_write > IDLE_SECONDS:
            self._sent_bytes = 0
        return DEFAULT_RECORD_BYTES if self._sent_bytes < RECORD_BYTE_THRESHOLD else MAX_RECORD_BYTES

    def wrote(self, nbytes: int, now: float) -> None:
        # By what was allowed, not by what was used: the last few bytes of a large reply are a large record cut short.
        if self._sent_bytes < RECORD_BYTE_THRESHOLD:
            self.default_records += 1
        else:
            self.max_records += 1
        self._sent_bytes += nbytes
        self._last_write = now


_fixed = cache(RecordSizer)


def record_sizer(max_record_size: int) -> RecordSizer | None:
    """
    What a connection asks before each record.

    @param max_record_size: L{DYNAMIC} (-1), L{NO_CLAMP} (0), or 1 to 16383 bytes.
    @return: C{None} for L{NO_CLAMP}: hand the library all there is.  A fixed size gives the same object to everybody.
    @raise ConfigurationError: another number.
    """
    if max_record_size == DYNAMIC:
        return DynamicRecordSizer()
    if max_record_size == NO_CLAMP:
        return None
    if not 0 < max_record_size <= MAX_RECORD_BYTES:
        raise ConfigurationError(
            f"max_record_size {max_record_size}: allowed are -1 (dynamic), 0 (no clamp) and 1 to {MAX_RECORD_BYTES}"
        )
    return _fixed(max_record_size)
