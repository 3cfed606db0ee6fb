# -*- test-case-name: tests.test_recordtail -*-
"""
How much of the record that has begun is still to come.

A record is of no use before all of it is there, and a network brings it in a dozen packets.  Who knows where it ends
can let the kernel wait for that, and is woken once.

Source: RFC 8446, 5.1.
"""

from typing import Any, Final

HEADER_BYTES: Final = 5
"""Type, version, and how long the rest is, in two bytes (RFC 8446, 5.1)."""

MOST_BYTES: Final = (1 << 14) + 2048
"""The longest that the rest may be (RFC 5246, 6.2.3: TLS 1.2)."""

TYPES: Final = range(20, 25)
"""What records carry: the first byte (RFC 8446, appendix B.1)."""


class RecordTail:
    """The peer's stream of records, followed from a point between two of them."""

    __slots__ = ("_header", "_missing")

    _missing: int | None

    def __init__(self, known: bool = True) -> None:
        """
        @param known: False: nobody knows where in a record the stream is; it is not followed.
        """
        self._missing = 0 if known else None
        self._header = b""

    @classmethod
    def after(cls, stream: bytes) -> "RecordTail | None":
        """Of a stream that has begun with C{stream}; C{None}: it stands between two records."""
        size = len(stream)
        if not size or (size > HEADER_BYTES and size == HEADER_BYTES + (stream[3] << 8) + stream[4]):
            return None
        tail = cls()
        tail.follow(stream, size)
        return tail

    def follow(self, memory: Any, count: int) -> int:
        """
        The stream goes on by the first C{count} bytes of C{memory}.

        @param memory: is indexed and sliced as bytes are.
        @return: the bytes that its last record still lacks; 0: none, or that is not known.  It is not while the
            record's header is not whole, and never again where a header should be and is not.
        """
        at = self._missing
        if at is None:
            return 0
        begun = self._header
        header: Any = begun
        if begun:
            header = begun + memory[: min(HEADER_BYTES - len(begun), count)]
            if len(header) < HEADER_BYTES:
                self._header = header
                return 0
            at = (header[3] << 8) + header[4] + HEADER_BYTES - len(begun)
            self._header = b""
        begin = -1
        while at + HEADER_BYTES <= count:
            begin = at
            at += HEADER_BYTES + (memory[at + 3] << 8) + memory[at + 4]
        if at < count:
            self._header = bytes(memory[at:count])
            at = count
        missing = at - count
        self._missing = missing
        if missing:
            if begin >= 0:
                header = memory[begin : begin + HEADER_BYTES]
            if header and not (header[0] in TYPES and header[1] == 3 and missing <= MOST_BYTES):
                self._missing = None
                return 0
        return missing
