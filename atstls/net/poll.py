# -*- test-case-name: tests.test_poll -*-
"""
Who asks the kernel: L{NetPollDescriptor} on our own reactor, L{EdgePollDescriptor} on others where there is epoll, and
L{ReactorPollDescriptor} on every reactor with descriptors.

A connection's direction is I{triggered} when trying again could get somewhere.  The kernel's word is one source of
that; losing the trigger is the connection's own affair.  So all that is asked of a poll descriptor is to set it
again:

  - Edge-triggered epoll does so by itself: every connection is registered once, for both directions, and the kernel
    speaks up when something changes.  Our own reactor waits for that set; for another one the set's descriptor is
    readable when it has something to say.  To ask both is two calls of the system, which several connections share; so
    one that alone has news again and again is watched for bytes by that reactor directly.
  - A reactor watches levels.  A direction is watched from the moment it loses its trigger (L{IPollDescriptor.rest}) to
    the moment it gets it back, so a connection whose user does not want bytes costs nothing.

Source: seed, "NetHandler"; behaviour 1.6; ATS C{P_UnixNet.h}.
"""

import select
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IReadDescriptor, IReadWriteDescriptor
from zope.interface import implementer

from atstls.eventsystem.vio import NetState
from atstls.interfaces import INetReactor, IPollDescriptor
from atstls.net.handler import NetHandler
from atstls.net.unixvc import PEER_ENDED, PEER_LOST, PEER_URGENT

EVENTS_A_POLL: Final = 42
"""As many as need no more than 512 bytes, which Python allocates fastest.  Where there is more, the set is asked again
at once."""

WAKE_SECONDS: Final = 0.01
"""
For how long the kernel is asked again for news of connections before all else has its turn: timers, and descriptors
that are not ours.  To go back to the reactor costs as much as to serve a request.
"""


TIMES_IN_A_ROW: Final = 8
"""So often has one connection been the only one with news before the reactor watches it itself."""

FD_SETSIZE: Final = 1024
"""Below that a descriptor can be watched by every reactor: not from here on by one with select(2)."""

# EPOLLPRI: a read ends short where TCP has urgent data, and more may stand behind.  (0 where there is no epoll.)
INTEREST: Final = sum(getattr(select, name, 0) for name in ("EPOLLIN", "EPOLLPRI", "EPOLLOUT", "EPOLLRDHUP", "EPOLLET"))

BUT_BYTES: Final = sum(getattr(select, name, 0) for name in ("EPOLLOUT", "EPOLLRDHUP", "EPOLLET"))
"""All of it but that there are bytes to read.  (EPOLLPRI would be looked for whenever there are.)"""


def mark(found: list[tuple[int, int]], watched: dict[int, Any]) -> list[tuple[int, int]]:
    """
    Mark what the kernel says of connections, and put those who can go on where their handlers find them.

    @param found: descriptors, and what is said of them in epoll's flags.
    @param watched: connections by descriptor.
    @return: what was found of others.
    """
    others = []
    for fd, events in found:
        vc = watched.get(fd)
        if vc is None:
            others.append((fd, events))
            continue
        if events & 0x201B:  # EPOLLIN, EPOLLPRI, EPOLLERR, EPOLLHUP, EPOLLRDHUP
            state = vc.read
            state.triggered = state.polled = True
            if events & 0x201A:
                # EPOLLERR; EPOLLPRI, urgent data; a FIN, or both directions ended
                vc.read_hup = PEER_LOST if events & 0x0008 else PEER_URGENT if events & 0x0002 else PEER_ENDED
            if not state.queued and (state.enabled or state.urgent):
                state.queued = True
                vc.nh.read_ready.append(vc)
        if events & 0x001C:  # EPOLLOUT, EPOLLERR, EPOLLHUP
            state = vc.write
            if not state.triggered:  # It mostly is: the kernel says so together with all else.
                state.triggered = state.polled = True
                if not state.queued and (state.enabled or state.urgent):
                    state.queued = True
                    vc.nh.write_ready.append(vc)
    return others


@implementer(IPollDescriptor)
class _EpollSet:
    """Connections in a set of epoll's, edge-triggered."""

    def __init__(self, reactor: Any, handler: NetHandler, epoll: Any, watched: dict[int, Any]) -> None:
        self.reactor = reactor
        self.handler = handler
        self.epoll = epoll
        self._watched = watched

    def start(self, vc: Any) -> None:
        """See L{IPollDescriptor.start}."""
        self.epoll.register(vc.fd, INTEREST)
        self._watched[vc.fd] = vc

    def stop(self, vc: Any) -> None:
        """See L{IPollDescriptor.stop}."""
        if self._watched.pop(vc.fd, None) is not None:
            self.epoll.unregister(vc.fd)

    def forget(self, vc: Any) -> None:
        """See L{IPollDescriptor.forget}: the kernel takes a closed descriptor out of the set by itself."""
        self._watched.pop(vc.fd, None)

    def rest(self, vc: Any, state: NetState) -> None:
        """See L{IPollDescriptor.rest}: nothing to do, and so L{NetHandler.rest} is not even called."""


class NetPollDescriptor(_EpollSet):
    """In the set that the reactor itself waits for (L{INetReactor}); it marks what it hears."""

    def __init__(self, reactor: Any, handler: NetHandler) -> None:
        super().__init__(reactor, handler, reactor.epoll, reactor.watched)
        reactor.net_handlers.append(handler)

    def close(self) -> None:
        """Watch nothing any more."""
        handlers = self.reactor.net_handlers
        if self.handler in handlers:
            handlers.remove(self.handler)
            for vc in list(self._watched.values()):
                if vc.nh is self.handler:
                    self.stop(vc)


@implementer(IReadDescriptor)
class EdgePollDescriptor(_EpollSet):
    """
    In a set of its own, itself watched by the reactor.

    @ivar fileno: gives the descriptor of the epoll set; -1 once that is closed.
    """

    fileno: Callable[[], int]

    def __init__(self, reactor: Any, handler: NetHandler) -> None:
        super().__init__(reactor, handler, select.epoll(), {})
        self.fileno = self.epoll.fileno  # asked for at each event
        self._last = -1
        self._times = 0
        self._direct: _DirectWatch | None = None
        reactor.addReader(self)

    def stop(self, vc: Any) -> None:
        """See L{IPollDescriptor.stop}."""
        self._let_go(vc)
        super().stop(vc)

    def forget(self, vc: Any) -> None:
        """See L{IPollDescriptor.forget}."""
        self._let_go(vc)
        super().forget(vc)

    # One connection, watched directly.

    def _alone(self, fd: int) -> None:
        """C{fd} was the only one with news, bytes, and has been served."""
        if fd != self._last:
            self._last = fd
            self._times = 0
        self._times += 1
        vc = self._watched.get(fd)
        if vc is None or vc.read.triggered or not vc.read.enabled or fd >= FD_SETSIZE:
            self._last = -1  # It is gone, leaves something unread, wants no more; or cannot be watched.
        elif self._times >= TIMES_IN_A_ROW:
            self._last = -1
            if self._direct is not None:
                self.take_back(self._direct.vc)
            self._direct = _DirectWatch(self, vc)
            self.reactor.addReader(self._direct)
            self.epoll.modify(fd, BUT_BYTES)

    def take_back(self, vc: Any) -> None:
        """If C{vc} is watched directly it is one of all again, and what the kernel has to say of it is said anew."""
        if self._let_go(vc):
            self.epoll.modify(vc.fd, INTEREST)

    def _let_go(self, vc: Any) -> bool:
        direct = self._direct
        if direct is None or direct.vc is not vc:
            return False
        self._direct = None
        self.reactor.removeReader(direct)
        return True

    # What the reactor calls.

    def logPrefix(self) -> str:  # noqa: N802
        """What the reactor's log calls us."""
        return "atstls"

    def doRead(self) -> None:  # noqa: N802
        """
        The kernel has something to say.

        It is asked again at once when there were several who had news: while they were served there will be others.
        """
        handler = self.handler
        until = 0.0
        while True:
            found = self.epoll.poll(0, EVENTS_A_POLL)
            mark(found, self._watched)
            handler.run()
            if len(found) < 2:
                if found and found[0][1] & 0x0001 and not self.epoll.closed:  # EPOLLIN
                    self._alone(found[0][0])
                return
            if self.epoll.closed:
                return
            now = handler.seconds()
            until = until or now + WAKE_SECONDS
            if now >= until:
                return

    def connectionLost(self, reason: Any) -> None:  # noqa: N802
        """The reactor stops, or L{close} was called."""
        self.close()

    def close(self) -> None:
        """Watch nothing any more."""
        if not self.epoll.closed:
            self.reactor.removeReader(self)
            if self._direct is not None:
                self._let_go(self._direct.vc)
            self.epoll.close()
            self.fileno = _no_descriptor
            self._watched.clear()


@implementer(IReadDescriptor)
class _DirectWatch:
    """
    A connection that had news again and again while no other had any, as the two sides of a conversation have.

    The reactor itself watches it for bytes, which takes one call of the system less.  It watches levels: the connection
    goes back into the set when it leaves something unread.
    """

    def __init__(self, poll: EdgePollDescriptor, vc: Any) -> None:
        self.poll = poll
        self.vc = vc
        self.fileno: Callable[[], int] = vc.socket.fileno

    def logPrefix(self) -> str:  # noqa: N802
        return "atstls"

    def doRead(self) -> None:  # noqa: N802
        vc = self.vc
        handler = self.poll.handler
        state = vc.read
        state.triggered = state.polled = True
        if not state.queued and (state.enabled or state.urgent):
            state.queued = True
            handler.read_ready.append(vc)
        handler.run()
        if state.triggered:
            self.poll.take_back(vc)

    def connectionLost(self, reason: Any) -> None:  # noqa: N802
        # A reactor says so when it saw the descriptor in error, which the set says too; or when it stops.
        self.poll.take_back(self.vc)


def _no_descriptor() -> int:
    """What a reactor is told by who has lost his."""
    return -1


@implementer(IReadWriteDescriptor)
class _Watch:
    """One connection as a reactor sees it."""

    def __init__(self, poll: "ReactorPollDescriptor", vc: Any) -> None:
        self.poll = poll
        self.vc = vc
        self.fd: int = vc.fd

    def fileno(self) -> int:
        return self.fd

    def logPrefix(self) -> str:  # noqa: N802
        return "atstls"

    def doRead(self) -> None:  # noqa: N802
        self.poll.reactor.removeReader(self)
        # The reactor cannot tell a last byte from the end behind it: being asked again is cheap here.
        self.poll.handler.mark_read(self.vc)
        self.poll.handler.run()

    def doWrite(self) -> None:  # noqa: N802
        self.poll.reactor.removeWriter(self)
        self.poll.handler.mark_write(self.vc)
        self.poll.handler.run()

    def connectionLost(self, reason: Any) -> None:  # noqa: N802
        # A reactor says so when it saw the descriptor in error, or when it stops.  Let both directions find out.
        self.poll.stop(self.vc)
        self.vc.read_hup = PEER_LOST
        self.poll.handler.mark_read(self.vc)
        self.poll.handler.mark_write(self.vc)
        self.poll.handler.run()


@implementer(IPollDescriptor)
class ReactorPollDescriptor:
    """The reactor's own set of descriptors, as if it were edge-triggered."""

    def __init__(self, reactor: Any, handler: NetHandler) -> None:
        self.reactor = reactor
        self.handler = handler
        self._watches: dict[int, _Watch] = {}

    def start(self, vc: Any) -> None:
        """See L{IPollDescriptor.start}."""
        watch = self._watches[vc.fd] = _Watch(self, vc)
        if not vc.read.triggered:
            self.reactor.addReader(watch)
        if not vc.write.triggered:
            self.reactor.addWriter(watch)

    def stop(self, vc: Any) -> None:
        """See L{IPollDescriptor.stop}."""
        watch = self._watches.pop(vc.fd, None)
        if watch is not None:
            self.reactor.removeReader(watch)
            self.reactor.removeWriter(watch)

    forget = stop

    def rest(self, vc: Any, state: NetState) -> None:
        """See L{IPollDescriptor.rest}."""
        watch = self._watches.get(vc.fd)
        if watch is None:
            return
        if state is vc.read:
            self.reactor.addReader(watch)
        else:
            self.reactor.addWriter(watch)

    def close(self) -> None:
        """Watch nothing any more."""
        for watch in list(self._watches.values()):
            self.stop(watch.vc)


PollDescriptor = NetPollDescriptor | EdgePollDescriptor | ReactorPollDescriptor


def make_poll_descriptor(reactor: Any, handler: NetHandler) -> PollDescriptor:
    """The best one for C{reactor} that this system has."""
    if INetReactor.providedBy(reactor):
        return NetPollDescriptor(reactor, handler)
    if hasattr(select, "epoll"):
        return EdgePollDescriptor(reactor, handler)
    return ReactorPollDescriptor(reactor, handler)
