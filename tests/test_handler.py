"""
Tests for L{atstls.net.handler}: turns, their order, and that each connection gets its share.
"""

import os
import threading
from functools import partial
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from atstls.events import (
    EVENT_CONT,
    VC_EVENT_ERROR,
    VC_EVENT_READ_COMPLETE,
    VC_EVENT_READ_READY,
    VC_EVENT_WRITE_COMPLETE,
    VC_EVENT_WRITE_READY,
)
from atstls.eventsystem.continuation import Continuation
from atstls.eventsystem.iobuffer import IOBufferReader, new_empty_MIOBuffer
from atstls.eventsystem.vio import INT64_MAX, VIO
from atstls.interfaces import INetHandler
from atstls.net.handler import RUN_SECONDS, TURNS_A_RUN, WIRE_BYTES, NetHandler
from atstls.net.unixvc import UnixNetVConnection
from tests.support import HandReactor, Moved, OverBothPolls, RecordingContinuation, received


class TurnTests(OverBothPolls):
    def reading(
        self, vc: UnixNetVConnection, index: int = 5, nbytes: int = INT64_MAX, log: list[Any] | None = None
    ) -> tuple[RecordingContinuation, IOBufferReader]:
        """A user of C{vc} who takes all bytes at once."""
        reader = new_empty_MIOBuffer(index).alloc_reader()
        cont = RecordingContinuation({VC_EVENT_READ_READY: lambda vio: reader.read()}, shared_log=log)
        vc.do_io_read(cont, nbytes, reader.buffer)
        return cont, reader

    def flood(self, sock: Any, data: bytes = bytes(1 << 16)) -> int:
        sent = 0
        try:
            while True:
                sent += sock.send(data)
        except BlockingIOError:
            return sent

    def test_interface(self) -> None:
        """It is what connections take for their handler."""
        self.assertTrue(verifyObject(INetHandler, self.handler))

    def test_reads_before_writes(self) -> None:
        """In a turn all that is ready is read, then all is written; what a read gives goes out in that turn (N052)."""
        log: list[Any] = []
        pairs = [self.connection() for _ in range(2)]
        self.reactor.settle()
        for vc, peer in pairs:
            self.reading(vc, log=log)
            writer = RecordingContinuation(shared_log=log)
            source = new_empty_MIOBuffer(0).alloc_reader()
            source.buffer.write(b"answer")
            vc.do_io_write(writer, 6, source)
            peer.send(b"question")
        # The writes are on their list already.
        for vc, _ in pairs:
            self.handler.mark_read(vc)
        self.handler.turn()
        names = [name.removeprefix("VC_EVENT_") for name, _, _ in log]
        self.assertEqual(["READ_READY"] * 2 + ["WRITE_COMPLETE"] * 2, names)
        self.assertEqual([b"answer", b"answer"], [received(peer) for _, peer in pairs])

    def test_order_within_one_turn(self) -> None:
        """First come, first served, reads before writes, whatever order they were asked in (N050)."""
        log: list[Any] = []
        vcs = [self.connection()[0] for _ in range(3)]
        self.reactor.settle()

        def note(number: int, event: int, data: Any) -> int:
            log.append((event, number))
            return EVENT_CONT

        for number, vc in enumerate(vcs):
            cont = Continuation(partial(note, number))
            source = new_empty_MIOBuffer(0).alloc_reader()
            source.buffer.write(b"x")
            vc.do_io_write(cont, 1, source)
            vc.do_io_read(cont, 1, new_empty_MIOBuffer(0))
        for vc in (vcs[2], vcs[0], vcs[1]):
            os.write(self._sockets[vcs.index(vc)].fileno(), b"y")
            self.handler.mark_read(vc)
        self.handler.turn()
        reads = [(VC_EVENT_READ_COMPLETE, n) for n in (2, 0, 1)]
        self.assertEqual(reads + [(VC_EVENT_WRITE_COMPLETE, n) for n in (0, 1, 2)], log)

    def test_on_the_list_once(self) -> None:
        """However often it is said that a connection is ready, it gets one pass."""
        vc, peer = self.connection()
        self.reactor.settle()
        cont, _ = self.reading(vc)
        peer.send(b"x")
        for _ in range(3):
            self.handler.mark_read(vc)
            self.handler.queue_read(vc)
            vc.write.enabled = True
            self.handler.mark_write(vc)
            self.handler.queue_write(vc)
        self.assertEqual(([vc], [vc]), (self.handler.read_ready, self.handler.write_ready))
        self.handler.turn()
        self.reactor.settle()
        self.assertEqual(["READ_READY"], cont.events)
        self.assert_idle()

    def test_only_enabled_and_triggered(self) -> None:
        """What the user does not want is not tried, nor what cannot get anywhere (N050)."""
        vc, peer = self.connection()
        self.reactor.settle()
        peer.send(b"x")
        self.handler.mark_read(vc)
        self.assertEqual([], self.handler.read_ready)
        cont, _ = self.reading(vc)
        self.assertEqual([vc], self.handler.read_ready)
        vc.read.triggered = False
        self.handler.turn()
        self.assertEqual([], cont.log)
        self.handler.mark_read(vc)
        vc.read.enabled = False
        self.handler.turn()
        self.assertEqual([], cont.log)

    def test_a_flood_delays_nobody(self) -> None:
        """While one peer floods, a byte of another's is told in the next turn, and its answer goes out in it (N058)."""
        flooded, flooder = self.connection()
        quiet, asker = self.connection()
        flood_cont, _ = self.reading(flooded, index=0)
        self.reactor.settle()
        cont, reader = self.reading(quiet)
        source = new_empty_MIOBuffer(0).alloc_reader()
        writer = RecordingContinuation()
        quiet.do_io_write(writer, INT64_MAX, source)
        self.reactor.settle()

        def answer(vio: VIO) -> None:
            source.buffer.write(reader.read())
            quiet.write.vio.reenable()

        cont.script[VC_EVENT_READ_READY] = answer
        for _ in range(20):
            self.flood(flooder)
            self.reactor.turn()
            before = len(flood_cont.log)
            asker.send(b"?")
            # One turn to hear of it, and it is that turn or the next.
            self.reactor.turn()
            self.reactor.turn()
            self.assertEqual(b"?", received(asker))
            # Of those turns each may be a run of turns: one when it is woken, one when the kernel has news.
            self.assertLessEqual(len(flood_cont.log) - before, 4 * TURNS_A_RUN, "more than its share of the turns")
            self.assertFalse(self.handler.idle())

    def test_one_share_a_turn(self) -> None:
        """In one turn a connection is told of one piece, however much waits."""
        vc, peer = self.connection()
        self.flood(peer)
        self.reactor.turn()
        cont, _ = self.reading(vc, index=0)
        for turn in range(1, 6):
            self.handler.turn()
            self.assertEqual(turn, len(cont.log))

    def test_one_share_a_turn_of_writing(self) -> None:
        """The same for a peer that reads as fast as it can."""
        vc, peer = self.connection()
        self.reactor.settle()
        source = new_empty_MIOBuffer(0).alloc_reader()
        for _ in range(100):
            source.buffer.append(b"x" * 10)
        vc.do_io_write(RecordingContinuation(), 1000, source)
        self.handler.turn()
        self.assertEqual(160, len(received(peer)))
        self.handler.turn()
        self.assertEqual(160, len(received(peer)))

    def test_a_run_is_bounded(self) -> None:
        """Woken once, a connection that always has more gets some turns; then the kernel is asked for others' news."""
        vc, peer = self.connection()
        self.reactor.settle()
        cont, _ = self.reading(vc, index=0)
        self.flood(peer)
        self.handler.mark_read(vc)
        for run in range(1, 4):
            self.handler.run()
            self.assertEqual(run * TURNS_A_RUN, len(cont.log))
            self.assertEqual(1, len(self.reactor.getDelayedCalls()))

    def test_a_run_is_bounded_in_time(self) -> None:
        """Where a turn takes long there are fewer of them."""
        vc, peer = self.connection()
        self.reactor.settle()
        cont, reader = self.reading(vc, index=0)
        for seconds, turns in ((RUN_SECONDS * 2, 2), (RUN_SECONDS / 4, 5)):

            def last(vio: VIO, seconds: float = seconds) -> None:
                reader.consume(reader.avail)
                self.reactor.rightNow += seconds

            cont.script[VC_EVENT_READ_READY] = last
            self.flood(peer)
            self.handler.mark_read(vc)
            before = len(cont.log)
            self.handler.run()
            self.assertEqual(turns, len(cont.log) - before)
            self.assertEqual(1, len(self.reactor.getDelayedCalls()))

    def test_a_run_ends_with_the_work(self) -> None:
        """A run with nothing left to do ends at once, and schedules nothing."""
        vc, peer = self.connection()
        self.reactor.settle()
        cont, _ = self.reading(vc, index=0)
        peer.send(b"x" * 200)
        self.handler.mark_read(vc)
        self.handler.run()
        self.assertEqual(2, len(cont.log))
        self.assert_idle()
        self.handler.turning = True
        self.handler.mark_read(vc)
        self.handler.run()
        self.handler.turning = False
        self.assertEqual([vc], self.handler.read_ready, "a run within a turn")
        self.handler.run()

    def test_idle_costs_nothing(self) -> None:
        """When all is done nothing is scheduled and nobody is on a list, whatever was tried last."""
        pairs = [self.connection() for _ in range(5)]
        for vc, peer in pairs:
            self.reading(vc)
            writer = RecordingContinuation()
            vc.do_io_write(writer, INT64_MAX, new_empty_MIOBuffer(0).alloc_reader())
            peer.send(b"x" * 5000)
        self.reactor.settle()
        self.assert_idle()
        self.assertEqual(0, self.reactor.turn(3600))
        for vc, _ in pairs:
            self.assertFalse(vc.read.queued or vc.write.queued)

    def test_turn_without_progress_does_not_queue_itself(self) -> None:
        """A pass that gets nowhere is not repeated until the kernel or the user says so."""
        vc, _ = self.connection()
        cont, _ = self.reading(vc)
        self.reactor.settle()
        vc.read.triggered = True
        self.handler.queue_read(vc)
        self.handler.turn()
        self.assertEqual(([], [], []), (cont.log, self.handler.read_ready, self.handler.write_ready))

    def test_turn_within_a_turn(self) -> None:
        """A call-back that asks for a turn gets none within its own: the one that goes on is enough."""
        vc, peer = self.connection()
        cont, reader = self.reading(vc, index=0)
        depth = deepest = 0

        def step(vio: VIO) -> None:
            nonlocal depth, deepest
            depth += 1
            deepest = max(deepest, depth)
            reader.read()
            self.handler.turn()
            depth -= 1

        cont.script[VC_EVENT_READ_READY] = step
        peer.send(b"x" * 1000)
        self.reactor.settle()
        self.assertEqual((1, 8), (deepest, len(cont.log)))

    def test_now_is_the_time_of_the_turn(self) -> None:
        """All that happens in a turn has the turn's time, and a connection remembers when its last byte moved."""
        vc, peer = self.connection()
        self.reading(vc)
        self.reactor.settle()
        peer.send(b"x")
        self.reactor.turn(17)
        self.assertEqual((17.0, 17.0), (self.handler.now, vc.last_activity))

    def test_bug_of_a_user(self) -> None:
        """A bug in one connection's user is logged and ends that connection; the others of the turn go on (1.6)."""
        for event in (VC_EVENT_READ_READY, VC_EVENT_READ_COMPLETE, VC_EVENT_WRITE_READY, VC_EVENT_WRITE_COMPLETE):
            broken, broken_peer = self.connection()
            sound, sound_peer = self.connection()
            self.reactor.settle()

            def bug(vio: VIO) -> None:
                raise ZeroDivisionError("a bug of the user's")

            cont = RecordingContinuation({event: bug})
            other = RecordingContinuation()
            for vc, user in ((broken, cont), (sound, other)):
                source = new_empty_MIOBuffer(0).alloc_reader()
                source.buffer.write(b"hello")
                reading = event in (VC_EVENT_READ_READY, VC_EVENT_READ_COMPLETE)
                if reading:
                    vc.do_io_read(user, 5 if event == VC_EVENT_READ_COMPLETE else 100, new_empty_MIOBuffer(0))
                else:
                    vc.do_io_write(user, 5 if event == VC_EVENT_WRITE_COMPLETE else 100, source)
            broken_peer.send(b"hello")
            sound_peer.send(b"hello")
            self.reactor.settle()
            self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
            self.assertEqual((1, cont.log), (len(cont.log), other.log))
            self.assertEqual({sound}, self.handler.open_list)
            self.assertEqual((-1, 0), (broken.get_socket(), broken.recursion))
            sound.do_io_close()

    def test_bug_in_the_bug(self) -> None:
        """What breaks while a broken connection is being freed is logged too, and the turn goes on."""
        vc, peer = self.connection()

        def bug(*_: Any) -> None:
            raise ZeroDivisionError("a bug")

        vc.on_free = bug
        cont, _ = self.reading(vc)
        cont.script[VC_EVENT_READ_READY] = bug
        peer.send(b"x")
        self.reactor.settle()
        self.assertEqual(2, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.assertEqual(set(), self.handler.open_list)
        self.assert_idle()

    def test_closed_before_its_pass(self) -> None:
        """A connection that is closed while it waits on the lists is not touched when its pass comes (N052)."""
        vc, peer = self.connection()
        self.reactor.settle()
        cont, _ = self.reading(vc)
        vc.do_io_write(cont, 1, new_empty_MIOBuffer(0).alloc_reader())
        peer.send(b"x")
        self.handler.mark_read(vc)
        vc.do_io_close()
        self.reactor.settle()
        self.assertEqual([], cont.log)
        self.assert_idle()

    def test_user_may_close_all(self) -> None:
        """In a call-back I may close every connection there is."""
        conts = []
        for _ in range(5):
            vc, peer = self.connection()
            cont, _ = self.reading(vc)
            cont.script[VC_EVENT_READ_READY] = lambda vio: [each.do_io_close() for each in list(self.handler.open_list)]
            conts.append(cont)
            peer.send(b"x")
        self.reactor.settle()
        self.assertEqual(1, sum(len(cont.log) for cont in conts))
        self.assertEqual(set(), self.handler.open_list)

    def test_many_connections_relay(self) -> None:
        """Fifty connections of which each echoes what it gets: all bytes come back."""
        echoed = []
        for number in range(50):
            vc, peer = self.connection()
            buffer = new_empty_MIOBuffer(number % 8)
            reader = buffer.alloc_reader()
            cont = RecordingContinuation(
                {
                    VC_EVENT_READ_READY: lambda vio, vc=vc: vc.write.vio.reenable(),
                    VC_EVENT_WRITE_READY: lambda vio, vc=vc: vc.read.vio.reenable(),
                    VC_EVENT_ERROR: lambda vio: self.fail("an error"),
                }
            )
            vc.do_io_read(cont, INT64_MAX, buffer)
            vc.do_io_write(cont, INT64_MAX, reader)
            data = os.urandom(1000 * number)
            peer.send(data)
            echoed.append((peer, data))
        self.reactor.settle()
        for peer, data in echoed:
            out = b""
            while more := received(peer):
                out += more
                self.reactor.settle()
            self.assertEqual(data, out)
        self.assert_idle()


globals().update(TurnTests.make_test_case_classes())


class WakeTests(SynchronousTestCase):
    """How a turn comes about."""

    def setUp(self) -> None:
        self.reactor = HandReactor()
        self.handler = NetHandler(self.reactor, self.reactor.seconds)
        self._moved = Moved()

    @property
    def turns(self) -> int:
        """Since the test began."""
        return int(self._moved.net_handler_run)

    def test_wake(self) -> None:
        """However often it is woken, one turn comes, soon."""
        self.assertTrue(self.handler.idle())
        for _ in range(3):
            self.handler.wake()
        self.assertEqual((False, 0), (self.handler.idle(), self.turns))
        self.reactor.settle()
        self.assertEqual((True, 1), (self.handler.idle(), self.turns))
        self.handler.wake()
        self.reactor.settle()
        self.assertEqual(2, self.turns)

    def test_wake_from_a_thread(self) -> None:
        """Woken from another thread, the turn comes in the reactor's (N051)."""
        thread = threading.Thread(target=self.handler.wake)
        thread.start()
        thread.join()
        self.assertEqual([], self.reactor.getDelayedCalls())
        self.reactor.settle()
        self.assertEqual(1, self.turns)

    def test_stop(self) -> None:
        """Stopped, nothing of it is left with the reactor."""
        self.handler.stop()
        self.handler.wake()
        self.handler.stop()
        self.assertEqual(([], True), (self.reactor.getDelayedCalls(), self.handler.idle()))

    def test_clock(self) -> None:
        """Its time is the clock's that it was given; without one it is a clock that only goes forward."""
        clock = Clock()
        clock.advance(5)
        self.assertEqual(5, NetHandler(self.reactor, clock.seconds).now)
        real = NetHandler(self.reactor)
        first = real.now
        real.turn()
        self.assertGreaterEqual(real.now, first)


class WireTests(SynchronousTestCase):
    """The block that ciphertext passes through."""

    def test_shared(self) -> None:
        """Who keeps it gets it for good, and the handler has another; what comes back is used again."""
        handler = NetHandler(HandReactor())
        first = handler.wire
        self.assertEqual((WIRE_BYTES, WIRE_BYTES, 0), (first.size, len(first.memory), first.end))
        self.assertIs(first, handler.keep_wire())
        second = handler.wire
        self.assertIsNot(first, second)
        handler.return_wire(first)
        self.assertIs(second, handler.keep_wire())
        self.assertIs(first, handler.wire)

    def test_few_are_kept(self) -> None:
        """After a rush the memory is given back."""
        handler = NetHandler(HandReactor())
        kept = [handler.keep_wire() for _ in range(20)]
        self.assertEqual(20, len({id(wire) for wire in kept}))
        for wire in kept:
            handler.return_wire(wire)
        self.assertEqual(8, len(handler._spare_wires))
