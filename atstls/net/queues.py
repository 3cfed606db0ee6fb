# -*- test-case-name: tests.test_queues -*-
"""
L{NetQueues}: who is busy and who only keeps the line open, of the connections that came in.

Only the user of a connection knows which it is, so he says so: C{vc.add_to_active_queue()} when a request begins,
C{vc.add_to_keep_alive_queue()} when it was answered.  A connection stands in one queue, or in none, and never in both.
Then two limits can be kept that the number of descriptors says nothing about:

  - C{max_connections_in}: over it, those who keep the line open are told that their time is up, the oldest first;
  - C{max_requests_in}: over it, another request is refused, unless one is found that is late.

To be told is to get a timeout before its time; the user decides what he does, and most close.  The connections know
nothing of their queue: an idle connection is as small as before.

Source: behaviour 1.10, O28; ATS C{UnixNet.cc}, C{manage_active_queue}, C{manage_keep_alive_queue}.
"""

from collections import OrderedDict
from itertools import islice
from typing import Any

from atstls.events import VC_EVENT_ACTIVE_TIMEOUT, VC_EVENT_INACTIVITY_TIMEOUT
from atstls.statistics import counters


class NetQueues:
    """
    The two queues of a handler.

    @ivar active: connections in the middle of a request, the one that was added first in front.
    @ivar keep_alive: those between two requests, the one that has waited longest in front.
    @ivar max_connections_in: how many there may be in both together; 0: no limit.
    @ivar max_requests_in: how many may be active; 0: no limit.
    """

    def __init__(self, handler: Any, max_connections_in: int = 30000, max_requests_in: int = 0) -> None:
        """
        @param handler: the L{NetHandler<atstls.net.handler.NetHandler>}, whose clock is used.
        """
        self._handler = handler
        self.active: OrderedDict[Any, None] = OrderedDict()
        self.keep_alive: OrderedDict[Any, None] = OrderedDict()
        self.max_connections_in = max_connections_in
        self.max_requests_in = max_requests_in

    def add_active(self, vc: Any) -> bool:
        """
        C{vc} begins a request.

        One that is active already goes to the end of its queue, however full that is.

        @return: False: there are too many, and C{vc} stays where it was.
        """
        if vc.closed:
            return False
        active = self.active
        if vc in active:
            active.move_to_end(vc)
            return True
        if self.max_requests_in:
            if not self.manage_active(vc):
                counters.requests_throttled_in += 1
                return False
            if vc.closed:
                return False  # Somebody who was told has closed it.
        active[vc] = None
        if self.keep_alive:
            self.keep_alive.pop(vc, None)
            self.manage_keep_alive()
        return True

    def add_keep_alive(self, vc: Any) -> None:
        """
        C{vc} is between two requests.

        If all others are active, and too many, it may itself be told that its time is up, before this returns.
        """
        if vc.closed:
            return
        self.active.pop(vc, None)
        self.keep_alive[vc] = None
        self.keep_alive.move_to_end(vc)
        self.manage_keep_alive()

    def remove_active(self, vc: Any) -> None:
        """C{vc} is not counted as active any more.  Harmless when it was not."""
        self.active.pop(vc, None)

    def remove_keep_alive(self, vc: Any) -> None:
        """C{vc} is not counted as idle any more.  Harmless when it was not."""
        self.keep_alive.pop(vc, None)

    def forget(self, vc: Any) -> None:
        """C{vc} is being freed."""
        if vc in self.active:
            del self.active[vc]
        elif self.keep_alive:
            self.keep_alive.pop(vc, None)

    def manage_keep_alive(self) -> None:
        """Over the limit: tell as many as there are too many, those that have waited longest."""
        if not self.max_connections_in:
            return
        excess = len(self.active) + len(self.keep_alive) - self.max_connections_in
        if excess <= 0:
            return
        now = self._handler.seconds()
        keep_alive = self.keep_alive
        for vc in list(islice(keep_alive, excess)):
            if vc not in keep_alive:
                continue
            if is_sending(vc):
                keep_alive.move_to_end(vc)  # Its last answer is still on its way: its time comes when that is out.
            else:
                self._force_timeout(vc, now)

    def manage_active(self, enabling: Any = None) -> bool:
        """
        At the limit: tell active connections that are late, the oldest first, until there is room.

        A connection without a timeout is never late (O28).

        @param enabling: the connection that there shall be room for.
        @return: is there room?
        """
        limit = self.max_requests_in
        active = self.active
        if not limit or len(active) < limit:
            return True
        now = self._handler.seconds()
        for vc in [vc for vc in active if vc is not enabling and is_late(vc, now)]:
            if vc in active and is_late(vc, now):  # Who was told before it may have changed that.
                self._force_timeout(vc, now)
                if len(active) < limit:
                    break
        return len(active) < limit

    def note_timeout(self, vc: Any, now: float) -> None:
        """C{vc} is about to be told of a timeout: count it, if it keeps the line open."""
        if vc in self.keep_alive:
            counters.dynamic_keep_alive_timeout_in_count += 1
            counters.dynamic_keep_alive_timeout_in_total += max(now - vc.last_activity, 0.0)

    def _force_timeout(self, vc: Any, now: float) -> None:
        """Now is the time of C{vc}'s timeout."""
        if vc.closed:
            self.forget(vc)  # It has only its goodbye left to send.
            return
        self.note_timeout(vc, now)
        if vc.inactivity_timeout_in:
            vc.inactivity_running = False
            event = VC_EVENT_INACTIVITY_TIMEOUT
        else:
            vc.next_activity_timeout_at = 0.0
            event = VC_EVENT_ACTIVE_TIMEOUT
        try:
            vc.main_event(event)
        except Exception:
            self._handler._broken(vc)


def is_sending(vc: Any) -> bool:
    """Has C{vc} something to send that the kernel has not taken?"""
    state = vc.write
    reader = state.reader
    return bool(state.urgent or state.owed or (state.enabled and reader is not None and reader.avail))


def is_late(vc: Any, now: float) -> bool:
    """Has a timeout of C{vc}'s own passed?"""
    return bool(
        (vc.inactivity_running and now >= vc.last_activity + vc.inactivity_timeout_in)
        or (vc.next_activity_timeout_at and now >= vc.next_activity_timeout_at)
    )
