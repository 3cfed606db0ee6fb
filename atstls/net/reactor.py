# -*- test-case-name: tests.test_reactor -*-
"""
L{NetReactor}: Twisted's epoll reactor, with connections in its own set of descriptors.  Linux only.

With any other reactor that has epoll, connections are in a set of their own, which the reactor watches.  To hear of a
byte is two calls of the system then, and the many steps by which Twisted comes to call whoever watches.  Here it is
one call, and who has news is marked at once.  Everything else is Twisted's, for all else that an application does.

C{twistd atstls} runs on it, unless it is told otherwise (C{--reactor}).  Another application gets it from
C{twistd --reactor=atstls}, or from L{install}.

Source: C{twisted.internet.epollreactor}; ATS C{NetHandler::waitForActivity}, which waits for all in one call as well.
"""

from time import monotonic
from typing import Any, Final

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import installReactor
from twisted.python import log
from zope.interface import implementer

from atstls.interfaces import INetReactor
from atstls.net.poll import WAKE_SECONDS, mark

EVENTS_A_POLL: Final = 512


@implementer(INetReactor)
class NetReactor(EPollReactor):
    """See L{INetReactor}."""

    def __init__(self) -> None:
        self.watched: dict[int, Any] = {}
        self.net_handlers: list[Any] = []
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's

    @property
    def epoll(self) -> Any:
        """See L{INetReactor}."""
        return self._poller

    def doPoll(self, timeout: float | None) -> None:  # noqa: N802
        """
        Wait for news, for C{timeout} seconds (C{None}: for ever), and deal with them.

        Connections first, and again those that have got news meanwhile, where there were several: so those who come in
        are let in together, and what is done for one of them is done for the next while its code is at hand.
        """
        wait = -1 if timeout is None else timeout
        until = 0.0
        while True:
            found = self._poller.poll(wait, EVENTS_A_POLL)
            others = mark(found, self.watched)
            for handler in tuple(self.net_handlers):
                if handler.read_ready or handler.write_ready:
                    handler.run()
            if len(found) - len(others) < 2 or len(found) == EVENTS_A_POLL:
                break  # (Of a full answer the next may leave out those others, each time.)
            now = monotonic()
            until = until or now + WAKE_SECONDS
            if now >= until:
                break
            wait = 0
        for fd, event in others:
            selectable = self._selectables.get(fd)
            if selectable is not None:  # else one before it was the end of it
                log.callWithLogger(selectable, self._doReadOrWrite, selectable, fd, event)

    doIteration = doPoll  # noqa: N815


def install() -> None:
    """
    Make one the reactor of this process.

    @raise ReactorAlreadyInstalledError: there is one.
    """
    installReactor(NetReactor())
