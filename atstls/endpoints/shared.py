# -*- test-case-name: tests.test_endpoints -*-
"""
L{SharedHandler}: what moves the bytes of all endpoints of a reactor.

It works for as long as there is a port, an attempt or a connection, and then leaves nothing behind in the reactor: a
test that has closed what it opened finds it clean.
"""

import errno
from typing import Any, Final

from twisted.internet.interfaces import IReactorCore
from twisted.logger import Logger

from atstls.errors import AtsTlsError
from atstls.net.cop import InactivityCop
from atstls.net.handler import NetHandler
from atstls.net.poll import PollDescriptor, ReactorPollDescriptor, make_poll_descriptor
from atstls.net.throttle import Throttle
from atstls.session.protocol import NetVCTransport


class SharedHandler:
    """
    What moves the bytes of all endpoints of one reactor: a handler, a poll descriptor and a cop.

    @ivar handler: lives as long as the reactor; is watched by a poll descriptor and a cop while it is in use.
    @ivar throttle: how many connections there may be: as many as the process may have descriptors, but for some.
    @ivar ports: those that are open.
    """

    _log = Logger()

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.handler = NetHandler(reactor)
        self.throttle = Throttle(-1)
        self.ports: set[Any] = set()
        self._uses = 0
        self._poll: PollDescriptor | None = None
        self._cop: InactivityCop | None = None
        self._trigger: Any = None

    @property
    def in_use(self) -> bool:
        """Does anybody hold it?"""
        return self._uses > 0

    def hold(self) -> None:
        """Somebody needs it, and will call L{release}: a port, an attempt to connect, a connection."""
        if self._poll is None:
            self._start()
        self._uses += 1

    def _start(self) -> None:
        poll = self._poll = make_poll_descriptor(self.reactor, self.handler)
        self.handler.set_poll(poll, tell_rest=isinstance(poll, ReactorPollDescriptor))
        self._cop = InactivityCop(self.handler, self.reactor)
        self._cop.startService()
        if IReactorCore.providedBy(self.reactor):
            self._trigger = self.reactor.addSystemEventTrigger("during", "shutdown", self._end_all)

    def release(self) -> None:
        """Somebody needs it no longer.  After the last one the reactor has nothing of ours."""
        self._uses -= 1
        if not self._uses:
            self._stop()

    def _stop(self) -> None:
        cop, self._cop = self._cop, None
        poll, self._poll = self._poll, None
        trigger, self._trigger = self._trigger, None
        if cop is None or poll is None:
            return
        cop.stopService()
        poll.close()
        self.handler.stop()
        if trigger is not None:
            self.reactor.removeSystemEventTrigger(trigger)

    def _end_all(self) -> None:
        """The reactor stops: as Twisted does it, ports are closed, and protocols that have a connection lose it."""
        self._trigger = None
        for port in list(self.ports):
            try:
                port.connectionLost()
            except Exception:
                self._log.failure("a port could not be closed: {port}", port=port)
        for vc in list(self.handler.open_list):
            try:
                cont = vc.read.cont or vc.write.cont
                if isinstance(cont, NetVCTransport):
                    cont.reactor_stops()
                elif not vc.closed:
                    state = vc.read if vc.read.cont is not None else vc.write
                    vc.signal_error(state, errno.ECONNABORTED, AtsTlsError("the reactor stops"))
            except Exception:
                self._log.failure("a connection could not be ended: {vc}", vc=vc)
            self.handler.end(vc)
        self._stop()  # whatever an attempt that resolves a name still holds


_SHARED: Final = "_atstls_shared_handler"


def handler_for(reactor: Any) -> SharedHandler:
    """The one L{SharedHandler} of C{reactor}, made when it is first asked for.  It goes when the reactor goes."""
    shared: SharedHandler | None = getattr(reactor, _SHARED, None)
    if shared is None:
        shared = SharedHandler(reactor)
        # A weak dictionary would keep the reactor: its value refers to its key.
        setattr(reactor, _SHARED, shared)
    return shared
