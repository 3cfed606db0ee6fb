"""
Tests for L{atstls.net.cop}: who is late, who is told, and when.
"""

import socket
import struct
from typing import Any

from twisted.internet.task import Clock, LoopingCall
from zope.interface.verify import verifyObject

from atstls.events import (
    VC_EVENT_ACTIVE_TIMEOUT,
    VC_EVENT_INACTIVITY_TIMEOUT,
    VC_EVENT_READ_READY,
)
from atstls.eventsystem import vio as ops
from atstls.eventsystem.iobuffer import new_empty_MIOBuffer
from atstls.eventsystem.vio import INT64_MAX, VIO
from atstls.interfaces import IInactivityCop
from atstls.net.cop import LOST_SECONDS, InactivityCop
from atstls.net.unixvc import UnixNetVConnection
from tests.support import Moved, OverBothPolls, RecordingContinuation, received, tcp_pair


class CopTests(OverBothPolls):
    def setUp(self) -> None:
        LoopingCall(lambda: None)  # The first one opens the process's own reactor: let its descriptors be there before.
        super().setUp()
        self.cop = InactivityCop(self.handler, self.reactor, default_inactivity_seconds=0)
        self.cop.startService()
        self.moved = Moved()

    def tearDown(self) -> None:
        self.cop.stopService()
        super().tearDown()

    def pass_time(self, seconds: float) -> None:
        """Let so many seconds pass, a tenth at a time."""
        for _ in range(round(seconds * 10)):
            self.reactor.turn(0.1)

    def idle(self) -> tuple[UnixNetVConnection, Any, RecordingContinuation]:
        """A connection whose user waits for bytes."""
        vc, peer = self.connection()
        reader = new_empty_MIOBuffer(0).alloc_reader()
        cont = RecordingContinuation({VC_EVENT_READ_READY: lambda vio: reader.read()})
        vc.do_io_read(cont, INT64_MAX, reader.buffer)
        self.reactor.settle()
        return vc, peer, cont

    def timeouts(self, cont: RecordingContinuation) -> list[str]:
        return [name for name in cont.events if name.endswith("TIMEOUT")]

    def test_interface(self) -> None:
        """It patrols."""
        self.assertTrue(verifyObject(IInactivityCop, self.cop))

    def test_inactivity_comes_within_a_patrol(self) -> None:
        """A timeout of one second comes between one and two seconds after the last byte, never before (N070, N074)."""
        for offset in range(10):
            self.pass_time(0.1 * offset)
            vc, _, cont = self.idle()
            began = self.reactor.seconds()
            vc.set_inactivity_timeout(1)
            while not cont.log:
                self.reactor.turn(0.1)
            took = self.reactor.seconds() - began
            self.assertTrue(0.999 <= took <= 2.001, took)
            self.assertEqual(["INACTIVITY_TIMEOUT"], cont.events)
            vc.do_io_close()

    def test_lost_and_without_room(self) -> None:
        """A peer that was reset while I have no room for its bytes is not waited for as long as a silent one."""
        if self.kind != "edge":
            return  # A reactor does not watch what nobody wants to read.
        vc, peer = self.connection(tcp_pair())
        reader = new_empty_MIOBuffer(0).alloc_reader()
        cont = RecordingContinuation()
        vc.do_io_read(cont, INT64_MAX, reader.buffer)
        peer.send(bytes(1000))
        self.reactor.settle()
        self.assertFalse(vc.read.enabled)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        self.pass_time(LOST_SECONDS - 1)
        self.assertEqual([], self.timeouts(cont))
        self.pass_time(2.5)
        self.assertEqual(["INACTIVITY_TIMEOUT"], self.timeouts(cont))
        vc.do_io_close()

    def test_inactivity_moves_with_bytes(self) -> None:
        """While bytes come, or go, nobody is idle (N070)."""
        vc, peer, cont = self.idle()
        vc.set_inactivity_timeout(3)
        source = new_empty_MIOBuffer(0).alloc_reader()
        written = RecordingContinuation()
        vc.do_io_write(written, INT64_MAX, source)
        for step in range(10):
            self.pass_time(2)
            if step % 2:
                peer.send(b"x")
            else:
                source.buffer.write(b"y")
                vc.write.vio.reenable()
        self.assertEqual(([], []), (self.timeouts(cont), self.timeouts(written)))
        self.assertEqual(b"y" * 5, received(peer))
        self.pass_time(4.1)
        self.assertEqual(
            (["INACTIVITY_TIMEOUT"], ["INACTIVITY_TIMEOUT"]), (self.timeouts(cont), self.timeouts(written))
        )

    def test_inactivity_is_one_shot(self) -> None:
        """It comes once; I set it again if I want it again; the connection stays usable (N072)."""
        vc, peer, cont = self.idle()
        vc.set_inactivity_timeout(1)
        self.pass_time(10)
        self.assertEqual(["INACTIVITY_TIMEOUT"], cont.events)
        peer.send(b"x")
        self.pass_time(10)
        self.assertEqual(["INACTIVITY_TIMEOUT", "READ_READY"], cont.events)
        vc.set_inactivity_timeout(1)
        self.pass_time(3)
        self.assertEqual(["INACTIVITY_TIMEOUT", "READ_READY", "INACTIVITY_TIMEOUT"], cont.events)

    def test_set_again_from_within(self) -> None:
        """One that sets it again in the call-back is told every time."""
        vc, _, cont = self.idle()
        cont.script[VC_EVENT_INACTIVITY_TIMEOUT] = lambda vio: vio.vc_server.set_inactivity_timeout(1)
        vc.set_inactivity_timeout(1)
        self.pass_time(8.1)
        self.assertTrue(4 <= len(cont.log) <= 8, cont.log)

    def test_active_does_not_move(self) -> None:
        """However busy it is, the connection's time is up when I said (N071, O27)."""
        vc, peer, cont = self.idle()
        vc.set_active_timeout(5)
        vc.set_inactivity_timeout(3)
        for _ in range(4):
            peer.send(b"x")
            self.pass_time(1)
        self.assertEqual([], self.timeouts(cont))
        peer.send(b"x")
        self.pass_time(2.1)
        self.assertEqual(["ACTIVE_TIMEOUT"], self.timeouts(cont))
        peer.send(b"x")
        self.pass_time(2)
        self.assertEqual(["ACTIVE_TIMEOUT"], self.timeouts(cont), "once")

    def test_zero_and_cancel(self) -> None:
        """0 is off, and so is cancelling; the periods can be read back (N072)."""
        vc, _, cont = self.idle()
        vc.set_inactivity_timeout(2)
        vc.set_active_timeout(3)
        self.assertEqual((2, 3), (vc.get_inactivity_timeout(), vc.get_active_timeout()))
        vc.set_inactivity_timeout(0)
        vc.set_active_timeout(0)
        self.assertEqual((0, 0), (vc.get_inactivity_timeout(), vc.get_active_timeout()))
        self.pass_time(10)
        vc.set_inactivity_timeout(2)
        vc.set_active_timeout(3)
        vc.cancel_inactivity_timeout()
        vc.cancel_active_timeout()
        self.assertEqual((0, 0), (vc.get_inactivity_timeout(), vc.get_active_timeout()))
        self.pass_time(10)
        self.assertEqual([], cont.log)

    def test_inactivity_comes_first(self) -> None:
        """When both are due it is INACTIVITY that is told, and ACTIVE in the next patrol (N077)."""
        vc, _, cont = self.idle()
        vc.set_active_timeout(0.5)
        vc.set_inactivity_timeout(0.5)
        self.pass_time(1.1)
        self.assertEqual(["INACTIVITY_TIMEOUT"], cont.events)
        self.pass_time(1)
        self.assertEqual(["INACTIVITY_TIMEOUT", "ACTIVE_TIMEOUT"], cont.events)

    def test_without_a_buffer(self) -> None:
        """A user who waits with no buffer gets no bytes but is told of timeouts: a kept-alive connection (N036)."""
        vc, peer = self.connection()
        cont = RecordingContinuation()
        vc.do_io_read(cont, INT64_MAX, None)
        vc.set_inactivity_timeout(1)
        vc.set_active_timeout(5)
        peer.send(b"x")
        self.pass_time(8)
        self.assertEqual(["INACTIVITY_TIMEOUT", "ACTIVE_TIMEOUT"], cont.events)

    def test_both_directions_off(self) -> None:
        """While nothing is wanted of a connection its idleness is not counted; from when it is, it is (N053, N055)."""
        vc, _ = self.connection()
        cont = RecordingContinuation()
        reader = new_empty_MIOBuffer(0).alloc_reader()
        vc.do_io_read(cont, INT64_MAX, reader.buffer)
        vc.set_inactivity_timeout(2)
        vc.do_io_read(cont, INT64_MAX, None)
        self.pass_time(10)
        self.assertEqual(([], 2), (cont.log, vc.get_inactivity_timeout()))
        vc.do_io_read(cont, INT64_MAX, reader.buffer)
        self.pass_time(1.9)
        self.assertEqual([], cont.log)
        self.pass_time(1.2)
        self.assertEqual(["INACTIVITY_TIMEOUT"], cont.events)

    def test_period_begins_when_it_is_enabled(self) -> None:
        """The timer that starts with reenable starts then, not when the last turn was."""
        vc, _, cont = self.idle()
        vc.set_inactivity_timeout(1)
        vc.read.vio.disable()
        vc._disable(vc.read)
        self.pass_time(5)
        self.reactor.rightNow += 0.9
        vc.read.vio.enable()
        began = self.reactor.seconds()
        while not cont.log:
            self.reactor.turn(0.05)
        self.assertGreaterEqual(self.reactor.seconds() - began, 0.999)

    def test_reader_then_writer(self) -> None:
        """Two users of one connection are both told, the reader first (N073)."""
        for kind, event in (("inactivity", "INACTIVITY_TIMEOUT"), ("active", "ACTIVE_TIMEOUT")):
            log: list[Any] = []
            vc, _, _, _ = self.two_users(log)
            self.begin(vc, kind)
            self.pass_time(2.1)
            self.assertEqual([event, event], [name.removeprefix("VC_EVENT_") for name, _, _ in log])
            self.assertEqual([INT64_MAX, 5], [nbytes for _, _, nbytes in log])
            vc.do_io_close()

    def two_users(self, log: list[Any] | None = None) -> tuple[Any, ...]:
        vc, peer = self.connection()
        read, written = RecordingContinuation(shared_log=log), RecordingContinuation(shared_log=log)
        vc.do_io_read(read, INT64_MAX, new_empty_MIOBuffer(0))
        vc.do_io_write(written, 5, new_empty_MIOBuffer(0).alloc_reader())
        self.reactor.settle()
        read.log.clear()
        written.log.clear()
        return vc, peer, read, written

    def begin(self, vc: UnixNetVConnection, kind: str) -> None:
        (vc.set_inactivity_timeout if kind == "inactivity" else vc.set_active_timeout)(1)

    def test_one_user_is_told_once(self) -> None:
        """A user of both directions is told once (N073)."""
        for kind in ("inactivity", "active"):
            vc, _, read, _ = self.two_users()
            vc.do_io_write(read, 5, new_empty_MIOBuffer(0).alloc_reader())
            self.reactor.settle()
            read.log.clear()
            self.begin(vc, kind)
            self.pass_time(2.1)
            self.assertEqual(1, len(read.log))
            self.assertEqual({vc}, self.handler.open_list)
            vc.do_io_close()

    def test_set_again_by_the_reader(self) -> None:
        """A reader who sets the timer again speaks for both: the writer is not told (N073)."""
        for kind, event in (("inactivity", VC_EVENT_INACTIVITY_TIMEOUT), ("active", VC_EVENT_ACTIVE_TIMEOUT)):
            vc, _, read, written = self.two_users()
            read.script[event] = [lambda vio, kind=kind: self.begin(vio.vc_server, kind)]
            self.begin(vc, kind)
            self.pass_time(2.1)
            self.assertEqual((1, 0), (len(read.log), len(written.log)))
            vc.do_io_close()

    def test_writer_replaced_by_the_reader(self) -> None:
        """A writer that the reader has just put there is not told of what was before it (N073)."""
        vc, _, read, written = self.two_users()
        newcomer = RecordingContinuation()
        read.script[VC_EVENT_INACTIVITY_TIMEOUT] = lambda vio: vio.vc_server.write.vio.set_continuation(newcomer)
        self.begin(vc, "inactivity")
        self.pass_time(2.1)
        self.assertEqual((1, 0, 0), (len(read.log), len(written.log), len(newcomer.log)))

    def test_only_a_writer(self) -> None:
        """A user who only writes is told."""
        vc, _ = self.connection()
        cont = RecordingContinuation()
        vc.do_io_write(cont, 5, new_empty_MIOBuffer(0).alloc_reader())
        self.reactor.settle()
        cont.log.clear()
        vc.set_inactivity_timeout(1)
        self.pass_time(2.1)
        self.assertEqual(["INACTIVITY_TIMEOUT"], cont.events)
        self.assertEqual({vc}, self.handler.open_list)

    def test_direction_that_was_taken_back(self) -> None:
        """One direction that was taken back does not end the connection under the user of the other."""
        for reading in (True, False):
            vc, _ = self.connection()
            cont = RecordingContinuation()
            if reading:
                vc.do_io_write(None, 0, None)
                vc.do_io_read(cont, INT64_MAX, new_empty_MIOBuffer(0))
            else:
                vc.do_io_read(None, 0, None)
                vc.do_io_write(cont, 5, new_empty_MIOBuffer(0).alloc_reader())
            self.reactor.settle()
            cont.log.clear()
            vc.set_inactivity_timeout(1)
            self.pass_time(2.1)
            self.assertEqual((["INACTIVITY_TIMEOUT"], 0), (cont.events, vc.closed))
            vc.do_io_close()

    def test_nobody_to_be_told(self) -> None:
        """A connection that nobody uses does not stay for ever: its timeout closes it (N035)."""

        def nothing(vc: UnixNetVConnection) -> None:
            pass

        def read_taken_back(vc: UnixNetVConnection) -> None:
            vc.do_io_read(None, 0, None)

        def write_taken_back(vc: UnixNetVConnection) -> None:
            vc.do_io_write(None, 0, None)

        def both_taken_back(vc: UnixNetVConnection) -> None:
            vc.do_io_read(None, 0, None)
            vc.do_io_write(None, 0, None)

        def ended(vc: UnixNetVConnection) -> None:
            vc.do_io_shutdown(ops.SHUTDOWN_READWRITE)

        for begin in (nothing, read_taken_back, write_taken_back, both_taken_back, ended):
            for kind in ("inactivity", "active"):
                vc, _ = self.connection()
                begin(vc)
                self.begin(vc, kind)
                self.pass_time(2.1)
                self.assertEqual((1, set()), (vc.closed, self.handler.open_list), begin.__name__)

    def test_default(self) -> None:
        """One who set no period has the default's, which is told like his own, and counted (N075)."""
        self.cop.default_inactivity_seconds = 5
        vc, peer, cont = self.idle()
        self.pass_time(4)
        peer.send(b"x")
        self.pass_time(4.9)
        self.assertEqual([], self.timeouts(cont))
        self.pass_time(1.2)
        counted = self.moved
        self.assertEqual((1, ["INACTIVITY_TIMEOUT"]), (counted.default_inactivity_timeout_count, self.timeouts(cont)))
        # It is not his own: nothing was stored.
        self.assertEqual((0, False), (vc.get_inactivity_timeout(), vc.inactivity_running))
        # A user who goes on in spite of it is told again after another such time, not every second.
        self.pass_time(6.2)
        self.assertEqual((2, 2), (len(self.timeouts(cont)), self.moved.default_inactivity_timeout_count))

    def test_default_and_own(self) -> None:
        """His own period counts, longer or shorter; the default neither adds to it nor takes its place (O29)."""
        self.cop.default_inactivity_seconds = 3
        vc, _, cont = self.idle()
        vc.set_inactivity_timeout(6)
        self.pass_time(5.9)
        self.assertEqual([], cont.log)
        self.pass_time(1.2)
        self.assertEqual((["INACTIVITY_TIMEOUT"], 0), (cont.events, self.moved.default_inactivity_timeout_count))
        # He was told and has not set it again: from now on the default's period counts.
        self.pass_time(1.5)
        self.assertEqual(1, len(cont.log))
        self.pass_time(2.7)
        self.assertEqual((2, 1), (len(cont.log), self.moved.default_inactivity_timeout_count))

    def test_default_only_while_something_is_wanted(self) -> None:
        """A connection that nobody wants anything of at the moment has no default (O29, N076)."""
        self.cop.default_inactivity_seconds = 2
        vc, _ = self.connection()
        cont = RecordingContinuation()
        vc.do_io_read(cont, INT64_MAX, None)
        self.pass_time(10)
        self.assertEqual([], cont.log)
        vc.do_io_read(cont, INT64_MAX, new_empty_MIOBuffer(0))
        self.pass_time(1.1)
        self.assertEqual(["INACTIVITY_TIMEOUT"], cont.events)

    def test_default_off(self) -> None:
        """With 0 as the default one who set nothing may be silent for ever."""
        vc, _, cont = self.idle()
        self.reactor.turn(1e9)
        self.pass_time(2)
        self.assertEqual(([], {vc}), (cont.log, self.handler.open_list))

    def test_deadline(self) -> None:
        """A state's own deadline ends the connection, bytes or not, and nobody is told."""
        vc, peer, cont = self.idle()
        vc.deadline = self.reactor.seconds() + 2
        for _ in range(18):
            peer.send(b"x")
            self.reactor.turn(0.1)
        self.assertNotIn("EOS", cont.events)
        told = len(cont.log)
        self.pass_time(1.5)
        self.assertEqual((set(), 0.0), (self.handler.open_list, vc.deadline))
        self.assertEqual([], self.timeouts(cont))
        self.assertLessEqual(len(cont.log) - told, 1)

    def test_several_late_ones(self) -> None:
        """Of several that are late each is looked at afresh: one that another has closed is not told."""
        vcs = [self.idle() for _ in range(4)]

        def close_all(vio: VIO) -> None:
            for vc, _, _ in vcs:
                vc.do_io_close()

        for vc, _, cont in vcs:
            vc.set_inactivity_timeout(1)
            cont.script[VC_EVENT_INACTIVITY_TIMEOUT] = close_all
        self.pass_time(2.1)
        self.assertEqual(1, sum(len(cont.log) for _, _, cont in vcs))
        self.assertEqual(set(), self.handler.open_list)

    def test_late_one_that_another_saved(self) -> None:
        """One whose timer another user has set again meanwhile is not told."""
        vcs = [self.idle() for _ in range(3)]

        def save_all(vio: VIO) -> None:
            for vc, _, _ in vcs:
                vc.set_inactivity_timeout(100)

        for vc, _, cont in vcs:
            vc.set_inactivity_timeout(1)
            cont.script[VC_EVENT_INACTIVITY_TIMEOUT] = save_all
        self.pass_time(2.1)
        self.assertEqual(1, sum(len(cont.log) for _, _, cont in vcs))

    def test_bug_of_a_user(self) -> None:
        """A bug in one user's call-back is logged, ends that connection, and the patrol goes on (1.6)."""
        vcs = [self.idle() for _ in range(3)]

        def bug(vio: VIO) -> None:
            raise ZeroDivisionError("a bug of the user's")

        for vc, _, _ in vcs:
            vc.set_inactivity_timeout(1)
        vcs[1][2].script[VC_EVENT_INACTIVITY_TIMEOUT] = bug
        self.pass_time(2.1)
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.assertEqual([1, 1, 1], [len(cont.log) for _, _, cont in vcs])
        self.assertEqual({vcs[0][0], vcs[2][0]}, self.handler.open_list)
        self.pass_time(2)
        self.assertTrue(self.cop._loop.running)

    def test_memory_of_the_silent(self) -> None:
        """A connection that was busy gives back what it does not need a second after its last byte, not before."""
        vc, peer, _ = self.idle()
        self.pass_time(0.5)
        vc.bulky = True
        peer.send(b"x")
        self.pass_time(0.7)
        self.assertTrue(vc.bulky)
        self.pass_time(2)
        self.assertFalse(vc.bulky)

    def test_closed_and_still_sending(self) -> None:
        """One that is closed and only waits for its last bytes to go is told nothing."""
        vc, _, cont = self.idle()
        vc.set_active_timeout(1)
        vc.closed = 1
        self.pass_time(3)
        self.assertEqual([], cont.log)
        vc.free()

    def test_start_and_stop(self) -> None:
        """It patrols between start and stop, as often as it was told, and leaves nothing behind."""
        clock = Clock()
        cop = InactivityCop(self.handler, clock, frequency_seconds=5)
        patrols = []
        cop._loop.f = lambda: patrols.append(clock.seconds())
        clock.advance(100)
        self.assertEqual([], patrols)
        cop.startService()
        clock.pump([1] * 11)
        self.assertEqual([105, 110], patrols)
        cop.stopService()
        cop.stopService()
        self.assertEqual([], clock.getDelayedCalls())


globals().update(CopTests.make_test_case_classes())
