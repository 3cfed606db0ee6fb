# -*- test-case-name: tests.test_introduced -*-
"""
L{IntroducedSSLNetVConnection}: L{atstls.net.introduced} for a connection that goes on in TLS.

Source: behaviour 1.19 and 1.28, A093.
"""

from atstls.errors import PeerError
from atstls.ssl.sslvc import SSLNetVConnection


class IntroducedSSLNetVConnection(SSLNetVConnection):
    """A TLS connection to another host, who is told something before the handshake."""

    __slots__ = ()

    def _begin_as_client(self) -> None:
        assert self.options is not None
        first = self.options.first_bytes
        self.nh.wire.view[: len(first)] = first
        if not self._send_wire(len(first)) and self._unsent is None:
            self._fail(PeerError("the host left before it was told of the client"))
            return
        super()._begin_as_client()
