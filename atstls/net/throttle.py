# -*- test-case-name: tests.test_throttle -*-
"""
L{Throttle}: how many connections may be open.

Over the limit an accepted connection is closed at once, which tells its peer sooner than a queue would, and a
connection of ours is not begun.  Accepting counts a tenth more than connecting, so that those who are in can still
reach an origin.

Descriptors are used up by more than connections: pipes, logs, code of others.  The kernel gives the lowest number that
is free, so a socket whose number is near the limit says that they are nearly gone, whoever has them.  Such a socket is
not kept: the last L{ACCEPT_RESERVE} are not for who comes in, the last L{CONNECT_RESERVE} not for going out either.

Source: behaviour 1.12, N102, N105, O31, O32; ATS C{UnixNet.cc}, C{check_net_throttle}.
"""

import resource
from collections.abc import Callable
from time import monotonic
from typing import Final

from twisted.logger import Logger

from atstls.net.perclient import ClientLimit
from atstls.statistics import counters

HEADROOM: Final = 192
"""
Descriptors left for everything else: logs, pipes, resolving names (ATS: THROTTLE_FD_HEADROOM).  Of a low limit it is
half: to serve nobody is no use of a small machine, and the reserves below see to it that they last.
"""

ACCEPT_FACTOR: Final = 1.1

ACCEPT_RESERVE: Final = 16
CONNECT_RESERVE: Final = 6
"""Descriptors that are kept for others (ATS: EMERGENCY_THROTTLE, HYPER_EMERGENCY_THROTTLE); of a very low limit, an
eighth."""

WARNING_SECONDS: Final = 600.0


class Throttle:
    """
    The limit.  What it refuses is counted in L{atstls.statistics}.

    @ivar highest_in: the highest descriptor that somebody who comes in may have.
    @ivar highest_out: the highest descriptor that a connection of ours may have.
    @ivar clients: how many connections one address may have; C{None}: nobody counts.
    @ivar message: what to say, in clear, to some of those who are refused on a port without TLS; empty: nothing.
    """

    _log = Logger()

    def __init__(self, limit: int = 30000, seconds: Callable[[], float] = monotonic) -> None:
        """
        @param limit: connections; 0: off; -1: as many as there are descriptors, less L{HEADROOM}.  It is never more
            than that.
        """
        self._seconds = seconds
        self._warned = -WARNING_SECONDS
        self.message = b""
        self.clients: ClientLimit | None = None
        self._warned_of_descriptors = -WARNING_SECONDS
        self.change(limit)

    def change(self, limit: int) -> None:
        """A new limit, from now on (N103).  It is never more than there are descriptors."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = max(soft - min(HEADROOM, soft // 2), 1) if soft != resource.RLIM_INFINITY else 1 << 30
        self.limit = 0 if limit == 0 else most if limit < 0 else min(limit, most)
        descriptors = soft if soft != resource.RLIM_INFINITY else 1 << 30
        self.highest_in = descriptors - 1 - min(ACCEPT_RESERVE, descriptors // 8)
        self.highest_out = descriptors - 1 - min(CONNECT_RESERVE, descriptors // 8)

    def refuses_accept(self, currently_open: int) -> bool:
        """Are there too many to take another in?"""
        if not self.limit or currently_open * ACCEPT_FACTOR < self.limit:
            return False
        counters.connections_throttled_in += 1
        now = self._seconds()
        if now - self._warned >= WARNING_SECONDS:
            self._warned = now
            self._log.warn(
                "too many connections: {open} are open, and connections_throttle is {limit}; new ones are closed",
                open=currently_open, limit=self.limit,
            )  # fmt: skip
        return True

    def refuses_connect(self, currently_open: int) -> bool:
        """Are there too many to begin another?"""
        if not self.limit or currently_open < self.limit:
            return False
        counters.connections_throttled_out += 1
        return True

    def refused_for_descriptors(self, accepted: bool) -> None:
        """A socket was not kept, since its number was above L{highest_in} or L{highest_out}."""
        if accepted:
            counters.connections_throttled_in += 1
        else:
            counters.connections_throttled_out += 1
        now = self._seconds()
        if now - self._warned_of_descriptors >= WARNING_SECONDS:
            self._warned_of_descriptors = now
            self._log.warn(
                "descriptors are nearly used up: number {highest} was the last for new connections",
                highest=self.highest_in if accepted else self.highest_out,
            )  # fmt: skip
