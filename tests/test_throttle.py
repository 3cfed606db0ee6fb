"""
Tests for L{atstls.net.throttle}.
"""

import resource

from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from atstls.net.throttle import HEADROOM, WARNING_SECONDS, Throttle
from tests.support import Moved


class ThrottleTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.descriptors = 10000
        self.patch(resource, "getrlimit", lambda which: (self.descriptors, self.descriptors))
        self.clock = Clock()
        self.moved = Moved()
        self.warnings: list[str] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            if event.get("log_level") == LogLevel.warn:
                self.warnings.append(str(event["log_format"]).format(**event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def throttle(self, limit: int) -> Throttle:
        return Throttle(limit, self.clock.seconds)

    def test_connect(self) -> None:
        """As many connections as the limit says, and no more; what is refused is counted (N101)."""
        throttle = self.throttle(10)
        self.assertEqual([False, False, True, True], [throttle.refuses_connect(n) for n in (0, 9, 10, 500)])
        self.assertEqual((0, 2), (self.moved.connections_throttled_in, self.moved.connections_throttled_out))

    def test_accept(self) -> None:
        """Those who come in count a tenth more, so that those who are in can still reach an origin (N100)."""
        throttle = self.throttle(110)
        self.assertEqual([False, True, True], [throttle.refuses_accept(n) for n in (99, 101, 110)])
        self.assertFalse(throttle.refuses_connect(109))
        self.assertEqual((2, 0), (self.moved.connections_throttled_in, self.moved.connections_throttled_out))

    def test_off(self) -> None:
        """0 is no limit."""
        throttle = self.throttle(0)
        self.assertFalse(throttle.refuses_accept(1 << 30) or throttle.refuses_connect(1 << 30))

    def test_descriptors(self) -> None:
        """-1 is what the descriptors allow, less some for everything else; no limit is more than that."""
        for limit in (-1, 10001, 10000 - HEADROOM):
            self.assertEqual(10000 - HEADROOM, self.throttle(limit).limit)
        self.assertEqual(100, self.throttle(100).limit)
        for self.descriptors, left in ((400, 208), (384, 192), (256, 128), (192, 96), (50, 25), (2, 1), (1, 1)):
            self.assertEqual(left, self.throttle(-1).limit)
        self.descriptors = resource.RLIM_INFINITY
        self.assertEqual((30000, 1 << 30), (self.throttle(30000).limit, self.throttle(-1).limit))

    def test_change(self) -> None:
        """A new limit counts from the next connection on (N103, O31)."""
        throttle = self.throttle(10)
        self.assertTrue(throttle.refuses_connect(10))
        throttle.change(20)
        self.assertFalse(throttle.refuses_connect(10))
        throttle.change(0)
        self.assertFalse(throttle.refuses_connect(1000))
        throttle.change(5)
        self.assertTrue(throttle.refuses_connect(10))

    def test_reserve(self) -> None:
        """The last descriptors are not for who comes in, the very last not for going out either (N105)."""
        throttle = self.throttle(0)
        self.assertEqual((10000 - 17, 10000 - 7), (throttle.highest_in, throttle.highest_out))
        self.descriptors = 40
        throttle.change(0)
        self.assertEqual((34, 34), (throttle.highest_in, throttle.highest_out))
        self.descriptors = resource.RLIM_INFINITY
        throttle.change(0)
        self.assertGreater(throttle.highest_in, 1 << 29)

    def test_reserve_is_told(self) -> None:
        """What was refused for want of descriptors is counted, and told at most once in ten minutes (N105)."""
        throttle = self.throttle(0)
        for accepted in (True, False, True):
            throttle.refused_for_descriptors(accepted)
        self.assertEqual((2, 1), (self.moved.connections_throttled_in, self.moved.connections_throttled_out))
        self.assertEqual(
            ["descriptors are nearly used up: number 9983 was the last for new connections"], self.warnings
        )
        self.clock.advance(WARNING_SECONDS)
        throttle.refused_for_descriptors(False)
        self.assertIn("number 9993 ", self.warnings[1])

    def test_warning(self) -> None:
        """The operator is told with both numbers, at most once in ten minutes (O32)."""
        throttle = self.throttle(10)
        for _ in range(100):
            throttle.refuses_accept(10)
            self.clock.advance(1)
        self.assertEqual(1, len(self.warnings))
        self.assertIn("10 are open, and connections_throttle is 10", self.warnings[0])
        self.clock.advance(WARNING_SECONDS - 101)
        throttle.refuses_accept(10)
        self.assertEqual(1, len(self.warnings))
        self.clock.advance(1)
        throttle.refuses_accept(10)
        self.assertEqual((2, 102), (len(self.warnings), self.moved.connections_throttled_in))
