# -*- test-case-name: tests.test_farewell -*-
"""
L{Farewell}: a few words for somebody who is not let in.

A peer whose connection is closed at once cannot tell a server that is full from one that is broken.  Where a text is
configured (L{Throttle.message<atstls.net.throttle.Throttle>}), some of those who are turned away get it: what they ask
is read, once, so that the close is not a reset that overtakes the text; then the text is sent and the socket is closed.
It is no connection of anybody's, and is bounded in every direction: how many at once (L{FAREWELLS_AT_ONCE}), for how
long (L{FAREWELL_SECONDS}), how much is read (L{FAREWELL_READ_BYTES}).  Whom that leaves out is closed at once.

Source: behaviour 1.12, N102; ATS C{UnixNetAccept.cc}, C{throttle_error_message}.
"""

import socket
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

FAREWELLS_AT_ONCE: Final = 4
FAREWELL_SECONDS: Final = 0.5
"""How long somebody may take to ask; after that the text comes unasked."""

FAREWELL_READ_BYTES: Final = 4096


@implementer(IReadDescriptor)
class Farewell:
    """One who is turned away with a text."""

    def __init__(self, reactor: Any, sock: socket.socket, text: bytes, gone: Callable[["Farewell"], None]) -> None:
        """
        @param sock: non-blocking; it is closed here.
        @param gone: told when that has happened.
        """
        self._reactor = reactor
        self._sock = sock
        self._text = text
        self._gone = gone
        self._late = reactor.callLater(FAREWELL_SECONDS, self._answer)
        reactor.addReader(self)

    def close(self) -> None:
        """Wait no longer, and say nothing."""
        if self._late.active():
            self._late.cancel()
        self._reactor.removeReader(self)
        self._sock.close()
        self._gone(self)

    def _answer(self) -> None:
        try:
            self._sock.send(self._text)
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # He has left already.
        self.close()

    # What the reactor calls.

    def fileno(self) -> int:
        """The descriptor of the socket."""
        return self._sock.fileno()

    def logPrefix(self) -> str:  # noqa: N802
        """What the reactor's log calls us."""
        return "atstls"

    def doRead(self) -> None:  # noqa: N802
        """Something came, or the end did."""
        try:
            self._sock.recv(FAREWELL_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            pass  # He has left, which sending will find out.
        self._answer()

    def connectionLost(self, reason: Any) -> None:  # noqa: N802
        """The descriptor is in error, or the reactor stops."""
        self.close()
