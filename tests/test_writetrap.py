"""
Tests for L{UnixNetVConnection.trap_write_buffer_empty}: who wants to know that all has left the buffer.
"""

import gc
import weakref
from typing import Any

from atstls.events import VC_EVENT_INACTIVITY_TIMEOUT, VC_EVENT_WRITE_READY
from atstls.eventsystem.iobuffer import IOBufferReader, new_empty_MIOBuffer
from atstls.eventsystem.vio import INT64_MAX
from atstls.net.unixvc import UnixNetVConnection
from atstls.session.tunnel import OneWayTunnel
from tests.support import RecordingContinuation, unix_pair
from tests.tlssupport import OverTLS

MARK = VC_EVENT_INACTIVITY_TIMEOUT
"""An event that nothing else here tells."""


class TrapTests(OverTLS):
    def sides(self) -> list[tuple[Any, Any]]:
        """A plain connection and one over TLS, each with what takes its peer's bytes."""
        plain, sock = self.connection()
        vc, peer, _ = self.established()

        def taken() -> bytes:
            self.run_peers(peer)
            found, peer.plain = bytes(peer.plain), bytearray()
            return found

        return [(plain, lambda: sock.recv(100000)), (vc, taken)]

    def writing(self, vc: Any, nbytes: int = INT64_MAX) -> tuple[RecordingContinuation, IOBufferReader]:
        cont = RecordingContinuation()
        reader = new_empty_MIOBuffer(0).alloc_reader()
        vc.do_io_write(cont, nbytes, reader)
        self.reactor.settle()
        cont.log.clear()
        return cont, reader

    def send(self, vc: Any, reader: IOBufferReader, data: bytes) -> None:
        reader.buffer.write(data)
        vc.write.vio.reenable()
        self.reactor.settle()

    def test_told_once(self) -> None:
        """The next write that empties the buffer is told; those after it are not (N039)."""
        for vc, taken in self.sides():
            kind = type(vc)
            cont, reader = self.writing(vc)
            vc.trap_write_buffer_empty(MARK)
            self.assertEqual([], cont.events)
            self.send(vc, reader, b"hello")
            self.assertEqual((["WRITE_READY", "INACTIVITY_TIMEOUT"], b"hello"), (cont.events, taken()))
            self.assertEqual([0, 5], [ndone for _, ndone, _ in cont.log])
            cont.log.clear()
            self.send(vc, reader, b"again")
            self.assertEqual((["WRITE_READY"], b"again"), (cont.events, taken()))
            self.assertIs(kind, type(vc))

    def test_costs_nothing_after(self) -> None:
        """Only while it waits is the connection another; it is of the same kind, size and name all the same."""
        for vc, _ in self.sides():
            kind, text = type(vc), repr(vc)
            vc.trap_write_buffer_empty()
            self.assertIsInstance(vc, kind)
            self.assertEqual((text, kind.__basicsize__), (repr(vc), type(vc).__basicsize__))
            vc.trap_write_buffer_empty(0)
            self.assertIs(kind, type(vc))

    def test_taken_back(self) -> None:
        """0 takes it back, and another event takes its place."""
        for vc, _ in self.sides():
            cont, reader = self.writing(vc)
            vc.trap_write_buffer_empty(0)
            vc.trap_write_buffer_empty(MARK)
            vc.trap_write_buffer_empty(0)
            self.send(vc, reader, b"x")
            self.assertEqual(["WRITE_READY"], cont.events)
            vc.trap_write_buffer_empty(MARK)
            vc.trap_write_buffer_empty()
            self.send(vc, reader, b"x")
            self.assertEqual(["WRITE_READY"] * 3, cont.events)

    def test_not_beside_another_event(self) -> None:
        """A pass that tells of something after its write tells nothing more, and the trap is spent."""
        for vc, _ in self.sides():
            cont, reader = self.writing(vc, 3)
            vc.trap_write_buffer_empty(MARK)
            self.send(vc, reader, b"abc")
            self.assertEqual(["WRITE_COMPLETE"], cont.events)
            cont, reader = self.writing(vc)
            self.send(vc, reader, b"abc")
            self.assertEqual(["WRITE_READY"], cont.events)

    def test_more_from_within(self) -> None:
        """What is written while I am told goes out without being asked for, as after WRITE_READY."""
        for vc, taken in self.sides():
            cont, reader = self.writing(vc)
            cont.script[MARK] = lambda vio: vio.buffer.writer.write(b" world")
            vc.trap_write_buffer_empty(MARK)
            self.send(vc, reader, b"hello")
            self.assertEqual(["WRITE_READY", "INACTIVITY_TIMEOUT", "WRITE_READY"], cont.events)
            self.assertEqual(b"hello world", taken())

    def test_not_empty_yet(self) -> None:
        """A write that leaves bytes in the buffer is not the one."""
        vc, sock = self.connection()
        cont, reader = self.writing(vc)
        vc.trap_write_buffer_empty(MARK)
        self.send(vc, reader, bytes(4 << 20))
        self.assertNotIn("INACTIVITY_TIMEOUT", cont.events)
        total = 0
        while total < 4 << 20:
            total += len(sock.recv(1 << 20))
            self.reactor.settle()
        self.assertEqual(0, reader.avail)
        # The write that emptied the full buffer was followed by WRITE_READY, or else by this.
        self.assertIs(UnixNetVConnection, type(vc))
        self.assertIn(cont.events[-1], ("WRITE_READY", "INACTIVITY_TIMEOUT"))

    def test_between_partners(self) -> None:
        """In a tunnel, whose connections tell of nothing, it is told to the tunnel, which goes on."""
        source, sender = self.connection()
        target, receiver = self.connection()
        told = RecordingContinuation()
        OneWayTunnel(source, target, told)
        target.trap_write_buffer_empty(VC_EVENT_WRITE_READY)
        for piece in (b"one", b"two"):
            sender.send(piece)
            self.reactor.settle()
            self.assertEqual(piece, receiver.recv(100))
        self.assertIs(UnixNetVConnection, type(target))
        sender.close()
        self.reactor.settle()
        self.assertEqual(["EOS"], told.events)

    def test_closed(self) -> None:
        """A connection that is closed while somebody waits tells nothing, and nothing of it is left."""
        for index, (vc, _) in enumerate(self.sides()):
            cont, reader = self.writing(vc)
            vc.trap_write_buffer_empty(MARK)
            if index:
                cont.script[VC_EVENT_WRITE_READY] = lambda vio: vio.vc_server.do_io_close()
            else:
                cont.script[VC_EVENT_WRITE_READY] = lambda vio: vio.buffer.writer.write(b"y")
                cont.script[MARK] = lambda vio: vio.vc_server.do_io_close()
            self.send(vc, reader, b"x")
            self.assertEqual(["WRITE_READY", "INACTIVITY_TIMEOUT"][: 2 - index], cont.events)
            self.assertTrue(vc.closed)
            vc.trap_write_buffer_empty(MARK)
            self.reactor.settle()

    def test_collected(self) -> None:
        """Waiting does not keep a connection alive."""
        ours, theirs = unix_pair()
        vc: Any = UnixNetVConnection(self.handler)
        vc.start(ours)
        vc.trap_write_buffer_empty(MARK)
        vc.do_io_close()
        theirs.close()
        self.reactor.settle()
        gone = weakref.ref(vc)
        del vc
        gc.collect()
        self.assertIsNone(gone())

    def test_new_request(self) -> None:
        """Who is told may put another request in the place of the first."""
        vc, sock = self.connection()
        cont, reader = self.writing(vc)
        second = RecordingContinuation()
        other = new_empty_MIOBuffer(0).alloc_reader()
        other.buffer.write(b"second")
        cont.script[MARK] = lambda vio: vc.do_io_write(second, 6, other)
        vc.trap_write_buffer_empty(MARK)
        self.send(vc, reader, b"first")
        self.assertEqual((["WRITE_COMPLETE"], b"firstsecond"), (second.events, sock.recv(100)))


globals().update(TrapTests.make_test_case_classes())
