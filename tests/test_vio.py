"""
Tests for L{atstls.eventsystem.vio}.
"""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from atstls.eventsystem import vio as vio_module
from atstls.eventsystem.iobuffer import new_empty_MIOBuffer
from atstls.eventsystem.vio import INT64_MAX, NONE, READ, VIO, NetState
from atstls.interfaces import IVIO
from tests.support import RecordingContinuation


class FakeVC:
    """Takes notes of what its VIO asks for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def reenable(self, vio: VIO) -> None:
        self.asked.append("reenable")
        vio.enabled = True

    def reenable_re(self, vio: VIO) -> None:
        self.asked.append("reenable_re")


class VIOTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.vc = FakeVC()
        self.state = NetState(self.vc)
        self.vio = self.state.vio

    def test_interface(self) -> None:
        """It is what a user is given for a request."""
        self.assertTrue(verifyObject(IVIO, self.vio))

    def test_fresh(self) -> None:
        """A direction that nobody asked anything of is off, and its VIO wants nothing."""
        state = self.state
        flags = (state.enabled, state.triggered, state.polled, state.urgent, state.owed, state.queued)
        self.assertEqual((False,) * 6, flags)
        vio = self.vio
        self.assertEqual((NONE, None, 0, 0, 0), (vio.op, vio.cont, vio.nbytes, vio.ndone, vio.ntodo()))
        self.assertEqual((None, None, False), (vio.writer, vio.reader, vio.is_disabled()))

    def test_small(self) -> None:
        """There are two for each connection, so they carry no dictionary."""
        self.assertFalse(hasattr(self.vio, "__dict__"))
        self.assertFalse(hasattr(self.state, "__dict__"))

    def test_ops_are_all_different(self) -> None:
        """No request is taken for another."""
        names = ("NONE", "READ", "WRITE", "CLOSE", "ABORT", "SHUTDOWN_READ", "SHUTDOWN_WRITE", "SHUTDOWN_READWRITE")
        self.assertEqual(len(names), len({getattr(vio_module, name) for name in names}))

    def test_ntodo(self) -> None:
        """What is left of ten bytes after three is seven; of an endless request, always more than a buffer."""
        self.vio.nbytes, self.vio.ndone = 10, 3
        self.assertEqual(7, self.vio.ntodo())
        self.vio.nbytes = INT64_MAX
        self.assertEqual(2**63 - 4, self.vio.ntodo())

    def test_done_of_a_write(self) -> None:
        """ "No more than this": what is in the buffer now is still sent."""
        reader = new_empty_MIOBuffer(0).alloc_reader()
        self.vio.reader_for(reader)
        reader.buffer.write(b"x" * 300)
        self.vio.nbytes, self.vio.ndone = INT64_MAX, 50
        self.vio.done()
        self.assertEqual((350, 300), (self.vio.nbytes, self.vio.ntodo()))

    def test_done_of_a_read(self) -> None:
        """A read that I am done with wants nothing more."""
        self.vio.writer_for(new_empty_MIOBuffer(0))
        self.vio.nbytes, self.vio.ndone = INT64_MAX, 50
        self.vio.done()
        self.assertEqual(0, self.vio.ntodo())
        self.assertEqual([], self.vc.asked)

    def test_finish(self) -> None:
        """As done(), and it is known that nothing comes after it, until the VIO is used again."""
        reader = new_empty_MIOBuffer(0).alloc_reader()
        reader.buffer.write(b"x" * 3)
        self.vio.reader_for(reader)
        self.assertFalse(self.vio.ends)
        self.vio.finish()
        self.assertEqual((True, 3), (self.vio.ends, self.vio.ntodo()))
        self.vio.stop()
        self.assertFalse(self.vio.ends)

    def test_stop_leaves_the_partner_alone(self) -> None:
        """When one of two partners stops, the other has none."""
        other = NetState(FakeVC()).vio
        self.vio.partner, other.partner = other, self.vio
        self.vio.stop()
        self.assertEqual((None, None), (self.vio.partner, other.partner))

    def test_reenable(self) -> None:
        """Asked once; while it is enabled, asking again costs the connection nothing."""
        self.vio.reenable()
        self.vio.reenable()
        self.assertEqual(["reenable"], self.vc.asked)
        self.vio.reenable_re()
        self.vio.reenable_re()
        self.assertEqual(["reenable", "reenable_re", "reenable_re"], self.vc.asked)

    def test_without_connection(self) -> None:
        """The VIO of a connection that is gone can be used, and nothing happens."""
        self.vio.vc_server = None
        self.vio.reenable()
        self.vio.reenable_re()
        self.vio.disable()
        self.vio.enable()
        self.assertEqual([], self.vc.asked)
        self.assertFalse(self.state.enabled)

    def test_disable(self) -> None:
        """Switched off by hand it is off until switched on, which reenables it (N033)."""
        self.vio.reenable()
        self.vio.disable()
        self.assertEqual((True, False), (self.vio.is_disabled(), self.state.enabled))
        self.vio.enable()
        self.assertEqual((False, True), (self.vio.is_disabled(), self.state.enabled))
        self.assertEqual(["reenable", "reenable"], self.vc.asked)

    def test_set_continuation(self) -> None:
        """Another continuation takes over, or nobody."""
        cont = RecordingContinuation()
        self.vio.set_continuation(cont)
        self.assertIs(cont, self.vio.cont)
        self.vio.set_continuation(None)
        self.assertIsNone(self.vio.cont)

    def test_buffer_accessor(self) -> None:
        """Writing needs a buffer and no reader; reading needs a reader, whose buffer is known then (N020)."""
        buffer = new_empty_MIOBuffer(0)
        reader = buffer.alloc_reader()
        accessor = self.vio.buffer
        accessor.reader_for(reader)
        self.assertEqual((buffer, reader), (accessor.writer, accessor.reader))
        accessor.writer_for(buffer)
        self.assertEqual((buffer, None), (self.vio.writer, self.vio.reader))
        accessor.clear()
        self.assertEqual((None, None), (accessor.writer, accessor.reader))

    def test_stop(self) -> None:
        """Stopped, it is as it was made, except that it still knows its connection."""
        vio = self.vio
        vio.op, vio.nbytes, vio.ndone = READ, 10, 3
        vio.set_continuation(RecordingContinuation())
        vio.writer_for(new_empty_MIOBuffer(0))
        vio.disable()
        vio.stop()
        facts: tuple[Any, ...] = (vio.op, vio.cont, vio.nbytes, vio.ndone, vio.writer, vio.reader, vio.is_disabled())
        self.assertEqual((NONE, None, 0, 0, None, None, False), facts)
        self.assertIs(self.vc, vio.vc_server)
