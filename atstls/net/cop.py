# -*- test-case-name: tests.test_cop -*-
"""
L{InactivityCop}: who is late?

Nothing keeps a timer for a connection.  Once a second (C{inactivity_check_frequency}) every open connection is looked
at; a connection keeps the time of its last byte and its periods, which cost nothing to keep.  So a timeout of one
second comes between one and two seconds after the last byte.

Source: seed, "InactivityCop"; behaviour 1.9 and O27 to O29; ATS C{UnixNet.cc}.
"""

from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from atstls.events import VC_EVENT_ACTIVE_TIMEOUT, VC_EVENT_INACTIVITY_TIMEOUT
from atstls.interfaces import IInactivityCop
from atstls.net.handler import NetHandler
from atstls.net.unixvc import PEER_LOST
from atstls.statistics import counters

LOST_SECONDS: Final = 30.0
"""How long a connection that the kernel says is broken may stand still.  What came before may still be read, once there
is room for it; who waits for a target that has no room would not hear of the end."""


@implementer(IInactivityCop)
class InactivityCop(Service):
    """
    Looks at all open connections of a handler, from time to time.

    @ivar default_inactivity_seconds: how long a connection that set no period of its own may be silent; 0: for ever.
    """

    _log = Logger()

    def __init__(
        self, handler: NetHandler, clock: Any, frequency_seconds: float = 1, default_inactivity_seconds: float = 86400
    ) -> None:
        """
        @param clock: for C{callLater}: the reactor or a L{twisted.internet.task.Clock}.
        """
        self.handler = handler
        self.default_inactivity_seconds = default_inactivity_seconds
        self._frequency_seconds = frequency_seconds
        self._loop = LoopingCall(self.patrol)
        self._loop.clock = clock

    def startService(self) -> None:  # noqa: N802
        """Begin to patrol."""
        super().startService()  # type: ignore[no-untyped-call]
        self._loop.start(self._frequency_seconds, now=False)

    def stopService(self) -> None:  # noqa: N802
        """Stop."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._loop.running:
            self._loop.stop()

    def change(self, frequency_seconds: float, default_inactivity_seconds: float) -> None:
        """Other times, from now on."""
        self.default_inactivity_seconds = default_inactivity_seconds
        if frequency_seconds != self._frequency_seconds:
            self._frequency_seconds = frequency_seconds
            if self._loop.running:
                self._loop.stop()
                self._loop.start(frequency_seconds, now=False)

    def patrol(self) -> None:
        """See L{IInactivityCop.patrol}."""
        handler = self.handler
        now = handler.now = handler.seconds()
        default = self.default_inactivity_seconds
        late = []
        for vc in handler.open_list:
            deadline = vc.deadline
            if deadline and now >= deadline:
                late.append(vc)
                continue
            period = vc.inactivity_timeout_in if vc.inactivity_running else 0
            if not period and default and (vc.read.enabled or vc.write.enabled):
                period = default
            if vc.read_hup == PEER_LOST and (not period or period > LOST_SECONDS):
                period = LOST_SECONDS
            if (period and now >= vc.last_activity + period) or (
                vc.next_activity_timeout_at and now >= vc.next_activity_timeout_at
            ):
                late.append(vc)
            elif vc.bulky and now >= vc.last_activity + 1:
                vc.compact()
        for vc in late:
            try:
                self._deal_with(vc, now)
            except Exception:
                handler._broken(vc)
        queues = handler.queues
        queues.manage_active()
        queues.manage_keep_alive()

    def _deal_with(self, vc: Any, now: float) -> None:
        # Whatever was told to one connection may have changed the next: look at each afresh.
        if vc.deadline and now >= vc.deadline:
            vc.deadline = 0.0
            vc.deadline_passed()
            return
        if vc.closed:
            return
        own = vc.inactivity_timeout_in if vc.inactivity_running else 0
        period = own
        if not period and (vc.read.enabled or vc.write.enabled):
            period = self.default_inactivity_seconds
        if vc.read_hup == PEER_LOST and (not period or period > LOST_SECONDS):
            period = LOST_SECONDS
        if period and now >= vc.last_activity + period:
            if own:
                vc.inactivity_running = False
            else:
                counters.default_inactivity_timeout_count += 1
            self.handler.queues.note_timeout(vc, now)
            vc.last_activity = now  # What is told next, by the default, is told after another whole period.
            vc.main_event(VC_EVENT_INACTIVITY_TIMEOUT)
        elif vc.next_activity_timeout_at and now >= vc.next_activity_timeout_at:
            vc.next_activity_timeout_at = 0.0
            vc.main_event(VC_EVENT_ACTIVE_TIMEOUT)
