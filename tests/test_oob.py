"""
Tests for L{atstls.net.oob}: urgent data, and who is told of it.
"""

import errno
import gc
import select
import socket
import weakref
from typing import Any

from atstls.errors import ConnectionClosedError, LocalError
from atstls.events import VC_EVENT_OOB_COMPLETE
from atstls.eventsystem.iobuffer import new_empty_MIOBuffer
from atstls.net.oob import OOB_RETRY_SECONDS
from tests.support import RecordingContinuation, received, tcp_pair
from tests.tlssupport import OverTLS


class FailingSocket:
    """A socket that fails to send as the test says, and then does what it always does."""

    def __init__(self, sock: socket.socket, *errors: int) -> None:
        self._sock = sock
        self.errors = list(errors)

    def send(self, data: bytes, flags: int = 0) -> int:
        if self.errors:
            error = self.errors.pop(0)
            raise OSError(error, "scripted")
        return self._sock.send(data[:2], flags)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class UrgentTests(OverTLS):
    def urgent(self, peer: socket.socket) -> bytes:
        select.select([], [], [peer], 5)
        return peer.recv(10, socket.MSG_OOB)

    def test_sent(self) -> None:
        """The peer gets the byte as urgent data, and I am told when the kernel has it (N038)."""
        vc, peer = self.connection(tcp_pair())
        cont = RecordingContinuation()
        vc.send_OOB(cont, b"!")
        self.assertEqual([], cont.log, "no call-back from within the call")
        self.reactor.settle()
        self.assertEqual((["OOB_COMPLETE"], [vc]), (cont.events, cont.given))
        self.assertEqual(b"!", self.urgent(peer))
        vc.cancel_OOB()
        vc.send_OOB(cont, b"?")
        self.reactor.settle()
        self.assertEqual((["OOB_COMPLETE"] * 2, b"?"), (cont.events, self.urgent(peer)))

    def test_beside_a_stream(self) -> None:
        """The stream around it is whole (N038)."""
        vc, peer = self.connection(tcp_pair())
        reader = new_empty_MIOBuffer(0).alloc_reader()
        reader.buffer.write(b"before")
        vc.do_io_write(RecordingContinuation(), 6, reader)
        self.reactor.settle()
        vc.send_OOB(RecordingContinuation(), b"ab!")
        self.reactor.settle()
        reader.buffer.write(b"after")
        vc.do_io_write(RecordingContinuation(), 5, reader)
        self.reactor.settle()
        self.assertEqual(b"!", self.urgent(peer))
        self.assertEqual(b"beforeabafter", received(peer))

    def test_one_at_a_time(self) -> None:
        """While one is on its way there is no other, and TLS and nothing are refused (N038)."""
        vc, peer = self.connection(tcp_pair())
        cont = RecordingContinuation()
        self.assertRaises(LocalError, vc.send_OOB, cont, b"")
        vc.send_OOB(cont, b"!")
        self.assertRaises(LocalError, vc.send_OOB, cont, b"?")
        self.reactor.settle()
        self.assertEqual(b"!", self.urgent(peer))
        vc.do_io_close()
        self.assertRaises(ConnectionClosedError, vc.send_OOB, cont, b"!")

    def test_not_over_tls(self) -> None:
        """TLS has nothing like it (N038)."""
        vc, _, _ = self.established()
        self.assertRaises(LocalError, vc.send_OOB, RecordingContinuation(), b"!")
        vc.cancel_OOB()

    def test_cancelled(self) -> None:
        """What I call off is not sent, and I am not told (N038)."""
        vc, peer = self.connection(tcp_pair())
        cont = RecordingContinuation()
        vc.send_OOB(cont, b"!")
        vc.cancel_OOB()
        action = vc.send_OOB(cont, b"?")
        action.cancel()
        vc.cancel_OOB()
        self.reactor.settle()
        self.assertEqual(([], b"", []), (cont.log, received(peer), self.reactor.getDelayedCalls()))

    def test_cancelled_by_its_action(self) -> None:
        """Called off by what I was given, it is not in the way of the next."""
        vc, peer = self.connection(tcp_pair())
        cont = RecordingContinuation()
        vc.send_OOB(cont, b"!").cancel()
        vc.send_OOB(cont, b"?")
        self.reactor.settle()
        self.assertEqual((["OOB_COMPLETE"], b"?"), (cont.events, self.urgent(peer)))

    def test_tried_again(self) -> None:
        """A kernel that does not take it, or takes a part, is asked again (N038)."""
        vc, peer = self.connection(tcp_pair())
        vc.socket = FailingSocket(vc.socket, errno.EAGAIN, errno.ENOTCONN)  # type: ignore[assignment]
        cont = RecordingContinuation()
        vc.send_OOB(cont, b"abc")
        self.reactor.turn()
        for _ in range(3):
            self.assertEqual([], cont.log)
            self.reactor.turn(OOB_RETRY_SECONDS)
        self.assertEqual((["OOB_COMPLETE"], b"c"), (cont.events, self.urgent(peer)))

    def test_failed(self) -> None:
        """What cannot be sent is told as an end, with the reason (N038)."""
        vc, _ = self.connection(tcp_pair())
        vc.socket = FailingSocket(vc.socket, errno.EPIPE)  # type: ignore[assignment]
        cont = RecordingContinuation()
        vc.send_OOB(cont, b"!")
        self.reactor.settle()
        self.assertEqual((["EOS"], errno.EPIPE), (cont.events, vc.lerrno))

    def test_closed_meanwhile(self) -> None:
        """A close calls it off, from within the call-back too, and nothing is left (N038)."""
        cont = RecordingContinuation({VC_EVENT_OOB_COMPLETE: lambda vc: vc.do_io_close()})
        vc, _ = self.connection(tcp_pair())
        vc.send_OOB(cont, b"!")
        self.reactor.settle()
        self.assertEqual((["OOB_COMPLETE"], set()), (cont.events, self.handler.open_list))
        del vc
        cont = RecordingContinuation()
        vc, _ = self.connection(tcp_pair())
        vc.send_OOB(cont, b"!")
        vc.do_io_close()
        self.assertEqual([], self.reactor.getDelayedCalls())
        self.reactor.settle()
        self.assertEqual([], cont.log)
        reference = weakref.ref(vc)
        del vc
        gc.collect()
        self.assertIsNone(reference())

    def test_a_bug(self) -> None:
        """A bug of who is told ends his connection."""

        def break_down(vc: Any) -> None:
            raise ValueError("a bug")

        vc, _ = self.connection(tcp_pair())
        vc.send_OOB(RecordingContinuation({VC_EVENT_OOB_COMPLETE: break_down}), b"!")
        self.reactor.settle()
        self.assertEqual((1, set()), (vc.closed, self.handler.open_list))
        self.assertEqual(1, len(self.flushLoggedErrors(ValueError)))


globals().update(UrgentTests.make_test_case_classes())
