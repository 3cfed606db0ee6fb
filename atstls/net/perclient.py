# -*- test-case-name: tests.test_perclient -*-
"""
L{ClientLimit}: how many connections one address may have.

One client that opens connections without end keeps others out, long before any of them breaks a rule that is only
about one connection.  Here they are counted by the address of the peer, and those beyond the limit are closed at once.
Networks may be exempt: a load balancer in front of us, or a health check.

A client of whom there is no connection is not in the table, so the table is never longer than the list of open
connections.

Source: behaviour 1.12, N104; ATS C{UnixNetAccept.cc}, C{ConnectionTracker}.
"""

import ipaddress
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final

from twisted.logger import Logger

from atstls.net.connection import Address
from atstls.statistics import Counters, counters, registry

ALERT_SECONDS: Final = 60.0

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class ClientLimit:
    """
    The limit, and who is how near it.  What it refuses is counted in L{atstls.statistics}.

    @ivar limit: connections of one address; 0: no limit.
    @ivar exempt: the networks for which that does not hold.
    @ivar alert_seconds: the log tells of it at most once in this time.
    @ivar connections: how many each address has.
    """

    _log = Logger()

    def __init__(
        self,
        limit: int = 0,
        exempt: Sequence[IPNetwork] = (),
        alert_seconds: float = ALERT_SECONDS,
        seconds: Callable[[], float] = monotonic,
    ) -> None:
        self.limit = limit
        self.exempt = tuple(exempt)
        self.alert_seconds = alert_seconds
        self.connections: dict[str, int] = {}
        self._seconds = seconds
        self._alerted: float | None = None
        self._untold = 0
        registry.watch(self, _look_at_table)

    def refuses(self, address: Address | None) -> bool:
        """Has the client at C{address} as many connections as it may have?  Who has no IP address is never refused."""
        if not self.limit or not isinstance(address, tuple):
            return False
        host = address[0]
        number = self.connections.get(host, 0)
        if number < self.limit:
            return False
        if self.exempt and self._is_exempt(host):
            counters.per_client_connections_exempt_in += 1
            return False
        counters.per_client_connections_throttled_in += 1
        self._untold += 1
        now = self._seconds()
        if self._alerted is None or now - self._alerted >= self.alert_seconds:
            self._alerted = now
            self._log.warn(
                "{host} has {number} connections, as many as per_client.max_connections_in allows; {refused} of such "
                "clients were closed since this was last told",
                host=host, number=number, refused=self._untold,
            )  # fmt: skip
            self._untold = 0
        return True

    def entered(self, vc: Any, address: Address | None) -> None:
        """C{vc}, whose peer is at C{address}, was let in.  It is counted until its descriptor is closed."""
        if not isinstance(address, tuple):
            return
        host = address[0]
        connections = self.connections
        connections[host] = connections.get(host, 0) + 1
        before = vc.on_free

        def left() -> None:
            number = connections[host] - 1
            if number:
                connections[host] = number
            else:
                del connections[host]
            if before is not None:
                before()

        vc.on_free = left

    def _is_exempt(self, host: str) -> bool:
        address = ipaddress.ip_address(host.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            # So a socket for both families tells of IPv4 clients.
            address = address.ipv4_mapped
        return any(address in network for network in self.exempt)


def _look_at_table(limit: ClientLimit, totals: Counters) -> None:
    totals.connection_tracker_table_size += len(limit.connections)
