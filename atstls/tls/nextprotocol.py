# -*- test-case-name: tests.test_nextprotocol_set -*-
"""
L{SSLNextProtocolSet}: which protocols may be spoken inside TLS, and who speaks each.

One set belongs to a listener and is read at each of its handshakes; applications add to it and take from it before and
while it is in use.  The set still makes the wire form that NPN advertised, which is also ALPN's, but no library that
we build on speaks NPN any more: with ALPN the client offers and L{SSLNextProtocolSet.select} chooses.

Source: seed, "SSLNextProtocolSet"; behaviour 1.25.
"""

from collections.abc import Collection

from zope.interface import implementer

from atstls.interfaces import INextProtocolSet

MAX_NAME_BYTES = 255
"""A protocol name is sent behind one byte of length (RFC 7301, section 3.1)."""


@implementer(INextProtocolSet)
class SSLNextProtocolSet:
    """
    Protocol names with the endpoint of each, best first.

    The protocol registered last is preferred most: the seed pushes new entries to the front, and people who registered
    the general protocol first and the special one later rely on it.

    @ivar names: the protocol names, the preferred one first.  Made anew at each change and never changed in place, so
        that a handshake may keep it.
    """

    __slots__ = ("_endpoints", "_wire", "names")

    def __init__(self) -> None:
        self.names: tuple[bytes, ...] = ()
        self._endpoints: dict[bytes, object] = {}
        self._wire = b""

    def register_endpoint(self, name: bytes, endpoint: object) -> bool:
        """
        Prefer C{name} to all that are here, and have C{endpoint} speak it.

        @param name: 1 to 255 bytes; compared byte by byte.
        @return: whether it was taken; C{False} when the name is empty, too long or already here.
        """
        if not 0 < len(name) <= MAX_NAME_BYTES or name in self._endpoints:
            return False
        self._endpoints[name] = endpoint
        self._rebuild((name, *self.names))
        return True

    def unregister_endpoint(self, name: bytes, endpoint: object) -> bool:
        """
        Speak C{name} no longer.  Connections that chose it before go on.

        @return: whether it was here, with this very C{endpoint}.
        """
        if name not in self._endpoints or self._endpoints[name] is not endpoint:
            return False
        del self._endpoints[name]
        # The seed forgot this step and went on advertising what nobody spoke.
        self._rebuild(tuple(kept for kept in self.names if kept != name))
        return True

    def advertise_protocols(self) -> bytes:
        """The names as they go over the wire, each behind its length in one byte; empty when there are none."""
        return self._wire

    def find_endpoint(self, name: bytes) -> object | None:
        """Who speaks C{name}, or C{None}."""
        return self._endpoints.get(name)

    def select(self, offered: Collection[bytes]) -> bytes | None:
        """
        Choose as a server does: our order counts, not the client's.

        @param offered: what the client can speak, as its ClientHello has it.
        @return: the first of our names that the client offers; C{None} when there is none, or when either side has no
            names at all.
        """
        for name in self.names:
            if name in offered:
                return name
        return None

    def _rebuild(self, names: tuple[bytes, ...]) -> None:
        self.names = names
        self._wire = b"".join(bytes((len(name),)) + name for name in names)
