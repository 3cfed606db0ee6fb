"""
Tests for L{atstls.net.queues}: who is told that his time is up, who is refused, and what is counted.
"""

import gc
import weakref
from typing import Any

from twisted.internet.task import LoopingCall

from atstls.events import VC_EVENT_ACTIVE_TIMEOUT, VC_EVENT_INACTIVITY_TIMEOUT
from atstls.eventsystem.iobuffer import new_empty_MIOBuffer
from atstls.eventsystem.vio import INT64_MAX
from atstls.net.cop import InactivityCop
from atstls.net.queues import NetQueues
from atstls.net.unixvc import UnixNetVConnection
from tests.support import Moved, OverBothPolls, RecordingContinuation


class QueueTests(OverBothPolls):
    def setUp(self) -> None:
        LoopingCall(lambda: None)  # The first one opens the process's own reactor: let its descriptors be there before.
        super().setUp()
        self.queues = self.handler.queues
        self.moved = Moved()

    def session(
        self, inactivity: float = 0, active: float = 0, closes: bool = True, then: Any = None
    ) -> tuple[UnixNetVConnection, RecordingContinuation]:
        """A connection, and its user, who closes it when he is told of a timeout."""
        vc, _ = self.connection()

        def told(vio: Any) -> None:
            if then is not None:
                then(vc)
            if closes:
                vc.do_io_close()

        cont = RecordingContinuation({VC_EVENT_INACTIVITY_TIMEOUT: told, VC_EVENT_ACTIVE_TIMEOUT: told})
        vc.do_io_read(cont, INT64_MAX, new_empty_MIOBuffer(0))
        self.reactor.settle()
        vc.set_inactivity_timeout(inactivity)
        vc.set_active_timeout(active)
        return vc, cont

    def counters(self) -> tuple[int, float]:
        moved = self.moved
        return moved.dynamic_keep_alive_timeout_in_count, moved.dynamic_keep_alive_timeout_in_total

    def cop(self) -> InactivityCop:
        return InactivityCop(self.handler, self.reactor, default_inactivity_seconds=0)

    def test_limits(self) -> None:
        """They are the handler's, with the defaults of Traffic Server, and can be changed at any time (N083)."""
        self.assertIsInstance(self.queues, NetQueues)
        self.assertEqual((30000, 0), (self.queues.max_connections_in, self.queues.max_requests_in))
        vcs = [self.session()[0] for _ in range(3)]
        self.assertEqual([True] * 3, [vc.add_to_active_queue() for vc in vcs])
        self.queues.max_requests_in = 2
        self.assertEqual([True] * 3, [vc.add_to_active_queue() for vc in vcs])
        self.assertFalse(self.session()[0].add_to_active_queue())

    def test_in_one_queue_at_most(self) -> None:
        """Who begins a request is not idle any more, who has ended it is not active any more (N080, N081)."""
        vc, _ = self.session()

        def where() -> tuple[bool, bool]:
            return vc in self.queues.keep_alive, vc in self.queues.active

        self.assertEqual((False, False), where())
        vc.remove_from_keep_alive_queue()
        vc.remove_from_active_queue()
        vc.add_to_keep_alive_queue()
        self.assertEqual((True, False), where())
        vc.remove_from_active_queue()
        self.assertEqual((True, False), where())
        self.assertTrue(vc.add_to_active_queue())
        self.assertEqual((False, True), where())
        vc.remove_from_keep_alive_queue()
        self.assertEqual((False, True), where())
        vc.add_to_keep_alive_queue()
        self.assertEqual((True, False), where())
        vc.remove_from_keep_alive_queue()
        self.assertEqual((False, False), where())
        vc.add_to_active_queue()
        vc.remove_from_active_queue()
        self.assertEqual((False, False), where())

    def test_oldest_idle_is_closed(self) -> None:
        """Over the limit those who have waited longest are closed, and nobody else (N080)."""
        self.queues.max_connections_in = 3
        sessions = [self.session(inactivity=60) for _ in range(5)]
        for vc, _ in sessions:
            vc.add_to_keep_alive_queue()
        self.assertEqual([True, True, False, False, False], [bool(vc.closed) for vc, _ in sessions])
        self.assertEqual(["INACTIVITY_TIMEOUT"], sessions[0][1].events)
        self.assertEqual([], sessions[2][1].events)
        sessions[2][0].add_to_keep_alive_queue()  # To the end: the next to go is another.
        self.session()[0].add_to_keep_alive_queue()
        self.assertEqual([False, True, False], [bool(vc.closed) for vc, _ in sessions[2:]])
        self.assertEqual(3, len(self.queues.keep_alive))

    def test_an_answer_on_its_way(self) -> None:
        """One whose last answer has not left yet is not idle: another goes, and its own time comes when it is out."""
        self.queues.max_connections_in = 1
        slow, cont = self.session(inactivity=60)
        reader = new_empty_MIOBuffer(5).alloc_reader()
        reader.buffer.write(b"x" * 4000)
        slow.write.triggered = slow.write.polled = False  # as if the kernel took nothing
        slow.do_io_write(RecordingContinuation(), 4000, reader)
        slow.add_to_keep_alive_queue()
        other, _ = self.session(inactivity=60)
        other.add_to_keep_alive_queue()
        self.assertEqual((0, []), (slow.closed, cont.events))
        self.queues.manage_keep_alive()
        self.assertEqual((0, 1), (slow.closed, other.closed))
        self.assertEqual([slow], list(self.queues.keep_alive))
        third, _ = self.session(inactivity=60)
        self.handler.mark_write(slow)
        self.handler.run()
        third.add_to_keep_alive_queue()
        self.assertEqual((1, 0), (slow.closed, third.closed))

    def test_active_ones_count(self) -> None:
        """A new request is worth more than an idle connection; when all are busy nobody is closed for it."""
        self.queues.max_connections_in = 2
        idle, _ = self.session()
        idle.add_to_keep_alive_queue()
        busy = [self.session()[0] for _ in range(3)]
        self.assertEqual([True] * 3, [vc.add_to_active_queue() for vc in busy])
        self.assertEqual([1, 0, 0, 0], [vc.closed for vc in [idle, *busy]])

    def test_oneself(self) -> None:
        """Where all others are busy, and too many, it is the one that has become idle that goes."""
        self.queues.max_connections_in = 2
        busy = [self.session()[0] for _ in range(3)]
        for vc in busy:
            vc.add_to_active_queue()
        busy[2].add_to_keep_alive_queue()
        self.assertEqual([0, 0, 1], [vc.closed for vc in busy])

    def test_no_limit(self) -> None:
        """0 is no limit of either kind."""
        self.queues.max_connections_in = 0
        vcs = [self.session()[0] for _ in range(4)]
        self.assertEqual([True] * 4, [vc.add_to_active_queue() for vc in vcs])
        for vc in vcs:
            vc.add_to_keep_alive_queue()
        self.cop().patrol()
        self.assertEqual([0] * 4, [vc.closed for vc in vcs])

    def test_request_refused(self) -> None:
        """When all that are active are in time a new one is refused, counted, and stays where it was (N081)."""
        self.queues.max_requests_in = 2
        first, _ = self.session(inactivity=60)
        second, _ = self.session(active=60)
        first.add_to_active_queue()
        second.add_to_active_queue()
        third, cont = self.session()
        third.add_to_keep_alive_queue()
        self.assertFalse(third.add_to_active_queue())
        self.assertIn(third, self.queues.keep_alive)
        self.assertEqual(1, self.moved.requests_throttled_in)
        self.assertEqual([], cont.events)
        self.assertTrue(first.add_to_active_queue())
        self.assertEqual([second, first], list(self.queues.active))
        self.assertEqual(1, self.moved.requests_throttled_in)

    def test_late_ones_make_room(self) -> None:
        """An active connection that is late is told, the oldest first, and only as many as are in the way (N081)."""
        self.queues.max_requests_in = 3
        never, never_cont = self.session()
        slow, slow_cont = self.session(inactivity=5)
        long, long_cont = self.session(active=5)
        for vc in (never, slow, long):
            self.assertTrue(vc.add_to_active_queue())
        self.reactor.advance(6)
        new, _ = self.session()
        self.assertTrue(new.add_to_active_queue())
        self.assertEqual(
            ([], ["INACTIVITY_TIMEOUT"], []), (never_cont.events, slow_cont.events, long_cont.events)
        )
        self.assertTrue(self.session()[0].add_to_active_queue())
        self.assertEqual(["ACTIVE_TIMEOUT"], long_cont.events)
        self.assertEqual(0, self.moved.requests_throttled_in)

    def test_no_timeout_is_not_late(self) -> None:
        """A connection without a timeout is never late, in whichever queue (O28)."""
        self.queues.max_requests_in = 1
        vc, cont = self.session()
        vc.add_to_active_queue()
        self.reactor.advance(1e6)
        self.assertFalse(self.session()[0].add_to_active_queue())
        self.cop().patrol()
        self.assertEqual(([], 0), (cont.events, vc.closed))

    def test_late_but_stays(self) -> None:
        """Who is told and does not close makes no room, and is not told again before he is late again."""
        self.queues.max_requests_in = 1
        vc, cont = self.session(inactivity=1, closes=False)
        vc.add_to_active_queue()
        self.reactor.advance(2)
        new, _ = self.session()
        self.assertEqual([False, False], [new.add_to_active_queue() for _ in range(2)])
        self.assertEqual(["INACTIVITY_TIMEOUT"], cont.events)
        vc.set_inactivity_timeout(1)
        self.reactor.advance(2)
        self.assertFalse(new.add_to_active_queue())
        self.assertEqual(["INACTIVITY_TIMEOUT"] * 2, cont.events)

    def test_kind_of_timeout(self) -> None:
        """It is an inactivity timeout for who has one, else an active timeout; one shot as always (N080)."""
        self.queues.max_connections_in = 1
        with_period, cont = self.session(inactivity=60, active=60, closes=False)
        without, other = self.session(active=60, closes=False)
        for vc in (with_period, without):
            vc.add_to_keep_alive_queue()
        self.assertEqual(["INACTIVITY_TIMEOUT"], cont.events)
        self.assertFalse(with_period.inactivity_running)
        with_period.do_io_close()
        self.session()[0].add_to_keep_alive_queue()
        self.assertEqual((["ACTIVE_TIMEOUT"], 0.0), (other.events, without.next_activity_timeout_at))

    def test_counters(self) -> None:
        """How many were told while they kept the line open, and how long they had been silent (N082)."""
        queues = self.queues
        queues.max_connections_in = 1
        vc, _ = self.session(inactivity=60)
        vc.add_to_keep_alive_queue()
        self.reactor.advance(7)
        self.session()[0].add_to_keep_alive_queue()
        self.assertEqual((1, 7), self.counters())
        queues.max_connections_in = 0
        idle, _ = self.session(inactivity=2)
        idle.add_to_keep_alive_queue()
        busy, _ = self.session(inactivity=2)
        busy.add_to_active_queue()
        self.reactor.advance(3)
        self.cop().patrol()
        self.assertEqual((1, 1), (idle.closed, busy.closed))
        self.assertEqual((2, 10), self.counters())

    def test_the_cop_keeps_the_limits(self) -> None:
        """A limit that was lowered holds after the next patrol."""
        sessions = [self.session(inactivity=60) for _ in range(4)]
        for vc, _ in sessions:
            vc.add_to_keep_alive_queue()
        self.queues.max_connections_in = 1
        self.cop().patrol()
        self.assertEqual([1, 1, 1, 0], [vc.closed for vc, _ in sessions])

    def test_closed(self) -> None:
        """Who is closed is in no queue, is not put into one, and is not kept alive by one."""
        vcs = [self.session()[0] for _ in range(2)]
        vcs[0].add_to_active_queue()
        vcs[1].add_to_keep_alive_queue()
        for vc in vcs:
            vc.do_io_close()
            self.assertFalse(vc.add_to_active_queue())
            vc.add_to_keep_alive_queue()
        self.assertEqual((0, 0), (len(self.queues.active), len(self.queues.keep_alive)))
        self.reactor.settle()
        refs = [weakref.ref(vc) for vc in vcs]
        del vc, vcs
        gc.collect()
        self.assertEqual([None, None], [ref() for ref in refs])

    def test_closed_and_not_yet_freed(self) -> None:
        """Who has only its goodbye left to send is told nothing, and leaves the queue."""
        self.queues.max_connections_in = 1
        vc, cont = self.session(inactivity=60)
        vc.add_to_keep_alive_queue()
        vc.closed = 1
        self.session()[0].add_to_keep_alive_queue()
        self.assertEqual(([], False), (cont.events, vc in self.queues.keep_alive))
        vc.free()

    def test_closed_by_another(self) -> None:
        """Who is told may close the one for which there was to be room."""
        self.queues.max_requests_in = 1
        new, _ = self.session()
        late, _ = self.session(inactivity=1, then=lambda vc: new.do_io_close())
        late.add_to_active_queue()
        self.reactor.advance(2)
        self.assertFalse(new.add_to_active_queue())
        self.assertEqual(0, len(self.queues.active))

    def test_one_closes_the_next(self) -> None:
        """Who is told may close others that were about to be told."""
        sessions: list[Any] = []
        for _ in range(3):
            sessions.append(self.session(inactivity=9, then=lambda vc: sessions[1][0].do_io_close()))
            sessions[-1][0].add_to_keep_alive_queue()
        self.queues.max_connections_in = 1
        self.queues.manage_keep_alive()
        self.assertEqual([[], []], [cont.events for _, cont in sessions[1:]])
        self.assertEqual([1, 1, 0], [vc.closed for vc, _ in sessions])

    def test_a_bug_of_one_is_not_the_others(self) -> None:
        """An exception of one who is told ends him, and not the one who has added himself."""

        def break_down(vc: Any) -> None:
            raise ValueError("a bug")

        self.queues.max_connections_in = 1
        broken, _ = self.session(inactivity=9, then=break_down)
        broken.add_to_keep_alive_queue()
        vc, _ = self.session(inactivity=9)
        vc.add_to_keep_alive_queue()
        self.assertEqual((1, 0), (broken.closed, vc.closed))
        self.assertEqual(1, len(self.flushLoggedErrors(ValueError)))


globals().update(QueueTests.make_test_case_classes())
