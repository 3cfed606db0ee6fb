"""
Tests for L{atstls.net.perclient}: how many connections one address may have (N104).
"""

from ipaddress import ip_network
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from atstls.net.perclient import ClientLimit
from tests.support import Moved

A = ("192.0.2.1", 1000)
B = ("192.0.2.2", 1000)


class Connection:
    """As much of a connection as is counted."""

    def __init__(self, before: Any = None) -> None:
        self.on_free = before

    def free(self) -> None:
        on_free, self.on_free = self.on_free, None
        if on_free is not None:
            on_free()


class ClientLimitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.moved = Moved()
        self.said: list[str] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            self.said.append(str(event["log_format"]).format(**event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def limit(self, limit: int, **more: Any) -> ClientLimit:
        return ClientLimit(limit, seconds=self.clock.seconds, **more)

    def enter(self, limit: ClientLimit, address: Any, before: Any = None) -> Connection:
        vc = Connection(before)
        limit.entered(vc, address)
        return vc

    def test_counted_by_address(self) -> None:
        """Each address has its own count, whatever the port."""
        limit = self.limit(2)
        for port in range(2):
            self.assertFalse(limit.refuses((A[0], port)))
            self.enter(limit, (A[0], port))
        self.assertTrue(limit.refuses((A[0], 7)))
        self.assertFalse(limit.refuses(B))
        moved = self.moved
        refused, exempted = moved.per_client_connections_throttled_in, moved.per_client_connections_exempt_in
        self.assertEqual((1, 0, {A[0]: 2}), (refused, exempted, limit.connections))

    def test_there_is_room_when_one_has_left(self) -> None:
        """A connection counts until its descriptor is closed, once, and the table is empty when all have left."""
        limit = self.limit(1)
        first = self.enter(limit, A)
        self.assertTrue(limit.refuses(A))
        first.free()
        first.free()
        self.assertEqual({}, limit.connections)
        self.assertFalse(limit.refuses(A))
        both = [self.enter(limit, A), self.enter(limit, A)]  # The limit may have been another.
        both[0].free()
        self.assertTrue(limit.refuses(A))
        both[1].free()
        self.assertFalse(limit.refuses(A))

    def test_who_counts_as_well(self) -> None:
        """Somebody else who wants to know of the end is told."""
        told: list[str] = []
        limit = self.limit(1)
        self.enter(limit, A, lambda: told.append("freed")).free()
        self.assertEqual((["freed"], {}), (told, limit.connections))

    def test_no_limit(self) -> None:
        """0 is no limit, now or later."""
        limit = self.limit(0)
        for _ in range(100):
            self.enter(limit, A)
        self.assertFalse(limit.refuses(A))
        limit.limit = 100
        self.assertTrue(limit.refuses(A))

    def test_exempt(self) -> None:
        """Those of exempt networks come in, and are counted, both as connections and as exempt."""
        limit = self.limit(1, exempt=(ip_network("192.0.2.0/31"), ip_network("2001:db8::/32")))
        for address, exempt in (
            (A, True),
            (B, False),
            (("::ffff:192.0.2.1", 1), True),
            (("::ffff:192.0.2.2", 1), False),
            (("2001:db8::1", 1), True),
            (("fe80::1%eth0", 1), False),
        ):
            before = self.moved.per_client_connections_exempt_in
            self.assertFalse(limit.refuses(address))
            self.enter(limit, address)
            self.assertEqual(not exempt, limit.refuses(address), address)
            self.assertEqual(before + exempt, self.moved.per_client_connections_exempt_in)
        self.assertEqual(3, self.moved.per_client_connections_throttled_in)

    def test_no_address(self) -> None:
        """Over a UNIX socket everybody is the same, so nobody is counted."""
        limit = self.limit(1)
        for address in ("", "/run/x", None):
            self.enter(limit, address)
            self.assertFalse(limit.refuses(address))
        self.assertEqual({}, limit.connections)

    def test_alert(self) -> None:
        """It is told at most once in C{alert_seconds}, with how many there were meanwhile."""
        limit = self.limit(1, alert_seconds=60)
        self.enter(limit, A)
        self.enter(limit, B)
        for _ in range(5):
            limit.refuses(A)
        self.assertEqual(1, len(self.said))
        self.assertIn("192.0.2.1 has 1 connections", self.said[0])
        self.assertIn("; 1 of such", self.said[0])
        self.clock.advance(59.9)
        limit.refuses(B)
        self.assertEqual(1, len(self.said))
        self.clock.advance(0.1)
        limit.refuses(B)
        self.assertIn("192.0.2.2 has 1 connections", self.said[1])
        self.assertIn("; 6 of such", self.said[1])
        self.assertEqual(7, self.moved.per_client_connections_throttled_in)
