"""
Tests for L{atstls.net.unixvc}: what a user of a connection is told, in which order, and what is left over.
"""

import copy
import errno
import gc
import os
import socket
import threading
import unittest.mock
import weakref
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from atstls.errors import LocalError, PeerVanished
from atstls.events import (
    VC_EVENT_ACTIVE_TIMEOUT,
    VC_EVENT_EOS,
    VC_EVENT_ERROR,
    VC_EVENT_INACTIVITY_TIMEOUT,
    VC_EVENT_READ_COMPLETE,
    VC_EVENT_READ_READY,
    VC_EVENT_WRITE_COMPLETE,
    VC_EVENT_WRITE_READY,
)
from atstls.eventsystem import vio as ops
from atstls.eventsystem.iobuffer import IOBufferReader, MIOBuffer, buffer_size, new_empty_MIOBuffer
from atstls.eventsystem.vio import INT64_MAX, VIO, NetState
from atstls.interfaces import INetVConnection
from atstls.net.unixvc import UnixNetVConnection
from atstls.session.splice import HAVE_SPLICE, PipeBuffer
from atstls.session.splice import empty_pool as empty_pipe_pool
from tests.support import (
    HandReactor,
    OverBothPolls,
    RecordingContinuation,
    make_handler,
    open_descriptors,
    received,
    reset,
    tcp_pair,
    unix_pair,
)

ENDLESS = INT64_MAX


class ScriptedSocket:
    """A socket of which some calls fail as the test says, and then do what they always do."""

    def __init__(self, sock: socket.socket, **errors: Sequence[int | OSError]) -> None:
        self._sock = sock
        self._errors = {name: list(some) for name, some in errors.items()}
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._sock, name)
        if name not in ("recv_into", "send", "sendmsg", "getpeername", "getsockname", "shutdown", "setsockopt"):
            return real

        def call(*args: Any) -> Any:
            self.calls.append(name)
            errors = self._errors.get(name)
            if errors:
                error = errors.pop(0)
                raise error if isinstance(error, OSError) else OSError(error, os.strerror(error))
            return real(*args)

        return call


class ConnectionTests(OverBothPolls):
    """What the tests below have in common."""

    def reading(
        self, vc: UnixNetVConnection, nbytes: int = ENDLESS, index: int = 5, cont: RecordingContinuation | None = None
    ) -> tuple[RecordingContinuation, IOBufferReader, VIO]:
        """Ask for bytes; the continuation, where they can be read, the VIO."""
        cont = cont or RecordingContinuation()
        reader = new_empty_MIOBuffer(index).alloc_reader()
        vio = vc.do_io_read(cont, nbytes, reader.buffer)
        assert vio is not None
        return cont, reader, vio

    def writing(
        self,
        vc: UnixNetVConnection,
        data: bytes,
        nbytes: int = ENDLESS,
        index: int = 5,
        cont: RecordingContinuation | None = None,
    ) -> tuple[RecordingContinuation, IOBufferReader, VIO]:
        """Ask that bytes be sent, of which the buffer has C{data} already."""
        cont = cont or RecordingContinuation()
        reader = new_empty_MIOBuffer(index).alloc_reader()
        reader.buffer.write(data)
        vio = vc.do_io_write(cont, nbytes, reader)
        assert vio is not None
        return cont, reader, vio

    def settle(self) -> None:
        self.reactor.settle()
        self.assert_idle()

    def script(self, vc: UnixNetVConnection, **errors: Sequence[int | OSError]) -> ScriptedSocket:
        scripted = ScriptedSocket(vc.socket, **errors)
        vc.socket = scripted  # type: ignore[assignment]
        return scripted


class ReadTests(ConnectionTests):
    """Reading."""

    def test_ready_then_complete(self) -> None:
        """Each piece is told with READ_READY, the last of those wanted with READ_COMPLETE and nothing else (N032)."""
        vc, peer = self.connection()
        cont, reader, vio = self.reading(vc, 10)
        self.settle()
        self.assertEqual([], cont.log)
        peer.send(b"0123")
        self.settle()
        peer.send(b"456789")
        self.settle()
        self.assertEqual([("VC_EVENT_READ_READY", 4, 10), ("VC_EVENT_READ_COMPLETE", 10, 10)], cont.log)
        self.assertEqual(b"0123456789", reader.read())
        self.assertEqual((False, 0), (vc.read.enabled, vio.ntodo()))

    def test_bytes_that_came_before(self) -> None:
        """Bytes that were there before I asked are given to me, whenever I ask."""
        vc, peer = self.connection()
        peer.send(b"early")
        self.settle()
        cont, reader, _ = self.reading(vc)
        self.assertEqual([], cont.log, "no call-back from within the call")
        self.settle()
        self.assertEqual((["READ_READY"], b"early"), (cont.events, reader.read()))

    def test_never_more_than_asked(self) -> None:
        """I get ten bytes when I ask for ten, and the others when I ask for them (O18)."""
        vc, peer = self.connection()
        peer.send(b"0123456789abcdef")
        cont, reader, _ = self.reading(vc, 10)
        self.settle()
        self.assertEqual((["READ_COMPLETE"], b"0123456789"), (cont.events, reader.read()))
        cont, reader, _ = self.reading(vc, 10)
        self.settle()
        self.assertEqual(([("VC_EVENT_READ_READY", 6, 10)], b"abcdef"), (cont.log, reader.read()))

    def test_data_before_the_end(self) -> None:
        """What the peer sent before it left is given to me first, then EOS, once (1.4)."""
        for pair in (unix_pair, tcp_pair):
            vc, peer = self.connection(pair())
            cont, reader, _ = self.reading(vc)
            peer.send(b"last words")
            peer.close()
            self.reactor.turn_until(lambda cont=cont: "EOS" in cont.events)
            self.settle()
            self.assertEqual((["READ_READY", "EOS"], b"last words"), (cont.events, reader.read()))
            self.assertEqual((True, 0, None), (vc.clean_shutdown, vc.lerrno, vc.error))
            self.assertEqual((False, False), (vc.read.enabled, vc.closed != 0))

    def test_end_after_complete(self) -> None:
        """An end behind the last byte that I wanted is told when I ask for more."""
        vc, peer = self.connection()
        cont, _, _ = self.reading(vc, 4)
        peer.send(b"1234")
        peer.close()
        self.settle()
        self.assertEqual(["READ_COMPLETE"], cont.events)
        cont, _, _ = self.reading(vc)
        self.settle()
        self.assertEqual(["EOS"], cont.events)

    def test_asked_behind_the_end(self) -> None:
        """Who asks again behind the end is told again, and does not wait for what cannot come."""
        for end in ("fin", "reset"):
            vc, peer = self.connection(tcp_pair())
            first, _, _ = self.reading(vc)
            if end == "fin":
                peer.close()
            else:
                reset(peer)
            self.reactor.turn_until(lambda cont=first: cont.events)
            facts = (vc.clean_shutdown, vc.lerrno)
            second, _, _ = self.reading(vc)
            self.settle()
            self.assertEqual((["EOS"], ["EOS"], facts), (first.events, second.events, (vc.clean_shutdown, vc.lerrno)))

    def test_asking_for_ever(self) -> None:
        """Who asks again each time that it is told of the end keeps nobody else from being served."""
        vc, peer = self.connection()
        buffer = MIOBuffer()
        asking = RecordingContinuation({VC_EVENT_EOS: lambda _: vc.do_io_read(asking, 10, buffer)})
        vc.do_io_read(asking, 10, buffer)
        peer.close()
        other, its_peer = self.connection()
        cont, reader, _ = self.reading(other)
        for _ in range(3):
            self.reactor.turn()
        its_peer.send(b"question")
        self.reactor.turn_until(lambda: cont.events, turns=10)
        self.assertEqual(b"question", reader.read())
        self.assertEqual({"EOS"}, set(asking.events))
        vc.do_io_close()
        told = len(asking.events)
        self.settle()
        self.assertEqual(told, len(asking.events))

    def test_one_end(self) -> None:
        """A request has one end (6.4): reenabled behind it, it is not told of what comes then."""
        vc, peer = self.connection()
        cont, _, vio = self.reading(vc)
        peer.shutdown(socket.SHUT_WR)
        self.settle()
        for again in (vio.reenable, vio.enable, vio.reenable_re):
            again()
            self.settle()
            peer.close()
            self.settle()
        self.assertEqual((["EOS"], False), (cont.events, vio.is_disabled()))

    def test_one_error(self) -> None:
        """The same of an error, in either direction."""
        for write in (False, True):
            vc, peer = self.connection()
            cont, _, vio = self.writing(vc, b"x") if write else self.reading(vc)
            self.settle()
            self.script(vc, **{"send" if write else "recv_into": [errno.EIO, errno.ENOBUFS]})
            if write:
                vio.reader.buffer.write(b"y")
                vio.reenable()
            else:
                peer.send(b"x")
            self.reactor.settle()
            vio.disable()
            vio.enable()
            self.handler.mark_read(vc)
            self.handler.mark_write(vc)
            self.handler.turn()
            self.assertEqual((1, errno.EIO), (cont.events.count("ERROR"), vc.lerrno))

    def test_data_exactly_as_large_as_the_room_before_the_end(self) -> None:
        """A piece that fills the block to its last byte hides no end behind it."""
        vc, peer = self.connection()
        cont, reader, vio = self.reading(vc, index=0)
        peer.send(b"x" * 128)
        peer.close()
        cont.script[VC_EVENT_READ_READY] = lambda vio: reader.read() and vio.reenable()
        self.settle()
        self.assertEqual((["READ_READY", "EOS"], 128), (cont.events, vio.ndone))

    def test_half_close_of_the_peer(self) -> None:
        """A peer that has only finished sending can still be answered."""
        vc, peer = self.connection(tcp_pair())
        cont, reader, _ = self.reading(vc)
        peer.send(b"question")
        peer.shutdown(socket.SHUT_WR)
        self.reactor.turn_until(lambda: "EOS" in cont.events)
        self.assertEqual(b"question", reader.read())
        written, _, _ = self.writing(vc, b"answer", 6)
        self.reactor.turn_until(lambda: written.events)
        self.settle()
        self.assertEqual((["WRITE_COMPLETE"], b"answer"), (written.events, received(peer)))

    def test_reset_is_an_unclean_end(self) -> None:
        """A peer that resets the connection has ended, but I can tell that something may be missing (N063)."""
        vc, peer = self.connection(tcp_pair())
        cont, _, _ = self.reading(vc)
        self.settle()
        reset(peer)
        self.reactor.turn_until(lambda: cont.events)
        self.settle()
        self.assertEqual(["EOS"], cont.events)
        self.assertEqual((False, errno.ECONNRESET), (vc.clean_shutdown, vc.lerrno))
        self.assertIsInstance(vc.error, PeerVanished)

    def test_data_before_a_reset(self) -> None:
        """What the kernel has got of a peer that resets is given to me first."""
        vc, peer = self.connection(tcp_pair())
        peer.send(b"last words")
        reset(peer)
        cont, reader, _ = self.reading(vc)
        self.reactor.turn_until(lambda: "EOS" in cont.events)
        self.assertEqual((["READ_READY", "EOS"], b"last words"), (cont.events, reader.read()))
        self.assertFalse(vc.clean_shutdown)

    def test_data_before_a_reset_behind_a_full_buffer(self) -> None:
        """The same when my buffer was full at the time of the reset: all that the kernel has got, then EOS (6.4)."""
        vc, peer = self.connection(tcp_pair())
        cont, reader, vio = self.reading(vc, index=0)
        peer.send(b"x" * 1000)
        self.reactor.turn_until(lambda: not vc.read.enabled)
        reset(peer)
        for _ in range(5):
            self.settle()
        got = 0
        while "EOS" not in cont.events:
            got += len(reader.read())
            vio.reenable()
            self.reactor.turn_until(lambda: reader.avail or "EOS" in cont.events)
        self.assertEqual((1000, False), (got + reader.avail, vc.clean_shutdown))

    def test_reset_that_the_writer_has_met(self) -> None:
        """When my write was told of the reset, the end that my read then finds is not called a clean one."""
        vc, peer = self.connection(tcp_pair())
        self.settle()
        reset(peer)
        self.reactor.turn_until(lambda: vc.read.triggered)
        written, _, _ = self.writing(vc, b"x", 1)
        self.settle()
        self.assertEqual(["ERROR"], written.events)
        cont, _, _ = self.reading(vc)
        self.settle()
        self.assertEqual((["EOS"], False), (cont.events, vc.clean_shutdown))

    def test_gone_in_every_way(self) -> None:
        """However the kernel says that the peer is gone, it is one unclean EOS (N063)."""
        for error in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN):
            vc, peer = self.connection()
            self.script(vc, recv_into=[error])
            peer.send(b"x")
            cont, _, _ = self.reading(vc)
            self.settle()
            self.assertEqual((["EOS"], False, error), (cont.events, vc.clean_shutdown, vc.lerrno))
            self.assertIsInstance(vc.error, PeerVanished)

    def test_error(self) -> None:
        """Any other failure is ERROR, once, with its number and the reason set before I am told."""
        for failure, number in (
            (OSError(errno.ETIMEDOUT, "slow"), errno.ETIMEDOUT),
            (OSError(errno.EHOSTUNREACH, "far"), errno.EHOSTUNREACH),
            (OSError("no number"), errno.EIO),
        ):
            vc, peer = self.connection()
            self.script(vc, recv_into=[failure])
            peer.send(b"x")
            seen: list[Any] = []
            cont = RecordingContinuation(
                {VC_EVENT_ERROR: lambda vio, seen=seen: seen.append((vio.vc_server.lerrno, vio.vc_server.error))}
            )
            self.reading(vc, cont=cont)
            self.settle()
            self.assertEqual((["ERROR"], [(number, failure)]), (cont.events, seen))
            self.assertEqual((False, False, 0), (vc.read.enabled, vc.read.triggered, vc.closed))

    def test_would_block(self) -> None:
        """When there is nothing after all, nothing is told and nothing goes round; the bytes come when they come."""
        vc, peer = self.connection()
        scripted = self.script(vc, recv_into=[BlockingIOError(errno.EAGAIN, "later")])
        cont, reader, _ = self.reading(vc)
        vc.read.triggered = True
        self.handler.queue_read(vc)
        self.settle()
        self.assertEqual(([], ["recv_into"]), (cont.log, scripted.calls))
        peer.send(b"now")
        self.settle()
        self.assertEqual((["READ_READY"], b"now"), (cont.events, reader.read()))

    def test_urgent_data(self) -> None:
        """A peer's urgent byte, which TCP keeps apart, hides nothing of what comes behind it."""
        for late in (False, True):
            for ends in (False, True):
                vc, peer = self.connection(tcp_pair())
                cont, reader, _ = self.reading(vc)
                if late:
                    self.settle()
                peer.send(b"abc")
                peer.send(b"!", socket.MSG_OOB)
                peer.send(b"def")
                if ends:
                    peer.shutdown(socket.SHUT_WR)
                self.reactor.turn_until(lambda r=reader: r.avail == 6)
                self.reactor.turn_until(lambda c=cont, ends=ends: not ends or "EOS" in c.events)
                self.settle()
                self.assertEqual((b"abcdef", ends), (reader.read(), "EOS" in cont.events))
                peer.close()

    def test_nothing_read_for_nothing(self) -> None:
        """A short read is not followed by one that can only fail; a full one is followed by one more."""
        vc, peer = self.connection()
        scripted = self.script(vc)
        self.reading(vc, index=0)
        peer.send(b"x" * 100)
        self.settle()
        self.assertEqual(["recv_into"], scripted.calls)

    def test_zero_length(self) -> None:
        """A request of no bytes is told nothing, ever: no bytes, no end (1.4)."""
        vc, peer = self.connection()
        cont, reader, _ = self.reading(vc, 0)
        peer.send(b"x")
        self.settle()
        peer.close()
        self.settle()
        self.assertEqual(([], 0), (cont.log, reader.avail))
        self.assertFalse(vc.read.enabled)

    def test_done(self) -> None:
        """After done() I am told nothing of what comes."""
        vc, peer = self.connection()
        cont, _, vio = self.reading(vc)
        peer.send(b"x")
        self.settle()
        vio.done()
        peer.send(b"y")
        self.settle()
        self.assertEqual(["READ_READY"], cont.events)

    def test_back_pressure(self) -> None:
        """While I do not read my buffer it does not grow, the peer has to wait, and nothing is lost (N014)."""
        theirs, ours = tcp_pair(recv_buffer_bytes=65536)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        vc, peer = self.connection((ours, theirs))
        cont, reader, vio = self.reading(vc, index=2)
        data = os.urandom(1 << 20)
        sent = 0
        for _ in range(50):
            try:
                sent += peer.send(data[sent : sent + 65536])
            except BlockingIOError:
                pass
            self.settle()
        self.assertEqual((512, 1), (reader.avail, len(cont.log)))
        self.assertFalse(vc.read.enabled)
        with self.assertRaises(BlockingIOError):
            for _ in range(1000):
                sent += peer.send(data[sent : sent + 65536])
        out = bytearray()
        while len(out) < sent:
            piece = reader.read()
            self.assertTrue(0 < len(piece) <= 512)
            out += piece
            vio.reenable()
            self.reactor.turn_until(lambda out=out, sent=sent: reader.avail or len(out) == sent)
        self.assertEqual(data[:sent], bytes(out))
        self.assertEqual({"READ_READY"}, set(cont.events))

    def test_room_made_within_the_call_back(self) -> None:
        """A reader that empties its buffer when it is told gets all bytes without asking again."""
        vc, peer = self.connection()
        out = bytearray()
        cont, reader, _ = self.reading(vc, index=0)
        cont.script[VC_EVENT_READ_READY] = lambda vio: out.extend(reader.read())
        data = os.urandom(10000)
        peer.send(data)
        self.settle()
        self.assertEqual(data, bytes(out))
        self.assertTrue(vc.read.enabled)

    def test_buffer_grows_with_the_stream(self) -> None:
        """A buffer that may grow does so when a block was filled at one go, and not for trifles."""
        vc, peer = self.connection()
        buffer = MIOBuffer(0, largest_index=3)
        reader = buffer.alloc_reader()
        vc.do_io_read(RecordingContinuation({VC_EVENT_READ_READY: lambda vio: reader.read()}), ENDLESS, buffer)
        peer.send(b"x" * 100)
        self.settle()
        self.assertEqual(0, buffer.size_index)
        peer.send(b"x" * 5000)
        self.settle()
        self.assertEqual(3, buffer.size_index)

    def test_new_request_from_within(self) -> None:
        """In the call-back of one request I ask for the next: it begins at nought and gets the next bytes (N034)."""
        vc, peer = self.connection()
        second, third = RecordingContinuation(), RecordingContinuation()
        readers: list[IOBufferReader] = []

        def then(nbytes: int, cont: RecordingContinuation) -> Any:
            return lambda vio: readers.append(self.reading(vio.vc_server, nbytes, cont=cont)[1])

        second.script[VC_EVENT_READ_COMPLETE] = then(ENDLESS, third)
        first = RecordingContinuation({VC_EVENT_READ_READY: then(5, second)})
        _, reader, vio = self.reading(vc, 100, index=0, cont=first)
        peer.send(b"x" * 3)
        self.settle()
        self.assertEqual((0, 5), (vio.ndone, vio.nbytes))
        peer.send(b"abcdefgh")
        self.settle()
        self.assertEqual([("VC_EVENT_READ_READY", 3, 100)], first.log)
        self.assertEqual([("VC_EVENT_READ_COMPLETE", 5, 5)], second.log)
        self.assertEqual([("VC_EVENT_READ_READY", 3, ENDLESS)], third.log)
        self.assertEqual([b"xxx", b"abcde", b"fgh"], [r.read() for r in (reader, *readers)])

    def test_same_vio(self) -> None:
        """A connection has one read VIO, which each request uses again."""
        vc, _ = self.connection()
        self.assertIs(self.reading(vc)[2], self.reading(vc)[2])

    def test_taken_back(self) -> None:
        """A read that I take back is told nothing more; what comes waits for the next (N035)."""
        vc, peer = self.connection()
        cont, reader, _ = self.reading(vc)
        self.assertIsNotNone(vc.do_io_read(None, 0, None))
        peer.send(b"x")
        self.settle()
        self.assertEqual(([], 0, False), (cont.log, reader.avail, vc.read.enabled))
        cont, reader, _ = self.reading(vc)
        self.settle()
        self.assertEqual((["READ_READY"], b"x"), (cont.events, reader.read()))

    def test_taken_back_from_within(self) -> None:
        """The same in the middle of a stream, from within the call-back."""
        vc, peer = self.connection()
        cont, _, _ = self.reading(vc, index=0)
        cont.script[VC_EVENT_READ_READY] = lambda vio: vio.vc_server.do_io_read(None, 0, None)
        peer.send(b"x" * 1000)
        self.settle()
        self.assertEqual(["READ_READY"], cont.events)

    def test_disabled_by_hand(self) -> None:
        """A VIO that I switched off gets nothing, whoever reenables it, until I switch it on (N033)."""
        vc, peer = self.connection()
        cont, reader, vio = self.reading(vc)
        vio.disable()
        peer.send(b"x")
        vio.reenable()
        vio.reenable_re()
        vc.enable_read()
        self.settle()
        self.assertEqual([], cont.log)
        vio.enable()
        self.settle()
        self.assertEqual((["READ_READY"], b"x"), (cont.events, reader.read()))
        vio.disable()
        self.assertFalse(self.reading(vc)[2].is_disabled(), "a new request is not disabled")

    def test_reenable_without_a_request(self) -> None:
        """Reenabling what was never asked for moves nothing."""
        vc, peer = self.connection()
        peer.send(b"x")
        self.settle()
        vc.enable_read()
        self.settle()
        self.assertEqual((False, False), (vc.read.enabled, vc.write.enabled))

    def test_somebody_else_is_told_from_now_on(self) -> None:
        """After set_continuation the next event is another's (1.2)."""
        vc, peer = self.connection()
        first, _, vio = self.reading(vc)
        second = RecordingContinuation()
        first.script[VC_EVENT_READ_READY] = lambda vio: vio.set_continuation(second)
        peer.send(b"x")
        self.settle()
        peer.send(b"y")
        self.settle()
        self.assertEqual((["READ_READY"], ["READ_READY"]), (first.events, second.events))
        vio.set_continuation(None)
        peer.close()
        self.settle()
        self.assertTrue(vc.closed, "nobody is there to be told of the end")


globals().update(ReadTests.make_test_case_classes())


class WriteTests(ConnectionTests):
    """Writing."""

    def test_complete_only(self) -> None:
        """When all that I want sent is there, I am told once: WRITE_COMPLETE (1.4)."""
        vc, peer = self.connection()
        cont, reader, vio = self.writing(vc, b"hello", 5)
        self.assertEqual([], cont.log, "no call-back from within the call")
        self.settle()
        self.assertEqual([("VC_EVENT_WRITE_COMPLETE", 5, 5)], cont.log)
        self.assertEqual((b"hello", 0, False), (received(peer), reader.avail, vc.write.enabled))
        self.assertEqual(0, vio.ntodo())

    def test_never_more_than_asked(self) -> None:
        """Only as many bytes are sent as I asked for; the others stay in the buffer."""
        vc, peer = self.connection()
        cont, reader, _ = self.writing(vc, b"0123456789", 4)
        self.settle()
        self.assertEqual((["WRITE_COMPLETE"], b"0123", b"456789"), (cont.events, received(peer), reader.memcpy()))

    def test_asked_before_the_write(self) -> None:
        """While my buffer has room I am asked for more first, and what I add goes out at once (1.4)."""
        vc, peer = self.connection()
        cont = RecordingContinuation()
        cont.script[VC_EVENT_WRITE_READY] = [
            lambda vio: (self.assertEqual(b"", received(peer)), vio.buffer.writer.write(b" world"))
        ]
        self.writing(vc, b"hello", 11, cont=cont)
        self.settle()
        self.assertEqual([("VC_EVENT_WRITE_READY", 0, 11), ("VC_EVENT_WRITE_COMPLETE", 11, 11)], cont.log)
        self.assertEqual(b"hello world", received(peer))

    def test_asked_with_nothing_there(self) -> None:
        """A write with an empty buffer asks for bytes, once; then it waits until I reenable it (1.4)."""
        vc, peer = self.connection()
        cont, reader, vio = self.writing(vc, b"", 5)
        self.settle()
        self.assertEqual((["WRITE_READY"], False), (cont.events, vc.write.enabled))
        reader.buffer.write(b"late!")
        self.settle()
        self.assertEqual((["WRITE_READY"], b""), (cont.events, received(peer)))
        vio.reenable()
        self.assertEqual(["WRITE_READY"], cont.events)
        self.settle()
        self.assertEqual((["WRITE_READY", "WRITE_COMPLETE"], b"late!"), (cont.events, received(peer)))

    def test_sent_all_that_is_there(self) -> None:
        """When the buffer is empty after the write, nothing more is told until I reenable (1.4)."""
        vc, peer = self.connection()
        cont, reader, vio = self.writing(vc, b"part", 100)
        self.settle()
        self.assertEqual(([("VC_EVENT_WRITE_READY", 0, 100)], b"part"), (cont.log, received(peer)))
        self.assertEqual((4, False), (vio.ndone, vc.write.enabled))
        reader.buffer.write(b"more")
        vio.reenable()
        self.settle()
        self.assertEqual([("VC_EVENT_WRITE_READY", 0, 100), ("VC_EVENT_WRITE_READY", 4, 100)], cont.log)
        self.assertEqual(b"more", received(peer))

    def test_full_buffer_asks_after_the_write(self) -> None:
        """A full buffer is sent without asking; then I am told that there is room (1.4)."""
        vc, peer = self.connection()
        cont, _, vio = self.writing(vc, b"x" * 128, 200, index=0)
        cont.script[VC_EVENT_WRITE_READY] = [lambda vio: vio.buffer.writer.write(b"y" * 72)]
        self.settle()
        self.assertEqual([("VC_EVENT_WRITE_READY", 128, 200), ("VC_EVENT_WRITE_COMPLETE", 200, 200)], cont.log)
        self.assertEqual(b"x" * 128 + b"y" * 72, received(peer))
        self.assertEqual(200, vio.ndone)

    def test_full_buffer_and_nothing_added(self) -> None:
        """If I add nothing then, the write waits."""
        vc, _ = self.connection()
        cont, _, _ = self.writing(vc, b"x" * 128, 200, index=0)
        self.settle()
        self.assertEqual((["WRITE_READY"], False), (cont.events, vc.write.enabled))

    def test_zero_length(self) -> None:
        """A write of no bytes is told nothing and sends nothing (1.4)."""
        vc, peer = self.connection()
        cont, _, vio = self.writing(vc, b"hello", 0)
        self.settle()
        vio.reenable()
        self.settle()
        self.assertEqual(([], b"", False), (cont.log, received(peer), vc.write.enabled))

    def test_quiet(self) -> None:
        """Who does not wait for the end of a write is not told of it, until the next one."""
        vc, peer = self.connection()
        cont, reader, vio = self.writing(vc, b"hello", 5)
        vio.quiet = True
        self.settle()
        self.assertEqual(([], b"hello", 5, False), (cont.log, received(peer), vio.ndone, vio.enabled))
        reader.buffer.write(b"again")
        vio.done()
        vio.reenable()
        self.settle()
        self.assertEqual(([], b"again", 10), (cont.log, received(peer), vio.ndone))
        self.writing(vc, b"hello", 5)
        self.assertFalse(vio.quiet)

    def test_many_small_blocks(self) -> None:
        """A buffer in many pieces goes out whole and in order, several pieces at a time."""
        vc, peer = self.connection()
        scripted = self.script(vc)
        data = os.urandom(100 * 37)
        cont = RecordingContinuation()
        reader = new_empty_MIOBuffer(0).alloc_reader()
        for at in range(0, len(data), 37):
            reader.buffer.append(data[at : at + 37])
        vc.do_io_write(cont, len(data), reader)
        self.settle()
        self.assertEqual(data, received(peer))
        self.assertEqual(["sendmsg"] * 7, scripted.calls)
        self.assertEqual("WRITE_COMPLETE", cont.events[-1])
        self.assertEqual(1, cont.events.count("WRITE_COMPLETE"))

    def test_piece_over_the_edge_of_a_block(self) -> None:
        """A request that ends within a block takes no more of it; a reader may stand at the end of an older one."""
        vc, peer = self.connection()
        buffer = new_empty_MIOBuffer(0)
        other, reader = buffer.alloc_reader(), buffer.alloc_reader()
        buffer.write(b"a" * 128)
        reader.consume(128)
        buffer.write(b"b" * 128 + b"c" * 128)
        cont = RecordingContinuation()
        vc.do_io_write(cont, 130, reader)
        self.settle()
        self.assertEqual((["WRITE_COMPLETE"], b"b" * 128 + b"cc"), (cont.events, received(peer)))
        self.assertEqual((384, 126), (other.avail, reader.avail))

    def test_back_pressure(self) -> None:
        """A peer that does not read stops my write, which costs nothing meanwhile and goes on when the peer does."""
        ours, theirs = tcp_pair(recv_buffer_bytes=65536)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        vc, peer = self.connection((ours, theirs))
        data = os.urandom(1 << 20)
        cont, reader, vio = self.writing(vc, data, len(data), index=9)
        self.settle()
        self.assertEqual((True, False), (vc.write.enabled, vc.write.triggered))
        self.assertTrue(0 < vio.ndone < len(data))
        self.assertEqual(len(data), vio.ndone + reader.avail)
        out = bytearray()
        while len(out) < len(data):
            out += received(peer)
            self.reactor.turn_until(lambda: vc.write.triggered or not vc.write.enabled or self.waiting(peer))
        self.assertEqual(data, bytes(out))
        self.settle()
        self.assertEqual("WRITE_COMPLETE", cont.events[-1])
        self.assertEqual(1, cont.events.count("WRITE_COMPLETE"))

    def waiting(self, peer: socket.socket) -> bool:
        try:
            return bool(peer.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return False

    def test_would_block(self) -> None:
        """When the kernel takes nothing after all, nothing is told, nothing is lost and nothing goes round."""
        for data, call in ((b"x" * 10, "send"), (b"x" * 300, "sendmsg")):
            vc, peer = self.connection()
            scripted = self.script(vc, **{call: [BlockingIOError(errno.EAGAIN, "later")]})
            self.settle()
            cont, reader, _ = self.writing(vc, data, len(data), index=0)
            self.handler.turn()
            self.assertEqual(([], len(data), [call]), (cont.log, reader.avail, scripted.calls))
            self.handler.mark_write(vc)  # A socket that was never full gives no edge.
            self.handler.turn()
            self.settle()
            self.assertEqual((["WRITE_COMPLETE"], data), (cont.events, received(peer)))

    def test_peer_is_gone(self) -> None:
        """A write to a peer that is gone is ERROR, never EOS, once (N063, O46)."""
        for pair, numbers in ((unix_pair, {errno.EPIPE}), (tcp_pair, {errno.EPIPE, errno.ECONNRESET})):
            vc, peer = self.connection(pair())
            self.settle()
            if pair is tcp_pair:
                reset(peer)
                self.reactor.turn_until(lambda vc=vc: vc.read.triggered)
            else:
                peer.close()
            cont, _, _ = self.writing(vc, b"hello", 100)
            cont.script[VC_EVENT_ERROR] = lambda vio, n=numbers: self.assertIn(vio.vc_server.lerrno, n)
            self.settle()
            self.assertEqual("ERROR", cont.events[-1])
            self.assertEqual(1, cont.events.count("ERROR"))
            self.assertIsInstance(vc.error, PeerVanished)
            self.assertEqual((False, 0), (vc.write.enabled, vc.closed))

    def test_errors(self) -> None:
        """Whichever way it fails it is ERROR with the number; a lost peer is told apart from other troubles."""
        for data, call in ((b"x" * 10, "send"), (b"x" * 300, "sendmsg")):
            for failure, number, kind in (
                (OSError(errno.EPIPE, "gone"), errno.EPIPE, PeerVanished),
                (OSError(errno.ECONNRESET, "gone"), errno.ECONNRESET, PeerVanished),
                (OSError(errno.ENOTCONN, "gone"), errno.ENOTCONN, PeerVanished),
                (OSError(errno.ENOBUFS, "full"), errno.ENOBUFS, OSError),
                (OSError("no number"), errno.EPIPE, PeerVanished),
            ):
                vc, _ = self.connection()
                self.script(vc, **{call: [failure]})
                cont, _, _ = self.writing(vc, data, len(data), index=0)
                self.settle()
                self.assertEqual((["ERROR"], number), (cont.events, vc.lerrno))
                self.assertIsInstance(vc.error, kind)

    def test_new_request_from_within_complete(self) -> None:
        """In WRITE_COMPLETE I ask for the next write, and it is done (N034)."""
        vc, peer = self.connection()
        second = RecordingContinuation()
        first = RecordingContinuation(
            {VC_EVENT_WRITE_COMPLETE: lambda vio: self.writing(vio.vc_server, b"two", 3, cont=second)}
        )
        self.writing(vc, b"one", 3, cont=first)
        self.settle()
        self.assertEqual((["WRITE_COMPLETE"], ["WRITE_COMPLETE"]), (first.events, second.events))
        self.assertEqual(b"onetwo", received(peer))

    def test_new_request_from_within_ready(self) -> None:
        """In WRITE_READY, before or after the write, I put another request in the place of this one."""
        for data in (b"", b"old", b"o" * 128):
            vc, peer = self.connection()
            second = RecordingContinuation()
            first = RecordingContinuation(
                {VC_EVENT_WRITE_READY: [lambda vio, s=second: self.writing(vio.vc_server, b"new", 3, cont=s)]}
            )
            self.writing(vc, data, 1000, index=0, cont=first)
            self.settle()
            self.assertEqual((["WRITE_READY"], [("VC_EVENT_WRITE_COMPLETE", 3, 3)]), (first.events, second.log))
            self.assertEqual((data if len(data) == 128 else b"") + b"new", received(peer))

    def test_new_request_from_within_ready_is_asked_itself(self) -> None:
        """The new one, whose buffer is empty, is asked for its bytes like any other."""
        for data in (b"", b"o" * 128):
            vc, peer = self.connection()
            second = RecordingContinuation({VC_EVENT_WRITE_READY: [lambda vio: vio.buffer.writer.write(b"new")]})
            first = RecordingContinuation(
                {VC_EVENT_WRITE_READY: [lambda vio, s=second: self.writing(vio.vc_server, b"", 3, cont=s)]}
            )
            self.writing(vc, data, 1000, index=0, cont=first)
            self.settle()
            self.assertEqual((["WRITE_READY"], ["WRITE_READY", "WRITE_COMPLETE"]), (first.events, second.events))
            self.assertEqual(data + b"new", received(peer))

    def test_new_request_of_nothing_from_within_ready(self) -> None:
        """In the place of this one I ask for nothing at all: nothing more is told."""
        for data in (b"", b"x" * 128):
            vc, _ = self.connection()
            cont = RecordingContinuation()
            cont.script[VC_EVENT_WRITE_READY] = lambda vio, c=cont: self.writing(vio.vc_server, b"new", 0, cont=c)
            self.writing(vc, data, 1000, index=0, cont=cont)
            self.settle()
            self.assertEqual(["WRITE_READY"], cont.events)

    def test_taken_back_from_within_ready(self) -> None:
        """In WRITE_READY I take the write back: nothing of it is sent that was not (O21)."""
        for data in (b"", b"x" * 5, b"x" * 128):
            vc, peer = self.connection()
            cont = RecordingContinuation({VC_EVENT_WRITE_READY: lambda vio: vio.vc_server.do_io_write(None, 0, None)})
            _, _, vio = self.writing(vc, data, 1000, index=0, cont=cont)
            self.settle()
            self.assertEqual((["WRITE_READY"], data[:128] if len(data) == 128 else b""), (cont.events, received(peer)))
            self.assertEqual((False, None, None), (vc.write.enabled, vio.reader, vio.writer))

    def test_disabled_from_within_ready(self) -> None:
        """In WRITE_READY I switch the write off by hand, and later on."""
        for data in (b"x" * 5, b"x" * 128):
            vc, peer = self.connection()
            cont = RecordingContinuation({VC_EVENT_WRITE_READY: [lambda vio: vio.disable()]})
            _, reader, vio = self.writing(vc, data, len(data) + 5, index=0, cont=cont)
            self.settle()
            before = received(peer)
            reader.buffer.write(b"y" * 5)
            vio.enable()
            self.settle()
            self.assertEqual(["WRITE_READY", "WRITE_COMPLETE"], cont.events)
            self.assertEqual(data + b"y" * 5, before + received(peer))

    def test_done_from_within_ready(self) -> None:
        """In WRITE_READY I say that there is no more: what is there goes out, and I am told when it has."""
        vc, peer = self.connection()
        cont = RecordingContinuation({VC_EVENT_WRITE_READY: lambda vio: vio.done()})
        self.writing(vc, b"all of it", cont=cont)
        self.settle()
        self.assertEqual((["WRITE_READY", "WRITE_COMPLETE"], b"all of it"), (cont.events, received(peer)))

    def test_done_with_nothing_there(self) -> None:
        """done() of an empty buffer just ends it; no event tells of that (1.4)."""
        vc, _ = self.connection()
        cont = RecordingContinuation({VC_EVENT_WRITE_READY: lambda vio: vio.done()})
        self.writing(vc, b"", cont=cont)
        self.settle()
        self.assertEqual((["WRITE_READY"], False), (cont.events, vc.write.enabled))

    def test_own_bytes_first(self) -> None:
        """What the connection itself has to send comes before its user's, and WRITE_COMPLETE waits for it to be out."""
        vc, peer = self.connection()
        self.settle()
        cont, _, _ = self.writing(vc, b"x", 1)
        vc.write.urgent = True
        self.settle()
        self.assertEqual((["WRITE_COMPLETE"], b"x", False), (cont.events, received(peer), vc.write.urgent))

    def test_complete_waits_for_own_bytes(self) -> None:
        """While the connection itself has bytes that are not out, WRITE_COMPLETE is owed, and told when they are."""
        vc, _ = self.connection()
        self.settle()
        busy = True

        class Wrapping(UnixNetVConnection):
            __slots__ = ()

            def _push(self, reader: IOBufferReader, towrite: int) -> int:
                n = super()._push(reader, towrite)
                self.write.urgent = True
                return n

            def _attend(self) -> bool:
                return not busy and super()._attend()

        vc.__class__ = Wrapping
        cont, _, _ = self.writing(vc, b"x", 1)
        self.handler.turn()
        self.handler.mark_write(vc)
        self.handler.turn()
        self.assertEqual(([], True), (cont.log, vc.write.owed))
        busy = False
        self.handler.mark_write(vc)
        self.handler.turn()
        self.assertEqual((["WRITE_COMPLETE"], False, False), (cont.events, vc.write.owed, vc.write.urgent))

    def test_triggered_by_something_else(self) -> None:
        """A direction that got nowhere but is triggered for other reasons gets another pass."""
        vc, peer = self.connection()
        self.settle()

        class Slow(UnixNetVConnection):
            __slots__ = ()

            def _pull(self, writer: MIOBuffer, limit: int) -> int:
                self.__class__ = UnixNetVConnection  # type: ignore[assignment]
                return 0

            def _push(self, reader: IOBufferReader, towrite: int) -> int:
                self.__class__ = UnixNetVConnection  # type: ignore[assignment]
                return 0

        peer.send(b"in")
        vc.__class__ = Slow
        read, _, _ = self.reading(vc)
        self.settle()
        vc.__class__ = Slow
        written, _, _ = self.writing(vc, b"out", 3)
        self.settle()
        self.assertEqual((["READ_READY"], ["WRITE_COMPLETE"], b"out"), (read.events, written.events, received(peer)))

    def test_owed_complete(self) -> None:
        """A WRITE_COMPLETE that is owed is told once; a new request in between takes its place."""
        vc, _ = self.connection()
        self.settle()
        cont, _, vio = self.writing(vc, b"", 1)
        vc.write.owed = True
        self.settle()
        self.assertEqual(["WRITE_COMPLETE"], cont.events)
        vc.write.owed = True
        vc.do_io_write(cont, 0, vio.reader)
        self.assertFalse(vc.write.owed)

    def test_not_ready(self) -> None:
        """While a connection is not ready, neither side of it moves a byte."""

        class Unready(UnixNetVConnection):
            def _prepare(self) -> bool:
                return False

        ours, theirs = unix_pair()
        self.keep(theirs)
        vc = Unready(self.handler)
        vc.ready = False
        vc.start(ours)
        theirs.send(b"x")
        cont = RecordingContinuation()
        self.reading(vc, cont=cont)
        self.writing(vc, b"y", 1, cont=cont)
        self.settle()
        self.assertEqual(([], b""), (cont.log, received(theirs)))
        vc.do_io_close()

    def test_plain_connection_is_ready(self) -> None:
        """A plain one has nothing to prepare: its hooks say so."""
        vc, _ = self.connection()
        self.assertTrue(vc._prepare())
        self.assertTrue(vc.get_ssl_handshake_complete())
        vc.bulky = True
        vc.compact()
        self.assertFalse(vc.bulky)


globals().update(WriteTests.make_test_case_classes())


class PartnerTests(ConnectionTests):
    """Two connections over one buffer, whose VIOs are each other's partner."""

    def joined(self, index: int = 5, second: Any = unix_pair, **more: Any) -> tuple[Any, ...]:
        one, one_peer = self.connection()
        two, two_peer = self.connection(second(**more))
        reader = new_empty_MIOBuffer(index).alloc_reader()
        read, written = RecordingContinuation(), RecordingContinuation()
        source, target = one.do_io_read(read, ENDLESS, reader.buffer), two.do_io_write(written, ENDLESS, reader)
        assert source is not None and target is not None
        source.partner, target.partner = target, source
        return one, one_peer, two, two_peer, read, written, reader

    def test_bytes_pass_untold(self) -> None:
        """Bytes go from the one to the other, all and in order, and nobody is asked in between."""
        _, one_peer, _, two_peer, read, written, _ = self.joined(index=0)
        data, out, sent = os.urandom(200000), bytearray(), 0
        while len(out) < len(data):
            try:
                sent += one_peer.send(data[sent : sent + 30000])
            except BlockingIOError:
                pass
            self.settle()
            out += received(two_peer)
        self.assertEqual((data, [], []), (bytes(out), read.log, written.log))

    def test_back_pressure(self) -> None:
        """A peer that does not read stops the other, and no more is held than the buffer's one block."""
        one, one_peer, two, two_peer, read, written, reader = self.joined(index=2)
        sent = 0
        for _ in range(50):
            try:
                sent += one_peer.send(bytes(1 << 16))
            except BlockingIOError:
                pass
            self.settle()
        self.assertTrue(0 < reader.avail <= 512)
        self.assertEqual((False, False), (one.read.enabled, two.write.triggered))
        got = 0
        while got < sent:
            got += len(received(two_peer))
            self.settle()
        self.assertEqual(([], [], 0), (read.log, written.log, reader.avail))

    def test_end(self) -> None:
        """The end is told, once, after the last byte; an end that came with the bytes is told with them."""
        for early in (True, False):
            one, one_peer, _, two_peer, read, written, _ = self.joined()
            self.settle()
            one_peer.send(b"last words")
            if not early:
                self.settle()
            one_peer.close()
            self.settle()
            self.assertEqual((["EOS"], [], b"last words"), (read.events, written.log, received(two_peer)))
            self.assertTrue(one.clean_shutdown)
            self.assert_idle()

    def test_complete(self) -> None:
        """Requests of a length are told when they are complete; the reader's user sees to the last bytes himself."""
        one, one_peer, two, two_peer, read, written, _ = self.joined()
        read.script[VC_EVENT_READ_COMPLETE] = lambda vio: two.write.vio.reenable()
        one.read.vio.nbytes = two.write.vio.nbytes = 5
        one_peer.send(b"12345678")
        self.settle()
        self.assertEqual((["READ_COMPLETE"], ["WRITE_COMPLETE"]), (read.events, written.events))
        self.assertEqual(b"12345", received(two_peer))

    def test_error(self) -> None:
        """The writer's peer is gone: the writer is told."""
        _, one_peer, two, two_peer, read, written, _ = self.joined()
        self.settle()
        two_peer.close()
        one_peer.send(b"x")
        self.settle()
        self.assertEqual(([], ["ERROR"], errno.EPIPE), (read.log, written.events, two.lerrno))

    def test_error_of_one_alone(self) -> None:
        """The target has lost its peer, and the source is left open: it goes on, up to the buffer's bound."""
        one, one_peer, _, two_peer, read, written, reader = self.joined(index=2)
        self.settle()
        two_peer.close()
        one_peer.send(bytes(2000))
        self.settle()
        self.assertEqual((["ERROR"], [], 512), (written.events, read.log, reader.avail))
        self.assertFalse(one.read.enabled)

    def test_one_is_closed(self) -> None:
        """When one is closed the other is alone: what comes for it is told to its user again, and nothing breaks."""
        for which in (0, 2):
            joined = self.joined()
            one_peer, two_peer, read, written, reader = joined[1], joined[3], joined[4], joined[5], joined[6]
            one_peer.send(b"before")
            self.settle()
            joined[which].do_io_close()
            self.assertEqual((None, None), (joined[0].read.vio.partner, joined[2].write.vio.partner))
            if which == 0:
                reader.buffer.write(b"after")
                joined[2].write.vio.reenable()
                self.settle()
                self.assertEqual((["WRITE_READY"], b"beforeafter"), (written.events, received(two_peer)))
            else:
                one_peer.send(b"after")
                self.settle()
                self.assertEqual((["READ_READY"], b"after"), (read.events, reader.read()))

    def test_new_request_ends_it(self) -> None:
        """Who asks anew is asked himself again, and so is the one that was his partner."""
        for which in ("read", "write"):
            one, one_peer, two, two_peer, read, written, reader = self.joined()
            self.settle()
            if which == "read":
                one.do_io_read(read, ENDLESS, reader.buffer)
            else:
                two.do_io_write(written, ENDLESS, reader)
            self.assertEqual((None, None), (one.read.vio.partner, two.write.vio.partner))
            one_peer.send(b"x")
            self.settle()
            self.assertEqual("READ_READY", read.events[-1])
            two.write.vio.reenable()
            self.settle()
            self.assertEqual(("WRITE_READY", b"x"), (written.events[-1], received(two_peer)))

    def test_timeouts(self) -> None:
        """Timeouts are told as to any other user."""
        one, _, two, _, read, written, _ = self.joined()
        one.main_event(VC_EVENT_INACTIVITY_TIMEOUT)
        two.main_event(VC_EVENT_ACTIVE_TIMEOUT)
        self.assertEqual((["INACTIVITY_TIMEOUT"], ["ACTIVE_TIMEOUT"]), (read.events, written.events))

    def test_idleness_stops_with_both_directions(self) -> None:
        """When the last direction that was wanted has nothing to send, idleness is not counted any more."""
        _, one_peer, two, _, _, _, _ = self.joined()
        two.set_inactivity_timeout(5)
        one_peer.send(b"x")
        self.settle()
        self.assertEqual((False, False), (two.write.enabled, two.inactivity_running))


globals().update(PartnerTests.make_test_case_classes())


class ReenableTests(ConnectionTests):
    """reenable and reenable_re."""

    def test_at_once(self) -> None:
        """reenable_re moves bytes before it returns, reenable never (N056)."""
        vc, peer = self.connection()
        peer.send(b"in")
        self.settle()
        read, _, _ = self.reading(vc)
        written, _, _ = self.writing(vc, b"out", 3)
        self.assertEqual(([], []), (read.log, written.log))
        vc.read.vio.reenable()
        vc.write.vio.reenable()
        self.assertEqual(([], []), (read.log, written.log))
        vc.read.vio.reenable_re()
        self.assertEqual((["READ_READY"], []), (read.events, written.events))
        vc.write.vio.reenable_re()
        self.assertEqual((["WRITE_COMPLETE"], b"out"), (written.events, received(peer)))
        self.settle()
        self.assertEqual((["READ_READY"], ["WRITE_COMPLETE"]), (read.events, written.events))

    def test_at_once_starts_the_timer(self) -> None:
        """reenable_re starts the inactivity timer like reenable, and moves bytes at the time that it is."""
        vc, peer = self.connection()
        peer.send(b"x")
        self.settle()
        _, _, vio = self.reading(vc)
        vc.do_io_read(RecordingContinuation(), ENDLESS, None)
        vc.inactivity_timeout_in = 5
        vc.inactivity_running = False
        self.reactor.rightNow += 77
        cont, _, _ = self.reading(vc)
        vc.inactivity_running = False
        vio.reenable_re()
        self.assertEqual((["READ_READY"], True, 77), (cont.events, vc.inactivity_running, vc.last_activity))

    def test_at_once_with_nothing_there(self) -> None:
        """reenable_re where nothing could be moved is like reenable: the bytes come when they come."""
        vc, peer = self.connection()
        self.settle()
        cont, _, vio = self.reading(vc)
        vio.reenable_re()
        self.settle()
        self.assertEqual([], cont.log)
        vc.read.enabled = False
        vio.reenable_re()
        self.assertTrue(vc.read.enabled)
        peer.send(b"x")
        self.settle()
        self.assertEqual(["READ_READY"], cont.events)

    def test_at_once_outside_of_a_turn_goes_on(self) -> None:
        """What reenable_re could not move at one go goes on by itself, although no turn was going on."""
        vc, peer = self.connection()
        out = bytearray()
        data = os.urandom(5000)
        peer.send(data)
        self.settle()
        cont, reader, vio = self.reading(vc, index=0)
        cont.script[VC_EVENT_READ_READY] = lambda vio: out.extend(reader.read())
        self.settle_without_the_kernel(vio)
        self.assertEqual(data, bytes(out))

        data = os.urandom(128 * 40)
        written, source, vio = self.writing(vc, b"", len(data))
        self.reactor.settle()
        for at in range(0, len(data), 128):
            source.buffer.append(data[at : at + 128])
        self.settle_without_the_kernel(vio)
        self.assertEqual("WRITE_COMPLETE", written.events[-1])
        self.assertEqual(data, received(peer))

    def settle_without_the_kernel(self, vio: VIO) -> None:
        vio.reenable_re()
        while self.reactor.getDelayedCalls():
            self.reactor.advance(0)
        self.assert_idle()

    def test_at_once_from_within(self) -> None:
        """reenable_re from within the connection's own call-back does not call back within the call-back (O21)."""
        vc, peer = self.connection()
        depth = deepest = 0

        def step(vio: VIO) -> None:
            nonlocal depth, deepest
            depth += 1
            deepest = max(depth, deepest)
            reader.read()
            vio.reenable_re()
            depth -= 1

        cont, reader, _ = self.reading(vc, index=0)
        cont.script[VC_EVENT_READ_READY] = step
        peer.send(b"x" * 1000)
        self.settle()
        self.assertEqual((1, 8), (deepest, len(cont.log)))

    def test_at_once_from_within_with_nothing_to_send(self) -> None:
        """One that reenables at once in each WRITE_READY but has nothing to send does not go round for ever."""
        vc, _ = self.connection()
        cont, _, _ = self.writing(vc, b"")
        cont.script[VC_EVENT_WRITE_READY] = lambda vio: vio.reenable_re()
        self.settle()
        self.assertEqual(["WRITE_READY"], cont.events)

    def test_at_once_of_another_connection_with_a_bug(self) -> None:
        """A bug of another connection's user, met by my reenable_re, ends that connection and not mine."""
        mine, my_peer = self.connection()
        other, other_peer = self.connection()
        other_peer.send(b"x")
        self.settle()

        def bug(vio: VIO) -> None:
            raise RuntimeError("a bug of the other's")

        broken, _, other_vio = self.reading(other)
        broken.script[VC_EVENT_READ_READY] = bug
        self.reading(mine, cont=RecordingContinuation({VC_EVENT_READ_READY: lambda vio: other_vio.reenable_re()}))
        my_peer.send(b"y")
        self.handler.read_ready.clear()  # Only I shall drive the other.
        other.read.queued = False
        self.settle()
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))
        self.assertEqual((True, False), (other.closed != 0, mine.closed != 0))
        self.assertEqual({mine}, self.handler.open_list)

    def test_from_another_thread(self) -> None:
        """From another thread I may reenable: it wakes the loop, whose thread the call-back comes in (N051)."""
        for at_once in (False, True):
            vc, peer = self.connection()
            peer.send(b"x")
            self.settle()
            threads: list[int] = []
            cont, _, vio = self.reading(vc)
            cont.script[VC_EVENT_READ_READY] = lambda vio, t=threads: t.append(threading.get_ident())
            vio.disable()
            vio.disabled = False
            self.settle()
            thread = threading.Thread(target=vio.reenable_re if at_once else vio.reenable)
            thread.start()
            thread.join()
            self.assertEqual([], cont.log)
            self.assertEqual(1, len(self.reactor._from_threads))
            self.settle()
            self.assertEqual(([threading.get_ident()], ["READ_READY"]), (threads, cont.events))

    def test_from_another_thread_when_it_runs(self) -> None:
        """What is enabled already stays so, and nothing is asked of the loop."""
        vc, _ = self.connection()
        _, _, vio = self.reading(vc)
        self.settle()
        for method in (vio.reenable, vio.reenable_re):
            thread = threading.Thread(target=method)
            thread.start()
            thread.join()
        self.assertEqual((True, []), (vc.read.enabled, self.reactor._from_threads))

    def test_after_close(self) -> None:
        """Reenabling what is closed harms nothing, also when it was on its way from another thread."""
        vc, _ = self.connection()
        _, _, vio = self.reading(vc)
        vio.disable()
        vio.disabled = False
        thread = threading.Thread(target=vio.reenable)
        thread.start()
        thread.join()
        vc.do_io_close()
        for method in (vio.reenable, vio.reenable_re, vio.disable, vio.enable):
            method()
        vc.reenable(vio)
        vc.reenable_re(vio)
        self.settle()
        self.assertFalse(vc.read.enabled)


globals().update(ReenableTests.make_test_case_classes())


class CloseTests(ConnectionTests):
    """The end of a connection."""

    def test_close(self) -> None:
        """A closed connection is gone at once: its descriptor, its place in the gauge, its VIOs' requests (1.8)."""
        vc, peer = self.connection()
        cont, reader, vio = self.reading(vc)
        self.writing(vc, b"", 5, cont=cont)
        freed: list[str] = []
        vc.on_free = lambda: freed.append("freed")
        vc.set_arg("key", "value")
        fd = vc.fd
        self.assertEqual({vc}, self.handler.open_list)
        vc.do_io_close()
        self.assertEqual((set(), ["freed"], 1), (self.handler.open_list, freed, vc.closed))
        self.assertRaises(OSError, os.fstat, fd)
        self.assertEqual((ops.NONE, None, None, None, 0), (vio.op, vio.cont, vio.writer, vio.vc_server, vio.nbytes))
        self.assertEqual((-1, None), (vc.get_socket(), vc.get_arg("key")))
        self.assertEqual(b"", peer.recv(1))
        self.settle()
        vc.do_io_close()
        vc.free()
        self.assertEqual((["freed"], [], 0), (freed, cont.log, reader.avail))

    def test_gone_without_the_collector(self) -> None:
        """A closed connection leaves nothing for the garbage collector, so memory does not come in waves."""
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        before = [id(each) for each in gc.get_objects() if type(each) in (VIO, NetState)]
        vc, peer = self.connection()
        cont, _, vio = self.reading(vc)
        self.writing(vc, b"x", 5, cont=cont)
        peer.send(b"y")
        self.settle()
        vc.do_io_close()
        gone = weakref.ref(vc)
        del vc, vio
        self.settle()
        self.assertIsNone(gone())
        self.assertEqual(before, [id(each) for each in gc.get_objects() if type(each) in (VIO, NetState)])

    def test_gone_without_the_collector_after_an_error(self) -> None:
        """The same when it ended with an error, whose traceback would hold on to it."""
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        for error in (errno.ECONNRESET, errno.ETIMEDOUT):
            vc, peer = self.connection()
            self.script(vc, recv_into=[error])
            cont, _, _ = self.reading(vc)
            peer.send(b"y")
            self.settle()
            self.assertEqual(1, len(cont.log))
            vc.do_io_close()
            gone = weakref.ref(vc)
            del vc
            self.settle()
            self.assertIsNone(gone(), os.strerror(error))

    def test_codes(self) -> None:
        """Closing says whether it was in order, and why not (N064)."""
        for argument, closed, lerrno in (((), 1, 0), ((-1,), 1, 0), ((0,), -1, 0), ((errno.EPROTO,), -1, errno.EPROTO)):
            vc, _ = self.connection()
            vc.do_io_close(*argument)
            self.assertEqual((closed, lerrno), (vc.closed, vc.lerrno))

    def test_close_with_a_reason_is_a_reset(self) -> None:
        """When I close with a reason, the peer cannot take it for an end in order (D: do_io_close)."""
        for argument, outcome in ((-1, b""), (errno.EPROTO, None)):
            vc, peer = self.connection(tcp_pair())
            vc.do_io_close(argument)
            peer.setblocking(True)
            if outcome is None:
                self.assertRaises(ConnectionResetError, peer.recv, 1)
            else:
                self.assertEqual(outcome, peer.recv(1))

    def test_close_of_a_socket_that_is_gone(self) -> None:
        """Closing with a reason what the kernel has given up already closes it."""
        vc, _ = self.connection()
        self.script(vc, setsockopt=[errno.EINVAL])
        vc.do_io_close(errno.EPROTO)
        self.assertEqual(set(), self.handler.open_list)

    def test_unsent_bytes_are_dropped(self) -> None:
        """Who closes without waiting for WRITE_COMPLETE loses what was not sent (N066)."""
        vc, peer = self.connection()
        _, reader, _ = self.writing(vc, b"lost", 4)
        vc.do_io_close()
        self.settle()
        self.assertEqual((b"", b"lost"), (received(peer), reader.memcpy()))

    def test_closed_connection_takes_no_requests(self) -> None:
        """On a closed connection every request is None and nothing happens (N037)."""
        vc, _ = self.connection()
        vc.do_io_close()
        cont, reader = RecordingContinuation(), new_empty_MIOBuffer(0).alloc_reader()
        self.assertIsNone(vc.do_io_read(cont, 5, reader.buffer))
        self.assertIsNone(vc.do_io_read(None, 0, None))
        self.assertIsNone(vc.do_io_write(cont, 5, reader))
        vc.do_io_shutdown(ops.SHUTDOWN_READWRITE)
        vc.do_io_close(errno.EPROTO)
        self.assertEqual((1, 0), (vc.closed, vc.lerrno))
        self.settle()

    def test_never_started(self) -> None:
        """A connection that never had a socket can be closed."""
        vc = UnixNetVConnection(self.handler)
        vc.do_io_close(errno.EPROTO)
        self.assertEqual((-1, -1, None, None), (vc.closed, vc.get_socket(), vc.get_remote_addr(), vc.get_local_addr()))

    def closing(self) -> Any:
        return lambda vio: vio.vc_server.do_io_close()

    def check_close_within(self, event: int, begin: Any, pair: Any = unix_pair) -> None:
        """
        In the call-back of C{event} the connection is closed, and within it is still there; afterwards nothing is.

        @param begin: makes the event come: given connection, continuation and peer.
        """
        gc.collect()
        gc.disable()
        try:
            vc, peer = self.connection(pair())
            fd = vc.fd
            freed: list[str] = []
            vc.on_free = lambda: freed.append("freed")

            def close(vio: VIO) -> None:
                connection = vio.vc_server
                connection.do_io_close()
                # It is freed only when the call-back has returned.
                self.assertEqual([], freed)
                self.assertIs(connection, vio.vc_server)
                self.assertEqual(fd, connection.get_socket())
                self.assertIsNone(connection.do_io_read(cont, 1, new_empty_MIOBuffer(0)))

            cont = RecordingContinuation({event: close})
            begin(vc, cont, peer)
            self.reactor.turn_until(lambda: freed)
            told = list(cont.log)
            peer.close()
            self.settle()
            self.assertEqual(told, cont.log, "told after the close")
            self.assertEqual(set(), self.handler.open_list)
            self.assertRaises(OSError, os.fstat, fd)
            gone = weakref.ref(vc)
            del vc
            self.assertIsNone(gone())
            self.assertEqual(["freed"], freed)
        finally:
            gc.enable()

    def test_close_within_read_ready(self) -> None:
        """I may close in READ_READY, with more bytes waiting (N005)."""

        def begin(vc: UnixNetVConnection, cont: RecordingContinuation, peer: socket.socket) -> None:
            peer.send(b"x" * 5000)
            self.reading(vc, index=0, cont=cont)

        self.check_close_within(VC_EVENT_READ_READY, begin)

    def test_close_within_read_complete(self) -> None:
        """I may close in READ_COMPLETE, with more bytes waiting and a write going on."""

        def begin(vc: UnixNetVConnection, cont: RecordingContinuation, peer: socket.socket) -> None:
            peer.send(b"x" * 5000)
            self.reading(vc, 10, cont=cont)
            self.writing(vc, b"y" * 100, 100, cont=cont)

        self.check_close_within(VC_EVENT_READ_COMPLETE, begin)

    def test_close_within_eos(self) -> None:
        """I may close in EOS, after a clean end and after a reset."""

        def end(vc: UnixNetVConnection, cont: RecordingContinuation, peer: socket.socket) -> None:
            self.reading(vc, cont=cont)
            peer.close()

        def reset_it(vc: UnixNetVConnection, cont: RecordingContinuation, peer: socket.socket) -> None:
            self.reading(vc, cont=cont)
            self.writing(vc, b"", cont=RecordingContinuation())
            reset(peer)

        self.check_close_within(VC_EVENT_EOS, end)
        self.check_close_within(VC_EVENT_EOS, reset_it, tcp_pair)

    def test_close_within_error(self) -> None:
        """I may close in ERROR, of a read and of a write."""

        def read(vc: UnixNetVConnection, cont: RecordingContinuation, peer: socket.socket) -> None:
            self.script(vc, recv_into=[errno.EIO])
            self.reading(vc, cont=cont)
            peer.send(b"x")

        def write(vc: UnixNetVConnection, cont: RecordingContinuation, peer: socket.socket) -> None:
            peer.close()
            self.writing(vc, b"x", 1, cont=cont)

        self.check_close_within(VC_EVENT_ERROR, read)
        self.check_close_within(VC_EVENT_ERROR, write)

    def test_close_within_write_ready(self) -> None:
        """I may close in WRITE_READY, before the write and after it."""
        for data in (b"", b"x", b"x" * 128, b"x" * 5000):

            def begin(
                vc: UnixNetVConnection, cont: RecordingContinuation, peer: socket.socket, data: bytes = data
            ) -> None:
                self.writing(vc, data, index=0, cont=cont)
                self.reading(vc, cont=RecordingContinuation())

            self.check_close_within(VC_EVENT_WRITE_READY, begin)

    def test_close_within_write_complete(self) -> None:
        """I may close in WRITE_COMPLETE: the bytes are out."""
        peers: list[socket.socket] = []

        def begin(vc: UnixNetVConnection, cont: RecordingContinuation, peer: socket.socket) -> None:
            peers.append(socket.socket(fileno=os.dup(peer.fileno())))
            self.writing(vc, b"all", 3, cont=cont)

        self.check_close_within(VC_EVENT_WRITE_COMPLETE, begin)
        with peers[0] as peer:
            self.assertEqual(b"all", received(peer))

    def test_close_within_timeouts(self) -> None:
        """I may close in a timeout; the other side is told nothing then."""
        for event in (VC_EVENT_INACTIVITY_TIMEOUT, VC_EVENT_ACTIVE_TIMEOUT):

            def begin(
                vc: UnixNetVConnection, cont: RecordingContinuation, peer: socket.socket, event: int = event
            ) -> None:
                other = RecordingContinuation({event: lambda vio: self.fail("told after the close")})
                self.reading(vc, cont=cont)
                self.writing(vc, b"", cont=other)
                self.settle()
                vc.main_event(event)

            self.check_close_within(event, begin)

    def test_close_of_another(self) -> None:
        """In a call-back I may close another connection that was to be told in the same turn; it is not."""
        one, one_peer = self.connection()
        two, two_peer = self.connection()
        conts = [RecordingContinuation(), RecordingContinuation()]
        self.reading(one, cont=conts[0])
        self.reading(two, cont=conts[1])
        conts[0].script[VC_EVENT_READ_READY] = lambda vio: two.do_io_close()
        conts[1].script[VC_EVENT_READ_READY] = lambda vio: one.do_io_close()
        one_peer.send(b"x")
        two_peer.send(b"x")
        self.settle()
        self.assertEqual(1, len(conts[0].log) + len(conts[1].log))
        self.assertEqual(1, len(self.handler.open_list))

    def test_freed_within(self) -> None:
        """A close within a call-back within a call-back waits for the outermost (N005)."""
        vc, _ = self.connection()
        cont, _, _ = self.reading(vc)
        depth: list[Any] = []

        def inner(vio: VIO) -> None:
            vio.vc_server.do_io_close()
            depth.append(vio.vc_server.get_socket() >= 0)

        def outer(vio: VIO) -> None:
            connection = vio.vc_server
            connection.signal(VC_EVENT_READ_COMPLETE, connection.read)
            depth.append(connection.get_socket() >= 0)

        cont.script = {VC_EVENT_READ_READY: outer, VC_EVENT_READ_COMPLETE: inner}
        self.assertFalse(vc.signal(VC_EVENT_READ_READY, vc.read))
        self.assertEqual([True, True], depth)
        self.assertEqual(-1, vc.get_socket())

    def test_nobody_to_be_told(self) -> None:
        """A connection whose user let go of it ends itself with EOS or ERROR; other events are nobody's (1.6)."""
        for event in (VC_EVENT_EOS, VC_EVENT_ERROR, VC_EVENT_INACTIVITY_TIMEOUT, VC_EVENT_ACTIVE_TIMEOUT):
            vc, _ = self.connection()
            vc.do_io_read(None, 0, None)
            self.assertFalse(vc.signal(event, vc.read))
            self.assertEqual(-1, vc.get_socket())
        vc, _ = self.connection()
        self.assertRaises(LocalError, vc.signal, VC_EVENT_READ_READY, vc.read)

    def test_error_callback_may_go_on(self) -> None:
        """signal_done tells first and looks afterwards: a request made within is served."""
        vc, peer = self.connection()
        peer.send(b"xy")
        self.settle()
        cont, reader, _ = self.reading(vc, 1)
        cont.script[VC_EVENT_READ_COMPLETE] = [lambda vio: vio.vc_server.do_io_read(cont, 1, reader.buffer)]
        self.settle()
        self.assertEqual((["READ_COMPLETE", "READ_COMPLETE"], b"xy"), (cont.events, reader.read()))

    def test_deadline(self) -> None:
        """A state that lasted too long ends the connection, with nobody told."""
        vc, _ = self.connection()
        cont, _, _ = self.reading(vc)
        vc.deadline_passed()
        self.assertEqual((1, set(), []), (vc.closed, self.handler.open_list, cont.log))


globals().update(CloseTests.make_test_case_classes())


class ShutdownTests(ConnectionTests):
    """do_io_shutdown (N065)."""

    def test_write(self) -> None:
        """No more of mine: the peer sees the end, can still send, and I am told nothing of writing."""
        vc, peer = self.connection(tcp_pair())
        written, _, _ = self.writing(vc, b"unsent", 100)
        read, reader, _ = self.reading(vc)
        vc.do_io_shutdown(ops.SHUTDOWN_WRITE)
        vc.do_io_shutdown(ops.SHUTDOWN_WRITE)
        self.settle()
        peer.setblocking(True)
        self.assertEqual(b"", peer.recv(10))
        peer.send(b"still here")
        self.reactor.turn_until(lambda: read.events)
        self.settle()
        self.assertEqual(([], ["READ_READY"], b"still here"), (written.log, read.events, reader.read()))
        self.assertEqual({vc}, self.handler.open_list)

    def test_read(self) -> None:
        """No more of the peer's: I am told nothing of reading, and can still send."""
        vc, peer = self.connection()
        read, reader, _ = self.reading(vc)
        vc.do_io_shutdown(ops.SHUTDOWN_READ)
        written, _, _ = self.writing(vc, b"hello", 5)
        peer.send(b"unheard")
        self.settle()
        self.assertEqual(([], 0, ["WRITE_COMPLETE"]), (read.log, reader.avail, written.events))
        self.assertEqual(b"hello", received(peer))
        peer.close()
        self.settle()
        self.assertEqual([], read.log)

    def test_both(self) -> None:
        """Neither: nothing is told, and the connection still needs its close."""
        vc, peer = self.connection()
        cont, _, _ = self.reading(vc)
        self.writing(vc, b"unsent", 100, cont=cont)
        vc.do_io_shutdown(ops.SHUTDOWN_READWRITE)
        self.settle()
        self.assertEqual(([], b""), (cont.log, peer.recv(10)))
        self.assertEqual({vc}, self.handler.open_list)

    def test_from_within(self) -> None:
        """In a call-back of a direction I end that direction: it is the last that I am told of it."""
        vc, peer = self.connection()
        cont = RecordingContinuation(
            {
                VC_EVENT_READ_READY: lambda vio: vio.vc_server.do_io_shutdown(ops.SHUTDOWN_READ),
                VC_EVENT_WRITE_READY: lambda vio: vio.vc_server.do_io_shutdown(ops.SHUTDOWN_WRITE),
            }
        )
        self.reading(vc, index=0, cont=cont)
        self.writing(vc, b"unsent", 100, cont=cont)
        peer.send(b"x" * 1000)
        self.settle()
        self.assertEqual(["READ_READY", "WRITE_READY"], cont.events)

    def test_no_timeouts(self) -> None:
        """Not even a timeout is told to a direction that I ended; to the other it is."""
        for howto, told in (
            (ops.SHUTDOWN_READ, [[], ["ACTIVE_TIMEOUT"]]),
            (ops.SHUTDOWN_WRITE, [["ACTIVE_TIMEOUT"], []]),
        ):
            vc, _ = self.connection()
            read, written = RecordingContinuation(), RecordingContinuation()
            self.reading(vc, cont=read)
            self.writing(vc, b"", cont=written)
            self.settle()
            written.log.clear()
            vc.do_io_shutdown(howto)
            vc.main_event(VC_EVENT_ACTIVE_TIMEOUT)
            self.assertEqual(told, [read.events, written.events])

    def test_of_a_socket_that_is_gone(self) -> None:
        """When the peer is gone already, that is not the fault of who ends a direction."""
        vc, _ = self.connection()
        self.script(vc, shutdown=[errno.ENOTCONN])
        vc.end_unclean()
        self.assertTrue(vc.write_shut)


globals().update(ShutdownTests.make_test_case_classes())


class PipeTests(ConnectionTests):
    """A connection whose bytes pass through the kernel's pipe."""

    if not HAVE_SPLICE:
        skip = "this system has no splice"

    def setUp(self) -> None:
        empty_pipe_pool()
        super().setUp()

    def tearDown(self) -> None:
        empty_pipe_pool()
        super().tearDown()

    def relayed(self) -> tuple[Any, ...]:
        """One connection whose bytes go to another through a pipe."""
        one, one_peer = self.connection()
        two, two_peer = self.connection()
        buffer = PipeBuffer()
        reader = buffer.alloc_reader()
        read, written = RecordingContinuation(), RecordingContinuation()
        one.do_io_read(read, ENDLESS, buffer)
        two.do_io_write(written, ENDLESS, reader)
        read.script[VC_EVENT_READ_READY] = lambda vio: two.write.vio.reenable()
        written.script[VC_EVENT_WRITE_READY] = lambda vio: one.read.vio.reenable()
        return one, one_peer, two, two_peer, read, written, buffer

    def test_relay(self) -> None:
        """All bytes come through, in order, and the pipe is given back."""
        _, one_peer, _, two_peer, read, _, buffer = self.relayed()
        data = os.urandom(1 << 20)
        sent, out = 0, bytearray()
        for _ in range(200):
            try:
                sent += one_peer.send(data[sent : sent + 50000])
            except BlockingIOError:
                pass
            self.reactor.settle()
            out += received(two_peer)
        self.reactor.settle()
        out += received(two_peer)
        self.assertEqual(data, bytes(out))
        self.assertIsNone(buffer.held)
        one_peer.close()
        self.settle()
        self.assertEqual("EOS", read.events[-1])

    def test_errors(self) -> None:
        """A reset, an error and a vanished peer are told as with any buffer; the pipe is not lost."""
        for failure, event in ((errno.ECONNRESET, "EOS"), (errno.EIO, "ERROR")):
            one, _, _, _, read, _, _ = self.relayed()

            def fail(buffer: PipeBuffer, fd: int, limit: int, failure: int = failure) -> int:
                raise OSError(failure, "scripted")

            self.settle()
            with unittest.mock.patch.object(PipeBuffer, "fill_from", fail):
                self.handler.mark_read(one)
                self.handler.turn()
            self.settle()
            self.assertEqual((event, failure), (read.events[-1], one.lerrno))

    def test_writer_would_block(self) -> None:
        """When the socket takes nothing after all, the bytes stay in the pipe and go later."""
        _, one_peer, two, two_peer, _, _, buffer = self.relayed()
        self.settle()

        def refuse(buffer: PipeBuffer, fd: int, limit: int) -> int:
            raise BlockingIOError(errno.EAGAIN, "scripted")

        with unittest.mock.patch.object(PipeBuffer, "drain_to", refuse):
            one_peer.send(b"x")
            for _ in range(3):
                self.reactor.turn()
        self.assertIsNotNone(buffer.held)
        self.handler.mark_write(two)
        self.handler.run()
        self.settle()
        self.assertEqual(b"x", received(two_peer))

    def test_peer_gone(self) -> None:
        """Nobody reads any more: ERROR to the writer."""
        _, one_peer, two, two_peer, _, written, buffer = self.relayed()
        self.settle()
        two_peer.close()
        one_peer.send(b"x")
        self.settle()
        self.assertEqual(("ERROR", errno.EPIPE), (written.events[-1], two.lerrno))
        buffer.close()

    def test_back_pressure(self) -> None:
        """A peer that does not read stops the relay; the peer at the other end has to wait."""
        one, one_peer, two, two_peer, _, _, buffer = self.relayed()
        data = os.urandom(4 << 20)
        sent = 0
        for _ in range(100):
            try:
                sent += one_peer.send(data[sent : sent + 100000])
            except BlockingIOError:
                pass
            self.reactor.settle()
        self.assertLess(sent, len(data))
        self.assertEqual((False, False), (one.read.enabled, two.write.triggered))
        out = bytearray()
        while len(out) < sent:
            out += received(two_peer)
            self.reactor.settle()
        self.assertEqual(data[:sent], bytes(out))
        self.assertIsNone(buffer.held)


globals().update(PipeTests.make_test_case_classes())


class FactTests(ConnectionTests):
    """What a connection can be asked."""

    def test_interface(self) -> None:
        """It is a network connection to all floors above."""
        vc, _ = self.connection()
        self.assertTrue(verifyObject(INetVConnection, vc))
        self.assertFalse(hasattr(vc, "__dict__"), "there may be tens of thousands")

    def test_not_copied(self) -> None:
        """There is one descriptor, so there is one connection."""
        vc, _ = self.connection()
        self.assertRaises(LocalError, copy.copy, vc)

    def test_request_without_continuation(self) -> None:
        """Bytes that nobody wants to be told of cannot be asked for."""
        vc, _ = self.connection()
        reader = new_empty_MIOBuffer(0).alloc_reader()
        self.assertRaises(LocalError, vc.do_io_read, None, 1, reader.buffer)
        self.assertRaises(LocalError, vc.do_io_write, None, 1, reader)

    def test_do_io(self) -> None:
        """Each request can be made by its number; another number is refused."""
        cont, reader = RecordingContinuation(), new_empty_MIOBuffer(0).alloc_reader()
        vc, _ = self.connection()
        self.assertIs(vc.read.vio, vc.do_io(ops.READ, cont, 5, reader.buffer))
        self.assertIs(vc.write.vio, vc.do_io(ops.WRITE, cont, 5, reader))
        self.assertEqual((5, ops.READ, 5, ops.WRITE), (vc.read.vio.nbytes, vc.read.vio.op, vc.write.vio.nbytes, 2))
        for howto, shut in ((ops.SHUTDOWN_READ, (True, False)), (ops.SHUTDOWN_WRITE, (True, True))):
            self.assertIsNone(vc.do_io(howto))
            self.assertEqual(shut, (vc.read_shut, vc.write_shut))
        self.assertRaises(LocalError, vc.do_io, 99)
        self.assertIsNone(vc.do_io(ops.CLOSE))
        self.assertEqual(1, vc.closed)
        for op, closed, lerrno in ((ops.ABORT, -1, errno.ECONNABORTED), (ops.SHUTDOWN_READWRITE, 0, 0)):
            vc, _ = self.connection()
            vc.do_io(op)
            self.assertEqual((closed, lerrno), (vc.closed, vc.lerrno))

    def test_addresses(self) -> None:
        """Both ends have an address, over IPv4 and IPv6, and it stays known after the close (N041)."""
        for host in ("127.0.0.1", "::1"):
            pair = tcp_pair(host)
            vc, _ = self.connection(pair)
            local, remote = pair[0].getsockname()[:2], pair[0].getpeername()[:2]
            self.assertEqual((remote, local), (vc.get_remote_addr(), vc.get_local_addr()))
            self.assertIn(f"[::1]:{remote[1]}" if ":" in host else f"127.0.0.1:{remote[1]}", repr(vc))
            vc.do_io_close()
            self.assertEqual((remote, local), (vc.get_remote_addr(), vc.get_local_addr()))

    def test_addresses_that_others_know_better(self) -> None:
        """What a load balancer says of a connection's ends counts (N041)."""
        vc, _ = self.connection()
        vc.set_remote_addr(("192.0.2.1", 5))
        vc.set_local_addr(("192.0.2.2", 443))
        self.assertEqual((("192.0.2.1", 5), ("192.0.2.2", 443)), (vc.get_remote_addr(), vc.get_local_addr()))
        self.assertEqual("192.0.2.1:5", vc.peer_name())

    def test_address_of_a_unix_socket(self) -> None:
        """The peer's address is the path of its socket, all of it, or nothing where it has none."""
        path = self.mktemp()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            client = socket.socket(socket.AF_UNIX)
            client.connect(path)
            client.setblocking(False)
            vc, _ = self.connection((client, listener.accept()[0]))
        self.assertEqual((path, ""), (vc.get_remote_addr(), vc.get_local_addr()))
        self.assertIn(path, repr(vc))
        vc, _ = self.connection()
        self.assertIn("from unix", repr(vc))
        vc.is_client = True
        self.assertIn("to unix", repr(vc))

    def test_address_of_what_is_gone(self) -> None:
        """Where the kernel does not know, it is None, and no error."""
        vc, _ = self.connection()
        self.script(vc, getpeername=[errno.ENOTCONN] * 2, getsockname=[errno.EINVAL])
        self.assertEqual((None, None), (vc.get_remote_addr(), vc.get_local_addr()))
        self.assertEqual("unix", vc.peer_name())

    def test_args(self) -> None:
        """What I keep with a connection is there until it is freed."""
        vc, _ = self.connection()
        self.assertIsNone(vc.get_arg("key"))
        vc.set_arg("key", 1)
        vc.set_arg("other", 2)
        self.assertEqual((1, 2, None), (vc.get_arg("key"), vc.get_arg("other"), vc.get_arg("third")))

    def test_cannot_be_watched(self) -> None:
        """A descriptor that cannot be watched is refused, and nothing of the connection stays behind."""
        vc = UnixNetVConnection(self.handler)
        with open(os.devnull, "rb") as file:
            if self.kind == "edge":
                self.assertRaises(OSError, vc.start, file)
                self.assertEqual({}, self.poll._watched)  # type: ignore[union-attr]
        self.assertEqual(set(), self.handler.open_list)


globals().update(FactTests.make_test_case_classes())


class StreamProperties(SynchronousTestCase):
    """What must hold whatever happens."""

    @given(
        pauses=st.lists(st.integers(0, 3), max_size=60),
        steps=st.lists(st.integers(1, 9000), min_size=1, max_size=40),
        kind=st.sampled_from(("edge", "reactor")),
        length=st.integers(0, 60000),
        indexes=st.tuples(st.integers(0, 7), st.integers(0, 7)),
        socket_bytes=st.sampled_from((0, 1, 20000)),
    )
    @settings(max_examples=50, deadline=None)
    def test_every_byte_once_and_in_order(
        self,
        pauses: list[int],
        steps: list[int],
        kind: str,
        length: int,
        indexes: tuple[int, int],
        socket_bytes: int,
    ) -> None:
        """Whatever the cuts, the pauses and the sizes of buffers: every byte arrives, once, in order, then the end."""
        before = open_descriptors()
        reactor = HandReactor()
        handler, poll = make_handler(kind, reactor)
        pair = unix_pair()
        vcs = []
        for sock in pair:
            if socket_bytes:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, socket_bytes)
            vc = UnixNetVConnection(handler)
            vc.start(sock)
            vcs.append(vc)
        sender, receiver = vcs
        sent = bytes(i * 7 % 251 for i in range(length))
        source = new_empty_MIOBuffer(indexes[0]).alloc_reader()
        target = new_empty_MIOBuffer(indexes[1]).alloc_reader()
        out = bytearray()
        given_out = 0

        def feed(most: int) -> None:
            nonlocal given_out
            piece = sent[given_out : given_out + most]
            source.buffer.write(piece)
            given_out += len(piece)

        written, read = RecordingContinuation(), RecordingContinuation()
        bound = buffer_size(indexes[1])

        def on_read(vio: VIO) -> None:
            self.assertLessEqual(target.avail, bound)
            if not pauses:
                out.extend(target.read())
            elif pauses[-1] % 2:
                out.extend(target.read(steps[len(out) % len(steps)]))

        read.script[VC_EVENT_READ_READY] = on_read
        written.script[VC_EVENT_WRITE_READY] = lambda vio: feed(steps[given_out % len(steps)] if pauses else length)
        written.script[VC_EVENT_WRITE_COMPLETE] = lambda vio: vio.vc_server.do_io_shutdown(ops.SHUTDOWN_WRITE)
        if length:
            sender.do_io_write(written, length, source)
        else:
            sender.do_io_shutdown(ops.SHUTDOWN_WRITE)
        receiver.do_io_read(read, INT64_MAX, target.buffer)
        for _ in range(3000):
            if "EOS" in read.events:
                break
            reactor.turn()
            kind_of_pause = pauses.pop() if pauses else 0
            if kind_of_pause == 0:
                out.extend(target.read())
                receiver.read.vio.reenable()
            elif kind_of_pause == 1:
                feed(steps[0])
            elif kind_of_pause == 2:
                sender.write.vio.reenable()
            if not pauses:
                feed(length)
                sender.write.vio.reenable()
        out.extend(target.read())
        self.assertEqual(sent, bytes(out))
        self.assertEqual(1, read.events.count("EOS"))
        self.assertEqual(1 if length else 0, written.events.count("WRITE_COMPLETE"))
        for vc in vcs:
            vc.do_io_close()
        reactor.settle()
        poll.close()
        self.assertEqual((set(), []), (handler.open_list, reactor.getDelayedCalls()))
        self.assertEqual(before, open_descriptors())
